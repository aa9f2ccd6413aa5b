//! Starting: what is announced, what is warned of, and what keeps a gateway from starting.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::process::{Place, Process};
use super::{ECHO, Http, verified, wait_for};
use crate::plane::Home;
use crate::{complaint, said};

/// The exit status and the complaints of a gateway that does not start.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn both_listeners_answer_once_it_is_ready() {
    let place = Place::with(ECHO);
    let process = place.start(&[]);
    for address in [process.gateway(), process.admin()] {
        assert_eq!(Http::connect(address).unwrap().get("/readyz").unwrap().status, 200);
    }
    assert_eq!(Http::connect(process.gateway()).unwrap().chat().unwrap().status, 200);
    let wrong = process.ask_admin("/v1/events?limit=0");
    assert_eq!((wrong.status, wrong.code()), (422, "validation_error".to_owned()));
    assert_eq!(wrong.json()["error"]["param"], "limit");
    process.terminate();
}

#[test]
fn events_are_read_from_the_operators_listener_with_its_token_alone() {
    let place = Place::with(ECHO);
    let process = Process::spawn(place.command(&[]).env("KEEPTRUSTS_ADMIN_TOKEN", "open-sesame"));
    let url = format!("http://{}", process.admin());
    let tail = |token: Option<&str>, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kt"));
        command.args(["events", "tail", "--admin-url", &url]).args(more).env_remove("KEEPTRUSTS_ADMIN_TOKEN");
        command.envs(token.map(|token| ("KEEPTRUSTS_ADMIN_TOKEN", token))).output().unwrap()
    };
    for token in [None, Some("open-barley")] {
        said(&tail(token, &[]), 3);
    }
    said(&tail(Some("open-sesame"), &[]), 0);
    let wrong = tail(Some("open-sesame"), &["--verdict", "nonsense"]);
    said(&wrong, 2);
    assert!(complaint(&wrong).contains("answered 422: the parameter \"verdict\""), "{}", complaint(&wrong));
    process.terminate();
}

#[test]
fn a_configuration_that_is_not_valid_starts_nothing_and_every_finding_is_named() {
    let place = Place::with("cors: {enabled: maybe, origins: []}\nip_allowlist: {allow: [10.0.0.1/8]}\n");
    let (status, errors) = refused(place.command(&[]));
    assert_eq!(status, Some(2));
    for code in ["E006", "E002", "E009"] {
        assert!(errors.contains(code), "{code} is missing: {errors}");
    }
    assert!(!place.data_dir().exists(), "nothing was made");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let place = Place::with(ECHO);
    let (status, errors) = refused(place.command(&["--policy-config", "missing.yaml"]));
    assert_eq!(status, Some(2));
    assert!(errors.contains("missing.yaml"), "{errors}");
}

#[test]
fn an_operators_listener_for_strangers_needs_a_token() {
    let place = Place::with(ECHO);
    let (status, errors) = refused(place.command_on("127.0.0.1:0", "0.0.0.0:0", &[]));
    assert_eq!(status, Some(2));
    assert!(errors.contains("KEEPTRUSTS_ADMIN_TOKEN"), "{errors}");
}

#[test]
fn a_port_that_is_taken_is_a_failure_with_what_to_do_about_it() {
    let place = Place::with(ECHO);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (listen, admin_listen) in [(&*address, "off"), ("127.0.0.1:0", &*address)] {
        let (status, errors) = refused(place.command_on(listen, admin_listen, &[]));
        assert_eq!(status, Some(1), "{errors}");
        for words in [&*address, "`--listen`", "`--admin-listen`", "`--take-over`"] {
            assert!(errors.contains(words), "{words} is missing: {errors}");
        }
    }
    let (_, errors) = refused(place.command_on("192.0.2.1:0", "off", &[]));
    assert!(errors.contains("cannot listen on 192.0.2.1:0"), "{errors}");
    assert!(!errors.contains("`--take-over`"), "the address is not this machine's: {errors}");
}

#[test]
fn a_name_in_the_place_of_an_address_is_refused_with_an_example() {
    let place = Place::with(ECHO);
    let (status, errors) = refused(place.command_on("localhost", "off", &[]));
    assert_eq!(status, Some(2), "{errors}");
    assert!(errors.contains("localhost") && errors.contains("as in 127.0.0.1:41002"), "{errors}");
}

#[test]
fn the_address_of_an_api_in_the_environment_alone_connects_nothing_and_stops_nothing() {
    let place = Place::with(ECHO);
    let process = Process::spawn(place.command(&[]).env("KEEPTRUSTS_API_URL", "http://api:8080"));
    process.complains_of("KEEPTRUSTS_GATEWAY_TOKEN connects it");
    assert_eq!(Http::connect(process.gateway()).unwrap().chat().unwrap().status, 200);
}

#[test]
fn what_is_only_unwise_is_warned_of() {
    let place = Place::with(
        "
pack: {name: test, version: 1.0.0}
providers:
  targets:
    - {id: keyless, provider: openai, secret_key_ref: {env: KEEPTRUSTS_TEST_UNSET}}
    - {id: echo, provider: echo}
",
    );
    let process = Process::spawn(&mut place.command_on("0.0.0.0:0", "127.0.0.1:0", &[]));
    for words in ["KEEPTRUSTS_TEST_UNSET", "`auth`", "`ip_allowlist`"] {
        process.complains_of(words);
    }
    assert_eq!(Http::connect(process.gateway()).unwrap().get("/readyz").unwrap().status, 200);
}

/// A standard error that takes nothing: a full disk, or a pipe that nobody reads any more.
fn deaf_ears() -> [(&'static str, Stdio); 2] {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (_, unread) = std::io::pipe().unwrap();
    [("a full disk", full.into()), ("a pipe without a reader", unread.into())]
}

#[test]
fn a_log_that_cannot_be_written_keeps_a_gateway_from_nothing() {
    for (what, errors) in deaf_ears() {
        let place = Place::with(ECHO);
        let mut process = Process::spawn_complaining_to(errors, &mut place.command(&[]));
        let version = || process.ask_admin("/keeptrusts/config").json()["config_version"].to_string();
        let before = version();
        place.write_config(&format!("{ECHO}cors: {{enabled: true}}\n"));
        process.signal(Signal::HUP);
        // Both what is not changed and what is changed is logged.
        process.signal(Signal::HUP);
        wait_for("the change to be in force", || (version() != before).then_some(()));
        let answer = Http::connect(process.gateway()).unwrap().chat().unwrap();
        assert_eq!(answer.status, 200, "{what}");
        process.signal(Signal::TERM);
        assert!(process.ended().success(), "{what}");
        assert_eq!(verified(&place.data_dir()).events, 1, "{what}");
    }
}

#[test]
fn a_log_that_cannot_be_written_keeps_everything_else_from_nothing() {
    for (what, errors) in deaf_ears() {
        let home = Home::new();
        let mut command = home.command(&["up", "--data-dir", "data"]);
        for name in ["api", "console", "gateway", "gateway-admin"] {
            command.args([&*format!("--{name}-listen"), "127.0.0.1:0"]);
        }
        let mut process = Process::spawn_complaining_to(errors, &mut command);
        let answer = Http::connect(process.gateway()).unwrap().chat().unwrap();
        assert_eq!(answer.status, 200, "{what}");
        assert_eq!(Http::connect(process.api()).unwrap().get("/readyz").unwrap().status, 200, "{what}");
        process.signal(Signal::TERM);
        assert!(process.ended().success(), "{what}");
    }
}
