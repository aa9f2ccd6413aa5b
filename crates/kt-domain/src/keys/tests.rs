use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::Breach::{NoIpBinding, OverAge};
use super::KeyStatus::{Active, Expired, Revoked, RotationRequired};
use super::*;
use crate::actor::{KeyKind, Scope};
use crate::random::Random;
use crate::secret::SecretDigest;

const DAY: Duration = Duration::from_hours(24);
const INSIDE: &str = "203.0.113.9";
const OUTSIDE: &str = "198.51.100.7";

fn made_at() -> Timestamp {
    "2026-03-15T14:22:31Z".parse().unwrap()
}

fn terms() -> KeyTerms {
    KeyTerms {
        scope: Some(Scope::Write),
        ranges: Vec::new(),
        requests_per_minute: None,
        created_at: made_at(),
        expires_at: None,
        ends_at: None,
        flagged_at: None,
    }
}

fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

#[test]
fn a_key_has_one_length_a_marker_of_its_kind_and_a_checksum() {
    let mut random = Random::seeded(1);
    for (kind, marker) in
        [(KeyKind::Access, "kt_ak_"), (KeyKind::Gateway, "kt_gk_"), (KeyKind::Scim, "kt_sk_")]
    {
        for _ in 0..200 {
            let key = KeyText::generate(kind, &mut random);
            assert_eq!(key.expose().len(), 55);
            assert!(key.expose().starts_with(marker));
            assert_eq!(key.prefix(), &key.expose()[..10]);
            assert_eq!(key.digest(), SecretDigest::of(key.expose()));
            assert_eq!(recognise(key.expose()), Some(kind), "{}", key.prefix());
        }
    }
}

#[test]
fn a_key_is_recognised_by_a_scanner_that_knows_only_this() {
    let zeroes = format!("kt_ak_{}", "0".repeat(43));
    let sum = crc32fast::hash(zeroes.as_bytes());
    let alphabet: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
    let digits = (0..6).rev().map(|place| alphabet[(sum / 62_u32.pow(place) % 62) as usize]);
    assert_eq!(recognise(&format!("{zeroes}{}", digits.collect::<String>())), Some(KeyKind::Access));
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926, "the check value of CRC-32/ISO-HDLC");
}

#[test]
fn other_spellings_of_a_key_are_no_key() {
    let key = KeyText::generate(KeyKind::Access, &mut Random::seeded(1));
    let text = key.expose();
    let wrong = [
        String::new(),
        "kt_ak_".into(),
        text[..54].into(),
        format!("{text}0"),
        format!(" {text}"),
        format!("{text}\n"),
        text.to_uppercase(),
        text.to_lowercase(),
        text.replacen("kt_ak_", "kt_gk_", 1),
        text.replacen("kt_ak_", "kt_xk_", 1),
        text.replacen("kt_ak_", "kt-ak-", 1),
        format!("{}-{}", &text[..20], &text[21..]),
        format!("{}é{}", &text[..20], &text[22..]),
    ];
    for wrong in wrong {
        assert_eq!(recognise(&wrong), None, "{wrong:?}");
    }
    assert_eq!(recognise(text), Some(KeyKind::Access));
}

proptest! {
    #[test]
    fn a_key_with_one_character_changed_is_no_key(seed: u64, place in 0_usize..55, with in "[0-9A-Za-z]") {
        let key = KeyText::generate(KeyKind::Gateway, &mut Random::seeded(seed));
        let mut changed = key.expose().to_owned();
        changed.replace_range(place..=place, &with);
        prop_assert_eq!(recognise(&changed).is_some(), changed == key.expose());
    }

    #[test]
    fn any_text_is_recognised_or_not_without_harm(text in ".*") {
        prop_assert_eq!(recognise(&text), None);
    }
}

#[test]
fn each_demand_is_judged_at_once_or_after_a_week() {
    let ranges = vec!["203.0.113.0/24".parse().unwrap()];
    let lenient = KeyRestrictions { require_scope: false, ..KeyRestrictions::default() };
    let days_90 = KeyRestrictions { max_age_days: Some(90), ..KeyRestrictions::default() };
    let at_once = KeyRestrictions { enforce_immediately: true, ..days_90.clone() };
    let bound = KeyRestrictions { require_ip_binding: true, ..KeyRestrictions::default() };
    let inside_only = KeyRestrictions { allowed_ranges: ranges.clone(), ..KeyRestrictions::default() };
    let unscoped = KeyTerms { scope: None, ..terms() };
    let flagged_on = |day: u32| KeyTerms { flagged_at: Some(made_at() + DAY * day), ..terms() };
    let expiring = KeyTerms { expires_at: Some(made_at() + DAY), ..terms() };
    let ending = KeyTerms { ends_at: Some(made_at() + DAY), ..terms() };
    let own_ranges = KeyTerms { ranges: ranges.clone(), ..terms() };
    let week_after = |day: u32, reason| Verdict::Flagged {
        reasons: vec![reason],
        refused_from: made_at() + DAY * day + DAY * 7,
    };
    let refused = Verdict::Refused;
    // what the key was given, what is demanded, from where, on which day, what holds
    let table = [
        (terms(), KeyRestrictions::default(), ip(OUTSIDE), 4000, Verdict::Good),
        (expiring.clone(), lenient.clone(), ip(INSIDE), 0, Verdict::Good),
        (expiring, lenient.clone(), ip(INSIDE), 1, refused(Refusal::Expired)),
        (ending.clone(), lenient.clone(), ip(INSIDE), 0, Verdict::Good),
        (ending, lenient.clone(), ip(INSIDE), 1, refused(Refusal::Ended)),
        (terms(), days_90.clone(), ip(INSIDE), 89, Verdict::Good),
        (terms(), days_90.clone(), ip(INSIDE), 90, week_after(90, Breach::OverAge)),
        (terms(), days_90.clone(), ip(INSIDE), 96, week_after(90, Breach::OverAge)),
        (terms(), days_90.clone(), ip(INSIDE), 97, refused(Refusal::OverAge)),
        (flagged_on(400), days_90.clone(), ip(INSIDE), 406, week_after(400, Breach::OverAge)),
        (flagged_on(400), days_90.clone(), ip(INSIDE), 407, refused(Refusal::OverAge)),
        (flagged_on(10), days_90, ip(INSIDE), 90, week_after(90, Breach::OverAge)),
        (terms(), at_once.clone(), ip(INSIDE), 89, Verdict::Good),
        (terms(), at_once.clone(), ip(INSIDE), 90, refused(Refusal::OverAge)),
        (flagged_on(400), at_once, ip(INSIDE), 400, refused(Refusal::OverAge)),
        (unscoped.clone(), lenient, ip(INSIDE), 400, Verdict::Good),
        (unscoped.clone(), KeyRestrictions::default(), ip(INSIDE), 6, week_after(0, Breach::NoScope)),
        (unscoped, KeyRestrictions::default(), ip(INSIDE), 7, refused(Refusal::NoScope)),
        (terms(), bound.clone(), ip(INSIDE), 0, refused(Refusal::WrongAddress)),
        (own_ranges.clone(), bound.clone(), ip(INSIDE), 0, Verdict::Good),
        (own_ranges.clone(), bound.clone(), ip(OUTSIDE), 0, refused(Refusal::WrongAddress)),
        (own_ranges.clone(), bound.clone(), ip("::ffff:203.0.113.9"), 0, Verdict::Good),
        (own_ranges, bound, None, 0, refused(Refusal::WrongAddress)),
        (terms(), inside_only.clone(), ip(INSIDE), 0, Verdict::Good),
        (terms(), inside_only, ip(OUTSIDE), 0, refused(Refusal::WrongAddress)),
    ];
    for (row, (terms, restrictions, ip, day, expected)) in table.into_iter().enumerate() {
        let verdict = judge(&terms, &restrictions, ip, made_at() + DAY * day);
        assert_eq!(verdict, expected, "row {row}, day {day}");
    }
}

#[test]
fn the_lower_of_two_rates_holds() {
    let key = |rate| KeyTerms { requests_per_minute: rate, ..terms() };
    let organization = |rate| KeyRestrictions { max_requests_per_minute: rate, ..KeyRestrictions::default() };
    for (own, demanded, expected) in [
        (None, None, None),
        (Some(10), None, Some(10)),
        (None, Some(20), Some(20)),
        (Some(10), Some(20), Some(10)),
        (Some(30), Some(20), Some(20)),
    ] {
        assert_eq!(effective_rate(&key(own), &organization(demanded)), expected, "{own:?} {demanded:?}");
    }
}

#[test]
fn restrictions_are_read_strictly_and_kept_in_bounds() {
    let read = |text: &str| serde_json::from_str::<KeyRestrictions>(text);
    assert_eq!(read("{}").unwrap(), KeyRestrictions::default());
    let written = serde_json::to_string(&KeyRestrictions::default()).unwrap();
    assert_eq!(read(&written).unwrap(), KeyRestrictions::default());
    for wrong in [r#"{"max_age":1}"#, r#"{"creation":"nobody"}"#, r#"{"allowed_ranges":["10.0.0.1/8"]}"#] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    for (text, field) in [
        (r#"{"max_age_days":0}"#, "api_keys.max_age_days"),
        (r#"{"max_age_days":3651}"#, "api_keys.max_age_days"),
        (r#"{"max_requests_per_minute":0}"#, "api_keys.max_requests_per_minute"),
        (r#"{"max_requests_per_minute":60001}"#, "api_keys.max_requests_per_minute"),
    ] {
        assert_eq!(read(text).unwrap().validate().unwrap_err().param.as_deref(), Some(field), "{text}");
    }
    let most = r#"{"max_age_days":3650,"max_requests_per_minute":60000,"require_ip_binding":true}"#;
    assert!(read(most).unwrap().validate().is_ok());
}

#[test]
fn people_are_told_where_a_key_stands_and_when_it_is_refused() {
    let days_90 = KeyRestrictions { max_age_days: Some(90), ..KeyRestrictions::default() };
    let bound = KeyRestrictions { require_ip_binding: true, ..days_90.clone() };
    let expiring = KeyTerms { expires_at: Some(made_at() + DAY), ..terms() };
    let ending = KeyTerms { ends_at: Some(made_at() + DAY), ..expiring.clone() };
    let day = |day: u32| made_at() + DAY * day;
    // what the key was given, what is demanded, on which day, its status, what it breaks, from when it is refused
    let table = [
        (terms(), days_90.clone(), 89, Active, vec![], None),
        (terms(), days_90.clone(), 90, RotationRequired, vec![OverAge], Some(day(97))),
        (terms(), days_90.clone(), 200, RotationRequired, vec![OverAge], Some(day(97))),
        (terms(), bound.clone(), 0, RotationRequired, vec![NoIpBinding], Some(day(0))),
        (terms(), bound, 90, RotationRequired, vec![OverAge, NoIpBinding], Some(day(0))),
        (expiring.clone(), days_90.clone(), 0, Active, vec![], None),
        (expiring, days_90.clone(), 1, Expired, vec![], None),
        (ending.clone(), days_90.clone(), 0, Active, vec![], None),
        (ending, days_90, 1, Revoked, vec![], None),
    ];
    for (row, (terms, restrictions, on, status, violations, refused_from)) in table.into_iter().enumerate() {
        let expected = KeyStanding { status, violations, refused_from };
        assert_eq!(standing(&terms, &restrictions, day(on)), expected, "row {row}");
    }
}

#[test]
fn a_key_is_flagged_when_demands_come_that_it_does_not_meet_and_only_then() {
    let lenient = KeyRestrictions::default();
    let days =
        |max_age_days| KeyRestrictions { max_age_days: Some(max_age_days), ..KeyRestrictions::default() };
    let now = made_at() + DAY * 100;
    let flagged = KeyTerms { flagged_at: Some(made_at() + DAY * 95), ..terms() };
    assert_eq!(flagged_at(&terms(), &lenient, &days(90), now), Some(now));
    assert_eq!(flagged_at(&terms(), &lenient, &days(365), now), None);
    assert_eq!(flagged_at(&flagged, &days(90), &days(60), now), flagged.flagged_at, "it was told before");
    assert_eq!(flagged_at(&flagged, &days(90), &days(365), now), None);
}

#[test]
fn what_comes_to_be_demanded_takes_no_days_that_somebody_was_told() {
    let days = |max| KeyRestrictions { max_age_days: Some(max), ..KeyRestrictions::default() };
    let without_scope = KeyTerms { scope: None, ..terms() };
    let unscoped = KeyRestrictions { require_scope: false, ..days(90) };
    let scoped = KeyRestrictions { require_scope: true, ..days(90) };
    let at_once = KeyRestrictions { enforce_immediately: true, ..days(90) };
    let day = |day: u32| made_at() + DAY * day;
    // what the key was given, what was demanded, what comes to be, on which day, from when it is then refused
    let table = [
        (terms(), days(90), days(60), 92, 97),
        (terms(), days(90), days(60), 89, 96),
        (terms(), days(90), days(120), 92, 127),
        (without_scope.clone(), unscoped.clone(), scoped.clone(), 92, 97),
        (without_scope, unscoped, scoped, 30, 37),
        (terms(), days(90), at_once, 92, 90),
    ];
    for (row, (given, before, after, on, expected)) in table.into_iter().enumerate() {
        let flagged = KeyTerms { flagged_at: flagged_at(&given, &before, &after, day(on)), ..given };
        let later = standing(&flagged, &after, day(200));
        assert_eq!(later.refused_from, Some(day(expected)), "row {row}");
    }
}

#[test]
fn terms_exceed_others_where_they_let_more_through() {
    let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let given = KeyTerms {
        ranges: ranges(&["203.0.113.0/24", "2001:db8::/32"]),
        requests_per_minute: Some(60),
        expires_at: Some(made_at() + DAY),
        ..terms()
    };
    assert!(!given.exceed(&given));
    let more = [
        KeyTerms { scope: Some(Scope::Admin), ..given.clone() },
        KeyTerms { ranges: Vec::new(), ..given.clone() },
        KeyTerms { ranges: ranges(&["203.0.113.0/24", "2001:db8::/32", "198.51.100.0/24"]), ..given.clone() },
        KeyTerms { ranges: ranges(&["203.0.112.0/23", "2001:db8::/32"]), ..given.clone() },
        KeyTerms { requests_per_minute: Some(61), ..given.clone() },
        KeyTerms { requests_per_minute: None, ..given.clone() },
        KeyTerms { expires_at: Some(made_at() + DAY * 2), ..given.clone() },
        KeyTerms { expires_at: None, ..given.clone() },
    ];
    for terms in more {
        assert!(terms.exceed(&given) && !given.exceed(&terms), "{terms:?}");
    }
    let nothing = KeyTerms { scope: None, ..terms() };
    let reading = KeyTerms { scope: Some(Scope::ReadOnly), ..terms() };
    assert!(!nothing.exceed(&reading) && !reading.exceed(&nothing), "without a scope it reads only");
    let narrow = KeyTerms { ranges: ranges(&["203.0.113.7/32"]), ..given.clone() };
    assert!(!narrow.exceed(&given) && given.exceed(&narrow));
}

#[test]
fn what_a_key_may_not_be_given_is_named() {
    let strict = KeyRestrictions {
        require_ip_binding: true,
        max_requests_per_minute: Some(60),
        ..KeyRestrictions::default()
    };
    let good = KeyTerms {
        ranges: vec!["203.0.113.0/24".parse().unwrap()],
        requests_per_minute: Some(60),
        expires_at: Some(made_at() + DAY),
        ..terms()
    };
    let check = |kind, terms: &KeyTerms| strict.check_terms(kind, terms, made_at());
    for kind in KeyKind::ALL {
        assert!(check(*kind, &good).is_ok());
    }
    let read_only = KeyTerms { scope: Some(Scope::ReadOnly), ..good.clone() };
    assert!(check(KeyKind::Access, &read_only).is_ok());
    let table = [
        (KeyKind::Gateway, read_only, "scope"),
        (KeyKind::Access, KeyTerms { scope: None, ..good.clone() }, "scope"),
        (KeyKind::Access, KeyTerms { ranges: Vec::new(), ..good.clone() }, "ip_ranges"),
        (KeyKind::Access, KeyTerms { requests_per_minute: Some(61), ..good.clone() }, "requests_per_minute"),
        (KeyKind::Access, KeyTerms { requests_per_minute: Some(0), ..good.clone() }, "requests_per_minute"),
        (KeyKind::Access, KeyTerms { expires_at: Some(made_at()), ..good }, "expires_at"),
    ];
    for (kind, terms, field) in table {
        assert_eq!(check(kind, &terms).unwrap_err().param.as_deref(), Some(field));
    }
}

#[test]
fn a_key_in_a_query_is_seen_by_its_name_or_its_looks() {
    let key = KeyText::generate(KeyKind::Access, &mut Random::seeded(1));
    let key = key.expose();
    let encoded = key.replace('_', "%5F");
    for (query, is_seen) in [
        ("key=x", true),
        ("a=b&API_KEY=", true),
        ("apikey", true),
        ("access%5Ftoken=x", true),
        (&*format!("q={key}"), true),
        (&*format!("q={encoded}"), true),
        (&*format!("q={key}x"), false),
        ("", false),
        ("keys=1&api-version=2024-06-01&beta=true", false),
        ("q=key", false),
    ] {
        assert_eq!(stands_in_query(query), is_seen, "{query}");
    }
}
