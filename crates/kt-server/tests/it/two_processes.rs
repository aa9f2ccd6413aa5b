//! Two processes over one database: what one takes away, the other refuses at the next request.

use axum::http::Method;
use serde_json::json;

use crate::console::browser::Browser;
use crate::harness::{Answer, PASSWORD, TestApi, on_both};
use crate::redis;

const NEW_PASSWORD: &str = "Other-maple-4-meadow";

/// Who Jo is to this process.
async fn whoami(process: &TestApi, bearer: &str) -> Answer {
    process.get("/v1/whoami").bearer(bearer).send().await
}

on_both! {
    wrong_passwords_and_asked_for_mail_are_counted_over_all_processes(api) {
        let other = api.beside(&redis::shared()).await;
        api.add_member("jo@acme.example", "member").await;
        for (n, process) in [&api, &other].into_iter().cycle().take(10).enumerate() {
            let wrong = process.login("jo@acme.example", &format!("wrong {n}")).await;
            assert_eq!(wrong.refusal(), (401, "invalid_credentials"));
        }
        for process in [&api, &other] {
            let right = process.login("jo@acme.example", PASSWORD).await;
            assert_eq!(right.refusal(), (401, "invalid_credentials"), "ten in all have locked it for both");
        }
        api.owner().await;
        other.owner().await;

        for process in [&api, &other].into_iter().cycle().take(8) {
            let forgot = json!({ "email": "owner@acme.example" });
            process.post("/v1/auth/password/forgot", forgot).send().await;
        }
        let letters = api.told("owner@acme.example", "Choose a new password").await
            + other.told("owner@acme.example", "Choose a new password").await;
        assert_eq!(letters, 3, "three an hour, whoever is asked");
    }

    what_one_process_takes_away_the_other_refuses_at_the_next_request(api) {
        let other = api.beside(&redis::shared()).await;
        let owner = api.token_of("owner@acme.example").await;
        let jo = api.add_member("jo@acme.example", "admin").await;
        let (member, sessions) = (format!("/v1/members/{jo}"), "/v1/me/sessions".to_owned());
        let changes = [
            ("role", Method::PATCH, member.clone(), json!({ "role": "auditor" }), &owner, true),
            ("name", Method::PATCH, "/v1/organization".into(), json!({ "name": "Acme & Co." }), &owner, true),
            ("suspension", Method::POST, format!("{member}/suspend"), json!({}), &owner, false),
        ];
        let token = api.token_of("jo@acme.example").await;
        for (what, method, path, body, actor, stays) in changes {
            assert_eq!(whoami(&other, &token).await.status, 200, "{what}: it remembers who that is");
            assert_eq!(whoami(&api, &token).await.status, 200, "{what}: and so does the other");
            let request = api.request(method, &path).body(Some(body)).bearer(actor);
            let answer = request.send().await;
            assert_eq!(answer.status, 200, "{what}: {}", answer.json);
            let told = whoami(&other, &token).await;
            assert_eq!(told.status == 200, stays, "{what}");
            assert_eq!(told.json["user"], whoami(&api, &token).await.json["user"], "{what}: both tell the same");
        }
        assert_eq!(whoami(&other, &token).await.refusal(), (401, "invalid_token"));

        let reactivated = api.post(&format!("{member}/reactivate"), json!({})).bearer(&owner).send().await;
        assert_eq!(reactivated.status, 200);
        let token = api.token_of("jo@acme.example").await;
        let listed = other.get(&sessions).bearer(&token).send().await;
        assert_eq!(listed.json["sessions"][0]["current"], true, "the control: it lets the new session in");
        let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
        assert_eq!(api.post("/v1/me/password", body).bearer(&token).send().await.status, 200);
        assert_eq!(whoami(&other, &token).await.refusal(), (401, "invalid_token"), "a changed password");

        let token = api.login("jo@acme.example", NEW_PASSWORD).await.access_token().to_owned();
        assert_eq!(whoami(&other, &token).await.status, 200);
        assert_eq!(api.post("/v1/auth/logout", json!({})).bearer(&token).send().await.status, 204);
        assert_eq!(whoami(&other, &token).await.refusal(), (401, "invalid_token"), "signed out");

        let body = json!({ "type": "access", "name": "CI", "scope": "read-only" });
        let key = api.post("/v1/tokens", body).bearer(&owner).send().await;
        assert_eq!(whoami(&other, key.text("/key")).await.status, 200);
        let path = format!("/v1/tokens/{}", key.text("/id"));
        assert_eq!(api.request(Method::DELETE, &path).bearer(&owner).send().await.status, 204);
        assert_eq!(whoami(&other, key.text("/key")).await.refusal(), (401, "invalid_key"), "a revoked key");
        assert_eq!(whoami(&other, &owner).await.status, 200, "the control: nobody else lost anything");
    }

    tokens_of_one_process_are_signed_with_the_key_that_another_has_rotated_to(api) {
        let other = api.beside(&redis::shared()).await;
        let keys_at = async |process: &TestApi| process.get("/.well-known/jwks.json").send().await.json;
        let session = other.login("owner@acme.example", PASSWORD).await;
        assert_eq!(whoami(&other, session.access_token()).await.status, 200, "the control");
        let before = keys_at(&other).await;
        for round in ["sign-in", "refresh", "keys"] {
            api.control.rotate_signing_key(&api.operator(), true).await.unwrap();
            match round {
                "sign-in" => {
                    let token = other.token_of("owner@acme.example").await;
                    assert_eq!(whoami(&api, &token).await.status, 200, "{round}");
                }
                "refresh" => {
                    let body = json!({ "refresh_token": session.text("/refresh_token") });
                    let refreshed = other.post("/v1/auth/refresh", body).send().await;
                    assert_eq!(whoami(&api, refreshed.access_token()).await.status, 200, "{round}");
                }
                _ => {
                    let now = keys_at(&other).await;
                    assert_ne!(now, before);
                    assert_eq!(now["keys"].as_array().unwrap().len(), 1, "what leaked is no key any more");
                }
            }
        }
    }

    what_a_provider_takes_away_at_one_process_the_other_refuses_at_the_next_request(api) {
        let other = api.beside(&redis::shared()).await;
        let jo = api.add_member("jo@acme.example", "member").await.to_string();
        let directory = api.directory().await;
        let token = other.token_of("jo@acme.example").await;
        assert_eq!(whoami(&other, &token).await.status, 200, "it remembers who that is");
        assert_eq!(directory.set_active(&jo, false).await.status, 200);
        assert_eq!(whoami(&other, &token).await.refusal(), (401, "invalid_token"), "deactivated by SCIM");
        assert_eq!(directory.set_active(&jo, true).await.status, 200);

        let provider = api.with_provider(json!({})).await;
        let (browser, by_password) = (other.browser(), other.signed_in("jo@acme.example").await);
        assert_eq!(provider.way(&browser, "jo").await.leads_to(), Some("/"));
        let is_in = async |browser: &Browser<'_>| browser.get("/settings/profile").await.status == 200;
        assert!(is_in(&browser).await && is_in(&by_password).await, "it remembers who that is");
        let owner = api.token_of("owner@acme.example").await;
        let off = json!({ "enabled": false, "issuer": provider.issuer(), "client_id": "keeptrusts" });
        assert_eq!(api.put("/v1/organization/sso/oidc", off).bearer(&owner).send().await.status, 200);
        assert!(!is_in(&browser).await, "the provider is turned off");
        assert!(is_in(&by_password).await, "the control: a session of its own");
    }
}
