//! Saves and loads what Keeptrusts keeps: a gateway's [`event_log`] on its own disk, and the control plane's [`Store`]
//! in SQLite or PostgreSQL.
//!
//! In the store each noun has its module. Reading takes any [`Source`], writing takes an open [`Tx`]: what belongs
//! together is changed together, and nothing is written outside a transaction.

pub mod attention;
pub mod audit;
mod backup;
mod checkpoint_key;
pub mod configurations;
pub mod conversations;
mod database;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the integration tests, which need more of it")]
#[path = "../tests/it/databases.rs"]
mod databases;
pub mod domains;
pub mod event_log;
pub mod events;
pub mod external_identities;
pub mod gateways;
pub mod identity_providers;
pub mod invitations;
pub mod jwt_keys;
pub mod keys;
pub mod limits;
pub mod mail_queue;
pub mod memberships;
mod migrate;
pub mod once;
pub mod once_requests;
pub mod order;
pub mod organizations;
pub mod passkeys;
pub mod posture;
pub mod provider_credentials;
pub mod revision;
pub mod scim;
pub mod sealed;
pub mod second_factors;
pub mod sessions;
pub mod setup_requests;
mod sql;
pub mod tasks;
pub mod usage;
pub mod users;

pub use backup::{BackupError, growing, restore};
pub use checkpoint_key::{CheckpointKey, KeyRejected, is_signed_with};
pub use database::{Source, Store, StoreError, Tx, sqlite_path, sqlite_url};
pub use migrate::Migrated;

// What tests share is written for whoever uses this crate from outside.
#[cfg(test)]
extern crate self as kt_store;
