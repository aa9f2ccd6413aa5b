//! Words and rules that every part of Keeptrusts shares.
//!
//! Nothing here reads or writes: no sockets, files, environment or SQL. The wall clock is read in [`clock`] alone and
//! randomness is drawn in [`random`] alone, so that every rule can be tested with both held still.

pub mod clock;
pub mod email;
pub mod events;
pub mod id;
pub mod network;
pub mod passwords;
pub mod policy_config;
pub mod public_url;
pub mod random;
