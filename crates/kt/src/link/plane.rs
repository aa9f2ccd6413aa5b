//! The control plane as a gateway sees it: over the network, or in the same process.

use std::sync::Arc;
use std::time::Duration;

use kt_control::outbound::{Outbound, OutboundError};
use kt_control::{Control, Delivery, GatewayReport, Known, News};
use kt_domain::configurations::Orders;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::keys::KeySnapshot;
use kt_domain::public_url::PublicUrl;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::reading::printable;
use crate::control_plane::operator;
use crate::refusal::Refusal;

/// How long an answer may wait for something new: less than a client waits for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// The longest answer that is read: the terms of some hundred thousand keys.
const ANSWER_LIMIT: usize = 64 << 20;

/// The code with which it says that entries are missing.
const GAP: &str = "chain_gap";

/// A control plane.
#[derive(Clone)]
pub(crate) enum Plane {
    /// Elsewhere.
    Remote(Arc<RemotePlane>),
    /// In this process.
    Local(Arc<Control>),
}

/// A control plane that is asked over its API, with a gateway's key.
pub(crate) struct RemotePlane {
    api: PublicUrl,
    key: String,
    outbound: Outbound,
}

impl RemotePlane {
    /// The control plane whose API is at `api`.
    pub(crate) fn new(api: PublicUrl, key: String, outbound: Outbound) -> Self {
        Self { api, key, outbound }
    }

    /// The body of its good answer.
    async fn post(&self, path: &'static str, body: String) -> Result<Vec<u8>, PlaneError> {
        let headers = [
            ("authorization", format!("Bearer {}", self.key)),
            ("content-type", "application/json".to_owned()),
            ("user-agent", concat!("kt-gateway/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        let answer = self.outbound.post(&self.api.page(path), &headers, body.into()).await?;
        let status = answer.status.as_u16();
        let body = answer.read(ANSWER_LIMIT).await?;
        match status {
            200..300 => Ok(body),
            _ => Err(refusal(&body, status)),
        }
    }
}

/// What a refusal means.
fn refusal(body: &[u8], status: u16) -> PlaneError {
    let Some(Refusal { code, message }) = Refusal::read(body) else {
        return PlaneError::Away(format!("status {status}, from what is no Keeptrusts API"));
    };
    let reason = printable(&format!("{code}: {message}"));
    match status {
        401 | 403 if ends_the_key(&code) => PlaneError::Refused(reason),
        409 if code == GAP => PlaneError::Gap,
        409 | 413 | 422 => PlaneError::Invalid(reason),
        _ => PlaneError::Away(reason),
    }
}

/// Whether a refusal says that the gateway's own key is over, or does not reach this. Any other, such as that of the address from
/// which it asks, comes of the network or of a list of addresses that was meant for people, and is over as soon as that is.
fn ends_the_key(code: &str) -> bool {
    matches!(code, "invalid_key" | "key_expired" | "insufficient_scope" | "insufficient_role")
}

/// Why the control plane did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaneError {
    /// Nobody has set it up yet: there is nothing to be told and nobody to deliver to.
    #[error("it is not set up yet")]
    NotSetUp,
    /// It cannot do it at present: try again.
    #[error("{0}")]
    Away(String),
    /// It does nothing for this gateway any more.
    #[error("{0}")]
    Refused(String),
    /// It lacks entries that come before those that it was given.
    #[error("it lacks entries of the event log that come before")]
    Gap,
    /// It does not take what it was given.
    #[error("{0}")]
    Invalid(String),
}

impl Plane {
    /// Reports the gateway, and waits for up to `patience` for something other than it knows.
    pub(super) async fn sync(
        &self,
        report: GatewayReport,
        known: Known<'_>,
        patience: Duration,
    ) -> Result<News, PlaneError> {
        #[derive(Deserialize)]
        struct Answer {
            keys: Option<Arc<KeySnapshot>>,
            /// Absent in the answer of a control plane that gives no orders yet.
            #[serde(default)]
            orders: Option<Arc<Orders>>,
            #[serde(default)]
            configuration_wanted: bool,
        }
        match self {
            Self::Remote(plane) => {
                let body = json!({
                    "gateway_id": report.id,
                    "software_version": report.software_version,
                    "config_version": report.config_version,
                    "address": report.address,
                    "targets": report.targets,
                    "config_source": report.config_source,
                    "configuration": report.configuration,
                    "refused": report.refused,
                    "draining": report.is_draining,
                    "counts_shared": report.shares_counts,
                    "keys_version": known.keys,
                    "orders_version": known.orders,
                    "tells_configuration": known.tells_configuration,
                    "wait_seconds": patience.as_secs(),
                });
                let answer = plane.post("/v1/gateways/sync", body.to_string()).await?;
                let answer: Answer = serde_json::from_slice(&answer).map_err(|error| {
                    PlaneError::Away(format!("its answer is not what was expected: {error}"))
                })?;
                let Answer { keys, orders, configuration_wanted: wants_configuration } = answer;
                Ok(News { keys, orders, wants_configuration })
            }
            Self::Local(control) => {
                let ctx = operator("gateway");
                let asking = report.asking();
                control.report_gateway(&ctx, report).await?;
                Ok(control.next_news(&ctx, &asking, known, patience).await?)
            }
        }
    }

    /// Hands entries of the gateway's event log over, each its line there. Those that it has already are no matter.
    pub(super) async fn deliver(&self, gateway_id: &str, entries: &[String]) -> Result<(), PlaneError> {
        match self {
            Self::Remote(plane) => {
                let gateway_id = Value::from(gateway_id);
                let body = format!("{{\"gateway_id\":{gateway_id},\"entries\":[{}]}}", entries.join(","));
                plane.post("/v1/events", body).await.map(drop)
            }
            Self::Local(control) => {
                let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
                let delivery = Delivery::Chain { gateway_id, entries: &entries };
                control.deliver_events(&operator("gateway"), delivery).await?;
                Ok(())
            }
        }
    }
}

impl From<OutboundError> for PlaneError {
    fn from(error: OutboundError) -> Self {
        Self::Away(printable(&error.to_string()))
    }
}

impl From<Error> for PlaneError {
    fn from(error: Error) -> Self {
        match error.kind {
            ErrorKind::Unauthenticated | ErrorKind::Forbidden if ends_the_key(error.code) => {
                Self::Refused(error.to_string())
            }
            ErrorKind::Unavailable if error.code == "not_set_up" => Self::NotSetUp,
            ErrorKind::Conflict if error.code == GAP => Self::Gap,
            ErrorKind::Invalid | ErrorKind::Conflict => Self::Invalid(error.to_string()),
            _ => Self::Away(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_that_the_key_is_over_counts_as_refused() {
        for (status, code, is_refused) in [
            (401, "invalid_key", true),
            (401, "key_expired", true),
            (403, "insufficient_scope", true),
            (403, "insufficient_role", true),
            (403, "ip_denied", false),
            (403, "key_ip_denied", false),
            (403, "unresolved_source", false),
            (401, "missing_key", false),
            (429, "rate_limited", false),
            (503, "store_unavailable", false),
        ] {
            let body = json!({ "error": { "code": code, "message": "Why." } }).to_string();
            let meant = refusal(body.as_bytes(), status);
            assert_eq!(matches!(meant, PlaneError::Refused(_)), is_refused, "{code}: {meant:?}");
            assert_eq!(matches!(meant, PlaneError::Away(_)), !is_refused, "{code}: {meant:?}");
        }
        assert!(matches!(refusal(b"<html>", 403), PlaneError::Away(_)), "a proxy's own page");
    }
}
