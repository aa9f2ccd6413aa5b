//! What the claims of a provider's tokens must say before they are believed (OpenID Connect Core 1.0 section 3.1.3.7, and
//! Back-Channel Logout 1.0 section 2.6). Their signature is verified elsewhere, before.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::secret::SecretDigest;

/// How far the provider's clock may be from ours.
pub const SKEW: Duration = Duration::from_mins(1);

/// OpenID Connect Core 1.0 section 2: a subject has at most 255 characters.
const LONGEST_SUBJECT: usize = 255;

/// The member of `events` that makes a token a logout token.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// For how long a logout token can be sent after it was made, whatever it says of its own end.
const LOGOUT_LIFETIME: Duration = Duration::from_mins(5);

/// What the claims are compared with.
#[derive(Clone, Copy, Debug)]
pub struct TokenContext<'a> {
    /// The issuer, exactly.
    pub issuer: &'a str,
    /// Who we are to it.
    pub client_id: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClaimError {
    /// Another issuer.
    #[error("`iss` is not the issuer that is set")]
    Issuer,
    /// Not for us.
    #[error("`aud` does not name this application")]
    Audience,
    /// For others besides us, and not given to us.
    #[error("`azp` does not name this application")]
    AuthorizedParty,
    /// Over, or without an end.
    #[error("`exp` is missing or has passed")]
    Expired,
    /// Without a beginning, or made in the future.
    #[error("`iat` is missing or lies in the future")]
    IssuedAt,
    /// Not good yet.
    #[error("`nbf` lies in the future")]
    NotBefore,
    /// Of another request.
    #[error("`nonce` is not the one that was sent")]
    Nonce,
    /// Of nobody.
    #[error("`sub` is missing, empty or too long")]
    Subject,
    /// No logout token.
    #[error("`events` does not say that it is a logout token")]
    Events,
    /// A logout token that cannot be told from its copy.
    #[error("`jti` is missing")]
    TokenId,
    /// A logout token of nobody.
    #[error("neither `sub` nor `sid` is there")]
    Nobody,
}

/// Refuses the claims of an ID token that was not made by this issuer, for us, for this very request, to be used now. Of the
/// request `nonce` is kept, the digest of what the token must repeat.
pub fn check_id_token(
    claims: &Map<String, Value>,
    context: TokenContext<'_>,
    nonce: &SecretDigest,
) -> Result<(), ClaimError> {
    check_origin(claims, context)?;
    let subject = text(claims, "sub").ok_or(ClaimError::Subject)?;
    if subject.is_empty() || subject.len() > LONGEST_SUBJECT {
        return Err(ClaimError::Subject);
    }
    if text(claims, "nonce").map(SecretDigest::of).as_ref() != Some(nonce) {
        return Err(ClaimError::Nonce);
    }
    Ok(())
}

/// Whom a logout token is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedOut {
    /// The subject, if one is named.
    pub subject: Option<String>,
    /// The session at the provider, if one is named.
    pub session: Option<String>,
    /// The token's own name.
    pub token_id: String,
    /// Until when a copy of it could be sent.
    pub until: Timestamp,
}

/// Refuses what is no logout token of this issuer for us; whom it is about otherwise.
pub fn check_logout_token(
    claims: &Map<String, Value>,
    context: TokenContext<'_>,
) -> Result<LoggedOut, ClaimError> {
    check_origin(claims, context)?;
    let made = moment(claims, "iat").ok_or(ClaimError::IssuedAt)?;
    if made + LOGOUT_LIFETIME < context.now {
        return Err(ClaimError::Expired);
    }
    let says_logout =
        claims.get("events").and_then(|events| events.get(LOGOUT_EVENT)).is_some_and(Value::is_object);
    if !says_logout {
        return Err(ClaimError::Events);
    }
    // An ID token must never pass for a logout token.
    if claims.contains_key("nonce") {
        return Err(ClaimError::Nonce);
    }
    let word = |name| text(claims, name).filter(|word| !word.is_empty() && word.len() <= LONGEST_SUBJECT);
    let token_id = word("jti").ok_or(ClaimError::TokenId)?.to_owned();
    let (subject, session) = (word("sub").map(str::to_owned), word("sid").map(str::to_owned));
    if subject.is_none() && session.is_none() {
        return Err(ClaimError::Nobody);
    }
    Ok(LoggedOut { subject, session, token_id, until: made + LOGOUT_LIFETIME + SKEW })
}

/// What both kinds of token must say.
fn check_origin(claims: &Map<String, Value>, context: TokenContext<'_>) -> Result<(), ClaimError> {
    if text(claims, "iss") != Some(context.issuer) {
        return Err(ClaimError::Issuer);
    }
    let audience: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audience.contains(&context.client_id) {
        return Err(ClaimError::Audience);
    }
    let is_ours = |azp: &Value| azp.as_str() == Some(context.client_id);
    match claims.get("azp") {
        Some(azp) if !is_ours(azp) => return Err(ClaimError::AuthorizedParty),
        None if audience.len() > 1 => return Err(ClaimError::AuthorizedParty),
        _ => {}
    }
    if moment(claims, "exp").is_none_or(|end| end + SKEW <= context.now) {
        return Err(ClaimError::Expired);
    }
    if moment(claims, "iat").is_none_or(|made| made > context.now + SKEW) {
        return Err(ClaimError::IssuedAt);
    }
    if claims.contains_key("nbf") && moment(claims, "nbf").is_none_or(|begin| begin > context.now + SKEW) {
        return Err(ClaimError::NotBefore);
    }
    Ok(())
}

/// The text of a claim; none where it is of another kind.
#[must_use]
pub fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// The moment that a claim names; none where it is no number, or one that no calendar holds.
#[must_use]
pub fn moment(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    let number = claims.get(name)?;
    let seconds = match number.as_i64() {
        Some(seconds) => seconds,
        None => number.as_f64().filter(|seconds| seconds.abs() < 1e11).map(to_whole)?,
    };
    // Far from the ends of the calendar, so that a skew can be added.
    Timestamp::from_second(seconds).ok().filter(|_| (0..=200_000_000_000).contains(&seconds))
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be within a calendar's bounds")]
fn to_whole(seconds: f64) -> i64 {
    seconds.trunc() as i64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_773_584_551;

    fn context() -> TokenContext<'static> {
        let now = Timestamp::from_second(NOW).unwrap();
        TokenContext { issuer: "https://id.example", client_id: "us", now }
    }

    /// A good token with these claims in place of its own; `null` takes one away.
    fn with(base: Value, changes: &Value) -> Map<String, Value> {
        let Value::Object(mut claims) = base else { unreachable!() };
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.remove(name);
            } else {
                claims.insert(name.clone(), value.clone());
            }
        }
        claims
    }

    fn id_token() -> Value {
        json!({
            "iss": "https://id.example", "aud": "us", "sub": "248289761001", "nonce": "n-0S6_WzA2Mj",
            "iat": NOW - 5, "exp": NOW + 300,
        })
    }

    fn logout_token() -> Value {
        json!({
            "iss": "https://id.example", "aud": ["us"], "sub": "248289761001", "sid": "s-1", "jti": "j-1",
            "iat": NOW - 5, "exp": NOW + 100, "events": { LOGOUT_EVENT: {} },
        })
    }

    #[test]
    fn an_id_token_must_be_of_this_issuer_for_us_now_and_for_this_request() {
        let table = [
            (json!({}), Ok(())),
            (json!({ "aud": ["us"] }), Ok(())),
            (json!({ "aud": ["us", "them"], "azp": "us" }), Ok(())),
            (json!({ "azp": "us" }), Ok(())),
            (json!({ "exp": NOW - 59, "iat": NOW + 59 }), Ok(())),
            (json!({ "exp": 1_773_584_999.5 }), Ok(())),
            (json!({ "nbf": NOW + 59 }), Ok(())),
            (json!({ "iss": "https://id.example/" }), Err(ClaimError::Issuer)),
            (json!({ "iss": "https://evil.example" }), Err(ClaimError::Issuer)),
            (json!({ "iss": null }), Err(ClaimError::Issuer)),
            (json!({ "iss": ["https://id.example"] }), Err(ClaimError::Issuer)),
            (json!({ "aud": "them" }), Err(ClaimError::Audience)),
            (json!({ "aud": null }), Err(ClaimError::Audience)),
            (json!({ "aud": [] }), Err(ClaimError::Audience)),
            (json!({ "aud": { "us": true } }), Err(ClaimError::Audience)),
            (json!({ "aud": ["us", "them"] }), Err(ClaimError::AuthorizedParty)),
            (json!({ "aud": ["us", "them"], "azp": "them" }), Err(ClaimError::AuthorizedParty)),
            (json!({ "azp": "them" }), Err(ClaimError::AuthorizedParty)),
            (json!({ "azp": 1 }), Err(ClaimError::AuthorizedParty)),
            (json!({ "exp": NOW - 60 }), Err(ClaimError::Expired)),
            (json!({ "exp": null }), Err(ClaimError::Expired)),
            (json!({ "exp": "2030-01-01" }), Err(ClaimError::Expired)),
            (json!({ "exp": 1e300 }), Err(ClaimError::Expired)),
            (json!({ "exp": i64::MAX }), Err(ClaimError::Expired)),
            (json!({ "exp": -1 }), Err(ClaimError::Expired)),
            (json!({ "iat": null }), Err(ClaimError::IssuedAt)),
            (json!({ "iat": NOW + 61 }), Err(ClaimError::IssuedAt)),
            (json!({ "nbf": NOW + 61 }), Err(ClaimError::NotBefore)),
            (json!({ "nbf": "soon" }), Err(ClaimError::NotBefore)),
            (json!({ "nonce": null }), Err(ClaimError::Nonce)),
            (json!({ "nonce": "" }), Err(ClaimError::Nonce)),
            (json!({ "nonce": "n-0S6_WzA2MJ" }), Err(ClaimError::Nonce)),
            (json!({ "sub": null }), Err(ClaimError::Subject)),
            (json!({ "sub": "" }), Err(ClaimError::Subject)),
            (json!({ "sub": 248_289_761_001_i64 }), Err(ClaimError::Subject)),
            (json!({ "sub": "x".repeat(256) }), Err(ClaimError::Subject)),
        ];
        for (changes, expected) in table {
            let claims = with(id_token(), &changes);
            assert_eq!(
                check_id_token(&claims, context(), &SecretDigest::of("n-0S6_WzA2Mj")),
                expected,
                "{changes}"
            );
        }
    }

    #[test]
    fn a_logout_token_is_nothing_else_and_names_somebody_once() {
        let table = [
            (json!({}), Ok((true, true))),
            (json!({ "sid": null }), Ok((true, false))),
            (json!({ "sub": null }), Ok((false, true))),
            (json!({ "sub": null, "sid": null }), Err(ClaimError::Nobody)),
            (json!({ "nonce": "n" }), Err(ClaimError::Nonce)),
            (json!({ "nonce": false }), Err(ClaimError::Nonce)),
            (json!({ "events": null }), Err(ClaimError::Events)),
            (json!({ "events": { "other": {} } }), Err(ClaimError::Events)),
            (json!({ "events": { LOGOUT_EVENT: true } }), Err(ClaimError::Events)),
            (json!({ "jti": null }), Err(ClaimError::TokenId)),
            (json!({ "iat": null }), Err(ClaimError::IssuedAt)),
            (json!({ "iat": NOW - 301 }), Err(ClaimError::Expired)),
            (json!({ "exp": null }), Err(ClaimError::Expired)),
            (json!({ "aud": "them" }), Err(ClaimError::Audience)),
            (json!({ "iss": "https://evil.example" }), Err(ClaimError::Issuer)),
        ];
        for (changes, expected) in table {
            let found = check_logout_token(&with(logout_token(), &changes), context());
            let found = found.map(|out| (out.subject.is_some(), out.session.is_some()));
            assert_eq!(found, expected, "{changes}");
        }
        let id_token = with(id_token(), &json!({}));
        assert!(check_logout_token(&id_token, context()).is_err(), "an ID token");
    }
}
