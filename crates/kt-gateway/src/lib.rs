//! The data plane: proxies AI traffic under policy.

pub mod events;
