//! What an actor can do in the control plane, step by step, in one transaction, audited.

pub mod mail;
pub mod passwords;
