use std::time::Duration;

use axum::http::{Method, StatusCode};
use kt_control::{Bearer, ExportFormat, SignIn};
use kt_domain::actor::Actor;
use kt_domain::clock::Clock;
use kt_domain::ctx::Ctx;
use kt_domain::sessions::Door;
use kt_store::event_log::{Expectations, Expected, LogKind, Verification, verify};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use crate::harness::{Answer, TestApi, on_both};

const ROUTES: [&str; 3] = ["/v1/audit-log", "/v1/audit-log/export", "/v1/audit-log/keys"];

async fn ask(api: &TestApi, session: &Answer, path: &str) -> Answer {
    api.get(path).bearer(session.access_token()).send().await
}

/// The actions on a page.
fn actions(page: &Answer) -> Vec<&str> {
    let records = page.json["records"].as_array().unwrap_or_else(|| panic!("{}", page.json));
    records.iter().map(|record| record["action"].as_str().unwrap()).collect()
}

fn proven(export: &str) -> Verification {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), export).unwrap();
    verify(&[file.path().to_owned()], &Expectations::default(), &mut |_| ()).unwrap()
}

/// Changes the database as somebody with its password can.
pub(crate) async fn behind_its_back(api: &TestApi, statement: &'static str) {
    let url = &api.database.url;
    if url.starts_with("sqlite:") {
        SqliteConnection::connect(url).await.unwrap().execute(statement).await.unwrap();
    } else {
        PgConnection::connect(url).await.unwrap().execute(statement).await.unwrap();
    }
}

on_both! {
    records_come_newest_first_in_the_shape_that_is_promised(api) {
        let session = api.owner().await;
        let page = ask(&api, &session, "/v1/audit-log").await;
        assert_eq!(actions(&page), ["auth.sign_in", "organization.created"]);
        assert_eq!(page.json["next_cursor"], Value::Null);
        let record = page.json["records"][0].as_object().unwrap();
        let mut fields: Vec<&str> = record.keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, [
            "action", "actor", "details", "id", "ip_address", "outcome", "request_id", "resource", "session_id",
            "timestamp", "user_agent",
        ]);
        assert_eq!(record["actor"]["name"], "owner@acme.example");
        assert_eq!(record["actor"]["type"], "user");
        assert_eq!(record["ip_address"], "203.0.113.9");
        assert_eq!(record["outcome"], "success");
        let sessions = api.get("/v1/me/sessions").bearer(session.access_token()).send().await;
        assert_eq!(record["session_id"], sessions.json["sessions"][0]["id"], "the one that it began");
        assert!(page.json["records"][1].get("session_id").is_none(), "the machine has none");
    }

    what_is_done_in_a_session_names_it_and_what_a_key_does_names_the_key(api) {
        let owner = api.token_of("owner@acme.example").await;
        let own = api.get("/v1/me/sessions").bearer(&owner).send().await.json["sessions"][0]["id"].clone();
        let body = json!({ "type": "access", "name": "CI", "scope": "admin" });
        let key = api.post("/v1/tokens", body).bearer(&owner).send().await;
        for (bearer, name) in [(owner.as_str(), "Acme & Co."), (key.text("/key"), "Acme, Inc.")] {
            let renamed = api.patch("/v1/organization", json!({ "name": name })).bearer(bearer).send().await;
            assert_eq!(renamed.status, 200, "{}", renamed.json);
        }
        let records = api.records("organization.renamed").await;
        assert_eq!((&records[0]["session_id"], &records[0]["actor"]["type"]), (&own, &json!("user")));
        assert_eq!((records[1].get("session_id"), &records[1]["actor"]["type"]), (None, &json!("api_key")));
        assert_eq!(records[1]["actor"]["id"], key.json["id"]);
    }

    one_record_is_shown_with_its_place_in_the_chain(api) {
        let session = api.owner().await;
        let newest = ask(&api, &session, "/v1/audit-log?limit=1").await.json["records"][0].clone();
        let id = newest["id"].as_str().unwrap();
        let shown = ask(&api, &session, &format!("/v1/audit-log/{id}")).await;
        assert_eq!(shown.json["record"], newest);
        let export = ask(&api, &session, "/v1/audit-log/export").await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &export.body).unwrap();
        let head = Expected { seq: shown.json["seq"].as_u64().unwrap(), hash: shown.text("/hash").parse().unwrap(), anchor: None };
        let expectations = Expectations { entries: vec![head], ..Expectations::default() };
        assert!(verify(&[file.path().to_owned()], &expectations, &mut |_| ()).unwrap().valid);
        let none = ask(&api, &session, "/v1/audit-log/aud_01a1ff1a2aea7dd59e7752c76b149a61").await;
        assert_eq!(none.refusal(), (404, "not_found"));
    }

    who_reads_is_told_by_the_role_and_the_organization(api) {
        for (email, role, status) in [("a@acme.example", "admin", 200), ("u@acme.example", "auditor", 200), ("m@acme.example", "member", 403)] {
            api.add_member(email, role).await;
            let token = api.token_of(email).await;
            for path in ROUTES {
                let answer = api.get(path).bearer(&token).send().await;
                assert_eq!(answer.status, status, "{role} at {path}");
            }
        }
        let other = api.organization("other").await;
        api.add_member_of(&other, "o@other.example", "owner".parse().unwrap()).await;
        let stranger = api.token_of("o@other.example").await;
        let session = api.owner().await;
        let page = ask(&api, &session, "/v1/audit-log").await;
        let id = page.text("/records/0/id");
        let refused = api.get(&format!("/v1/audit-log/{id}")).bearer(&stranger).send().await;
        assert_eq!(refused.refusal(), (404, "not_found"));
        for path in ["/v1/audit-log?limit=200", "/v1/audit-log/export"] {
            let seen = api.get(path).bearer(&stranger).send().await;
            assert_eq!(seen.status, StatusCode::OK);
            assert!(!seen.body.contains("acme.example"), "{}", seen.body);
        }
    }

    a_filter_lets_through_what_it_names_and_nothing_else(api) {
        let session = api.owner().await;
        api.login("owner@acme.example", "wrong").await;
        api.clock.advance(Duration::from_mins(1));
        let out = api.owner().await;
        api.request(Method::POST, "/v1/auth/logout").bearer(out.access_token()).send().await;
        let id = session.text("/user/id");
        for (filter, expected) in [
            ("action=auth.sign_out", vec!["auth.sign_out"]),
            ("action=auth.", vec!["auth.sign_out", "auth.sign_in", "auth.sign_in", "auth.sign_in"]),
            ("outcome=failure", vec!["auth.sign_in"]),
            ("actor=test", vec!["organization.created"]),
            ("action=auth.sign_in&outcome=success", vec!["auth.sign_in", "auth.sign_in"]),
            (&format!("actor={id}&action=auth.sign_out"), vec!["auth.sign_out"]),
            ("actor=owner@acme.example&action=auth.sign_out", vec!["auth.sign_out"]),
            ("actor=nobody", vec![]),
            ("resource=nothing", vec![]),
            ("since=2026-03-15T14:23:31Z", vec!["auth.sign_out", "auth.sign_in"]),
            ("until=2026-03-15T14:23:31Z&action=auth.", vec!["auth.sign_in", "auth.sign_in"]),
        ] {
            let page = ask(&api, &session, &format!("/v1/audit-log?{filter}")).await;
            assert_eq!(actions(&page), expected, "{filter}");
        }
    }

    pages_hold_every_record_once_and_cursors_cannot_be_made_up(api) {
        let session = api.owner().await;
        for _ in 0..6 {
            api.owner().await;
        }
        let whole = ask(&api, &session, "/v1/audit-log").await.json["records"].clone();
        let mut read = Vec::new();
        let mut path = "/v1/audit-log?limit=3".to_owned();
        loop {
            let page = ask(&api, &session, &path).await;
            read.extend(page.json["records"].as_array().unwrap().clone());
            let Some(cursor) = page.json["next_cursor"].as_str() else { break };
            path = format!("/v1/audit-log?limit=3&cursor={cursor}");
            let changed = ask(&api, &session, &path[..path.len() - 1]).await;
            assert_eq!(changed.refusal(), (422, "validation_error"));
            assert_eq!(changed.text("/error/param"), "cursor");
        }
        assert_eq!(Value::Array(read), whole);
        assert_eq!(whole.as_array().unwrap().len(), 8);
    }

    bad_parameters_are_named(api) {
        let session = api.owner().await;
        for (query, param) in [
            ("limit=0", "limit"), ("limit=1001", "limit"), ("action=nothing", "action"), ("outcome=maybe", "outcome"),
            ("since=yesterday", "since"), ("until=1", "until"), ("cursor=MTA", "cursor"), ("colour=red", "colour"),
            ("limit=1&limit=2", "limit"), ("outcome=success&outcome=failure", "outcome"),
        ] {
            let answer = ask(&api, &session, &format!("/v1/audit-log?{query}")).await;
            assert_eq!(answer.refusal(), (422, "validation_error"), "{query}");
            assert_eq!(answer.text("/error/param"), param, "{query}");
        }
        let format = ask(&api, &session, "/v1/audit-log/export?format=xml").await;
        assert_eq!(format.text("/error/param"), "format");
    }

    nobody_changes_or_deletes_a_record(api) {
        let session = api.owner().await;
        for path in ROUTES {
            assert_eq!(api.get(path).send().await.refusal(), (401, "missing_key"), "{path}");
            assert_eq!(ask(&api, &session, path).await.status, StatusCode::OK, "{path}");
            for method in [Method::DELETE, Method::PUT, Method::PATCH, Method::POST] {
                let answer = api.request(method, path).bearer(session.access_token()).send().await;
                assert_eq!(answer.refusal(), (405, "method_not_allowed"), "{path}");
            }
        }
    }

    an_export_is_proven_offline_and_records_itself(api) {
        let session = api.owner().await;
        let export = ask(&api, &session, "/v1/audit-log/export").await;
        assert_eq!(export.headers["content-type"], "application/jsonl");
        let found = proven(&export.body);
        assert!(found.valid, "{:?}", found.problem);
        assert_eq!((found.log, found.events, found.checkpoints), (LogKind::Audit, 3, 1));
        assert_eq!(found.unproven(), 0, "it ends in a checkpoint");
        assert_eq!(found.gateway_id.as_deref(), Some(session.text("/organization/id")));
        let keys = ask(&api, &session, "/v1/audit-log/keys").await;
        assert_eq!(found.public_key.unwrap().to_string(), keys.text("/keys/0/public_key"));
        assert_eq!(actions(&ask(&api, &session, "/v1/audit-log?action=audit.").await), ["audit.exported"]);

        let changed = export.body.replace("\"outcome\":\"success\"", "\"outcome\":\"failure\"");
        let problem = proven(&changed).problem.unwrap();
        assert_eq!(problem.seq, 1, "{problem}");
    }

    a_part_of_the_log_is_proven_as_the_whole_is(api) {
        let session = api.owner().await;
        assert_eq!(api.control.checkpoint_audit(api.clock.now()).await.unwrap(), 1);
        assert_eq!(api.control.checkpoint_audit(api.clock.now()).await.unwrap(), 0, "nothing has come since");
        api.clock.advance(Duration::from_mins(1));
        api.owner().await;
        api.control.checkpoint_audit(api.clock.now()).await.unwrap();
        api.clock.advance(Duration::from_mins(1));
        let later = ask(&api, &session, "/v1/audit-log/export?since=2026-03-15T14:23:00Z").await;
        let found = proven(&later.body);
        assert!(found.valid, "{:?}", found.problem);
        assert_eq!((found.first_seq, found.events), (4, 2));
        let early = ask(&api, &session, "/v1/audit-log/export?until=2026-03-15T14:23:00Z").await;
        let found = proven(&early.body);
        assert!(found.valid, "{:?}", found.problem);
        assert_eq!((found.first_seq, found.last_seq), (1, 5));
    }

    an_export_asks_for_a_fresh_proof_of_identity(api) {
        let session = api.owner().await;
        api.clock.advance(Duration::from_mins(11));
        let refused = ask(&api, &session, "/v1/audit-log/export").await;
        assert_eq!(refused.refusal(), (403, "reauthentication_required"));
        let fresh = api.owner().await;
        assert_eq!(ask(&api, &fresh, "/v1/audit-log/export").await.status, StatusCode::OK);
        assert_eq!(ask(&api, &session, "/v1/audit-log").await.status, StatusCode::OK, "looking does not");
    }

    nobody_takes_many_copies_at_once_and_nobody_else_is_kept_waiting(api) {
        let session = api.owner().await;
        let other = api.somebody("auditor").await;
        let bearer = Bearer(session.access_token());
        let actor = api.control.authenticate(&api.operator(), bearer).await.unwrap().actor;
        let ctx = Ctx { actor, ..api.operator() };
        let mut under_way = Vec::new();
        for _ in 0..3 {
            under_way.push(api.control.export_audit(&ctx, ExportFormat::Jsonl, None, None).await.unwrap());
        }
        let ways = ["/v1/audit-log/export", "/v1/usage/export", "/v1/members/export", "/v1/tokens/export"];
        for path in ways {
            assert_eq!(ask(&api, &session, path).await.refusal(), (429, "too_many_copies"));
            assert_eq!(ask(&api, &other, path).await.status, StatusCode::OK, "somebody else");
        }
        under_way.pop();
        for path in ways {
            assert_eq!(ask(&api, &session, path).await.status, StatusCode::OK, "one after the other");
        }
    }

    other_forms_hold_exactly_the_records_of_the_time(api) {
        let session = api.owner().await;
        api.clock.advance(Duration::from_mins(1));
        let path = "/v1/audit-log/export?until=2026-03-15T14:23:00Z&format=";
        let csv = ask(&api, &session, &format!("{path}csv")).await;
        assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
        let lines: Vec<&str> = csv.body.lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].starts_with("\"id\",\"timestamp\","));
        assert!(lines[2].contains("\"auth.sign_in\""));
        let ocsf = ask(&api, &session, &format!("{path}ocsf")).await;
        let classes: Vec<u64> = ocsf
            .body
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["class_uid"].as_u64().unwrap())
            .collect();
        assert_eq!(classes, [3004, 3002]);
        let cef = ask(&api, &session, &format!("{path}cef")).await;
        assert_eq!(cef.headers["content-type"], "text/plain; charset=utf-8");
        let actions: Vec<_> = cef.body.lines().map(|line| line.split('|').nth(4).unwrap()).collect();
        assert_eq!(actions, ["organization.created", "auth.sign_in"]);
    }

    a_record_that_is_written_behind_a_later_checkpoint_is_in_the_copy_of_its_time_and_in_no_other(api) {
        let session = api.owner().await;
        let begun = Ctx { actor: Actor::Anonymous, ..api.operator() };
        api.clock.advance(Duration::from_mins(1));
        api.control.checkpoint_audit(api.clock.now()).await.unwrap();
        let sign_in = SignIn {
            email: "late@acme.example".to_owned(),
            password: "wrong".to_owned(),
            organization: None,
            device: None,
            door: Door::Api,
        };
        assert!(api.control.sign_in(&begun, sign_in).await.is_err());
        api.clock.advance(Duration::from_mins(1));
        api.control.checkpoint_audit(api.clock.now()).await.unwrap();
        for (period, is_in_it) in [("until", true), ("since", false)] {
            for form in ["csv", "ocsf", "cef"] {
                let path = format!("/v1/audit-log/export?{period}=2026-03-15T14:23:00Z&format={form}");
                let copy = ask(&api, &session, &path).await;
                assert_eq!(copy.body.contains("late@acme.example"), is_in_it, "{path}: {}", copy.body);
            }
        }
    }

    a_record_that_somebody_edits_in_the_database_is_named(api) {
        let session = api.owner().await;
        let whole = ask(&api, &session, "/v1/audit-log/export").await;
        assert!(proven(&whole.body).valid);
        let edit = "UPDATE audit_records SET body = replace(body, '203.0.113.9', '203.0.113.8') WHERE seq = 2";
        behind_its_back(&api, edit).await;
        let edited = ask(&api, &session, "/v1/audit-log/export").await;
        let problem = proven(&edited.body).problem.unwrap();
        assert_eq!(problem.seq, 2, "{problem}");

        behind_its_back(&api, "DELETE FROM audit_records WHERE seq = 2").await;
        let shortened = ask(&api, &session, "/v1/audit-log/export").await;
        let problem = proven(&shortened.body).problem.unwrap();
        assert_eq!(problem.to_string(), "entry 2 was removed: entry 3 follows entry 1");
    }
}
