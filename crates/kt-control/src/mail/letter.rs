//! A mail ready to leave: from one sender to one address.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use jiff::Timestamp;
use kt_domain::email::{EmailAddress, EmailError};
use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use thiserror::Error;
use uuid::Uuid;

use super::{Label, MailError, Rendered};

/// A mail with everything that a mail server needs to know.
#[derive(Clone)]
pub struct Letter {
    /// Makes the `Message-ID`: the same for every attempt, so that a mailbox that got two shows one.
    pub id: Uuid,
    /// Who sends it.
    pub from: Sender,
    /// Who gets it, and nobody else.
    pub to: EmailAddress,
    /// When it was written.
    pub date: Timestamp,
    /// What it says.
    pub content: Rendered,
}

/// `mail.from`: an address, and the name to show for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The name to show.
    pub name: Option<Label>,
    /// The address.
    pub address: EmailAddress,
}

/// A text is no sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write the sender as `no-reply@example.org` or `Keeptrusts <no-reply@example.org>`: {0}")]
pub struct SenderError(#[from] EmailError);

impl Letter {
    /// The mail as it travels (RFC 5322), with its text in both forms.
    pub(super) fn to_mime(&self) -> Result<lettre::Message, MailError> {
        let id = format!("<{}@{}>", self.id.simple(), self.from.address.domain());
        let name = self.from.name.as_ref().map(Label::to_string);
        let Rendered { subject, text, html } = &self.content;
        lettre::Message::builder()
            .from(Mailbox::new(name, address(&self.from.address)?))
            .to(Mailbox::new(None, address(&self.to)?))
            .subject(subject)
            .date(SystemTime::from(self.date))
            .message_id(Some(id))
            .raw_header(no_automatic_replies())
            .multipart(MultiPart::alternative_plain_html(text.clone(), html.clone()))
            .map_err(|error| MailError::Permanent(format!("it cannot be written as a mail ({error})")))
    }
}

/// RFC 3834 section 5: absence notes are not sent in reply to this.
fn no_automatic_replies() -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned())
}

fn address(address: &EmailAddress) -> Result<Address, MailError> {
    Address::new(address.local(), address.domain())
        .map_err(|error| MailError::Permanent(format!("no mail can be sent to {address} ({error})")))
}

impl FromStr for Sender {
    type Err = SenderError;

    fn from_str(text: &str) -> Result<Self, SenderError> {
        let text = text.trim();
        match text.strip_suffix('>').and_then(|text| text.split_once('<')) {
            Some((name, address)) => {
                let name = name.trim().trim_matches('"');
                let name = (!name.is_empty()).then(|| Label::new(name));
                Ok(Self { name, address: EmailAddress::parse(address)? })
            }
            None => Ok(Self { name: None, address: EmailAddress::parse(text)? }),
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} <{}>", self.address),
            None => self.address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
