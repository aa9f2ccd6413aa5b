//! `kt events export`: a copy that can be verified elsewhere.

use std::io::BufWriter;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use kt_store::event_log::{Span, export, size};

use super::DataDir;
use crate::commands::reading::{new_file, progress_bar, time};
use crate::failure::Failure;
use crate::output;

/// Copy events to a file that can be verified elsewhere
#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    data_dir: DataDir,
    /// Leave out what is older; widened to the checkpoint before
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Leave out what is newer; widened to the checkpoint behind
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// The file to write; without it, standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let events = self.data_dir.events()?;
        let bar = progress_bar(size(&events)?);
        let span = Span { since: self.since, until: self.until };
        let mut output = BufWriter::new(new_file(self.output.as_deref())?);
        let exported = export(&events, span, &mut output, &mut |bytes| bar.inc(bytes))
            .map_err(|error| Failure::failed(error.to_string()))?;
        bar.finish_and_clear();
        if exported.first_seq == 0 {
            output::complain("no events lie in that time");
            return Ok(());
        }
        output::complain(format_args!(
            "exported {} events (entries {} to {}){}",
            exported.events,
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
}
