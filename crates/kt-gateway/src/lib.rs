//! The data plane: proxies AI traffic under policy.
//!
//! A request goes through the stages of [`stages`] in the order written in `exchange.rs`, then to a provider, and leaves
//! a record whatever comes of it. This crate knows nothing of the control plane: keys, events and configuration reach it
//! through the ports [`EventSink`] and [`ConfigSource`].

mod access_keys;
mod admin;
mod apart;
mod breaker;
mod contain;
mod events;
mod exchange;
mod explain;
mod forward;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod handover;
mod health;
mod http1;
mod http2;
mod incoming;
mod limits;
mod listener;
mod metered;
mod metrics;
mod models;
mod moderated;
mod outgoing;
mod policies;
mod providers;
mod proxy_protocol;
mod record;
mod refusals;
mod reply;
mod scopes;
mod shared;
mod shown;
mod snapshot;
mod stages;
mod surface;
mod telemetry;
mod tls;
mod trial;
mod upstream;
mod usage;

pub use access_keys::AccessKeys;
pub use events::{EventSink, Keeping, QueryError, Unrecordable};
pub use explain::{Question, Step, explain};
pub use gateway::{ConfigInForce, ConfigSource, Gateway, GatewayHandle, LoadedConfig, Options, StartError};
pub use handover::Inherited;
pub use snapshot::CompileError;
pub use tls::TlsFiles;
pub use trial::{Caller, Observed, Trial};
