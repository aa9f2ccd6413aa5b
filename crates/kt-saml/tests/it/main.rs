//! What is believed of an identity provider, and what is not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod forgeries;
mod genuine;
mod logout;
mod metadata;
mod mutations;
mod provider;
mod pysaml2;
mod requests;
mod seeds;
mod xmlsec;
