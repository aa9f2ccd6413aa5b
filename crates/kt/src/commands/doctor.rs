//! `kt doctor`: what is wrong with this installation, and what to do about it.

use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use kt_control::{SealKey, TOO_LONG, require_seal_of};
use kt_domain::clock::{Clock, SystemClock};
use kt_domain::deployment_config::DeploymentConfig;
use kt_store::audit::deliveries::{self, Lag};
use kt_store::mail_queue::{self, Backlog};
use kt_store::{Store, audit, sqlite_path};
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Builder;

use crate::audit_sinks::audit_sinks;
use crate::commands::reading::printable;
use crate::commands::server::Place;
use crate::control_plane::{Settings, console_url, providers, shared_counts};
use crate::failure::Failure;
use crate::jwt_keys::jwt_keys;
use crate::output::{self, counted};
use crate::post;
use crate::single_sign_on::single_sign_on;

/// How long a server elsewhere may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Mail that was given up within this time is told.
const LATELY: Duration = Duration::from_hours(24);

/// With less room than this the next days, or the next hours, may fill the disk.
const LITTLE: u64 = 1 << 30;
const TOO_LITTLE: u64 = 100 << 20;

/// Say what is wrong with this installation, and what to do
///
/// Exit status 1 when something would keep a server from working.
#[derive(Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    place: Place,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// What was found out about one thing.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// What a check has to say: how it stands, what was found, and what to do.
type Said = (Verdict, String, Option<String>);

fn ok(found: impl Into<String>) -> Said {
    (Verdict::Ok, found.into(), None)
}

fn warn(found: impl Into<String>, advice: impl Into<String>) -> Said {
    (Verdict::Warn, found.into(), Some(advice.into()))
}

fn fail(found: impl Into<String>, advice: impl Into<String>) -> Said {
    (Verdict::Fail, found.into(), Some(advice.into()))
}

impl Doctor {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let settings = self.place.settings();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let findings = runtime.block_on(examine(&settings));
        if self.json {
            let is_well = findings.iter().all(|finding| finding.verdict != Verdict::Fail);
            output::line(json!({ "ok": is_well, "checks": findings }));
        } else {
            for finding in &findings {
                output::line(finding.line());
            }
        }
        if findings.iter().any(|finding| finding.verdict == Verdict::Fail) {
            return Err(Failure::silent(1));
        }
        Ok(())
    }
}

impl Finding {
    fn of(check: &'static str, (verdict, found, advice): Said) -> Self {
        Self { check, verdict, found, advice }
    }

    fn line(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => "OK  ",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        };
        let found = printable(&format!("{verdict}  {:16} {}", self.check, self.found));
        match &self.advice {
            Some(advice) => format!("{found}\n      {:16} {}", "", printable(advice)),
            None => found,
        }
    }
}

/// Everything there is to say. What depends on the configuration is left out where there is none.
async fn examine(settings: &Settings) -> Vec<Finding> {
    let config = match settings.load() {
        Ok(config) => config,
        Err(failure) => {
            let advice = "mend what the lines above name; the reference of configuration lists every key";
            return vec![Finding::of("configuration", fail(failure.to_string(), advice))];
        }
    };
    let url = settings.database_url(&config);
    let mut findings = vec![
        Finding::of("configuration", ok("it can be read")),
        Finding::of("data directory", data_directory(&settings.data_dir)),
        Finding::of("secrets key", secrets_key(&settings.key_file(&config))),
        Finding::of("disk space", disk_space(&settings.data_dir)),
    ];
    findings.extend(database(settings, &url, &config).await);
    findings.extend(
        audit_sinks(&config).err().map(|failure| Finding::of("audit sinks", unusable(&failure, "audit"))),
    );
    findings.push(Finding::of("access tokens", access_tokens(&config)));
    findings.push(Finding::of("single sign-on", sso(&config)));
    findings.push(Finding::of("providers", reached_providers(settings, &config)));
    findings.push(Finding::of("redis", redis(&config).await));
    findings.push(Finding::of("public address", public_address(settings, &config)));
    findings.push(Finding::of("mail", mail(settings, &config)));
    let api = settings.listen_address(&config);
    findings.push(Finding::of("api listener", listener(settings, &config, "api", api)));
    let console = settings.console_listen_address(&config);
    findings.push(Finding::of("console listener", listener(settings, &config, "console", console)));
    findings
}

fn data_directory(path: &Path) -> Said {
    let shown = path.display();
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => warn(
            format!("{shown} is not there yet"),
            "a server makes it when it starts; or name it with --data-dir",
        ),
        Err(error) => fail(format!("{shown}: {error}"), "let the user who runs the server read and write it"),
        Ok(there) if !there.is_dir() => {
            fail(format!("{shown} is no directory"), "name another with --data-dir")
        }
        Ok(there) if there.permissions().mode() & 0o077 != 0 => {
            warn(format!("others can look into {shown}"), format!("chmod 700 {shown}"))
        }
        Ok(_) => ok(format!("{shown} is private to its owner")),
    }
}

fn secrets_key(path: &Path) -> Said {
    let shown = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let advice = "a first start makes one; where there is a database already, put its key back before starting";
            return warn(format!("there is none at {shown}"), advice);
        }
        Err(error) => return fail(format!("{shown}: {error}"), "let the user who runs the server read it"),
    };
    if path.metadata().is_ok_and(|there| there.permissions().mode() & 0o077 != 0) {
        return fail(format!("others can read {shown}"), format!("chmod 600 {shown}"));
    }
    match SealKey::from_text(&text) {
        Ok(_) => ok(format!("{shown} is private to its owner")),
        Err(error) => fail(format!("{shown}: {error}"), "put back the copy that you keep of it"),
    }
}

fn disk_space(path: &Path) -> Said {
    let there = path.ancestors().find(|path| path.exists() && !path.as_os_str().is_empty());
    let Ok(disk) = rustix::fs::statvfs(there.unwrap_or(Path::new("."))) else {
        return warn("it cannot be told", "look at it with df");
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let found = format!("{} MiB are free", free >> 20);
    let advice = "make room: a server that cannot write refuses changes and gateways refuse requests";
    match free {
        ..TOO_LITTLE => fail(found, advice),
        TOO_LITTLE..LITTLE => warn(found, advice),
        _ => ok(found),
    }
}

/// The database, its schema, the clock, which is compared with the newest record, and how far the audit log was sent.
async fn database(settings: &Settings, url: &str, config: &DeploymentConfig) -> Vec<Finding> {
    if let Some(file) = sqlite_path(url)
        && !file.exists()
    {
        let said = warn(format!("there is none at {}", file.display()), "a server makes it when it starts");
        return vec![Finding::of("database", said)];
    }
    let store = match Store::open(url).await {
        Ok(store) => store,
        Err(error) => {
            let advice = "look whether it runs, and whether `database.url` names it and its password";
            return vec![Finding::of("database", fail(error.to_string(), advice))];
        }
    };
    let kind = if sqlite_path(url).is_some() { "SQLite" } else { "PostgreSQL" };
    let mut findings = vec![Finding::of("database", ok(format!("{kind} answers")))];
    findings.extend(sealed(&store, &settings.key_file(config)).await);
    match store.pending_migrations().await {
        Err(error) => {
            findings.push(Finding::of("schema", fail(error.to_string(), "use the version that made it")));
        }
        Ok(pending) if !pending.is_empty() => {
            let found = format!("steps are missing: {}", pending.join(", "));
            findings.push(Finding::of(
                "schema",
                warn(found, "kt admin migrate; a server does it when it starts"),
            ));
        }
        Ok(_) => {
            findings.push(Finding::of("schema", ok("the schema is up to date")));
            findings.push(Finding::of("clock", clock(&store).await));
            findings.push(Finding::of("mail queue", mail_queue(&store).await));
            findings.extend(sinks(&store, config).await);
        }
    }
    findings
}

/// Whether the key opens what the database holds, where that is not new. What is wrong with the file itself is told of it.
async fn sealed(store: &Store, key_file: &Path) -> Option<Finding> {
    let said = match store.has_schema().await {
        Err(error) => fail(error.to_string(), "look at the database"),
        Ok(false) => return None,
        Ok(true) => match std::fs::read_to_string(key_file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => fail(
                "the database was sealed with a key that is not there",
                format!("put {} back from its copy: without it no server starts", key_file.display()),
            ),
            text => opens(store, &SealKey::from_text(&text.ok()?).ok()?).await,
        },
    };
    Some(Finding::of("sealed secrets", said))
}

async fn opens(store: &Store, seal: &SealKey) -> Said {
    match require_seal_of(store, seal).await {
        Ok(()) => ok("the key opens what the database holds"),
        Err(error) => {
            fail(Failure::from(error).to_string(), "put back the key of this database, from its copy")
        }
    }
}

async fn clock(store: &Store) -> Said {
    let now = SystemClock.now();
    match audit::newest(store).await {
        Err(error) => fail(error.to_string(), "the audit log cannot be read; look at the database"),
        Ok(Some(newest)) if newest > now + Duration::from_mins(1) => fail(
            format!("it shows {now:.0}, and the newest record in the audit log is of {newest:.0}"),
            "set it by NTP: sessions, links and signatures go by it",
        ),
        Ok(_) => ok(format!("it shows {now:.0}")),
    }
}

/// How far each sink outside has the audit log.
async fn sinks(store: &Store, config: &DeploymentConfig) -> Vec<Finding> {
    // What cannot be used of them is told beside the database.
    let sinks = audit_sinks(config).unwrap_or_default();
    let mut findings = Vec::new();
    for sink in sinks {
        findings.push(Finding::of("audit sinks", sink_of(store, sink.name()).await));
    }
    findings
}

async fn sink_of(store: &Store, name: &str) -> Said {
    let lag = match deliveries::lag(store, name).await {
        Err(error) => return fail(error.to_string(), "the audit log cannot be read; look at the database"),
        Ok(lag) => lag,
    };
    let Lag { entries, oldest: Some(oldest), reason } = lag else {
        return ok(format!("the {name} has the whole audit log"));
    };
    let is_late = oldest < SystemClock.now() - TOO_LONG;
    if reason.is_none() && !is_late {
        let newest = counted(entries, "entry", "entries");
        return ok(format!("the {name} is being sent the newest {newest}"));
    }
    let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    warn(
        format!(
            "the {name} lacks {} of the audit log, the oldest of {oldest:.0}{why}",
            counted(entries, "entry", "entries")
        ),
        "look at where it leads, and whether a server runs that sends; nothing is skipped, and the entries are kept until \
         it takes them",
    )
}

/// How much mail does not leave.
async fn mail_queue(store: &Store) -> Said {
    let now = SystemClock.now();
    let backlog = mail_queue::backlog(store, None, now - TOO_LONG, now - LATELY).await;
    let Backlog { waiting, oldest, given_up } = match backlog {
        Err(error) => return fail(error.to_string(), "the queue cannot be read; look at the database"),
        Ok(backlog) => backlog,
    };
    let advice = "look at the mail server; `kt admin mail list` says what went wrong";
    match oldest.filter(|_| waiting > 0) {
        Some(oldest) => warn(
            format!(
                "{}, the oldest since {oldest:.0}; {} today",
                counted(waiting, "message waits", "messages wait"),
                counted(given_up, "was given up", "were given up")
            ),
            advice,
        ),
        None if given_up > 0 => {
            let messages = counted(given_up, "message was given up", "messages were given up");
            warn(format!("{messages} within a day"), advice)
        }
        None => ok("no message waits"),
    }
}

/// What keeps a server from starting.
fn unusable(failure: &Failure, section: &str) -> Said {
    fail(failure.to_string(), format!("mend the section `{section}` of the configuration, or what it names"))
}

fn access_tokens(config: &DeploymentConfig) -> Said {
    match jwt_keys(config) {
        Ok(None) => ok("the keys that sign them are in the database"),
        Ok(Some(_)) => ok("the keys that the configuration names can be used"),
        Err(failure) => unusable(&failure, "auth"),
    }
}

fn sso(config: &DeploymentConfig) -> Said {
    match single_sign_on(config) {
        Ok(_) => ok("what the configuration names for it can be used"),
        Err(failure) => {
            fail(failure.to_string(), "mend `sso` and `auth.google` of the configuration, or what they name")
        }
    }
}

fn reached_providers(settings: &Settings, config: &DeploymentConfig) -> Said {
    match providers(config, settings.serves_gateway) {
        Ok(_) => ok("what the configuration names for them can be used"),
        Err(failure) => unusable(&failure, "providers"),
    }
}

async fn redis(config: &DeploymentConfig) -> Said {
    let counts = match shared_counts(config) {
        Err(failure) => return fail(failure.to_string(), "mend `redis.url`"),
        Ok(None) => return ok("there is none: uses of keys are counted in the database"),
        Ok(Some(counts)) => counts,
    };
    match counts.ping().await {
        Ok(()) => ok("it answers"),
        Err(error) => warn(
            format!("{error}: uses of keys are counted in the database until it answers"),
            "look whether it runs, and whether `redis.url` names it and its password",
        ),
    }
}

fn public_address(settings: &Settings, config: &DeploymentConfig) -> Said {
    let url = match console_url(config) {
        Ok(url) => url,
        Err(failure) => return fail(failure.to_string(), "mend `console.public_url`"),
    };
    let is_told = config.console.public_url.is_some();
    let is_open = settings.listen_address(config).is_ok_and(|listen| !listen.ip().is_loopback());
    if is_open && !is_told {
        let found = format!("the API listens to other machines, and links lead to {}", url.url());
        return warn(found, "set `console.public_url` to the address that people use");
    }
    ok(format!("links lead to {}", url.url()))
}

fn mail(settings: &Settings, config: &DeploymentConfig) -> Said {
    let server = match post::server(config) {
        Err(failure) => return fail(failure.to_string(), "mend the section `mail` of the configuration"),
        Ok(None) => {
            let outbox = settings.data_dir.join("outbox");
            return ok(format!("it stays on this machine, in {}", outbox.display()));
        }
        Ok(Some(server)) => server,
    };
    let name = format!("{}:{}", server.0, server.1);
    let advice = "look whether `mail.smtp` names it and whether this machine may connect to it";
    match server.to_socket_addrs().map(|mut addresses| addresses.next()) {
        Ok(Some(address)) => match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => ok(format!("{name} takes connections")),
            Err(error) => fail(format!("{name}: {error}"), advice),
        },
        _ => fail(format!("{name} cannot be resolved"), advice),
    }
}

/// Whether a server can listen there, as this section of the configuration says.
fn listener(
    settings: &Settings,
    config: &DeploymentConfig,
    section: &str,
    address: Result<SocketAddr, Failure>,
) -> Said {
    match settings.require_safe_listeners(config).and(address) {
        Ok(address) => taken_or_free(address, section),
        Err(failure) => fail(failure.to_string(), "mend `api` and `console` of the configuration"),
    }
}

fn taken_or_free(address: SocketAddr, section: &str) -> Said {
    match TcpListener::bind(address) {
        Ok(_) => ok(format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => ok(format!(
            "something listens on {address}: a server that runs, or what would keep it from starting"
        )),
        Err(error) => {
            fail(format!("{address}: {error}"), format!("name another address in `{section}.listen`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_read_is_told_with_what_to_do() {
        let place = tempfile::tempdir().unwrap();
        let key = place.path().join("secrets.key");
        let mode =
            |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        assert_eq!(secrets_key(&key).0, Verdict::Warn, "there is none yet");
        std::fs::write(&key, SealKey::new_text(&mut kt_domain::random::Random::seeded(1))).unwrap();
        mode(&key, 0o640);
        let (verdict, _, advice) = secrets_key(&key);
        assert_eq!((verdict, advice), (Verdict::Fail, Some(format!("chmod 600 {}", key.display()))));
        mode(&key, 0o600);
        assert_eq!(secrets_key(&key).0, Verdict::Ok);
        std::fs::write(&key, "no key").unwrap();
        assert_eq!(secrets_key(&key).0, Verdict::Fail, "it is no key");

        mode(place.path(), 0o755);
        assert_eq!(data_directory(place.path()).0, Verdict::Warn);
        mode(place.path(), 0o700);
        assert_eq!(data_directory(place.path()).0, Verdict::Ok);
        assert_eq!(data_directory(&key).0, Verdict::Fail, "it is a file");
    }
}
