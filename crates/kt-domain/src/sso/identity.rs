//! What was verified of somebody, whichever protocol said it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{IdentityProviderId, InvalidId};

/// Who vouches for somebody: an organization's own provider, or Google for the whole deployment.
///
/// A name that is unique at one source says nothing at another: identities are told apart by source, issuer and subject
/// together (ASVS 5.0, 6.8.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IdentitySource {
    /// An organization's provider.
    Provider(IdentityProviderId),
    /// The deployment's Google client.
    Google,
}

const GOOGLE: &str = "google";

impl fmt::Display for IdentitySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider(id) => id.fmt(f),
            Self::Google => f.write_str(GOOGLE),
        }
    }
}

impl FromStr for IdentitySource {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text == GOOGLE { Ok(Self::Google) } else { text.parse().map(Self::Provider) }
    }
}

impl TryFrom<String> for IdentitySource {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<IdentitySource> for String {
    fn from(source: IdentitySource) -> Self {
        source.to_string()
    }
}

/// Somebody, as a provider's verified answer names them. Made by the protocols' own code alone, after every check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalIdentity {
    /// The issuer or entity that signed.
    pub issuer: String,
    /// Who, by a name that the issuer gives to nobody else, ever.
    pub subject: String,
    /// Their address, as it was sent.
    pub email: Option<String>,
    /// Whether the provider says that it has verified the address: a boolean `true`, and nothing that resembles one.
    pub email_verified: bool,
    /// What they are called.
    pub name: Option<String>,
    /// The groups they are in; `None` where the provider says that there are more than it could send.
    pub groups: Option<Vec<String>>,
    /// When they proved to the provider who they are, where it says so.
    pub authenticated_at: Option<Timestamp>,
    /// How they did: values of `amr` and `acr`, or the class of an authentication context.
    pub methods: Vec<String>,
    /// The provider's name for the session with it, for when it ends that.
    pub session: Option<String>,
    /// When the provider wants the session with us to end.
    pub ends_by: Option<Timestamp>,
}

impl ExternalIdentity {
    /// When they have proven who they are, as far as the provider tells. Where it does not, that is never: nobody can say that
    /// it was asked for this very sign-in. What it says of the future is now.
    #[must_use]
    pub fn proven_at(&self, now: Timestamp) -> Timestamp {
        self.authenticated_at.map_or(Timestamp::UNIX_EPOCH, |at| at.min(now))
    }
}
