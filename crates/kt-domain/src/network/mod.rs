//! Addresses: which one a client has, and whether the rules let it in.

pub mod cidr;
pub mod client_addr;
pub mod console_rules;
pub mod forwarded;
pub mod gateway_rules;
mod node;
pub mod reach;
