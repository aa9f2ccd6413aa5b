//! The sections of `keeptrusts.yaml`, each key with its sentence: the reference page and the schema are made of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::deployment_settings::DeploymentSettings;
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
    /// What the processes tell of themselves.
    pub telemetry: TelemetrySection,
    /// What people keep in the console.
    pub workspaces: WorkspacesSection,
}

/// What people keep in the console: conversations, and runs of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkspacesSection {
    /// For how many days they are kept: a conversation from the last question on, a run from its end on. Without it, until
    /// whoever keeps them deletes them or leaves.
    #[schemars(range(min = 1, max = 36500))]
    pub retention_days: Option<u32>,
}

/// What the processes tell of themselves. What other gateways than that of `kt up` tell stands in their own configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySection {
    /// The program's log, which goes to standard error.
    pub log: LogSection,
    /// Where the gateway of `kt up` sends traces and metrics, unless its own configuration says where: a collector that takes
    /// OTLP over HTTP, such as `http://127.0.0.1:4318`. Prometheus is served on its admin listener besides.
    pub otlp_endpoint: Option<String>,
}

/// The program's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// Lines for people, or one JSON object a line.
    pub format: LogFormat,
    /// What is told: `error`, `warn`, `info` (which it is without this), `debug` or `trace`, or by part as in
    /// `warn,kt_control=debug`. `KEEPTRUSTS_LOG` comes before it.
    pub level: Option<String>,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
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
    /// The keys that sign and verify access tokens.
    pub jwt: JwtSection,
}

/// The keys that sign and verify access tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JwtSection {
    /// Keys in files, the same for every process of the deployment. Without any, keys live in the database and are replaced
    /// with `kt admin jwt rotate`.
    pub keys: Vec<JwtKeySection>,
}

/// A key in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtKeySection {
    /// Its name, which tokens say: at most 64 letters, digits, `-`, `_` and `.`.
    pub kid: String,
    /// A PEM file with an Ed25519 private key (PKCS #8), which its owner alone can read.
    #[serde(default)]
    pub private_key_file: Option<String>,
    /// A PEM file with an Ed25519 public key, for a key that only verifies.
    #[serde(default)]
    pub public_key_file: Option<String>,
    /// Whether it signs; one of them does.
    pub state: JwtKeyState,
}

/// What a key is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JwtKeyState {
    /// Signs new tokens, and verifies.
    Signing,
    /// Verifies what it has signed, or will sign.
    Verifying,
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
    /// The names by which the API may be addressed (`Host`), each with its port or, without one, on every port; others are
    /// answered 421. The host of `api.public_url` and loopback names are always among them. With neither list nor
    /// `api.public_url`, a listener on loopback takes loopback names alone, and another one any name.
    pub hosts: Vec<String>,
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
