//! SAML 2.0: set up, gone through, lied to, and logout. Records: `sso.updated`, `sso.removed`, `sso.logout`.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kt_domain::clock::Clock;
use serde_json::{Value, json};

use super::saml_provider::{
    ENTITY, PATH, Place, Posted, SSO, SamlProvider, between, come_back, depart, land,
};
use crate::console::browser::Browser;
use crate::harness::{Answer, TestApi, on_both};

const REFUSED: Option<&str> = Some("/login?reason=sso_refused");

/// Above what a trial shows of an answer, good or not.
const VERIFIED: &str = "<h3>Assertion</h3>";
const NOT_VERIFIED: &str = "<h3>Response, not verified</h3>";

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

/// Whether the request that somebody is sent with is signed by the key of this certificate, an RSA key of 3072 bits.
fn is_signed_by(departure: &str, certificate: &str) -> bool {
    /// How such a key begins in PKCS #1, and how long it is.
    const BEGINS: [u8; 8] = [0x30, 0x82, 0x01, 0x8a, 0x02, 0x82, 0x01, 0x81];
    const LENGTH: usize = 398;
    let query = departure.split_once('?').unwrap().1;
    let (signed, _) = query.split_once("&Signature=").unwrap();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let signature = pairs.find(|(name, _)| name == "Signature").unwrap().1;
    let der = STANDARD.decode(certificate).unwrap();
    let begins = der.windows(BEGINS.len()).position(|bytes| bytes == BEGINS).unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &der[begins..begins + LENGTH]);
    key.verify(signed.as_bytes(), &STANDARD.decode(signature.as_bytes()).unwrap()).is_ok()
}

/// The fingerprint of a certificate, as it is shown.
fn fingerprint(certificate: &str) -> String {
    let der = STANDARD.decode(certificate).unwrap();
    let pairs: Vec<_> = digest(&SHA256, &der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
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

    what_the_provider_publishes_counts_once_an_owner_has_seen_it(api) {
        let (old, new) = (SamlProvider::new(&api.clock), SamlProvider::new(&api.clock));
        let place = Place::holding(old.metadata()).await;
        let owner = api.owner().await;
        let made = change(&api, &owner, json!({ "metadata_url": place.url, "enabled": true, "settings": { "just_in_time": true, "trust_email": true } })).await;
        assert_eq!(made.status, 200, "{}", made.json);
        api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
        let browser = api.signed_in("owner@acme.example").await;
        let field = |page: &str, name: &str| between(page, &format!("name=\"{name}\" value=\""), "\"").to_owned();
        let form = async || {
            let page = browser.get("/settings/security/sso").await;
            let saml = page.page().split_once("id=\"saml\"").unwrap().1.to_owned();
            (field(&saml, "version"), field(&saml, "kept_url"))
        };
        let save = async |more: &[(&str, &str)]| {
            let (version, kept) = form().await;
            let url = more.iter().find(|(name, _)| *name == "metadata_url").map_or(kept.as_str(), |(_, url)| *url);
            let mut fields = vec![("version", version.as_str()), ("kept_url", kept.as_str()), ("metadata_url", url), ("subject_attribute", "")];
            fields.extend(more.iter().filter(|(name, _)| *name != "metadata_url"));
            browser.post("/settings/security/sso/saml", &fields).await
        };
        let comes_from = async |provider: &SamlProvider| {
            let browser = api.browser();
            let answer = provider.way(&browser, "alice").await;
            is_in(&browser, &answer)
        };
        place.holds(new.metadata());
        assert_eq!(save(&[]).await.leads_to(), Some("/settings/security/sso"));
        assert!(comes_from(&old).await && !comes_from(&new).await, "an address that stays is not read by saving");

        let read = async || browser.post("/settings/security/sso/saml/read", &[]).await;
        let shown = read().await;
        let present = made.text("/certificates/0/fingerprint").to_owned();
        assert!(shown.page().contains(&present) && shown.page().contains("Take it over"), "{}", shown.body);
        let (version, seen) = (field(shown.page(), "version"), field(shown.page(), "seen"));
        let take_over = async || browser.post("/settings/security/sso/saml/take-over", &[("version", &version), ("seen", &seen)]).await;
        place.holds(SamlProvider::new(&api.clock).metadata());
        assert_eq!(take_over().await.refusal(), (409, "metadata_changed"), "it is not what was seen");
        assert!(comes_from(&old).await && !comes_from(&new).await, "nothing was changed");
        place.holds(new.metadata());
        assert_eq!(take_over().await.leads_to(), Some("/settings/security/sso"), "the control");
        assert!(comes_from(&new).await && !comes_from(&old).await);
        assert!(read().await.page().contains("what is believed already"));

        assert_eq!(save(&[("metadata_url", "")]).await.leads_to(), Some("/settings/security/sso"));
        assert_eq!(form().await.1, "", "the address is forgotten");
        assert!(comes_from(&new).await, "and nothing else");
        assert_eq!(browser.post("/settings/security/sso/saml/read", &[]).await.text("/error/param"), "metadata_url");
        save(&[("metadata_url", &place.url)]).await;
        let by_hand = [("entity_id", ENTITY), ("sso_url", SSO), ("certificates", old.certificate.as_str())];
        assert_eq!(save(&by_hand).await.leads_to(), Some("/settings/security/sso"), "an address that stands in the form refuses nothing");
        assert!(comes_from(&old).await && form().await.1.is_empty());
        let both = [("metadata_url", place.url.as_str()), ("entity_id", ENTITY), ("sso_url", SSO), ("certificates", old.certificate.as_str())];
        assert_eq!(save(&both).await.text("/error/param"), "metadata_url", "a new one beside them does");
    }

    what_was_written_by_hand_is_shown_and_changed_alone(api) {
        const PAGE: &str = "/settings/security/sso";
        const BACK: &str = "https://id.acme.example/logout";
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let owner = api.signed_in("owner@acme.example").await;
        let form = async |changes: &[(&'static str, &str)]| {
            let page = owner.get(PAGE).await;
            let saml = page.page().split_once("hx-post=\"/settings/security/sso/saml\"").unwrap().1;
            let shown = |name: &str| between(saml, &format!("name=\"{name}\""), ">").to_owned();
            let field = |name: &'static str| (name, between(&shown(name), "value=\"", "\"").to_owned());
            let names = ["version", "kept_url", "metadata_url", "kept_entity_id", "kept_sso_url", "kept_logout_url", "entity_id", "sso_url", "logout_url"];
            let mut fields: Vec<(&str, String)> = names.into_iter().map(field).collect();
            fields.push(("subject_attribute", String::new()));
            fields.retain(|(name, _)| changes.iter().all(|(other, _)| other != name));
            fields.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            owner.post("/settings/security/sso/saml", &fields).await
        };
        let kept = async || {
            let read = api.get(PATH).bearer(api.owner().await.access_token()).send().await.json;
            ["entity_id", "sso_url", "logout_url", "certificates"].map(|name| read[name].clone())
        };
        let before = kept().await;
        assert_eq!(before[2], BACK);
        assert!(owner.get(PAGE).await.page().contains(&format!("<code>{BACK}</code>")), "it is shown");
        assert_eq!(form(&[("sign_requests", "on")]).await.leads_to(), Some(PAGE));
        assert_eq!(kept().await, before, "what was filled in and left alone says nothing");
        let other = "https://id.acme.example/logout-2";
        assert_eq!(form(&[("logout_url", other)]).await.leads_to(), Some(PAGE));
        let after = kept().await;
        assert_eq!(after, [before[0].clone(), before[1].clone(), json!(other), before[3].clone()]);
        assert_eq!(form(&[("logout_url", "")]).await.leads_to(), Some(PAGE));
        assert_eq!(kept().await[2], Value::Null, "a field that was emptied");
        let another = form(&[("entity_id", "https://id.other.example")]).await;
        assert_eq!(another.text("/error/param"), "certificates", "another provider has certificates of its own: {}", another.body);
        let browser = api.browser();
        let answer = provider.way(&browser, "alice").await;
        assert!(is_in(&browser, &answer), "{}", answer.body);
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

    a_provider_is_tried_out_without_signing_anybody_in(api) {
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let browser = api.signed_in("owner@acme.example").await;
        let try_out = async |edits: &[(&str, &str)]| {
            let left = browser.post("/settings/security/sso/test", &[("protocol", "saml")]).await;
            let to = left.leads_to().unwrap_or_else(|| panic!("{}", left.body)).to_owned();
            come_back(&browser, &provider.posts(&to, "new", edits)).await
        };
        let good = try_out(&[]).await;
        assert!(good.page().contains("a new one would be made") && good.page().contains("new@acme.example"));
        let bad = try_out(&[("/acme/metadata", "/other/metadata")]).await;
        assert!(bad.page().contains("it is meant for the service"), "{}", bad.body);
        assert_eq!(kt_store::users::by_email(&api.store, "new@acme.example").await.unwrap(), None);
        assert_eq!(api.records("sso.tested").await.len(), 2);
    }

    a_trial_shows_how_far_an_answer_is_good_and_what_was_sent(api) {
        let provider = api.with_saml(json!({})).await;
        let stranger = SamlProvider::new(&api.clock);
        let browser = api.signed_in("owner@acme.example").await;
        let steps = ["The response", "The signature", "What it answers", "The conditions", "How the person signed in"];
        let try_out = async |provider: &SamlProvider, signed: &[(&str, &str)], on_the_way: (&str, &str)| {
            let left = browser.post("/settings/security/sso/test", &[("protocol", "saml")]).await;
            let to = left.leads_to().unwrap_or_else(|| panic!("{}", left.body)).to_owned();
            let posted = provider.posts(&to, "alice", signed);
            let response = posted.response.replace(on_the_way.0, on_the_way.1);
            let page = come_back(&browser, &Posted { response, ..posted }).await.page().to_owned();
            let is_good = |step: &&&str| page.contains(&format!("{step}</td><td><span class=\"badge good\""));
            (steps.iter().take_while(is_good).count(), page)
        };
        let as_it_is = ("<samlp:Response", "<samlp:Response");
        let transient = [("nameid-format:persistent", "nameid-format:transient")];
        for (tried, good, says, sent) in [
            (try_out(&provider, &[], ("status:Success", "status:Responder")).await, 0, "reports a failure", NOT_VERIFIED),
            (try_out(&stranger, &[], as_it_is).await, 1, "no configured certificate fits", NOT_VERIFIED),
            (try_out(&provider, &[], ("acme/acs\" ID", "other/acs\" ID")).await, 2, "it is addressed to", NOT_VERIFIED),
            (try_out(&provider, &[("/acme/metadata", "/other/metadata")], as_it_is).await, 3, "it is meant for the service", NOT_VERIFIED),
            (try_out(&provider, &transient, as_it_is).await, 5, "names the person anew", VERIFIED),
            (try_out(&provider, &[], as_it_is).await, 5, "Nobody has an account with this address", VERIFIED),
        ] {
            assert_eq!((tried.0, tried.1.contains(says)), (good, true), "{says}: {}", tried.1);
            let shown = [VERIFIED, NOT_VERIFIED].map(|part| tried.1.contains(part));
            assert_eq!(shown, [sent == VERIFIED, sent == NOT_VERIFIED], "{says}: {}", tried.1);
            assert!(tried.1.contains("alice@acme.example"), "{says}: {}", tried.1);
        }
        let hostile = try_out(&stranger, &[], ("status:Success", "\"><script>alert(1)</script>")).await.1;
        assert!(hostile.contains(NOT_VERIFIED) && !hostile.contains("<script>alert(1)"), "what a provider sends is text: {hostile}");
    }

    what_is_refused_of_a_trial_is_sealed_until_it_is_shown_and_of_a_sign_in_kept_nowhere(api) {
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let owner = api.signed_in("owner@acme.example").await;
        let left = owner.post("/settings/security/sso/test", &[("protocol", "saml")]).await;
        let lie = [("/acme/metadata", "/other/metadata")];
        let on = |landed: Answer| landed.leads_to().unwrap().to_owned();
        let tried = on(land(&owner, &provider.posts(left.leads_to().unwrap(), "alice", &lie)).await);
        let browser = api.browser();
        let refused = on(land(&browser, &provider.posts(&depart(&browser).await, "bob", &lie)).await);
        let copy = String::from_utf8_lossy(&api.copy_of_database().await).into_owned();
        for name in ["alice@acme.example", "bob@acme.example"] {
            assert!(!copy.contains(name), "{name}");
        }
        assert_eq!(browser.come_back(&refused).await.leads_to(), REFUSED);
        assert!(owner.come_back(&tried).await.page().contains("alice@acme.example"), "the control");
    }

    a_trial_judges_members_as_a_sign_in_does(api) {
        let provider = api.with_saml(json!({ "group_roles": [{ "group": "Ops", "role": "admin" }] })).await;
        let directory = api.directory().await;
        let alice = directory.user("alice@acme.example").await;
        directory.in_group("Ops", &alice).await;
        let groups = r#"<saml:Attribute Name="groups"><saml:AttributeValue>staff</saml:AttributeValue></saml:Attribute>"#;
        let browser = api.signed_in("owner@acme.example").await;
        let try_out = async |edits: &[(&str, &str)]| {
            let left = browser.post("/settings/security/sso/test", &[("protocol", "saml")]).await;
            let to = left.leads_to().unwrap_or_else(|| panic!("{}", left.body)).to_owned();
            come_back(&browser, &provider.posts(&to, "alice", edits)).await.page().to_owned()
        };
        assert!(try_out(&[(groups, "")]).await.contains("admin (Ops)"), "the groups that were provisioned");
        assert!(try_out(&[]).await.contains("member (staff)"), "the control: those that were sent");
        provider.way(&api.browser(), "alice").await;
        assert!(try_out(&[]).await.contains("linked already"));
        directory.set_active(&alice, false).await;
        let page = try_out(&[]).await;
        assert!(page.contains("Does not work") && page.contains("suspended"), "{page}");
    }

    a_provider_is_described_in_one_of_three_ways(api) {
        let (owner, provider) = (api.owner().await, SamlProvider::new(&api.clock));
        let read = async || api.get(PATH).bearer(owner.access_token()).send().await;
        assert_eq!(read().await.refusal(), (404, "not_found"));
        assert_eq!(change(&api, &owner, json!({})).await.text("/error/param"), "metadata_url");
        let both = json!({ "metadata": provider.metadata(), "entity_id": ENTITY });
        assert_eq!(change(&api, &owner, both).await.text("/error/param"), "metadata_url");
        for (field, value) in [("metadata", "<a/>"), ("metadata_url", "ftp://id.acme.example"), ("metadata_url", "http://127.0.0.1:1/")] {
            assert_eq!(change(&api, &owner, json!({ field: value })).await.text("/error/param"), field, "{value}");
        }
        for (field, value) in [("certificates", "none"), ("certificates", ""), ("sso_url", "javascript:alert(1)")] {
            let mut body = provider.values(&json!({}));
            body[field] = value.into();
            assert_eq!(change(&api, &owner, body).await.text("/error/param"), field, "{value}");
        }
        let made = change(&api, &owner, json!({ "metadata": provider.metadata() })).await;
        assert_eq!(made.status, 200, "{}", made.json);
        assert_eq!(made.text("/entity_id"), ENTITY);
        assert_eq!(made.text("/service_acs_url"), "http://localhost:3000/sso/saml/acme/acs");
        assert_eq!(read().await.json, made.json);
        let kept = change(&api, &owner, json!({ "settings": { "display_name": "Acme ID" } })).await;
        assert_eq!(kept.json["certificates"], made.json["certificates"], "what is not given stays");
        assert!(!api.records("sso.updated").await[0].to_string().contains("PRIVATE"));
        let gone = api.request(Method::DELETE, PATH).bearer(owner.access_token()).send().await;
        assert_eq!(gone.status, 204);
        assert!(api.recorded("sso.removed").await);
    }

    a_certificate_that_ends_soon_is_told_on_the_page_and_on_overview(api) {
        let provider = SamlProvider::until(&api.clock, 2026, 4, 16);
        let body = provider.values(&json!({}));
        assert_eq!(change(&api, &api.owner().await, body).await.status, 200);
        let tells = async |page: &str| {
            let browser = api.signed_in("owner@acme.example").await;
            browser.get(page).await.page().contains("ertificate of the")
        };
        assert!(!tells("/overview").await && !tells("/settings/security/sso").await, "{}", Clock::now(&api.clock));
        api.clock.advance(Duration::from_hours(24 * 3));
        assert!(tells("/overview").await && tells("/settings/security/sso").await);
    }

    our_metadata_is_there_for_every_name_and_has_our_key_once_there_is_one(api) {
        let document = async |name: &str| api.browser().get(&format!("/sso/saml/{name}/metadata")).await;
        let nowhere = document("nowhere").await;
        assert_eq!((nowhere.status.as_u16(), &nowhere.headers["content-type"]), (200, &"application/samlmetadata+xml".parse().unwrap()));
        assert_eq!(document("acme").await.body.replace("acme", "nowhere"), nowhere.body, "it does not tell who is here");
        let _ = api.with_saml(json!({})).await;
        let text = document("acme").await.body;
        assert!(text.contains("http://localhost:3000/sso/saml/acme/acs"));
        assert!(between(&text, "<ds:X509Certificate>", "</").len() > 500);
        let odd = document("%22%3E%3Cscript%3E").await;
        assert!(!odd.body.contains("<script>"), "{}", odd.body);
    }

    our_own_key_is_replaced_while_both_are_known(api) {
        let provider = api.with_saml(json!({ "just_in_time": true })).await;
        let owner = api.owner().await;
        assert_eq!(change(&api, &owner, json!({ "sign_requests": true })).await.status, 200);
        let published = async || {
            let document = api.browser().get("/sso/saml/acme/metadata").await.body;
            let rest = document.split("<ds:X509Certificate>").skip(1);
            rest.map(|rest| rest.split_once("</").unwrap().0.to_owned()).collect::<Vec<_>>()
        };
        let step = async |path: &str| {
            api.request(Method::POST, &format!("{PATH}{path}")).bearer(owner.access_token()).send().await
        };
        let first = published().await;
        assert_eq!(step("/next-key/use").await.refusal(), (409, "no_next_key"));
        let made = step("/next-key").await;
        assert_eq!((made.status.as_u16(), made.text("/service_certificate/fingerprint")), (200, &*fingerprint(&first[0])), "{}", made.json);
        let both = published().await;
        assert_eq!((both.len(), &both[0]), (2, &first[0]));
        assert_ne!(both[1], both[0]);
        assert_eq!(made.text("/service_next_certificate/fingerprint"), fingerprint(&both[1]));
        let kept = change(&api, &owner, json!({ "metadata": provider.metadata() })).await;
        assert_eq!(kept.json["service_next_certificate"], made.json["service_next_certificate"], "{}", kept.json);
        assert!(is_signed_by(&depart(&api.browser()).await, &both[0]), "the present one signs");

        let browser = api.signed_in("owner@acme.example").await;
        let page = browser.get("/settings/security/sso").await;
        let form = between(page.page(), "/settings/security/sso/saml/next-key/use", "</form>");
        let version = between(form, "name=\"version\" value=\"", "\"");
        let used = browser.post("/settings/security/sso/saml/next-key/use", &[("version", version)]).await;
        assert_eq!(used.leads_to(), Some("/settings/security/sso"), "{}", used.body);
        assert_eq!(published().await, [both[1].clone()]);
        let departure = depart(&api.browser()).await;
        assert_eq!([&both[0], &both[1]].map(|key| is_signed_by(&departure, key)), [false, true]);
        let late = browser.post("/settings/security/sso/saml/next-key", &[("version", version)]).await;
        assert_eq!(late.refusal(), (412, "version_mismatch"));
        let records = api.records("sso.updated").await;
        let told = |record: &Value| record["details"]["after"]["secret"] == "set" && !record.to_string().contains("PRIVATE");
        assert!(records[records.len() - 3..].iter().filter(|record| told(record)).count() == 2, "{records:?}");
    }

    the_end_of_our_own_certificate_is_told(api) {
        let _ = api.with_saml(json!({})).await;
        let tells = async |owner: &str, page: &str| {
            let browser = api.signed_in(owner).await;
            browser.get(page).await.page().contains("Our own certificate")
        };
        for page in ["/overview", "/settings/security/sso"] {
            assert!(!tells("owner@acme.example", page).await, "{page}");
        }
        // It is made for the rest of this year and ten more.
        api.clock.advance(Duration::from_hours(24 * 366 * 11));
        // The first owner's password has ended by then.
        api.add_member("later@acme.example", "owner").await;
        for page in ["/overview", "/settings/security/sso"] {
            assert!(tells("later@acme.example", page).await, "{page}");
        }
    }
}
