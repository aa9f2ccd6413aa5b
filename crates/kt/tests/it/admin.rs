//! `kt admin …` and `kt doctor`, beside a server and without one.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread;

use serde_json::{Value, json};

use crate::gateway::wait_for;
use crate::plane::{EMAIL, Home, PASSWORD, Plane};
use crate::{complaint, said};

pub(crate) const HERE: [&str; 2] = ["--data-dir", "data"];

/// Runs `kt admin …` on the data of `home`.
pub(crate) fn admin(home: &Home, arguments: &[&str]) -> std::process::Output {
    let all: Vec<&str> = ["admin"].into_iter().chain(arguments.iter().copied()).chain(HERE).collect();
    home.kt(&all)
}

#[test]
fn a_locked_account_is_let_in_while_the_server_runs_and_the_record_names_the_operator() {
    let plane = Plane::start();
    for _ in 0..10 {
        assert_eq!(plane.sign_in("wrong"), None);
    }
    assert_eq!(plane.sign_in(PASSWORD), None, "locked");
    let unlocked = said(&admin(&plane.home, &["user", "unlock", EMAIL]), 0);
    assert_eq!(unlocked, format!("{EMAIL} may try again\n"));
    let token = plane.sign_in(PASSWORD).unwrap();
    let again: Value =
        serde_json::from_str(&said(&admin(&plane.home, &["user", "unlock", EMAIL, "--json"]), 0)).unwrap();
    assert_eq!(again["had_failed"], false, "there is nothing left to forget");

    let records =
        said(&plane.kt(Some(&token), &["audit", "tail", "--action", "auth.account_unlocked", "--json"]), 0);
    let record: Value = serde_json::from_str(records.lines().next().unwrap()).unwrap();
    assert_eq!(record["actor"]["type"], "system");
    assert!(record["actor"]["name"].as_str().unwrap().starts_with("kt admin, by "), "{record}");

    let reset = admin(&plane.home, &["mfa", "reset", EMAIL, "--reason", "Lost the phone"]);
    assert_eq!(said(&reset, 0), format!("{EMAIL} has no second factor now, and their sessions have ended\n"));
    assert!(complaint(&admin(&plane.home, &["mfa", "reset", EMAIL])).contains("--reason"));
    let token = plane.sign_in(PASSWORD).unwrap();
    let records = said(&plane.kt(Some(&token), &["audit", "tail", "--action", "mfa.reset", "--json"]), 0);
    assert!(records.contains("Lost the phone"), "{records}");

    let nobody = admin(&plane.home, &["user", "make-owner", "nobody@acme.example"]);
    said(&nobody, 1);
    assert!(said(&admin(&plane.home, &["user", "make-owner", EMAIL]), 0).contains("is an owner of"));
}

#[test]
fn a_further_organization_has_its_own_owner_and_none_of_the_first_ones_keys() {
    let plane = Plane::start();
    said(&admin(&plane.home, &["ip-restrictions", "show"]), 0);
    let create = |identifier: &str, owner: &str| {
        admin(&plane.home, &["organization", "create", identifier, "--owner", owner, "--json"])
    };
    let made: Value = serde_json::from_str(&said(&create("beta", "boss@beta.example"), 0)).unwrap();
    let body = serde_json::json!({ "email": "boss@beta.example", "password": made["password"] }).to_string();
    let step = plane.ask("POST /v1/auth/login", "", &body);
    assert_eq!(step["status"], "password_change_required", "{step}");

    let unnamed = admin(&plane.home, &["ip-restrictions", "show"]);
    assert!(complaint(&unnamed).contains("Name one of the organizations that there are: beta, default."));
    let unknown = admin(&plane.home, &["ip-restrictions", "show", "--organization", "zeta"]);
    assert!(complaint(&unknown).contains("beta, default."));
    said(&admin(&plane.home, &["ip-restrictions", "show", "--organization", "beta"]), 0);

    let shared: Value = serde_json::from_str(&said(&create("gamma", EMAIL), 0)).unwrap();
    assert_eq!(shared["password"], Value::Null, "who has an account keeps its password");
    let body =
        serde_json::json!({ "email": EMAIL, "password": PASSWORD, "organization": "gamma" }).to_string();
    let there = plane.ask("POST /v1/auth/login", "", &body);
    assert_eq!(
        (&there["organization"]["identifier"], &there["user"]["role"]),
        (&"gamma".into(), &"owner".into())
    );

    assert!(complaint(&create("beta", EMAIL)).contains("identifier"), "it is taken");
    said(&create("No Identifier", EMAIL), 2);
    said(&create("delta", "no address"), 2);
}

#[test]
fn a_temporary_password_is_good_for_choosing_another_and_nothing_else() {
    let plane = Plane::start();
    let token = plane.sign_in(PASSWORD).unwrap();
    let given = said(&admin(&plane.home, &["user", "set-temporary-password", EMAIL]), 0);
    said(&plane.kt(Some(&token), &["auth", "whoami"]), 3);
    assert_eq!(plane.sign_in(PASSWORD), None);
    let body = serde_json::json!({ "email": EMAIL, "password": given.trim() }).to_string();
    let step = plane.ask("POST /v1/auth/login", "", &body);
    assert_eq!((&step["status"], &step["reason"]), (&"password_change_required".into(), &"temporary".into()));

    let url = plane.url();
    let sign_in = |lines: &[&str]| {
        let mut login =
            plane.home.command(&["auth", "login", "--email", EMAIL, "--password-stdin", "--api-url", &url]);
        let mut child =
            login.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let chosen = "another-Bright-kettle-5";
    said(&sign_in(&[given.trim(), chosen, "another-Bright-kettle-6"]), 1);
    said(&sign_in(&[given.trim(), chosen, chosen]), 0);
    assert!(plane.sign_in(chosen).is_some(), "it was read from standard input");
}

#[test]
fn whoever_is_kept_out_by_address_is_let_in_again_while_the_server_runs() {
    let plane = Plane::start();
    let token = plane.sign_in(PASSWORD).unwrap();
    let credentials = format!("Authorization: Bearer {token}\r\n");
    let mut restrictions = plane.ask("GET /v1/organization/ip-restrictions", &credentials, "");
    assert_eq!(restrictions["enforce_allowlist"], false, "{restrictions}");
    assert_eq!(
        said(&admin(&plane.home, &["ip-restrictions", "show"]), 0),
        "deny: none\nallow, not applied: none\napply to: the console and the API\n"
    );
    let rules = r#"{"enforce_allowlist":true,"applies_to":"console_and_api","allow":[{"cidr":"192.0.2.0/24","label":"office"}],"deny":[],"confirm_lockout":true}"#;
    restrictions =
        plane.ask("PUT /v1/organization/ip-restrictions", &format!("{credentials}If-Match: *\r\n"), rules);
    assert_eq!(restrictions["enforce_allowlist"], true, "{restrictions}");
    said(&plane.kt(Some(&token), &["auth", "whoami"]), 3);
    let shown = said(&admin(&plane.home, &["ip-restrictions", "show"]), 0);
    assert_eq!(
        shown,
        "deny: none\nallow, applied:\n  192.0.2.0/24  office\napply to: the console and the API\n"
    );

    said(&admin(&plane.home, &["ip-restrictions", "disable"]), 0);
    crate::gateway::wait_for("the server to follow", || {
        plane.kt(Some(&token), &["auth", "whoami"]).status.success().then_some(())
    });
}

#[test]
fn mail_that_was_given_up_is_listed_with_the_reason() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    thread::spawn(move || {
        for connection in server.incoming() {
            let _ = connection.unwrap().write_all(b"554 no mail is taken here\r\n");
        }
    });
    let plane = Home::new().start_in(&[
        ("KEEPTRUSTS_BOOTSTRAP_EMAIL", EMAIL),
        ("KEEPTRUSTS_BOOTSTRAP_PASSWORD", PASSWORD),
        ("KEEPTRUSTS_MAIL__TRANSPORT", "smtp"),
        ("KEEPTRUSTS_MAIL__FROM", "keeptrusts@acme.example"),
        ("KEEPTRUSTS_MAIL__SMTP__HOST", "127.0.0.1"),
        ("KEEPTRUSTS_MAIL__SMTP__PORT", &port),
        ("KEEPTRUSTS_MAIL__SMTP__TLS", "none"),
    ]);
    let listed = |more: &[&str]| said(&admin(&plane.home, &[&["mail", "list"][..], more].concat()), 0);
    let of_json = || serde_json::from_str::<Value>(&listed(&["--json"])).unwrap();
    assert_eq!(of_json(), json!({ "mail": [], "next_cursor": null }));
    let none = admin(&plane.home, &["mail", "list"]);
    assert_eq!((said(&none, 0), complaint(&none)), (String::new(), "No message was given up.\n".to_owned()));
    plane.ask("POST /v1/auth/password/forgot", "", &json!({ "email": EMAIL }).to_string());
    let given_up = wait_for("the message to be given up", || of_json()["mail"].get(0).cloned());
    assert_eq!((&given_up["recipient"], &given_up["kind"]), (&json!(EMAIL), &json!("password_reset")));
    assert!(given_up["reason"].as_str().unwrap().contains("no mail is taken here"), "{given_up}");
    let table = listed(&[]);
    assert!(table.contains(EMAIL) && table.contains("no mail is taken here"), "{table}");
}

#[test]
fn a_signing_key_is_rotated_and_the_schema_is_present() {
    let (home, _) = Plane::start().terminate();
    assert!(said(&admin(&home, &["jwt", "rotate"]), 0).contains("signs in ten minutes"));
    let leaked: Value =
        serde_json::from_str(&said(&admin(&home, &["jwt", "rotate", "--immediately", "--json"]), 0)).unwrap();
    assert_eq!(leaked["immediately"], true);
    assert_eq!(said(&admin(&home, &["migrate"]), 0), "the database has the present schema\n");
    assert_eq!(said(&admin(&home, &["retention", "run"]), 0), "0 events were removed\n");
}

#[test]
fn what_was_done_to_the_deployment_is_copied_out_and_proven() {
    let plane = Plane::start();
    said(&admin(&plane.home, &["jwt", "rotate"]), 0);
    let copied = admin(&plane.home, &["audit", "export", "--output", "deployment.jsonl"]);
    said(&copied, 0);
    assert!(complaint(&copied).contains("kt audit verify deployment.jsonl"), "{}", complaint(&copied));
    let copy = std::fs::read_to_string(plane.home.path("deployment.jsonl")).unwrap();
    for action in ["auth.signing_key_rotated", "audit.exported"] {
        assert!(copy.contains(action), "{action}: {copy}");
    }
    said(&plane.home.kt(&["audit", "verify", "deployment.jsonl"]), 0);
    std::fs::write(
        plane.home.path("touched.jsonl"),
        copy.replace("auth.signing_key_rotated", "auth.signing_key_retired"),
    )
    .unwrap();
    said(&plane.home.kt(&["audit", "verify", "touched.jsonl"]), 1);
    let table = said(&admin(&plane.home, &["audit", "export", "--format", "csv"]), 0);
    assert!(table.contains("auth.signing_key_rotated") && table.contains("kt admin, by "), "{table}");
}

#[test]
fn the_key_that_seals_secrets_is_replaced_while_the_server_runs() {
    let plane = Plane::start();
    let token = plane.sign_in(PASSWORD).unwrap();
    let file = plane.home.path("data/secrets.key");
    let keys =
        || -> Vec<String> { std::fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect() };
    let first = keys();
    let added = said(&admin(&plane.home, &["secrets", "new-key"]), 0);
    assert!(added.contains("2 keys") && added.contains("reseal"), "{added}");
    assert_eq!((keys().len(), &keys()[0]), (2, &first[0]), "the older ones stay");
    let early = admin(&plane.home, &["secrets", "forget-old"]);
    said(&early, 1);
    assert!(complaint(&early).contains("kt admin secrets reseal"), "{}", complaint(&early));
    let anew: Value =
        serde_json::from_str(&said(&admin(&plane.home, &["secrets", "reseal", "--json"]), 0)).unwrap();
    assert!(anew["sealed_anew"].as_u64() >= Some(2), "{anew}");
    assert!(said(&admin(&plane.home, &["secrets", "forget-old"]), 0).starts_with("1 older key was removed"));
    assert_eq!(keys().len(), 1);
    assert_ne!(keys(), first);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    said(&plane.kt(Some(&token), &["auth", "whoami"]), 0);
    let (home, status) = plane.terminate();
    assert!(status.success());
    assert!(
        home.start().sign_in(PASSWORD).is_some(),
        "a server that knows the new key alone opens everything"
    );
}

#[test]
fn one_command_at_a_time_changes_the_key_file() {
    let (home, _) = Plane::start().terminate();
    let keys = || std::fs::read_to_string(home.path("data/secrets.key")).unwrap();
    let first = keys();
    let other = std::fs::File::create(home.path("data/secrets.lock")).unwrap();
    other.lock().unwrap();
    for command in ["new-key", "forget-old"] {
        let refused = admin(&home, &["secrets", command]);
        said(&refused, 1);
        assert!(complaint(&refused).contains("another `kt admin secrets`"), "{}", complaint(&refused));
        assert_eq!(keys(), first, "{command}");
    }
    other.unlock().unwrap();
    said(&admin(&home, &["secrets", "new-key"]), 0);
    assert_ne!(keys(), first, "the control");
}

#[test]
fn a_copy_is_taken_beside_the_server_and_put_back_without_it() {
    let plane = Plane::start();
    let copied = admin(&plane.home, &["backup", "copy.db"]);
    assert!(said(&copied, 0).starts_with("copied "), "{}", complaint(&copied));
    assert!(complaint(&copied).contains("secrets.key"), "the key is not in it: {}", complaint(&copied));
    assert_eq!(plane.home.path("copy.db").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    said(&admin(&plane.home, &["backup", "copy.db"]), 1);

    let used = admin(&plane.home, &["restore", "copy.db", "--force"]);
    said(&used, 1);
    assert!(complaint(&used).contains("stop the server first"), "{}", complaint(&used));
    let (home, status) = plane.terminate();
    assert!(status.success());
    let occupied = admin(&home, &["restore", "copy.db"]);
    said(&occupied, 1);
    assert!(complaint(&occupied).contains("--force"), "{}", complaint(&occupied));
    assert!(said(&admin(&home, &["restore", "copy.db", "--force"]), 0).contains("keeptrusts.db.replaced-1"));

    let plane = home.start();
    let token = plane.sign_in(PASSWORD).unwrap();
    said(&plane.kt(Some(&token), &["auth", "whoami"]), 0);
}

#[test]
fn without_a_database_nothing_is_made_and_what_to_do_is_said() {
    let home = Home::new();
    for arguments in
        [&["user", "unlock", EMAIL][..], &["migrate"], &["backup", "copy.db"], &["jwt", "rotate"]]
    {
        let refused = admin(&home, arguments);
        said(&refused, 1);
        assert!(complaint(&refused).contains("there is no database at"), "{}", complaint(&refused));
    }
    assert!(!home.path("data").exists() && !home.path("copy.db").exists());
    let mut command = home.command(&["admin", "backup", "copy.dump", "--data-dir", "data"]);
    let postgres =
        command.env("KEEPTRUSTS_DATABASE__URL", "postgres://kt:s3cret@127.0.0.1/kt").output().unwrap();
    said(&postgres, 2);
    assert!(
        complaint(&postgres)
            .contains("pg_dump --format=custom --file 'copy.dump' 'postgres://kt@127.0.0.1/kt'")
    );
}

#[test]
fn what_only_a_server_uses_keeps_no_command_of_the_operator_from_working() {
    let (home, _) = Plane::start().terminate();
    let faults = [
        ("single sign-on", "sso: { ca_file: /nowhere/ca.pem }"),
        (
            "single sign-on",
            "auth: { google: { client_id: id, client_secret_ref: { env: KEEPTRUSTS_TEST_NOWHERE } } }",
        ),
        (
            "access tokens",
            "auth: { jwt: { keys: [{ kid: one, private_key_file: /nowhere/one.pem, state: signing }] } }",
        ),
        ("providers", "providers: { ca_file: /nowhere/ca.pem }"),
        (
            "audit sinks",
            "audit: { webhook: { url: \"https://logs.example.com\", secret_ref: { env: KEEPTRUSTS_TEST_NOWHERE } } }",
        ),
    ];
    for (number, (check, fault)) in faults.into_iter().enumerate() {
        std::fs::write(home.path("faulty.yaml"), fault).unwrap();
        let run = |arguments: &[&str]| home.kt(&[arguments, &HERE, &["--config", "faulty.yaml"]].concat());
        let listens = ["--api-listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0"];
        said(&run(&[&["server", "run"], &listens[..]].concat()), 2);
        let ill = said(&run(&["doctor"]), 1);
        assert!(ill.lines().any(|line| line.starts_with(&format!("FAIL  {check}"))), "{fault}: {ill}");
        for used in [
            &["ip-restrictions", "show"][..],
            &["user", "unlock", EMAIL],
            &["mfa", "reset", EMAIL, "--reason", "Lost the phone"],
            &["backup", &format!("copy-{number}.db")],
        ] {
            said(&run(&[&["admin"], used].concat()), 0);
        }
    }
    std::fs::write(home.path("faulty.yaml"), faults[2].1).unwrap();
    let refused = home.kt(&[&["admin", "jwt", "rotate", "--config", "faulty.yaml"], &HERE[..]].concat());
    assert!(complaint(&refused).contains("configuration"), "keys of its own: {}", complaint(&refused));
    said(&home.kt(&[&["doctor"], &HERE[..]].concat()), 0);
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_what_to_do() {
    let (home, _) = Plane::start().terminate();
    let doctor = |more: &[&str]| home.kt(&[&["doctor"], &HERE[..], more].concat());
    let well: Value = serde_json::from_str(&said(&doctor(&["--json"]), 0)).unwrap();
    let checks: Vec<&str> =
        well["checks"].as_array().unwrap().iter().map(|check| check["check"].as_str().unwrap()).collect();
    let expected = [
        "configuration",
        "data directory",
        "secrets key",
        "disk space",
        "database",
        "sealed secrets",
        "schema",
        "clock",
        "mail queue",
        "access tokens",
        "single sign-on",
        "providers",
        "redis",
        "public address",
        "mail",
        "api listener",
        "console listener",
    ];
    assert_eq!((checks, &well["ok"]), (expected.to_vec(), &Value::Bool(true)), "{well}");

    let key = home.path("data/secrets.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let ill = said(&doctor(&[]), 1);
    let line =
        ill.lines().position(|line| line.starts_with("FAIL  secrets key")).unwrap_or_else(|| panic!("{ill}"));
    assert!(ill.lines().nth(line + 1).unwrap().contains("chmod 600"), "{ill}");

    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let mut command = home.command(&["doctor", "--data-dir", "data"]);
    let away = said(&command.env("KEEPTRUSTS_REDIS__URL", "redis://127.0.0.1:1").output().unwrap(), 0);
    assert!(away.contains("WARN  redis") && away.contains("`redis.url`"), "{away}");

    let mut command = home.command(&["doctor", "--data-dir", "data"]);
    let sink =
        command.env("KEEPTRUSTS_AUDIT__SYSLOG__ADDRESS", "tls://logs.example.com:6514").output().unwrap();
    let lag = said(&sink, 0);
    let line = lag.lines().find(|line| line.contains("audit sinks")).unwrap_or_else(|| panic!("{lag}"));
    assert!(line.contains("syslog") && line.contains("entr"), "nothing was sent yet: {line}");

    let mut command = home.command(&["doctor", "--data-dir", "data"]);
    let broken = command.env("KEEPTRUSTS_MAIL__TRANSPORT", "smtp").output().unwrap();
    assert!(said(&broken, 1).starts_with("FAIL  configuration"), "{}", complaint(&broken));
}

#[test]
fn a_database_without_its_key_is_told_and_gets_no_other_one() {
    let (home, _) = Plane::start().terminate();
    let (key, kept) = (home.path("data/secrets.key"), home.path("secrets.kept"));
    let failed = |check: &str| {
        let ill = said(&home.kt(&[&["doctor"], &HERE[..]].concat()), 1);
        assert!(ill.lines().any(|line| line.starts_with(&format!("FAIL  {check}"))), "{ill}");
    };
    std::fs::rename(&key, &kept).unwrap();
    failed("sealed secrets");
    let start = home.kt(&[
        &["server", "run", "--api-listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0"],
        &HERE[..],
    ]
    .concat());
    assert!(complaint(&start).contains("put it back"), "{}", complaint(&start));
    assert!(!key.exists(), "none is made in its place");

    std::fs::write(&key, kt_control::SealKey::new_text(&mut kt_domain::random::Random::from_os())).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    failed("sealed secrets");

    std::fs::rename(&kept, &key).unwrap();
    let well = said(&home.kt(&[&["doctor"], &HERE[..]].concat()), 0);
    assert!(well.contains("OK    sealed secrets"), "{well}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = home.command(&["doctor", "--data-dir", "data"]);
    let console = taken.local_addr().unwrap().to_string();
    let told = said(&command.env("KEEPTRUSTS_CONSOLE__LISTEN", &console).output().unwrap(), 0);
    assert!(told.lines().any(|line| line.contains("console listener") && line.contains(&console)), "{told}");
}

#[test]
fn a_domain_is_given_to_an_organization_and_taken_away_on_the_operators_word() {
    let plane = Plane::start();
    let given = said(&admin(&plane.home, &["domain", "verify", "example.com"]), 0);
    assert_eq!(given, "example.com belongs to default from now on\n");
    let removed = said(&admin(&plane.home, &["domain", "remove", "example.com", "--json"]), 0);
    let removed: Value = serde_json::from_str(&removed).unwrap();
    assert_eq!((&removed["organization"], &removed["domain"]), (&"default".into(), &"example.com".into()));
    assert!(
        complaint(&admin(&plane.home, &["domain", "remove", "example.com"])).contains("domain"),
        "it is gone"
    );
    let token = plane.sign_in(PASSWORD).unwrap();
    let records =
        said(&plane.kt(Some(&token), &["audit", "tail", "--action", "sso.domain_removed", "--json"]), 0);
    let record: Value = serde_json::from_str(records.lines().next().unwrap()).unwrap();
    assert!(record["actor"]["name"].as_str().unwrap().starts_with("kt admin, by "), "{record}");
}
