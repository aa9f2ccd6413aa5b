//! The deployment's configuration, `keeptrusts.yaml`: where the control plane listens, what it keeps things in, how it
//! sends mail, what it demands of its organisations.
//!
//! It is read as strictly as a gateway's configuration, by the same reader: every finding at once, each with its place.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::deployment_settings::DeploymentSettings;
use crate::network::cidr::Cidr;
use crate::policy_config::check::check;
use crate::policy_config::codes::{self, Code};
use crate::policy_config::de::from_tree;
use crate::policy_config::finding::Report;
use crate::policy_config::node::Node;
use crate::policy_config::shape::{schema_of, shape_of};
use crate::policy_config::{Finding, Severity, Source, parse_layers};
use crate::public_url::PublicUrl;
use crate::sso::Protocol;

/// One deployment's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeploymentConfig {
    /// Where everything is kept.
    pub database: DatabaseSection,
    /// Where processes count together.
    pub redis: RedisSection,
    /// The API's listener.
    pub api: ListenSection,
    /// The console's listener.
    pub console: ListenSection,
    /// How connections are taken.
    pub server: ServerSection,
    /// How mail is sent.
    pub mail: MailSection,
    /// How secrets are kept.
    pub secrets: SecretsSection,
    /// What is demanded of people and sessions, and who may change it.
    pub security: DeploymentSettings,
    /// Where the audit log goes besides the database.
    pub audit: AuditSection,
    /// How providers are reached when somebody tries one in the console.
    pub providers: ProvidersSection,
    /// What this deployment, or its plan, offers.
    pub features: FeaturesSection,
    /// Ways of signing in that belong to the whole deployment.
    pub auth: AuthSection,
    /// How identity providers are reached.
    pub sso: SsoSection,
}

/// What this deployment, or its plan, offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FeaturesSection {
    /// By which protocols organizations may sign in with their own identity provider: `oidc`, `saml`, both, or none.
    pub sso: Vec<SsoFeature>,
}

impl Default for FeaturesSection {
    fn default() -> Self {
        Self { sso: vec![SsoFeature::Oidc, SsoFeature::Saml] }
    }
}

/// A protocol of single sign-on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SsoFeature {
    /// OIDC.
    Oidc,
    /// SAML 2.0.
    Saml,
}

impl From<SsoFeature> for Protocol {
    fn from(feature: SsoFeature) -> Self {
        match feature {
            SsoFeature::Oidc => Self::Oidc,
            SsoFeature::Saml => Self::Saml,
        }
    }
}

/// Ways of signing in that belong to the whole deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSection {
    /// "Sign in with Google", for accounts with an address in a domain that their organization has verified.
    pub google: Option<GoogleSection>,
}

/// This deployment's client at Google.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoogleSection {
    /// The client id.
    pub client_id: String,
    /// The environment variable that holds the client secret.
    pub client_secret_ref: PasswordRef,
    /// Another issuer, for tests and for providers that behave as Google does.
    #[serde(default)]
    pub issuer: Option<String>,
}

/// How identity providers are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SsoSection {
    /// Whether they may be on this machine or a private network.
    pub allow_private: bool,
    /// A PEM file with authorities to trust besides those of the system.
    pub ca_file: Option<String>,
}

/// Where everything is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseSection {
    /// `sqlite://FILE` or `postgres://USER@HOST/NAME`; without it, `keeptrusts.db` in the data directory.
    pub url: Option<String>,
}

/// Where processes count together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSection {
    /// A Redis or Valkey server, `redis://HOST` or, over TLS, `rediss://USER:PASSWORD@HOST`; without it, uses are counted
    /// in the database.
    pub url: Option<String>,
}

/// A listener and the address that people reach it by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenSection {
    /// Address and port.
    pub listen: Option<String>,
    /// The address that links, cookies and tokens name; never taken from a request.
    pub public_url: Option<String>,
}

/// How connections are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSection {
    /// The proxies whose `X-Forwarded-For` is believed; none by default.
    pub trusted_proxies: Vec<String>,
    /// Listen to other machines without TLS although no public address begins with `https://`: where a container's port is
    /// published to its own machine alone, or in a network where nobody listens in.
    pub allow_plain_http: bool,
    /// Whom somebody tells who has found a weakness, such as `mailto:security@example.com`: served as
    /// `/.well-known/security.txt` of the console.
    pub security_contact: Option<String>,
}

/// How mail is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MailSection {
    /// `outbox` writes files into the data directory; `smtp` sends.
    pub transport: MailTransport,
    /// The sender, such as `Keeptrusts <keeptrusts@example.com>`.
    pub from: Option<String>,
    /// The server, for `smtp`.
    pub smtp: SmtpSection,
}

/// Where mail goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailTransport {
    /// Into `.eml` files in the data directory.
    #[default]
    Outbox,
    /// To a mail server.
    Smtp,
}

/// A mail server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SmtpSection {
    /// Its name.
    pub host: String,
    /// Its port; without it, the usual one of `tls`.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u32>,
    /// The account to sign in with.
    pub username: Option<String>,
    /// The environment variable that holds the account's password.
    pub password_ref: Option<PasswordRef>,
    /// How the connection is protected.
    pub tls: SmtpProtection,
}

impl Default for SmtpSection {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            port: None,
            username: None,
            password_ref: None,
            tls: SmtpProtection::Starttls,
        }
    }
}

/// Where a password is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordRef {
    /// The environment variable that holds it.
    pub env: String,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SmtpProtection {
    /// Not at all: for a server on this machine.
    None,
    /// It begins in the clear and must turn to TLS before anything is sent.
    #[default]
    Starttls,
    /// TLS from the beginning.
    Tls,
}

/// How secrets are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecretsSection {
    /// The file with the key that seals secrets; without it, `secrets.key` in the data directory, made when absent.
    pub key_file: Option<String>,
}

/// How providers are reached when somebody tries one in the console. Gateways reach them by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProvidersSection {
    /// Whether one may be on this machine or a private network; without it, under `kt up` alone, where the gateway that
    /// reaches it is on the same machine.
    pub allow_private: Option<bool>,
    /// A PEM file with authorities to trust besides those of the system.
    pub ca_file: Option<String>,
}

/// Where the audit log goes besides the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSection {
    /// A program that takes it over HTTP.
    pub webhook: Option<WebhookSection>,
    /// A collector of logs.
    pub syslog: Option<SyslogSection>,
}

/// A program that takes the audit log over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSection {
    /// Its address, https; http only with `allow_private`.
    pub url: String,
    /// The environment variable that holds the secret that requests are signed with.
    pub secret_ref: PasswordRef,
    /// Whether it may be on this machine or a private network.
    #[serde(default)]
    pub allow_private: bool,
    /// A PEM file with authorities to trust besides those of the system.
    #[serde(default)]
    pub ca_file: Option<String>,
}

/// A collector of logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyslogSection {
    /// Its address, such as `tls://logs.example.com:6514`; `tls`, `tcp` or `udp`.
    pub address: String,
    /// Whether it may be on this machine or a private network.
    #[serde(default)]
    pub allow_private: bool,
    /// A PEM file with authorities to trust besides those of the system.
    #[serde(default)]
    pub ca_file: Option<String>,
}

/// What came of loading a deployment's configuration.
#[derive(Clone, Debug)]
pub struct LoadedDeployment {
    /// The configuration; none when a finding is an error.
    pub config: Option<DeploymentConfig>,
    /// Everything there is to say.
    pub findings: Vec<Finding>,
}

/// The name under which a key is set by an environment variable: its path in capitals, joined by `__`.
pub const ENVIRONMENT_PREFIX: &str = "KEEPTRUSTS_";

/// Reads the file and what the environment says; the environment overrides the file, key by key.
#[must_use]
pub fn load(file: Option<Source>, environment: &[(String, String)]) -> LoadedDeployment {
    let sources: Vec<Source> = file.into_iter().chain(environment.iter().filter_map(from_variable)).collect();
    let mut report = Report::new(&sources);
    let config = parse_layers(&sources, &mut report).and_then(|mut tree| {
        check(&mut tree, &shape_of(&json_schema()), &mut report);
        let config: DeploymentConfig = from_tree(&tree, &mut report)?;
        Review { tree: &tree, report: &mut report }.all(&config);
        Some(config)
    });
    let findings = report.into_findings();
    let valid = findings.iter().all(|finding| finding.severity == Severity::Warning);
    LoadedDeployment { config: config.filter(|_| valid), findings }
}

/// The JSON Schema of `keeptrusts.yaml`.
#[must_use]
pub fn json_schema() -> Value {
    schema_of::<DeploymentConfig>("Keeptrusts deployment configuration")
}

/// `KEEPTRUSTS_API__LISTEN=…` as the document `api: {listen: …}`. Variables without `__` are not ours to read here.
fn from_variable((name, value): &(String, String)) -> Option<Source> {
    let path = name.strip_prefix(ENVIRONMENT_PREFIX).filter(|path| path.contains("__"))?;
    let mut text = String::new();
    for (depth, key) in path.split("__").enumerate() {
        text.push_str(if depth == 0 { "" } else { "\n" });
        text.push_str(&"  ".repeat(depth));
        text.push_str(&key.to_ascii_lowercase());
        text.push(':');
    }
    let is_plain = value.starts_with('[') || value.chars().all(|c| c.is_ascii_alphanumeric());
    let value = if is_plain { value.clone() } else { Value::from(value.as_str()).to_string() };
    Some(Source { name: format!("environment variable {name}"), text: format!("{text} {value}\n") })
}

/// The rules that a schema cannot say.
struct Review<'a, 's> {
    tree: &'a Node,
    report: &'a mut Report<'s>,
}

impl Review<'_, '_> {
    fn all(&mut self, config: &DeploymentConfig) {
        for (section, listen) in [("api", &config.api), ("console", &config.console)] {
            self.address(&format!("{section}.listen"), listen.listen.as_deref());
            self.public_url(&format!("{section}.public_url"), listen.public_url.as_deref());
        }
        if let Some(url) = &config.database.url
            && !["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme))
        {
            let message = "`database.url` names neither SQLite nor PostgreSQL";
            self.say(
                &codes::OUT_OF_RANGE,
                "database.url",
                message,
                "write `sqlite://FILE` or `postgres://USER@HOST/NAME`",
            );
        }
        if let Some(url) = &config.redis.url
            && !is_redis(url)
        {
            let message = "`redis.url` names no Redis server";
            self.say(
                &codes::OUT_OF_RANGE,
                "redis.url",
                message,
                "write `redis://HOST` or, over TLS, `rediss://USER:PASSWORD@HOST`",
            );
        }
        for (index, range) in config.server.trusted_proxies.iter().enumerate() {
            if let Err(why) = range.parse::<Cidr>() {
                let path = format!("server.trusted_proxies[{index}]");
                self.say(&codes::BAD_CIDR, &path, &why.to_string(), "write it like `10.0.0.0/8`");
            }
        }
        if let Some(contact) = &config.server.security_contact
            && !Url::parse(contact).is_ok_and(|url| ["mailto", "https", "tel"].contains(&url.scheme()))
        {
            let message = format!("`{contact}` is no address to be told at");
            let suggestion = "write it like `mailto:security@example.com` or `https://example.com/security`";
            self.say(&codes::OUT_OF_RANGE, "server.security_contact", &message, suggestion);
        }
        for why in config.security.broken_rules() {
            let path = format!("security.{}", why.param.as_deref().unwrap_or_default());
            self.say(&codes::OUT_OF_RANGE, &path, &format!("`{path}` is out of bounds"), &why.message);
        }
        if config.mail.transport == MailTransport::Smtp && config.mail.from.is_none() {
            let message = "`mail.transport` is `smtp`, and there is no sender";
            self.say(&codes::MISSING_KEY, "mail", message, "add `from: Keeptrusts <keeptrusts@example.com>`");
        }
    }

    fn address(&mut self, path: &str, text: Option<&str>) {
        if let Some(text) = text.filter(|text| text.parse::<SocketAddr>().is_err()) {
            let message = format!("`{text}` is no address and port");
            self.say(&codes::OUT_OF_RANGE, path, &message, "write it like `127.0.0.1:8080`");
        }
    }

    fn public_url(&mut self, path: &str, text: Option<&str>) {
        if let Some(Err(why)) = text.map(str::parse::<PublicUrl>) {
            self.say(
                &codes::OUT_OF_RANGE,
                path,
                &why.to_string(),
                "write it like `https://keeptrusts.example.com`",
            );
        }
    }

    fn say(&mut self, code: &Code, path: &str, message: &str, suggestion: &str) {
        self.report.on(self.tree, code, path, message, suggestion);
    }
}

/// Whether this is the address of a Redis server, its kind of connection and its host named.
fn is_redis(url: &str) -> bool {
    let parsed = Url::parse(url);
    parsed.is_ok_and(|url| ["redis", "rediss"].contains(&url.scheme()) && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment_settings::ManagedBy;

    fn file(text: &str) -> Source {
        Source { name: "keeptrusts.yaml".into(), text: text.into() }
    }

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_environment_overrides_the_file_key_by_key() {
        let text = "api:\n  listen: 127.0.0.1:1\n  public_url: https://api.example.com\n";
        let environment = variables(&[
            ("KEEPTRUSTS_API__LISTEN", "127.0.0.1:2"),
            ("KEEPTRUSTS_SERVER__TRUSTED_PROXIES", "[10.0.0.0/8, 192.0.2.0/24]"),
            ("KEEPTRUSTS_MAIL__SMTP__HOST", "mail.example.com"),
            ("KEEPTRUSTS_AUDIT__SYSLOG__ADDRESS", "tls://logs.example.com"),
            ("KEEPTRUSTS_LOG", "debug"),
            ("PATH", "/bin"),
        ]);
        let loaded = load(Some(file(text)), &environment);
        let config = loaded.config.unwrap();
        assert_eq!(config.api.listen.as_deref(), Some("127.0.0.1:2"));
        assert_eq!(config.api.public_url.as_deref(), Some("https://api.example.com"));
        assert_eq!(config.server.trusted_proxies, ["10.0.0.0/8", "192.0.2.0/24"]);
        assert_eq!(config.mail.smtp.host, "mail.example.com");
        assert_eq!(config.audit.syslog.unwrap().address, "tls://logs.example.com");
        assert_eq!(config.audit.webhook, None);
    }

    #[test]
    fn every_finding_is_told_at_once_with_its_place() {
        let text = "databse:\n  url: x\nserver:\n  trusted_proxies:\n    - 10.0.0.1/8\nconsole:\n  public_url: \
                    http://example.com\n";
        let loaded = load(Some(file(text)), &variables(&[("KEEPTRUSTS_API__LISTEN", "localhost")]));
        let told: Vec<String> = loaded.findings.iter().map(Finding::render).collect();
        assert!(loaded.config.is_none());
        assert_eq!(told.len(), 4, "{told:?}");
        for part in [
            "keeptrusts.yaml:1:1",
            "`database`",
            "keeptrusts.yaml:5:7",
            "keeptrusts.yaml:7:15",
            "KEEPTRUSTS_API__LISTEN",
        ] {
            assert!(told.iter().any(|text| text.contains(part)), "{part} in {told:#?}");
        }
    }

    #[test]
    fn what_is_demanded_of_people_has_its_bounds() {
        let text = "security:\n  managed_by: console\n  session:\n    timeout: 2h\n  password:\n    preset: nist-800-63b\n    \
                    min_length: 7\n  lockout:\n    max_failures: 2\n  mfa:\n    grace_period: 0h\n";
        let loaded = load(Some(file(text)), &[]);
        let told: Vec<String> = loaded.findings.iter().map(Finding::render).collect();
        assert_eq!(told.len(), 3, "{told:#?}");
        for part in ["keeptrusts.yaml:4:", "keeptrusts.yaml:7:", "keeptrusts.yaml:9:"] {
            assert!(told.iter().any(|text| text.contains(part)), "{part} in {told:#?}");
        }
        let grace = load(Some(file("security:\n  mfa:\n    grace_period: soon\n")), &[]);
        assert!(grace.findings[0].render().contains("no length of time"), "{:#?}", grace.findings);
        let good = text.replace("2h", "1h").replace(": 7", ": 20").replace(": 2\n", ": 5\n");
        let security = load(Some(file(&good)), &[]).config.unwrap().security;
        assert_eq!(security.managed_by, ManagedBy::Console);
        assert_eq!((security.to_settings().password.min_length, security.lockout.max_failures), (20, 5));
        assert_eq!(security.mfa.grace_period, None);
    }

    #[test]
    fn a_redis_server_is_named_by_how_it_is_reached_and_its_host() {
        for url in ["redis://localhost", "redis://10.0.0.7:6380/2", "rediss://kt:secret@redis.example.com"] {
            let loaded = load(None, &variables(&[("KEEPTRUSTS_REDIS__URL", url)]));
            assert_eq!(loaded.config.unwrap().redis.url.as_deref(), Some(url));
        }
        for url in [
            "localhost:6379",
            "http://localhost",
            "redis://",
            "redis:///2",
            "unix:///run/redis.sock",
            "secret",
        ] {
            let loaded = load(Some(file(&format!("redis:\n  url: {url}\n"))), &[]);
            assert!(loaded.config.is_none(), "{url}");
            let told = loaded.findings[0].render();
            assert!(told.contains("`redis.url` names") && told.contains("keeptrusts.yaml:2:"), "{told}");
        }
    }

    #[test]
    fn nothing_at_all_is_a_configuration() {
        assert_eq!(load(None, &[]).config, Some(DeploymentConfig::default()));
    }
}
