//! A password that must be replaced before its holder gets any further.

use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::secret::SecretDigest;
use kt_domain::sign_in::Gate;
use kt_store::{Source, audit, users};

use super::flow::{Flow, step_is_over};
use super::{Entrant, invalid_credentials};
use crate::control::Control;
use crate::mail::PasswordChange;

impl Control {
    /// Puts a new password in place of one that must be replaced, on the strength of a step of a sign-in. It gives no
    /// session: its holder signs in with the new one (R196). Everything issued before is ended. A step that waits for
    /// something else, such as a second factor, is refused: it would be passed by.
    ///
    /// Nobody else's change waits for the hashes: they come before the transaction, which uses the step up.
    pub async fn replace_password(&self, ctx: &Ctx, flow_token: &str, typed: &str) -> Result<(), Error> {
        let step = SecretDigest::of(flow_token);
        let (entrant, flow) = self.look_at_flow(ctx, &step).await?;
        self.require_replacement(ctx, &self.store, &entrant, &flow).await?;
        let policy = self.security_of(&self.store, &entrant.organization.id).await?.value.password;
        let password = self.password_for(ctx, &self.store, "new_password", typed, &policy, &entrant).await?;

        let tx = self.store.begin_write().await?;
        let (entrant, flow) = self.take_step(ctx, &tx, &step).await?;
        self.require_replacement(ctx, &tx, &entrant, &flow).await?;
        if !users::set_password(&tx, &entrant.user.id, entrant.user.epoch, &password).await? {
            return Err(invalid_credentials());
        }
        let record = self.record(ctx, AuditAction::PasswordChanged, entrant.user.id.as_str());
        audit::append(&tx, Some(&entrant.organization.id), &record).await?;
        let (user, organization) = (&entrant.user, &entrant.organization.id);
        self.tell_of_password(ctx, &tx, user, organization, PasswordChange::Replaced).await?;
        self.commit_revocation(tx).await
    }

    /// Refuses a step at which nobody waits for a new password.
    async fn require_replacement(
        &self,
        ctx: &Ctx,
        source: &impl Source,
        entrant: &Entrant,
        flow: &Flow,
    ) -> Result<(), Error> {
        match self.next_step(ctx, source, entrant, &flow.proofs).await? {
            Gate::PasswordChangeRequired(_) => Ok(()),
            _ => Err(step_is_over()),
        }
    }
}
