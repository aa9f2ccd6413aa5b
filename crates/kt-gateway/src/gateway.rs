//! The running gateway: started, reloaded, drained.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kt_domain::clock::Clock;
use kt_domain::gateways::{ShownConfiguration, TargetReport};
use kt_domain::id::RequestId;
use kt_domain::policy_config::{PolicyConfig, SecretPlace, SecretRef};
use kt_domain::random::Random;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::access_keys::AccessKeys;
use crate::admin::AdminService;
use crate::contain;
use crate::events::EventSink;
use crate::exchange::GatewayService;
use crate::handover::{Inherited, Offer};
use crate::limits::{self, Kept, Memory};
use crate::listener::{self, Intake};
use crate::proxy_protocol::Proxies;
use crate::shared::{Shared, Worker};
use crate::shown;
use crate::snapshot::{AuthRules, Lasting, Snapshot, Surroundings};
use crate::telemetry;
use crate::tls::TlsFiles;

/// How often unused connections to providers are looked through, and requests under way told to other gateways.
const SWEEP: Duration = Duration::from_secs(10);
/// How often what was counted instead of recorded is recorded, and what is spent of budgets kept.
const SUMMARISE: Duration = Duration::from_secs(1);
/// How long clients are given to take their last answers once no request is under way.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Where the configuration comes from.
pub trait ConfigSource: Send + Sync + 'static {
    /// Reads and checks it anew. The error is the whole report, for people.
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

/// What can be done to a running gateway.
pub(crate) struct Control {
    pub(crate) shared: Arc<Shared>,
    source: Arc<dyn ConfigSource>,
    tls: Option<(TlsFiles, watch::Sender<TlsAcceptor>)>,
    random: Mutex<Random>,
    /// Held while the configuration is read and put in force, so that an older one never replaces a newer one.
    reloading: Mutex<()>,
    /// Where what is spent of budgets is kept.
    kept: Option<Kept>,
    /// Where clients connect.
    listen: SocketAddr,
}

/// A running gateway. It serves until the process ends; [`Gateway::drain`] lets it end well.
pub struct Gateway {
    control: Arc<Control>,
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
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
        for index in 0..options.workers.max(1) {
            let counts = shared_counts(options.redis_url.as_deref())?;
            workers.spawn(index, sockets.main.try_clone()?, counts)?;
        }
        let admin_address = match &sockets.admin {
            Some(admin) => Some(spawn_admin(&control, admin.try_clone()?, options.admin_token, stopped)?),
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
            Offer::make(&path, listeners, move || {
                // Nobody may be waiting for it any more.
                let _ = handed.send(true);
            })
        });
        let offer = offer.transpose()?;
        Ok((Self { control, address, admin_address, stop, handed_over, offer }, warnings))
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

    /// How long and how firmly events are to be kept: days, and whether nothing may shorten that.
    #[must_use]
    pub fn retention(&self) -> (u32, bool) {
        self.handle().retention()
    }

    /// Where the newest signed checkpoint of the events is to be kept, if anywhere.
    #[must_use]
    pub fn anchor_file(&self) -> Option<PathBuf> {
        self.control.shared.snapshot.load().config.events.anchor_file.as_ref().map(PathBuf::from)
    }

    /// Reads the configuration anew and puts it in force; gives its version. A configuration that is not valid is
    /// reported, and the one in force stays.
    pub fn reload(&self) -> Result<String, String> {
        self.control.reload()
    }

    /// Is ready once another process has taken over the sockets.
    pub async fn handed_over(&self) {
        let mut handed_over = self.handed_over.clone();
        if handed_over.wait_for(|handed| *handed).await.is_err() {
            // No socket is offered, so nobody will take them.
            std::future::pending::<()>().await;
        }
    }

    /// Stops accepting, lets live requests finish within `timeouts.drain`, and records what was only counted.
    /// Gives how many requests were cut off.
    pub async fn drain(self) -> usize {
        let shared = &self.control.shared;
        shared.draining.store(true, Ordering::Relaxed);
        if let Some(offer) = &self.offer {
            offer.withdraw();
        }
        // The workers may be gone already.
        let _ = self.stop.send(true);
        let deadline = Instant::now() + shared.snapshot.load().config.timeouts.drain.0;
        let mut quiet_since: Option<Instant> = None;
        while Instant::now() < deadline && shared.connections.load(Ordering::Acquire) > 0 {
            let is_busy = shared.in_flight.load(Ordering::Acquire) > 0;
            let quiet = if is_busy { None } else { Some(quiet_since.unwrap_or_else(Instant::now)) };
            quiet_since = quiet;
            if quiet.is_some_and(|since| since.elapsed() >= LAST_ANSWERS) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.control.summarise_refusals();
        self.control.keep_spending(Kept::leave);
        shared.telemetry.flush().await;
        shared.in_flight.load(Ordering::Acquire)
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
        self.0.reload()
    }

    /// As [`Gateway::retention`].
    #[must_use]
    pub fn retention(&self) -> (u32, bool) {
        let snapshot = self.0.shared.snapshot.load();
        let settings = snapshot.config.policy.audit_logger.clone().unwrap_or_default();
        (settings.retention_days, settings.immutable)
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

impl Control {
    pub(crate) fn reload(&self) -> Result<String, String> {
        let outcome = self.try_reload();
        self.shared.metrics.count_reload(outcome.is_ok());
        match &outcome {
            Ok(version) => tracing::info!(%version, "the configuration was changed"),
            Err(report) => {
                tracing::error!("the configuration was not changed; the last good one stays\n{report}");
            }
        }
        outcome
    }

    fn try_reload(&self) -> Result<String, String> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = self.source.load()?;
        let version = loaded.version.clone();
        let Shared { lasting, access_keys, .. } = &*self.shared;
        let (snapshot, mut warnings) = compile(loaded, lasting, access_keys.as_ref(), &*self.source)?;
        warn_of_open_door(self.listen, &snapshot, &mut warnings);
        if let Some((files, acceptors)) = &self.tls {
            acceptors.send_replace(files.acceptor().map_err(|error| error.to_string())?);
        }
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        lasting.targets.retain(|id| snapshot.targets.iter().any(|target| *target.id == *id));
        self.shared.snapshot.store(Arc::new(snapshot));
        Ok(version)
    }

    pub(crate) fn new_request_id(&self) -> String {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        RequestId::new(self.shared.clock.now_micros(), &mut random).to_string()
    }

    fn summarise_refusals(&self) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.summarise_refusals(&mut random);
    }

    /// Keeps what is spent of budgets. Should that fail, it is tried again with the next second.
    fn keep_spending(&self, keep: fn(&Kept, &Memory, i64) -> io::Result<()>) {
        let Some(kept) = &self.kept else { return };
        let Shared { lasting, clock, .. } = &*self.shared;
        if let Err(error) = keep(kept, &lasting.used, clock.now_micros()) {
            tracing::error!(%error, "what is spent of budgets cannot be kept, and would be forgotten by a restart");
        }
    }
}

/// Where gateways count together, for one worker.
fn shared_counts(redis_url: Option<&str>) -> Result<Option<limits::Shared>, StartError> {
    let counts = redis_url.map(limits::Shared::new).transpose();
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

fn compile(
    loaded: LoadedConfig,
    lasting: &Lasting,
    access_keys: Option<&Arc<AccessKeys>>,
    source: &dyn ConfigSource,
) -> Result<(Snapshot, Vec<String>), String> {
    let secrets =
        |reference: &SecretRef| source.secret(reference.place()?).filter(|secret| !secret.is_empty());
    let surroundings = Surroundings { lasting, access_keys, secrets: &secrets };
    Snapshot::compile(loaded.version.into(), loaded.config, surroundings).map_err(|error| error.to_string())
}

fn warn_of_open_door(
    listen: SocketAddr,
    Snapshot { auth, config, .. }: &Snapshot,
    warnings: &mut Vec<String>,
) {
    let is_open = matches!(auth, AuthRules::Open(_));
    if !listen.ip().is_loopback() && is_open && !config.ip_allowlist.enabled {
        warnings.push(format!(
            "anybody who reaches {listen} can use this gateway: set `auth` or `ip_allowlist` in its configuration"
        ));
    }
}

/// The listening sockets, new or taken over.
struct Sockets {
    main: TcpListener,
    admin: Option<TcpListener>,
    old: Option<Inherited>,
}

impl Sockets {
    fn open(
        main: SocketAddr,
        admin: Option<SocketAddr>,
        inherited: Option<Inherited>,
    ) -> Result<Self, StartError> {
        let bind = |address| listener::bind(address).map_err(|source| StartError::Listen { address, source });
        let Some(mut old) = inherited else {
            return Ok(Self { main: bind(main)?, admin: admin.map(bind).transpose()?, old: None });
        };
        let mut taken = std::mem::take(&mut old.listeners).into_iter();
        let taken_main =
            taken.next().ok_or_else(|| io::Error::other("the running gateway handed over no socket"))?;
        let main = at_address(taken_main, main)?;
        let admin = match (admin, taken.next()) {
            (Some(address), Some(socket)) => Some(at_address(socket, address)?),
            (Some(address), None) => Some(bind(address)?),
            (None, _) => None,
        };
        Ok(Self { main, admin, old: Some(old) })
    }
}

/// The socket, if it listens on the address that was asked for: what is open to whom was judged by that.
fn at_address(socket: TcpListener, asked: SocketAddr) -> Result<TcpListener, StartError> {
    let inherited = socket.local_addr()?;
    let is_it = inherited.ip() == asked.ip() && [0, inherited.port()].contains(&asked.port());
    if is_it { Ok(socket) } else { Err(StartError::OtherAddress { asked, inherited }) }
}

struct WorkerSetup<'a> {
    control: &'a Arc<Control>,
    acceptors: Option<watch::Receiver<TlsAcceptor>>,
    stopped: &'a watch::Receiver<bool>,
}

impl WorkerSetup<'_> {
    /// Starts one worker: a thread, its event loop, its connections to providers. The first one also does what is to
    /// be done once for all.
    fn spawn(&self, index: usize, socket: TcpListener, counts: Option<limits::Shared>) -> io::Result<()> {
        let shared = Arc::clone(&self.control.shared);
        let worker =
            Arc::new(Worker::new(Arc::clone(&shared), counts, self.control.listen.ip().is_loopback()));
        let proxies = Arc::new(ConfiguredProxies(Arc::clone(&shared)));
        let intake = Arc::new(Intake {
            service: Arc::new(GatewayService(Arc::clone(&worker))),
            tls: self.acceptors.clone(),
            open: Arc::clone(&shared.connections),
            turned_away: Arc::default(),
            max_open: Arc::new(move || shared.snapshot.load().config.listener.max_connections as usize),
            proxies,
        });
        let summarised = (index == 0).then(|| Arc::clone(self.control));
        let stopped = self.stopped.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = async move {
            tokio::spawn(sweep(worker));
            summarised.map(|control| tokio::spawn(summarise(control)));
            if let Err(error) = intake.run(socket, stopped).await {
                tracing::error!(%error, "the gateway's socket cannot be used");
            }
            // Connections that were accepted go on until the process ends.
            std::future::pending::<()>().await;
        };
        thread::Builder::new().name(format!("worker-{index}")).spawn(move || runtime.block_on(serve))?;
        Ok(())
    }
}

async fn sweep(worker: Arc<Worker>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let work = async {
            worker.pool.sweep();
            worker.limiter.renew(worker.shared.clock.now_micros()).await;
        };
        contain::round("sweep", work).await;
    }
}

async fn summarise(control: Arc<Control>) {
    loop {
        tokio::time::sleep(SUMMARISE).await;
        contain::round("summary of refusals", async { control.summarise_refusals() }).await;
        let keeping = Arc::clone(&control);
        // A disk may be slow, and requests are served on this thread.
        let kept = tokio::task::spawn_blocking(move || keeping.keep_spending(Kept::write));
        if kept.await.is_err_and(|error| error.is_panic()) {
            tracing::error!(
                "a defect was met while what is spent of budgets was kept; the message is on standard error"
            );
        }
    }
}

/// Starts the thread that sends traces and metrics.
fn spawn_telemetry(shared: &Arc<Shared>) -> io::Result<()> {
    let Some(receiver) = shared.telemetry.receiver() else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shared = Arc::clone(shared);
    let run = move || runtime.block_on(telemetry::run(shared, receiver));
    thread::Builder::new().name("telemetry".into()).spawn(run)?;
    Ok(())
}

fn spawn_admin(
    control: &Arc<Control>,
    socket: TcpListener,
    token: Option<String>,
    stopped: watch::Receiver<bool>,
) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?;
    let token = token.map(|token| Sha256::digest(token).into());
    let intake = Arc::new(Intake {
        service: Arc::new(AdminService { control: Arc::clone(control), address, token }),
        tls: None,
        open: Arc::default(),
        turned_away: Arc::default(),
        max_open: Arc::new(|| 256),
        proxies: Arc::new(NoProxies),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = async move {
        if let Err(error) = intake.run(socket, stopped).await {
            tracing::error!(%error, "the admin socket cannot be used");
        }
        std::future::pending::<()>().await;
    };
    thread::Builder::new().name("admin".into()).spawn(move || runtime.block_on(serve))?;
    Ok(address)
}

struct ConfiguredProxies(Arc<Shared>);

impl Proxies for ConfiguredProxies {
    fn is_expected(&self) -> bool {
        self.0.snapshot.load().config.listener.proxy_protocol
    }

    fn is_trusted(&self, peer: SocketAddr) -> bool {
        self.0.snapshot.load().ip.trusts_proxy(peer.ip())
    }
}

struct NoProxies;

impl Proxies for NoProxies {
    fn is_expected(&self) -> bool {
        false
    }

    fn is_trusted(&self, _: SocketAddr) -> bool {
        false
    }
}
