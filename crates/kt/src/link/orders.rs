//! What a gateway is told to do: taken up, reported, and remembered on this machine's disk.
//!
//! What is remembered holds providers' keys. It is sealed with a key that lies beside it, for the gateway's user alone: a
//! copy of the file by itself opens nothing.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kt_control::{GatewayReport, Known, NO_CONFIGURATION, SealKey};
use kt_domain::configurations::{ConfigurationSource, KeptConfiguration, Orders, RefusedConfiguration};
use kt_domain::random::Random;
use kt_gateway::GatewayHandle;

use super::plane::{Plane, PlaneError};
use crate::config::{Kept, load_kept};
use crate::control_plane::sealing_key;
use crate::failure::Failure;

/// How long a gateway without a configuration waits before it asks again.
const PAUSE: Duration = Duration::from_secs(2);

/// Where orders are remembered.
pub(super) struct OrdersFile {
    path: PathBuf,
    seal: SealKey,
}

/// What the orders are sealed for.
const PLACE: &str = "gateway/orders";

impl OrdersFile {
    /// The file in `data_dir`, and the key that opens it; made where there is none.
    pub(super) fn open(data_dir: &Path) -> Result<Self, Failure> {
        let key = data_dir.join("gateway.key");
        let seal = SealKey::from_text(&sealing_key(&key, &mut Random::from_os())?)
            .map_err(|error| Failure::failed(format!("{}: {error}", key.display())))?;
        Ok(Self { path: data_dir.join("orders.sealed"), seal })
    }

    /// What was last remembered. What cannot be read is told anew by the control plane.
    pub(super) fn load(&self) -> Option<Orders> {
        let sealed = match fs::read_to_string(&self.path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, "what this gateway was told cannot be read; it is asked for anew");
                return None;
            }
        };
        let text = match self.seal.open(PLACE, &sealed) {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(%error, "what this gateway was told cannot be opened; it is asked for anew");
                return None;
            }
        };
        let orders: Orders = serde_json::from_slice(&text).ok()?;
        // A version of another release may find a mistake in what an earlier one ran.
        let is_good = orders.configuration.as_ref().is_none_or(|told| load_kept(told).is_ok());
        is_good.then_some(orders)
    }

    /// Replaces what is remembered, as a whole or not at all.
    fn store(&self, orders: &Orders) -> std::io::Result<()> {
        let text = serde_json::to_vec(orders)?;
        let sealed = self.seal.seal(PLACE, &text, &mut Random::from_os()).map_err(std::io::Error::other)?;
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(sealed.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)
    }

    fn forget(&self) -> std::io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The first orders with a configuration that a gateway can run. One beside its control plane does not wait for them; any
/// other reports itself until it is told, so that people see it is there, and at which address it will be.
pub(super) async fn first(
    plane: &Plane,
    gateway_id: &str,
    address: Option<String>,
) -> Result<Option<Orders>, Failure> {
    let mut report = GatewayReport {
        id: gateway_id.to_owned(),
        software_version: env!("CARGO_PKG_VERSION").to_owned(),
        config_version: NO_CONFIGURATION.to_owned(),
        address,
        targets: Vec::new(),
        config_source: ConfigurationSource::Kept,
        configuration: None,
        refused: None,
        is_draining: false,
        shares_counts: false,
    };
    let is_local = matches!(plane, Plane::Local(_));
    let mut known = String::new();
    let mut has_said = false;
    loop {
        let asked = Known { orders: Some(&known), ..Known::default() };
        match plane.sync(report.clone(), asked, Duration::ZERO).await {
            Ok(news) => {
                if let Some(orders) = news.orders {
                    known.clone_from(&orders.version);
                    match orders.configuration.as_ref().map(load_kept) {
                        Some(Ok(_)) => return Ok(Some(Arc::unwrap_or_clone(orders))),
                        Some(Err(reason)) => report.refused = refused(orders.configuration.as_ref(), reason),
                        None => {}
                    }
                }
                if !std::mem::replace(&mut has_said, true) && !is_local {
                    tracing::info!(
                        "this gateway waits for a configuration: roll one out to it in the console"
                    );
                }
            }
            Err(PlaneError::NotSetUp) if is_local => {}
            Err(reason @ (PlaneError::Refused(_) | PlaneError::Invalid(_))) => {
                return Err(Failure::failed(format!("the control plane refuses this gateway: {reason}")));
            }
            Err(reason) => {
                tracing::warn!(%reason, "the control plane does not answer, and there is no configuration yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
        if is_local {
            return Ok(None);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Does what a gateway is told, and knows what came of it.
pub(super) struct Obedience {
    gateway: GatewayHandle,
    /// Where its configuration comes from; `None` where its own files decide.
    kept: Option<Arc<Kept>>,
    file: OrdersFile,
    /// The version of what it was told last.
    version: String,
    refused: Option<RefusedConfiguration>,
}

impl Obedience {
    /// For a gateway that was started with what it was `told`.
    pub(super) fn new(
        gateway: GatewayHandle,
        kept: Option<Arc<Kept>>,
        file: OrdersFile,
        told: Option<Orders>,
    ) -> Self {
        let mut obedience = Self { gateway, kept, file, version: String::new(), refused: None };
        if let Some(told) = told {
            obedience.gateway.stand_aside(told.drain);
            obedience.remember(&told);
            obedience.version = told.version;
        }
        obedience
    }

    /// The version of what it was told last; empty before.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The report, with what came of the orders.
    pub(super) fn complete(&self, report: GatewayReport) -> GatewayReport {
        let is_kept = self.kept.is_some();
        GatewayReport {
            config_source: if is_kept { ConfigurationSource::Kept } else { ConfigurationSource::File },
            refused: self.refused.clone(),
            is_draining: self.gateway.stands_aside(),
            ..report
        }
    }

    /// Does what it is told. A configuration that does not work is reported, and the one in force stays.
    pub(super) fn take_up(&mut self, told: &Orders) {
        if told.drain != self.gateway.stands_aside() {
            tracing::info!(drain = told.drain, "the control plane says whether to take new requests");
        }
        self.gateway.stand_aside(told.drain);
        self.version.clone_from(&told.version);
        self.refused = match (&self.kept, &told.configuration) {
            (Some(kept), Some(configuration)) => self.run(kept, configuration).err(),
            _ => None,
        };
        if self.refused.is_none() {
            self.remember(told);
        }
    }

    fn run(&self, kept: &Kept, configuration: &KeptConfiguration) -> Result<(), RefusedConfiguration> {
        let before = kept.replace(Some(configuration.clone()));
        match self.gateway.reload() {
            Ok(_) => Ok(()),
            Err(reason) => {
                kept.replace(before);
                Err(RefusedConfiguration { version: configuration.id.clone(), reason })
            }
        }
    }

    fn remember(&self, told: &Orders) {
        if let Err(error) = self.file.store(told) {
            tracing::error!(%error, "what this gateway was told cannot be remembered for a restart");
        }
    }

    /// A gateway that is refused keeps no provider's key on its disk.
    pub(super) fn forget(&mut self) {
        self.version.clear();
        if let Err(error) = self.file.forget() {
            tracing::error!(%error, "what this gateway was told cannot be removed from its disk");
        }
    }
}

fn refused(configuration: Option<&KeptConfiguration>, reason: String) -> Option<RefusedConfiguration> {
    configuration.map(|told| RefusedConfiguration { version: told.id.clone(), reason })
}
