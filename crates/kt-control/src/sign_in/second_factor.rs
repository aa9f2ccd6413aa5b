//! The step of a sign-in at which a second factor is shown, and the one at which there is none yet.

use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::mfa::Demand;
use kt_domain::secret::SecretDigest;
use kt_domain::sign_in::{Factor, Gate};
use kt_store::{Source, Tx, audit, users};

use super::codes::wrong_code;
use super::flow::step_is_over;
use super::{Entrant, Flow, SignInOutcome};
use crate::control::Control;

impl Control {
    /// Goes on with a sign-in on the strength of a code: of an authenticator app, or a recovery code. A wrong one is
    /// `invalid_code` and can be tried again, five times at a step and ten times in a quarter of an hour.
    pub async fn verify_second_factor(
        &self,
        ctx: &Ctx,
        flow_token: &str,
        factor: Factor,
        code: &str,
    ) -> Result<SignInOutcome, Error> {
        let step = SecretDigest::of(flow_token);
        let entrant = self.look_at_step(ctx, &step).await?;
        let attempt = self.begin_code(ctx, &entrant, factor, Some(&step)).await?;
        let tx = self.store.begin_write().await?;
        let (entrant, flow) = self.take_step(ctx, &tx, &step).await?;
        match self.next_step(ctx, &tx, &entrant, &flow.proofs).await? {
            Gate::MfaRequired(methods) if methods.contains(&factor) => {}
            _ => return Err(step_is_over()),
        }
        let Some(proof) = self.use_code(ctx, &tx, &entrant.user, factor, code).await? else {
            // The step goes on: nothing of this transaction is kept.
            drop(tx);
            self.fail_code(ctx, &attempt, &entrant).await?;
            return Err(wrong_code());
        };
        self.code_was_right(ctx, &tx, &attempt, &entrant).await?;
        let outcome = self.advance_in(ctx, &tx, &entrant, &flow.shown(proof)).await?;
        self.commit_step(tx, &outcome).await?;
        Ok(outcome)
    }

    /// Uses up the token of a step at which nothing may be done but adding a second factor. The account is held still before
    /// it is asked which it has: of two who add its first side by side, one does.
    pub(crate) async fn take_enrollment_step(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        step: &SecretDigest,
    ) -> Result<(Entrant, Flow), Error> {
        let (entrant, flow) = self.take_step(ctx, tx, step).await?;
        users::lock(tx, &entrant.user.id).await?;
        self.require_enrollment(ctx, tx, &entrant, &flow).await?;
        Ok((entrant, flow))
    }

    /// Who is at such a step, without using it up.
    pub(crate) async fn look_at_enrollment_step(
        &self,
        ctx: &Ctx,
        step: &SecretDigest,
    ) -> Result<Entrant, Error> {
        let (entrant, flow) = self.look_at_flow(ctx, step).await?;
        self.require_enrollment(ctx, &self.store, &entrant, &flow).await?;
        Ok(entrant)
    }

    /// What is demanded of somebody at such a step.
    pub async fn demand_at_sign_in(&self, ctx: &Ctx, flow_token: &str) -> Result<Demand, Error> {
        let (entrant, flow) = self.look_at_flow(ctx, &SecretDigest::of(flow_token)).await?;
        self.require_enrollment(ctx, &self.store, &entrant, &flow).await?;
        self.due_of(ctx, &self.store, &entrant, &flow).await
    }

    /// What has to be there by now of somebody who is on the way in.
    pub(crate) async fn due_of(
        &self,
        ctx: &Ctx,
        source: &impl Source,
        entrant: &Entrant,
        flow: &Flow,
    ) -> Result<Demand, Error> {
        let mfa = self.security_of(source, &entrant.organization.id).await?.value.mfa;
        let asks = self.asks_of(source, &entrant.membership, &mfa).await?;
        Ok(asks.due(&flow.proofs, ctx.now))
    }

    async fn require_enrollment(
        &self,
        ctx: &Ctx,
        source: &impl Source,
        entrant: &Entrant,
        flow: &Flow,
    ) -> Result<(), Error> {
        match self.next_step(ctx, source, entrant, &flow.proofs).await? {
            Gate::MfaEnrollmentRequired => Ok(()),
            _ => Err(step_is_over()),
        }
    }

    /// A recovery code is worth a record of its own.
    pub(super) async fn record_use(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        entrant: &Entrant,
        factor: Factor,
    ) -> Result<(), Error> {
        if factor != Factor::RecoveryCode {
            return Ok(());
        }
        let record = self.record(ctx, AuditAction::RecoveryCodeUsed, entrant.user.id.as_str());
        Ok(audit::append(tx, Some(&entrant.organization.id), &record).await?)
    }
}
