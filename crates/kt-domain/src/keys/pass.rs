//! Passes: what the control plane gives a person's request on its way through a gateway, in place of a key.
//!
//! A pass is a JSON Web Token (RFC 7519) that is signed with the deployment's keys for access tokens and is of another
//! type and for another audience, so that neither passes for the other (RFC 8725 sections 3.11 and 3.12). It is good for
//! a minute, which is also how long somebody who was signed out or suspended may still be let in by a gateway.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actor::{Permission, Role};
use crate::events::PublicKey;
use crate::id::{OrganizationId, SessionId, UserId};

/// What kind of token it is.
pub const PASS_TYPE: &str = "pass+jwt";

/// For whom passes are.
const PASS_AUDIENCE: &str = "keeptrusts-gateway";

/// How long a pass is good.
pub const PASS_LIFETIME: Duration = Duration::from_mins(1);

/// How far the clock of a gateway may be behind that of its control plane.
const SKEW: Duration = Duration::from_secs(30);

/// The longest pass that is looked at, in bytes.
const MOST_BYTES: usize = 2 * 1024;

/// What a gateway needs to know in order to let in whom its control plane vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassTerms {
    /// Who signs passes.
    pub issuer: String,
    /// Whose people are let in.
    pub organization: OrganizationId,
    /// The keys that passes are signed with.
    pub keys: Vec<PassKey>,
}

/// A key that passes are signed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassKey {
    /// Its name in passes.
    pub kid: String,
    /// Its public part.
    pub key: PublicKey,
}

/// What a pass says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassClaims {
    /// Who signed it.
    pub iss: String,
    /// For whom it is.
    pub aud: String,
    /// Whose request it goes with.
    pub sub: UserId,
    /// In which organization.
    pub org: OrganizationId,
    /// What they are there.
    pub role: Role,
    /// The session that they act in; none for what runs on their behalf while they are away.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sid: Option<SessionId>,
    /// When it was signed, in seconds from 1970.
    pub iat: i64,
    /// From when on it is good no more.
    pub exp: i64,
}

/// Why a pass is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPass {
    /// Its minute is over.
    Over,
    /// It is none of this organization's.
    Foreign,
    /// Its holder may not use models.
    Forbidden,
}

impl PassClaims {
    /// What a pass says that is signed at `now`.
    #[must_use]
    pub fn new(
        issuer: &str,
        user: &UserId,
        (organization, role): (&OrganizationId, Role),
        session: Option<&SessionId>,
        now: Timestamp,
    ) -> Self {
        Self {
            iss: issuer.to_owned(),
            aud: PASS_AUDIENCE.to_owned(),
            sub: user.clone(),
            org: organization.clone(),
            role,
            sid: session.cloned(),
            iat: now.as_second(),
            exp: now.as_second() + PASS_LIFETIME.as_secs().cast_signed(),
        }
    }

    /// Whether a pass whose signature was found good lets its holder use models at `now`.
    pub fn check(&self, terms: &PassTerms, now: Timestamp) -> Result<(), BadPass> {
        let now = now.as_second();
        let lifetime = PASS_LIFETIME.as_secs().cast_signed();
        if self.aud != PASS_AUDIENCE || self.iss != terms.issuer || self.org != terms.organization {
            return Err(BadPass::Foreign);
        }
        if now >= self.exp || self.exp - self.iat > lifetime || self.iat > now + SKEW.as_secs().cast_signed()
        {
            return Err(BadPass::Over);
        }
        if Permission::Infer.is_of(self.role) { Ok(()) } else { Err(BadPass::Forbidden) }
    }
}

/// A pass whose signature is still to be verified.
#[derive(Debug)]
pub struct UnverifiedPass<'a> {
    /// Over what the signature is.
    pub signed: &'a [u8],
    /// The signature.
    pub signature: Vec<u8>,
    /// The name of the key that is said to have made it.
    pub kid: String,
    claims: Vec<u8>,
}

/// The one header that a pass has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    typ: String,
    alg: String,
    kid: String,
}

impl<'a> UnverifiedPass<'a> {
    /// Takes a bearer apart that has the form of a pass. `None` for every other, whatever it is: the algorithm is not
    /// the bearer's to choose, and no header of it names a key elsewhere.
    #[must_use]
    pub fn parse(bearer: &'a [u8]) -> Option<Self> {
        if bearer.len() > MOST_BYTES {
            return None;
        }
        let at = bearer.iter().rposition(|byte| *byte == b'.')?;
        let (signed, signature) = (&bearer[..at], &bearer[at + 1..]);
        let mut parts = signed.split(|byte| *byte == b'.');
        let (header, claims, None) = (parts.next()?, parts.next()?, parts.next()) else { return None };
        let decode = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.typ != PASS_TYPE || header.alg != "EdDSA" {
            return None;
        }
        Some(Self { signed, signature: decode(signature)?, kid: header.kid, claims: decode(claims)? })
    }

    /// What it says, now that its signature was verified.
    #[must_use]
    pub fn claims(&self) -> Option<PassClaims> {
        serde_json::from_slice(&self.claims).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-03-15T12:00:00Z".parse().unwrap()
    }

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(prefix: &str, digit: char) -> T {
        format!("{prefix}{}", digit.to_string().repeat(32)).parse().unwrap()
    }

    fn claims(role: Role) -> PassClaims {
        let organization = id("org_", '1');
        PassClaims::new("https://api.example", &id("usr_", '2'), (&organization, role), None, now())
    }

    fn terms() -> PassTerms {
        PassTerms { issuer: "https://api.example".into(), organization: id("org_", '1'), keys: Vec::new() }
    }

    #[test]
    fn a_pass_is_good_for_its_minute_for_those_who_may_use_models() {
        let second = Duration::from_secs(1);
        for (role, expected) in [
            (Role::Member, Ok(())),
            (Role::Admin, Ok(())),
            (Role::Owner, Ok(())),
            (Role::Auditor, Err(BadPass::Forbidden)),
        ] {
            assert_eq!(claims(role).check(&terms(), now()), expected, "{role}");
        }
        let pass = claims(Role::Member);
        assert_eq!(pass.check(&terms(), now() + PASS_LIFETIME - second), Ok(()));
        assert_eq!(pass.check(&terms(), now() + PASS_LIFETIME), Err(BadPass::Over));
        assert_eq!(pass.check(&terms(), now() - SKEW), Ok(()), "a gateway's clock may be a little behind");
        assert_eq!(pass.check(&terms(), now() - SKEW - second), Err(BadPass::Over));
        let long = PassClaims { exp: pass.exp + 1, ..pass };
        assert_eq!(long.check(&terms(), now()), Err(BadPass::Over), "nobody signs one that lasts longer");
    }

    #[test]
    fn a_pass_of_another_issuer_organization_or_audience_is_none_here() {
        let good = claims(Role::Member);
        assert_eq!(good.check(&terms(), now()), Ok(()));
        for foreign in [
            PassClaims { iss: "https://other.example".into(), ..good.clone() },
            PassClaims { org: id("org_", '3'), ..good.clone() },
            PassClaims { aud: "keeptrusts-api".into(), ..good },
        ] {
            assert_eq!(foreign.check(&terms(), now()), Err(BadPass::Foreign));
        }
    }

    fn written(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn only_the_one_form_is_a_pass() {
        let body = serde_json::to_string(&claims(Role::Member)).unwrap();
        let good = written(r#"{"typ":"pass+jwt","alg":"EdDSA","kid":"k1"}"#, &body);
        let pass = UnverifiedPass::parse(good.as_bytes()).unwrap();
        assert_eq!((pass.kid.as_str(), pass.signature.as_slice()), ("k1", b"sig".as_slice()));
        assert_eq!(pass.signed, good.strip_suffix(".c2ln").unwrap().as_bytes());
        assert_eq!(pass.claims(), Some(claims(Role::Member)));
        for header in [
            r#"{"typ":"at+jwt","alg":"EdDSA","kid":"k1"}"#,
            r#"{"typ":"pass+jwt","alg":"none","kid":"k1"}"#,
            r#"{"typ":"pass+jwt","alg":"HS256","kid":"k1"}"#,
            r#"{"alg":"EdDSA","kid":"k1"}"#,
            r#"{"typ":"pass+jwt","alg":"EdDSA"}"#,
            r#"{"typ":"pass+jwt","alg":"EdDSA","kid":"k1","jku":"https://evil.example"}"#,
            r#"{"typ":"pass+jwt","alg":"EdDSA","kid":"k1","kid":"k2"}"#,
        ] {
            assert!(UnverifiedPass::parse(written(header, &body).as_bytes()).is_none(), "{header}");
        }
        for text in ["", ".", "..", "a.b.c", &format!("{good}.c2ln"), &format!("x{good}"), &"a".repeat(3000)]
        {
            assert!(UnverifiedPass::parse(text.as_bytes()).is_none(), "{text}");
        }
        let more = written(r#"{"typ":"pass+jwt","alg":"EdDSA","kid":"k1"}"#, r#"{"sub":"x"}"#);
        assert_eq!(UnverifiedPass::parse(more.as_bytes()).unwrap().claims(), None);
    }

    proptest! {
        #[test]
        fn taking_a_bearer_apart_never_panics(bearer: Vec<u8>) {
            let _ = UnverifiedPass::parse(&bearer).and_then(|pass| pass.claims());
        }
    }
}
