//! The one gate: every way in passes it, and no session is made without its consent.
//!
//! Whatever door somebody comes through (password, passkey, SSO, invitation, refresh, device), what is known about
//! them is put into a [`Standing`], what they have proven into [`Proofs`], and [`gate`] says what comes next. It is a
//! pure function, so that its whole space can be walked in tests.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::mfa::{Asked, Demand};
use crate::words;

/// Where a membership stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MembershipState {
    /// Somebody registered, and an administrator has not said yes or no yet.
    PendingApproval,
    /// A member.
    Active,
    /// An administrator has suspended them.
    Suspended,
}

words!(MembershipState { PendingApproval = "pending_approval", Active = "active", Suspended = "suspended" });

/// A proof that was given on the way in. Words of RFC 8176 where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proof {
    /// A password.
    Password,
    /// A code of an authenticator app.
    Totp,
    /// One of the recovery codes.
    RecoveryCode,
    /// A passkey whose user was verified: counts as two factors.
    Passkey,
    /// An identity provider's word, where the organization takes it for two factors.
    FederatedMfa,
    /// An identity provider's word, where the organization leaves it to the provider how people prove who they are.
    Federated,
    /// An identity provider's word, where it counts as one factor, as a password does.
    FederatedSingle,
    /// An identity provider's word that does not tell of two factors, where the organization wants two of whoever comes
    /// through it: one of ours is asked for, whatever else it asks.
    FederatedStepUp,
}

words!(Proof {
    Password = "pwd",
    Totp = "otp",
    RecoveryCode = "recovery_code",
    Passkey = "hwk",
    FederatedMfa = "fed_mfa",
    Federated = "fed",
    FederatedSingle = "fed_single",
    FederatedStepUp = "fed_step_up",
});

impl Proof {
    /// How much it is worth where somebody proves again who they are.
    const fn strength(self) -> u8 {
        match self {
            Self::Password | Self::Federated | Self::FederatedSingle | Self::FederatedStepUp => 1,
            Self::Totp | Self::RecoveryCode | Self::FederatedMfa => 2,
            // It cannot be phished.
            Self::Passkey => 3,
        }
    }
}

/// What was proven, in order. Never empty where somebody is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proofs(Vec<Proof>);

impl Proofs {
    /// Nothing but this.
    #[must_use]
    pub fn of(proof: Proof) -> Self {
        Self(vec![proof])
    }

    /// The same and this.
    #[must_use]
    pub fn and(mut self, proof: Proof) -> Self {
        if !self.0.contains(&proof) {
            self.0.push(proof);
        }
        self
    }

    /// Whether this is among them.
    #[must_use]
    pub fn contains(&self, proof: Proof) -> bool {
        self.0.contains(&proof)
    }

    /// Whether they are worth two factors.
    #[must_use]
    pub fn is_multi_factor(&self) -> bool {
        self.0.iter().any(|proof| match proof {
            Proof::Passkey | Proof::FederatedMfa | Proof::Totp | Proof::RecoveryCode => true,
            Proof::Password | Proof::Federated | Proof::FederatedSingle | Proof::FederatedStepUp => false,
        }) && self.is_primary()
    }

    /// Whether an identity provider's word is among them.
    #[must_use]
    pub fn are_federated(&self) -> bool {
        use Proof::{Federated, FederatedMfa, FederatedSingle, FederatedStepUp};
        [Federated, FederatedMfa, FederatedSingle, FederatedStepUp].iter().any(|proof| self.contains(*proof))
    }

    /// Whether something is among them that is the account's own, and no provider's word.
    #[must_use]
    pub fn are_of_the_account(&self) -> bool {
        use Proof::{Passkey, Password, RecoveryCode, Totp};
        [Password, Passkey, Totp, RecoveryCode].iter().any(|proof| self.contains(*proof))
    }

    /// Those among them that are the account's own.
    #[must_use]
    pub fn of_the_account(&self) -> Self {
        Self(self.given().filter(|proof| Self::of(*proof).are_of_the_account()).collect())
    }

    /// Whether this proof is worth as much as the best of them: whoever has found an open session must not get further in it
    /// by less than it was opened with.
    #[must_use]
    pub fn are_matched_by(&self, proof: Proof) -> bool {
        self.0.iter().all(|given| given.strength() <= proof.strength())
    }

    /// Whether there is a first factor among them.
    fn is_primary(&self) -> bool {
        self.contains(Proof::Password) || self.contains(Proof::Passkey) || self.are_federated()
    }

    /// Each of them, in the order in which they were given.
    pub fn given(&self) -> impl Iterator<Item = Proof> {
        self.0.iter().copied()
    }

    /// Their words, as the claim `amr` of RFC 8176 lists them.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|proof| proof.as_str())
    }
}

/// Why a password must be replaced before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordReason {
    /// An administrator set it for one sign-in.
    Temporary,
    /// It breaks the present policy.
    Policy,
    /// It is older than the policy allows.
    Expired,
}

words!(PasswordReason { Temporary = "temporary", Policy = "policy", Expired = "expired" });

/// A second factor that somebody has enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// An authenticator app.
    Totp,
    /// Recovery codes that are left.
    RecoveryCode,
    /// A passkey.
    Passkey,
}

words!(Factor { Totp = "totp", RecoveryCode = "recovery_code", Passkey = "passkey" });

/// What the organizations of somebody ask of them. Second factors belong to the account: the strictest rule holds for all of
/// it, since whoever gets in anywhere may change what the account is opened with everywhere.
#[derive(Clone, Debug)]
pub struct Asks {
    /// What the one asks in which they want in.
    pub here: Asked,
    /// What the others ask.
    pub elsewhere: Vec<Asked>,
}

impl Asks {
    /// What has to be there by now of whoever has given these proofs.
    #[must_use]
    pub fn due(&self, proofs: &Proofs, now: Timestamp) -> Demand {
        let due = self.of(proofs).filter(|asked| now >= asked.deadline);
        due.map(|asked| asked.demand).max().unwrap_or_default()
    }

    /// What is asked of whoever has given these proofs. Where an identity provider answers for how they prove who they are, its
    /// organization's rule holds alone: its word opens no other, and changes nothing that the account is opened with.
    fn of(&self, proofs: &Proofs) -> impl Iterator<Item = Asked> {
        let is_answered_for = proofs.contains(Proof::Federated) || proofs.contains(Proof::FederatedMfa);
        let elsewhere = if is_answered_for { &[] } else { self.elsewhere.as_slice() };
        std::iter::once(self.here).chain(elsewhere.iter().copied())
    }
}

/// What is known about somebody at the moment they want in.
#[derive(Clone, Debug)]
pub struct Standing<'a> {
    /// Whether they have shown that they read the mail of their address.
    pub email_verified: bool,
    /// Where their membership stands.
    pub membership: MembershipState,
    /// Why their password must be replaced, if it must.
    pub password: Option<PasswordReason>,
    /// The second factors they have.
    pub factors: &'a [Factor],
    /// What is asked of them.
    pub asks: &'a Asks,
    /// Whether they can come in through the organization's identity provider alone.
    pub sso_required: bool,
}

/// What comes next on the way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// A session may be made.
    Admit,
    /// One of these factors must be shown.
    MfaRequired(Vec<Factor>),
    /// A factor must be enrolled; nothing else may be done.
    MfaEnrollmentRequired,
    /// The password must be replaced; nothing else may be done.
    PasswordChangeRequired(PasswordReason),
    /// The address must be verified.
    PendingVerification,
    /// An administrator must approve.
    PendingApproval,
    /// They must come through the organization's identity provider.
    SsoRequired,
    /// Refused, with the same answer as for a wrong password.
    Refuse,
}

/// What comes next for somebody of this standing who has given these proofs.
///
/// In this order: nobody without a first factor or suspended; nobody past the organization's identity provider where that
/// is required; then what others must do (verify, approve); then the second factor, *before* a password may be replaced, so that a stolen temporary password alone changes nothing; then
/// the password; then enrolment, once the grace is over.
#[must_use]
pub fn gate(standing: &Standing<'_>, proofs: &Proofs, now: Timestamp) -> Gate {
    if !proofs.is_primary() || standing.membership == MembershipState::Suspended {
        return Gate::Refuse;
    }
    if standing.sso_required && !proofs.are_federated() {
        return Gate::SsoRequired;
    }
    if !standing.email_verified {
        return Gate::PendingVerification;
    }
    if standing.membership == MembershipState::PendingApproval {
        return Gate::PendingApproval;
    }
    if let Some(factors) = factors_to_show(standing, proofs, now) {
        return Gate::MfaRequired(factors);
    }
    if let (true, Some(reason)) = (proofs.contains(Proof::Password), standing.password) {
        return Gate::PasswordChangeRequired(reason);
    }
    if must_enroll_now(standing, proofs, now) {
        return Gate::MfaEnrollmentRequired;
    }
    Gate::Admit
}

/// Whether a session that was made on these proofs may go on. What has been asked of its holder since counts: a factor
/// that was added elsewhere, a grace that is over, another role. Its password may have grown too old meanwhile: that is
/// asked at sign-in only.
#[must_use]
pub fn may_go_on(standing: &Standing<'_>, proofs: &Proofs, now: Timestamp) -> bool {
    standing.membership == MembershipState::Active
        && factors_to_show(standing, proofs, now).is_none()
        && !must_enroll_now(standing, proofs, now)
}

/// The factors of theirs of which one must be shown, if one must.
fn factors_to_show(standing: &Standing<'_>, proofs: &Proofs, now: Timestamp) -> Option<Vec<Factor>> {
    if standing.factors.is_empty() || proofs.contains(Proof::Federated) {
        return None;
    }
    let due = standing.asks.due(proofs, now);
    if are_shown(standing.factors, due, proofs) {
        return None;
    }
    let will_do = |factor: &Factor| !is_bound(standing.factors, due) || *factor != Factor::Totp;
    Some(standing.factors.iter().copied().filter(will_do).collect())
}

/// Whether one of these factors was shown, or as much as that. Where a passkey is demanded and there, a code is not enough; a
/// recovery code is, since it is for whoever has lost the passkey.
#[must_use]
pub fn are_shown(factors: &[Factor], due: Demand, proofs: &Proofs) -> bool {
    proofs.given().any(|proof| match proof {
        Proof::Passkey | Proof::RecoveryCode | Proof::FederatedMfa => true,
        Proof::Totp => !is_bound(factors, due),
        Proof::Password | Proof::Federated | Proof::FederatedSingle | Proof::FederatedStepUp => false,
    })
}

/// Whether it has to be the passkey.
fn is_bound(factors: &[Factor], due: Demand) -> bool {
    factors.contains(&Factor::Passkey) && due == Demand::Passkey
}

/// Whether what is demanded of them is not there, and the time to add it is over.
fn must_enroll_now(standing: &Standing<'_>, proofs: &Proofs, now: Timestamp) -> bool {
    if proofs.contains(Proof::FederatedStepUp) && standing.factors.is_empty() && !proofs.is_multi_factor() {
        return true;
    }
    to_enroll(standing, proofs).is_some_and(|asked| now >= asked.deadline)
}

/// What somebody who has given these proofs has to add first, and from when on they can do nothing else, where they lack
/// something. `None` also where the proofs are worth it, as an identity provider's word may be.
#[must_use]
pub fn to_enroll(standing: &Standing<'_>, proofs: &Proofs) -> Option<Asked> {
    let is_shown = |demand| match demand {
        Demand::Nothing => true,
        Demand::Factor => proofs.is_multi_factor(),
        Demand::Passkey => proofs.contains(Proof::Passkey) || proofs.contains(Proof::FederatedMfa),
    };
    let is_asked = |asked: &Asked| !asked.demand.is_met_by(standing.factors) && !is_shown(asked.demand);
    if proofs.contains(Proof::Federated) {
        return None;
    }
    standing.asks.of(proofs).filter(is_asked).min_by_key(|asked| asked.deadline)
}

#[cfg(test)]
mod tests;
