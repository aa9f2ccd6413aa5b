//! What nobody known has sent leaves a record, sparingly (STANDARDS LOG-02). Record: `sso.stray_message`.

use std::time::Duration;

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::canary::Log;
use crate::harness::{Answer, PEER, TestApi, on_both};

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

/// What a stranger wants to stand in the log.
const FORGED: &str = "FORGED owner signed in";

/// What is brought again and again, and says [`FORGED`] behind a line break, is refused, and told once within bounds.
async fn require_told_once(api: &TestApi, brought: impl AsyncFn() -> Answer) {
    for _ in 0..5 {
        assert_eq!(brought().await.status, 400);
    }
    let log = Log::text();
    let told: Vec<_> = log.lines().filter(|line| line.contains(FORGED)).collect();
    assert_eq!(told.len(), 1, "the log is not filled: {told:?}");
    assert!(!told[0].starts_with(FORGED) && told[0].len() < 1000, "{told:?}");
    let recorded = strays(api).await;
    assert_eq!(recorded.len(), 1);
    let why = recorded[0]["details"]["after"]["why"].as_str().unwrap();
    assert!(why.contains(FORGED), "the control: {why}");
    assert!(why.len() <= 300 && !why.contains(char::is_control), "{why}");
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

    a_logout_token_of_a_stranger_begins_no_line_of_the_log_and_fills_neither_it_nor_the_record(api) {
        Log::begin();
        let _provider = api.with_provider(json!({})).await;
        let header = json!({ "alg": "RS256", "typ": format!("x\n{FORGED}{}", "y".repeat(2000)) });
        let token = format!("{}.e30.x", URL_SAFE_NO_PAD.encode(header.to_string()));
        require_told_once(&api, async || log_out(&api, PEER, &token).await).await;
    }

    nor_does_a_request_of_a_stranger_by_saml(api) {
        Log::begin();
        let provider = api.with_saml(json!({})).await;
        let genuine = provider.logout_query("_1", "alice");
        let (request, signed) = genuine.split_once("&SigAlg=").unwrap();
        let signature = signed.split_once("&Signature=").unwrap().1;
        let algorithm = format!("x%0A{}{}", FORGED.replace(' ', "%20"), "y".repeat(2000));
        let query = format!("/sso/saml/acme/logout?{request}&SigAlg={algorithm}&Signature={signature}");
        require_told_once(&api, async || bring(&api, PEER, &query).await).await;
    }
}
