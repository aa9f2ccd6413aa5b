//! Whom claims name that can be believed.

use kt_domain::email::EmailAddress;
use kt_domain::sso::google::answers_for;
use kt_domain::sso::id_token::{self, text};
use kt_domain::sso::{AttributeNames, ExternalIdentity};
use serde_json::{Map, Value};

use super::Party;

/// The claim that says something of `email`.
const EMAIL_VERIFIED: &str = "email_verified";

/// Whether something that is needed may be told by the provider's own answer about somebody.
pub(super) fn is_missing(party: &Party, claims: &Map<String, Value>) -> bool {
    let names = &party.attributes;
    !claims.contains_key(&names.email)
        || !claims.contains_key(&names.name)
        || (party.wants_groups && !claims.contains_key(&names.groups))
}

/// Takes address, name and groups from what the provider tells besides, where the ID token does not have them; and nothing else,
/// least of all how somebody has proven who they are. Whether an address is verified is said where the address is.
pub(super) fn add_told(
    names: &AttributeNames,
    claims: &mut Map<String, Value>,
    mut told: Map<String, Value>,
) {
    if !claims.contains_key(&names.email) {
        claims.remove(EMAIL_VERIFIED);
        for name in [names.email.as_str(), EMAIL_VERIFIED] {
            claims.extend(told.remove_entry(name));
        }
    }
    for name in [&names.name, &names.groups] {
        if let Some((name, value)) = told.remove_entry(name) {
            claims.entry(name).or_insert(value);
        }
    }
}

/// Somebody, by claims that can be believed.
pub(super) fn identity(party: &Party, claims: &Map<String, Value>) -> ExternalIdentity {
    let names = &party.attributes;
    let owned = |name: &str| text(claims, name).map(str::to_owned);
    let methods = claims.get("amr").map(listed).unwrap_or_default();
    ExternalIdentity {
        issuer: party.settings.issuer.clone(),
        subject: owned("sub").unwrap_or_default(),
        email: owned(&names.email),
        email_verified: is_verified(party, claims),
        name: owned(&names.name),
        groups: groups(&names.groups, claims),
        authenticated_at: id_token::moment(claims, "auth_time"),
        methods: methods.into_iter().chain(owned("acr")).collect(),
        session: owned("sid"),
        ends_by: None,
    }
}

/// Whether the provider has verified the address, and it is one that it answers for.
fn is_verified(party: &Party, claims: &Map<String, Value>) -> bool {
    // It says something of `email` alone.
    let is_said = party.attributes.email == "email" && claims.get(EMAIL_VERIFIED) == Some(&Value::Bool(true));
    let is_its_own = || {
        let email = text(claims, "email").and_then(|email| EmailAddress::parse(email).ok());
        email.is_some_and(|email| answers_for(&email, text(claims, "hd")))
    };
    is_said && (!party.is_google || is_its_own())
}

/// The groups that are named. Providers leave the claim out where somebody is in none; `None` where one says that it stands
/// elsewhere (`_claim_names`, OpenID Connect Core 1.0 section 5.6.2), as Entra ID does with more groups than a token holds.
fn groups(name: &str, claims: &Map<String, Value>) -> Option<Vec<String>> {
    let stands_elsewhere = || claims.get("_claim_names").is_some_and(|names| names.get(name).is_some());
    match claims.get(name) {
        Some(value) => Some(listed(value)),
        None if stands_elsewhere() => None,
        None => Some(Vec::new()),
    }
}

fn listed(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
