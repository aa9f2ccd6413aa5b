//! `kt`: the gateway, and the tools around it, in one binary.

mod api;
mod audit_sinks;
mod commands;
mod config;
mod control_plane;
mod credentials;
mod environment;
mod event_store;
mod failure;
mod link;
mod output;
mod post;
#[cfg(test)]
mod reference;
mod serve;
mod single_sign_on;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;

/// A self-hosted AI-governance system: guards, forwards and records LLM traffic.
#[derive(Parser)]
#[command(name = "kt", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
