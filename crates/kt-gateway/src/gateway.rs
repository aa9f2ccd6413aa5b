//! The running gateway: started, reloaded, drained.

mod control;
mod sockets;
mod workers;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kt_domain::clock::Clock;
use kt_domain::gateways::{ShownConfiguration, TargetReport};
use kt_domain::policy_config::{PolicyConfig, SecretPlace};
use kt_domain::random::Random;
use tokio::sync::watch;

use crate::access_keys::AccessKeys;
use crate::events::{EventSink, Keeping};
use crate::handover::{Inherited, Offer};
use crate::limits::{self, Kept, KnownRecord};
use crate::shared::Shared;
use crate::shown;
use crate::snapshot::Lasting;
use crate::tls::TlsFiles;
pub(crate) use control::Control;
use control::{compile, warn_of_open_door};
use sockets::Sockets;
use workers::{WorkerSetup, spawn_admin, spawn_telemetry};

/// How long clients are given to take their last answers once no request is under way.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How long what is cut off is given to leave its events.
const LAST_EVENTS: Duration = Duration::from_secs(5);
/// How often it is looked whether what is under way has ended.
const LOOK: Duration = Duration::from_millis(10);

/// Where the configuration comes from.
pub trait ConfigSource: Send + Sync + 'static {
    /// Reads and checks it anew. The error is the whole report, for people: a paragraph for each finding, which says what is
    /// wrong in its first line and where in its second.
    fn load(&self) -> Result<LoadedConfig, String>;

    /// The secret in this place.
    fn secret(&self, place: SecretPlace<'_>) -> Option<String>;
}

/// A configuration that is valid.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: PolicyConfig,
    /// The first 12 hexadecimal digits of the SHA-256 of its sources.
    pub version: String,
    /// What people should know of it and were not told yet, a line for each.
    pub warnings: Vec<String>,
}

/// What a reload has put in force.
#[derive(Clone, Debug)]
pub(crate) struct Reloaded {
    /// The version of the configuration.
    pub(crate) version: String,
    /// The warnings that it deserves.
    pub(crate) warnings: Vec<String>,
}

/// How a gateway is started.
pub struct Options {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the operator connects; `None` for nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// The token that the operator's listener asks for, if it asks.
    pub admin_token: Option<String>,
    /// Certificate and key, if clients are to speak TLS.
    pub tls: Option<TlsFiles>,
    /// How many threads serve; each has its own connections.
    pub workers: usize,
    /// How many requests may be under way at once; `None` for any number.
    pub max_concurrency: Option<usize>,
    /// The gateway's name in its events.
    pub gateway_id: String,
    /// The keys of the control plane that the gateway is connected to; `None` when it stands alone.
    pub access_keys: Option<Arc<AccessKeys>>,
    /// The Redis or Valkey server in which several gateways count together, `redis://…` or `rediss://…`.
    pub redis_url: Option<String>,
    /// Where what is spent of budgets is kept beyond the process; `None` for nowhere.
    pub budgets_file: Option<PathBuf>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where the configuration comes from.
    pub config: Arc<dyn ConfigSource>,
    /// Sockets taken over from a running gateway, instead of new ones.
    pub inherited: Option<Inherited>,
    /// Where the sockets are offered to the next process, if they are.
    pub handover: Option<PathBuf>,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is not valid; the report names every finding.
    #[error("{0}")]
    Configuration(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The operator's listener would be open to strangers.
    #[error(
        "the admin listener {0} is not on loopback: set KEEPTRUSTS_ADMIN_TOKEN, or listen on a loopback address, or \
         switch it off with `--admin-listen off`"
    )]
    UnguardedAdmin(SocketAddr),
    /// The sockets that were taken over are not those that were asked for.
    #[error(
        "the running gateway listens on {inherited}, and a take-over cannot change that to {asked}: ask for the same \
         address, or restart"
    )]
    OtherAddress {
        /// The address that was asked for.
        asked: SocketAddr,
        /// Where the running gateway listens.
        inherited: SocketAddr,
    },
    /// The machine did not give what is needed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A running gateway. It serves until the process ends; [`Gateway::drain`] lets it end well.
pub struct Gateway {
    control: Arc<Control>,
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    stop_admin: watch::Sender<bool>,
    handed_over: watch::Receiver<bool>,
    offer: Option<Offer>,
}

impl Gateway {
    /// Starts to serve. Gives the gateway and the warnings that its configuration deserves.
    pub fn start(options: Options) -> Result<(Self, Vec<String>), StartError> {
        check_admin(options.admin_listen, options.admin_token.as_deref())?;
        let lasting = Lasting::default();
        let loaded = options.config.load().map_err(StartError::Configuration)?;
        let (snapshot, mut warnings) =
            compile(loaded, &lasting, options.access_keys.as_ref(), &*options.config)
                .map_err(StartError::Configuration)?;
        warn_of_open_door(options.listen, &snapshot, &mut warnings);
        let tls = match options.tls {
            Some(files) => Some((watch::channel(files.acceptor()?).0, files)),
            None => None,
        };
        options.events.keep(Keeping::of(&snapshot.config));
        let shared = Arc::new(Shared::new(
            options.gateway_id.into(),
            snapshot,
            lasting,
            options.access_keys,
            options.events,
            options.clock,
            options.max_concurrency.unwrap_or(usize::MAX),
        ));
        let kept = options
            .budgets_file
            .map(|path| Kept::open(path, &shared.lasting.used, shared.clock.now_micros()));
        let kept = kept.transpose()?;
        let mut sockets = Sockets::open(options.listen, options.admin_listen, options.inherited)?;
        let (stop, stopped) = watch::channel(false);
        let acceptors = tls.as_ref().map(|(sender, _)| sender.subscribe());
        let control = Arc::new(Control {
            shared: Arc::clone(&shared),
            source: options.config,
            tls: tls.map(|(sender, files)| (files, sender)),
            random: Mutex::new(Random::from_os()),
            reloading: Mutex::default(),
            kept,
            listen: options.listen,
        });
        let workers = WorkerSetup { control: &control, acceptors, stopped: &stopped };
        let known = KnownRecord::default();
        for index in 0..options.workers.max(1) {
            let counts = shared_counts(options.redis_url.as_deref(), &known)?;
            workers.spawn(index, sockets.main.try_clone()?, counts)?;
        }
        let (stop_admin, admin_stopped) = watch::channel(false);
        let admin_address = match &sockets.admin {
            Some(admin) => {
                Some(spawn_admin(&control, admin.try_clone()?, options.admin_token, admin_stopped)?)
            }
            None => None,
        };
        spawn_telemetry(&shared)?;
        let (handed, handed_over) = watch::channel(false);
        if let Some(old) = sockets.old.take() {
            old.confirm()?;
        }
        let address = sockets.main.local_addr()?;
        let offer = options.handover.map(|path| {
            let listeners = std::iter::once(sockets.main).chain(sockets.admin).collect();
            Offer::make(path, listeners, move || {
                // Nobody may be waiting for it any more.
                let _ = handed.send(true);
            })
        });
        let offer = offer.transpose()?;
        let gateway = Self { control, address, admin_address, stop, stop_admin, handed_over, offer };
        Ok((gateway, warnings))
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the operator connects.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// The version of the configuration in force.
    #[must_use]
    pub fn config_version(&self) -> String {
        self.config_in_force().version()
    }

    /// Tells, whenever it is asked, which configuration is in force.
    #[must_use]
    pub fn config_in_force(&self) -> ConfigInForce {
        ConfigInForce(Arc::clone(&self.control.shared))
    }

    /// What acts on the gateway from elsewhere.
    #[must_use]
    pub fn handle(&self) -> GatewayHandle {
        GatewayHandle(Arc::clone(&self.control))
    }

    /// How events are kept.
    #[must_use]
    pub fn keeping(&self) -> Keeping {
        Keeping::of(&self.control.shared.snapshot.load().config)
    }

    /// Reads the configuration anew and puts it in force; gives its version. A configuration that is not valid is
    /// reported, and the one in force stays.
    pub fn reload(&self) -> Result<String, String> {
        self.control.reload().map(|reloaded| reloaded.version)
    }

    /// Is ready once another process has taken over the sockets.
    pub async fn handed_over(&self) {
        let mut handed_over = self.handed_over.clone();
        if handed_over.wait_for(|handed| *handed).await.is_err() {
            // No socket is offered, so nobody will take them.
            std::future::pending::<()>().await;
        }
    }

    /// Stops accepting, lets live requests finish within `timeouts.drain`, cuts off the others, and records these and what was
    /// only counted. Gives how many requests were cut off. The operator is served meanwhile, unless another process does that
    /// already.
    pub async fn drain(self) -> usize {
        let shared = &self.control.shared;
        shared.draining.store(true, Ordering::Relaxed);
        if let Some(offer) = &self.offer {
            offer.withdraw();
        }
        // The workers may be gone already.
        let _ = self.stop.send(true);
        if *self.handed_over.borrow() {
            let _ = self.stop_admin.send(true);
        }
        let deadline = Instant::now() + shared.snapshot.load().config.timeouts.drain.0;
        let mut quiet_since: Option<Instant> = None;
        while Instant::now() < deadline && shared.connections.load(Ordering::Acquire) > 0 {
            let is_busy = shared.in_flight.load(Ordering::Acquire) > 0;
            let quiet = if is_busy { None } else { Some(quiet_since.unwrap_or_else(Instant::now)) };
            quiet_since = quiet;
            if quiet.is_some_and(|since| since.elapsed() >= LAST_ANSWERS) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let cut_off = shared.in_flight.load(Ordering::Acquire);
        self.cut_off().await;
        self.control.summarise_refusals();
        self.control.keep_spending(Kept::leave);
        shared.telemetry.flush().await;
        let _ = self.stop_admin.send(true);
        cut_off
    }

    /// Ends every connection, and waits until each request that was under way has left its event.
    async fn cut_off(&self) {
        let shared = &self.control.shared;
        shared.cut_off();
        let is_over = || {
            let under_way = [&*shared.connections, &shared.in_flight];
            under_way.iter().all(|count| count.load(Ordering::Acquire) == 0)
        };
        let over = async {
            while !is_over() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(LAST_EVENTS, over).await.is_err() {
            tracing::warn!("requests that were cut off may have left no event");
        }
    }
}

/// Acts on a running gateway, for as long as that serves.
#[derive(Clone)]
pub struct GatewayHandle(Arc<Control>);

impl GatewayHandle {
    /// The version of the configuration in force.
    #[must_use]
    pub fn config_version(&self) -> String {
        self.0.shared.snapshot.load().version.to_string()
    }

    /// As [`Gateway::reload`].
    pub fn reload(&self) -> Result<String, String> {
        self.0.reload().map(|reloaded| reloaded.version)
    }

    /// Lets the gateway take no new requests, or take them again. What is under way is finished. It says at once that it
    /// is not ready, and refuses new requests 10 seconds later, when load balancers have heard of it.
    pub fn stand_aside(&self, aside: bool) {
        self.0.shared.stand_aside(aside);
    }

    /// Whether it stands aside.
    #[must_use]
    pub fn stands_aside(&self) -> bool {
        self.0.shared.stands_aside()
    }
}

/// Which configuration a gateway has in force, at each moment.
#[derive(Clone)]
pub struct ConfigInForce(Arc<Shared>);

impl ConfigInForce {
    /// Its version.
    #[must_use]
    pub fn version(&self) -> String {
        self.0.snapshot.load().version.to_string()
    }

    /// What people may see of it.
    #[must_use]
    pub fn shown(&self) -> ShownConfiguration {
        let snapshot = self.0.snapshot.load();
        ShownConfiguration::new(snapshot.version.to_string(), shown::configuration(&snapshot.config))
    }

    /// Its targets, as they stand at this moment.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetReport> {
        let now = self.0.clock.now_micros();
        self.0.snapshot.load().targets.iter().map(|target| target.report(now)).collect()
    }
}

/// Where gateways count together, for one worker.
fn shared_counts(redis_url: Option<&str>, known: &KnownRecord) -> Result<Option<limits::Shared>, StartError> {
    let counts = redis_url.map(|url| limits::Shared::new(url, known)).transpose();
    counts.map_err(|error| StartError::Configuration(format!("the address of Redis cannot be used: {error}")))
}

/// Whoever can reach the operator's listener could change the gateway and read its events.
fn check_admin(listen: Option<SocketAddr>, token: Option<&str>) -> Result<(), StartError> {
    match listen {
        Some(address) if !address.ip().is_loopback() && token.is_none() => {
            Err(StartError::UnguardedAdmin(address))
        }
        _ => Ok(()),
    }
}
