//! Hashes of passwords: how they are made and checked, and how many at once.
//!
//! Source: OWASP Password Storage Cheat Sheet; ASVS 5.0 sections 2.4, 11.4 and 15.2.

mod choose;
mod cost;
mod hasher;
mod judge;
mod queue;
mod reminders;
mod temporary;

pub(crate) use choose::too_long;
pub use cost::{Cost, TooCheap};
pub use hasher::{HashError, Hasher, NotAHash, Phc};
pub use judge::{Candidate, Judgement};
pub use queue::{Asker, Capacity};
pub use temporary::TemporaryPassword;
