//! Whether what a gateway delivers is its chain: each entry follows from the one before, each checkpoint bears the
//! gateway's signature. `docs/reference/event-log-format.md` says how a chain is made.

use std::fmt::Display;

use kt_domain::error::{Error, ErrorKind};
use kt_domain::events::{Hash, Head, Kind, Record, SegmentStart};
use kt_store::events::GatewayChain;
use kt_store::is_signed_with;

/// The entries that these texts are.
pub(super) fn read<'a>(entries: &[&'a str]) -> Result<Vec<Record<'a>>, Error> {
    let read = |(place, text): (usize, &&'a str)| {
        let record = match Record::from_written(text.as_bytes()) {
            Some(record) => record,
            None => Record::from_json(text.as_bytes()).map_err(|why| no_entry(place, &why))?,
        };
        match record.kind {
            Kind::Audit => Err(no_entry(place, &"it is an entry of an audit log")),
            _ => Ok(record),
        }
    };
    entries.iter().enumerate().map(read).collect()
}

/// The chain with these entries behind those that are known, and the entries that are new.
pub(super) fn follow<'r, 'a>(
    known: Option<GatewayChain>,
    gateway_id: &str,
    records: &'r [Record<'a>],
) -> Result<(GatewayChain, &'r [Record<'a>]), Error> {
    let Some(first) = records.first() else {
        return known.map(|chain| (chain, records)).ok_or_else(no_beginning);
    };
    let mut chain = match known {
        Some(chain) => chain,
        None => begin(gateway_id, first)?,
    };
    let repeated = records.iter().take_while(|record| record.seq <= chain.head.seq).count();
    let (repeated, new) = records.split_at(repeated);
    if repeated.iter().any(|record| record.seq == chain.head.seq && record.hash != chain.head.hash) {
        return Err(another_log());
    }
    for record in new {
        step(&mut chain, record)?;
    }
    Ok((chain, new))
}

/// A chain before its first entry here, which must begin a segment: it names the key of the gateway.
fn begin(gateway_id: &str, first: &Record<'_>) -> Result<GatewayChain, Error> {
    let start = first.segment_start().ok_or_else(no_beginning)?;
    let head = Head { seq: first.seq.saturating_sub(1), hash: start.previous_hash };
    let is_genesis = head.hash == Hash::genesis(gateway_id, &start.public_key);
    if &*start.gateway_id != gateway_id || (head.seq == 0 && !is_genesis) {
        return Err(broken(first.seq, "it does not begin the log of this gateway"));
    }
    Ok(GatewayChain { gateway_id: gateway_id.to_owned(), public_key: start.public_key, head })
}

fn step(chain: &mut GatewayChain, record: &Record<'_>) -> Result<(), Error> {
    let next = chain.head.seq + 1;
    if record.seq > next {
        let message = format!("Entries are missing. Deliver those from entry {next} on.");
        return Err(Error::new(ErrorKind::Conflict, "chain_gap", message).with_detail("next_seq", next));
    }
    if !chain.head.is_followed_by(record) {
        return Err(broken(record.seq, "it does not follow from the entry before it"));
    }
    match record.kind {
        Kind::Segment if !begins_segment_of(chain, record.segment_start().as_ref()) => {
            return Err(broken(record.seq, "it begins a segment of another gateway or key"));
        }
        Kind::Checkpoint if !is_proof(chain, record) => {
            return Err(broken(
                record.seq,
                "it is no checkpoint that the gateway has signed for the entries before",
            ));
        }
        _ => chain.head = record.head(),
    }
    Ok(())
}

fn begins_segment_of(chain: &GatewayChain, start: Option<&SegmentStart>) -> bool {
    start.is_some_and(|start| {
        *start.gateway_id == *chain.gateway_id
            && start.public_key == chain.public_key
            && start.previous_hash == chain.head.hash
    })
}

fn is_proof(chain: &GatewayChain, record: &Record<'_>) -> bool {
    record.checkpoint().is_some_and(|checkpoint| {
        *checkpoint.gateway_id == *chain.gateway_id
            && (Head { seq: checkpoint.seq, hash: checkpoint.hash }) == chain.head
            && is_signed_with(&checkpoint, &chain.public_key)
    })
}

fn no_entry(place: usize, why: &impl Display) -> Error {
    Error::invalid(format!("entries[{place}]"), format!("This is no entry of a gateway's event log: {why}."))
}

/// An event of the chain lacks what every event has.
pub(super) fn unreadable(seq: u64, why: &impl Display) -> Error {
    Error::invalid("entries", format!("The event in entry {seq} cannot be read: {why}."))
}

fn no_beginning() -> Error {
    let message =
        "Nothing of this gateway is known yet. Deliver its log from the first entry that it still has.";
    Error::new(ErrorKind::Conflict, "chain_gap", message).with_detail("next_seq", 1)
}

fn broken(seq: u64, why: &str) -> Error {
    let message = format!("Entry {seq} cannot be taken: {why}. `kt events verify` on the gateway says more.");
    Error::new(ErrorKind::Conflict, "chain_broken", message).with_detail("seq", seq)
}

fn another_log() -> Error {
    let message = "Another log of a gateway of this name was delivered, or this one was set back. Give the gateway a \
                   name of its own.";
    Error::new(ErrorKind::Conflict, "chain_conflict", message)
}
