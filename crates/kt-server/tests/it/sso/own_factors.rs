//! Proving again who one is in a session that a provider has opened: by the provider, or by a factor of the account's own, where
//! the account has one and it is worth as much.

use std::time::Duration;

use serde_json::json;

use crate::harness::on_both;
use crate::mfa::Holder;
use crate::mfa::authenticator::Authenticator;

const BY_PROVIDER: &str = "hx-post=\"/api/session/reauthenticate/provider\"";
const BY_CODE: &str = "id=\"prove-code\"";
const BY_PASSKEY: &str = "data-passkey=\"prove\"";

on_both! {
    the_dialog_offers_what_its_holder_has(api) {
        let provider = api.with_provider(json!({})).await;
        let offers = |page: &str| [BY_PROVIDER, BY_CODE, BY_PASSKEY, "id=\"prove-password\""].map(|way| page.contains(way));
        api.add_member("1@acme.example", "member").await;
        let plain = api.browser();
        provider.way(&plain, "1").await;
        assert_eq!(offers(plain.get("/settings/profile").await.page()), [true, false, false, false]);

        let holder = Holder::new(&api, "2@acme.example", "member").await;
        let browser = api.browser();
        provider.way(&browser, "2").await;
        api.clock.advance(Duration::from_secs(30));
        let code = holder.app.code(&api.clock);
        browser.post("/login/verify", &[("method", "totp"), ("code", &code)]).await;
        assert_eq!(offers(browser.get("/settings/profile").await.page()), [false, true, false, false], "no less than the session was opened with");
        let later = api.browser();
        provider.way(&later, "2").await;
        assert_eq!(offers(later.get("/settings/profile").await.page()), [true, true, false, false]);
        let by_password = api.signed_in("1@acme.example").await;
        assert_eq!(offers(by_password.get("/settings/profile").await.page()), [false, false, false, true], "the control");
    }

    a_code_changes_nothing_where_another_organization_demands_the_passkey_that_is_there(api) {
        let provider = api.with_provider(json!({})).await;
        let holder = Holder::new(&api, "2@acme.example", "member").await;
        let asked = api.post("/v1/me/passkeys/options", json!({})).bearer(&holder.token).send().await;
        let credential = Authenticator::new().create(&asked.json["options"]);
        let body = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
        assert_eq!(api.post("/v1/me/passkeys", body).bearer(&holder.token).send().await.status, 201);
        let id = api.get("/v1/whoami").bearer(&holder.token).send().await.text("/user/id").parse().unwrap();
        let first = api.browser();
        provider.way(&first, "2").await;
        api.clock.advance(Duration::from_secs(30));
        first.post("/login/verify", &[("method", "totp"), ("code", &holder.app.code(&api.clock))]).await;

        let other = api.owner_of_another().await;
        api.add_place("other", &id, "admin").await;
        let browser = api.browser();
        assert_eq!(provider.way(&browser, "2").await.leads_to(), Some("/"), "the provider's word opens its own organization");
        api.clock.advance(Duration::from_secs(30));
        let code = holder.app.code(&api.clock);
        assert_eq!(browser.post("/api/session/reauthenticate", &[("code", &code)]).await.status, 200);
        let renew = async || browser.post("/mfa/recovery-codes", &[]).await;
        assert_eq!(renew().await.status, 200, "the control");
        let mfa = json!({ "mfa": { "require_passkey_for_admins": true, "grace_period": "0h" } });
        assert_eq!(api.patch("/v1/organization/security", mfa).bearer(other.access_token()).send().await.status, 200);
        assert_eq!(renew().await.refusal(), (403, "own_proof_required"));
        assert_eq!(browser.get("/settings/profile").await.status, 200, "the session goes on");
    }

    a_factor_of_the_accounts_own_lets_its_holder_change_what_the_providers_word_does_not(api) {
        let provider = api.with_provider(json!({})).await;
        let holder = Holder::new(&api, "2@acme.example", "member").await;
        let first = api.browser();
        provider.way(&first, "2").await;
        api.clock.advance(Duration::from_secs(30));
        let code = holder.app.code(&api.clock);
        first.post("/login/verify", &[("method", "totp"), ("code", &code)]).await;

        let browser = api.browser();
        provider.way(&browser, "2").await;
        let renew = async || browser.post("/mfa/recovery-codes", &[]).await;
        assert_eq!(renew().await.refusal(), (403, "own_proof_required"));
        api.clock.advance(Duration::from_secs(30));
        let wrong = holder.app.wrong_code(&api.clock);
        let refused = browser.post("/api/session/reauthenticate", &[("code", &wrong)]).await;
        assert_eq!(refused.status, 401, "{}", refused.body);
        assert_eq!(renew().await.refusal(), (403, "own_proof_required"));
        let code = holder.app.code(&api.clock);
        let proven = browser.post("/api/session/reauthenticate", &[("code", &code)]).await;
        assert_eq!(proven.status, 200, "{}", proven.body);
        assert_eq!(renew().await.status, 200, "the control");
        // From then on the session is one of two factors, which the provider's word alone does not match.
        let page = browser.get("/settings/profile").await;
        assert!(page.page().contains(BY_CODE) && !page.page().contains(BY_PROVIDER));
    }
}
