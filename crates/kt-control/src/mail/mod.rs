//! The mail that the system sends: what it says, what it looks like, and how it leaves.
//!
//! A [`Message`] holds typed facts and can wait in a queue. A [`Renderer`] makes its words, for one address. A [`Letter`]
//! is that with sender, recipient and date; a [`Mailer`] hands it over.

mod captured;
mod content;
mod copy;
mod label;
mod letter;
mod mailer;
mod message;
mod outbox;
mod render;
mod samples;
mod smtp;
mod token;

pub use captured::Captured;
pub use label::Label;
pub use letter::{Letter, Sender, SenderError};
pub use mailer::{MailError, Mailer, Sending};
pub use message::{Circumstances, Codes, Factor, Message, PasswordChange, UnsealError};
pub use outbox::Outbox;
pub use render::{Rendered, Renderer};
pub use smtp::{Smtp, SmtpCredentials, SmtpSettings, SmtpSetupError, SmtpTls};
pub use token::LinkToken;
