//! The HTTP doors of the control plane: the JSON API, and the console.
//!
//! A handler does three things: it reads the request, makes one call to `kt_control`, and presents what came of it. It
//! decides nothing and asks no database.

mod allowance;
mod api;
mod client;
mod console;
mod download;
mod failure;
mod hosts;
mod idempotency;
mod layers;
mod listener;
mod refusals;
mod routes;

use std::ops::Deref;
use std::sync::Arc;

use kt_control::Control;
use kt_domain::network::client_addr::ClientAddress;
use kt_domain::public_url::PublicUrl;
use url::Url;

pub use client::client_address;
pub use console::console;
pub use hosts::Hosts;
pub use listener::{DRAIN, Listener, serve};
pub use routes::{api, openapi};

/// What the doors need of the process. Whatever a request passes holds it, so a clone costs one count.
#[derive(Clone)]
pub struct Doors(Arc<Needs>);

/// What [`Doors`] are made of.
pub struct Needs {
    /// The use cases.
    pub control: Arc<Control>,
    /// How the address of a client is told.
    pub addresses: Arc<ClientAddress>,
    /// Where people find the console.
    pub console: PublicUrl,
    /// The port on which it listens.
    pub console_port: u16,
    /// Whom somebody tells who has found a weakness.
    pub security_contact: Option<Url>,
}

impl From<Needs> for Doors {
    fn from(needs: Needs) -> Self {
        Self(Arc::new(needs))
    }
}

impl Deref for Doors {
    type Target = Needs;

    fn deref(&self) -> &Needs {
        &self.0
    }
}
