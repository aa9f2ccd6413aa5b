//! `/v1/gateways`: which gateways there are, and what they fetch.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use kt_control::{GatewayReport, GatewayView};
use kt_domain::error::Error;
use kt_domain::gateways::TargetReport;
use kt_domain::keys::KeySnapshot;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::paging::{Everything, Listing, PageParams};
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::Caller;

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
    /// The configuration that it has in force.
    config_version: String,
    /// Where the gateway is reached: https, or http on a loopback address.
    #[serde(default)]
    address: Option<String>,
    /// The places that it forwards to, each with `id`, `provider`, `state` (`usable`, `no_credential`, `failing`) and
    /// the `models` that can be asked for by name.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    targets: Vec<TargetReport>,
    /// The version of the keys that it knows.
    #[serde(default)]
    keys_version: Option<String>,
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
}

/// Report a gateway, and fetch the keys that it may let in. The first report enrols it.
#[utoipa::path(post, path = "/v1/gateways/sync", tag = "evidence", request_body = SyncInput, responses(
    (status = 200, description = "What is new.", body = SyncAnswer),
    (status = 401, description = "The key is not good.", body = ErrorBody),
    (status = 403, description = "It is no gateway's key.", body = ErrorBody),
    (status = 409, description = "A gateway of another organization has this name.", body = ErrorBody),
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
    };
    doors.control.report_gateway(&ctx, report).await?;
    let patience = Duration::from_secs(input.wait_seconds);
    let keys = doors.control.next_key_snapshot(&ctx, input.keys_version.as_deref(), patience).await?;
    Ok(Json(SyncAnswer { keys }))
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
    config_version: String,
    /// Where it is reached, if it says so.
    address: Option<String>,
    /// The places that it forwards to, as it last reported them.
    #[schema(value_type = Vec<Object>)]
    targets: Vec<TargetReport>,
    ip_address: Option<String>,
    enrolled_at: String,
    last_seen_at: String,
}

/// Gateways.
#[derive(Serialize, ToSchema)]
pub(crate) struct GatewaysAnswer {
    gateways: Vec<GatewayAnswer>,
    next_cursor: Option<String>,
}

impl From<GatewayView> for GatewayAnswer {
    fn from(view: GatewayView) -> Self {
        let gateway = view.delivering.gateway;
        Self {
            id: gateway.id,
            connected: view.is_connected,
            key_id: gateway.key.map(|key| key.to_string()),
            software_version: gateway.software_version,
            config_version: gateway.config_version,
            address: gateway.address,
            targets: gateway.targets,
            ip_address: gateway.ip.map(|ip| ip.to_string()),
            enrolled_at: gateway.enrolled_at.to_string(),
            last_seen_at: gateway.seen_at.to_string(),
        }
    }
}

/// The gateways of the organization.
#[utoipa::path(get, path = "/v1/gateways", tag = "evidence", params(PageParams), responses(
    (status = 200, description = "By name.", body = GatewaysAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or scope does not allow it.", body = ErrorBody),
    (status = 422, description = "`limit` or `cursor` is not valid.", body = ErrorBody),
))]
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { page: request, .. }: Listing<Everything>,
) -> Result<Json<GatewaysAnswer>, Failure> {
    let page = doors.control.gateways(&ctx, &request).await?;
    let gateways = page.items.into_iter().map(GatewayAnswer::from).collect();
    Ok(Json(GatewaysAnswer { gateways, next_cursor: page.next_cursor }))
}
