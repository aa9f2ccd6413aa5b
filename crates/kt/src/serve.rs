//! Running a gateway from its start to its last request, for `kt gateway run` and `kt up`.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kt_control::GatewayReport;
use kt_domain::clock::SystemClock;
use kt_domain::configurations::ConfigurationSource;
use kt_domain::deployment_config::LogSection;
use kt_domain::gateways::ShownConfiguration;
use kt_domain::policy_config::PolicyConfig;
use kt_domain::public_url::PublicUrl;
use kt_gateway::{ConfigInForce, ConfigSource, Gateway, Inherited, Keeping, Options, StartError, TlsFiles};
use kt_store::event_log;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::config::{Collected, Files, Kept, Watch};
use crate::environment;
use crate::event_store::{EventStore, retention};
use crate::failure::Failure;
use crate::link::{Link, Plane};
use crate::logging;
use crate::output;

/// How often the configuration files are looked at for a change; at rest for as long, they are read.
const WATCH: Duration = Duration::from_secs(1);
/// How often old events are looked for.
const RETAIN: Duration = Duration::from_hours(24);

/// What a gateway is run with.
pub(crate) struct Settings {
    /// The files of its configuration; with none, it runs what the control plane tells it.
    pub(crate) configuration: Vec<PathBuf>,
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: Option<SocketAddr>,
    pub(crate) data_dir: PathBuf,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) max_concurrency: Option<usize>,
    pub(crate) take_over: bool,
    /// Where people and other servers reach it, if that is not where it listens.
    pub(crate) public_url: Option<PublicUrl>,
    /// Where several gateways count together.
    pub(crate) redis_url: Option<String>,
    /// Where traces and metrics go, unless its configuration says where.
    pub(crate) otlp_endpoint: Option<String>,
    /// The control plane that it is connected to; `None` when it stands alone.
    pub(crate) plane: Option<Plane>,
}

/// A gateway that serves, with the store of its events.
pub(crate) struct Serving {
    pub(crate) gateway: Gateway,
    configuration: Configuration,
    events: Arc<EventStore>,
    link: Option<Link>,
    address: Option<String>,
    /// Whether it counts together with other gateways.
    shares_counts: bool,
}

/// Where a gateway has its configuration from.
enum Configuration {
    Files(Arc<Files>),
    Kept(Arc<Kept>),
}

/// Tells the control plane about a gateway.
pub(crate) struct Reporter {
    gateway_id: String,
    /// Where the gateway is reached, if it can be told.
    address: Option<String>,
    shares_counts: bool,
    config: ConfigInForce,
}

impl Settings {
    /// Checks everything, then starts to serve. Warnings go to standard error.
    pub(crate) async fn start(self) -> Result<Serving, Failure> {
        logging::start(&LogSection::default())?;
        let files = if self.configuration.is_empty() {
            None
        } else {
            Some(checked(self.configuration, self.plane.is_some())?)
        };
        let event_options = files.as_ref().map_or_else(usual_event_options, |(_, options)| options.clone());
        let socket = handover_socket(&self.data_dir);
        let inherited = if self.take_over { Some(take_over(&socket)?) } else { none_runs(&socket)? };
        let events = Arc::new(open_events(&self.data_dir, event_options)?);
        let is_beside_plane = matches!(self.plane, Some(Plane::Local(_)));
        let mut link = self.plane.map(|plane| Link::new(plane, &self.data_dir)).transpose()?;
        let configuration = match (files, &mut link) {
            (Some((files, _)), _) => Configuration::Files(files),
            (None, Some(link)) => {
                let address = self.public_url.as_ref().map(text_of);
                let told = link.first_configuration(events.writer().gateway_id().as_ref(), address).await?;
                Configuration::Kept(Arc::new(Kept::new(told)))
            }
            (None, None) => return Err(Failure::invalid("there is no configuration")),
        };
        let options = Options {
            listen: self.listen,
            admin_listen: self.admin_listen,
            admin_token: environment::variable("KEEPTRUSTS_ADMIN_TOKEN").filter(|token| !token.is_empty()),
            tls: self.tls,
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            max_concurrency: self.max_concurrency,
            gateway_id: events.writer().gateway_id().to_string(),
            redis_url: self.redis_url,
            budgets_file: Some(self.data_dir.join("budgets.json")),
            access_keys: link.as_ref().map(Link::keys),
            events: Arc::clone(&events) as _,
            clock: Arc::new(SystemClock),
            config: Arc::new(Collected { source: configuration.source(), otlp_endpoint: self.otlp_endpoint }),
            inherited,
            handover: Some(socket),
        };
        let shares_counts = options.redis_url.is_some();
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let (gateway, warnings) =
            Gateway::start(options).map_err(|error| not_started(error, is_beside_plane))?;
        let address = self.public_url.or_else(|| where_it_listens(scheme, gateway.address()));
        for warning in warnings {
            output::complain(format_args!("warning: {warning}"));
        }
        let address = address.as_ref().map(text_of);
        Ok(Serving { gateway, configuration, events, link, address, shares_counts })
    }
}

impl Configuration {
    fn source(&self) -> Arc<dyn ConfigSource> {
        match self {
            Self::Files(files) => Arc::clone(files) as _,
            Self::Kept(kept) => Arc::clone(kept) as _,
        }
    }

    /// Watches its files, if it has any.
    fn watch(&self) -> Option<Watch> {
        match self {
            Self::Files(files) => Some(Watch::over(Arc::clone(files))),
            Self::Kept(_) => None,
        }
    }

    fn kept(&self) -> Option<Arc<Kept>> {
        match self {
            Self::Files(_) => None,
            Self::Kept(kept) => Some(Arc::clone(kept)),
        }
    }
}

/// The files, checked, and how events are kept by what they say. Every finding goes to standard error.
fn checked(paths: Vec<PathBuf>, is_connected: bool) -> Result<(Arc<Files>, event_log::Options), Failure> {
    let files = Arc::new(Files::new(paths, is_connected));
    let loaded = files.check()?;
    for finding in &loaded.findings {
        output::complain(finding.render());
    }
    let Some(config) = &loaded.config else {
        return Err(Failure::invalid("the configuration is not valid, so nothing was started"));
    };
    let options = event_options(config);
    files.put_in_force(loaded);
    Ok((files, options))
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Configuration(_)
            | StartError::UnguardedAdmin(_)
            | StartError::OtherAddress { .. } => Self::invalid(error.to_string()),
            StartError::Listen { .. } | StartError::Io(_) => Self::failed(error.to_string()),
        }
    }
}

/// Why a gateway does not serve; where another program listens, with what to do about that. The options of one that starts
/// together with a control plane are others.
fn not_started(error: StartError, is_beside_plane: bool) -> Failure {
    let is_taken =
        matches!(&error, StartError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse);
    let failure = Failure::from(error);
    match (is_taken, is_beside_plane) {
        (false, _) => failure,
        (true, true) => failure.and(
            "end the program that listens there, or name another address with `--gateway-listen` or \
             `--gateway-admin-listen`",
        ),
        (true, false) => failure.and(
            "end the program that listens there, or name another address with `--listen` or `--admin-listen`; \
             `--take-over` takes the place of the gateway that runs with the same data directory",
        ),
    }
}

impl Serving {
    /// Announces that it serves, which it does until a signal asks it to end or another process takes over; then
    /// drains.
    pub(crate) async fn until_ended(mut self, announcement: &str) -> Result<(), Failure> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let linked = self.link.take().map(|link| {
            let (gateway, kept) = (self.gateway.handle(), self.configuration.kept());
            link.keep_up(self.reporter(), gateway, kept, Arc::clone(&self.events))
        });
        let linked = linked.transpose()?;
        // Whoever waits for this may send a signal next.
        output::announce(announcement);
        let mut watch = self.configuration.watch();
        let mut looks = tokio::time::interval(WATCH);
        // Two looks that make up for lost time would see the same moment.
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut retain = tokio::time::interval(RETAIN);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = self.gateway.handed_over() => {
                    tracing::info!("another process has taken over the sockets");
                    break;
                }
                _ = hang_up.recv() => self.reload(),
                _ = looks.tick() => {
                    if watch.as_mut().is_some_and(Watch::look) {
                        self.reload();
                    }
                }
                _ = retain.tick() => self.retain(),
            }
        }
        tracing::info!("draining: live requests finish, new connections are not accepted");
        let cut_off = self.gateway.drain().await;
        self.events.writer().close();
        if let Some(linked) = linked {
            linked.end().await;
        }
        if cut_off > 0 {
            tracing::warn!(cut_off, "requests were cut off, since they took longer than `timeouts.drain`");
        }
        Ok(())
    }

    /// Whether nobody has made a configuration yet, so that the built-in one is in force.
    pub(crate) fn is_built_in(&self) -> bool {
        self.configuration.kept().is_some_and(|kept| kept.is_built_in())
    }

    fn reporter(&self) -> Reporter {
        Reporter {
            gateway_id: self.events.writer().gateway_id().to_string(),
            address: self.address.clone(),
            shares_counts: self.shares_counts,
            config: self.gateway.config_in_force(),
        }
    }

    /// The outcome is reported in the log by the gateway itself.
    fn reload(&self) {
        let _ = self.gateway.reload();
    }

    /// Removes the events whose time is over, on a thread of its own: files may be large.
    fn retain(&self) {
        let retention = retention(&self.gateway.keeping());
        let events = Arc::clone(&self.events);
        tokio::task::spawn_blocking(move || match events.retain(retention) {
            Ok(removed) if removed.entries > 0 => {
                tracing::info!(entries = removed.entries, "old events were removed");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "old events cannot be removed"),
        });
    }
}

impl Reporter {
    /// What there is to tell at this moment.
    pub(crate) fn report(&self) -> GatewayReport {
        GatewayReport {
            id: self.gateway_id.clone(),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            config_version: self.config.version(),
            address: self.address.clone(),
            targets: self.config.targets(),
            config_source: ConfigurationSource::default(),
            configuration: None,
            refused: None,
            is_draining: false,
            shares_counts: self.shares_counts,
        }
    }

    /// What people may see of the configuration in force.
    pub(crate) fn configuration(&self) -> ShownConfiguration {
        self.config.shown()
    }
}

/// The address at which a gateway listens, where it is one that passes may be sent to: with TLS, or on this machine.
fn where_it_listens(scheme: &str, address: SocketAddr) -> Option<PublicUrl> {
    let is_a_place = !address.ip().is_unspecified();
    is_a_place.then(|| PublicUrl::parse(&format!("{scheme}://{address}")).ok()).flatten()
}

fn text_of(address: &PublicUrl) -> String {
    address.url().as_str().trim_end_matches('/').to_owned()
}

fn handover_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("handover.sock")
}

fn take_over(socket: &Path) -> Result<Inherited, Failure> {
    Inherited::take(socket).map_err(|error| {
        Failure::failed(format!(
            "no running gateway hands over its sockets at {}: {error}. Start without --take-over, or give the running \
             gateway's --data-dir",
            socket.display()
        ))
    })
}

/// Two gateways on one data folder would each count budgets and offer sockets as if the other were not there.
fn none_runs(socket: &Path) -> Result<Option<Inherited>, Failure> {
    if Inherited::are_offered_at(socket) {
        return Err(Failure::failed(format!(
            "a gateway runs on this data directory already ({}). End it first, take its place with `kt gateway run \
             --take-over`, or give this one a --data-dir of its own",
            socket.display()
        )));
    }
    Ok(None)
}

/// How the events of a gateway with this configuration are kept.
fn event_options(config: &PolicyConfig) -> event_log::Options {
    let keeping = Keeping::of(config);
    event_log::Options {
        retention: retention(&keeping),
        anchor_file: keeping.anchor_file,
        ..usual_event_options()
    }
}

fn usual_event_options() -> event_log::Options {
    event_log::Options::new(Arc::new(SystemClock))
}

fn open_events(data_dir: &Path, options: event_log::Options) -> Result<EventStore, Failure> {
    EventStore::open(&data_dir.join("events"), options).map_err(|error| Failure::failed(error.to_string()))
}
