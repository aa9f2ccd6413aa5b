//! `kt server …`: run the control plane by itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::commands::gateway::listen_address;
use crate::control_plane::Settings;
use crate::failure::Failure;
use crate::output;

/// The control plane.
#[derive(Subcommand)]
pub(crate) enum Server {
    /// Serve the API and the console: people, sign-in, keys, settings and evidence
    Run(Run),
}

impl Server {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Run(run) => run.run(),
        }
    }
}

/// How the control plane is run.
#[derive(Args)]
pub(crate) struct Run {
    #[command(flatten)]
    place: Place,
    /// Where the API listens; port 0 picks a free one. Default: `api.listen`, or 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS", env = "KEEPTRUSTS_API_LISTEN", value_parser = listen_address)]
    api_listen: Option<SocketAddr>,
    /// Where the console listens; port 0 picks a free one. Default: `console.listen`, or 127.0.0.1:3000
    #[arg(long, value_name = "ADDRESS", env = "KEEPTRUSTS_CONSOLE_LISTEN", value_parser = listen_address)]
    console_listen: Option<SocketAddr>,
}

/// Where the control plane keeps things, and what it is told.
#[derive(Args)]
pub(crate) struct Place {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", env = "KEEPTRUSTS_DATA_DIR", default_value = "./keeptrusts-data")]
    pub(crate) data_dir: PathBuf,
    /// Configuration of the deployment; every key is also read from the environment, as in `KEEPTRUSTS_API__LISTEN`
    #[arg(long, value_name = "FILE", env = "KEEPTRUSTS_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

impl Place {
    /// The control plane that is kept here.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            data_dir: self.data_dir.clone(),
            config: self.config.clone(),
            api_listen: None,
            console_listen: None,
            serves_gateway: false,
        }
    }
}

impl Run {
    fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let settings = Settings {
                api_listen: self.api_listen,
                console_listen: self.console_listen,
                ..self.place.settings()
            };
            let plane = settings.start().await?;
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            output::line(format_args!(
                "ready api=http://{} console={}",
                plane.address,
                plane.console_address()
            ));
            if let Some(invitation) = &plane.invitation {
                output::line(invitation);
            }
            let (end, ended) = watch::channel(false);
            let serving = tokio::spawn(plane.serve(ended));
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // Nobody listens only when serving has ended already.
            let _ = end.send(true);
            serving.await.map_err(|error| Failure::failed(error.to_string()))
        })
    }
}
