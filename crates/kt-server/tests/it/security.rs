use std::time::Duration;

use kt_domain::actor::Role;
use serde_json::{Value, json};

use crate::databases::Kind;
use crate::harness::{Answer, PASSWORD, TestApi, on_both, side_by_side};

const PATH: &str = "/v1/organization/security";

/// An API whose organizations set everything, from a loose floor.
async fn set_by_console(kind: Kind) -> TestApi {
    let deployment = serde_json::from_value(json!({
        "managed_by": "console",
        "session": { "timeout": "30m", "absolute": "12h" },
        "password": { "preset": "nist-800-63b", "min_length": 12 },
        "lockout": { "max_failures": 10 },
    }));
    TestApi::deployed(kind, deployment.unwrap()).await.set_up().await
}

async fn change(api: &TestApi, token: &str, patch: Value) -> Answer {
    api.patch(PATH, patch).bearer(token).send().await
}

on_both! {
    the_settings_are_told_with_who_sets_them_and_where(api) {
        let owner = api.token_of("owner@acme.example").await;
        let settings = api.get(PATH).bearer(&owner).send().await;
        assert_eq!(settings.headers["etag"], "\"0\"");
        assert_eq!(settings.json["managed_by"], "deployment");
        assert_eq!(settings.json["session"], json!({
            "timeout": "30m", "idle": true, "absolute": "12h",
            "managed_by": "deployment", "changed_in": "`security.session` in keeptrusts.yaml",
        }));
        let password = &settings.json["password"];
        assert_eq!((&password["min_length"], &password["history"]), (&json!(12), &json!(5)));
        assert_eq!((&password["max_age_days"], &password["preset"]), (&json!(90), &json!("recommended")));
        assert_eq!(password["deviations"].as_array().unwrap().len(), 3);
        assert_eq!(settings.json["lockout"]["max_failures"], 10);
        assert_eq!(settings.json["mfa"], json!({
            "policy": "optional", "require_passkey_for_admins": false, "grace_period": "72h", "managed_by": "console",
        }));
        assert_eq!(settings.json["csrf"], json!({ "rotation": "per_session", "managed_by": "console" }));
        assert_eq!(settings.json["api_keys"], json!({
            "max_age_days": null, "allowed_ranges": [], "require_ip_binding": false, "max_requests_per_minute": null,
            "require_scope": true, "creation": "admins", "enforce_immediately": false, "managed_by": "console",
        }));
        assert_eq!(settings.json["registration"], json!({
            "self_registration": false, "signup_approval": true, "email_domains": [], "managed_by": "console",
        }));
    }

    what_the_deployment_sets_is_refused_with_where_to_change_it(api) {
        let owner = api.token_of("owner@acme.example").await;
        let tries = [
            json!({ "session": { "timeout": "15m" } }),
            json!({ "password": { "min_length": 20 } }),
            json!({ "password": { "preset": "nist-800-63b" } }),
            json!({ "lockout": { "max_failures": 5 } }),
            json!({ "mfa": { "policy": "required_for_all" }, "lockout": { "max_failures": 5 } }),
        ];
        for patch in tries {
            let refused = change(&api, &owner, patch.clone()).await;
            assert_eq!(refused.refusal(), (409, "deployment_managed"), "{patch}");
            assert!(refused.text("/error/message").contains("keeptrusts.yaml"));
        }
        let after = api.get(PATH).bearer(&owner).send().await;
        assert_eq!(after.json["mfa"]["policy"], "optional", "nothing of a refused change is kept");
        let control = change(&api, &owner, json!({ "mfa": { "policy": "required_for_all" } })).await;
        assert_eq!(control.json["mfa"]["policy"], "required_for_all");
    }

    a_change_needs_the_role_and_a_fresh_proof_of_identity(api) {
        for (email, role) in [("a@acme.example", "admin"), ("u@acme.example", "auditor"), ("m@acme.example", "member")] {
            api.add_member(email, role).await;
        }
        let patch = json!({ "csrf": { "rotation": "per_request" } });
        let admin = api.token_of("a@acme.example").await;
        let auditor = api.token_of("u@acme.example").await;
        let member = api.token_of("m@acme.example").await;
        assert_eq!(api.get(PATH).send().await.refusal(), (401, "missing_key"));
        assert_eq!(api.get(PATH).bearer(&member).send().await.refusal(), (403, "insufficient_role"));
        assert_eq!(api.get(PATH).bearer(&auditor).send().await.status, 200);
        for token in [&auditor, &member] {
            assert_eq!(change(&api, token, patch.clone()).await.refusal(), (403, "insufficient_role"));
        }
        api.clock.advance(Duration::from_secs(601));
        assert_eq!(change(&api, &admin, patch.clone()).await.refusal(), (403, "reauthentication_required"));
        let fresh = api.token_of("a@acme.example").await;
        assert_eq!(change(&api, &fresh, patch).await.json["csrf"]["rotation"], "per_request");
    }

    each_changed_section_has_its_record_and_nothing_else_has(api) {
        let owner = api.token_of("owner@acme.example").await;
        let patch = json!({
            "mfa": { "policy": "required_for_admins", "grace_period": "168h" },
            "csrf": { "rotation": "per_session" },
            "registration": { "email_domains": ["acme.example"] },
        });
        assert_eq!(change(&api, &owner, patch).await.headers["etag"], "\"1\"");
        let mfa = api.records("security.mfa_policy.updated").await;
        assert_eq!(mfa.len(), 1);
        assert_eq!(mfa[0]["details"], json!({
            "before": { "policy": "optional", "grace_period": "72h" },
            "after": { "policy": "required_for_admins", "grace_period": "168h" },
        }));
        assert_eq!((&mfa[0]["resource"], &mfa[0]["outcome"]), (&json!("security.mfa"), &json!("success")));
        assert_eq!(mfa[0]["ip_address"], "203.0.113.9");
        assert_eq!(api.records("security.registration.updated").await.len(), 1);
        assert_eq!(api.records("security.csrf.updated").await, Vec::<Value>::new(), "it held that already");
        let nothing = change(&api, &owner, json!({ "mfa": { "policy": "required_for_admins" } })).await;
        assert_eq!(nothing.headers["etag"], "\"1\"");
        assert_eq!(api.records("security.mfa_policy.updated").await.len(), 1);
    }

    of_changes_to_one_version_one_is_kept_and_the_others_are_told(api) {
        let owner = api.token_of("owner@acme.example").await;
        let tries = (1..=8).map(|hours| {
            let patch = json!({ "mfa": { "grace_period": format!("{hours}h") } });
            api.patch(PATH, patch).bearer(&owner).header("if-match", "\"0\"").send()
        });
        let answers = side_by_side(tries).await;
        let kept: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(answers.iter().filter(|answer| answer.status == 412).count(), 7);
        let after = api.get(PATH).bearer(&owner).send().await;
        assert_eq!(after.json["mfa"], kept[0].json["mfa"]);
        assert_eq!(api.records("security.mfa_policy.updated").await.len(), 1);
    }

    changes_of_different_fields_are_all_kept(api) {
        let owner = api.token_of("owner@acme.example").await;
        let patches = [
            json!({ "mfa": { "policy": "required_for_admins" } }),
            json!({ "mfa": { "grace_period": "24h" } }),
            json!({ "csrf": { "rotation": "per_request" } }),
            json!({ "registration": { "self_registration": true } }),
        ];
        let answers = side_by_side(patches.map(|patch| api.patch(PATH, patch).bearer(&owner).send())).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        let after = api.get(PATH).bearer(&owner).send().await.json;
        assert_eq!((&after["mfa"]["policy"], &after["mfa"]["grace_period"]), (&json!("required_for_admins"), &json!("24h")));
        assert_eq!((&after["csrf"]["rotation"], &after["registration"]["self_registration"]), (&json!("per_request"), &json!(true)));
    }

    whoever_is_newly_asked_for_a_second_factor_has_the_grace_period_to_enrol(api) {
        api.add_member("m@acme.example", "member").await;
        let owner = api.token_of("owner@acme.example").await;
        change(&api, &owner, json!({ "mfa": { "policy": "required_for_admins", "grace_period": "72h" } })).await;
        api.clock.advance(Duration::from_hours(71));
        assert_eq!(api.login("owner@acme.example", PASSWORD).await.json["status"], "authenticated");
        api.clock.advance(Duration::from_hours(1));
        assert_eq!(api.login("owner@acme.example", PASSWORD).await.json["status"], "mfa_enrollment_required");
        assert_eq!(api.login("m@acme.example", PASSWORD).await.json["status"], "authenticated", "a member is not asked");
    }

    nobody_sets_the_settings_of_another_organization(api) {
        let other = api.organization("other").await;
        api.add_member_of(&other, "owner@other.example", Role::Owner).await;
        let theirs = api.token_of("owner@other.example").await;
        change(&api, &theirs, json!({ "csrf": { "rotation": "per_request" } })).await;
        let owner = api.token_of("owner@acme.example").await;
        assert_eq!(api.get(PATH).bearer(&owner).send().await.json["csrf"]["rotation"], "per_session");
        assert_eq!(api.get(PATH).bearer(&theirs).send().await.json["csrf"]["rotation"], "per_request");
    }
}

on_both! {
    from crate::security::set_by_console;

    an_organization_may_be_stricter_than_its_deployment_and_never_laxer(api) {
        let owner = api.token_of("owner@acme.example").await;
        let table = [
            (json!({ "session": { "timeout": "1h" } }), "session.timeout"),
            (json!({ "session": { "timeout": "45m" } }), "session.timeout"),
            (json!({ "password": { "min_length": 11 } }), "password.min_length"),
            (json!({ "password": { "min_length": 65 } }), "password.min_length"),
            (json!({ "lockout": { "max_failures": 11 } }), "lockout.max_failures"),
            (json!({ "lockout": { "max_failures": 2 } }), "lockout.max_failures"),
            (json!({ "lockout": { "window": "25h" } }), "lockout.window"),
            (json!({ "session": { "length": "1h" } }), "session.length"),
            (json!({ "mfa": { "grace_period": "721h" } }), "mfa.grace_period"),
            (json!({ "csrf": { "rotation": "off" } }), "csrf.rotation"),
            (json!({ "csrf": { "enabled": false } }), "csrf.enabled"),
            (json!({ "colours": {} }), "colours"),
        ];
        for (patch, param) in table {
            let refused = change(&api, &owner, patch.clone()).await;
            assert_eq!((refused.refusal(), refused.text("/error/param")), ((422, "validation_error"), param), "{patch}");
        }
        let stricter = json!({
            "session": { "timeout": "15m", "absolute": "8h" },
            "password": { "min_length": 16, "require_number": true },
            "lockout": { "max_failures": 5, "duration": "30m" },
        });
        let changed = change(&api, &owner, stricter).await;
        assert_eq!(changed.json["managed_by"], "console");
        assert_eq!((&changed.json["session"]["timeout"], &changed.json["lockout"]["max_failures"]), (&json!("15m"), &json!(5)));
        assert!(changed.json["session"].get("changed_in").is_none());
        for action in ["security.session.updated", "security.password_policy.updated", "security.lockout.updated"] {
            assert_eq!(api.records(action).await.len(), 1, "{action}");
        }
    }

    a_shorter_timeout_is_felt_by_the_sessions_that_there_are(api) {
        let owner = api.token_of("owner@acme.example").await;
        change(&api, &owner, json!({ "session": { "timeout": "15m", "idle": false } })).await;
        let session = api.owner().await;
        let refresh = |token: &str| api.post("/v1/auth/refresh", json!({ "refresh_token": token })).send();
        api.clock.advance(Duration::from_mins(14));
        let refreshed = refresh(session.text("/refresh_token")).await;
        assert_eq!(refreshed.status, 200, "the control");
        api.clock.advance(Duration::from_mins(2));
        assert_eq!(api.get("/v1/whoami").bearer(refreshed.access_token()).send().await.refusal(), (401, "invalid_token"));
    }

    a_longer_timeout_brings_no_session_back(api) {
        let quarter = json!({ "session": { "timeout": "15m", "idle": true } });
        change(&api, &api.token_of("owner@acme.example").await, quarter).await;
        let (idle, busy) = (api.signed_in("owner@acme.example").await, api.signed_in("owner@acme.example").await);
        let program = api.owner().await;
        api.clock.advance(Duration::from_mins(10));
        assert_eq!(busy.get("/overview").await.status, 200);
        api.clock.advance(Duration::from_mins(6));
        let longer = change(&api, &api.token_of("owner@acme.example").await, json!({ "session": { "timeout": "30m" } })).await;
        assert_eq!(longer.json["session"]["timeout"], "30m", "{}", longer.json);
        assert_eq!(idle.get("/overview").await.status, 303, "it was over before");
        let refreshed = api.post("/v1/auth/refresh", json!({ "refresh_token": program.text("/refresh_token") }));
        assert_eq!(refreshed.send().await.refusal(), (401, "invalid_refresh_token"), "a program's too");
        assert_eq!(busy.get("/overview").await.status, 200, "the control");
        api.clock.advance(Duration::from_mins(20));
        assert_eq!(busy.get("/overview").await.status, 200, "and the longer time counts");
    }

    what_was_told_to_be_over_stays_so_however_the_timeout_is_set_later(api) {
        let quarter = json!({ "session": { "timeout": "15m", "idle": true } });
        change(&api, &api.token_of("owner@acme.example").await, quarter).await;
        let (told, never_asked) = (api.signed_in("owner@acme.example").await, api.signed_in("owner@acme.example").await);
        let program = api.owner().await;
        api.clock.advance(Duration::from_mins(16));
        let refresh = || api.post("/v1/auth/refresh", json!({ "refresh_token": program.text("/refresh_token") })).send();
        assert_eq!(told.get("/overview").await.status, 303);
        assert_eq!(refresh().await.refusal(), (401, "invalid_refresh_token"));
        // As a file of the deployment would: past the use case, and known at the next start.
        api.choose_security(json!({ "session": { "timeout": "4h" } })).await;
        assert_eq!(never_asked.get("/overview").await.status, 200, "the control: nobody has seen that it was over");
        assert_eq!(told.get("/overview").await.status, 303);
        assert_eq!(refresh().await.refusal(), (401, "invalid_refresh_token"));
    }

    whoever_has_a_password_that_breaks_new_rules_is_asked_to_change_it_at_the_next_sign_in(api) {
        let owner = api.token_of("owner@acme.example").await;
        let preset = change(&api, &owner, json!({ "password": { "preset": "recommended" } })).await;
        assert_eq!(preset.json["password"]["preset"], "recommended");
        api.owner().await;
        change(&api, &owner, json!({ "password": { "min_length": 24 } })).await;
        assert_eq!(api.get("/v1/whoami").bearer(&owner).send().await.status, 200, "a session goes on");
        let asked = api.login("owner@acme.example", PASSWORD).await;
        assert_eq!((asked.text("/status"), asked.text("/reason")), ("password_change_required", "policy"));
        let replace = |new: &str| {
            let body = json!({ "flow_token": asked.text("/flow_token"), "new_password": new });
            api.post("/v1/auth/password/replace", body).send()
        };
        let short = replace("Quiet-otter-7-harbour").await;
        assert_eq!(short.text("/error/violations/0/code"), "password_too_short");
        let long = "Quiet-otter-7-harbour-lamp";
        let asked = api.login("owner@acme.example", PASSWORD).await;
        let body = json!({ "flow_token": asked.text("/flow_token"), "new_password": long });
        assert_eq!(api.post("/v1/auth/password/replace", body).send().await.json["status"], "password_changed");
        assert_eq!(api.records("auth.password_changed").await.len(), 1);
        assert_eq!(api.login("owner@acme.example", long).await.json["status"], "authenticated");
    }
}
