//! What nobody known has sent leaves a record, sparingly (STANDARDS LOG-02). Record: `sso.stray_message`.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApi, on_both};

async fn bring(api: &TestApi, peer: &'static str, path: &str) -> Answer {
    api.browser().from(peer).come_back(path).await
}

async fn log_out(api: &TestApi, peer: &'static str, token: &str) -> Answer {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("logout_token={token}");
    api.browser().from(peer).send(Method::POST, "/sso/oidc/acme/logout", &form, Some(body)).await
}

async fn strays(api: &TestApi) -> Vec<Value> {
    api.records("sso.stray_message").await
}

on_both! {
    what_nobody_known_has_sent_is_recorded_once_for_a_network(api) {
        const CALLBACK: &str = "/sso/oidc/acme/callback?code=canary-code&state=canary-state";
        let provider = api.with_provider(json!({})).await;
        for _ in 0..5 {
            let refused = bring(&api, "198.51.100.7:1", CALLBACK).await;
            assert_eq!(refused.leads_to(), Some("/login?reason=sso_refused"));
            log_out(&api, "198.51.100.8:1", "canary-token").await;
        }
        let first = strays(&api).await;
        assert_eq!(first.len(), 1, "one, of one network");
        assert_eq!((&first[0]["resource"], &first[0]["outcome"]), (&json!("answer"), &json!("failure")));
        assert_eq!(first[0]["ip_address"], "198.51.100.7");
        assert!(first[0]["details"]["after"]["why"].as_str().unwrap().contains("unknown, used or too old"), "{}", first[0]);
        assert!(!first[0].to_string().contains("canary"), "nothing of it is repeated");

        assert_eq!(log_out(&api, "203.0.113.200:1", "canary-token").await.status, 400);
        assert_eq!(strays(&api).await[1]["resource"], "logout", "another network has its own");
        api.clock.advance(Duration::from_mins(10));
        bring(&api, "198.51.100.7:1", CALLBACK).await;
        assert_eq!(strays(&api).await.len(), 3, "and again after ten minutes");

        api.clock.advance(Duration::from_mins(10));
        api.add_member("1@acme.example", "member").await;
        assert_eq!(provider.way(&api.browser(), "1").await.leads_to(), Some("/"), "the control");
        assert_eq!(log_out(&api, "198.51.100.7:1", &provider.logout_token(&json!({}))).await.status, 200);
        assert_eq!(strays(&api).await.len(), 3, "what was asked for is none");
    }

    what_comes_in_for_nobody_stands_in_the_deployments_log(api) {
        bring(&api, "198.51.100.7:1", "/sso/oidc/nowhere/callback?code=x&state=x").await;
        assert!(strays(&api).await.is_empty());
        let chain = kt_store::audit::chain(&api.store, None).await.unwrap();
        assert!(chain.iter().any(|entry| entry.body.contains("sso.stray_message")));
    }
}
