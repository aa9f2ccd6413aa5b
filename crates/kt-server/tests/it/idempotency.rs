//! `Idempotency-Key`: a POST that is sent again is carried out once, and its answer is kept from all others.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use kt_control::{Bearer, Begun, OnceRequest};
use kt_domain::clock::Clock;
use kt_domain::secret::SecretDigest;
use kt_store::once_requests;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, TestApi, on_both, side_by_side};
use crate::mfa::Holder;
use crate::mfa::authenticator::Authenticator;

const WORD: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

fn new_key(name: &str) -> Value {
    json!({ "type": "access", "name": name, "scope": "admin" })
}

async fn post(api: &TestApi, path: &str, body: Value, bearer: &str, word: &str) -> Answer {
    api.post(path, body).bearer(bearer).header("idempotency-key", word).send().await
}

/// The names of the keys that there are.
async fn names(api: &TestApi, bearer: &str) -> Vec<String> {
    let listed = api.get("/v1/tokens").bearer(bearer).send().await;
    let keys = listed.json["tokens"].as_array().unwrap();
    keys.iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

on_both! {
    a_request_that_is_sent_again_is_carried_out_once_and_answered_alike(api) {
        let owner = api.token_of("owner@acme.example").await;
        let first = post(&api, "/v1/tokens", new_key("CI"), &owner, WORD).await;
        assert_eq!((first.status, is_replayed(&first)), (StatusCode::CREATED, false), "{}", first.json);
        for word in [WORD.to_owned(), format!("\"{WORD}\"")] {
            let again = post(&api, "/v1/tokens", new_key("CI"), &owner, &word).await;
            assert!(again.status == first.status && is_replayed(&again));
            assert_eq!(again.body, first.body, "the text of the key too");
            assert_eq!(again.headers["content-type"], first.headers["content-type"]);
            assert_ne!(again.headers["x-kt-request-id"], first.headers["x-kt-request-id"], "a request of its own");
        }
        assert_eq!(names(&api, &owner).await, ["CI"]);
        assert_eq!(api.records("key.created").await.len(), 1);
        let other_word = post(&api, "/v1/tokens", new_key("CI"), &owner, "another").await;
        assert_ne!(other_word.text("/key"), first.text("/key"), "the control");
        assert_eq!(names(&api, &owner).await.len(), 2);
    }

    a_word_is_for_one_request_at_one_address(api) {
        let owner = api.token_of("owner@acme.example").await;
        assert_eq!(post(&api, "/v1/tokens", new_key("one"), &owner, WORD).await.status, 201);
        let other = post(&api, "/v1/tokens", new_key("other"), &owner, WORD).await;
        assert_eq!(other.refusal(), (422, "idempotency_key_reused"));
        let asked = post(&api, "/v1/tokens?type=access", new_key("one"), &owner, WORD).await;
        assert_eq!(asked.refusal(), (422, "idempotency_key_reused"), "another question is another request");
        let invitation = json!({ "email": "guest@acme.example", "role": "member" });
        let elsewhere = post(&api, "/v1/invitations", invitation, &owner, WORD).await;
        assert!(elsewhere.status == 201 && !is_replayed(&elsewhere), "{}", elsewhere.json);
        assert_eq!(names(&api, &owner).await, ["one"]);
    }

    of_a_thousand_at_once_one_is_carried_out(api) {
        let owner = api.token_of("owner@acme.example").await;
        let answers = side_by_side((0..1000).map(|_| post(&api, "/v1/tokens", new_key("CI"), &owner, WORD))).await;
        let carried_out = answers.iter().filter(|answer| answer.status == 201 && !is_replayed(answer));
        assert_eq!(carried_out.count(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            assert_eq!(answer.refusal(), (409, "idempotency_in_flight"));
            assert_eq!(answer.headers["retry-after"], "1");
        }
        assert_eq!(names(&api, &owner).await, ["CI"]);
        assert!(is_replayed(&post(&api, "/v1/tokens", new_key("CI"), &owner, WORD).await));
    }

    what_was_refused_is_tried_again(api) {
        let owner = api.token_of("owner@acme.example").await;
        let bad = post(&api, "/v1/tokens", new_key(""), &owner, WORD).await;
        assert_eq!(bad.status, 422);
        let stale = async || {
            api.clock.advance(Duration::from_mins(11));
            post(&api, "/v1/tokens", new_key("CI"), &owner, WORD).await
        };
        assert_eq!(stale().await.refusal(), (403, "reauthentication_required"));
        let proven = api.post("/v1/me/reauthenticate", json!({ "password": PASSWORD })).bearer(&owner).send().await;
        assert!(proven.status.is_success(), "{}", proven.json);
        let made = post(&api, "/v1/tokens", new_key("CI"), &owner, WORD).await;
        assert!(made.status == 201 && !is_replayed(&made), "{}", made.json);
    }

    an_answer_is_given_to_nobody_else(api) {
        let owner = api.token_of("owner@acme.example").await;
        let first = post(&api, "/v1/tokens", new_key("CI"), &owner, WORD).await;
        let other_session = api.token_of("owner@acme.example").await;
        let theirs = post(&api, "/v1/tokens", new_key("CI"), &other_session, WORD).await;
        assert!(theirs.status == 201 && !is_replayed(&theirs));
        assert_ne!(theirs.text("/key"), first.text("/key"));
        assert_eq!(api.post("/v1/auth/logout", json!({})).bearer(&owner).send().await.status, 204);
        let ended = post(&api, "/v1/tokens", new_key("CI"), &owner, WORD).await;
        assert_eq!(ended.refusal(), (401, "invalid_token"), "whoever asks must still be let in");
        let anonymous = api.post("/v1/tokens", new_key("CI")).header("idempotency-key", WORD).send().await;
        assert_eq!(anonymous.refusal(), (401, "missing_key"));
    }

    an_answer_is_kept_sealed_and_for_a_day(api) {
        let owner = api.owner().await;
        let first = post(&api, "/v1/tokens", new_key("nightly job"), owner.access_token(), WORD).await;
        let sessions = api.get("/v1/me/sessions").bearer(owner.access_token()).send().await;
        let session = sessions.text("/sessions/0/id");
        let digest = SecretDigest::of(&json!([session, "/v1/tokens", WORD]).to_string());
        let begun_at = api.clock.now();
        let kept = async || once_requests::find(&api.store, &digest, begun_at).await.unwrap();
        let sealed = kept().await.unwrap().answer.unwrap();
        assert!(!sealed.contains(first.text("/key")) && !sealed.contains("nightly job"), "{sealed}");

        api.clock.advance(Duration::from_hours(24) - Duration::from_secs(1));
        api.control.run_jobs(&api.operator()).await.unwrap();
        assert!(kept().await.is_some(), "the control");
        api.clock.advance(Duration::from_secs(1));
        api.control.run_jobs(&api.operator()).await.unwrap();
        assert!(kept().await.is_none());
    }

    a_request_that_was_cut_off_is_never_carried_out_a_second_time(api) {
        let owner = api.owner().await;
        let body = new_key("CI");
        let fingerprint = SecretDigest::of(&format!("\n{body}"));
        let request = OnceRequest { address: "/v1/tokens", key: WORD, fingerprint };
        let mut ctx = api.operator();
        ctx.actor = api.control.authenticate(&ctx, Bearer(owner.access_token())).await.unwrap().actor;
        assert!(matches!(api.control.begin_once(&ctx, &request).await.unwrap(), Begun::First(_)));
        let again = || post(&api, "/v1/tokens", body.clone(), owner.access_token(), WORD);
        assert_eq!(again().await.refusal(), (409, "idempotency_in_flight"));
        api.clock.advance(Duration::from_mins(5));
        assert_eq!(again().await.refusal(), (409, "idempotency_outcome_unknown"));
        assert!(names(&api, owner.access_token()).await.is_empty());
        assert!(api.clock.now() > ctx.now);
    }

    a_word_that_is_none_is_refused_and_signing_in_knows_no_words(api) {
        let owner = api.token_of("owner@acme.example").await;
        for word in ["", "a b", "\"", "\"a\"b\"", &"x".repeat(256)] {
            let answer = post(&api, "/v1/tokens", new_key("CI"), &owner, word).await;
            assert_eq!(answer.refusal(), (400, "invalid_idempotency_key"), "{word:?}");
        }
        let twice = api.post("/v1/tokens", new_key("CI")).bearer(&owner);
        let twice = twice.header("idempotency-key", "one").header("idempotency-key", "two").send().await;
        assert_eq!(twice.refusal(), (400, "invalid_idempotency_key"));
        assert!(names(&api, &owner).await.is_empty());
        let login = json!({ "email": "owner@acme.example", "password": PASSWORD });
        for _ in ["once", "and again"] {
            let answer = post(&api, "/v1/auth/login", login.clone(), "rubbish", WORD).await;
            assert!(answer.status == 200 && !is_replayed(&answer), "{}", answer.json);
        }
    }

    what_is_shown_once_of_a_second_factor_is_shown_once_whatever_the_word(api) {
        let jo = Holder::new(&api, "jo@acme.example", "member").await;
        for (path, secret) in [("/v1/me/mfa/recovery-codes", "/recovery_codes/0"), ("/v1/me/mfa/totp", "/secret")] {
            let first = post(&api, path, json!({}), &jo.token, WORD).await;
            let again = post(&api, path, json!({}), &jo.token, WORD).await;
            assert!(first.status == 200 && again.status == 200 && !is_replayed(&again), "{path}: {}", again.json);
            assert_ne!(first.text(secret), again.text(secret), "{path}");
        }
        let asked = post(&api, "/v1/me/passkeys/options", json!({}), &jo.token, WORD).await;
        let credential = Authenticator::new().create(&asked.json["options"]);
        let passkey = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
        let mut added = Vec::new();
        for _ in ["once", "and again"] {
            added.push(post(&api, "/v1/me/passkeys", passkey.clone(), &jo.token, WORD).await);
        }
        assert_eq!((added[0].status.as_u16(), added[1].refusal()), (201, (401, "invalid_flow_token")));
        let owner = api.token_of("owner@acme.example").await;
        let made = async || post(&api, "/v1/tokens", new_key("CI"), &owner, WORD).await;
        let key = made().await;
        assert_eq!(made().await.text("/key"), key.text("/key"), "the control");
    }

    a_use_of_a_key_is_counted_once_and_what_is_left_is_told(api) {
        let owner = api.token_of("owner@acme.example").await;
        let limited = json!({ "type": "access", "name": "CI", "scope": "admin", "requests_per_minute": 3 });
        let key = api.post("/v1/tokens", limited).bearer(&owner).send().await;
        let told = |answer: &Answer| {
            ["ratelimit-policy", "ratelimit", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
                .map(|name| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned()))
        };
        let headers = |left: u32| {
            let rate = format!("\"key\";r={left};t=60");
            ["\"key\";q=3;w=60", &rate, "3", &left.to_string(), "60"].map(|text| Some(text.to_owned()))
        };
        let invitation = json!({ "email": "guest@acme.example", "role": "member" });
        let invited = post(&api, "/v1/invitations", invitation, key.text("/key"), WORD).await;
        assert_eq!((invited.status.as_u16(), told(&invited)), (201, headers(2)), "{}", invited.json);
        let get = || api.request(Method::GET, "/v1/whoami").bearer(key.text("/key")).send();
        for (status, left) in [(200, 1), (200, 0), (429, 0)] {
            let answer = get().await;
            assert_eq!((answer.status.as_u16(), told(&answer)), (status, headers(left)));
        }
        assert_eq!(get().await.headers["retry-after"], "60");
        let unlimited = api.get("/v1/whoami").bearer(&owner).send().await;
        assert_eq!(told(&unlimited), [const { None }; 5], "who has no limit is told of none");
    }
}
