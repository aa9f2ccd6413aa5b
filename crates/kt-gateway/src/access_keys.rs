//! Whom a control plane lets in, as this gateway knows it: the access keys that it has made, each judged by the same rule
//! as there, also while the control plane is away; and people with a pass that it has signed within the last minute.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use jiff::Timestamp;
use kt_domain::actor::Scope;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::keys::{
    BadPass, KeyRestrictions, KeySnapshot, KeyTerms, KnownKey, PassTerms, UnverifiedPass, Verdict,
    effective_rate, judge,
};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::reply::Refusal;
use crate::snapshot::Key;
use crate::stages::authenticate::unauthenticated;

/// The keys that may be used here. Nobody's, until the control plane has said which.
#[derive(Default)]
pub struct AccessKeys {
    known: ArcSwapOption<Known>,
    /// Held while keys are replaced, so that an older list never replaces a newer one half-way.
    replacing: Mutex<()>,
}

struct Known {
    version: String,
    restrictions: KeyRestrictions,
    keys: HashMap<[u8; 32], Entry>,
    passes: Option<PassTerms>,
}

struct Entry {
    key: Arc<Key>,
    terms: KeyTerms,
    /// Goes on from list to list, for as long as the key stands in them.
    life: Arc<watch::Sender<bool>>,
}

/// The time for which a key is known, as its requests under way see it.
#[derive(Clone)]
pub(crate) struct Life(watch::Receiver<bool>);

impl Life {
    /// Is ready once the key was taken back.
    pub(crate) async fn over(mut self) {
        if self.0.wait_for(|is_over| *is_over).await.is_err() {
            // Nobody is left who could take it back.
            std::future::pending::<()>().await;
        }
    }
}

impl AccessKeys {
    /// From now on these keys may be used and no others; a stream that began with another ends. What a key has used of its
    /// rate stays used.
    pub fn replace(&self, snapshot: KeySnapshot) {
        let KeySnapshot { version, restrictions, keys, passes } = snapshot;
        self.succeed(|before| {
            let entry = |known: KnownKey| {
                let digest = *known.digest.as_bytes();
                let life = before.and_then(|before| before.keys.get(&digest));
                let life = life.map_or_else(Arc::default, |entry| Arc::clone(&entry.life));
                let requests_per_minute = effective_rate(&known.terms, &restrictions);
                let key = Key::new(known.id.as_str(), requests_per_minute)
                    .answered_for_by(known.owner.as_str())
                    .for_as_long_as(Life(life.subscribe()));
                (digest, Entry { key: Arc::new(key), terms: known.terms, life })
            };
            let keys = keys.into_iter().map(entry).collect();
            Some(Known { version, restrictions, keys, passes })
        });
    }

    /// From now on no key may be used, and every stream that began with one ends.
    pub fn forget(&self) {
        self.succeed(|_| None);
    }

    /// Puts in force what comes after the keys that are known, and ends the life of those that are not among them.
    fn succeed(&self, next: impl FnOnce(Option<&Known>) -> Option<Known>) {
        let _one_at_a_time = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.known.load_full();
        let after = next(before.as_deref()).map(Arc::new);
        self.known.store(after.clone());
        let is_known =
            |digest: &[u8; 32]| after.as_ref().is_some_and(|after| after.keys.contains_key(digest));
        for (digest, entry) in before.iter().flat_map(|before| &before.keys) {
            if !is_known(digest) {
                entry.life.send_replace(true);
            }
        }
    }

    /// The version of the keys that may be used; `None` until the control plane has said which.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.known.load().as_ref().map(|known| known.version.clone())
    }

    /// Whose pass this is, if it is one that is good at `now`.
    pub(crate) fn person(&self, bearer: &[u8], now: Timestamp) -> Option<Arc<Key>> {
        let pass = UnverifiedPass::parse(bearer)?;
        self.known.load().as_ref()?.admit_pass(&pass, now).ok()
    }

    /// Whose bearer this is, if it may be used for inference from `source` at `now`: a key, or a pass.
    pub(crate) fn admit(
        &self,
        bearer: &[u8],
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<Key>, Refusal> {
        let known = self.known.load();
        let known = known.as_ref().ok_or_else(unknown_yet)?;
        match UnverifiedPass::parse(bearer) {
            Some(pass) => known.admit_pass(&pass, now),
            None => known.admit_key(&Sha256::digest(bearer).into(), source, now),
        }
    }
}

impl Known {
    fn admit_key(
        &self,
        digest: &[u8; 32],
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<Key>, Refusal> {
        let entry = self.keys.get(digest).ok_or_else(|| refusal(Error::invalid_key()))?;
        if let Verdict::Refused(reason) = judge(&entry.terms, &self.restrictions, source, now) {
            return Err(refusal(reason.into()));
        }
        if entry.terms.scope < Some(Scope::Write) {
            let message = "This key only reads. Inference asks for the scope `write`.";
            return Err(Refusal::permission(403, "insufficient_scope", message));
        }
        Ok(Arc::clone(&entry.key))
    }

    /// Whoever the control plane vouches for. What the organization demands of keys is not asked: a pass is good for a
    /// minute and only the control plane holds one.
    fn admit_pass(&self, pass: &UnverifiedPass<'_>, now: Timestamp) -> Result<Arc<Key>, Refusal> {
        let invalid = || refusal(Error::invalid_key());
        let terms = self.passes.as_ref().ok_or_else(invalid)?;
        let signer = terms.keys.iter().find(|key| key.kid == pass.kid).ok_or_else(invalid)?;
        let key = UnparsedPublicKey::new(&ED25519, signer.key.0);
        key.verify(pass.signed, &pass.signature).map_err(|_| invalid())?;
        let claims = pass.claims().ok_or_else(invalid)?;
        match claims.check(terms, now) {
            Ok(()) => Ok(Arc::new(Key::person(claims.sub.as_str()))),
            Err(BadPass::Foreign) => Err(invalid()),
            Err(BadPass::Over) => {
                Err(unauthenticated("key_expired", "This pass is over. Ask for another one."))
            }
            Err(BadPass::Forbidden) => {
                Err(Refusal::permission(403, "insufficient_scope", "This role does not use models."))
            }
        }
    }
}

fn unknown_yet() -> Refusal {
    let message =
        "This gateway has not heard from its control plane yet, so it knows no keys. Try again later.";
    Refusal::unavailable(503, "keys_unavailable", message)
}

fn refusal(error: Error) -> Refusal {
    match error.kind {
        ErrorKind::Unauthenticated => unauthenticated(error.code, error.message),
        _ => Refusal::permission(403, error.code, error.message),
    }
}
