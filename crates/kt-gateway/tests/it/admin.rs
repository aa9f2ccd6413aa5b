//! The operator's listener: what it shows, what it never shows, and whom it does not serve.

use std::net::{Ipv4Addr, SocketAddr};

use kt_gateway::{Inherited, Keeping, StartError};

use crate::harness::{Answer, PROVIDER_KEY, Request, State, TestGateway};

fn gateway(yaml: &str) -> TestGateway {
    TestGateway::with_options(yaml, |options| options.admin_listen = Some((Ipv4Addr::LOCALHOST, 0).into()))
}

fn with_token(token: &str) -> TestGateway {
    TestGateway::with_options("", |options| {
        options.admin_listen = Some((Ipv4Addr::LOCALHOST, 0).into());
        options.admin_token = Some(token.to_owned());
    })
}

/// A request as an operator's tool sends it.
fn get(path: &str) -> Request {
    Request::new("GET", path)
}

fn ask(gateway: &TestGateway, request: &Request) -> Answer {
    let answer = gateway.connect_admin().ask(request);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer
}

#[test]
fn it_is_ready_while_events_can_be_recorded() {
    let gateway = gateway("");
    for (state, status) in [(State::Well, 200), (State::Unwritable, 503), (State::Well, 200)] {
        gateway.set_store(state);
        assert_eq!(ask(&gateway, &get("/healthz")).status, 200, "it lives in any case");
        for answer in [ask(&gateway, &get("/readyz")), gateway.ask(&Request::new("GET", "/readyz"))] {
            assert_eq!(answer.status, status);
            assert_eq!(answer.json()["status"], if status == 200 { "ready" } else { "not ready" });
        }
    }
}

/// One line of metrics: name, labels, value.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_label = |label: &str| {
        label.split_once('=').is_some_and(|(name, value)| {
            is_name(name) && value.len() >= 2 && value.starts_with('"') && value.ends_with('"')
        })
    };
    (is_name(name) && (labels.is_empty() || labels.split(',').all(is_label))).then_some(())?;
    Some((name, labels, value.parse().ok()?))
}

/// Whether a sample is one of the metric of this name: itself, a part of a histogram, or, in OpenMetrics, a counter's total.
fn describes(name: &str, sample: &str, is_older: bool) -> bool {
    let parts = ["", "_bucket", "_sum", "_count"];
    let of_counter = ["_total"].into_iter().filter(|_| !is_older);
    sample.strip_prefix(name).is_some_and(|end| parts.into_iter().chain(of_counter).any(|part| part == end))
}

#[test]
fn metrics_are_in_the_text_format_and_count() {
    let gateway = gateway("ip_allowlist: {enabled: true, allow: [127.0.0.1/32]}");
    let mut kept = gateway.connect();
    kept.ask(&Request::chat());
    gateway.connect_from([127, 0, 0, 9]).ask(&Request::chat());
    gateway.upstream.answer_as("500 Oh", "", "{}");
    kept.ask(&Request::chat());
    gateway.reload("cors: [").expect_err("it is not valid");

    for (accept, content_type, is_older) in [
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8", true),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", true),
        (PROMETHEUS, "application/openmetrics-text; version=1.0.0; charset=utf-8", false),
    ] {
        let answer = ask(&gateway, &get("/metrics").header("Accept", accept));
        assert_eq!(answer.header("content-type"), Some(content_type), "{accept}");
        let text = String::from_utf8(answer.body).expect("metrics are text");
        assert_eq!(text.ends_with("# EOF\n"), !is_older, "{text}");
        assert_metrics(&text, is_older);
    }
    let unasked = ask(&gateway, &get("/metrics"));
    assert_eq!(unasked.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
}

/// What Prometheus asks for since its version 2.5.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
                          text/plain;version=0.0.4;q=0.4,*/*;q=0.3";

/// That every line is one of the format, every sample is described under the name that the format asks for, and what
/// happened is there.
fn assert_metrics(text: &str, is_older: bool) {
    let mut samples = Vec::new();
    let mut described = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some("EOF") => {}
            Some(comment) => {
                let mut words = comment.split(' ');
                let (kind, name) = (words.next(), words.next().expect("a comment names its metric"));
                assert!(matches!(kind, Some("HELP" | "TYPE")), "{line}");
                described.push(name);
            }
            None => {
                let sample = sample(line).unwrap_or_else(|| panic!("no sample: {line}"));
                assert!(
                    described.iter().any(|name| describes(name, sample.0, is_older)),
                    "undescribed: {line}"
                );
                samples.push(sample);
            }
        }
    }
    for expected in [
        ("keeptrusts_gateway_requests_total", "outcome=\"allowed\"", 2.0),
        ("keeptrusts_gateway_requests_total", "outcome=\"ip_denied\"", 1.0),
        ("keeptrusts_gateway_upstream_faults_total", "code=\"upstream_failed\"", 1.0),
        ("keeptrusts_gateway_reloads_total", "accepted=\"false\"", 1.0),
        ("keeptrusts_gateway_request_duration_seconds_count", "", 3.0),
        ("keeptrusts_gateway_connections", "", 1.0),
        ("keeptrusts_gateway_requests_in_flight", "", 0.0),
    ] {
        assert!(samples.contains(&expected), "no {expected:?} in\n{text}");
    }
}

#[test]
fn the_shown_configuration_holds_no_secret() {
    let digest = "5c0de".repeat(13)[..64].to_owned();
    let gateway = gateway(&format!(
        "
auth: {{mode: static, keys: [{{id: app, sha256: {digest}}}, {{id: other, secret_key_ref: {{env: CLIENT_KEY}}}}]}}
providers:
  targets:
    - id: primary
      provider: openai
      base_url: http://UPSTREAM/v1
      secret_key_ref: {{env: PROVIDER_KEY}}
      headers: {{X-Api-Token: canary-in-a-header}}
"
    ));
    let answer = ask(&gateway, &get("/keeptrusts/config"));
    let shown = answer.json();
    assert_eq!(shown["config_version"], gateway.gateway.config_version());
    assert_eq!(shown["gateway_id"], "gw_test");
    assert_eq!(shown["config"]["auth"]["keys"][0]["sha256"], "***");
    assert_eq!(shown["config"]["providers"]["targets"][0]["headers"]["X-Api-Token"], "***");
    assert_eq!(shown["config"]["providers"]["targets"][0]["secret_key_ref"]["env"], "PROVIDER_KEY");
    let text = String::from_utf8(answer.body).expect("JSON is text");
    for secret in [&digest, "canary-in-a-header", PROVIDER_KEY, "client-key"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn a_reload_says_what_came_of_it() {
    let gateway = gateway("");
    let old = gateway.gateway.config_version();
    let reload = Request::new("POST", "/keeptrusts/config/reload");

    gateway.write_config("cors: {enabled: true, allow_origins: ['*'], allow_credentials: true}");
    let refused = ask(&gateway, &reload);
    assert_eq!(refused.outcome(), (422, "invalid_configuration".to_owned()));
    assert!(refused.json()["error"]["message"].as_str().is_some_and(|message| message.contains("E011")));
    assert_eq!(gateway.gateway.config_version(), old);

    gateway.write_config("cors: {enabled: true}");
    let accepted = ask(&gateway, &reload);
    assert_eq!(accepted.status, 200);
    assert_eq!(accepted.json()["config_version"], gateway.gateway.config_version());
    assert_ne!(gateway.gateway.config_version(), old);

    let wrong = ask(&gateway, &get("/keeptrusts/config/reload"));
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
}

#[test]
fn a_reload_lists_what_people_should_know_of_what_it_put_in_force() {
    let gateway = gateway("");
    let reload = Request::new("POST", "/keeptrusts/config/reload");
    let warnings = |yaml: &str| {
        gateway.write_config(yaml);
        let answer = ask(&gateway, &reload);
        assert_eq!(answer.status, 200, "{yaml}");
        answer.json()["warnings"].to_string()
    };
    let told = warnings("ip_allowlist: {allow: [10.0.0.0/8]}\ncors: {enabled: true, allow_origins: ['*']}\n");
    assert!(told.contains("W009, test.yaml:1:") && told.contains("W001, test.yaml:2:"), "{told}");
    assert_eq!(
        warnings("ip_allowlist: {enabled: true, allow: [127.0.0.0/8]}"),
        "[]",
        "the control: there is nothing to say"
    );

    let keys = "auth: {mode: static, keys: [{id: app, secret_key_ref: {env: CLIENT_KEY}}]}";
    gateway.set_environment("CLIENT_KEY", Some("client-key\n"));
    let told = warnings(keys);
    for part in ["auth.keys[0]", "CLIENT_KEY", "a line break at its end", "key `app` opens nothing", "printf"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    gateway.set_environment("CLIENT_KEY", Some("client-key"));
    assert_eq!(warnings(keys), "[]", "the control");
}

#[test]
fn a_reload_says_how_events_are_to_be_kept_from_now_on() {
    let gateway = gateway("");
    let before = gateway.keeping().expect("it says so at its start");
    gateway.write_config(
        "events: {anchor_file: elsewhere}\npolicies: {chain: [audit-logger]}\n\
         policy: {audit-logger: {retention_days: 200, immutable: true}}",
    );
    assert_eq!(gateway.keeping(), Some(before.clone()));
    assert_eq!(ask(&gateway, &Request::new("POST", "/keeptrusts/config/reload")).status, 200);
    let keeping = Keeping { days: 200, immutable: true, anchor_file: Some("elsewhere".into()) };
    assert_ne!(before, keeping);
    assert_eq!(gateway.keeping(), Some(keeping));
}

#[test]
fn events_are_read_here() {
    let gateway = gateway("");
    let answer = gateway.ask(&Request::chat());
    gateway.event_of(answer.request_id());
    let listed = ask(&gateway, &get("/v1/events?limit=1"));
    assert_eq!(
        (listed.status, &listed.json()["events"][0]["request_id"]),
        (200, &answer.request_id().into())
    );
}

#[test]
fn a_query_that_waits_for_a_disk_keeps_nothing_else_waiting() {
    let gateway = gateway("");
    let hangs = gateway.hang_disk();
    let mut patient = gateway.connect_admin();
    patient.send(get("/v1/events").bytes()).expect("the request is taken");
    for path in ["/healthz", "/readyz", "/metrics", "/keeptrusts/config"] {
        assert_eq!(ask(&gateway, &get(path)).status, 200, "{path}");
    }
    drop(hangs);
    assert_eq!(patient.answer().status, 200);
}

#[test]
fn a_name_that_was_made_point_here_is_refused() {
    let gateway = gateway("");
    for (host, status) in [
        ("127.0.0.1:41003", 200),
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("[::1]:41003", 200),
        ("127.8.9.10", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("192.0.2.1", 421),
    ] {
        for path in ["/keeptrusts/config", "/healthz", "/metrics"] {
            let answer = ask(&gateway, &Request::new("GET", path).without("Host").header("Host", host));
            assert_eq!(answer.status, status, "{host} {path}");
        }
    }
}

#[test]
fn no_web_page_is_served() {
    let gateway = gateway("");
    let version = gateway.gateway.config_version();
    gateway.write_config("cors: {enabled: true}");
    for (name, value) in [
        ("Origin", "http://127.0.0.1:41003"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let answer = ask(&gateway, &Request::new("POST", "/keeptrusts/config/reload").header(name, value));
        assert_eq!(answer.outcome(), (403, "browser_refused".to_owned()), "{name}: {value}");
        assert!(answer.headers_like("access-control-").is_empty());
    }
    assert_eq!(gateway.gateway.config_version(), version);
    assert_eq!(
        ask(&gateway, &get("/healthz").header("Sec-Fetch-Site", "none")).status,
        200,
        "typed by a person"
    );
}

#[test]
fn the_token_is_asked_for_where_there_is_something_to_guard() {
    let gateway = with_token("operators-only");
    for (path, is_guarded) in [
        ("/healthz", false),
        ("/readyz", false),
        ("/metrics", false),
        ("/keeptrusts/config", true),
        ("/v1/events", true),
        ("/anything", true),
    ] {
        let missing = ask(&gateway, &get(path));
        let wrong = ask(&gateway, &get(path).header("Authorization", "Bearer operators-onlY"));
        let right = ask(&gateway, &get(path).header("Authorization", "Bearer operators-only"));
        if is_guarded {
            assert_eq!(missing.outcome(), (401, "missing_key".to_owned()), "{path}");
            assert_eq!(wrong.outcome(), (401, "invalid_key".to_owned()), "{path}");
        } else {
            assert_eq!((missing.status, wrong.status), (200, 200), "{path}");
        }
        assert_ne!(right.status, 401, "{path}");
    }
    let reload = ask(&gateway, &Request::new("POST", "/keeptrusts/config/reload"));
    assert_eq!(reload.status, 401);
}

#[test]
fn strangers_are_not_listened_to_without_a_token() {
    let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let open = TestGateway::try_with_options("", |options| options.admin_listen = Some(anywhere));
    match open {
        Err(error @ StartError::UnguardedAdmin(_)) => {
            assert!(error.to_string().contains("KEEPTRUSTS_ADMIN_TOKEN"), "{error}");
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it started"),
    }
    let guarded = TestGateway::try_with_options("", |options| {
        options.admin_listen = Some(anywhere);
        options.admin_token = Some("operators-only".to_owned());
    });
    assert!(guarded.is_ok(), "the control");
}

/// GW-E7: what is open to whom is judged by the addresses that are asked for.
#[test]
fn sockets_are_taken_over_where_they_are_asked_for_and_nowhere_else() {
    let directory = tempfile::tempdir().expect("a folder can be made");
    let offered = directory.path().join("handover");
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let old = TestGateway::with_options("", |options| {
        options.admin_listen = Some(local);
        options.handover = Some(offered.clone());
    });
    let taken_over = |listen, admin_listen| {
        TestGateway::try_with_options("", |options| {
            options.listen = listen;
            options.admin_listen = Some(admin_listen);
            options.inherited = Some(Inherited::take(&offered).expect("it hands over its sockets"));
        })
    };
    let elsewhere = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0));
    let other_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    for (main, admin) in [(elsewhere, local), (other_port, local), (local, elsewhere), (local, other_port)] {
        let outcome = taken_over(main, admin).map(|_| ());
        assert!(matches!(outcome, Err(StartError::OtherAddress { .. })), "{main} {admin}: {outcome:?}");
        assert_eq!(old.ask(&Request::chat()).status, 200, "the old one goes on");
    }
    let admin = old.gateway.admin_address().expect("it has one");
    let new = taken_over(old.gateway.address(), admin).expect("these are its addresses");
    assert_eq!((new.gateway.address(), new.gateway.admin_address()), (old.gateway.address(), Some(admin)));
}

#[test]
fn the_main_listener_has_none_of_it() {
    let gateway = gateway("");
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/keeptrusts/config"),
        ("POST", "/keeptrusts/config/reload"),
        ("GET", "/v1/events"),
        ("GET", "/"),
    ] {
        let answer = gateway.ask(&Request::new(method, path).body(""));
        assert_eq!(answer.status, 404, "{method} {path}");
    }
    assert_eq!(gateway.upstream.requests().len(), 0);
}
