//! Second factors that are taken from whoever has lost them.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;

use super::policy::demand;
use super::{Holder, JO, step, verify};
use crate::harness::{Answer, PASSWORD, TestApi, on_both};

pub(super) const REASON: &str = "Lost the phone; seen in person";

pub(super) async fn id_of(api: &TestApi, token: &str) -> String {
    api.get("/v1/whoami").bearer(token).send().await.text("/user/id").to_owned()
}

pub(super) async fn reset(api: &TestApi, token: &str, id: &str, reason: &str) -> Answer {
    let path = format!("/v1/members/{id}/reset-mfa");
    api.post(&path, json!({ "reason": reason })).bearer(token).send().await
}

on_both! {
    an_administrator_takes_the_factors_of_whoever_has_lost_them(api) {
        let jo = Holder::new(&api, JO, "member").await;
        let id = id_of(&api, &jo.token).await;
        let admin = api.somebody("admin").await;
        let pending = step(&api, JO).await;
        for bad in ["", "  ", "a\nb"] {
            assert_eq!(reset(&api, admin.access_token(), &id, bad).await.refusal(), (422, "validation_error"));
        }
        assert_eq!(reset(&api, &jo.token, &id, REASON).await.refusal(), (403, "insufficient_role"));
        assert_eq!(reset(&api, admin.access_token(), &id, REASON).await.status, 204);
        assert_eq!(api.get("/v1/whoami").bearer(&jo.token).send().await.refusal(), (401, "invalid_token"));
        let old = verify(&api, &pending, "recovery_code", &jo.recovery_codes[0]).await;
        assert_eq!(old.refusal(), (401, "invalid_flow_token"), "nothing waits for a factor");
        let login = api.login(JO, PASSWORD).await;
        assert_eq!(login.text("/status"), "authenticated");
        let left = super::factors(&api, login.access_token()).await;
        assert_eq!((&left["enabled"], &left["recovery_codes_left"]), (&json!(false), &json!(0)));
        assert_eq!(api.told(JO, "Your second factors were removed by an administrator").await, 1);
        assert!(api.letters_to(JO).await.iter().any(|letter| letter.content.text.contains(REASON)));
        let records = api.records("mfa.reset").await;
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["details"]["after"]["reason"], REASON);
        assert_eq!(records[0]["resource"], json!(id));
        // Where one is asked for, the next sign-in leads to adding one.
        demand(&api, "required_for_all", "0h").await;
        assert_eq!(api.login(JO, PASSWORD).await.text("/status"), "mfa_enrollment_required");
    }

    a_program_may_leave_the_reason_out_and_that_is_told(api) {
        let admin = api.somebody("admin").await;
        for (email, body) in [(JO, None), ("mia@acme.example", Some(json!({})))] {
            let holder = Holder::new(&api, email, "member").await;
            let path = format!("/v1/members/{}/reset-mfa", id_of(&api, &holder.token).await);
            let asked = api.request(Method::POST, &path).body(body).bearer(admin.access_token());
            assert_eq!(asked.send().await.status, 204, "{email}");
            assert_eq!(api.records("mfa.reset").await[0]["details"]["after"]["reason"], "not given");
            assert!(api.letters_to(email).await.iter().any(|letter| letter.content.text.contains("not given")));
        }
    }

    an_owners_factors_are_taken_by_another_owner_alone(api) {
        let jo = Holder::new(&api, JO, "owner").await;
        let id = id_of(&api, &jo.token).await;
        let admin = api.somebody("admin").await;
        assert_eq!(reset(&api, admin.access_token(), &id, REASON).await.refusal(), (403, "rank_too_low"));
        assert_eq!(reset(&api, &jo.token, &id, REASON).await.refusal(), (409, "own_factors"));
        let owner = api.owner().await;
        api.clock.advance(Duration::from_mins(11));
        let stale = reset(&api, owner.access_token(), &id, REASON).await;
        assert_eq!(stale.refusal(), (403, "reauthentication_required"));
        let owner = api.owner().await;
        assert_eq!(reset(&api, owner.access_token(), &id, REASON).await.status, 204);
        assert_eq!(api.login(JO, PASSWORD).await.text("/status"), "authenticated");
    }

    nobody_of_one_organization_takes_what_guards_another(api) {
        let jo = Holder::new(&api, JO, "member").await;
        let id = id_of(&api, &jo.token).await;
        api.organization("other").await;
        api.add_place("other", &id.parse().unwrap(), "owner").await;
        let owner = api.owner().await;
        let refused = reset(&api, owner.access_token(), &id, REASON).await;
        assert_eq!(refused.refusal(), (409, "belongs_elsewhere"));
        assert_eq!(api.login(JO, PASSWORD).await.text("/status"), "mfa_required", "nothing was taken");
        let ctx = api.operator();
        let nobody = api.control.reset_second_factors_of(&ctx, "nobody@acme.example", REASON).await;
        assert_eq!(nobody.unwrap_err().code, "not_found");
        api.control.reset_second_factors_of(&ctx, JO, REASON).await.unwrap();
        assert_eq!(api.login(JO, PASSWORD).await.text("/status"), "authenticated");
        assert_eq!(api.records("mfa.reset").await.len(), 1);
    }
}
