//! `kt audit export`: a copy of an organization's audit log.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
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
    #[command(flatten)]
    copy: WhichCopy,
}

/// What of an audit log is copied, in which form, and where to.
#[derive(Args)]
pub(crate) struct WhichCopy {
    /// `jsonl` (can be proven), `csv`, `ocsf` or `cef`
    #[arg(long, value_name = "FORMAT", default_value_t = ExportFormat::Jsonl)]
    pub(crate) format: ExportFormat,
    /// Leave out what is older; as `jsonl`, widened to the checkpoint before
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) since: Option<Timestamp>,
    /// Leave out what is newer; as `jsonl`, widened to the checkpoint behind
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) until: Option<Timestamp>,
    /// The file to write; without it, standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let asked = &self.copy;
        let mut query = vec![("format", asked.format.to_string())];
        query.extend(asked.since.map(|since| ("since", since.to_string())));
        query.extend(asked.until.map(|until| ("until", until.to_string())));
        let api = self.api.open()?;
        let mut copy = api.get("/v1/audit-log/export", &query)?;
        let mut file = asked.open()?;
        while let Some(part) = copy.next()? {
            file.add(&part)?;
        }
        file.finish()
    }
}

impl WhichCopy {
    /// The file that it goes to, with progress shown.
    pub(crate) fn open(&self) -> Result<CopyFile<'_>, Failure> {
        let file: Box<dyn Write> = Box::new(BufWriter::new(new_file(self.output.as_deref())?));
        Ok(CopyFile { which: self, file, bar: bytes_so_far() })
    }
}

/// A copy that is being written.
pub(crate) struct CopyFile<'a> {
    which: &'a WhichCopy,
    file: Box<dyn Write>,
    bar: ProgressBar,
}

impl CopyFile<'_> {
    pub(crate) fn add(&mut self, part: &[u8]) -> Result<(), Failure> {
        self.file.write_all(part)?;
        self.bar.inc(part.len() as u64);
        Ok(())
    }

    /// Tells how much was copied, and how it is proven.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.file.flush()?;
        self.bar.finish_and_clear();
        if let Some(path) = &self.which.output {
            let path = path.display();
            output::complain(format_args!("exported {} bytes to {path}", self.bar.position()));
            if self.which.format == ExportFormat::Jsonl {
                output::complain(format_args!("to prove them anywhere: kt audit verify {path}"));
            }
        }
        Ok(())
    }
}
