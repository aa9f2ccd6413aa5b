//! The deployment's configuration, `keeptrusts.yaml`: where the control plane listens, what it keeps things in, how it
//! sends mail, what it demands of its organizations.
//!
//! It is read as strictly as a gateway's configuration, by the same reader: every finding at once, each with its place.

mod sections;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::OnceLock;

use serde_json::Value;
use url::Url;

use crate::network::cidr::Cidr;
use crate::policy_config::base_url::{self, Problem};
use crate::policy_config::check::check;
use crate::policy_config::codes::{self, Code};
use crate::policy_config::de::from_tree;
use crate::policy_config::finding::Report;
use crate::policy_config::listener::is_authority;
use crate::policy_config::node::Node;
use crate::policy_config::shape::{Shape, schema_of, shape_of};
use crate::policy_config::{Finding, Severity, Source, parse_layers};
use crate::public_url::PublicUrl;

pub use sections::*;

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
    let variables = environment.iter().filter_map(|variable| from_variable(variable, shape()));
    let sources: Vec<Source> = file.into_iter().chain(variables).collect();
    let mut report = Report::new(&sources);
    let config = parse_layers(&sources, &mut report).and_then(|mut tree| {
        check(&mut tree, shape(), None, &mut report);
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

/// The shape of the whole file.
pub(crate) fn shape() -> &'static Shape {
    static SHAPE: OnceLock<Shape> = OnceLock::new();
    SHAPE.get_or_init(|| shape_of(&json_schema()))
}

/// `KEEPTRUSTS_API__LISTEN=…` as the document `api: {listen: …}`. Variables without `__` are not ours to read here.
fn from_variable((name, value): &(String, String), root: &Shape) -> Option<Source> {
    let path = name.strip_prefix(ENVIRONMENT_PREFIX).filter(|path| path.contains("__"))?;
    let path = path.to_ascii_lowercase();
    let mut text = String::new();
    for (depth, key) in path.split("__").enumerate() {
        text.push_str(if depth == 0 { "" } else { "\n" });
        text.push_str(&"  ".repeat(depth));
        text.push_str(key);
        text.push(':');
    }
    let value = as_yaml(value, root.behind(path.split("__")));
    Some(Source { name: format!("environment variable {name}"), text: format!("{text} {value}\n") })
}

/// A variable's value as it would stand in the file, where this may stand: a list of words has brackets, or commas alone.
fn as_yaml(value: &str, shape: Option<&Shape>) -> String {
    if value.starts_with('[') {
        return value.to_owned();
    }
    if shape.is_some_and(Shape::is_list_of_words) {
        let words = value.split(',').map(str::trim).filter(|word| !word.is_empty());
        return words.collect::<Value>().to_string();
    }
    let is_plain = value.chars().all(|c| c.is_ascii_alphanumeric());
    if is_plain { value.to_owned() } else { Value::from(value).to_string() }
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
        for (index, host) in config.server.hosts.iter().enumerate().filter(|(_, host)| !is_authority(host)) {
            let message = format!("`{host}` is no host name or address with an optional port");
            let suggestion = "write it as clients do: `api.example.com`, `10.0.0.5:8080` or `[2001:db8::1]`";
            self.say(&codes::BAD_HOST, &format!("server.hosts[{index}]"), &message, suggestion);
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
        if let Some(endpoint) = &config.telemetry.otlp_endpoint {
            let path = "telemetry.otlp_endpoint";
            for Problem { code, message, suggestion } in base_url::problems(path, endpoint) {
                self.say(code, path, &message, &suggestion);
            }
        }
        self.jwt_keys(&config.auth.jwt.keys);
    }

    fn jwt_keys(&mut self, keys: &[JwtKeySection]) {
        let mut kids = HashSet::new();
        for (index, key) in keys.iter().enumerate() {
            let path = format!("auth.jwt.keys[{index}]");
            let kid = &key.kid;
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if kid.is_empty() || kid.len() > 64 || !kid.chars().all(is_plain) {
                let suggestion = "write at most 64 letters, digits, `-`, `_` and `.`";
                let message = format!("`{kid}` is no name of a key");
                self.say(&codes::OUT_OF_RANGE, &format!("{path}.kid"), &message, suggestion);
            } else if !kids.insert(kid) {
                let message = format!("two keys are called `{kid}`");
                self.say(
                    &codes::OUT_OF_RANGE,
                    &format!("{path}.kid"),
                    &message,
                    "give each a name of its own",
                );
            }
            let has_one_file = key.private_key_file.is_some() != key.public_key_file.is_some();
            if !has_one_file {
                let message = format!("the key `{kid}` is in no file, or in two");
                let suggestion =
                    "name one: `private_key_file`, or `public_key_file` for a key that only verifies";
                self.say(&codes::MISSING_KEY, &path, &message, suggestion);
            } else if key.state == JwtKeyState::Signing
                && key.private_key_file.is_none()
                && !self.is_set_aside(&format!("{path}.state"))
            {
                let message = format!("the key `{kid}` is to sign, and has no private half");
                self.say(&codes::MISSING_KEY, &path, &message, "name its `private_key_file`");
            }
        }
        let signing = keys.iter().filter(|key| key.state == JwtKeyState::Signing).count();
        let mut states = (0..keys.len()).map(|index| format!("auth.jwt.keys[{index}].state"));
        if !keys.is_empty() && signing != 1 && !states.any(|state| self.is_set_aside(&state)) {
            let message = format!("{signing} keys sign access tokens");
            let suggestion = "write `state: signing` at one of them and `state: verifying` at the others";
            self.say(&codes::OUT_OF_RANGE, "auth.jwt.keys", &message, suggestion);
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

    fn is_set_aside(&self, path: &str) -> bool {
        self.report.is_set_aside(self.tree, path)
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
mod tests;
