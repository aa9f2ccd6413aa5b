//! The operator's listener: health, metrics, the configuration in force, reload, and the newest events.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use kt_domain::clock::Clock;
use kt_domain::media_type;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::apart::apart;
use crate::breaker::State;
use crate::events::QueryError;
use crate::gateway::{Control, Reloaded};
use crate::health;
use crate::http1::connection::ClientTimeouts;
use crate::http1::head::{Head, HeadFault};
use crate::incoming::{Incoming, Peer, Service};
use crate::metrics::{self, Moment};
use crate::providers::target::Target;
use crate::reply::{Refusal, Reply, X_KT_REQUEST_ID};
use crate::shared::rfc3339;
use crate::shown;
use crate::stages::host;
use crate::surface::Surface;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What Prometheus' own parsers, and whoever names no format, expect.
const OLDER_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers on the operator's listener.
pub(crate) struct AdminService {
    pub(crate) control: Arc<Control>,
    pub(crate) address: SocketAddr,
    /// The SHA-256 of the token that is asked for, if one is.
    pub(crate) token: Option<[u8; 32]>,
}

impl Service for AdminService {
    async fn call(&self, head: Head, _: &mut dyn Incoming, _: &Peer) -> Reply {
        let request_id = self.control.new_request_id();
        let answered = match self.check(&head) {
            Ok(()) => self.answer(&head).await,
            Err(refusal) => Err(refusal),
        };
        let mut reply =
            answered.unwrap_or_else(|refusal| refusal.into_reply(Surface::default(), &request_id));
        reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            reply.headers.insert(X_KT_REQUEST_ID, id);
        }
        reply
    }

    async fn refuse_malformed(&self, fault: HeadFault, _: Option<&Head>, _: &Peer) -> Reply {
        Refusal::from(fault).into_reply(Surface::default(), &self.control.new_request_id())
    }

    async fn turn_away(&self, _: &Head, _: &Peer) -> Reply {
        Refusal::too_many_connections().into_reply(Surface::default(), &self.control.new_request_id())
    }

    fn client_timeouts(&self) -> ClientTimeouts {
        self.control.shared.snapshot.load().client_timeouts
    }

    fn clock(&self) -> &dyn Clock {
        &*self.control.shared.clock
    }

    fn is_draining(&self) -> bool {
        false
    }
}

impl AdminService {
    fn check(&self, head: &Head) -> Result<(), Refusal> {
        self.check_host(head)?;
        // No page of any origin has business here.
        if head.headers.contains_key(header::ORIGIN) || is_cross_site(&head.headers) {
            return Err(Refusal::permission(
                403,
                "browser_refused",
                "Web pages may not call the admin listener.",
            ));
        }
        if matches!(head.path.as_str(), "/healthz" | "/readyz" | "/metrics") {
            return Ok(());
        }
        self.check_token(&head.headers)
    }

    /// On loopback the name must be a loopback one, so that no web page can get here by a name that it made point here
    /// (DNS rebinding).
    fn check_host(&self, head: &Head) -> Result<(), Refusal> {
        if !self.address.ip().is_loopback() {
            return Ok(());
        }
        if head.authority.as_ref().is_none_or(host::is_local) {
            return Ok(());
        }
        Err(host::misdirected("Address the admin listener as localhost or by its address."))
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(expected) = &self.token else { return Ok(()) };
        let presented =
            headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        // Digests are compared, so the time it takes tells nothing about the token.
        match presented.map(|token| <[u8; 32]>::from(Sha256::digest(token)) == *expected) {
            Some(true) => Ok(()),
            Some(false) => {
                Err(Refusal::authentication(401, "invalid_key", "This is not the admin listener's token."))
            }
            None => Err(Refusal::authentication(
                401,
                "missing_key",
                "Send the admin listener's token as `Authorization: Bearer TOKEN`.",
            )),
        }
    }

    async fn answer(&self, head: &Head) -> Result<Reply, Refusal> {
        let shared = &self.control.shared;
        if let Some(health) = health::answer(shared, &head.method, &head.path) {
            return health;
        }
        match (head.path.as_str(), &head.method) {
            ("/metrics", &Method::GET) => {
                let text = shared.metrics.render(&Moment {
                    connections: shared.connections.load(Ordering::Relaxed),
                    in_flight: shared.in_flight.load(Ordering::Relaxed),
                    targets: &shared.lasting.targets,
                    telemetry_dropped: shared.telemetry.dropped(),
                    now: shared.clock.now_micros(),
                });
                Ok(if asks_for_openmetrics(&head.headers) {
                    Reply::full(StatusCode::OK, OPENMETRICS, text)
                } else {
                    Reply::full(StatusCode::OK, OLDER_METRICS, metrics::in_older_format(&text))
                })
            }
            ("/keeptrusts/config", &Method::GET) => {
                Ok(Reply::json(StatusCode::OK, shown_configuration(&self.control).to_string()))
            }
            ("/keeptrusts/targets", &Method::GET) => {
                Ok(Reply::json(StatusCode::OK, shown_targets(&self.control).to_string()))
            }
            ("/keeptrusts/config/reload", &Method::POST) => self.reload().await,
            ("/v1/events", &Method::GET) => self.events(head.query.clone().unwrap_or_default()).await,
            ("/metrics" | "/keeptrusts/config" | "/keeptrusts/targets" | "/v1/events", _) => {
                Err(Refusal::method_not_allowed("GET"))
            }
            ("/keeptrusts/config/reload", _) => Err(Refusal::method_not_allowed("POST")),
            _ => Err(Refusal::not_found(
                404,
                "unknown_path",
                "Here are /healthz, /readyz, /metrics, /v1/events, /keeptrusts/config, /keeptrusts/config/reload and \
                 /keeptrusts/targets.",
            )),
        }
    }

    async fn reload(&self) -> Result<Reply, Refusal> {
        let control = Arc::clone(&self.control);
        match apart(move || control.reload()).await {
            Ok(Reloaded { version, warnings }) => {
                let body = json!({ "config_version": version, "warnings": warnings });
                Ok(Reply::json(StatusCode::OK, body.to_string()))
            }
            Err(report) => {
                let message = format!("The configuration was not changed.\n{report}");
                Err(Refusal::invalid(422, "invalid_configuration", Cow::Owned(message)))
            }
        }
    }

    async fn events(&self, query: String) -> Result<Reply, Refusal> {
        let events = Arc::clone(&self.control.shared.events);
        match apart(move || events.query(&query)).await {
            Ok(body) => Ok(Reply::json(StatusCode::OK, body)),
            Err(QueryError::Invalid { param, message }) => {
                Err(Refusal::invalid(422, "validation_error", message).with_param(param))
            }
            Err(error @ QueryError::Unreadable) => {
                Err(Refusal::unavailable(503, "events_unavailable", error.to_string()))
            }
        }
    }
}

/// Whether a client takes metrics in the format of OpenMetrics.
fn asks_for_openmetrics(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::ACCEPT).iter();
    lines.any(|ranges| media_type::is_among(ranges.as_bytes(), "application/openmetrics-text"))
}

fn is_cross_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "none" && site != "same-origin")
}

/// The configuration in force, with what could help a thief covered.
fn shown_configuration(control: &Control) -> Value {
    let snapshot = control.shared.snapshot.load();
    let config = shown::configuration(&snapshot.config);
    json!({ "gateway_id": control.shared.gateway_id, "config_version": snapshot.version, "config": config })
}

/// Each target, whether it can be asked, and how it has fared since the gateway was started.
fn shown_targets(control: &Control) -> Value {
    let snapshot = control.shared.snapshot.load();
    let now = control.shared.clock.now_micros();
    let shown = |target: &Arc<Target>| {
        let health = &target.health;
        let (circuit, left) = match health.state(now) {
            State::Closed => ("closed", None),
            State::HalfOpen => ("half_open", None),
            State::Open(left) => ("open", Some(left.div_euclid(1000))),
        };
        let last_fault =
            health.last_fault().map(|fault| json!({ "reason_code": fault.code, "at": rfc3339(fault.at) }));
        json!({
            "id": target.id,
            "provider": target.vendor,
            "model": target.model,
            "available": target.available,
            "circuit": circuit,
            "open_for_ms": left,
            "failures_in_a_row": health.failures(),
            "answers": health.answers.get(),
            "retries": health.retries.get(),
            "last_fault": last_fault,
        })
    };
    json!({ "targets": snapshot.targets.iter().map(shown).collect::<Vec<_>>() })
}
