//! What a gateway is told about its organisation's access keys, so that it can judge them on its own.

use serde::{Deserialize, Serialize};

use super::judge::KeyTerms;
use super::restrictions::KeyRestrictions;
use crate::id::ApiKeyId;
use crate::secret::SecretDigest;

/// The access keys that may be used in an organisation, and what it demands of all of them.
///
/// It holds no secret: of each key its digest, from which 256 random bits cannot be found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySnapshot {
    /// Differs whenever anything else in it does.
    pub version: String,
    /// What the organisation demands.
    pub restrictions: KeyRestrictions,
    /// The keys; those that were revoked, and those of people who have left, are not among them.
    pub keys: Vec<KnownKey>,
}

/// A key that a gateway may meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownKey {
    /// Which.
    pub id: ApiKeyId,
    /// What is known of its text.
    pub digest: SecretDigest,
    /// What it was given, its scope narrowed to what its owner may do.
    pub terms: KeyTerms,
}

impl KeySnapshot {
    /// The snapshot of these keys; their order does not matter.
    #[must_use]
    pub fn new(restrictions: KeyRestrictions, mut keys: Vec<KnownKey>) -> Self {
        keys.sort_by(|one, other| one.id.cmp(&other.id));
        // Neither can fail to be written as JSON: no map in them has keys that are no text.
        let text = serde_json::to_string(&(&restrictions, &keys)).unwrap_or_default();
        Self { version: SecretDigest::of(&text).to_string(), restrictions, keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_version_tells_every_difference_and_no_order() {
        let terms = KeyTerms {
            scope: None,
            ranges: vec!["10.0.0.0/8".parse().unwrap()],
            requests_per_minute: Some(60),
            created_at: "2026-03-15T12:00:00Z".parse().unwrap(),
            expires_at: None,
            ends_at: None,
            flagged_at: None,
        };
        let key = |digits: &str| KnownKey {
            id: format!("key_{digits:0>32}").parse().unwrap(),
            digest: SecretDigest::of(digits),
            terms: terms.clone(),
        };
        let restrictions = KeyRestrictions::default();
        let version = |keys| KeySnapshot::new(restrictions.clone(), keys).version;
        assert_eq!(version(vec![key("1"), key("2")]), version(vec![key("2"), key("1")]));
        assert_ne!(version(vec![key("1")]), version(vec![key("1"), key("2")]));
        let slower =
            KnownKey { terms: KeyTerms { requests_per_minute: Some(59), ..terms.clone() }, ..key("1") };
        assert_ne!(version(vec![key("1")]), version(vec![slower]));
        let stricter = KeyRestrictions { require_scope: !restrictions.require_scope, ..restrictions.clone() };
        assert_ne!(version(vec![key("1")]), KeySnapshot::new(stricter, vec![key("1")]).version);
        let text = serde_json::to_string(&KeySnapshot::new(restrictions.clone(), vec![key("1")])).unwrap();
        let back: KeySnapshot = serde_json::from_str(&text).unwrap();
        assert_eq!(back, KeySnapshot::new(restrictions.clone(), vec![key("1")]));
    }
}
