use std::net::IpAddr;

use serde::Deserialize;

use super::{Decision, IpRules};
use crate::events::MatchedRule;
use crate::policy_config::{IpAllowlist, Texts};

/// A case of `testdata/address-cases.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    ip_allowlist: IpAllowlist,
    peer: IpAddr,
    headers: Vec<(String, String)>,
    expect: Expected,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    allowed: bool,
    source_ip: Option<IpAddr>,
    matched_rule: Option<MatchedRule>,
    deny_range: Option<String>,
}

impl From<Decision> for Expected {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allowed { source } => {
                Self { allowed: true, source_ip: source, matched_rule: None, deny_range: None }
            }
            Decision::Denied { source, rule, range } => Self {
                allowed: false,
                source_ip: source,
                matched_rule: Some(rule),
                deny_range: range.map(|range| range.to_string()),
            },
        }
    }
}

impl Case {
    fn decision(&self) -> Decision {
        let rules = IpRules::compile(&self.ip_allowlist).expect(&self.name);
        let wanted = |name: &str| rules.header_name().is_some_and(|header| name.eq_ignore_ascii_case(header));
        let lines = self.headers.iter().filter(|(name, _)| wanted(name)).map(|(_, value)| value.as_bytes());
        rules.decide(self.peer, lines)
    }
}

#[test]
fn every_case_of_the_table_is_decided_as_it_says() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../testdata/address-cases.json"))
        .expect("the table is JSON");
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let actual = Expected::from(case.decision());
            (actual != case.expect).then(|| format!("{}: {actual:?} instead of {:?}", case.name, case.expect))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 70, "the table has lost cases: {}", cases.len());
}

#[test]
fn every_wrong_value_has_its_error_even_when_not_enabled() {
    let config = IpAllowlist {
        allow: Texts::from_iter(["10.0.0.0/8", "10.1.2.3/8", "10.0.0.1-9"]),
        deny: Texts::from_iter(["010.0.0.0/8"]),
        ip_header: "X_Real_IP".into(),
        trusted_proxies: Texts::from_iter(["fe80::%eth0/64", "::1/128"]),
        trusted_hops: 0,
        ..IpAllowlist::default()
    };
    let errors = IpRules::compile(&config).expect_err("six values are wrong");
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "ip_allowlist.allow[1]",
            "ip_allowlist.allow[2]",
            "ip_allowlist.deny[0]",
            "ip_allowlist.trusted_proxies[0]",
            "ip_allowlist.ip_header",
            "ip_allowlist.trusted_hops",
        ]
    );
    assert_eq!(
        errors[0].message,
        "`10.1.2.3/8` has bits set beyond its prefix: write `10.0.0.0/8` for the whole range or `10.1.2.3/32` for the one address"
    );
}

#[test]
fn only_listed_peers_are_trusted_to_speak_for_others() {
    let trusted_proxies = Texts::from_iter(["10.0.0.0/8"]);
    let config = IpAllowlist { trusted_proxies, ..IpAllowlist::default() };
    let rules = IpRules::compile(&config).expect("the configuration is right");
    let trusts = |peer: &str| rules.trusts_proxy(peer.parse().expect("an address"));
    assert!(trusts("10.1.2.3"));
    assert!(trusts("::ffff:10.1.2.3"));
    assert!(!trusts("11.1.2.3"));

    let nobody = IpRules::compile(&IpAllowlist::default()).expect("the defaults are right");
    assert!(!nobody.trusts_proxy("10.1.2.3".parse().expect("an address")));
}
