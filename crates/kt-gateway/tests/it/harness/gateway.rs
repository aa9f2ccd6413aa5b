//! A gateway started for one test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kt_domain::clock::SystemClock;
use kt_domain::events::Event;
use kt_domain::policy_config::{self, Finding, LoadOptions, SecretPlace, Source};
use kt_gateway::{ConfigSource, Gateway, Keeping, LoadedConfig, Options, StartError};

use super::events::{RecordedEvents, State};
use super::{Answer, Client, Request, Upstream, wait_for};

/// The key that the gateway uses with its provider. No client may ever see it.
pub(crate) const PROVIDER_KEY: &str = "sk-canary-4242424242424242";

/// A running gateway, the provider behind it and the events that it records.
pub(crate) struct TestGateway {
    pub(crate) gateway: Gateway,
    pub(crate) upstream: Upstream,
    events: Arc<RecordedEvents>,
    config: Arc<TestConfig>,
}

impl TestGateway {
    /// A gateway with one OpenAI-compatible provider and this configuration on top. `UPSTREAM` in it stands for the
    /// provider's address.
    pub(crate) fn with(yaml: &str) -> Self {
        Self::with_options(yaml, |_| {})
    }

    /// The same, with its options changed before it starts.
    pub(crate) fn with_options(yaml: &str, change: impl FnOnce(&mut Options)) -> Self {
        Self::try_with_options(yaml, change).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, unless it does not start.
    pub(crate) fn try_with_options(
        yaml: &str,
        change: impl FnOnce(&mut Options),
    ) -> Result<Self, StartError> {
        let upstream = Upstream::start();
        let events = Arc::new(RecordedEvents::default());
        let config = Arc::new(TestConfig::new(upstream.address(), yaml));
        let mut options = Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            admin_listen: None,
            admin_token: None,
            tls: None,
            workers: 1,
            max_concurrency: None,
            gateway_id: "gw_test".to_owned(),
            access_keys: None,
            redis_url: None,
            budgets_file: None,
            events: Arc::clone(&events) as _,
            clock: Arc::new(SystemClock),
            config: Arc::clone(&config) as _,
            inherited: None,
            handover: None,
        };
        change(&mut options);
        config.connected.store(options.access_keys.is_some(), Ordering::SeqCst);
        let (gateway, _) = Gateway::start(options)?;
        Ok(Self { gateway, upstream, events, config })
    }

    /// Changes the configuration's source; nothing reads it anew by itself.
    pub(crate) fn write_config(&self, yaml: &str) {
        self.config.set(yaml);
    }

    /// Puts another configuration in force, or says why not.
    pub(crate) fn reload(&self, yaml: &str) -> Result<String, String> {
        self.write_config(yaml);
        self.gateway.reload()
    }

    pub(crate) fn connect(&self) -> Client {
        self.connect_from(Ipv4Addr::LOCALHOST)
    }

    /// Connects from one of this machine's addresses.
    pub(crate) fn connect_from(&self, source: impl Into<IpAddr>) -> Client {
        let source = source.into();
        let mut address = self.gateway.address();
        if address.ip().is_unspecified() {
            let local = if source.is_ipv4() {
                Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            };
            address.set_ip(local);
        }
        Client::connect(address, source).unwrap_or_else(|error| panic!("from {source}: {error}"))
    }

    /// Connects to the operator's listener.
    pub(crate) fn connect_admin(&self) -> Client {
        let address = self.gateway.admin_address().expect("the gateway has an admin listener");
        Client::connect(address, Ipv4Addr::LOCALHOST.into()).expect("it takes connections")
    }

    /// Sends a request over a connection of its own.
    pub(crate) fn ask(&self, request: &Request) -> Answer {
        self.connect().ask(request)
    }

    /// Sends bytes over a connection of their own and waits for one answer.
    pub(crate) fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut client = self.connect();
        // What the gateway says is looked at, also when it did not take everything.
        let _ = client.send(bytes);
        client.answer()
    }

    /// Every event so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.all()
    }

    /// The event of a request, which may come a moment after its answer.
    pub(crate) fn event_of(&self, request_id: &str) -> Event {
        let is_it = |event: &Event| event.request_id.as_deref() == Some(request_id);
        wait_for("the event of a request", || self.events().into_iter().find(is_it))
    }

    /// Makes recording fail, or work again.
    pub(crate) fn set_store(&self, state: State) {
        self.events.set(state);
    }

    /// How events are to be kept, as the gateway said last.
    pub(crate) fn keeping(&self) -> Option<Keeping> {
        self.events.keeping()
    }

    /// Lets the disk of the events hang until what is given is dropped.
    pub(crate) fn hang_disk(&self) -> MutexGuard<'_, ()> {
        self.events.hang()
    }

    /// Has the next request meet a defect on its way.
    pub(crate) fn break_next_request(&self) {
        self.events.panic_once();
    }

    /// Lets the gateway end well.
    pub(crate) fn drain(self) -> Drained {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let cut_off = runtime.expect("a runtime can be made").block_on(self.gateway.drain());
        Drained { cut_off, events: self.events.all() }
    }

    /// Sets an environment variable as the gateway sees it; it is read at the next reload.
    pub(crate) fn set_environment(&self, name: &str, value: Option<&str>) {
        self.config.set_environment(name, value);
    }
}

/// What a gateway leaves behind.
pub(crate) struct Drained {
    /// How many requests were cut off.
    pub(crate) cut_off: usize,
    pub(crate) events: Vec<Event>,
}

/// A configuration in memory, read as if from files.
pub(crate) struct TestConfig {
    upstream: SocketAddr,
    yaml: Mutex<String>,
    environment: Mutex<Vec<(String, Option<String>)>>,
    /// Whether the gateway knows the keys of a control plane.
    connected: AtomicBool,
}

impl TestConfig {
    fn new(upstream: SocketAddr, yaml: &str) -> Self {
        let environment = [
            ("PROVIDER_KEY".to_owned(), Some(PROVIDER_KEY.to_owned())),
            ("CLIENT_KEY".to_owned(), Some("client-key".to_owned())),
        ];
        Self {
            upstream,
            yaml: Mutex::new(yaml.to_owned()),
            environment: Mutex::new(environment.into()),
            connected: AtomicBool::new(false),
        }
    }

    fn set(&self, yaml: &str) {
        yaml.clone_into(&mut self.yaml.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn set_environment(&self, name: &str, value: Option<&str>) {
        let mut environment = self.environment.lock().unwrap_or_else(PoisonError::into_inner);
        environment.retain(|(own, _)| own != name);
        environment.push((name.to_owned(), value.map(str::to_owned)));
    }
}

/// What every test's configuration is laid over.
const BASE: &str = "
pack: {name: test, version: 1.0.0, enabled: true}
providers:
  targets:
    - {id: primary, provider: openai, base_url: 'http://UPSTREAM/v1', secret_key_ref: {env: PROVIDER_KEY}}
policies: {chain: [audit-logger]}
";

impl ConfigSource for TestConfig {
    fn load(&self) -> Result<LoadedConfig, String> {
        let yaml = self.yaml.lock().unwrap_or_else(PoisonError::into_inner);
        let layers = [("base.yaml", BASE), ("test.yaml", yaml.as_str())];
        let sources: Vec<Source> = layers
            .into_iter()
            .filter(|(_, text)| !text.trim().is_empty())
            .map(|(name, text)| Source {
                name: name.to_owned(),
                text: text.replace("UPSTREAM", &self.upstream.to_string()),
            })
            .collect();
        let loaded = policy_config::load(
            &sources,
            LoadOptions { connected: self.connected.load(Ordering::SeqCst), kept: false },
        );
        let report = || loaded.errors().map(|finding| format!("{finding:?}")).collect::<Vec<_>>().join("\n");
        let config = loaded.config.clone().ok_or_else(report)?;
        let warnings = loaded.warnings().map(Finding::in_one_line).collect();
        Ok(LoadedConfig { config, version: loaded.version, warnings })
    }

    fn secret(&self, place: SecretPlace<'_>) -> Option<String> {
        let SecretPlace::Environment(name) = place else { return None };
        let environment = self.environment.lock().unwrap_or_else(PoisonError::into_inner);
        environment.iter().find(|(own, _)| own == name).and_then(|(_, value)| value.clone())
    }
}
