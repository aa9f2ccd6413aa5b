//! Proves a log, or an export of one, offline: that nothing in it was changed, removed, inserted or reordered, and how
//! far signed checkpoints vouch for that.

mod diagnose;
mod records;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kt_domain::events::{Checkpoint, Excerpt, Hash, Head, Kind, PublicKey, Record};
use serde::Serialize;

use super::error::LogError;
use super::identity::is_signed_with;
use super::{anchor, segments};
use records::{Item, Records};

pub use records::Place;

/// What a log is held against, from outside it.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    /// The key that the gateway signs with; without it, the key that the log names is taken.
    pub public_key: Option<PublicKey>,
    /// Entries that the log must hold: without one, the cutting of its end cannot be told.
    pub entries: Vec<Expected>,
}

/// An entry that a log must hold.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// The anchor's checkpoint, when it came from one.
    pub anchor: Option<Checkpoint>,
}

impl Expected {
    /// The entry that the anchor file at `path` was signed for.
    pub fn from_anchor(path: &Path) -> Result<Self, LogError> {
        let checkpoint = anchor::read(path)?.ok_or_else(|| LogError::Unusable {
            path: path.to_owned(),
            problem: "does not exist".to_owned(),
        })?;
        Ok(Self { seq: checkpoint.seq, hash: checkpoint.hash, anchor: Some(checkpoint) })
    }
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Whether everything holds.
    pub valid: bool,
    /// The gateway whose log it says it is.
    pub gateway_id: Option<Arc<str>>,
    /// The key that its checkpoints were verified with.
    pub public_key: Option<PublicKey>,
    /// The first entry; later than 1 for an excerpt, or when earlier ones were removed.
    pub first_seq: u64,
    /// The last entry that holds.
    pub last_seq: u64,
    /// The hash of that entry.
    pub last_hash: Option<Hash>,
    /// How many events stand up to there.
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
        self.last_seq - self.proven_by.as_ref().map_or(self.first_seq.saturating_sub(1), |proof| proof.seq + 1)
    }
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

/// Verifies the log or export in `paths`, read one after the other; a directory stands for its segments. `progress` is
/// told of the bytes as they are read.
pub fn verify(
    paths: &[PathBuf],
    expectations: &Expectations,
    progress: &mut dyn FnMut(u64),
) -> Result<Verification, LogError> {
    let files = files(paths)?;
    let mut records = Records::new(files.paths, progress);
    let mut walk = Walk::new(expectations, files.is_live);
    while let Some((place, item)) = records.next()? {
        if let Err(break_) = walk.step(&place, item) {
            let problem = match break_ {
                Break::Known(problem) => problem,
                Break::Unlinked(head, record) => diagnose::unlinked(head, &record, place, &mut records)?,
            };
            return Ok(walk.failed(problem));
        }
    }
    walk.finish()
}

struct Files {
    paths: Vec<PathBuf>,
    /// Whether a gateway may be writing to the last one.
    is_live: bool,
}

fn files(paths: &[PathBuf]) -> Result<Files, LogError> {
    let mut files = Files { paths: Vec::new(), is_live: false };
    for path in paths {
        files.is_live = path.is_dir();
        if !files.is_live {
            files.paths.push(path.clone());
            continue;
        }
        let found = segments::list(path)?;
        if found.is_empty() {
            let problem = "holds no event log: there are no .jsonl files in it".to_owned();
            return Err(LogError::Unusable { path: path.clone(), problem });
        }
        files.paths.extend(found.into_iter().map(|segment| segment.path));
    }
    Ok(files)
}

/// Why the walk cannot go on.
enum Break {
    Known(Problem),
    /// The record is not what follows the head; the records behind it tell why.
    Unlinked(Head, Record<'static>),
}

/// Follows the chain, entry by entry.
struct Walk<'a> {
    expectations: &'a Expectations,
    is_live: bool,
    head: Option<Head>,
    key: Option<PublicKey>,
    /// The hash that the log states for the entry before its first.
    before: Option<Head>,
    found: Verification,
}

impl<'a> Walk<'a> {
    fn new(expectations: &'a Expectations, is_live: bool) -> Self {
        let found = Verification {
            valid: true,
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

    fn step(&mut self, place: &Place, item: Item<'_>) -> Result<(), Break> {
        match item {
            Item::Entry(record) => self.entry(place, record),
            Item::Excerpt(excerpt) => self.excerpt(place, &excerpt),
            Item::Unfinished if self.is_live => {
                self.found.unfinished_line = true;
                Ok(())
            }
            Item::Unfinished => Err(self.problem(
                Tampering::Cut,
                place,
                "the last line is unfinished: the file was cut".to_owned(),
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
                self.found.beginning = Beginning::Excerpt;
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
            let message = format!("the log names the signing key {key}, but {wanted} is the gateway's");
            return Err(self.problem(Tampering::Forged, place, message));
        }
        if head.seq == 0 && head.hash != Hash::genesis(gateway_id, &key) {
            let message = "the log does not begin as the log of this gateway and key does".to_owned();
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
        self.found.events += u64::from(record.kind == Kind::Event);
        Ok(())
    }

    /// The head before the log's first entry, which must be the beginning of a segment.
    fn begin_with(&mut self, place: &Place, record: &Record<'_>) -> Result<Head, Break> {
        let Some(start) = record.segment_start() else {
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
            Kind::Event => Ok(()),
            Kind::Checkpoint => self.checkpoint(place, record),
            Kind::Removal => {
                let removal = record.removal();
                let before = self.before.map(|before| (before.seq + 1, before.hash));
                if removal.is_some_and(|removal| before == Some((removal.first_kept, removal.previous_hash))) {
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
             copy and written anew",
            head.seq, head.hash, expected.hash
        );
        Err(Break::Known(Problem { kind: Tampering::SetBack, seq: head.seq, place: Some(place.clone()), message }))
    }

    fn failed(mut self, problem: Problem) -> Verification {
        self.found.valid = false;
        self.found.problem = Some(problem);
        self.found
    }

    fn finish(self) -> Result<Verification, LogError> {
        let problem = self.unsigned_anchor().or_else(|| self.missing_beginning()).or_else(|| self.missing_end());
        Ok(match problem {
            Some(problem) => self.failed(problem),
            None => self.found,
        })
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
        let beyond = self.expectations.entries.iter().filter(|expected| expected.seq > last).max_by_key(|e| e.seq)?;
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
