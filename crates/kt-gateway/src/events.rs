//! Where events go, as a port: the binary wires it to a store on this machine.

use kt_domain::events::Event;
use tokio::sync::oneshot;

/// Takes events for keeping. Never makes a request wait for a database.
pub trait EventSink: Send + Sync + 'static {
    /// Takes `event`; it is on disk within 100 ms, or as soon as the store can write again. Refused when there is no room for
    /// it any more.
    fn record(&self, event: Box<Event>) -> Result<(), Unrecordable>;

    /// Takes `event` and answers on `done` once it is on disk, or cannot be at present.
    fn record_durably(&self, event: Box<Event>, done: oneshot::Sender<Result<(), Unrecordable>>);

    /// Whether the store can write at present, and has room for what begins now beside what has begun already.
    fn is_writable(&self) -> bool;

    /// The newest events that fit, as the JSON body of `GET /v1/events` asks for them; `query` is the raw query string. Waits for
    /// the disk.
    fn query(&self, query: &str) -> Result<String, QueryError>;
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
