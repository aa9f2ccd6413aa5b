//! `kt init`: writes a gateway configuration to start from.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use kt_domain::policy_config::STARTER;

use crate::failure::Failure;
use crate::output;

/// Where to.
#[derive(Args)]
pub(crate) struct Init {
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "policy-config.yaml")]
    output: PathBuf,

    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let file = self.output.display();
        if self.output.as_os_str() == "-" {
            return Err(Failure::invalid(
                "`-` is no file here: name one with --output, or `./-` if it is to be called so",
            ));
        }
        write(&self.output, self.force).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Failure::failed(format!(
                "{file} is there already: name another file with --output, or replace it with --force"
            )),
            _ => Failure::failed(format!("{file} cannot be written: {error}")),
        })?;
        output::line(format_args!("wrote {file}"));
        let file = as_a_word(&file.to_string());
        output::line(format_args!("check it: kt policy lint --file {file}"));
        output::line(format_args!("run it:   kt gateway run --policy-config {file}"));
        Ok(())
    }
}

/// The text as a shell reads it as one word.
fn as_a_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn write(path: &Path, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(path)?.write_all(STARTER.as_bytes())
}
