//! `kt events verify`: proves a log or an export, offline.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use kt_domain::events::{Hash, PublicKey};
use kt_store::event_log::{Beginning, Expectations, Expected, LogKind, Verification, size, verify};

use crate::commands::reading::{printable_lines, progress_bar};
use crate::failure::Failure;
use crate::output::{self, counted};

/// Prove that nothing was changed, removed, inserted or reordered
///
/// Works offline, on an export or on the directory of a log. Exit status: 0 everything holds; 1 something does not.
#[derive(Args)]
pub(crate) struct Verify {
    /// Exports or segments in their order, the directory of a log, or the data directory of a gateway
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The gateway's public key (its `signing.pub`), from where nobody can have changed it
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// The gateway's anchor file: recognises a log whose end was cut off, an older copy, and one that was signed anew
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
    /// The same, for a checkpoint taken from the gateway's own messages
    #[arg(long, value_name = "SEQ:HASH", value_parser = expected)]
    expect: Vec<Expected>,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

/// An entry as it is typed.
pub(crate) fn expected(text: &str) -> Result<Expected, String> {
    let wrong = || "expected a number and a hash of 64 hexadecimal digits, such as 120:9f86…".to_owned();
    let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
    let hash: Hash = hash.parse().map_err(|_| wrong())?;
    Ok(Expected { seq: seq.parse().map_err(|_| wrong())?, hash, anchor: None })
}

impl Verify {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let paths: Vec<PathBuf> = self.paths.iter().map(|path| log_in(path)).collect();
        let expectations = self.expectations()?;
        prove(&paths, &expectations, self.json)
    }

    fn expectations(&self) -> Result<Expectations, Failure> {
        let mut entries = self.expect.clone();
        if let Some(path) = &self.anchor {
            entries.push(Expected::from_anchor(path)?);
        }
        let public_key = self.public_key.as_deref().map(read_key).transpose()?;
        Ok(Expectations { public_key, entries })
    }
}

/// Verifies, with a bar on long files, and prints what was found. Fails when something does not hold.
pub(crate) fn prove(paths: &[PathBuf], expectations: &Expectations, json: bool) -> Result<(), Failure> {
    let mut bytes = 0;
    for path in paths {
        bytes += size(path)?;
    }
    let bar = progress_bar(bytes);
    let found = verify(paths, expectations, &mut |read| bar.inc(read))?;
    bar.finish_and_clear();
    let text = if json {
        serde_json::to_string_pretty(&found).unwrap_or_default()
    } else {
        printable_lines(&report(&found, expectations))
    };
    output::line(text);
    if found.valid { Ok(()) } else { Err(Failure::silent(1)) }
}

/// The log of a gateway whose data directory was named.
fn log_in(path: &Path) -> PathBuf {
    let events = path.join("events");
    if events.is_dir() { events } else { path.to_owned() }
}

fn read_key(path: &Path) -> Result<PublicKey, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::invalid(format!("cannot read {}: {error}", path.display())))?;
    text.trim().parse().map_err(|_| {
        Failure::invalid(format!(
            "{} holds no public key (64 hexadecimal digits). A gateway's key is in its signing.pub",
            path.display()
        ))
    })
}

/// What was found, for a person.
fn report(found: &Verification, expectations: &Expectations) -> String {
    let mut lines = Vec::new();
    match &found.problem {
        None => lines.push(format!("verified: {}", holds(found))),
        Some(problem) => {
            lines.push(format!("NOT VERIFIED: {problem}"));
            if let Some(place) = &problem.place {
                lines.push(format!("  where    {}, line {}", place.file.display(), place.line));
            }
            lines.push(format!("  before   {}", holds(found)));
        }
    }
    if found.last_hash.is_some() {
        lines.push(format!("  begins   {}", begins(found)));
    }
    lines.push(format!("  signed   {}", signed(found)));
    if let Some(key) = &found.public_key {
        let whose = match expectations.public_key {
            Some(_) => "as given with --public-key",
            None => "as the log itself says; give --public-key to be sure that it is the right one",
        };
        lines.push(format!("  key      {} ({whose})", key.id()));
    }
    if found.problem.is_none() {
        lines.push(format!("  end      {}", end(found, expectations)));
    }
    if found.unfinished_line {
        lines.push(
            "  behind   an unfinished line, as there is while a gateway writes; it was not acknowledged"
                .to_owned(),
        );
    }
    lines.join("\n")
}

fn holds(found: &Verification) -> String {
    if found.last_hash.is_none() {
        return "no entries".to_owned();
    }
    let (events, whose) = match found.log {
        LogKind::Audit => (counted(found.events, "audit record", "audit records"), "organization"),
        LogKind::Events => (counted(found.events, "event", "events"), "gateway"),
    };
    format!(
        "{events} of {whose} {}, entries {} to {}, each following from the one before",
        found.gateway_id.as_deref().unwrap_or("?"),
        found.first_seq,
        found.last_seq
    )
}

fn begins(found: &Verification) -> String {
    let first = found.first_seq;
    match found.beginning {
        Beginning::Whole => "with the first entry of the log".to_owned(),
        Beginning::Removed => {
            format!("with entry {first}; a signed entry says that those before were removed")
        }
        Beginning::Excerpt => format!("with entry {first}; those before are not part of this"),
    }
}

fn signed(found: &Verification) -> String {
    let Some(proof) = &found.proven_by else { return "nothing".to_owned() };
    let unsigned = match found.unproven() {
        0 => String::new(),
        1 => "; the one behind it is not covered by a signature".to_owned(),
        count => format!("; the {count} behind it are not covered by a signature"),
    };
    format!(
        "up to entry {} by {}, the last of {}{unsigned}",
        proof.seq,
        proof.timestamp,
        counted(found.checkpoints, "checkpoint", "checkpoints")
    )
}

fn end(found: &Verification, expectations: &Expectations) -> String {
    let furthest = expectations.entries.iter().map(|expected| expected.seq).max();
    match furthest {
        None => {
            let option = match found.log {
                LogKind::Audit => "--head",
                LogKind::Events => "--anchor or --expect",
            };
            format!(
                "not compared with anything outside; give {option} to recognise a cut end, an \
                 older copy, or a log that was signed anew by whoever has its key"
            )
        }
        Some(seq) if seq < found.first_seq => {
            format!("not compared: the expected entry {seq} stands before this part of the log")
        }
        Some(seq) => format!("reaches entry {seq}, as expected"),
    }
}
