//! Single sign-on: an organization's identity provider, set up, gone to, believed, and listened to when it ends sessions.
//!
//! A protocol's own module ([`oidc`], [`saml`]) verifies what a provider sent and hands an
//! [`ExternalIdentity`](kt_domain::sso::ExternalIdentity) to [`receive`]; all that follows is the same for every protocol,
//! and ends at the one gate of every sign-in.

mod account;
mod domain_watch;
mod domains;
mod errand;
mod fetch;
mod names;
mod oidc;
mod providers;
mod receive;
mod required;
mod saml;
mod stray;
mod trial;

use kt_domain::error::{Error, ErrorKind};
use kt_domain::secret::SecretDigest;
use kt_domain::sso::Protocol;

use crate::control::Control;
use crate::outbound::Outbound;

pub(crate) use account::wiped;
pub use domains::DomainView;
pub use errand::{Departure, SsoJourney, Trial};
pub use names::{NameError, NameServers, Names, Texts};
pub(crate) use oidc::Remembered;
pub use oidc::{NewOidcProvider, OidcAnswer, OidcPlace};
pub use providers::{ProviderChange, ProviderView};
pub use receive::{Arrival, SsoOutcome};
pub(crate) use required::sso_required;
pub use saml::{
    LogoutMessage, NewSamlProvider, OwnCertificate, OwnCertificates, OwnKeyStep, SamlAnswer, SamlPlace,
    SamlReading, SamlSource,
};
pub(crate) use stray::{Strays, strays};
pub use trial::{TestReport, TestStep};

/// What single sign-on needs of the process.
pub struct Sso {
    /// The protocols that this deployment, or its plan, offers.
    pub protocols: Vec<Protocol>,
    /// How providers are reached.
    pub outbound: Outbound,
    /// How TXT records are looked up.
    pub names: Box<dyn Names>,
    /// The deployment's client at Google.
    pub google: Option<GoogleClient>,
}

/// The deployment's client at Google.
pub struct GoogleClient {
    /// The issuer; [`GoogleClient::ISSUER`] unless the deployment says otherwise.
    pub issuer: String,
    /// The client id.
    pub client_id: String,
    /// The client secret.
    pub client_secret: String,
}

impl GoogleClient {
    /// Google's own issuer.
    pub const ISSUER: &str = "https://accounts.google.com";
}

/// What is kept and logged of why something was refused: whoever sent it may have written a part of that.
fn kept_reason(why: &str) -> String {
    why.chars().filter(|c| !c.is_control()).take(300).collect()
}

impl Control {
    /// Refuses a protocol that this deployment does not offer.
    pub(crate) fn require_protocol(&self, protocol: Protocol) -> Result<(), Error> {
        if self.offers(protocol) {
            return Ok(());
        }
        let message = "This deployment does not offer this kind of single sign-on. Ask its operator, who sets `features.sso`.";
        Err(Error::new(ErrorKind::NotFound, "sso_not_offered", message))
    }

    /// Refuses where this deployment offers no protocol at all.
    pub fn require_single_sign_on(&self) -> Result<(), Error> {
        if self.offers_single_sign_on() {
            return Ok(());
        }
        let message = "This deployment offers no single sign-on. Ask its operator, who sets `features.sso`.";
        Err(Error::new(ErrorKind::NotFound, "sso_not_offered", message))
    }

    /// Whether this deployment offers a protocol at all.
    #[must_use]
    pub fn offers_single_sign_on(&self) -> bool {
        !self.sso.protocols.is_empty()
    }

    /// Whether this deployment offers a protocol.
    #[must_use]
    pub fn offers(&self, protocol: Protocol) -> bool {
        self.sso.protocols.contains(&protocol)
    }
}

/// The one answer to whoever asks for a sign-in that there is none for: whether an organization is unknown, has no provider
/// or has turned it off is nobody's business.
pub(crate) fn sso_unavailable() -> Error {
    let message = "There is no single sign-on for this organization. Look at how its identifier is spelt, or sign in in \
                   another way.";
    Error::new(ErrorKind::NotFound, "sso_unavailable", message).with_param("organization")
}

/// The one answer to whoever comes back from a provider and is not let in, whatever the reason.
pub(crate) fn sso_refused() -> Error {
    let message = "Signing in through your identity provider did not work. Begin again on the sign-in page; if it stays, \
                   ask an administrator of your organization.";
    Error::new(ErrorKind::Unauthenticated, "sso_refused", message)
}

/// What is compared of a secret that a browser keeps.
pub(crate) fn bond_of(browser: &str) -> SecretDigest {
    SecretDigest::of(browser)
}
