//! Entries as syslog messages (RFC 5424), over TLS (RFC 5425), TCP (RFC 6587, octets counted) or UDP (RFC 5426).
//!
//! Syslog knows no acknowledgement. Over TLS and TCP a part counts as taken once the collector has closed the connection in
//! answer to our end of it: then its system has all of it. Over UDP a message counts as taken once it was sent.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use jiff::Timestamp;
use kt_domain::audit::Outcome;
use kt_store::audit::ChainEntry;
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use url::Host;

use super::NotTaken;
use crate::outbound::{Destination, Outbound, OutboundError, within};

/// The longest message that is sent in a datagram, in bytes: what collectors take without being told otherwise. Longer ones
/// are cut here, where it can be said, and not on the way; one longer than a datagram would never leave (RFC 5426 section
/// 3.2, RFC 5424 section 6.1).
const LONGEST_DATAGRAM: usize = 8192;

/// Facility 13, "log audit" (RFC 5424 section 6.2.1).
const FACILITY: u8 = 13;

/// A collector of logs.
pub struct Syslog {
    address: SyslogAddress,
    /// Who we are to it: the host of the deployment's public address.
    host_name: String,
    outbound: Outbound,
}

/// Where a collector is: `tls://HOST`, `tcp://HOST` or `udp://HOST`, with a port if it is not the usual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogAddress {
    transport: Transport,
    to: Destination,
}

/// Not the address of a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write the address of a collector such as tls://logs.example.com:6514, with tls, tcp or udp")]
pub struct SyslogAddressError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Stream,
    Datagrams,
}

impl FromStr for SyslogAddress {
    type Err = SyslogAddressError;

    fn from_str(text: &str) -> Result<Self, SyslogAddressError> {
        let (scheme, authority) = text.split_once("://").ok_or(SyslogAddressError)?;
        let (transport, tls, usual_port) = match scheme {
            "tls" => (Transport::Stream, true, 6514),
            "tcp" => (Transport::Stream, false, 601),
            "udp" => (Transport::Datagrams, false, 514),
            _ => return Err(SyslogAddressError),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| SyslogAddressError)?)
            }
            _ => (authority, usual_port),
        };
        let host = Host::parse(host).map_err(|_| SyslogAddressError)?;
        Ok(Self { transport, to: Destination { host, port, tls } })
    }
}

/// What a message says of an entry besides the entry itself.
#[derive(Deserialize)]
struct Shown {
    timestamp: Timestamp,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    outcome: Option<Outcome>,
}

impl Syslog {
    /// A collector at `address`, to which we are `host_name`.
    #[must_use]
    pub fn new(address: SyslogAddress, host_name: String, outbound: Outbound) -> Self {
        Self { address, host_name, outbound }
    }

    pub(super) async fn send(&self, chain: &str, entries: &[ChainEntry]) -> Result<(), NotTaken> {
        let messages: Result<Vec<String>, _> =
            entries.iter().map(|entry| self.message(chain, entry)).collect();
        let messages = messages.map_err(|error| NotTaken { reason: error.to_string(), wait: None })?;
        match self.address.transport {
            Transport::Stream => self.stream(&messages).await?,
            Transport::Datagrams => self.datagrams(&messages).await?,
        }
        Ok(())
    }

    /// The message of an entry. The process is the chain: what it sends is numbered without gaps.
    fn message(&self, chain: &str, entry: &ChainEntry) -> Result<String, serde_json::Error> {
        let shown: Shown = serde_json::from_str(&entry.body)?;
        // Notice for what was refused, else informational.
        let severity = if shown.outcome == Some(Outcome::Failure) { 5 } else { 6 };
        let head = format!(
            "<{}>1 {:.3} {} keeptrusts {chain} {} [origin software=\"keeptrusts\" swVersion=\"{}\"] ",
            FACILITY * 8 + severity,
            shown.timestamp,
            self.host_name,
            shown.action.as_deref().unwrap_or("audit.checkpoint"),
            env!("CARGO_PKG_VERSION"),
        );
        let line = entry.line();
        let line = String::from_utf8_lossy(line.trim_ascii_end());
        match self.address.transport {
            Transport::Datagrams if head.len() + line.len() > LONGEST_DATAGRAM => {
                let text = cut(entry, &line, LONGEST_DATAGRAM.saturating_sub(head.len()))?;
                Ok(head + &text)
            }
            _ => Ok(head + &line),
        }
    }

    async fn stream(&self, messages: &[String]) -> Result<(), OutboundError> {
        let to = &self.address.to;
        let mut framed = Vec::new();
        for message in messages {
            framed.extend_from_slice(format!("{} {message}", message.len()).as_bytes());
        }
        let mut connection = self.outbound.connect(to).await?;
        within(to, connection.write_all(&framed)).await?.map_err(|error| to.broken(error))?;
        within(to, connection.shutdown()).await?.map_err(|error| to.broken(error))?;
        let mut rest = Vec::new();
        match within(to, connection.read_to_end(&mut rest)).await? {
            // Many collectors end the connection without the farewell of TLS.
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(to.broken(error)),
            _ => Ok(()),
        }
    }

    async fn datagrams(&self, messages: &[String]) -> Result<(), OutboundError> {
        let to = &self.address.to;
        let Some(address) = self.outbound.addresses(to).await?.into_iter().next() else { return Ok(()) };
        let own = match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind((own, 0)).await.map_err(|error| to.broken(error))?;
        for message in messages {
            socket.send_to(message.as_bytes(), address).await.map_err(|error| to.broken(error))?;
        }
        Ok(())
    }
}

/// What stands in the place of an entry that is too long: which one it is, by number and hash, and how it begins.
fn cut(entry: &ChainEntry, line: &str, longest: usize) -> Result<String, serde_json::Error> {
    let told = |begins: &str| {
        let hash = entry.hash.to_string();
        json!({ "cut": true, "bytes": line.len(), "seq": entry.seq, "hash": hash, "begins": begins })
    };
    let frame = serde_json::to_string(&told(""))?.len();
    // Within a text of JSON, each of its characters takes at most twice its room.
    let end = line.floor_char_boundary(longest.saturating_sub(frame) / 2);
    serde_json::to_string(&told(&line[..end]))
}

#[cfg(test)]
mod tests {
    use kt_domain::actor::Actor;
    use kt_domain::audit::{AuditAction, AuditRecord, append, genesis};
    use kt_domain::ctx::{Client, Ctx};
    use kt_domain::events::Kind;
    use kt_domain::network::reach::Reach;
    use kt_domain::random::Random;
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_address_names_its_transport_and_perhaps_a_port() {
        for (text, port, tls) in [
            ("tls://logs.example.com", 6514, true),
            ("tls://logs.example.com:443", 443, true),
            ("tcp://192.0.2.1", 601, false),
            ("udp://[2001:db8::1]", 514, false),
            ("udp://[2001:db8::1]:1514", 1514, false),
        ] {
            let address: SyslogAddress = text.parse().unwrap();
            assert_eq!((address.to.port, address.to.tls), (port, tls), "{text}");
        }
        for text in [
            "",
            "logs",
            "https://logs",
            "tls://",
            "tls://logs:port",
            "tls://logs/path",
            "tls://me@logs",
            "tls://a b",
        ] {
            assert_eq!(text.parse::<SyslogAddress>(), Err(SyslogAddressError), "{text}");
        }
    }

    #[test]
    fn a_message_is_of_rfc_5424_and_holds_the_whole_entry() {
        let ctx = Ctx {
            actor: Actor::System("test"),
            client: Client { ip: None, user_agent: Some("a\r\n<110>1 forged".into()) },
            request_id: "r".into(),
            now: "2026-03-15T14:22:31.123456789Z".parse().unwrap(),
        };
        let record = AuditRecord::new(&ctx, &mut Random::seeded(1), AuditAction::SignIn, "usr_1").refused();
        let chained = append(genesis("org_1"), &record).unwrap();
        let entry = ChainEntry { seq: 1, kind: Kind::Audit, body: chained.body, hash: chained.head.hash };
        let outbound = Outbound::new(Reach::Public, None).unwrap();
        let syslog =
            Syslog::new("udp://logs.example.com".parse().unwrap(), "kt.example.com".into(), outbound);
        let message = syslog.message("org_1", &entry).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let head = format!(
            "<109>1 2026-03-15T14:22:31.123Z kt.example.com keeptrusts org_1 auth.sign_in \
             [origin software=\"keeptrusts\" swVersion=\"{version}\"] "
        );
        let text = message.strip_prefix(&head).unwrap_or_else(|| panic!("{message}"));
        assert_eq!(format!("{text}\n").into_bytes(), entry.line());
        assert!(!message.contains(char::is_control), "{message}");
    }

    #[test]
    fn a_message_that_no_datagram_holds_is_cut_and_says_so() {
        let ctx = Ctx {
            actor: Actor::System("test"),
            client: Client::default(),
            request_id: "r".into(),
            now: "2026-03-15T14:22:31Z".parse().unwrap(),
        };
        let entry = |text: &str| {
            let change = json!({ "name": text });
            let action = AuditAction::GroupProvisioned;
            let record = AuditRecord::new(&ctx, &mut Random::seeded(1), action, "grp_1");
            let chained = append(genesis("org_1"), &record.with_change(change, Value::Null)).unwrap();
            ChainEntry { seq: 1, kind: Kind::Audit, body: chained.body, hash: chained.head.hash }
        };
        let message = |address: &str, entry: &ChainEntry| {
            let outbound = Outbound::new(Reach::Public, None).unwrap();
            let syslog = Syslog::new(address.parse().unwrap(), "kt.example.com".into(), outbound);
            syslog.message("org_1", entry).unwrap()
        };
        let (udp, tcp) = ("udp://logs.example.com", "tcp://logs.example.com");
        for letter in ["x", "\"\\", "\u{7}", "ü", "\u{1F600}"] {
            let long = entry(&letter.repeat(70_000 / letter.len()));
            let (cut, whole) = (message(udp, &long), message(tcp, &long));
            assert!(cut.len() <= LONGEST_DATAGRAM, "{letter:?}: {}", cut.len());
            let (head, text) = cut.split_once("] ").unwrap();
            assert!(
                whole.starts_with(head)
                    && whole.ends_with(String::from_utf8(long.line()).unwrap().trim_end())
            );
            let told: Value = serde_json::from_str(text).unwrap();
            assert_eq!((&told["cut"], &told["seq"]), (&json!(true), &json!(1)));
            assert_eq!(told["hash"], long.hash.to_string());
            assert!(whole.split_once("] ").unwrap().1.starts_with(told["begins"].as_str().unwrap()));
        }
        let short = entry("x");
        assert_eq!(message(udp, &short), message(tcp, &short), "the control");
    }

    #[test]
    fn every_action_fits_into_a_message_id() {
        for action in AuditAction::ALL {
            let word = action.as_str();
            assert!(
                word.len() <= 32 && word.bytes().all(|byte| byte.is_ascii_graphic()),
                "{word}: RFC 5424 section 6"
            );
        }
    }
}
