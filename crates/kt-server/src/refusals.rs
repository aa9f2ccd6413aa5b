//! What is refused to somebody who is known leaves a record that says what they asked for and which rule refused it.

use std::sync::{Arc, OnceLock};

use axum::extract::MatchedPath;
use axum::http::Method;
use axum::response::Response;
use kt_domain::ctx::Ctx;

use crate::Doors;
use crate::failure::ErrorContent;

/// The rules whose refusals are worth a record.
const RECORDED: [&str; 7] = [
    "insufficient_role",
    "insufficient_scope",
    "person_required",
    "rank_too_low",
    "reauthentication_required",
    "cross_site_request",
    "csrf_failed",
];

/// Where it is noted, once it is known, in whose name a request comes.
#[derive(Clone, Default)]
pub(crate) struct CallerNote(Arc<OnceLock<Ctx>>);

impl CallerNote {
    /// A request comes in one name.
    pub(crate) fn write(&self, ctx: &Ctx) {
        let _ = self.0.set(ctx.clone());
    }

    /// The context of whoever is known.
    pub(crate) fn read(&self) -> Option<&Ctx> {
        self.0.get()
    }
}

/// Which route was asked for, without what stands in its place holders.
pub(crate) struct Asked(Method, Option<MatchedPath>);

impl Asked {
    pub(crate) fn of(method: &Method, matched: Option<&MatchedPath>) -> Self {
        Self(method.clone(), matched.cloned())
    }
}

/// The rule by which an answer refuses, where that is worth a record.
pub(crate) fn rule_of(response: &Response) -> Option<&'static str> {
    let code = response.extensions().get::<ErrorContent>().map(|content| content.code);
    code.filter(|code| RECORDED.contains(code))
}

/// Records a refusal. What cannot be recorded is refused all the same.
pub(crate) async fn record(doors: &Doors, ctx: &Ctx, asked: &Asked, rule: &'static str) {
    let Asked(method, path) = asked;
    let asked = format!("{method} {}", path.as_ref().map_or("", MatchedPath::as_str));
    if let Err(error) = doors.control.record_refusal(ctx, &asked, rule).await {
        tracing::error!(%error, asked, rule, "a refusal could not be recorded");
    }
}
