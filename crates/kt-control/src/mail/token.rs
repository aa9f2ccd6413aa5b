//! The secret of a one-time link.

use secrecy::{ExposeSecret, SecretString};

/// A token as it stands in a link. It is not shown, compared, or written with its message: see
/// [`Message::to_seal`](super::Message::to_seal).
#[derive(Clone, Default)]
pub struct LinkToken(SecretString);

impl LinkToken {
    /// Keeps `token`, in the form in which the link carries it.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(token.into())
    }

    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}
