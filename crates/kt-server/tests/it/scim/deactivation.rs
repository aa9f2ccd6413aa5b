//! The end of access: whoever is deactivated at the provider is refused at their very next request, by every way in.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::word;
use crate::harness::{Answer, PASSWORD, TestApi, on_both};

/// A key of this kind that the holder of the session makes.
async fn key(api: &TestApi, session: &Answer, kind: &str) -> String {
    let new = json!({ "type": kind, "name": "laptop", "scope": "write" });
    let made = api.post("/v1/tokens", new).bearer(session.access_token()).send().await;
    assert_eq!(made.status, 201, "{}", made.body);
    made.text("/key").to_owned()
}

async fn status_of(api: &TestApi, path: &str, bearer: &str) -> u16 {
    api.get(path).bearer(bearer).send().await.status.as_u16()
}

async fn sync(api: &TestApi, bearer: &str) -> u16 {
    let report =
        json!({ "gateway_id": "gw_edge", "software_version": "0.1.0", "config_version": "0123456789ab" });
    api.post("/v1/gateways/sync", report).bearer(bearer).send().await.status.as_u16()
}

async fn refresh(api: &TestApi, token: &str) -> Answer {
    api.post("/v1/auth/refresh", json!({ "refresh_token": token })).send().await
}

/// The identifiers of the keys by which a gateway is told to admit requests.
async fn told_to_a_gateway(api: &TestApi, bearer: &str) -> usize {
    let report =
        json!({ "gateway_id": "gw_other", "software_version": "0.1.0", "config_version": "0123456789ab" });
    let told = api.post("/v1/gateways/sync", report).bearer(bearer).send().await;
    told.json["keys"]["keys"].as_array().unwrap().len()
}

on_both! {
    one_request_after_deactivation_every_credential_is_refused(api) {
        let directory = api.directory().await;
        let admin = api.add_member("ada@acme.example", "admin").await.to_string();
        let owners_gateway = key(&api, &api.owner().await, "gateway").await;
        for ending in ["deactivated", "deleted"] {
            let session = api.login("ada@acme.example", PASSWORD).await;
            let browser = api.signed_in("ada@acme.example").await;
            let (access, gateway) = (key(&api, &session, "access").await, key(&api, &session, "gateway").await);
            let provider = api.directory_by(session.access_token()).await;
            // The control: a moment before, all of them are good, and what was found about them is still remembered.
            assert_eq!(status_of(&api, "/v1/whoami", session.access_token()).await, 200);
            assert_eq!(browser.get("/settings/profile").await.status, 200);
            assert_eq!(status_of(&api, "/v1/whoami", &access).await, 200);
            assert_eq!(sync(&api, &gateway).await, 200);
            assert_eq!(provider.get("/Users").await.status, 200);
            assert_eq!(told_to_a_gateway(&api, &owners_gateway).await, 1);
            match ending {
                "deactivated" => assert_eq!(directory.set_active(&admin, false).await.json["active"], false),
                _ => assert_eq!(directory.delete(&format!("/Users/{admin}")).await.status, 204),
            }
            assert_eq!(status_of(&api, "/v1/whoami", session.access_token()).await, 401, "{ending}");
            assert!(browser.get("/settings/profile").await.leads_to().is_some_and(|place| place.starts_with("/login")), "{ending}");
            assert_eq!(status_of(&api, "/v1/whoami", &access).await, 401, "{ending}");
            assert_eq!(sync(&api, &gateway).await, 401, "{ending}");
            assert_eq!(word(&provider.get("/Users").await).0, 401, "{ending}");
            assert_eq!(told_to_a_gateway(&api, &owners_gateway).await, 0, "{ending}");
            assert_eq!(refresh(&api, session.text("/refresh_token")).await.status, 401, "{ending}");
            assert_ne!(api.login("ada@acme.example", PASSWORD).await.json["status"], "authenticated", "{ending}");
            if ending == "deactivated" {
                assert_eq!(directory.set_active(&admin, true).await.json["active"], true);
                assert_eq!(status_of(&api, "/v1/whoami", session.access_token()).await, 401, "what was ended stays so");
                api.clock.advance(Duration::from_mins(1));
                let keys = api.get("/v1/tokens").bearer(&api.token_of("owner@acme.example").await).send().await;
                for id in keys.json["tokens"].as_array().into_iter().flatten().filter(|key| key["owner"] == admin) {
                    let path = format!("/v1/tokens/{}", id["id"].as_str().unwrap());
                    api.request(Method::DELETE, &path).bearer(&api.token_of("owner@acme.example").await).send().await;
                }
            }
        }
    }

    every_spelling_of_deactivation_is_understood(api) {
        let directory = api.directory().await;
        let ada = directory.user("ada@acme.example").await;
        for (method, body) in [
            // Okta.
            (Method::PATCH, json!({ "Operations": [{ "op": "replace", "value": { "active": false } }] })),
            (Method::PUT, json!({ "userName": "ada@acme.example", "active": false })),
            // Entra ID, before and after it learned the standard's spelling.
            (Method::PATCH, json!({ "Operations": [{ "op": "Replace", "path": "active", "value": "False" }] })),
            (Method::PATCH, json!({ "Operations": [{ "op": "replace", "path": "active", "value": false }] })),
            (Method::PATCH, json!({ "Operations": [{ "op": "Replace", "path": "urn:ietf:params:scim:schemas:core:2.0:User:active", "value": false }] })),
        ] {
            assert_eq!(directory.set_active(&ada, true).await.json["active"], true, "the control");
            let changed = directory.send(method, &format!("/Users/{ada}"), body.clone()).await;
            assert_eq!((changed.status.as_u16(), &changed.json["active"]), (200, &json!(false)), "{body}");
        }
        let silent = directory.send(Method::PUT, &format!("/Users/{ada}"), json!({ "userName": "ada@acme.example" })).await;
        assert_eq!(silent.json["active"], false, "silence lets nobody in");
        let removed = directory.patch(&format!("/Users/{ada}"), json!([{ "op": "remove", "path": "active" }])).await;
        assert_eq!(word(&removed), (400, "mutability"));
    }

    nothing_that_is_sent_besides_stands_in_the_way(api) {
        let directory = api.directory().await;
        directory.user("bob@acme.example").await;
        let ada = api.add_member("ada@acme.example", "member").await.to_string();
        // Ada gives her account another address, which the provider does not know.
        let mine = api.login("ada@acme.example", PASSWORD).await;
        let change = api.patch("/v1/me", json!({ "email": "ada@elsewhere.example" }));
        assert_eq!(change.bearer(mine.access_token()).send().await.status, 200);
        let link = api.token_for("ada@elsewhere.example").await;
        assert_eq!(api.post("/v1/auth/email/verify", json!({ "token": link })).send().await.status, 200);

        let path = format!("/Users/{ada}");
        let put = |more: Value| {
            let mut body = json!({ "userName": "ada@elsewhere.example" });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            (Method::PUT, body)
        };
        let replacing = |values: &[(&str, Value)]| {
            let replace = |(path, value): &(&str, Value)| json!({ "op": "replace", "path": path, "value": value });
            (Method::PATCH, json!({ "Operations": values.iter().map(replace).collect::<Vec<_>>() }))
        };
        let behind = |active: bool, more: Vec<Value>| {
            let mut all = vec![json!({ "op": "replace", "path": "active", "value": active })];
            all.extend(more);
            (Method::PATCH, json!({ "Operations": all }))
        };
        let sent = |active: bool| [
            (put(json!({ "userName": "ada@acme.example", "active": active })), 400),
            (replacing(&[("userName", json!("ada@acme.example")), ("active", json!(active))]), 400),
            (replacing(&[("active", json!(active)), ("userName", json!("renamed@acme.example"))]), 400),
            (put(json!({ "externalId": "ext-bob@acme.example", "active": active })), 409),
            (put(json!({ "userName": "no address", "active": active })), 400),
            // What cannot even be read.
            (put(json!({ "displayName": "Ada\tByron", "active": active })), 400),
            (put(json!({ "displayName": "a".repeat(300), "active": active })), 400),
            (put(json!({ "externalId": 42, "active": active })), 400),
            ((Method::PUT, json!({ "active": active })), 400),
            (behind(active, vec![json!({ "op": "move", "path": "title" })]), 400),
            (behind(active, vec![json!("nothing")]), 400),
            (behind(active, vec![json!({ "op": "remove", "path": "title" }); 1000]), 400),
        ];
        for ((ending, _), (control, refused)) in sent(false).into_iter().zip(sent(true)) {
            assert_eq!(directory.set_active(&ada, true).await.json["active"], true);
            let session = api.login("ada@elsewhere.example", PASSWORD).await;
            assert_eq!(status_of(&api, "/v1/whoami", session.access_token()).await, 200, "the control");
            let changed = directory.send(ending.0, &path, ending.1.clone()).await;
            assert_eq!((changed.status.as_u16(), &changed.json["active"]), (200, &json!(false)), "{}", ending.1);
            assert_eq!(changed.text("/userName"), "ada@elsewhere.example", "and nothing else");
            assert_eq!(status_of(&api, "/v1/whoami", session.access_token()).await, 401, "{}", ending.1);
            let kept_out = directory.send(control.0, &path, control.1.clone()).await;
            assert_eq!(kept_out.status, refused, "nobody is let in by such a request: {}", control.1);
        }
        let passed_over = api.records("member.provisioned").await;
        let passed_over = passed_over.iter().filter(|record| record["details"]["after"]["passed_over"].is_string());
        assert_eq!(passed_over.count(), 12);
    }

    whoever_was_suspended_here_is_not_let_in_again_by_the_provider(api) {
        let directory = api.directory().await;
        let (ada, bob) = (directory.user("ada@acme.example").await, directory.user("bob@acme.example").await);
        let act = async |id: &str, verb: &str| {
            let owner = api.token_of("owner@acme.example").await;
            api.request(Method::POST, &format!("/v1/members/{id}/{verb}")).bearer(&owner).send().await.status.as_u16()
        };
        let put = async |id: &str, email: &str, name: &str, active: bool| {
            let body = json!({ "userName": email, "displayName": name, "active": active });
            let changed = directory.send(Method::PUT, &format!("/Users/{id}"), body).await;
            assert_eq!((changed.status.as_u16(), changed.text("/displayName")), (200, name), "{}", changed.body);
            changed.json["active"].clone()
        };
        assert_eq!(act(&ada, "suspend").await, 200);
        assert_eq!(directory.set_active(&bob, false).await.json["active"], false);
        let role = api.request(Method::PATCH, &format!("/v1/members/{bob}")).body(Some(json!({ "role": "auditor" })));
        assert_eq!(role.bearer(&api.token_of("owner@acme.example").await).send().await.status, 200, "a role changes nothing of that");
        assert_eq!(put(&ada, "ada@acme.example", "Ada Byron", true).await, false, "the name is another, and nothing else");
        assert_eq!(put(&bob, "bob@acme.example", "Bob Byron", true).await, true, "the control: whom the provider has suspended");
        assert_eq!(directory.set_active(&ada, true).await.json["active"], false);
        assert_eq!(put(&ada, "ada@acme.example", "Ada Lovelace", false).await, false);
        assert_eq!(directory.set_active(&ada, true).await.json["active"], false, "nor after it has said no as well");
        assert_eq!(api.records("member.reactivated").await.len(), 1, "of Bob");
        assert_eq!(act(&ada, "reactivate").await, 200);
        assert_eq!(directory.get(&format!("/Users/{ada}")).await.json["active"], true);
        assert_eq!(directory.set_active(&ada, false).await.json["active"], false);
        assert_eq!(directory.set_active(&ada, true).await.json["active"], true, "it was the provider this time");
    }

    an_owner_who_is_deactivated_has_no_way_in_of_their_own_left(api) {
        // Owners keep their own ways in where single sign-on is the only one; not past their suspension.
        let second = api.add_member("second@acme.example", "owner").await.to_string();
        let directory = api.directory().await;
        assert_eq!(api.login("second@acme.example", PASSWORD).await.json["status"], "authenticated", "the control");
        assert_eq!(directory.set_active(&second, false).await.json["active"], false);
        assert_ne!(api.login("second@acme.example", PASSWORD).await.json["status"], "authenticated");
    }

    whoever_is_deactivated_from_the_start_is_a_member_who_is_not_let_in(api) {
        let directory = api.directory().await;
        let body = json!({ "userName": "ada@acme.example", "active": false });
        let made = directory.send(Method::POST, "/Users", body).await;
        assert_eq!((made.status.as_u16(), &made.json["active"]), (201, &Value::Bool(false)));
        let listed = api.get("/v1/members").bearer(&api.token_of("owner@acme.example").await).send().await;
        let ada = listed.json["members"].as_array().unwrap().iter().find(|member| member["email"] == "ada@acme.example");
        assert_eq!(ada.unwrap()["status"], "suspended");
        assert_eq!(directory.set_active(made.text("/id"), true).await.json["active"], true, "it lets in again whom it has suspended");
    }
}
