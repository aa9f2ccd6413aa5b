use std::net::IpAddr;
use std::num::NonZeroU32;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{
    ClientAddress, ForwardingHeader, HeaderNameError, MAX_BYTES, MAX_ENTRIES, MAX_LINES, UnresolvedSource,
};
use crate::network::cidr::CidrSet;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

fn rule(header: &str, trusted_proxies: &[&str], trusted_hops: u32) -> ClientAddress {
    let proxies: CidrSet = trusted_proxies.iter().map(|text| text.parse().expect("a range")).collect();
    let header = header.parse().expect("a header name");
    ClientAddress::new(Some(header), proxies, NonZeroU32::new(trusted_hops).expect("at least one hop"))
}

fn resolve(rule: &ClientAddress, lines: &[&[u8]]) -> Result<IpAddr, UnresolvedSource> {
    rule.resolve(PEER, lines.iter().copied())
}

#[test]
fn each_failure_has_its_reason() {
    let long_line = vec![b' '; MAX_BYTES];
    let long: &[&[u8]] = &[&long_line, b"192.0.2.1"];
    let many_lines: &[&[u8]] = &[b"192.0.2.1".as_slice(); MAX_LINES + 1];
    let table: &[(&str, u32, &[&[u8]], UnresolvedSource)] = &[
        ("X-Forwarded-For", 1, &[], UnresolvedSource::Missing),
        ("Forwarded", 1, &[], UnresolvedSource::Missing),
        ("X-Real-IP", 1, &[], UnresolvedSource::Missing),
        ("X-Forwarded-For", 1, &[b""], UnresolvedSource::Malformed),
        ("X-Forwarded-For", 1, &[b"\xff"], UnresolvedSource::Malformed),
        ("X-Forwarded-For", 2, &[b"192.0.2.1"], UnresolvedSource::TooFewEntries),
        ("Forwarded", 2, &[b"for=192.0.2.1"], UnresolvedSource::TooFewEntries),
        ("X-Real-IP", 1, &[b"192.0.2.1", b"192.0.2.1"], UnresolvedSource::SecondLine),
        ("X-Real-IP", 1, &[b"192.0.2.1,192.0.2.1"], UnresolvedSource::Malformed),
        ("X-Forwarded-For", 1, long, UnresolvedSource::TooLong),
        ("X-Forwarded-For", 1, many_lines, UnresolvedSource::TooLong),
    ];
    for (header, hops, lines, reason) in table {
        assert_eq!(resolve(&rule(header, &[], *hops), lines), Err(*reason), "{header} {lines:?}");
    }
}

#[test]
fn a_header_at_the_limits_is_read() {
    let client = Ok("192.0.2.1".parse().expect("an address"));
    let rest = b"192.0.2.1";
    let blanks = vec![b' '; MAX_BYTES - rest.len()];
    assert_eq!(resolve(&rule("X-Forwarded-For", &[], 1), &[&blanks, rest]), client);
    assert_eq!(resolve(&rule("X-Forwarded-For", &[], 1), &[rest.as_slice(); MAX_LINES]), client);
}

#[test]
fn no_more_entries_are_looked_at_than_the_limit() {
    let rule = rule("X-Forwarded-For", &["10.0.0.0/8"], 1);
    let chain = |proxies: usize| format!("192.0.2.1{}", ",10.0.0.2".repeat(proxies));
    let resolve = |line: &str| resolve(&rule, &[line.as_bytes()]);
    assert_eq!(resolve(&chain(MAX_ENTRIES - 1)), Ok("192.0.2.1".parse().expect("an address")));
    assert_eq!(resolve(&chain(MAX_ENTRIES)), Err(UnresolvedSource::TooLong));
}

#[test]
fn the_wanted_header_is_named_in_lower_case_and_only_when_trusted() {
    assert_eq!(rule("CF-Connecting-IP", &[], 1).header_name(), Some("cf-connecting-ip"));
    let without = ClientAddress::new(None, CidrSet::from_iter([]), NonZeroU32::MIN);
    assert_eq!(without.header_name(), None);
    assert_eq!(resolve(&without, &[b"192.0.2.1"]), Ok(PEER));
}

#[test]
fn a_header_name_is_a_token_without_underscores() {
    for name in ["", "X-Forwarded-For:", "X Forwarded", "X-Für", "a\r\nb", "X-Forwarded-For, Forwarded"] {
        let error = name.parse::<ForwardingHeader>().expect_err(name);
        assert_eq!(error, HeaderNameError::NotAToken { name: name.into() });
    }
    let error = "X_Real_IP".parse::<ForwardingHeader>().expect_err("it has underscores");
    assert_eq!(
        error,
        HeaderNameError::Underscore { name: "X_Real_IP".into(), suggestion: "X-Real-IP".into() }
    );
    assert!("X-Real-IP".parse::<ForwardingHeader>().is_ok());
}

/// What proxies append: `N` right-most entries, of which the left-most one or an earlier one decides.
const APPENDED: &[(&str, &[&str], u32, &str)] = &[
    ("X-Forwarded-For", &[], 1, "192.0.2.1"),
    ("X-Forwarded-For", &[], 2, "[2001:db8::1]:443, 192.0.2.1"),
    ("X-Forwarded-For", &[], 1, "garbage"),
    ("X-Forwarded-For", &["10.0.0.0/8"], 1, "192.0.2.1:80, 10.0.0.2, 10.0.0.3"),
    ("Forwarded", &[], 1, "for=192.0.2.1"),
    ("Forwarded", &[], 1, r#"for="[2001:db8::1]:443";host="a,b\"c\\";by=_x"#),
    ("Forwarded", &[], 2, r#"for=192.0.2.1;host=",", for="192.0.2.2:80""#),
    ("Forwarded", &["10.0.0.0/8"], 1, r#"for=192.0.2.1, for="10.0.0.2:_p", for=10.0.0.3"#),
    ("Forwarded", &[], 1, "for=unknown"),
];

const PROXIES: &[&[&str]] = &[&[], &["10.0.0.0/8", "fd00::/8"]];

/// Bytes with more commas, quotation marks and the like than chance would give.
fn forged() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), proptest::sample::select(b",;=\"\\ \tfor10.:[]".to_vec())];
    vec(byte, 0..80)
}

proptest! {
    #[test]
    fn what_stands_left_of_the_deciding_entry_changes_nothing(
        (header, proxies, hops, appended) in proptest::sample::select(APPENDED),
        forged in forged(),
        forged_lines in vec(forged(), 0..3),
    ) {
        let rule = rule(header, proxies, hops);
        let honest = resolve(&rule, &[appended.as_bytes()]);
        let appended_to_line = [&forged, b",".as_slice(), appended.as_bytes()].concat();
        let mut lines: Vec<&[u8]> = forged_lines.iter().map(Vec::as_slice).collect();
        lines.push(&appended_to_line);
        prop_assert_eq!(resolve(&rule, &lines), honest);
    }

    #[test]
    fn any_bytes_are_resolved_or_refused(
        header in proptest::sample::select(&["X-Forwarded-For", "Forwarded", "X-Real-IP"][..]),
        hops in 1..4_u32,
        proxies in proptest::sample::select(PROXIES),
        lines in vec(forged(), 0..4),
    ) {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        if let Ok(source) = resolve(&rule(header, proxies, hops), &lines) {
            prop_assert_eq!(source, source.to_canonical());
        }
    }

    #[test]
    fn every_address_is_read_back_in_every_spelling(v4_bits: u32, v6_bits: u128, v4: bool, port: u16) {
        let address = if v4 { IpAddr::from(v4_bits.to_be_bytes()) } else { IpAddr::from(v6_bits.to_be_bytes()) };
        let socket = std::net::SocketAddr::new(address, port);
        let node = if v4 { address.to_string() } else { format!("[{address}]") };
        let spellings = [
            ("X-Forwarded-For", address.to_string()),
            ("X-Forwarded-For", node.clone()),
            ("X-Forwarded-For", socket.to_string()),
            ("Forwarded", format!("for=\"{node}\"")),
            ("Forwarded", format!("for=\"{socket}\"")),
        ];
        for (header, text) in &spellings {
            let resolved = resolve(&rule(header, &[], 1), &[text.as_bytes()]);
            prop_assert_eq!(resolved, Ok(address.to_canonical()), "{}", text);
        }
    }
}
