//! What comes in at the addresses of providers and was sent by no browser or provider that is known: an answer to nothing that
//! was asked, or of another browser; a request to log out that nobody signed, or that came before. It is refused; and it may
//! be the first that is seen of somebody who tries (STANDARDS LOG-02), so it is recorded.

use std::time::Duration;

use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::lockout::network_of;
use kt_store::{audit, organizations};
use serde_json::{Value, json};

use super::kept_reason;
use crate::control::Control;
use crate::sparingly::Sparingly;

/// Of all that comes from one network, one is recorded in this time.
const RECORDED_EVERY: Duration = Duration::from_mins(10);

/// The networks of which something was recorded of late.
pub(crate) type Strays = Sparingly<String>;

pub(crate) fn strays() -> Strays {
    Sparingly::new(RECORDED_EVERY)
}

/// What somebody has brought.
#[derive(Clone, Copy)]
pub(super) enum Brought {
    /// An answer of a provider.
    Answer,
    /// A request of a provider to end sessions.
    Logout,
}

impl Control {
    /// The same, recorded and logged sparingly where it was refused: with the organization at whose address it came in, if
    /// there is one.
    pub(super) async fn recording_strays<T>(
        &self,
        ctx: &Ctx,
        organization: Option<&str>,
        brought: Brought,
        taken: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(why) = &taken
            && matches!(why.kind, ErrorKind::Unauthenticated | ErrorKind::Malformed)
        {
            self.record_stray(ctx, organization, brought, why).await?;
        }
        taken
    }

    async fn record_stray(
        &self,
        ctx: &Ctx,
        organization: Option<&str>,
        brought: Brought,
        why: &Error,
    ) -> Result<(), Error> {
        let organization = match organization {
            Some(identifier) => organizations::by_identifier(&self.store, identifier).await?,
            None => None,
        };
        let organization = organization.as_ref().map(|found| &found.id);
        let network = ctx.client.ip.map_or_else(|| "unknown".to_owned(), |ip| network_of(ip).to_string());
        if !self.strays.lets_through(organization, network, ctx.now) {
            return Ok(());
        }
        let resource = match brought {
            Brought::Answer => "answer",
            Brought::Logout => "logout",
        };
        let why = why.private.as_deref().map(kept_reason);
        tracing::warn!(resource, why, "what came in at the address of an identity provider was refused");
        let record = self
            .record(ctx, AuditAction::SsoStray, resource)
            .with_change(Value::Null, json!({ "why": why }))
            .refused();
        let tx = self.store.begin_write().await?;
        audit::append(&tx, organization, &record).await?;
        Ok(tx.commit().await?)
    }
}
