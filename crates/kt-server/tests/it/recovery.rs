use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;

use crate::harness::{Answer, PASSWORD, TestApi, on_both, token_in};

const OWNER: &str = "owner@acme.example";
const NEW: &str = "Quiet-willow-4-lakes";

async fn forgot(api: &TestApi, email: &str) -> Answer {
    // Letters are in the order of the moments at which they were written.
    api.clock.advance(Duration::from_secs(1));
    api.post("/v1/auth/password/forgot", json!({ "email": email })).send().await
}

async fn reset(api: &TestApi, token: &str, password: &str) -> Answer {
    api.post("/v1/auth/password/reset", json!({ "token": token, "new_password": password })).send().await
}

on_both! {
    a_link_resets_the_password_once_and_ends_everything_before(api) {
        let session = api.owner().await;
        assert_eq!(forgot(&api, "OWNER@acme.example").await.status, StatusCode::ACCEPTED);
        api.owner().await;
        let token = api.token_for(OWNER).await;
        let weak = reset(&api, &token, "acme").await;
        assert_eq!(weak.refusal(), (422, "validation_error"));
        assert!(weak.json["error"]["violations"].is_array(), "{}", weak.json);
        assert_eq!(reset(&api, &token, PASSWORD).await.text("/error/violations/0/code"), "password_reused");

        let done = reset(&api, &token, NEW).await;
        assert_eq!(done.json, json!({ "status": "password_changed" }), "and no session");
        assert_eq!(reset(&api, &token, "Third-meadow-7-hills").await.refusal(), (422, "invalid_token"));
        let whoami = api.get("/v1/whoami").bearer(session.access_token()).send().await;
        assert_eq!(whoami.refusal(), (401, "invalid_token"));
        let refresh = json!({ "refresh_token": session.text("/refresh_token") });
        assert_eq!(api.post("/v1/auth/refresh", refresh).send().await.refusal(), (401, "invalid_refresh_token"));
        assert_eq!(api.login(OWNER, PASSWORD).await.refusal(), (401, "invalid_credentials"));
        assert_eq!(api.login(OWNER, NEW).await.json["status"], "authenticated");
        assert_eq!(api.told(OWNER, "Your password was changed").await, 1);
        for action in ["auth.password_reset_requested", "auth.password_reset"] {
            assert!(api.recorded(action).await, "{action}");
        }
    }

    a_link_that_went_to_an_address_which_was_changed_since_is_over(api) {
        forgot(&api, OWNER).await;
        let token = api.token_for(OWNER).await;
        let owner = api.owner().await;
        let change = json!({ "email": "olive@acme.example" });
        api.patch("/v1/me", change).bearer(owner.access_token()).send().await;
        let confirm = json!({ "token": api.token_for("olive@acme.example").await });
        let confirmed = api.post("/v1/auth/email/verify", confirm).send().await;
        assert_eq!(confirmed.json, json!({ "status": "email_changed" }));
        assert_eq!(reset(&api, &token, NEW).await.refusal(), (422, "invalid_token"));
        forgot(&api, "olive@acme.example").await;
        let token = api.token_for("olive@acme.example").await;
        assert_eq!(reset(&api, &token, NEW).await.json, json!({ "status": "password_changed" }), "the control");
    }

    keys_work_on_and_are_named_to_their_owner(api) {
        let owner = api.owner().await;
        let new = json!({ "type": "access", "name": "nightly reports", "scope": "read-only" });
        let key = api.post("/v1/tokens", new).bearer(owner.access_token()).send().await;
        forgot(&api, OWNER).await;
        assert_eq!(reset(&api, &api.token_for(OWNER).await, NEW).await.status, StatusCode::OK);
        let told = api.letters_to(OWNER).await;
        assert!(told.last().unwrap().content.text.contains("nightly reports"));
        let whoami = api.get("/v1/whoami").bearer(key.text("/key")).send().await;
        assert_eq!(whoami.status, StatusCode::OK, "{}", whoami.json);
    }

    a_link_to_an_address_that_is_another_one_meanwhile_opens_nothing(api) {
        let session = api.owner().await;
        forgot(&api, OWNER).await;
        let to_the_old_address = api.token_for(OWNER).await;
        let change = json!({ "email": "olive@new.example" });
        assert_eq!(api.patch("/v1/me", change).bearer(session.access_token()).send().await.status, StatusCode::OK);
        let confirm = json!({ "token": api.token_for("olive@new.example").await });
        assert_eq!(api.post("/v1/auth/email/verify", confirm).send().await.status, StatusCode::OK);
        assert_eq!(reset(&api, &to_the_old_address, NEW).await.refusal(), (422, "invalid_token"));
        assert_eq!(api.login("olive@new.example", PASSWORD).await.json["status"], "authenticated");
        forgot(&api, "olive@new.example").await;
        let token = api.token_for("olive@new.example").await;
        assert_eq!(reset(&api, &token, NEW).await.status, StatusCode::OK, "the control: a link to the present one");
    }

    a_link_ends_by_age_by_a_newer_one_and_by_a_changed_password(api) {
        forgot(&api, OWNER).await;
        forgot(&api, OWNER).await;
        let tokens: Vec<String> = api.letters_to(OWNER).await.iter().map(token_in).collect();
        assert_eq!(reset(&api, &tokens[0], NEW).await.refusal(), (422, "invalid_token"), "replaced");
        api.clock.advance(Duration::from_hours(1));
        assert_eq!(reset(&api, &tokens[1], NEW).await.refusal(), (422, "invalid_token"), "too old");

        forgot(&api, OWNER).await;
        let token = api.token_for(OWNER).await;
        let change = json!({ "current_password": PASSWORD, "new_password": NEW });
        let session = api.owner().await;
        let changed = api.post("/v1/me/password", change).bearer(session.access_token()).send().await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.json);
        assert_eq!(reset(&api, &token, "Third-meadow-7-hills").await.refusal(), (422, "invalid_token"));
        assert_eq!(reset(&api, &token[..42], NEW).await.refusal(), (422, "invalid_token"), "truncated");
        assert_eq!(reset(&api, "", NEW).await.refusal(), (422, "invalid_token"));
    }

    a_token_of_one_kind_opens_nothing_else(api) {
        forgot(&api, OWNER).await;
        let token = api.token_for(OWNER).await;
        for path in ["/v1/auth/email/verify", "/v1/auth/email/undo"] {
            let answer = api.post(path, json!({ "token": token })).send().await;
            assert_eq!(answer.refusal(), (422, "invalid_token"), "{path}");
        }
        assert_eq!(reset(&api, &token, NEW).await.status, StatusCode::OK, "and is not used up by the try");
    }

    of_a_thousand_who_use_a_reset_link_one_succeeds(api) {
        forgot(&api, OWNER).await;
        let (token, api) = (api.token_for(OWNER).await, Arc::new(api));
        let tasks: Vec<_> = (0..1000).map(|_| {
            let (api, token) = (Arc::clone(&api), token.clone());
            tokio::spawn(async move { reset(&api, &token, NEW).await })
        }).collect();
        let mut successes = 0;
        for task in tasks {
            let answer = task.await.unwrap();
            successes += usize::from(answer.status == StatusCode::OK);
            assert!(answer.status == StatusCode::OK || answer.refusal() == (422, "invalid_token"), "{}", answer.json);
        }
        assert_eq!(successes, 1);
    }

    known_and_unknown_addresses_get_one_answer_and_only_the_known_one_a_letter(api) {
        let mut answers = Vec::new();
        for email in [OWNER, "nobody@acme.example"] {
            let answer = forgot(&api, email).await;
            answers.push((answer.status, answer.json, answer.headers.len()));
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0].1, json!({ "status": "accepted" }));
        assert_eq!(api.letters_to(OWNER).await.len(), 1);
        assert_eq!(api.letters_to("nobody@acme.example").await.len(), 0);
        assert_eq!(forgot(&api, "no address").await.refusal(), (422, "validation_error"));
    }

    a_reset_lifts_the_lock_of_an_account(api) {
        for _ in 0..11 {
            api.login(OWNER, "wrong").await;
        }
        assert_eq!(api.login(OWNER, PASSWORD).await.refusal(), (401, "invalid_credentials"), "locked");
        forgot(&api, OWNER).await;
        assert_eq!(reset(&api, &api.token_for(OWNER).await, NEW).await.status, StatusCode::OK);
        assert_eq!(api.login(OWNER, NEW).await.json["status"], "authenticated");
    }

    a_reset_lifts_the_lock_of_a_known_device_and_of_whoever_is_signed_in(api) {
        let session = api.owner().await;
        let device = session.text("/device_token");
        let login = async |password: &str| {
            let body = json!({ "email": OWNER, "password": password, "device_token": device });
            api.post("/v1/auth/login", body).send().await
        };
        let prove = async |session: &Answer, password: &str| {
            let body = json!({ "password": password });
            api.post("/v1/me/reauthenticate", body).bearer(session.access_token()).send().await
        };
        for _ in 0..11 {
            login("wrong").await;
            prove(&session, "wrong").await;
        }
        assert_eq!(login(PASSWORD).await.refusal(), (401, "invalid_credentials"), "locked");
        assert_eq!(prove(&session, PASSWORD).await.refusal(), (401, "invalid_credentials"), "locked");
        forgot(&api, OWNER).await;
        assert_eq!(reset(&api, &api.token_for(OWNER).await, NEW).await.status, StatusCode::OK);
        let session = login(NEW).await;
        assert_eq!(session.text("/status"), "authenticated");
        assert_eq!(prove(&session, NEW).await.json, json!({ "status": "reauthenticated" }));
    }

    the_link_leads_to_the_configured_address_whatever_the_request_says(api) {
        let ask = |host: &str| api.post("/v1/auth/password/forgot", json!({ "email": OWNER })).header("host", host);
        assert_eq!(ask("evil.test").send().await.refusal(), (421, "unknown_host"));
        ask("127.0.0.1:666").header("x-forwarded-host", "evil.test").send().await;
        let letters = api.letters_to(OWNER).await;
        assert_eq!(letters.len(), 1);
        assert!(letters[0].content.text.contains("http://localhost:3000/reset-password?token="));
        for named in ["evil.test", ":666"] {
            assert!(!letters[0].content.html.contains(named) && !letters[0].content.text.contains(named), "{named}");
        }
    }
}
