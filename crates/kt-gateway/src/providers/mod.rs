//! Turning a request into a provider's, by the vendor's family.

pub(crate) mod echo;
pub(crate) mod health;
pub(crate) mod request;
pub(crate) mod response;
mod rests;
pub(crate) mod retry;
pub(crate) mod select;
pub(crate) mod target;
pub(crate) mod translate;
