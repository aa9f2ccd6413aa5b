//! A second factor that an organisation comes to ask for, as each of its people meets it on the pages: policy, grace,
//! reminders, the end of the grace, enrolment.

use std::time::Duration;

use kt_domain::clock::Clock;
use serde_json::{Value, json};

use crate::harness::{PASSWORD, TestApi, on_both};
use crate::mfa::Holder;
use crate::mfa::app::App;

const ROLES: [&str; 4] = ["member", "auditor", "admin", "owner"];
const ASKED: &str = "Your organization asks for a second factor. Add one before";
const ASKED_FOR_PASSKEY: &str = "Your organization asks you for a passkey. Add one before";

/// Pages that everybody sees.
const PAGES: [&str; 4] = ["/overview", "/settings/profile", "/settings/security", "/help"];

/// Pages that a late person is kept from, whatever they may see otherwise: also where AI is used.
const CLOSED: [&str; 9] = [
    "/overview",
    "/settings/profile",
    "/settings/security",
    "/settings/access-keys",
    "/events",
    "/audit-log",
    "/chat",
    "/tasks",
    "/device",
];

fn email(role: &str) -> String {
    format!("{role}@acme.example")
}

async fn demand(api: &TestApi, mfa: Value) {
    let owner = api.token_of("owner@acme.example").await;
    let changed = api.patch("/v1/organization/security", json!({ "mfa": mfa })).bearer(&owner).send().await;
    assert_eq!(changed.status, 200, "{}", changed.json);
}

/// How many reminders somebody has had, once the jobs have run.
async fn reminders(api: &TestApi, email: &str) -> usize {
    api.control.run_jobs(&api.operator()).await.unwrap();
    let letters = api.letters_to(email).await;
    letters
        .iter()
        .filter(|letter| letter.content.subject.starts_with("Set up a second factor before"))
        .count()
}

/// Whether every page tells somebody who signs in now that they are asked, and until when.
async fn is_told(api: &TestApi, role: &str, asked: &str, deadline: &str) -> bool {
    let browser = api.signed_in(&email(role)).await;
    let mut told = Vec::new();
    for path in PAGES {
        let page = browser.get(path).await;
        told.push(page.page().contains(asked) && page.body.contains(&format!("datetime=\"{deadline}\"")));
    }
    assert!(told.iter().all(|is| *is == told[0]), "{role}: on all pages or on none");
    told[0]
}

on_both! {
    each_role_is_asked_reminded_and_at_the_end_let_in_to_enrol_alone(api) {
        for role in &ROLES[..3] {
            api.add_member(&email(role), role).await;
        }
        let deadline = (api.clock.now() + Duration::from_hours(240)).to_string();
        for role in ROLES {
            assert!(!is_told(&api, role, ASKED, &deadline).await, "{role} is not asked yet");
        }
        demand(&api, json!({ "policy": "required_for_all", "grace_period": "240h" })).await;
        for (later, letters) in [(0, 1), (71, 1), (1, 2), (143, 2), (1, 3)] {
            api.clock.advance(Duration::from_hours(later));
            for role in ROLES {
                assert!(is_told(&api, role, ASKED, &deadline).await, "{role}, {later} hours later");
                assert_eq!(reminders(&api, &email(role)).await, letters, "{role}, {later} hours later");
            }
        }
        api.clock.advance(Duration::from_hours(24) - Duration::from_mins(5));
        let mut in_time = Vec::new();
        for role in ROLES {
            let browser = api.signed_in(&email(role)).await;
            assert_eq!(browser.get("/settings/profile").await.status, 200, "{role}, five minutes before the end");
            in_time.push(browser);
        }
        api.clock.advance(Duration::from_mins(5));
        for (role, browser) in ROLES.into_iter().zip(in_time) {
            let over = browser.get("/settings/profile").await;
            assert!(over.leads_to().is_some_and(|to| to.starts_with("/login")), "{role}: its session is over");

            let late = api.browser();
            assert_eq!(late.sign_in(&email(role), PASSWORD).await.leads_to(), Some("/mfa/setup"), "{role}");
            assert!(late.get("/mfa/setup").await.page().contains("Add Passkey"), "a passkey is offered first");
            for path in CLOSED {
                let refused = late.get(path).await;
                assert!(refused.leads_to().is_some_and(|to| to.starts_with("/login")), "{role}: {path}");
            }
            let begun = late.post("/mfa/setup/totp", &[]).await;
            let (_, rest) = begun.page().split_once("id=\"secret\">").unwrap();
            let app = App::with_secret(rest.split('<').next().unwrap());
            let done = late.post("/mfa/setup/totp/confirm", &[("code", &app.code(&api.clock))]).await;
            assert!(done.page().contains("Save your recovery codes"), "{role}");
            for path in PAGES {
                assert!(!late.get(path).await.page().contains(ASKED), "{role}: {path}");
            }
        }
    }

    whoever_is_asked_for_a_passkey_is_told_so_although_they_have_an_app(api) {
        let admin = Holder::new(&api, "admin@acme.example", "admin").await;
        demand(&api, json!({ "require_passkey_for_admins": true, "grace_period": "72h" })).await;
        let browser = api.browser();
        let asked = browser.sign_in("admin@acme.example", PASSWORD).await;
        assert!(asked.leads_to().unwrap().starts_with("/login/verify"), "{}", asked.body);
        let code = admin.app.code(&api.clock);
        browser.post("/login/verify", &[("method", "totp"), ("code", &code)]).await;
        for path in PAGES {
            let page = browser.get(path).await;
            assert!(page.page().contains(ASKED_FOR_PASSKEY) && !page.body.contains(ASKED), "{path}");
        }
        let member = Holder::new(&api, "member@acme.example", "member").await;
        let browser = api.browser();
        browser.sign_in("member@acme.example", PASSWORD).await;
        let code = member.app.code(&api.clock);
        browser.post("/login/verify", &[("method", "totp"), ("code", &code)]).await;
        assert!(!browser.get("/overview").await.page().contains("asks you for a passkey"), "a member is not");
    }
}
