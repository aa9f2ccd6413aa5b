//! Coming in for the first time, and getting back in: registration, links in mails, forgotten passwords, devices.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::Method;
use kt_control::mail::{Message, Renderer};
use kt_domain::email::EmailAddress;
use kt_domain::public_url::PublicUrl;
use serde_json::json;

use super::browser::{Browser, CSRF, ORIGIN};
use crate::harness::{PASSWORD, TestApi, on_both};

const JO: &str = "jo@acme.example";
const CHOSEN: &str = "Quiet-willow-4-lakes";
const OWNER: &str = "owner@acme.example";

async fn register(browser: &Browser<'_>, email: &str) -> crate::harness::Answer {
    let fields = [
        ("organization", "acme"),
        ("name", "Jo <script>alert(1)</script>"),
        ("email", email),
        ("password", CHOSEN),
    ];
    browser.post("/register", &fields).await
}

async fn invite(api: &TestApi, email: &str, role: &str) -> String {
    api.clock.advance(Duration::from_secs(1));
    let owner = api.signed_in(OWNER).await;
    let answer = owner.post("/settings/invitations", &[("email", email), ("role", role)]).await;
    assert_eq!(answer.status.as_u16(), 303, "{}", answer.body);
    api.token_for(email).await
}

on_both! {
    somebody_registers_confirms_by_a_button_waits_and_is_let_in(api) {
        api.set_registration(json!({ "self_registration": true, "signup_approval": true })).await;
        let browser = api.browser();
        let page = browser.get("/register?organization=acme").await;
        assert!(page.page().contains(r#"value="acme""#) && page.body.contains("data-strength"));
        assert_eq!(register(&browser, JO).await.leads_to(), Some("/verify-email"));
        assert!(browser.get("/verify-email").await.page().contains("Check your mail"));
        assert_eq!(browser.sign_in(JO, CHOSEN).await.leads_to(), Some("/verify-email"), "not yet");

        let link = format!("/verify-email?token={}", api.token_for(JO).await);
        for _ in 0..2 {
            let page = browser.get(&link).await;
            assert!(page.page().contains("data-hide-token"), "looking does not use it up");
        }
        let token = api.token_for(JO).await;
        let confirmed = browser.post("/verify-email", &[("token", &token)]).await;
        assert_eq!(confirmed.leads_to(), Some("/pending"));
        assert!(browser.get("/pending").await.page().contains("You are in the queue"));
        assert_eq!(browser.sign_in(JO, CHOSEN).await.leads_to(), Some("/pending"));
        assert_eq!(browser.post("/verify-email", &[("token", &token)]).await.refusal(), (422, "invalid_token"));

        let owner = api.signed_in(OWNER).await;
        let page = owner.get("/settings/members").await;
        assert!(page.page().contains("Waiting for approval") && page.body.contains(JO));
        assert!(!page.body.contains("<script>alert"), "what strangers type is text");
        let id = waiting_id(&page.body);
        let approve = format!("/settings/registrations/{id}/approve");
        assert_eq!(owner.post(&approve, &[("role", "auditor")]).await.status.as_u16(), 303);
        assert_eq!(browser.sign_in(JO, CHOSEN).await.leads_to(), Some("/"));
        let again = owner.post(&approve, &[("role", "auditor")]).await;
        assert_eq!(again.refusal(), (404, "not_found"), "decided");
    }

    a_link_that_is_asked_for_again_replaces_the_first(api) {
        api.set_registration(json!({ "self_registration": true, "signup_approval": false })).await;
        let browser = api.browser();
        register(&browser, JO).await;
        let first = api.token_for(JO).await;
        api.clock.advance(Duration::from_secs(1));
        let known = browser.post("/verify-email/resend", &[("email", JO)]).await;
        let unknown = browser.post("/verify-email/resend", &[("email", "nobody@acme.example")]).await;
        assert_eq!(main_of(known.page()), main_of(unknown.page()), "the same answer for all");
        assert_eq!(browser.post("/verify-email", &[("token", &first)]).await.refusal(), (422, "invalid_token"));
        let second = api.token_for(JO).await;
        let confirmed = browser.post("/verify-email", &[("token", &second)]).await;
        assert_eq!(confirmed.leads_to(), Some("/login?reason=verified&returnTo=%2Fmfa%2Fsetup"), "no approval is asked for");
        assert!(browser.get("/login?reason=verified").await.page().contains("Your address is confirmed"));
        assert_eq!(browser.sign_in(JO, CHOSEN).await.leads_to(), Some("/"));
    }

    nobody_registers_where_the_organization_does_not_let_them(api) {
        let browser = api.browser();
        assert_eq!(register(&browser, JO).await.refusal(), (403, "registration_closed"));
        api.set_registration(json!({ "self_registration": true })).await;
        assert_eq!(register(&browser, JO).await.leads_to(), Some("/verify-email"), "and where it does");
    }

    somebody_new_comes_by_an_invitation(api) {
        let token = invite(&api, JO, "auditor").await;
        let browser = api.browser();
        let page = browser.get(&format!("/register?token={token}")).await;
        assert!(page.page().contains(JO) && page.body.contains("Your role will be: Auditor."));
        assert!(page.body.contains("data-hide-token"));
        let fields = |email| [("token", token.as_str()), ("organization", "acme"), ("name", "Jo"), ("email", email), ("password", CHOSEN)];
        let other = browser.post("/register", &fields("other@acme.example")).await;
        assert_eq!(other.refusal(), (422, "validation_error"), "for its own address alone");
        assert_eq!(browser.post("/register", &fields(JO)).await.leads_to(), Some("/login?reason=registered&returnTo=%2Fmfa%2Fsetup"));
        assert_eq!(browser.sign_in(JO, CHOSEN).await.leads_to(), Some("/"));
        let used = api.browser().get(&format!("/register?token={token}")).await;
        assert_eq!(used.status.as_u16(), 422, "once");
    }

    somebody_signed_in_accepts_an_invitation_to_another_organization(api) {
        api.owner_of_another().await;
        api.clock.advance(Duration::from_secs(1));
        let token = invite(&api, "owner@other.example", "member").await;
        let link = format!("/register?token={token}");
        let stranger = api.signed_in(OWNER).await;
        assert!(stranger.get(&link).await.page().contains("Accept the invitation"));
        let refused = stranger.post("/register/accept", &[("token", &token)]).await;
        assert_eq!(refused.status.as_u16(), 403, "{}", refused.body);

        let invited = api.signed_in("owner@other.example").await;
        assert!(invited.get(&link).await.page().contains("owner@other.example"));
        let joined = invited.post("/register/accept", &[("token", &token)]).await;
        assert!(joined.page().contains("<code>acme</code>"));
        let fields = [("email", "owner@other.example"), ("password", PASSWORD), ("organization", "acme")];
        let browser = api.browser();
        assert_eq!(browser.post("/login", &fields).await.leads_to(), Some("/"), "several organizations");
        assert!(browser.get("/settings/organization").await.page().contains("<code>acme</code>"));
    }

    every_link_of_every_mail_has_its_page(api) {
        let renderer = Renderer::new(PublicUrl::parse(ORIGIN).unwrap());
        let to = EmailAddress::parse(JO).unwrap();
        let letters = Message::samples().into_iter().map(|message| renderer.render(&message, &to).text);
        let text = letters.collect::<Vec<_>>().join("\n");
        let links = text.split_whitespace().filter_map(|word| word.strip_prefix(ORIGIN));
        // The list of gateways belongs to no mail about an account, and has tests of its own.
        let links: BTreeSet<&str> = links.filter(|link| *link != "/gateways").collect();
        assert!(links.len() > 8, "{links:?}");
        let browser = api.signed_in(OWNER).await;
        for link in links {
            let page = browser.get(link).await;
            // No invitation has the token of the samples; every other page is shown before its link is looked at.
            let expected = if link.starts_with("/register") { 422 } else { 200 };
            let status = if matches!(page.leads_to(), Some("/" | "/chat")) { 200 } else { page.status.as_u16() };
            assert_eq!(status, expected, "{link}");
            assert!(!link.contains("token=") || expected == 422 || page.body.contains("data-hide-token"), "{link}");
        }
    }

    signing_in_leads_to_pages_of_this_console_alone(api) {
        let browser = api.browser();
        for (asked, place) in [
            ("/settings/members", "/settings/members"),
            ("/mfa/setup", "/mfa/setup"),
            ("https://evil.example/overview", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/logout", "/"),
            ("javascript:alert(1)", "/"),
        ] {
            let fields = [("email", OWNER), ("password", PASSWORD), ("returnTo", asked)];
            assert_eq!(browser.post("/login", &fields).await.leads_to(), Some(place), "{asked}");
            let form = api.browser().get(&format!("/login?returnTo={asked}")).await;
            assert!(!form.page().contains("evil.example") && !form.body.contains("alert(1)"), "{asked}");
        }
    }

    a_session_that_was_planted_is_never_signed_in(api) {
        let planted = "A".repeat(43);
        let (victim, other) = (api.browser(), api.browser());
        victim.hold("kt_session", &planted);
        victim.hold("kt_visit", &planted);
        assert_eq!(victim.sign_in(OWNER, PASSWORD).await.leads_to(), Some("/"));
        assert_ne!(victim.cookie("kt_session"), Some(planted.clone()));
        other.hold("kt_session", &planted);
        assert_eq!(other.get("/overview").await.status.as_u16(), 303, "who planted it has nothing");
        assert_eq!(victim.get("/overview").await.status.as_u16(), 200);
    }

    a_refusal_is_told_in_the_language_of_whoever_asks(api) {
        let browser = api.browser();
        let ask = async |path: &str, fields: &[(&str, &str)], language: &str| {
            let token = browser.token().await;
            let headers = [(CSRF, token.as_str()), ("origin", ORIGIN), ("accept-language", language)];
            browser.post_with(path, fields, &headers).await
        };
        let wrong = [("email", OWNER), ("password", "wrong")];
        let weak = [("organization", "acme"), ("name", "Jo"), ("email", JO), ("password", "acme")];
        api.set_registration(json!({ "self_registration": true })).await;
        let table = [
            ("de", "Die Adresse oder das Passwort stimmt nicht", "verwenden Sie mindestens 12 Zeichen: Es sind 4"),
            ("en", "The address or the password is not right", "use at least 12 characters: this has 4"),
        ];
        for (language, refused, broken) in table {
            let answer = ask("/login", &wrong, language).await;
            assert!(answer.text("/error/message").starts_with(refused), "{}", answer.body);
            let answer = ask("/register", &weak, language).await;
            assert_eq!(answer.text("/error/violations/0/message"), broken);
            let judged = ask("/api/password-strength", &[("password", "acme")], language).await;
            assert!(judged.body.contains(broken), "{}", judged.body);
        }
        let owner = api.signed_in(OWNER).await;
        let german = [("accept-language", "de"), ("sec-fetch-mode", "navigate")];
        let page = owner.send(Method::GET, "/settings/security", &german, None).await;
        assert!(page.page().contains("Nach 90 Tagen wird ein Wechsel erzwungen"), "what departs from the standards");
        let missing = owner.send(Method::GET, "/settings/members/usr_nobody", &german, None).await;
        assert!(missing.body.contains("Das gibt es nicht: Mitglied."), "{}", missing.body);
    }

    a_forgotten_password_is_replaced_by_a_link(api) {
        let session = api.signed_in(OWNER).await;
        let browser = api.browser();
        assert!(browser.get("/login").await.page().contains("Forgot Password"));
        let known = browser.post("/forgot-password", &[("email", OWNER)]).await;
        let unknown = browser.post("/forgot-password", &[("email", "nobody@acme.example")]).await;
        assert_eq!(main_of(known.page()), main_of(unknown.page()), "the same answer for all");
        assert_eq!(browser.get("/reset-password").await.leads_to(), Some("/forgot-password"));

        let token = api.token_for(OWNER).await;
        assert!(browser.get(&format!("/reset-password?token={token}")).await.page().contains("data-strength"));
        let weak = browser.post("/reset-password", &[("token", &token), ("new_password", "acme")]).await;
        assert_eq!(weak.refusal(), (422, "validation_error"));
        let fields = [("token", token.as_str()), ("new_password", CHOSEN)];
        assert_eq!(browser.post("/reset-password", &fields).await.leads_to(), Some("/login?reason=password_changed"));
        assert_eq!(session.get("/overview").await.status.as_u16(), 303, "every session ends");
        assert_eq!(browser.post("/reset-password", &fields).await.refusal(), (422, "invalid_token"));
        assert_eq!(browser.sign_in(OWNER, PASSWORD).await.refusal(), (401, "invalid_credentials"));
        assert_eq!(browser.sign_in(OWNER, CHOSEN).await.leads_to(), Some("/"));
    }

    an_address_is_changed_by_its_link_and_given_back_by_the_other(api) {
        let browser = api.signed_in(OWNER).await;
        let change = browser.post("/settings/profile", &[("name", "Olive"), ("email", "new@acme.example")]).await;
        assert_eq!(change.status.as_u16(), 303, "{}", change.body);
        let token = api.token_for("new@acme.example").await;
        let confirmed = browser.post("/verify-email", &[("token", &token)]).await;
        assert_eq!(confirmed.leads_to(), Some("/"));
        let said = browser.get("/settings/profile").await;
        assert!(said.page().contains("The account has its new address now."), "where somebody is signed in");
        let undo = api.token_for(OWNER).await;
        assert!(browser.get(&format!("/undo-email-change?token={undo}")).await.page().contains("data-hide-token"));
        assert_eq!(api.login("new@acme.example", PASSWORD).await.json["status"], "authenticated", "looking undoes nothing");
        let undone = browser.post("/undo-email-change", &[("token", &undo)]).await;
        assert_eq!(undone.leads_to(), Some("/login?reason=email_restored"));
        assert_eq!(api.login("new@acme.example", PASSWORD).await.status.as_u16(), 401);
        assert_eq!(browser.sign_in(OWNER, PASSWORD).await.leads_to(), Some("/"));
    }

    a_temporary_password_leads_to_another_before_anything_else(api) {
        let id = api.add_member(JO, "member").await;
        let owner = api.signed_in(OWNER).await;
        let path = format!("/settings/members/{id}/temporary-password");
        let shown = owner.post(&path, &[]).await;
        let temporary = secret_of(shown.page());
        assert!(!owner.get(&format!("/settings/members/{id}")).await.page().contains(&temporary), "shown once");

        let browser = api.browser();
        assert_eq!(browser.sign_in(JO, &temporary).await.leads_to(), Some("/change-password"));
        assert_eq!(browser.get("/overview").await.status.as_u16(), 303, "nothing else is open");
        assert!(browser.get("/change-password").await.page().contains("New password"));
        let replaced = browser.post("/change-password", &[("new_password", CHOSEN)]).await;
        assert_eq!(replaced.leads_to(), Some("/login?reason=password_changed"));
        assert_eq!(browser.get("/overview").await.status.as_u16(), 303, "and no session comes of it");
        assert_eq!(browser.sign_in(JO, CHOSEN).await.leads_to(), Some("/"));
    }

    a_device_is_approved_or_denied_by_its_code(api) {
        let ask = async || {
            let request = api.request(Method::POST, "/v1/auth/device/authorize").header("user-agent", "<b>kt</b>");
            let answer = request.send().await;
            (answer.text("/device_code").to_owned(), answer.text("/user_code").to_owned())
        };
        let fetch = async |code: &str| {
            api.clock.advance(Duration::from_secs(5));
            api.post("/v1/auth/device/token", json!({ "device_code": code })).send().await
        };
        let (device, code) = ask().await;
        let visitor = api.browser().get(&format!("/device?user_code={code}")).await;
        let back = format!("/login?returnTo=%2Fdevice%3Fuser_code%3D{code}");
        assert_eq!(visitor.leads_to(), Some(back.as_str()), "signing in leads back");

        let browser = api.signed_in(OWNER).await;
        assert!(browser.get("/device").await.page().contains("Type the code"));
        let wrong = browser.post("/device", &[("user_code", "BBBB-BBBB")]).await;
        assert_eq!(wrong.refusal(), (404, "not_found"));
        let typed = code.to_lowercase().replace('-', "");
        let page = browser.post("/device", &[("user_code", &typed)]).await;
        assert!(page.page().contains("&#60;b&#62;kt") && page.body.contains(OWNER), "{}", page.body);
        assert!(page.page().contains("Until 30m without use have passed") && page.page().contains("For 12h at the longest"), "how long its session lives: {}", page.body);
        assert_eq!(fetch(&device).await.refusal(), (409, "authorization_pending"), "looking decides nothing");
        assert!(browser.post("/device/approve", &[("user_code", &code)]).await.page().contains("The device is signed in"));
        assert_eq!(fetch(&device).await.json["status"], "authenticated");

        let (device, code) = ask().await;
        assert!(browser.post("/device/deny", &[("user_code", &code)]).await.page().contains("was refused"));
        assert_eq!(fetch(&device).await.refusal(), (403, "access_denied"));
    }
}

/// The identifier of the one who waits.
fn waiting_id(page: &str) -> String {
    let (_, rest) = page.split_once("/settings/registrations/").unwrap();
    rest.split('/').next().unwrap().to_owned()
}

/// What a page shows once.
pub(super) fn secret_of(page: &str) -> String {
    let (_, rest) = page.split_once(r#"<code id="secret">"#).unwrap();
    rest.split('<').next().unwrap().to_owned()
}

/// What a page says, without its tokens and nonces.
fn main_of(page: &str) -> &str {
    page.split_once(r#"<div class="card">"#).unwrap().1
}

#[test]
fn every_field_for_a_password_suits_managers_and_pasting() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = 0;
    for folder in ["templates/pages", "templates/parts"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for tag in text.split("<input").skip(1).map(|rest| rest.split('>').next().unwrap()) {
                let is_password = tag.contains("name=\"password\"")
                    || tag.contains("_password\"")
                    || tag.contains("current-password")
                    || tag.contains("new-password");
                if !is_password
                    || ["hidden", "checkbox"].iter().any(|kind| tag.contains(&format!("type=\"{kind}\"")))
                {
                    continue;
                }
                found += 1;
                let shown = format!("{}: {tag}", path.display());
                assert!(tag.contains("type=\"password\""), "{shown}");
                let names = ["autocomplete=\"current-password\"", "autocomplete=\"new-password\""];
                assert!(names.iter().any(|name| tag.contains(name)), "{shown}");
                assert!(!tag.contains("readonly") && !tag.contains("onpaste"), "{shown}");
            }
        }
    }
    assert!(found >= 4, "{found}");
    for script in ["app.js", "fields.js", "session.js", "keyboard.js", "passkeys.js", "chat.js"] {
        let text = std::fs::read_to_string(root.join("static").join(script)).unwrap();
        assert!(!text.contains("\"paste\"") && !text.contains("onpaste"), "{script} hears of pasting");
    }
}
