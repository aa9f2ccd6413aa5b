//! Settings → Profile.

use crate::harness::{PASSWORD, on_both};
use crate::mfa::app::App;

const OWNER: &str = "owner@acme.example";
const CHOSEN: &str = "Quiet-willow-4-lakes";

on_both! {
    a_password_is_changed_with_the_present_one_and_its_holder_signs_in_again(api) {
        let browser = api.signed_in(OWNER).await;
        let other = api.signed_in(OWNER).await;
        let page = browser.get("/settings/profile").await;
        assert!(page.page().contains("Change Password") && page.body.contains(r#"name="current_password""#));
        let change = async |current: &str, new: &str| {
            let fields = [("current_password", current), ("new_password", new)];
            browser.post("/settings/profile/password", &fields).await
        };
        let wrong = change("not it", CHOSEN).await;
        assert_eq!(wrong.refusal(), (401, "invalid_credentials"));
        assert_eq!(change(PASSWORD, "acme").await.refusal(), (422, "validation_error"));
        assert_eq!(other.get("/overview").await.status.as_u16(), 200, "nothing has changed");

        assert_eq!(change(PASSWORD, CHOSEN).await.leads_to(), Some("/login?reason=password_changed"));
        assert_eq!(browser.cookie("kt_session"), None);
        assert_eq!(other.get("/overview").await.status.as_u16(), 303, "all sessions end");
        assert!(browser.get("/login?reason=password_changed").await.page().contains("Your password was changed"));
        assert_eq!(browser.sign_in(OWNER, CHOSEN).await.leads_to(), Some("/"));
    }

    the_profile_leads_to_second_factors_and_says_whether_there_are_any(api) {
        let browser = api.signed_in(OWNER).await;
        let page = browser.get("/settings/profile").await;
        assert!(page.page().contains(r#"href="/mfa/setup""#) && page.body.contains("MFA is off"), "{}", page.body);
        let begun = browser.post("/mfa/setup/totp", &[]).await;
        let (_, rest) = begun.page().split_once("id=\"secret\">").unwrap();
        let app = App::with_secret(rest.split('<').next().unwrap());
        browser.post("/mfa/setup/totp/confirm", &[("code", &app.code(&api.clock))]).await;
        let page = browser.get("/settings/profile").await;
        assert!(page.page().contains(r#"href="/mfa/setup""#) && page.body.contains("MFA is on"), "{}", page.body);
    }

    the_mail_that_comes_is_told_by_what_somebody_looks_after(api) {
        for (role, looks_after_members) in [("member", false), ("auditor", false), ("admin", true)] {
            let email = format!("{role}@acme.example");
            api.add_member(&email, role).await;
            let page = api.signed_in(&email).await.get("/settings/profile").await;
            assert!(page.page().contains("Notifications") && page.body.contains("None can be turned off"), "{role}");
            assert_eq!(page.body.contains("People who wait to be let in"), looks_after_members, "{role}");
        }
    }

    one_of_ones_own_sessions_is_ended(api) {
        let browser = api.signed_in(OWNER).await;
        let other = api.signed_in(OWNER).await;
        let page = browser.get("/settings/profile").await;
        let (_, rest) = page.page().split_once("/settings/profile/sessions/").unwrap();
        let path = format!("/settings/profile/sessions/{}/end", rest.split('/').next().unwrap());
        assert_eq!(browser.post(&path, &[]).await.leads_to(), Some("/settings/profile"));
        assert_eq!(other.get("/overview").await.status.as_u16(), 303);
        assert_eq!(browser.get("/overview").await.status.as_u16(), 200);
        api.add_member("jo@acme.example", "member").await;
        let jo = api.signed_in("jo@acme.example").await;
        assert_eq!(jo.post(&path, &[]).await.refusal(), (404, "not_found"), "and nobody else's");
    }

    all_other_sessions_of_ones_own_are_ended_by_one_button(api) {
        let browser = api.signed_in(OWNER).await;
        assert!(!browser.get("/settings/profile").await.page().contains("End All Other Sessions"), "there are none");
        let others = [api.signed_in(OWNER).await, api.signed_in(OWNER).await];
        let page = browser.get("/settings/profile").await;
        assert!(page.page().contains("End All Other Sessions") && page.body.contains("<td>Password</td>"));
        let path = "/settings/profile/sessions/end-others";
        assert_eq!(browser.post(path, &[]).await.leads_to(), Some("/settings/profile"));
        for other in &others {
            assert_eq!(other.get("/overview").await.status.as_u16(), 303);
        }
        assert_eq!(browser.get("/overview").await.status.as_u16(), 200);
        api.clock.advance(std::time::Duration::from_mins(11));
        assert_eq!(browser.post(path, &[]).await.refusal(), (403, "reauthentication_required"));
    }
}
