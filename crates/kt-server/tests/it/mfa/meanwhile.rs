//! What is under way while factors are taken away, or are added elsewhere.

use kt_control::{Bearer, PasskeyAnswer};
use kt_domain::ctx::Ctx;
use serde_json::json;

use super::authenticator::Authenticator;
use super::passkeys::{add, options};
use super::policy::demand;
use super::reset::{REASON, id_of, reset};
use super::{App, Holder, JO, factors};
use crate::harness::{Answer, PASSWORD, on_both, side_by_side};

on_both! {
    what_a_session_was_about_to_change_is_refused_once_a_reset_has_ended_it(api) {
        let owner = api.owner().await;
        for is_reset in [false, true] {
            let jo = Holder::new(&api, &format!("jo-{is_reset}@acme.example"), "member").await;
            let asked = options(&api, &jo.token).await;
            let credential = Authenticator::new().create(&asked.json["options"]);
            let passkey = add(&api, &jo.token, &asked, credential).await.text("/id").parse().unwrap();
            // The guard has let the requests in, and a reset comes before they come to their end.
            let actor = api.control.authenticate(&api.operator(), Bearer(&jo.token)).await.unwrap().actor;
            let ctx = Ctx { actor, ..api.operator() };
            let begun = api.control.begin_passkey(&ctx).await.unwrap();
            let credential = Authenticator::new().create(&begun.options);
            let answer = PasskeyAnswer { flow_token: begun.flow_token, credential };
            let code = App::reading(&api.control.begin_totp(&ctx).await.unwrap().otpauth_uri).code(&api.clock);
            if is_reset {
                let id = id_of(&api, &jo.token).await;
                assert_eq!(reset(&api, owner.access_token(), &id, REASON).await.status, 204);
            }
            let outcomes = [
                api.control.add_passkey(&ctx, None, &answer).await.map(drop),
                api.control.confirm_totp(&ctx, &code).await.map(drop),
                api.control.renew_recovery_codes(&ctx).await.map(drop),
                api.control.remove_passkey(&ctx, &passkey).await,
                api.control.remove_totp(&ctx).await,
            ];
            let expected = if is_reset { Err("invalid_token") } else { Ok(()) };
            for (place, outcome) in outcomes.into_iter().enumerate() {
                assert_eq!(outcome.map_err(|error| error.code), expected, "{place}, reset: {is_reset}");
            }
        }
        assert_eq!(api.login("jo-true@acme.example", PASSWORD).await.text("/status"), "authenticated");
    }

    of_a_reset_and_factors_that_are_added_beside_it_the_reset_wins(api) {
        let id = api.add_member(JO, "member").await;
        let owner = api.owner().await;
        let mut token = api.token_of(JO).await;
        for round in 0..10 {
            let mut begun = Vec::new();
            for _ in 0..5 {
                begun.push(options(&api, &token).await);
            }
            let setup = api.post("/v1/me/mfa/totp", json!({})).bearer(&token).send().await;
            let code = json!({ "code": App::reading(setup.text("/otpauth_uri")).code(&api.clock) });
            let passkeys = begun.iter().map(|asked| {
                let credential = Authenticator::new().create(&asked.json["options"]);
                add(&api, &token, asked, credential)
            });
            let confirm = api.post("/v1/me/mfa/totp/confirm", code).bearer(&token).send();
            let (added, confirmed, was_reset) = tokio::join!(
                side_by_side(passkeys),
                confirm,
                reset(&api, owner.access_token(), id.as_str(), REASON),
            );
            assert_eq!(was_reset.status, 204, "{round}: {}", was_reset.json);
            for answer in added.iter().chain([&confirmed]) {
                let is_done = [200, 201].contains(&answer.status.as_u16());
                assert!(is_done || answer.refusal() == (401, "invalid_token"), "{round}: {}", answer.json);
            }
            token = api.token_of(JO).await;
            let has = factors(&api, &token).await;
            assert_eq!((&has["enabled"], &has["recovery_codes_left"]), (&json!(false), &json!(0)), "{round}: {has}");
        }
        let asked = options(&api, &token).await;
        let credential = Authenticator::new().create(&asked.json["options"]);
        assert_eq!(add(&api, &token, &asked, credential).await.status, 201, "the control");
    }

    of_those_who_add_their_first_factor_side_by_side_on_the_way_in_one_does(api) {
        for round in 0..10 {
            api.add_member(&format!("jo{round}@acme.example"), "member").await;
        }
        demand(&api, "required_for_all", "0h").await;
        for round in 0..10 {
            let email = format!("jo{round}@acme.example");
            let step = async || {
                let login = api.login(&email, PASSWORD).await;
                json!({ "flow_token": login.text("/flow_token") })
            };
            let mut begun = Vec::new();
            for _ in 0..4 {
                let asked = api.post("/v1/auth/mfa/passkey/options", step().await).send().await;
                let credential = Authenticator::new().create(&asked.json["options"]);
                let body = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
                begun.push(("/v1/auth/mfa/passkey", body));
            }
            let setup = api.post("/v1/auth/mfa/totp", step().await).send().await;
            let code = App::reading(setup.text("/otpauth_uri")).code(&api.clock);
            begun.push(("/v1/auth/mfa/totp/confirm", json!({ "flow_token": setup.text("/flow_token"), "code": code })));
            let answers = side_by_side(begun.into_iter().map(|(path, body)| api.post(path, body).send())).await;
            let (done, refused): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.status == 200);
            assert_eq!(done.len(), 1, "{round}");
            assert!(refused.iter().all(|answer| answer.refusal() == (401, "invalid_flow_token")), "{round}");
            let has = factors(&api, done[0].access_token()).await;
            let kinds = (has["passkeys"].as_i64().unwrap(), has["totp"].is_null());
            assert!([(1, true), (0, false)].contains(&kinds), "{round}: {has}");
        }
    }
}
