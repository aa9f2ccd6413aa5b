//! Whose account somebody is who comes from a provider: linked, made, refused, never revived (STANDARDS OIDC-09; ATTACKS
//! I18, I19, I28).

use std::time::Duration;

use axum::http::Method;
use kt_domain::actor::Role;
use kt_domain::sign_in::MembershipState;
use kt_store::{memberships, sessions, users};
use serde_json::{Value, json};

use super::provider::{Provider, Says};
use crate::console::browser::Browser;
use crate::harness::{Answer, PASSWORD, TestApi, on_both, side_by_side};
use crate::mfa::Holder;

const REFUSED: Option<&str> = Some("/login?reason=sso_refused");

/// Where somebody is led who comes as `subject`, in a browser of their own.
async fn comes(api: &TestApi, provider: &Provider, subject: &str) -> Answer {
    provider.way(&api.browser(), subject).await
}

fn userinfo(userinfo: Value) -> Says {
    Says { userinfo, ..Says::default() }
}

/// Why the last one was refused, as the audit log tells it.
async fn why(api: &TestApi) -> String {
    let records = api.records("auth.sign_in").await;
    let last = records.iter().rfind(|record| record["outcome"] == "failure").unwrap();
    last["details"]["after"]["why"].as_str().unwrap_or_default().to_owned()
}

async fn role_of(api: &TestApi, email: &str) -> Option<String> {
    let owner = api.owner().await;
    let members = api.get("/v1/members?limit=100").bearer(owner.access_token()).send().await;
    let found = members.json["members"].as_array().unwrap().iter().find(|member| member["email"] == email)?;
    found["role"].as_str().map(str::to_owned)
}

on_both! {
    a_stranger_gets_an_account_where_that_is_let_and_no_other_way(api) {
        let provider = api.with_provider(json!({})).await;
        assert_eq!(comes(&api, &provider, "new").await.leads_to(), REFUSED);
        assert_eq!(why(&api).await, "no_account");
        let owner = api.owner().await;
        api.put_provider(&owner, &provider, json!({ "just_in_time": true })).await;
        assert_eq!(comes(&api, &provider, "new").await.leads_to(), Some("/"));
        assert_eq!(role_of(&api, "new@acme.example").await.as_deref(), Some("member"));
        assert_eq!(api.login("new@acme.example", PASSWORD).await.refusal(), (401, "invalid_credentials"));

        let refused = [
            (json!({ "email": "x@other.example" }), "foreign_domain"),
            (json!({ "email": "x@acme.example@other.example" }), "no_address"),
            (json!({ "email": "x@sub.acme.example" }), "foreign_domain"),
            (json!({ "email": null }), "no_address"),
            (json!({ "email_verified": null }), "address_unverified"),
            (json!({ "email_verified": "true" }), "address_unverified"),
            (json!({ "email_verified": 1 }), "address_unverified"),
        ];
        for (told, expected) in refused {
            provider.says(userinfo(told.clone()));
            assert_eq!(comes(&api, &provider, "other").await.leads_to(), REFUSED, "{told}");
            assert_eq!(why(&api).await, expected, "{told}");
        }
        // What is told of one address says nothing of another.
        let own_address = |claims: Value| Says { claims, ..Says::default() };
        provider.says(own_address(json!({ "email": "boss@acme.example" })));
        assert_eq!(comes(&api, &provider, "other").await.leads_to(), REFUSED);
        assert_eq!(why(&api).await, "address_unverified");
        provider.says(own_address(json!({ "email": "other@acme.example", "email_verified": true })));
        assert_eq!(comes(&api, &provider, "other").await.leads_to(), Some("/"), "the control");
        let trusting = json!({ "just_in_time": true, "trust_email": true });
        api.put_provider(&api.owner().await, &provider, trusting).await;
        provider.says(userinfo(json!({ "email_verified": null })));
        assert_eq!(comes(&api, &provider, "third").await.leads_to(), Some("/"), "where that is trusted");
    }

    an_account_is_linked_once_and_known_by_its_subject_from_then_on(api) {
        let provider = api.with_provider(json!({})).await;
        let user = api.add_member("1@acme.example", "member").await;
        assert_eq!(comes(&api, &provider, "1").await.leads_to(), Some("/"));
        assert_eq!(api.records("sso.linked").await.len(), 1);
        // The address is another one now, and the subject is the same.
        provider.says(userinfo(json!({ "email": "elsewhere@other.example", "email_verified": false })));
        assert_eq!(comes(&api, &provider, "1").await.leads_to(), Some("/"));
        provider.says(userinfo(json!({ "email": "2@acme.example" })));
        api.add_member("2@acme.example", "member").await;
        assert_eq!(comes(&api, &provider, "1").await.leads_to(), Some("/"));
        assert_eq!(sessions::of_user(&api.store, &user).await.unwrap().len(), 3, "not the account of that address");
    }

    an_address_that_went_to_somebody_else_takes_nobodys_account_along(api) {
        let provider = api.with_provider(json!({ "just_in_time": true })).await;
        let user = api.add_member("1@acme.example", "member").await;
        assert_eq!(comes(&api, &provider, "1").await.leads_to(), Some("/"));
        assert_eq!(api.records("member.joined").await.len(), 0);
        provider.says(userinfo(json!({ "email": "1@acme.example" })));
        assert_eq!(comes(&api, &provider, "2").await.leads_to(), REFUSED);
        assert_eq!(why(&api).await, "linked_to_another");
        // An administrator who knows that both are one person removes them: they come as a stranger again.
        let (owner, path) = (api.owner().await, format!("/v1/members/{user}"));
        let removed = api.request(Method::DELETE, &path).bearer(owner.access_token()).send().await;
        assert_eq!(removed.status, 204, "{}", removed.json);
        assert_eq!(comes(&api, &provider, "2").await.leads_to(), Some("/"));
        assert_eq!(sessions::of_user(&api.store, &user).await.unwrap().len(), 1);
        let joined = api.records("member.joined").await;
        assert_eq!((joined.len(), &joined[0]["details"]["after"]["role"]), (1, &json!("member")));
        assert_eq!(comes(&api, &provider, "1").await.leads_to(), REFUSED, "it is theirs now");
    }

    an_account_with_second_factors_is_linked_after_one_was_shown(api) {
        let provider = api.with_provider(json!({})).await;
        let holder = Holder::new(&api, "1@acme.example", "member").await;
        let browser = api.browser();
        let answer = provider.way(&browser, "1").await;
        assert_eq!(answer.leads_to(), Some("/login/verify?methods=totp,recovery_code"));
        assert!(browser.cookie("kt_session").is_none());
        assert_eq!(api.records("sso.linked").await.len(), 0, "nothing is linked yet");
        let wrong = holder.app.wrong_code(&api.clock);
        let refused = browser.post("/login/verify", &[("method", "totp"), ("code", &wrong)]).await;
        assert_eq!(refused.status, 401);
        assert_eq!(api.records("sso.linked").await.len(), 0);
        let code = holder.app.code(&api.clock);
        let shown = browser.post("/login/verify", &[("method", "totp"), ("code", &code)]).await;
        assert_eq!(shown.leads_to(), Some("/"), "{}", shown.body);
        assert_eq!(api.records("sso.linked").await.len(), 1);
        assert_eq!(comes(&api, &provider, "1").await.leads_to(), Some("/"), "from then on it is left to the provider");
    }

    a_providers_word_changes_no_account_that_is_guarded_otherwise(api) {
        let provider = api.with_provider(json!({})).await;
        let begin = async |browser: &Browser<'_>| browser.post("/mfa/setup/totp", &[]).await;
        let plain = api.browser();
        api.add_member("1@acme.example", "member").await;
        provider.way(&plain, "1").await;
        assert_eq!(begin(&plain).await.status, 200, "an account that is nobody else's");

        let holder = Holder::new(&api, "2@acme.example", "member").await;
        let browser = api.browser();
        provider.way(&browser, "2").await;
        api.clock.advance(Duration::from_secs(30));
        let code = holder.app.code(&api.clock);
        browser.post("/login/verify", &[("method", "totp"), ("code", &code)]).await;
        assert_eq!(begin(&browser).await.status, 200, "one of its own factors was shown");
        let later = api.browser();
        provider.way(&later, "2").await;
        for path in ["/mfa/setup/totp", "/mfa/setup/passkey/options", "/mfa/totp/remove", "/mfa/recovery-codes"] {
            assert_eq!(later.post(path, &[]).await.refusal(), (403, "own_proof_required"), "{path}");
        }

        let elsewhere = api.add_member("3@acme.example", "member").await;
        let browser = api.browser();
        provider.way(&browser, "3").await;
        assert_eq!(begin(&browser).await.status, 200, "the control");
        api.organization("other").await;
        api.add_place("other", &elsewhere, "member").await;
        assert_eq!(begin(&browser).await.refusal(), (403, "own_proof_required"), "it opens `other` as well");
    }

    what_an_unproven_account_was_opened_with_is_wiped_at_the_first_verified_link(api) {
        let provider = api.with_provider(json!({ "just_in_time": true })).await;
        api.set_registration(json!({ "self_registration": true })).await;
        // Somebody registers the address of somebody else, with a password that they know.
        let register = json!({
            "organization": "acme", "email": "1@acme.example", "name": "Mallory", "password": PASSWORD,
        });
        assert_eq!(api.post("/v1/auth/register", register).send().await.status, 202);
        let before = users::by_email(&api.store, "1@acme.example").await.unwrap().unwrap();
        assert!(before.password.is_some() && before.email_verified_at.is_none());
        assert_eq!(comes(&api, &provider, "1").await.leads_to(), Some("/"));
        let after = users::by_email(&api.store, "1@acme.example").await.unwrap().unwrap();
        assert_eq!((after.id, after.password, after.epoch), (before.id, None, before.epoch + 1));
        assert!(after.email_verified_at.is_some());
        assert_eq!((before.name.as_str(), after.name.as_str()), ("Mallory", "Somebody 1"), "nor the name that they gave it");
        assert_eq!(api.login("1@acme.example", PASSWORD).await.refusal(), (401, "invalid_credentials"));
        // The control: a verified account keeps its password and its name.
        api.add_member("2@acme.example", "member").await;
        assert_eq!(comes(&api, &provider, "2").await.leads_to(), Some("/"));
        assert_ne!(users::by_email(&api.store, "2@acme.example").await.unwrap().unwrap().name, "Somebody 2");
        assert_eq!(api.login("2@acme.example", PASSWORD).await.text("/status"), "authenticated");
    }

    whoever_is_suspended_stays_out_and_is_not_revived(api) {
        let provider = api.with_provider(json!({ "just_in_time": true, "group_roles": [{ "group": "g", "role": "admin" }] })).await;
        api.add_member("1@acme.example", "member").await;
        assert_eq!(comes(&api, &provider, "1").await.leads_to(), Some("/"), "the control");
        let session = api.login("1@acme.example", PASSWORD).await;
        let stranger = api.add_member("2@acme.example", "member").await;
        let second = api.login("2@acme.example", PASSWORD).await;
        for session in [&session, &second] {
            api.becomes(session, Role::Member, MembershipState::Suspended).await;
        }
        provider.says(Says { claims: json!({ "groups": ["g"] }), ..Says::default() });
        for subject in ["1", "2"] {
            assert_eq!(comes(&api, &provider, subject).await.leads_to(), REFUSED, "{subject}");
            assert_eq!(why(&api).await, "the account cannot sign in");
        }
        let acme = second.text("/organization/id").parse().unwrap();
        let place = memberships::find(&api.store, &acme, &stranger).await.unwrap().unwrap();
        assert_eq!((place.state, place.role), (MembershipState::Suspended, Role::Member));
    }

    groups_decide_the_role_at_every_sign_in_and_never_an_owners(api) {
        let settings = json!({
            "just_in_time": true, "default_role": "member",
            "group_roles": [{ "group": "ops", "role": "admin" }, { "group": "audit", "role": "auditor" }],
        });
        let provider = api.with_provider(settings).await;
        let table = [
            (json!({ "groups": ["ops"] }), "admin"),
            (json!({ "groups": ["audit", "x"] }), "auditor"),
            (json!({ "groups": "ops" }), "admin"),
            (json!({ "groups": [] }), "member"),
            (json!({ "groups": ["ops"] }), "admin"),
            // Entra ID says so where somebody is in more groups than a token holds.
            (json!({ "_claim_names": { "groups": "src1" } }), "admin"),
            (json!({ "_claim_names": { "others": "src1" } }), "member"),
            (json!({ "groups": ["ops"] }), "admin"),
            (json!({}), "member"),
        ];
        for (claims, role) in table {
            provider.says(Says { claims: claims.clone(), ..Says::default() });
            assert_eq!(comes(&api, &provider, "1").await.leads_to(), Some("/"));
            assert_eq!(role_of(&api, "1@acme.example").await.as_deref(), Some(role), "{claims}");
        }
        provider.says(Says { claims: json!({ "groups": [] }), userinfo: json!({ "email": "owner@acme.example" }), ..Says::default() });
        assert_eq!(comes(&api, &provider, "the-owner").await.leads_to(), Some("/"));
        assert_eq!(role_of(&api, "owner@acme.example").await.as_deref(), Some("owner"));
        let changed = api.records("member.role_changed").await;
        assert_eq!(changed[0]["details"]["after"]["by"], "groups");
    }

    somebody_who_comes_twice_at_once_for_the_first_time_gets_one_account(api) {
        let provider = api.with_provider(json!({ "just_in_time": true })).await;
        for round in 0..5 {
            let subject = format!("new{round}");
            let come = || comes(&api, &provider, &subject);
            for answer in side_by_side([come(), come(), come()]).await {
                assert_eq!(answer.leads_to(), Some("/"), "{}", answer.body);
            }
            let linked = api.records("sso.linked").await;
            assert_eq!(linked.len(), round + 1, "one account");
        }
    }

    a_name_at_one_provider_is_nothing_at_another(api) {
        let provider = api.with_provider(json!({})).await;
        api.add_member("1@acme.example", "member").await;
        assert_eq!(comes(&api, &provider, "1").await.leads_to(), Some("/"));
        // Another organization's provider says the same subject and address.
        let other_owner = api.owner_of_another().await;
        let liar = Provider::start(&api.clock).await;
        let made = api.put_provider(&other_owner, &liar, json!({ "just_in_time": true, "trust_email": true })).await;
        assert_eq!(made.status, 200, "{}", made.json);
        let browser = api.browser();
        let left = browser.post("/login/sso", &[("organization", "other")]).await;
        let back = liar.authorize(left.leads_to().unwrap(), "1");
        assert_eq!(browser.come_back(&back).await.leads_to(), REFUSED);
        assert!(browser.cookie("kt_session").is_none());
    }
}
