//! Every message that the system sends, as facts.

use std::net::IpAddr;

use jiff::Timestamp;
use kt_domain::actor::KeyKind;
use kt_domain::email::EmailAddress;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Label, LinkToken};

/// One message, before it has words.
///
/// Its serialised form leaves the token of a link out, so that a message in a log opens nothing. To let a message wait in
/// a queue, seal what [`to_seal`](Self::to_seal) gives.
///
/// A message to an address that nobody has confirmed repeats nothing that the stranger who caused it has typed: otherwise
/// the registration form would send advertisements to anybody.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are named by what they are; the variants say what happened")]
pub enum Message {
    /// To a new address: confirm it to go on with the registration.
    VerifyAddress {
        organization: Label,
        #[serde(skip)]
        token: LinkToken,
        expires_at: Timestamp,
        requested: Circumstances,
    },
    /// To a holder of an account: somebody tried to register with its address.
    AlreadyRegistered { organization: Label, requested: Circumstances },
    /// To administrators: a registration with a confirmed address waits.
    RegistrationPending { organization: Label, name: Label, address: EmailAddress, at: Timestamp },
    /// To a new member, who may get a temporary password from the administrator by another way.
    RegistrationApproved { organization: Label, with_temporary_password: bool },
    /// To somebody whose registration was not approved.
    RegistrationRejected { organization: Label },
    /// To somebody invited to join.
    Invitation {
        organization: Label,
        invited_by: Label,
        role: Label,
        #[serde(skip)]
        token: LinkToken,
        expires_at: Timestamp,
    },
    /// The account cannot be used in this organization until further notice.
    Suspended { organization: Label, at: Timestamp },
    /// It can be used again.
    Reactivated { organization: Label, at: Timestamp },
    /// An administrator ended all sessions of the account in this organization.
    SessionsEnded { organization: Label, by: Label, at: Timestamp },
    /// To administrators: a member has nothing to work with yet and asks them to set it up.
    SetupRequested {
        organization: Label,
        member: Label,
        address: EmailAddress,
        note: Option<Label>,
        at: Timestamp,
    },
    /// To owners: the record is gone that shows a domain to be the organization's.
    DomainMissing { organization: Label, domain: Label, record: Label, lapses_at: Timestamp },
    /// To owners: it was gone for too long, and the domain counts as the organization's no more.
    DomainLapsed { organization: Label, domain: Label, at: Timestamp },

    /// Somebody asked for a link to choose a new password.
    PasswordReset {
        #[serde(skip)]
        token: LinkToken,
        expires_at: Timestamp,
        requested: Circumstances,
    },
    /// The address of a new account is confirmed, and several people had chosen a password for it: its holder chooses one.
    PasswordMissing {
        #[serde(skip)]
        token: LinkToken,
        expires_at: Timestamp,
        happened: Circumstances,
    },
    /// The password is another one now. `keys` are the API keys that work on.
    PasswordChanged { change: PasswordChange, happened: Circumstances, keys: Vec<Label> },
    /// An administrator made a temporary password, which no mail ever holds.
    TemporaryPasswordSet { by: Label, at: Timestamp, expires_at: Timestamp },
    /// A reminder: a temporary password that was not replaced stops working.
    TemporaryPasswordEnds { ends_at: Timestamp },
    /// A reminder: from then on a sign-in goes no further than choosing another password.
    PasswordEnds { organization: Label, ends_at: Timestamp },

    /// A sign-in from a device or network not seen before.
    NewDevice { happened: Circumstances },
    /// A sign-in after several wrong passwords.
    SignInAfterFailures { failures: u32, happened: Circumstances },
    /// The password was right, the second factor was not.
    SecondFactorFailed { happened: Circumstances },
    /// No sign-in by password for a while; `last` is the last wrong attempt.
    LockedOut { failures: u32, until: Timestamp, last: Circumstances },
    /// No codes of one kind for a while; `last` is the last wrong one.
    CodesLocked { codes: Codes, failures: u32, until: Timestamp, last: Circumstances },

    /// A way to prove who one is was added.
    FactorAdded { factor: Factor, happened: Circumstances },
    /// Codes of another authenticator app count in place of those of the one before.
    AppReplaced { happened: Circumstances },
    /// One was removed.
    FactorRemoved { factor: Factor, happened: Circumstances },
    /// An administrator removed all second factors.
    FactorsReset { by: Label, reason: Label, at: Timestamp },
    /// A second factor is asked for, and it may have to be a passkey: after the deadline, or at once where there is none, a
    /// sign-in goes no further than setting it up.
    FactorRequired { organization: Label, needs_passkey: bool, deadline: Option<Timestamp> },
    /// A recovery code took the place of a second factor; `left` remain.
    RecoveryCodeUsed { left: u32, happened: Circumstances },
    /// New recovery codes took the place of all earlier ones.
    RecoveryCodesMade { happened: Circumstances },

    /// To a new address of an account: confirm it.
    EmailChangeRequested {
        #[serde(skip)]
        token: LinkToken,
        expires_at: Timestamp,
        requested: Circumstances,
    },
    /// To the old address of an account, with a way back.
    EmailChanged {
        new_address: EmailAddress,
        #[serde(skip)]
        token: LinkToken,
        undo_until: Timestamp,
        happened: Circumstances,
    },
    /// To the address that an account has lost again, since the change to it was undone.
    EmailChangeUndone { happened: Circumstances },
    /// A reminder: a key that the account answers for stops working.
    ApiKeyEnds { key: KeyKind, name: Label, expires_at: Timestamp },
    /// A key was made that acts with the rights of the account.
    ApiKeyMade { key: KeyKind, name: Label, expires_at: Option<Timestamp>, happened: Circumstances },
}

/// When, and from where, something was done.
#[derive(Clone, Serialize, Deserialize)]
pub struct Circumstances {
    /// The moment.
    pub at: Timestamp,
    /// The client's address, if it came over a network.
    pub address: Option<IpAddr>,
    /// The client's description of itself, such as "Firefox on Linux".
    pub client: Option<Label>,
}

/// How a password came to be another one.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordChange {
    /// By somebody signed in, who knew the old one.
    Changed,
    /// Through a link sent to the account's address.
    Reset,
    /// At sign-in, in place of a temporary or expired one.
    Replaced,
    /// There was none before.
    Added,
}

/// A way to prove who one is, besides the password.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Factor {
    /// Codes that change every half minute.
    AuthenticatorApp,
    /// A passkey, by the name that its holder gave it.
    Passkey(Label),
}

/// What is typed in at the second factor.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codes {
    /// Those that change every half minute.
    AuthenticatorApp,
    /// Those that were shown once.
    Recovery,
}

/// A queued message could not be read.
#[derive(Debug, Error)]
pub enum UnsealError {
    /// It was not written by [`Message::to_seal`].
    #[error("a queued message cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// Its link would lead nowhere.
    #[error("a queued message lacks the token of its link")]
    NoToken,
}

/// What is sealed: the message, and beside it what its own serialised form leaves out.
#[derive(Serialize, Deserialize)]
struct Sealable<M, T> {
    message: M,
    token: Option<T>,
}

impl Message {
    /// The whole message, with the token of its link, as JSON: a secret, to be sealed before it is kept.
    pub fn to_seal(&self) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        let mut copy = self.clone();
        let token = copy.token_mut().map(|token| token.expose());
        serde_json::to_vec(&Sealable { message: self, token }).map(Zeroizing::new)
    }

    /// Reads what [`to_seal`](Self::to_seal) gave.
    pub fn from_unsealed(json: &[u8]) -> Result<Self, UnsealError> {
        let Sealable { mut message, token } = serde_json::from_slice::<Sealable<Self, String>>(json)?;
        if let Some(place) = message.token_mut() {
            *place = LinkToken::new(token.ok_or(UnsealError::NoToken)?);
        }
        Ok(message)
    }

    /// The name of its kind, as in its serialised form.
    #[must_use]
    pub fn kind(&self) -> String {
        let shown = serde_json::to_value(self).unwrap_or_default();
        shown["kind"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether a stranger can cause it by a request that asks for no proof.
    pub(crate) fn is_on_request(&self) -> bool {
        matches!(
            self,
            Self::VerifyAddress { .. } | Self::AlreadyRegistered { .. } | Self::PasswordReset { .. }
        )
    }

    /// The secret of the one-time link, in messages that have one.
    fn token_mut(&mut self) -> Option<&mut LinkToken> {
        match self {
            Self::VerifyAddress { token, .. }
            | Self::Invitation { token, .. }
            | Self::PasswordReset { token, .. }
            | Self::PasswordMissing { token, .. }
            | Self::EmailChangeRequested { token, .. }
            | Self::EmailChanged { token, .. } => Some(token),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_waits_with_its_token_and_shows_none_by_itself() {
        let mut with_token = 0;
        for message in Message::samples() {
            let shown = serde_json::to_string(&message).unwrap();
            assert!(!shown.contains(Message::SAMPLE_TOKEN), "{shown}");
            let sealable = message.to_seal().unwrap();
            let mut again = Message::from_unsealed(&sealable).unwrap();
            assert_eq!(*again.to_seal().unwrap(), *sealable);
            if let Some(token) = again.token_mut() {
                assert_eq!(token.expose(), Message::SAMPLE_TOKEN);
                let bare = format!(r#"{{"message":{shown}}}"#);
                assert!(matches!(Message::from_unsealed(bare.as_bytes()), Err(UnsealError::NoToken)));
                with_token += 1;
            }
        }
        assert_eq!(with_token, 6);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in ["", "{}", r#"{"message":{"kind":"lottery"}}"#] {
            assert!(matches!(Message::from_unsealed(text.as_bytes()), Err(UnsealError::Unreadable(_))));
        }
    }
}
