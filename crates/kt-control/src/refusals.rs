//! What was refused, to somebody who is known or by a rule that guards the forms: a member who tries what only an
//! administrator may is seen, and so is a key that is tried after its time (OWASP ASVS 5.0, 16.3.2 and 16.3.3).

use std::time::Duration;

use kt_domain::actor::Actor;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::lockout::network_of;
use kt_store::{audit, organizations};
use serde_json::{Value, json};

use crate::control::Control;
use crate::sparingly::Sparingly;

/// Of refusals of one session, key or network, one for each thing it asks for is recorded in this time.
const RECORDED_EVERY: Duration = Duration::from_mins(10);

/// The refusals that were recorded of late: by whom, of what, by which rule.
pub(crate) type Refusals = Sparingly<(String, String, &'static str)>;

pub(crate) fn refusals() -> Refusals {
    Sparingly::new(RECORDED_EVERY)
}

impl Control {
    /// Records that whoever acts was refused what they `asked`, such as `GET /v1/members`, by this rule; of many, one in ten
    /// minutes. Somebody who has not said who they are is told apart by their network.
    pub async fn record_refusal(&self, ctx: &Ctx, asked: &str, rule: &'static str) -> Result<(), Error> {
        let by = match &ctx.actor {
            Actor::Person(person) => person.session.to_string(),
            Actor::Program(program) => program.key.to_string(),
            Actor::Anonymous => ctx.client.ip.map(|ip| network_of(ip).to_string()).unwrap_or_default(),
            Actor::System(_) => return Ok(()),
        };
        if !self.refusals.lets_through(ctx.actor.organization(), (by, asked.to_owned(), rule), ctx.now) {
            return Ok(());
        }
        let record = self
            .record(ctx, AuditAction::Refused, asked)
            .with_change(Value::Null, json!({ "rule": rule }))
            .refused();
        let tx = self.store.begin_write().await?;
        let organization = match ctx.actor.organization() {
            Some(organization) => Some(organization.clone()),
            None => organizations::only(&tx).await?,
        };
        audit::append(&tx, organization.as_ref(), &record).await?;
        Ok(tx.commit().await?)
    }

    /// Records that a key was refused for what it is, wherever it was sent: it is over, comes from elsewhere, or too often. What
    /// cannot be recorded is refused all the same.
    pub(crate) async fn record_refused_key(&self, ctx: &Ctx, key: Actor, refusal: &Error) {
        use ErrorKind::{Forbidden, TooManyRequests, Unauthenticated};
        let Actor::Program(program) = &key else { return };
        // All else is no rule, but a failure.
        if ![Unauthenticated, Forbidden, TooManyRequests].contains(&refusal.kind) {
            return;
        }
        let name = program.key.to_string();
        let ctx = Ctx { actor: key, ..ctx.clone() };
        if let Err(error) = self.record_refusal(&ctx, &name, refusal.code).await {
            tracing::error!(%error, key = name, rule = refusal.code, "a refusal could not be recorded");
        }
    }
}
