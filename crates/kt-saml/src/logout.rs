//! Requests of an identity provider to end sessions, and the answer to them (SAML core, section 3.7).
//!
//! They come by way of the browser, in the address of a redirect or in a form, and must be signed: anybody could end
//! somebody's sessions otherwise.

use jiff::{SignedDuration, Timestamp};

use crate::metadata::IdentityProvider;
use crate::name;
use crate::redirect::{self, RedirectedMessage};
use crate::refusal::Refusal;
use crate::request::instant;
use crate::response::{
    NameId, check_destination, check_issuer, check_version, decoded, moment, name_id, not_after, not_before,
    with_skew,
};
use crate::service_provider::ServiceProvider;
use crate::signature;
use crate::signing_key::SigningKey;
use crate::xml::{Element, MESSAGE_LIMIT, Profile, Tree, escaped};

/// How old a request may be that does not say when it ends.
const LIFETIME: SignedDuration = SignedDuration::from_mins(5);

/// What a request must fit.
#[derive(Clone, Copy, Debug)]
pub struct LogoutExpected<'a> {
    /// Who may ask.
    pub identity_provider: &'a IdentityProvider,
    /// Who is asked.
    pub service_provider: &'a ServiceProvider,
    /// The present moment.
    pub now: Timestamp,
}

/// A request that the identity provider made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLogout {
    /// Its ID. It may be used once until [`remember_until`](Self::remember_until).
    pub id: String,
    /// Until when it would be believed.
    pub remember_until: Timestamp,
    /// Whose sessions are to end.
    pub subject: NameId,
    /// Which of them, by the names the provider gave them; all where there are none.
    pub session_indexes: Vec<String>,
}

/// Reads the field `SAMLRequest` of a posted form.
pub fn verify_posted_logout(field: &str, expected: &LogoutExpected<'_>) -> Result<VerifiedLogout, Refusal> {
    let text = decoded(field)?;
    let tree = Tree::read(&text, MESSAGE_LIMIT, Profile::Message)?;
    let request = logout_request(&tree)?;
    signature::check(request, None, &expected.identity_provider.certificates)?;
    read(request, expected)
}

/// Reads a request that came in an address.
pub fn verify_redirected_logout(
    message: &RedirectedMessage,
    expected: &LogoutExpected<'_>,
) -> Result<VerifiedLogout, Refusal> {
    message.check_signature(&expected.identity_provider.certificates)?;
    let tree = Tree::read(&message.text, MESSAGE_LIMIT, Profile::Message)?;
    read(logout_request(&tree)?, expected)
}

/// Where the browser brings the answer that the sessions have ended. `None` where the provider takes none.
#[must_use]
pub fn logout_answer(
    expected: &LogoutExpected<'_>,
    id: &str,
    request: &VerifiedLogout,
    relay_state: Option<&str>,
    key: &SigningKey,
) -> Option<String> {
    let to = expected.identity_provider.logout_url.as_ref()?;
    let document = format!(
        concat!(
            r#"<samlp:LogoutResponse xmlns:samlp="{protocol}" xmlns:saml="{assertion}" ID="{id}" Version="2.0""#,
            r#" IssueInstant="{now}" Destination="{destination}" InResponseTo="{request}">"#,
            r#"<saml:Issuer>{issuer}</saml:Issuer><samlp:Status><samlp:StatusCode Value="{success}"/></samlp:Status>"#,
            r#"</samlp:LogoutResponse>"#
        ),
        protocol = name::PROTOCOL,
        assertion = name::ASSERTION,
        id = escaped(id),
        now = instant(expected.now),
        destination = escaped(to.as_str()),
        request = escaped(&request.id),
        issuer = escaped(&expected.service_provider.entity_id),
        success = name::SUCCESS,
    );
    Some(redirect::address(to, "SAMLResponse", &document, relay_state, Some(key)))
}

fn logout_request<'t>(tree: &'t Tree<'t>) -> Result<Element<'t>, Refusal> {
    let root = tree.root().filter(|root| root.is(name::PROTOCOL, "LogoutRequest"));
    root.ok_or(Refusal::Structure("it is no request to log out"))
}

fn read(request: Element<'_>, expected: &LogoutExpected<'_>) -> Result<VerifiedLogout, Refusal> {
    check_version(request)?;
    let issuer = request.child(name::ASSERTION, "Issuer").ok_or(Refusal::Structure("it has no issuer"))?;
    check_issuer(issuer, expected.identity_provider)?;
    check_destination(request, true, &expected.service_provider.logout_url)?;
    let made_at = moment(request, "IssueInstant")?.ok_or(Refusal::Structure("it has no time"))?;
    not_before(made_at, expected.now)?;
    let end = made_at.checked_add(LIFETIME).unwrap_or(Timestamp::MAX);
    let end = moment(request, "NotOnOrAfter")?.map_or(end, |stated| stated.min(end));
    not_after(end, expected.now)?;
    let indexes = request.all(name::PROTOCOL, "SessionIndex").filter_map(Element::text);
    Ok(VerifiedLogout {
        id: request.attribute("ID").unwrap_or_default().to_owned(),
        remember_until: with_skew(end),
        subject: name_id(Some(request))?,
        session_indexes: indexes.filter(|index| !index.is_empty()).collect(),
    })
}
