use proptest::prelude::*;

use super::*;

fn ranges(list: &[&str]) -> Vec<LabelledRange> {
    list.iter().map(|cidr| LabelledRange { cidr: cidr.parse().unwrap(), label: String::new() }).collect()
}

fn restrictions(enforce_allowlist: bool, allow: &[&str], deny: &[&str]) -> IpRestrictions {
    IpRestrictions {
        enforce_allowlist,
        applies_to: AppliesTo::Console,
        allow: ranges(allow),
        deny: ranges(deny),
    }
}

#[test]
fn every_case_of_the_table_is_decided_as_it_says() {
    let office: &[&str] = &["203.0.113.0/24", "2001:db8::/32"];
    let one: &[&str] = &["203.0.113.9/32"];
    let wide: &[&str] = &["203.0.0.0/16", "203.0.113.9/32"];
    let deny = |range: &str| Err(Denial::Denied(range.parse().unwrap()));
    // enforced, allow, deny, source, what comes of it
    let table = [
        (true, &[][..], &[][..], Some("198.51.100.1"), Ok(())),
        (true, office, &[], Some("203.0.113.9"), Ok(())),
        (true, office, &[], Some("::ffff:203.0.113.9"), Ok(())),
        (true, office, &[], Some("2001:db8::1"), Ok(())),
        (true, office, &[], Some("203.0.114.0"), Err(Denial::NotAllowed)),
        (true, office, &[], Some("::ffff:198.51.100.1"), Err(Denial::NotAllowed)),
        (true, office, &[], None, Err(Denial::Unresolved)),
        (true, office, one, Some("203.0.113.9"), deny("203.0.113.9/32")),
        (true, office, one, Some("203.0.113.8"), Ok(())),
        (true, office, wide, Some("203.0.113.9"), deny("203.0.113.9/32")),
        (true, office, wide, Some("203.0.7.7"), deny("203.0.0.0/16")),
        (false, office, &[], Some("198.51.100.1"), Ok(())),
        (false, office, one, Some("203.0.113.9"), deny("203.0.113.9/32")),
        (false, &[], one, Some("::ffff:203.0.113.9"), deny("203.0.113.9/32")),
        (false, &[], one, Some("198.51.100.1"), Ok(())),
        (false, &[], one, None, Err(Denial::Unresolved)),
        (false, office, &[], None, Ok(())),
        (true, &[], &[], None, Ok(())),
    ];
    for (enforced, allow, denied, source, expected) in table {
        let rules = ConsoleRules::from(&restrictions(enforced, allow, denied));
        let decision = rules.decide_source(source.map(|source| source.parse().unwrap()));
        assert_eq!(decision, expected, "{enforced} {allow:?} {denied:?} {source:?}");
    }
}

#[test]
fn the_api_is_guarded_where_the_restrictions_say_so_and_the_console_always() {
    let outside = Some("198.51.100.1".parse().unwrap());
    for (applies_to, api) in
        [(AppliesTo::Console, Ok(())), (AppliesTo::ConsoleAndApi, Err(Denial::NotAllowed))]
    {
        let restrictions = IpRestrictions { applies_to, ..restrictions(true, &["203.0.113.0/24"], &[]) };
        let rules = ConsoleRules::from(&restrictions);
        assert_eq!(rules.decide(Surface::Api, outside), api, "{applies_to}");
        assert_eq!(rules.decide(Surface::Console, outside), Err(Denial::NotAllowed), "{applies_to}");
    }
}

#[test]
fn lists_and_labels_have_bounds() {
    let labelled = |label: &str| IpRestrictions {
        deny: vec![LabelledRange { cidr: "203.0.113.9/32".parse().unwrap(), label: label.into() }],
        ..IpRestrictions::default()
    };
    assert!(labelled(&"é".repeat(100)).validate().is_ok());
    for label in ["é".repeat(101), "Office\nLondon".into()] {
        assert_eq!(labelled(&label).validate().unwrap_err().param.as_deref(), Some("deny[0].label"));
    }
    let many =
        |count| IpRestrictions { allow: vec![ranges(&["10.0.0.0/8"]).remove(0); count], ..labelled("") };
    assert!(many(10_000).validate().is_ok());
    assert_eq!(many(10_001).validate().unwrap_err().param.as_deref(), Some("allow"));
}

#[test]
fn what_is_kept_reads_back_and_unknown_fields_are_refused() {
    let kept = restrictions(true, &["203.0.113.0/24"], &["2001:db8::/32"]);
    let text = serde_json::to_string(&kept).unwrap();
    assert_eq!(serde_json::from_str::<IpRestrictions>(&text).unwrap(), kept);
    let default: IpRestrictions = serde_json::from_str("{}").unwrap();
    assert_eq!((default.applies_to, default.enforce_allowlist), (AppliesTo::ConsoleAndApi, false));
    serde_json::from_str::<IpRestrictions>(r#"{"allowlist":[]}"#).unwrap_err();
    serde_json::from_str::<IpRestrictions>(r#"{"allow":[{"cidr":"10.0.0.1/8"}]}"#).unwrap_err();
}

proptest! {
    #[test]
    fn a_denied_address_is_refused_whatever_else_the_rules_say(
        source: u32, prefix in 0_u8..=32, enforced: bool, allowed: bool,
    ) {
        let source = std::net::Ipv4Addr::from(source);
        let denied = ipnet::Ipv4Net::new(source, prefix).unwrap().trunc().to_string();
        let everywhere: &[&str] = if allowed { &["0.0.0.0/0"] } else { &[] };
        let rules = ConsoleRules::from(&restrictions(enforced, everywhere, &[&denied]));
        let decision = rules.decide_source(Some(source.into()));
        prop_assert_eq!(decision, Err(Denial::Denied(denied.parse().unwrap())));
    }
}
