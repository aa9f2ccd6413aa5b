//! The way through a provider and what follows it: one answer for all that is not there, sessions and their end, the only way
//! in and past it, proving again who one is, logout by the provider, and trying it out.

use std::time::Duration;

use axum::http::Method;
use kt_store::limits;
use serde_json::{Value, json};

use super::provider::{Document, Provider, Says, Signature, depart};
use crate::console::browser::Browser;
use crate::harness::{Answer, PASSWORD, TestApi, on_both};

const REFUSED: Option<&str> = Some("/login?reason=sso_refused");

/// A browser in which `subject` has come in through the provider.
async fn come_in<'a>(api: &'a TestApi, provider: &Provider, subject: &str) -> Browser<'a> {
    let browser = api.browser();
    let answer = provider.way(&browser, subject).await;
    assert_eq!(answer.leads_to(), Some("/"), "{}", answer.body);
    browser
}

/// What the address of a provider asks for under this name.
fn asked(to: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(to).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
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
        let refused = api.records("auth.sign_in").await;
        let refused = refused.iter().filter(|record| record["outcome"] != "success").collect::<Vec<_>>();
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].to_string().contains("changed or turned off meanwhile"), "{refused:?}");
    }

    a_provider_that_is_put_in_place_of_another_begins_anew(api) {
        let first = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        let browser = come_in(&api, &first, "1").await;
        let owner = api.owner().await;
        let required = json!({ "required": true });
        let made = api.put_provider(&owner, &first, required.clone()).await;
        assert_eq!((made.status.as_u16(), &made.json["linked_accounts"]), (200, &json!(1)), "{}", made.json);
        let second = Provider::start(&api.clock).await;
        let refused = api.put_provider(&owner, &second, required.clone()).await;
        assert_eq!(refused.refusal(), (409, "sso_not_proven"), "nobody has come through this one");
        assert!(is_signed_in(&browser).await, "nothing was changed");

        let moved = api.put_provider(&owner, &second, json!({})).await;
        let told = [&moved.json["linked_accounts"], &moved.json["last_used_at"]];
        assert_eq!((moved.status.as_u16(), told), (200, [&json!(0), &Value::Null]), "{}", moved.json);
        assert!(!is_signed_in(&browser).await, "nobody is there any more who answers for it");
        let refused = api.put_provider(&owner, &second, required.clone()).await;
        assert_eq!(refused.refusal(), (409, "sso_not_proven"), "that somebody came through the first proves nothing");
        let browser = come_in(&api, &second, "1").await;
        let made = api.put_provider(&owner, &second, required).await;
        assert_eq!((made.status.as_u16(), &made.json["linked_accounts"]), (200, &json!(1)), "{}", made.json);
        assert!(is_signed_in(&browser).await, "the control: the same provider with other settings");
    }

    whoever_signs_out_hears_that_the_provider_still_knows_them(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        let browser = come_in(&api, &provider, "1").await;
        let out = browser.post("/logout", &[]).await;
        assert_eq!(out.leads_to(), Some("/login?reason=signed_out_here"));
        assert!(browser.get("/login?reason=signed_out_here").await.page().contains("may still know you"));
        assert!(!is_signed_in(&browser).await);
        let by_password = api.signed_in("1@acme.example").await.post("/logout", &[]).await;
        assert_eq!(by_password.leads_to(), Some("/login"), "the control");
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

    a_provider_that_is_turned_off_ends_nothing_and_is_asked_nothing(api) {
        let provider = api.with_provider(json!({})).await;
        let off = json!({ "enabled": false, "issuer": provider.issuer(), "client_id": super::CLIENT });
        let off = api.put("/v1/organization/sso/oidc", off).bearer(api.owner().await.access_token()).send().await;
        assert_eq!(off.status, 200, "{}", off.json);
        let looks = || (provider.metadata_looks(), provider.looks());
        let (before, token) = (looks(), provider.logout_token(&json!({})));
        assert_eq!(log_out(&api, &token).await.status, 400);
        assert_eq!(looks(), before, "a stranger makes us call nobody");
        api.put_provider(&api.owner().await, &provider, json!({})).await;
        assert_eq!(log_out(&api, &token).await.status, 200, "the control");
        assert!(looks().1 > before.1, "it is asked now");
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
        let refused = api.records("auth.sign_in").await;
        let refused = refused.iter().filter_map(|record| record["details"]["after"]["why"].as_str());
        let expected = ["the provider did not ask again", "the provider did not ask again", "the provider named somebody else"];
        assert_eq!(refused.collect::<Vec<_>>(), expected);
        let before = browser.cookie("kt_session");
        assert_eq!(prove(json!({}), "1").await.leads_to(), Some("/settings/organization"));
        assert_ne!(browser.cookie("kt_session"), before, "another cookie at each step up");
        assert_ne!(rename().await.text("/error/code"), "reauthentication_required", "the control");
        let by_password = api.signed_in("1@acme.example").await;
        let none = by_password.post("/api/session/reauthenticate/provider", &[]).await;
        assert_eq!(none.refusal(), (409, "not_through_provider"));
    }

    a_trial_tells_why_the_provider_cannot_even_be_asked(api) {
        let provider = api.with_provider(json!({})).await;
        let browser = api.signed_in("owner@acme.example").await;
        let try_out = async || browser.post("/settings/security/sso/test", &[("protocol", "oidc")]).await;
        provider.says(Says { documents: Document::Missing, ..Says::default() });
        let shown = try_out().await;
        assert_eq!(shown.status, 200, "{}", shown.body);
        for text in ["The provider&#39;s metadata", "answered 404", "Does not work"] {
            assert!(shown.page().contains(text), "{text}: {}", shown.page());
        }
        let record = api.records("sso.tested").await.pop().unwrap();
        assert_eq!((&record["outcome"], &record["details"]["after"]["passed"]), (&json!("failure"), &json!(false)));
        let elsewhere = api.browser().post("/login/sso", &[("organization", "acme")]).await;
        assert_eq!(elsewhere.refusal(), (503, "identity_provider_unreachable"), "somebody who signs in hears less");
        provider.says(Says::default());
        api.clock.advance(Duration::from_secs(10));
        assert!(try_out().await.leads_to().is_some_and(|to| to.starts_with(provider.issuer())), "the control");
    }

    whoever_tries_names_of_organizations_is_counted_for_those_that_there_are_not(api) {
        let provider = api.with_provider(json!({})).await;
        let ask = async |peer: &'static str, organization: &str| {
            api.browser().from(peer).post("/login/sso", &[("organization", organization)]).await
        };
        let guesses = async |count: usize| {
            let tx = api.store.begin_write().await.unwrap();
            let network = kt_domain::lockout::network_of("198.51.100.7".parse().unwrap());
            for _ in 0..count {
                let now = kt_domain::clock::Clock::now(&api.clock);
                limits::count(&tx, &format!("sso_begun/{network}"), Duration::from_mins(15), now).await.unwrap();
            }
            tx.commit().await.unwrap();
        };
        guesses(998).await;
        for _ in 0..2 {
            assert_eq!(ask("198.51.100.7:1", "nowhere").await.refusal(), (404, "sso_unavailable"), "the control");
        }
        for organization in ["nowhere", "acme"] {
            assert_eq!(ask("198.51.100.7:1", organization).await.refusal(), (429, "too_many_attempts"), "{organization}");
        }
        for organization in ["nowhere", "acme"] {
            let document = format!("/sso/saml/{organization}/metadata");
            let read = async |peer: &'static str| api.browser().from(peer).get(&document).await.status.as_u16();
            assert_eq!((read("198.51.100.7:1").await, read("203.0.113.7:1").await), (429, 200), "{organization}");
        }
        assert!(ask("203.0.113.7:1", "acme").await.leads_to().is_some_and(|to| to.starts_with(provider.issuer())), "another network");
    }

    groups_are_asked_for_where_they_decide_and_the_provider_has_such_a_scope(api) {
        let group_roles = json!({ "group_roles": [{ "group": "ops", "role": "admin" }] });
        let lists = json!({ "scopes_supported": ["openid", "groups"] });
        for (settings, metadata, expected) in [
            (group_roles.clone(), lists.clone(), "openid email profile groups"),
            (group_roles, json!({ "scopes_supported": ["openid"] }), "openid email profile"),
            (json!({}), lists, "openid email profile"),
        ] {
            let provider = Provider::start(&api.clock).await;
            provider.says(Says { metadata: metadata.clone(), ..Says::default() });
            let made = api.put_provider(&api.owner().await, &provider, settings).await;
            assert_eq!(made.status, 200, "{}", made.json);
            assert_eq!(asked(&depart(&api.browser()).await, "scope").as_deref(), Some(expected), "{metadata}");
        }
    }

    a_client_says_who_it_is_in_the_way_that_was_agreed(api) {
        api.add_member("1@acme.example", "member").await;
        for (agreed, other, secret) in [
            ("client_secret_basic", "client_secret_post", super::SECRET),
            ("client_secret_post", "none", super::SECRET),
            ("none", "client_secret_basic", ""),
        ] {
            let provider = Provider::start(&api.clock).await;
            let body = json!({
                "enabled": true, "issuer": provider.issuer(), "client_id": super::CLIENT, "client_secret": secret,
                "authentication": agreed,
            });
            let owner = api.owner().await;
            let made = api.put("/v1/organization/sso/oidc", body).bearer(owner.access_token()).send().await;
            assert_eq!(made.status, 200, "{}", made.json);
            api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
            for (taken, expected) in [(other, REFUSED), (agreed, Some("/"))] {
                provider.says(Says { client: taken, ..Says::default() });
                assert_eq!(provider.way(&api.browser(), "1").await.leads_to(), expected, "{agreed} at {taken}");
            }
        }
    }

    two_factors_are_asked_for_in_the_words_that_were_agreed(api) {
        let lists = json!({ "acr_values_supported": ["urn:silver", "urn:gold", "mfa"] });
        let words = json!(["urn:gold", "urn:platinum", "mfa"]);
        for (require_mfa, metadata, expected) in [
            (true, lists.clone(), Some("urn:gold mfa")),
            (true, json!({}), None),
            (false, lists, None),
        ] {
            let provider = Provider::start(&api.clock).await;
            provider.says(Says { metadata: metadata.clone(), ..Says::default() });
            let settings = json!({ "require_mfa": require_mfa, "mfa_values": words });
            let made = api.put_provider(&api.owner().await, &provider, settings).await;
            assert_eq!(made.status, 200, "{}", made.json);
            assert_eq!(asked(&depart(&api.browser()).await, "acr_values").as_deref(), expected, "{require_mfa} {metadata}");
        }
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

    a_trial_shows_what_was_sent_although_it_is_refused_and_a_sign_in_does_not(api) {
        let provider = api.with_provider(json!({ "just_in_time": true })).await;
        let owner = api.signed_in("owner@acme.example").await;
        let told = |name, text: &str| (name, Some(text.to_owned()));
        let error = vec![told("error", "access_denied"), told("error_description", "canary: not <b>assigned</b>")];
        let claims = json!({ "department": "canary: refused" });
        for (says, part, canary) in [
            (Says { answer: error, ..Says::default() }, "Answer, not verified", "canary: not &#60;b&#62;assigned"),
            (Says { gives_tokens: false, ..Says::default() }, "Answer to the code, not verified", "canary: refused"),
            (Says { signature: Signature::Foreign, claims, ..Says::default() }, "ID token, not verified", "canary: refused"),
        ] {
            provider.says(says);
            let left = owner.post("/settings/security/sso/test", &[("protocol", "oidc")]).await;
            let shown = owner.come_back(&provider.authorize(left.leads_to().unwrap(), "new")).await;
            assert!(shown.page().contains(part) && shown.page().contains(canary), "{part}: {}", shown.body);
            let browser = api.browser();
            assert_eq!(provider.way(&browser, "new").await.leads_to(), REFUSED, "{part}");
        }
        let refused = api.records("auth.sign_in").await;
        assert!(refused.iter().filter(|record| record["outcome"] == "failure").count() >= 3, "{refused:?}");
        assert!(refused.iter().all(|record| !record.to_string().contains("canary")), "{refused:?}");
        provider.says(Says::default());
        let left = owner.post("/settings/security/sso/test", &[("protocol", "oidc")]).await;
        let shown = owner.come_back(&provider.authorize(left.leads_to().unwrap(), "new")).await;
        assert!(!shown.page().contains("not verified") && shown.page().contains("<h3>ID token</h3>"), "the control: {}", shown.body);
    }
}
