//! Reading the texts in bodies and event streams, and writing them back.

pub(crate) mod body;
mod dialect;
mod events;
pub(crate) mod outline;
pub(crate) mod said;
pub(crate) mod stream;
