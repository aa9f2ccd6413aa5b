//! A session of the console, from its first page to its end.

use std::time::Duration;

use axum::http::Method;
use kt_control::{Cookie, Reproof};
use kt_domain::clock::Clock;
use kt_domain::ctx::Ctx;
use kt_domain::secret::SecretDigest;
use serde_json::json;

use super::browser::{Browser, CSRF, ORIGIN};
use super::way_in::secret_of;
use crate::harness::{PASSWORD, on_both};

on_both! {
    somebody_signs_in_is_told_a_flag_a_token_and_an_expiry_and_signs_out(api) {
        let browser = api.browser();
        let page = browser.get("/settings/profile").await;
        assert_eq!((page.status.as_u16(), page.leads_to()), (303, Some("/login?returnTo=%2Fsettings%2Fprofile")));
        let before = browser.send(Method::GET, "/api/session", &[], None).await;
        assert_eq!((&before.json["authenticated"], &before.json["expires_at"]), (&json!(false), &json!(null)));
        let visit = browser.cookie("kt_visit").unwrap();

        let fields = [("email", "owner@acme.example"), ("password", PASSWORD), ("returnTo", "/settings/profile")];
        let answer = browser.post("/login", &fields).await;
        assert_eq!(answer.leads_to(), Some("/settings/profile"), "{}", answer.body);
        let cookie = browser.cookie("kt_session").unwrap();
        assert_eq!((cookie.len(), browser.cookie("kt_visit")), (43, None), "256 bits, and none of before");
        assert_ne!(cookie, visit, "a session has an identifier of its own");

        let session = browser.send(Method::GET, "/api/session", &[], None).await;
        let names: Vec<_> = session.json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["authenticated", "csrf_token", "expires_at"], "R193: and nothing else");
        assert!(browser.get("/settings/profile").await.page().contains("owner@acme.example"));

        let out = browser.post("/logout", &[]).await;
        assert_eq!(out.leads_to(), Some("/login"));
        assert_eq!(out.headers["clear-site-data"], "\"cache\", \"storage\"");
        browser.hold("kt_session", &cookie);
        assert_eq!(browser.get("/overview").await.leads_to(), Some("/login?returnTo=%2Foverview&reason=timeout"));
    }

    no_answer_holds_a_token_of_the_api(api) {
        let browser = api.signed_in("owner@acme.example").await;
        for path in ["/overview", "/settings/profile", "/api/session"] {
            let answer = browser.get(path).await;
            let told = format!("{:?}{}", answer.headers, answer.body);
            assert!(!told.contains("eyJ"), "a JWT at {path}");
        }
        let cookie = browser.cookie("kt_session").unwrap();
        assert_eq!(api.get("/v1/whoami").bearer(&cookie).send().await.status.as_u16(), 401, "no cookie is a bearer");
        let token = api.owner().await.access_token().to_owned();
        let body = json!({ "type": "access", "name": "deploy", "scope": "admin" });
        let key = api.post("/v1/tokens", body).bearer(&token).send().await;
        let other = api.browser();
        for bearer in [token.as_str(), key.text("/key")] {
            assert_eq!(api.get("/v1/whoami").bearer(bearer).send().await.status.as_u16(), 200, "the control");
            other.hold("kt_session", bearer);
            assert_eq!(other.get("/overview").await.status.as_u16(), 303, "no bearer is a cookie");
        }
        // What the database holds in place of a cookie opens nothing.
        other.hold("kt_session", &SecretDigest::of(&cookie).to_string());
        assert_eq!(other.get("/overview").await.status.as_u16(), 303);
    }

    sixteen_idle_minutes_end_a_session_of_fifteen_and_activity_carries_it_on(api) {
        let owner = api.owner().await;
        let quarter = json!({ "session": { "timeout": "15m" } });
        let changed = api.patch("/v1/organization/security", quarter).bearer(owner.access_token()).send().await;
        assert_eq!(changed.refusal(), (409, "deployment_managed"), "so it is the deployment's half hour that counts");

        let idle = api.signed_in("owner@acme.example").await;
        let active = api.signed_in("owner@acme.example").await;
        let polling = api.signed_in("owner@acme.example").await;
        for _ in 0..31 {
            api.clock.advance(Duration::from_mins(1));
            assert_eq!(active.post("/api/session/activity", &[]).await.status.as_u16(), 200);
            // What a page fetches by itself is nobody's act.
            polling.send(Method::GET, "/api/session", &[("sec-fetch-mode", "cors")], None).await;
        }
        assert_eq!(active.get("/overview").await.status.as_u16(), 200);
        for lapsed in [idle, polling] {
            assert_eq!(lapsed.get("/overview").await.leads_to(), Some("/login?returnTo=%2Foverview&reason=timeout"));
            let answer = lapsed.post("/settings/profile", &[("name", "X"), ("email", "owner@acme.example")]).await;
            assert_eq!(answer.status.as_u16(), 401, "{}", answer.body);
        }
        for _ in 0..53 {
            api.clock.advance(Duration::from_mins(13));
            active.post("/api/session/activity", &[]).await;
        }
        assert_eq!(active.get("/overview").await.status.as_u16(), 200, "twelve hours");
        api.clock.advance(Duration::from_secs(1));
        assert_eq!(active.get("/overview").await.status.as_u16(), 303, "and no second more");
    }

    a_page_that_goes_somewhere_by_itself_is_no_act_of_a_person(api) {
        let going = ("sec-fetch-mode", "navigate");
        let site = ("sec-fetch-site", "same-origin");
        let by_itself = api.signed_in("owner@acme.example").await;
        let by_hand = api.signed_in("owner@acme.example").await;
        for _ in 0..3 {
            api.clock.advance(Duration::from_mins(9));
            let table: [&[(&str, &str)]; 4] =
                [&[going, site], &[going, site, ("sec-fetch-user", "?0")], &[site, ("sec-fetch-user", "?1")], &[]];
            for headers in table {
                let page = by_itself.send(Method::GET, "/overview", headers, None).await;
                assert_eq!(page.status.as_u16(), 200, "{headers:?}");
            }
            let page = by_hand.send(Method::GET, "/overview", &[going, site, ("sec-fetch-user", "?1")], None).await;
            let is_told = ["data-ends-in=\"1800\"", "data-active-ago=\"0\""].iter().all(|told| page.page().contains(told));
            assert!(is_told, "the page counts from the act that brought it");
        }
        let latest = format!("data-ends-at-latest-in=\"{}\"", (12 * 60 - 27) * 60);
        assert!(by_hand.get("/overview").await.page().contains(&latest), "and knows what nothing done in it can change");
        assert!(by_itself.send(Method::GET, "/overview", &[], None).await.page().contains(r#"data-ends-in="180""#));
        api.clock.advance(Duration::from_mins(4));
        assert_eq!(by_itself.get("/overview").await.status.as_u16(), 303);
        assert_eq!(by_hand.get("/overview").await.status.as_u16(), 200);
    }

    whoever_signs_in_again_is_back_at_the_page_they_had_before_them(api) {
        let lapsed = api.signed_in("owner@acme.example").await;
        api.clock.advance(Duration::from_mins(31));
        let page = |path: &str| format!("{ORIGIN}{path}");
        let back = |path: &str| {
            let path: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
            format!("/login?returnTo={path}&reason=timeout")
        };
        // what asks, from which page, and where that leads
        let table = [
            (Method::POST, "/settings/security/session", page("/settings/security"), back("/settings/security")),
            (Method::GET, "/events?live=on&seen=evt_1", page("/events?live=on#top"), back("/events?live=on")),
            (Method::POST, "/settings/security/session", page("/login"), "/login".to_owned()),
            (Method::POST, "/settings/profile", String::new(), "/login".to_owned()),
            (Method::POST, "/settings/profile", "https://evil.example/overview".to_owned(), "/login".to_owned()),
            (Method::POST, "/settings/profile", "http://localhost:3001/overview".to_owned(), "/login".to_owned()),
            (Method::GET, "/events?live=on&seen=evt_1", "//evil.example/overview".to_owned(), "/login".to_owned()),
        ];
        for (method, path, current, place) in table {
            let token = lapsed.token().await;
            let fields = "name=Olive&email=owner%40acme.example&timeout=15m&idle=on";
            let headers = [
                ("content-type", "application/x-www-form-urlencoded"),
                ("hx-request", "true"),
                ("hx-current-url", current.as_str()),
                ("sec-fetch-site", "same-origin"),
                (CSRF, token.as_str()),
            ];
            let body = (method == Method::POST).then(|| fields.to_owned());
            let answer = lapsed.send(method, path, &headers, body).await;
            assert_eq!((answer.status.as_u16(), answer.leads_to()), (401, Some(place.as_str())), "{path} from {current}");
        }
        let gone_to = lapsed.send(Method::GET, "/events?verdict=blocked", &[("hx-current-url", ORIGIN)], None).await;
        assert_eq!(gone_to.leads_to(), Some(back("/events?verdict=blocked").as_str()), "the browser itself goes to pages");
    }

    theme_and_language_are_chosen_without_leaving_the_page(api) {
        let owner = api.signed_in("owner@acme.example").await;
        for page in ["/overview", "/events?verdict=block", "/help/getting-started", "/design", "/gateways/edge.dublin"] {
            let chosen = owner.post("/preferences", &[("theme", "dark"), ("language", "de"), ("back", page)]).await;
            assert_eq!(chosen.leads_to(), Some(page));
            assert_eq!((owner.cookie("kt_theme"), owner.cookie("kt_language")), (Some("dark".into()), Some("de".into())));
        }
        for elsewhere in ["https://evil.example/help", "//evil.example/help", "/help/../logout", ""] {
            let chosen = owner.post("/preferences", &[("theme", "light"), ("back", elsewhere)]).await;
            assert_eq!(chosen.leads_to(), Some("/login"), "{elsewhere}");
        }
    }

    a_password_is_judged_while_it_is_typed_within_bounds(api) {
        let browser = api.browser();
        let judge = async |password: &str, field: &str, value: &str| {
            browser.post("/api/password-strength", &[("password", password), (field, value)]).await
        };
        let weak = judge("acme", "organization", "acme").await;
        assert_eq!((weak.status.as_u16(), &weak.json["score"]), (200, &json!(0)));
        assert!(weak.body.contains("use at least 12 characters"), "{}", weak.body);
        let strong = judge(PASSWORD, "name", "Jo").await;
        assert_eq!((strong.json["violations"].clone(), strong.json["score"].as_u64() >= Some(3)), (json!([]), true));
        let own = judge(PASSWORD, "name", PASSWORD).await;
        assert_ne!(own.json["violations"], json!([]), "what belongs to its holder");
        for field in ["name", "email", "organization"] {
            let most = "x ".repeat(160);
            assert_eq!(judge(PASSWORD, field, &most).await.status.as_u16(), 200, "{field}");
            let more = judge(PASSWORD, field, &format!("{most}x")).await;
            assert_eq!((more.refusal(), &more.json["error"]["param"]), ((422, "validation_error"), &json!(field)));
        }
        for _ in 6..300 {
            assert_eq!(judge("", "name", "").await.status.as_u16(), 200);
        }
        assert_eq!(judge("", "name", "").await.refusal(), (429, "too_many_attempts"));
        let elsewhere = api.browser().from("198.51.100.7:1");
        assert_eq!(elsewhere.post("/api/password-strength", &[]).await.status.as_u16(), 200, "of another network");
        api.clock.advance(Duration::from_mins(5));
        assert_eq!(judge("", "name", "").await.status.as_u16(), 200, "and after a while");
    }

    what_is_known_of_somebody_speaks_against_a_password_and_is_not_told(api) {
        const OWN: &str = "Tall-cedar-9-olive-fern";
        let judge = async |browser: &Browser<'_>, more: &[(&str, &str)]| {
            let fields: Vec<_> = [("password", OWN)].iter().chain(more).copied().collect();
            let judged = browser.post("/api/password-strength", &fields).await;
            assert_eq!(judged.status.as_u16(), 200, "{}", judged.body);
            assert!(!judged.body.contains("@acme") && !judged.body.contains("Holder"), "{}", judged.body);
            judged.json["violations"].as_array().unwrap().len()
        };
        let jo = "jo@acme.example";
        let id = api.add_named(jo, "Olive Holder").await;
        let stranger = api.browser();
        assert_eq!(judge(&stranger, &[]).await, 0, "the control");
        assert_eq!(judge(&api.signed_in(jo).await, &[]).await, 1, "on their profile");

        stranger.post("/forgot-password", &[("email", jo)]).await;
        let link = api.token_for(jo).await;
        assert_eq!(judge(&stranger, &[("token", &link)]).await, 1, "by a link");
        let refused = stranger.post("/reset-password", &[("token", &link), ("new_password", OWN)]).await;
        assert_eq!((refused.status.as_u16(), refused.text("/error/param")), (422, "new_password"), "as it is refused");
        let chosen = stranger.post("/reset-password", &[("token", &link), ("new_password", "Tall-cedar-9-birch-fern")]).await;
        assert_eq!(chosen.leads_to(), Some("/login?reason=password_changed"));
        assert_eq!(judge(&stranger, &[("token", &link)]).await, 0, "a link that is over tells of nobody");

        let owner = api.signed_in("owner@acme.example").await;
        let shown = owner.post(&format!("/settings/members/{id}/temporary-password"), &[]).await;
        let replacing = api.browser();
        assert_eq!(replacing.sign_in(jo, &secret_of(shown.page())).await.leads_to(), Some("/change-password"));
        assert_eq!(judge(&replacing, &[]).await, 1, "in a sign-in");
        assert_eq!(judge(&replacing, &[("name", "Kim")]).await, 0, "who is new there tells of themselves");
    }

    a_fresh_proof_gives_the_session_another_cookie(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let (cookie, token) = (browser.cookie("kt_session").unwrap(), browser.token().await);
        let wrong = browser.post("/api/session/reauthenticate", &[("password", "no")]).await;
        assert_eq!((wrong.status.as_u16(), browser.cookie("kt_session").as_ref()), (401, Some(&cookie)));
        let proven = browser.post("/api/session/reauthenticate", &[("password", PASSWORD)]).await;
        assert_eq!(proven.status.as_u16(), 200, "{}", proven.body);
        assert_ne!(browser.cookie("kt_session"), Some(cookie.clone()));
        let old = api.browser();
        old.hold("kt_session", &cookie);
        assert_eq!(old.get("/overview").await.status.as_u16(), 303, "what was known of it is worthless");
        let headers = [(CSRF, token.as_str()), ("origin", ORIGIN)];
        let answer = browser.post_with("/api/session/activity", &[], &headers).await;
        assert_eq!(answer.refusal(), (403, "csrf_failed"), "its tokens too");
        assert_eq!(browser.post("/api/session/activity", &[]).await.status.as_u16(), 200);
    }

    a_session_that_is_ended_while_its_request_is_under_way_stays_ended(api) {
        for is_revoked in [false, true] {
            let browser = api.signed_in("owner@acme.example").await;
            let cookie = browser.cookie("kt_session").unwrap();
            api.clock.advance(Duration::from_mins(2));
            // The guard has let a request in, and somebody ends its session before the request comes to its end.
            let session = api.control.console_session(Cookie(&cookie), api.clock.now()).await.unwrap();
            let ctx = Ctx { actor: session.actor(), ..api.operator() };
            if is_revoked {
                let ended = api.request(Method::DELETE, "/v1/me/sessions").bearer(api.owner().await.access_token()).send().await;
                assert_eq!(ended.status.as_u16(), 204);
            }
            assert!(api.control.note_console_activity(&ctx, &session).await.unwrap());
            let proven = api.control.reauthenticate(&ctx, Reproof::Password(PASSWORD)).await;
            assert!(proven.is_ok() || is_revoked, "{proven:?}");
            let renewed = api.control.renew_console_cookie(&ctx).await.unwrap();
            for cookie in [cookie.as_str(), renewed.expose()] {
                let lives = api.control.console_session(Cookie(cookie), api.clock.now()).await.is_ok();
                assert_eq!(lives, !is_revoked && cookie == renewed.expose(), "{is_revoked}");
            }
        }
    }
}

on_both! {
    from crate::console::security::by_console;

    whoever_is_invited_is_judged_by_the_rules_that_wait_for_them(api) {
        let owner = api.signed_in("owner@acme.example").await;
        let invited = owner.post("/settings/invitations", &[("email", "jo@acme.example"), ("role", "member")]).await;
        assert_eq!(invited.status.as_u16(), 303, "{}", invited.body);
        let link = api.token_for("jo@acme.example").await;
        api.choose_security(json!({ "password": { "min_length": 40 } })).await;
        let browser = api.browser();
        let judge = async |token: &str, organization: &str| {
            let fields = [("password", PASSWORD), ("organization", organization), ("token", token)];
            browser.post("/api/password-strength", &fields).await.json["violations"].clone()
        };
        assert!(judge(&link, "acme").await[0].as_str().unwrap().contains("at least 40 characters"));
        assert_eq!(judge("", "acme").await, json!([]), "a stranger is told nothing of a closed organization");
        assert_eq!(judge(&link, "other").await, json!([]), "nor of another");
    }
}
