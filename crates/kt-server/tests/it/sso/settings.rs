//! The provider as owners set it up. Records: `sso.updated`, `sso.removed`.

use axum::http::Method;
use kt_domain::sso::Protocol;
use serde_json::{Value, json};

use super::provider::Provider;
use super::{CLIENT, SECRET};
use crate::harness::{Answer, TestApi, on_both};

const PATH: &str = "/v1/organization/sso/oidc";

async fn change(api: &TestApi, owner: &Answer, body: Value, version: Option<&str>) -> Answer {
    let request = api.put(PATH, body).bearer(owner.access_token());
    match version {
        Some(version) => request.header("if-match", version).send().await,
        None => request.send().await,
    }
}

on_both! {
    a_provider_is_set_shown_without_its_secret_and_removed(api) {
        let (owner, provider) = (api.owner().await, Provider::start(&api.clock).await);
        let read = async || api.get(PATH).bearer(owner.access_token()).send().await;
        assert_eq!(read().await.refusal(), (404, "not_found"));
        let body = json!({
            "issuer": format!("{}/.well-known/openid-configuration", provider.issuer()), "client_id": CLIENT,
            "client_secret": SECRET, "settings": { "display_name": "Acme ID", "session_limit": "8h" },
        });
        let made = change(&api, &owner, body, Some("\"0\"")).await;
        assert_eq!(made.status, 200, "{}", made.json);
        assert_eq!(made.text("/issuer"), provider.issuer(), "the address of its metadata leads to the issuer");
        assert_eq!(made.text("/redirect_uri"), "http://localhost:3000/sso/oidc/acme/callback");
        let shown = read().await;
        assert_eq!(shown.json, made.json);
        assert_eq!((shown.json["has_secret"].as_bool(), shown.json["enabled"].as_bool()), (Some(true), Some(false)));
        assert!(!shown.body.contains("of/the"), "the secret is never answered");
        let stored = api.records("sso.updated").await;
        assert_eq!(stored[0]["details"]["after"]["secret"], "set");
        assert!(!stored[0].to_string().contains("of/the"), "nor recorded");

        let version = shown.headers["etag"].to_str().unwrap().to_owned();
        let body = json!({ "issuer": provider.issuer(), "client_id": "other" });
        let changed = change(&api, &owner, body.clone(), Some(&version)).await;
        assert_eq!(changed.json["has_secret"], true, "a secret that is left out stays");
        assert_eq!(change(&api, &owner, body, Some(&version)).await.refusal(), (412, "version_mismatch"));
        let elsewhere = Provider::start(&api.clock).await;
        let mut body = json!({ "issuer": elsewhere.issuer(), "client_id": CLIENT });
        let refused = change(&api, &owner, body.clone(), None).await;
        assert_eq!((refused.status.as_u16(), refused.text("/error/param")), (422, "client_secret"), "it is sent to no other");
        body["client_secret"] = json!("another");
        assert_eq!(change(&api, &owner, body, None).await.status, 200);
        let gone = api.request(Method::DELETE, PATH).bearer(owner.access_token()).send().await;
        assert_eq!(gone.status, 204);
        assert!(api.recorded("sso.removed").await);
        assert_eq!(read().await.refusal(), (404, "not_found"));
    }

    what_is_left_out_stays_as_it_is(api) {
        let (owner, provider) = (api.owner().await, Provider::start(&api.clock).await);
        let settings = json!({
            "require_mfa": true, "mfa_values": ["gold"], "group_roles": [{ "group": "ops", "role": "admin" }], "session_limit": "8h",
        });
        let whole = json!({
            "enabled": true, "issuer": provider.issuer(), "client_id": CLIENT, "client_secret": SECRET,
            "authentication": "client_secret_post", "settings": settings,
        });
        let made = change(&api, &owner, whole, None).await;
        assert_eq!(made.status, 200, "{}", made.json);
        let bare = json!({ "issuer": provider.issuer(), "client_id": CLIENT });
        let kept = change(&api, &owner, bare, None).await;
        assert_eq!(kept.json, made.json);
        let changed = json!({
            "issuer": provider.issuer(), "client_id": CLIENT, "enabled": false, "authentication": "none", "settings": {},
        });
        let changed = change(&api, &owner, changed, None).await;
        let told = [&changed.json["enabled"], &changed.json["authentication"], &changed.json["settings"]["require_mfa"]];
        assert_eq!(told, [&json!(false), &json!("none"), &json!(false)], "the control: {}", changed.json);
    }

    manual_values_take_the_place_of_metadata(api) {
        let (owner, provider) = (api.owner().await, Provider::start(&api.clock).await);
        let at = |part: &str| format!("{}/{part}", provider.issuer());
        let body = |jwks: &str| json!({
            "issuer": "https://id.acme.example", "client_id": CLIENT,
            "endpoints": { "authorization": at("authorize"), "token": at("token"), "jwks": jwks },
        });
        assert_eq!(change(&api, &owner, body("ftp://x"), None).await.text("/error/param"), "endpoints.jwks");
        let made = change(&api, &owner, body(&at("keys")), None).await;
        assert_eq!(made.text("/issuer"), "https://id.acme.example", "the control: {}", made.json);
    }

    what_breaks_a_rule_is_refused_by_its_name(api) {
        let (owner, provider) = (api.owner().await, Provider::start(&api.clock).await);
        let with = |settings: Value| json!({ "issuer": provider.issuer(), "client_id": CLIENT, "settings": settings });
        let table = [
            (json!({ "default_role": "owner" }), "default_role"),
            (json!({ "group_roles": [{ "group": "g", "role": "owner" }] }), "group_roles[0].role"),
            (json!({ "session_limit": "1m" }), "session_limit"),
            (json!({ "attributes": { "email": "" } }), "attributes.email"),
            (json!({ "no_such_field": 1 }), "settings.no_such_field"),
        ];
        for (settings, field) in table {
            let refused = change(&api, &owner, with(settings), None).await;
            assert_eq!((refused.status.as_u16(), refused.text("/error/param")), (422, field));
        }
        assert_eq!(change(&api, &owner, with(json!({})), None).await.status, 200, "the control");
    }

    only_owners_decide_who_vouches_for_people(api) {
        let provider = Provider::start(&api.clock).await;
        api.add_member("admin@acme.example", "admin").await;
        let admin = api.login("admin@acme.example", crate::harness::PASSWORD).await;
        let refused = api.put_provider(&admin, &provider, json!({})).await;
        assert_eq!(refused.refusal(), (403, "rank_too_low"));
        let owner = api.owner().await;
        api.clock.advance(std::time::Duration::from_mins(11));
        let stale = api.put_provider(&owner, &provider, json!({})).await;
        assert_eq!(stale.refusal(), (403, "reauthentication_required"));
        let made = api.put_provider(&api.owner().await, &provider, json!({})).await;
        assert_eq!(made.status, 200, "the control: {}", made.json);
    }

    the_only_way_in_must_be_one(api) {
        let provider = Provider::start(&api.clock).await;
        let owner = api.owner().await;
        let required = json!({ "required": true });
        let refused = api.put_provider(&owner, &provider, required.clone()).await;
        assert_eq!(refused.refusal(), (409, "sso_not_proven"));
        api.put_provider(&owner, &provider, json!({})).await;
        api.control.vouch_for_domain(&api.operator(), "acme", "acme.example").await.unwrap();
        let refused = api.put_provider(&owner, &provider, required.clone()).await;
        assert_eq!(refused.refusal(), (409, "sso_not_proven"), "nobody has come through it");
        api.add_member("1@acme.example", "member").await;
        provider.way(&api.browser(), "1").await;
        let made = api.put_provider(&owner, &provider, required).await;
        assert_eq!(made.status, 200, "the control: {}", made.json);
    }

    a_deployment_offers_no_more_than_its_features_say(api) {
        assert!(Protocol::ALL.iter().all(|protocol| api.control.offers(*protocol)));
        assert!(!api.control.offers_google(), "without a client there is no Google");
    }
}
