//! What stands before every page: the host, the address, the origin of a change, its token, and a browser's defences.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use kt_domain::network::cidr::CidrSet;
use kt_domain::public_url::PublicUrl;
use kt_server::{Doors, Hosts, Needs};
use serde_json::json;
use tower::ServiceExt;

use super::browser::{CSRF, ORIGIN};
use crate::harness::{Answer, PASSWORD, PEER, on_both};

const CHANGE: &str = "/settings/profile";
const FIELDS: [(&str, &str); 2] = [("name", "Olive"), ("email", "owner@acme.example")];

on_both! {
    a_change_is_heard_from_this_consoles_own_pages_alone(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let (same, cross) = ("same-origin", "cross-site");
        let site = |value: &'static str| ("sec-fetch-site", value);
        let origin = |value: &'static str| ("origin", value);
        let referer = |value: &'static str| ("referer", value);
        // the headers beside a good token, and whether it is heard
        let table: [(&[(&str, &str)], bool); 14] = [
            (&[site(same), origin(ORIGIN)], true),
            (&[site(same)], true),
            (&[origin(ORIGIN)], true),
            (&[referer("http://localhost:3000/settings/profile")], true),
            (&[], false),
            (&[site(cross), origin(ORIGIN)], false),
            (&[site("same-site"), origin(ORIGIN)], false),
            (&[site("none")], false),
            (&[site(same), origin("null")], false),
            (&[origin("http://localhost:3001")], false),
            (&[origin("http://127.0.0.1:3000")], false),
            (&[site("same-origin"), origin("http://127.0.0.1:3000")], false),
            (&[origin("http://localhost:3000.evil.example")], false),
            (&[referer("http://evil.example/http://localhost:3000/")], false),
        ];
        for (headers, is_heard) in table {
            let token = browser.token().await;
            let headers: Vec<_> = headers.iter().copied().chain([(CSRF, token.as_str())]).collect();
            let answer = browser.post_with(CHANGE, &FIELDS, &headers).await;
            let expected = if is_heard { 303 } else { 403 };
            assert_eq!(answer.status.as_u16(), expected, "{headers:?} {}", answer.body);
            if !is_heard {
                assert_eq!(answer.refusal().1, "cross_site_request", "{headers:?}");
            }
            let varies: Vec<_> = answer.headers.get_all("vary").iter().collect();
            let names = format!("{varies:?}");
            assert!(names.contains("Sec-Fetch-Site, Origin"), "what decides is named: {headers:?} {names}");
        }
    }

    a_change_carries_a_token_of_its_own_session(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let other = api.signed_in("owner@acme.example").await;
        let (own, of_other) = (browser.token().await, other.token().await);
        let visitor = api.browser().token().await;
        let same = [("sec-fetch-site", "same-origin"), ("origin", ORIGIN)];
        for token in [None, Some(""), Some("x"), Some(&of_other), Some(&visitor), Some(&own[..63])] {
            let token: Vec<_> = token.iter().map(|token| (CSRF, &**token)).collect();
            let headers: Vec<_> = same.into_iter().chain(token).collect();
            for path in [CHANGE, "/logout", "/preferences", "/api/session/activity"] {
                let answer = browser.post_with(path, &FIELDS, &headers).await;
                assert_eq!(answer.refusal(), (403, "csrf_failed"), "{headers:?} {path}");
            }
        }
        let headers = [same[0], same[1], (CSRF, own.as_str())];
        for _ in 0..2 {
            assert_eq!(browser.post_with(CHANGE, &FIELDS, &headers).await.status.as_u16(), 303, "per session");
        }
    }

    signing_in_carries_a_token_too(api) {
        let browser = api.browser();
        let fields = [("email", "owner@acme.example"), ("password", PASSWORD)];
        let answer = browser.post_with("/login", &fields, &[("sec-fetch-site", "same-origin")]).await;
        assert_eq!(answer.refusal(), (403, "csrf_failed"));
        assert_eq!(browser.post("/login", &fields).await.leads_to(), Some("/"));
    }

    a_program_signs_in_with_a_token_and_an_origin_and_is_told_and_led_on_as_http_does_it(api) {
        let browser = api.browser();
        let form = ("content-type", "application/x-www-form-urlencoded");
        let fields = [("email", "owner@acme.example"), ("password", PASSWORD)];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let sign_in = async |headers: &[(&str, &str)]| {
            browser.send(Method::POST, "/login", headers, Some(body.clone())).await
        };
        let (anything, program) = (("accept", "*/*"), ("accept", "application/json"));
        for accept in [anything, program] {
            assert_eq!(sign_in(&[form, accept]).await.refusal(), (403, "csrf_failed"), "{accept:?}");
            let wrong = [form, accept, (CSRF, "wrong")];
            assert_eq!(sign_in(&wrong).await.refusal(), (403, "csrf_failed"), "{accept:?}");
            let foreign = [form, accept, ("origin", "https://evil.example")];
            assert_eq!(sign_in(&foreign).await.refusal(), (403, "cross_site_request"), "{accept:?}");
        }
        for accept in ["text/html", "application/xhtml+xml, Text/HTML;q=0.9, */*;q=0.1"] {
            let page = sign_in(&[form, ("accept", accept)]).await;
            assert_eq!(page.refusal_page(), (403, true), "{accept}");
            assert!(format!("{:?}", page.headers).contains("Accept, HX-Request"), "{:?}", page.headers);
        }
        let token = browser.token().await;
        let nameless = sign_in(&[form, anything, (CSRF, &token)]).await;
        assert_eq!(nameless.refusal(), (403, "cross_site_request"), "the token alone is not enough");
        let signed_in = sign_in(&[form, anything, (CSRF, &token), ("origin", ORIGIN)]).await;
        assert_eq!((signed_in.status.as_u16(), signed_in.headers["location"].to_str().unwrap()), (303, "/"));
        assert!(!signed_in.headers.contains_key("hx-redirect") && browser.cookie("kt_session").is_some());
        let by_script = browser.post("/logout", &[]).await;
        assert_eq!((by_script.status.as_u16(), by_script.headers["hx-redirect"].to_str().unwrap()), (200, "/login"));
    }

    a_token_per_request_works_once_and_the_answer_brings_the_next(api) {
        let owner = api.owner().await;
        let change = api.patch("/v1/organization/security", json!({ "csrf": { "rotation": "per_request" } }));
        assert_eq!(change.bearer(owner.access_token()).send().await.status.as_u16(), 200);
        let browser = api.signed_in("owner@acme.example").await;
        let (one_tab, other_tab) = (browser.token().await, browser.token().await);
        let send = async |token: &str| {
            browser.post_with(CHANGE, &FIELDS, &[("sec-fetch-site", "same-origin"), (CSRF, token)]).await
        };
        let first = send(&one_tab).await;
        assert_eq!(first.status.as_u16(), 303);
        assert_eq!(send(&one_tab).await.refusal(), (403, "csrf_failed"), "it was used");
        assert_eq!(send(&other_tab).await.status.as_u16(), 303, "several tabs keep working");
        let next = first.headers.get(CSRF).unwrap().to_str().unwrap();
        assert_eq!(send(next).await.status.as_u16(), 303);
    }

    every_answer_carries_a_browsers_defences(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let mut nonces = std::collections::BTreeSet::new();
        for path in ["/overview", "/login", "/nowhere", "/api/session"] {
            let answer = browser.get(path).await;
            let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
            let policy = header("content-security-policy");
            for part in ["default-src 'none'", "'strict-dynamic'", "frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"] {
                assert!(policy.contains(part), "{path}: {policy}");
            }
            assert!(!policy.contains("unsafe"), "{policy}");
            nonces.insert(policy.split('\'').find(|part| part.starts_with("nonce-")).unwrap().to_owned());
            assert_eq!(header("cache-control"), "no-store");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("referrer-policy"), "no-referrer");
            assert_eq!(header("cross-origin-opener-policy"), "same-origin");
            assert_eq!(header("cross-origin-resource-policy"), "same-origin");
            assert_eq!(header("x-frame-options"), "DENY");
            assert_eq!(header("x-robots-tag"), "noindex, nofollow");
            assert!(header("permissions-policy").contains("publickey-credentials-get=(self)"));
            assert!(!answer.headers.contains_key("strict-transport-security"), "not over http");
            if path != "/nowhere" {
                assert_eq!(header("vary"), "Cookie, Sec-Fetch-Site, Origin, HX-Request");
            }
        }
        assert_eq!(browser.get("/api/session/x.css").await.status.as_u16(), 404, "no page under another name");
        assert_eq!(nonces.len(), 4, "a nonce of its own for each answer");
        let page = browser.get("/overview").await;
        let style = page.page().split("href=\"").find(|part| part.contains(".css")).unwrap().split('"').next().unwrap().to_owned();
        let style = browser.get(&style).await;
        assert!(style.headers["cache-control"].to_str().unwrap().contains("immutable"));
    }

    over_https_cookies_and_browsers_stay_there(api) {
        let console = PublicUrl::parse("https://console.example").unwrap();
        let addresses = Arc::new(kt_server::client_address(CidrSet::from_iter([])));
        let doors = Doors::from(Needs { control: Arc::clone(&api.control), addresses, console, console_port: 3000, security_contact: None });
        let (pages, over_https) = (kt_server::console(doors.clone()), kt_server::api(doors, Hosts::new([], Ipv4Addr::LOCALHOST.into())));
        let send = async |method: Method, path: &str, more: &[(&str, String)], body: String| {
            let peer: SocketAddr = PEER.parse().unwrap();
            let mut request = Request::builder().method(method).uri(path).extension(ConnectInfo(peer)).header("host", "console.example");
            for (name, value) in more {
                request = request.header(*name, value);
            }
            Answer::read(pages.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()).await
        };
        let cookies = |answer: &Answer| -> Vec<String> {
            answer.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap().to_owned()).collect()
        };
        let page = send(Method::GET, "/login", &[], String::new()).await;
        let visit = cookies(&page).pop().unwrap();
        let held = visit.split(';').next().unwrap().to_owned();
        let session = send(Method::GET, "/api/session", &[("cookie", held.clone())], String::new()).await;
        let form = [
            ("cookie", held),
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
            ("sec-fetch-site", "same-origin".to_owned()),
            (CSRF, session.text("/csrf_token").to_owned()),
        ];
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("email", "owner@acme.example"), ("password", PASSWORD)])
            .finish();
        let signed_in = send(Method::POST, "/login", &form, body).await;
        let set = [vec![visit], cookies(&signed_in)].concat();
        assert!(set.iter().any(|line| line.starts_with("__Host-kt_session=")), "{set:?}");
        for line in set {
            assert!(line.starts_with("__Host-kt_") && line.len() < 4096, "{line}");
            for part in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
                assert!(line.contains(part), "{line}");
            }
            assert!(!line.contains("Domain"), "{line}");
        }
        // The way to an identity provider: its cookie comes along from the provider's site as well.
        let _provider = api.with_provider(serde_json::json!({})).await;
        let left = send(Method::POST, "/login/sso", &form, "organization=acme".to_owned()).await;
        let kept = cookies(&left).pop().unwrap_or_else(|| panic!("{}", left.body));
        assert!(kept.starts_with("__Host-kt_sso=") && !kept.contains("Domain"), "{kept}");
        for part in ["; Path=/", "; HttpOnly", "; SameSite=None; Secure", "; Max-Age=600"] {
            assert!(kept.contains(part), "{kept}");
        }
        for path in ["/login", "/overview", "/nowhere"] {
            let answer = send(Method::GET, path, &[], String::new()).await;
            let told = answer.headers["strict-transport-security"].to_str().unwrap().to_owned();
            assert_eq!(told, "max-age=63072000; includeSubDomains", "{path}: {}", answer.status);
        }
        for path in ["/healthz", "/v1/whoami", "/nowhere"] {
            let request = Request::builder().uri(path).extension(ConnectInfo(PEER.parse::<SocketAddr>().unwrap()));
            let answer = over_https.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.headers()["strict-transport-security"], "max-age=63072000; includeSubDomains", "{path}");
            let over_http = api.get(path).send().await;
            assert!(!over_http.headers.contains_key("strict-transport-security"), "{path}");
        }
    }

    a_browser_reports_what_it_has_stopped_and_no_more_than_that(api) {
        let browser = api.browser();
        let report = |length| format!(r#"{{"csp-report":{{"blocked-uri":"{}"}}}}"#, "x".repeat(length));
        let json = [("content-type", "application/csp-report")];
        for (length, expected) in [(10, 204), (9000, 413)] {
            let answer = browser.send(Method::POST, "/csp-report", &json, Some(report(length))).await;
            assert_eq!(answer.status.as_u16(), expected, "{length}");
        }
        for _ in 1..60 {
            browser.send(Method::POST, "/csp-report", &json, Some(report(10))).await;
        }
        let one_more = browser.send(Method::POST, "/csp-report", &json, Some(report(10))).await;
        assert_eq!(one_more.status.as_u16(), 429, "a page that breaks its policy does not fill the log");
        let elsewhere = api.browser().from("198.51.100.7:1");
        assert_eq!(elsewhere.send(Method::POST, "/csp-report", &json, Some(report(10))).await.status.as_u16(), 204);
    }

    whoever_finds_a_weakness_is_told_whom_to_tell(api) {
        let of = |contact: Option<&str>| {
            let addresses = Arc::new(kt_server::client_address(CidrSet::from_iter([])));
            let console = PublicUrl::parse("https://console.example").unwrap();
            let security_contact = contact.map(|contact| contact.parse().unwrap());
            kt_server::console(Doors::from(Needs { control: Arc::clone(&api.control), addresses, console, console_port: 3000, security_contact }))
        };
        let ask = async |pages: axum::Router| {
            let peer: SocketAddr = PEER.parse().unwrap();
            let request = Request::builder().uri("/.well-known/security.txt").header("host", "console.example");
            Answer::read(pages.oneshot(request.extension(ConnectInfo(peer)).body(Body::empty()).unwrap()).await.unwrap()).await
        };
        let told = ask(of(Some("mailto:security@example.com"))).await;
        assert_eq!(told.headers["content-type"], "text/plain; charset=utf-8");
        let lines: Vec<_> = told.body.lines().collect();
        assert_eq!(lines[0], "Contact: mailto:security@example.com");
        let expires: jiff::Timestamp = lines[1].strip_prefix("Expires: ").unwrap().parse().unwrap();
        let days = expires.duration_since(kt_domain::clock::Clock::now(&api.clock)).as_hours() / 24;
        assert!((1..366).contains(&days), "{}", lines[1]);
        assert_eq!(lines[2], "Canonical: https://console.example/.well-known/security.txt");
        assert_eq!(ask(of(None)).await.status.as_u16(), 404, "nobody is named who is not there");
    }

    what_is_not_there_is_told_in_the_words_of_a_console(api) {
        let browser = api.signed_in("owner@acme.example").await;
        for (path, status, told) in [("/nowhere", 404, "No page has this address."), ("/logout", 405, "There is nothing to look at")] {
            let page = browser.get(path).await;
            assert_eq!(page.refusal_page(), (status, true), "{path}");
            assert!(page.body.contains(told) && !page.body.contains("openapi"), "{path}: {}", page.body);
        }
        assert_eq!(browser.get("/logout").await.headers["allow"], "POST");
        assert_eq!(browser.get("/settings/profile").await.status.as_u16(), 200, "what is there is shown");
        let api_has_its_own = api.get("/v1/nowhere").send().await;
        assert!(api_has_its_own.body.contains("GET /openapi.json"), "{}", api_has_its_own.body);
    }

    an_address_that_cannot_be_read_is_told_on_a_page_like_any_other_failure(api) {
        let stranger = api.browser();
        let owner = api.signed_in("owner@acme.example").await;
        let table = [
            (&stranger, "/login?returnTo=a&returnTo=b"),
            (&stranger, "/reset-password?token=a&token=b"),
            (&owner, "/settings/members?mfa=x"),
            (&owner, "/settings/access-keys?state=x"),
            (&owner, "/configurations/main/versions/abc"),
            (&owner, "/settings/members/%ff"),
        ];
        for (browser, path) in table {
            let page = browser.get(path).await;
            assert_eq!(page.refusal_page(), (400, true), "{path}");
            assert!(page.body.contains("A part of this address cannot be read."), "{path}: {}", page.body);
            assert!(page.body.contains(page.headers["x-kt-request-id"].to_str().unwrap()), "{path}");
            let asked_by_script = browser.send(Method::GET, path, &[("hx-request", "true")], None).await;
            assert_eq!(asked_by_script.refusal(), (400, "unreadable_address"), "{path}");
            browser.hold("kt_language", "de");
            assert!(browser.get(path).await.body.contains("Ein Teil dieser Adresse ist nicht lesbar."), "{path}");
            browser.hold("kt_language", "en");
        }
        assert_eq!(owner.get("/settings/members?mfa=missing").await.status.as_u16(), 200, "what can be read is shown");
        let by_provider = [("content-type", "application/x-www-form-urlencoded")];
        let logout = stranger.send(Method::POST, "/sso/oidc/acme/logout", &by_provider, Some("x=y".to_owned())).await;
        assert_eq!((logout.status.as_u16(), logout.body.as_str()), (400, ""), "a provider is told nothing");
    }

    whoever_is_signed_in_keeps_the_menu_when_something_fails(api) {
        api.add_member("member@acme.example", "member").await;
        let stranger = api.browser();
        let member = api.signed_in("member@acme.example").await;
        let lapsed = api.browser();
        lapsed.hold("kt_session", "of nobody");
        let menu = "id=\"sidebar\"";
        for (path, status) in [
            ("/settings/members", 403),
            ("/settings/access-keys/none", 404),
            ("/settings/access-keys?state=x", 400),
            ("/help/none", 404),
            ("/nowhere", 404),
            ("/logout", 405),
        ] {
            let page = member.get(path).await;
            assert_eq!(page.refusal_page(), (status, true), "{path}");
            assert!(page.body.contains(menu) && page.body.contains("member@acme.example"), "{path}: {}", page.body);
        }
        for browser in [&stranger, &lapsed] {
            for path in ["/help/none", "/nowhere", "/logout"] {
                let page = browser.get(path).await;
                assert!(page.refusal_page().1 && !page.body.contains(menu), "{path}: {}", page.body);
            }
        }
        let same = [("sec-fetch-site", "cross-site"), ("content-type", "application/x-www-form-urlencoded")];
        let of_another_site = member.send(Method::POST, "/settings/profile", &same, Some(String::new())).await;
        assert_eq!(of_another_site.refusal_page(), (403, true));
        assert!(!of_another_site.body.contains("member@acme.example"), "what another site sends is answered to nobody by name");
    }

    another_host_is_refused_and_told_where_the_console_is(api) {
        let browser = api.browser();
        for host in [
            "evil.example",
            "evil.example:3000",
            "localhost",
            "127.0.0.1",
            "127.0.0.2:3000",
            "2130706433:3000",
            "localhost:3001",
            "localhost.:3000",
            "localhost:3000@evil.example",
            "127.0.0.1:3000.evil.example",
            "127.0.0.1:3000/",
        ] {
            let answer = browser.send(Method::GET, "/login", &[("host", host)], None).await;
            assert_eq!(answer.status.as_u16(), 421, "{host}");
            assert!(answer.body.contains("http://localhost:3000"), "{host}");
        }
        assert_eq!(browser.send(Method::GET, "/login", &[("host", "LOCALHOST:3000")], None).await.status.as_u16(), 200);
    }

    on_this_machine_the_listener_answers_to_the_loopback_names_too(api) {
        let pages_of = |console: &str| {
            kt_server::console(Doors::from(Needs {
                control: Arc::clone(&api.control),
                addresses: Arc::new(kt_server::client_address(CidrSet::from_iter([]))),
                console: PublicUrl::parse(console).unwrap(),
                console_port: 4100,
                security_contact: None,
            }))
        };
        let ask = async |pages: &axum::Router, method: Method, headers: &[(&str, &str)]| {
            let peer: SocketAddr = PEER.parse().unwrap();
            let mut request = Request::builder().method(method).uri("/login").extension(ConnectInfo(peer));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            Answer::read(pages.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()).await
        };
        let (here, elsewhere) = (pages_of("http://localhost:3000"), pages_of("https://console.example"));
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            for port in [3000, 4100] {
                let asked = format!("{host}:{port}");
                let own = format!("http://{asked}");
                assert_eq!(ask(&here, Method::GET, &[("host", &asked)]).await.status.as_u16(), 200, "{asked}");
                assert_eq!(ask(&elsewhere, Method::GET, &[("host", &asked)]).await.status.as_u16(), 421, "{asked}");
                let of = async |origin: &str| {
                    ask(&here, Method::POST, &[("host", &asked), ("origin", origin)]).await.refusal().1.to_owned()
                };
                assert_eq!(of(&own).await, "csrf_failed", "{asked}: its own page, though without a token");
                for other in ["http://localhost:9", "http://evil.example", "http://127.0.0.2:3000", "https://localhost:3000"] {
                    assert_eq!(of(other).await, "cross_site_request", "{asked} from {other}");
                }
            }
        }
        let between = [("host", "127.0.0.1:4100"), ("origin", "http://localhost:4100")];
        assert_eq!(ask(&here, Method::POST, &between).await.refusal(), (403, "cross_site_request"), "two origins");
    }

    an_address_that_is_not_let_in_sees_no_page_at_all(api) {
        let inside = api.signed_in("owner@acme.example").await;
        let owner = api.owner().await;
        let restrictions = json!({
            "enforce_allowlist": true,
            "applies_to": "console",
            "allow": [{ "cidr": "203.0.113.0/24", "label": "Office" }],
            "deny": [],
        });
        let put = api.put("/v1/organization/ip-restrictions", restrictions).bearer(owner.access_token());
        assert_eq!(put.send().await.status.as_u16(), 200);
        let outside = api.browser().from("198.51.100.7:4000");
        outside.hold("kt_session", &inside.cookie("kt_session").unwrap());
        for path in ["/login", "/overview", "/setup", "/api/session", "/register"] {
            let answer = outside.get(path).await;
            assert_eq!(answer.status.as_u16(), 403, "{path}");
        }
        assert_eq!(inside.get("/overview").await.status.as_u16(), 200);
        let key = api.get("/v1/whoami").bearer(owner.access_token()).from("198.51.100.7:4000").send().await;
        assert_eq!(key.status.as_u16(), 200, "the API is not restricted here");
    }

    a_forwarded_address_that_cannot_be_read_skips_no_check(api) {
        let restrictions = json!({
            "enforce_allowlist": true,
            "applies_to": "console",
            "allow": [{ "cidr": "192.0.2.0/24", "label": "Office" }, { "cidr": "203.0.113.0/24", "label": "The proxy's own" }],
            "deny": [],
        });
        let put = api.put("/v1/organization/ip-restrictions", restrictions).bearer(api.token_of("owner@acme.example").await.as_str());
        assert_eq!(put.send().await.status.as_u16(), 200);
        let behind_a_proxy = kt_server::console(Doors::from(Needs {
            control: Arc::clone(&api.control),
            addresses: Arc::new(kt_server::client_address(CidrSet::from_iter(["203.0.113.9/32".parse().unwrap()]))),
            console: PublicUrl::parse("http://localhost:3000").unwrap(),
            console_port: 3000,
            security_contact: None,
        }));
        let ask = async |path: &str, forwarded: &[&[u8]]| {
            let peer: SocketAddr = PEER.parse().unwrap();
            let mut request = Request::builder().uri(path).header("host", "localhost:3000").extension(ConnectInfo(peer));
            for line in forwarded {
                request = request.header("x-forwarded-for", *line);
            }
            let request = request.body(Body::empty()).unwrap();
            Answer::read(behind_a_proxy.clone().oneshot(request).await.unwrap()).await
        };
        let table: [(&[&[u8]], u16); 11] = [
            (&[b"192.0.2.7"], 200),
            (&[b"unknown, 192.0.2.7"], 200),
            (&[b"198.51.100.7"], 403),
            (&[], 403),
            (&[b"unknown"], 403),
            (&[b"_hidden"], 403),
            (&[b"192.0.2.700"], 403),
            (&[b"192.0.2.7, x"], 403),
            (&[b"192.0.2.7", b"\xff"], 403),
            (&[b"192.0.2.7/24"], 403),
            (&[b"192.0.2.7\t;"], 403),
        ];
        for (forwarded, status) in table {
            for path in ["/login", "/api/session"] {
                let answer = ask(path, forwarded).await;
                assert_eq!(answer.status.as_u16(), status, "{path} {forwarded:?} {}", answer.body);
            }
        }
    }
}

/// Until the script runs, and where it cannot, a browser sends a form itself: by GET, unless the form says otherwise, with all
/// its fields in the address, which histories and logs keep (OWASP ASVS 5.0, 14.2.1).
#[test]
fn no_form_but_a_search_lets_the_browser_put_its_fields_into_the_address() {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let forms: Vec<_> = files(&templates).iter().flat_map(|file| forms_of(file)).collect();
    assert!(forms.len() > 70, "{}", forms.len());
    let is_sent_well = |tag: &str| {
        ["method=\"post\"", "method=\"dialog\"", "role=\"search\""].iter().any(|way| tag.contains(way))
    };
    let others: Vec<_> = forms.iter().filter(|tag| !is_sent_well(tag)).collect();
    assert!(others.is_empty(), "{others:#?}");
    let searches: Vec<_> = forms.iter().filter(|tag| tag.contains("role=\"search\"")).collect();
    assert!(searches.iter().all(|tag| tag.contains("hx-get=") && !tag.contains("hx-post=")), "{searches:#?}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The line on which each form begins, from there on.
fn forms_of(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    text.split("<form").skip(1).map(|rest| rest.lines().next().unwrap_or_default().to_owned()).collect()
}
