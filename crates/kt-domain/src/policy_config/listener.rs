//! `listener`: how connections are taken.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codes;
use super::ip_allowlist::IpAllowlist;
use super::rules::Review;

/// How connections are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listener {
    /// Whether each connection begins with a PROXY protocol header (v1 or v2); taken from
    /// `ip_allowlist.trusted_proxies` only.
    pub proxy_protocol: bool,
    /// The names under which clients may address the gateway (`Host`); empty means any. Others are answered 421.
    pub hosts: Vec<String>,
    /// How many connections may be open at once.
    #[schemars(range(min = 1))]
    pub max_connections: u32,
}

impl Default for Listener {
    fn default() -> Self {
        Self { proxy_protocol: false, hosts: Vec::new(), max_connections: 16_384 }
    }
}

impl Listener {
    pub(super) fn review(&self, addresses: &IpAllowlist, review: &mut Review) {
        if self.proxy_protocol && addresses.trusted_proxies.is_empty() {
            review.say(
                &codes::PROXY_PROTOCOL_FROM_ANYBODY,
                "listener.proxy_protocol",
                "`listener.proxy_protocol` is on and no proxy is trusted, so that no connection would be taken",
                "list the proxies' ranges in `ip_allowlist.trusted_proxies`",
            );
        }
        for (index, host) in self.hosts.iter().enumerate().filter(|(_, host)| !is_authority(host)) {
            let message = format!("`{host}` is no host name or address with an optional port");
            let suggestion =
                "write it as clients do: `gateway.example.com`, `10.0.0.5:41002` or `[2001:db8::1]`"
                    .to_owned();
            review.say(&codes::BAD_HOST, &format!("listener.hosts[{index}]"), message, suggestion);
        }
    }
}

/// Whether `text` is a host with an optional port, as `Host` has it (RFC 9110 section 7.2).
pub(crate) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_name(host),
    };
    is_host
        && port.is_none_or(|port| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
}

/// A host name or an IPv4 address: labels of letters, digits, `-` and `_`.
fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    host.len() <= 253 && host.split('.').all(is_label)
}
