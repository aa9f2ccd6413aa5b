//! `base_url`: where a target is, and where it must never be.

use std::net::IpAddr;

use url::{Host, Url};

use super::codes::{self, Code};
use super::rules::Review;
use crate::network::reach::is_metadata_address;

/// Names under which clouds serve the credentials of a machine.
const METADATA_NAMES: [&str; 5] =
    ["metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"];

/// What is wrong with an address.
pub(crate) struct Problem {
    pub(crate) code: &'static Code,
    pub(crate) message: String,
    pub(crate) suggestion: String,
}

/// Reviews the `base_url` at `path`.
pub(super) fn review(path: &str, text: &str, review: &mut Review) {
    for Problem { code, message, suggestion } in problems(path, text) {
        review.say(code, path, message, suggestion);
    }
}

/// What is wrong with the address at `path`. One with user information may hold a secret and is not repeated.
pub(crate) fn problems(path: &str, text: &str) -> Vec<Problem> {
    let plain = "write scheme, host and path alone: `https://HOST/v1`";
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url,
        _ => {
            let message = format!("`{path}` is no http or https address");
            return vec![Problem { code: &codes::BAD_BASE_URL, message, suggestion: plain.into() }];
        }
    };
    let mut problems = Vec::new();
    let extra = if !url.username().is_empty() || url.password().is_some() {
        Some("a user name or password")
    } else if url.query().is_some() {
        Some("a query")
    } else if url.fragment().is_some() {
        Some("a fragment")
    } else {
        None
    };
    if let Some(extra) = extra {
        let message = format!("`{path}` holds {extra}");
        let suggestion = format!("{plain}; the key goes into `secret_key_ref`");
        problems.push(Problem { code: &codes::BAD_BASE_URL, message, suggestion });
    }
    if url.host().is_some_and(|host| is_metadata(&host)) {
        let message =
            format!("`{path}` leads to a link-local or metadata address, where machines keep credentials");
        let suggestion = "name the provider's own address".into();
        problems.push(Problem { code: &codes::FORBIDDEN_BASE_URL, message, suggestion });
    }
    problems
}

/// The address is taken as a browser reads it: `http://2852039166/` is 169.254.169.254 as well.
fn is_metadata(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(address) => is_metadata_address(IpAddr::V4(*address)),
        Host::Ipv6(address) => is_metadata_address(IpAddr::V6(*address)),
        Host::Domain(name) => METADATA_NAMES.contains(&name.trim_end_matches('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_addresses_are_known_in_every_dress() {
        let forbidden = [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "100.100.100.200",
        ];
        for address in forbidden {
            assert!(is_metadata_address(address.parse().unwrap()), "{address}");
        }
        for address in ["127.0.0.1", "10.0.0.1", "169.253.0.1", "::1", "fd00::1", "2001:db8::1"] {
            assert!(!is_metadata_address(address.parse().unwrap()), "{address}");
        }
    }
}
