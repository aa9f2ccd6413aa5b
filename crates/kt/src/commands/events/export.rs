//! `kt events export`: a copy. Of a gateway's files it can be proven elsewhere.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use kt_store::event_log::{Span, export, size};

use super::source::{Origin, Query, Source};
use crate::commands::reading::{bytes_so_far, new_file, progress_bar, time};
use crate::failure::Failure;
use crate::output::{self, counted};

/// How many events are asked for at a time.
const PAGE: u16 = 1000;

/// Copy events to a file
#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    origin: Origin,
    /// Leave out what is older; of a data directory, widened to the checkpoint before
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Leave out what is newer; of a data directory, widened to the checkpoint behind
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// The file to write; without it, standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.origin.clone().open()? {
            Source::Directory(events) => self.copy(&events),
            source => self.list(&source),
        }
    }

    /// Copies the entries of a log as they stand.
    fn copy(&self, events: &Path) -> Result<(), Failure> {
        let bar = progress_bar(size(events)?);
        let span = Span { since: self.since, until: self.until };
        let mut output = BufWriter::new(new_file(self.output.as_deref())?);
        let exported = export(events, span, &mut output, &mut |bytes| bar.inc(bytes))
            .map_err(|error| Failure::failed(error.to_string()))?;
        bar.finish_and_clear();
        if exported.first_seq == 0 {
            output::complain("no events lie in that time");
            return Ok(());
        }
        output::complain(format_args!(
            "exported {} (entries {} to {}){}",
            counted(exported.events, "event", "events"),
            exported.first_seq,
            exported.last_seq,
            self.output.as_ref().map_or_else(String::new, |file| format!(" to {}", file.display()))
        ));
        if let Some(file) = &self.output {
            output::complain(format_args!(
                "to prove them anywhere: kt events verify {} --public-key {}",
                file.display(),
                events.join("signing.pub").display()
            ));
        }
        Ok(())
    }

    /// Writes the events that are asked for as they come, page by page.
    fn list(&self, source: &Source) -> Result<(), Failure> {
        let mut output = BufWriter::new(new_file(self.output.as_deref())?);
        let bar = bytes_so_far();
        let (mut events, mut cursor) = (0, None);
        loop {
            let page = source.page(&self.query(cursor))?;
            for event in &page.events {
                writeln!(output, "{event}")?;
                bar.inc(event.get().len() as u64);
            }
            events += page.events.len();
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        output.flush()?;
        bar.finish_and_clear();
        output::complain(format_args!(
            "exported {}. A copy that can be proven is made at the gateway, from its data directory",
            counted(events, "event", "events")
        ));
        Ok(())
    }

    fn query(&self, cursor: Option<String>) -> Query {
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(self.since.map(|since| ("since", since.to_string())));
        query.extend(self.until.map(|until| ("until", until.to_string())));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        query
    }
}
