//! Recovery codes: made with the first second factor, shown once, each used once.

use jiff::Timestamp;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::UserId;
use kt_domain::recovery_code::{RecoveryCode, SET};
use kt_store::once::{self, OneTime};
use kt_store::second_factors::{self, RECOVERY_CODE};
use kt_store::users::{self, User};
use kt_store::{Tx, audit};

use crate::control::Control;
use crate::mail::Message;
use crate::post::{circumstances, kept_email};

impl Control {
    /// Gives the person that asks new recovery codes. All earlier ones have stopped working, and they are told by mail.
    /// Refused with `no_second_factor` where there is nothing that a code could take the place of.
    pub async fn renew_recovery_codes(&self, ctx: &Ctx) -> Result<Vec<String>, Error> {
        let person = ctx.require_person()?;
        self.require_own_proof(ctx).await?;
        let tx = self.store.begin_write().await?;
        self.hold_own_account(ctx, &tx).await?;
        let user = users::find(&tx, &person.user).await?.ok_or_else(|| Error::not_found("member"))?;
        if !second_factors::of(&tx, &user.id).await?.has_any() {
            return Err(no_second_factor());
        }
        let codes = self.new_recovery_codes(ctx, &tx, &user.id).await?;
        let record = self.record(ctx, AuditAction::RecoveryCodesMade, user.id.as_str());
        audit::append(&tx, Some(&person.organization), &record).await?;
        let message = Message::RecoveryCodesMade { happened: circumstances(ctx) };
        self.enqueue(ctx, &tx, Some(&person.organization), Some(&kept_email(&user.email)?), &message).await?;
        tx.commit().await?;
        Ok(codes)
    }

    /// A set of codes in place of all earlier ones.
    pub(super) async fn new_recovery_codes(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &UserId,
    ) -> Result<Vec<String>, Error> {
        once::supersede(tx, RECOVERY_CODE, user.as_str(), ctx.now).await?;
        let mut shown = Vec::with_capacity(SET);
        for _ in 0..SET {
            let code = self.draw(RecoveryCode::draw);
            let kept = OneTime {
                digest: code.digest(user),
                purpose: RECOVERY_CODE,
                subject: user.as_str(),
                // A code outlives passwords: it is for whoever has lost everything else.
                epoch: None,
                data: &(),
                created_at: ctx.now,
                expires_at: Timestamp::MAX,
            };
            once::issue(tx, &kept).await?;
            shown.push(code.to_string());
        }
        Ok(shown)
    }

    /// Uses up a code. `false` when it is none of theirs, or was used. Its holder is told by mail how many are left.
    pub(super) async fn use_recovery_code(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &User,
        typed: &str,
    ) -> Result<bool, Error> {
        let Ok(code) = typed.parse::<RecoveryCode>() else { return Ok(false) };
        if once::consume::<()>(tx, RECOVERY_CODE, &code.digest(&user.id), ctx.now).await?.is_none() {
            return Ok(false);
        }
        let left = second_factors::of(tx, &user.id).await?.recovery_codes;
        let left = u32::try_from(left).map_err(Error::internal)?;
        let message = Message::RecoveryCodeUsed { left, happened: circumstances(ctx) };
        self.enqueue(ctx, tx, None, Some(&kept_email(&user.email)?), &message).await?;
        Ok(true)
    }
}

fn no_second_factor() -> Error {
    let message =
        "A recovery code takes the place of a second factor, and this account has none. Add one first.";
    Error::new(ErrorKind::Conflict, "no_second_factor", message)
}
