//! The domains of mail addresses that an organization has shown to be its own.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::email::EmailAddress;
use crate::error::Error;
use crate::words;

/// The label under which the TXT record stands that proves a domain. A name of its own, as RFC 8552 wants it: whoever can
/// write there can write into the domain's zone, and it is in nobody's way.
pub const DOMAIN_RECORD: &str = "_keeptrusts-challenge";

/// A domain that one organization can own: a whole name as A-labels in lower case, and not one of those where anybody gets
/// an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OwnDomain(String);

/// By what a domain was shown to be an organization's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainProof {
    /// By the TXT record, which is looked for again every day.
    Dns,
    /// By the word of the operator, who answers for it.
    Operator,
}

words!(DomainProof { Dns = "dns", Operator = "operator" });

/// How long the record of a verified domain may be gone before the domain counts as nobody's again. Long enough for whoever
/// has tidied up the zone to be told and to put it back; not as long as a domain stays with somebody who has let it go.
pub const DOMAIN_GRACE: Duration = Duration::from_hours(14 * 24);

/// How a verified domain stands once its record was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainStanding {
    /// The record is there.
    Proven,
    /// It is gone since then, and may come back.
    Missing(Timestamp),
    /// It was gone for too long.
    Lapsed,
}

impl DomainStanding {
    /// How it stands at `now`, where the record is there or was found gone since `missing_since`.
    #[must_use]
    pub fn of(is_there: bool, missing_since: Option<Timestamp>, now: Timestamp) -> Self {
        match missing_since {
            _ if is_there => Self::Proven,
            Some(since) if since + DOMAIN_GRACE <= now => Self::Lapsed,
            since => Self::Missing(since.unwrap_or(now)),
        }
    }
}

/// Where everybody can get an address of their own: no organization owns these.
const PUBLIC_MAIL: [&str; 46] = [
    "126.com",
    "163.com",
    "aol.com",
    "bluewin.ch",
    "comcast.net",
    "duck.com",
    "fastmail.com",
    "free.fr",
    "freenet.de",
    "gmail.com",
    "gmx.at",
    "gmx.ch",
    "gmx.com",
    "gmx.de",
    "gmx.net",
    "googlemail.com",
    "hey.com",
    "hotmail.co.uk",
    "hotmail.com",
    "hotmail.de",
    "hotmail.fr",
    "hushmail.com",
    "icloud.com",
    "laposte.net",
    "libero.it",
    "live.com",
    "mac.com",
    "mail.com",
    "mail.ru",
    "mailbox.org",
    "me.com",
    "msn.com",
    "orange.fr",
    "outlook.com",
    "outlook.de",
    "pm.me",
    "posteo.de",
    "proton.me",
    "protonmail.com",
    "qq.com",
    "t-online.de",
    "web.de",
    "yahoo.co.uk",
    "yahoo.com",
    "yandex.ru",
    "zoho.com",
];

impl OwnDomain {
    /// Reads what somebody typed.
    pub fn parse(typed: &str) -> Result<Self, Error> {
        let Ok(address) = EmailAddress::parse(&format!("a@{}", typed.trim())) else {
            let message = "Write the part of an address after `@`, such as `example.com`.";
            return Err(Error::invalid("domain", message));
        };
        let domain = address.domain();
        if PUBLIC_MAIL.contains(&domain) {
            let message = "Anybody can have an address there, so it cannot belong to one organization.";
            return Err(Error::invalid("domain", message));
        }
        Ok(Self(domain.to_owned()))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the TXT record stands that proves it.
    #[must_use]
    pub fn record_name(&self) -> String {
        format!("{DOMAIN_RECORD}.{}", self.0)
    }

    /// What the record says.
    #[must_use]
    pub fn record_value(token: &str) -> String {
        format!("keeptrusts-domain={token}")
    }
}

impl fmt::Display for OwnDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for OwnDomain {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl TryFrom<String> for OwnDomain {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<OwnDomain> for String {
    fn from(domain: OwnDomain) -> Self {
        domain.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_gone_is_waited_for_for_two_weeks() {
        let start = Timestamp::UNIX_EPOCH;
        let days = |days: u64| start + Duration::from_hours(days * 24);
        for (is_there, missing_since, now, expected) in [
            (true, None, start, DomainStanding::Proven),
            (true, Some(start), days(100), DomainStanding::Proven),
            (false, None, days(3), DomainStanding::Missing(days(3))),
            (false, Some(start), days(13), DomainStanding::Missing(start)),
            (false, Some(start), days(14), DomainStanding::Lapsed),
        ] {
            assert_eq!(DomainStanding::of(is_there, missing_since, now), expected, "{now}");
        }
    }

    #[test]
    fn a_domain_is_one_whole_name_and_nobodys_public_mail() {
        for (typed, expected) in [
            ("example.com", Some("example.com")),
            (" Example.COM ", Some("example.com")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("mail.example.com", Some("mail.example.com")),
            ("gmail.com", None),
            ("ＧＭＡＩＬ.com", None),
            ("", None),
            ("com", None),
            ("*.example.com", None),
            ("a@example.com", None),
            ("192.0.2.1", None),
            ("example.com/x", None),
        ] {
            let read = OwnDomain::parse(typed).ok();
            assert_eq!(read.as_ref().map(OwnDomain::as_str), expected, "{typed}");
        }
        assert!(PUBLIC_MAIL.is_sorted());
    }
}
