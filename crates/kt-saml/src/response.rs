//! The answer to a request: the response that a browser brings from its identity provider (SAML profiles, section 4.1.4).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};

use crate::metadata::IdentityProvider;
use crate::name;
use crate::refusal::Refusal;
use crate::service_provider::ServiceProvider;
use crate::signature;
use crate::xml::{Element, MESSAGE_LIMIT, Profile, Tree};

/// How far the clock of an identity provider may be from ours.
pub(crate) const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// What a response must fit.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Who was asked.
    pub identity_provider: &'a IdentityProvider,
    /// Who asked.
    pub service_provider: &'a ServiceProvider,
    /// The ID of the request that the browser was sent with.
    pub request: &'a str,
    /// Where the person was to prove again who they are: when that was asked.
    pub authenticated_since: Option<Timestamp>,
    /// The present moment.
    pub now: Timestamp,
}

/// What a response proves. Nothing in it stood outside the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAssertion {
    /// The ID of the assertion. It may be used once until [`remember_until`](Self::remember_until).
    pub id: String,
    /// Until when the assertion would be believed.
    pub remember_until: Timestamp,
    /// The identity provider.
    pub issuer: String,
    /// Whom it is about.
    pub subject: NameId,
    /// What it says about them.
    pub attributes: Vec<Attribute>,
    /// When they proved who they are.
    pub authenticated_at: Timestamp,
    /// How they did: the class of the authentication context.
    pub authentication_context: Option<String>,
    /// The name of their session at the identity provider.
    pub session_index: Option<String>,
    /// When that session ends.
    pub session_ends_at: Option<Timestamp>,
}

/// A name of somebody, as their identity provider knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameId {
    /// The name.
    pub value: String,
    /// What kind of name it is.
    pub format: Option<String>,
}

/// Something that is said about somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub friendly_name: Option<String>,
    /// Its values.
    pub values: Vec<String>,
}

/// What is looked at in a response, in this order. What follows one that is refused is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Whether it can be read, reports no failure and holds one assertion.
    Message,
    /// Whether a configured certificate fits its signature.
    Signature,
    /// Whether it comes from the provider, to this address, in answer to the request.
    Answer,
    /// Whether it is for this service and for whoever brings it, at this time.
    Conditions,
    /// What it says of the person.
    Person,
}

/// Where a response was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedAt {
    /// What was looked at.
    pub stage: Stage,
    /// What was wrong with it.
    pub why: Refusal,
}

/// Reads the field `SAMLResponse` of a posted form.
pub fn verify_response(field: &str, expected: &Expected<'_>) -> Result<VerifiedAssertion, Refusal> {
    verify_in_stages(field, expected).map_err(|refused| refused.why)
}

/// The same, saying how far it was good.
pub fn verify_in_stages(field: &str, expected: &Expected<'_>) -> Result<VerifiedAssertion, RefusedAt> {
    let at = |stage| move |why| RefusedAt { stage, why };
    let text = decoded(field).map_err(at(Stage::Message))?;
    let tree = Tree::read(&text, MESSAGE_LIMIT, Profile::Message);
    let tree = tree.map_err(Refusal::from).map_err(at(Stage::Message))?;
    let (response, assertion) = response_of(&tree).map_err(at(Stage::Message))?;
    let certificates = &expected.identity_provider.certificates;
    let signed = signature::check(response, Some(assertion), certificates).map_err(at(Stage::Signature))?;
    check_response(response, signed.is_root(), expected).map_err(at(Stage::Answer))?;
    check_assertion(assertion, expected).map_err(at(Stage::Answer))?;
    let confirmed_until = check_subject(assertion, expected).map_err(at(Stage::Conditions))?;
    check_conditions(assertion, expected).map_err(at(Stage::Conditions))?;
    claims(assertion, confirmed_until, expected).map_err(at(Stage::Person))
}

/// The response, and the assertion in it.
fn response_of<'t>(tree: &'t Tree<'t>) -> Result<(Element<'t>, Element<'t>), Refusal> {
    let response = tree.root().filter(|root| root.is(name::PROTOCOL, "Response"));
    let response = response.ok_or(Refusal::Structure("it is no response"))?;
    // Failures come unsigned and without an assertion; their reason helps whoever sets the provider up.
    check_status(response)?;
    Ok((response, only_assertion(response)?))
}

/// What the field `SAMLResponse` holds, good or not: for whoever looks for what is wrong with it, and for nothing else. `None`
/// where it holds no message.
#[must_use]
pub fn unverified_response(field: &str) -> Option<String> {
    decoded(field).ok().map(|text| String::from_utf8_lossy(&text).into_owned())
}

/// The text of a message in a form.
pub(crate) fn decoded(field: &str) -> Result<Vec<u8>, Refusal> {
    // Some providers break the lines of their Base64.
    let compact: String = field.split_ascii_whitespace().collect();
    if compact.len() > MESSAGE_LIMIT.div_ceil(3) * 4 {
        return Err(Refusal::Unreadable("it is too large"));
    }
    STANDARD.decode(compact).map_err(|_| Refusal::Unreadable("it is no Base64"))
}

/// The assertion, directly in the response: the only one anywhere in it.
fn only_assertion(response: Element<'_>) -> Result<Element<'_>, Refusal> {
    let encrypted = ["EncryptedAssertion", "EncryptedID", "EncryptedAttribute"];
    if response.descendants().any(|it| encrypted.iter().any(|name| it.is(name::ASSERTION, name))) {
        return Err(Refusal::Encrypted);
    }
    // Whatever its namespace: what looks like one must be one.
    let mut assertions = response.descendants().filter(|it| it.name() == "Assertion");
    let assertion = assertions.next().ok_or(Refusal::Structure("there is no assertion"))?;
    if assertions.next().is_some() {
        return Err(Refusal::Structure("there is more than one assertion"));
    }
    if assertion.is(name::ASSERTION, "Assertion") && assertion.parent() == Some(response.node()) {
        Ok(assertion)
    } else {
        Err(Refusal::Structure("the assertion is not where it belongs"))
    }
}

fn check_response(response: Element<'_>, is_signed: bool, expected: &Expected<'_>) -> Result<(), Refusal> {
    check_version(response)?;
    if !response.children().all(belongs_in_response) {
        return Err(Refusal::Structure("there is something in the response that does not belong there"));
    }
    match response.child(name::ASSERTION, "Issuer") {
        Some(issuer) => check_issuer(issuer, expected.identity_provider)?,
        // Profiles, section 4.1.4.2.
        None if is_signed => return Err(Refusal::Structure("a signed response must name its issuer")),
        None => {}
    }
    check_destination(response, is_signed, &expected.service_provider.acs_url)?;
    check_request(response.attribute("InResponseTo"), expected)
}

/// Core, section 3.3.3.
fn belongs_in_response(element: Element<'_>) -> bool {
    let known = [
        (name::ASSERTION, "Issuer"),
        (name::SIGNATURE, "Signature"),
        (name::PROTOCOL, "Extensions"),
        (name::PROTOCOL, "Status"),
        (name::ASSERTION, "Assertion"),
    ];
    known.iter().any(|(namespace, name)| element.is(namespace, name))
}

pub(crate) fn check_version(message: Element<'_>) -> Result<(), Refusal> {
    let is_fit = message.attribute("Version") == Some("2.0")
        && message.attribute("ID").is_some_and(|id| !id.is_empty());
    if is_fit { Ok(()) } else { Err(Refusal::Structure("it needs an ID and the version 2.0")) }
}

fn check_status(response: Element<'_>) -> Result<(), Refusal> {
    let status = response.child(name::PROTOCOL, "Status").ok_or(Refusal::Structure("there is no status"))?;
    let code = status.child(name::PROTOCOL, "StatusCode").ok_or(Refusal::Structure("there is no status"))?;
    if code.attribute("Value") == Some(name::SUCCESS) {
        return Ok(());
    }
    let last_part = |code: Element<'_>| {
        let value = code.attribute("Value").unwrap_or_default();
        value.rsplit(':').next().unwrap_or_default().to_owned()
    };
    let mut report = last_part(code);
    if let Some(inner) = code.child(name::PROTOCOL, "StatusCode") {
        report = format!("{report}, {}", last_part(inner));
    }
    if let Some(message) = status.child(name::PROTOCOL, "StatusMessage").and_then(Element::text) {
        report = format!("{report}: {message}");
    }
    Err(Refusal::Status(report.chars().take(300).collect()))
}

pub(crate) fn check_issuer(issuer: Element<'_>, provider: &IdentityProvider) -> Result<(), Refusal> {
    let found = issuer.text().ok_or(Refusal::Structure("the issuer is no text"))?;
    if found == provider.entity_id {
        Ok(())
    } else {
        Err(Refusal::Issuer { expected: provider.entity_id.clone(), found })
    }
}

/// Bindings, section 3.5.5.2: a signed message must say where it goes, so that it cannot be brought elsewhere.
pub(crate) fn check_destination(message: Element<'_>, is_signed: bool, here: &str) -> Result<(), Refusal> {
    match message.attribute("Destination") {
        Some(destination) if destination == here => Ok(()),
        None if !is_signed => Ok(()),
        found => {
            Err(Refusal::Addressee { expected: here.to_owned(), found: found.unwrap_or("nobody").to_owned() })
        }
    }
}

fn check_request(answers: Option<&str>, expected: &Expected<'_>) -> Result<(), Refusal> {
    match answers {
        None => Err(Refusal::Unsolicited),
        Some(request) if request == expected.request => Ok(()),
        Some(_) => Err(Refusal::OtherRequest),
    }
}

fn check_assertion(assertion: Element<'_>, expected: &Expected<'_>) -> Result<(), Refusal> {
    check_version(assertion)?;
    let issuer = assertion.child(name::ASSERTION, "Issuer");
    check_issuer(
        issuer.ok_or(Refusal::Structure("the assertion has no issuer"))?,
        expected.identity_provider,
    )?;
    let made_at =
        moment(assertion, "IssueInstant")?.ok_or(Refusal::Structure("the assertion has no time"))?;
    not_before(made_at, expected.now)
}

/// Until when the subject is confirmed: whoever brings the assertion is its subject, at this address, in answer to this
/// request (profiles, section 4.1.4.2).
fn check_subject(assertion: Element<'_>, expected: &Expected<'_>) -> Result<Timestamp, Refusal> {
    let subject =
        assertion.child(name::ASSERTION, "Subject").ok_or(Refusal::Structure("there is no subject"))?;
    let bearers = subject
        .all(name::ASSERTION, "SubjectConfirmation")
        .filter(|confirmation| confirmation.attribute("Method") == Some(name::BEARER));
    let mut refusal = Refusal::Structure("the subject is not confirmed as the bearer");
    for bearer in bearers {
        match check_confirmation(bearer, expected) {
            Ok(until) => return Ok(until),
            Err(why) => refusal = why,
        }
    }
    Err(refusal)
}

fn check_confirmation(bearer: Element<'_>, expected: &Expected<'_>) -> Result<Timestamp, Refusal> {
    let data = bearer
        .child(name::ASSERTION, "SubjectConfirmationData")
        .ok_or(Refusal::Structure("the confirmation of the subject is empty"))?;
    let here = &expected.service_provider.acs_url;
    if data.attribute("Recipient") != Some(here) {
        let found = data.attribute("Recipient").unwrap_or("nobody").to_owned();
        return Err(Refusal::Addressee { expected: here.clone(), found });
    }
    if data.attribute("NotBefore").is_some() {
        return Err(Refusal::Structure("the confirmation of the subject must not have a beginning"));
    }
    let until = moment(data, "NotOnOrAfter")?
        .ok_or(Refusal::Structure("the confirmation of the subject must have an end"))?;
    not_after(until, expected.now)?;
    check_request(data.attribute("InResponseTo"), expected)?;
    Ok(until)
}

fn check_conditions(assertion: Element<'_>, expected: &Expected<'_>) -> Result<(), Refusal> {
    let mut all = assertion.all(name::ASSERTION, "Conditions");
    let conditions = all.next().ok_or(Refusal::Structure("there are no conditions"))?;
    if all.next().is_some() {
        return Err(Refusal::Structure("there are conditions twice"));
    }
    if let Some(begin) = moment(conditions, "NotBefore")? {
        not_before(begin, expected.now)?;
    }
    if let Some(end) = moment(conditions, "NotOnOrAfter")? {
        not_after(end, expected.now)?;
    }
    let mut is_for_us = false;
    for condition in conditions.children() {
        if condition.is(name::ASSERTION, "AudienceRestriction") {
            // Each of them must be met (core, section 2.5.1.4).
            check_audience(condition, &expected.service_provider.entity_id)?;
            is_for_us = true;
        } else if !["OneTimeUse", "ProxyRestriction"].iter().any(|name| condition.is(name::ASSERTION, name)) {
            // Core, section 2.5.1: what is not understood cannot be met.
            return Err(Refusal::Structure("there is a condition that is not known"));
        }
    }
    if is_for_us {
        Ok(())
    } else {
        let expected = expected.service_provider.entity_id.clone();
        Err(Refusal::Audience { expected, found: "anybody".to_owned() })
    }
}

fn check_audience(restriction: Element<'_>, us: &str) -> Result<(), Refusal> {
    let audiences: Vec<String> =
        restriction.all(name::ASSERTION, "Audience").filter_map(Element::text).collect();
    if audiences.iter().any(|audience| audience == us) {
        Ok(())
    } else {
        Err(Refusal::Audience { expected: us.to_owned(), found: audiences.join(", ") })
    }
}

fn claims(
    assertion: Element<'_>,
    confirmed_until: Timestamp,
    expected: &Expected<'_>,
) -> Result<VerifiedAssertion, Refusal> {
    let mut statements = assertion.all(name::ASSERTION, "AuthnStatement");
    let statement =
        statements.next().ok_or(Refusal::Structure("it does not say how the person signed in"))?;
    if statements.next().is_some() {
        return Err(Refusal::Structure("it says twice how the person signed in"));
    }
    let authenticated_at = moment(statement, "AuthnInstant")?
        .ok_or(Refusal::Structure("it does not say when the person signed in"))?;
    not_before(authenticated_at, expected.now)?;
    if expected.authenticated_since.is_some_and(|since| with_skew(authenticated_at) < since) {
        return Err(Refusal::NotAuthenticatedAgain);
    }
    let session_ends_at = moment(statement, "SessionNotOnOrAfter")?;
    if let Some(end) = session_ends_at {
        not_after(end, expected.now)?;
    }
    let context = statement.child(name::ASSERTION, "AuthnContext");
    let class = context.and_then(|context| context.child(name::ASSERTION, "AuthnContextClassRef"));
    Ok(VerifiedAssertion {
        id: assertion.attribute("ID").unwrap_or_default().to_owned(),
        remember_until: with_skew(confirmed_until),
        issuer: expected.identity_provider.entity_id.clone(),
        subject: name_id(assertion.child(name::ASSERTION, "Subject"))?,
        attributes: attributes(assertion)?,
        authenticated_at,
        authentication_context: class.and_then(Element::text),
        session_index: statement.attribute("SessionIndex").map(str::to_owned),
        session_ends_at,
    })
}

/// The name in a subject or in a request to log out.
pub(crate) fn name_id(within: Option<Element<'_>>) -> Result<NameId, Refusal> {
    let mut names = within.into_iter().flat_map(|it| it.all(name::ASSERTION, "NameID"));
    let (Some(found), None) = (names.next(), names.next()) else {
        return Err(Refusal::Structure("it must name one person (NameID)"));
    };
    let value = found.text().filter(|value| !value.is_empty() && value.len() <= 1024);
    let value =
        value.ok_or(Refusal::Structure("the name of the person (NameID) is empty, too long or no text"))?;
    Ok(NameId { value, format: found.attribute("Format").map(str::to_owned) })
}

fn attributes(assertion: Element<'_>) -> Result<Vec<Attribute>, Refusal> {
    let statements = assertion.all(name::ASSERTION, "AttributeStatement");
    let all = statements.flat_map(|statement| statement.all(name::ASSERTION, "Attribute"));
    all.map(|attribute| {
        let name = attribute.attribute("Name").ok_or(Refusal::Structure("an attribute has no name"))?;
        // A value with elements in it is none of those that are read here.
        let values = attribute.all(name::ASSERTION, "AttributeValue").filter_map(Element::text);
        Ok(Attribute {
            name: name.to_owned(),
            friendly_name: attribute.attribute("FriendlyName").map(str::to_owned),
            values: values.filter(|value| !value.is_empty()).collect(),
        })
    })
    .collect()
}

/// The moment that an attribute of `element` names.
pub(crate) fn moment(element: Element<'_>, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let text = element.attribute(name).map(str::trim);
    text.map(str::parse).transpose().map_err(|_| Refusal::Structure("a time is none"))
}

pub(crate) fn not_before(begin: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    if with_skew(now) < begin { Err(Refusal::TooEarly(begin)) } else { Ok(()) }
}

pub(crate) fn not_after(end: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    if with_skew(end) <= now { Err(Refusal::TooLate(end)) } else { Ok(()) }
}

/// `moment`, read from a clock that is as far behind as it may be.
pub(crate) fn with_skew(moment: Timestamp) -> Timestamp {
    moment.checked_add(SKEW).unwrap_or(Timestamp::MAX)
}

impl VerifiedAssertion {
    /// The values of the attribute of this name, or of this name for people.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = move |it: &&Attribute| it.name == name || it.friendly_name.as_deref() == Some(name);
        self.attributes.iter().filter(named).flat_map(|it| &it.values).map(String::as_str)
    }
}

impl NameId {
    /// Whether the provider will know the same person by another name next time.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.format.as_deref() == Some(name::TRANSIENT)
    }

    /// Whether the provider says that the name is an e-mail address.
    #[must_use]
    pub fn is_email(&self) -> bool {
        self.format.as_deref() == Some(name::EMAIL)
    }
}
