//! Settings → Organization.

use crate::harness::on_both;

const OWNER: &str = "owner@acme.example";
const PAGE: &str = "/settings/organization";

/// The version that the form of this action was shown with.
fn version(page: &str, action: &str) -> String {
    let (_, rest) = page.split_once(&format!(r#"hx-post="{action}""#)).unwrap();
    let (_, rest) = rest.split_once(r#"name="version" value=""#).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

on_both! {
    the_name_is_changed_by_whoever_saw_the_present_one(api) {
        let browser = api.signed_in(OWNER).await;
        let shown = version(browser.get(PAGE).await.page(), PAGE);
        let rename = async |name: &str, version: &str| browser.post(PAGE, &[("name", name), ("version", version)]).await;
        assert_eq!(rename("Acme Works", &shown).await.leads_to(), Some(PAGE));
        assert!(browser.get(PAGE).await.page().contains("Acme Works"));
        assert_eq!(rename("Acme Again", &shown).await.refusal(), (412, "version_mismatch"));
        let present = version(browser.get(PAGE).await.page(), PAGE);
        assert_eq!(rename(" ", &present).await.refusal(), (422, "validation_error"));
        assert_eq!(rename("Acme Again", &present).await.status.as_u16(), 303);
    }

    who_may_register_is_chosen_here_and_felt_at_once(api) {
        let action = format!("{PAGE}/registration");
        let browser = api.signed_in(OWNER).await;
        let change = async |fields: &[(&str, &str)]| {
            let version = version(browser.get(PAGE).await.page(), &action);
            let fields: Vec<_> = fields.iter().copied().chain([("version", version.as_str())]).collect();
            browser.post(&action, &fields).await
        };
        let register = async |email: &str| {
            let fields = [("organization", "acme"), ("name", "Jo"), ("email", email), ("password", "Quiet-willow-4-lakes")];
            api.browser().post("/register", &fields).await.status.as_u16()
        };
        assert_eq!(register("jo@acme.example").await, 403);
        let bad = change(&[("self_registration", "true"), ("email_domains", "acme.example not@one")]).await;
        assert_eq!((bad.refusal(), bad.text("/error/param")), ((422, "validation_error"), "registration.email_domains[1]"));
        let set = change(&[("self_registration", "true"), ("signup_approval", "true"), ("email_domains", "acme.example\r\nacme.test")]).await;
        assert_eq!(set.status.as_u16(), 303, "{}", set.body);
        let page = browser.get(PAGE).await;
        assert!(page.page().contains("acme.example\nacme.test") && page.body.contains("/register?organization=acme"));
        assert_eq!((register("jo@acme.test").await, register("jo@other.example").await), (200, 422));
        assert_eq!(change(&[("email_domains", "")]).await.status.as_u16(), 303, "boxes that are not ticked are off");
        assert_eq!(register("jane@acme.test").await, 403);
    }

    those_who_may_not_change_it_see_what_they_may(api) {
        for (role, sees_registration) in [("member", false), ("auditor", true)] {
            let email = format!("{role}@acme.example");
            api.add_member(&email, role).await;
            let browser = api.signed_in(&email).await;
            let page = browser.get(PAGE).await;
            assert!(page.page().contains("<code>acme</code>") && !page.body.contains(r#"name="name""#), "{role}");
            assert_eq!(page.body.contains("Signup approval"), sees_registration, "{role}");
            let refused = browser.post(PAGE, &[("name", "Mine"), ("version", "x")]).await;
            assert_eq!(refused.refusal(), (403, "insufficient_role"), "{role}");
        }
    }
}
