//! What is refused to somebody who is known stands in the audit log, and does not fill it.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::console::browser::ORIGIN;
use crate::harness::{Answer, TestApi, on_both, side_by_side};

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

    a_key_that_is_tried_after_its_time_from_elsewhere_or_too_often_is_seen(api) {
        let owner = api.owner().await;
        let make = |name: &'static str, more: Value| {
            let mut body = json!({ "type": "access", "name": name, "scope": "read-only" });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            api.post("/v1/tokens", body).bearer(owner.access_token()).send()
        };
        let good = make("good", json!({})).await;
        let bound = make("bound", json!({ "ip_ranges": ["192.0.2.0/24"] })).await;
        let limited = make("limited", json!({ "requests_per_minute": 2 })).await;
        let brief = make("brief", json!({ "expires_at": "2026-03-15T15:00:00Z" })).await;
        let revoked = make("revoked", json!({})).await;
        let path = format!("/v1/tokens/{}", revoked.text("/id"));
        api.request(Method::DELETE, &path).bearer(owner.access_token()).send().await;
        let used = |key: &Answer| api.get("/v1/whoami").bearer(key.text("/key")).send();
        for _ in 0..5 {
            assert_eq!(used(&good).await.status, 200, "the control");
            assert_eq!(used(&bound).await.refusal(), (403, "key_ip_denied"));
            assert_eq!(used(&revoked).await.refusal(), (401, "invalid_key"));
            used(&limited).await;
        }
        assert_eq!(api.get("/v1/whoami").bearer("kt_ak_nobodys").send().await.refusal(), (401, "invalid_key"));
        api.clock.advance(Duration::from_hours(1));
        assert_eq!(used(&brief).await.refusal(), (401, "key_expired"));
        let records = refused(&api).await;
        let told: Vec<_> = records
            .iter()
            .map(|record| (record["actor"]["name"].as_str().unwrap(), record["details"]["after"]["rule"].as_str().unwrap()))
            .collect();
        assert_eq!(told, [
            ("bound", "key_ip_denied"),
            ("revoked", "invalid_key"),
            ("limited", "rate_limited"),
            ("brief", "key_expired"),
        ]);
        assert_eq!((&records[3]["resource"], &records[3]["ip_address"]), (&brief.json["id"], &json!("203.0.113.9")));
    }

    a_form_of_another_site_is_seen_although_nobody_is_signed_in(api) {
        let browser = api.browser();
        browser.get("/login").await;
        let cross = [("sec-fetch-site", "cross-site")];
        for _ in 0..3 {
            let form = [("email", "owner@acme.example"), ("password", "x")];
            assert_eq!(browser.post_with("/login", &form, &cross).await.refusal(), (403, "cross_site_request"));
        }
        let records = refused(&api).await;
        assert_eq!(records.len(), 1, "of many alike from one network, one");
        assert_eq!((&records[0]["resource"], &records[0]["actor"]["id"]), (&json!("POST /login"), &json!("anonymous")));
        assert_eq!(records[0]["details"]["after"]["rule"], "cross_site_request");
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
