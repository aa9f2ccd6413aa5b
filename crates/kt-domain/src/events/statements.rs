//! What a log says about itself, among the events: where a segment begins, how far the chain has come, what was removed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::hash::{DOMAIN, Hash, KeyId, PublicKey, hex, unhex};

/// A signed statement that the chain had reached entry `seq` with `hash`. Entry `seq + 1` of the chain.
///
/// It proves every entry before it: none can be changed, removed or added without changing `hash`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The gateway whose chain it is.
    pub gateway_id: Arc<str>,
    /// The hash of entry `seq`.
    pub hash: Hash,
    /// The key it was signed with.
    pub key_id: KeyId,
    /// The last entry before the checkpoint.
    pub seq: u64,
    /// Ed25519 over [`Checkpoint::message`], 128 hexadecimal digits; empty before signing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signature: String,
    /// When it was written: RFC 3339 in UTC, to the millisecond.
    pub timestamp: String,
}

impl Checkpoint {
    /// What is signed: a line that says what it is, then the canonical form without `signature`.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let unsigned = Self { signature: String::new(), ..self.clone() };
        let mut message = format!("{DOMAIN} checkpoint\n").into_bytes();
        message.extend(serde_json::to_vec(&unsigned).unwrap_or_default());
        message
    }

    /// Puts `signature` in place.
    #[must_use]
    pub fn signed(self, signature: &[u8; 64]) -> Self {
        Self { signature: hex(signature), ..self }
    }

    /// The signature's bytes, when it has the right form.
    #[must_use]
    pub fn signature(&self) -> Option<[u8; 64]> {
        unhex(self.signature.as_bytes())
    }
}

/// The first entry of a segment: enough to begin verifying there, and how long the segment is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentStart {
    /// The gateway whose chain it is.
    pub gateway_id: Arc<str>,
    /// Whether the segment may not be removed before `retention_days` have passed.
    pub immutable: bool,
    /// The hash of the entry before; [`Hash::genesis`] for entry 1.
    pub previous_hash: Hash,
    /// The key that the segment's checkpoints are signed with.
    pub public_key: PublicKey,
    /// For how many days the segment's events are kept at least.
    pub retention_days: u32,
    /// When the segment was begun: RFC 3339 in UTC, to the millisecond.
    pub timestamp: String,
}

/// The first line of an export that does not begin with a segment. No entry of the chain: what it says is proven by
/// the next checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excerpt {
    /// The entry that follows.
    pub first_seq: u64,
    /// The gateway whose chain it is.
    pub gateway_id: Arc<str>,
    /// The hash of the entry before.
    pub previous_hash: Hash,
    /// The key that the checkpoints are signed with.
    pub public_key: PublicKey,
}

/// Why entries were removed from the beginning of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemovalReason {
    /// An operator asked for it, of segments that were not immutable.
    Purge,
    /// Their retention had ended.
    Retention,
}

/// A statement that the log now begins later. Always followed by a checkpoint, which signs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// The first entry that was kept.
    pub first_kept: u64,
    /// The first entry that was removed; all up to `first_kept` are gone.
    pub first_removed: u64,
    /// The hash of the last entry that was removed.
    pub previous_hash: Hash,
    /// Why.
    pub reason: RemovalReason,
    /// When: RFC 3339 in UTC, to the millisecond.
    pub timestamp: String,
}
