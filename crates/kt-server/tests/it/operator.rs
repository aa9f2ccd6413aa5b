//! What the operator does with `kt admin`, beside a server that runs.

use std::time::Duration;

use crate::harness::{PASSWORD, on_both};

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
}

/// The part of a token that names its key.
fn header(token: &str) -> &str {
    token.split('.').next().unwrap()
}
