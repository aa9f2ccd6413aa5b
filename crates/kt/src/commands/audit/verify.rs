//! `kt audit verify`: proves an export of the audit log, offline.

use std::path::PathBuf;

use clap::Args;
use kt_domain::events::PublicKey;
use kt_store::event_log::{Expectations, Expected};

use crate::commands::events::verify::{expected, prove};
use crate::failure::Failure;

/// Prove that nothing was changed, removed, inserted or reordered
///
/// Works offline, on what `GET /v1/audit-log/export?format=jsonl` answered. Exit status: 0 everything holds; 1 something
/// does not.
#[derive(Args)]
pub(crate) struct Verify {
    /// Exports that follow one another, in their order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The deployment's public key (`GET /v1/audit-log/keys`), from where nobody can have changed it
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    public_key: Option<PublicKey>,
    /// An entry that the log must hold, such as the last one of an earlier export: recognises a log whose end was cut
    /// off, and an older copy
    #[arg(long, value_name = "SEQ:HASH", value_parser = expected)]
    head: Vec<Expected>,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    text.parse().map_err(|_| "expected a public key: 64 hexadecimal digits".to_owned())
}

impl Verify {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let expectations = Expectations { public_key: self.public_key, entries: self.head };
        prove(&self.files, &expectations, self.json)
    }
}
