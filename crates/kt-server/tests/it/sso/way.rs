//! The way through a provider and what follows it: one answer for all that is not there, sessions and their end, the only way
//! in and past it, proving again who one is, logout by the provider, Google, and trying it out.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::provider::{Provider, Says, depart};
use crate::console::browser::Browser;
use crate::databases::Kind;
use crate::harness::{Answer, PASSWORD, TestApi, on_both};

const REFUSED: Option<&str> = Some("/login?reason=sso_refused");

/// A browser in which `subject` has come in through the provider.
async fn come_in<'a>(api: &'a TestApi, provider: &Provider, subject: &str) -> Browser<'a> {
    let browser = api.browser();
    let answer = provider.way(&browser, subject).await;
    assert_eq!(answer.leads_to(), Some("/"), "{}", answer.body);
    browser
}

async fn is_signed_in(browser: &Browser<'_>) -> bool {
    browser.get("/settings/profile").await.status == 200
}

async fn log_out(api: &TestApi, token: &str) -> Answer {
    let body =
        url::form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", token).finish();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    api.browser().send(Method::POST, "/sso/oidc/acme/logout", &form, Some(body)).await
}

on_both! {
    nobody_learns_which_organizations_there_are(api) {
        let ask = async |organization: &str| {
            let answer = api.browser().post("/login/sso", &[("organization", organization)]).await;
            (answer.status.as_u16(), answer.text("/error/code").to_owned(), answer.text("/error/message").to_owned())
        };
        let nowhere = ask("nowhere").await;
        assert_eq!((nowhere.0, nowhere.1.as_str()), (404, "sso_unavailable"));
        assert_eq!(ask("acme").await, nowhere, "without a provider");
        assert_eq!(ask("").await, nowhere);
        let provider = Provider::start(&api.clock).await;
        let body = json!({ "issuer": provider.issuer(), "client_id": "x" });
        let owner = api.owner().await;
        let off = api.put("/v1/organization/sso/oidc", body).bearer(owner.access_token()).send().await;
        assert_eq!(off.status, 200, "{}", off.json);
        assert_eq!(ask("acme").await, nowhere, "with one that is turned off");
        api.put_provider(&owner, &provider, json!({})).await;
        assert!(depart(&api.browser()).await.starts_with(provider.issuer()), "the control");
        for organization in ["acme", "nowhere"] {
            let start = api.post("/v1/auth/sso/start", json!({ "organization": organization })).send().await;
            let page = format!("http://localhost:3000/login/sso?organization={organization}");
            assert_eq!((start.status.as_u16(), start.text("/url")), (200, page.as_str()));
        }
    }

    a_sign_in_leads_to_the_page_that_was_asked_for_and_to_no_other(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        for (asked, expected) in [("/settings/profile", "/settings/profile"), ("//evil.example", "/"), ("https://evil.example", "/")] {
            let browser = api.browser();
            let left = browser.post("/login/sso", &[("organization", "Acme "), ("returnTo", asked)]).await;
            let answer = browser.come_back(&provider.authorize(left.leads_to().unwrap(), "1")).await;
            assert_eq!((answer.status.as_u16(), answer.leads_to()), (303, Some(expected)), "{asked}");
            assert!(is_signed_in(&browser).await);
        }
        let record = api.records("auth.sign_in").await.pop().unwrap();
        let after = &record["details"]["after"];
        assert_eq!((&after["proofs"], &after["door"]), (&json!(["fed"]), &json!("console")));
        assert_eq!(after["identity_provider"]["protocol"], "oidc");
        assert_eq!(after["identity_provider"]["issuer"], provider.issuer());
        assert!(!record.to_string().contains("access-1"), "no token of the provider is kept");
    }

    a_provider_that_was_changed_or_turned_off_lets_nobody_in(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        let browser = come_in(&api, &provider, "1").await;
        let late = api.browser();
        let back = provider.authorize(&depart(&late).await, "1");
        let owner = api.owner().await;
        api.put_provider(&owner, &provider, json!({ "display_name": "Other" })).await;
        assert_eq!(late.come_back(&back).await.leads_to(), REFUSED, "it was begun under other settings");
        assert!(is_signed_in(&browser).await, "a session goes on");
        let off = json!({ "enabled": false, "issuer": provider.issuer(), "client_id": super::CLIENT });
        api.put("/v1/organization/sso/oidc", off).bearer(owner.access_token()).send().await;
        assert!(!is_signed_in(&browser).await, "until the provider is turned off");
        api.put_provider(&owner, &provider, json!({})).await;
        let browser = come_in(&api, &provider, "1").await;
        let by_password = api.signed_in("1@acme.example").await;
        api.request(Method::DELETE, "/v1/organization/sso/oidc").bearer(owner.access_token()).send().await;
        assert!(!is_signed_in(&browser).await, "or removed");
        assert!(is_signed_in(&by_password).await, "the control: a session of its own");
    }

    a_session_ends_when_the_provider_settings_say(api) {
        let provider = api.with_provider(json!({ "session_limit": "10m" })).await;
        api.add_member("1@acme.example", "member").await;
        let browser = come_in(&api, &provider, "1").await;
        api.clock.advance(Duration::from_mins(9));
        assert!(is_signed_in(&browser).await);
        api.clock.advance(Duration::from_mins(1));
        assert!(!is_signed_in(&browser).await, "however active");
    }

    the_provider_ends_sessions_through_the_back_channel(api) {
        let provider = api.with_provider(json!({})).await;
        for email in ["1@acme.example", "2@acme.example", "3@acme.example"] {
            api.add_member(email, "member").await;
        }
        let (one, two) = (come_in(&api, &provider, "1").await, come_in(&api, &provider, "2").await);
        provider.says(Says { claims: json!({ "sid": null }), ..Says::default() });
        let three = come_in(&api, &provider, "3").await;
        let refused = [
            json!({ "iss": "https://evil.example" }),
            json!({ "aud": "others" }),
            json!({ "events": null }),
            json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": [] } }),
            json!({ "nonce": "x" }),
            json!({ "jti": null }),
            json!({ "iat": null }),
            json!({ "sub": null }),
            json!({ "exp": 1 }),
        ];
        for changes in refused {
            assert_eq!(log_out(&api, &provider.logout_token(&changes)).await.status, 400, "{changes}");
        }
        let now = kt_domain::clock::Clock::now(&api.clock).as_second();
        let claims = json!({
            "iss": provider.issuer(), "aud": super::CLIENT, "iat": now, "exp": now + 60, "jti": "j", "sub": "1",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        let kind = json!({ "typ": "logout+jwt" });
        let lies = [
            provider.sign(&json!({}), &claims, super::provider::Signature::Own),
            provider.sign(&kind, &claims, super::provider::Signature::Missing("none")),
            provider.sign(&kind, &claims, super::provider::Signature::Foreign),
            "x".to_owned(),
        ];
        for token in &lies {
            assert_eq!(log_out(&api, token).await.status, 400);
        }
        assert!(is_signed_in(&one).await, "no lie ends a session");
        let token = provider.logout_token(&json!({ "sid": "s-1" }));
        let answer = log_out(&api, &token).await;
        assert_eq!((answer.status.as_u16(), &answer.headers["cache-control"]), (200, &"no-store".parse().unwrap()));
        assert!(!is_signed_in(&one).await, "at once");
        assert!(is_signed_in(&two).await, "nobody else's");
        assert_eq!(api.records("sso.logout").await.len(), 1);
        assert_eq!(log_out(&api, &token).await.status, 400, "a logout token works once");
        assert_eq!(log_out(&api, &provider.logout_token(&json!({ "sub": "nobody" }))).await.status, 200);
        assert_eq!(log_out(&api, &provider.logout_token(&json!({ "sub": "2" }))).await.status, 200);
        assert!(!is_signed_in(&two).await, "by the subject alone");
        assert!(is_signed_in(&three).await);
        let both = json!({ "sub": "3", "sid": "s-3" });
        assert_eq!(log_out(&api, &provider.logout_token(&both)).await.status, 200);
        assert!(!is_signed_in(&three).await, "a session of the subject of which no sid is known");
    }
}

/// Makes the provider the only way in, after `1@acme.example` has come through it.
async fn require(api: &TestApi, provider: &Provider) {
    let _ = come_in(api, provider, "1").await;
    let made = api.put_provider(&api.owner().await, provider, json!({ "required": true })).await;
    assert_eq!(made.status, 200, "{}", made.json);
}

on_both! {
    the_only_way_in_has_no_other_beside_it_but_for_owners(api) {
        let provider = api.with_provider(json!({})).await;
        let user = api.add_member("1@acme.example", "admin").await;
        api.add_member("guest@partner.example", "member").await;
        require(&api, &provider).await;
        let refused = api.login("1@acme.example", PASSWORD).await;
        assert_eq!(refused.refusal(), (403, "sso_required"));
        assert_eq!(api.login("1@acme.example", "wrong").await.refusal(), (401, "invalid_credentials"));
        assert_eq!(api.login("guest@partner.example", PASSWORD).await.text("/status"), "authenticated");
        let owner = api.owner().await;
        let path = format!("/v1/members/{user}/temporary-password");
        let given = api.request(Method::POST, &path).bearer(owner.access_token()).send().await;
        assert_eq!(given.refusal(), (409, "sso_required"));
        let forgot = json!({ "email": "1@acme.example" });
        assert_eq!(api.post("/v1/auth/password/forgot", forgot).send().await.status, 202, "one answer for all");
        assert!(api.letters_to("1@acme.example").await.iter().all(|letter| !letter.content.text.contains("reset-password")));
        let _ = come_in(&api, &provider, "1").await;

        assert!(api.control.disable_required_sso(&api.operator(), "acme").await.unwrap());
        assert!(!api.control.disable_required_sso(&api.operator(), "acme").await.unwrap(), "it is done already");
        assert_eq!(api.login("1@acme.example", PASSWORD).await.text("/status"), "authenticated", "the control");
        assert!(api.recorded("sso.required_lifted").await);
    }

    an_address_is_not_changed_to_one_that_leads_past_the_only_way_in(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        api.add_member("guest@partner.example", "member").await;
        let change = async |who: &str, to: &str| {
            let session = api.login(who, PASSWORD).await;
            api.patch("/v1/me", json!({ "email": to })).bearer(session.access_token()).send().await
        };
        assert_eq!(change("1@acme.example", "1@elsewhere.example").await.status, 200, "the control");
        let link = api.token_for("1@elsewhere.example").await;
        let session = api.login("1@acme.example", PASSWORD).await;
        require(&api, &provider).await;

        assert_eq!(change("guest@partner.example", "guest@elsewhere.example").await.status, 200, "the control");
        let patch = api.patch("/v1/me", json!({ "email": "1@elsewhere.example" }));
        assert_eq!(patch.bearer(session.access_token()).send().await.refusal(), (403, "sso_required"));
        let confirmed = api.post("/v1/auth/email/verify", json!({ "token": link })).send().await;
        assert_eq!(confirmed.refusal(), (403, "sso_required"), "a link from before leads past it neither");
    }

    two_factors_are_taken_from_the_provider_or_asked_for_here(api) {
        let provider = api.with_provider(json!({ "require_mfa": true })).await;
        api.add_member("1@acme.example", "member").await;
        let answer = provider.way(&api.browser(), "1").await;
        assert_eq!(answer.leads_to(), Some("/mfa/setup"), "it says nothing of two factors");
        for (claims, expected) in [
            (json!({ "amr": ["pwd", "mfa"] }), "/"),
            (json!({ "acr": "mfa" }), "/"),
            (json!({ "amr": ["pwd"] }), "/mfa/setup"),
            (json!({ "amr": "mfa-not" }), "/mfa/setup"),
        ] {
            provider.says(Says { claims: claims.clone(), ..Says::default() });
            assert_eq!(provider.way(&api.browser(), "1").await.leads_to(), Some(expected), "{claims}");
        }
    }

    the_provider_asks_again_who_somebody_is(api) {
        let provider = api.with_provider(json!({})).await;
        for email in ["1@acme.example", "2@acme.example"] {
            api.add_member(email, "admin").await;
        }
        let _ = come_in(&api, &provider, "2").await;
        let browser = come_in(&api, &provider, "1").await;
        api.clock.advance(Duration::from_mins(11));
        let rename = async || browser.post("/settings/organization", &[("name", "Acme 2"), ("version", "x")]).await;
        assert_eq!(rename().await.text("/error/code"), "reauthentication_required");
        let prove = async |claims: Value, subject: &str| {
            provider.says(Says { claims, ..Says::default() });
            let left = browser.post("/api/session/reauthenticate/provider", &[("returnTo", "/settings/organization")]).await;
            let to = left.leads_to().unwrap().to_owned();
            assert!(to.contains("prompt=login") && to.contains("max_age=0"), "{to}");
            browser.come_back(&provider.authorize(&to, subject)).await
        };
        let now = kt_domain::clock::Clock::now(&api.clock).as_second();
        let stale = prove(json!({ "auth_time": now - 300 }), "1").await;
        assert_eq!(stale.status, 403, "it did not ask");
        assert_eq!(prove(json!({ "auth_time": null }), "1").await.status, 403, "it does not say when");
        assert_eq!(prove(json!({}), "2").await.leads_to(), REFUSED, "somebody else");
        assert_eq!(rename().await.text("/error/code"), "reauthentication_required", "nothing was confirmed");
        let before = browser.cookie("kt_session");
        assert_eq!(prove(json!({}), "1").await.leads_to(), Some("/settings/organization"));
        assert_ne!(browser.cookie("kt_session"), before, "another cookie at each step up");
        assert_ne!(rename().await.text("/error/code"), "reauthentication_required", "the control");
        let by_password = api.signed_in("1@acme.example").await;
        let none = by_password.post("/api/session/reauthenticate/provider", &[]).await;
        assert_eq!(none.refusal(), (409, "not_through_provider"));
    }

    a_provider_is_tried_out_without_signing_anybody_in(api) {
        let provider = api.with_provider(json!({ "just_in_time": true })).await;
        let browser = api.signed_in("owner@acme.example").await;
        let before = browser.cookie("kt_session");
        let try_out = async |says: Says| {
            provider.says(says);
            let left = browser.post("/settings/security/sso/test", &[("protocol", "oidc")]).await;
            let back = provider.authorize(left.leads_to().unwrap_or_else(|| panic!("{}", left.body)), "new");
            browser.come_back(&back).await
        };
        let good = try_out(Says::default()).await;
        assert!(good.page().contains("a new one would be made") && good.page().contains("new@acme.example"));
        let hostile = Says { claims: json!({ "name": "<script>alert(1)</script>" }), ..Says::default() };
        let shown = try_out(hostile).await;
        assert!(!shown.page().contains("<script>alert(1)"), "what a provider sends is text");
        let bad = try_out(Says { claims: json!({ "aud": "others" }), ..Says::default() }).await;
        assert!(bad.page().contains("does not name this application"), "{}", bad.body);
        assert_eq!(browser.cookie("kt_session"), before, "the session is the same");
        assert_eq!(kt_store::users::by_email(&api.store, "new@acme.example").await.unwrap(), None);
        assert_eq!(api.records("sso.tested").await.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn google_vouches_for_accounts_that_there_are_and_counts_as_one_factor() {
    let clock = crate::databases::clock();
    let google = Provider::start(&clock).await;
    let api = TestApi::with_google(Kind::Sqlite, google.issuer()).await;
    let comes = async |subject: &str| {
        let browser = api.browser();
        let left = browser.post("/login/google", &[]).await;
        let back = google.authorize(left.leads_to().unwrap(), subject);
        browser.come_back(&back).await.leads_to().map(str::to_owned)
    };
    api.add_member("1@acme.example", "member").await;
    assert_eq!(comes("1").await.as_deref(), REFUSED, "nobody has shown the domain");
    api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
    assert_eq!(comes("1").await.as_deref(), Some("/"));
    assert_eq!(comes("stranger").await.as_deref(), REFUSED, "it makes no accounts");
    let mfa = json!({ "mfa": { "policy": "required_for_all", "grace_period": "0h" } });
    let owner = api.owner().await;
    api.patch("/v1/organization/security", mfa).bearer(owner.access_token()).send().await;
    assert_eq!(comes("1").await.as_deref(), Some("/mfa/setup"), "the organization's rules apply");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn google_lets_nobody_in_who_is_suspended_or_comes_from_elsewhere() {
    const OFFICE: &str = "203.0.113.9:40000";
    let google = Provider::start(&crate::databases::clock()).await;
    let api = TestApi::with_google(Kind::Sqlite, google.issuer()).await;
    // Another organization has no rules about addresses, so that strangers are heard at all.
    api.organization("other").await;
    api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
    let comes = async |peer: &'static str| {
        let browser = api.browser().from(peer);
        let left = browser.post("/login/google", &[]).await;
        let answer = browser.come_back(&google.authorize(left.leads_to().unwrap(), "1")).await;
        (answer.status.as_u16(), answer.leads_to().map(str::to_owned), browser.cookie("kt_session").is_some())
    };
    api.add_member("1@acme.example", "member").await;
    let lists = json!({ "enforce_allowlist": true, "applies_to": "console", "allow": [{ "cidr": "203.0.113.0/24", "label": "" }] });
    let owner = api.owner().await;
    let saved = api.put("/v1/organization/ip-restrictions", lists).bearer(owner.access_token()).send().await;
    assert_eq!(saved.status, 200, "{}", saved.json);
    let outside = comes("198.51.100.7:40000").await;
    assert_eq!((outside.0, outside.2), (403, false), "{outside:?}");
    assert!(api.records("sso.linked").await.is_empty(), "nothing came of it");
    assert!(api.recorded("security.ip_denied").await);
    assert_eq!(comes(OFFICE).await, (303, Some("/".to_owned()), true), "the control");
    let session = api.login("1@acme.example", PASSWORD).await;
    api.becomes(&session, kt_domain::actor::Role::Member, kt_domain::sign_in::MembershipState::Suspended)
        .await;
    assert_eq!(comes(OFFICE).await, (303, REFUSED.map(str::to_owned), false), "who is suspended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_deployment_does_not_offer_is_nowhere() {
    let api = TestApi::offering(Kind::Sqlite, &[]).await;
    let owner = api.owner().await;
    let provider = Provider::start(&api.clock).await;
    assert_eq!(api.put_provider(&owner, &provider, json!({})).await.refusal(), (404, "sso_not_offered"));
    let read = api.get("/v1/organization/sso/oidc").bearer(owner.access_token()).send().await;
    assert_eq!(read.refusal(), (404, "sso_not_offered"));
    let page = api.browser().get("/login").await;
    assert!(!page.page().contains("/login/sso"), "nor on the way in");
    let other = TestApi::with_owner(Kind::Sqlite).await;
    assert!(other.browser().get("/login").await.page().contains("/login/sso"), "the control");
}
