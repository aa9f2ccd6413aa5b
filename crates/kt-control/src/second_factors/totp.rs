//! Authenticator apps: added in two steps, so that only an app that has the secret counts.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::UserId;
use kt_domain::mfa::Demand;
use kt_domain::secret::SecretDigest;
use kt_domain::sign_in::{Factor, Proof};
use kt_store::once::{self, OneTime};
use kt_store::second_factors::{self, Totp};
use kt_store::users::{self, User};
use kt_store::{Source, Tx, audit, sessions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::authenticator::{Authenticator, qr_code};
use super::ceremonies::Bond;
use super::{Added, Enrolled, EnrolledAtSignIn};
use crate::control::Control;
use crate::mail;
use crate::sign_in::{CodeAttempt, Entrant, STEP_LIFETIME};

/// An authenticator app that waits to be confirmed.
const PENDING: &str = "totp_enrollment";

/// How long it waits.
const PATIENCE: Duration = Duration::from_mins(10);

/// What an authenticator app needs. Shown once.
pub struct TotpSetup {
    /// The secret, to be typed in.
    pub secret: String,
    /// The same with its settings, as apps open it.
    pub otpauth_uri: String,
    /// The same as a QR code: an SVG element.
    pub qr_svg: String,
    /// Until when it can be confirmed.
    pub expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Pending {
    sealed: String,
    /// Where it was begun: nobody else confirms it.
    bond: Bond,
}

impl Control {
    /// Makes the secret of an authenticator app. It counts once [`Control::confirm_totp`] has seen a code of it; until
    /// then everything stays as it is.
    pub async fn begin_totp(&self, ctx: &Ctx) -> Result<TotpSetup, Error> {
        let person = ctx.require_person()?;
        self.require_own_proof(ctx).await?;
        let tx = self.store.begin_write().await?;
        let user = users::find(&tx, &person.user).await?.ok_or_else(|| Error::not_found("member"))?;
        let bond = Bond::Session(person.session.clone());
        let setup = self.pending_totp(ctx, &tx, &user, bond, ctx.now + PATIENCE).await?;
        tx.commit().await?;
        Ok(setup)
    }

    /// The same for somebody whom the gate lets do nothing else; with the token that confirms it. Refused with
    /// `passkey_required` where an app would not be enough.
    pub async fn begin_totp_at_sign_in(
        &self,
        ctx: &Ctx,
        flow_token: &str,
    ) -> Result<(TotpSetup, String), Error> {
        let step = SecretDigest::of(flow_token);
        self.look_at_enrollment_step(ctx, &step).await?;
        let tx = self.store.begin_write().await?;
        let (entrant, flow) = self.take_enrollment_step(ctx, &tx, &step).await?;
        if self.due_of(ctx, &tx, &entrant, &flow).await? == Demand::Passkey {
            return Err(passkey_required());
        }
        let next = self.carry_on(ctx, &tx, &flow).await?;
        let bond = Bond::Step(SecretDigest::of(&next));
        // The step does not wait as long as the app could.
        let setup = self.pending_totp(ctx, &tx, &entrant.user, bond, ctx.now + STEP_LIFETIME).await?;
        tx.commit().await?;
        Ok((setup, next))
    }

    /// Adds the app that shows this code to the account of the person that asks, in place of the one before. The session
    /// that asks goes on with it; sessions without a second factor end, and all others where an app was replaced. With the
    /// account's first second factor come its recovery codes. Refused with `no_enrollment` in any other session than the one
    /// that began it. A wrong code counts as one at a sign-in.
    pub async fn confirm_totp(&self, ctx: &Ctx, code: &str) -> Result<Enrolled, Error> {
        let person = ctx.require_person()?;
        let entrant = self.entrant_of_person(person).await?;
        let bond = Bond::Session(person.session.clone());
        self.pending_of(&self.store, &entrant.user, &bond, ctx.now).await?;
        let attempt = self.begin_code(ctx, &entrant, Factor::Totp, None).await?;
        let tx = self.store.begin_write().await?;
        let live = self.hold_own_account(ctx, &tx).await?;
        let replaces = second_factors::totp(&tx, &person.user).await?.is_some();
        let Some(enrolled) = self.add_totp(ctx, &tx, &entrant, &bond, &attempt, code).await? else {
            drop(tx);
            return self.refuse_first_code(ctx, &attempt, &entrant).await;
        };
        if replaces {
            self.end_others(ctx, &tx).await?;
        }
        sessions::note_proofs(&tx, &person.session, &live.session.proofs.and(Proof::Totp)).await?;
        self.commit_revocation(tx).await?;
        Ok(enrolled)
    }

    /// The same for somebody whom the gate lets do nothing else: they go on with their sign-in.
    pub async fn confirm_totp_at_sign_in(
        &self,
        ctx: &Ctx,
        flow_token: &str,
        code: &str,
    ) -> Result<EnrolledAtSignIn, Error> {
        let step = SecretDigest::of(flow_token);
        let bond = Bond::Step(step);
        let entrant = self.look_at_enrollment_step(ctx, &step).await?;
        self.pending_of(&self.store, &entrant.user, &bond, ctx.now).await?;
        let attempt = self.begin_code(ctx, &entrant, Factor::Totp, Some(&step)).await?;
        let tx = self.store.begin_write().await?;
        let (entrant, flow) = self.take_enrollment_step(ctx, &tx, &step).await?;
        let Some(enrolled) = self.add_totp(ctx, &tx, &entrant, &bond, &attempt, code).await? else {
            // The step goes on: nothing of this transaction is kept.
            drop(tx);
            return self.refuse_first_code(ctx, &attempt, &entrant).await;
        };
        let outcome = self.advance_in(ctx, &tx, &entrant, &flow.proven(Proof::Totp)).await?;
        self.commit_revocation(tx).await?;
        Ok(EnrolledAtSignIn { enrolled, outcome })
    }

    /// Removes the app from the account of the person that asks. Refused with `factor_required` where an organization
    /// of theirs asks for a second factor and this is the last.
    pub async fn remove_totp(&self, ctx: &Ctx) -> Result<(), Error> {
        let person = ctx.require_person()?;
        self.require_own_proof(ctx).await?;
        let tx = self.store.begin_write().await?;
        self.hold_own_account(ctx, &tx).await?;
        if !second_factors::remove_totp(&tx, &person.user).await? {
            return Err(Error::not_found("authenticator app"));
        }
        self.factor_removed(ctx, &tx, Factor::Totp, mail::Factor::AuthenticatorApp).await?;
        self.commit_revocation(tx).await
    }

    /// `expires_at` is the end of what it is bound to, where that comes first.
    async fn pending_totp(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &User,
        bond: Bond,
        expires_at: Timestamp,
    ) -> Result<TotpSetup, Error> {
        let authenticator = self.draw(Authenticator::draw);
        let sealed =
            self.draw(|random| self.seal.seal(&place(&user.id), authenticator.as_bytes(), random))?;
        once::supersede(tx, PENDING, user.id.as_str(), ctx.now).await?;
        let pending = OneTime {
            // Nobody holds it: an account has one app that waits, and it is found by the account.
            digest: self.new_token().digest(),
            purpose: PENDING,
            subject: user.id.as_str(),
            epoch: Some(user.epoch),
            data: &Pending { sealed, bond },
            created_at: ctx.now,
            expires_at,
        };
        once::issue(tx, &pending).await?;
        let otpauth_uri = authenticator.uri(&user.email)?;
        let qr_svg = qr_code(&otpauth_uri)?;
        Ok(TotpSetup { secret: authenticator.text(), otpauth_uri, qr_svg, expires_at })
    }

    /// The app that waits to be confirmed where this was begun.
    async fn pending_of(
        &self,
        source: &impl Source,
        user: &User,
        bond: &Bond,
        now: Timestamp,
    ) -> Result<Pending, Error> {
        let pending = once::newest::<Pending>(source, PENDING, user.id.as_str(), now).await?;
        let pending =
            pending.filter(|pending| pending.epoch == Some(user.epoch) && pending.data.bond == *bond);
        Ok(pending.ok_or_else(nothing_waits)?.data)
    }

    /// `None` where this is not a code of the app.
    async fn add_totp(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        entrant: &Entrant,
        bond: &Bond,
        attempt: &CodeAttempt,
        code: &str,
    ) -> Result<Option<Enrolled>, Error> {
        let user = &entrant.user;
        let pending = self.pending_of(tx, user, bond, ctx.now).await?;
        let authenticator = self.authenticator(&user.id, &pending.sealed)?;
        let Some(step) = authenticator.matched_step(code, ctx.now) else { return Ok(None) };
        if once::supersede(tx, PENDING, user.id.as_str(), ctx.now).await? == 0 {
            return Err(nothing_waits());
        }
        self.code_was_right(ctx, tx, attempt, entrant).await?;
        let totp = Totp { sealed: pending.sealed, used_step: step, added_at: ctx.now, used_at: None };
        let replaces = second_factors::totp(tx, &user.id).await?.is_some();
        second_factors::put_totp(tx, &user.id, &totp).await?;
        let added = if replaces { Added::AppInPlace } else { Added::App };
        Ok(Some(self.factor_added(ctx, tx, user, &entrant.organization.id, added).await?))
    }

    /// Records that an app was not added.
    async fn refuse_first_code<T>(
        &self,
        ctx: &Ctx,
        attempt: &CodeAttempt,
        entrant: &Entrant,
    ) -> Result<T, Error> {
        let what = json!({ "factor": Factor::Totp, "reason": "wrong_code" });
        let record = self.record(ctx, AuditAction::FactorAdded, entrant.user.id.as_str());
        let tx = self.store.begin_write().await?;
        let record = record.with_change(Value::Null, what).refused();
        audit::append(&tx, Some(&entrant.organization.id), &record).await?;
        self.lock_codes(ctx, &tx, attempt, entrant).await?;
        tx.commit().await?;
        Err(wrong_first_code())
    }

    /// Uses up a code of the app. `false` when it is not right, or it or a later one was used.
    pub(super) async fn use_totp(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &UserId,
        typed: &str,
    ) -> Result<bool, Error> {
        let Some(totp) = second_factors::totp(tx, user).await? else { return Ok(false) };
        match self.authenticator(user, &totp.sealed)?.matched_step(typed, ctx.now) {
            Some(step) => Ok(once::use_totp_step(tx, user, &totp.sealed, step, ctx.now).await?),
            None => Ok(false),
        }
    }

    fn authenticator(&self, user: &UserId, sealed: &str) -> Result<Authenticator, Error> {
        Authenticator::from_bytes(self.seal.open(&place(user), sealed)?)
    }
}

fn place(user: &UserId) -> String {
    format!("totp_secrets/{user}")
}

fn nothing_waits() -> Error {
    let message = "No authenticator app waits to be confirmed, or it has waited too long. Begin again.";
    Error::new(ErrorKind::Conflict, "no_enrollment", message)
}

fn wrong_first_code() -> Error {
    let message = "This is not the code that the app should show now. Check that the device's clock is right, and try \
                   the next code.";
    Error::new(ErrorKind::Invalid, "invalid_code", message).with_param("code")
}

fn passkey_required() -> Error {
    let message =
        "Your organization asks its admins and owners for a passkey. Add one: an app is not enough.";
    Error::new(ErrorKind::Conflict, "passkey_required", message)
}
