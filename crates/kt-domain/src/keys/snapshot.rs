//! What a gateway is told about whom it may let in, so that it can judge on its own: its organization's access keys, and
//! by what it knows the people whom the control plane vouches for.

use serde::{Deserialize, Serialize};

use super::judge::KeyTerms;
use super::pass::PassTerms;
use super::restrictions::KeyRestrictions;
use crate::id::{ApiKeyId, UserId};
use crate::secret::SecretDigest;

/// The access keys that may be used in an organization, and what it demands of all of them.
///
/// It holds no secret: of each key its digest, from which 256 random bits cannot be found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySnapshot {
    /// Differs whenever anything else in it does.
    pub version: String,
    /// What the organization demands.
    pub restrictions: KeyRestrictions,
    /// The keys; those that were revoked, and those of people who have left, are not among them.
    pub keys: Vec<KnownKey>,
    /// By what the passes of people are known; `None` where none are let in.
    #[serde(default)]
    pub passes: Option<PassTerms>,
}

/// A key that a gateway may meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownKey {
    /// Which.
    pub id: ApiKeyId,
    /// Who answers for it.
    pub owner: UserId,
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
        Self { version: String::new(), restrictions, keys, passes: None }.with_version()
    }

    /// The same, and people are let in whose passes are good by these terms.
    #[must_use]
    pub fn with_passes(self, passes: PassTerms) -> Self {
        Self { passes: Some(passes), ..self }.with_version()
    }

    fn with_version(self) -> Self {
        // None of them can fail to be written as JSON: no map in them has keys that are no text.
        let text = serde_json::to_string(&(&self.restrictions, &self.keys, &self.passes)).unwrap_or_default();
        Self { version: SecretDigest::of(&text).to_string(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::PublicKey;
    use crate::keys::PassKey;

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
            owner: format!("usr_{:0>32}", "1").parse().unwrap(),
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
        let passes = PassTerms {
            issuer: "https://api.example".into(),
            organization: format!("org_{:0>32}", "1").parse().unwrap(),
            keys: vec![PassKey { kid: "k1".into(), key: PublicKey([7; 32]) }],
        };
        let plain = KeySnapshot::new(restrictions.clone(), vec![key("1")]);
        let with_passes = plain.clone().with_passes(passes.clone());
        let rotated =
            PassTerms { keys: vec![PassKey { kid: "k2".into(), key: PublicKey([8; 32]) }], ..passes };
        assert_ne!(plain.version, with_passes.version);
        assert_ne!(with_passes.version, plain.with_passes(rotated).version);
        let text = serde_json::to_string(&with_passes).unwrap();
        assert_eq!(serde_json::from_str::<KeySnapshot>(&text).unwrap(), with_passes);
    }
}
