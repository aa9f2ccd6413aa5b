//! `kt gateway …`: run the data plane, or ask what it would decide.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use kt_domain::public_url::PublicUrl;
use kt_gateway::{Question, Step, TlsFiles, explain};
use serde_json::json;

use crate::api::ApiAddress;
use crate::config::Files;
use crate::failure::Failure;
use crate::link::Plane;
use crate::output;
use crate::serve::{Serving, Settings};

/// The data plane.
#[derive(Subcommand)]
pub(crate) enum Gateway {
    /// Guard, forward and record LLM traffic
    Run(Box<Run>),
    /// Say offline what the edge would decide about a request, and by which rule
    ///
    /// Ends with 0 also when the request would be refused: `forwarded` of `--json` says whether it would be forwarded. Ends
    /// with 2 when the configuration is not valid.
    Explain(Explain),
}

impl Gateway {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Run(run) => run.run(),
            Self::Explain(explain) => explain.run(),
        }
    }
}

/// How the gateway is run.
#[derive(Args)]
pub(crate) struct Run {
    /// Configuration file; repeat it to lay later files over earlier ones, key by key. Without one, a connected gateway
    /// waits for what is rolled out to it, and follows that
    #[arg(long = "policy-config", value_name = "PATH", env = "KEEPTRUSTS_POLICY_CONFIG")]
    policy_config: Vec<PathBuf>,
    /// Where clients connect; port 0 picks a free one
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "KEEPTRUSTS_GATEWAY_LISTEN",
        default_value = "127.0.0.1:41002",
        value_parser = listen_address
    )]
    listen: SocketAddr,
    /// Where the operator connects (health, metrics, events, reload); `off` for nowhere
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "KEEPTRUSTS_GATEWAY_ADMIN_LISTEN",
        default_value = "127.0.0.1:41003"
    )]
    admin_listen: AdminListen,
    /// Where events and keys are kept
    #[arg(long, value_name = "DIR", env = "KEEPTRUSTS_DATA_DIR", default_value = "./keeptrusts-data")]
    data_dir: PathBuf,
    /// Certificate chain in PEM; clients then speak TLS
    #[arg(long, value_name = "FILE", env = "KEEPTRUSTS_TLS_CERT_PATH", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM
    #[arg(long, value_name = "FILE", env = "KEEPTRUSTS_TLS_KEY_PATH", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Where other servers reach the gateway (`https://…`), if that is not where it listens: the console's chat and tasks
    /// go there
    #[arg(long, value_name = "URL", env = "KEEPTRUSTS_GATEWAY_PUBLIC_URL")]
    public_url: Option<PublicUrl>,
    /// How many requests may be under way at once; more are answered 429
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_concurrency: Option<u32>,
    /// Redis or Valkey (`redis://…`, `rediss://…`) in which several gateways count what `rate_limits` and `budgets` bound
    #[arg(long, value_name = "URL", env = "KEEPTRUSTS_REDIS__URL", hide_env_values = true)]
    redis_url: Option<String>,
    /// Take over the sockets of the gateway that runs with the same data directory, which then drains and ends
    #[arg(long)]
    take_over: bool,
    #[command(flatten)]
    api: ApiAddress,
    /// The gateway's own key (`kt_gk_…`), which connects it to the control plane: it then asks for access keys and
    /// delivers its events. Rather set the environment variable: other users of the machine see arguments
    #[arg(long, value_name = "KEY", env = "KEEPTRUSTS_GATEWAY_TOKEN", hide_env_values = true)]
    gateway_token: Option<String>,
}

/// An address to listen on. Names are none: they can stand for several.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "an IP address and a port are needed, as in 127.0.0.1:41002")
}

/// An address, or `off`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdminListen(pub(crate) Option<SocketAddr>);

impl std::str::FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self(None)),
            address => address
                .parse()
                .map(|address| Self(Some(address)))
                .map_err(|_| format!("`{address}` is neither an address such as 127.0.0.1:41003 nor `off`")),
        }
    }
}

impl Run {
    fn run(self) -> Result<(), Failure> {
        let tls = self.tls_cert.zip(self.tls_key).map(|(certificate, key)| TlsFiles { certificate, key });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let plane = plane(self.api, self.gateway_token)?;
        if self.policy_config.is_empty() && plane.is_none() {
            return Err(Failure::invalid(
                "there is no configuration: name a file with --policy-config (`kt init` writes one), or connect the \
                 gateway to a control plane with KEEPTRUSTS_GATEWAY_TOKEN and --api-url",
            ));
        }
        let settings = Settings {
            configuration: self.policy_config,
            listen: self.listen,
            admin_listen: self.admin_listen.0,
            data_dir: self.data_dir,
            tls,
            max_concurrency: self.max_concurrency.map(|limit| limit as usize),
            take_over: self.take_over,
            public_url: self.public_url,
            redis_url: self.redis_url.filter(|url| !url.is_empty()),
            otlp_endpoint: None,
            plane,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let serving = settings.start().await?;
            let announcement = ready_line(&serving, scheme);
            serving.until_ended(&announcement).await
        })
    }
}

/// The control plane that the gateway is to be connected to. Half of what that takes is a mistake that would leave the
/// gateway open, unless it is the half that the environment says for other commands.
fn plane(api: ApiAddress, key: Option<String>) -> Result<Option<Plane>, Failure> {
    match key.filter(|key| !key.is_empty()) {
        Some(key) => Ok(Some(Plane::Remote(Arc::new(api.plane(key)?)))),
        None if api.is_typed() => Err(Failure::invalid(
            "the API's address is given and no gateway key: set KEEPTRUSTS_GATEWAY_TOKEN too, or neither",
        )),
        None if api.is_named() => {
            output::complain(
                "warning: KEEPTRUSTS_API_URL is set and no gateway key, so that this gateway stands alone: \
                 KEEPTRUSTS_GATEWAY_TOKEN connects it",
            );
            Ok(None)
        }
        None => Ok(None),
    }
}

/// `ready` and the addresses that answer.
pub(crate) fn ready_line(serving: &Serving, scheme: &str) -> String {
    let gateway = serving.gateway.address();
    match serving.gateway.admin_address() {
        Some(admin) => format!("ready gateway={scheme}://{gateway} admin=http://{admin}"),
        None => format!("ready gateway={scheme}://{gateway}"),
    }
}

/// A request that is asked about.
#[derive(Args)]
pub(crate) struct Explain {
    /// Configuration file; repeat it to lay later files over earlier ones, key by key
    #[arg(long = "policy-config", value_name = "PATH", required = true)]
    policy_config: Vec<PathBuf>,
    /// The client's address, as the rules would see it
    #[arg(long, value_name = "ADDRESS")]
    ip: IpAddr,
    /// The origin of the page that sends the request
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// The size of the request's body, in bytes
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,
    /// The request's path
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Answer for a gateway that is connected to a control plane
    #[arg(long)]
    connected: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    fn run(self) -> Result<(), Failure> {
        let loaded = Files::new(self.policy_config, self.connected).check()?;
        for finding in loaded.errors() {
            output::complain(finding.render());
        }
        let config = loaded.config.ok_or_else(|| Failure::invalid("the configuration is not valid"))?;
        let question = Question { ip: self.ip, origin: self.origin, size: self.size, path: self.path };
        let steps = explain(config, &question, self.connected)
            .map_err(|error| Failure::invalid(error.to_string()))?;
        output::line(if self.json { to_json(&steps) } else { to_text(&steps) });
        Ok(())
    }
}

fn is_forwarded(steps: &[Step]) -> bool {
    steps.iter().all(|step| step.passes && !step.is_answer())
}

fn to_text(steps: &[Step]) -> String {
    let mut lines: Vec<String> = steps
        .iter()
        .map(|step| {
            format!("{:<7} {:<13} {}", if step.passes { "pass" } else { "REFUSE" }, step.stage, step.reason)
        })
        .collect();
    let outcome = match steps.last() {
        Some(step) if !step.passes => "The request would be refused.",
        Some(step) if step.is_answer() => "The gateway would answer the request itself.",
        _ => "The request would be forwarded.",
    };
    lines.push(outcome.to_owned());
    lines.join("\n")
}

fn to_json(steps: &[Step]) -> String {
    let listed: Vec<_> = steps
        .iter()
        .map(|step| json!({ "stage": step.stage, "passes": step.passes, "reason": step.reason }))
        .collect();
    json!({ "forwarded": is_forwarded(steps), "steps": listed }).to_string()
}
