//! `/v1/audit-log`: who did what, and the proof of it. There is nothing here to change or delete it with.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;
use kt_control::ExportFormat;
use kt_domain::audit::AuditFilter;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::paging::{Listing, PageParams};
use super::{ErrorBody, Failure, Params};
use crate::Doors;
use crate::client::Caller;
use crate::download;

/// Which records.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditLogParams {
    /// What was done: an action such as `auth.sign_in`, or the beginning of some with its dot, such as `auth.`.
    pub(crate) action: Option<String>,
    /// Who did it: an id, or the address or name.
    pub(crate) actor: Option<String>,
    /// What it was done to.
    pub(crate) resource: Option<String>,
    /// `success` or `failure`.
    pub(crate) outcome: Option<String>,
    /// Not before this (RFC 3339).
    pub(crate) since: Option<String>,
    /// Before this (RFC 3339).
    pub(crate) until: Option<String>,
}

impl AuditLogParams {
    /// The records that are asked for.
    pub(crate) fn filter(&self) -> Result<AuditFilter, Error> {
        Ok(AuditFilter {
            action: read("action", self.action.as_deref())?,
            actor: self.actor.clone(),
            resource: self.resource.clone(),
            outcome: read("outcome", self.outcome.as_deref())?,
            since: time("since", self.since.as_deref())?,
            until: time("until", self.until.as_deref())?,
        })
    }
}

/// Records.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditLogAnswer {
    #[schema(value_type = Vec<AuditRecordAnswer>)]
    records: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// A record.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it describes the text that the hash is taken over, which is passed on as it is"
)]
pub(crate) struct AuditRecordAnswer {
    id: String,
    /// RFC 3339, UTC.
    timestamp: String,
    actor: AuditActorAnswer,
    /// What was done, such as `auth.sign_in`.
    action: String,
    /// What it was done to.
    resource: String,
    details: AuditDetailsAnswer,
    ip_address: Option<String>,
    user_agent: Option<String>,
    request_id: String,
    /// The session that it was done in; absent where it was none.
    session_id: Option<String>,
    /// `success` or `failure`.
    outcome: String,
}

/// Who did it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "as above")]
pub(crate) struct AuditActorAnswer {
    /// `user`, `api_key` or `system`.
    r#type: String,
    id: String,
    name: String,
}

/// What was and what is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "as above")]
pub(crate) struct AuditDetailsAnswer {
    #[schema(value_type = Option<Object>)]
    before: Option<serde_json::Value>,
    #[schema(value_type = Option<Object>)]
    after: Option<serde_json::Value>,
}

/// The records of the organization, the newest first.
#[utoipa::path(get, path = "/v1/audit-log", tag = "evidence", params(AuditLogParams, PageParams), responses(
    (status = 200, description = "A page of records.", body = AuditLogAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key.", body = ErrorBody),
    (status = 422, description = "A parameter breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn audit_log(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { filter: params, page: request }: Listing<AuditLogParams>,
) -> Result<Json<AuditLogAnswer>, Failure> {
    let page = doors.control.audit_log(&ctx, &params.filter()?, &request).await?;
    let records = page.items.into_iter().map(RawValue::from_string).collect::<Result<_, _>>();
    let records = records.map_err(Error::internal)?;
    Ok(Json(AuditLogAnswer { records, next_cursor: page.next_cursor }))
}

/// A record, with its place in the chain.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditEntryAnswer {
    #[schema(value_type = AuditRecordAnswer)]
    record: Box<RawValue>,
    /// The number of the entry, as in a copy.
    seq: u64,
    /// The hash of the chain up to this entry: what `kt audit verify --head` takes behind the number.
    hash: String,
}

/// One record.
#[utoipa::path(get, path = "/v1/audit-log/{id}", tag = "evidence", params(("id" = String, Path)), responses(
    (status = 200, description = "The record.", body = AuditEntryAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key.", body = ErrorBody),
    (status = 404, description = "There is no such record in this organization.", body = ErrorBody),
))]
pub(crate) async fn audit_record(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<Json<AuditEntryAnswer>, Failure> {
    let entry = doors.control.audit_record(&ctx, &id).await?;
    let record = RawValue::from_string(entry.body).map_err(Error::internal)?;
    Ok(Json(AuditEntryAnswer { record, seq: entry.seq, hash: entry.hash.to_string() }))
}

/// Which copy.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportParams {
    /// `jsonl` (can be proven offline), `csv`, `ocsf` or `cef`.
    format: Option<String>,
    /// Not before this (RFC 3339); as `jsonl`, widened to the checkpoint before.
    since: Option<String>,
    /// Before this (RFC 3339); as `jsonl`, widened to the checkpoint behind.
    until: Option<String>,
}

/// A copy of the audit log. Asks for a fresh proof of identity, and is recorded itself.
#[utoipa::path(get, path = "/v1/audit-log/export", tag = "evidence", params(ExportParams), responses(
    (status = 200, description = "The copy, as a stream. One that breaks off is incomplete.",
        content((String = "application/jsonl"), (String = "text/csv"), (String = "text/plain"))),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key, or a fresh proof of identity is asked for.", body = ErrorBody),
    (status = 422, description = "A parameter breaks a rule.", body = ErrorBody),
    (status = 429, description = "As many copies are under way as one person may take at once.", body = ErrorBody),
))]
pub(crate) async fn export(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Params(params): Params<ExportParams>,
) -> Result<Response, Failure> {
    download(&doors, &ctx, &params).await
}

/// The copy that is asked for, as a file.
pub(crate) async fn download(doors: &Doors, ctx: &Ctx, params: &ExportParams) -> Result<Response, Failure> {
    let format = read("format", params.format.as_deref())?.unwrap_or(ExportFormat::Jsonl);
    let since = time("since", params.since.as_deref())?;
    let until = time("until", params.until.as_deref())?;
    let export = doors.control.export_audit(ctx, format, since, until).await?;
    let (content_type, disposition) = match format {
        ExportFormat::Jsonl => ("application/jsonl", "attachment; filename=\"audit-log.jsonl\""),
        ExportFormat::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"audit-log.csv\""),
        ExportFormat::Ocsf => ("application/jsonl", "attachment; filename=\"audit-log.ocsf.jsonl\""),
        ExportFormat::Cef => ("text/plain; charset=utf-8", "attachment; filename=\"audit-log.cef\""),
    };
    Ok(download::attachment(&doors.control, export, content_type, disposition))
}

/// The key that proves exports.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditKeysAnswer {
    keys: Vec<AuditKeyAnswer>,
}

/// A public key.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditKeyAnswer {
    key_id: String,
    /// `Ed25519`.
    algorithm: &'static str,
    /// 64 hexadecimal digits, as `kt audit verify --public-key` takes them.
    public_key: String,
}

/// What the checkpoints of the audit log are verified with.
#[utoipa::path(get, path = "/v1/audit-log/keys", tag = "evidence", responses(
    (status = 200, description = "The keys.", body = AuditKeysAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key.", body = ErrorBody),
))]
pub(crate) async fn keys(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Json<AuditKeysAnswer>, Failure> {
    let key = doors.control.audit_public_key(&ctx)?;
    let key =
        AuditKeyAnswer { key_id: key.id().to_string(), algorithm: "Ed25519", public_key: key.to_string() };
    Ok(Json(AuditKeysAnswer { keys: vec![key] }))
}

/// A parameter that is one of some words.
fn read<T: std::str::FromStr<Err: std::fmt::Display>>(
    name: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, Error> {
    text.map(|text| text.parse().map_err(|why| Error::invalid(name, format!("`{name}`: {why}.")))).transpose()
}

fn time(name: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    text.map(|text| {
        text.parse().map_err(|_| Error::invalid(name, "Write a time such as 2026-03-15T14:22:31Z."))
    })
    .transpose()
}
