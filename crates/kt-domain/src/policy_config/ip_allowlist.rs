//! `ip_allowlist`: which source addresses may call.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codes;
use super::listener::Listener;
use super::rules::Review;
use super::texts::Texts;
use crate::network::cidr::{Cidr, CidrMap};
use crate::network::client_addr::{ForwardingHeader, HeaderNameError};

/// Which source addresses may call the gateway, and where the source address is read from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IpAllowlist {
    /// Whether source addresses are checked.
    pub enabled: bool,
    /// The ranges (CIDR) that may call. Enabled with an empty list refuses everybody.
    #[schemars(with = "Vec<String>")]
    pub allow: Texts,
    /// The ranges (CIDR) that may not, even if `allow` holds them.
    #[schemars(with = "Vec<String>")]
    pub deny: Texts,
    /// Whether the source address is read from `ip_header` instead of the TCP connection.
    pub trust_proxy_headers: bool,
    /// The header that the forwarding layer sets: `X-Forwarded-For`, `Forwarded`, `X-Real-IP`, `CF-Connecting-IP`.
    pub ip_header: String,
    /// The ranges (CIDR) of the forwarding layer. When given, the right-most address that is in none of them is the
    /// client's, and a peer outside them is itself the client.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Texts,
    /// Without `trusted_proxies`: how many entries from the right of the header the client's address stands.
    #[schemars(range(min = 1, max = 32))]
    pub trusted_hops: u32,
}

impl Default for IpAllowlist {
    fn default() -> Self {
        Self {
            enabled: false,
            allow: Texts::default(),
            deny: Texts::default(),
            trust_proxy_headers: false,
            ip_header: "X-Forwarded-For".into(),
            trusted_proxies: Texts::default(),
            trusted_hops: 1,
        }
    }
}

impl IpAllowlist {
    pub(super) fn review(&self, listener: &Listener, review: &mut Review) {
        review.ranges("ip_allowlist.allow", self.allow.iter());
        review.ranges("ip_allowlist.deny", self.deny.iter());
        review.ranges("ip_allowlist.trusted_proxies", self.trusted_proxies.iter());
        self.review_header(review);
        if self.trust_proxy_headers {
            self.review_proxies_in_allow(review);
        } else if !listener.proxy_protocol {
            review_unused_proxy_settings(review);
        }
        if self.enabled && self.allow.is_empty() {
            review.say(
                &codes::NOBODY_ALLOWED,
                "ip_allowlist.allow",
                "`ip_allowlist` is enabled and `allow` is empty: every request is refused",
                "add the ranges that may call",
            );
        }
        if !review.gives("ip_allowlist", "enabled") && review.keys_of("ip_allowlist").next().is_some() {
            review.say(
                &codes::SWITCHED_OFF,
                "ip_allowlist",
                "`ip_allowlist` has settings and is off: every address may call",
                "add `enabled: true`",
            );
        }
    }

    fn review_header(&self, review: &mut Review) {
        if let Err(error) = self.ip_header.parse::<ForwardingHeader>() {
            let suggestion = match &error {
                HeaderNameError::Underscore { suggestion, .. } => format!("write `{suggestion}`"),
                HeaderNameError::NotAToken { .. } => "write the name alone, such as `X-Forwarded-For`".into(),
            };
            review.say(&codes::BAD_TOKEN, "ip_allowlist.ip_header", error.to_string(), suggestion);
        }
    }

    /// Ranges nest or are disjoint, so of two that overlap one holds the first address of the other.
    fn review_proxies_in_allow(&self, review: &mut Review) {
        let allowed: CidrMap<usize> = indexed(&self.allow).collect();
        let proxies: CidrMap<usize> = indexed(&self.trusted_proxies).collect();
        let around = indexed(&self.trusted_proxies)
            .filter_map(|(proxy, _)| Some((*allowed.longest_match(proxy.start())?.1, proxy)));
        let within = indexed(&self.allow)
            .filter_map(|(range, index)| Some((index, proxies.longest_match(range.start())?.0)));
        let mut reported = BTreeSet::new();
        for (index, proxy) in around.chain(within) {
            if reported.insert(index) {
                let range = self.allow.get(index).unwrap_or_default();
                let message = format!(
                    "`{range}` lets in the trusted proxy `{proxy}` itself, not only clients behind it"
                );
                let suggestion = "allow the clients' ranges only, unless health checks come from the proxy";
                let path = format!("ip_allowlist.allow[{index}]");
                review.say(&codes::PROXY_IN_ALLOW, &path, message, suggestion);
            }
        }
    }
}

/// The ranges of a list that can be read, each with its place there.
fn indexed(texts: &Texts) -> impl Iterator<Item = (Cidr, usize)> {
    texts.iter().enumerate().filter_map(|(index, text)| Some((text.parse().ok()?, index)))
}

fn review_unused_proxy_settings(review: &mut Review) {
    for key in ["ip_header", "trusted_proxies", "trusted_hops"] {
        if review.gives("ip_allowlist", key) {
            let path = format!("ip_allowlist.{key}");
            let message = format!("`{path}` has no effect: the address is that of the TCP connection");
            let suggestion = "if a proxy that you control stands in front, add `trust_proxy_headers: true`; else remove it";
            review.say(&codes::UNUSED_PROXY_SETTINGS, &path, message, suggestion);
        }
    }
}
