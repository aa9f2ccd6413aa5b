//! What a verification found.

use std::fmt;
use std::sync::Arc;

use kt_domain::events::{Checkpoint, Hash, PublicKey};
use serde::Serialize;

use super::Place;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Whether everything holds.
    pub valid: bool,
    /// What kind of log it is.
    pub log: LogKind,
    /// The gateway whose log it says it is; of an audit log, the organization.
    pub gateway_id: Option<Arc<str>>,
    /// The key that its checkpoints were verified with.
    pub public_key: Option<PublicKey>,
    /// The first entry; later than 1 for an excerpt, or when earlier ones were removed.
    pub first_seq: u64,
    /// The last entry that holds.
    pub last_seq: u64,
    /// The hash of that entry.
    pub last_hash: Option<Hash>,
    /// How many events or audit records stand up to there.
    pub events: u64,
    /// How many checkpoints were verified.
    pub checkpoints: u64,
    /// The last checkpoint that was verified. It proves every entry before it.
    pub proven_by: Option<Checkpoint>,
    /// Why entries before `first_seq` are not there.
    pub beginning: Beginning,
    /// Whether the last line was unfinished, as it is while it is written.
    pub unfinished_line: bool,
    /// What does not hold, if anything.
    pub problem: Option<Problem>,
}

impl Verification {
    /// How many of the last entries no checkpoint proves yet.
    #[must_use]
    pub fn unproven(&self) -> u64 {
        let proven = self.proven_by.as_ref().map_or(self.first_seq.saturating_sub(1), |proof| proof.seq + 1);
        // The entry that is the checkpoint may be the one that does not hold.
        self.last_seq.saturating_sub(proven)
    }
}

/// What kind of log was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    /// The audit log of an organization.
    Audit,
    /// The event log of a gateway.
    Events,
}

/// Where a log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Beginning {
    /// With its first entry.
    Whole,
    /// Later; a signed entry says that those before were removed.
    Removed,
    /// Later, as an excerpt does.
    Excerpt,
}

/// The first thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What was done to the log.
    pub kind: Tampering,
    /// The entry it was done to.
    pub seq: u64,
    /// Where that shows.
    pub place: Option<Place>,
    /// What is wrong, in words.
    pub message: String,
}

/// What can be done to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tampering {
    /// An entry has another content than it was written with.
    Edited,
    /// Entries are missing.
    Removed,
    /// Entries were added.
    Inserted,
    /// Entries stand in another order.
    Swapped,
    /// Its end is missing.
    Cut,
    /// It is an older copy, perhaps written on.
    SetBack,
    /// A signature is not right, or not by the right key.
    Forged,
    /// A line is no entry at all.
    Unreadable,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
