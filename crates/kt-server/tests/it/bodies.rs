//! Bodies that are not read: too long, or no JSON.

use axum::http::Method;
use serde_json::json;

use crate::documented::{Operation, operations};
use crate::harness::on_both;

/// How long a body may be.
const MOST: usize = 4 * 1024 * 1024;

/// A request for a key, as JSON of so many bytes.
fn of_length(bytes: usize) -> String {
    let body = json!({ "name": "deploy", "scope": "write" }).to_string();
    format!("{}{body}", " ".repeat(bytes - body.len()))
}

on_both! {
    a_body_is_read_up_to_its_longest_and_no_further(api) {
        let owner = api.token_of("owner@acme.example").await;
        for name in [None, Some("of-this-one-there-is-one")] {
            let send = |bytes| {
                let request = api.request(Method::POST, "/v1/tokens").bearer(&owner);
                let request = if let Some(name) = name { request.header("idempotency-key", name) } else { request };
                request.text("application/json", &of_length(bytes)).send()
            };
            let refused = send(MOST + 1).await;
            assert_eq!(refused.refusal(), (413, "request_too_large"), "{name:?}");
            assert_eq!(refused.text("/error/type"), "request_too_large");
            assert_eq!(send(MOST).await.status, 201, "the control, {name:?}");
        }
    }

    a_body_is_refused_by_the_name_of_the_field_at_fault(api) {
        let owner = api.token_of("owner@acme.example").await;
        for (path, body, param) in [
            ("/v1/auth/login", r#"{"email":"a@b.example"}"#, "password"),
            ("/v1/auth/login", "{}", "email"),
            ("/v1/auth/login", r#"{"email":"a@b.example","password":"x","pasword":"x"}"#, "pasword"),
            ("/v1/auth/login", r#"{"email":"a@b.example","password":7}"#, "password"),
            ("/v1/auth/login", r#"{"email":"a@b.example","email":"a@b.example","password":"x"}"#, "email"),
            ("/v1/auth/login", "7", "body"),
            ("/v1/me/reauthenticate", r#"{"passkey":{"credential":{}}}"#, "passkey.flow_token"),
            ("/v1/organization/ip-restrictions/preview", r#"{"allow":[{"cidr":"192.0.2.0/24"},{"label":"Office"}]}"#, "allow[1].cidr"),
        ] {
            let refused = api.request(Method::POST, path).bearer(&owner).text("application/json", body).send().await;
            assert_eq!((refused.refusal(), refused.text("/error/param")), ((422, "validation_error"), param), "{body}");
        }
    }

    what_is_no_json_is_told_so(api) {
        let owner = api.token_of("owner@acme.example").await;
        for (body, refusal) in [
            (r#"{"name":"deploy""#, (400, "invalid_json")),
            (r#"{"name":"deploy"} {}"#, (400, "invalid_json")),
            (r#"["deploy","write"]"#, (422, "validation_error")),
            (r#"{"name":1}"#, (422, "validation_error")),
        ] {
            let request = api.request(Method::POST, "/v1/tokens").bearer(&owner).text("application/json", body);
            assert_eq!(request.send().await.refusal(), refusal, "{body}");
        }
    }
    of_somebody_who_is_not_known_no_more_than_64_kib_are_read(api) {
        const OF_STRANGERS: usize = 64 * 1024;
        let document = serde_json::to_value(kt_server::openapi()).unwrap();
        let is_open = |operation: &Operation| {
            let place = &document["paths"][&operation.path][operation.method.as_str().to_lowercase()];
            place["security"] == json!([]) || place["security"] == json!([{}])
        };
        let open = operations("x").into_iter().filter(is_open).filter(|operation| operation.body.is_some());
        let mut asked = 0;
        for operation in open {
            let body = operation.body.as_ref().unwrap().to_string();
            let path = operation.plain_path();
            for (length, is_read) in [(OF_STRANGERS, true), (OF_STRANGERS + 1, false)] {
                let text = format!("{}{body}", " ".repeat(length - body.len()));
                let request = api.request(operation.method.clone(), &path).text("application/json", &text);
                let answer = request.send().await;
                assert_eq!(answer.status != 413, is_read, "{length} bytes to {path}: {}", answer.body);
            }
            asked += 1;
        }
        assert!(asked > 15, "sign-in, registration, recovery and what belongs to them: {asked}");
        for (length, refusal) in [(OF_STRANGERS, (401, "expired_token")), (OF_STRANGERS + 1, (413, "request_too_large"))] {
            let text = format!("device_code={}", "x".repeat(length - "device_code=".len()));
            let request = api.request(Method::POST, "/v1/auth/device/token");
            let answer = request.text("application/x-www-form-urlencoded", &text).send().await;
            assert_eq!(answer.refusal(), refusal, "{length} bytes of a form");
        }
        let unasked = api.request(Method::POST, "/v1/tokens").text("application/json", &of_length(MOST + 1));
        assert_eq!(unasked.send().await.refusal(), (401, "missing_key"), "nothing is read where a bearer is needed");

        let stranger = api.browser();
        let long = "x".repeat(OF_STRANGERS);
        assert_eq!(stranger.post("/login", &[("email", &long), ("password", "x")]).await.status, 413, "nor by the console");
        let owner = api.signed_in("owner@acme.example").await;
        let known = owner.post("/settings/profile", &[("name", &long)]).await;
        assert_ne!(known.status, 413, "the control: {}", known.status);
    }
}
