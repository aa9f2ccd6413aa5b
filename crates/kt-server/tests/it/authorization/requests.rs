//! What holds for the requests and answers of every route, whoever asks.

use serde_json::{Value, json};

use super::{OPEN, TABLE, ask, concrete, is_provisioning, key_or_owner};
use crate::harness::on_both;

/// RFC 8628 section 3.4. What a page of another site could send so, it knows itself, and no cookie goes with it.
const READS_A_FORM: (&str, &str) = ("POST /v1/auth/device/token", "application/x-www-form-urlencoded");

on_both! {
    nobody_learns_what_a_route_takes_before_they_have_said_who_they_are(api) {
        for (route, allowed, _) in TABLE.iter().filter(|(_, allowed, _)| *allowed != OPEN) {
            let path = concrete(&api, route.split_once(' ').unwrap().1);
            let answer = ask(&api, route, &path, r#"{"no such field":1}"#, None).await;
            if is_provisioning(route) {
                assert_eq!(answer.status, 401, "{route}");
            } else {
                assert_eq!(answer.refusal(), (401, "missing_key"), "{route} for {allowed}");
            }
        }
    }

    no_route_takes_a_field_that_it_does_not_know(api) {
        let mut asked = 0;
        for (route, allowed, body) in TABLE.iter().filter(|(route, _, body)| !body.is_empty() && !is_provisioning(route)) {
            let mut body: Value = serde_json::from_str(body).unwrap();
            body["no such field"] = json!(1);
            let path = concrete(&api, route.split_once(' ').unwrap().1);
            let answer = ask(&api, route, &path, &body.to_string(), key_or_owner(&api, allowed).await.as_deref()).await;
            assert_eq!(answer.refusal(), (422, "validation_error"), "{route}");
            asked += 1;
        }
        assert!(asked > 40, "{asked}");
    }

    every_route_that_reads_a_body_reads_json_alone(api) {
        let mut asked = 0;
        for (route, allowed, body) in TABLE.iter().filter(|(route, _, body)| !body.is_empty() && !is_provisioning(route)) {
            let (method, path) = route.split_once(' ').unwrap();
            let bearer = key_or_owner(&api, allowed).await;
            for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json", ""] {
                if (*route, kind) == READS_A_FORM {
                    continue;
                }
                let mut request = api.request(method.parse().unwrap(), &concrete(&api, path)).text(kind, body);
                if let Some(bearer) = &bearer {
                    request = request.bearer(bearer);
                }
                assert_eq!(request.send().await.refusal(), (415, "unsupported_media_type"), "{route} as {kind:?}");
                asked += 1;
            }
        }
        assert!(asked > 200, "{asked}");
    }

    nothing_that_the_api_answers_is_kept_or_opened_as_a_page(api) {
        let owner = api.token_of("owner@acme.example").await;
        for (route, _, body) in TABLE {
            let path = concrete(&api, route.split_once(' ').unwrap().1);
            for bearer in [None, Some(owner.as_str())] {
                let answer = ask(&api, route, &path, body, bearer).await;
                let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
                let kept = header("cache-control");
                let is_public = path.starts_with("/.well-known/") || path == "/v1/audit-log/keys";
                assert!(kept == "no-store" || is_public, "{route}: {kept}");
                assert_eq!(header("x-content-type-options"), "nosniff", "{route}");
                assert_eq!(header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'", "{route}");
                assert_eq!(header("referrer-policy"), "no-referrer", "{route}");
                assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{route}");
            }
        }
    }

    an_open_route_is_open_whatever_credentials_come_along(api) {
        let signed_in = |bearer: Option<&'static str>| {
            let body = r#"{"email":"owner@acme.example","password":"Tall-cedar-9-river"}"#;
            ask(&api, "POST /v1/auth/login", "/v1/auth/login", body, bearer)
        };
        for bearer in [None, Some("x"), Some("kt_ak_nobody")] {
            assert_eq!(signed_in(bearer).await.json["status"], "authenticated", "{bearer:?}");
        }
    }

    a_body_is_an_object(api) {
        let owner = api.token_of("owner@acme.example").await;
        let listed = ask(&api, "PATCH /v1/me", "/v1/me", r#"["Ada"]"#, Some(&owner)).await;
        assert_eq!(listed.refusal(), (422, "validation_error"));
        let named = ask(&api, "PATCH /v1/me", "/v1/me", r#"{"name":"Ada"}"#, Some(&owner)).await;
        assert_eq!(named.status, 200, "{}", named.json);
    }
}
