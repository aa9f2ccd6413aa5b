//! The keys that a gateway may let in, followed at the control plane and remembered on this machine's disk.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kt_control::{GatewayReport, Known};
use kt_domain::keys::KeySnapshot;
use kt_gateway::AccessKeys;
use tokio::sync::Mutex;

use super::orders::Obedience;
use super::plane::{PATIENCE, Plane, PlaneError};
use crate::failure::Failure;
use crate::serve::Reporter;

/// How long a gateway waits before it asks a control plane again that did not answer: with the time that an answer
/// takes, below the 5 seconds within which a revoked key must stop (SPEC section 13).
const PAUSE: Duration = Duration::from_secs(2);

/// Where the keys are remembered. It holds no secret: digests of random keys.
pub(super) struct KeyFile(PathBuf);

impl KeyFile {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self(data_dir.join("access-keys.json"))
    }

    /// What was last remembered.
    pub(super) fn load(&self) -> Result<Option<KeySnapshot>, Failure> {
        let failed = |error: String| Failure::failed(format!("{}: {error}", self.0.display()));
        match fs::read(&self.0) {
            Ok(text) => {
                let advice = "remove the file; the keys are fetched anew from the control plane";
                serde_json::from_slice(&text).map(Some).map_err(|error| failed(format!("{error}; {advice}")))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Replaces what is remembered, as a whole or not at all.
    fn store(&self, snapshot: &KeySnapshot) -> std::io::Result<()> {
        let new = self.0.with_extension("new");
        let mut file: File =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(snapshot)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.0)
    }

    fn forget(&self) -> std::io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// What it takes to follow the control plane.
pub(super) struct Following {
    pub(super) plane: Plane,
    pub(super) reporter: Reporter,
    pub(super) keys: Arc<AccessKeys>,
    pub(super) file: KeyFile,
    pub(super) orders: Mutex<Obedience>,
}

/// Reports the gateway and takes up every change of its keys and its orders, until it is dropped.
pub(super) async fn follow(following: Arc<Following>) {
    let Following { plane, reporter, keys, file, orders } = &*following;
    let mut orders = orders.lock().await;
    // What was last said of it: each trouble is told once.
    let mut trouble = "";
    let mut tells_configuration = false;
    loop {
        let keys_version = keys.version();
        let known = Known {
            keys: keys_version.as_deref(),
            orders: Some(orders.version()),
            tells_configuration: true,
        };
        let configuration = tells_configuration.then(|| reporter.configuration());
        let report = GatewayReport { configuration, ..orders.complete(reporter.report()) };
        match plane.sync(report, known, PATIENCE).await {
            Ok(news) => {
                tells_configuration = news.wants_configuration;
                if !std::mem::take(&mut trouble).is_empty() {
                    tracing::info!("the control plane serves this gateway again");
                }
                if let Some(snapshot) = news.keys {
                    take_up(Arc::unwrap_or_clone(snapshot), keys, file);
                }
                if let Some(told) = news.orders {
                    orders.take_up(&told);
                }
            }
            Err(PlaneError::NotSetUp) => tokio::time::sleep(PAUSE).await,
            Err(reason @ (PlaneError::Refused(_) | PlaneError::Invalid(_))) => {
                if std::mem::replace(&mut trouble, "refused") != "refused" {
                    tracing::error!(%reason, "the control plane refuses this gateway, so no key is let in any more");
                }
                // In this order, so that what was once seen to be refused is not let in after a restart.
                remember(file.forget());
                keys.forget();
                orders.forget();
                tokio::time::sleep(PAUSE).await;
            }
            Err(reason @ (PlaneError::Away(_) | PlaneError::Gap)) => {
                if std::mem::replace(&mut trouble, "away") != "away" {
                    tracing::warn!(%reason, "the control plane does not serve this gateway at present; keys stay as they were");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn take_up(snapshot: KeySnapshot, keys: &AccessKeys, file: &KeyFile) {
    tracing::info!(
        keys = snapshot.keys.len(),
        version = &snapshot.version[..12],
        "access keys were taken up"
    );
    remember(file.store(&snapshot));
    keys.replace(snapshot);
}

/// Keys are judged by what is in memory; the file is for the next life.
fn remember(outcome: std::io::Result<()>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "the access keys cannot be remembered for a restart");
    }
}
