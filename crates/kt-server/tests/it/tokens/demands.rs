//! What an organization demands of keys, and what their own bounds are.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{DAY, INSIDE, OUTSIDE, key, listed, make, names, patch, revoke, rotate, used};
use crate::harness::{Answer, TestApi, on_both};

on_both! {
    who_may_make_keys_is_the_organizations_choice(api) {
        let (member, auditor, admin) =
            (api.somebody("member").await, api.somebody("auditor").await, api.somebody("admin").await);
        let new = |kind: &str| json!({ "type": kind, "name": "mine", "scope": "write" });
        for kind in ["access", "gateway"] {
            assert_eq!(make(&api, &member, new(kind)).await.refusal(), (403, "insufficient_role"), "{kind}");
            assert_eq!(make(&api, &auditor, new(kind)).await.refusal(), (403, "insufficient_role"), "{kind}");
            assert_eq!(make(&api, &admin, new(kind)).await.status, StatusCode::CREATED, "{kind}");
        }
        api.demand(json!({ "creation": "everyone" })).await;
        assert_eq!(make(&api, &member, new("access")).await.status, StatusCode::CREATED);
        assert_eq!(make(&api, &member, new("gateway")).await.refusal(), (403, "insufficient_role"));
        assert_eq!(make(&api, &auditor, new("access")).await.refusal(), (403, "insufficient_role"));
        assert_eq!(listed(&api, member.access_token()).await.len(), 1, "one's own");
        assert_eq!(listed(&api, admin.access_token()).await.len(), 3, "everybody's");
        assert_eq!(listed(&api, auditor.access_token()).await.len(), 3, "whoever looks after the organization sees all");
        let anonymous = api.post("/v1/tokens", new("access")).send().await;
        assert_eq!(anonymous.refusal(), (401, "missing_key"));
    }

    a_new_key_meets_the_organizations_demands(api) {
        let owner = api.owner().await;
        api.demand(json!({ "require_ip_binding": true, "max_requests_per_minute": 60 })).await;
        let good = json!({ "name": "deploy", "scope": "write", "ip_ranges": ["203.0.113.0/24"] });
        let with = |field: &str, value: Value| {
            let mut body = good.clone();
            body[field] = value;
            body
        };
        let table = [
            (with("scope", json!(null)), "scope"),
            (with("scope", json!("root")), "scope"),
            (with("ip_ranges", json!([])), "ip_ranges"),
            (with("ip_ranges", json!(["203.0.113.1/24"])), "ip_ranges[0]"),
            (with("requests_per_minute", json!(61)), "requests_per_minute"),
            (with("expires_at", json!("2020-01-01T00:00:00Z")), "expires_at"),
            (with("name", json!("")), "name"),
            (with("type", json!("session")), "type"),
            (with("owner", json!("usr_1")), "owner"),
        ];
        for (body, param) in table {
            let answer = make(&api, &owner, body.clone()).await;
            assert_eq!(answer.refusal(), (422, "validation_error"), "{body}");
            assert_eq!(answer.text("/error/param"), param, "{body}");
        }
        assert_eq!(make(&api, &owner, good).await.status, StatusCode::CREATED);
        let twice = api.post("/v1/tokens?type=gateway", json!({ "type": "access", "name": "a", "scope": "write" }));
        assert_eq!(twice.bearer(owner.access_token()).send().await.text("/error/param"), "type");
    }

    address_and_rate_are_demanded_of_every_key_at_once(api) {
        let owner = api.owner().await;
        for kind in ["access", "gateway"] {
            let made = key(&api, &owner, kind, "write").await;
            assert_eq!(used(&api, &made, OUTSIDE).await, "ok", "the control, {kind}");
            api.demand(json!({ "allowed_ranges": ["203.0.113.0/24"] })).await;
            assert_eq!(used(&api, &made, OUTSIDE).await, "key_ip_denied", "{kind}");
            assert_eq!(used(&api, &made, INSIDE).await, "ok", "{kind}");
            api.demand(json!({ "allowed_ranges": [], "require_ip_binding": true })).await;
            assert_eq!(used(&api, &made, INSIDE).await, "key_ip_denied", "it has no ranges of its own, {kind}");
            api.demand(json!({ "require_ip_binding": false, "max_requests_per_minute": 2 })).await;
            for expected in ["ok", "ok", "rate_limited"] {
                assert_eq!(used(&api, &made, INSIDE).await, expected, "{kind}");
            }
            let refused = api.get("/v1/whoami").bearer(made.text("/key")).send().await;
            assert_eq!((refused.status.as_u16(), &refused.headers["retry-after"]), (429, &"60".parse().unwrap()));
            api.clock.advance(Duration::from_mins(1));
            assert_eq!(used(&api, &made, INSIDE).await, "ok", "a minute later, {kind}");
            api.demand(json!({ "max_requests_per_minute": null })).await;
        }
    }

    an_over_age_key_is_flagged_for_a_week_and_then_refused_or_at_once(api) {
        let owner = api.owner().await;
        api.demand(json!({ "max_age_days": 30 })).await;
        let keys = [key(&api, &owner, "access", "write").await, key(&api, &owner, "gateway", "write").await];
        let reader = api.somebody("admin").await;
        let statuses = async |api: &TestApi| {
            let session = api.login(reader.text("/user/email"), crate::harness::PASSWORD).await;
            let tokens = listed(api, session.access_token()).await;
            tokens.iter().map(|token| token["status"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(statuses(&api).await, ["active", "active"]);
        api.clock.advance(DAY * 30);
        assert_eq!(statuses(&api).await, ["rotation_required", "rotation_required"]);
        for key in &keys {
            assert_eq!(used(&api, key, INSIDE).await, "ok");
        }
        api.demand(json!({ "enforce_immediately": true })).await;
        for key in &keys {
            assert_eq!(used(&api, key, INSIDE).await, "key_expired");
        }
        api.demand(json!({ "enforce_immediately": false })).await;
        api.clock.advance(DAY * 7);
        for key in &keys {
            assert_eq!(used(&api, key, INSIDE).await, "key_expired");
        }
    }

    keys_that_have_to_be_rotated_are_listed_however_they_came_to_it_and_until_they_need_not_be(api) {
        let mut owner = api.owner().await;
        api.demand(json!({ "max_age_days": 30, "require_scope": false })).await;
        let flagged = async |session: &Answer| {
            let list = api.get("/v1/tokens?state=flagged").bearer(session.access_token()).send().await;
            let all = api.get("/v1/tokens").bearer(session.access_token()).send().await;
            let is_flagged = |key: &&Value| key["status"] == "rotation_required";
            let told = names(all.json["tokens"].as_array().unwrap().iter().filter(is_flagged));
            assert_eq!(names(list.json["tokens"].as_array().unwrap()), told, "the list, and the status of each");
            told
        };
        let aging = make(&api, &owner, json!({ "name": "aging", "scope": "write" })).await;
        api.clock.advance(Duration::from_secs(1));
        let vague = make(&api, &owner, json!({ "name": "vague", "ip_ranges": ["203.0.113.0/24"] })).await;
        assert_eq!(flagged(&owner).await, [""; 0], "the control");
        api.demand(json!({ "require_scope": true })).await;
        assert_eq!(flagged(&owner).await, ["vague"]);
        assert_eq!(patch(&api, owner.access_token(), &vague, json!({ "scope": "write" })).await.status, StatusCode::OK);
        assert_eq!(flagged(&owner).await, [""; 0], "it was mended");
        api.demand(json!({ "require_ip_binding": true })).await;
        assert_eq!(flagged(&owner).await, ["aging"]);
        api.demand(json!({ "require_ip_binding": false })).await;
        api.clock.advance(Duration::from_secs(30 * 24 * 60 * 60 - 1));
        owner = api.owner().await;
        assert_eq!(flagged(&owner).await, ["aging"], "too old by now, as was demanded from the beginning");
        let overview = async || api.signed_in("owner@acme.example").await.get("/overview").await;
        let concern = "Keys that break what the organization demands of keys";
        assert!(overview().await.page().contains(concern));
        rotate(&api, &owner, &aging, json!({})).await;
        assert_eq!(flagged(&owner).await, [""; 0], "it has ended");
        assert!(!overview().await.page().contains(concern));
    }

    a_key_that_is_too_old_for_new_demands_has_a_week_from_then_on(api) {
        let owner = api.owner().await;
        let made = key(&api, &owner, "access", "write").await;
        api.clock.advance(DAY * 60);
        api.demand(json!({ "max_age_days": 30 })).await;
        let session = api.owner().await;
        let listed = listed(&api, session.access_token()).await;
        assert_eq!(listed[0]["status"], "rotation_required");
        assert_eq!(listed[0]["violations"], json!(["over_age"]));
        assert_eq!(listed[0]["refused_from"], "2026-05-21T14:22:31Z");
        api.clock.advance(Duration::from_secs(7 * 24 * 3600 - 1));
        assert_eq!(used(&api, &made, INSIDE).await, "ok");
        api.clock.advance(Duration::from_secs(1));
        assert_eq!(used(&api, &made, INSIDE).await, "key_expired");
        let rotated = rotate(&api, &api.owner().await, &made, json!({})).await;
        assert_eq!(used(&api, &rotated, INSIDE).await, "ok");
    }

    a_key_without_a_scope_reads_until_one_is_demanded(api) {
        let owner = api.owner().await;
        api.demand(json!({ "require_scope": false })).await;
        let made = make(&api, &owner, json!({ "name": "old" })).await;
        assert_eq!(used(&api, &made, INSIDE).await, "ok");
        assert_eq!(revoke(&api, made.text("/key"), &made).await.refusal(), (403, "insufficient_scope"));
        api.demand(json!({ "require_scope": true, "enforce_immediately": true })).await;
        assert_eq!(used(&api, &made, INSIDE).await, "insufficient_scope");
        let given = patch(&api, owner.access_token(), &made, json!({ "scope": "read-only" })).await;
        assert_eq!(given.status, StatusCode::OK, "{}", given.json);
        assert_eq!(used(&api, &made, INSIDE).await, "ok");
    }

    a_keys_own_ranges_rate_and_expiry_hold(api) {
        let owner = api.owner().await;
        let expires_at = "2026-03-15T15:00:00Z";
        let made = make(&api, &owner, json!({
            "name": "bound", "scope": "write", "ip_ranges": ["203.0.113.0/24"], "requests_per_minute": 2,
            "expires_at": expires_at,
        })).await;
        assert_eq!(used(&api, &made, OUTSIDE).await, "key_ip_denied");
        for expected in ["ok", "ok", "rate_limited"] {
            assert_eq!(used(&api, &made, INSIDE).await, expected, "what was refused before was not counted");
        }
        let cleared = json!({ "requests_per_minute": null, "ip_ranges": [] });
        let changed = patch(&api, owner.access_token(), &made, cleared).await;
        assert_eq!(changed.json["requests_per_minute"], json!(null));
        assert_eq!(changed.json["expires_at"], expires_at, "what is not named stays");
        assert_eq!(used(&api, &made, OUTSIDE).await, "ok");
        api.clock.advance(Duration::from_hours(1));
        assert_eq!(used(&api, &made, INSIDE).await, "key_expired");
    }
}
