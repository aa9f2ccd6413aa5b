//! The rules that a schema cannot say. Each section reviews itself; what several share stands here.

use super::finding::Report;
use super::node::Node;
use super::{Code, LoadOptions, PolicyConfig, budgets, codes, consumer_groups, policies, routes};
use crate::network::cidr::{Cidr, CidrError};

/// Applies every rule to a configuration that was made from `tree`.
pub(super) fn check(config: &PolicyConfig, tree: &Node, options: LoadOptions, report: &mut Report) {
    let mut review = Review { tree, options, report };
    config.pack.review(&mut review);
    config.providers.review(&mut review);
    config.policies.review(&mut review);
    policies::review_unused(config, &mut review);
    config.policy.review(config, &mut review);
    config.cors.review(&mut review);
    config.ip_allowlist.review(&config.listener, &mut review);
    config.size_limits.review(&mut review);
    config.auth.review(&mut review);
    config.listener.review(&config.ip_allowlist, &mut review);
    routes::review(config, &mut review);
    consumer_groups::review(config, &mut review);
    config.prices.review(&mut review);
    budgets::review(config, &mut review);
    config.events.review(&mut review);
    config.telemetry.review(&mut review);
    config.retry.review(&mut review);
    config.circuit_breaker.review(&mut review);
}

/// What a rule can ask, and where it says what it found.
pub(super) struct Review<'a, 's> {
    pub(super) tree: &'a Node,
    /// What the configuration is loaded for.
    pub(super) options: LoadOptions,
    pub(super) report: &'a mut Report<'s>,
}

impl Review<'_, '_> {
    /// Reports something about the value at `path`.
    pub(super) fn say(
        &mut self,
        code: &Code,
        path: &str,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        self.report.on(self.tree, code, path, message, suggestion);
    }

    /// Whether anything more is said with this code: what costs much to find out need not be where it is not.
    pub(super) fn has_room_for(&self, code: &Code) -> bool {
        self.report.has_room_for(code)
    }

    /// Whether what stood at `path` was reported, so that nobody knows what it was meant to be.
    pub(super) fn is_set_aside(&self, path: &str) -> bool {
        self.report.is_set_aside(self.tree, path)
    }

    /// The keys that a section gives, whether or not their values are the defaults.
    pub(super) fn keys_of(&self, section: &str) -> impl Iterator<Item = &str> {
        self.tree.get(section).into_iter().flat_map(Node::keys)
    }

    /// Whether a section gives a key.
    pub(super) fn gives(&self, section: &str, key: &str) -> bool {
        self.keys_of(section).any(|given| given == key)
    }

    /// Reports each entry of the list at `path` that is no range.
    pub(super) fn ranges(&mut self, path: &str, texts: impl IntoIterator<Item: AsRef<str>>) {
        for (index, text) in texts.into_iter().enumerate() {
            if let Err(error) = text.as_ref().parse::<Cidr>() {
                self.say(
                    &codes::BAD_CIDR,
                    &format!("{path}[{index}]"),
                    error.to_string(),
                    range_meant(&error),
                );
            }
        }
    }

    /// Reports each name that an earlier entry of the list at `path` has as well.
    pub(super) fn unique<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
        path_of: impl Fn(usize) -> String,
        suggestion: &str,
    ) {
        let mut seen = std::collections::HashSet::new();
        for (index, name) in names.enumerate() {
            // An empty name was reported before.
            if !name.is_empty() && !seen.insert(name) {
                let message = format!("`{name}` stands here a second time");
                self.say(&codes::REPEATED_ID, &path_of(index), message, suggestion);
            }
        }
    }
}

fn range_meant(error: &CidrError) -> String {
    match error {
        CidrError::HostBits { masked, address, .. } => format!("write `{masked}` or `{address}`"),
        CidrError::MappedPrefix { address, .. } => {
            format!("write the range as IPv4, of which `{address}` is this one address")
        }
        CidrError::NotAnAddress { .. }
        | CidrError::LeadingZero { .. }
        | CidrError::ZoneId { .. }
        | CidrError::BadPrefix { .. } => "write it like `10.0.0.0/8` or `2001:db8::/32`".into(),
    }
}

/// Whether `text` is a token, as methods and header names are (RFC 9110 section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
