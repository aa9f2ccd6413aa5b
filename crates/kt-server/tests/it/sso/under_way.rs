//! A sign-in that is under way when whoever vouched for it does so no longer: its next step is refused (ATTACKS I25).

use axum::http::Method;
use serde_json::json;

use super::provider::Provider;
use crate::console::browser::Browser;
use crate::harness::{Answer, TestApi, on_both};
use crate::mfa::Holder;

/// A browser in which `subject` has come from the provider and is asked for a code.
async fn waiting<'a>(api: &'a TestApi, provider: &Provider, subject: &str) -> Browser<'a> {
    let browser = api.browser();
    let answer = provider.way(&browser, subject).await;
    assert_eq!(answer.leads_to(), Some("/login/verify?methods=totp,recovery_code"), "{}", answer.body);
    browser
}

async fn go_on(api: &TestApi, browser: &Browser<'_>, holder: &Holder) -> Answer {
    browser.post("/login/verify", &[("method", "totp"), ("code", &holder.app.code(&api.clock))]).await
}

async fn log_out(api: &TestApi, token: &str) {
    let body =
        url::form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", token).finish();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = api.browser().send(Method::POST, "/sso/oidc/acme/logout", &form, Some(body)).await;
    assert_eq!(answer.status, 200);
}

/// What takes back what a provider has said.
#[derive(Clone, Copy, Debug)]
enum Ending {
    TurnedOff,
    Removed,
    Changed,
    /// A logout token that names the subject.
    Subject,
    /// One that names the session.
    Session,
}

impl Ending {
    async fn happens(self, api: &TestApi, provider: &Provider, subject: &str) {
        let owner = api.owner().await;
        let path = "/v1/organization/sso/oidc";
        match self {
            Self::TurnedOff => {
                let off =
                    json!({ "enabled": false, "issuer": provider.issuer(), "client_id": super::CLIENT });
                assert_eq!(api.put(path, off).bearer(owner.access_token()).send().await.status, 200);
            }
            Self::Removed => {
                let gone = api.request(Method::DELETE, path).bearer(owner.access_token()).send().await;
                assert_eq!(gone.status, 204);
            }
            Self::Changed => {
                let made = api.put_provider(&owner, provider, json!({ "display_name": "Other" })).await;
                assert_eq!(made.status, 200);
            }
            Self::Subject => log_out(api, &provider.logout_token(&json!({ "sub": subject }))).await,
            Self::Session => {
                let session = format!("s-{subject}");
                log_out(api, &provider.logout_token(&json!({ "sub": null, "sid": session }))).await;
            }
        }
    }
}

on_both! {
    a_step_that_waits_for_a_factor_ends_with_the_word_that_led_to_it(api) {
        let provider = api.with_provider(json!({})).await;
        let endings = [Ending::TurnedOff, Ending::Removed, Ending::Changed, Ending::Subject, Ending::Session];
        for (number, ending) in endings.into_iter().enumerate() {
            let (one, other) = (format!("{number}"), format!("{number}b"));
            let made = api.put_provider(&api.owner().await, &provider, json!({})).await;
            assert_eq!(made.status, 200, "{}", made.json);
            let holder = Holder::new(&api, &format!("{one}@acme.example"), "member").await;
            let bystander = Holder::new(&api, &format!("{other}@acme.example"), "member").await;
            let browser = waiting(&api, &provider, &one).await;
            let elsewhere = waiting(&api, &provider, &other).await;
            ending.happens(&api, &provider, &one).await;
            let linked = api.records("sso.linked").await.len();
            let refused = go_on(&api, &browser, &holder).await;
            assert_eq!(refused.refusal(), (401, "invalid_flow_token"), "{ending:?}");
            assert!(browser.cookie("kt_session").is_none(), "{ending:?}");
            assert_eq!(api.records("sso.linked").await.len(), linked, "nothing is linked: {ending:?}");
            if matches!(ending, Ending::Subject | Ending::Session) {
                assert_eq!(go_on(&api, &elsewhere, &bystander).await.leads_to(), Some("/"), "nobody else's: {ending:?}");
            }
        }
        let made = api.put_provider(&api.owner().await, &provider, json!({})).await;
        assert_eq!(made.status, 200);
        let holder = Holder::new(&api, "last@acme.example", "member").await;
        let browser = waiting(&api, &provider, "last").await;
        assert_eq!(go_on(&api, &browser, &holder).await.leads_to(), Some("/"), "the control");
    }

    a_request_to_log_out_by_saml_ends_it_too(api) {
        let provider = api.with_saml(json!({})).await;
        let waits = async |subject: &str| {
            let holder = Holder::new(&api, &format!("{subject}@acme.example"), "member").await;
            let browser = api.browser();
            let answer = provider.way(&browser, subject).await;
            assert_eq!(answer.leads_to(), Some("/login/verify?methods=totp,recovery_code"), "{}", answer.body);
            (holder, browser)
        };
        let (holder, browser) = waits("alice").await;
        let (bystander, elsewhere) = waits("bob").await;
        let query = provider.logout_query("_1", "alice");
        assert_eq!(api.browser().get(&format!("/sso/saml/acme/logout?{query}")).await.status, 303);
        assert_eq!(go_on(&api, &browser, &holder).await.refusal(), (401, "invalid_flow_token"));
        assert_eq!(go_on(&api, &elsewhere, &bystander).await.leads_to(), Some("/"), "the control: nobody else's");
    }

    so_does_one_at_which_a_factor_is_added(api) {
        let settings = json!({ "require_mfa": true });
        let provider = api.with_provider(settings.clone()).await;
        api.add_member("1@acme.example", "member").await;
        let begin = async |browser: &Browser<'_>| browser.post("/mfa/setup/totp", &[]).await;
        let browser = api.browser();
        assert_eq!(provider.way(&browser, "1").await.leads_to(), Some("/mfa/setup"));
        assert_eq!(begin(&browser).await.status, 200, "the control");
        Ending::TurnedOff.happens(&api, &provider, "1").await;
        assert_eq!(begin(&browser).await.status, 401);
    }
}
