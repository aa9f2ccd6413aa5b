//! The threads of a gateway: those that serve, the operator's, and the one that sends traces and metrics.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::control::Control;
use crate::admin::AdminService;
use crate::contain;
use crate::exchange::GatewayService;
use crate::limits::{self, Kept};
use crate::listener::Intake;
use crate::proxy_protocol::Proxies;
use crate::shared::{Shared, Worker};
use crate::telemetry;

/// How often unused connections to providers are looked through, and requests under way told to other gateways.
const SWEEP: Duration = Duration::from_secs(10);
/// How many of the operator's requests may wait for a disk at once: a query reads the log, which takes a processor.
const OPERATORS_AT_THE_DISK: usize = 8;
/// How often it is looked whether the server in which gateways count together has lost what is under way.
const KEEP_PLACES: Duration = Duration::from_secs(1);
/// How often what was counted instead of recorded is recorded, and what is spent of budgets kept.
const SUMMARISE: Duration = Duration::from_secs(1);

/// What every worker is started with.
pub(super) struct WorkerSetup<'a> {
    pub(super) control: &'a Arc<Control>,
    pub(super) acceptors: Option<watch::Receiver<TlsAcceptor>>,
    pub(super) stopped: &'a watch::Receiver<bool>,
}

impl WorkerSetup<'_> {
    /// Starts one worker: a thread, its event loop, its connections to providers. The first one also does what is to
    /// be done once for all.
    pub(super) fn spawn(
        &self,
        index: usize,
        socket: TcpListener,
        counts: Option<limits::Shared>,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.control.shared);
        let worker =
            Arc::new(Worker::new(Arc::clone(&shared), counts, self.control.listen.ip().is_loopback()));
        let proxies = Arc::new(ConfiguredProxies(Arc::clone(&shared)));
        let intake = Arc::new(Intake {
            cut_off: shared.when_cut_off(),
            service: Arc::new(GatewayService(Arc::clone(&worker))),
            tls: self.acceptors.clone(),
            open: Arc::clone(&shared.connections),
            turned_away: Arc::default(),
            max_open: Arc::new(move || shared.snapshot.load().config.listener.max_connections as usize),
            proxies,
            stop: self.stopped.clone(),
        });
        let summarised = (index == 0).then(|| Arc::clone(self.control));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = async move {
            tokio::spawn(keep_places(Arc::clone(&worker)));
            tokio::spawn(sweep(worker));
            summarised.map(|control| tokio::spawn(summarise(control)));
            if let Err(error) = intake.run(socket).await {
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

async fn keep_places(worker: Arc<Worker>) {
    loop {
        tokio::time::sleep(KEEP_PLACES).await;
        contain::round("keeping of places", worker.limiter.keep_places()).await;
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
pub(super) fn spawn_telemetry(shared: &Arc<Shared>) -> io::Result<()> {
    let Some(receiver) = shared.telemetry.receiver() else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shared = Arc::clone(shared);
    let run = move || runtime.block_on(telemetry::run(shared, receiver));
    thread::Builder::new().name("telemetry".into()).spawn(run)?;
    Ok(())
}

/// Starts the thread that serves the operator; gives where it listens.
pub(super) fn spawn_admin(
    control: &Arc<Control>,
    socket: TcpListener,
    token: Option<String>,
    stop: watch::Receiver<bool>,
) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?;
    let token = token.map(|token| Sha256::digest(token).into());
    let intake = Arc::new(Intake {
        service: Arc::new(AdminService { control: Arc::clone(control), address, token }),
        tls: None,
        // The operator's are open until the process ends.
        cut_off: watch::channel(false).1,
        open: Arc::default(),
        turned_away: Arc::default(),
        max_open: Arc::new(|| 256),
        proxies: Arc::new(NoProxies),
        stop,
    });
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(OPERATORS_AT_THE_DISK).build()?;
    let serve = async move {
        if let Err(error) = intake.run(socket).await {
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
