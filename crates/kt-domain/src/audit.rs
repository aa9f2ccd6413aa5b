//! What is recorded of every change and every sign-in (SPEC section 5; R157–R164), and the chain it stands in.

mod chain;
mod filter;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::actor::Actor;
use crate::ctx::Ctx;
use crate::id::{AuditId, SessionId};
use crate::random::Random;
use crate::words;

pub use chain::{AuditLogStart, ChainedRecord, append, genesis};
pub use filter::{ActionFilter, AuditFilter, UnknownAction};

/// Everything that is recorded. Each action has its sentence in `docs/reference/audit-actions.md`.
macro_rules! actions {
    ($($variant:ident = $word:literal: $sentence:literal;)+) => {
        /// What was done, or tried.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum AuditAction {$(
            #[doc = $sentence]
            $variant,
        )+}

        words!(AuditAction { $($variant = $word),+ });

        impl AuditAction {
            /// What it means, in a sentence.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence),+ }
            }
        }
    };
}

actions! {
    OrganizationCreated = "organization.created": "An organization was set up with its first owner.";
    SignIn = "auth.sign_in": "Somebody signed in, or tried to.";
    SignOut = "auth.sign_out": "Somebody signed out.";
    AccountLocked = "auth.account_locked": "Too many wrong passwords locked an account for a while.";
    StuffingSuspected = "auth.stuffing_suspected": "One network failed to sign in to many accounts, or very many sign-ins failed everywhere.";
    AccountUnlocked = "auth.account_unlocked": "The operator let an account be signed in to again that wrong passwords had locked.";
    RefreshReplayed = "auth.refresh_replayed": "A refresh token came a second time; its session was ended.";
    PasswordChanged = "auth.password_changed": "Somebody replaced their password; everything issued before was ended.";
    PasswordResetRequested = "auth.password_reset_requested": "Somebody asked for a link to choose a new password.";
    PasswordReset = "auth.password_reset": "A password was chosen through a link sent to its holder; everything issued before was ended.";
    Reauthenticated = "auth.reauthenticated": "Somebody proved again who they are.";
    FactorAdded = "mfa.factor_added": "Somebody added a second factor to their account, or put another in its place.";
    FactorRemoved = "mfa.factor_removed": "Somebody removed a second factor from their account.";
    RecoveryCodesMade = "mfa.recovery_codes_made": "Somebody was given recovery codes; all earlier ones ended.";
    RecoveryCodeUsed = "mfa.recovery_code_used": "A recovery code took the place of a second factor.";
    FactorsReset = "mfa.reset": "All second factors of somebody were removed for them, and their sessions were ended.";
    PasskeyRenamed = "mfa.passkey_renamed": "Somebody gave a passkey another name.";
    PasskeyCloned = "mfa.passkey_counter_regression": "A passkey was refused whose counter has not gone on: there may be two of it.";
    ProfileChanged = "profile.changed": "Somebody changed their name.";
    EmailChangeRequested = "profile.email_change_requested": "Somebody asked for another e-mail address for their account.";
    EmailChanged = "profile.email_changed": "An account got another e-mail address, which was confirmed.";
    EmailChangeUndone = "profile.email_change_undone": "An account got its former e-mail address back; everything issued before was ended.";
    RegistrationReceived = "registration.received": "Somebody registered without an invitation, or tried to with an address that has an account.";
    RegistrationVerified = "registration.verified": "Somebody who registered has verified their address.";
    VerificationRequested = "registration.link_requested": "Somebody asked for the link to verify their address again.";
    RegistrationApproved = "registration.approved": "An administrator let somebody in who had registered.";
    RegistrationRejected = "registration.rejected": "An administrator did not let somebody in who had registered.";
    RegistrationDisplaced = "registration.displaced": "A registration whose address was never verified made way for somebody who has shown that the address is theirs.";
    InvitationMade = "invitation.made": "Somebody was invited to join.";
    InvitationResent = "invitation.resent": "An invitation was sent again, with another link.";
    InvitationRevoked = "invitation.revoked": "An invitation was taken back.";
    InvitationAccepted = "invitation.accepted": "Somebody joined by an invitation.";
    MemberJoined = "member.joined": "Somebody was given a place, and a role, on the word of the identity provider.";
    TemporaryPasswordSet = "member.temporary_password_set": "An administrator set a temporary password; everything issued before was ended.";
    MailFailed = "mail.failed": "A message could not be sent and was given up.";
    DeviceApproved = "auth.device_approved": "Somebody let a device sign in on the strength of their own session.";
    DeviceDenied = "auth.device_denied": "Somebody refused to let a device sign in.";
    SigningKeyRotated = "auth.signing_key_rotated": "The key that signs access tokens was replaced.";
    BackedUp = "deployment.backed_up": "The operator copied the database.";
    Restored = "deployment.restored": "The operator put a copy of the database in its place: what came after the copy is gone.";
    Migrated = "deployment.migrated": "The operator brought the database to the present schema.";
    Resealed = "deployment.secrets_resealed": "The operator put another key in the place of the one that seals secrets.";
    AuditExported = "audit.exported": "Somebody took a copy of the audit log.";
    SinkLate = "audit.sink_late": "A sink outside has not taken the audit log for a quarter of an hour; recorded once a day as long as that lasts.";
    MembersExported = "member.list_exported": "Somebody took a copy of the list of members.";
    KeysExported = "key.list_exported": "Somebody took a copy of the list of keys.";
    GatewaysExported = "gateway.list_exported": "Somebody took a copy of the list of gateways.";
    UsageExported = "usage.exported": "Somebody took a copy of what was used.";
    EventsExported = "events.exported": "Somebody took a copy of events from the console.";
    EventsRemoved = "events.removed": "Events of a gateway whose retention had ended were removed; the record says up to which entry of its chain.";
    OrganizationRenamed = "organization.renamed": "The organization got another name.";
    SessionSettingsUpdated = "security.session.updated": "How long sessions last was changed.";
    PasswordPolicyUpdated = "security.password_policy.updated": "What a password must be was changed.";
    LockoutUpdated = "security.lockout.updated": "When wrong passwords lock an account was changed.";
    MfaPolicyUpdated = "security.mfa_policy.updated": "Whom a second factor is asked of, or how soon, was changed.";
    CsrfUpdated = "security.csrf.updated": "How often the console's form tokens change was changed.";
    KeyRestrictionsUpdated = "security.api_keys.updated": "What API keys must be was changed.";
    RegistrationUpdated = "security.registration.updated": "Who may ask to join was changed.";
    IpRestrictionsUpdated = "security.ip_restrictions.updated": "The lists of addresses that may or may not come in were changed.";
    IpDenied = "security.ip_denied": "A request was refused for the address that it came from; of many from one network, one a minute is recorded.";
    Refused = "access.refused": "A request was refused: the person's role, rank or scope did not permit it, a recent proof of identity or a form token was missing, or a key was too old, used from a wrong address or used too often. Similar refusals from one session, key or network are recorded once every ten minutes.";
    MemberRoleChanged = "member.role_changed": "A member got another role.";
    MemberSuspended = "member.suspended": "A member was suspended: nothing of theirs is let in any more.";
    MemberReactivated = "member.reactivated": "A suspended member was let in again.";
    MemberProvisioned = "member.provisioned": "An identity provider made a member, or changed what it has said of one.";
    GroupProvisioned = "group.provisioned": "An identity provider made, changed or removed a group; the roles of its members follow.";
    MemberRemoved = "member.removed": "Somebody was removed from the organization.";
    KeyCreated = "key.created": "An API key was made.";
    KeyChanged = "key.updated": "An API key's name, scope, ranges, rate or expiry were changed.";
    KeyRotated = "key.rotated": "An API key was replaced by a new one, at once or after an overlap.";
    GatewayEnrolled = "gateway.enrolled": "A gateway reported for the first time with a key of the organization.";
    SetupRequested = "setup_request.made": "A member asked the administrators to set a gateway up.";
    SetupRequestClosed = "setup_request.closed": "An administrator closed a member's request for a gateway.";
    GatewayDrained = "gateway.drained": "A gateway was told to take no new requests.";
    GatewayResumed = "gateway.resumed": "A gateway was told to take requests again.";
    GatewayForgotten = "gateway.forgotten": "A gateway that no longer reports was taken off the list; its events stay.";
    ConfigurationSaved = "configuration.saved": "A version of a gateway configuration was saved.";
    ConfigurationRolledOut = "configuration.rolled_out": "Gateways were told to run a version of a configuration.";
    CredentialStored = "provider_credential.stored": "A provider's key was stored.";
    CredentialReplaced = "provider_credential.replaced": "Another key was put in the place of a provider's key.";
    CredentialRemoved = "provider_credential.removed": "A provider's key was removed.";
    KeyRevoked = "key.revoked": "An API key was revoked.";
    SsoUpdated = "sso.updated": "The organization's identity provider was set, changed, turned on or off.";
    SsoRemoved = "sso.removed": "The organization's identity provider was removed; sessions opened through it ended.";
    SsoRequiredLifted = "sso.required_lifted": "The operator let members sign in past the identity provider again.";
    SsoLinked = "sso.linked": "An account was linked to an identity of the identity provider.";
    SsoTested = "sso.tested": "Somebody tried out the identity provider without signing in.";
    SsoUnreachable = "sso.unreachable": "The identity provider could not be asked for its metadata or keys; nobody comes in through it meanwhile.";
    SsoReachable = "sso.reachable": "The identity provider answered again.";
    SsoStray = "sso.stray_message": "An answer, or a request to log out, was brought that no known browser or provider had sent; of many from one network, one in ten minutes is recorded.";
    SsoLogout = "sso.logout": "The identity provider ended somebody's sessions.";
    DomainAdded = "sso.domain_added": "The organization claimed a domain of mail addresses.";
    DomainVerified = "sso.domain_verified": "A domain of mail addresses was shown to be the organization's.";
    DomainRemoved = "sso.domain_removed": "The organization, or the operator, gave up a domain of mail addresses.";
    DomainMissing = "sso.domain_missing": "The TXT record of a verified domain was found to be gone.";
    DomainFound = "sso.domain_found": "The TXT record of a verified domain that was gone is there again.";
    DomainLapsed = "sso.domain_lapsed": "A domain whose TXT record was gone for two weeks counts as the organization's no more.";
    SessionRevoked = "session.revoked": "A session was ended by its holder or an administrator.";
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was refused.
    Failure,
}

words!(Outcome { Success = "success", Failure = "failure" });

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditActor {
    /// `user`, `api_key` or `system`.
    #[serde(rename = "type")]
    pub kind: ActorKind,
    /// The user's or key's id, or the system's part.
    pub id: String,
    /// The user's address, the key's name, or the system's part.
    pub name: String,
}

/// What kind of actor it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// A person.
    User,
    /// A program.
    ApiKey,
    /// The operator at the machine, or the server's own jobs; `anonymous` when nobody has said who they are.
    System,
}

words!(ActorKind { User = "user", ApiKey = "api_key", System = "system" });

impl AuditActor {
    /// How records name this actor.
    #[must_use]
    pub fn of(actor: &Actor) -> Self {
        match actor {
            Actor::Anonymous => {
                Self { kind: ActorKind::System, id: "anonymous".into(), name: "anonymous".into() }
            }
            Actor::System(part) => Self { kind: ActorKind::System, id: (*part).into(), name: (*part).into() },
            Actor::Person(person) => {
                Self { kind: ActorKind::User, id: person.user.to_string(), name: person.email.clone() }
            }
            Actor::Program(program) => {
                Self { kind: ActorKind::ApiKey, id: program.key.to_string(), name: program.name.clone() }
            }
        }
    }
}

/// Before and after. Typed by the use case that records it: never a request's raw body, never a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditDetails {
    /// What was.
    #[serde(skip_serializing_if = "Value::is_null", default)]
    pub before: Value,
    /// What is, or what was tried.
    #[serde(skip_serializing_if = "Value::is_null", default)]
    pub after: Value,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its identifier; sorts by time.
    pub id: AuditId,
    /// When it happened: RFC 3339, UTC.
    pub timestamp: jiff::Timestamp,
    /// Who did it.
    pub actor: AuditActor,
    /// What was done.
    pub action: AuditAction,
    /// What it was done to: an identifier, or the name of a setting.
    pub resource: String,
    /// Before and after.
    pub details: AuditDetails,
    /// From where.
    pub ip_address: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
    /// The request that it was part of.
    pub request_id: String,
    /// The session that it was done in, where it was one: its name, which opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// How it ended.
    pub outcome: Outcome,
}

impl AuditRecord {
    /// A record of `action` on `resource`, done in `ctx`.
    #[must_use]
    pub fn new(ctx: &Ctx, random: &mut Random, action: AuditAction, resource: impl Into<String>) -> Self {
        Self {
            id: AuditId::new(ctx.now, random),
            timestamp: ctx.now,
            actor: AuditActor::of(&ctx.actor),
            action,
            resource: resource.into(),
            details: AuditDetails::default(),
            ip_address: ctx.client.ip,
            user_agent: ctx.client.user_agent.clone(),
            request_id: ctx.request_id.clone(),
            session_id: ctx.actor.session().cloned(),
            outcome: Outcome::Success,
        }
    }

    /// How much of what it tells it stands for: tries that nobody listened to are recorded together.
    #[must_use]
    pub fn stands_for(&self) -> u64 {
        self.details.after.get("tries").and_then(Value::as_u64).unwrap_or(1)
    }

    /// The same, telling what was and what is.
    #[must_use]
    pub fn with_change(mut self, before: Value, after: Value) -> Self {
        self.details = AuditDetails { before, after };
        self
    }

    /// The same, of something that was refused.
    #[must_use]
    pub fn refused(mut self) -> Self {
        self.outcome = Outcome::Failure;
        self
    }
}
