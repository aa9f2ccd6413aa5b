//! Counting codes: before one is looked at, exactly, whoever types it and through whatever door.

use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::lockout::{self, CODE_WINDOW, CODES, CODES_OF_A_STEP};
use kt_domain::secret::SecretDigest;
use kt_domain::sign_in::Factor;
use kt_store::{Tx, audit, limits};
use serde_json::{Value, json};

use super::Entrant;
use super::flow::step_is_over;
use crate::control::Control;
use crate::mail::{Codes, Message};
use crate::post::{circumstances, kept_email};

/// A code that was counted, and may be looked at.
pub(crate) struct CodeAttempt {
    factor: Factor,
    key: String,
    /// Whether this very try has brought the count to its limit.
    locks: bool,
    /// Whether it is the first at a step of a sign-in.
    is_first: bool,
}

impl Control {
    /// Counts a code against the account and against the step of the sign-in. Counting comes before the code is looked at,
    /// so that parallel tries cannot outrun it. Refused once there were too many, whether or not this one is right.
    pub(crate) async fn begin_code(
        &self,
        ctx: &Ctx,
        entrant: &Entrant,
        factor: Factor,
        step: Option<&SecretDigest>,
    ) -> Result<CodeAttempt, Error> {
        let key = lockout::code_key(entrant.user.id.as_str(), factor);
        let tx = self.store.begin_write().await?;
        let at_step = match step {
            Some(step) => limits::count(&tx, &lockout::step_key(step), CODE_WINDOW, ctx.now).await?,
            None => 0,
        };
        if at_step > i64::from(CODES_OF_A_STEP) {
            tx.commit().await?;
            return Err(step_is_over());
        }
        let counted = limits::count_until(&tx, &key, CODE_WINDOW, ctx.now).await?;
        tx.commit().await?;
        if counted.count > i64::from(CODES) {
            return Err(
                too_many_codes().with_retry_after(counted.ends_at.duration_since(ctx.now).unsigned_abs())
            );
        }
        Ok(CodeAttempt { factor, key, locks: counted.count == i64::from(CODES), is_first: at_step == 1 })
    }

    /// The code was wrong: it stays counted, is recorded, and whoever has the account hears of the first one at a sign-in,
    /// since somebody knows their password (ASVS 5.0, 6.3.5).
    pub(crate) async fn fail_code(
        &self,
        ctx: &Ctx,
        attempt: &CodeAttempt,
        entrant: &Entrant,
    ) -> Result<(), Error> {
        let (user, organization) = (&entrant.user, &entrant.organization.id);
        let tx = self.store.begin_write().await?;
        let what = json!({ "reason": "wrong_code", "factor": attempt.factor });
        let failed =
            self.record(ctx, AuditAction::SignIn, user.id.as_str()).with_change(Value::Null, what).refused();
        audit::append(&tx, Some(organization), &failed).await?;
        self.lock_codes(ctx, &tx, attempt, entrant).await?;
        if attempt.is_first {
            let message = Message::SecondFactorFailed { happened: circumstances(ctx) };
            self.enqueue(ctx, &tx, Some(organization), Some(&kept_email(&user.email)?), &message).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Ends codes of this kind for a while where this one was the last of too many. Whoever has the account hears of it, also where
    /// it was in a session of theirs, of whose wrong codes nothing else is told.
    pub(crate) async fn lock_codes(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        attempt: &CodeAttempt,
        entrant: &Entrant,
    ) -> Result<(), Error> {
        if !attempt.locks {
            return Ok(());
        }
        let until = ctx.now + CODE_WINDOW;
        limits::extend(tx, &attempt.key, until).await?;
        let what = json!({ "factor": attempt.factor, "until": until.to_string() });
        let (user, organization) = (&entrant.user, Some(&entrant.organization.id));
        let locked = self.record(ctx, AuditAction::AccountLocked, user.id.as_str());
        audit::append(tx, organization, &locked.with_change(Value::Null, what)).await?;
        let codes = match attempt.factor {
            Factor::RecoveryCode => Codes::Recovery,
            Factor::Totp | Factor::Passkey => Codes::AuthenticatorApp,
        };
        let message = Message::CodesLocked { codes, failures: CODES, until, last: circumstances(ctx) };
        self.enqueue(ctx, tx, organization, Some(&kept_email(&user.email)?), &message).await
    }

    /// The code was right: the count starts anew.
    pub(crate) async fn code_was_right(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        attempt: &CodeAttempt,
        entrant: &Entrant,
    ) -> Result<(), Error> {
        limits::reset(tx, &attempt.key).await?;
        self.record_use(ctx, tx, entrant, attempt.factor).await
    }
}

pub(crate) fn wrong_code() -> Error {
    let message = "This code is not right, or it was used already. Wait for the next one, and try again.";
    Error::new(ErrorKind::Unauthenticated, "invalid_code", message).with_param("code")
}

fn too_many_codes() -> Error {
    let message = "Too many wrong codes. Wait a quarter of an hour, or use another second factor.";
    Error::new(ErrorKind::TooManyRequests, "too_many_attempts", message)
}
