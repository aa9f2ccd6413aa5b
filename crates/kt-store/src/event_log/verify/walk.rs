//! Follows the chain, entry by entry, and stops at the first that does not hold.

use std::sync::Arc;

use kt_domain::audit;
use kt_domain::events::{Checkpoint, Excerpt, Hash, Head, Kind, PublicKey, Record};

use super::records::Item;
use super::{Beginning, Expectations, Expected, LogKind, Place, Problem, Tampering, Verification};
use crate::checkpoint_key::is_signed_with;

/// Why the walk cannot go on.
pub(super) enum Break {
    Known(Problem),
    /// The record is not what follows the head; the records behind it tell why.
    Unlinked(Head, Record<'static>),
}

/// Follows the chain, entry by entry.
pub(super) struct Walk<'a> {
    expectations: &'a Expectations,
    is_live: bool,
    head: Option<Head>,
    key: Option<PublicKey>,
    /// The hash that the log states for the entry before its first.
    before: Option<Head>,
    found: Verification,
}

impl<'a> Walk<'a> {
    pub(super) fn new(expectations: &'a Expectations, is_live: bool) -> Self {
        let found = Verification {
            valid: true,
            log: LogKind::Events,
            gateway_id: None,
            public_key: None,
            first_seq: 0,
            last_seq: 0,
            last_hash: None,
            events: 0,
            checkpoints: 0,
            proven_by: None,
            beginning: Beginning::Whole,
            unfinished_line: false,
            problem: None,
        };
        Self { expectations, is_live, head: None, key: None, before: None, found }
    }

    pub(super) fn step(&mut self, place: &Place, item: Item<'_>) -> Result<(), Break> {
        match item {
            Item::Entry(record) => self.entry(place, record),
            Item::Excerpt(excerpt) => self.excerpt(place, &excerpt),
            Item::AuditLog(start) => {
                self.found.log = LogKind::Audit;
                let excerpt = Excerpt {
                    first_seq: start.first_seq,
                    gateway_id: start.chain,
                    previous_hash: start.previous_hash,
                    public_key: start.public_key,
                };
                self.excerpt(place, &excerpt)
            }
            Item::Unfinished { is_last: true } if self.is_live => {
                self.found.unfinished_line = true;
                Ok(())
            }
            Item::Unfinished { .. } => Err(self.problem(
                Tampering::Cut,
                place,
                "the last line of the file is unfinished: the file was cut".to_owned(),
            )),
            Item::Unreadable(reason) => {
                Err(self.problem(Tampering::Unreadable, place, format!("the line is no entry: {reason}")))
            }
        }
    }

    fn problem(&self, kind: Tampering, place: &Place, message: String) -> Break {
        Break::Known(Problem { kind, seq: self.found.last_seq + 1, place: Some(place.clone()), message })
    }

    fn excerpt(&mut self, place: &Place, excerpt: &Excerpt) -> Result<(), Break> {
        let head = Head { seq: excerpt.first_seq.saturating_sub(1), hash: excerpt.previous_hash };
        match self.head {
            // Exports that follow one another may be verified together.
            Some(known) if known == head => Ok(()),
            Some(known) => Err(self.problem(
                if known.seq < head.seq { Tampering::Removed } else { Tampering::Inserted },
                place,
                format!("an excerpt from entry {} on does not follow entry {}", excerpt.first_seq, known.seq),
            )),
            None => {
                if head.seq > 0 {
                    self.found.beginning = Beginning::Excerpt;
                }
                self.begin(place, head, &excerpt.gateway_id, excerpt.public_key)
            }
        }
    }

    fn begin(
        &mut self,
        place: &Place,
        head: Head,
        gateway_id: &Arc<str>,
        key: PublicKey,
    ) -> Result<(), Break> {
        self.found.gateway_id = Some(Arc::clone(gateway_id));
        self.found.public_key = Some(key);
        self.found.first_seq = head.seq + 1;
        self.found.last_seq = head.seq;
        self.key = Some(key);
        self.head = Some(head);
        self.before = Some(head);
        if let Some(wanted) = self.expectations.public_key.filter(|wanted| *wanted != key) {
            let message = format!("the log names the signing key {key}, but {wanted} was expected");
            return Err(self.problem(Tampering::Forged, place, message));
        }
        let genesis = match self.found.log {
            LogKind::Audit => audit::genesis(gateway_id).hash,
            LogKind::Events => Hash::genesis(gateway_id, &key),
        };
        if head.seq == 0 && head.hash != genesis {
            let message = format!("the log does not begin as that of {gateway_id} does");
            return Err(self.problem(Tampering::Edited, place, message));
        }
        Ok(())
    }

    fn entry(&mut self, place: &Place, record: Record<'_>) -> Result<(), Break> {
        let head = match self.head {
            Some(head) => head,
            None => self.begin_with(place, &record)?,
        };
        if !head.is_followed_by(&record) {
            return Err(Break::Unlinked(head, record.into_owned()));
        }
        self.statement(place, &record)?;
        self.expected(place, record.head())?;
        self.head = Some(record.head());
        self.found.last_seq = record.seq;
        self.found.last_hash = Some(record.hash);
        self.found.events += u64::from(matches!(record.kind, Kind::Event | Kind::Audit));
        Ok(())
    }

    /// The head before the log's first entry, which must be the beginning of a segment.
    fn begin_with(&mut self, place: &Place, record: &Record<'_>) -> Result<Head, Break> {
        let Some(start) = record.segment_start() else {
            self.found.beginning = Beginning::Excerpt;
            self.found.first_seq = record.seq;
            self.found.last_seq = record.seq.saturating_sub(1);
            let message = format!(
                "the log begins with entry {}, which does not begin a segment: what stood before it was removed",
                record.seq
            );
            return Err(self.problem(Tampering::Removed, place, message));
        };
        let head = Head { seq: record.seq.saturating_sub(1), hash: start.previous_hash };
        if head.seq > 0 {
            self.found.beginning = Beginning::Excerpt;
        }
        self.begin(place, head, &start.gateway_id, start.public_key)?;
        Ok(head)
    }

    /// What an entry says about the log must be so.
    fn statement(&mut self, place: &Place, record: &Record<'_>) -> Result<(), Break> {
        match record.kind {
            Kind::Event | Kind::Audit => Ok(()),
            Kind::Checkpoint => self.checkpoint(place, record),
            Kind::Removal => {
                let removal = record.removal();
                let before = self.before.map(|before| (before.seq + 1, before.hash));
                if removal.is_some_and(|removal| before == Some((removal.first_kept, removal.previous_hash)))
                {
                    self.found.beginning = Beginning::Removed;
                }
                Ok(())
            }
            Kind::Segment => match record.segment_start() {
                Some(start)
                    if Some(start.public_key) == self.key
                        && Some(&start.gateway_id) == self.found.gateway_id.as_ref() =>
                {
                    Ok(())
                }
                _ => Err(self.problem(
                    Tampering::Forged,
                    place,
                    format!("entry {} begins a segment of another gateway or key", record.seq),
                )),
            },
        }
    }

    fn checkpoint(&mut self, place: &Place, record: &Record<'_>) -> Result<(), Break> {
        let (Some(key), Some(head)) = (self.key, self.head) else { return Ok(()) };
        let signed = record.checkpoint().filter(|checkpoint| is_signed_with(checkpoint, &key));
        let covers = |checkpoint: &Checkpoint| {
            checkpoint.seq == head.seq
                && checkpoint.hash == head.hash
                && Some(&checkpoint.gateway_id) == self.found.gateway_id.as_ref()
        };
        match signed {
            Some(checkpoint) if covers(&checkpoint) => {
                self.found.checkpoints += 1;
                self.found.proven_by = Some(checkpoint);
                Ok(())
            }
            signed => {
                let first = self.found.proven_by.as_ref().map_or(self.found.first_seq, |proof| proof.seq + 2);
                let (kind, reason) = match signed {
                    Some(_) => (Tampering::Edited, "was signed for other entries than those before it"),
                    None => (Tampering::Forged, "does not bear a signature of the log's key"),
                };
                let message = format!(
                    "the checkpoint in entry {} {reason}: one or more of the entries {first} to {} were changed and \
                     their hashes computed anew",
                    record.seq, head.seq
                );
                Err(Break::Known(Problem { kind, seq: first, place: Some(place.clone()), message }))
            }
        }
    }

    fn expected(&self, place: &Place, head: Head) -> Result<(), Break> {
        let differs = |expected: &&Expected| expected.seq == head.seq && expected.hash != head.hash;
        let Some(expected) = self.expectations.entries.iter().find(differs) else { return Ok(()) };
        let message = format!(
            "entry {} is not the one that was signed (its hash is {}, expected {}): the log was set back to an older \
             copy, or changed, and written anew",
            head.seq, head.hash, expected.hash
        );
        Err(Break::Known(Problem {
            kind: Tampering::SetBack,
            seq: head.seq,
            place: Some(place.clone()),
            message,
        }))
    }

    pub(super) fn failed(mut self, problem: Problem) -> Verification {
        self.found.valid = false;
        self.found.problem = Some(problem);
        self.found
    }

    pub(super) fn finish(self) -> Verification {
        let problem = self
            .nothing_signed()
            .or_else(|| self.unsigned_anchor())
            .or_else(|| self.missing_beginning())
            .or_else(|| self.missing_end());
        match problem {
            Some(problem) => self.failed(problem),
            None => self.found,
        }
    }

    /// Every log has a checkpoint from its first moment on.
    fn nothing_signed(&self) -> Option<Problem> {
        let (kind, message) = match self.head {
            None => (Tampering::Removed, "there are no entries"),
            Some(_) if self.found.checkpoints == 0 => (
                Tampering::Forged,
                "there is no checkpoint among the entries: nothing proves that they are genuine",
            ),
            Some(_) => return None,
        };
        Some(Problem { kind, seq: self.found.first_seq.max(1), place: None, message: message.to_owned() })
    }

    fn unsigned_anchor(&self) -> Option<Problem> {
        let key = self.key?;
        let anchors = self.expectations.entries.iter().filter_map(|expected| expected.anchor.as_ref());
        let forged = anchors.into_iter().find(|anchor| !is_signed_with(anchor, &key))?;
        Some(Problem {
            kind: Tampering::Forged,
            seq: forged.seq,
            place: None,
            message: format!("the anchor for entry {} was not signed with the log's key {key}", forged.seq),
        })
    }

    /// A gateway's own directory begins with entry 1, or says why not.
    fn missing_beginning(&self) -> Option<Problem> {
        (self.is_live && self.found.beginning == Beginning::Excerpt).then(|| Problem {
            kind: Tampering::Removed,
            seq: 1,
            place: None,
            message: format!(
                "the entries before {} are missing, and no signed entry says that they were removed",
                self.found.first_seq
            ),
        })
    }

    fn missing_end(&self) -> Option<Problem> {
        let last = self.found.last_seq;
        let beyond =
            self.expectations.entries.iter().filter(|expected| expected.seq > last).max_by_key(|e| e.seq)?;
        Some(Problem {
            kind: Tampering::Cut,
            seq: last + 1,
            place: None,
            message: format!(
                "the log ends with entry {last}, but it once reached entry {}: its end was cut off, or an older copy \
                 was put in its place",
                beyond.seq
            ),
        })
    }
}
