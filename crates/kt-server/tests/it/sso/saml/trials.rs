//! A provider that is tried out before anybody signs in by it.

use serde_json::json;

use super::REFUSED;
use crate::harness::{Answer, on_both};
use crate::sso::saml_provider::{Posted, SamlProvider, come_back, depart, land};

/// Above what a trial shows of an answer, good or not.
const VERIFIED: &str = "<h3>Assertion</h3>";
const NOT_VERIFIED: &str = "<h3>Response, not verified</h3>";

on_both! {
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
}
