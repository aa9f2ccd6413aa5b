//! Authenticator apps: added in two steps, so that only an app that has the secret counts.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::mfa::Demand;
use kt_domain::secret::SecretDigest;
use kt_domain::sign_in::{Factor, Proof};
use kt_store::once::{self, OneTime};
use kt_store::second_factors::{self, Totp};
use kt_store::users::{self, User};
use kt_store::{Tx, sessions};
use serde::{Deserialize, Serialize};

use super::authenticator::{Authenticator, qr_code};
use super::{Added, Enrolled, EnrolledAtSignIn};
use crate::control::Control;
use crate::mail;

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
}

impl Control {
    /// Makes the secret of an authenticator app. It counts once [`Control::confirm_totp`] has seen a code of it; until
    /// then everything stays as it is.
    pub async fn begin_totp(&self, ctx: &Ctx) -> Result<TotpSetup, Error> {
        let person = ctx.require_person()?;
        self.require_own_proof(ctx).await?;
        let tx = self.store.begin_write().await?;
        let user = users::find(&tx, &person.user).await?.ok_or_else(|| Error::not_found("member"))?;
        let setup = self.pending_totp(ctx, &tx, &user).await?;
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
        let tx = self.store.begin_write().await?;
        let (entrant, flow) = self.take_enrollment_step(ctx, &tx, &SecretDigest::of(flow_token)).await?;
        let mfa = self.security_of(&tx, &entrant.organization.id).await?.value.mfa;
        if mfa.demand(entrant.membership.role) == Demand::Passkey {
            return Err(passkey_required());
        }
        let setup = self.pending_totp(ctx, &tx, &entrant.user).await?;
        let next = self.carry_on(ctx, &tx, &flow).await?;
        tx.commit().await?;
        Ok((setup, next))
    }

    /// Adds the app that shows this code to the account of the person that asks, in place of the one before. The session
    /// that asks goes on with it; sessions without a second factor end, and all others where an app was replaced. With the
    /// account's first second factor come its recovery codes.
    pub async fn confirm_totp(&self, ctx: &Ctx, code: &str) -> Result<Enrolled, Error> {
        let person = ctx.require_person()?;
        let tx = self.store.begin_write().await?;
        users::lock(&tx, &person.user).await?;
        let user = users::find(&tx, &person.user).await?.ok_or_else(|| Error::not_found("member"))?;
        let replaces = second_factors::totp(&tx, &user.id).await?.is_some();
        let enrolled = self.add_totp(ctx, &tx, &user, &person.organization, code).await?;
        if replaces {
            self.end_others(ctx, &tx).await?;
        }
        let live = sessions::find(&tx, &person.session).await?.ok_or_else(crate::jwt::invalid_token)?;
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
        let tx = self.store.begin_write().await?;
        let (entrant, flow) = self.take_enrollment_step(ctx, &tx, &SecretDigest::of(flow_token)).await?;
        users::lock(&tx, &entrant.user.id).await?;
        let enrolled = self.add_totp(ctx, &tx, &entrant.user, &entrant.organization.id, code).await?;
        let outcome = self.advance_in(ctx, &tx, &entrant, &flow.proven(Proof::Totp)).await?;
        self.commit_revocation(tx).await?;
        Ok(EnrolledAtSignIn { enrolled, outcome })
    }

    /// Removes the app from the account of the person that asks. Refused with `factor_required` where an organisation
    /// of theirs asks for a second factor and this is the last.
    pub async fn remove_totp(&self, ctx: &Ctx) -> Result<(), Error> {
        let person = ctx.require_person()?;
        self.require_own_proof(ctx).await?;
        let tx = self.store.begin_write().await?;
        users::lock(&tx, &person.user).await?;
        if !second_factors::remove_totp(&tx, &person.user).await? {
            return Err(Error::not_found("authenticator app"));
        }
        self.factor_removed(ctx, &tx, Factor::Totp, mail::Factor::AuthenticatorApp).await?;
        self.commit_revocation(tx).await
    }

    async fn pending_totp(&self, ctx: &Ctx, tx: &Tx<'_>, user: &User) -> Result<TotpSetup, Error> {
        let authenticator = self.draw(Authenticator::draw);
        let sealed =
            self.draw(|random| self.seal.seal(&place(&user.id), authenticator.as_bytes(), random))?;
        let expires_at = ctx.now + PATIENCE;
        once::supersede(tx, PENDING, user.id.as_str(), ctx.now).await?;
        let pending = OneTime {
            // Nobody holds it: an account has one app that waits, and it is found by the account.
            digest: self.new_token().digest(),
            purpose: PENDING,
            subject: user.id.as_str(),
            epoch: Some(user.epoch),
            data: &Pending { sealed },
            created_at: ctx.now,
            expires_at,
        };
        once::issue(tx, &pending).await?;
        let otpauth_uri = authenticator.uri(&user.email)?;
        let qr_svg = qr_code(&otpauth_uri)?;
        Ok(TotpSetup { secret: authenticator.text(), otpauth_uri, qr_svg, expires_at })
    }

    async fn add_totp(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &User,
        organization: &OrganizationId,
        code: &str,
    ) -> Result<Enrolled, Error> {
        let pending = once::newest::<Pending>(tx, PENDING, user.id.as_str(), ctx.now).await?;
        let pending =
            pending.filter(|pending| pending.epoch == Some(user.epoch)).ok_or_else(nothing_waits)?;
        let authenticator = self.authenticator(&user.id, &pending.data.sealed)?;
        let step = authenticator.matched_step(code, ctx.now).ok_or_else(wrong_first_code)?;
        if once::supersede(tx, PENDING, user.id.as_str(), ctx.now).await? == 0 {
            return Err(nothing_waits());
        }
        let totp = Totp { sealed: pending.data.sealed, used_step: step, added_at: ctx.now, used_at: None };
        let replaces = second_factors::totp(tx, &user.id).await?.is_some();
        second_factors::put_totp(tx, &user.id, &totp).await?;
        let added = if replaces { Added::AppInPlace } else { Added::App };
        self.factor_added(ctx, tx, user, organization, added).await
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
            Some(step) => Ok(once::use_totp_step(tx, user, step, ctx.now).await?),
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
