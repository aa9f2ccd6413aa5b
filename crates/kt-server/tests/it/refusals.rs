//! What is refused to somebody who is known stands in the audit log, and does not fill it.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::console::browser::ORIGIN;
use crate::harness::{TestApi, on_both, side_by_side};

const JO: &str = "jo@acme.example";

async fn refused(api: &TestApi) -> Vec<Value> {
    api.records("access.refused").await
}

on_both! {
    a_member_who_tries_the_ways_of_an_administrator_is_seen(api) {
        api.add_member(JO, "member").await;
        let jo = api.token_of(JO).await;
        let members = || api.get("/v1/members").bearer(&jo).send();
        for answer in side_by_side((0..20).map(|_| members())).await {
            assert_eq!(answer.refusal(), (403, "insufficient_role"));
        }
        let records = refused(&api).await;
        assert_eq!(records.len(), 1, "of many alike, one");
        assert_eq!((&records[0]["resource"], &records[0]["outcome"]), (&json!("GET /v1/members"), &json!("failure")));
        assert_eq!(records[0]["actor"]["name"], JO);
        assert_eq!(records[0]["details"]["after"], json!({ "rule": "insufficient_role" }));
        let remove = api.request(Method::DELETE, "/v1/members/usr_x").bearer(&jo).send().await;
        assert_eq!(remove.refusal().0, 404, "what is no identifier is nothing to be refused");
        api.patch("/v1/organization", json!({ "name": "Mine" })).bearer(&jo).send().await;
        assert_eq!(refused(&api).await[1]["resource"], "PATCH /v1/organization");
        api.clock.advance(Duration::from_mins(10));
        let jo = api.token_of(JO).await;
        api.get("/v1/members").bearer(&jo).send().await;
        assert_eq!(refused(&api).await.len(), 3, "and again after a while");
        assert_eq!(api.get("/v1/me").bearer(&jo).send().await.status, 200, "the control");
        assert_eq!(refused(&api).await.len(), 3);
    }

    a_scope_and_a_stale_proof_that_do_not_reach_are_recorded_with_their_rule(api) {
        let owner = api.token_of("owner@acme.example").await;
        let body = json!({ "type": "access", "name": "reports", "scope": "read-only" });
        let key = api.post("/v1/tokens", body).bearer(&owner).send().await;
        let rename = |bearer: String| {
            api.patch("/v1/organization", json!({ "name": "Acme" })).bearer(&bearer).send()
        };
        assert_eq!(rename(key.text("/key").to_owned()).await.refusal(), (403, "insufficient_scope"));
        api.clock.advance(Duration::from_mins(11));
        assert_eq!(rename(owner).await.refusal(), (403, "reauthentication_required"));
        let records = refused(&api).await;
        let told: Vec<_> = records.iter().map(|record| (&record["actor"]["type"], &record["details"]["after"]["rule"])).collect();
        assert_eq!(told, [
            (&json!("api_key"), &json!("insufficient_scope")),
            (&json!("user"), &json!("reauthentication_required")),
        ]);
    }

    the_console_records_what_it_refuses_and_forms_of_other_sites(api) {
        api.add_member(JO, "member").await;
        let jo = api.signed_in(JO).await;
        assert_eq!(jo.get("/settings/members").await.status.as_u16(), 403);
        let same = [("sec-fetch-site", "same-origin"), ("origin", ORIGIN)];
        assert_eq!(jo.post_with("/logout", &[], &same).await.refusal(), (403, "csrf_failed"));
        let cross = [("sec-fetch-site", "cross-site")];
        assert_eq!(jo.post_with("/logout", &[], &cross).await.refusal(), (403, "cross_site_request"));
        let records = refused(&api).await;
        let told: Vec<_> = records.iter().map(|record| (&record["resource"], &record["details"]["after"]["rule"])).collect();
        assert_eq!(told, [
            (&json!("GET /settings/members"), &json!("insufficient_role")),
            (&json!("POST /logout"), &json!("csrf_failed")),
            (&json!("POST /logout"), &json!("cross_site_request")),
        ]);
    }
}

on_both! {
    the_character_nul_finds_nothing_and_is_no_failure_of_the_database(api) {
        let owner = api.owner().await;
        api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
        let scim = json!({ "type": "scim", "name": "directory", "scope": "write" });
        let scim = api.post("/v1/tokens", scim).bearer(owner.access_token()).send().await.text("/key").to_owned();
        for path in [
            "/v1/gateways/a%00b", "/v1/members/usr_%00", "/v1/configurations/a%00b", "/v1/events/a%00b",
            "/v1/events?request_id=a%00b", "/v1/events?gateway_id=%00", "/v1/audit-log?actor=a%00b",
            "/v1/audit-log?resource=%00", "/v1/events?limit=1&cursor=a%00b",
        ] {
            let status = api.get(path).bearer(owner.access_token()).send().await.status.as_u16();
            assert!([404, 422].contains(&status), "{path}: {status}");
        }
        for filter in ["userName%20eq%20%22a%00b%22", "externalId%20eq%20%22a%00b%22"] {
            let path = format!("/scim/v2/Users?filter={filter}");
            let status = api.get(&path).bearer(&scim).send().await.status.as_u16();
            assert!([200, 400, 422].contains(&status), "{path}: {status}");
        }
        let body = json!({ "organization": "a\u{0}b", "email": JO, "name": "Jo", "password": "Quiet-willow-4-lakes" });
        let registered = api.post("/v1/auth/register", body).send().await.status.as_u16();
        assert!([403, 422].contains(&registered), "{registered}");
        let control = api.get("/v1/audit-log?actor=a%2500b").bearer(owner.access_token()).send().await;
        assert_eq!(control.status, 200, "{}", control.body);
    }
}
