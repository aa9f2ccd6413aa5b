//! E-mail addresses: one spelling to send to, one form to compare by.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;

/// RFC 5321 section 4.5.3.1.3: a path has at most 256 octets, its angle brackets included.
const MAX_LENGTH: usize = 254;

/// RFC 5321 section 4.5.3.1.1.
const MAX_LOCAL_LENGTH: usize = 64;

/// What is longer is not even normalised.
const MAX_TYPED_LENGTH: usize = 1024;

/// The address of one mailbox.
///
/// It was normalised once (NFKC) and validated afterwards, so what was checked is what mail is sent to: exactly one `@`,
/// an ASCII local part without quotes or comments, and a domain of A-labels (RFC 5890) in lower case.
///
/// Two addresses are equal when [`folded`](Self::folded) is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EmailAddress {
    text: String,
    at: usize,
}

/// Why a text is no address of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EmailError {
    /// More octets than mail servers take.
    #[error("an e-mail address has at most 254 characters, 64 of them before the `@`")]
    TooLong,
    /// No `@`, or several, perhaps in the clothes of another character.
    #[error("write one e-mail address with one `@`, such as `ada@example.org`")]
    NotOneAt,
    /// What stands before the `@`.
    #[error(
        "before the `@` write letters from a to z, digits and . _ + - alone, with no dot at either end and no two together"
    )]
    Local,
    /// What stands behind the `@`.
    #[error("behind the `@` write the full name of a mail domain, such as `example.org`")]
    Domain,
}

impl EmailAddress {
    /// Reads what somebody typed; spaces around it do not count.
    pub fn parse(typed: &str) -> Result<Self, EmailError> {
        if typed.len() > MAX_TYPED_LENGTH {
            return Err(EmailError::TooLong);
        }
        let normalised: String = typed.nfkc().collect();
        let (local, domain) = normalised.trim().split_once('@').ok_or(EmailError::NotOneAt)?;
        if domain.contains('@') {
            return Err(EmailError::NotOneAt);
        }
        if !is_dot_atom(local) {
            return Err(EmailError::Local);
        }
        let text = format!("{local}@{}", ascii_domain(domain)?);
        if text.len() > MAX_LENGTH || local.len() > MAX_LOCAL_LENGTH {
            return Err(EmailError::TooLong);
        }
        Ok(Self { at: local.len(), text })
    }

    /// The address to show and to send to: the local part in the capitals it was typed in, the domain as A-labels.
    #[must_use]
    pub fn as_typed(&self) -> &str {
        &self.text
    }

    /// The form in which an address is unique: all of it in lower case. RFC 5321 section 2.4 lets a domain tell capitals
    /// apart in local parts; none does that matters, and two accounts that differ in them only would be mistaken for
    /// each other.
    #[must_use]
    pub fn folded(&self) -> String {
        self.text.to_ascii_lowercase()
    }

    /// What stands before the `@`, as typed.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.text[..self.at]
    }

    /// The domain as lower-case A-labels: `xn--bcher-kva.example`. Compare it whole.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }
}

/// RFC 5322 section 3.2.3, in ASCII. Quoted local parts (`"a b"@…`) are refused: parsers disagree about them.
fn is_dot_atom(local: &str) -> bool {
    local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_character))
}

fn is_atom_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

/// The domain after UTS #46, with at least two labels and no address in place of a name. An A-label that decodes to
/// plain ASCII is refused there, as it would be a second spelling of one domain (RUSTSEC-2024-0421).
fn ascii_domain(domain: &str) -> Result<String, EmailError> {
    let ascii = idna::domain_to_ascii_strict(domain).map_err(|_| EmailError::Domain)?;
    let (_, last_label) = ascii.rsplit_once('.').ok_or(EmailError::Domain)?;
    if last_label.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EmailError::Domain);
    }
    Ok(ascii)
}

impl PartialEq for EmailAddress {
    fn eq(&self, other: &Self) -> bool {
        self.text.eq_ignore_ascii_case(&other.text)
    }
}

impl Eq for EmailAddress {}

impl Hash for EmailAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for EmailAddress {
    type Err = EmailError;

    fn from_str(typed: &str) -> Result<Self, EmailError> {
        Self::parse(typed)
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = EmailError;

    fn try_from(typed: String) -> Result<Self, EmailError> {
        Self::parse(&typed)
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.text
    }
}

#[cfg(test)]
mod tests;
