//! What the operator does with `kt admin`, beside a server that runs.

use std::time::Duration;

use kt_control::ConfiguredJwtKey;

use crate::harness::{PASSWORD, TestApi, on_both};

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
}

/// The part of a token that names its key.
fn header(token: &str) -> &str {
    token.split('.').next().unwrap()
}
