mod guessing;

use std::time::Duration;

use axum::http::{Method, StatusCode};
use kt_control::passwords::{Asker, Capacity, Cost, Hasher};
use kt_domain::clock::Clock;
use kt_domain::passwords::Password;
use kt_domain::secret::SecretDigest;
use kt_store::{audit, once, organizations, users};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{Answer, PASSWORD, on_both, side_by_side};

on_both! {
    an_owner_signs_in_and_is_told_who_they_are(api) {
        let session = api.owner().await;
        assert_eq!(session.json["token_type"], "Bearer");
        assert_eq!(session.json["expires_in"], 900);
        let answer = api.get("/v1/whoami").bearer(session.access_token()).send().await;
        assert_eq!(answer.json["user"]["email"], "owner@acme.example");
        assert_eq!(answer.json["user"]["role"], "owner");
        assert_eq!(answer.json["organization"]["identifier"], "acme");
        assert_eq!(answer.text("/user/id"), session.text("/user/id"));
    }

    whoever_is_not_let_in_gets_one_answer(api) {
        let wrong = [
            ("owner@acme.example", "Tall-cedar-9-rivers"),
            ("nobody@acme.example", PASSWORD),
            ("not an address", PASSWORD),
            ("owner@acme.example", ""),
        ];
        let mut bodies = Vec::new();
        for (email, password) in wrong {
            let mut answer = api.login(email, password).await;
            assert_eq!(answer.refusal(), (401, "invalid_credentials"), "{email}");
            answer.json["error"]["request_id"] = json!(null);
            bodies.push(answer.json);
        }
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
        api.owner().await;
    }

    what_is_typed_for_an_address_and_is_none_is_written_nowhere(api) {
        let expected = api.login("nobody@acme.example", "wrong").await.json["error"]["message"].clone();
        let long = "Tall-cedar-9-river ".repeat(3_000);
        for typed in [PASSWORD, "a\u{0}b", &long] {
            let answer = api.login(typed, "wrong").await;
            assert_eq!(answer.refusal(), (401, "invalid_credentials"), "{typed:.20}");
            assert_eq!(answer.json["error"]["message"], expected);
        }
        let only = organizations::only(&api.store).await.unwrap();
        let chain = audit::chain(&api.store, only.as_ref()).await.unwrap();
        let failed: Vec<_> = chain.iter().filter(|entry| entry.body.contains("auth.sign_in")).collect();
        assert_eq!(failed.len(), 4);
        assert!(failed.iter().all(|entry| entry.body.len() < 2000 && !entry.body.contains("cedar")));
        assert!(failed[0].body.contains("nobody@acme.example"), "the control: what is an address is told");
        assert!(failed[1..].iter().all(|entry| entry.body.contains("\"resource\":\"no address\"")));
        for _ in 0..10 {
            api.login(PASSWORD, "wrong").await;
        }
        let reasons = audit::chain(&api.store, only.as_ref()).await.unwrap();
        assert!(reasons.last().unwrap().body.contains("\"locked\""), "it is counted all the same");
    }

    whoever_is_known_and_not_let_in_is_recorded(api) {
        let jo = api.add_member("jo@acme.example", "member").await.to_string();
        let owner = api.token_of("owner@acme.example").await;
        let suspended = api.post(&format!("/v1/members/{jo}/suspend"), json!({})).bearer(&owner).send().await;
        assert!(suspended.status.is_success(), "{}", suspended.json);
        assert_eq!(api.login("jo@acme.example", PASSWORD).await.refusal(), (401, "invalid_credentials"));
        let records = api.records("auth.sign_in").await;
        let last = records.iter().find(|record| record["resource"] == jo.as_str()).expect("it is recorded");
        assert_eq!((&last["outcome"], &last["details"]["after"]["reason"]), (&json!("failure"), &json!("not_admitted")));
    }

    a_sign_in_puts_a_new_hash_in_place_of_an_outdated_one(api) {
        let kept = async || {
            let user = users::by_email(&api.store, "owner@acme.example").await.unwrap().unwrap();
            (user.id, user.password.unwrap().hash)
        };
        let hasher = Hasher::new(&Cost::default(), Capacity::default()).unwrap();
        let outdated = hasher.hash(&Asker::stranger(None), &Password::new(PASSWORD).unwrap()).await.unwrap().to_stored();
        let (owner, first) = kept().await;
        let tx = api.store.begin_write().await.unwrap();
        users::rehash(&tx, &owner, &first, &outdated).await.unwrap();
        tx.commit().await.unwrap();
        api.login("owner@acme.example", "wrong").await;
        assert_eq!(kept().await.1, outdated, "a wrong password changes nothing");
        api.owner().await;
        let (_, renewed) = kept().await;
        let cost = |hash: &str| hash.split('$').nth(3).unwrap().to_owned();
        assert_eq!(cost(&renewed), cost(&first), "as the deployment hashes now");
        assert_ne!(cost(&renewed), cost(&outdated));
        api.owner().await;
        assert_eq!(kept().await.1, renewed, "and that once");
    }

    what_the_database_holds_of_a_session_opens_nothing(api) {
        let session = api.owner().await;
        let refresh = session.text("/refresh_token");
        let kept = SecretDigest::of(refresh).to_string();
        for stolen in [kept.as_str(), session.text("/user/id")] {
            let body = json!({ "refresh_token": stolen });
            assert_eq!(api.post("/v1/auth/refresh", body).send().await.refusal(), (401, "invalid_refresh_token"));
            assert_eq!(api.get("/v1/whoami").bearer(stolen).send().await.refusal(), (401, "invalid_token"));
        }
        let good = api.post("/v1/auth/refresh", json!({ "refresh_token": refresh })).send().await;
        assert_eq!(good.status, StatusCode::OK, "the control");
    }

    a_sign_in_from_a_device_that_is_not_known_is_told_once(api) {
        let told = || api.told("owner@acme.example", "New sign-in to your account");
        let login = async |device: Option<&str>| {
            let body = json!({ "email": "owner@acme.example", "password": PASSWORD, "device_token": device });
            api.clock.advance(Duration::from_secs(1));
            api.post("/v1/auth/login", body).send().await
        };
        let first = login(None).await;
        assert_eq!(told().await, 0, "the very first sign-in is no news");
        login(Some(first.text("/device_token"))).await;
        assert_eq!(told().await, 0, "the same device again");
        let other = login(Some("made-up")).await;
        assert_eq!(told().await, 1);
        let letters = api.letters_to("owner@acme.example").await;
        assert!(letters[0].content.text.contains("203.0.113.9"), "{}", letters[0].content.text);
        login(Some(other.text("/device_token"))).await;
        assert_eq!(told().await, 1, "it is known from now on");
        api.login("owner@acme.example", "wrong").await;
        assert_eq!(told().await, 1, "nobody has signed in");
    }

    a_step_that_waits_for_a_second_factor_replaces_no_password(api) {
        api.add_member("mia@acme.example", "member").await;
        let mia = || api.login("mia@acme.example", PASSWORD);
        let policy = json!({ "mfa": { "policy": "required_for_all", "grace_period": "0h" } });
        let owner = api.owner().await;
        let changed = api.patch("/v1/organization/security", policy).bearer(owner.access_token()).send().await;
        assert_eq!(changed.status, StatusCode::OK);
        let replace = async |step: &str| {
            let body = json!({ "flow_token": step, "new_password": "Quiet-willow-4-lakes" });
            api.post("/v1/auth/password/replace", body).send().await
        };
        let waiting = mia().await;
        assert_eq!(waiting.text("/status"), "mfa_enrollment_required");
        assert_eq!(replace(waiting.text("/flow_token")).await.refusal(), (401, "invalid_flow_token"));
        assert_eq!(mia().await.text("/status"), "mfa_enrollment_required", "the password is the same");
        api.clock.advance(Duration::from_hours(91 * 24));
        let expired = mia().await;
        assert_eq!(expired.text("/status"), "password_change_required");
        assert_eq!(replace(expired.text("/flow_token")).await.text("/status"), "password_changed", "the control");
    }

    an_access_token_ends_after_fifteen_minutes_and_is_refreshed(api) {
        let session = api.owner().await;
        api.clock.advance(Duration::from_secs(15 * 60 - 1));
        let get = || api.get("/v1/whoami").bearer(session.access_token()).send();
        assert_eq!(get().await.status, StatusCode::OK);
        api.clock.advance(Duration::from_secs(1));
        assert_eq!(get().await.refusal(), (401, "invalid_token"));
        let refreshed = api.post("/v1/auth/refresh", json!({ "refresh_token": session.text("/refresh_token") }));
        let refreshed = refreshed.send().await;
        assert_eq!(api.get("/v1/whoami").bearer(refreshed.access_token()).send().await.status, StatusCode::OK);
    }

    a_replayed_refresh_token_ends_its_session_at_once(api) {
        let session = api.owner().await;
        let refresh = || api.post("/v1/auth/refresh", json!({ "refresh_token": session.text("/refresh_token") })).send();
        let refreshed = refresh().await;
        let get = || api.get("/v1/whoami").bearer(refreshed.access_token()).send();
        assert_eq!(get().await.status, StatusCode::OK, "the control");
        assert_eq!(refresh().await.refusal(), (401, "invalid_refresh_token"));
        assert_eq!(get().await.refusal(), (401, "invalid_token"));
        let next = api.post("/v1/auth/refresh", json!({ "refresh_token": refreshed.text("/refresh_token") })).send();
        assert_eq!(next.await.refusal(), (401, "invalid_refresh_token"));
    }

    of_a_thousand_who_use_one_refresh_token_one_is_served_and_the_session_ends(api) {
        let session = api.owner().await;
        let body = json!({ "refresh_token": session.text("/refresh_token") });
        let answers = side_by_side((0..1000).map(|_| api.post("/v1/auth/refresh", body.clone()).send())).await;
        let (served, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status == StatusCode::OK);
        assert_eq!(served.len(), 1);
        assert!(refused.iter().all(|answer| answer.refusal() == (401, "invalid_refresh_token")));
        let whoami = api.get("/v1/whoami").bearer(served[0].access_token()).send().await;
        assert_eq!(whoami.refusal(), (401, "invalid_token"), "the others are replays");
        assert_eq!(api.records("auth.refresh_replayed").await.len(), 1, "which is told once");
        let next = json!({ "refresh_token": served[0].text("/refresh_token") });
        assert_eq!(api.post("/v1/auth/refresh", next).send().await.refusal(), (401, "invalid_refresh_token"));
    }

    nobody_waits_for_a_password_that_is_replaced_to_be_hashed(api) {
        api.owner().await;
        api.clock.advance(Duration::from_hours(91 * 24));
        let step = api.login("owner@acme.example", PASSWORD).await;
        let replace = async |password: &str| {
            let body = json!({ "flow_token": step.text("/flow_token"), "new_password": password });
            api.post("/v1/auth/password/replace", body).send().await
        };
        // Whoever writes meanwhile has the one writer of SQLite, and here the step itself, which PostgreSQL has everybody wait
        // for who wants to use it up: what is hashed and refused asks for neither.
        let writing = api.store.begin_write().await.unwrap();
        let digest = SecretDigest::of(step.text("/flow_token"));
        let held = once::consume::<Value>(&writing, "sign_in_step", &digest, api.clock.now()).await.unwrap();
        assert!(held.is_some(), "this is where the step is kept");
        for refused in ["acme", PASSWORD] {
            let answer = timeout(Duration::from_mins(1), replace(refused)).await.expect("it waits for nobody");
            assert_eq!(answer.text("/error/param"), "new_password", "{refused}");
        }
        drop(writing);
        assert_eq!(replace("Quiet-willow-4-lakes").await.text("/status"), "password_changed", "the step is still good");
    }

    of_a_thousand_who_replace_a_password_at_one_step_one_does(api) {
        api.owner().await;
        api.clock.advance(Duration::from_hours(91 * 24));
        let step = api.login("owner@acme.example", PASSWORD).await;
        let body = json!({ "flow_token": step.text("/flow_token"), "new_password": "Quiet-willow-4-lakes" });
        let all = (0..1000).map(|_| api.post("/v1/auth/password/replace", body.clone()).send());
        let answers = side_by_side(all).await;
        let (done, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status == StatusCode::OK);
        assert_eq!(done.len(), 1);
        assert!(refused.iter().all(|answer| answer.refusal() == (401, "invalid_flow_token")));
        let signed_in = api.login("owner@acme.example", "Quiet-willow-4-lakes").await;
        assert_eq!(signed_in.json["status"], "authenticated");
    }

    signing_out_ends_the_session_at_once_and_no_other(api) {
        let (one, other) = (api.owner().await, api.owner().await);
        let out = api.request(Method::POST, "/v1/auth/logout").bearer(one.access_token()).send().await;
        assert_eq!(out.status, StatusCode::NO_CONTENT);
        assert_eq!(api.get("/v1/whoami").bearer(one.access_token()).send().await.refusal(), (401, "invalid_token"));
        assert_eq!(api.get("/v1/whoami").bearer(other.access_token()).send().await.status, StatusCode::OK);
    }

    a_session_is_seen_and_ended_by_its_holder_with_a_fresh_proof(api) {
        let (one, other) = (api.owner().await, api.owner().await);
        let list = api.get("/v1/me/sessions").bearer(one.access_token()).send().await;
        let sessions = list.json["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), 2);
        let theirs = sessions.iter().find(|session| session["current"] == false).unwrap();
        let path = format!("/v1/me/sessions/{}", theirs["id"].as_str().unwrap());
        let end = || api.request(Method::DELETE, &path).bearer(one.access_token()).send();
        assert_eq!(end().await.status, StatusCode::NO_CONTENT);
        assert_eq!(end().await.refusal(), (404, "not_found"));
        assert_eq!(api.get("/v1/whoami").bearer(other.access_token()).send().await.refusal(), (401, "invalid_token"));
        api.clock.advance(Duration::from_mins(11));
        assert_eq!(end().await.refusal(), (403, "reauthentication_required"));
    }

    sessions_are_listed_page_by_page(api) {
        api.owner().await;
        api.clock.advance(Duration::from_secs(1));
        let newer = api.owner().await;
        let list = |query: String| api.get(&format!("/v1/me/sessions?{query}")).bearer(newer.access_token()).send();
        let first = list("limit=1".into()).await;
        assert_eq!(first.json["sessions"].as_array().unwrap().len(), 1);
        assert_eq!(first.json["sessions"][0]["current"], true, "the newest");
        let rest = list(format!("limit=1&cursor={}", first.text("/next_cursor"))).await;
        assert_eq!(rest.json["sessions"].as_array().unwrap().len(), 1);
        assert_eq!((&rest.json["sessions"][0]["current"], &rest.json["next_cursor"]), (&json!(false), &json!(null)));
        for (query, param) in [("limit=0", "limit"), ("cursor=1", "cursor"), ("sort=id", "sort")] {
            assert_eq!(list(query.into()).await.text("/error/param"), param, "{query}");
        }
    }

    all_other_sessions_of_ones_own_are_ended_at_once(api) {
        api.add_member("jo@acme.example", "member").await;
        let (one, other, jo) = (api.owner().await, api.owner().await, api.token_of("jo@acme.example").await);
        let end = || api.request(Method::DELETE, "/v1/me/sessions").bearer(one.access_token()).send();
        assert_eq!(end().await.status, StatusCode::NO_CONTENT);
        assert_eq!(api.get("/v1/whoami").bearer(other.access_token()).send().await.refusal(), (401, "invalid_token"));
        let refresh = json!({ "refresh_token": other.text("/refresh_token") });
        assert_eq!(api.post("/v1/auth/refresh", refresh).send().await.refusal(), (401, "invalid_refresh_token"));
        for kept in [one.access_token(), &jo] {
            assert_eq!(api.get("/v1/whoami").bearer(kept).send().await.status, StatusCode::OK, "nobody else's, nor this one");
        }
        assert_eq!(api.records("session.revoked").await.len(), 1);
        assert_eq!(end().await.status, StatusCode::NO_CONTENT, "with none, none is ended");
        let list = api.get("/v1/me/sessions").bearer(one.access_token()).send().await;
        assert_eq!(list.json["sessions"].as_array().unwrap().len(), 1);
        assert_eq!(list.json["sessions"][0]["proofs"], json!(["pwd"]), "and says how it was proven");
        api.clock.advance(Duration::from_mins(11));
        assert_eq!(end().await.refusal(), (403, "reauthentication_required"));
    }

    the_eleventh_session_ends_the_first(api) {
        let first = api.owner().await;
        let mut later = Vec::new();
        for _ in 0..9 {
            api.clock.advance(Duration::from_secs(1));
            later.push(api.owner().await);
        }
        let is_good = async |session: &Answer| {
            api.get("/v1/whoami").bearer(session.access_token()).send().await.status == StatusCode::OK
        };
        api.clock.advance(Duration::from_secs(1));
        assert!(is_good(&first).await, "ten may live at once");
        let eleventh = api.owner().await;
        assert!(!is_good(&first).await, "from the next request on");
        assert!(is_good(&later[0]).await && is_good(&eleventh).await, "the oldest alone");
    }

    a_session_ends_by_idleness(api) {
        let session = api.owner().await;
        api.clock.advance(Duration::from_mins(31));
        let refresh = api.post("/v1/auth/refresh", json!({ "refresh_token": session.text("/refresh_token") }));
        assert_eq!(refresh.send().await.refusal(), (401, "invalid_refresh_token"));
    }

    a_bearer_that_is_not_good_never_counts_as_nobody(api) {
        let session = api.owner().await;
        let good = format!("Bearer {}", session.access_token());
        for bad in ["Bearer", "Bearer x", "Basic b3duZXI6eA==", "", &format!("{good}x"), &good[..good.len() - 1]] {
            let answer = api.get("/v1/whoami").header("authorization", bad).send().await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{bad}");
        }
        let twice = api.get("/v1/whoami").header("authorization", &good).header("authorization", &good).send().await;
        assert_eq!(twice.refusal(), (401, "invalid_authorization"));
        assert_eq!(api.get("/v1/whoami").header("authorization", &good).send().await.status, StatusCode::OK);
    }

    bad_input_is_named(api) {
        let login = |body| api.post("/v1/auth/login", body).send();
        let unknown = login(json!({ "email": "a@b.example", "password": "x", "role": "owner" })).await;
        assert_eq!(unknown.refusal(), (422, "validation_error"));
        let missing = login(json!({ "email": "a@b.example" })).await;
        assert!(missing.text("/error/message").contains("password"), "{}", missing.json);
        let wrong_type = login(json!({ "email": 7, "password": "x" })).await;
        assert_eq!(wrong_type.text("/error/param"), "email");
        let id = wrong_type.headers["x-kt-request-id"].to_str().unwrap();
        assert_eq!(wrong_type.text("/error/request_id"), id);
        assert_eq!(api.get("/v1/nowhere").send().await.refusal(), (404, "not_found"));
        assert_eq!(api.get("/v1/auth/login").send().await.refusal(), (405, "method_not_allowed"));
    }

    the_published_keys_verify_and_hold_nothing_private(api) {
        let keys = api.get("/.well-known/jwks.json").send().await;
        let key = &keys.json["keys"][0];
        assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA")));
        assert!(key.get("d").is_none());
    }
}
