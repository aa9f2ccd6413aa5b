//! The protocol's own words: how it describes itself, what it refuses and how, and its bounds.

use axum::http::Method;
use serde_json::{Value, json};

use super::word;
use crate::harness::{Answer, on_both};

/// Every address, with identifiers that nobody has.
const ROUTES: &[(&str, &str)] = &[
    ("GET", "/ServiceProviderConfig"),
    ("GET", "/ResourceTypes"),
    ("GET", "/ResourceTypes/User"),
    ("GET", "/Schemas"),
    ("GET", "/Schemas/none"),
    ("GET", "/Users"),
    ("POST", "/Users"),
    ("GET", "/Users/none"),
    ("PUT", "/Users/none"),
    ("PATCH", "/Users/none"),
    ("DELETE", "/Users/none"),
    ("GET", "/Groups"),
    ("POST", "/Groups"),
    ("GET", "/Groups/none"),
    ("PUT", "/Groups/none"),
    ("PATCH", "/Groups/none"),
    ("DELETE", "/Groups/none"),
    ("POST", "/.search"),
    ("POST", "/Users/.search"),
    ("POST", "/Groups/.search"),
    ("POST", "/Bulk"),
    ("GET", "/Me"),
    ("GET", "/none"),
];

on_both! {
    what_is_wrong_is_said_in_the_protocols_words(api) {
        let directory = api.directory().await;
        let id = directory.user("ada@acme.example").await;
        let user = format!("/Users/{id}");
        let operations = |list: Value| json!({ "Operations": list });
        for (method, path, body, expected) in [
            (Method::GET, "/Users?filter=userName%20co%20%22a%22", Value::Null, (400, "invalidFilter")),
            (Method::GET, "/Users?filter=password%20eq%20%22a%22", Value::Null, (400, "invalidFilter")),
            (Method::GET, "/Groups?filter=members%20co%20%22a%22", Value::Null, (400, "invalidFilter")),
            (Method::GET, "/Users?attributes=id&excludedAttributes=name", Value::Null, (400, "invalidValue")),
            (Method::POST, "/Users", json!({ "active": true }), (400, "invalidValue")),
            (Method::POST, "/Users", json!([]), (400, "invalidSyntax")),
            (Method::POST, "/Groups", json!({ "members": [] }), (400, "invalidValue")),
            (Method::PATCH, &user, json!({ "Operations": 1 }), (400, "invalidSyntax")),
            (Method::PATCH, &user, operations(json!([{ "op": "remove" }])), (400, "noTarget")),
            (Method::PATCH, &user, operations(json!([{ "op": "replace", "path": "displayName", "value": "x".repeat(300) }])), (400, "invalidValue")),
            (Method::PATCH, &user, operations(json!([{ "op": "replace", "path": "userName", "value": "eve@acme.example" }])), (400, "mutability")),
            (Method::PUT, &user, json!({ "userName": "eve@acme.example" }), (400, "mutability")),
            (Method::GET, "/Users/nobody", Value::Null, (404, "")),
            (Method::GET, "/Schemas/nothing", Value::Null, (404, "")),
            (Method::GET, "/nothing", Value::Null, (404, "")),
            (Method::DELETE, "/Users", Value::Null, (405, "")),
            (Method::POST, "/Schemas", json!({}), (405, "")),
            (Method::POST, "/.search", json!({}), (501, "")),
            (Method::GET, "/Schemas?filter=id%20eq%20%22x%22", Value::Null, (403, "invalidFilter")),
        ] {
            assert_eq!(word(&directory.send(method.clone(), path, body).await), expected, "{method} {path}");
        }
    }

    it_describes_itself(api) {
        let directory = api.directory().await;
        for path in ["/ServiceProviderConfig", "/ResourceTypes", "/ResourceTypes/User", "/Schemas", "/Schemas/urn:ietf:params:scim:schemas:core:2.0:Group"] {
            let answer = directory.get(path).await;
            assert_eq!((answer.status.as_u16(), &answer.headers["content-type"]), (200, &"application/scim+json".parse().unwrap()), "{path}");
        }
        let config = directory.get("/ServiceProviderConfig").await.json;
        for (feature, supported) in [("patch", true), ("filter", true), ("bulk", false), ("sort", false), ("etag", false), ("changePassword", false)] {
            assert_eq!(config[feature]["supported"], supported, "{feature}");
        }
        let kinds = directory.get("/ResourceTypes").await.json;
        for kind in kinds["Resources"].as_array().unwrap() {
            assert_eq!(directory.get(&format!("/Schemas/{}", kind["schema"].as_str().unwrap())).await.status, 200);
            assert_eq!(directory.get(kind["endpoint"].as_str().unwrap()).await.status, 200);
        }
    }

    an_answer_holds_what_was_asked_for(api) {
        let directory = api.directory().await;
        let ada = directory.user("ada@acme.example").await;
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let one = directory.get(&format!("/Users/{ada}?attributes=userName")).await.json;
        assert_eq!(names(&one), ["schemas", "id", "userName"]);
        let listed = directory.get("/Users?excludedAttributes=name,emails,groups,meta,active,externalId,displayName").await.json;
        assert_eq!(names(&listed["Resources"][0]), ["schemas", "id", "userName"]);
        let group = json!({ "displayName": "Ops", "members": [{ "value": ada }] });
        let made = directory.send(Method::POST, "/Groups?excludedAttributes=members", group).await;
        assert_eq!((made.status.as_u16(), made.json.get("members")), (201, None), "as Entra ID asks for groups");
    }

    a_body_is_read_as_one_of_two_types_and_up_to_a_bound(api) {
        let directory = api.directory().await;
        let ask = async |declared: &str, name: &str| {
            let body = json!({ "userName": format!("{name}@acme.example"), "active": true }).to_string();
            let request = api.request(Method::POST, "/scim/v2/Users").bearer(&directory.key);
            request.text(declared, &body).send().await
        };
        assert_eq!(ask("application/scim+json; charset=utf-8", "ada").await.status, 201);
        assert_eq!(ask("application/json", "bob").await.status, 201);
        for declared in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
            assert_eq!(word(&ask(declared, "eve").await), (415, ""), "{declared}");
        }
        let long = |filling: usize| json!({ "displayName": "Ops", "note": "x".repeat(filling) });
        let most = 1024 * 1024;
        assert_eq!(word(&directory.send(Method::POST, "/Groups", long(most)).await), (413, ""));
        assert_eq!(directory.send(Method::POST, "/Groups", long(most - 100)).await.status, 201, "the control");
        let deep = "[".repeat(100_000);
        let request = api.request(Method::POST, "/scim/v2/Users").bearer(&directory.key);
        let answer = request.text("application/scim+json", &deep).send().await;
        assert_eq!(word(&answer), (400, "invalidSyntax"));
    }

    a_provider_that_has_gone_astray_is_told_to_wait(api) {
        let directory = api.directory().await;
        for _ in 0..1500 {
            assert_eq!(directory.get("/ResourceTypes/User").await.status, 200);
        }
        let refused = directory.get("/ResourceTypes/User").await;
        assert_eq!(word(&refused), (429, ""));
        let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        api.clock.advance(std::time::Duration::from_secs(wait));
        assert_eq!(directory.get("/ResourceTypes/User").await.status, 200, "the control");
    }

    a_provisioning_key_opens_nothing_else_and_nothing_else_opens_this(api) {
        let directory = api.directory().await;
        for path in ["/v1/members", "/v1/events", "/v1/tokens", "/v1/audit-log", "/v1/organization", "/v1/whoami"] {
            let status = api.get(path).bearer(&directory.key).send().await.status;
            assert_eq!(status, 403, "{path}");
        }
        let owner = api.owner().await;
        let key = async |kind: &str, scope: &str| {
            let new = json!({ "type": kind, "name": "a key", "scope": scope });
            let made: Answer = api.post("/v1/tokens", new).bearer(owner.access_token()).send().await;
            made.text("/key").to_owned()
        };
        let others = [key("access", "admin").await, key("gateway", "write").await, owner.access_token().to_owned()];
        for (method, path) in ROUTES {
            let body = match *method {
                "POST" | "PUT" | "PATCH" => json!({ "userName": "ada@acme.example", "displayName": "Ops", "Operations": [] }),
                _ => Value::Null,
            };
            let ask = async |bearer: &str| {
                let body = Some(body.clone()).filter(|body| !body.is_null());
                api.request(method.parse().unwrap(), &format!("/scim/v2{path}")).bearer(bearer).body(body).send().await
            };
            assert_eq!(word(&ask("kt_sk_nonsense").await).0, 401, "{method} {path}");
            for bearer in &others {
                assert_eq!(word(&ask(bearer).await).0, 403, "{method} {path}");
            }
            let status = ask(&directory.key).await.status.as_u16();
            assert!(![401, 403].contains(&status), "{method} {path}, the control: {status}");
        }
    }

    only_who_manages_members_gets_such_a_key_and_it_always_changes_something(api) {
        api.demand(json!({ "creation": "everyone" })).await;
        for (role, status) in [("member", 403), ("auditor", 403), ("admin", 201), ("owner", 201)] {
            let session = api.somebody(role).await;
            let new = json!({ "type": "scim", "name": "directory", "scope": "write" });
            let made = api.post("/v1/tokens", new).bearer(session.access_token()).send().await;
            assert_eq!(made.status, status, "{role}");
        }
        let reading = json!({ "type": "scim", "name": "directory", "scope": "read-only" });
        let refused = api.post("/v1/tokens", reading).bearer(api.owner().await.access_token()).send().await;
        assert_eq!((refused.status.as_u16(), refused.text("/error/param")), (422, "scope"));
    }
}
