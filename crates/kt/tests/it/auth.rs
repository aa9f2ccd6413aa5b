//! `kt auth …` against a control plane that runs.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::plane::{EMAIL, Home, PASSWORD, Plane};
use crate::{complaint, said};

/// Signs in on the machine of `home`.
fn sign_in(plane: &Plane, home: &Home, password: &str, more: &[&str]) -> Output {
    let url = plane.url();
    let mut arguments = vec!["auth", "login", "--email", EMAIL, "--password-stdin", "--api-url", &url];
    arguments.extend(more);
    let mut command = home.command(&arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn whoever_signs_in_is_known_until_they_sign_out() {
    let plane = Plane::start();
    let home = Home::new();
    let refused = sign_in(&plane, &home, "wrong", &[]);
    said(&refused, 3);
    assert!(complaint(&refused).contains("invalid_credentials"), "{}", complaint(&refused));
    said(&home.kt(&["auth", "whoami"]), 3);

    let signed_in = said(&sign_in(&plane, &home, PASSWORD, &[]), 0);
    assert!(signed_in.contains(&format!("signed in as  {EMAIL}")), "{signed_in}");
    let file = home.path("config/keeptrusts/credentials.json");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(!kept.contains(PASSWORD), "tokens are kept and no password");

    // No address is named: it is the one where they signed in.
    let whoami: Value = serde_json::from_str(&said(&home.kt(&["auth", "status", "--json"]), 0)).unwrap();
    assert_eq!((&whoami["user"]["email"], &whoami["user"]["role"]), (&EMAIL.into(), &"owner".into()));
    assert_eq!(whoami["api_url"], plane.url());
    assert!(said(&home.kt(&["audit", "tail"]), 0).contains("auth.sign_in"));

    assert_eq!(said(&home.kt(&["auth", "logout"]), 0), "signed out\n");
    said(&home.kt(&["auth", "whoami"]), 3);
    assert_eq!(said(&home.kt(&["auth", "logout"]), 0), "nobody was signed in\n");
    let access_token =
        serde_json::from_str::<Value>(&kept).unwrap()["access_token"].as_str().unwrap().to_owned();
    said(&plane.kt(Some(&access_token), &["auth", "whoami"]), 3);
}

/// A desktop whose programs are scripts that keep what they are told in files.
fn desktop(home: &Home) -> [(&'static str, String); 3] {
    let programs = home.path("programs");
    std::fs::create_dir(&programs).unwrap();
    for (name, script) in [
        (
            "secret-tool",
            r#"ring="$(dirname "$0")/ring"
echo "$@" >> "$ring.asked"
case $1 in
store) cat > "$ring" ;;
lookup) [ -f "$ring" ] && cat "$ring" ;;
clear) rm "$ring" ;;
esac"#,
        ),
        ("xdg-open", r#"echo "$1" > "$(dirname "$0")/opened""#),
    ] {
        let file = programs.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }
    [
        ("DISPLAY", ":0".into()),
        ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere".into()),
        ("PATH", format!("{}:/usr/bin:/bin", programs.display())),
    ]
}

#[test]
fn on_a_desktop_the_session_is_kept_in_its_keyring_and_in_no_file() {
    let plane = Plane::start();
    let home = Home::new();
    let desktop = desktop(&home);
    let kt = |arguments: &[&str]| home.command(arguments).envs(desktop.clone()).output().unwrap();
    let url = plane.url();
    let mut login = home.command(&["auth", "login", "--email", EMAIL, "--password-stdin", "--api-url", &url]);
    let mut child = login.envs(desktop.clone()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    assert!(said(&child.wait_with_output().unwrap(), 0).contains("kept in       the keyring"));

    let ring: Value =
        serde_json::from_str(&std::fs::read_to_string(home.path("programs/ring")).unwrap()).unwrap();
    let token = ring["refresh_token"].as_str().unwrap();
    let file = std::fs::read_to_string(home.path("config/keeptrusts/credentials.json")).unwrap();
    let asked = std::fs::read_to_string(home.path("programs/ring.asked")).unwrap();
    assert!(!file.contains(token) && !asked.contains(token), "{file} {asked}");
    assert!(said(&kt(&["auth", "whoami"]), 0).contains(EMAIL));

    let elsewhere = home.kt(&["auth", "whoami"]);
    assert!(complaint(&elsewhere).contains("the keyring does not give out"), "{}", complaint(&elsewhere));
    said(&elsewhere, 3);
    assert_eq!(said(&kt(&["auth", "logout"]), 0), "signed out\n");
    assert!(!home.path("programs/ring").exists());
    said(&kt(&["auth", "whoami"]), 3);
}

#[test]
fn the_browser_of_a_desktop_is_shown_where_the_code_is_approved() {
    let plane = Plane::start();
    let home = Home::new();
    let desktop = desktop(&home);
    let url = plane.url();
    let mut login = home.command(&["auth", "login", "--api-url", &url]);
    let mut child = login
        .envs(desktop)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let opened = crate::gateway::wait_for("the browser", || {
        std::fs::read_to_string(home.path("programs/opened")).ok().filter(|text| text.ends_with('\n'))
    });
    child.kill().unwrap();
    let told = complaint(&child.wait_with_output().unwrap());
    assert!(opened.starts_with("http") && told.contains(opened.trim()), "{opened} in {told}");
}

#[test]
fn an_access_token_that_is_over_is_renewed_once_by_however_many_commands() {
    let plane = Plane::start();
    let home = Home::new();
    said(&sign_in(&plane, &home, PASSWORD, &[]), 0);
    let file = home.path("config/keeptrusts/credentials.json");
    let mut kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    // As the server answers to a token that is over, it answers to one that it does not know.
    kept["access_token"] = "over".into();
    std::fs::write(&file, kept.to_string()).unwrap();
    let running: Vec<_> = (0..4)
        .map(|_| {
            home.command(&["auth", "whoami"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in running {
        said(&child.wait_with_output().unwrap(), 0);
    }
    let renewed: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_ne!(renewed["refresh_token"], kept["refresh_token"]);

    kept["access_token"] = "over".into();
    std::fs::write(&file, kept.to_string()).unwrap();
    let over = home.kt(&["auth", "whoami"]);
    said(&over, 3);
    assert!(complaint(&over).contains("your session at"), "a used refresh token: {}", complaint(&over));
    assert_eq!(said(&home.kt(&["auth", "logout"]), 0), "signed out\n");
}

#[test]
fn a_machine_without_a_browser_signs_in_by_a_code_that_is_approved_on_another() {
    let plane = Plane::start();
    let (mine, server) = (Home::new(), Home::new());
    said(&sign_in(&plane, &mine, PASSWORD, &["--json"]), 0);
    // Both wait at the same time, since each asks every five seconds.
    let [denied, approved] = ["deny", "approve"].map(|decision| {
        let url = plane.url();
        let mut command = server.command(&["auth", "login", "--api-url", &url]);
        let mut waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let code = code_shown(&mut waiting);
        let arguments: &[&str] = match decision {
            "approve" => &["auth", "approve", "--yes", &code],
            _ => &["auth", "deny", &code],
        };
        let decided = said(&mine.kt(arguments), 0);
        assert!(decision == "deny" || decided.contains("kt/"), "who asks is shown: {decided}");
        waiting
    });
    said(&denied.wait_with_output().unwrap(), 3);
    said(&approved.wait_with_output().unwrap(), 0);
    assert!(said(&server.kt(&["auth", "whoami"]), 0).contains(EMAIL));
}

/// Reads on until the code is shown.
fn code_shown(waiting: &mut std::process::Child) -> String {
    use std::io::{BufRead, BufReader};
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let (_, rest) = line.split_once("approve the code ").unwrap_or_else(|| panic!("{line}"));
    // The rest is read on, so that the process can write it.
    std::thread::spawn(move || lines.for_each(drop));
    rest.split(' ').next().unwrap().to_owned()
}

#[test]
fn keys_are_made_listed_rotated_and_revoked() {
    let plane = Plane::start();
    let home = Home::new();
    said(&sign_in(&plane, &home, PASSWORD, &[]), 0);
    let made =
        home.kt(&["auth", "token", "create", "nightly", "--scope", "read-only", "--ip-range", "127.0.0.0/8"]);
    let key = said(&made, 0).trim().to_owned();
    assert!(complaint(&made).contains("not shown again"), "{}", complaint(&made));
    said(&plane.kt(Some(&key), &["audit", "tail"]), 0);
    let by_key = |more: &[&str]| said(&plane.kt(Some(&key), &[&["auth", "whoami"], more].concat()), 0);
    let told = by_key(&[]);
    assert!(told.contains("API key       nightly (key_") && told.contains(", access, read-only\n"), "{told}");
    assert!(told.contains(&format!("acts for      {EMAIL}")) && !told.contains("signed in"), "{told}");
    let told: Value = serde_json::from_str(&by_key(&["--json"])).unwrap();
    assert_eq!((&told["key"]["scope"], &told["user"]["email"]), (&"read-only".into(), &EMAIL.into()));

    let listed = said(&home.kt(&["auth", "token", "list"]), 0);
    assert!(listed.contains("nightly") && listed.contains("active") && !listed.contains(&key), "{listed}");
    let listed = said(&home.kt(&["auth", "token", "list", "--json"]), 0);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["tokens"].as_array().map(Vec::len), Some(1), "{listed}");
    let id = listed["tokens"][0]["id"].as_str().unwrap();
    let none = said(&home.kt(&["auth", "token", "list", "--type", "gateway", "--json"]), 0);
    assert_eq!(none, "{\"tokens\":[],\"next_cursor\":null}\n");

    let rotated: Value =
        serde_json::from_str(&said(&home.kt(&["auth", "token", "rotate", id, "--json"]), 0)).unwrap();
    said(&plane.kt(Some(&key), &["audit", "tail"]), 3);
    let new = rotated["key"].as_str().unwrap();
    said(&plane.kt(Some(new), &["audit", "tail"]), 0);
    said(&home.kt(&["auth", "token", "revoke", rotated["id"].as_str().unwrap()]), 0);
    said(&plane.kt(Some(new), &["audit", "tail"]), 3);
    said(&home.kt(&["auth", "token", "revoke", "../me/sessions"]), 1);
    said(&home.kt(&["auth", "token", "create", "x", "--ip-range", "nonsense"]), 2);
}

#[test]
fn tokens_go_to_the_server_that_gave_them_and_to_no_other() {
    let plane = Plane::start();
    let home = Home::new();
    said(&sign_in(&plane, &home, PASSWORD, &[]), 0);
    let elsewhere = home.kt(&["auth", "whoami", "--api-url", "http://127.0.0.1:1"]);
    said(&elsewhere, 3);
    assert!(complaint(&elsewhere).contains("not at http://127.0.0.1:1"), "{}", complaint(&elsewhere));
    let plain = home.kt(&["auth", "whoami", "--api-url", "http://192.0.2.1"]);
    said(&plain, 2);
    for switch in ["--allow-plain-http", "KEEPTRUSTS_ALLOW_PLAIN_HTTP=true"] {
        assert!(complaint(&plain).contains(switch), "{}", complaint(&plain));
    }
    // With the switch it is an address like any other: not that of the session.
    said(&home.kt(&["auth", "whoami", "--api-url", "http://192.0.2.1", "--allow-plain-http"]), 3);
    let mut allowed = home.command(&["auth", "whoami", "--api-url", "http://192.0.2.1"]);
    said(&allowed.env("KEEPTRUSTS_ALLOW_PLAIN_HTTP", "1").output().unwrap(), 3);
    plane.terminate();
    let unreachable = home.kt(&["auth", "whoami"]);
    said(&unreachable, 4);
    assert!(complaint(&unreachable).contains("Is it running"), "{}", complaint(&unreachable));
}
