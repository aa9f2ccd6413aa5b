//! `/v1/tokens`: API keys.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use kt_control::{Change, KeyChange, KeyMade, KeyView, NewKey, WhichKeys};
use kt_domain::actor::{KeyKind, Scope};
use kt_domain::error::Error;
use kt_domain::id::ApiKeyId;
use kt_domain::keys::KeysDue;
use kt_domain::network::cidr::Cidr;
use kt_domain::order::{KeyColumn, Order};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::paging::{Listing, PageParams};
use super::{ErrorBody, Failure, Input, Params};
use crate::Doors;
use crate::client::Caller;
use crate::download;

/// Which keys.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TokensParams {
    /// `access`, `gateway` or `scim`; all without it.
    r#type: Option<String>,
    /// Those alone whose name or first characters hold this.
    q: Option<String>,
    /// Those alone that work still and need somebody: `expiring` within seven days, or `flagged` because they break what the
    /// organization demands of keys.
    #[param(value_type = Option<String>)]
    state: Option<KeysDue>,
    /// In which order: `created`, `name`, `ends` or `last_used`, with a minus in front for the greatest first; without it,
    /// the newest first. A cursor goes on in the order in which it was begun.
    #[param(value_type = Option<String>)]
    #[serde(default)]
    sort: Order<KeyColumn>,
}

impl TokensParams {
    /// The keys that are asked for.
    fn which(self) -> Result<WhichKeys, Error> {
        let kind = self.r#type.as_deref().map(kind).transpose()?;
        Ok(WhichKeys { kind, search: self.q, due: self.state, order: self.sort })
    }
}

/// What kind of key is made.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NewTokenParams {
    /// `access`, `gateway` or `scim`; may stand in the body instead.
    r#type: Option<String>,
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTokenRequest {
    /// `access` (API calls, and application traffic through a gateway; without it this) `gateway` (a gateway's own
    /// credential) or `scim` (an identity provider's, to provision members).
    r#type: Option<String>,
    /// 1 to 200 characters.
    name: String,
    /// `read-only`, `write` or `admin`. Where one is demanded, a gateway's key has `write` without it.
    #[schema(value_type = Option<String>)]
    scope: Option<Scope>,
    /// CIDR ranges from which it works; none means anywhere. May be called `allowed_ranges` too.
    #[serde(default, alias = "allowed_ranges")]
    #[schema(value_type = Vec<String>)]
    ip_ranges: Vec<Cidr>,
    /// How often it works in a minute at most. May be called `rpm` too.
    #[serde(alias = "rpm")]
    requests_per_minute: Option<u32>,
    /// When it expires (RFC 3339).
    #[schema(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
}

/// Changes of a key: what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenChangeRequest {
    #[serde(default)]
    #[schema(value_type = Option<String>, nullable = false)]
    name: Change<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    scope: Change<Option<Scope>>,
    /// May be called `allowed_ranges` too.
    #[serde(default, alias = "allowed_ranges")]
    #[schema(value_type = Option<Vec<String>>, nullable = false)]
    ip_ranges: Change<Vec<Cidr>>,
    /// May be called `rpm` too.
    #[serde(default, alias = "rpm")]
    #[schema(value_type = Option<u32>)]
    requests_per_minute: Change<Option<u32>>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    expires_at: Change<Option<Timestamp>>,
}

/// How a key is rotated.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateRequest {
    /// For how many seconds the old key goes on working: 0 to 604800.
    #[serde(default)]
    overlap_seconds: u64,
}

/// A key, without its text.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenAnswer {
    id: String,
    /// `access`, `gateway` or `scim`.
    r#type: String,
    name: String,
    /// Its first characters.
    prefix: String,
    /// The id of the person who answers for it: it never reaches further than they do.
    owner: String,
    /// `read-only`, `write` or `admin`; a key without one reads only.
    scope: Option<String>,
    ip_ranges: Vec<String>,
    requests_per_minute: Option<u32>,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    last_used_ip: Option<String>,
    /// `active`, `rotation_required`, `expired` or `revoked`.
    status: String,
    /// What it breaks of the organization's demands: `over_age`, `no_scope`, `no_ip_binding`.
    violations: Vec<String>,
    /// From when on it is refused for that.
    refused_from: Option<String>,
    /// When it was, or will be, ended by a revocation or a rotation.
    ends_at: Option<String>,
    /// The id of the key that came in its place.
    replaced_by: Option<String>,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewTokenAnswer {
    /// The whole key. It is not shown again.
    key: String,
    #[serde(flatten)]
    token: TokenAnswer,
}

/// Keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokensAnswer {
    tokens: Vec<TokenAnswer>,
    next_cursor: Option<String>,
}

impl From<KeyView> for TokenAnswer {
    fn from(view: KeyView) -> Self {
        let KeyView { key, standing } = view;
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        Self {
            id: key.id.to_string(),
            r#type: key.kind.to_string(),
            name: key.name,
            prefix: key.prefix,
            owner: key.owner.to_string(),
            scope: key.terms.scope.map(|scope| scope.to_string()),
            ip_ranges: key.terms.ranges.iter().map(ToString::to_string).collect(),
            requests_per_minute: key.terms.requests_per_minute,
            created_at: key.terms.created_at.to_string(),
            expires_at: time(key.terms.expires_at),
            last_used_at: time(key.last_used_at),
            last_used_ip: key.last_used_ip.map(|ip| ip.to_string()),
            status: standing.status.to_string(),
            violations: standing.violations.iter().map(ToString::to_string).collect(),
            refused_from: time(standing.refused_from),
            ends_at: time(key.terms.ends_at),
            replaced_by: key.replaced_by.map(|id| id.to_string()),
        }
    }
}

impl From<KeyMade> for NewTokenAnswer {
    fn from(made: KeyMade) -> Self {
        Self { key: made.text.expose().to_owned(), token: made.view.into() }
    }
}

/// Keys: one's own, and everybody's for auditors, admins and owners.
#[utoipa::path(get, path = "/v1/tokens", tag = "keys", params(TokensParams, PageParams), responses(
    (status = 200, description = "A page of keys.", body = TokensAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this key.", body = ErrorBody),
    (status = 422, description = "A parameter breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn tokens(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { filter: params, page: request }: Listing<TokensParams>,
) -> Result<Json<TokensAnswer>, Failure> {
    let page = doors.control.keys(&ctx, &params.which()?, &request).await?;
    let tokens = page.items.into_iter().map(TokenAnswer::from).collect();
    Ok(Json(TokensAnswer { tokens, next_cursor: page.next_cursor }))
}

/// The same as a table (CSV), whole. Is recorded in the audit log.
#[utoipa::path(get, path = "/v1/tokens/export", tag = "keys", params(TokensParams), responses(
    (status = 200, description = "The table, as a stream. One that breaks off is incomplete.", body = String,
        content_type = "text/csv"),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this key.", body = ErrorBody),
    (status = 422, description = "A parameter breaks a rule.", body = ErrorBody),
    (status = 429, description = "As many copies are under way as one person may take at once.", body = ErrorBody),
))]
pub(crate) async fn export(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Params(params): Params<TokensParams>,
) -> Result<Response, Failure> {
    let export = doors.control.export_keys(&ctx, &params.which()?).await?;
    Ok(download::table(&doors.control, export, KEYS_FILE))
}

/// As what a table of keys is saved.
pub(crate) const KEYS_FILE: &str = "attachment; filename=\"keys.csv\"";

/// One key: one's own, or anybody's for auditors, admins and owners.
#[utoipa::path(get, path = "/v1/tokens/{id}", tag = "keys", params(("id" = String, Path)), responses(
    (status = 200, description = "The key, without its text.", body = TokenAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this key.", body = ErrorBody),
    (status = 404, description = "There is no such key.", body = ErrorBody),
))]
pub(crate) async fn read(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<Json<TokenAnswer>, Failure> {
    Ok(Json(doors.control.key(&ctx, &key_id(&id)?).await?.into()))
}

/// Make a key. The answer shows it once.
#[utoipa::path(post, path = "/v1/tokens", tag = "keys", params(NewTokenParams), request_body = NewTokenRequest, responses(
    (status = 201, description = "It was made.", body = NewTokenAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role, or a fresh proof of identity is asked for.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn create(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Params(params): Params<NewTokenParams>,
    Input(request): Input<NewTokenRequest>,
) -> Result<(StatusCode, Json<NewTokenAnswer>), Failure> {
    let new = NewKey {
        kind: one_kind(params.r#type.as_deref(), request.r#type.as_deref())?,
        name: request.name,
        scope: request.scope,
        ranges: request.ip_ranges,
        requests_per_minute: request.requests_per_minute,
        expires_at: request.expires_at,
    };
    let made = doors.control.create_key(&ctx, new).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Change a key's name, scope, ranges, rate or expiry.
#[utoipa::path(patch, path = "/v1/tokens/{id}", tag = "keys", params(("id" = String, Path)), request_body = TokenChangeRequest, responses(
    (status = 200, description = "As it is now.", body = TokenAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role, or a fresh proof of identity is asked for.", body = ErrorBody),
    (status = 404, description = "There is no such key.", body = ErrorBody),
    (status = 409, description = "It has ended.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn change(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
    Input(request): Input<TokenChangeRequest>,
) -> Result<Json<TokenAnswer>, Failure> {
    let change = KeyChange {
        name: request.name,
        scope: request.scope,
        ranges: request.ip_ranges,
        requests_per_minute: request.requests_per_minute,
        expires_at: request.expires_at,
    };
    Ok(Json(doors.control.change_key(&ctx, &key_id(&id)?, change).await?.into()))
}

/// Put a new key in place of one, at once or after an overlap. The answer shows it once.
#[utoipa::path(post, path = "/v1/tokens/{id}/rotate", tag = "keys", params(("id" = String, Path)), request_body = Option<RotateRequest>, responses(
    (status = 201, description = "The new key.", body = NewTokenAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role, or a fresh proof of identity is asked for.", body = ErrorBody),
    (status = 404, description = "There is no such key.", body = ErrorBody),
    (status = 409, description = "It was rotated before, or has ended.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn rotate(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
    request: Option<Input<RotateRequest>>,
) -> Result<(StatusCode, Json<NewTokenAnswer>), Failure> {
    let request = request.map(|Input(request)| request).unwrap_or_default();
    let overlap = Duration::from_secs(request.overlap_seconds);
    let made = doors.control.rotate_key(&ctx, &key_id(&id)?, overlap).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Revoke a key: the next request with it is refused.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "keys", params(("id" = String, Path)), responses(
    (status = 204, description = "It has ended."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key.", body = ErrorBody),
    (status = 404, description = "There is no such key.", body = ErrorBody),
))]
pub(crate) async fn revoke(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.revoke_key(&ctx, &key_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn key_id(text: &str) -> Result<ApiKeyId, Error> {
    text.parse().map_err(|_| Error::not_found("key"))
}

fn kind(word: &str) -> Result<KeyKind, Error> {
    word.parse().map_err(|why| Error::invalid("type", format!("{why}")))
}

/// The kind that the query or the body names; two different ones are refused.
fn one_kind(query: Option<&str>, body: Option<&str>) -> Result<KeyKind, Error> {
    match (query, body) {
        (Some(query), Some(body)) if query != body => {
            Err(Error::invalid("type", "The address names another type than the body. Name it once."))
        }
        (Some(word), _) | (None, Some(word)) => kind(word),
        (None, None) => Ok(KeyKind::Access),
    }
}
