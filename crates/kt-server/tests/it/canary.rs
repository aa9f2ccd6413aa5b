//! No secret that goes in comes out: not in a record of the audit log, not in a copy of it, not in the program's log, and
//! not in the database.
//!
//! Every route of the OpenAPI document is asked, those too that come later.

use std::io;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use axum::http::Method;
use kt_domain::secret::SecretDigest;
use kt_store::audit;
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;

use crate::console::browser::ORIGIN;
use crate::documented::{Operation, is_secret, operations};
use crate::harness::{PASSWORD, TestApi, on_both};
use crate::mfa::App;

/// The secrets that an answer hands out.
fn handed_out(answer: &Value, found: &mut Vec<String>) {
    match answer {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if is_secret(name) && text.len() >= 20 => found.push(text.to_owned()),
                    _ => handed_out(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| handed_out(item, found)),
        _ => {}
    }
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Everything that the program logs, however unimportant.
pub(crate) struct Log;

impl Log {
    pub(crate) fn begin() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            tracing_subscriber::fmt()
                .with_ansi(false)
                .with_max_level(LevelFilter::TRACE)
                .with_writer(|| Self)
                .init();
        });
    }

    pub(crate) fn text() -> String {
        String::from_utf8_lossy(&LOG.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn text_of_database(api: &TestApi) -> String {
    String::from_utf8_lossy(&api.copy_of_database().await).into_owned()
}

/// Whatever is recorded and logged, in every form.
pub(crate) async fn everything_written(api: &TestApi) -> Vec<(&'static str, String)> {
    tracing::trace!("even this is heard");
    assert!(Log::text().contains("even this is heard"));
    let session = api.owner().await;
    let mut written = vec![("the program's log", Log::text())];
    for path in [
        "/v1/audit-log?limit=200",
        "/v1/audit-log/export?format=jsonl",
        "/v1/audit-log/export?format=csv",
        "/v1/audit-log/export?format=ocsf",
        "/v1/audit-log/export?format=cef",
    ] {
        let answer = api.get(path).bearer(session.access_token()).send().await;
        assert!(
            answer.body.contains("auth.sign_in") || answer.body.contains("auth_sign_in"),
            "{}",
            answer.body
        );
        written.push((path, answer.body));
    }
    let chain = audit::chain(&api.store, None).await.unwrap();
    written.push(("the deployment's chain", chain.into_iter().map(|entry| entry.body).collect()));
    written.push(("the database", text_of_database(api).await));
    written
}

on_both! {
    no_secret_that_passes_a_door_is_written_anywhere(api) {
        const CANARY: &str = "canary-7f3a9c-Tall-cedar";
        Log::begin();
        let mut secrets = vec![CANARY.to_owned(), PASSWORD.to_owned()];
        let mut asked = 0;
        for operation in operations(CANARY) {
            let path = operation.plain_path();
            let Operation { method, body, .. } = operation;
            // Whatever counts failures has forgotten them.
            api.clock.advance(Duration::from_hours(2));
            let session = api.owner().await;
            handed_out(&session.json, &mut secrets);
            for bearer in [session.access_token(), CANARY] {
                let request = api.request(method.clone(), &path).bearer(bearer).header("cookie", CANARY);
                let answer = request.body(body.clone()).send().await;
                if method == Method::POST && answer.status.is_success() {
                    handed_out(&answer.json, &mut secrets);
                }
            }
            asked += usize::from(body.is_some_and(|body| body.to_string().contains(CANARY)));
        }
        assert!(asked >= 3, "sign-in, refresh and replacing a password take secrets");
        assert!(secrets.len() > 10, "{secrets:?}");
        for (place, text) in everything_written(&api).await {
            for secret in &secrets {
                assert!(!text.contains(secret), "{secret} stands in {place}");
            }
        }
    }

    no_link_code_or_recovery_code_stands_in_the_database(api) {
        let owner = api.owner().await;
        let mut secrets = vec![PASSWORD.to_owned(), owner.text("/refresh_token").to_owned()];
        let ask = |path: &'static str, body: Value| api.post(path, body).bearer(owner.access_token()).send();
        api.set_registration(json!({ "self_registration": true })).await;
        ask("/v1/invitations", json!({ "email": "ivy@acme.example", "role": "member" })).await;
        ask("/v1/auth/password/forgot", json!({ "email": "owner@acme.example" })).await;
        let rita = json!({ "organization": "acme", "email": "rita@acme.example", "name": "Rita", "password": "Quiet-willow-4-lakes" });
        ask("/v1/auth/register", rita).await;
        // They wait in the database, and leave it.
        let waiting = text_of_database(&api).await;
        for address in ["ivy@acme.example", "owner@acme.example", "rita@acme.example"] {
            secrets.push(api.token_for(address).await);
        }
        let setup = ask("/v1/me/mfa/totp", json!({})).await;
        secrets.push(setup.text("/secret").to_owned());
        let app = App::reading(setup.text("/otpauth_uri"));
        let enrolled = ask("/v1/me/mfa/totp/confirm", json!({ "code": app.code(&api.clock) })).await;
        let codes = enrolled.json["recovery_codes"].as_array().unwrap_or_else(|| panic!("{}", enrolled.json));
        for code in codes.iter().map(|code| code.as_str().unwrap()) {
            secrets.extend([code.to_owned(), code.replace('-', "")]);
        }
        let kept = text_of_database(&api).await;
        assert_eq!(secrets.len(), 26);
        for secret in &secrets {
            assert!(!kept.contains(secret) && !waiting.contains(secret), "{secret}");
            let digest = SecretDigest::of(secret).to_string();
            assert!(secret.len() < 40 || kept.contains(&digest), "the control: what a link opens by is there, digested");
        }
    }

    a_secret_at_sign_in_is_written_nowhere(api) {
        const CANARY: &str = "canary-51c0de-Tall-cedar";
        Log::begin();
        let session = api.owner().await;
        let mut secrets = vec![CANARY.to_owned()];
        handed_out(&session.json, &mut secrets);
        let login = |more: Value| {
            let mut body = json!({ "email": "owner@acme.example", "password": PASSWORD });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            api.post("/v1/auth/login", body).send()
        };
        for more in [json!({ "password": CANARY }), json!({ "device_token": CANARY })] {
            handed_out(&login(more).await.json, &mut secrets);
        }
        let refresh = json!({ "refresh_token": session.text("/refresh_token") });
        for _ in ["used", "and replayed"] {
            handed_out(&api.post("/v1/auth/refresh", refresh.clone()).send().await.json, &mut secrets);
        }
        for (place, text) in everything_written(&api).await {
            for secret in &secrets {
                assert!(!text.contains(secret), "{secret} stands in {place}");
            }
        }
    }

    no_token_of_a_link_stands_in_the_log_of_the_console(api) {
        Log::begin();
        let owner = api.owner().await;
        let invitation = json!({ "email": "new@acme.example", "role": "member" });
        api.post("/v1/invitations", invitation).bearer(owner.access_token()).send().await;
        api.post("/v1/auth/password/forgot", json!({ "email": "owner@acme.example" })).send().await;
        let change = json!({ "email": "olive@acme.example" });
        api.patch("/v1/me", change).bearer(owner.access_token()).send().await;
        let mut tokens = Vec::new();
        for (address, page) in [
            ("new@acme.example", "/register"),
            ("owner@acme.example", "/reset-password"),
            ("olive@acme.example", "/verify-email"),
        ] {
            let token = api.token_for(address).await;
            let browser = api.browser();
            let path = format!("{page}?token={token}");
            for _ in 0..2 {
                let shown = browser.get(&path).await;
                assert!(shown.page().contains("data-hide-token"), "{page}: the script takes it out of the address");
            }
            let from = format!("{ORIGIN}{path}");
            browser.send(Method::GET, &format!("{path}&more"), &[("referer", &from)], None).await;
            // What a browser would report of a page whose address still holds it.
            let report = json!({ "csp-report": { "document-uri": from, "blocked-uri": "eval" } });
            let kind = [("content-type", "application/csp-report")];
            let reported = browser.send(Method::POST, "/csp-report", &kind, Some(report.to_string())).await;
            assert_eq!(reported.status, 204);
            tokens.push(token);
        }
        let fields = [("token", tokens[1].as_str()), ("new_password", "Quiet-willow-4-lakes")];
        let posted = api.browser().post("/reset-password", &fields).await;
        assert!(posted.status.is_success() || posted.status.is_redirection(), "{}", posted.body);
        let log = Log::text();
        assert!(log.contains("/reset-password") && log.contains("eval"), "the report itself is told");
        for token in tokens {
            assert!(!log.contains(&token), "{token} stands in the log");
        }
    }
}
