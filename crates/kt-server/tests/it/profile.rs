use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, TestApi, on_both, side_by_side, token_in};
use crate::mfa::Holder;

const OWNER: &str = "owner@acme.example";
const NEW: &str = "Quiet-willow-4-lakes";

async fn ask_for_address(api: &TestApi, session: &Answer, email: &str) -> Answer {
    api.patch("/v1/me", json!({ "email": email })).bearer(session.access_token()).send().await
}

async fn link(api: &TestApi, path: &str, token: &str) -> Answer {
    api.post(path, json!({ "token": token })).send().await
}

on_both! {
    a_profile_is_seen_and_renamed_by_its_holder(api) {
        let session = api.owner().await;
        let me = api.get("/v1/me").bearer(session.access_token()).send().await;
        assert_eq!(me.json["user"]["email"], OWNER);
        assert_eq!(me.json["has_password"], true);
        assert_eq!(me.json["pending_email"], json!(null));
        let renamed = api.patch("/v1/me", json!({ "name": "Olivia Owner" })).bearer(session.access_token());
        assert_eq!(renamed.send().await.json["user"]["name"], "Olivia Owner");
        assert!(api.recorded("profile.changed").await);
        for bad in [json!({ "name": "" }), json!({ "name": "a\r\nb" }), json!({ "role": "owner" }), json!({ "email_verified": true })] {
            let answer = api.patch("/v1/me", bad.clone()).bearer(session.access_token()).send().await;
            assert_eq!(answer.refusal(), (422, "validation_error"), "{bad}");
        }
        assert_eq!(api.get("/v1/me").send().await.refusal(), (401, "missing_key"));
    }

    an_earlier_password_is_refused_until_five_others_came_after_it(api) {
        let mut present = PASSWORD.to_owned();
        let mut change = async |wanted: &str| {
            let token = api.login("owner@acme.example", &present).await.access_token().to_owned();
            let body = json!({ "current_password": present, "new_password": wanted });
            let answer = api.post("/v1/me/password", body).bearer(&token).send().await;
            if answer.status == 200 {
                wanted.clone_into(&mut present);
            }
            answer.json.pointer("/error/violations/0/code").cloned()
        };
        for round in 1..=5 {
            assert_eq!(change(PASSWORD).await, Some(json!("password_reused")), "after {}", round - 1);
            api.clock.advance(Duration::from_secs(1));
            assert_eq!(change(&format!("brisk Meadow {round} kettle, violin")).await, None);
        }
        assert_eq!(change(PASSWORD).await, None, "after five others");
    }

    a_password_is_changed_with_the_present_one_and_every_session_ends(api) {
        let (one, other) = (api.owner().await, api.owner().await);
        let change = async |body| api.post("/v1/me/password", body).bearer(one.access_token()).send().await;
        let without = change(json!({ "new_password": NEW })).await;
        assert_eq!((without.status.as_u16(), without.text("/error/param")), (422, "current_password"));
        let wrong = change(json!({ "current_password": "wrong", "new_password": NEW })).await;
        assert_eq!(wrong.refusal(), (401, "invalid_credentials"));
        let again = change(json!({ "current_password": PASSWORD, "new_password": PASSWORD })).await;
        assert_eq!(again.text("/error/violations/0/code"), "password_reused");
        let done = change(json!({ "current_password": PASSWORD, "new_password": NEW })).await;
        assert_eq!(done.json, json!({ "status": "password_changed" }));
        for session in [&one, &other] {
            let whoami = api.get("/v1/whoami").bearer(session.access_token()).send().await;
            assert_eq!(whoami.refusal(), (401, "invalid_token"));
        }
        assert_eq!(api.login(OWNER, NEW).await.json["status"], "authenticated");
        assert_eq!(api.told(OWNER, "Your password was changed").await, 1);
    }

    an_open_session_guesses_no_faster_than_a_stranger(api) {
        let session = api.owner().await;
        let prove = async |password| {
            let body = json!({ "password": password });
            api.post("/v1/me/reauthenticate", body).bearer(session.access_token()).send().await
        };
        for _ in 0..10 {
            assert_eq!(prove("wrong").await.refusal(), (401, "invalid_credentials"));
        }
        assert_eq!(prove(PASSWORD).await.refusal(), (401, "invalid_credentials"), "locked");
        assert_eq!(api.login(OWNER, PASSWORD).await.refusal(), (401, "invalid_credentials"), "here too");
        api.clock.advance(Duration::from_mins(15));
        let session = api.owner().await;
        let body = json!({ "password": PASSWORD });
        let proven = api.post("/v1/me/reauthenticate", body).bearer(session.access_token()).send().await;
        assert_eq!(proven.json, json!({ "status": "reauthenticated" }));
    }

    what_strangers_do_to_an_account_does_not_stop_whoever_is_signed_in(api) {
        let session = api.owner().await;
        for peer in ["203.0.113.9:1", "198.51.100.7:1"] {
            for _ in 0..11 {
                let guess = json!({ "email": OWNER, "password": "wrong" });
                api.post("/v1/auth/login", guess).from(peer).send().await;
            }
        }
        assert_eq!(api.login(OWNER, PASSWORD).await.refusal(), (401, "invalid_credentials"), "the control: locked");
        let body = json!({ "password": PASSWORD });
        let proven = api.post("/v1/me/reauthenticate", body).bearer(session.access_token()).send().await;
        assert_eq!(proven.json, json!({ "status": "reauthenticated" }));
        let body = json!({ "current_password": PASSWORD, "new_password": NEW });
        let changed = api.post("/v1/me/password", body).bearer(session.access_token()).send().await;
        assert_eq!(changed.json, json!({ "status": "password_changed" }));
    }

    wrong_present_passwords_at_a_change_lock_as_at_the_door(api) {
        let change = async |session: &Answer, current: &str| {
            let body = json!({ "current_password": current, "new_password": NEW });
            api.post("/v1/me/password", body).bearer(session.access_token()).send().await
        };
        let session = api.owner().await;
        for _ in 0..10 {
            assert_eq!(change(&session, "wrong").await.refusal(), (401, "invalid_credentials"));
        }
        assert_eq!(change(&session, PASSWORD).await.refusal(), (401, "invalid_credentials"), "locked");
        assert_eq!(api.login(OWNER, PASSWORD).await.refusal(), (401, "invalid_credentials"), "here too");
        api.clock.advance(Duration::from_mins(15));
        assert_eq!(change(&api.owner().await, PASSWORD).await.status, StatusCode::OK, "the control");
    }

    a_fresh_proof_lets_what_asks_for_one_through_at_once(api) {
        let session = api.owner().await;
        api.clock.advance(Duration::from_mins(11));
        let stale = ask_for_address(&api, &session, "olive@acme.example").await;
        assert_eq!(stale.refusal(), (403, "reauthentication_required"));
        let body = json!({ "password": PASSWORD });
        let proven = api.post("/v1/me/reauthenticate", body).bearer(session.access_token()).send().await;
        assert_eq!(proven.status, StatusCode::OK, "{}", proven.json);
        assert_eq!(ask_for_address(&api, &session, "olive@acme.example").await.status, StatusCode::OK);
    }

    a_code_proves_in_the_words_of_the_second_step_too(api) {
        let jo = Holder::new(&api, "jo@acme.example", "member").await;
        let prove = async |proof: Value| api.post("/v1/me/reauthenticate", proof).bearer(&jo.token).send().await;
        for (bad, param) in [
            (json!({ "code": "123456" }), "method"),
            (json!({ "method": "totp" }), "code"),
            (json!({ "method": "password", "code": PASSWORD }), "method"),
            (json!({ "method": "totp", "code": "123456", "totp_code": "123456" }), "body"),
            (json!({}), "body"),
        ] {
            let refused = prove(bad.clone()).await;
            assert_eq!((refused.refusal(), refused.text("/error/param")), ((422, "validation_error"), param), "{bad}");
        }
        let wrong = json!({ "method": "totp", "code": jo.app.wrong_code(&api.clock) });
        assert_eq!(prove(wrong).await.refusal(), (401, "invalid_code"));
        let proven = prove(json!({ "method": "totp", "code": jo.app.code(&api.clock) })).await;
        assert_eq!(proven.json, json!({ "status": "reauthenticated" }));
        let by_recovery = json!({ "method": "recovery_code", "code": jo.recovery_codes[0] });
        assert_eq!(prove(by_recovery.clone()).await.status, StatusCode::OK);
        assert_eq!(prove(by_recovery).await.refusal(), (401, "invalid_code"), "once");
    }

    an_address_changes_when_it_is_confirmed_and_can_be_undone_from_the_old_one(api) {
        let session = api.owner().await;
        let asked = ask_for_address(&api, &session, "Olive@new.example").await;
        assert_eq!(asked.json["pending_email"], "Olive@new.example");
        assert_eq!(asked.json["user"]["email"], OWNER, "not before it is confirmed");
        let token = api.token_for("olive@new.example").await;
        assert_eq!(link(&api, "/v1/auth/email/verify", &token).await.json, json!({ "status": "email_changed" }));
        assert_eq!(link(&api, "/v1/auth/email/verify", &token).await.refusal(), (422, "invalid_token"));
        assert_eq!(api.login("olive@new.example", PASSWORD).await.json["status"], "authenticated");
        assert_eq!(api.login(OWNER, PASSWORD).await.refusal(), (401, "invalid_credentials"));

        let told = api.letters_to(OWNER).await;
        assert_eq!(told.last().unwrap().content.subject, "The e-mail address of your account was changed");
        let undo = token_in(told.last().unwrap());
        let session = api.login("olive@new.example", PASSWORD).await;
        api.clock.advance(Duration::from_hours(71));
        let lost = "This is no longer the e-mail address of your account";
        assert_eq!(api.told("olive@new.example", lost).await, 0, "the control");
        assert_eq!(link(&api, "/v1/auth/email/undo", &undo).await.json, json!({ "status": "email_restored" }));
        assert_eq!(link(&api, "/v1/auth/email/undo", &undo).await.refusal(), (422, "invalid_token"));
        assert_eq!((api.told("olive@new.example", lost).await, api.told(OWNER, lost).await), (1, 0));
        let refresh = json!({ "refresh_token": session.text("/refresh_token") });
        assert_eq!(api.post("/v1/auth/refresh", refresh).send().await.refusal(), (401, "invalid_refresh_token"));
        api.owner().await;
        for action in ["profile.email_change_requested", "profile.email_changed", "profile.email_change_undone"] {
            assert!(api.recorded(action).await, "{action}");
        }
    }

    of_a_thousand_who_use_a_link_to_change_an_address_or_to_undo_that_one_succeeds(api) {
        ask_for_address(&api, &api.owner().await, "olive@new.example").await;
        for (path, address) in [("/v1/auth/email/verify", "olive@new.example"), ("/v1/auth/email/undo", OWNER)] {
            let token = api.token_for(address).await;
            let answers = side_by_side((0..1000).map(|_| link(&api, path, &token))).await;
            let (done, refused): (Vec<_>, Vec<_>) =
                answers.into_iter().partition(|answer| answer.status == StatusCode::OK);
            assert_eq!(done.len(), 1, "{path}");
            assert!(refused.iter().all(|answer| answer.refusal() == (422, "invalid_token")), "{path}");
        }
        api.owner().await;
    }

    the_way_back_to_an_address_ends_after_three_days(api) {
        ask_for_address(&api, &api.owner().await, "olive@new.example").await;
        link(&api, "/v1/auth/email/verify", &api.token_for("olive@new.example").await).await;
        let undo = api.token_for(OWNER).await;
        api.clock.advance(Duration::from_hours(72));
        assert_eq!(link(&api, "/v1/auth/email/undo", &undo).await.refusal(), (422, "invalid_token"));
        assert_eq!(api.login("olive@new.example", PASSWORD).await.json["status"], "authenticated");
    }

    an_address_can_be_undone_whatever_a_thief_does_meanwhile(api) {
        let thief = api.owner().await;
        ask_for_address(&api, &thief, "thief@evil.example").await;
        link(&api, "/v1/auth/email/verify", &api.token_for("thief@evil.example").await).await;
        let undo = api.token_for(OWNER).await;
        let change = json!({ "current_password": PASSWORD, "new_password": NEW });
        api.post("/v1/me/password", change).bearer(thief.access_token()).send().await;
        let thief = api.login("thief@evil.example", NEW).await;
        ask_for_address(&api, &thief, "second@evil.example").await;
        link(&api, "/v1/auth/email/verify", &api.token_for("second@evil.example").await).await;
        assert_eq!(link(&api, "/v1/auth/email/undo", &undo).await.status, StatusCode::OK);
        assert_eq!(api.login(OWNER, NEW).await.json["status"], "authenticated", "the address is back");
        let back = api.token_for("thief@evil.example").await;
        let again = link(&api, "/v1/auth/email/undo", &back).await;
        assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY, "the thief has no way back: {}", again.json);
    }

    a_registration_that_nobody_has_verified_keeps_no_holder_from_their_address(api) {
        api.set_registration(json!({ "self_registration": true, "signup_approval": true })).await;
        let squat = async |email: &str| {
            let body = json!({ "organization": "acme", "email": email, "name": "Eve", "password": NEW });
            assert_eq!(api.post("/v1/auth/register", body).send().await.status, StatusCode::ACCEPTED);
        };
        let session = api.owner().await;
        squat("olive@new.example").await;
        ask_for_address(&api, &session, "olive@new.example").await;
        let subject = "Confirm your new e-mail address";
        assert_eq!(api.told("olive@new.example", subject).await, 1, "it is asked for in spite of that");
        let token = token_in(api.letters_to("olive@new.example").await.iter().rfind(|letter| letter.content.subject == subject).unwrap());
        assert_eq!(link(&api, "/v1/auth/email/verify", &token).await.json, json!({ "status": "email_changed" }));
        let undo = api.token_for(OWNER).await;
        squat(OWNER).await;
        assert_eq!(api.login(OWNER, NEW).await.json["status"], "pending_verification");
        assert_eq!(link(&api, "/v1/auth/email/undo", &undo).await.json, json!({ "status": "email_restored" }));
        api.owner().await;
        assert_eq!(api.login(OWNER, NEW).await.refusal(), (401, "invalid_credentials"));
        assert_eq!(api.records("registration.displaced").await.len(), 2);
    }

    a_verified_account_keeps_its_address(api) {
        ask_for_address(&api, &api.owner().await, "olive@new.example").await;
        link(&api, "/v1/auth/email/verify", &api.token_for("olive@new.example").await).await;
        let undo = api.token_for(OWNER).await;
        api.add_member(OWNER, "member").await;
        assert_eq!(link(&api, "/v1/auth/email/undo", &undo).await.refusal(), (422, "invalid_token"));
        assert!(!api.recorded("registration.displaced").await);
    }

    an_address_of_somebody_else_gets_the_same_answer_and_no_letter(api) {
        let session = api.owner().await;
        api.add_member("mia@acme.example", "member").await;
        let mut taken = ask_for_address(&api, &session, "mia@acme.example").await;
        let mut free = ask_for_address(&api, &session, "free@acme.example").await;
        for answer in [&mut taken, &mut free] {
            assert_eq!(answer.status, StatusCode::OK);
            answer.json["pending_email"] = json!(null);
        }
        assert_eq!(taken.json, free.json);
        assert!(api.letters_to("mia@acme.example").await.is_empty());
        assert_eq!(ask_for_address(&api, &session, "OWNER@ACME.example").await.text("/error/param"), "email");
    }
}
