//! `/settings/security/sso` and `/login/sso`, as a browser meets them.

use serde_json::json;

use super::provider::{Provider, depart};
use super::{CLIENT, SECRET};
use crate::console::browser::Browser;
use crate::harness::on_both;

const PAGE: &str = "/settings/security/sso";

/// The version that the form of the page was made for.
async fn version(browser: &Browser<'_>) -> String {
    let page = browser.get(PAGE).await;
    let (_, rest) = page.page().split_once(r#"name="version" value=""#).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

fn rules<'a>(version: &'a str, more: &[(&'static str, &'a str)]) -> Vec<(&'static str, &'a str)> {
    let mut fields = vec![
        ("version", version),
        ("protocol", "oidc"),
        ("display_name", "Acme ID"),
        ("email", "email"),
        ("name", "name"),
        ("groups", "groups"),
        ("group_roles", ""),
        ("default_role", "member"),
        ("mfa_values", "mfa"),
        ("session_limit", ""),
    ];
    for (name, value) in more {
        fields.retain(|(other, _)| other != name);
        fields.push((name, value));
    }
    fields
}

on_both! {
    the_page_sets_a_provider_up_and_turns_it_on(api) {
        let provider = Provider::start(&api.clock).await;
        let browser = api.signed_in("owner@acme.example").await;
        let empty = browser.get(PAGE).await;
        for text in ["Single sign-on", "Metadata URL or issuer", "Client ID", "http://localhost:3000/sso/oidc/acme/callback", "No domain yet"] {
            assert!(empty.page().contains(text), "{text}");
        }
        let metadata = format!("{}/.well-known/openid-configuration", provider.issuer());
        let connect = [
            ("version", "0"), ("issuer", metadata.as_str()), ("client_id", CLIENT), ("client_secret", SECRET),
            ("authentication", "client_secret_basic"),
        ];
        let saved = browser.post("/settings/security/sso/oidc", &connect).await;
        assert_eq!(saved.leads_to(), Some(PAGE), "{}", saved.body);
        let shown = browser.get(PAGE).await;
        assert!(shown.page().contains("One is kept, sealed") && !shown.page().contains("of/the"), "never its secret");
        let again = browser.post("/settings/security/sso/oidc", &connect).await;
        assert_eq!(again.refusal(), (412, "version_mismatch"));

        let present = version(&browser).await;
        let wrong = browser.post("/settings/security/sso/rules", &rules(&present, &[("group_roles", "ops = owner")])).await;
        assert_eq!((wrong.status.as_u16(), wrong.text("/error/param")), (422, "group_roles[0].role"));
        let groups = rules(&present, &[("group_roles", "cn=ops,ou=x = admin\n\nstaff = auditor"), ("just_in_time", "on")]);
        assert_eq!(browser.post("/settings/security/sso/rules", &groups).await.leads_to(), Some(PAGE));
        assert!(browser.get(PAGE).await.page().contains("cn=ops,ou=x = admin"));
        let present = version(&browser).await;
        let on = [("version", present.as_str()), ("protocol", "oidc"), ("enabled", "on")];
        assert_eq!(browser.post("/settings/security/sso/switch", &on).await.leads_to(), Some(PAGE));
        assert!(depart(&api.browser()).await.starts_with(provider.issuer()));
        let present = version(&browser).await;
        let gone = [("version", present.as_str()), ("protocol", "oidc")];
        assert_eq!(browser.post("/settings/security/sso/remove", &gone).await.leads_to(), Some(PAGE));
        assert!(browser.get(PAGE).await.page().contains("Not set up"));
    }

    domains_are_claimed_and_verified_on_the_page(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let domain = [("domain", "acme.example")];
        let added = browser.post("/settings/security/sso/domains", &domain).await;
        assert_eq!(added.leads_to(), Some(PAGE), "{}", added.body);
        let page = browser.get(PAGE).await;
        assert!(page.page().contains("Not verified"));
        let (_, rest) = page.page().split_once("keeptrusts-domain=").unwrap();
        let value = format!("keeptrusts-domain={}", rest.split('<').next().unwrap());
        let early = browser.post("/settings/security/sso/domains/verify", &domain).await;
        assert_eq!(early.refusal(), (409, "domain_not_proven"));
        api.names.set("_keeptrusts-challenge.acme.example", &[&value]);
        browser.post("/settings/security/sso/domains/verify", &domain).await;
        assert!(browser.get(PAGE).await.page().contains(">Verified<"), "the control");
        browser.post("/settings/security/sso/domains/remove", &domain).await;
        assert!(browser.get(PAGE).await.page().contains("No domain yet"));
    }

    whoever_is_no_owner_sees_and_changes_nothing(api) {
        api.with_provider(json!({ "display_name": "\"><img src=x onerror=alert(1)>" })).await;
        api.add_member("admin@acme.example", "admin").await;
        let admin = api.signed_in("admin@acme.example").await;
        let page = admin.get(PAGE).await;
        assert!(page.page().contains("You see how it is set up") && !page.page().contains("Turn off"));
        assert!(!page.page().contains("<img src=x"), "what somebody typed is text");
        let refused = admin.post("/settings/security/sso/domains", &[("domain", "x.example")]).await;
        assert_eq!(refused.refusal(), (403, "rank_too_low"));
        let present = version(&admin).await;
        let refused = admin.post("/settings/security/sso/rules", &rules(&present, &[])).await;
        assert_eq!(refused.refusal(), (403, "rank_too_low"));
        let owner = api.signed_in("owner@acme.example").await;
        assert_eq!(owner.post("/settings/security/sso/rules", &rules(&present, &[])).await.leads_to(), Some(PAGE), "the control");
    }

    the_way_in_asks_for_the_organization_and_keeps_the_page_that_was_asked_for(api) {
        let page = api.browser().get("/login?returnTo=%2Fevents%3Fverdict%3Dblocked").await;
        assert!(page.page().contains("/login/sso?returnTo=%2Fevents%3Fverdict%3Dblocked"), "{}", page.body);
        let sso = api.browser().get("/login/sso?organization=%22%3E%3Cscript%3E&returnTo=%2Fevents%3Fverdict%3Dblocked").await;
        assert!(sso.page().contains("Sign in with SSO") && sso.page().contains("/events?verdict=blocked"));
        assert!(!sso.page().contains("\"><script>"), "what stands in the address is text");
        let refused = api.browser().get("/login?reason=sso_refused").await;
        assert!(refused.page().contains("did not work"));
    }
}
