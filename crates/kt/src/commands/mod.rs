//! The commands, one file each.

mod admin;
mod audit;
mod auth;
mod completions;
mod config;
mod doctor;
mod events;
mod gateway;
mod init;
mod policy;
pub(crate) mod reading;
mod server;
mod up;

use clap::Subcommand;

use crate::failure::Failure;

/// What `kt` can be told to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine, with nothing else to install
    Up(up::Up),
    /// Run the data plane, or ask what it would decide
    #[command(subcommand)]
    Gateway(gateway::Gateway),
    /// Run the control plane by itself
    #[command(subcommand)]
    Server(server::Server),
    /// Sign in on this machine, see who is, and sign out
    #[command(subcommand)]
    Auth(auth::Auth),
    /// Write a configuration to start from
    Init(init::Init),
    /// Check gateway configurations
    #[command(subcommand)]
    Policy(policy::Policy),
    /// The configurations that the control plane keeps
    #[command(subcommand)]
    Config(config::Config),
    /// Follow, export and verify recorded events
    #[command(subcommand)]
    Events(events::Events),
    /// Look at the audit log, copy it, prove copies of it
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Act on the database of this machine, also when nobody can sign in
    #[command(subcommand)]
    Admin(admin::Admin),
    /// Say what is wrong with this installation, and what to do
    Doctor(doctor::Doctor),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Up(up) => up.run(),
            Self::Gateway(gateway) => gateway.run(),
            Self::Server(server) => server.run(),
            Self::Auth(auth) => auth.run(),
            Self::Init(init) => init.run(),
            Self::Policy(policy) => policy.run(),
            Self::Config(config) => config.run(),
            Self::Events(events) => events.run(),
            Self::Audit(audit) => audit.run(),
            Self::Admin(admin) => admin.run(),
            Self::Doctor(doctor) => doctor.run(),
            Self::Completions(completions) => {
                completions.run();
                Ok(())
            }
        }
    }
}
