//! Turning a request into a provider's, by the vendor's family.

pub(crate) mod echo;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod select;
