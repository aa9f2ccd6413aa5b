//! What can be done to a gateway while it serves: its configuration put in force, what it has counted recorded and kept.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use kt_domain::id::RequestId;
use kt_domain::policy_config::SecretRef;
use kt_domain::random::Random;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::{ConfigSource, LoadedConfig, Reloaded};
use crate::access_keys::AccessKeys;
use crate::events::Keeping;
use crate::limits::{Kept, Memory};
use crate::shared::Shared;
use crate::snapshot::{AuthRules, Lasting, Snapshot, Surroundings};
use crate::tls::TlsFiles;

/// What can be done to a running gateway.
pub(crate) struct Control {
    pub(crate) shared: Arc<Shared>,
    pub(super) source: Arc<dyn ConfigSource>,
    pub(super) tls: Option<(TlsFiles, watch::Sender<TlsAcceptor>)>,
    pub(super) random: Mutex<Random>,
    /// Held while the configuration is read and put in force, so that an older one never replaces a newer one.
    pub(super) reloading: Mutex<()>,
    /// Where what is spent of budgets is kept.
    pub(super) kept: Option<Kept>,
    /// Where clients connect.
    pub(super) listen: SocketAddr,
}

impl Control {
    pub(crate) fn reload(&self) -> Result<Reloaded, String> {
        let outcome = self.try_reload();
        self.shared.metrics.count_reload(outcome.is_ok());
        if let Err(report) = &outcome {
            tell_of_refused(report);
        }
        outcome
    }

    fn try_reload(&self) -> Result<Reloaded, String> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = self.source.load()?;
        let version = loaded.version.clone();
        let Shared { lasting, access_keys, .. } = &*self.shared;
        let (snapshot, mut warnings) = compile(loaded, lasting, access_keys.as_ref(), &*self.source)?;
        warn_of_open_door(self.listen, &snapshot, &mut warnings);
        if let Some((files, acceptors)) = &self.tls {
            acceptors.send_replace(files.acceptor().map_err(|error| error.to_string())?);
        }
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        lasting.targets.retain(|id| snapshot.targets.iter().any(|target| *target.id == *id));
        self.shared.events.keep(Keeping::of(&snapshot.config));
        let before = self.shared.snapshot.swap(Arc::new(snapshot));
        if *before.version == *version {
            tracing::info!(%version, "the configuration is as it was; certificates, and credentials that the control plane keeps, were taken anew");
        } else {
            tracing::info!(%version, "the configuration was changed");
        }
        Ok(Reloaded { version, warnings })
    }

    pub(crate) fn new_request_id(&self) -> String {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        RequestId::new(self.shared.clock.now_micros(), &mut random).to_string()
    }

    pub(super) fn summarise_refusals(&self) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.summarise_refusals(&mut random);
    }

    /// Keeps what is spent of budgets. Should that fail, it is tried again with the next second.
    pub(super) fn keep_spending(&self, keep: fn(&Kept, &Memory, i64) -> io::Result<()>) {
        let Some(kept) = &self.kept else { return };
        let Shared { lasting, clock, .. } = &*self.shared;
        if let Err(error) = keep(kept, &lasting.used, clock.now_micros()) {
            tracing::error!(%error, "what is spent of budgets cannot be kept, and would be forgotten by a restart");
        }
    }
}

/// Says that a configuration was refused, and of each finding what is wrong and where: a line of the log is one line.
fn tell_of_refused(report: &str) {
    tracing::error!("the configuration was not changed; the last good one stays");
    for finding in report.split("\n\n") {
        let what_and_where: Vec<_> = finding.lines().take(2).map(str::trim).collect();
        tracing::error!("{}", what_and_where.join(" "));
    }
}

/// The configuration as requests are judged by it, and the warnings that it deserves.
pub(super) fn compile(
    LoadedConfig { config, version, mut warnings }: LoadedConfig,
    lasting: &Lasting,
    access_keys: Option<&Arc<AccessKeys>>,
    source: &dyn ConfigSource,
) -> Result<(Snapshot, Vec<String>), String> {
    let secrets =
        |reference: &SecretRef| source.secret(reference.place()?).filter(|secret| !secret.is_empty());
    let surroundings = Surroundings { lasting, access_keys, secrets: &secrets };
    let (snapshot, more) =
        Snapshot::compile(version.into(), config, surroundings).map_err(|error| error.to_string())?;
    warnings.extend(more);
    Ok((snapshot, warnings))
}

pub(super) fn warn_of_open_door(
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
