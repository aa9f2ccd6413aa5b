//! The hash chain of an audit log: that of the event log (`events::chain`), whose entries are records and checkpoints.
//!
//! `docs/reference/event-log-format.md` describes both.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::AuditRecord;
use crate::events::{Hash, Head, Kind, NotCanonical, PublicKey, canonical};

/// The beginning of the chain of this name (an organization's id). Bound to the name, so that no chain can be shown in
/// place of another.
#[must_use]
pub fn genesis(chain: &str) -> Head {
    let digest = Sha256::new().chain_update(b"keeptrusts audit log v1\n").chain_update(chain).finalize();
    Head { seq: 0, hash: Hash::from_bytes(digest.into()) }
}

/// A record's place in its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainedRecord {
    /// The chain's head, now that it ends in this record.
    pub head: Head,
    /// The record in the canonical form of RFC 8785 that its hash is taken over.
    pub body: String,
}

/// The record as the next one of the chain that has come to `head`.
pub fn append(head: Head, record: &AuditRecord) -> Result<ChainedRecord, NotCanonical> {
    let body = canonical(&serde_json::to_vec(record)?)?;
    Ok(ChainedRecord {
        head: head.followed_by(Kind::Audit, &body),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// The first line of an export. No entry of the chain: what it says is proven by the next checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditLogStart {
    /// The organization whose chain it is.
    pub chain: Arc<str>,
    /// The entry that follows.
    pub first_seq: u64,
    /// The hash of the entry before; [`genesis`] for entry 1.
    pub previous_hash: Hash,
    /// The key that the checkpoints are signed with.
    pub public_key: PublicKey,
}
