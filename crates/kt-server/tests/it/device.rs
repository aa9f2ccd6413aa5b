//! Signing in a device by a code that somebody approves.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use kt_control::SignInOutcome;
use kt_domain::actor::{Actor, Role};
use kt_domain::clock::Clock;
use kt_domain::ctx::Ctx;
use kt_domain::sign_in::MembershipState;
use kt_store::organizations;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, TestApi, on_both};

/// A device that waits.
struct Device {
    device_code: String,
    user_code: String,
}

async fn ask(api: &TestApi) -> Device {
    let request = api.request(Method::POST, "/v1/auth/device/authorize").from("198.51.100.7:1");
    let answer = request.header("user-agent", "kt/0 (build-host)").send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json);
    Device { device_code: answer.text("/device_code").into(), user_code: answer.text("/user_code").into() }
}

/// What the device is told, after it has waited as long as it must.
async fn fetch(api: &TestApi, device: &Device) -> Answer {
    api.clock.advance(Duration::from_secs(5));
    poll(api, device).await
}

async fn poll(api: &TestApi, device: &Device) -> Answer {
    api.post("/v1/auth/device/token", json!({ "device_code": device.device_code })).send().await
}

async fn decide(api: &TestApi, bearer: &str, code: &str, decision: &str) -> Answer {
    let path = format!("/v1/me/device-requests/{code}/{decision}");
    api.request(Method::POST, &path).bearer(bearer).send().await
}

/// Fetches the session of a device ten times at each of a hundred moments between which it may ask again. Says how many got
/// it, and how many looked for the decision after it was used up. Nobody on SQLite writes before many have begun.
async fn fetch_a_thousand_times(api: &Arc<TestApi>, device: &Arc<Device>) -> (usize, usize) {
    let nobody_writes = api.store.begin_write().await.unwrap();
    let tasks: Vec<_> = (0..1000)
        .map(|n| {
            let (api, device) = (api.clone(), device.clone());
            let now = api.clock.now() + Duration::from_secs(5) * (n / 10);
            let ctx = Ctx { actor: Actor::Anonymous, now, ..api.operator() };
            tokio::spawn(async move { api.control.sign_in_device(&ctx, &device.device_code).await })
        })
        .collect();
    for _ in 0..1000 {
        organizations::only(&api.store).await.unwrap();
    }
    drop(nobody_writes);
    let (mut sessions, mut came_too_late) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(outcome) => sessions += usize::from(matches!(outcome, SignInOutcome::Authenticated(_))),
            Err(error) if error.code == "authorization_pending" => came_too_late += 1,
            Err(error) => assert!(["slow_down", "expired_token"].contains(&error.code), "{}", error.code),
        }
    }
    (sessions, came_too_late)
}

on_both! {
    a_device_may_ask_in_the_words_of_the_standard(api) {
        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        let device = ask(&api).await;
        let form = |grant_type: &str| {
            let pairs = [("grant_type", grant_type), ("device_code", device.device_code.as_str()), ("client_id", "cli")];
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
        };
        let send = |body: String| {
            api.clock.advance(Duration::from_secs(5));
            let request = api.request(Method::POST, "/v1/auth/device/token");
            request.text("application/x-www-form-urlencoded", &body).send()
        };
        assert_eq!(send(form(grant)).await.refusal(), (409, "authorization_pending"));
        assert_eq!(send(form("password")).await.refusal(), (422, "validation_error"));
        let owner = api.owner().await;
        decide(&api, owner.access_token(), &device.user_code, "approve").await;
        assert_eq!(send(form(grant)).await.text("/status"), "authenticated");
        let json = json!({ "device_code": device.device_code, "grant_type": "password" });
        assert_eq!(api.post("/v1/auth/device/token", json).send().await.text("/error/param"), "grant_type");
    }

    a_device_signs_in_once_somebody_has_approved_its_code(api) {
        let answer = api.request(Method::POST, "/v1/auth/device/authorize").send().await;
        let code = answer.text("/user_code");
        assert_eq!((&answer.json["expires_in"], &answer.json["interval"]), (&json!(600), &json!(5)));
        assert_eq!(answer.json["verification_uri"], "http://localhost:3000/device");
        assert_eq!(answer.json["verification_uri_complete"], format!("http://localhost:3000/device?user_code={code}"));

        let device = ask(&api).await;
        assert_eq!(fetch(&api, &device).await.refusal(), (409, "authorization_pending"));
        let owner = api.owner().await;
        let typed = device.user_code.to_lowercase().replace('-', "");
        let path = format!("/v1/me/device-requests/{typed}");
        let shown = api.get(&path).bearer(owner.access_token()).send().await;
        assert_eq!(shown.json["ip_address"], "198.51.100.7");
        assert_eq!(shown.json["user_agent"], "kt/0 (build-host)");
        assert_eq!(decide(&api, owner.access_token(), &typed, "approve").await.status, StatusCode::NO_CONTENT);

        let session = fetch(&api, &device).await;
        assert_eq!(session.json["status"], "authenticated", "{}", session.json);
        assert_eq!(session.text("/user/email"), "owner@acme.example");
        let sessions = api.get("/v1/me/sessions").bearer(session.access_token()).send().await;
        let doors: Vec<&Value> = sessions.json["sessions"].as_array().unwrap().iter().map(|one| &one["door"]).collect();
        assert_eq!(doors, ["cli", "api"]);
    }

    a_device_is_as_fresh_as_the_session_that_lets_it_in(api) {
        let owner = api.owner().await;
        api.clock.advance(Duration::from_mins(11));
        let rename = async |session: &Answer| {
            let name = json!({ "name": "Acme & Co." });
            api.patch("/v1/organization", name).bearer(session.access_token()).send().await
        };
        let let_in = async || {
            let device = ask(&api).await;
            assert_eq!(decide(&api, owner.access_token(), &device.user_code, "approve").await.status, 204);
            fetch(&api, &device).await
        };
        assert_eq!(rename(&let_in().await).await.refusal(), (403, "reauthentication_required"));
        let proof = json!({ "password": PASSWORD });
        api.post("/v1/me/reauthenticate", proof).bearer(owner.access_token()).send().await;
        assert_eq!(rename(&let_in().await).await.status, 200, "who has proven again who they are lets in one that may");
    }

    nobody_is_let_in_on_a_device_by_somebody_who_is_suspended(api) {
        for (state, expected) in [(MembershipState::Suspended, 403), (MembershipState::Active, 200)] {
            let device = ask(&api).await;
            let session = api.somebody("member").await;
            assert_eq!(decide(&api, session.access_token(), &device.user_code, "approve").await.status, 204);
            api.becomes(&session, Role::Member, state).await;
            assert_eq!(fetch(&api, &device).await.status, expected, "{state}");
        }
    }

    of_a_thousand_who_fetch_one_session_one_gets_it(api) {
        let api = Arc::new(api);
        let owner = api.owner().await;
        // If the one who gets it is the last by the clock, the others are told to slow down and nobody looks for the decision
        // after it was used up: that is no race for it, and the next device is raced for.
        for _ in 0..10 {
            let device = Arc::new(ask(&api).await);
            decide(&api, owner.access_token(), &device.user_code, "approve").await;
            let (sessions, came_too_late) = fetch_a_thousand_times(&api, &device).await;
            assert_eq!(sessions, 1);
            assert_eq!(fetch(&api, &device).await.refusal(), (401, "expired_token"), "and nobody gets another");
            if came_too_late > 0 {
                return;
            }
        }
        panic!("nobody looked for a decision after it was used up");
    }

    a_code_is_decided_once_and_a_refusal_reaches_the_device(api) {
        let device = ask(&api).await;
        let owner = api.owner().await;
        let bearer = owner.access_token();
        assert_eq!(decide(&api, bearer, &device.user_code, "deny").await.status, StatusCode::NO_CONTENT);
        assert_eq!(decide(&api, bearer, &device.user_code, "approve").await.refusal(), (404, "not_found"));
        assert_eq!(fetch(&api, &device).await.refusal(), (403, "access_denied"));
        assert_eq!(fetch(&api, &device).await.refusal(), (401, "expired_token"));
    }

    who_asks_too_often_is_told_to_slow_down(api) {
        let device = ask(&api).await;
        assert_eq!(poll(&api, &device).await.refusal(), (409, "authorization_pending"));
        let answer = poll(&api, &device).await;
        assert_eq!(answer.refusal(), (429, "slow_down"));
        assert_eq!(answer.headers["retry-after"], "5");
        assert_eq!(fetch(&api, &device).await.refusal(), (409, "authorization_pending"));
    }

    codes_end_after_ten_minutes(api) {
        let device = ask(&api).await;
        api.clock.advance(Duration::from_mins(10));
        assert_eq!(poll(&api, &device).await.refusal(), (401, "expired_token"));
        let owner = api.owner().await;
        assert_eq!(decide(&api, owner.access_token(), &device.user_code, "approve").await.refusal(), (404, "not_found"));
    }

    an_approval_is_no_fresher_than_the_session_that_gave_it_and_dies_with_it(api) {
        let owner = api.owner().await;
        api.clock.advance(Duration::from_mins(11));
        let device = ask(&api).await;
        decide(&api, owner.access_token(), &device.user_code, "approve").await;
        let session = fetch(&api, &device).await;
        let mine = api.get("/v1/me/sessions").bearer(session.access_token()).send().await;
        let other = mine.json["sessions"][1]["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/me/sessions/{other}");
        let stale = api.request(Method::DELETE, &path).bearer(session.access_token()).send().await;
        assert_eq!(stale.refusal(), (403, "reauthentication_required"), "the proof is eleven minutes old");

        let owner = api.owner().await;
        let device = ask(&api).await;
        decide(&api, owner.access_token(), &device.user_code, "approve").await;
        api.request(Method::POST, "/v1/auth/logout").bearer(owner.access_token()).send().await;
        assert_eq!(fetch(&api, &device).await.refusal(), (403, "access_denied"));
    }

    only_a_signed_in_person_decides_and_guessing_codes_is_bounded(api) {
        let device = ask(&api).await;
        let path = format!("/v1/me/device-requests/{}/approve", device.user_code);
        assert_eq!(api.request(Method::POST, &path).send().await.refusal(), (401, "missing_key"));
        let owner = api.owner().await;
        let bearer = owner.access_token();
        assert_eq!(decide(&api, bearer, "AEIOU", "approve").await.refusal(), (422, "validation_error"));
        for _ in 0..20 {
            assert_eq!(decide(&api, bearer, "BBBB-BBBB", "approve").await.refusal(), (404, "not_found"));
        }
        assert_eq!(decide(&api, bearer, &device.user_code, "approve").await.refusal(), (429, "too_many_attempts"));
        assert_eq!(fetch(&api, &device).await.refusal(), (409, "authorization_pending"), "nothing was decided");
    }

    one_network_brings_only_so_many_devices(api) {
        for _ in 0..30 {
            ask(&api).await;
        }
        let asking = |peer| api.request(Method::POST, "/v1/auth/device/authorize").from(peer).send();
        assert_eq!(asking("198.51.100.99:1").await.refusal(), (429, "too_many_attempts"), "the same /24");
        assert_eq!(asking("203.0.113.9:1").await.status, StatusCode::OK, "another one");
    }
}
