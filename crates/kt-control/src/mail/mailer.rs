//! The way out, as a port.

use std::pin::Pin;

use thiserror::Error;

use super::Letter;

/// The outcome of handing a letter over, when it is known.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), MailError>> + Send + 'a>>;

/// Hands letters over to what delivers them.
pub trait Mailer: Send + Sync + 'static {
    /// Hands `letter` over. When this is `Ok`, the receiver has taken it and a restart does not lose it.
    fn send<'a>(&'a self, letter: &'a Letter) -> Sending<'a>;
}

/// A letter was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MailError {
    /// It may be taken later.
    #[error("the mail was not taken yet: {0}")]
    Temporary(String),
    /// It will never be taken as it is: trying again only annoys.
    #[error("the mail was refused: {0}")]
    Permanent(String),
}

impl MailError {
    /// Whether there is no point in another attempt.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Permanent(_))
    }
}
