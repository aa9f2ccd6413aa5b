//! One message of each kind, to render in tests and to look at.

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use kt_domain::actor::KeyKind;
use kt_domain::email::EmailAddress;

use super::{Circumstances, Codes, Factor, Label, LinkToken, Message, PasswordChange};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

impl Message {
    /// The token in the links of the samples.
    pub const SAMPLE_TOKEN: &str = "c2FtcGxlLXRva2VuLW9mLWEtbGluay1pbi1hLW1haWw";

    /// Every kind of message, and every wording of those that have several.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a list with one entry for each kind")]
    pub fn samples() -> Vec<Self> {
        let organization = Label::new("Example Industries");
        let administrator = Label::new("Grace Hopper");
        vec![
            Self::VerifyAddress {
                organization: organization.clone(),
                token: token(),
                expires_at: after(DAY),
                requested: circumstances(),
            },
            Self::AlreadyRegistered { organization: organization.clone(), requested: circumstances() },
            Self::RegistrationPending {
                organization: organization.clone(),
                name: Label::new("Ada Lovelace"),
                address: address("ada@example.org"),
                at: after(0),
            },
            Self::RegistrationApproved { organization: organization.clone(), with_temporary_password: false },
            Self::RegistrationApproved { organization: organization.clone(), with_temporary_password: true },
            Self::RegistrationRejected { organization: organization.clone() },
            Self::Invitation {
                organization: organization.clone(),
                invited_by: administrator.clone(),
                role: Label::new("member"),
                token: token(),
                expires_at: after(7 * DAY),
            },
            Self::Suspended { organization: organization.clone(), at: after(0) },
            Self::Reactivated { organization: organization.clone(), at: after(0) },
            Self::SessionsEnded {
                organization: organization.clone(),
                by: administrator.clone(),
                at: after(0),
            },
            Self::SetupRequested {
                organization: organization.clone(),
                member: Label::new("Ada Lovelace"),
                address: address("ada@example.org"),
                note: Some(Label::new("We would like to try it with the support team.")),
                at: after(0),
            },
            Self::DomainMissing {
                organization: organization.clone(),
                domain: Label::new("example.org"),
                record: Label::new("_keeptrusts-challenge.example.org"),
                lapses_at: after(14 * DAY),
            },
            Self::DomainLapsed {
                organization: organization.clone(),
                domain: Label::new("example.org"),
                at: after(0),
            },
            Self::PasswordReset {
                token: token(),
                expires_at: after(30 * MINUTE),
                requested: circumstances(),
            },
            Self::PasswordMissing {
                token: token(),
                expires_at: after(30 * MINUTE),
                happened: circumstances(),
            },
            Self::PasswordChanged {
                change: PasswordChange::Changed,
                happened: circumstances(),
                keys: Vec::new(),
            },
            Self::PasswordChanged {
                change: PasswordChange::Reset,
                happened: circumstances(),
                keys: vec![Label::new("nightly reports"), Label::new("laptop")],
            },
            Self::PasswordChanged {
                change: PasswordChange::Replaced,
                happened: circumstances(),
                keys: Vec::new(),
            },
            Self::PasswordChanged {
                change: PasswordChange::Added,
                happened: circumstances(),
                keys: Vec::new(),
            },
            Self::TemporaryPasswordSet {
                by: administrator.clone(),
                at: after(0),
                expires_at: after(3 * DAY),
            },
            Self::TemporaryPasswordEnds { ends_at: after(DAY) },
            Self::PasswordEnds { organization: organization.clone(), ends_at: after(7 * DAY) },
            Self::NewDevice { happened: circumstances() },
            Self::SignInAfterFailures { failures: 7, happened: circumstances() },
            Self::SecondFactorFailed { happened: circumstances() },
            Self::LockedOut { failures: 10, until: after(15 * MINUTE), last: circumstances() },
            Self::CodesLocked {
                codes: Codes::AuthenticatorApp,
                failures: 10,
                until: after(15 * MINUTE),
                last: circumstances(),
            },
            Self::CodesLocked {
                codes: Codes::Recovery,
                failures: 10,
                until: after(15 * MINUTE),
                last: circumstances(),
            },
            Self::FactorAdded { factor: Factor::AuthenticatorApp, happened: circumstances() },
            Self::FactorAdded { factor: passkey(), happened: circumstances() },
            Self::AppReplaced { happened: circumstances() },
            Self::FactorRemoved { factor: Factor::AuthenticatorApp, happened: circumstances() },
            Self::FactorRemoved { factor: passkey(), happened: circumstances() },
            Self::FactorsReset {
                by: administrator,
                reason: Label::new("Lost the phone; seen in person"),
                at: after(0),
            },
            Self::FactorRequired {
                organization: organization.clone(),
                needs_passkey: false,
                deadline: Some(after(3 * DAY)),
            },
            Self::FactorRequired {
                organization: organization.clone(),
                needs_passkey: true,
                deadline: Some(after(3 * DAY)),
            },
            Self::FactorRequired { organization, needs_passkey: false, deadline: None },
            Self::RecoveryCodeUsed { left: 8, happened: circumstances() },
            Self::RecoveryCodeUsed { left: 1, happened: circumstances() },
            Self::RecoveryCodeUsed { left: 0, happened: circumstances() },
            Self::RecoveryCodesMade { happened: circumstances() },
            Self::EmailChangeRequested { token: token(), expires_at: after(DAY), requested: circumstances() },
            Self::EmailChanged {
                new_address: address("ada@example.net"),
                token: token(),
                undo_until: after(3 * DAY),
                happened: circumstances(),
            },
            Self::EmailChangeUndone { happened: circumstances() },
            Self::ApiKeyEnds {
                key: KeyKind::Access,
                name: Label::new("nightly reports"),
                expires_at: after(7 * DAY),
            },
            Self::ApiKeyMade {
                key: KeyKind::Access,
                name: Label::new("nightly reports"),
                expires_at: Some(after(90 * DAY)),
                happened: circumstances(),
            },
            Self::ApiKeyMade {
                key: KeyKind::Gateway,
                name: Label::new("gateway in the data centre"),
                expires_at: None,
                happened: circumstances(),
            },
            Self::ApiKeyMade {
                key: KeyKind::Scim,
                name: Label::new("directory"),
                expires_at: None,
                happened: circumstances(),
            },
        ]
    }
}

fn circumstances() -> Circumstances {
    Circumstances {
        at: after(0),
        address: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7))),
        client: Some(Label::new("Firefox on Linux")),
    }
}

/// Thu, 5 Mar 2026 14:02:31 UTC, and so many seconds later.
fn after(seconds: i64) -> Timestamp {
    Timestamp::constant(1_772_719_351 + seconds, 0)
}

#[expect(clippy::expect_used, reason = "a constant that is an address")]
fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).expect("an address")
}

fn token() -> LinkToken {
    LinkToken::new(Message::SAMPLE_TOKEN.to_owned())
}

fn passkey() -> Factor {
    Factor::Passkey(Label::new("Ada’s phone"))
}
