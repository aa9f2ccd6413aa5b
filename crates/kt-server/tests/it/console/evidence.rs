//! The pages of evidence: events, the audit log, gateways, and the overview that sums them up.

use std::time::Duration;

use axum::http::Method;
use kt_domain::clock::Clock;
use kt_domain::events::{EventType, MatchedRule, PolicyEvaluation, Verdict};
use kt_domain::id::ApiKeyId;
use kt_domain::random::Random;
use serde_json::{Value, json};

use super::browser::Browser;
use crate::events::{Log, gateway_key};
use crate::harness::{Answer, TestApi, on_both};

/// What a client may send, and no page may run.
const HOSTILE: &str = "<script>alert(1)</script>\"><img src=x onerror=alert(1)>";

/// Asks as a page does that follows a list: no navigation.
pub(super) async fn poll(browser: &Browser<'_>, path: &str) -> Answer {
    let headers = [("hx-request", "true"), ("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin")];
    browser.send(Method::GET, path, &headers, None).await
}

/// Three events: one allowed, one blocked with a hostile model, one refused for its address.
pub(super) async fn three_events(api: &TestApi) -> [String; 3] {
    let key = gateway_key(api).await;
    let mut log = Log::begin(api, "gw-1");
    let allowed = log.event(api, |event| {
        event.status = Some(200);
        event.duration_ms = Some(120);
        event.model = Some("echo".into());
        event.request_id = Some("0190f6c2-1".into());
        event.input_tokens = Some(30);
        event.output_tokens = Some(12);
    });
    api.clock.advance(Duration::from_secs(1));
    let blocked = log.event(api, |event| {
        event.verdict = Some(Verdict::Block);
        event.status = Some(502);
        event.model = Some(HOSTILE.into());
        event.policies_evaluated = Some(vec![
            PolicyEvaluation {
                rules: vec!["secrecy".into()],
                score: Some(5),
                ..PolicyEvaluation::new("prompt-injection".into(), Verdict::Allow)
            },
            PolicyEvaluation {
                rules: vec!["aws-key".into()],
                ..PolicyEvaluation::new("dlp-filter".into(), Verdict::Block)
            },
        ]);
    });
    api.clock.advance(Duration::from_secs(1));
    let refused = log.event(api, |event| {
        event.event_type = EventType::IpDenied;
        event.verdict = None;
        event.source_ip = Some("198.51.100.7".parse().unwrap());
        event.matched_rule = Some(MatchedRule::Deny);
        event.deny_range = Some("198.51.100.0/24".into());
        event.request_path = Some("/v1/chat/completions".into());
        event.count = Some(5);
    });
    log.checkpoint(api);
    assert_eq!(log.deliver(api, &key).await.status, 200);
    [allowed, blocked, refused]
}

/// What a page that is followed asks again and again.
fn asks_for_more(page: &str) -> String {
    let address = page.split("hx-get=\"").find(|part| part.contains("seen=")).unwrap();
    address.split('"').next().unwrap().replace("&#38;", "&")
}

fn is_escaped(page: &str) -> bool {
    page.contains("&#60;script&#62;") && !page.contains("<script>alert") && !page.contains("<img src=x")
}

on_both! {
    events_are_listed_narrowed_down_and_shown_one_by_one(api) {
        let browser = api.signed_in("owner@acme.example").await;
        assert!(browser.get("/events").await.page().contains("curl https://GATEWAY:41002/v1/"), "how to send one");
        let [allowed, blocked, refused] = three_events(&api).await;
        let shows = async |query: &str| {
            let answer = browser.get(&format!("/events?{query}")).await;
            [&allowed, &blocked, &refused].map(|id| answer.page().contains(&format!("/events/{id}")))
        };
        for (query, expected) in [
            ("", [true, true, true]),
            ("event_type=&verdict=block&gateway_id=&source_ip=&request_id=&since=&until=", [false, true, false]),
            ("event_type=ip_denied", [false, false, true]),
            ("source_ip=198.51.100.7", [false, false, true]),
            ("request_id=0190f6c2-1", [true, false, false]),
            ("gateway_id=gw-2", [false, false, false]),
            ("since=2026-03-15T14:22:32Z", [false, true, true]),
            ("until=2026-03-15T14:22:32Z", [true, false, false]),
        ] {
            assert_eq!(shows(query).await, expected, "{query}");
        }
        assert!(is_escaped(browser.get("/events").await.page()));
        let detail = browser.get(&format!("/events/{blocked}")).await;
        assert!(is_escaped(detail.page()));
        for part in ["dlp-filter", "aws-key", "secrecy", "Points: 5", "Covered by the gateway", "gw-1"] {
            assert!(detail.page().contains(part), "{part}");
        }
        let detail = browser.get(&format!("/events/{refused}")).await;
        for part in ["ip_denied", "198.51.100.7", "deny_range", "198.51.100.0/24", "/v1/chat/completions", "2026-03-15T14:22:33.000Z"] {
            assert!(detail.page().contains(part), "{part}");
        }
        let wrong = poll(&browser, "/events?source_ip=1.2.3").await;
        assert_eq!((wrong.refusal(), wrong.text("/error/param")), ((422, "validation_error"), "source_ip"));
        assert_eq!(poll(&browser, "/events?colour=red").await.refusal(), (422, "validation_error"));
        let other = api.organization("other").await;
        api.add_member_of(&other, "owner@other.example", kt_domain::actor::Role::Owner).await;
        let stranger = api.signed_in("owner@other.example").await;
        assert_eq!(stranger.get(&format!("/events/{blocked}")).await.status, 404);
        assert!(!stranger.get("/events").await.page().contains("gw-1"));
    }

    an_event_leads_to_its_key_its_gateway_and_whoever_asked_where_they_are_there(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let jo = api.add_named("jo@acme.example", "Jo").await;
        let delivers = gateway_key(&api).await;
        let owner = api.owner().await;
        let keys = api.get("/v1/tokens?type=gateway").bearer(owner.access_token()).send().await;
        let key = keys.text("/tokens/0/id");
        let unknown = ApiKeyId::new(api.clock.now(), &mut Random::from_os()).to_string();
        let report = json!({ "gateway_id": "gw-1", "software_version": "0.1.0", "config_version": "0123456789ab" });
        assert_eq!(api.post("/v1/gateways/sync", report).bearer(&delivers).send().await.status, 200);
        let (mut here, mut gone) = (Log::begin(&api, "gw-1"), Log::begin(&api, "gw-2"));
        let known = here.event(&api, |event| {
            event.key_id = Some(key.into());
            event.user_id = Some(jo.as_str().into());
        });
        let lost = gone.event(&api, |event| event.key_id = Some(unknown.as_str().into()));
        for log in [here, gone] {
            assert_eq!(log.deliver(&api, &delivers).await.status, 200);
        }
        let ways = [format!("/settings/gateway-keys/{key}"), format!("/settings/members/{jo}"), "/gateways/gw-1".to_owned()];
        let page = browser.get(&format!("/events/{known}")).await;
        for way in &ways {
            assert!(page.page().contains(&format!("<a href=\"{way}\">")), "{way}");
            assert_eq!(browser.get(way).await.status, 200, "{way}");
        }
        let gateway = browser.get("/gateways/gw-1").await;
        assert!(gateway.page().contains(&format!("<a href=\"{}\">edge</a>", ways[0])), "{}", gateway.body);
        let page = browser.get(&format!("/events/{lost}")).await;
        assert!(page.page().contains(&unknown) && page.body.contains("gw-2"), "they are told");
        assert!(!page.body.contains("-keys/") && !page.body.contains("<a href=\"/gateways/gw-2"), "and lead nowhere");
    }

    a_record_leads_to_whoever_did_it_and_to_what_it_was_done_to(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let jo = api.add_named("jo@acme.example", "Jo").await;
        let owner = api.owner().await;
        let you = format!("<a href=\"/settings/members/{}\">", owner.text("/user/id"));
        let theirs = format!("<a href=\"/settings/members/{jo}\">");
        let suspended = api.request(Method::POST, &format!("/v1/members/{jo}/suspend")).bearer(owner.access_token());
        assert_eq!(suspended.send().await.status, 200);
        let id = api.records("member.suspended").await[0]["id"].as_str().unwrap().to_owned();
        let path = format!("/audit-log/{id}");
        let page = browser.get(&path).await;
        assert!(page.page().contains(&you) && page.body.contains(&theirs), "{}", page.body);
        let removed = api.request(Method::DELETE, &format!("/v1/members/{jo}")).bearer(owner.access_token());
        assert_eq!(removed.send().await.status, 204);
        let page = browser.get(&path).await;
        assert!(page.page().contains(&you) && page.body.contains(jo.as_str()) && !page.body.contains(&theirs));
    }

    a_list_that_is_followed_tells_what_is_new_and_is_no_activity(api) {
        let browser = api.signed_in("owner@acme.example").await;
        three_events(&api).await;
        for list in ["/events", "/audit-log"] {
            let page = browser.get(&format!("{list}?live=on")).await;
            let address = asks_for_more(page.page());
            assert!(page.page().contains("every 2s"), "{list}");
            assert_eq!(poll(&browser, &address).await.status, 204, "{address}: nothing new");
            assert!(browser.get(&address).await.page().contains("every 2s"), "who goes there sees the list");
            let key = gateway_key(&api).await;
            let mut log = Log::begin(&api, &format!("gw{}", list.replace('/', "-")));
            api.clock.advance(Duration::from_secs(1));
            log.event(&api, |_| {});
            log.deliver(&api, &key).await;
            assert_eq!(poll(&browser, &address).await.status, 200, "{list}: something new");
            let calm = browser.get(list).await;
            assert!(!calm.page().contains("every 2s"), "{list}: nobody follows it");
        }
        let navigating = api.signed_in("owner@acme.example").await;
        for _ in 0..31 {
            api.clock.advance(Duration::from_mins(1));
            poll(&browser, "/events?live=on").await;
            navigating.get("/events").await;
        }
        let over = poll(&browser, "/events?live=on").await;
        assert_eq!((over.status.as_u16(), over.leads_to().is_some()), (401, true), "following is not being there");
        assert_eq!(navigating.get("/events").await.status, 200);
    }

    an_event_that_comes_behind_later_ones_is_told_to_those_who_follow(api) {
        let browser = api.signed_in("owner@acme.example").await;
        three_events(&api).await;
        let address = asks_for_more(browser.get("/events?live=on").await.page());
        assert_eq!(poll(&browser, &address).await.status, 204, "the control");
        let key = gateway_key(&api).await;
        let mut log = Log::begin(&api, "gw-2");
        log.event(&api, |event| event.timestamp = "2026-03-15T14:22:31.500Z".into());
        assert_eq!(log.deliver(&api, &key).await.status, 200);
        assert_eq!(poll(&browser, &address).await.status, 200);
    }

    copies_of_events_are_files_that_a_spreadsheet_does_not_run(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let key = gateway_key(&api).await;
        let mut log = Log::begin(&api, "gw-1");
        log.event(&api, |event| event.model = Some("=HYPERLINK(\"http://evil.example\")".into()));
        for _ in 0..600 {
            log.event(&api, |event| event.verdict = Some(Verdict::Block));
        }
        log.deliver(&api, &key).await;
        let csv = browser.get("/events/export/csv?verdict=allow").await;
        assert_eq!(csv.headers["content-disposition"], "attachment; filename=\"events.csv\"");
        assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
        assert_eq!(csv.body.split("\r\n").count(), 3, "{}", csv.body);
        assert!(csv.body.contains("\"'=HYPERLINK(\"\"http://evil.example\"\")\""), "{}", csv.body);
        let lines = browser.get("/events/export/jsonl?verdict=block").await;
        assert_eq!(lines.headers["content-disposition"], "attachment; filename=\"events.jsonl\"");
        let ids: std::collections::BTreeSet<String> = lines.body.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!((ids.len(), lines.body.lines().count()), (600, 600));
        let records = api.records("events.exported").await;
        assert_eq!(records.len(), 2);
        assert_eq!(records[0]["details"]["after"], json!({ "format": "csv", "verdict": "allow" }));
        assert_eq!(browser.get("/events/export/xml").await.status, 404);
    }

    records_are_listed_narrowed_down_and_shown_with_what_was_and_what_is(api) {
        let browser = api.signed_in("owner@acme.example").await;
        api.login("owner@acme.example", "wrong").await;
        let owner = api.owner().await;
        let rename = api.patch("/v1/organization", json!({ "name": HOSTILE })).bearer(owner.access_token());
        assert_eq!(rename.send().await.status, 200);
        let page = browser.get("/audit-log?action=organization.renamed").await;
        assert!(page.page().contains("The organization got another name."));
        let id = api.records("organization.renamed").await[0]["id"].as_str().unwrap().to_owned();
        assert!(page.page().contains(&format!("/audit-log/{id}")));
        let detail = browser.get(&format!("/audit-log/{id}")).await;
        assert!(is_escaped(detail.page()));
        for part in ["owner@acme.example", "<code>Acme</code>", "class=\"changed\"", "203.0.113.9", "organization.renamed"] {
            assert!(detail.page().contains(part), "{part}");
        }
        let count = async |query: &str| {
            browser.get(&format!("/audit-log?{query}")).await.page().matches("class=\"cover\"").count()
        };
        assert_eq!(count("action=auth.sign_in&outcome=failure&actor=&resource=&since=&until=").await, 1);
        assert_eq!(count("action=auth.sign_in&outcome=success&actor=owner%40acme.example").await, 2);
        assert_eq!(count("action=auth.").await, 3);
        assert_eq!(count(&format!("resource={}", owner.text("/organization/id"))).await, 2);
        assert_eq!(count("since=2027-01-01T00:00:00Z").await, 0);
        assert_eq!(poll(&browser, "/audit-log?action=nothing").await.text("/error/param"), "action");
        let proof = browser.get("/audit-log").await;
        assert!(proof.page().contains("kt audit verify audit-log.jsonl --public-key "));
        let first = browser.get("/audit-log?limit=2").await;
        let next = first.page().split("rel=\"next\"").next().unwrap().rsplit("href=\"").next().unwrap();
        let next = next.split('"').next().unwrap().replace("&#38;", "&");
        assert_eq!(browser.get(&next).await.page().matches("class=\"cover\"").count(), 2, "{next}");
    }

    a_copy_of_the_audit_log_asks_for_a_fresh_proof_and_is_a_file(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let wanted = [("format", "jsonl"), ("since", ""), ("until", "")];
        let answer = browser.post("/audit-log/export", &wanted).await;
        assert_eq!(answer.leads_to(), Some("/audit-log/export?format=jsonl"));
        let of_a_day = browser.get("/audit-log?actor=somebody&since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z").await;
        assert!(of_a_day.page().contains("whatever else is filtered on the page"));
        for (field, moment) in [("since", "2026-01-01T00:00:00Z"), ("until", "2026-01-02T00:00:00Z")] {
            let taken_over = format!(r#"id="copy-{field}" name="{field}" type="datetime-local" step="1" data-moment="{moment}""#);
            assert!(of_a_day.body.contains(&taken_over), "{field}: {}", of_a_day.body);
        }
        let copy = browser.get("/audit-log/export?format=jsonl").await;
        assert_eq!(copy.headers["content-disposition"], "attachment; filename=\"audit-log.jsonl\"");
        assert!(copy.page().starts_with("{\"audit_log\""));
        let csv = browser.get("/audit-log/export?format=csv").await;
        assert_eq!(csv.headers["content-disposition"], "attachment; filename=\"audit-log.csv\"");
        api.clock.advance(Duration::from_mins(11));
        let stale = browser.post("/audit-log/export", &wanted).await;
        assert_eq!(stale.refusal(), (403, "reauthentication_required"));
        assert_eq!(browser.get("/audit-log/export?format=jsonl").await.status, 403);
        assert_eq!(api.records("audit.exported").await.len(), 2);
    }

    gateways_are_shown_as_they_are(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let empty = browser.get("/gateways").await;
        assert!(empty.page().contains("No gateway has reported yet") && empty.body.contains("/setup/gateway"));
        let key = gateway_key(&api).await;
        let report = json!({ "gateway_id": "gw-1", "software_version": "0.1.0", "config_version": "0123456789ab" });
        assert_eq!(api.post("/v1/gateways/sync", report).bearer(&key).send().await.status, 200);
        three_events(&api).await;
        let page = browser.get("/gateways").await;
        let traffic = "<td class=\"end\">7<br><small class=\"muted\">5 refused</small></td>";
        for part in ["gw-1", "Connected", "0123456789ab", "0.1.0", traffic] {
            assert!(page.page().contains(part), "{part}");
        }
        let one = browser.get("/gateways/gw-1").await;
        for part in ["edge", "2026-03-15T14:22:33Z"] {
            assert!(one.page().contains(part), "{part}");
        }
        api.clock.advance(Duration::from_mins(2));
        assert!(browser.get("/gateways").await.page().contains("Silent"));
    }

    what_no_policy_has_refused_is_not_told_as_blocked_by_one(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let key = gateway_key(&api).await;
        let mut log = Log::begin(&api, "gw-1");
        let judged = |verdict, dry_run| {
            Some(vec![PolicyEvaluation { dry_run, ..PolicyEvaluation::new("dlp-filter".into(), verdict) }])
        };
        let malformed = log.event(&api, |event| {
            event.verdict = Some(Verdict::Block);
            event.status = Some(400);
            event.reason_code = Some("invalid_json".into());
        });
        log.event(&api, |event| event.policies_evaluated = judged(Verdict::Block, true));
        let blocked = log.event(&api, |event| {
            event.verdict = Some(Verdict::Block);
            event.policies_evaluated = judged(Verdict::Block, false);
        });
        assert_eq!(log.deliver(&api, &key).await.status, 200);
        let overview = browser.get("/overview").await;
        for figure in ["Requests</span><b>3<", "Blocked by a policy</span><b>1<", "Refused at the door</span><b>1<"] {
            assert!(overview.page().contains(figure), "{figure}: {}", overview.body);
        }
        for (id, word) in [(&malformed, "Not served"), (&blocked, "Blocked")] {
            let page = browser.get(&format!("/events/{id}")).await;
            let (_, heading) = page.page().split_once("<h1>").unwrap();
            assert!(heading.split_once("</span>").unwrap().0.ends_with(&format!(">{word}")), "{heading}");
        }
    }

    the_overview_sums_up_what_happened_and_what_waits(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let calm = browser.get("/overview").await;
        for part in ["Nothing waits for you.", "No request has come through a gateway yet", "Users Without 2FA", "Allowlist Status"] {
            assert!(calm.page().contains(part), "{part}");
        }
        three_events(&api).await;
        api.add_waiting("waiting@acme.example").await;
        for _ in 0..10 {
            api.login("owner@acme.example", "wrong").await;
            api.clock.advance(Duration::from_mins(1));
        }
        for path in ["/overview", "/overview?window=7d"] {
            let page = browser.get(path).await;
            for part in ["People who wait to be let in", "far more than usual", "As a table", "role=\"img\"", "<b>7</b>", "<b>42</b>", "5 for their address", "120\u{202f}ms"] {
                // A duration is told to an eighth.
                let part = if part.starts_with("120") { "\u{202f}ms</b>" } else { part };
                assert!(page.page().contains(part), "{path}: {part}");
            }
        }
        for list in [
            "/audit-log?action=auth.sign_in&#38;outcome=failure&#38;since=2026-",
            "/events?event_type=ip_denied&#38;since=2026-",
            "/events?since=2026-",
            "/settings/members?mfa=none",
        ] {
            let page = browser.get("/overview").await;
            let place = page.page().split('"').find(|part| part.starts_with(list)).map(|place| place.replace("&#38;", "&"));
            let listed = browser.get(&place.unwrap_or_else(|| panic!("no way to {list}"))).await;
            assert!(listed.page().contains("<tbody>"), "{list}: the list behind the figure");
        }
        let control = browser.get("/overview?window=24h").await;
        assert!(!control.page().contains("Nothing waits for you."));
    }

    who_looks_after_nothing_is_told_what_they_can_do(api) {
        for (role, status) in [("member", 403), ("auditor", 200), ("admin", 200)] {
            let email = format!("{role}@acme.example");
            api.add_member(&email, role).await;
            let browser = api.signed_in(&email).await;
            for path in ["/events", "/events/export/csv", "/audit-log", "/gateways"] {
                assert_eq!(browser.get(path).await.status, status, "{role} at {path}");
            }
            let asked = browser.post("/audit-log/export", &[("format", "csv")]).await;
            assert_eq!(asked.status, status, "{role}");
            let overview = browser.get("/overview").await;
            assert_eq!(overview.page().contains("Security posture"), status == 200, "{role}");
            assert_eq!(overview.page().contains("You are a member of Acme."), status == 403, "{role}");
        }
        for path in ["/events", "/events/evt_1", "/audit-log", "/audit-log/export", "/gateways", "/overview"] {
            assert_eq!(api.browser().get(path).await.status, 303, "{path}");
        }
    }
}
