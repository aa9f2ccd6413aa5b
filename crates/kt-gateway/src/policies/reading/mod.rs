//! Reading the texts in bodies and event streams, and writing them back.

pub(crate) mod body;
mod dialect;
mod events;
mod joined;
mod known;
pub(crate) mod outline;
mod parts;
pub(crate) mod said;
pub(crate) mod stream;
