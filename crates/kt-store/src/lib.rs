//! Saves and loads what Keeptrusts keeps.

pub mod event_log;
