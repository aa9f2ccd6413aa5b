//! What the operator does with `kt admin`, beside a server that runs.

use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kt_control::ConfiguredJwtKey;
use kt_domain::clock::Clock;
use kt_store::audit;
use kt_store::sealed::{self, SealedKind};
use serde_json::{Value, json};

use crate::harness::{PASSWORD, TestApi, on_both, side_by_side};

/// A key in a file, as `openssl genpkey -algorithm ed25519` makes it, and another.
const ONE: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n-----END PRIVATE KEY-----\n";
const OTHER: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEICN88GWbb2e2pSL8oQw8Ch+U0jjqpGiVfOgu0qGZ7LBT\n-----END PRIVATE KEY-----\n";

/// The names of the keys that a process publishes.
async fn published(api: &TestApi) -> Vec<String> {
    let keys = api.get("/.well-known/jwks.json").send().await.json["keys"].clone();
    keys.as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

on_both! {
    an_account_that_is_locked_is_let_try_again(api) {
        for _ in 0..10 {
            api.login("owner@acme.example", "wrong").await;
        }
        assert_eq!(api.login("owner@acme.example", PASSWORD).await.refusal(), (401, "invalid_credentials"), "locked");
        assert!(api.control.unlock(&api.operator(), "Owner@acme.example").await.unwrap());
        api.owner().await;
        assert!(api.recorded("auth.account_unlocked").await);
        assert!(!api.control.unlock(&api.operator(), "owner@acme.example").await.unwrap(), "nothing was counted");
        let unknown = api.control.unlock(&api.operator(), "nobody@acme.example").await.unwrap_err();
        assert_eq!(unknown.code, "not_found");
    }

    what_is_done_to_an_account_without_a_place_is_recorded_for_the_deployment(api) {
        let jo = api.add_member("jo@acme.example", "member").await;
        let owner = api.token_of("owner@acme.example").await;
        let removed = api.request(Method::DELETE, &format!("/v1/members/{jo}")).bearer(&owner).send().await;
        assert_eq!(removed.status, 204);
        let operator = api.operator();
        api.control.unlock(&operator, "jo@acme.example").await.unwrap();
        api.control.give_temporary_password(&operator, "jo@acme.example").await.unwrap();
        api.control.reset_second_factors_of(&operator, "jo@acme.example", "Lost the phone").await.unwrap();
        let chain = audit::chain(&api.store, None).await.unwrap();
        let records = chain.iter().map(|entry| serde_json::from_str::<Value>(&entry.body).unwrap());
        let theirs: Vec<_> = records.filter(|record| record["resource"] == jo.as_str()).collect();
        let actions: Vec<_> = theirs.iter().map(|record| record["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["auth.account_unlocked", "member.temporary_password_set", "mfa.reset"]);
    }

    a_member_is_made_an_owner_and_is_one_at_the_next_request(api) {
        api.add_member("mia@acme.example", "member").await;
        let mia = api.login("mia@acme.example", PASSWORD).await;
        let role = || async { api.get("/v1/whoami").bearer(mia.access_token()).send().await.json["user"]["role"].clone() };
        assert_eq!(role().await, "member", "the control");
        let place = api.control.make_owner(&api.operator(), "mia@acme.example", None).await.unwrap();
        assert_eq!(place, "Acme");
        assert_eq!(role().await, "owner");
        assert!(api.recorded("member.role_changed").await);
        let elsewhere = api.control.make_owner(&api.operator(), "mia@acme.example", Some("other")).await;
        assert_eq!(elsewhere.unwrap_err().code, "not_found");
    }

    a_new_signing_key_signs_after_ten_minutes_and_the_old_ones_verify_what_they_have_signed(api) {
        let before = api.owner().await;
        let works = async |token: &str| api.get("/v1/whoami").bearer(token).send().await.status == 200;
        api.control.rotate_signing_key(&api.operator(), false).await.unwrap();
        let keys = api.get("/.well-known/jwks.json").send().await;
        assert_eq!(keys.json["keys"].as_array().unwrap().len(), 2, "both verify: {}", keys.json);
        assert!(works(before.access_token()).await);
        assert_eq!(header(api.owner().await.access_token()), header(before.access_token()), "not yet");
        api.clock.advance(Duration::from_mins(10));
        let after = api.owner().await;
        assert_ne!(header(after.access_token()), header(before.access_token()));

        let leaked = after.access_token().to_owned();
        assert!(works(&leaked).await, "the control");
        api.control.rotate_signing_key(&api.operator(), true).await.unwrap();
        assert!(!works(&leaked).await, "a leaked key verifies nothing any more");
        assert!(works(api.owner().await.access_token()).await);
    }

    a_key_that_was_replaced_is_withdrawn_once_all_that_it_has_signed_has_ended(api) {
        let first = published(&api).await.remove(0);
        let second = api.control.rotate_signing_key(&api.operator(), false).await.unwrap();
        for (later, both) in [(0, true), (24, true), (1, false)] {
            api.clock.advance(Duration::from_mins(later));
            api.control.run_jobs(&api.operator()).await.unwrap();
            let left = published(&api).await;
            assert!(left.contains(&second));
            assert_eq!(left.contains(&first), both, "{later} minutes later");
        }
    }

    keys_in_files_take_the_place_of_those_in_the_database_and_of_each_other(api) {
        let from_database = api.token_of("owner@acme.example").await;
        let key = |kid, pem, signs| ConfiguredJwtKey::from_private_pem(kid, pem, signs).unwrap();
        let works = async |process: &TestApi, token: &str| {
            process.get("/v1/whoami").bearer(token).send().await.status == 200
        };
        let alone = api.signing_with(vec![key("one", ONE, true)]).await;
        assert_eq!(published(&alone).await, ["one"]);
        let by_one = alone.token_of("owner@acme.example").await;
        assert!(works(&alone, &by_one).await);
        assert!(!works(&alone, &from_database).await, "nothing else signs here");

        let announced = api.signing_with(vec![key("one", ONE, true), key("other", OTHER, false)]).await;
        let turned = api.signing_with(vec![key("one", ONE, false), key("other", OTHER, true)]).await;
        assert_eq!(published(&announced).await, ["one", "other"]);
        let by_other = turned.token_of("owner@acme.example").await;
        assert_ne!(header(&by_other), header(&by_one));
        for process in [&announced, &turned] {
            assert!(works(process, &by_one).await && works(process, &by_other).await, "both verify");
        }
        let after = api.signing_with(vec![key("other", OTHER, true)]).await;
        assert!(works(&after, &by_other).await && !works(&after, &by_one).await);

        let refused = turned.control.rotate_signing_key(&turned.operator(), false).await.unwrap_err();
        assert_eq!(refused.code, "deployment_managed");
        assert!(api.control.rotate_signing_key(&api.operator(), false).await.is_ok(), "the control");
    }

    a_retired_key_verifies_nothing_once_its_last_token_has_ended(api) {
        let token = api.owner().await.access_token().to_owned();
        let [key] = &sealed::all(&api.store, SealedKind::JwtKey).await.unwrap()[..] else { panic!("one key") };
        let retired = api.seal.open(&key.place(), &key.text).unwrap();
        api.control.rotate_signing_key(&api.operator(), false).await.unwrap();
        let keys = async || {
            api.control.run_jobs(&api.operator()).await.unwrap();
            api.get("/.well-known/jwks.json").send().await.json["keys"].as_array().unwrap().len()
        };
        api.clock.advance(Duration::from_mins(25) - Duration::from_secs(1));
        assert_eq!(keys().await, 2);
        let session = api.owner().await;
        let forged = |now| signed_with(&retired, &token, session.access_token(), now);
        let ask = async |token: String| api.get("/v1/whoami").bearer(&token).send().await;
        assert_eq!(ask(forged(api.clock.now())).await.status, 200, "the control: it still verifies");
        api.clock.advance(Duration::from_secs(1));
        assert_eq!(keys().await, 1);
        assert_eq!(ask(forged(api.clock.now())).await.refusal(), (401, "invalid_token"));
        assert_eq!(ask(session.access_token().to_owned()).await.status, 200);
    }

    nobody_is_turned_away_while_keys_are_replaced(api) {
        let mut tokens = Vec::new();
        for _ in 0..5 {
            tokens.push(api.owner().await.access_token().to_owned());
        }
        for _ in 0..2 {
            let whoami = |number: usize| api.get("/v1/whoami").bearer(&tokens[number % tokens.len()]).send();
            let rotations = async {
                for _ in 0..5 {
                    api.control.rotate_signing_key(&api.operator(), false).await.unwrap();
                }
            };
            let (answers, ()) = tokio::join!(side_by_side((0..200).map(whoami)), rotations);
            assert!(answers.iter().all(|answer| answer.status == 200));
            // The first of the new keys signs.
            api.clock.advance(Duration::from_mins(10));
            let before = tokens[0].clone();
            for token in &mut tokens {
                api.owner().await.access_token().clone_into(token);
            }
            assert_ne!(header(&tokens[0]), header(&before));
        }
    }
}

/// A token that says now what `session` says, with the head of `token`, signed with this private key (PKCS #8).
fn signed_with(key: &[u8], token: &str, session: &str, now: Timestamp) -> String {
    let payload = URL_SAFE_NO_PAD.decode(session.split('.').nth(1).unwrap()).unwrap();
    let mut claims: Value = serde_json::from_slice(&payload).unwrap();
    for (claim, later) in [("iat", 0), ("nbf", 0), ("exp", 60)] {
        claims[claim] = json!(now.as_second() + later);
    }
    let text = format!("{}.{}", header(token), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(pair.sign(text.as_bytes())))
}

/// The part of a token that names its key.
fn header(token: &str) -> &str {
    token.split('.').next().unwrap()
}
