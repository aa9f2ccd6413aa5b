//! What was done to a log, told from where its chain breaks and what stands behind.

use kt_domain::events::{Head, Record};

use super::super::error::LogError;
use super::records::{Item, Place, Records};
use super::{Problem, Tampering};

/// Says why `record` is not the entry that follows `head`. Reads the rest of the log for that.
pub(super) fn unlinked(
    head: Head,
    record: &Record<'static>,
    place: Place,
    records: &mut Records<'_>,
) -> Result<Problem, LogError> {
    let rest = Rest::read(head, record, records)?;
    let (kind, message) = name(head, record, &rest);
    Ok(Problem { kind, seq: head.seq + 1, place: Some(place), message })
}

/// What the entries behind a break tell about it.
#[derive(Default)]
struct Rest {
    /// The number under which the entry stands that was expected at the break.
    expected_stands_as: Option<u64>,
    /// Whether an entry claims the number that was expected at the break.
    number_claimed_later: bool,
    /// Whether the entry at the break follows from the one that was expected there.
    found_belongs_behind_expected: bool,
    /// By how much the numbers behind the break were lowered, when that makes the next entry follow.
    next_follows: Option<Shift>,
}

#[derive(Clone, Copy, PartialEq)]
enum Shift {
    /// It follows as it stands.
    None,
    /// It follows when all from the break on had a higher number once.
    Lowered(u64),
}

/// How many removed entries are recognised when the rest was renumbered.
const MOST_RENUMBERED: u64 = 1000;

impl Rest {
    fn read(head: Head, found: &Record<'static>, records: &mut Records<'_>) -> Result<Self, LogError> {
        let mut rest = Self::default();
        let mut is_next = true;
        while let Some((_, item)) = records.next()? {
            let Item::Entry(later) = item else { continue };
            if is_next {
                rest.next_follows = shift(found, &later);
                is_next = false;
            }
            rest.number_claimed_later |= later.seq == head.seq + 1;
            if rest.expected_stands_as.is_none() && head.would_hash(head.seq + 1, &later) == later.hash {
                rest.expected_stands_as = Some(later.seq);
                let expected = Head { seq: head.seq + 1, hash: later.hash };
                rest.found_belongs_behind_expected = expected.would_hash(head.seq + 2, found) == found.hash;
            }
        }
        Ok(rest)
    }
}

fn shift(found: &Record<'_>, next: &Record<'_>) -> Option<Shift> {
    let follows = |lowered: u64| found.head().would_hash(next.seq + lowered, next) == next.hash;
    if next.seq == found.seq + 1 && follows(0) {
        return Some(Shift::None);
    }
    (1..=MOST_RENUMBERED).find(|lowered| follows(*lowered)).map(Shift::Lowered)
}

fn name(head: Head, found: &Record<'_>, rest: &Rest) -> (Tampering, String) {
    let expected = head.seq + 1;
    let number = found.seq;
    if let Some(stands_as) = rest.expected_stands_as {
        if rest.found_belongs_behind_expected || number > expected {
            return (
                Tampering::Swapped,
                format!("entry {expected} was swapped with another: it now stands behind entry {number}"),
            );
        }
        let renumbered = if stands_as == expected { "" } else { ", and those behind were renumbered" };
        return (
            Tampering::Inserted,
            format!(
                "an entry was inserted behind entry {}: it claims to be entry {number}{renumbered}",
                head.seq
            ),
        );
    }
    if number < expected {
        return (
            Tampering::Inserted,
            format!(
                "behind entry {} stands an entry that claims to be entry {number}: it was inserted",
                head.seq
            ),
        );
    }
    if number > expected && rest.number_claimed_later {
        return (
            Tampering::Swapped,
            format!("entry {number} stands where entry {expected} belongs: entries were swapped"),
        );
    }
    if number > expected {
        let missing = match number - 1 {
            last if last == expected => format!("entry {expected} was"),
            last => format!("entries {expected} to {last} were"),
        };
        return (Tampering::Removed, format!("{missing} removed: entry {number} follows entry {}", head.seq));
    }
    match rest.next_follows {
        Some(Shift::Lowered(count)) => (
            Tampering::Removed,
            format!("{count} entries were removed behind entry {} and the rest renumbered", head.seq),
        ),
        Some(Shift::None) => (
            Tampering::Edited,
            format!(
                "entry {expected} was edited: its content does not have its hash (or entry {} was, and its hash was \
                 computed anew)",
                head.seq
            ),
        ),
        None => (
            Tampering::Edited,
            format!(
                "entry {expected} does not follow from entry {}: one of the two was edited, or another took its place",
                head.seq
            ),
        ),
    }
}
