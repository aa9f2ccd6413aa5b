//! What people call the words of the API.

use kt_domain::actor::{KeyKind, Role, Scope};
use kt_domain::keys::{Breach, KeyStatus};
use kt_domain::sessions::Door;
use kt_domain::sign_in::{MembershipState, Proof};

/// A word that has a name for people. Templates translate it.
pub(crate) trait Label {
    /// In English.
    fn label(&self) -> &'static str;
}

impl Label for Role {
    fn label(&self) -> &'static str {
        match self {
            Self::Member => "Member",
            Self::Auditor => "Auditor",
            Self::Admin => "Admin",
            Self::Owner => "Owner",
        }
    }
}

impl Label for MembershipState {
    fn label(&self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::PendingApproval => "Waiting for approval",
            Self::Suspended => "Suspended",
        }
    }
}

impl Label for Door {
    fn label(&self) -> &'static str {
        match self {
            Self::Api => "API",
            Self::Console => "Console",
            Self::Cli => "Command line",
        }
    }
}

impl Label for Proof {
    fn label(&self) -> &'static str {
        match self {
            Self::Password => "Password",
            Self::Totp => "Authenticator app",
            Self::RecoveryCode => "Recovery code",
            Self::Passkey => "Passkey",
            Self::Federated | Self::FederatedMfa | Self::FederatedSingle | Self::FederatedStepUp => {
                "Identity provider"
            }
        }
    }
}

impl Label for Scope {
    fn label(&self) -> &'static str {
        match self {
            Self::ReadOnly => "Read only",
            Self::Write => "Write",
            Self::Admin => "Admin",
        }
    }
}

impl Label for KeyKind {
    fn label(&self) -> &'static str {
        match self {
            Self::Access => "Access Keys",
            Self::Gateway => "Gateway Keys",
            Self::Scim => "Provisioning Keys",
        }
    }
}

impl Label for KeyStatus {
    fn label(&self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::RotationRequired => "Rotation required",
            Self::Expired => "Expired",
            Self::Revoked => "Revoked",
        }
    }
}

impl Label for Breach {
    fn label(&self) -> &'static str {
        match self {
            Self::OverAge => "Too old",
            Self::NoScope => "No scope",
            Self::NoIpBinding => "Not bound to addresses",
        }
    }
}

/// What people call an area of the audit log: the word that stands before the first dot of its actions.
pub(crate) fn area(word: &str) -> Option<&'static str> {
    Some(match word {
        "access" => "Refusals",
        "audit" => "Audit log",
        "auth" => "Signing in",
        "configuration" => "Configurations",
        "deployment" => "Deployment",
        "events" => "Events",
        "gateway" => "Gateways",
        "group" => "Groups of the identity provider",
        "invitation" => "Invitations",
        "key" => "API keys",
        "mail" => "Mail",
        "member" => "Members",
        "mfa" => "Second factors",
        "organization" => "Organization",
        "profile" => "Profile",
        "provider_credential" => "Provider Credentials",
        "registration" => "Registrations",
        "security" => "Security settings",
        "session" => "Sessions",
        "setup_request" => "Requests for a gateway",
        "sso" => "Single sign-on",
        "usage" => "Usage",
        _ => return None,
    })
}
