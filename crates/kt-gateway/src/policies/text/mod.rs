//! Finding things in text, whole or as it comes.

pub(crate) mod blocks;
pub(crate) mod channel;
mod characters;
pub(crate) mod fold;
pub(crate) mod leads;
pub(crate) mod look_alikes;
mod origins;
pub(crate) mod patterns;
