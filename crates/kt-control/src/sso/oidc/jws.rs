//! The signature of a provider's token: by one of that provider's own keys, with an algorithm that we have chosen
//! (RFC 8725 section 3.1; STANDARDS OIDC-05 and OIDC-07).

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use kt_domain::ctx::Ctx;
use kt_domain::sso::id_token::text;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::Party;
use super::metadata::MetadataError;
use crate::control::Control;

/// The algorithms that are taken. The token may name one of them and no other: none without a signature, and none with a
/// shared secret, for which a public key could be taken.
const ALGORITHMS: [Algorithm; 4] = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];

/// The longest token that is looked at, in bytes.
const MOST_BYTES: usize = 64 * 1024;

/// How many keys are tried for a token that does not name one.
const MOST_TRIED: usize = 4;

/// A token whose signature is good.
pub(super) struct Verified {
    pub(super) claims: Map<String, Value>,
    pub(super) algorithm: &'static str,
}

/// Why a token's signature is not good.
#[derive(Debug, Error)]
pub(super) enum JwsError {
    #[error("it is no signed token: {0}")]
    Malformed(String),
    #[error("it is too long")]
    TooLong,
    #[error("its algorithm is not one of RS256, PS256, ES256 and EdDSA")]
    Algorithm,
    #[error("its header asks for an extension that is not known here")]
    Critical,
    #[error("it is of the kind `{0}`")]
    Kind(String),
    #[error("it is signed with a key that the provider does not publish")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("it is not for the access token that came with it")]
    AccessToken,
    #[error(transparent)]
    Keys(#[from] MetadataError),
}

impl Control {
    /// What a token says that a key of this provider has signed. Of a `kind`, where one is asked for. Where it names a key
    /// that is not known, the provider may have put others in their place: its keys are asked for once more.
    pub(super) async fn verify_jws(
        &self,
        ctx: &Ctx,
        party: &Party,
        token: &str,
        kind: Option<&str>,
    ) -> Result<Verified, JwsError> {
        let header = read_header(token, kind)?;
        let keys = self.provider_keys(ctx, party, false).await?;
        match verify(token, &header, &keys) {
            Err(JwsError::UnknownKey | JwsError::Signature) => {
                let keys = self.provider_keys(ctx, party, true).await?;
                verify(token, &header, &keys)
            }
            other => other,
        }
    }
}

/// What a token says although nobody has shown who made it: for whoever looks for what is wrong with it, and for nothing else.
pub(super) fn unverified(token: &str) -> Option<Value> {
    if token.len() > MOST_BYTES {
        return None;
    }
    let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    let mut parts = token.split('.').map(read);
    Some(json!({ "header": parts.next()??, "claims": parts.next()?? }))
}

fn read_header(token: &str, kind: Option<&str>) -> Result<Header, JwsError> {
    if token.len() > MOST_BYTES {
        return Err(JwsError::TooLong);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|why| JwsError::Malformed(why.to_string()))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(JwsError::Algorithm);
    }
    if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
        return Err(JwsError::Critical);
    }
    match (kind, header.typ.as_deref()) {
        (Some(kind), typ) if typ.is_none_or(|typ| !typ.eq_ignore_ascii_case(kind)) => {
            Err(JwsError::Kind(typ.unwrap_or_default().to_owned()))
        }
        _ => Ok(header),
    }
}

/// The header's `kid` selects among the provider's own keys; what else it says of keys (`jwk`, `jku`, `x5c`, `x5u`) is not
/// looked at.
fn verify(token: &str, header: &Header, keys: &[Jwk]) -> Result<Verified, JwsError> {
    let fits = |key: &&Jwk| {
        is_for(key, header.alg)
            && header.kid.as_ref().is_none_or(|kid| key.common.key_id.as_ref() == Some(kid))
    };
    let fitting: Vec<&Jwk> = keys.iter().filter(fits).take(MOST_TRIED).collect();
    if fitting.is_empty() {
        return Err(JwsError::UnknownKey);
    }
    for key in fitting {
        let Ok(key) = DecodingKey::from_jwk(key) else { continue };
        if let Ok(data) =
            jsonwebtoken::decode::<Map<String, Value>>(token, &key, &signature_alone(header.alg))
        {
            return Ok(Verified { claims: data.claims, algorithm: name_of(header.alg) });
        }
    }
    Err(JwsError::Signature)
}

/// Whether a key may verify signatures of this algorithm.
fn is_for(key: &Jwk, algorithm: Algorithm) -> bool {
    let kind_fits = match (&key.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256 | Algorithm::PS256)
        | (AlgorithmParameters::OctetKeyPair(_), Algorithm::EdDSA) => true,
        (AlgorithmParameters::EllipticCurve(curve), Algorithm::ES256) => curve.curve == EllipticCurve::P256,
        _ => false,
    };
    let use_fits = key.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
    let names = key.common.key_algorithm.map(|named| named.to_string());
    kind_fits && use_fits && names.is_none_or(|named| named == name_of(algorithm))
}

/// The claims are checked by rules of our own, with the clock that everything else goes by.
fn signature_alone(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn name_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RS256 => "RS256",
        Algorithm::PS256 => "PS256",
        Algorithm::ES256 => "ES256",
        Algorithm::EdDSA => "EdDSA",
        _ => "",
    }
}

/// An ID token that names the hash of an access token came with that one (OpenID Connect Core 1.0 section 3.1.3.8): the left
/// half of the hash of its signature's algorithm.
pub(super) fn check_access_token_hash(
    verified: &Verified,
    access_token: Option<&str>,
) -> Result<(), JwsError> {
    let Some(named) = verified.claims.get("at_hash") else { return Ok(()) };
    let algorithm = if verified.algorithm == "EdDSA" { &SHA512 } else { &SHA256 };
    let hashed = access_token.map(|token| digest(algorithm, token.as_bytes()));
    let half = hashed.map(|hash| URL_SAFE_NO_PAD.encode(&hash.as_ref()[..hash.as_ref().len() / 2]));
    if named.is_string() && half.as_deref() == text(&verified.claims, "at_hash") {
        return Ok(());
    }
    Err(JwsError::AccessToken)
}
