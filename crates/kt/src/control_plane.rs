//! The control plane of this process: its store, its keys, its API, and the jobs that run beside it.

mod background;
mod key_file;
mod server_parts;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kt_control::passwords::{Capacity, Cost, Hasher};
use kt_control::{AuditSink, Control, EVEN_STEP, Parts, Post, SealKey, SetUp};
use kt_domain::actor::Actor;
use kt_domain::clock::{Clock, SystemClock};
use kt_domain::ctx::{Client, Ctx};
use kt_domain::deployment_config::{self, DeploymentConfig};
use kt_domain::error::{Error, ErrorKind};
use kt_domain::network::cidr::CidrSet;
use kt_domain::network::reach::Reach;
use kt_domain::policy_config::{Finding, Source};
use kt_domain::public_url::PublicUrl;
use kt_domain::random::Random;
use kt_server::{Doors, Hosts, Listener, Needs};
use kt_store::{Store, StoreError, sqlite_path, sqlite_url};
use tokio::sync::watch;

use crate::audit_sinks::audit_sinks;
use crate::environment;
use crate::failure::Failure;
use crate::kept_up::is_true;
use crate::logging;
use crate::output;
use crate::post;
use background::Beside;
use key_file::key_is_away;
pub(crate) use key_file::sealing_key;
use server_parts::{ServerParts, reaching};
pub(crate) use server_parts::{providers, shared_counts};

/// Where the control plane is told what to be.
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) config: Option<PathBuf>,
    /// From a flag; it wins over the configuration.
    pub(crate) api_listen: Option<SocketAddr>,
    /// The same for the console.
    pub(crate) console_listen: Option<SocketAddr>,
    /// Whether a gateway runs in the same process.
    pub(crate) serves_gateway: bool,
}

/// Where the API listens unless it is told otherwise.
const API_LISTEN: &str = "127.0.0.1:8080";

/// Where the console listens unless it is told otherwise.
const CONSOLE_LISTEN: &str = "127.0.0.1:3000";

/// Where the console is unless the configuration says it, by the port that it listens on. A name and no address: passkeys
/// are made for names alone (Web Authentication level 3, section 5.1.2).
const CONSOLE_HOST: &str = "http://localhost";

/// A control plane whose doors are bound and not served yet.
pub(crate) struct ControlPlane {
    control: Arc<Control>,
    post: Post,
    audit_sinks: Vec<AuditSink>,
    api: Listener,
    console: Listener,
    /// Where the API listens.
    pub(crate) address: SocketAddr,
    doors: Doors,
    /// The names that the API answers to.
    hosts: Hosts,
    /// Who stands for many clients.
    proxies: CidrSet,
    /// Where processes count together, if the configuration names a place.
    pub(crate) redis_url: Option<String>,
    /// Where the gateway beside it sends traces and metrics, if the configuration says where.
    pub(crate) otlp_endpoint: Option<String>,
    /// How the first owner is made, while there is none.
    pub(crate) invitation: Option<String>,
}

impl Settings {
    /// Reads the configuration; every finding goes to standard error.
    pub(crate) fn load(&self) -> Result<DeploymentConfig, Failure> {
        let file = self.config.as_deref().map(read_file).transpose()?;
        let loaded = deployment_config::load(file, &environment::all());
        for finding in &loaded.findings {
            output::complain(Finding::render(finding));
        }
        loaded.config.ok_or_else(|| {
            Failure::invalid("the deployment's configuration is not valid, so nothing was started")
        })
    }

    /// Opens the store, makes what a first start needs, and binds the API and the console.
    pub(crate) async fn start(&self) -> Result<ControlPlane, Failure> {
        let mut config = self.load()?;
        logging::start(&config.telemetry.log)?;
        self.require_safe_listeners(&config)?;
        let api = bind("API", self.listen_address(&config)?).await?;
        let console = bind("console", self.console_listen_address(&config)?).await?;
        let (address, pages) = (api.address()?, console.address()?);
        config.console.public_url.get_or_insert_with(|| format!("{CONSOLE_HOST}:{}", pages.port()));
        private_directory(&self.data_dir)?;
        let post = post::post(&config, &self.data_dir)?;
        let audit_sinks = audit_sinks(&config)?;
        let issuer = config.api.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
        let control = Arc::new(Control::start(self.parts_of_server(&config, issuer).await?).await?);
        let home = console_url(&config)?;
        let invitation = first_owner(&control, &home).await?;
        let proxies = trusted_proxies(&config);
        let addresses = Arc::new(kt_server::client_address(proxies.clone()));
        let security_contact =
            config.server.security_contact.as_deref().and_then(|contact| contact.parse().ok());
        let doors = Doors::from(Needs {
            control: Arc::clone(&control),
            addresses,
            console: home,
            console_port: pages.port(),
            security_contact,
        });
        Ok(ControlPlane {
            control,
            post,
            audit_sinks,
            api,
            console,
            address,
            doors,
            hosts: hosts(&config, address.ip()),
            proxies,
            redis_url: config.redis.url,
            otlp_endpoint: config.telemetry.otlp_endpoint,
            invitation,
        })
    }

    pub(crate) fn listen_address(&self, config: &DeploymentConfig) -> Result<SocketAddr, Failure> {
        address_of(self.api_listen, config.api.listen.as_deref().unwrap_or(API_LISTEN))
    }

    pub(crate) fn console_listen_address(&self, config: &DeploymentConfig) -> Result<SocketAddr, Failure> {
        address_of(self.console_listen, config.console.listen.as_deref().unwrap_or(CONSOLE_LISTEN))
    }

    /// Refuses to listen to other machines without TLS, unless a public address of https says that TLS ends in front, or the
    /// configuration allows it: passwords and keys would be read on the way (OWASP ASVS 5.0, 12.2.1).
    pub(crate) fn require_safe_listeners(&self, config: &DeploymentConfig) -> Result<(), Failure> {
        let listeners = [
            ("api", self.listen_address(config)?, &config.api.public_url),
            ("console", self.console_listen_address(config)?, &config.console.public_url),
        ];
        for (section, address, public_url) in listeners {
            let has_tls_in_front = public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
            if !address.ip().is_loopback() && !has_tls_in_front && !config.server.allow_plain_http {
                return Err(Failure::invalid(format!(
                    "`{section}` would listen on {address}, to other machines and without TLS: set `{section}.public_url` to the \
                     https address of the proxy in front of it, or `server.allow_plain_http: true` where nobody listens in"
                )));
            }
        }
        Ok(())
    }

    /// Where the database is.
    pub(crate) fn database_url(&self, config: &DeploymentConfig) -> String {
        let own = || sqlite_url(&self.data_dir.join("keeptrusts.db"));
        config.database.url.clone().unwrap_or_else(own)
    }

    /// Where the key is that seals secrets.
    pub(crate) fn key_file(&self, config: &DeploymentConfig) -> PathBuf {
        config.secrets.key_file.as_ref().map_or_else(|| self.data_dir.join("secrets.key"), PathBuf::from)
    }

    /// Makes the directory where everything is kept, for its owner alone, if there is none.
    pub(crate) fn make_data_dir(&self) -> Result<(), Failure> {
        private_directory(&self.data_dir)
    }

    /// The use cases, for the operator beside a server. Nothing is made that is not there, and a database of another
    /// schema is left as it is.
    pub(crate) async fn open(&self) -> Result<Control, Failure> {
        let config = self.load()?;
        let pending = self.existing_store(&config).await?.pending_migrations().await;
        if !pending.map_err(|error| Failure::failed(error.to_string()))?.is_empty() {
            let message = "the database has the schema of an older version: run `kt admin migrate`, or start the server";
            return Err(Failure::failed(message));
        }
        self.control(&config).await
    }

    /// The same, after the database was brought to the present schema; the names of the steps that this took. Of a database
    /// without any schema nothing is sealed yet: the key that seals is made as at a first start.
    pub(crate) async fn migrate(&self) -> Result<(Control, Vec<&'static str>), Failure> {
        let failed = |error: StoreError| Failure::failed(error.to_string());
        let config = self.load()?;
        let store = self.existing_store(&config).await?;
        let pending = store.pending_migrations().await.map_err(failed)?;
        if !store.has_schema().await.map_err(failed)? {
            private_directory(&self.data_dir)?;
            sealing_key(&self.key_file(&config), &mut Random::from_os())?;
        }
        Ok((self.control(&config).await?, pending))
    }

    /// Needs nothing that the operator's commands do not use.
    async fn control(&self, config: &DeploymentConfig) -> Result<Control, Failure> {
        let seal = self.existing_seal(config)?;
        let issuer = config.api.public_url.clone().unwrap_or_else(|| format!("http://{API_LISTEN}"));
        let store = self.open_store(config).await?;
        let parts = Self::parts(config, issuer, store, seal, ServerParts::unused(config)?)?;
        Ok(Control::start(parts).await?)
    }

    /// The store, unless there is none yet.
    async fn existing_store(&self, config: &DeploymentConfig) -> Result<Store, Failure> {
        if let Some(file) = sqlite_path(&self.database_url(config))
            && !file.exists()
        {
            return Err(Failure::failed(format!(
                "there is no database at {}: name the place with --data-dir or --config",
                file.display()
            )));
        }
        self.open_store(config).await
    }

    /// Opens the store that the configuration names.
    pub(crate) async fn open_store(&self, config: &DeploymentConfig) -> Result<Store, Failure> {
        Store::open(&self.database_url(config)).await.map_err(|error| Failure::failed(error.to_string()))
    }

    /// The key that seals the secrets of this store. One is made for a store that is new: beside any other, a new key would
    /// open nothing, and stand where the right one belongs.
    async fn seal_of(&self, config: &DeploymentConfig, store: &Store) -> Result<SealKey, Failure> {
        let has_schema = store.has_schema().await.map_err(|error| Failure::failed(error.to_string()))?;
        if has_schema {
            return self.existing_seal(config);
        }
        self.seal(config)
    }

    /// The key that seals secrets, which has to be there.
    pub(crate) fn existing_seal(&self, config: &DeploymentConfig) -> Result<SealKey, Failure> {
        let key_file = self.key_file(config);
        if key_file.exists() { self.seal(config) } else { Err(key_is_away(&key_file)) }
    }

    fn seal(&self, config: &DeploymentConfig) -> Result<SealKey, Failure> {
        let key_file = self.key_file(config);
        let seal = SealKey::from_text(&sealing_key(&key_file, &mut Random::from_os())?)
            .map_err(|error| Failure::failed(format!("{}: {error}", key_file.display())))?;
        Ok(seal.rereading(move || std::fs::read_to_string(&key_file).ok()))
    }

    /// What the use cases of a server are made of.
    async fn parts_of_server(&self, config: &DeploymentConfig, issuer: String) -> Result<Parts, Failure> {
        let store = self.open_store(config).await?;
        let seal = self.seal_of(config, &store).await?;
        Self::parts(config, issuer, store, seal, ServerParts::of(config, self.serves_gateway)?)
    }

    fn parts(
        config: &DeploymentConfig,
        issuer: String,
        store: Store,
        seal: SealKey,
        server: ServerParts,
    ) -> Result<Parts, Failure> {
        let hasher = Hasher::new(&Cost::default(), Capacity::default())
            .map_err(|error| Failure::failed(error.to_string()))?;
        let ServerParts { jwt_keys, shared_counts, providers, sso } = server;
        Ok(Parts {
            store,
            clock: Arc::new(SystemClock),
            random: Random::from_os(),
            hasher,
            even_step: EVEN_STEP,
            seal,
            issuer,
            console: console_url(config)?,
            deployment: config.security.clone(),
            jwt_keys,
            workspace_days: config.workspaces.retention_days,
            shared_counts,
            // Gateways stand in one's own network as often as not.
            gateways: reaching(Reach::Private)?,
            providers,
            sso,
        })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            // Whoever is at the machine is told the reason itself.
            Error { kind: ErrorKind::Internal, private: Some(reason), .. } => Self::failed(reason),
            // What was typed, or configured, breaks a rule.
            error if error.kind == ErrorKind::Invalid => Self::invalid(error.to_string()),
            error => Self::failed(error.to_string()),
        }
    }
}

impl ControlPlane {
    /// Where people find the console.
    pub(crate) fn console_address(&self) -> &str {
        self.doors.console.url().as_str().trim_end_matches('/')
    }

    /// Its use cases, for what runs beside it.
    pub(crate) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// Serves until `ended` says so, then lets requests under way finish.
    pub(crate) async fn serve(self, ended: watch::Receiver<bool>) {
        let mut beside = Beside::new(&self.control, &ended);
        beside.begin(self.post, self.audit_sinks);
        let (api, console) = (kt_server::api(self.doors.clone(), self.hosts), kt_server::console(self.doors));
        let api = kt_server::serve(self.api, api, self.proxies.clone(), is_true(ended.clone()));
        let console = kt_server::serve(self.console, console, self.proxies, is_true(ended));
        tokio::join!(api, console);
        beside.ended().await;
    }
}

/// The context of what is done at the machine itself.
pub(crate) fn operator(part: &'static str) -> Ctx {
    Ctx {
        actor: Actor::System(part),
        client: Client::default(),
        request_id: part.to_owned(),
        now: SystemClock.now(),
    }
}

/// Makes the first owner where the environment names one; otherwise says how to, while there is none.
async fn first_owner(control: &Control, console: &PublicUrl) -> Result<Option<String>, Failure> {
    let ctx = operator("bootstrap");
    if !control.is_new().await? {
        return Ok(None);
    }
    if let Some(named) = named_owner()? {
        control.set_up(&ctx, named).await.map_err(unfit_owner)?;
        return Ok(None);
    }
    let Some(token) = control.new_set_up_link(&ctx).await? else { return Ok(None) };
    let link = console.page_with_token("/setup", token.expose());
    Ok(Some(format!("\nThere is no owner yet. Within 24 hours, make the first one here:\n\n  {link}\n")))
}

/// The first owner, where the environment names one. One that is named in part stops the start: a link for whoever reads the log
/// is not what was meant.
fn named_owner() -> Result<Option<SetUp>, Failure> {
    let names = ["EMAIL", "PASSWORD", "ORG"].map(|part| format!("KEEPTRUSTS_BOOTSTRAP_{part}"));
    let [email, password, organization] = names.each_ref().map(|name| environment::variable(name));
    let organization =
        organization.or_else(|| (!environment::is_set(&names[2])).then(|| "default".to_owned()));
    match (email, password, organization) {
        (Some(email), Some(password), Some(organization)) => Ok(Some(SetUp {
            organization_name: organization.clone(),
            organization,
            name: email.clone(),
            email,
            password,
        })),
        _ if !names.iter().any(|name| environment::is_set(name)) => Ok(None),
        (email, password, organization) => {
            let missing =
                names.iter().zip([email, password, organization]).filter(|(_, value)| value.is_none());
            let missing: Vec<&str> = missing.map(|(name, _)| name.as_str()).collect();
            let missing = missing.join(", ");
            Err(Failure::invalid(format!(
                "the environment names the first owner in part; not set, or no text: {missing}"
            )))
        }
    }
}

/// What is wrong with the owner that the environment names, and in which variable it stands.
fn unfit_owner(error: Error) -> Failure {
    let part = match error.param.as_deref() {
        Some("email" | "name") => "EMAIL",
        Some("password") => "PASSWORD",
        Some("organization" | "organization_name") => "ORG",
        _ => return error.into(),
    };
    Failure::invalid(format!("KEEPTRUSTS_BOOTSTRAP_{part}: {}", error.message))
}

/// Where people find the console: links and codes lead there.
pub(crate) fn console_url(config: &DeploymentConfig) -> Result<PublicUrl, Failure> {
    let usual = || format!("{CONSOLE_HOST}:3000");
    let url = config.console.public_url.clone().unwrap_or_else(usual);
    PublicUrl::parse(&url).map_err(|error| Failure::invalid(format!("console.public_url: {error}")))
}

/// Those that the configuration lists, and that of the API's public address.
fn hosts(config: &DeploymentConfig, listener: IpAddr) -> Hosts {
    let public = config.api.public_url.as_deref().and_then(|url| PublicUrl::parse(url).ok());
    let listed = config.server.hosts.iter().map(String::as_str);
    Hosts::new(listed.chain(public.as_ref().map(PublicUrl::host)), listener)
}

fn trusted_proxies(config: &DeploymentConfig) -> CidrSet {
    // Checked when the configuration was loaded.
    config.server.trusted_proxies.iter().filter_map(|range| range.parse().ok()).collect()
}

async fn bind(door: &str, address: SocketAddr) -> Result<Listener, Failure> {
    Listener::bind(address).await.map_err(|error| {
        let failure = Failure::failed(format!("the {door} cannot listen on {address}: {error}"));
        if error.kind() != io::ErrorKind::AddrInUse {
            return failure;
        }
        let option = format!("--{}-listen", door.to_ascii_lowercase());
        failure.and(&format!("end the program that listens there, or name another address with `{option}`"))
    })
}

/// What a flag says, or else what is configured.
fn address_of(flag: Option<SocketAddr>, configured: &str) -> Result<SocketAddr, Failure> {
    let parsed =
        configured.parse().map_err(|_| Failure::invalid(format!("`{configured}` is no address and port")));
    flag.map_or(parsed, Ok)
}

fn read_file(path: &Path) -> Result<Source, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::invalid(format!("cannot read {}: {error}", path.display())))?;
    Ok(Source { name: path.display().to_string(), text })
}

fn private_directory(path: &Path) -> Result<(), Failure> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::failed(format!("cannot make {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_listened_to_without_tls_unless_it_ends_in_front() {
        let settings = |api: &str, console: &str| Settings {
            data_dir: "data".into(),
            config: None,
            api_listen: Some(api.parse().unwrap()),
            console_listen: Some(console.parse().unwrap()),
            serves_gateway: false,
        };
        let (here, anywhere) = ("127.0.0.1:1", "0.0.0.0:1");
        let https = Some("https://keeptrusts.example.com");
        let http = Some("http://localhost:3000");
        // where the API and the console listen, their public addresses, whether plain text is allowed, and whether it starts
        let table = [
            (here, here, None, None, false, true),
            ("[::1]:1", here, None, None, false, true),
            (anywhere, here, None, None, false, false),
            (here, anywhere, None, None, false, false),
            ("[::]:1", here, None, None, false, false),
            ("192.0.2.7:1", here, None, None, false, false),
            (anywhere, here, http, None, false, false),
            (anywhere, here, https, None, false, true),
            (anywhere, anywhere, https, None, false, false),
            (anywhere, anywhere, https, https, false, true),
            (anywhere, anywhere, None, None, true, true),
        ];
        for (api, console, api_url, console_url, allowed, starts) in table {
            let mut config = DeploymentConfig::default();
            config.api.public_url = api_url.map(str::to_owned);
            config.console.public_url = console_url.map(str::to_owned);
            config.server.allow_plain_http = allowed;
            let outcome = settings(api, console).require_safe_listeners(&config);
            assert_eq!(outcome.is_ok(), starts, "{api} {console} {api_url:?} {console_url:?} {allowed}");
        }
    }
}
