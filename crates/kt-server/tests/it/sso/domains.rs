//! Domains: claimed, shown to be one's own, given up. Records: `sso.domain_verified`, `sso.domain_removed`.

use serde_json::json;

use crate::harness::{Answer, TestApi, on_both};

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
}
