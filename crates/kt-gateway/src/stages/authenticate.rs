//! Who sends a request.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use kt_domain::clock::Clock;
use kt_domain::keys;
use sha2::{Digest, Sha256};

use crate::reply::Refusal;
use crate::snapshot::{AuthRules, BoundKey, Key};

/// The key that the request was made with, if keys are asked for: there is no way from a wrong key to no key. Where none is asked
/// for, a pass that is good says who comes, and anything else says nothing.
pub(crate) fn check(
    rules: &AuthRules,
    headers: &HeaderMap,
    source: Option<IpAddr>,
    clock: &dyn Clock,
) -> Result<Option<Arc<Key>>, Refusal> {
    match rules {
        AuthRules::Open(keys) => {
            let person = keys.as_ref().zip(presented_key(headers).ok());
            Ok(person.and_then(|(keys, bearer)| keys.person(bearer, clock.now())))
        }
        AuthRules::Static(keys) => admit(keys, &presented_digest(headers)?, source).map(Some),
        AuthRules::AccessKeys(keys) => keys.admit(presented_key(headers)?, source, clock.now()).map(Some),
    }
}

/// Refuses a key in the query string, whosever it is: it would go on into the provider's logs and stay in the client's.
pub(crate) fn check_query(query: Option<&str>) -> Result<(), Refusal> {
    if !query.is_some_and(keys::stands_in_query) {
        return Ok(());
    }
    Err(Refusal::invalid(
        400,
        "key_in_address",
        "A key in an address ends up in logs. Send it as `Authorization: Bearer KEY`, and put another in place of this one.",
    ))
}

fn admit(
    keys: &HashMap<[u8; 32], BoundKey>,
    digest: &[u8; 32],
    source: Option<IpAddr>,
) -> Result<Arc<Key>, Refusal> {
    let Some(BoundKey { key, allowed_ranges }) = keys.get(digest) else {
        return Err(unauthenticated(
            "invalid_key",
            "This key is not known here. Check it, or ask for a new one.",
        ));
    };
    if !allowed_ranges.is_empty() && !source.is_some_and(|source| allowed_ranges.contains(source)) {
        return Err(Refusal::permission(403, "key_ip_denied", "This key may not be used from your address."));
    }
    Ok(Arc::clone(key))
}

fn presented_digest(headers: &HeaderMap) -> Result<[u8; 32], Refusal> {
    Ok(Sha256::digest(presented_key(headers)?).into())
}

/// The one key in `Authorization: Bearer`, `x-api-key` or `api-key`, wherever the client's SDK puts it.
fn presented_key(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    let mut presented: Option<&[u8]> = None;
    let bearer = headers.get_all(header::AUTHORIZATION).iter().map(|value| bearer_token(value.as_bytes()));
    let plain = ["x-api-key", "api-key"]
        .into_iter()
        .flat_map(|name| headers.get_all(name))
        .map(|value| Some(value.as_bytes()));
    for token in bearer.chain(plain) {
        let token = token.filter(|token| !token.is_empty()).ok_or_else(missing_key)?;
        if presented.is_some_and(|earlier| earlier != token) {
            return Err(unauthenticated("invalid_key", "Two different keys were sent. Send one."));
        }
        presented = Some(token);
    }
    presented.ok_or_else(missing_key)
}

/// The token after the scheme `Bearer` (RFC 6750 section 2.1; the scheme's case does not matter).
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn missing_key() -> Refusal {
    unauthenticated("missing_key", "Send your key as `Authorization: Bearer KEY`.")
}

/// A refusal that asks for a key, or for a better one.
pub(crate) fn unauthenticated(code: &'static str, message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::authentication(401, code, message)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}
