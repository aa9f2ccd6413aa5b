//! Where events go, as a port: the binary wires it to a store on this machine.

use std::path::PathBuf;

use kt_domain::events::Event;
use kt_domain::policy_config::PolicyConfig;
use tokio::sync::oneshot;

/// Takes events for keeping. Never makes a request wait for a database.
pub trait EventSink: Send + Sync + 'static {
    /// Takes `event`; it is on disk within 100 ms, or as soon as the store can write again. Refused when there is no room for
    /// it any more.
    fn record(&self, event: &Event) -> Result<(), Unrecordable>;

    /// Takes `event` and answers on `done` once it is on disk, or cannot be at present.
    fn record_durably(&self, event: &Event, done: oneshot::Sender<Result<(), Unrecordable>>);

    /// Whether the store can write at present, and has room for what begins now beside what has begun already.
    fn is_writable(&self) -> bool;

    /// Keeps what comes from now on as `keeping` says.
    fn keep(&self, keeping: Keeping);

    /// The newest events that fit, as the JSON body of `GET /v1/events` asks for them; `query` is the raw query string. Waits for
    /// the disk.
    fn query(&self, query: &str) -> Result<String, QueryError>;
}

/// How a configuration wants events to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// For how many days at least.
    pub days: u32,
    /// Whether nothing may shorten that.
    pub immutable: bool,
    /// The file for the newest signed checkpoint, if there is to be one.
    pub anchor_file: Option<PathBuf>,
}

impl Keeping {
    /// What `config` says.
    #[must_use]
    pub fn of(config: &PolicyConfig) -> Self {
        let settings = config.policy.audit_logger.clone().unwrap_or_default();
        Self {
            days: settings.retention_days,
            immutable: settings.immutable,
            anchor_file: config.events.anchor_file.as_ref().map(PathBuf::from),
        }
    }
}

/// The store cannot take events at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("events cannot be recorded at present")]
pub struct Unrecordable;

/// Why a query for events was not answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query names a filter or value that does not exist.
    #[error("{message}")]
    Invalid {
        /// The parameter at fault.
        param: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// The store cannot be read.
    #[error("the event store cannot be read")]
    Unreadable,
}
