//! Whether the process lives and whether it can do its work, on both listeners.

use http::{Method, StatusCode};

use crate::reply::{Refusal, Reply};
use crate::shared::Shared;

/// The answer to a health check; `None` when the request is none.
pub(crate) fn answer(shared: &Shared, method: &Method, path: &str) -> Option<Result<Reply, Refusal>> {
    let check = check_at(path)?;
    Some(match *method {
        Method::GET | Method::HEAD => Ok(check(shared)),
        _ => Err(Refusal::method_not_allowed("GET, HEAD")),
    })
}

/// Whether a normalised path is that of a health check.
pub(crate) fn is_at(path: &str) -> bool {
    check_at(path).is_some()
}

fn check_at(path: &str) -> Option<fn(&Shared) -> Reply> {
    match path {
        "/healthz" => Some(live),
        "/readyz" => Some(ready),
        _ => None,
    }
}

fn live(_: &Shared) -> Reply {
    Reply::json(StatusCode::OK, r#"{"status":"ok"}"#)
}

fn ready(shared: &Shared) -> Reply {
    let reason = if shared.sends_away() {
        "draining"
    } else if !shared.events.is_writable() {
        "events cannot be recorded"
    } else {
        return Reply::json(StatusCode::OK, r#"{"status":"ready"}"#);
    };
    Reply::json(StatusCode::SERVICE_UNAVAILABLE, format!(r#"{{"status":"not ready","reason":"{reason}"}}"#))
}
