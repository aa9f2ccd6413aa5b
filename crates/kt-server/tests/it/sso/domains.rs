//! Domains: claimed, shown to be one's own, looked for again, given up. Records: `sso.domain_verified`, `sso.domain_removed`,
//! `sso.domain_missing`, `sso.domain_found`, `sso.domain_lapsed`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, TestApi, on_both};

const DAY: Duration = Duration::from_hours(24);

/// A day later, after the records were looked for.
async fn next_day(api: &TestApi) {
    api.clock.advance(DAY + Duration::from_secs(1));
    api.control.look_outside(&api.operator()).await.unwrap();
}

/// The one domain of `acme`, as the API tells it.
async fn shown(api: &TestApi) -> Value {
    let owner = api.owner().await;
    let list = api.get("/v1/organization/domains").bearer(owner.access_token()).send().await;
    list.json["domains"][0].clone()
}

async fn on_overview(api: &TestApi) -> bool {
    let browser = api.signed_in("owner@acme.example").await;
    browser.get("/overview").await.page().contains("Domains whose TXT record is gone")
}

/// Claims `acme.example` and shows it; the name and the value of its record.
async fn verified(api: &TestApi) -> (String, String) {
    let owner = api.owner().await;
    let made = claim(api, &owner, "acme.example").await;
    let (name, value) = (made.text("/record_name").to_owned(), made.text("/record_value").to_owned());
    api.names.set(&name, &[&value]);
    assert_eq!(verify(api, &owner, "acme.example").await.status, 200);
    (name, value)
}

async fn claim(api: &TestApi, owner: &Answer, domain: &str) -> Answer {
    let body = json!({ "domain": domain });
    api.post("/v1/organization/domains", body).bearer(owner.access_token()).send().await
}

async fn verify(api: &TestApi, owner: &Answer, domain: &str) -> Answer {
    let path = format!("/v1/organization/domains/{domain}/verify");
    api.request(axum::http::Method::POST, &path).bearer(owner.access_token()).send().await
}

on_both! {
    a_domain_is_shown_by_its_own_record_and_by_no_other(api) {
        let owner = api.owner().await;
        let made = claim(&api, &owner, "Acme.Example").await;
        assert_eq!((made.status.as_u16(), made.text("/domain")), (201, "acme.example"));
        assert_eq!(made.text("/record_name"), "_keeptrusts-challenge.acme.example");
        let (name, value) = (made.text("/record_name"), made.text("/record_value"));
        for texts in [vec![], vec!["keeptrusts-domain="], vec![&value[..20]], vec!["v=spf1 -all"]] {
            api.names.set(name, &texts);
            assert_eq!(verify(&api, &owner, "acme.example").await.refusal(), (409, "domain_not_proven"), "{texts:?}");
        }
        api.names.set("acme.example", &[value]);
        assert_eq!(verify(&api, &owner, "acme.example").await.refusal(), (409, "domain_not_proven"), "of another name");
        api.names.set(name, &["v=spf1 -all", value]);
        let verified = verify(&api, &owner, "acme.example").await;
        assert!(verified.json["verified_at"].is_string(), "the control: {}", verified.json);
        assert_eq!(api.records("sso.domain_verified").await[0]["details"]["after"]["by"], "dns");

        let path = "/v1/organization/domains/acme.example";
        let gone = api.request(axum::http::Method::DELETE, path).bearer(owner.access_token()).send().await;
        assert_eq!(gone.status, 204);
        assert!(api.recorded("sso.domain_removed").await);
        assert_eq!(verify(&api, &owner, "acme.example").await.refusal(), (404, "not_found"));
    }

    a_domain_belongs_to_one_organization(api) {
        let (owner, other) = (api.owner().await, api.owner_of_another().await);
        for owner in [&owner, &other] {
            let made = claim(&api, owner, "acme.example").await;
            api.names.set(made.text("/record_name"), &[made.text("/record_value")]);
        }
        // The record holds the challenge of `other` now.
        assert_eq!(verify(&api, &owner, "acme.example").await.refusal(), (409, "domain_not_proven"));
        assert_eq!(verify(&api, &other, "acme.example").await.status, 200, "the control");
        let by_operator = api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await;
        assert_eq!(by_operator.unwrap_err().code, "domain_taken");
    }

    nobody_owns_a_domain_where_anybody_has_an_address(api) {
        let owner = api.owner().await;
        for domain in ["gmail.com", "GMAIL.com", "outlook.com", "com", "a@acme.example", "", "*.acme.example"] {
            assert_eq!(claim(&api, &owner, domain).await.refusal(), (422, "validation_error"), "{domain}");
        }
        assert_eq!(claim(&api, &owner, "acme.example").await.status, 201, "the control");
    }

    name_servers_are_asked_within_bounds(api) {
        let owner = api.owner().await;
        claim(&api, &owner, "acme.example").await;
        for _ in 0..60 {
            assert_eq!(verify(&api, &owner, "acme.example").await.refusal(), (409, "domain_not_proven"));
        }
        assert_eq!(verify(&api, &owner, "acme.example").await.refusal(), (429, "too_many_attempts"));
    }

    a_domain_whose_record_is_gone_is_told_and_lapses_after_two_weeks(api) {
        let (name, value) = verified(&api).await;
        next_day(&api).await;
        assert_eq!((&shown(&api).await["missing_since"], on_overview(&api).await), (&json!(null), false), "it is there");
        api.names.set(&name, &["v=spf1 -all"]);
        api.control.look_outside(&api.operator()).await.unwrap();
        assert!(!api.recorded("sso.domain_missing").await, "it is looked for once a day");
        next_day(&api).await;
        let missing = shown(&api).await;
        assert!(missing["missing_since"].is_string() && missing["lapses_at"].is_string() && missing["verified_at"].is_string());
        assert!(on_overview(&api).await);
        assert_eq!(api.told("owner@acme.example", "The TXT record of acme.example is gone").await, 1);
        for _ in 0..13 {
            next_day(&api).await;
        }
        assert!(shown(&api).await["verified_at"].is_string(), "not yet");
        assert_eq!(api.told("owner@acme.example", "The TXT record of acme.example is gone").await, 1, "once");
        next_day(&api).await;
        let lapsed = shown(&api).await;
        assert_eq!((&lapsed["verified_at"], &lapsed["lapses_at"]), (&json!(null), &json!(null)));
        assert!(on_overview(&api).await, "it is still to be seen to");
        assert_eq!(api.told("owner@acme.example", "acme.example no longer counts as your organization's").await, 1);
        assert_eq!((api.records("sso.domain_missing").await.len(), api.records("sso.domain_lapsed").await.len()), (1, 1));
        next_day(&api).await;
        assert_eq!(api.records("sso.domain_lapsed").await.len(), 1);
        api.names.set(&name, &[&value]);
        assert_eq!(verify(&api, &api.owner().await, "acme.example").await.status, 200, "the control: it is shown again");
        assert!(!on_overview(&api).await);
    }

    a_record_that_comes_back_ends_it(api) {
        let (name, value) = verified(&api).await;
        api.names.set(&name, &[]);
        next_day(&api).await;
        api.names.set(&name, &["v=spf1 -all", &value]);
        next_day(&api).await;
        assert_eq!((&shown(&api).await["missing_since"], on_overview(&api).await), (&json!(null), false));
        assert!(api.recorded("sso.domain_found").await);
        // The two weeks begin anew.
        api.names.set(&name, &[]);
        for _ in 0..13 {
            next_day(&api).await;
        }
        assert!(shown(&api).await["verified_at"].is_string());
    }

    name_servers_that_do_not_answer_say_nothing(api) {
        let (name, _) = verified(&api).await;
        api.names.fail(&name);
        for _ in 0..20 {
            next_day(&api).await;
        }
        assert_eq!((&shown(&api).await["missing_since"], api.recorded("sso.domain_missing").await), (&json!(null), false));
        api.names.set(&name, &[]);
        next_day(&api).await;
        assert!(shown(&api).await["missing_since"].is_string(), "the control");
    }

    an_owner_and_the_operator_claim_at_the_same_time(api) {
        let owner = api.owner().await;
        for round in 0..20 {
            let domain = format!("acme-{round}.example");
            let operator = api.operator();
            let (claimed, vouched) = tokio::join!(
                claim(&api, &owner, &domain),
                api.control.vouch_for_domain(&operator, "acme", &domain)
            );
            assert_eq!(claimed.status, 201, "{}", claimed.json);
            assert_eq!(vouched.map(|view| view.domain.to_string()).unwrap(), domain);
        }
    }

    the_operators_word_needs_no_record(api) {
        api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
        for _ in 0..20 {
            next_day(&api).await;
        }
        let domain = shown(&api).await;
        assert_eq!((&domain["verified_by"], &domain["missing_since"]), (&json!("operator"), &json!(null)));
        assert!(domain["verified_at"].is_string());
    }

    the_operator_takes_a_domain_away_that_is_anothers(api) {
        verified(&api).await;
        let other = api.owner_of_another().await;
        let made = claim(&api, &other, "acme.example").await;
        api.names.set(made.text("/record_name"), &[made.text("/record_value")]);
        assert_eq!(verify(&api, &other, "acme.example").await.refusal(), (409, "domain_taken"));
        let gone = api.control.take_domain_away(&api.operator(), "acme", "nowhere.example").await;
        assert_eq!(gone.unwrap_err().code, "not_found");
        api.control.take_domain_away(&api.operator(), "acme", "acme.example").await.unwrap();
        let record = api.records("sso.domain_removed").await.pop().unwrap();
        assert_eq!(record["actor"]["type"], "system");
        assert_eq!(verify(&api, &other, "acme.example").await.status, 200, "the control");
    }
}
