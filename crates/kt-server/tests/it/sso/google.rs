//! Google for a whole deployment, and what a deployment does not offer.

use std::time::Duration;

use kt_domain::sign_in::MembershipState;
use kt_domain::sso::Protocol;
use serde_json::{Value, json};

use super::provider::{Document, Provider, Says, depart};
use super::saml_provider::{PATH as SAML, SamlProvider, between};
use crate::console::browser::Browser;
use crate::databases::Kind;
use crate::harness::{Answer, PASSWORD, TestApi, on_both};

const REFUSED: Option<&str> = Some("/login?reason=sso_refused");
const PAGE: &str = "/settings/security/sso";

/// A deployment's Google, which hosts `acme.example`.
struct Google {
    api: TestApi,
    provider: Provider,
}

impl Google {
    async fn start(kind: Kind) -> Self {
        let provider = Provider::start(&crate::databases::clock()).await;
        let google = Self { api: TestApi::with_google(kind, provider.issuer()).await, provider };
        google.hosts(&json!("acme.example"));
        google
    }

    /// What it says of the Workspace of an account.
    fn hosts(&self, domain: &Value) {
        self.provider.says(Says { claims: json!({ "hd": domain }), ..Says::default() });
    }

    async fn comes(&self, browser: &Browser<'_>, subject: &str) -> Answer {
        let left = browser.post("/login/google", &[]).await;
        let to = left.leads_to().unwrap_or_else(|| panic!("{}", left.body)).to_owned();
        browser.come_back(&self.provider.authorize(&to, subject)).await
    }

    async fn leads(&self, subject: &str) -> Option<String> {
        self.comes(&self.api.browser(), subject).await.leads_to().map(str::to_owned)
    }
}

on_both! {
    from super::Google::start, Google;

    it_vouches_for_accounts_that_there_are_and_counts_as_one_factor(google) {
        let api = &google.api;
        api.add_member("1@acme.example", "member").await;
        assert_eq!(google.leads("1").await.as_deref(), REFUSED, "nobody has shown the domain");
        api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
        assert_eq!(google.leads("1").await.as_deref(), Some("/"));
        assert_eq!(google.leads("stranger").await.as_deref(), REFUSED, "it makes no accounts");
        let browser = api.browser();
        assert_eq!(google.comes(&browser, "1").await.leads_to(), Some("/"));
        let without = api.offering_from_now_on(&[Protocol::Oidc, Protocol::Saml]).await;
        let there = without.browser();
        there.hold("kt_session", &browser.cookie("kt_session").unwrap());
        assert_eq!(there.get("/settings/profile").await.status, 303, "a deployment without it lets nobody in by its word");
        assert_eq!(browser.get("/settings/profile").await.status, 200, "the control");
        let mfa = json!({ "mfa": { "policy": "required_for_all", "grace_period": "0h" } });
        let owner = api.owner().await;
        api.patch("/v1/organization/security", mfa).bearer(owner.access_token()).send().await;
        assert_eq!(google.leads("1").await.as_deref(), Some("/mfa/setup"), "the organization's rules apply");
    }

    it_answers_for_addresses_of_the_workspace_of_the_account_alone(google) {
        let api = &google.api;
        api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
        for (number, (domain, expected)) in [
            (Value::Null, REFUSED),
            (json!("other.example"), REFUSED),
            (json!(["acme.example"]), REFUSED),
            (json!("acme.example"), Some("/")),
        ].into_iter().enumerate() {
            api.add_member(&format!("{number}@acme.example"), "member").await;
            google.hosts(&domain);
            assert_eq!(google.leads(&number.to_string()).await.as_deref(), expected, "{domain}");
        }
        // So it is where an organization has set Google up as its own provider.
        let owner = api.owner().await;
        let trusting = api.put_provider(&owner, &google.provider, json!({ "trust_email": true })).await;
        assert_eq!((trusting.status.as_u16(), trusting.text("/error/param")), (422, "trust_email"));
        let made = api.put_provider(&owner, &google.provider, json!({ "just_in_time": true })).await;
        assert_eq!(made.status, 200, "{}", made.json);
        for (domain, expected) in [(Value::Null, REFUSED), (json!("acme.example"), Some("/"))] {
            google.hosts(&domain);
            let answer = google.provider.way(&api.browser(), "new").await;
            assert_eq!(answer.leads_to(), expected, "{domain}");
        }
    }

    it_cannot_be_asked_again_who_somebody_is(google) {
        let api = &google.api;
        api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
        api.add_member("1@acme.example", "admin").await;
        let browser = api.browser();
        assert_eq!(google.comes(&browser, "1").await.leads_to(), Some("/"));
        let page = browser.get("/settings/profile").await;
        assert!(!page.page().contains("Go to the provider") && page.page().contains("cannot be asked again who you are"));
        let refused = browser.post("/api/session/reauthenticate/provider", &[]).await;
        assert_eq!(refused.refusal(), (409, "provider_cannot_ask"));
        let other = api.with_provider(json!({})).await;
        let browser = api.browser();
        other.way(&browser, "1").await;
        assert!(browser.get("/settings/profile").await.page().contains("Go to the provider"), "the control");
        let asked = browser.post("/api/session/reauthenticate/provider", &[]).await;
        assert!(asked.leads_to().is_some_and(|to| to.starts_with(other.issuer())));
    }

    who_is_suspended_in_one_organization_comes_in_where_they_are_active(google) {
        let api = &google.api;
        api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
        let user = api.add_member("1@acme.example", "member").await;
        assert_eq!(google.leads("1").await.as_deref(), Some("/"), "the control");
        let session = api.login("1@acme.example", PASSWORD).await;
        api.becomes(&session, kt_domain::actor::Role::Member, MembershipState::Suspended).await;
        assert_eq!(google.leads("1").await.as_deref(), REFUSED, "who is active nowhere");
        api.clock.advance(Duration::from_secs(1));
        api.organization("other").await;
        api.add_place("other", &user, "member").await;
        let browser = api.browser();
        assert_eq!(google.comes(&browser, "1").await.leads_to(), Some("/"));
        assert!(browser.get("/settings/profile").await.page().contains("other"));
    }

    it_lets_nobody_in_who_is_suspended_or_comes_from_elsewhere(google) {
        const OFFICE: &str = "203.0.113.9:40000";
        let api = &google.api;
        // Another organization has no rules about addresses, so that strangers are heard at all.
        api.organization("other").await;
        api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
        let comes = async |peer: &'static str| {
            let browser = api.browser().from(peer);
            let answer = google.comes(&browser, "1").await;
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
        api.becomes(&session, kt_domain::actor::Role::Member, MembershipState::Suspended).await;
        assert_eq!(comes(OFFICE).await, (303, REFUSED.map(str::to_owned), false), "who is suspended");
    }
}

/// The code of what is refused at each way that leads to a provider, or back from one, in a deployment that offers nothing.
async fn refusals(api: &TestApi) -> Vec<String> {
    let owner = api.owner().await;
    let mut codes = Vec::new();
    for protocol in ["oidc", "saml"] {
        let path = format!("/v1/organization/sso/{protocol}");
        let bodies = json!({ "issuer": "https://id.example", "client_id": "x" });
        let body = if protocol == "oidc" { bodies } else { json!({ "metadata": "<a/>" }) };
        codes.push(api.put(&path, body).bearer(owner.access_token()).send().await);
        codes.push(api.get(&path).bearer(owner.access_token()).send().await);
        let owner = api.signed_in("owner@acme.example").await;
        codes.push(owner.post("/settings/security/sso/test", &[("protocol", protocol)]).await);
        let on = [("version", "1"), ("protocol", protocol), ("enabled", "on")];
        codes.push(owner.post("/settings/security/sso/switch", &on).await);
    }
    codes.push(api.post("/v1/auth/sso/start", json!({ "organization": "acme" })).send().await);
    codes.push(api.browser().post("/login/sso", &[("organization", "acme")]).await);
    codes.into_iter().map(|answer| answer.text("/error/code").to_owned()).collect()
}

on_both! {
    what_a_deployment_does_not_offer_any_more_is_nowhere(api) {
        let provider = api.with_provider(json!({})).await;
        let saml = SamlProvider::new(&api.clock);
        let mut second = saml.values(&json!({}));
        second["enabled"] = json!(false);
        let owner = api.owner().await;
        let made = api.put("/v1/organization/sso/saml", second).bearer(owner.access_token()).send().await;
        assert_eq!(made.status, 200, "{}", made.json);
        api.add_member("1@acme.example", "member").await;
        let here = api.browser();
        assert_eq!(provider.way(&here, "1").await.leads_to(), Some("/"));
        let late = api.browser();
        let back = provider.authorize(&depart(&late).await, "1");

        let without = api.offering_from_now_on(&[]).await;
        let moved = |from: &Browser<'_>| {
            let browser = without.browser();
            for name in ["kt_session", "kt_sso"] {
                if let Some(value) = from.cookie(name) {
                    browser.hold(name, &value);
                }
            }
            browser
        };
        let mut expected = vec!["sso_not_offered"; 9];
        expected.push("sso_unavailable");
        assert_eq!(refusals(&without).await, expected);
        let is_signed_in = async |browser: Browser<'_>| browser.get("/settings/profile").await.status == 200;
        assert!(!is_signed_in(moved(&here)).await, "who has come in by it");
        let by_password = api.signed_in("1@acme.example").await;
        assert!(is_signed_in(moved(&by_password)).await, "the control: a session of its own");
        assert_eq!(moved(&late).come_back(&back).await.leads_to(), REFUSED, "who was on the way");
        assert_eq!(without.browser().get("/sso/saml/acme/metadata").await.status, 404);
        assert_eq!(api.browser().get("/sso/saml/acme/metadata").await.status, 200, "the control");
        assert!(!without.browser().get("/login").await.page().contains("/login/sso"), "nor on the way in");
        assert!(api.browser().get("/login").await.page().contains("/login/sso"), "the control");
        let asked = here.post("/api/session/reauthenticate/provider", &[]).await;
        assert!(asked.leads_to().is_some_and(|to| to.starts_with(provider.issuer())), "the control: {}", asked.body);

        for (offered, lives) in [(Protocol::Saml, false), (Protocol::Oidc, true)] {
            let one = api.offering_from_now_on(&[offered]).await;
            let browser = one.browser();
            browser.hold("kt_session", &here.cookie("kt_session").unwrap());
            assert_eq!(is_signed_in(browser).await, lives, "{offered:?}");
        }
        let one = api.offering_from_now_on(&[Protocol::Saml]).await;
        let read = async |protocol: &str| {
            let path = format!("/v1/organization/sso/{protocol}");
            one.get(&path).bearer(owner.access_token()).send().await.status.as_u16()
        };
        assert_eq!((read("saml").await, read("oidc").await), (200, 404));
    }

    nobody_is_told_of_a_provider_that_is_not_offered_and_it_is_asked_nothing(api) {
        let provider = api.with_provider(json!({})).await;
        let told = async |api: &TestApi| {
            let owner = api.signed_in("owner@acme.example").await;
            owner.get("/overview").await.page().contains("The identity provider cannot be asked")
        };
        provider.says(Says { documents: Document::Missing, ..Says::default() });
        let refused = api.browser().post("/login/sso", &[("organization", "acme")]).await;
        assert_eq!(refused.refusal(), (503, "identity_provider_unreachable"));
        let without = api.offering_from_now_on(&[Protocol::Saml]).await;
        assert_eq!((told(&api).await, told(&without).await), (true, false));
        let asked = provider.metadata_looks();
        api.clock.advance(Duration::from_mins(5));
        without.control.look_outside(&without.operator()).await.unwrap();
        assert_eq!(provider.metadata_looks(), asked);
        api.control.look_outside(&api.operator()).await.unwrap();
        assert!(provider.metadata_looks() > asked, "the control");
    }

    there_is_no_way_to_a_provider_where_none_is_offered(api) {
        let without = api.offering_from_now_on(&[]).await;
        let place = "/login/sso?organization=acme";
        assert_eq!((api.browser().get(place).await.status.as_u16(), without.browser().get(place).await.status.as_u16()), (200, 404));
        let says = async |api: &TestApi| {
            let owner = api.signed_in("owner@acme.example").await;
            owner.get(PAGE).await.page().contains("This deployment offers no single sign-on")
        };
        assert_eq!((says(&api).await, says(&without).await), (false, true));
    }

    an_organization_leaves_a_protocol_that_is_not_offered_any_more(api) {
        let provider = api.with_provider(json!({})).await;
        let saml = SamlProvider::new(&api.clock);
        let mut second = saml.values(&json!({}));
        second["enabled"] = json!(false);
        let owner = api.owner().await;
        let made = api.put(SAML, second).bearer(owner.access_token()).send().await;
        assert_eq!(made.status, 200, "{}", made.json);
        let one = api.offering_from_now_on(&[Protocol::Saml]).await;
        let browser = one.signed_in("owner@acme.example").await;
        let turn_on = async || one.put(SAML, json!({ "enabled": true })).bearer(owner.access_token()).send().await;
        assert_eq!(turn_on().await.refusal(), (409, "another_provider_enabled"));
        let page = browser.get(PAGE).await;
        assert!(page.page().contains("No longer offered"), "{}", page.body);
        let form = between(page.page(), "oidc-withdrawn-heading\">", "</section>");
        let version = between(form, "name=\"version\" value=\"", "\"");
        assert!(form.contains("Turn off") && form.contains("Remove") && !form.contains("Turn on"), "{form}");
        let fields = [("version", version), ("protocol", "oidc")];
        let rules = browser.post("/settings/security/sso/switch", &[fields[0], fields[1], ("enabled", "on")]).await;
        assert_eq!(rules.refusal(), (404, "sso_not_offered"), "it can be turned off alone");
        assert_eq!(browser.post("/settings/security/sso/switch", &fields).await.leads_to(), Some(PAGE));
        let on = turn_on().await;
        assert_eq!(on.status, 200, "{}", on.json);
        let left = one.browser().post("/login/sso", &[("organization", "acme")]).await;
        assert!(left.leads_to().is_some_and(|to| !to.starts_with(provider.issuer())), "{}", left.body);
        let page = browser.get(PAGE).await;
        let form = between(page.page(), "oidc-withdrawn-heading\">", "</section>");
        assert!(!form.contains("Turn off"), "{form}");
        let version = between(form, "name=\"version\" value=\"", "\"");
        let gone = browser.post("/settings/security/sso/remove", &[("version", version), ("protocol", "oidc")]).await;
        assert_eq!(gone.leads_to(), Some(PAGE), "{}", gone.body);
        assert!(!browser.get(PAGE).await.page().contains("No longer offered"));
    }
}
