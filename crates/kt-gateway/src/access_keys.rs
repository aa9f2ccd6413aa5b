//! The access keys that a control plane has made, as this gateway knows them: it judges each by the same rule as the
//! control plane does, and goes on doing so while the control plane is away.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use kt_domain::actor::Scope;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::keys::{KeyRestrictions, KeySnapshot, KeyTerms, KnownKey, Verdict, effective_rate, judge};

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
}

struct Entry {
    key: Arc<Key>,
    terms: KeyTerms,
}

impl AccessKeys {
    /// From now on these keys may be used and no others. What a key has used of its rate stays used.
    pub fn replace(&self, snapshot: KeySnapshot) {
        let _one_at_a_time = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let KeySnapshot { version, restrictions, keys } = snapshot;
        let entry = |known: KnownKey| {
            let requests_per_minute = effective_rate(&known.terms, &restrictions);
            let key = Key { id: known.id.as_str().into(), requests_per_minute };
            (*known.digest.as_bytes(), Entry { key: Arc::new(key), terms: known.terms })
        };
        let keys = keys.into_iter().map(entry).collect();
        self.known.store(Some(Arc::new(Known { version, restrictions, keys })));
    }

    /// From now on no key may be used.
    pub fn forget(&self) {
        self.known.store(None);
    }

    /// The version of the keys that may be used; `None` until the control plane has said which.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.known.load().as_ref().map(|known| known.version.clone())
    }

    /// The key with this digest, if it may be used for inference from `source` at `now`.
    pub(crate) fn admit(
        &self,
        digest: &[u8; 32],
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<Key>, Refusal> {
        let known = self.known.load();
        let known = known.as_ref().ok_or_else(unknown_yet)?;
        let entry = known.keys.get(digest).ok_or_else(|| refusal(Error::invalid_key()))?;
        if let Verdict::Refused(reason) = judge(&entry.terms, &known.restrictions, source, now) {
            return Err(refusal(reason.into()));
        }
        if entry.terms.scope < Some(Scope::Write) {
            let message = "This key only reads. Inference asks for the scope `write`.";
            return Err(Refusal::permission(403, "insufficient_scope", message));
        }
        Ok(Arc::clone(&entry.key))
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
