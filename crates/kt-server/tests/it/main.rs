//! What the API answers, on both databases.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect, wherever that happens")]

mod at_rest;
mod audit;
mod authorization;
mod bodies;
mod canary;
mod configurations;
mod console;
#[expect(dead_code, reason = "shared with the tests of the store, which need more of it")]
#[path = "../../../kt-store/tests/it/databases.rs"]
mod databases;
mod device;
mod documented;
mod ending_passwords;
mod events;
mod faults;
mod gateways;
mod harness;
mod hostile;
mod hosts;
mod idempotency;
mod invitations;
mod ip_restrictions;
mod mail;
mod members;
mod mfa;
mod operator;
mod organization;
mod posture;
mod profile;
mod recovery;
mod redis;
mod reference;
mod refusals;
mod registration;
mod roles;
mod scim;
mod sealing;
mod security;
mod sessions;
mod set_up;
mod shared_counts;
mod sinks;
mod sso;
mod stub_gateway;
mod timing;
mod tokens;
mod two_processes;
mod usage;
mod walk;
