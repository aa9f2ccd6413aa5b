//! What was refused to somebody who is known: a member who tries what only an administrator may is seen (OWASP ASVS 5.0,
//! 16.3.2).

use std::time::Duration;

use kt_domain::actor::Actor;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_store::audit;
use serde_json::{Value, json};

use crate::control::Control;
use crate::sparingly::Sparingly;

/// Of refusals of one session or key, one for each thing it asks for is recorded in this time.
const RECORDED_EVERY: Duration = Duration::from_mins(10);

/// The refusals that were recorded of late: by whom, of what, by which rule.
pub(crate) type Refusals = Sparingly<(String, String, &'static str)>;

pub(crate) fn refusals() -> Refusals {
    Sparingly::new(RECORDED_EVERY)
}

impl Control {
    /// Records that whoever acts was refused what they `asked`, such as `GET /v1/members`, by this rule; of many, one in ten
    /// minutes.
    pub async fn record_refusal(&self, ctx: &Ctx, asked: &str, rule: &'static str) -> Result<(), Error> {
        let (by, organization) = match &ctx.actor {
            Actor::Person(person) => (person.session.to_string(), &person.organization),
            Actor::Program(program) => (program.key.to_string(), &program.organization),
            Actor::Anonymous | Actor::System(_) => return Ok(()),
        };
        if !self.refusals.lets_through(Some(organization), (by, asked.to_owned(), rule), ctx.now) {
            return Ok(());
        }
        let record = self
            .record(ctx, AuditAction::Refused, asked)
            .with_change(Value::Null, json!({ "rule": rule }))
            .refused();
        let tx = self.store.begin_write().await?;
        audit::append(&tx, Some(organization), &record).await?;
        Ok(tx.commit().await?)
    }
}
