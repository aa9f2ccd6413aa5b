//! `kt events …` on a log that a gateway left behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kt_domain::clock::{Clock, SystemClock};
use kt_domain::events::{Event, EventType, Verdict};
use kt_store::event_log::{EventWriter, Options};
use serde_json::{Value, json};

use crate::complaint;
use crate::plane::{Home, PASSWORD, Plane};

struct Gateway {
    data_dir: tempfile::TempDir,
}

impl Gateway {
    /// Three refusals and a decision, whose path comes from somebody with bad intentions.
    fn with_events() -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        let anchor_file = Some(data_dir.path().join("anchor"));
        let options = Options {
            gateway_id: Some("gw_test".to_owned()),
            anchor_file,
            ..Options::new(Arc::new(SystemClock))
        };
        let writer = EventWriter::open(&data_dir.path().join("events"), &options).unwrap();
        for (n, event_type) in [(1, EventType::IpDenied), (2, EventType::IpDenied), (3, EventType::Decision)]
        {
            let timestamp = format!("2026-03-15T14:22:3{n}.000Z");
            let mut event = Event::new(event_type, format!("evt_{n}"), timestamp, "gw_test".into());
            event.request_path = Some(format!("/{n}\u{1b}[2J\r\n2026-03-15T14:22:39.000Z  decision"));
            event.request_id = Some(format!("req_{n}"));
            event.source_ip = Some(format!("192.0.2.{n}").parse().unwrap());
            event.verdict = (n == 3).then_some(Verdict::Block);
            writer.record(&event).unwrap();
        }
        drop(writer);
        Self { data_dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data_dir.path().join(name)
    }

    fn segment(&self) -> PathBuf {
        self.path("events/00000000000000000001.jsonl")
    }

    fn kt(&self, arguments: &[&str]) -> Output {
        let arguments: Vec<String> = arguments
            .iter()
            .map(|argument| argument.replace("{data}", self.data_dir.path().to_str().unwrap()))
            .collect();
        let arguments: Vec<&str> =
            ["events"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        super::kt(self.data_dir.path(), &arguments)
    }
}

/// What the events are called that were printed, one a line.
fn ids(text: &str) -> Vec<String> {
    let id = |line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    text.lines().map(id).collect()
}

#[track_caller]
fn said(output: &Output, status: i32) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from));
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn tail_shows_a_line_for_each_event_and_nothing_that_a_stranger_could_forge() {
    let gateway = Gateway::with_events();
    let text = said(&gateway.kt(&["tail", "--data-dir", "{data}"]), 0);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    for (n, line) in lines.iter().enumerate() {
        assert!(line.starts_with(&format!("2026-03-15T14:22:3{}.000Z  ", n + 1)), "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    let one = said(&gateway.kt(&["tail", "--data-dir", "{data}", "--event-type", "ip_denied", "-n", "1"]), 0);
    assert!(one.contains("ip_denied") && one.contains("/2\\u001b[2J\\u000d\\u000a"), "{one}");

    for (more, shown) in [
        (["--request-id", "req_2"], "evt_2"),
        (["--source-ip", "192.0.2.1"], "evt_1"),
        (["--verdict", "block"], "evt_3"),
        (["--gateway-id", "gw_test"], "evt_1 evt_2 evt_3"),
        (["--gateway-id", "gw_other"], ""),
        (["--since", "2026-03-15T14:22:32Z"], "evt_2 evt_3"),
    ] {
        let text = said(&gateway.kt(&["tail", "--data-dir", "{data}", "--json", more[0], more[1]]), 0);
        assert_eq!(ids(&text).join(" "), shown, "{more:?}");
    }

    let json = said(&gateway.kt(&["tail", "--data-dir", "{data}", "--json", "-n", "1"]), 0);
    let event: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(event["request_path"], "/3\u{1b}[2J\r\n2026-03-15T14:22:39.000Z  decision");
}

#[test]
fn whoever_is_signed_in_reads_the_events_that_gateways_delivered() {
    let plane = Plane::start();
    let token = plane.sign_in(PASSWORD).unwrap();
    let post = |what: &str, key: &str, body: Value| {
        plane.ask(&format!("POST {what}"), &format!("Authorization: Bearer {key}\r\n"), &body.to_string())
    };
    let made = post("/v1/tokens", &token, json!({ "type": "gateway", "name": "edge", "scope": "write" }));
    // Events by themselves are removed after a year.
    let began = SystemClock.now() - Duration::from_mins(1);
    let at = |n: u8| format!("{:.3}", began + Duration::from_secs(n.into()));
    let event = |n: u8| {
        json!({
            "id": format!("evt_{n}"), "event_type": if n == 3 { "decision" } else { "ip_denied" },
            "timestamp": at(n), "gateway_id": if n == 3 { "core" } else { "edge" },
            "request_id": format!("req_{n}"), "source_ip": format!("192.0.2.{n}"),
            "verdict": if n == 2 { "block" } else { "allow" },
        })
    };
    let delivered = json!({ "events": [event(1), event(2), event(3)] });
    assert_eq!(post("/v1/events", made["key"].as_str().unwrap(), delivered)["accepted"], 3);

    let kt = |arguments: &[&str]| said(&plane.kt(Some(&token), arguments), 0);
    let tail = kt(&["events", "tail"]);
    let shown: Vec<&str> = tail.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(shown, [at(1), at(2), at(3)]);
    let of = |more: [&str; 2]| ids(&kt(&["events", "tail", "--json", more[0], more[1]]));
    assert_eq!(of(["--event-type", "decision"]), ["evt_3"]);
    assert_eq!(of(["--request-id", "req_2"]), ["evt_2"]);
    assert_eq!(of(["--source-ip", "192.0.2.1"]), ["evt_1"]);
    assert_eq!(of(["--verdict", "block"]), ["evt_2"]);
    assert_eq!(of(["--gateway-id", "edge"]), ["evt_1", "evt_2"]);
    assert_eq!(of(["--since", &at(2)]), ["evt_2", "evt_3"]);
    let export = |more: &[&str]| {
        let text = kt(&[&["events", "export"], more].concat());
        let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
        events.collect::<Vec<Value>>()
    };
    assert_eq!(export(&[]), [event(3), event(2), event(1)]);
    assert_eq!(export(&["--since", &at(2), "--until", &at(3)]), [event(2)]);
    said(&plane.kt(Some("kt_wrong"), &["events", "tail"]), 3);

    let gateway = Gateway::with_events();
    let named = kt(&["events", "tail", "--data-dir", gateway.data_dir.path().to_str().unwrap()]);
    assert!(named.contains("\\u001b"), "a directory that is named comes first: {named}");
    said(&plane.home.kt(&["events", "tail"]), 1);
}

#[test]
fn whoever_follows_the_control_plane_sees_what_comes_late_as_well() {
    let plane = Plane::start();
    let token = plane.sign_in(PASSWORD).unwrap();
    let post = |what: &str, key: &str, body: Value| {
        plane.ask(&format!("POST {what}"), &format!("Authorization: Bearer {key}\r\n"), &body.to_string())
    };
    let made = post("/v1/tokens", &token, json!({ "type": "gateway", "name": "edge", "scope": "write" }));
    let now = SystemClock.now();
    let arrives = |id: &str, seconds_ago: u64| {
        let timestamp = format!("{:.3}", now - Duration::from_secs(seconds_ago));
        let event =
            json!({ "id": id, "event_type": "decision", "timestamp": timestamp, "gateway_id": "edge" });
        assert_eq!(
            post("/v1/events", made["key"].as_str().unwrap(), json!({ "events": [event] }))["accepted"],
            1
        );
    };
    arrives("evt_1", 60);
    arrives("evt_2", 30);
    let mut follows = plane.home.command(&["events", "tail", "--follow", "--json", "-n", "1"]);
    follows.env("KEEPTRUSTS_API_URL", plane.url()).env("KEEPTRUSTS_API_TOKEN", &token);
    let mut follows = follows.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follows.stdout.take().unwrap()).lines();
    let mut shown = || ids(&lines.next().unwrap().unwrap()).remove(0);
    assert_eq!(shown(), "evt_2");
    arrives("evt_late", 45);
    arrives("evt_3", 1);
    assert_eq!((shown(), shown()), ("evt_late".to_owned(), "evt_3".to_owned()));
    arrives("evt_4", 0);
    assert_eq!(shown(), "evt_4", "each is shown once");
    follows.kill().unwrap();
    follows.wait().unwrap();
}

#[test]
fn the_gateway_here_comes_before_an_address_that_only_the_environment_names() {
    let gateway = Gateway::with_events();
    let home = Home::new();
    fs::rename(gateway.data_dir.path(), home.path("keeptrusts-data")).unwrap();
    let export = |more: &[&str]| {
        let mut command = home.command(&[&["events", "export"], more].concat());
        command.env("KEEPTRUSTS_API_URL", "http://127.0.0.1:1").env("KEEPTRUSTS_API_TOKEN", "kt_x");
        command.output().unwrap()
    };
    let exported = export(&["--output", "export.jsonl"]);
    said(&exported, 0);
    assert!(
        complaint(&exported).contains("in ./keeptrusts-data; --api-url asks"),
        "{}",
        complaint(&exported)
    );
    assert!(said(&home.kt(&["events", "verify", "export.jsonl"]), 0).starts_with("verified: 3 events"));
    said(&export(&["--api-url", "http://127.0.0.1:1"]), 4);
    fs::remove_dir_all(home.path("keeptrusts-data")).unwrap();
    said(&export(&[]), 4);
}

#[test]
fn an_export_is_over_where_its_reader_has_gone_and_fails_where_the_disk_is_full() {
    let gateway = Gateway::with_events();
    let export = |output: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kt"));
        command.args(["events", "export", "--data-dir"]).arg(gateway.data_dir.path());
        let ended =
            command.stdout(output).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(export(writer.into()), (Some(0), String::new()));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(export(full.into()).0, Some(1));
    let (status, told) = export(Stdio::null());
    assert!(status == Some(0) && told.contains("exported 3 events"), "the control: {told}");
}

#[test]
fn an_export_verifies_until_it_is_touched() {
    let gateway = Gateway::with_events();
    let export = gateway.path("export.jsonl");
    let verify = [
        "verify",
        "{data}/export.jsonl",
        "--public-key",
        "{data}/events/signing.pub",
        "--anchor",
        "{data}/anchor",
    ];
    said(&gateway.kt(&["export", "--data-dir", "{data}", "--output", "{data}/export.jsonl"]), 0);
    let found = said(&gateway.kt(&verify), 0);
    assert!(found.starts_with("verified: 3 events of gateway gw_test"), "{found}");
    assert_eq!(
        fs::read_to_string(&export).unwrap(),
        said(&gateway.kt(&["export", "--data-dir", "{data}"]), 0)
    );

    edit(&export, "evt_2", "evt_9");
    let found = said(&gateway.kt(&verify), 1);
    assert!(found.starts_with("NOT VERIFIED: entry 4 was edited"), "{found}");
    assert!(found.contains("export.jsonl, line 4"), "{found}");
    let json: Value =
        serde_json::from_str(&said(&gateway.kt(&["verify", "--json", "{data}/export.jsonl"]), 1)).unwrap();
    assert_eq!((&json["valid"], &json["problem"]["kind"]), (&false.into(), &"edited".into()));
}

#[test]
fn a_line_that_is_still_written_is_told_in_text_as_in_json() {
    let gateway = Gateway::with_events();
    let verified = || said(&gateway.kt(&["verify", "{data}"]), 0);
    let whole = verified();
    assert!(!whole.contains("unfinished"), "{whole}");
    let begun = fs::read_to_string(gateway.segment()).unwrap() + "{\"seq\":";
    fs::write(gateway.segment(), begun).unwrap();
    let json: Value = serde_json::from_str(&said(&gateway.kt(&["verify", "--json", "{data}"]), 0)).unwrap();
    assert_eq!(json["unfinished_line"], true);
    assert!(verified().contains("an unfinished line"), "{}", verified());
}

#[test]
fn a_log_that_was_set_back_is_recognised_by_its_anchor() {
    let gateway = Gateway::with_events();
    assert!(said(&gateway.kt(&["verify", "{data}", "--anchor", "{data}/anchor"]), 0).contains("as expected"));
    let lines = fs::read_to_string(gateway.segment()).unwrap();
    fs::write(gateway.segment(), lines.split_inclusive('\n').take(2).collect::<String>()).unwrap();
    let alone = said(&gateway.kt(&["verify", "{data}"]), 0);
    assert!(alone.contains("give --anchor or --expect"), "{alone}");
    assert!(alone.contains("signed anew by whoever has its key"), "{alone}");
    let found = said(&gateway.kt(&["verify", "{data}", "--anchor", "{data}/anchor"]), 1);
    assert!(found.contains("end was cut off"), "{found}");
}

#[test]
fn a_log_of_which_nothing_holds_is_not_said_to_begin() {
    let gateway = Gateway::with_events();
    let verified = said(&gateway.kt(&["verify", "{data}"]), 0);
    assert!(verified.contains("with the first entry of the log"), "the control: {verified}");
    let lines = fs::read_to_string(gateway.segment()).unwrap();
    fs::write(gateway.segment(), lines.split_inclusive('\n').skip(1).collect::<String>()).unwrap();
    let found = said(&gateway.kt(&["verify", "{data}"]), 1);
    assert!(found.contains("does not begin a segment") && !found.contains("with the first entry"), "{found}");
}

#[test]
fn immutable_events_are_not_pruned() {
    let gateway = Gateway::with_events();
    assert_eq!(said(&gateway.kt(&["prune", "--data-dir", "{data}"]), 0), "nothing was removed\n");
    assert!(said(&gateway.kt(&["verify", "{data}"]), 0).starts_with("verified: 3 events"));
}

#[test]
fn wrong_use_is_status_2_and_what_is_not_there_status_1() {
    let gateway = Gateway::with_events();
    for arguments in [
        &["verify"][..],
        &["verify", "{data}", "--expect", "1:2"],
        &["verify", "{data}", "--public-key", "{data}/events/gateway_id"],
        &["tail", "--data-dir", "{data}", "--event-type", "nonsense"],
        &["tail", "--data-dir", "{data}", "--source-ip", "nowhere"],
        &["tail", "--data-dir", "{data}", "-n", "1001"],
        &["tail", "--admin-url", "ftp://x"],
        &["export", "--data-dir", "{data}", "--since", "yesterday"],
    ] {
        said(&gateway.kt(arguments), 2);
    }
    let unknown = complaint(&gateway.kt(&["tail", "--data-dir", "{data}", "--event-type", "nonsense"]));
    assert!(unknown.contains("expected one of auth_failed, decision, events_lost,"), "{unknown}");
    for arguments in [
        &["verify", "{data}/nothing.jsonl"][..],
        &["tail", "--data-dir", "{data}/nothing"],
        &["export", "--data-dir", "{data}", "--output", "{data}/anchor"],
        &["repair", "--data-dir", "{data}"],
    ] {
        said(&gateway.kt(arguments), 1);
    }
    said(&gateway.kt(&["tail", "--admin-url", "http://127.0.0.1:1"]), 4);
}
