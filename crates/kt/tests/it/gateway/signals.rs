//! Signals: SIGTERM lets live streams finish, SIGHUP and a changed file put a new configuration in force.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use super::process::{Place, Process};
use super::{ECHO, Http, verified, wait_for};

/// A provider that streams what it is sent over a channel, for one request; and a gateway's configuration for it.
fn streaming_provider() -> (String, mpsc::Sender<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, pieces) = mpsc::channel::<&str>();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        // A small request comes in one piece; what it says does not matter here.
        let _ = client.read(&mut [0; 4096]).unwrap();
        client
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            .unwrap();
        for piece in pieces {
            client.write_all(piece.as_bytes()).unwrap();
        }
    });
    let target = format!("{{id: primary, provider: openai, base_url: 'http://{address}/v1'}}");
    (format!("pack: {{name: test, version: 1.0.0}}\nproviders: {{targets: [{target}]}}\n"), sender)
}

fn config_version(process: &Process) -> String {
    process.ask_admin("/keeptrusts/config").json()["config_version"].to_string()
}

#[test]
fn a_live_stream_is_finished_before_the_process_ends() {
    let (config, pieces) = streaming_provider();
    let place = Place::with(&config);
    let mut process = place.start(&[]);
    let mut client = Http::connect(process.gateway()).unwrap();
    client.begin_chat().unwrap();
    let head = client.head().unwrap();
    assert_eq!(head.status, 200);
    pieces.send("data: one\n\n").unwrap();
    client.wait_for("data: one\n\n").unwrap();

    process.signal(Signal::TERM);
    wait_for("the socket to be closed", || Http::connect(process.gateway()).is_err().then_some(()));
    pieces.send("data: two\n\n").unwrap();
    client.wait_for("data: two\n\n").unwrap();
    drop(pieces);
    client.wait_for("0\r\n\r\n").unwrap();
    assert!(process.ended().success());
    verified(&place.data_dir());
    assert!(super::recorded_requests(&place.data_dir()).contains(&head.request_id()));
}

#[test]
fn a_hang_up_and_a_changed_file_are_noticed() {
    let place = Place::with(ECHO);
    let process = place.start(&[]);
    let mut version = config_version(&process);
    for (change, asks) in
        [("size_limits: {max_request_body_bytes: 1000}", true), ("cors: {enabled: true}", false)]
    {
        place.write_config(&format!("{ECHO}{change}\n"));
        if asks {
            process.signal(Signal::HUP);
        }
        wait_for("the change to be in force", || (config_version(&process) != version).then_some(()));
        version = config_version(&process);
    }
    process.terminate();
}

#[test]
fn a_change_that_is_not_valid_is_reported_and_the_last_good_one_stays() {
    let place = Place::with(ECHO);
    let process = place.start(&[]);
    let version = config_version(&process);
    place.write_config(&format!(
        "{ECHO}cors: {{enabled: true, allow_origins: ['*'], allow_credentials: true}}\n"
    ));
    process.signal(Signal::HUP);
    process.complains_of("E011");
    assert_eq!(config_version(&process), version);
    assert_eq!(Http::connect(process.gateway()).unwrap().chat().unwrap().status, 200);
    process.terminate();
}

#[test]
fn each_finding_of_a_change_that_is_not_valid_is_one_line_of_the_log() {
    let place = Place::with(ECHO);
    let process = place.start(&[]);
    place.write_config(&format!("{ECHO}cors: {{enabled: maybe, origins: []}}\n"));
    process.signal(Signal::HUP);
    wait_for("both findings", || {
        (process.errors().matches("--> policy-config.yaml:5:").count() >= 2).then_some(())
    });
    let errors = process.errors();
    for code in ["error[E006]: ", "error[E002]: "] {
        let line = errors.lines().find(|line| line.contains(code)).unwrap_or_default();
        assert!(line.contains("--> policy-config.yaml:5:") && !line.contains("\\u000a"), "{errors}");
    }
    process.terminate();
}

#[test]
fn a_hang_up_without_a_change_is_not_told_as_one() {
    let place = Place::with(ECHO);
    let process = place.start(&[]);
    process.signal(Signal::HUP);
    process.complains_of("the configuration is as it was");
    assert!(!process.errors().contains("the configuration was changed"), "{}", process.errors());
    place.write_config(&format!("{ECHO}cors: {{enabled: true}}\n"));
    process.signal(Signal::HUP);
    process.complains_of("the configuration was changed");
    process.terminate();
}

#[test]
fn a_reload_that_opens_the_door_to_everybody_is_warned_of() {
    let keys = "auth: {mode: static, keys: [{id: app, secret_key_ref: {env: APP_KEY}}]}\n";
    let place = Place::with(&format!("{ECHO}{keys}"));
    let mut command = place.command_on("0.0.0.0:0", "127.0.0.1:0", &[]);
    let process = Process::spawn(command.env("APP_KEY", "a-key"));
    let version = config_version(&process);
    place.write_config(ECHO);
    process.signal(Signal::HUP);
    process.complains_of("can use this gateway");
    wait_for("it to be in force all the same", || (config_version(&process) != version).then_some(()));
    process.terminate();
}

#[test]
fn what_is_cut_off_at_the_end_of_the_drain_is_recorded() {
    let (config, pieces) = streaming_provider();
    let place = Place::with(&format!("{config}timeouts: {{drain: 200ms}}\n"));
    let mut process = place.start(&[]);
    let mut client = Http::connect(process.gateway()).unwrap();
    client.begin_chat().unwrap();
    let head = client.head().unwrap();
    pieces.send("data: one\n\n").unwrap();
    client.wait_for("data: one\n\n").unwrap();
    // Whoever asks twice does not lose what is recorded either.
    process.signal(Signal::TERM);
    process.signal(Signal::TERM);
    assert!(process.ended().success(), "{}", process.errors());
    assert!(process.errors().contains("requests were cut off"), "{}", process.errors());
    assert_eq!(verified(&place.data_dir()).events, 1);
    assert!(super::recorded_requests(&place.data_dir()).contains(&head.request_id()));
}

#[test]
fn a_reload_warns_of_what_the_start_would_have_warned_of() {
    let place = Place::with(ECHO);
    let process = place.start(&[]);
    assert!(!process.errors().contains("W009"), "the control: {}", process.errors());
    place.write_config(&format!("{ECHO}ip_allowlist: {{allow: [10.0.0.0/8]}}\n"));
    process.signal(Signal::HUP);
    process.complains_of("W009, policy-config.yaml:5:");
    process.terminate();
}

/// A pipe can be read once; whoever is to be kept out by what stood in it stays out.
#[test]
fn what_came_through_a_pipe_stays_in_force() {
    let place = Place::with(ECHO);
    let pipe = place.path("layer.yaml");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let writer = {
        let pipe = pipe.clone();
        thread::spawn(move || fs::write(pipe, "ip_allowlist: {enabled: true, allow: [192.0.2.1/32]}\n"))
    };
    let process = place.start(&["--policy-config", "layer.yaml"]);
    writer.join().unwrap().unwrap();
    let asked = || Http::connect(process.gateway()).unwrap().get("/v1/models").unwrap().status;
    assert_eq!(asked(), 403);
    let version = config_version(&process);
    place.write_config(&format!("{ECHO}cors: {{enabled: true}}\n"));
    process.signal(Signal::HUP);
    wait_for("the change to be in force", || (config_version(&process) != version).then_some(()));
    process.complains_of("cannot be read again");
    assert_eq!(asked(), 403);

    fs::remove_file(&pipe).unwrap();
    fs::write(&pipe, "cors: {enabled: true}\n").unwrap();
    process.signal(Signal::HUP);
    wait_for("the control: a file in its place is read", || (asked() == 200).then_some(()));
    process.terminate();
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
    let place = Place::with(ECHO);
    let process = place.start(&[]);
    let version = config_version(&process);
    let file = place.path("policy-config.yaml");
    fs::remove_file(&file).unwrap();
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    process.signal(Signal::HUP);
    process.complains_of("is no file any more");
    assert_eq!(config_version(&process), version);
    process.terminate();
}
