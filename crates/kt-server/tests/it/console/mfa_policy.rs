//! A second factor that an organization comes to ask for, as each of its people meets it on the pages: policy, grace,
//! reminders, the end of the grace, enrolment.

use std::collections::BTreeSet;
use std::time::Duration;

use kt_domain::clock::Clock;
use serde_json::{Value, json};

use crate::harness::{PASSWORD, TestApi, on_both};
use crate::mfa::Holder;
use crate::mfa::app::App;
use crate::mfa::authenticator::Authenticator;

const ROLES: [&str; 4] = ["member", "auditor", "admin", "owner"];
const ASKED: &str = "Your organization asks for a second factor. Add one before";
const ASKED_FOR_PASSKEY: &str = "Your organization asks you for a passkey. Add one before";

/// Pages that everybody sees.
const PAGES: [&str; 6] =
    ["/overview", "/settings/profile", "/settings/security", "/help", "/help/mfa", "/device"];

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

    where_a_passkey_is_demanded_nothing_else_is_offered(api) {
        api.add_member(&email("admin"), "admin").await;
        api.add_member(&email("member"), "member").await;
        let mfa = json!({ "policy": "required_for_all", "require_passkey_for_admins": true, "grace_period": "72h" });
        demand(&api, mfa).await;
        for (role, subject, closing) in [
            ("admin", "Set up a passkey before", "An authenticator app is not enough."),
            ("member", "Set up a second factor before", "A passkey or an authenticator app will do."),
        ] {
            let letters = api.letters_to(&email(role)).await;
            let told = letters.iter().find(|letter| letter.content.subject.starts_with(subject)).unwrap();
            assert!(told.content.text.contains(closing), "{}", told.content.text);
            let page = api.signed_in(&email(role)).await.get("/settings/security").await;
            assert_eq!(page.page().contains("asks you for a passkey. Add one before this moment"), role == "admin");
        }
        api.clock.advance(Duration::from_hours(72));
        for (role, offers_app) in [("admin", false), ("member", true)] {
            let browser = api.browser();
            assert_eq!(browser.sign_in(&email(role), PASSWORD).await.leads_to(), Some("/mfa/setup"));
            let page = browser.get("/mfa/setup").await;
            assert!(page.page().contains("Add Passkey"), "{role}");
            let app = ["Use an authenticator app", "hx-post=\"/mfa/setup/totp\""].map(|app| page.body.contains(app));
            assert_eq!(app, [offers_app; 2], "{role}");
            assert_eq!(page.body.contains("asks you for a passkey before you go on"), !offers_app, "{role}");
            assert_eq!(browser.post("/mfa/setup/totp", &[]).await.status == 200, offers_app, "{role}");
        }
    }

    the_page_that_was_asked_for_is_reached_through_enrolling(api) {
        for person in ["jo", "kim", "lee"] {
            api.add_member(&email(person), "member").await;
        }
        demand(&api, json!({ "policy": "required_for_all", "grace_period": "0h" })).await;
        let codes = api.post("/v1/auth/device/authorize", json!({})).send().await;
        let device = format!("/device?user_code={}", codes.text("/user_code"));
        let led = api.browser().get(&device).await;
        let login = led.leads_to().unwrap();
        let carried = login.strip_prefix("/login?").unwrap();
        assert!(carried.starts_with("returnTo=%2Fdevice%3Fuser_code%3D"), "{login}");
        let setup = format!("/mfa/setup?{carried}");
        let field = format!("name=\"returnTo\" value=\"{device}\"");
        let signs_in = async |person: &str, asked: &str| {
            let browser = api.browser();
            let fields = [("email", email(person)), ("password", PASSWORD.to_owned()), ("returnTo", asked.to_owned())];
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = browser.post("/login", &fields).await;
            (browser, answer.leads_to().unwrap().to_owned())
        };

        let (by_app, next) = signs_in("jo", &device).await;
        assert_eq!(next, setup);
        assert_eq!(by_app.get(&next).await.page().matches(&field).count(), 2, "in the form of each way");
        let begun = by_app.post("/mfa/setup/totp", &[("returnTo", &device)]).await;
        assert!(begun.page().contains(&field) && begun.body.contains(&format!("href=\"{setup}\"")), "and on the way back");
        let (_, rest) = begun.body.split_once("id=\"secret\">").unwrap();
        let app = App::with_secret(rest.split('<').next().unwrap());
        let code = [("code", app.code(&api.clock)), ("returnTo", device.clone())];
        let code = [("code", code[0].1.as_str()), ("returnTo", code[1].1.as_str())];
        let done = by_app.post("/mfa/setup/totp/confirm", &code).await;
        assert!(done.page().contains("Save your recovery codes") && done.body.contains(&format!("href=\"{device}\"")));
        assert!(by_app.get(&device).await.page().contains(codes.text("/user_code")), "the code is not lost");

        let (by_passkey, _) = signs_in("kim", &device).await;
        let asked = by_passkey.post("/mfa/setup/passkey/options", &[]).await;
        let credential = Authenticator::new().create(&asked.json["options"]).to_string();
        let answer = [("flow_token", asked.text("/flow_token")), ("credential", &credential), ("returnTo", &device)];
        let done = by_passkey.post("/mfa/setup/passkey", &answer).await;
        assert!(done.page().contains(&format!("href=\"{device}\"")));

        let (elsewhere, next) = signs_in("lee", "//evil.example").await;
        assert_eq!(next, "/mfa/setup", "no page of ours");
        assert!(!elsewhere.get("/mfa/setup?returnTo=//evil.example").await.page().contains("evil.example"));
        assert!(elsewhere.get(&setup).await.page().contains(&field), "the control");
        api.clock.advance(Duration::from_mins(6));
        assert_eq!(elsewhere.get(&setup).await.leads_to(), Some(login), "the step is over: it begins again");
        assert_eq!(api.browser().get("/mfa/setup").await.leads_to(), Some("/login?returnTo=%2Fmfa%2Fsetup"));
    }

    a_session_opened_by_a_recovery_code_is_confirmed_by_another(api) {
        let jo = Holder::new(&api, &email("jo"), "admin").await;
        let browser = api.browser();
        browser.sign_in(&email("jo"), PASSWORD).await;
        let shown = [("method", "recovery_code"), ("code", jo.recovery_codes[0].as_str())];
        assert_eq!(browser.post("/login/verify", &shown).await.leads_to(), Some("/"));
        let page = browser.get("/settings/profile").await;
        let offered = ["prove-recovery", "prove-code", "prove-password"].map(|id| page.page().contains(&format!("id=\"{id}\"")));
        assert_eq!(offered, [true, true, false]);
        assert!(!page.body.contains("data-passkey=\"prove\""), "there is no passkey");
        api.clock.advance(Duration::from_mins(11));
        let renew = async || browser.post("/mfa/recovery-codes", &[]).await;
        let prove = async |name: &str, value: &str| browser.post("/api/session/reauthenticate", &[(name, value)]).await;
        assert_eq!(renew().await.refusal(), (403, "reauthentication_required"));
        assert_eq!(prove("password", PASSWORD).await.refusal(), (403, "stronger_proof_required"));
        assert_eq!(prove("recovery_code", &jo.recovery_codes[0]).await.refusal(), (401, "invalid_code"), "used already");
        assert_eq!(renew().await.refusal(), (403, "reauthentication_required"));
        assert_eq!(prove("recovery_code", &jo.recovery_codes[1]).await.status, 200);
        assert_eq!(prove("recovery_code", &jo.recovery_codes[1]).await.refusal(), (401, "invalid_code"), "it is used up");
        assert_eq!(api.records("mfa.recovery_code_used").await.len(), 2);
        assert!(renew().await.page().contains("Save your recovery codes"));
        // Whoever came in by their password alone confirms with that.
        api.add_member(&email("kim"), "member").await;
        let kim = api.signed_in(&email("kim")).await.get("/settings/profile").await;
        assert!(kim.page().contains("id=\"prove-password\"") && !kim.body.contains("id=\"prove-recovery\""));
    }

    a_policy_that_shuts_people_out_at_once_is_saved_once_that_is_confirmed(api) {
        let admin = Holder::new(&api, &email("admin"), "admin").await;
        for person in ["jo", "kim"] {
            api.add_member(&email(person), "member").await;
        }
        let browser = api.signed_in(&email("owner")).await;
        let save = async |policy: &str, grace: &str, confirmed: bool| {
            let page = browser.get("/settings/security").await;
            let (_, form) = page.page().split_once("hx-post=\"/settings/security/mfa\"").unwrap();
            let (_, version) = form.split_once("name=\"version\" value=\"").unwrap();
            let version = version.split('"').next().unwrap().to_owned();
            let mut fields = vec![("version", version.as_str()), ("policy", policy), ("grace_period", grace)];
            fields.extend(confirmed.then_some(("confirm_shut_out", "on")));
            browser.post("/settings/security/mfa", &fields).await
        };
        let saved = save("required_for_admins", "24h", false).await;
        assert_eq!(saved.leads_to(), Some("/settings/security"), "whoever has time is not shut out: {}", saved.body);
        api.clock.advance(Duration::from_mins(1));

        let asked = save("required_for_all", "0h", false).await;
        assert!(asked.page().contains("from the next request on: 3") && asked.body.contains("You are one of them"));
        assert!(asked.body.contains("name=\"confirm_shut_out\""));
        let kept = api.get("/v1/organization/security").bearer(&admin.token).send().await;
        assert_eq!((&kept.json["mfa"]["policy"], &kept.json["mfa"]["grace_period"]), (&json!("required_for_admins"), &json!("24h")));
        assert_eq!(api.told(&email("jo"), "Set up a second factor now").await, 0, "nobody is told of what was not done");
        assert_eq!(browser.get("/settings/profile").await.status, 200, "nor shut out");

        assert_eq!(save("required_for_all", "0h", true).await.status, 303);
        for person in ["owner", "jo", "kim"] {
            assert_eq!(api.told(&email(person), "Set up a second factor now").await, 1, "{person}");
        }
        assert_eq!(api.told(&email("admin"), "Set up a second factor now").await, 0, "who has one");
        assert!(browser.get("/settings/profile").await.leads_to().is_some_and(|to| to.starts_with("/login")));
        assert_eq!(api.browser().sign_in(&email("jo"), PASSWORD).await.leads_to(), Some("/mfa/setup"));
    }

    whoever_lacks_what_is_asked_is_counted_as_they_are_listed(api) {
        let admin = Holder::new(&api, &email("admin"), "admin").await;
        let browser = api.signed_in(&email("owner")).await;
        let counted = async || {
            let page = browser.get("/settings/security").await;
            let (_, rest) = page.page().split_once("without the passkey that is asked of them: ").unwrap();
            (rest.split('<').next().unwrap().to_owned(), page.body.clone())
        };
        let attention = async || browser.get("/overview").await.page().contains("Members who lack the second factor that is asked of them");
        let (number, page) = counted().await;
        assert_eq!(number, "1", "the owner; the admin has an app");
        assert!(page.contains("<span class=\"badge\">Optional</span>") && page.contains("href=\"/settings/members?mfa=missing\""));
        assert!(!attention().await, "nobody is asked");

        demand(&api, json!({ "require_passkey_for_admins": true, "grace_period": "72h" })).await;
        let (number, page) = counted().await;
        assert_eq!(number, "2", "an app is no passkey");
        assert!(page.contains("<span class=\"badge good\">Required</span>") && page.contains(&email("admin")));
        assert!(attention().await);
        let members = browser.get("/settings/members?mfa=missing").await;
        assert!(members.page().contains(&email("admin")) && members.body.contains(&email("owner")));
        let without = browser.get("/settings/members?mfa=none").await;
        assert!(!without.page().contains(&email("admin")), "who has an app is not without a second factor");
        assert!(browser.get("/overview").await.page().contains("href=\"/settings/members?mfa=none\""));
        api.clock.advance(Duration::from_mins(1));
        demand(&api, json!({ "require_passkey_for_admins": false })).await;
        assert_eq!(counted().await.0, "1", "the control");
        assert_eq!(api.get("/v1/whoami").bearer(&admin.token).send().await.status, 200);
    }

    whoever_is_late_is_listed_with_since_when(api) {
        let admin = Holder::new(&api, &email("admin"), "admin").await;
        demand(&api, json!({ "policy": "required_for_admins", "grace_period": "10m" })).await;
        let by_code = async || {
            api.clock.advance(Duration::from_secs(30));
            let browser = api.browser();
            browser.sign_in(&email("admin"), PASSWORD).await;
            browser.post("/login/verify", &[("method", "totp"), ("code", &admin.app.code(&api.clock))]).await;
            browser
        };
        let page = by_code().await.get("/settings/members?mfa=missing").await;
        assert!(page.page().contains("badge warn\">Missing</span> <small>Until"), "{}", page.body);
        api.clock.advance(Duration::from_mins(10));
        let page = by_code().await.get("/settings/members?mfa=late").await;
        assert!(page.page().contains("badge bad\">Late</span> <small>Since"), "{}", page.body);
    }

    whoever_comes_through_a_provider_that_is_trusted_with_it_is_not_told_to_enrol(api) {
        let provider = api.with_provider(json!({ "just_in_time": true })).await;
        let browser = api.browser();
        assert_eq!(provider.way(&browser, "1").await.leads_to(), Some("/"));
        api.add_member(&email("jo"), "member").await;
        demand(&api, json!({ "policy": "required_for_all", "grace_period": "72h" })).await;
        api.control.run_jobs(&api.operator()).await.unwrap();
        let told = async |address: &str| {
            let letters = api.letters_to(address).await;
            letters.iter().any(|letter| letter.content.subject.starts_with("Set up a second factor"))
        };
        assert_eq!((told("1@acme.example").await, told(&email("jo")).await), (false, true));
        assert!(!browser.get("/settings/profile").await.page().contains(ASKED));
        assert!(!browser.get("/settings/security").await.page().contains("asks you for a second factor"));
        assert!(api.signed_in(&email("jo")).await.get("/settings/profile").await.page().contains(ASKED), "the control");
        let owner = api.token_of(&email("owner")).await;
        let listed = api.get("/v1/members").bearer(&owner).send().await;
        let members = listed.json["members"].as_array().unwrap();
        let asked = members.iter().filter(|member| member["mfa_deadline"].is_string());
        let asked: BTreeSet<_> = asked.map(|member| member["email"].as_str().unwrap()).collect();
        assert_eq!(asked, BTreeSet::from([email("owner").as_str(), email("jo").as_str()]));
        api.clock.advance(Duration::from_hours(72));
        let again = api.browser();
        assert_eq!(provider.way(&again, "1").await.leads_to(), Some("/"), "and they are let in as before");
    }
}
