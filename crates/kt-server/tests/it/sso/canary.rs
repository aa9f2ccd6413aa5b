//! Nothing that opens something on the way through a provider is written anywhere (STANDARDS OIDC-12, LOG-05): no code, no state,
//! no token, no assertion, no ticket, whether it was taken or refused.

use axum::http::Method;
use serde_json::json;
use url::Url;

use super::provider::depart;
use super::{SECRET, saml_provider};
use crate::canary::{Log, everything_written};
use crate::harness::{TestApi, on_both};

/// The values of these parameters of an address.
fn carried(address: &str, names: &[&str]) -> Vec<String> {
    let url = Url::parse("http://localhost").unwrap().join(address).unwrap();
    let found = url.query_pairs().filter(|(name, _)| names.contains(&name.as_ref()));
    found.map(|(_, value)| value.into_owned()).collect()
}

async fn is_nowhere(api: &TestApi, secrets: &[String]) {
    assert!(secrets.iter().all(|secret| secret.len() >= 16), "{secrets:?}");
    for (place, text) in everything_written(api).await {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} stands in {place}");
        }
    }
}

on_both! {
    no_code_state_or_token_of_a_provider_is_written_anywhere(api) {
        Log::begin();
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        let mut secrets = vec![SECRET.to_owned()];
        for brings in ["", "&error=canary-of-an-error", "&iss=https%3A%2F%2Fevil.example%2Fcanary"] {
            let browser = api.browser();
            let to = depart(&browser).await;
            let back = provider.authorize(&to, "1");
            secrets.extend(carried(&to, &["state", "nonce", "code_challenge"]));
            secrets.extend(carried(&back, &["code", "state"]));
            secrets.extend(browser.cookie("kt_sso"));
            let answer = browser.come_back(&format!("{back}{brings}")).await;
            assert_eq!(answer.leads_to() == Some("/"), brings.is_empty(), "{brings}: {}", answer.body);
            browser.come_back(&back).await;
            secrets.extend(browser.cookie("kt_session"));
        }
        let form = [("content-type", "application/x-www-form-urlencoded")];
        for token in [provider.logout_token(&json!({})), provider.logout_token(&json!({ "aud": "others" }))] {
            for _ in 0..2 {
                api.browser().send(Method::POST, "/sso/oidc/acme/logout", &form, Some(format!("logout_token={token}"))).await;
            }
            secrets.push(token.rsplit('.').next().unwrap().to_owned());
            secrets.push(token);
        }
        assert!(secrets.len() > 20, "{secrets:?}");
        is_nowhere(&api, &secrets).await;
    }

    no_assertion_or_ticket_is_written_anywhere(api) {
        Log::begin();
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let mut secrets = Vec::new();
        for edits in [&[][..], &[("/acme/metadata", "/other/metadata")]] {
            let browser = api.browser();
            let posted = provider.posts(&saml_provider::depart(&browser).await, "alice", edits);
            secrets.push(saml_provider::between(&posted.response, "<ds:SignatureValue>", "</").to_owned());
            secrets.push(posted.relay_state.clone());
            let landed = saml_provider::land(&browser, &posted).await;
            secrets.extend(carried(landed.leads_to().unwrap(), &["ticket"]));
            let on = landed.leads_to().unwrap().to_owned();
            assert_eq!(browser.come_back(&on).await.leads_to() == Some("/"), edits.is_empty());
            browser.come_back(&on).await;
        }
        assert_eq!(secrets.len(), 6);
        is_nowhere(&api, &secrets).await;
    }
}
