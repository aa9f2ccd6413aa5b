//! `kt events prune` and `kt events repair`: the two ways to change a log by hand, both of which leave their mark.

use clap::Args;
use jiff::Timestamp;
use kt_store::event_log::{purge, repair, retain};
use serde_json::json;

use super::{DataDir, options_of};
use crate::commands::reading::time;
use crate::failure::Failure;
use crate::output::{self, counted};

/// Remove events whose retention has ended
///
/// Whole segments go, from the beginning of the log, and a signed entry says so. The gateway does the same by itself
/// once a day.
#[derive(Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    data_dir: DataDir,
    /// Remove also what was finished before this time, unless it is immutable and its retention has not ended
    #[arg(long, value_name = "TIME", value_parser = time)]
    before: Option<Timestamp>,
    /// Print what was removed as JSON
    #[arg(long)]
    json: bool,
}

impl Prune {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let events = self.data_dir.events()?;
        let options = options_of(&events)?;
        let ended = retain(&events, &options)?;
        let asked =
            self.before.map(|before| purge(&events, &options, before)).transpose()?.unwrap_or_default();
        let entries = ended.entries + asked.entries;
        let segments = ended.segments + asked.segments;
        let sentence = match segments {
            0 => "nothing was removed".to_owned(),
            _ => format!(
                "removed {} with {}",
                counted(segments, "segment", "segments"),
                counted(entries, "entry", "entries")
            ),
        };
        output::done(self.json, sentence, json!({ "segments": segments, "entries": entries }));
        if asked.kept_immutable {
            return Err(Failure::failed(
                "older events are immutable and were kept: they go when their retention ends, not before",
            ));
        }
        Ok(())
    }
}

/// Go on recording behind a damaged end of the log; the damage stays visible
///
/// The damaged segment is left as it is, as evidence, and a new one is begun. `kt events verify` keeps finding the
/// damage in the whole log; the new segments can be verified by themselves.
#[derive(Args)]
pub(crate) struct Repair {
    #[command(flatten)]
    data_dir: DataDir,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

impl Repair {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let events = self.data_dir.events()?;
        repair(&events, &options_of(&events)?)?;
        let sentence = "a new segment was begun behind the damage; the gateway can record again";
        output::done(self.json, sentence, json!({ "repaired": true }));
        Ok(())
    }
}
