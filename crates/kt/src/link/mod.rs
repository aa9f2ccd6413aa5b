//! A gateway's link to its control plane: which keys it may let in, what it is told to run, and where its events go.
//!
//! All go on while the control plane is away: keys are judged by what was last heard and the last good configuration is
//! run, also after a restart, and events wait in the log on this machine's disk.

mod delivery;
mod keys;
mod orders;
mod plane;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kt_domain::configurations::{KeptConfiguration, Orders};
use kt_gateway::{AccessKeys, GatewayHandle};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::config::Kept;
use crate::event_store::EventStore;
use crate::failure::Failure;
use crate::kept_up::kept_up;
use crate::serve::Reporter;
use delivery::Delivery;
use keys::{Following, KeyFile};
use orders::{Obedience, OrdersFile};
pub(crate) use plane::{Plane, RemotePlane};

/// How long a gateway that ends waits until its last events have arrived. What has not is delivered in its next life.
const LAST_DELIVERY: Duration = Duration::from_secs(5);

/// A gateway's link, before the gateway serves.
pub(crate) struct Link {
    plane: Plane,
    keys: Arc<AccessKeys>,
    key_file: KeyFile,
    orders_file: OrdersFile,
    /// What it was told in an earlier life, or just now.
    told: Option<Orders>,
}

/// A link that is kept up.
pub(crate) struct Linked {
    keys: JoinHandle<bool>,
    delivery: JoinHandle<bool>,
    ending: watch::Sender<bool>,
}

impl Link {
    /// A link of the gateway that keeps its things in `data_dir`. The keys that it heard of in an earlier life may be
    /// used at once.
    pub(crate) fn new(plane: Plane, data_dir: &Path) -> Result<Self, Failure> {
        let key_file = KeyFile::new(data_dir);
        let keys = Arc::<AccessKeys>::default();
        if let Some(snapshot) = key_file.load()? {
            keys.replace(snapshot);
        }
        let orders_file = OrdersFile::open(data_dir)?;
        let told = orders_file.load();
        Ok(Self { plane, keys, key_file, orders_file, told })
    }

    /// What the gateway called `gateway_id` is to run: what it ran in an earlier life, or what it is told now, for which it
    /// waits. It will be at `address`, where that is known before it listens. `None` for one beside a control plane that tells it nothing yet.
    pub(crate) async fn first_configuration(
        &mut self,
        gateway_id: &str,
        address: Option<String>,
    ) -> Result<Option<KeptConfiguration>, Failure> {
        if self.told.as_ref().is_none_or(|told| told.configuration.is_none()) {
            self.told = orders::first(&self.plane, gateway_id, address).await?;
        }
        Ok(self.told.as_ref().and_then(|told| told.configuration.clone()))
    }

    /// The keys that the gateway is to judge by.
    pub(crate) fn keys(&self) -> Arc<AccessKeys> {
        Arc::clone(&self.keys)
    }

    /// Keeps the link up, for a gateway that `reporter` reports and whose log is `events`. It runs what it is told where
    /// its configuration comes from `kept`.
    pub(crate) fn keep_up(
        self,
        reporter: Reporter,
        gateway: GatewayHandle,
        kept: Option<Arc<Kept>>,
        events: Arc<EventStore>,
    ) -> Result<Linked, Failure> {
        let Self { plane, keys, key_file, orders_file, told } = self;
        let (ending, ended) = watch::channel(false);
        let mut delivery = Some(Delivery::open(Arc::clone(&events), plane.clone())?);
        let orders = Mutex::new(Obedience::new(gateway, kept, orders_file, told));
        let following = Arc::new(Following { plane: plane.clone(), reporter, keys, file: key_file, orders });
        let follow = move |_| keys::follow(Arc::clone(&following));
        let deliver = move |ended| {
            let (first, events, plane) = (delivery.take(), Arc::clone(&events), plane.clone());
            async move {
                let delivery = match first {
                    Some(delivery) => delivery,
                    None => Delivery::reopen(events, plane).await,
                };
                delivery.run(ended).await;
            }
        };
        Ok(Linked {
            keys: tokio::spawn(kept_up("access keys and orders", ended.clone(), follow)),
            delivery: tokio::spawn(kept_up("delivery of events", ended, deliver)),
            ending,
        })
    }
}

impl Linked {
    /// Ends the link, once the last events have arrived or the time for that is over.
    pub(crate) async fn end(self) {
        self.keys.abort();
        // Nobody listens only when the delivery has ended already.
        let _ = self.ending.send(true);
        if !matches!(tokio::time::timeout(LAST_DELIVERY, self.delivery).await, Ok(Ok(true))) {
            tracing::warn!("some events have not arrived; they are delivered when this gateway starts again");
        }
    }
}
