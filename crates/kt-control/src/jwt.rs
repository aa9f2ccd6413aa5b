//! Access tokens: who signs them, who verifies them, and what they say.
//!
//! Ed25519 only (RFC 8037). The algorithm is that of our own key record, never the one a token names; `kid` selects
//! among our keys and nothing else (RFC 8725 sections 3.1 and 3.2).
//!
//! The keys live in the database and are rotated by the operator, or in files that the configuration names.

mod configured;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use kt_domain::actor::Role;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::events::PublicKey;
use kt_domain::id::{OrganizationId, SessionId, UserId};
use kt_domain::keys::{PASS_TYPE, PassClaims, PassKey, PassTerms};
use kt_domain::secret::SecretDigest;
use kt_store::jwt_keys::{self, JwtKey};
use kt_store::{Tx, audit};
use serde::{Deserialize, Serialize};

use crate::control::Control;

pub use configured::{ConfiguredJwtKey, JwtKeyError};

/// How long an access token is good (SPEC section 6).
pub(crate) const LIFETIME: Duration = Duration::from_mins(15);

/// For whom access tokens are: this API and nothing else.
const AUDIENCE: &str = "keeptrusts-api";

/// What kind of token it is (RFC 9068 section 2.1), so that no other of ours passes for one.
const TYPE: &str = "at+jwt";

/// How long a new key is published before it signs, so that every verifier has seen it.
const PUBLISHED_BEFORE: Duration = Duration::from_mins(10);

/// The longest token that is looked at, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// How many seconds the clock of the process that signed may be ahead of that of the process that reads.
const AHEAD: i64 = 30;

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    iss: String,
    aud: String,
    pub(crate) sub: UserId,
    pub(crate) org: OrganizationId,
    role: Role,
    pub(crate) sid: SessionId,
    amr: Vec<String>,
    auth_time: i64,
    iat: i64,
    nbf: i64,
    pub(crate) exp: i64,
}

/// What a new token is to say.
pub(crate) struct NewToken<'a> {
    pub(crate) user: &'a UserId,
    pub(crate) organization: &'a OrganizationId,
    pub(crate) role: Role,
    pub(crate) session: &'a SessionId,
    pub(crate) amr: Vec<String>,
    pub(crate) authenticated_at: Timestamp,
}

/// A public key as others verify with it (RFC 7517, RFC 8037).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    kid: String,
    x: String,
}

/// The public keys of this deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

/// The keys in use by this process.
pub(crate) struct Signer {
    issuer: String,
    keys: RwLock<Arc<Keys>>,
}

#[derive(Default)]
struct Keys {
    /// In the order in which they begin to sign.
    signing: Vec<(Timestamp, String, EncodingKey)>,
    verifying: HashMap<String, (DecodingKey, String)>,
}

impl Signer {
    pub(crate) fn new(issuer: String) -> Self {
        Self { issuer, keys: RwLock::default() }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// A token that says this, signed by the newest key whose time has come.
    pub(crate) fn sign(&self, token: NewToken<'_>, now: Timestamp) -> Result<String, Error> {
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.into(),
            sub: token.user.clone(),
            org: token.organization.clone(),
            role: token.role,
            sid: token.session.clone(),
            amr: token.amr,
            auth_time: token.authenticated_at.as_second(),
            iat: now.as_second(),
            nbf: now.as_second(),
            exp: now.as_second() + LIFETIME.as_secs().cast_signed(),
        };
        self.keys().sign(TYPE, &claims, now)
    }

    /// A pass for a person's request on its way through a gateway.
    pub(crate) fn sign_pass(&self, claims: &PassClaims, now: Timestamp) -> Result<String, Error> {
        self.keys().sign(PASS_TYPE, claims, now)
    }

    /// What a token says, if one of our keys has signed it and it is good at `now`. `None` for anything else.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Option<Claims> {
        if token.len() > MAX_BYTES {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        let is_ours = header.typ.as_deref() == Some(TYPE)
            && header.alg == Algorithm::EdDSA
            && header.jku.is_none()
            && header.jwk.is_none()
            && header.x5u.is_none()
            && header.x5c.is_none()
            // What must be understood, and is not (RFC 7515 section 4.1.11).
            && header.crit.is_none()
            && header.zip.is_none();
        let keys = self.keys();
        let (key, _) = keys.verifying.get(header.kid.as_deref().filter(|_| is_ours)?)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation()).ok()?.claims;
        let now = now.as_second();
        let begun = now + AHEAD;
        let is_good = claims.nbf <= begun && claims.iat <= begun && now < claims.exp;
        (is_good && claims.exp.saturating_sub(claims.iat) <= LIFETIME.as_secs().cast_signed())
            .then_some(claims)
    }

    /// Times are compared in [`Signer::verify`] with the clock that everything else goes by.
    fn validation(&self) -> Validation {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iat", "nbf", "aud", "iss", "sub"]);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation
    }
}

#[cfg(any(test, fuzzing))]
impl Signer {
    /// A signer with one key, `k1`, that is drawn from this seed.
    pub(crate) fn with_key(issuer: &str, seed: &[u8; 32]) -> Result<Self, Error> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(Error::internal)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(Error::internal)?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let verifying = DecodingKey::from_ed_components(&x).map_err(Error::internal)?;
        let signer = Self::new(issuer.to_owned());
        signer.replace(Keys {
            signing: vec![(Timestamp::UNIX_EPOCH, "k1".into(), EncodingKey::from_ed_der(pkcs8.as_ref()))],
            verifying: HashMap::from([("k1".into(), (verifying, x))]),
        });
        Ok(signer)
    }
}

impl Keys {
    /// A token of this type, signed by the newest key whose time has come.
    fn sign(&self, r#type: &str, claims: &impl Serialize, now: Timestamp) -> Result<String, Error> {
        let (_, kid, key) = self
            .signing
            .iter()
            .rev()
            .find(|(from, ..)| *from <= now)
            .ok_or_else(|| Error::internal("there is no key that signs: run `kt admin jwt rotate`"))?;
        let header =
            Header { typ: Some(r#type.into()), kid: Some(kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, key).map_err(Error::internal)
    }
}

impl Control {
    /// By what a gateway of this organization knows the passes that are signed here, and when that changes by itself.
    pub(crate) async fn pass_terms(
        &self,
        organization: &OrganizationId,
        now: Timestamp,
    ) -> Result<(PassTerms, Option<Timestamp>), Error> {
        let (keys, first_to_retire) = self.pass_keys(now).await?;
        let issuer = self.signer.issuer.clone();
        Ok((PassTerms { issuer, organization: organization.clone(), keys }, first_to_retire))
    }

    /// The keys whose passes are good, and when the first of them will not be any more.
    async fn pass_keys(&self, now: Timestamp) -> Result<(Vec<PassKey>, Option<Timestamp>), Error> {
        if let Some(configured) = &self.jwt_keys {
            return Ok((configured.iter().map(ConfiguredJwtKey::pass_key).collect(), None));
        }
        let stored = jwt_keys::verifying(&self.store, now).await?;
        let first_to_retire = stored.iter().filter_map(|key| key.retires_at).min();
        let key = |key: JwtKey| {
            let bytes = URL_SAFE_NO_PAD.decode(&key.public_key).map_err(Error::internal)?;
            let bytes = <[u8; 32]>::try_from(bytes)
                .map_err(|_| Error::internal("a signing key of another length"))?;
            Ok(PassKey { kid: key.kid, key: PublicKey(bytes) })
        };
        Ok((stored.into_iter().map(key).collect::<Result<_, Error>>()?, first_to_retire))
    }

    /// The public keys that verify at this moment, whichever process has changed them.
    pub async fn jwk_set(&self) -> Result<JwkSet, Error> {
        self.catch_up().await?;
        let keys = self.signer.keys();
        let mut keys: Vec<Jwk> = keys
            .verifying
            .iter()
            .map(|(kid, (_, x))| Jwk {
                kty: "OKP",
                crv: "Ed25519",
                alg: "EdDSA",
                usage: "sig",
                kid: kid.clone(),
                x: x.clone(),
            })
            .collect();
        keys.sort_by(|one, other| one.kid.cmp(&other.kid));
        Ok(JwkSet { keys })
    }

    /// Makes a new signing key and retires the others once the tokens that they signed have ended. The new key signs
    /// after it has been published for ten minutes, or at once with `immediately`, for when a key has leaked: then the
    /// others verify nothing any more either. Only the operator does this; refused with `deployment_managed` where the
    /// configuration names the keys.
    pub async fn rotate_signing_key(&self, ctx: &Ctx, immediately: bool) -> Result<String, Error> {
        crate::authenticate::require_operator(ctx)?;
        if self.jwt_keys.is_some() {
            return Err(keys_are_configured());
        }
        let tx = self.store.begin_write().await?;
        let wait = if immediately { Duration::ZERO } else { PUBLISHED_BEFORE };
        let key = self.new_key(ctx.now, ctx.now + wait)?;
        jwt_keys::insert(&tx, &key).await?;
        let overlap = if immediately { Duration::ZERO } else { wait + LIFETIME };
        jwt_keys::retire_others(&tx, &key.kid, ctx.now + overlap).await?;
        let record = self.record(ctx, AuditAction::SigningKeyRotated, key.kid.clone());
        audit::append(&tx, None, &record).await?;
        self.commit_revocation(tx).await?;
        self.load_signing_keys().await?;
        Ok(key.kid)
    }

    /// Takes the keys that are configured, or else those that the store holds, into use; makes the first one where there is
    /// none.
    pub(crate) async fn load_signing_keys(&self) -> Result<(), Error> {
        let keys = match &self.jwt_keys {
            None => self.stored_keys().await?,
            Some(configured) => configured::in_use(configured)?,
        };
        self.signer.replace(keys);
        Ok(())
    }

    async fn stored_keys(&self) -> Result<Keys, Error> {
        let now = self.clock.now();
        let mut stored = jwt_keys::verifying(&self.store, now).await?;
        if !stored.iter().any(|key| key.private_key_sealed.is_some()) {
            let tx = self.store.begin_write().await?;
            stored = self.first_key(&tx, now).await?;
            tx.commit().await?;
        }
        let mut keys = Keys::default();
        for key in stored {
            if let Some(sealed) = &key.private_key_sealed {
                let pkcs8 = self.seal.open(&place_of(&key.kid), sealed)?;
                keys.signing.push((key.signs_from, key.kid.clone(), EncodingKey::from_ed_der(&pkcs8)));
            }
            let decoding = DecodingKey::from_ed_components(&key.public_key).map_err(Error::internal)?;
            keys.verifying.insert(key.kid, (decoding, key.public_key));
        }
        Ok(keys)
    }

    /// Of several processes that start at once, one makes the key.
    async fn first_key(&self, tx: &Tx<'_>, now: Timestamp) -> Result<Vec<JwtKey>, Error> {
        jwt_keys::lock(tx).await?;
        let stored = jwt_keys::verifying(tx, now).await?;
        if !stored.is_empty() {
            return Ok(stored);
        }
        let key = self.new_key(now, now)?;
        jwt_keys::insert(tx, &key).await?;
        Ok(vec![key])
    }

    fn new_key(&self, now: Timestamp, signs_from: Timestamp) -> Result<JwtKey, Error> {
        let seed = self.draw(kt_domain::random::Random::bytes::<32>);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(Error::internal)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(Error::internal)?;
        let public_key = URL_SAFE_NO_PAD.encode(pair.public_key());
        let kid = SecretDigest::of(&public_key).to_string()[..16].to_owned();
        let sealed = self.draw(|random| self.seal.seal(&place_of(&kid), pkcs8.as_ref(), random))?;
        Ok(JwtKey {
            kid,
            public_key,
            private_key_sealed: Some(sealed),
            created_at: now,
            signs_from,
            retires_at: None,
        })
    }
}

fn place_of(kid: &str) -> String {
    format!("jwt_keys/{kid}")
}

fn keys_are_configured() -> Error {
    let message = "The configuration names the keys that sign access tokens, at `auth.jwt.keys`. Add a key there with `state: \
                   verifying`, start every server anew, then let it sign and the others verify, and start them again.";
    Error::new(ErrorKind::Conflict, "deployment_managed", message)
}

/// The answer to a bearer that is not good, whatever is wrong with it.
pub(crate) fn invalid_token() -> Error {
    let message = "This access token is not valid or has ended. Sign in again, or refresh it.";
    Error::new(ErrorKind::Unauthenticated, "invalid_token", message)
}

#[cfg(test)]
mod tests;
