use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Strings that have broken one log format or another.
const HOSTILE: &[&str] = &[
    "",
    "\n",
    "a\r\nb",
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "nul\0nul",
    "tab\tpipe|comma,semicolon;",
    "\"},\"hash\":\"00\",\"seq\":1}\n{\"event\":{",
    "back\\slash \\u0041",
    "\u{7f}\u{80}\u{85}\u{2028}\u{2029}\u{feff}",
    "\u{202e}right to left",
    "non-BMP \u{1f600}\u{10ffff}",
    "\u{8}\u{c}",
];

fn event_with(text: &str) -> Event {
    let mut event = Event::new(EventType::Decision, text.to_owned(), text.to_owned(), text.into());
    event.config_version = Some(text.into());
    event.consumer_group = Some(text.into());
    event.cost_micros = Some(2);
    event.count = Some(u64::MAX);
    event.currency = Some(text.into());
    event.deny_range = Some(text.into());
    event.duration_ms = Some(0);
    event.failed_attempts = Some(vec![FailedAttempt { reason_code: text.into(), target_id: text.into() }]);
    event.input_tokens = Some(1);
    event.key_id = Some(text.into());
    event.limited_by = Some(text.into());
    event.matched_rule = Some(MatchedRule::NotAllowed);
    event.method = Some(text.to_owned());
    event.model = Some(text.to_owned());
    event.output_tokens = Some(9_007_199_254_740_993);
    event.peer_ip = Some("::1".parse().unwrap());
    event.policies_evaluated = Some(vec![PolicyEvaluation::new(text.into(), Verdict::Redact)]);
    event.provider = Some(text.into());
    event.reason_code = Some(text.into());
    event.request_id = Some(text.to_owned());
    event.request_path = Some(text.to_owned());
    event.route = Some(text.into());
    event.since = Some(text.to_owned());
    event.source_ip = Some("192.0.2.1".parse().unwrap());
    event.status = Some(200);
    event.stream = Some(true);
    event.target_id = Some(text.into());
    event.upstream_ms = Some(3);
    event.usage_estimated = Some(true);
    event.user_id = Some(text.into());
    event.verdict = Some(Verdict::Escalate);
    event
}

/// RFC 8785 for what events hold, written a second time: section 3.2.2.2 for strings, 3.2.3 for the order of keys.
fn rfc_8785(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let mut out = String::from('"');
            for c in text.chars() {
                match c {
                    '\u{8}' => out.push_str("\\b"),
                    '\t' => out.push_str("\\t"),
                    '\n' => out.push_str("\\n"),
                    '\u{c}' => out.push_str("\\f"),
                    '\r' => out.push_str("\\r"),
                    '"' => out.push_str("\\\""),
                    '\\' => out.push_str("\\\\"),
                    c if u32::from(c) < 0x20 => out.extend(format!("\\u{:04x}", u32::from(c)).chars()),
                    c => out.push(c),
                }
            }
            out + "\""
        }
        Value::Array(items) => format!("[{}]", items.iter().map(rfc_8785).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let mut keys: Vec<&String> = members.keys().collect();
            keys.sort_by_key(|key| key.encode_utf16().collect::<Vec<_>>());
            let member = |key: &String| format!("\"{key}\":{}", rfc_8785(&members[key]));
            format!("{{{}}}", keys.into_iter().map(member).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

fn assert_canonical(event: &Event) {
    let written = serde_json::to_string(event).unwrap();
    let value: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written, rfc_8785(&value));
    assert_eq!(written.as_bytes(), canonical(written.as_bytes()).unwrap());
    assert_eq!(serde_json::from_str::<Event>(&written).unwrap(), *event);
}

#[test]
fn an_event_is_written_in_its_canonical_form() {
    for text in HOSTILE {
        assert_canonical(&event_with(text));
    }
    assert_canonical(&Event::new(
        EventType::IpDenied,
        "evt_1".into(),
        "2026-01-01T00:00:00.000Z".into(),
        "gw".into(),
    ));
}

#[test]
fn every_field_of_an_event_is_in_the_test_above() {
    let value = serde_json::to_value(event_with("x")).unwrap();
    assert_eq!(value.as_object().unwrap().len(), 35);
}

proptest! {
    #[test]
    fn any_text_is_written_in_its_canonical_form(text: String) {
        assert_canonical(&event_with(&text));
    }

    /// The spelling of a JSON text does not change what is hashed.
    #[test]
    fn a_pretty_printed_entry_is_the_same_record(text: String) {
        let line = line_of(&event_with(&text));
        let value: Value = serde_json::from_slice(&line).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let read = Record::from_json(pretty.as_bytes()).unwrap();
        prop_assert!(start().is_followed_by(&read));
        prop_assert!(start().is_followed_by(&Record::from_written(&line).unwrap()));
    }

    #[test]
    fn reading_never_panics(text: Vec<u8>) {
        let _ = (Record::from_written(&text), Record::from_json(&text), canonical(&text));
    }
}

fn start() -> Head {
    Head { seq: 0, hash: Hash::genesis("gw_test", &PublicKey([7; 32])) }
}

fn line_of(event: &Event) -> Vec<u8> {
    let mut line = Vec::new();
    start().append(&Entry::Event(event), &mut line).unwrap();
    line
}

#[test]
fn a_line_stays_one_line_and_cannot_be_broken_out_of() {
    for text in HOSTILE {
        let line = line_of(&event_with(text));
        assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
        assert!(line.iter().all(|byte| *byte >= 0x20 || *byte == b'\n'), "{text:?}");
        let record = Record::from_written(&line).unwrap();
        assert_eq!((record.seq, record.kind), (1, Kind::Event));
        assert_eq!(serde_json::from_slice::<Event>(record.content()).unwrap(), event_with(text));
    }
}

#[test]
fn the_hash_is_the_one_that_the_format_states() {
    // Both computed with another implementation of SHA-256, from the reference page alone.
    let genesis = "f7369705c1a22fe5ee794efdfcd08d254a47307315761381632602ee59303414";
    let first = "3c1ef464e96bc8676cd404833b268c02e2ec38da8089d82db9bccf50f5e59016";
    let timestamp = "2026-01-01T00:00:00.000Z".to_owned();
    let event = Event::new(EventType::IpDenied, "evt_1".into(), timestamp, "gw_test".into());
    let mut head = start();
    assert_eq!(head.hash.to_string(), genesis);
    head.append(&Entry::Event(&event), &mut Vec::new()).unwrap();
    assert_eq!(head.hash.to_string(), first);
}

#[test]
fn a_record_follows_only_its_own_place() {
    let mut head = start();
    let mut lines = Vec::new();
    for id in ["a", "b"] {
        head.append(&Entry::Event(&event_with(id)), &mut lines).unwrap();
    }
    let lines: Vec<&[u8]> = lines.split_inclusive(|byte| *byte == b'\n').collect();
    let [first, second] = [0, 1].map(|n: usize| Record::from_written(lines[n]).unwrap());
    assert!(start().is_followed_by(&first));
    assert!(!start().is_followed_by(&second));
    assert!(first.head().is_followed_by(&second));
    assert!(!second.head().is_followed_by(&second));
    assert_eq!(second.head(), head);
    assert_ne!(start().hash, Hash::genesis("gw_other", &PublicKey([7; 32])));
    assert_ne!(start().hash, Hash::genesis("gw_test", &PublicKey([8; 32])));
}

#[test]
fn what_two_readers_could_take_differently_is_no_record() {
    let hash = start().hash;
    let refused = [
        format!(r#"{{"event":{{"status":200,"status":403}},"hash":"{hash}","seq":1}}"#),
        format!(r#"{{"event":{{}},"event":{{}},"hash":"{hash}","seq":1}}"#),
        format!(r#"{{"event":{{}},"checkpoint":{{}},"hash":"{hash}","seq":1}}"#),
        format!(r#"{{"event":{{"status":2.5}},"hash":"{hash}","seq":1}}"#),
        format!(r#"{{"event":{{"é":1}},"hash":"{hash}","seq":1}}"#),
        format!(r#"{{"event":{{}},"hash":"{hash}","seq":"1"}}"#),
        format!(r#"{{"event":{{}},"hash":"{}","seq":1}}"#, hash.to_string().to_uppercase()),
        format!(r#"{{"other":{{}},"hash":"{hash}","seq":1}}"#),
        format!(r#"{{"event":{{}},"hash":"{hash}"}}"#),
        "[]".to_owned(),
        String::new(),
    ];
    for text in refused {
        assert!(Record::from_json(text.as_bytes()).is_err(), "{text}");
    }
    let control = format!(r#"{{"seq": 1, "hash": "{hash}", "event": {{"status": 200}}}}"#);
    assert!(Record::from_json(control.as_bytes()).is_ok());
}

#[test]
fn a_checkpoint_signs_everything_but_its_signature() {
    let checkpoint = Checkpoint {
        gateway_id: "gw_test".into(),
        hash: start().hash,
        key_id: PublicKey([7; 32]).id(),
        seq: 5,
        signature: String::new(),
        timestamp: "2026-01-01T00:00:00.000Z".into(),
    };
    let signed = checkpoint.clone().signed(&[9; 64]);
    assert_eq!(signed.message(), checkpoint.message());
    assert_eq!(signed.signature(), Some([9; 64]));
    assert_eq!(checkpoint.signature(), None);
    assert_ne!(Checkpoint { seq: 6, ..checkpoint.clone() }.message(), checkpoint.message());
    assert!(
        checkpoint.message().starts_with(b"keeptrusts event log v1 checkpoint\n{\"gateway_id\":\"gw_test\"")
    );
}
