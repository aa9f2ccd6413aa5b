//! Second factors: added, asked for, used once, lost, taken away.

pub(crate) mod app;
pub(crate) mod authenticator;
mod meanwhile;
mod newly_asked;
mod orders;
mod passkeys;
mod policy;
mod races;
mod reset;

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, TestApi, on_both};
pub(crate) use app::App;

const JO: &str = "jo@acme.example";

/// What mails are called that tell of codes which are locked.
const APP_LOCKED: &str = "Codes of your authenticator app are locked for a while";
const RECOVERY_LOCKED: &str = "Your recovery codes are locked for a while";

/// A member with an authenticator app: their session, the app, and their recovery codes.
pub(crate) struct Holder {
    pub(crate) token: String,
    pub(crate) app: App,
    pub(crate) recovery_codes: Vec<String>,
}

impl Holder {
    /// A new member of `acme` who has added an app.
    pub(crate) async fn new(api: &TestApi, email: &str, role: &str) -> Self {
        api.add_member(email, role).await;
        let token = api.token_of(email).await;
        let setup = api.post("/v1/me/mfa/totp", json!({})).bearer(&token).send().await;
        let app = App::reading(setup.text("/otpauth_uri"));
        let confirm = json!({ "code": app.code(&api.clock) });
        let enrolled = api.post("/v1/me/mfa/totp/confirm", confirm).bearer(&token).send().await;
        assert_eq!(enrolled.status, 200, "{}", enrolled.json);
        // The code that confirmed it is used.
        api.clock.advance(Duration::from_secs(30));
        Self { token, app, recovery_codes: codes(&enrolled) }
    }
}

/// The recovery codes that an answer shows.
fn codes(answer: &Answer) -> Vec<String> {
    let codes = answer.json["recovery_codes"].as_array().map(Vec::as_slice).unwrap_or_default();
    codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

/// The flow token of a sign-in by password that asks for a second factor.
pub(crate) async fn step(api: &TestApi, email: &str) -> String {
    let login = api.login(email, PASSWORD).await;
    assert_eq!(login.text("/status"), "mfa_required", "{}", login.json);
    login.text("/flow_token").to_owned()
}

pub(crate) async fn verify(api: &TestApi, flow_token: &str, method: &str, code: &str) -> Answer {
    let body = json!({ "flow_token": flow_token, "method": method, "code": code });
    api.post("/v1/auth/mfa/verify", body).send().await
}

async fn factors(api: &TestApi, token: &str) -> Value {
    api.get("/v1/me/mfa").bearer(token).send().await.json
}

on_both! {
    an_app_is_added_in_two_steps_and_asked_for_from_then_on(api) {
        api.add_member(JO, "member").await;
        let token = api.token_of(JO).await;
        let elsewhere = api.token_of(JO).await;
        let none = json!({
            "enabled": false, "required": false, "passkey_required": false, "deadline": null, "passkeys": 0, "totp": null, "recovery_codes_left": 0
        });
        assert_eq!(factors(&api, &token).await, none);

        let setup = api.post("/v1/me/mfa/totp", json!({})).bearer(&token).send().await;
        let app = App::reading(setup.text("/otpauth_uri"));
        assert_eq!(app.secret(), setup.text("/secret"));
        assert!(setup.text("/qr_svg").starts_with("<svg"));
        let confirm = |code: String| {
            api.post("/v1/me/mfa/totp/confirm", json!({ "code": code })).bearer(&token).send()
        };
        assert_eq!(confirm(app.wrong_code(&api.clock)).await.refusal(), (422, "invalid_code"));
        assert_eq!(api.login(JO, PASSWORD).await.text("/status"), "authenticated", "nothing counts yet");

        let enrolled = confirm(app.code(&api.clock)).await;
        assert_eq!((enrolled.text("/status"), codes(&enrolled).len()), ("enabled", 10));
        assert_eq!(confirm(app.code(&api.clock)).await.refusal(), (409, "no_enrollment"), "a second time");
        let has = factors(&api, &token).await;
        assert_eq!((&has["enabled"], &has["recovery_codes_left"]), (&json!(true), &json!(10)));
        assert!(!has.to_string().contains(app.secret()), "the secret is shown once");
        let other_session = api.get("/v1/me/mfa").bearer(&elsewhere).send().await;
        assert_eq!(other_session.refusal(), (401, "invalid_token"), "it has shown no second factor");

        // The code that confirmed it does not sign in.
        let flow = step(&api, JO).await;
        assert_eq!(verify(&api, &flow, "totp", &app.code(&api.clock)).await.refusal(), (401, "invalid_code"));
        api.clock.advance(Duration::from_secs(30));
        let signed_in = verify(&api, &flow, "totp", &app.code(&api.clock)).await;
        assert_eq!(signed_in.text("/status"), "authenticated");
        assert_eq!(amr(&signed_in), json!(["pwd", "otp"]));
        assert_eq!(verify(&api, &flow, "totp", &app.code(&api.clock)).await.refusal(), (401, "invalid_flow_token"));
        assert_eq!(api.told(JO, "An authenticator app was added to your account").await, 1);
        let records = api.records("mfa.factor_added").await;
        let outcomes: Vec<_> = records.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["failure", "success"], "the wrong code, and the right one");
    }

    an_app_that_waits_is_confirmed_where_it_was_begun_alone(api) {
        api.add_member(JO, "member").await;
        let (token, other) = (api.token_of(JO).await, api.token_of(JO).await);
        let setup = api.post("/v1/me/mfa/totp", json!({})).bearer(&token).send().await;
        let app = App::reading(setup.text("/otpauth_uri"));
        let confirm = async |token: &str, code: String| {
            api.post("/v1/me/mfa/totp/confirm", json!({ "code": code })).bearer(token).send().await
        };
        for code in [app.wrong_code(&api.clock), app.code(&api.clock)] {
            assert_eq!(confirm(&other, code).await.refusal(), (409, "no_enrollment"), "another session");
        }
        let flow = json!({ "flow_token": "none", "code": app.code(&api.clock) });
        let on_the_way = api.post("/v1/auth/mfa/totp/confirm", flow).send().await;
        assert_eq!(on_the_way.refusal(), (401, "invalid_flow_token"));
        assert_eq!(confirm(&token, app.code(&api.clock)).await.status, 200, "the control");
    }

    wrong_first_codes_are_counted_and_recorded(api) {
        api.add_member(JO, "member").await;
        let token = api.token_of(JO).await;
        let setup = api.post("/v1/me/mfa/totp", json!({})).bearer(&token).send().await;
        let app = App::reading(setup.text("/otpauth_uri"));
        let confirm = async |code: String| {
            api.post("/v1/me/mfa/totp/confirm", json!({ "code": code })).bearer(&token).send().await
        };
        for _ in 0..10 {
            assert_eq!(confirm(app.wrong_code(&api.clock)).await.refusal(), (422, "invalid_code"));
        }
        assert_eq!(confirm(app.code(&api.clock)).await.refusal(), (429, "too_many_attempts"), "also the right one");
        let records = api.records("mfa.factor_added").await;
        let reasons: Vec<_> = records.iter().map(|one| (&one["outcome"], &one["details"]["after"]["reason"])).collect();
        assert_eq!(reasons, vec![(&json!("failure"), &json!("wrong_code")); 10]);
        assert_eq!((api.records("auth.account_locked").await.len(), api.told(JO, APP_LOCKED).await), (1, 1));
        api.clock.advance(Duration::from_mins(10));
        assert_eq!(confirm(app.code(&api.clock)).await.refusal(), (409, "no_enrollment"), "it has waited too long");
        api.clock.advance(Duration::from_mins(5));
        let again = api.token_of(JO).await;
        let setup = api.post("/v1/me/mfa/totp", json!({})).bearer(&again).send().await;
        let code = App::reading(setup.text("/otpauth_uri")).code(&api.clock);
        let added = api.post("/v1/me/mfa/totp/confirm", json!({ "code": code })).bearer(&again).send().await;
        assert_eq!(added.status, 200, "the control");
    }

    replacing_or_removing_a_factor_ends_all_other_sessions(api) {
        let jo = Holder::new(&api, JO, "member").await;
        let works = async |token: &str| api.get("/v1/whoami").bearer(token).send().await.status == 200;
        let by_code = async |app: &App| {
            api.clock.advance(Duration::from_secs(30));
            let flow = step(&api, JO).await;
            verify(&api, &flow, "totp", &app.code(&api.clock)).await.access_token().to_owned()
        };
        let (own, other) = (by_code(&jo.app).await, by_code(&jo.app).await);
        assert!(works(&own).await && works(&other).await);
        let setup = api.post("/v1/me/mfa/totp", json!({})).bearer(&own).send().await;
        assert!(works(&other).await, "nothing is replaced yet");
        let app = App::reading(setup.text("/otpauth_uri"));
        let confirm = json!({ "code": app.code(&api.clock) });
        assert_eq!(api.post("/v1/me/mfa/totp/confirm", confirm).bearer(&own).send().await.status, 200);
        assert_eq!((works(&own).await, works(&other).await), (true, false), "replaced");

        let other = by_code(&app).await;
        let removed = api.request("DELETE".parse().unwrap(), "/v1/me/mfa/totp").bearer(&own).send().await;
        assert_eq!(removed.status, 204);
        assert_eq!((works(&own).await, works(&other).await), (true, false), "removed");
        // The first of Jo's sessions ended when the app was replaced, like the other one.
        assert_eq!(api.records("session.revoked").await.len(), 3);
    }

    a_wrong_password_gets_one_answer_with_and_without_a_factor(api) {
        Holder::new(&api, JO, "member").await;
        api.add_member("kim@acme.example", "member").await;
        let mut answers = Vec::new();
        for email in [JO, "kim@acme.example"] {
            let mut wrong = api.login(email, "Wrong-pebble-3-cloud").await;
            wrong.json["error"]["request_id"] = json!(null);
            answers.push((wrong.status, wrong.json));
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0].0, 401);
        assert_eq!(api.login(JO, PASSWORD).await.text("/status"), "mfa_required", "told once the password is right");
        assert_eq!(api.login("kim@acme.example", PASSWORD).await.text("/status"), "authenticated");
    }

    a_code_works_once_and_closes_the_ones_before(api) {
        let jo = Holder::new(&api, JO, "member").await;
        let earlier = jo.app.code(&api.clock);
        api.clock.advance(Duration::from_secs(30));
        let present = jo.app.code(&api.clock);
        let (first, second, third) = (step(&api, JO).await, step(&api, JO).await, step(&api, JO).await);
        assert_eq!(verify(&api, &first, "totp", &present).await.text("/status"), "authenticated");
        assert_eq!(verify(&api, &second, "totp", &present).await.refusal(), (401, "invalid_code"), "again");
        assert_eq!(verify(&api, &second, "totp", &earlier).await.refusal(), (401, "invalid_code"), "an earlier one");
        api.clock.advance(Duration::from_secs(30));
        let (last, spaced) = (jo.app.code(&api.clock), step(&api, JO).await);
        api.clock.advance(Duration::from_secs(30));
        let typed = format!(" {} {} ", &last[..3], &last[3..]);
        assert_eq!(verify(&api, &third, "totp", &typed).await.text("/status"), "authenticated", "one step late");
        api.clock.advance(Duration::from_secs(30));
        assert_eq!(verify(&api, &spaced, "totp", &last).await.refusal(), (401, "invalid_code"), "two steps late");
    }

    a_step_takes_five_wrong_codes_and_an_account_ten(api) {
        let jo = Holder::new(&api, JO, "member").await;
        for _ in 0..2 {
            let flow = step(&api, JO).await;
            for _ in 0..5 {
                let wrong = verify(&api, &flow, "totp", &jo.app.wrong_code(&api.clock)).await;
                assert_eq!(wrong.refusal(), (401, "invalid_code"));
            }
            let right = verify(&api, &flow, "totp", &jo.app.code(&api.clock)).await;
            assert_eq!(right.refusal(), (401, "invalid_flow_token"), "the sixth, although it is right");
        }
        let flow = step(&api, JO).await;
        let locked = verify(&api, &flow, "totp", &jo.app.code(&api.clock)).await;
        assert_eq!(locked.refusal(), (429, "too_many_attempts"));
        assert_eq!(locked.headers["retry-after"], "900");
        assert_eq!(api.records("auth.account_locked").await.len(), 1);
        assert_eq!(api.told(JO, "Your password was right, the second factor was not").await, 2, "once a sign-in");
        assert_eq!(api.told(JO, APP_LOCKED).await, 1);
        // A password that was reset gives no more guesses.
        api.post("/v1/auth/password/forgot", json!({ "email": JO })).send().await;
        let reset = json!({ "token": api.token_for(JO).await, "new_password": "Quiet-otter-7-harbour" });
        assert_eq!(api.post("/v1/auth/password/reset", reset).send().await.status, 200);
        let login = api.login(JO, "Quiet-otter-7-harbour").await;
        assert_eq!(login.text("/status"), "mfa_required");
        let still = verify(&api, login.text("/flow_token"), "totp", &jo.app.code(&api.clock)).await;
        assert_eq!(still.refusal(), (429, "too_many_attempts"));
        // A recovery code has a count of its own, and what has passed unlocks.
        let flow = login.text("/flow_token");
        assert_eq!(verify(&api, flow, "recovery_code", &jo.recovery_codes[0]).await.text("/status"), "authenticated");
        api.clock.advance(Duration::from_mins(15));
        let login = api.login(JO, "Quiet-otter-7-harbour").await;
        let right = verify(&api, login.text("/flow_token"), "totp", &jo.app.code(&api.clock)).await;
        assert_eq!(right.text("/status"), "authenticated");
    }

    wrong_codes_at_the_door_and_in_a_session_are_counted_together(api) {
        let jo = Holder::new(&api, JO, "member").await;
        let prove = |code: String| {
            api.post("/v1/me/reauthenticate", json!({ "totp_code": code })).bearer(&jo.token).send()
        };
        let flow = step(&api, JO).await;
        for _ in 0..5 {
            let wrong = jo.app.wrong_code(&api.clock);
            assert_eq!(verify(&api, &flow, "totp", &wrong).await.refusal(), (401, "invalid_code"));
            assert_eq!(prove(wrong).await.refusal(), (401, "invalid_code"));
        }
        assert_eq!((api.told(JO, APP_LOCKED).await, api.told(JO, RECOVERY_LOCKED).await), (1, 0));
        let right = jo.app.code(&api.clock);
        assert_eq!(prove(right.clone()).await.refusal(), (429, "too_many_attempts"));
        let flow = step(&api, JO).await;
        assert_eq!(verify(&api, &flow, "totp", &right).await.refusal(), (429, "too_many_attempts"));
        api.clock.advance(Duration::from_mins(15));
        let flow = step(&api, JO).await;
        let right = verify(&api, &flow, "totp", &jo.app.code(&api.clock)).await;
        assert_eq!(right.text("/status"), "authenticated", "the control");
    }

    codes_that_are_locked_in_a_session_are_told_to_its_holder(api) {
        let jo = Holder::new(&api, JO, "member").await;
        let prove = |code: &str| {
            api.post("/v1/me/reauthenticate", json!({ "recovery_code": code })).bearer(&jo.token).send()
        };
        for tries in 1..=10 {
            assert_eq!(api.told(JO, RECOVERY_LOCKED).await, 0, "after {}", tries - 1);
            assert_eq!(prove("AAAA").await.refusal(), (401, "invalid_code"));
        }
        assert_eq!(prove(&jo.recovery_codes[0]).await.refusal(), (429, "too_many_attempts"));
        assert_eq!((api.told(JO, RECOVERY_LOCKED).await, api.told(JO, APP_LOCKED).await), (1, 0));
    }

    a_recovery_code_works_once_for_its_holder_until_new_ones_are_made(api) {
        let jo = Holder::new(&api, JO, "member").await;
        let other = Holder::new(&api, "kim@acme.example", "member").await;
        let flow = step(&api, JO).await;
        let theirs = verify(&api, &flow, "recovery_code", &other.recovery_codes[0]).await;
        assert_eq!(theirs.refusal(), (401, "invalid_code"), "somebody else's");
        let typed = jo.recovery_codes[0].to_lowercase().replace('-', " ");
        let signed_in = verify(&api, &flow, "recovery_code", &typed).await;
        assert_eq!(amr(&signed_in), json!(["pwd", "recovery_code"]));
        assert_eq!(factors(&api, signed_in.access_token()).await["recovery_codes_left"], 9);
        assert_eq!(api.told(JO, "A recovery code was used").await, 1);
        assert!(api.recorded("mfa.recovery_code_used").await);
        let again = verify(&api, &step(&api, JO).await, "recovery_code", &jo.recovery_codes[0]).await;
        assert_eq!(again.refusal(), (401, "invalid_code"));

        let renew = || api.post("/v1/me/mfa/recovery-codes", json!({})).bearer(signed_in.access_token()).send();
        let renewed = codes(&renew().await);
        assert_eq!(renewed.len(), 10);
        assert_eq!(api.told(JO, "New recovery codes were made for your account").await, 1);
        assert!(api.recorded("mfa.recovery_codes_made").await);
        let old = verify(&api, &step(&api, JO).await, "recovery_code", &jo.recovery_codes[1]).await;
        assert_eq!(old.refusal(), (401, "invalid_code"), "of the earlier set");
        let new = verify(&api, &step(&api, JO).await, "recovery_code", &renewed[1]).await;
        assert_eq!(new.text("/status"), "authenticated");
        api.clock.advance(Duration::from_mins(11));
        assert_eq!(renew().await.refusal(), (403, "reauthentication_required"));
        // Of somebody who has no second factor.
        api.add_member("lee@acme.example", "member").await;
        let lee = api.token_of("lee@acme.example").await;
        let none = api.post("/v1/me/mfa/recovery-codes", json!({})).bearer(&lee).send().await;
        assert_eq!(none.refusal(), (409, "no_second_factor"));
    }

    an_app_is_replaced_and_removed_by_a_fresh_proof_alone(api) {
        let jo = Holder::new(&api, JO, "member").await;
        api.clock.advance(Duration::from_mins(11));
        let begin = || api.post("/v1/me/mfa/totp", json!({})).bearer(&jo.token).send();
        let remove = || api.request("DELETE".parse().unwrap(), "/v1/me/mfa/totp").bearer(&jo.token).send();
        assert_eq!(begin().await.refusal(), (403, "reauthentication_required"));
        assert_eq!(remove().await.refusal(), (403, "reauthentication_required"));
        let prove = |proof: Value| api.post("/v1/me/reauthenticate", proof).bearer(&jo.token).send();
        let by_password = prove(json!({ "password": PASSWORD })).await;
        assert_eq!(by_password.refusal(), (403, "stronger_proof_required"));
        let wrong = prove(json!({ "totp_code": jo.app.wrong_code(&api.clock) })).await;
        assert_eq!(wrong.refusal(), (401, "invalid_code"));
        let both = prove(json!({ "password": PASSWORD, "totp_code": jo.app.code(&api.clock) })).await;
        assert_eq!(both.refusal(), (422, "validation_error"));
        let named = |code: String| json!({ "method": "totp", "code": code });
        assert_eq!(prove(named(jo.app.wrong_code(&api.clock))).await.refusal(), wrong.refusal(), "the same in other words");
        assert_eq!(prove(json!({ "method": "totp" })).await.refusal(), (422, "validation_error"));
        assert_eq!(prove(named(jo.app.code(&api.clock))).await.status, 200);

        let setup = begin().await;
        let new = App::reading(setup.text("/otpauth_uri"));
        let confirm = json!({ "code": new.code(&api.clock) });
        let replaced = api.post("/v1/me/mfa/totp/confirm", confirm).bearer(&jo.token).send().await;
        assert_eq!((replaced.status.as_u16(), codes(&replaced).len()), (200, 0), "the codes stay as they are");
        assert_eq!(api.told(JO, "The authenticator app of your account was replaced").await, 1);
        assert_eq!(api.told(JO, "An authenticator app was added to your account").await, 1, "the first one alone");
        let told: Vec<_> = api.records("mfa.factor_added").await.iter().map(|one| one["details"]["before"].clone()).collect();
        assert_eq!(told, [Value::Null, json!({ "factor": "totp" })]);
        api.clock.advance(Duration::from_secs(30));
        let flow = step(&api, JO).await;
        assert_eq!(verify(&api, &flow, "totp", &jo.app.code(&api.clock)).await.refusal(), (401, "invalid_code"));
        assert_eq!(verify(&api, &flow, "totp", &new.code(&api.clock)).await.text("/status"), "authenticated");

        assert_eq!(remove().await.status, 204);
        assert_eq!(remove().await.refusal(), (404, "not_found"));
        assert_eq!(api.told(JO, "The authenticator app of your account was removed").await, 1);
        assert!(api.recorded("mfa.factor_removed").await);
        assert_eq!(api.login(JO, PASSWORD).await.text("/status"), "authenticated");
        assert_eq!(factors(&api, &jo.token).await["recovery_codes_left"], 0, "they go with the last factor");
    }

    no_step_is_passed_by_and_none_advances_on_nothing(api) {
        let jo = Holder::new(&api, JO, "member").await;
        let flow = step(&api, JO).await;
        for (path, body) in [
            ("/v1/auth/mfa/verify", json!({})),
            ("/v1/auth/mfa/verify", json!({ "flow_token": flow })),
            ("/v1/auth/mfa/verify", json!({ "flow_token": flow, "method": "totp" })),
            ("/v1/auth/mfa/verify", json!({ "flow_token": flow, "method": "password", "code": PASSWORD })),
            ("/v1/auth/mfa/totp/confirm", json!({ "flow_token": flow })),
        ] {
            assert_eq!(api.post(path, body.clone()).send().await.refusal(), (422, "validation_error"), "{body}");
        }
        let nothing = verify(&api, &flow, "totp", "").await;
        assert_eq!(nothing.refusal(), (401, "invalid_code"));
        for (path, body) in [
            ("/v1/auth/mfa/totp", json!({ "flow_token": flow })),
            ("/v1/auth/mfa/totp/confirm", json!({ "flow_token": flow, "code": jo.app.code(&api.clock) })),
            ("/v1/auth/password/replace", json!({ "flow_token": flow, "new_password": "Quiet-otter-7-harbour" })),
        ] {
            assert_eq!(api.post(path, body).send().await.refusal(), (401, "invalid_flow_token"), "{path}");
        }
        assert_eq!(api.get("/v1/me/mfa").bearer(&flow).send().await.refusal(), (401, "invalid_token"));
        let right = verify(&api, &flow, "totp", &jo.app.code(&api.clock)).await;
        assert_eq!(right.text("/status"), "authenticated", "the control: none of these has used the step up");
    }

    a_reset_password_and_a_device_pass_the_same_gate(api) {
        let jo = Holder::new(&api, JO, "member").await;
        api.post("/v1/auth/password/forgot", json!({ "email": JO })).send().await;
        let reset = json!({ "token": api.token_for(JO).await, "new_password": "Quiet-otter-7-harbour" });
        assert_eq!(api.post("/v1/auth/password/reset", reset).send().await.status, 200);
        let login = api.login(JO, "Quiet-otter-7-harbour").await;
        assert_eq!(login.text("/status"), "mfa_required", "the reset has not touched the factor");
        let session = verify(&api, login.text("/flow_token"), "totp", &jo.app.code(&api.clock)).await;
        // A device gets the proofs of the session that approves it, and no others.
        let codes = api.post("/v1/auth/device/authorize", json!({})).send().await;
        let approve = format!("/v1/me/device-requests/{}/approve", codes.text("/user_code"));
        assert_eq!(api.post(&approve, json!({})).bearer(session.access_token()).send().await.status, 204);
        let fetch = json!({ "device_code": codes.text("/device_code") });
        let device = api.post("/v1/auth/device/token", fetch).send().await;
        assert_eq!(amr(&device), json!(["pwd", "otp"]));
    }

    a_recovery_code_proves_again_who_its_holder_is_and_is_used_up(api) {
        let jo = Holder::new(&api, JO, "member").await;
        api.clock.advance(Duration::from_mins(11));
        let prove = |code: &str| {
            api.post("/v1/me/reauthenticate", json!({ "recovery_code": code })).bearer(&jo.token).send()
        };
        assert_eq!(prove("0000-0000-0000").await.refusal(), (401, "invalid_code"));
        let renew = || api.post("/v1/me/mfa/recovery-codes", json!({})).bearer(&jo.token).send();
        assert_eq!(renew().await.refusal(), (403, "reauthentication_required"));
        assert_eq!(prove(&jo.recovery_codes[0]).await.text("/status"), "reauthenticated");
        assert_eq!(prove(&jo.recovery_codes[0]).await.refusal(), (401, "invalid_code"));
        assert_eq!(factors(&api, &jo.token).await["recovery_codes_left"], 9);
        assert_eq!(codes(&renew().await).len(), 10, "the control");
    }

    a_temporary_password_asks_for_the_factor_first(api) {
        let jo = Holder::new(&api, JO, "member").await;
        let owner = api.token_of("owner@acme.example").await;
        let id = api.get("/v1/whoami").bearer(&jo.token).send().await.text("/user/id").to_owned();
        let given = api.post(&format!("/v1/members/{id}/temporary-password"), json!({})).bearer(&owner).send().await;
        let login = api.login(JO, given.text("/temporary_password")).await;
        assert_eq!(login.text("/status"), "mfa_required");
        let next = verify(&api, login.text("/flow_token"), "totp", &jo.app.code(&api.clock)).await;
        assert_eq!(next.text("/status"), "password_change_required");
    }
}

/// How the session of this answer was proven, as its access token says.
pub(crate) fn amr(answer: &Answer) -> Value {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = answer.access_token().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    claims["amr"].clone()
}
