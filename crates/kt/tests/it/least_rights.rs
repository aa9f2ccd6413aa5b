//! A server that runs with less than it is mostly given: as a user of its own on a system that it cannot write to, and with a
//! role of PostgreSQL that may neither change the schema nor touch what is recorded.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use crate::plane::{EMAIL, Home, PASSWORD, Plane};
use crate::postgres::Schema;
use crate::{complaint, said};

/// Roles of one's own, gone when this is dropped.
struct Roles<'a> {
    schema: &'a Schema,
    owner: String,
    server: String,
}

impl<'a> Roles<'a> {
    fn new(schema: &'a Schema) -> Self {
        let [owner, server] = ["owner", "server"].map(|what| format!("{}_{what}", schema.name));
        schema.ask(&format!(
            "CREATE ROLE {owner} LOGIN; CREATE ROLE {server} LOGIN; ALTER SCHEMA {} OWNER TO {owner}",
            schema.name
        ));
        Self { schema, owner, server }
    }

    /// As the guide says: everything that a server does, and nothing besides.
    fn grant(&self) {
        let Self { schema, server, .. } = self;
        let name = &schema.name;
        schema.ask(&format!(
            "GRANT USAGE ON SCHEMA {name} TO {server};
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {name} TO {server};
            REVOKE UPDATE, DELETE ON {name}.audit_records, {name}.audit_checkpoints FROM {server};
            REVOKE INSERT, UPDATE, DELETE ON {name}.schema_migrations FROM {server}"
        ));
    }
}

impl Drop for Roles<'_> {
    fn drop(&mut self) {
        let Self { schema, owner, server } = self;
        schema.ask(&format!(
            "DROP SCHEMA {} CASCADE; DROP OWNED BY {server}; DROP ROLE {server}; DROP ROLE {owner}",
            schema.name
        ));
    }
}

#[test]
fn a_server_needs_no_right_to_change_the_schema_or_a_record() {
    let schema = Schema::new();
    let roles = Roles::new(&schema);
    let home = Home::new();
    let [as_owner, as_server] = [&roles.owner, &roles.server].map(|role| schema.url_of(role));
    let migrate = |url: &str| {
        let mut command = home.command(&["admin", "migrate", "--data-dir", "data"]);
        command.env("KEEPTRUSTS_DATABASE__URL", url).output().unwrap()
    };
    schema.ask(&format!("GRANT USAGE ON SCHEMA {} TO {}", schema.name, roles.server));
    let refused = migrate(&as_server);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("the role that owns it"), "{}", complaint(&refused));
    assert!(said(&migrate(&as_owner), 0).contains("applied: control_plane"));
    roles.grant();
    assert!(said(&migrate(&as_server), 0).contains("present schema"), "nothing is left to do");

    let plane = home.start_on(&as_server);
    let token = plane.sign_in(PASSWORD).unwrap();
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let renamed = plane.ask("PATCH /v1/organization", &bearer, r#"{"name":"Acme & Co."}"#);
    assert_eq!(renamed["name"], "Acme & Co.", "{renamed}");
    let exported = plane.kt(Some(&token), &["audit", "export", "--output", "copy.jsonl"]);
    said(&exported, 0);
    assert!(
        said(&plane.kt(None, &["audit", "verify", "copy.jsonl"]), 0)
            .contains("audit records of organization"),
        "it is signed"
    );

    for statement in ["UPDATE audit_records SET body = ''", "DELETE FROM audit_records", "DROP TABLE users"] {
        let said = schema.refusal_to(&roles.server, statement);
        assert!(said.contains("permission denied") || said.contains("must be owner"), "{statement}: {said}");
    }
    assert!(plane.ask("GET /v1/whoami", &bearer, "")["user"]["email"] == EMAIL);
    drop(plane.terminate());
}

/// Starts a control plane as the user `nobody`, who has no right beyond that, on a system of which it can write to its data
/// directory alone; `None`, and said so, where only `root` can arrange that.
#[expect(clippy::print_stdout, reason = "whoever runs the tests is told what was left out")]
fn locked_in(home: Home) -> Option<Plane> {
    const SCRIPT: &str = r#"mount -t tmpfs tmpfs "$1" && chown 65534:65534 "$1" && chmod 700 "$1" &&
        mount -o remount,bind,ro / && shift &&
        exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@""#;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a system is made read-only by root only");
        return None;
    }
    let (data, program) = (home.path("data"), home.path("kt"));
    fs::create_dir(&data).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_kt"), &program).unwrap();
    for path in [home.path("."), program.clone()] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", SCRIPT, "sh"]).arg(&data).arg(&program).current_dir("/");
    command.args([
        "server",
        "run",
        "--api-listen",
        "127.0.0.1:0",
        "--console-listen",
        "127.0.0.1:0",
        "--data-dir",
    ]);
    command.arg(&data);
    let owner = [("KEEPTRUSTS_BOOTSTRAP_EMAIL", EMAIL), ("KEEPTRUSTS_BOOTSTRAP_PASSWORD", PASSWORD)];
    Some(home.start_by(command, &owner))
}

#[test]
fn a_server_runs_as_a_user_of_its_own_on_a_system_that_it_cannot_write_to() {
    let Some(plane) = locked_in(Home::new()) else { return };
    let status = fs::read_to_string(format!("/proc/{}/status", plane.id())).unwrap();
    let has = |field: &str, value: &str| {
        status.lines().any(|line| line.split_whitespace().take(2).eq([field, value]))
    };
    assert!(
        has("Uid:", "65534") && has("CapEff:", "0000000000000000") && has("NoNewPrivs:", "1"),
        "{status}"
    );
    let token = plane.sign_in(PASSWORD).unwrap();
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let body = json!({ "email": "jo@acme.example", "role": "member" }).to_string();
    assert_eq!(plane.try_ask("POST /v1/invitations", &bearer, &body).unwrap().0, 201);
    let outbox = format!("/proc/{}/root{}", plane.id(), plane.home.path("data/outbox").display());
    crate::gateway::wait_for("the invitation to be written", || {
        let letters = fs::read_dir(&outbox).map_or(0, Iterator::count);
        (letters > 0).then_some(())
    });
    let complaints = fs::read_to_string(plane.home.path("complaints")).unwrap();
    assert!(!complaints.contains("Read-only") && !complaints.contains("denied"), "{complaints}");
    assert!(plane.terminate().1.success());
}
