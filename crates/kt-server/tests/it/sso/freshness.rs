//! How fresh a session is that a provider has opened: as fresh as what it says of when its holder proved who they are, and never
//! fresher (STANDARDS OIDC-16).

use std::time::Duration;

use kt_domain::clock::Clock;
use serde_json::{Value, json};

use super::provider::{Provider, Says};
use super::saml_provider::{come_back, depart};
use crate::console::browser::Browser;
use crate::harness::{TestApi, on_both};
use crate::mfa::Holder;

/// Whether a change that matters is let through without a new proof.
async fn is_fresh(browser: &Browser<'_>) -> bool {
    let answer = browser.post("/settings/organization", &[("name", "Acme 2"), ("version", "x")]).await;
    answer.text("/error/code") != "reauthentication_required"
}

/// A browser in which `subject` comes from the provider, which says this in its token.
async fn comes<'a>(
    api: &'a TestApi,
    provider: &Provider,
    subject: &str,
    claims: Value,
) -> (Browser<'a>, Option<String>) {
    provider.says(Says { claims, ..Says::default() });
    let browser = api.browser();
    let answer = provider.way(&browser, subject).await;
    (browser, answer.leads_to().map(str::to_owned))
}

on_both! {
    a_sign_in_is_no_fresher_than_the_provider_says(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "admin").await;
        let now = Clock::now(&api.clock).as_second();
        for (auth_time, fresh) in [
            (json!(now), true),
            (json!(now - 540), true),
            (json!(now - 660), false),
            (json!(now - 3600), false),
            (Value::Null, false),
            (json!("now"), false),
            (json!(now + 3600), true),
        ] {
            let (browser, place) = comes(&api, &provider, "1", json!({ "auth_time": auth_time })).await;
            assert_eq!(place.as_deref(), Some("/"), "they are let in all the same");
            assert_eq!(is_fresh(&browser).await, fresh, "{auth_time}");
        }
        let (browser, _) = comes(&api, &provider, "1", json!({ "auth_time": now + 3600 })).await;
        api.clock.advance(Duration::from_mins(11));
        assert!(!is_fresh(&browser).await, "what it says of the future makes nothing last");
    }

    signing_in_again_in_an_open_browser_confirms_nothing(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "admin").await;
        let since = Clock::now(&api.clock).as_second();
        let (browser, _) = comes(&api, &provider, "1", json!({ "auth_time": since })).await;
        assert!(is_fresh(&browser).await, "the control");
        api.clock.advance(Duration::from_mins(11));
        assert!(!is_fresh(&browser).await);
        // The provider asks nobody anything: its own session is open still.
        provider.says(Says { claims: json!({ "auth_time": since }), ..Says::default() });
        assert_eq!(provider.way(&browser, "1").await.leads_to(), Some("/"));
        assert!(!is_fresh(&browser).await);
    }

    a_factor_that_is_shown_on_the_way_in_is_a_proof_of_now(api) {
        let provider = api.with_provider(json!({ "require_mfa": true })).await;
        let holder = Holder::new(&api, "1@acme.example", "admin").await;
        let stale = json!({ "auth_time": Clock::now(&api.clock).as_second() - 3600 });
        let (browser, place) = comes(&api, &provider, "1", stale.clone()).await;
        assert_eq!(place.as_deref(), Some("/login/verify?methods=totp,recovery_code"));
        let code = holder.app.code(&api.clock);
        let shown = browser.post("/login/verify", &[("method", "totp"), ("code", &code)]).await;
        assert_eq!(shown.leads_to(), Some("/"), "{}", shown.body);
        assert!(is_fresh(&browser).await);
        let (browser, place) = comes(&api, &provider, "1", json!({ "auth_time": stale["auth_time"], "amr": ["mfa"] })).await;
        assert_eq!(place.as_deref(), Some("/"));
        assert!(!is_fresh(&browser).await, "the control: none was shown here");
    }

    so_it_is_with_saml(api) {
        let provider = api.with_saml(json!({})).await;
        api.add_member("alice@acme.example", "admin").await;
        let now = Clock::now(&api.clock);
        let at = |moment: jiff::Timestamp| format!("AuthnInstant=\"{moment:.0}\"");
        for (ago, fresh) in [(0, true), (9, true), (11, false), (60, false)] {
            let browser = api.browser();
            let instant = at(now - jiff::SignedDuration::from_mins(ago));
            let posted = provider.posts(&depart(&browser).await, "alice", &[(&at(now), &instant)]);
            assert_eq!(come_back(&browser, &posted).await.leads_to(), Some("/"));
            assert_eq!(is_fresh(&browser).await, fresh, "{ago} minutes ago");
        }
    }
}
