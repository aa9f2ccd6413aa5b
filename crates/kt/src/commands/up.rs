//! `kt up`: everything on this machine, with nothing else to install.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::sync::watch;

use crate::commands::gateway::{AdminListen, listen_address, ready_line};
use crate::commands::server::Place;
use crate::control_plane;
use crate::failure::Failure;
use crate::link::Plane;
use crate::serve::{Serving, Settings};

/// How everything is run.
#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    place: Place,
    /// Gateway configuration; without one, what is kept in the store, and at first the built-in echo provider
    #[arg(long = "policy-config", value_name = "PATH", env = "KEEPTRUSTS_POLICY_CONFIG")]
    policy_config: Option<PathBuf>,
    /// Where the API listens; port 0 picks a free one. Default: `api.listen`, or 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS", env = "KEEPTRUSTS_API_LISTEN", value_parser = listen_address)]
    api_listen: Option<SocketAddr>,
    /// Where the console listens; port 0 picks a free one. Default: `console.listen`, or 127.0.0.1:3000
    #[arg(long, value_name = "ADDRESS", env = "KEEPTRUSTS_CONSOLE_LISTEN", value_parser = listen_address)]
    console_listen: Option<SocketAddr>,
    /// Where applications connect; port 0 picks a free one
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "KEEPTRUSTS_GATEWAY_LISTEN",
        default_value = "127.0.0.1:41002",
        value_parser = listen_address
    )]
    gateway_listen: SocketAddr,
    /// Where the operator connects (health, metrics, events, reload); `off` for nowhere
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "KEEPTRUSTS_GATEWAY_ADMIN_LISTEN",
        default_value = "127.0.0.1:41003"
    )]
    gateway_admin_listen: AdminListen,
}

impl Up {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let plane = control_plane::Settings {
            api_listen: self.api_listen,
            console_listen: self.console_listen,
            serves_gateway: true,
            ..self.place.settings()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let plane = plane.start().await?;
            let serving = Settings {
                configuration: self.policy_config.into_iter().collect(),
                listen: self.gateway_listen,
                admin_listen: self.gateway_admin_listen.0,
                data_dir: self.place.data_dir,
                tls: None,
                max_concurrency: None,
                take_over: false,
                public_url: None,
                redis_url: plane.redis_url.clone(),
                otlp_endpoint: plane.otlp_endpoint.clone(),
                plane: Some(Plane::Local(plane.control())),
            }
            .start()
            .await?;
            let ready = ready_line(&serving, "http");
            let mut announcement =
                format!("{ready} api=http://{} console={}", plane.address, plane.console_address());
            if serving.is_built_in() {
                announcement.push('\n');
                announcement.push_str(&try_it(&serving));
            }
            if let Some(invitation) = &plane.invitation {
                announcement.push('\n');
                announcement.push_str(invitation);
            }
            let (end, ended) = watch::channel(false);
            let api = tokio::spawn(plane.serve(ended));
            let outcome = serving.until_ended(&announcement).await;
            // Nobody listens only when serving has ended already.
            let _ = end.send(true);
            api.await.map_err(|error| Failure::failed(error.to_string()))?;
            outcome
        })
    }
}

/// What a newcomer can do next.
fn try_it(serving: &Serving) -> String {
    let gateway = serving.gateway.address();
    let mut text = format!(
        "\nEvery request is answered by the built-in echo provider. Try it:\n\n  \
         curl http://{gateway}/v1/chat/completions -H 'Content-Type: application/json' \\\n    \
         -d '{{\"model\":\"echo\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n"
    );
    if let Some(admin) = serving.gateway.admin_address() {
        // Writing to a string cannot fail.
        let _ = write!(text, "\nand see its event:\n\n  curl 'http://{admin}/v1/events?limit=1'\n");
    }
    text.push_str("\nConnect your own provider in the console. Ctrl-C ends this.");
    text
}
