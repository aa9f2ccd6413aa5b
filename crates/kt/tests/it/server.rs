//! `kt server run` and `kt up` as they begin, serve and end.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::plane::{EMAIL, Home, PASSWORD, Plane};
use crate::{complaint, said};

/// Where the console is, as the environment says it.
const PUBLIC_URL: &str = "KEEPTRUSTS_CONSOLE__PUBLIC_URL";

#[test]
fn the_first_owner_is_made_from_the_environment_once_and_for_all() {
    let (home, status) = Plane::start().terminate();
    assert!(status.success(), "it ends cleanly when it is told to");
    let plane = home.start_with_owner("second@acme.example", "another-Bright-kettle-5");
    assert!(plane.sign_in(PASSWORD).is_some(), "the first one is still the owner");
    let second = json!({ "email": "second@acme.example", "password": "another-Bright-kettle-5" });
    let refused = plane.ask("POST /v1/auth/login", "", &second.to_string());
    assert_eq!(refused["error"]["code"], "invalid_credentials");
}

#[test]
fn a_first_owner_who_is_named_in_part_stops_the_start() {
    let [email, password, organization] =
        ["EMAIL", "PASSWORD", "ORG"].map(|part| format!("KEEPTRUSTS_BOOTSTRAP_{part}"));
    let binary = OsStr::from_bytes(b"caf\xe9");
    for (given, missing) in [
        (vec![(&email, OsStr::new(EMAIL))], vec![&password]),
        (vec![(&password, OsStr::new(PASSWORD))], vec![&email]),
        (vec![(&organization, OsStr::new("acme"))], vec![&email, &password]),
        (vec![(&email, OsStr::new(EMAIL)), (&password, binary)], vec![&password]),
        (
            vec![(&email, OsStr::new(EMAIL)), (&password, OsStr::new(PASSWORD)), (&organization, binary)],
            vec![&organization],
        ),
    ] {
        let home = Home::new();
        let refused = home.server(&[]).envs(given.iter().copied()).output().unwrap();
        assert_eq!(said(&refused, 2), "", "{given:?}");
        let complaint = complaint(&refused);
        let names: Vec<_> = missing.iter().map(|name| name.as_str()).collect();
        assert!(
            complaint.contains(&format!("not set, or no text: {}\n", names.join(", "))),
            "{given:?}: {complaint}"
        );
        assert!(!complaint.contains("/setup?token="), "{given:?}: {complaint}");
    }
}

#[test]
fn a_first_owner_who_breaks_a_rule_stops_the_start_and_the_variable_at_fault_is_named() {
    let home = Home::new();
    for (email, password, organization, fault) in [
        (EMAIL, "kettle", "acme", "PASSWORD: "),
        (EMAIL, "another bright kettle 5", "acme", "PASSWORD: add an upper-case letter"),
        ("nobody", PASSWORD, "acme", "EMAIL: "),
        (EMAIL, PASSWORD, "Acme Ltd", "ORG: Use 2 to 63 characters"),
    ] {
        let parts = [("EMAIL", email), ("PASSWORD", password), ("ORG", organization)];
        let owner = parts.map(|(part, value)| (format!("KEEPTRUSTS_BOOTSTRAP_{part}"), value));
        let refused = home.server(&[]).envs(owner).output().unwrap();
        assert_eq!(said(&refused, 2), "", "{fault}");
        let complaint = complaint(&refused);
        assert!(complaint.contains(&format!("error: KEEPTRUSTS_BOOTSTRAP_{fault}")), "{complaint}");
        assert!(!complaint.contains(password) && !complaint.contains("/setup?token="), "{complaint}");
    }
    assert!(home.start().sign_in(PASSWORD).is_some(), "the control: what was refused left nothing behind");
}

#[test]
fn a_broken_configuration_stops_the_start_with_every_finding() {
    let home = Home::new();
    let broken = "api:\n  listen: nowhere\n  colour: blue\ndatabase:\n  url: mysql://db\n";
    std::fs::write(home.path("keeptrusts.yaml"), broken).unwrap();
    let refused = home.server(&["--config", "keeptrusts.yaml"]).output().unwrap();
    said(&refused, 2);
    let complaint = complaint(&refused);
    for finding in
        ["`nowhere` is no address", "no key `colour`", "`database.url` names", "keeptrusts.yaml:3:3"]
    {
        assert!(complaint.contains(finding), "{finding} in {complaint}");
    }
    assert!(!home.path("data").exists(), "nothing was made");
}

#[test]
fn a_console_at_an_ip_address_stops_the_start_since_no_passkey_belongs_to_one() {
    let (home, _) = Plane::start().terminate();
    for address in ["http://127.0.0.1:3000", "https://192.0.2.7", "http://[::1]:3000"] {
        let refused = home.server(&[]).env(PUBLIC_URL, address).output().unwrap();
        said(&refused, 2);
        let complaint = complaint(&refused);
        assert!(
            complaint.contains("console.public_url") && complaint.contains("Give the console a name"),
            "{complaint}"
        );
    }
    let plane = home.start_in(&[(PUBLIC_URL, "http://localhost:3000")]);
    assert!(plane.sign_in(PASSWORD).is_some(), "the control");
}

#[test]
fn a_key_that_others_can_read_stops_the_start() {
    let (home, _) = Plane::start().terminate();
    let key = home.path("data/secrets.key");
    let mode = |mode| std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    mode(0o640);
    let refused = home.server(&[]).output().unwrap();
    said(&refused, 1);
    assert!(complaint(&refused).contains("chmod 600"), "{}", complaint(&refused));
    mode(0o600);
    assert!(home.start().sign_in(PASSWORD).is_some(), "the control");
}

/// `kt up`, killed when it is dropped.
struct Everything(Child);

impl Drop for Everything {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One request, whose answer ends with its connection.
fn send(address: &str, what: &str, body: &Value) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    write!(
        stream,
        "{what} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let json = body.find('{').and_then(|start| Some(&body[start..=body.rfind('}')?]));
    (status, json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default())
}

#[test]
fn kt_up_is_set_up_by_the_link_that_it_prints_and_serves_everything() {
    let home = Home::new();
    let mut command = home.command(&[
        "up",
        "--data-dir",
        "data",
        "--api-listen",
        "127.0.0.1:0",
        "--console-listen",
        "127.0.0.1:0",
    ]);
    command.args(["--gateway-listen", "127.0.0.1:0", "--gateway-admin-listen", "127.0.0.1:0"]);
    let collector = "http://127.0.0.1:1";
    command.env("KEEPTRUSTS_TELEMETRY__OTLP_ENDPOINT", collector);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut everything = Everything(child);
    let mut lines = BufReader::new(everything.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let ready = lines.next().unwrap();
    let address = |name: &str| {
        let word =
            ready.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_else(|| panic!("{ready}"));
        word.trim_start_matches("=http://").to_owned()
    };
    let token = lines.find_map(|line| Some(line.split_once("/setup?token=")?.1.trim().to_owned())).unwrap();

    let set_up = json!({
        "token": token, "organization": "acme", "organization_name": "Acme", "email": EMAIL, "name": "Olive Owner",
        "password": PASSWORD,
    });
    let (status, made) = send(&address("api"), "POST /v1/setup", &set_up);
    assert_eq!(status, 201, "{made}");
    assert_eq!(send(&address("api"), "POST /v1/setup", &set_up).0, 409, "the door is closed");
    let (_, session) =
        send(&address("api"), "POST /v1/auth/login", &json!({ "email": EMAIL, "password": PASSWORD }));
    assert_eq!(session["status"], "authenticated", "{session}");

    let question = json!({ "model": "echo", "messages": [{ "role": "user", "content": "Hello" }] });
    assert_eq!(send(&address("gateway"), "POST /v1/chat/completions", &question).0, 200);
    let (_, events) = send(&address("admin"), "GET /v1/events?limit=1", &Value::Null);
    assert_eq!(events["events"][0]["event_type"], "decision", "{events}");
    let (_, shown) = send(&address("admin"), "GET /keeptrusts/config", &Value::Null);
    assert_eq!(shown.pointer("/config/telemetry/otlp_endpoint"), Some(&collector.into()), "{shown}");
}

#[test]
fn other_machines_are_not_listened_to_in_plain_text_unless_it_is_said() {
    let home = Home::new();
    for listeners in [["0.0.0.0:0", "127.0.0.1:0"], ["127.0.0.1:0", "0.0.0.0:0"]] {
        let [api, console] = listeners;
        let refused = home.kt(&[
            "server",
            "run",
            "--data-dir",
            "data",
            "--api-listen",
            api,
            "--console-listen",
            console,
        ]);
        said(&refused, 2);
        let why = complaint(&refused);
        assert!(why.contains("without TLS") && why.contains("server.allow_plain_http"), "{why}");
    }
}

#[test]
fn a_port_that_is_taken_is_a_failure_with_what_to_do_about_it() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    for (addresses, option) in [
        ([&*address, free, free, free], "`--api-listen`"),
        ([free, &*address, free, free], "`--console-listen`"),
        ([free, free, &*address, free], "`--gateway-listen`"),
        ([free, free, free, &*address], "`--gateway-admin-listen`"),
    ] {
        let mut command = home.command(&["up", "--data-dir", "data"]);
        for (name, address) in ["api", "console", "gateway", "gateway-admin"].iter().zip(addresses) {
            command.args([&*format!("--{name}-listen"), address]);
        }
        let refused = command.output().unwrap();
        assert_eq!(refused.status.code(), Some(1), "{option}");
        let why = complaint(&refused);
        assert!(why.contains(&address) && why.contains(option), "{option}: {why}");
        assert!(!why.contains("--take-over"), "it has no such option: {why}");
    }
}

#[test]
fn the_proxy_in_front_looks_whether_it_lives_without_forwarding_anybody() {
    let plane = Home::new().start_in(&[
        ("KEEPTRUSTS_SERVER__TRUSTED_PROXIES", "[127.0.0.1/32]"),
        ("KEEPTRUSTS_BOOTSTRAP_EMAIL", EMAIL),
        ("KEEPTRUSTS_BOOTSTRAP_PASSWORD", PASSWORD),
    ]);
    for path in ["GET /healthz", "GET /readyz"] {
        assert_eq!(plane.try_ask(path, "", "").unwrap().0, 200, "{path}");
    }
    let (status, error) = plane.refusal("GET /v1/whoami", "X-Forwarded-Proto: https\r\n", "");
    assert_eq!(
        (status, error["code"].as_str()),
        (403, Some("unresolved_source")),
        "what is forwarded names a client"
    );
    for of_a_client in ["X-Forwarded-For: 192.0.2.7\r\n", ""] {
        let refused = plane.refusal("GET /v1/whoami", of_a_client, "");
        assert_eq!(refused.1["code"], "missing_key", "the control: {of_a_client:?}");
    }
}

#[test]
fn the_api_answers_to_the_names_that_the_configuration_gives_it() {
    let owner = [("KEEPTRUSTS_BOOTSTRAP_EMAIL", EMAIL), ("KEEPTRUSTS_BOOTSTRAP_PASSWORD", PASSWORD)];
    let names = [
        ("KEEPTRUSTS_SERVER__HOSTS", "[internal.example]"),
        ("KEEPTRUSTS_API__PUBLIC_URL", "https://api.example.com"),
    ];
    let (listed, unlisted) = ([&owner[..], &names].concat(), owner.to_vec());
    for (variables, expected) in [(listed, 401), (unlisted, 421)] {
        let plane = Home::new().start_in(&variables);
        let ask = |host: &str| plane.try_ask_by(host, "GET /v1/whoami", "", "").unwrap().0;
        for host in ["internal.example", "internal.example:8080", "api.example.com"] {
            assert_eq!(ask(host), expected, "{host}");
        }
        assert_eq!(ask("evil.example"), 421);
        assert_eq!(ask("localhost"), 401);
        assert_eq!(ask(&plane.api), 401);
    }
}
