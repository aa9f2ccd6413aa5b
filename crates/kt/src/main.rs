//! `kt`: the gateway, and the tools around it, in one binary.

mod api;
mod audit_sinks;
mod commands;
mod config;
mod control_plane;
mod credentials;
mod desktop;
mod environment;
mod event_store;
mod failure;
mod jwt_keys;
mod kept_up;
mod link;
mod logging;
mod output;
mod post;
#[cfg(test)]
mod reference;
mod refusal;
mod serve;
mod single_sign_on;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;

/// A self-hosted AI-governance system: guards, forwards and records LLM traffic.
#[derive(Parser)]
#[command(name = "kt", version, propagate_version = true, arg_required_else_help = true, after_help = FIRST_STEPS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What somebody needs who has never seen it.
const FIRST_STEPS: &str = "New here? `kt up` runs everything on this machine and prints a link to begin with.
Something is wrong? `kt doctor` says what, and what to do.
Every command takes --help. Those that show or do something take --json and then answer in JSON;
those that write a file in a format of its own, such as an export, do not.

Exit status:
  0  done
  1  failed
  2  wrong usage, or an invalid configuration
  3  not signed in, or not allowed
  4  the server cannot be reached";

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command.run().and_then(|()| output::all_printed()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
