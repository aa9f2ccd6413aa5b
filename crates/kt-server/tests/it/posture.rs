use std::time::Duration;

use kt_domain::actor::Role;
use kt_store::organizations;
use serde_json::{Value, json};

use crate::harness::{TestApi, on_both};

async fn posture(api: &TestApi, token: &str) -> Value {
    api.get("/v1/organization/security/posture").bearer(token).send().await.json
}

async fn run_jobs(api: &TestApi) {
    api.control.run_jobs(&api.operator()).await.unwrap();
}

/// How many things a list has.
async fn listed(api: &TestApi, token: &str, path: &str, name: &str) -> usize {
    let answer = api.get(path).bearer(token).send().await;
    answer.json[name].as_array().map_or_else(|| panic!("{path}: {}", answer.body), Vec::len)
}

on_both! {
    each_figure_follows_what_happens(api) {
        let other = api.organization("other").await;
        api.add_member_of(&other, "owner@other.example", Role::Owner).await;
        api.token_of("owner@other.example").await;
        api.add_member("jo@acme.example", "member").await;
        let owner = api.token_of("owner@acme.example").await;
        let before = posture(&api, &owner).await;
        assert_eq!((&before["active_sessions"], &before["failed_logins_24h"]), (&json!(1), &json!(0)));
        assert_eq!((&before["users_without_2fa"], &before["allowlist_status"]), (&json!(2), &json!("off")));
        api.token_of("jo@acme.example").await;
        api.login("jo@acme.example", "wrong").await;
        api.login("owner@acme.example", "wrong").await;
        api.login("owner@other.example", "wrong").await;
        let path = "/v1/organization/ip-restrictions";
        api.put(path, json!({ "enforce_allowlist": true })).bearer(&owner).send().await;
        let after = posture(&api, &owner).await;
        assert_eq!((&after["active_sessions"], &after["failed_logins_24h"]), (&json!(2), &json!(2)));
        assert_eq!(after["allowlist_status"], "empty");
        let office = json!({ "enforce_allowlist": true, "allow": [{ "cidr": "203.0.113.0/24", "label": "Office" }] });
        api.put(path, office).bearer(&owner).send().await;
        assert_eq!(posture(&api, &owner).await["allowlist_status"], "enforced");
        for (name, expires_at) in [("soon", "2026-03-22T14:22:31Z"), ("later", "2026-03-22T14:22:32Z")] {
            let key = json!({ "name": name, "scope": "read-only", "expires_at": expires_at });
            assert_eq!(api.post("/v1/tokens", key).bearer(&owner).send().await.status, 201);
        }
        let gateway = json!({ "type": "gateway", "name": "gw", "scope": "write", "expires_at": "2026-03-16T00:00:00Z" });
        assert_eq!(api.post("/v1/tokens", gateway).bearer(&owner).send().await.status, 201);
        let soon = posture(&api, &owner).await;
        assert_eq!(soon["keys_expiring_soon"], 2, "seven days are soon");
        for (figure, list) in [
            ("active_sessions", "sessions"), ("keys_expiring_soon", "tokens"), ("failed_logins_24h", "records"),
            ("users_without_2fa", "members"),
        ] {
            let behind = soon["links"][figure].as_str().unwrap();
            let listed = listed(&api, &owner, behind, list).await;
            assert_eq!((listed, soon[figure].as_u64()), (2, Some(2)), "{figure}: as many in the list as in the figure");
        }
        api.clock.advance(Duration::from_mins(31));
        let owner = api.token_of("owner@acme.example").await;
        assert_eq!(posture(&api, &owner).await["active_sessions"], 1, "idle sessions have lapsed");
        api.clock.advance(Duration::from_hours(24));
        let owner = api.token_of("owner@acme.example").await;
        assert_eq!(posture(&api, &owner).await["failed_logins_24h"], 0);
        let failed = posture(&api, &owner).await["links"]["failed_logins_24h"].as_str().unwrap().to_owned();
        assert_eq!(listed(&api, &owner, &failed, "records").await, 0, "the list behind the figure");
    }

    tries_at_addresses_that_nobody_has_are_failed_logins_too(api) {
        let owner = api.token_of("owner@acme.example").await;
        for n in 0..3 {
            api.login(&format!("nobody-{n}@acme.example"), "wrong").await;
        }
        assert_eq!(posture(&api, &owner).await["failed_logins_24h"], 3);
        api.organization("other").await;
        api.login("nobody-3@acme.example", "wrong").await;
        assert_eq!(posture(&api, &owner).await["failed_logins_24h"], 3, "of two organizations it belongs to neither");
    }

    tries_that_nobody_listens_to_count_one_by_one_though_they_are_recorded_together(api) {
        let owner = api.token_of("owner@acme.example").await;
        for n in 0..150 {
            let body = json!({ "email": format!("nobody-{n}@acme.example"), "password": "wrong" });
            api.post("/v1/auth/login", body).from("198.51.100.7:1").send().await;
        }
        api.clock.advance(Duration::from_mins(1));
        run_jobs(&api).await;
        assert_eq!(posture(&api, &owner).await["failed_logins_24h"], 150);
        assert!(api.records("auth.sign_in").await.len() < 150, "the control");
    }

    a_day_is_kept_once_for_the_chart_and_for_ninety_days(api) {
        run_jobs(&api).await;
        api.token_of("owner@acme.example").await;
        run_jobs(&api).await;
        let owner = api.token_of("owner@acme.example").await;
        let history = posture(&api, &owner).await["history"].clone();
        assert_eq!(history, json!([{
            "date": "2026-03-15", "active_sessions": 0, "failed_logins_24h": 0, "keys_expiring_soon": 0,
            "users_without_2fa": 1, "allowlist_enforced": false,
        }]));
        for _ in 0..91 {
            api.clock.advance(Duration::from_hours(24));
            run_jobs(&api).await;
        }
        let acme = organizations::by_identifier(&api.store, "acme").await.unwrap().unwrap();
        let kept = kt_store::posture::snapshots(&api.store, &acme.id).await.unwrap();
        assert_eq!((kept.len(), kept[0].0.to_string().as_str()), (91, "2026-03-16"), "today and the 90 days before");
    }
}
