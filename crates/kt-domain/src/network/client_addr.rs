//! Which address a request comes from: the other end of the connection, or what trusted proxies say in a header.
//!
//! Entries are read from the right, where the nearest proxy writes. What stands left of the deciding entry may come
//! from a stranger and is not looked at. What cannot be told is an error, never a guess.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::cidr::{CidrSet, canonical};
use super::{forwarded, node};

/// The rule that finds a request's source address.
#[derive(Clone, Debug)]
pub struct ClientAddress {
    header: Option<ForwardingHeader>,
    trusted_proxies: CidrSet,
    trusted_hops: NonZeroU32,
}

impl ClientAddress {
    /// Reads the address from `header`, or takes the peer's when there is none.
    ///
    /// With `trusted_proxies`, the client is the right-most entry that is not one of them (the left-most when all
    /// are), and a peer that is not one of them is itself the client. Without, the client is the entry that stands
    /// `trusted_hops` from the right. A header that is not a list holds the client's address alone.
    #[must_use]
    pub fn new(header: Option<ForwardingHeader>, trusted_proxies: CidrSet, trusted_hops: NonZeroU32) -> Self {
        Self { header, trusted_proxies, trusted_hops }
    }

    /// The name, in lower case, of the header whose lines [`resolve`](Self::resolve) wants; none when it wants none.
    #[must_use]
    pub fn header_name(&self) -> Option<&str> {
        self.header.as_ref().map(|header| header.name.as_str())
    }

    /// Whether `peer` stands in `trusted_proxies`.
    #[must_use]
    pub fn trusts_proxy(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.contains(peer)
    }

    /// The address of the client that sent a request over a connection with `peer`, in [`canonical`] form.
    ///
    /// `lines` are the values of all header lines named [`header_name`](Self::header_name), in the order in which
    /// they came.
    pub fn resolve<'a>(
        &self,
        peer: IpAddr,
        lines: impl Iterator<Item = &'a [u8]>,
    ) -> Result<IpAddr, UnresolvedSource> {
        let Some(header) = self.header.as_ref().filter(|_| !self.speaks_for_itself(peer)) else {
            return Ok(canonical(peer));
        };
        let mut buffer = [[].as_slice(); MAX_LINES];
        let lines = gather(lines, &mut buffer)?;
        let from_right = lines.iter().rev();
        let client = match header.syntax {
            Syntax::List => self.client_among(
                from_right
                    .flat_map(|line| line.rsplit(|byte| *byte == b','))
                    .map(|entry| node::written_freely(forwarded::trim(entry))),
            ),
            Syntax::Forwarded => self.client_among(
                from_right.flat_map(|line| forwarded::elements_from_right(line)).map(forwarded::client),
            ),
            Syntax::Single => only_value(lines),
        };
        client.map(canonical)
    }

    /// Whether `peer` is itself the client, whatever the headers say.
    #[must_use]
    pub fn speaks_for_itself(&self, peer: IpAddr) -> bool {
        let may_forward = self.trusted_proxies.is_empty() || self.trusts_proxy(peer);
        self.header.is_none() || !may_forward
    }

    /// The client among the `entries`, which come from the right; an entry that is none stands for a malformed one.
    fn client_among(
        &self,
        entries: impl Iterator<Item = Option<IpAddr>>,
    ) -> Result<IpAddr, UnresolvedSource> {
        let mut entries = entries.enumerate().map(|(place, entry)| match entry {
            _ if place == MAX_ENTRIES => Err(UnresolvedSource::TooLong),
            entry => entry.ok_or(UnresolvedSource::Malformed),
        });
        let mut next = || entries.next().transpose();
        let mut client = next()?.ok_or(UnresolvedSource::Missing)?;
        if self.trusted_proxies.is_empty() {
            for _ in 1..self.trusted_hops.get() {
                client = next()?.ok_or(UnresolvedSource::TooFewEntries)?;
            }
        } else {
            while self.trusts_proxy(client) {
                let Some(further) = next()? else { break };
                client = further;
            }
        }
        Ok(client)
    }
}

/// The most lines of the header that are looked at: a proxy may add its entry as a line of its own.
const MAX_LINES: usize = 64;
/// The most bytes of the header that are looked at, over all lines.
const MAX_BYTES: usize = 16 * 1024;
/// The most entries that are looked at.
const MAX_ENTRIES: usize = 256;

/// A header in which proxies name the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardingHeader {
    name: String,
    syntax: Syntax,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    /// Addresses with commas between them: `X-Forwarded-For`.
    List,
    /// RFC 7239.
    Forwarded,
    /// One address: `X-Real-IP`, `CF-Connecting-IP`, `True-Client-IP` and any other header.
    Single,
}

impl ForwardingHeader {
    /// `X-Forwarded-For`, a list that every proxy adds its peer to.
    #[must_use]
    pub fn x_forwarded_for() -> Self {
        Self { name: "x-forwarded-for".into(), syntax: Syntax::List }
    }
}

impl FromStr for ForwardingHeader {
    type Err = HeaderNameError;

    fn from_str(name: &str) -> Result<Self, HeaderNameError> {
        if name.is_empty() || !name.bytes().all(forwarded::is_token_char) {
            return Err(HeaderNameError::NotAToken { name: name.into() });
        }
        if name.contains('_') {
            return Err(HeaderNameError::Underscore {
                name: name.into(),
                suggestion: name.replace('_', "-"),
            });
        }
        let name = name.to_ascii_lowercase();
        let syntax = match name.as_str() {
            "x-forwarded-for" => Syntax::List,
            "forwarded" => Syntax::Forwarded,
            _ => Syntax::Single,
        };
        Ok(Self { name, syntax })
    }
}

/// Why a text is no [`ForwardingHeader`], and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderNameError {
    /// It is no name of a header at all (RFC 9110 section 5.1).
    #[error("`{name}` is no header name: write the name alone, such as `X-Forwarded-For`")]
    NotAToken {
        /// What was written.
        name: String,
    },
    /// Headers of such names never get here: they can be taken for those with `-` and are dropped.
    #[error(
        "`{name}` holds `_`, and headers of such names are dropped from every request: let the proxy send `{suggestion}` and write that name"
    )]
    Underscore {
        /// What was written.
        name: String,
        /// The name with `-`.
        suggestion: String,
    },
}

/// Why the source address of a request cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnresolvedSource {
    /// The header is not there.
    #[error("the forwarding header is missing")]
    Missing,
    /// The deciding entry, or one to the right of it, is not an address.
    #[error("the forwarding header holds no address where the client's must stand")]
    Malformed,
    /// There are fewer entries than `trusted_hops`.
    #[error("the forwarding header has fewer entries than there are trusted hops")]
    TooFewEntries,
    /// A header for one address came twice.
    #[error("the forwarding header came more than once")]
    SecondLine,
    /// The header is longer than any chain of proxies makes it.
    #[error("the forwarding header is too long")]
    TooLong,
}

/// Keeps the lines, so that they can be read from the right.
fn gather<'a, 'b>(
    lines: impl Iterator<Item = &'a [u8]>,
    buffer: &'b mut [&'a [u8]; MAX_LINES],
) -> Result<&'b [&'a [u8]], UnresolvedSource> {
    let mut count = 0;
    let mut bytes = 0;
    for line in lines {
        bytes += line.len();
        let place = buffer.get_mut(count).filter(|_| bytes <= MAX_BYTES);
        *place.ok_or(UnresolvedSource::TooLong)? = line;
        count += 1;
    }
    Ok(&buffer[..count])
}

fn only_value(lines: &[&[u8]]) -> Result<IpAddr, UnresolvedSource> {
    match lines {
        [] => Err(UnresolvedSource::Missing),
        [line] => node::written_freely(forwarded::trim(line)).ok_or(UnresolvedSource::Malformed),
        _ => Err(UnresolvedSource::SecondLine),
    }
}
