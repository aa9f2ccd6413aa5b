//! What is told, and what is logged, when the store fails (OWASP ASVS 5.0, 16.3.4 and 16.5.1).

use axum::http::StatusCode;
use kt_store::audit;
use serde_json::json;

use crate::audit::behind_its_back;
use crate::canary::Log;
use crate::harness::{Answer, TestApi, on_both};

/// Words of the inside, none of which an answer may hold.
const INSIDE: [&str; 6] = ["api_keys", "gone", "select", "sql", "relation", "table"];

/// The answer is an error in the one shape, tells nothing of the inside, and its request is found in the log with the
/// cause.
fn assert_told_and_logged(failed: &Answer, refusal: (u16, &str), cause: &str) {
    assert_eq!(failed.refusal(), refusal, "{}", failed.body);
    let mut fields: Vec<_> = failed.json["error"].as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["code", "message", "request_id", "type"]);
    let id = failed.text("/error/request_id");
    assert_eq!(failed.headers["x-kt-request-id"], id);
    let told = failed.body.to_lowercase();
    for word in INSIDE {
        assert!(!told.contains(word), "{word}: {told}");
    }
    let log = Log::text();
    let is_it = |line: &&str| line.contains(id) && line.contains("a request failed");
    let line = log.lines().find(is_it).unwrap_or_else(|| panic!("{id} is not in the log"));
    assert!(line.contains(cause), "{line}");
}

async fn list(api: &TestApi, session: &Answer) -> Answer {
    api.get("/v1/tokens").bearer(session.access_token()).send().await
}

on_both! {
    a_failure_of_the_store_is_told_in_one_shape_without_the_inside_and_logged_with_its_request(api) {
        Log::begin();
        let owner = api.owner().await;
        let browser = api.signed_in("owner@acme.example").await;
        let key = json!({ "name": "deploy", "scope": "read-only" });
        let made = api.post("/v1/tokens", key).bearer(owner.access_token()).send().await;
        assert_eq!(made.status, StatusCode::CREATED);
        assert_eq!(list(&api, &owner).await.status, StatusCode::OK, "the control");

        behind_its_back(&api, "ALTER TABLE api_keys RENAME TO gone").await;
        assert_told_and_logged(&list(&api, &owner).await, (503, "store_unavailable"), "api_keys");
        let page = browser.get("/settings/access-keys").await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
        let shown = page.body.to_lowercase();
        assert!(shown.contains(page.headers["x-kt-request-id"].to_str().unwrap()), "{shown}");
        for word in ["api_keys", "no such", "relation", "sqlx"] {
            assert!(!shown.contains(word), "{word}: {shown}");
        }

        behind_its_back(&api, "ALTER TABLE gone RENAME TO api_keys").await;
        assert_eq!(list(&api, &owner).await.status, StatusCode::OK, "it goes on once the store does");
        behind_its_back(&api, "UPDATE api_keys SET ip_ranges = 'no document'").await;
        assert_told_and_logged(&list(&api, &owner).await, (500, "internal_error"), "ip_ranges");
    }

    a_job_that_fails_is_named_and_keeps_no_other_from_its_work(api) {
        Log::begin();
        assert!(!audit::unsigned(&api.store).await.unwrap().is_empty(), "the control: something is to be signed");
        behind_its_back(&api, "ALTER TABLE api_keys RENAME TO gone").await;
        let failed = api.control.run_jobs(&api.operator()).await.unwrap_err();
        assert_eq!(failed.code, "store_unavailable");
        let log = Log::text();
        let line = log.lines().find(|line| line.contains("a job failed")).expect("it is in the log");
        assert!(line.contains("ending keys"), "{line}");
        assert!(audit::unsigned(&api.store).await.unwrap().is_empty(), "the audit log is signed all the same");
    }
}
