//! `kt audit export`: a copy of an organization's audit log.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use kt_control::ExportFormat;

use crate::api::ApiAddress;
use crate::commands::reading::{bytes_so_far, new_file, time};
use crate::failure::Failure;
use crate::output;

/// Copy the audit log to a file
///
/// Asks for a sign-in of the last ten minutes, and is itself recorded. A copy as `jsonl` can be proven anywhere with `kt audit
/// verify`.
#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    api: ApiAddress,
    /// `jsonl` (can be proven), `csv` or `ocsf`
    #[arg(long, value_name = "FORMAT", default_value_t = ExportFormat::Jsonl)]
    format: ExportFormat,
    /// Leave out what is older; as `jsonl`, widened to the checkpoint before
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Leave out what is newer; as `jsonl`, widened to the checkpoint behind
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// The file to write; without it, standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut query = vec![("format", self.format.to_string())];
        query.extend(self.since.map(|since| ("since", since.to_string())));
        query.extend(self.until.map(|until| ("until", until.to_string())));
        let api = self.api.open()?;
        let mut copy = api.get("/v1/audit-log/export", &query)?;
        let mut file = BufWriter::new(new_file(self.output.as_deref())?);
        let bar = bytes_so_far();
        while let Some(part) = copy.next()? {
            file.write_all(&part)?;
            bar.inc(part.len() as u64);
        }
        file.flush()?;
        bar.finish_and_clear();
        if let Some(path) = &self.output {
            let path = path.display();
            output::complain(format_args!("exported {} bytes to {path}", bar.position()));
            if self.format == ExportFormat::Jsonl {
                output::complain(format_args!("to prove them anywhere: kt audit verify {path}"));
            }
        }
        Ok(())
    }
}
