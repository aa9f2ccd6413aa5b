//! The console as a browser meets it: what its pages show and do, and what its guard refuses.

pub(crate) mod browser;
mod changes;
mod configurations;
pub(crate) mod crawl;
mod evidence;
mod guard;
mod help;
mod keys;
mod living_sessions;
mod members;
mod mfa_policy;
mod organization;
mod profile;
mod security;
mod session;
mod told_by_others;
mod usage;
mod way_in;
mod workspaces;
