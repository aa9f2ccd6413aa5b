//! Words and rules that every part of Keeptrusts shares.
//!
//! Nothing here reads or writes: no sockets, files, environment or SQL. The wall clock is read in [`clock`] alone and
//! randomness is drawn in [`random`] alone, so that every rule can be tested with both held still.

pub mod actor;
pub mod allowance;
pub mod audit;
pub mod clock;
pub mod configurations;
pub mod csrf;
pub mod ctx;
pub mod deployment_config;
pub mod deployment_settings;
pub mod device;
pub mod email;
pub mod error;
pub mod events;
pub mod gateways;
pub mod id;
pub mod keys;
pub mod landing;
pub mod lockout;
pub mod mail;
pub mod media_type;
pub mod members;
pub mod mfa;
pub mod money;
pub mod network;
pub mod order;
pub mod passwords;
pub mod patterns;
pub mod policy_cases;
pub mod policy_config;
pub mod public_url;
pub mod random;
pub mod recovery_code;
pub mod registration;
pub mod return_to;
pub mod scim;
pub mod search;
pub mod secret;
pub mod security_choices;
pub mod security_settings;
pub mod sessions;
pub mod sign_in;
pub mod span;
pub mod sso;
pub mod traffic;
pub mod unusual;
pub mod usage;
pub mod workspace;
