//! What an identity provider publishes about itself, or an administrator writes down (SAML metadata, section 2.4).
//!
//! The document is trusted because an administrator says so, as they see it: a signature in it is not asked for and not
//! looked at. Reading can add keys and addresses; it cannot turn a check off.

use jiff::Timestamp;
use thiserror::Error;
use url::{Host, Url};

use crate::certificate::{Certificate, CertificateError};
use crate::name;
use crate::response::moment;
use crate::xml::{Element, Profile, Tree, XmlError};

/// The largest document.
const LIMIT: usize = 512 * 1024;

/// As many certificates as any change of keys needs.
const MAX_CERTIFICATES: usize = 10;

/// An identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityProvider {
    /// Its name.
    pub entity_id: String,
    /// Where requests to sign in go, by the redirect binding.
    pub sso_url: Url,
    /// Where answers to its requests to log out go, by the redirect binding.
    pub logout_url: Option<Url>,
    /// Whose signatures are its own. There is at least one.
    pub certificates: Vec<Certificate>,
    /// Whether it wants requests to be signed.
    pub wants_signed_requests: bool,
    /// The kind of name that it is asked for; `None` leaves that to it.
    pub name_id_format: Option<String>,
}

/// Why a description of an identity provider cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetadataError {
    /// It is no XML of the kind that is read here.
    #[error("the metadata cannot be read: {0}")]
    Xml(#[from] XmlError),
    /// It describes no identity provider.
    #[error(
        "this does not describe an identity provider of SAML 2.0: it must be the XML document that begins with EntityDescriptor"
    )]
    NoIdentityProvider,
    /// It describes several.
    #[error("this describes {0} identity providers: use the metadata of the one that signs your people in")]
    Several(usize),
    /// It was valid until some time ago.
    #[error("this metadata was valid until {0}: fetch it again at the identity provider")]
    Expired(Timestamp),
    /// It has no name.
    #[error("the identity provider needs a name (entity ID) of at most 1024 characters")]
    EntityId,
    /// It does not take requests in the address of a redirect.
    #[error("the identity provider offers no sign-in address for the HTTP-Redirect binding")]
    NoRedirect,
    /// An address is not fit.
    #[error("{0} is no address of https")]
    Address(String),
    /// Nobody's signature could be checked.
    #[error(
        "there is no certificate for signatures: without one nothing that the identity provider says can be believed"
    )]
    NoCertificate,
    /// There are too many.
    #[error("there are more than {MAX_CERTIFICATES} certificates")]
    TooManyCertificates,
    /// One of them is not fit.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl IdentityProvider {
    /// Reads what one publishes.
    pub fn from_metadata(document: &[u8], now: Timestamp) -> Result<Self, MetadataError> {
        let tree = Tree::read(document, LIMIT, Profile::Metadata)?;
        let root = tree.root().ok_or(MetadataError::NoIdentityProvider)?;
        let entity = only_provider(root)?;
        let role = role_of(entity).ok_or(MetadataError::NoIdentityProvider)?;
        for element in [root, entity, role] {
            if let Ok(Some(end)) = moment(element, "validUntil")
                && end <= now
            {
                return Err(MetadataError::Expired(end));
            }
        }
        let redirects = |service: &'static str| {
            let mut services = role.all(name::METADATA, service);
            services.find(|it| it.attribute("Binding") == Some(name::REDIRECT))
        };
        let location = redirects("SingleSignOnService").and_then(|it| it.attribute("Location"));
        let logout = redirects("SingleLogoutService");
        let logout =
            logout.and_then(|it| it.attribute("ResponseLocation").or_else(|| it.attribute("Location")));
        let provider = Self::new(
            entity.attribute("entityID").unwrap_or_default(),
            location.ok_or(MetadataError::NoRedirect)?,
            logout,
            certificates(role)?,
        )?;
        Ok(Self {
            wants_signed_requests: matches!(role.attribute("WantAuthnRequestsSigned"), Some("true" | "1")),
            name_id_format: name_id_format(role),
            ..provider
        })
    }

    /// One whose values are written down by hand.
    pub fn new(
        entity_id: &str,
        sso_url: &str,
        logout_url: Option<&str>,
        certificates: Vec<Certificate>,
    ) -> Result<Self, MetadataError> {
        let entity_id = entity_id.trim();
        // Core, section 8.3.6.
        if entity_id.is_empty() || entity_id.chars().count() > 1024 {
            return Err(MetadataError::EntityId);
        }
        match certificates.len() {
            0 => return Err(MetadataError::NoCertificate),
            count if count > MAX_CERTIFICATES => return Err(MetadataError::TooManyCertificates),
            _ => {}
        }
        Ok(Self {
            entity_id: entity_id.to_owned(),
            sso_url: address(sso_url)?,
            logout_url: logout_url.map(address).transpose()?,
            certificates,
            wants_signed_requests: false,
            name_id_format: None,
        })
    }
}

/// The only identity provider in a document.
fn only_provider(root: Element<'_>) -> Result<Element<'_>, MetadataError> {
    if root.is(name::METADATA, "EntityDescriptor") {
        return Ok(root);
    }
    if !root.is(name::METADATA, "EntitiesDescriptor") {
        return Err(MetadataError::NoIdentityProvider);
    }
    let entities = root.descendants().filter(|it| it.is(name::METADATA, "EntityDescriptor"));
    let providers: Vec<_> = entities.filter(|it| role_of(*it).is_some()).collect();
    match *providers {
        [] => Err(MetadataError::NoIdentityProvider),
        [one] => Ok(one),
        _ => Err(MetadataError::Several(providers.len())),
    }
}

/// What an entity is as an identity provider of SAML 2.0.
fn role_of(entity: Element<'_>) -> Option<Element<'_>> {
    entity.all(name::METADATA, "IDPSSODescriptor").find(|role| {
        let protocols = role.attribute("protocolSupportEnumeration").unwrap_or_default();
        protocols.split_ascii_whitespace().any(|protocol| protocol == name::PROTOCOL)
    })
}

/// The certificates for signatures, each once. A key without a `use` is for every use (metadata, section 2.4.1.1). Providers list
/// keys that are too weak, or of another kind, beside the one they sign with: nothing is believed by those, and they are passed
/// over where another one is left.
fn certificates(role: Element<'_>) -> Result<Vec<Certificate>, MetadataError> {
    let (mut found, mut unusable) = (Vec::new(), None);
    let keys = role.all(name::METADATA, "KeyDescriptor");
    for key in keys.filter(|key| matches!(key.attribute("use"), None | Some("signing"))) {
        for text in key.descendants().filter(|it| it.is(name::SIGNATURE, "X509Certificate")) {
            let text = text.text().ok_or(CertificateError::NotACertificate)?;
            match Certificate::from_text(&text) {
                Ok(certificate) if found.contains(&certificate) => {}
                Ok(certificate) => found.push(certificate),
                Err(why @ CertificateError::Key) => unusable = Some(why),
                Err(why) => return Err(why.into()),
            }
        }
    }
    match unusable {
        Some(why) if found.is_empty() => Err(why.into()),
        _ => Ok(found),
    }
}

/// The best that the provider says it has: a name that lasts, or else the e-mail address.
fn name_id_format(role: Element<'_>) -> Option<String> {
    let offered: Vec<String> = role.all(name::METADATA, "NameIDFormat").filter_map(Element::text).collect();
    [name::PERSISTENT, name::EMAIL]
        .into_iter()
        .find(|it| offered.iter().any(|offer| offer == it))
        .map(str::to_owned)
}

/// An address that browsers are sent to. Without https only this machine is trusted, where developers try things.
fn address(text: &str) -> Result<Url, MetadataError> {
    let refuse = || MetadataError::Address(text.chars().take(200).collect());
    let url = Url::parse(text.trim()).map_err(|_| refuse())?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_here);
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if is_safe && is_plain { Ok(url) } else { Err(refuse()) }
}
