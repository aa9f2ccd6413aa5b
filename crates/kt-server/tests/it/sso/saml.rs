//! SAML 2.0: gone through, lied to, and logout. Records: `sso.logout`.

mod settings;
mod trials;

use std::time::Duration;

use axum::http::Method;
use kt_domain::clock::Clock;
use serde_json::{Value, json};

use super::saml_provider::{PATH, Posted, SamlProvider, come_back, depart, land};
use crate::console::browser::Browser;
use crate::harness::{Answer, TestApi, on_both};

const REFUSED: Option<&str> = Some("/login?reason=sso_refused");

fn is_in(browser: &Browser<'_>, answer: &Answer) -> bool {
    browser.cookie("kt_session").is_some()
        && answer.leads_to().is_some_and(|place| !place.starts_with("/login"))
}

/// A response of the provider about Alice that was changed on the way.
fn edited<'a>(provider: &'a SamlProvider, from: &'a str, to: &'a str) -> impl Fn(&str) -> Posted + 'a {
    move |departure| {
        let posted = provider.posts(departure, "alice", &[]);
        assert!(posted.response.contains(from), "{from}");
        Posted { response: posted.response.replace(from, to), ..posted }
    }
}

async fn change(api: &TestApi, owner: &Answer, body: Value) -> Answer {
    api.put(PATH, body).bearer(owner.access_token()).send().await
}

on_both! {
    somebody_comes_in_by_a_form_that_the_provider_has_posted(api) {
        let provider = api.with_saml(json!({ "just_in_time": true, "group_roles": [{ "group": "staff", "role": "auditor" }] })).await;
        let browser = api.browser();
        let answer = provider.way(&browser, "alice").await;
        assert!(is_in(&browser, &answer), "{} {}", answer.status, answer.body);
        assert!(browser.get("/settings/profile").await.page().contains("Person alice"));
        let record = api.records("auth.sign_in").await.pop().unwrap();
        assert_eq!(record["details"]["after"]["proofs"], json!(["fed"]));
        assert_eq!(record["details"]["after"]["identity_provider"]["protocol"], "saml");
        let second = api.browser();
        let answer = provider.way(&second, "alice").await;
        assert!(is_in(&second, &answer), "the second time by the name");
        let users: Vec<_> = api.records("sso.linked").await;
        assert_eq!(users.len(), 1, "it is one account");
    }

    a_response_counts_once_and_in_the_browser_that_asked(api) {
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let (browser, stranger) = (api.browser(), api.browser());
        let posted = provider.posts(&depart(&browser).await, "alice", &[]);
        depart(&stranger).await;
        assert_eq!(land(&stranger, &posted).await.leads_to(), REFUSED, "of another browser");
        assert_eq!(land(&api.browser(), &posted).await.leads_to(), REFUSED, "without a cookie");
        let unknown = Posted { relay_state: "https://evil.example".to_owned(), ..posted.clone() };
        assert_eq!(land(&browser, &unknown).await.leads_to(), REFUSED, "with a state that nobody began");
        let landed = land(&browser, &posted).await;
        let on = landed.leads_to().unwrap().to_owned();
        assert_eq!(landed.status, 303);
        assert_eq!(stranger.come_back(&on).await.leads_to(), REFUSED, "a ticket of another browser");
        let answer = browser.come_back(&on).await;
        assert!(is_in(&browser, &answer), "the control");
        assert_eq!(browser.come_back(&on).await.leads_to(), REFUSED, "a ticket works once");
        assert_eq!(land(&browser, &posted).await.leads_to(), REFUSED, "so does a request");
        // The same assertion, in answer to a request of the same name.
        let late = api.browser();
        let posted = provider.posts(&depart(&late).await, "alice", &[]);
        api.clock.advance(Duration::from_mins(10));
        assert_eq!(come_back(&late, &posted).await.leads_to(), REFUSED, "after ten minutes");
    }

    an_assertion_counts_once_whatever_it_is_brought_to(api) {
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let (one, other) = (api.browser(), api.browser());
        let to_one = provider.posts_as(Some("_same"), &depart(&one).await, "alice", &[]);
        let departure = depart(&other).await;
        let brought = Posted { response: to_one.response.clone(), ..provider.posts(&departure, "alice", &[]) };
        assert_eq!(come_back(&other, &brought).await.leads_to(), REFUSED, "it answers another request");
        assert!(is_in(&one, &come_back(&one, &to_one).await), "the control: it was not used up");
        // A provider, or somebody with its key, names two assertions alike.
        let third = api.browser();
        let again = provider.posts_as(Some("_same"), &depart(&third).await, "alice", &[]);
        assert_eq!(come_back(&third, &again).await.leads_to(), REFUSED);
        let refused = api.records("auth.sign_in").await.pop().unwrap();
        assert!(refused.to_string().contains("the assertion was used before"), "{refused}");
        assert_eq!(refused["details"]["after"]["identity_provider"]["id"].as_str().map(|id| id.starts_with("idp_")), Some(true));
    }

    no_forged_response_signs_anybody_in(api) {
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let stranger = SamlProvider::new(&api.clock);
        let forge = async |forge: &dyn Fn(&str) -> Posted| {
            let browser = api.browser();
            let answer = come_back(&browser, &forge(&depart(&browser).await)).await;
            let is_in = is_in(&browser, &answer);
            assert!(is_in || answer.leads_to() == REFUSED, "{}", answer.body);
            is_in
        };
        assert!(forge(&|departure| provider.posts(departure, "alice", &[])).await, "the control");
        for (name, lie) in [
            ("a foreign key", &(|departure: &str| stranger.posts(departure, "alice", &[])) as &dyn Fn(&str) -> Posted),
            ("a changed name", &edited(&provider, ">alice<", ">mallory<")),
            ("a comment", &edited(&provider, ">alice<", ">alice<!---->.evil<")),
            ("another audience", &|departure| provider.posts(departure, "alice", &[("/acme/metadata", "/other/metadata")])),
            ("another recipient", &|departure| provider.posts(departure, "alice", &[("/acme/acs", "/other/acs")])),
            ("another request", &|departure| provider.posts(departure, "alice", &[("InResponseTo=\"_", "InResponseTo=\"_x")])),
            ("a name for one sign-in", &|departure| provider.posts(departure, "alice", &[("nameid-format:persistent", "nameid-format:transient")])),
            ("nothing", &|departure| Posted { response: String::new(), ..provider.posts(departure, "alice", &[]) }),
        ] {
            assert!(!forge(lie).await, "{name}");
        }
        assert!(forge(&|departure| provider.posts(departure, "alice", &[])).await, "the control, after");
        let refusals = api.records("auth.sign_in").await;
        assert!(refusals.iter().any(|record| record.to_string().contains("no configured certificate fits")), "{refusals:?}");
    }

    a_session_ends_when_the_provider_says(api) {
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let browser = api.browser();
        let end = Clock::now(&api.clock) + jiff::SignedDuration::from_mins(10);
        let until = format!("SessionIndex=\"session-alice\" SessionNotOnOrAfter=\"{end:.0}\"");
        let edits = [("SessionIndex=\"session-alice\"", until.as_str())];
        let answer = come_back(&browser, &provider.posts(&depart(&browser).await, "alice", &edits)).await;
        assert!(is_in(&browser, &answer), "{}", answer.body);
        let other = api.browser();
        provider.way(&other, "bob").await;
        let is_signed_in = async |browser: &Browser<'_>| browser.get("/settings/profile").await.status == 200;
        api.clock.advance(Duration::from_mins(9));
        assert!(is_signed_in(&browser).await);
        api.clock.advance(Duration::from_mins(1));
        assert!(!is_signed_in(&browser).await, "however active");
        assert!(is_signed_in(&other).await, "of whom nothing was said");
    }

    a_class_of_authentication_counts_as_two_factors_where_owners_say_so(api) {
        let class = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport";
        for (values, expected) in [(json!(["mfa"]), "/mfa/setup"), (json!([class]), "/")] {
            let settings = json!({ "just_in_time": true, "require_mfa": true, "mfa_values": values });
            let provider = api.with_saml(settings).await;
            let answer = provider.way(&api.browser(), "alice").await;
            assert_eq!(answer.leads_to(), Some(expected), "{values}");
        }
    }

    responses_come_as_forms_of_a_bounded_size(api) {
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let browser = api.browser();
        let posted = provider.posts(&depart(&browser).await, "alice", &[]);
        let acs = "/sso/saml/acme/acs";
        let send = async |method: Method, kind: &str, body: String| {
            let headers = [("content-type", kind), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
            browser.carrying_only("kt_sso").send(method, acs, &headers, Some(body)).await
        };
        let form = "application/x-www-form-urlencoded";
        for (method, kind, body, status) in [
            (Method::GET, form, String::new(), 405),
            (Method::POST, "application/json", "{}".to_owned(), 415),
            (Method::POST, "multipart/form-data; boundary=x", "--x--".to_owned(), 415),
            (Method::POST, form, "RelayState=alone".to_owned(), 400),
            (Method::POST, form, "SAMLResponse=a&SAMLResponse=b".to_owned(), 400),
            (Method::POST, form, format!("SAMLResponse={}", "A".repeat(256 * 1024)), 413),
        ] {
            let refused = send(method, kind, body).await;
            assert_eq!(refused.refusal_page(), (status, true), "{}", refused.body);
            let id = refused.headers["x-kt-request-id"].to_str().unwrap();
            assert!(refused.body.contains(id), "whoever helps can find it: {}", refused.body);
        }
        let answer = come_back(&browser, &posted).await;
        assert!(is_in(&browser, &answer), "the control: {}", answer.body);
    }

    a_name_of_one_kind_is_no_name_of_another(api) {
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        provider.way(&api.browser(), "alice").await;
        assert_eq!(api.records("sso.linked").await.len(), 1);
        let mut body = provider.values(&json!({ "just_in_time": true, "trust_email": true }));
        body["subject_attribute"] = json!("groups");
        let changed = change(&api, &api.owner().await, body.clone()).await;
        assert_eq!((changed.status.as_u16(), changed.json["linked_accounts"].as_i64()), (200, Some(0)), "{}", changed.json);
        // `bob` calls himself what the provider called Alice before.
        let browser = api.browser();
        let posted = provider.posts(&depart(&browser).await, "bob", &[(">staff<", ">alice<")]);
        let answer = come_back(&browser, &posted).await;
        assert!(is_in(&browser, &answer), "{}", answer.body);
        assert!(browser.get("/settings/profile").await.page().contains("Person bob"));
        // His NameID is no name of ours any more, so a request to log him out has to name his session.
        let log_out = async |query: &str| api.browser().get(&format!("/sso/saml/acme/logout?{query}")).await;
        let refused = log_out(&provider.logout_query_for("_1", "bob", "")).await;
        assert_eq!((refused.status, browser.get("/settings/profile").await.status.as_u16()), (400.try_into().unwrap(), 200));
        assert_eq!(log_out(&provider.logout_query("_2", "bob")).await.status, 303);
        assert_eq!(browser.get("/settings/profile").await.status, 303);
    }

    what_is_left_out_stays_as_it_is(api) {
        let provider = api.with_saml(json!({ "just_in_time": true, "require_mfa": true, "mfa_values": ["gold"] })).await;
        let owner = api.owner().await;
        let mut body = provider.values(&json!({ "just_in_time": true, "trust_email": true }));
        body["subject_attribute"] = json!("email");
        body["sign_requests"] = json!(true);
        let made = change(&api, &owner, body).await;
        assert_eq!(made.status, 200, "{}", made.json);
        provider.way(&api.browser(), "alice").await;
        let kept = change(&api, &owner, json!({})).await;
        let told = |answer: &Answer| ["enabled", "subject_attribute", "sign_requests", "settings", "linked_accounts"].map(|name| answer.json[name].clone());
        assert_eq!(told(&kept)[..4], told(&made)[..4]);
        assert_eq!(kept.json["linked_accounts"], 1, "nobody is forgotten");
        let on = change(&api, &owner, json!({ "enabled": true })).await;
        assert_eq!(told(&on), told(&kept));
        let without = change(&api, &owner, json!({ "subject_attribute": "", "enabled": false, "sign_requests": false })).await;
        let expected = [json!(false), Value::Null, json!(false), kept.json["settings"].clone(), json!(0)];
        assert_eq!(told(&without), expected, "the control");
    }

    a_member_who_is_in_no_group_any_more_has_the_usual_role(api) {
        let groups = r#"<saml:Attribute Name="groups"><saml:AttributeValue>staff</saml:AttributeValue></saml:Attribute>"#;
        let more = r#"<saml:Attribute Name="http://schemas.microsoft.com/claims/groups.link"><saml:AttributeValue>https://graph.example</saml:AttributeValue></saml:Attribute>"#;
        let settings = json!({ "just_in_time": true, "group_roles": [{ "group": "staff", "role": "auditor" }] });
        let provider = api.with_saml(settings).await;
        for (edits, role) in [
            (&[][..], "auditor"),
            (&[(groups, "")], "member"),
            (&[], "auditor"),
            (&[(groups, more)], "auditor"),
        ] {
            let browser = api.browser();
            let answer = come_back(&browser, &provider.posts(&depart(&browser).await, "alice", edits)).await;
            assert!(is_in(&browser, &answer), "{}", answer.body);
            let members = api.get("/v1/members").bearer(api.owner().await.access_token()).send().await;
            let alice = members.json["members"].as_array().unwrap().iter().find(|member| member["email"] == "alice@acme.example");
            assert_eq!(alice.unwrap()["role"], role, "{edits:?}");
        }
    }

    what_was_asked_of_one_protocol_is_not_answered_in_another(api) {
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let browser = api.browser();
        let posted = provider.posts(&depart(&browser).await, "alice", &[]);
        let callback = format!("/sso/oidc/acme/callback?code=x&state={}", posted.relay_state);
        assert_eq!(browser.come_back(&callback).await.leads_to(), REFUSED);
        let answer = come_back(&browser, &posted).await;
        assert!(is_in(&browser, &answer), "the control: it was not used up");
    }

    the_provider_ends_sessions_by_a_signed_request_alone(api) {
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let (alice, bob) = (api.browser(), api.browser());
        provider.way(&alice, "alice").await;
        provider.way(&bob, "bob").await;
        let is_signed_in = async |browser: &Browser<'_>| browser.get("/settings/profile").await.status == 200;
        let log_out = async |query: &str| api.browser().get(&format!("/sso/saml/acme/logout?{query}")).await;
        let stranger = SamlProvider::new(&api.clock);
        let unsigned = provider.logout_query("_1", "alice");
        let unsigned = unsigned.split("&SigAlg").next().unwrap();
        for query in ["", unsigned, &stranger.logout_query("_1", "alice"), &provider.logout_query("_1", "alice").replace("back", "forth")] {
            let refused = log_out(query).await;
            assert_eq!(refused.status, 400, "{query}");
        }
        assert!(is_signed_in(&alice).await, "nothing was ended");
        let query = provider.logout_query("_1", "alice");
        let answer = log_out(&query).await;
        let on = answer.leads_to().unwrap();
        assert!(on.starts_with("https://id.acme.example/logout?SAMLResponse=") && on.contains("RelayState=back"), "{on}");
        assert!(!is_signed_in(&alice).await, "at once");
        assert!(is_signed_in(&bob).await, "nobody else's");
        assert_eq!(api.records("sso.logout").await.len(), 1);
        assert_eq!(log_out(&query).await.status, 400, "a request works once");
        assert_eq!(log_out(&provider.logout_query("_2", "nobody")).await.status, 303);
    }

    an_answer_on_its_way_to_the_console_ends_with_a_logout_and_after_a_minute(api) {
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let (alice, bob, late) = (api.browser(), api.browser(), api.browser());
        let lands = async |browser: &Browser<'_>, subject: &str| {
            let landed = land(browser, &provider.posts(&depart(browser).await, subject, &[])).await;
            landed.leads_to().unwrap().to_owned()
        };
        let (alices, bobs) = (lands(&alice, "alice").await, lands(&bob, "bob").await);
        let log_out = format!("/sso/saml/acme/logout?{}", provider.logout_query("_1", "alice"));
        assert_eq!(api.browser().get(&log_out).await.status, 303);
        assert_eq!(alice.come_back(&alices).await.leads_to(), REFUSED);
        let answer = bob.come_back(&bobs).await;
        assert!(is_in(&bob, &answer), "nobody else's: {}", answer.body);
        let (first, second) = (lands(&late, "carol").await, lands(&late, "carol").await);
        api.clock.advance(Duration::from_secs(59));
        let answer = late.come_back(&first).await;
        assert!(is_in(&late, &answer), "the control: {}", answer.body);
        api.clock.advance(Duration::from_secs(1));
        assert_eq!(late.come_back(&second).await.leads_to(), REFUSED);
    }

    the_provider_proves_again_who_somebody_is(api) {
        let provider = api.with_saml(json!({})).await;
        api.add_member("alice@acme.example", "admin").await;
        let browser = api.browser();
        provider.way(&browser, "alice").await;
        api.clock.advance(Duration::from_mins(11));
        let prove = async |edits: &[(&str, &str)]| {
            let left = browser.post("/api/session/reauthenticate/provider", &[("returnTo", "/settings/organization")]).await;
            come_back(&browser, &provider.posts(left.leads_to().unwrap(), "alice", edits)).await
        };
        let now = Clock::now(&api.clock);
        let at = |moment: jiff::Timestamp| format!("AuthnInstant=\"{moment:.0}\"");
        let stale = at(now - jiff::SignedDuration::from_mins(5));
        let refused = prove(&[(&at(now), &stale)]).await;
        assert_ne!(refused.leads_to(), Some("/settings/organization"), "it did not ask");
        assert_eq!(prove(&[]).await.leads_to(), Some("/settings/organization"), "the control");
    }
}
