//! A configuration made ready for use: everything that can be worked out before a request comes is worked out here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use http::uri::Authority;
use http::{HeaderName, HeaderValue};
use kt_domain::network::cidr::{Cidr, CidrSet};
use kt_domain::network::gateway_rules::IpRules;
use kt_domain::policy_config::{self, AuthMode, OnFailure, PolicyConfig, SecretRef, SizeLimits, StaticKey};
use sha2::{Digest, Sha256};

use crate::access_keys::{AccessKeys, Life};
use crate::http1::connection::ClientTimeouts;
use crate::limits::Memory;
use crate::policies;
use crate::providers::health::HealthOfTargets;
use crate::providers::target::{self, Target};
use crate::scopes::{Scope, Scopes};
use crate::stages::budgets::BudgetRules;
use crate::stages::cors::CorsRules;
use crate::stages::path;
use crate::stages::rate_limits::RateRules;
use crate::telemetry;
use crate::upstream::Limits;

/// Looks up a secret; an empty one is none.
pub(crate) type Secrets<'a> = &'a dyn Fn(&SecretRef) -> Option<String>;

/// What a configuration is made ready with.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) lasting: &'a Lasting,
    /// The control plane's keys, when the gateway is connected to one.
    pub(crate) access_keys: Option<&'a Arc<AccessKeys>>,
    pub(crate) secrets: Secrets<'a>,
}

/// What is remembered beyond a change of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Lasting {
    /// What was used of each limit.
    pub(crate) used: Arc<Memory>,
    pub(crate) targets: HealthOfTargets,
}

/// One configuration in force. Never changes; a reload makes another.
pub(crate) struct Snapshot {
    /// The first 12 hexadecimal digits of the SHA-256 of its sources.
    pub(crate) version: Arc<str>,
    /// What it was made from.
    pub(crate) config: PolicyConfig,
    pub(crate) ip: IpRules,
    /// The header that the source address is read from, if it is.
    pub(crate) ip_header: Option<HeaderName>,
    pub(crate) cors: Option<CorsRules>,
    pub(crate) limits: SizeLimits,
    pub(crate) auth: AuthRules,
    pub(crate) rates: RateRules,
    pub(crate) budgets: BudgetRules,
    pub(crate) hosts: Vec<Authority>,
    pub(crate) targets: Vec<Arc<Target>>,
    /// Where among targets of equal standing the next request goes.
    pub(crate) turn: AtomicUsize,
    pub(crate) scopes: Scopes,
    /// Where traces and metrics go, if they go anywhere.
    pub(crate) telemetry: Option<Arc<telemetry::Settings>>,
    pub(crate) upstream_limits: Limits,
    pub(crate) client_timeouts: ClientTimeouts,
    /// Whether a request that cannot be recorded is refused.
    pub(crate) refuse_unrecorded: bool,
    /// Whether requests that were allowed are recorded too.
    pub(crate) records_all_access: bool,
}

/// Who may come in.
pub(crate) enum AuthRules {
    /// Everybody. People with a pass of the control plane are known by it, where the gateway is connected to one.
    Open(Option<Arc<AccessKeys>>),
    /// Holders of the keys of the configuration, by the SHA-256 of the key.
    Static(HashMap<[u8; 32], BoundKey>),
    /// Holders of the keys that the control plane has made.
    AccessKeys(Arc<AccessKeys>),
}

/// Who sends requests, as they are counted and recorded.
pub(crate) struct Key {
    /// The key's name; for a person without one, their own identifier.
    pub(crate) id: Arc<str>,
    /// Whether it is a person whom the control plane vouches for.
    pub(crate) is_person: bool,
    /// The person who answers for it, where that is known.
    pub(crate) user: Option<Arc<str>>,
    /// How many requests it may make in a minute; `None` for any number.
    pub(crate) requests_per_minute: Option<u32>,
    /// Tells when it is taken back, of a key that can be while its requests are under way.
    pub(crate) life: Option<Life>,
}

impl Key {
    pub(crate) fn new(id: &str, requests_per_minute: Option<u32>) -> Self {
        Self { id: id.into(), is_person: false, user: None, requests_per_minute, life: None }
    }

    /// The same key, which this person answers for.
    pub(crate) fn answered_for_by(self, user: &str) -> Self {
        Self { user: Some(user.into()), ..self }
    }

    /// The same key, which can be taken back.
    pub(crate) fn for_as_long_as(self, life: Life) -> Self {
        Self { life: Some(life), ..self }
    }

    /// Somebody who uses the workspaces of the console.
    pub(crate) fn person(id: &str) -> Self {
        let id: Arc<str> = id.into();
        Self { user: Some(Arc::clone(&id)), id, is_person: true, requests_per_minute: None, life: None }
    }
}

/// A key, and from where it works.
pub(crate) struct BoundKey {
    pub(crate) key: Arc<Key>,
    /// Empty means from anywhere.
    pub(crate) allowed_ranges: CidrSet,
}

/// A configuration could not be made ready. The linter finds all of these earlier, but for the environment's part.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct CompileError {
    /// The key at fault, such as `ip_allowlist.allow[3]`.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl CompileError {
    pub(crate) fn new(path: impl Into<String>, message: &(impl ToString + ?Sized)) -> Self {
        Self { path: path.into(), message: message.to_string() }
    }
}

impl Snapshot {
    /// Makes `config` ready. A target whose key is not there is kept, marked unavailable, and named in the warnings.
    pub(crate) fn compile(
        version: Arc<str>,
        config: PolicyConfig,
        surroundings: Surroundings<'_>,
    ) -> Result<(Self, Vec<String>), CompileError> {
        let mut warnings = Vec::new();
        let ip = IpRules::compile(&config.ip_allowlist).map_err(|errors| {
            let first = errors.into_iter().next();
            first.map_or_else(
                || CompileError::new("ip_allowlist", "not valid"),
                |error| CompileError::new(error.path, &error.message),
            )
        })?;
        let ip_header = ip.header_name().map(str::parse).transpose();
        let ip_header = ip_header.map_err(|error| CompileError::new("ip_allowlist.ip_header", &error))?;
        let snapshot = Self {
            ip,
            ip_header,
            cors: CorsRules::compile(&config.cors)?,
            limits: config.size_limits.clone(),
            auth: AuthRules::compile(&config.auth, surroundings, &mut warnings)?,
            rates: RateRules::compile(&config),
            budgets: BudgetRules::compile(&config),
            hosts: hosts(&config)?,
            targets: target::compile_all(&config, surroundings, &mut warnings)?,
            turn: AtomicUsize::new(0),
            records_all_access: policies::records_all_access(&config),
            scopes: Scopes::compile(&config)?,
            telemetry: telemetry::Settings::compile(&config.telemetry, surroundings.secrets, &mut warnings)?
                .map(Arc::new),
            client_timeouts: ClientTimeouts {
                request_header: config.timeouts.request_header.0,
                request_body_idle: config.timeouts.request_body_idle.0,
                request_body: config.timeouts.request_body.0,
                keep_alive: config.timeouts.keep_alive.0,
                response_idle: config.timeouts.response_idle.0,
            },
            upstream_limits: Limits::of(&config.timeouts),
            refuse_unrecorded: config.events.on_failure == OnFailure::Refuse,
            version,
            config,
        };
        Ok((snapshot, warnings))
    }
}

impl Snapshot {
    /// What browsers are told of answers to requests of this route, or of none.
    pub(crate) fn cors_of<'a>(&'a self, route: Option<&'a Arc<Scope>>) -> Option<&'a CorsRules> {
        route.and_then(|route| route.edge.cors.as_ref()).or(self.cors.as_ref())
    }

    /// What browsers are told of any answer to a request for `path`, also where that was not followed to its route. A path
    /// that has no normal form belongs to no route: it goes by its beginning as it is written, where its page meant to go.
    pub(crate) fn cors_of_answer<'a>(
        &'a self,
        route: Option<&'a Arc<Scope>>,
        path: &str,
    ) -> Option<&'a CorsRules> {
        if route.is_some() || self.config.routes.is_empty() {
            return self.cors_of(route);
        }
        let normal = path::normalise(path);
        self.cors_of(self.scopes.route(normal.as_deref().unwrap_or(path)))
    }

    /// How large bodies of this route, or of none, may be.
    pub(crate) fn limits_of<'a>(&'a self, route: Option<&'a Arc<Scope>>) -> &'a SizeLimits {
        route.and_then(|route| route.edge.limits.as_ref()).unwrap_or(&self.limits)
    }
}

fn hosts(config: &PolicyConfig) -> Result<Vec<Authority>, CompileError> {
    let read = |(index, host): (usize, &String)| {
        host.parse().map_err(|error| CompileError::new(format!("listener.hosts[{index}]"), &error))
    };
    config.listener.hosts.iter().enumerate().map(read).collect()
}

impl AuthRules {
    fn compile(
        auth: &policy_config::Auth,
        surroundings: Surroundings<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, CompileError> {
        match (auth.mode_in_force(surroundings.access_keys.is_some()), surroundings.access_keys) {
            (AuthMode::None, keys) => Ok(Self::Open(keys.cloned())),
            (AuthMode::Static, _) => Self::of_configuration(auth, surroundings, warnings),
            (AuthMode::AccessKeys, Some(keys)) => Ok(Self::AccessKeys(Arc::clone(keys))),
            (AuthMode::AccessKeys, None) => {
                Err(CompileError::new("auth.mode", "access keys need a control plane to ask"))
            }
        }
    }

    fn of_configuration(
        auth: &policy_config::Auth,
        Surroundings { secrets, .. }: Surroundings<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, CompileError> {
        let mut keys = HashMap::new();
        for (index, key) in auth.keys.iter().enumerate() {
            let path = format!("auth.keys[{index}]");
            let digest = match digest_of(key, secrets).map_err(|message| CompileError::new(&path, message))? {
                Ok(digest) => digest,
                Err(why) => {
                    warnings.push(format!("{path}: {why}, so key `{}` opens nothing", key.id));
                    continue;
                }
            };
            let ranges: Result<Vec<Cidr>, _> = key.allowed_ranges.iter().map(|range| range.parse()).collect();
            let allowed_ranges =
                ranges.map_err(|error| CompileError::new(path, &error))?.into_iter().collect();
            let key = Arc::new(Key::new(key.id.as_str(), key.requests_per_minute));
            keys.insert(digest, BoundKey { key, allowed_ranges });
        }
        Ok(Self::Static(keys))
    }
}

/// The SHA-256 of a key; or why the secret is of no use, where it cannot be found or no client can send it.
fn digest_of(key: &StaticKey, secrets: Secrets<'_>) -> Result<Result<[u8; 32], String>, &'static str> {
    match (&key.sha256, &key.secret_key_ref) {
        (Some(hex), None) => from_hex(hex).map(Ok).ok_or("`sha256` is not 64 hexadecimal digits"),
        (None, Some(reference)) => Ok(match secrets(reference) {
            Some(secret) if can_be_sent(&secret) => Ok(Sha256::digest(secret).into()),
            Some(_) => Err(reference.unsoundness()),
            None => Err(reference.absence()),
        }),
        _ => Err("needs exactly one of `sha256` and `secret_key_ref`"),
    }
}

/// Whether a header can hold this key as it is: blanks around a value are not a part of it.
fn can_be_sent(key: &str) -> bool {
    HeaderValue::from_str(key).is_ok() && key.trim() == key
}

fn from_hex(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}
