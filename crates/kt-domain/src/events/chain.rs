//! The chain of an event log: how each entry is bound to the one before, how its line is written and read back.
//! `docs/reference/event-log-format.md` describes the same for people who write a verifier of their own.

use std::borrow::Cow;
use std::io::Write as _;

use serde::{Deserialize, Serialize};

use super::Event;
use super::canonical::{NotCanonical, Value, canonical};
use super::hash::{Hash, push_hex, unhex};
use super::statements::{Checkpoint, Removal, SegmentStart};

/// One entry of the chain, ready to be written.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry<'a> {
    /// A signed statement about all before.
    Checkpoint(&'a Checkpoint),
    /// An event.
    Event(&'a Event),
    /// A removal from the beginning of the log.
    Removal(&'a Removal),
    /// The beginning of a segment.
    Segment(&'a SegmentStart),
}

/// How far a chain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of its last entry; 0 when there is none yet.
    pub seq: u64,
    /// The hash of its last entry.
    pub hash: Hash,
}

impl Entry<'_> {
    /// The entry as it is hashed, without the closing brace: `{"event":{…}`.
    pub fn open_body(&self) -> serde_json::Result<Vec<u8>> {
        let mut body = serde_json::to_vec(self)?;
        body.pop();
        Ok(body)
    }
}

impl Head {
    /// Appends `entry` to the chain, and its line to `lines`. Both are left as they were on an error.
    pub fn append(&mut self, entry: &Entry<'_>, lines: &mut Vec<u8>) -> serde_json::Result<()> {
        self.append_body(&entry.open_body()?, lines);
        Ok(())
    }

    /// The same for an entry whose [`open_body`](Entry::open_body) this is.
    pub fn append_body(&mut self, open_body: &[u8], lines: &mut Vec<u8>) {
        self.seq += 1;
        self.hash = self.hash.followed_by(self.seq, open_body);
        end_line(open_body, *self, lines);
    }

    /// The head of this chain once an entry of this kind has followed, whose content is the canonical text `content`.
    #[must_use]
    pub fn followed_by(&self, kind: Kind, content: &[u8]) -> Self {
        let open_body = [kind.prefix(), content].concat();
        Self { seq: self.seq + 1, hash: self.hash.followed_by(self.seq + 1, &open_body) }
    }

    /// Whether `record` is the entry that comes next.
    #[must_use]
    pub fn is_followed_by(&self, record: &Record<'_>) -> bool {
        record.seq == self.seq + 1 && self.would_hash(record.seq, record) == record.hash
    }

    /// The hash that `record` would have as entry `seq` after this head.
    #[must_use]
    pub fn would_hash(&self, seq: u64, record: &Record<'_>) -> Hash {
        self.hash.followed_by(seq, &record.open_body)
    }
}

const HASH_KEY: &[u8] = b",\"hash\":\"";
const SEQ_KEY: &[u8] = b"\",\"seq\":";

/// What kind of entry a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// See [`AuditRecord`](crate::audit::AuditRecord).
    Audit,
    /// See [`Checkpoint`].
    Checkpoint,
    /// See [`Event`].
    Event,
    /// See [`Removal`].
    Removal,
    /// See [`SegmentStart`].
    Segment,
}

/// Not an entry of an event log.
#[derive(Debug, thiserror::Error)]
pub enum NotARecord {
    /// It is no JSON, or JSON with repeated keys.
    #[error("it is not readable as JSON: {0}")]
    NotJson(#[from] NotCanonical),
    /// It is something else.
    #[error("it is not an entry of an event log")]
    Other,
}

/// An entry as it was read: what it says of itself, not yet compared with the chain.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// What it is.
    pub kind: Kind,
    /// The canonical body, `{"event":{…}`, without its closing brace.
    open_body: Cow<'a, [u8]>,
}

impl<'a> Record<'a> {
    /// Reads a line exactly as [`Head::append`] writes it, without looking inside the body; `None` for any other
    /// spelling.
    #[must_use]
    pub fn from_written(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line).strip_suffix(b"}")?;
        let digits = line.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (line, seq) = line.split_at(line.len() - digits);
        let line = line.strip_suffix(SEQ_KEY)?;
        let (line, hash) = line.split_at_checked(line.len().checked_sub(64)?)?;
        let open_body = line.strip_suffix(HASH_KEY)?;
        Some(Self {
            seq: canonical_number(seq)?,
            hash: Hash(unhex(hash)?),
            kind: kind_of(open_body)?,
            open_body: Cow::Borrowed(open_body),
        })
    }

    /// Reads an entry in any spelling: pretty-printed, keys in another order.
    pub fn from_json(text: &[u8]) -> Result<Record<'static>, NotARecord> {
        let canonical_text = canonical(text)?;
        let Ok(Value::Object(mut members)) = serde_json::from_slice(&canonical_text) else {
            return Err(NotARecord::Other);
        };
        let (Some(Value::Text(hash)), Some(Value::Unsigned(seq))) =
            (members.remove("hash"), members.remove("seq"))
        else {
            return Err(NotARecord::Other);
        };
        let mut body = serde_json::to_vec(&members).map_err(|_| NotARecord::Other)?;
        body.pop();
        let kind = kind_of(&body).filter(|_| members.len() == 1).ok_or(NotARecord::Other)?;
        let hash = hash.parse().map_err(|_| NotARecord::Other)?;
        Ok(Record { seq, hash, kind, open_body: Cow::Owned(body) })
    }

    /// The same, on its own.
    #[must_use]
    pub fn into_owned(self) -> Record<'static> {
        Record { open_body: Cow::Owned(self.open_body.into_owned()), ..self }
    }

    /// What stands under the entry's kind: the JSON text of the event, checkpoint, …
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.open_body[self.kind.prefix().len()..]
    }

    /// The head of a chain whose last entry this is.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }

    /// The checkpoint, when it is one.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.content_of(Kind::Checkpoint)
    }

    /// The removal, when it is one.
    #[must_use]
    pub fn removal(&self) -> Option<Removal> {
        self.content_of(Kind::Removal)
    }

    /// The beginning of a segment, when it is one.
    #[must_use]
    pub fn segment_start(&self) -> Option<SegmentStart> {
        self.content_of(Kind::Segment)
    }

    fn content_of<'b, T: Deserialize<'b>>(&'b self, kind: Kind) -> Option<T> {
        (self.kind == kind).then(|| serde_json::from_slice(self.content()).ok())?
    }
}

impl Kind {
    const ALL: [Self; 5] = [Self::Event, Self::Audit, Self::Checkpoint, Self::Segment, Self::Removal];

    /// The line of the entry of this kind that has this canonical content: as [`Head::append`] writes it.
    #[must_use]
    pub fn line(self, content: &[u8], head: Head) -> Vec<u8> {
        let mut line = Vec::new();
        end_line(&[self.prefix(), content].concat(), head, &mut line);
        line
    }

    fn prefix(self) -> &'static [u8] {
        match self {
            Self::Audit => b"{\"audit\":",
            Self::Checkpoint => b"{\"checkpoint\":",
            Self::Event => b"{\"event\":",
            Self::Removal => b"{\"removal\":",
            Self::Segment => b"{\"segment\":",
        }
    }
}

/// Adds the line of the entry `head`, which has this body, to `lines`.
fn end_line(open_body: &[u8], head: Head, lines: &mut Vec<u8>) {
    lines.extend_from_slice(open_body);
    lines.extend_from_slice(HASH_KEY);
    push_hex(lines, &head.hash.0);
    lines.extend_from_slice(SEQ_KEY);
    // Writing to a vector cannot fail.
    let _ = write!(lines, "{}", head.seq);
    lines.extend_from_slice(b"}\n");
}

fn kind_of(open_body: &[u8]) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| open_body.starts_with(kind.prefix()))
}

/// A number in the only spelling that is written: decimal digits without a leading zero.
fn canonical_number(digits: &[u8]) -> Option<u64> {
    let text = str::from_utf8(digits).ok()?;
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}
