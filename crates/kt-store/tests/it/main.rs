//! What holds of a store on a real disk.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect, wherever that happens")]

mod backup;
mod contract;
mod databases;
mod events;
mod support;
mod upgrading;
