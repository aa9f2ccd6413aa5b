//! Who acts, and what they may do.

use std::fmt;

use jiff::Timestamp;

use crate::id::{ApiKeyId, OrganizationId, SessionId, UserId};

/// Text forms of an enumeration of words, in one list: `as_str`, `Display`, `FromStr` and serde agree.
#[macro_export]
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $name {
            /// Every one, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its word in the API, in the store and in the audit log.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::actor::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or($crate::actor::UnknownWord(&[$($word),+]))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Not one of the words that were expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownWord(pub &'static [&'static str]);

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of {}", self.0.join(", "))
    }
}

impl std::error::Error for UnknownWord {}

/// What a member is in an organization. Ordered by rank: who manages people manages those of no higher rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Uses the workspaces.
    Member,
    /// Reads settings, events and the audit log, and changes nothing.
    Auditor,
    /// Runs the organization.
    Admin,
    /// Also decides who runs it.
    Owner,
}

words!(Role { Member = "member", Auditor = "auditor", Admin = "admin", Owner = "owner" });

/// How far an API key reaches. Ordered: each includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Reads.
    ReadOnly,
    /// Also changes that are about neither settings, people nor keys, such as rolling out a configuration, and inference
    /// through a gateway.
    Write,
    /// Also settings, people and keys.
    Admin,
}

words!(Scope { ReadOnly = "read-only", Write = "write", Admin = "admin" });

/// What the kinds of API key are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// A program's key: API calls, and application traffic through a gateway.
    Access,
    /// A gateway's own credential.
    Gateway,
    /// An identity provider's credential, by which it provisions members.
    Scim,
}

words!(KeyKind { Access = "access", Gateway = "gateway", Scim = "scim" });

impl KeyKind {
    /// Whether keys of this kind are made for this at all, however far one of them reaches.
    #[must_use]
    pub fn is_for(self, permission: Permission) -> bool {
        match self {
            Self::Access => permission.least_scope().is_some(),
            Self::Gateway => matches!(permission, Permission::ServeAsGateway | Permission::KnowOneself),
            Self::Scim => permission == Permission::Provision,
        }
    }
}

/// One thing that an actor may or may not do. Every use case asks for one in its first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See who one is, and where.
    KnowOneself,
    /// See the organization's name and one's own place in it.
    ReadOrganization,
    /// See the gateways' events.
    ReadEvents,
    /// See what one has used oneself; with [`Permission::ReadEvents`] what everybody has.
    ReadUsage,
    /// See and export the audit log.
    ReadAudit,
    /// See the organization's settings and posture.
    ReadSettings,
    /// Change the organization's settings.
    ChangeSettings,
    /// Write configurations and tell gateways which to run; drain, resume and forget gateways.
    RunGateways,
    /// See who belongs to the organization.
    ReadMembers,
    /// Invite, approve, suspend people and change their roles.
    ManageMembers,
    /// Close what members have asked to be set up.
    CloseRequests,
    /// See one's own keys; with [`Permission::ReadAllKeys`] everybody's.
    ReadKeys,
    /// See everybody's keys, without their secrets.
    ReadAllKeys,
    /// Make and revoke keys of one's own, where the organization lets everybody.
    UseKeys,
    /// Make, rotate and revoke keys of everybody.
    ManageKeys,
    /// Send AI traffic through a gateway.
    Infer,
    /// Deliver events and fetch what a gateway needs.
    ServeAsGateway,
    /// Make, change and end memberships in the name of an identity provider.
    Provision,
}

impl Permission {
    /// Every one, in order.
    pub const ALL: &'static [Self] = &[
        Self::KnowOneself,
        Self::ReadOrganization,
        Self::ReadEvents,
        Self::ReadUsage,
        Self::ReadAudit,
        Self::ReadSettings,
        Self::ChangeSettings,
        Self::RunGateways,
        Self::ReadMembers,
        Self::ManageMembers,
        Self::CloseRequests,
        Self::ReadKeys,
        Self::ReadAllKeys,
        Self::UseKeys,
        Self::ManageKeys,
        Self::Infer,
        Self::ServeAsGateway,
        Self::Provision,
    ];

    /// Whether a person of this role has it.
    #[must_use]
    pub fn is_of(self, role: Role) -> bool {
        self.allows_role(role)
    }

    /// The lowest rank that has it among people; `None` for what no person does.
    fn allows_role(self, role: Role) -> bool {
        match self {
            Self::KnowOneself | Self::ReadOrganization | Self::ReadUsage | Self::ReadKeys => true,
            Self::ReadEvents
            | Self::ReadAudit
            | Self::ReadSettings
            | Self::ReadMembers
            | Self::ReadAllKeys => role >= Role::Auditor,
            Self::UseKeys | Self::Infer => role != Role::Auditor,
            Self::ChangeSettings
            | Self::RunGateways
            | Self::ManageMembers
            | Self::CloseRequests
            | Self::ManageKeys => role >= Role::Admin,
            Self::ServeAsGateway | Self::Provision => false,
        }
    }

    /// The narrowest scope of an access key that reaches it; `None` for what no access key does.
    fn least_scope(self) -> Option<Scope> {
        match self {
            Self::KnowOneself
            | Self::ReadOrganization
            | Self::ReadEvents
            | Self::ReadUsage
            | Self::ReadAudit
            | Self::ReadSettings
            | Self::ReadMembers
            | Self::ReadKeys
            | Self::ReadAllKeys => Some(Scope::ReadOnly),
            Self::Infer | Self::RunGateways | Self::CloseRequests => Some(Scope::Write),
            Self::ChangeSettings | Self::ManageMembers | Self::ManageKeys | Self::UseKeys => {
                Some(Scope::Admin)
            }
            Self::ServeAsGateway | Self::Provision => None,
        }
    }
}

/// A signed-in person in one organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub user: UserId,
    /// Where.
    pub organization: OrganizationId,
    /// What they are there at this moment.
    pub role: Role,
    /// The session they act in.
    pub session: SessionId,
    /// Their address, for records.
    pub email: String,
    /// When they last proved who they are.
    pub authenticated_at: Timestamp,
}

/// A program that acts by an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The key.
    pub key: ApiKeyId,
    /// Its name, for records.
    pub name: String,
    /// What kind it is.
    pub kind: KeyKind,
    /// The organization it belongs to.
    pub organization: OrganizationId,
    /// Who answers for it.
    pub owner: UserId,
    /// What its owner is at this moment: a key never reaches further than its owner.
    pub owner_role: Role,
    /// How far it reaches.
    pub scope: Scope,
}

impl Program {
    /// Whether its scope reaches this, whatever its owner may do.
    #[must_use]
    pub fn has_scope_for(&self, permission: Permission) -> bool {
        match self.kind {
            KeyKind::Access => permission.least_scope().is_some_and(|least| self.scope >= least),
            KeyKind::Gateway => {
                self.kind.is_for(permission)
                    && (permission == Permission::KnowOneself || self.scope >= Scope::Write)
            }
            KeyKind::Scim => self.kind.is_for(permission) && self.scope >= Scope::Write,
        }
    }

    /// Whether its owner may do this, or give out keys that do.
    fn has_owner_for(&self, permission: Permission) -> bool {
        match self.kind {
            KeyKind::Access => permission,
            KeyKind::Gateway => Permission::ManageKeys,
            KeyKind::Scim => Permission::ManageMembers,
        }
        .allows_role(self.owner_role)
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Nobody has said who they are.
    Anonymous,
    /// A signed-in person.
    Person(Person),
    /// A program with a key.
    Program(Program),
    /// The operator at the machine itself (`kt admin`), or the server's own jobs; the name says which.
    System(&'static str),
}

impl Actor {
    /// Whether it may do this in its organization. A key reaches no further than its scope and its owner, at this
    /// moment: a gateway's key works as long as its owner may give out such keys. Anonymous may nothing; the system acts on no organization's
    /// behalf and is let through by the use cases made for it.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        match self {
            Self::Anonymous | Self::System(_) => false,
            Self::Person(person) => permission.allows_role(person.role),
            Self::Program(program) => program.has_scope_for(permission) && program.has_owner_for(permission),
        }
    }

    /// What it is in its organization: a person's role, or that of the owner of a key.
    #[must_use]
    pub fn rank(&self) -> Option<Role> {
        match self {
            Self::Anonymous | Self::System(_) => None,
            Self::Person(person) => Some(person.role),
            Self::Program(program) => Some(program.owner_role),
        }
    }

    /// The person who answers for what it does: themselves, or a key's owner.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::Anonymous | Self::System(_) => None,
            Self::Person(person) => Some(&person.user),
            Self::Program(program) => Some(&program.owner),
        }
    }

    /// The organization in which it acts.
    #[must_use]
    pub fn organization(&self) -> Option<&OrganizationId> {
        match self {
            Self::Anonymous | Self::System(_) => None,
            Self::Person(person) => Some(&person.organization),
            Self::Program(program) => Some(&program.organization),
        }
    }

    /// The session in which a person acts.
    #[must_use]
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Person(person) => Some(&person.session),
            Self::Anonymous | Self::Program(_) | Self::System(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
