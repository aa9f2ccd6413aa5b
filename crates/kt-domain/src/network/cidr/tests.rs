use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Cidr, CidrError, CidrMap, CidrSet, canonical};

fn cidr(text: &str) -> Cidr {
    text.parse().expect(text)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

#[test]
fn a_range_is_shown_in_its_one_form() {
    let table = [
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.99.0.0/16", "10.99.0.0/16"),
        ("255.255.255.255/32", "255.255.255.255/32"),
        ("::/0", "::/0"),
        ("::1/128", "::1/128"),
        ("fd00::/8", "fd00::/8"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:0db8:0000:0000:0000:0000:0000:0000/32", "2001:db8::/32"),
        ("64:ff9b::192.0.2.0/120", "64:ff9b::c000:200/120"),
        // IPv4-mapped ranges are IPv4 ranges.
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:a00:1/128", "10.0.0.1/32"),
        ("0:0:0:0:0:ffff:10.0.0.1/128", "10.0.0.1/32"),
        // A single address.
        ("10.0.0.1", "10.0.0.1/32"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
        // These are not mapped.
        ("::fffe:0:0/96", "::fffe:0:0/96"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
        ("::ffff:0:0:0/96", "::ffff:0:0:0/96"),
    ];
    for (written, shown) in table {
        assert_eq!(cidr(written).to_string(), shown, "{written}");
        assert_eq!(cidr(shown), cidr(written), "{shown} reads back as {written}");
    }
}

#[test]
fn what_is_no_range_is_refused_with_the_way_out() {
    let table = [
        ("10.0.0.1/8", "write `10.0.0.0/8` for the whole range or `10.0.0.1/32`"),
        ("0.0.0.1/0", "write `0.0.0.0/0`"),
        ("2001:db8::1/32", "write `2001:db8::/32` for the whole range or `2001:db8::1/128`"),
        ("::1/127", "write `::/127`"),
        ("::ffff:10.0.0.1/104", "write `10.0.0.0/8` for the whole range or `10.0.0.1/32`"),
        ("::ffff:10.0.0.0/8", "write the range as IPv4, such as `10.0.0.0/32`"),
        ("::ffff:0:0/95", "write the range as IPv4, such as `0.0.0.0/32`"),
        ("010.0.0.0/8", "begins with 0"),
        ("10.00.0.0/8", "begins with 0"),
        ("10.0.0.08/32", "begins with 0"),
        ("::ffff:010.0.0.1/128", "begins with 0"),
        ("010.0.0.1", "begins with 0"),
        ("fe80::1%eth0/128", "names an interface"),
        ("fe80::%1/64", "names an interface"),
        ("10.0.0.0/33", "from 0 to 32"),
        ("10.0.0.0/256", "from 0 to 32"),
        ("10.0.0.0/-1", "from 0 to 32"),
        ("10.0.0.0/+8", "from 0 to 32"),
        ("10.0.0.0/08", "from 0 to 32"),
        ("10.0.0.0/00", "from 0 to 32"),
        ("10.0.0.0/", "from 0 to 32"),
        ("10.0.0.0/8 ", "from 0 to 32"),
        ("10.0.0.0/ 8", "from 0 to 32"),
        ("10.0.0.0/8/8", "from 0 to 32"),
        ("10.0.0.0/0x8", "from 0 to 32"),
        ("10.0.0.0/255.0.0.0", "from 0 to 32"),
        ("10.0.0.0/\u{668}", "from 0 to 32"),
        ("::/129", "from 0 to 128"),
        ("::1/", "from 0 to 128"),
        ("10/8", "write a whole address"),
        ("127.1/32", "write a whole address"),
        ("10.0.0/24", "write a whole address"),
        ("0x7f.1/32", "write a whole address"),
        ("0x7f.0.0.1/32", "write a whole address"),
        ("2130706433/32", "write a whole address"),
        ("10.0.0.256/32", "write a whole address"),
        ("10.0.0.0.0/8", "write a whole address"),
        ("10.0.0.-1/32", "write a whole address"),
        ("10.0.0.*", "write a whole address"),
        ("10.0.0.0-10.0.0.9", "write a whole address"),
        (" 10.0.0.0/8", "write a whole address"),
        ("10.0.0.0 /8", "write a whole address"),
        ("[::1]/128", "write a whole address"),
        ("::g/128", "write a whole address"),
        ("1::2::3/128", "write a whole address"),
        ("1:2:3:4:5:6:7:8:9/128", "write a whole address"),
        ("02001:db8::/32", "write a whole address"),
        ("example.com/32", "write a whole address"),
        ("\u{661}0.0.0.0/8", "write a whole address"),
        ("/8", "write a whole address"),
        ("/", "write a whole address"),
        ("", "write a whole address"),
    ];
    for (text, way_out) in table {
        let message = text.parse::<Cidr>().expect_err(text).to_string();
        assert!(message.contains(way_out), "{text:?}: {message}");
        assert!(message.contains(&format!("`{text}`")), "{text:?}: {message}");
    }
}

#[test]
fn a_suggested_range_is_accepted() {
    for text in ["10.0.0.1/8", "2001:db8::1/32", "::ffff:10.0.0.1/104", "::ffff:10.0.0.0/8"] {
        let suggestions = match text.parse::<Cidr>().expect_err(text) {
            CidrError::HostBits { masked, address, .. } => vec![masked, address],
            CidrError::MappedPrefix { address, .. } => vec![address],
            other => panic!("{other:?} suggests nothing"),
        };
        for suggestion in suggestions {
            assert_eq!(cidr(&suggestion.to_string()), suggestion);
        }
    }
}

#[test]
fn only_mapped_addresses_become_ipv4() {
    let table = [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:0.0.0.0", "0.0.0.0"),
        ("192.0.2.1", "192.0.2.1"),
        ("::192.0.2.1", "::192.0.2.1"),
        ("::ffff:0:192.0.2.1", "::ffff:0:192.0.2.1"),
        ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.1"),
        ("2002:c000:201::", "2002:c000:201::"),
        ("2001:0:c000:201::", "2001:0:c000:201::"),
        ("::1", "::1"),
    ];
    for (from, to) in table {
        assert_eq!(canonical(address(from)), address(to), "{from}");
    }
}

#[test]
fn families_do_not_hold_each_other() {
    assert!(!cidr("::/0").contains(address("192.0.2.1")));
    assert!(!cidr("::/0").contains(address("::ffff:192.0.2.1")));
    assert!(!cidr("0.0.0.0/0").contains(address("::1")));
    assert!(cidr("0.0.0.0/0").contains(address("::ffff:192.0.2.1")));
}

#[test]
fn of_equal_ranges_the_first_counts() {
    let map: CidrMap<&str> =
        [(cidr("10.0.0.0/8"), "first"), (cidr("::ffff:10.0.0.0/104"), "second")].into_iter().collect();
    assert_eq!(map.len(), 1);
    assert_eq!(map.longest_match(address("10.1.1.1")), Some((cidr("10.0.0.0/8"), &"first")));
}

#[test]
fn an_empty_set_holds_nothing() {
    let set = CidrSet::from_iter([]);
    assert!(set.is_empty());
    assert!(!set.contains(address("10.0.0.1")));
    assert!(!set.contains(address("::1")));
}

#[test]
fn a_hundred_thousand_ranges_are_all_found() {
    let nth = |n: u32| Ipv4Addr::from(0x0a00_0000 + n * 8);
    let set: CidrSet = (0..100_000).map(|n| cidr(&format!("{}/30", nth(n)))).collect();
    assert_eq!(set.len(), 100_000);
    for n in 0..100_000 {
        let inside = Ipv4Addr::from(nth(n).to_bits() + 3);
        let outside = Ipv4Addr::from(nth(n).to_bits() + 4);
        assert!(set.contains(inside.into()) && !set.contains(outside.into()), "{inside}, {outside}");
    }
}

/// Addresses from a few bits only, so that ranges nest and touch; some of them mapped.
fn crowded_address() -> impl Strategy<Value = IpAddr> {
    let bits = (any::<u8>(), any::<u8>());
    (bits, 0..3_u8).prop_map(|((high, low), kind)| match kind {
        0 => Ipv4Addr::new(high & 0b1100_0000, 0, 0, low & 0b1001_0001).into(),
        1 => Ipv4Addr::new(high & 0b1100_0000, 0, 0, low).to_ipv6_mapped().into(),
        _ => Ipv6Addr::new(u16::from(high & 0b1100_0000) << 8, 0, 0, 0, 0, 0, 0, low.into()).into(),
    })
}

fn crowded_range() -> impl Strategy<Value = Cidr> {
    (crowded_address(), any::<u8>()).prop_map(|(address, prefix)| {
        let address = canonical(address);
        let bits = if address.is_ipv4() { 33 } else { 129 };
        cidr(&ipnet::IpNet::new(address, prefix % bits).expect("a prefix in range").trunc().to_string())
    })
}

proptest! {
    #[test]
    fn a_set_agrees_with_a_look_at_every_range(
        ranges in vec(crowded_range(), 0..60),
        addresses in vec(crowded_address(), 1..60),
    ) {
        let set: CidrSet = ranges.iter().copied().collect();
        for address in addresses {
            let holding = ranges.iter().copied().filter(|range| range.0.contains(&canonical(address)));
            let longest = holding.max_by_key(|range| range.0.prefix_len());
            prop_assert_eq!(set.longest_match(address), longest);
            prop_assert_eq!(set.contains(address), longest.is_some());
        }
    }

    #[test]
    fn what_is_shown_reads_back(range in crowded_range()) {
        prop_assert_eq!(range.to_string().parse(), Ok(range));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[0-9a-fx:./% \\[\\]+-]{0,24}") {
        if let Ok(range) = text.parse::<Cidr>() {
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }
    }
}
