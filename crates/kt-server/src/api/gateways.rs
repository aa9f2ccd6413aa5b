//! `/v1/gateways`: which gateways there are, what they fetch, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use kt_control::{GatewayReport, GatewayView, Known};
use kt_domain::configurations::{ConfigurationSource, Orders, RefusedConfiguration};
use kt_domain::error::Error;
use kt_domain::gateways::{ShownConfiguration, TargetReport};
use kt_domain::keys::KeySnapshot;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::paging::{Listing, PageParams};
use super::{ErrorBody, Failure, Input, Params};
use crate::Doors;
use crate::client::Caller;
use crate::download;

/// The longest that a gateway may wait for a change, in seconds: shorter than proxies wait for an answer.
const MOST_PATIENCE: u64 = 25;

/// What a gateway says of itself, and what it knows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SyncInput {
    /// The name that its events carry.
    gateway_id: String,
    /// Which version of Keeptrusts it runs.
    software_version: String,
    /// The configuration that it has in force; `none` while it has none.
    config_version: String,
    /// Where the gateway is reached: https, or http on a loopback address.
    #[serde(default)]
    address: Option<String>,
    /// The places that it forwards to, each with `id`, `provider`, `state` (`usable`, `no_credential`, `failing`) and
    /// the `models` that can be asked for by name.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    targets: Vec<TargetReport>,
    /// `file` or `kept`: where it has it from.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    config_source: ConfigurationSource,
    /// Where `configuration_wanted` asked for it: `version`, and `document`, what is in force there with what could help a
    /// thief covered; `null` where that is longer than 256 KiB.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    configuration: Option<ShownConfiguration>,
    /// The version that it was told to run last and could not.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    refused: Option<RefusedConfiguration>,
    /// Whether it takes no new requests.
    #[serde(default)]
    draining: bool,
    /// Whether it counts limits and budgets in a Redis or Valkey with others, and not by itself.
    #[serde(default)]
    counts_shared: bool,
    /// The version of the keys that it knows.
    #[serde(default)]
    keys_version: Option<String>,
    /// The version of the orders that it knows, empty where it knows none; without it, it is told none.
    #[serde(default)]
    orders_version: Option<String>,
    /// Whether it sends `configuration` when `configuration_wanted` says so, which is then not waited for.
    #[serde(default)]
    tells_configuration: bool,
    /// How many seconds the answer may wait for a change, at most 25.
    #[serde(default)]
    wait_seconds: u64,
}

/// What is new for a gateway.
#[derive(Serialize, ToSchema)]
pub(crate) struct SyncAnswer {
    /// The keys that it may let in, by their SHA-256, with their terms; `null` when it knows them.
    #[schema(value_type = Option<Object>)]
    keys: Option<Arc<KeySnapshot>>,
    /// What it is to run, with the providers' keys that it needs, and whether it is to take requests; `null` when it
    /// knows, or takes no orders.
    #[schema(value_type = Option<Object>)]
    orders: Option<Arc<Orders>>,
    /// Whether the next report is to tell the configuration that comes from the gateway's own files.
    configuration_wanted: bool,
}

/// Report a gateway, and fetch the keys that it may let in and what it is told to do. The first report enrols it.
#[utoipa::path(post, path = "/v1/gateways/sync", tag = "evidence", request_body = SyncInput, responses(
    (status = 200, description = "What is new.", body = SyncAnswer),
    (status = 401, description = "The key is not good.", body = ErrorBody),
    (status = 403, description = "It is no gateway's key.", body = ErrorBody),
    (status = 409, description = "The organization has as many gateways as it may have.", body = ErrorBody),
    (status = 422, description = "A field is not valid.", body = ErrorBody),
))]
pub(crate) async fn sync(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(input): Input<SyncInput>,
) -> Result<Json<SyncAnswer>, Failure> {
    if input.wait_seconds > MOST_PATIENCE {
        return Err(Error::invalid("wait_seconds", format!("Wait for at most {MOST_PATIENCE} s.")).into());
    }
    let report = GatewayReport {
        id: input.gateway_id,
        software_version: input.software_version,
        config_version: input.config_version,
        address: input.address,
        targets: input.targets,
        config_source: input.config_source,
        configuration: input.configuration,
        refused: input.refused,
        is_draining: input.draining,
        shares_counts: input.counts_shared,
    };
    let asking = report.asking();
    doors.control.report_gateway(&ctx, report).await?;
    let patience = Duration::from_secs(input.wait_seconds);
    let known = Known {
        keys: input.keys_version.as_deref(),
        orders: input.orders_version.as_deref(),
        tells_configuration: input.tells_configuration,
    };
    let news = doors.control.next_news(&ctx, &asking, known, patience).await?;
    Ok(Json(SyncAnswer {
        keys: news.keys,
        orders: news.orders,
        configuration_wanted: news.wants_configuration,
    }))
}

/// A gateway.
#[derive(Serialize, ToSchema)]
pub(crate) struct GatewayAnswer {
    id: String,
    /// Whether it has reported within the last minute.
    connected: bool,
    /// The key that it last came with.
    key_id: Option<String>,
    software_version: String,
    /// The configuration that it has in force; `none` while it has none.
    config_version: String,
    /// Where it is reached, if it says so.
    address: Option<String>,
    /// Where chat and tasks reach it; `null` where it reports no address that can be reached from this server. One of its own
    /// machine, such as `http://127.0.0.1:41002`, counts only for a gateway beside this server.
    reached_at: Option<String>,
    /// The places that it forwards to, as it last reported them.
    #[schema(value_type = Vec<Object>)]
    targets: Vec<TargetReport>,
    /// `file` where its own files decide, `kept` where it runs what is rolled out here.
    config_source: &'static str,
    /// The version that it is to run.
    wanted_version: Option<String>,
    /// The version that it was told to run last and could not, and what it found.
    #[schema(value_type = Option<Object>)]
    refused: Option<RefusedConfiguration>,
    /// Whether it is to take no new requests.
    drained: bool,
    /// Whether it takes none.
    draining: bool,
    /// How it counts limits and budgets: `alone`, or `together` with others in a Redis or Valkey.
    counts: &'static str,
    /// Its requests of the last 24 hours.
    requests_24h: u64,
    /// Those of them that were refused before any policy was asked.
    refused_24h: u64,
    ip_address: Option<String>,
    enrolled_at: String,
    last_seen_at: String,
}

/// A gateway, and what it tells of its own configuration.
#[derive(Serialize, ToSchema)]
pub(crate) struct GatewayDetail {
    #[serde(flatten)]
    gateway: GatewayAnswer,
    /// The configuration in force that comes from its own files, with what could help a thief covered; `null` where it runs
    /// what is rolled out here, has not told it yet, or where it is longer than 256 KiB.
    #[schema(value_type = Option<Object>)]
    configuration: Option<Value>,
}

/// Gateways.
#[derive(Serialize, ToSchema)]
pub(crate) struct GatewaysAnswer {
    gateways: Vec<GatewayAnswer>,
    next_cursor: Option<String>,
}

impl From<GatewayView> for GatewayAnswer {
    fn from(view: GatewayView) -> Self {
        let reached_at =
            view.reached_at().map(|address| address.url().as_str().trim_end_matches('/').to_owned());
        let gateway = view.delivering.gateway;
        Self {
            id: gateway.id,
            connected: view.is_connected,
            config_source: gateway.config_source.as_str(),
            wanted_version: view.wanted.map(|version| version.to_string()),
            refused: gateway.refused,
            drained: view.delivering.orders.is_drained,
            draining: gateway.is_draining,
            counts: if gateway.shares_counts { "together" } else { "alone" },
            requests_24h: view.traffic.requests(),
            refused_24h: view.traffic.refused(),
            key_id: gateway.key.map(|key| key.to_string()),
            software_version: gateway.software_version,
            config_version: gateway.config_version,
            address: gateway.address,
            reached_at,
            targets: gateway.targets,
            ip_address: gateway.ip.map(|ip| ip.to_string()),
            enrolled_at: gateway.enrolled_at.to_string(),
            last_seen_at: gateway.seen_at.to_string(),
        }
    }
}

/// Which gateways.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GatewaysParams {
    /// Those alone whose name or address holds this.
    #[param(value_type = Option<String>)]
    #[serde(default)]
    pub(crate) q: String,
}

/// The gateways of the organization.
#[utoipa::path(get, path = "/v1/gateways", tag = "evidence", params(GatewaysParams, PageParams), responses(
    (status = 200, description = "By name.", body = GatewaysAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or scope does not allow it.", body = ErrorBody),
    (status = 422, description = "`q`, `limit` or `cursor` is not valid.", body = ErrorBody),
))]
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { filter: params, page: request }: Listing<GatewaysParams>,
) -> Result<Json<GatewaysAnswer>, Failure> {
    let page = doors.control.gateways(&ctx, &params.q, &request).await?;
    let gateways = page.items.into_iter().map(GatewayAnswer::from).collect();
    Ok(Json(GatewaysAnswer { gateways, next_cursor: page.next_cursor }))
}

/// The same as a table (CSV), whole. Is recorded in the audit log.
#[utoipa::path(get, path = "/v1/gateways/export/csv", tag = "evidence", params(GatewaysParams), responses(
    (status = 200, description = "The table, as a stream. One that breaks off is incomplete.", body = String,
        content_type = "text/csv"),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or scope does not allow it.", body = ErrorBody),
    (status = 422, description = "A parameter breaks a rule.", body = ErrorBody),
    (status = 429, description = "As many copies are under way as one person may take at once.", body = ErrorBody),
))]
pub(crate) async fn export(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Params(params): Params<GatewaysParams>,
) -> Result<Response, Failure> {
    let export = doors.control.export_gateways(&ctx, &params.q).await?;
    Ok(download::table(&doors.control, export, GATEWAYS_FILE))
}

/// As what a table of gateways is saved.
pub(crate) const GATEWAYS_FILE: &str = "attachment; filename=\"gateways.csv\"";

/// One gateway of the organization.
#[utoipa::path(get, path = "/v1/gateways/{id}", tag = "evidence", params(("id" = String, Path)), responses(
    (status = 200, description = "The gateway.", body = GatewayDetail),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or scope does not allow it.", body = ErrorBody),
    (status = 404, description = "There is no such gateway.", body = ErrorBody),
))]
pub(crate) async fn read(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<Json<GatewayDetail>, Failure> {
    let view = doors.control.gateway(&ctx, &id).await?;
    let told = doors.control.configuration_of_gateway(&ctx, &view.delivering.gateway).await?;
    let configuration = told.and_then(|told| told.document);
    Ok(Json(GatewayDetail { gateway: view.into(), configuration }))
}

/// Tell a gateway to take no new requests. What is under way is finished.
#[utoipa::path(post, path = "/v1/gateways/{id}/drain", tag = "evidence", params(("id" = String, Path)), responses(
    (status = 200, description = "It is told.", body = GatewayAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or scope, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such gateway.", body = ErrorBody),
))]
pub(crate) async fn drain(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<Json<GatewayAnswer>, Failure> {
    Ok(Json(doors.control.drain_gateway(&ctx, &id, true).await?.into()))
}

/// Tell a gateway to take requests again.
#[utoipa::path(post, path = "/v1/gateways/{id}/resume", tag = "evidence", params(("id" = String, Path)), responses(
    (status = 200, description = "It is told.", body = GatewayAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or scope, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such gateway.", body = ErrorBody),
))]
pub(crate) async fn resume(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<Json<GatewayAnswer>, Failure> {
    Ok(Json(doors.control.drain_gateway(&ctx, &id, false).await?.into()))
}

/// Take a gateway off the list that no longer reports. Its events stay.
#[utoipa::path(delete, path = "/v1/gateways/{id}", tag = "evidence", params(("id" = String, Path)), responses(
    (status = 204, description = "It is forgotten."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or scope, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such gateway.", body = ErrorBody),
    (status = 409, description = "It still reports.", body = ErrorBody),
))]
pub(crate) async fn forget(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.forget_gateway(&ctx, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
