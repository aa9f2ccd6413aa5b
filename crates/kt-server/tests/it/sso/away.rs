//! A provider that is away: left alone for a moment, told to those who look after the organization, and asked again until it
//! answers (STANDARDS LOG-15, OIDC-07). Records: `sso.unreachable`, `sso.reachable`.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;

use super::provider::{Document, Provider, Says};
use crate::harness::{TestApi, on_both, side_by_side};

/// A logout token, as anybody can post one.
async fn post_token(api: &TestApi, token: &str) -> u16 {
    let body =
        url::form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", token).finish();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    api.browser().send(Method::POST, "/sso/oidc/acme/logout", &form, Some(body)).await.status.as_u16()
}

async fn look_outside(api: &TestApi) {
    api.control.look_outside(&api.operator()).await.unwrap();
}

/// Whether Overview, the page and the API tell of it.
async fn is_told(api: &TestApi) -> bool {
    let owner = api.owner().await;
    let browser = api.signed_in("owner@acme.example").await;
    let on_overview = browser.get("/overview").await.page().contains("The identity provider cannot be asked");
    let on_page = browser.get("/settings/security/sso").await.page().contains("The provider cannot be asked");
    let shown = api.get("/v1/organization/sso/oidc").bearer(owner.access_token()).send().await;
    assert_eq!((on_overview, on_page), (!shown.json["problem"].is_null(), on_overview), "{}", shown.json);
    on_overview
}

fn keys_away() -> Says {
    Says { keys_are_away: true, ..Says::default() }
}

fn metadata_away() -> Says {
    Says { documents: Document::Missing, ..Says::default() }
}

on_both! {
    the_keys_of_a_provider_that_is_away_are_asked_for_once_in_ten_seconds(api) {
        let provider = api.with_provider(json!({})).await;
        provider.says(keys_away());
        let token = provider.logout_token(&json!({}));
        for _ in 0..5 {
            assert_eq!(post_token(&api, &token).await, 400);
        }
        assert_eq!(provider.looks(), 1, "whatever a stranger posts");
        api.clock.advance(Duration::from_secs(9));
        post_token(&api, &token).await;
        assert_eq!(provider.looks(), 1);
        api.clock.advance(Duration::from_secs(1));
        provider.says(Says::default());
        assert_eq!(post_token(&api, &token).await, 200, "the control: it is asked again, and answers");
        assert_eq!(provider.looks(), 2);
        // A failure takes nothing away that was found before: tokens of keys that are known are still taken.
        provider.says(keys_away());
        api.clock.advance(Duration::from_mins(2));
        let unknown = provider.sign(&json!({ "typ": "logout+jwt", "kid": "unknown" }), &json!({}), super::provider::Signature::Own);
        for _ in 0..3 {
            assert_eq!(post_token(&api, &unknown).await, 400);
        }
        assert_eq!(provider.looks(), 3);
        assert_eq!(post_token(&api, &provider.logout_token(&json!({}))).await, 200);
        assert_eq!(provider.looks(), 3);
    }

    of_many_at_a_time_one_asks(api) {
        let provider = api.with_provider(json!({})).await;
        provider.says(keys_away());
        let before = provider.metadata_looks();
        let tokens: Vec<_> = (0..20).map(|_| provider.logout_token(&json!({}))).collect();
        let answers = side_by_side(tokens.iter().map(|token| post_token(&api, token))).await;
        assert!(answers.iter().all(|status| *status == 400));
        assert_eq!((provider.metadata_looks() - before, provider.looks()), (1, 1));
    }

    a_provider_that_is_away_is_told_until_it_answers_again(api) {
        let provider = api.with_provider(json!({})).await;
        assert!(!is_told(&api).await);
        provider.says(metadata_away());
        for _ in 0..3 {
            let refused = api.browser().post("/login/sso", &[("organization", "acme")]).await;
            assert_eq!(refused.refusal(), (503, "identity_provider_unreachable"));
            api.clock.advance(Duration::from_secs(11));
        }
        assert!(is_told(&api).await);
        let records = api.records("sso.unreachable").await;
        assert_eq!(records.len(), 1, "once, and not at every sign-in");
        assert_eq!(records[0]["details"]["after"]["part"], "metadata");
        assert!(records[0]["details"]["after"]["why"].as_str().unwrap().contains("404"), "{}", records[0]);

        look_outside(&api).await;
        assert!(is_told(&api).await, "it is asked again, and is away still");
        let asked = provider.metadata_looks();
        look_outside(&api).await;
        assert_eq!(provider.metadata_looks(), asked, "not at once");
        provider.says(Says::default());
        api.clock.advance(Duration::from_mins(5));
        look_outside(&api).await;
        assert!(!is_told(&api).await, "although nobody has signed in");
        assert_eq!((api.records("sso.unreachable").await.len(), api.records("sso.reachable").await.len()), (1, 1));
        api.add_member("1@acme.example", "member").await;
        assert_eq!(provider.way(&api.browser(), "1").await.leads_to(), Some("/"), "the control");
    }

    keys_that_are_away_are_told_and_metadata_that_is_there_does_not_end_that(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        provider.says(keys_away());
        let refused = provider.way(&api.browser(), "1").await;
        assert_eq!(refused.leads_to(), Some("/login?reason=sso_refused"));
        assert!(is_told(&api).await);
        // The metadata is asked for anew, and is there.
        api.clock.advance(Duration::from_mins(11));
        provider.way(&api.browser(), "1").await;
        assert!(is_told(&api).await);
        assert_eq!((api.records("sso.unreachable").await.len(), api.records("sso.reachable").await.len()), (1, 0));
        provider.says(Says::default());
        api.clock.advance(Duration::from_secs(10));
        assert_eq!(provider.way(&api.browser(), "1").await.leads_to(), Some("/"));
        assert!(!is_told(&api).await, "whoever signs in ends it as well");
    }

    other_settings_begin_anew(api) {
        let provider = api.with_provider(json!({})).await;
        provider.says(metadata_away());
        api.browser().post("/login/sso", &[("organization", "acme")]).await;
        assert!(is_told(&api).await);
        provider.says(Says::default());
        let saved = api.put_provider(&api.owner().await, &provider, json!({ "display_name": "Acme" })).await;
        assert_eq!((saved.status.as_u16(), &saved.json["problem"]), (200, &json!(null)));
        assert!(!is_told(&api).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_google_that_is_away_is_asked_once_in_ten_seconds_too() {
    let google = Provider::start(&crate::databases::clock()).await;
    google.says(metadata_away());
    let api = TestApi::with_google(crate::databases::Kind::Sqlite, google.issuer()).await;
    for _ in 0..3 {
        assert_eq!(
            api.browser().post("/login/google", &[]).await.refusal(),
            (503, "identity_provider_unreachable")
        );
    }
    assert_eq!(google.metadata_looks(), 1);
}
