//! The gateway's IP allowlist: whether a request's source address may call.
//!
//! An empty `allow` list lets nobody in, and `deny` overrides `allow`.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::cidr::{Cidr, CidrMap, CidrSet};
use super::client_addr::ClientAddress;
use crate::events::MatchedRule;
use crate::policy_config::{IpAllowlist, Texts};

/// The rules of one configuration's `ip_allowlist`, ready for use.
#[derive(Clone, Debug)]
pub struct IpRules {
    enabled: bool,
    allow: CidrSet,
    /// Each range with its text in the configuration.
    deny: CidrMap<Arc<str>>,
    client: ClientAddress,
}

/// What the rules say about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may go on.
    Allowed {
        /// Where it comes from. `None` while the allowlist is not enabled and the source cannot be told: whatever asks
        /// for an address later must then refuse, never take the peer's.
        source: Option<IpAddr>,
    },
    /// It is refused.
    Denied {
        /// Where it comes from, if that can be told.
        source: Option<IpAddr>,
        /// The rule that refused it.
        rule: MatchedRule,
        /// The longest `deny` range that holds the source, as configured, when that is the reason.
        range: Option<Arc<str>>,
    },
}

/// What is wrong with one value of `ip_allowlist`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Where the value stands, such as `ip_allowlist.allow[3]`.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl IpRules {
    /// Reads the rules. Every value that is wrong has its error, also when the allowlist is not enabled.
    pub fn compile(config: &IpAllowlist) -> Result<Self, Vec<RuleError>> {
        let mut errors = Vec::new();
        let allow = ranges("allow", &config.allow, &mut errors).map(without_text).collect();
        let deny =
            ranges("deny", &config.deny, &mut errors).map(|(range, text)| (range, text.into())).collect();
        let trusted_proxies =
            ranges("trusted_proxies", &config.trusted_proxies, &mut errors).map(without_text).collect();
        let header =
            config.ip_header.parse().map_err(|error| errors.push(RuleError::new("ip_header", &error))).ok();
        let trusted_hops = NonZeroU32::new(config.trusted_hops).unwrap_or_else(|| {
            errors.push(RuleError::new("trusted_hops", &"0 is no place in a header: write 1 or more"));
            NonZeroU32::MIN
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            enabled: config.enabled,
            allow,
            deny,
            client: ClientAddress::new(
                header.filter(|_| config.trust_proxy_headers),
                trusted_proxies,
                trusted_hops,
            ),
        })
    }

    /// The name, in lower case, of the header whose lines [`decide`](Self::decide) wants; none when it wants none.
    #[must_use]
    pub fn header_name(&self) -> Option<&str> {
        self.client.header_name()
    }

    /// Whether `peer` stands in `trusted_proxies`, and so may say for whom it speaks.
    #[must_use]
    pub fn trusts_proxy(&self, peer: IpAddr) -> bool {
        self.client.trusts_proxy(peer)
    }

    /// Whether a request over a connection with `peer` may go on. `lines` are the values of all header lines named
    /// [`header_name`](Self::header_name), in the order in which they came.
    ///
    /// A source that `deny` holds is refused by [`MatchedRule::Deny`] whether or not `allow` holds it. While the
    /// allowlist is not enabled nothing is refused, not even a request whose source cannot be told.
    pub fn decide<'a>(&self, peer: IpAddr, lines: impl Iterator<Item = &'a [u8]>) -> Decision {
        let resolved = self.client.resolve(peer, lines);
        if !self.enabled {
            return Decision::Allowed { source: resolved.ok() };
        }
        match resolved {
            Ok(source) => self.decide_source(source),
            Err(_) => Decision::Denied { source: None, rule: MatchedRule::UnresolvedSource, range: None },
        }
    }

    /// Whether whatever comes from `peer` may go on, its header unread; `None` where the header has a say in that.
    #[must_use]
    pub fn decide_unread(&self, peer: IpAddr) -> Option<Decision> {
        self.client.speaks_for_itself(peer).then(|| self.decide(peer, std::iter::empty()))
    }

    /// Whether a request from `source`, a client's address however it was told, would be let in by an enabled allowlist.
    #[must_use]
    pub fn decide_source(&self, source: IpAddr) -> Decision {
        let denied = |rule, range| Decision::Denied { source: Some(source), rule, range };
        if let Some((_, text)) = self.deny.longest_match(source) {
            denied(MatchedRule::Deny, Some(Arc::clone(text)))
        } else if self.allow.contains(source) {
            Decision::Allowed { source: Some(source) }
        } else {
            denied(MatchedRule::NotAllowed, None)
        }
    }
}

impl RuleError {
    fn new(key: &str, problem: &dyn ToString) -> Self {
        Self { path: format!("ip_allowlist.{key}"), message: problem.to_string() }
    }
}

/// Reads the ranges of one list; those that cannot be read are left out and stand in `errors`.
fn ranges<'a>(
    key: &'a str,
    texts: &'a Texts,
    errors: &'a mut Vec<RuleError>,
) -> impl Iterator<Item = (Cidr, &'a str)> {
    texts.iter().enumerate().filter_map(move |(index, text)| match text.parse() {
        Ok(range) => Some((range, text)),
        Err(error) => {
            errors.push(RuleError::new(&format!("{key}[{index}]"), &error));
            None
        }
    })
}

fn without_text((range, _): (Cidr, &str)) -> Cidr {
    range
}
