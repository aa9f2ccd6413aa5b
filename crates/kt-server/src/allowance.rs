//! What is left of the limit on a key's uses, told with every answer, by the names of the IETF draft
//! `draft-ietf-httpapi-ratelimit-headers` and by those that older clients know.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use kt_domain::allowance::Allowance;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Where it is noted once it is known, on the way in.
#[derive(Clone, Default)]
pub(crate) struct AllowanceNote(Arc<OnceLock<Allowance>>);

impl AllowanceNote {
    /// A use is counted once in a request, so that there is one thing to note.
    pub(crate) fn write(&self, allowance: Allowance) {
        let _ = self.0.set(allowance);
    }

    /// Tells with an answer what was noted.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        if let Some(allowance) = self.0.get() {
            tell(allowance, headers);
        }
    }
}

fn tell(allowance: &Allowance, headers: &mut HeaderMap) {
    let (window, reset) = (seconds(allowance.window), seconds(allowance.renewed_in));
    let texts = [
        (POLICY, format!("\"key\";q={};w={window}", allowance.limit)),
        (RATE_LIMIT, format!("\"key\";r={};t={reset}", allowance.left)),
    ];
    for (name, text) in texts {
        headers.extend(HeaderValue::try_from(text).ok().map(|value| (name, value)));
    }
    headers.insert(LIMIT, HeaderValue::from(allowance.limit));
    headers.insert(REMAINING, HeaderValue::from(allowance.left));
    headers.insert(RESET, HeaderValue::from(reset));
}

/// Whole seconds, and never fewer than there are: whoever waits so long is let in.
pub(crate) fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
