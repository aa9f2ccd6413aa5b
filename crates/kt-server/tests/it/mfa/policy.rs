//! A second factor that an organisation asks for: the grace, its end, and enrolling on the way in.

use std::time::Duration;

use serde_json::json;

use super::{App, Holder, amr, codes, factors, step, verify};
use crate::harness::{Answer, PASSWORD, TestApi, on_both};

/// Makes `acme` ask for a second factor.
pub(super) async fn demand(api: &TestApi, policy: &str, grace: &str) {
    let patch = json!({ "mfa": { "policy": policy, "grace_period": grace } });
    let owner = api.token_of("owner@acme.example").await;
    let changed = api.patch("/v1/organization/security", patch).bearer(&owner).send().await;
    assert_eq!(changed.status, 200, "{}", changed.json);
}

async fn enroll(api: &TestApi, flow_token: &str) -> (App, Answer) {
    let setup = api.post("/v1/auth/mfa/totp", json!({ "flow_token": flow_token })).send().await;
    let app = App::reading(setup.text("/otpauth_uri"));
    let confirm = |code: String| {
        let body = json!({ "flow_token": setup.text("/flow_token"), "code": code });
        api.post("/v1/auth/mfa/totp/confirm", body).send()
    };
    assert_eq!(confirm(app.wrong_code(&api.clock)).await.refusal(), (422, "invalid_code"));
    let answer = confirm(app.code(&api.clock)).await;
    (app, answer)
}

on_both! {
    once_the_grace_is_over_nothing_but_enrolling_is_left(api) {
        for role in ["member", "auditor", "admin"] {
            api.add_member(&format!("{role}@acme.example"), role).await;
        }
        demand(&api, "required_for_all", "72h").await;
        let mut sessions = Vec::new();
        for role in ["member", "auditor", "admin", "owner"] {
            let login = api.login(&format!("{role}@acme.example"), PASSWORD).await;
            assert_eq!(login.text("/status"), "authenticated", "{role}, within the grace");
            let told = factors(&api, login.access_token()).await;
            assert_eq!((&told["required"], &told["enabled"]), (&json!(true), &json!(false)));
            assert!(told["deadline"].is_string(), "{told}");
            sessions.push(login);
        }
        api.clock.advance(Duration::from_mins(29));
        assert_eq!(api.get("/v1/whoami").bearer(&api.token_of("admin@acme.example").await).send().await.status, 200);
        api.clock.advance(Duration::from_hours(72));
        for role in ["member", "auditor", "admin", "owner"] {
            let email = format!("{role}@acme.example");
            let login = api.login(&email, PASSWORD).await;
            assert_eq!(login.text("/status"), "mfa_enrollment_required", "{role}");
            let flow = login.text("/flow_token");
            assert_eq!(api.get("/v1/whoami").bearer(flow).send().await.refusal(), (401, "invalid_token"));
            let replace = json!({ "flow_token": flow, "new_password": "Quiet-otter-7-harbour" });
            let replaced = api.post("/v1/auth/password/replace", replace).send().await;
            assert_eq!(replaced.refusal(), (401, "invalid_flow_token"), "{role}");
            let (app, answer) = enroll(&api, flow).await;
            assert_eq!(answer.text("/status"), "authenticated", "{role}");
            assert_eq!((codes(&answer).len(), amr(&answer)), (10, json!(["pwd", "otp"])));
            api.clock.advance(Duration::from_secs(30));
            let again = verify(&api, &step(&api, &email).await, "totp", &app.code(&api.clock)).await;
            assert_eq!(again.text("/status"), "authenticated", "{role}");
        }
    }

    a_session_without_a_factor_ends_with_the_grace(api) {
        api.add_member("kim@acme.example", "member").await;
        let jo = Holder::new(&api, "jo@acme.example", "member").await;
        demand(&api, "required_for_all", "10m").await;
        let kim = api.login("kim@acme.example", PASSWORD).await;
        let whoami = |token: &str| api.get("/v1/whoami").bearer(token).send();
        api.clock.advance(Duration::from_mins(9));
        assert_eq!(whoami(kim.access_token()).await.status, 200);
        api.clock.advance(Duration::from_mins(1));
        assert_eq!(whoami(kim.access_token()).await.refusal(), (401, "invalid_token"));
        let refresh = json!({ "refresh_token": kim.text("/refresh_token") });
        let refreshed = api.post("/v1/auth/refresh", refresh).send().await;
        assert_eq!(refreshed.refusal(), (401, "invalid_refresh_token"));
        assert_eq!(whoami(&jo.token).await.status, 200, "who has one goes on");
    }

    only_those_who_are_asked_must_enrol_and_the_last_factor_stays(api) {
        let admin = Holder::new(&api, "admin@acme.example", "admin").await;
        let member = Holder::new(&api, "member@acme.example", "member").await;
        api.add_member("plain@acme.example", "member").await;
        demand(&api, "required_for_admins", "0h").await;
        let remove = |token: &str| api.request("DELETE".parse().unwrap(), "/v1/me/mfa/totp").bearer(token).send();
        assert_eq!(remove(&admin.token).await.refusal(), (409, "factor_required"));
        assert_eq!(remove(&member.token).await.status, 204, "a member is not asked");
        assert_eq!(api.login("plain@acme.example", PASSWORD).await.text("/status"), "authenticated");
        assert_eq!(api.login("owner@acme.example", PASSWORD).await.text("/status"), "mfa_enrollment_required");
    }

    the_posture_counts_those_who_have_none(api) {
        let count = async || {
            let owner = api.token_of("owner@acme.example").await;
            let posture = api.get("/v1/organization/security/posture").bearer(&owner).send().await;
            posture.json["users_without_2fa"].as_i64().unwrap()
        };
        assert_eq!(count().await, 1);
        api.add_member("kim@acme.example", "member").await;
        assert_eq!(count().await, 2);
        Holder::new(&api, "jo@acme.example", "member").await;
        assert_eq!(count().await, 2, "who has one is not counted");
    }
}
