//! The second factors of an account: what there is, adding and removing, and using one.
//!
//! Factors belong to an account, whatever organizations it is in: what one of them demands holds for all of it.

mod asks;
mod authenticator;
mod authenticators;
pub(crate) mod ceremonies;
pub(crate) mod fault;
pub(crate) mod passkeys;
mod recovery_codes;
mod reminders;
mod reset;
mod totp;
pub(crate) mod webauthn;

use jiff::Timestamp;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::OrganizationId;
use kt_domain::mfa::FEW_RECOVERY_CODES;
use kt_domain::sign_in::{Factor, Proof};
use kt_store::second_factors::{self, Factors, RECOVERY_CODE, Totp};
use kt_store::sessions::{self, LiveSession};
use kt_store::users::{self, User};
use kt_store::{Tx, audit, once};
use serde_json::{Value, json};

use crate::control::Control;
use crate::jwt::invalid_token;
use crate::mail::{self, Label, Message};
use crate::post::{circumstances, kept_email};
use crate::sign_in::SignInOutcome;
pub use asks::FactorDemand;
pub use ceremonies::{PasskeyAnswer, PasskeyChallenge};
pub use passkeys::{PasskeyView, Passkeys};
pub use totp::TotpSetup;

/// The second factors of the person that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondFactors {
    /// How many passkeys they have.
    pub passkeys: i64,
    /// Their authenticator app.
    pub totp: Option<AuthenticatorApp>,
    /// How many recovery codes are left.
    pub recovery_codes: i64,
    /// What is asked of them.
    pub demand: FactorDemand,
}

impl SecondFactors {
    /// Whether they have any.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.passkeys > 0 || self.totp.is_some()
    }

    /// Whether it is time for new recovery codes.
    #[must_use]
    pub fn has_few_recovery_codes(&self) -> bool {
        self.recovery_codes <= FEW_RECOVERY_CODES
    }
}

/// An authenticator app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthenticatorApp {
    /// When it was added.
    pub added_at: Timestamp,
    /// When a code of it last let somebody in.
    pub used_at: Option<Timestamp>,
}

/// What was added.
enum Added {
    App,
    /// An app in place of the one before.
    AppInPlace,
    /// A passkey of this name.
    Passkey(String),
}

/// A factor was added.
pub struct Enrolled {
    /// The recovery codes that come with the first one. They are not shown again.
    pub recovery_codes: Option<Vec<String>>,
}

/// A factor was added on the way in.
pub struct EnrolledAtSignIn {
    /// What came of it.
    pub enrolled: Enrolled,
    /// How the sign-in goes on.
    pub outcome: SignInOutcome,
}

impl Control {
    /// The second factors of the person that asks.
    pub async fn second_factors(&self, ctx: &Ctx) -> Result<SecondFactors, Error> {
        let person = ctx.require_person()?;
        let factors = second_factors::of(&self.store, &person.user).await?;
        let totp = second_factors::totp(&self.store, &person.user).await?;
        let app = |Totp { added_at, used_at, .. }| AuthenticatorApp { added_at, used_at };
        Ok(SecondFactors {
            passkeys: factors.passkeys,
            totp: totp.map(app),
            recovery_codes: factors.recovery_codes,
            demand: self.factor_demand(&self.store, &person.user).await?,
        })
    }

    /// Holds the account of the person that asks still until the transaction ends; their session as it is then. Refused where it
    /// has ended while the request was under way: what a reset, a removal or a new password has ended adds nothing any more, and
    /// takes nothing away (ATTACKS I59).
    async fn hold_own_account(&self, ctx: &Ctx, tx: &Tx<'_>) -> Result<LiveSession, Error> {
        let person = ctx.require_person()?;
        users::lock(tx, &person.user).await?;
        let live = sessions::find(tx, &person.session).await?.ok_or_else(invalid_token)?;
        if self.lives(tx, &live, ctx.now).await? { Ok(live) } else { Err(invalid_token()) }
    }

    /// What is to be done once a factor was added: codes with the first one, a record, a message.
    async fn factor_added(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &User,
        organization: &OrganizationId,
        added: Added,
    ) -> Result<Enrolled, Error> {
        let happened = circumstances(ctx);
        let (before, factor, message) = match added {
            Added::App => (
                None,
                Factor::Totp,
                Message::FactorAdded { factor: mail::Factor::AuthenticatorApp, happened },
            ),
            Added::AppInPlace => (Some(Factor::Totp), Factor::Totp, Message::AppReplaced { happened }),
            Added::Passkey(name) => {
                let factor = mail::Factor::Passkey(Label::new(&name));
                (None, Factor::Passkey, Message::FactorAdded { factor, happened })
            }
        };
        let before = before.map_or(Value::Null, |factor| json!({ "factor": factor }));
        let record = self
            .record(ctx, AuditAction::FactorAdded, user.id.as_str())
            .with_change(before, json!({ "factor": factor }));
        audit::append(tx, Some(organization), &record).await?;
        self.enqueue(ctx, tx, Some(organization), Some(&kept_email(&user.email)?), &message).await?;
        let recovery_codes = match second_factors::of(tx, &user.id).await?.recovery_codes {
            0 => Some(self.new_recovery_codes(ctx, tx, &user.id).await?),
            _ => None,
        };
        Ok(Enrolled { recovery_codes })
    }

    /// What is to be done once the person that asks has removed a factor. Recovery codes go with the last one, and every
    /// other session of theirs ends: whoever has what was removed may hold one (OWASP ASVS 5.0, 7.4.3).
    async fn factor_removed(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        factor: Factor,
        told: mail::Factor,
    ) -> Result<(), Error> {
        let person = ctx.require_person()?;
        let left = second_factors::of(tx, &person.user).await?;
        // Recovery codes are a way back to a factor, and none themselves.
        let real = Factors { recovery_codes: 0, ..left };
        if !self.factor_demand(tx, &person.user).await?.demand.is_met_by(&real.list()) {
            return Err(factor_required());
        }
        if !left.has_any() {
            once::supersede(tx, RECOVERY_CODE, person.user.as_str(), ctx.now).await?;
        }
        self.end_others(ctx, tx).await?;
        let record = self
            .record(ctx, AuditAction::FactorRemoved, person.user.as_str())
            .with_change(json!({ "factor": factor }), Value::Null);
        audit::append(tx, Some(&person.organization), &record).await?;
        let user = users::find(tx, &person.user).await?.ok_or_else(|| Error::not_found("member"))?;
        let message = Message::FactorRemoved { factor: told, happened: circumstances(ctx) };
        self.enqueue(ctx, tx, Some(&person.organization), Some(&kept_email(&user.email)?), &message).await
    }

    /// Uses up a code of this kind; what it proves, if it is right.
    pub(crate) async fn use_code(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &User,
        factor: Factor,
        typed: &str,
    ) -> Result<Option<Proof>, Error> {
        let (is_right, proof) = match factor {
            Factor::Totp => (self.use_totp(ctx, tx, &user.id, typed).await?, Proof::Totp),
            Factor::RecoveryCode => {
                (self.use_recovery_code(ctx, tx, user, typed).await?, Proof::RecoveryCode)
            }
            Factor::Passkey => (false, Proof::Passkey),
        };
        Ok(is_right.then_some(proof))
    }
}

fn factor_required() -> Error {
    let message = "Your organization asks for this, and it is your last. Add another before you remove it.";
    Error::new(ErrorKind::Conflict, "factor_required", message)
}
