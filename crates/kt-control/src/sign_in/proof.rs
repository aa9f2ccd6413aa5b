//! Proving again who one is, outside a sign-in: before a password is replaced, and before a change that matters.

use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::mfa::Demand;
use kt_domain::sign_in::{Factor, Proof, are_shown};
use kt_store::{audit, memberships, second_factors, sessions};

use super::codes::wrong_code;
use super::{Entrant, invalid_credentials};
use crate::control::Control;
use crate::jwt::invalid_token;
use crate::second_factors::ceremonies::PasskeyAnswer;

/// A proof of identity that is given again in a session.
pub enum Reproof<'a> {
    /// The password.
    Password(&'a str),
    /// A code of the authenticator app.
    Totp(&'a str),
    /// One of the recovery codes, for whoever has lost the rest: it is used up.
    RecoveryCode(&'a str),
    /// A passkey.
    Passkey(&'a PasskeyAnswer),
}

impl Reproof<'_> {
    fn proof(&self) -> Proof {
        match self {
            Self::Password(_) => Proof::Password,
            Self::Totp(_) => Proof::Totp,
            Self::RecoveryCode(_) => Proof::RecoveryCode,
            Self::Passkey(_) => Proof::Passkey,
        }
    }
}

impl Control {
    /// Takes a fresh proof of identity: the session that asks counts as authenticated now. Refused with
    /// `stronger_proof_required` where the session was opened with more than that.
    pub async fn reauthenticate(&self, ctx: &Ctx, reproof: Reproof<'_>) -> Result<(), Error> {
        let person = ctx.require_person()?;
        let entrant = self.entrant_of_person(person).await?;
        let live = sessions::find(&self.store, &person.session).await?.ok_or_else(invalid_credentials)?;
        if !live.session.proofs.are_matched_by(reproof.proof()) {
            return Err(stronger_proof_required());
        }
        match reproof {
            Reproof::Password(typed) => self.prove_password(ctx, &entrant, typed).await?,
            Reproof::Totp(typed) => self.prove_code(ctx, &entrant, Factor::Totp, typed).await?,
            Reproof::RecoveryCode(typed) => {
                self.prove_code(ctx, &entrant, Factor::RecoveryCode, typed).await?;
            }
            Reproof::Passkey(answer) => self.reprove_passkey(ctx, &entrant, answer).await?,
        }
        let tx = self.store.begin_write().await?;
        let live = sessions::find(&tx, &person.session).await?;
        let live = live.filter(|live| live.epoch == entrant.user.epoch).ok_or_else(invalid_credentials)?;
        let proofs = live.session.proofs.and(reproof.proof());
        sessions::note_authentication(&tx, &person.session, &proofs, ctx.now).await?;
        let record = self.record(ctx, AuditAction::Reauthenticated, person.session.as_str());
        audit::append(&tx, Some(&person.organization), &record).await?;
        // What is remembered about the bearer is older than the proof.
        self.commit_revocation(tx).await
    }

    /// Refused without a fresh proof that is good for the account itself, which what it is opened with is changed on. The word
    /// of an identity provider is good for the provider's own organization: where the account has second factors, or belongs
    /// to another organization too, one of its own proofs must be among those of the session (`own_proof_required`). And where
    /// one of its organizations demands a passkey that is there, those proofs must be worth it, wherever the session was opened:
    /// what is added in it lets its holder in everywhere.
    pub(crate) async fn require_own_proof(&self, ctx: &Ctx) -> Result<(), Error> {
        ctx.require_fresh_authentication()?;
        let person = ctx.require_person()?;
        let live = sessions::find(&self.store, &person.session).await?.ok_or_else(invalid_token)?;
        let factors = second_factors::of(&self.store, &person.user).await?;
        if live.session.proofs.are_of_the_account() {
            let due = self.due_anywhere(&self.store, &person.user, ctx.now).await?;
            let are_enough = due != Demand::Passkey
                || factors.passkeys == 0
                || are_shown(&factors.list(), due, &live.session.proofs.of_the_account());
            return if are_enough { Ok(()) } else { Err(passkey_proof_required()) };
        }
        let has_factors = factors.has_any();
        let belongs_elsewhere = memberships::of_user(&self.store, &person.user).await?.len() > 1;
        if has_factors || belongs_elsewhere { Err(own_proof_required()) } else { Ok(()) }
    }

    /// Refused when this is not a code of somebody signed in. A wrong one counts as at a sign-in.
    async fn prove_code(
        &self,
        ctx: &Ctx,
        entrant: &Entrant,
        factor: Factor,
        typed: &str,
    ) -> Result<(), Error> {
        let attempt = self.begin_code(ctx, entrant, factor, None).await?;
        let tx = self.store.begin_write().await?;
        if self.use_code(ctx, &tx, &entrant.user, factor, typed).await?.is_none() {
            drop(tx);
            self.fail_code(ctx, &attempt, entrant).await?;
            return Err(wrong_code());
        }
        self.code_was_right(ctx, &tx, &attempt, entrant).await?;
        Ok(tx.commit().await?)
    }

    /// Refused when this is not the password of somebody signed in. Wrong ones count as failed sign-ins: whoever has
    /// found an open session guesses no faster than a stranger. What strangers have done to the account does not stop its
    /// holder here (ASVS 5.0, 6.3.1 and 6.1.1).
    pub(crate) async fn prove_password(
        &self,
        ctx: &Ctx,
        entrant: &Entrant,
        typed: &str,
    ) -> Result<(), Error> {
        let attempt = self.begin_reproof(ctx, entrant).await?;
        if !self.is_right(ctx, &attempt, typed, Some(entrant)).await? {
            self.fail_attempt(ctx, &attempt, attempt.why_wrong()).await?;
            return Err(invalid_credentials());
        }
        self.finish_attempt(ctx, &attempt, entrant).await
    }
}

pub(crate) fn stronger_proof_required() -> Error {
    let message =
        "This session was opened with a second factor: confirm with that one, or with a stronger one.";
    Error::new(ErrorKind::Forbidden, "stronger_proof_required", message)
}

fn passkey_proof_required() -> Error {
    let message = "An organization of yours asks for a passkey, and you have one: confirm with it, or with a recovery code.";
    Error::new(ErrorKind::Forbidden, "own_proof_required", message)
}

fn own_proof_required() -> Error {
    let message = "Your identity provider's word is not enough here, since the account has second factors of its own or belongs \
                   to another organization too. Sign in with the account's own passkey, or password and code, then try again.";
    Error::new(ErrorKind::Forbidden, "own_proof_required", message)
}
