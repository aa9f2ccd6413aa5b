//! Bodies that are not read: too long, or no JSON.

use axum::http::Method;
use serde_json::json;

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
}
