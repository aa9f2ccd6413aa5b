//! Settings → Access Keys and Gateway Keys.

use std::collections::BTreeSet;
use std::time::Duration;

use kt_domain::clock::Clock;
use serde_json::{Value, json};

use super::browser::Browser;
use super::way_in::secret_of;
use crate::harness::{Answer, on_both};

const OWNER: &str = "owner@acme.example";
const ACCESS: &str = "/settings/access-keys";
const GATEWAY: &str = "/settings/gateway-keys";

/// The fields of a form for a key.
fn terms<'a>(
    name: &'a str,
    scope: &'a str,
    ranges: &'a str,
    rate: &'a str,
    day: &'a str,
) -> [(&'a str, &'a str); 5] {
    [
        ("name", name),
        ("scope", scope),
        ("ip_ranges", ranges),
        ("requests_per_minute", rate),
        ("expires_at", day),
    ]
}

async fn make(browser: &Browser<'_>, list: &str, name: &str) -> Answer {
    browser.post(list, &terms(name, "write", "", "", "")).await
}

/// The page of the newest key.
async fn newest(browser: &Browser<'_>, list: &str) -> String {
    let page = browser.get(list).await;
    let (_, rest) = page.page().split_once(&format!(r#"href="{list}/"#)).unwrap();
    format!("{list}/{}", rest.split('"').next().unwrap())
}

on_both! {
    keys_that_need_somebody_are_listed_whatever_their_kind(api) {
        let browser = api.signed_in(OWNER).await;
        let day = (api.clock.now() + Duration::from_hours(72)).strftime("%Y-%m-%d").to_string();
        for (list, name, ends) in [(ACCESS, "reports", ""), (ACCESS, "trial", day.as_str()), (GATEWAY, "dublin", day.as_str())] {
            assert_eq!(browser.post(list, &terms(name, "write", "", "", ends)).await.status.as_u16(), 200, "{name}");
        }
        let all = browser.get(ACCESS).await;
        assert!(all.page().contains("reports") && all.body.contains("trial") && !all.body.contains("dublin"));
        let due = browser.get(&format!("{ACCESS}?state=expiring")).await;
        assert!(!due.page().contains("reports") && due.body.contains("trial"), "{}", due.body);
        assert!(due.body.contains(&format!(r#"href="{GATEWAY}/"#)) && due.body.contains("dublin"), "of every kind, each with its page");
        let flagged = browser.get(&format!("{ACCESS}?state=flagged")).await;
        assert!(flagged.page().contains("None: no key needs you.") && !flagged.body.contains("trial"));
        api.add_member("abe@acme.example", "auditor").await;
        let auditor = api.signed_in("abe@acme.example").await;
        for (browser, manages) in [(&browser, true), (&auditor, false)] {
            let overview = browser.get("/overview").await;
            assert!(overview.page().contains(&format!(r#"href="{ACCESS}?state=expiring""#)), "manages: {manages}");
            let due = browser.get(&format!("{ACCESS}?state=expiring")).await;
            assert!(due.page().contains("trial") && due.body.contains("dublin"), "what the figure counts: {}", due.body);
            assert!(due.body.contains(&format!(r#"<a href="{GATEWAY}""#)), "its tab, manages: {manages}");
            let one = browser.get(&newest(browser, ACCESS).await).await;
            assert_eq!(one.page().contains("/revoke\""), manages, "{}", one.body);
        }
        let revoked = auditor.post(&format!("{}/revoke", newest(&auditor, ACCESS).await), &[]).await;
        assert_eq!(revoked.refusal(), (403, "insufficient_role"));
    }

    keys_are_ordered_by_their_headers_and_taken_as_a_file_without_their_secrets(api) {
        let browser = api.signed_in(OWNER).await;
        let mut secrets = Vec::new();
        for name in ["beta", "Alpha", "gamma"] {
            api.clock.advance(Duration::from_secs(1));
            secrets.push(secret_of(make(&browser, ACCESS, name).await.page()));
        }
        let names = async |query: &str| {
            let page = browser.get(&format!("{ACCESS}{query}")).await;
            let begins = format!("class=\"cover\" href=\"{ACCESS}/");
            let rows = page.page().split(&begins).skip(1);
            rows.map(|row| row.split_once('>').unwrap().1.split('<').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("").await, ["gamma", "Alpha", "beta"], "the newest first");
        assert_eq!(names("?sort=name").await, ["Alpha", "beta", "gamma"]);
        assert_eq!(names("?sort=-name").await, ["gamma", "beta", "Alpha"]);
        assert_eq!(names("?sort=created").await, ["beta", "Alpha", "gamma"]);
        assert_eq!(api.get("/v1/whoami").bearer(&secrets[0]).send().await.status.as_u16(), 200);
        api.control.run_jobs(&api.operator()).await.unwrap();
        assert_eq!(names("?sort=-last_used").await[0], "beta");

        let copy = browser.get(&format!("{ACCESS}/export?sort=name")).await;
        assert_eq!(copy.headers["content-disposition"], "attachment; filename=\"keys.csv\"");
        let lines: Vec<&str> = copy.page().lines().collect();
        assert_eq!(lines.len(), 4, "{}", copy.body);
        assert!(lines[0].starts_with("\"id\",\"type\",\"name\",\"prefix\",\"owner\""));
        assert!(lines[1].contains("\"access\",\"Alpha\",\"kt_ak_") && lines[1].contains("\"active\""), "{}", lines[1]);
        for secret in &secrets {
            assert!(!copy.body.contains(secret));
            assert!(!copy.body.contains(&kt_domain::secret::SecretDigest::of(secret).to_string()), "nor what is stored of it");
        }
        assert_eq!(browser.get(&format!("{GATEWAY}/export")).await.page().lines().count(), 1, "of this kind there is none");
        let records = api.records("key.list_exported").await;
        assert_eq!((records.len(), &records[0]["details"]["after"]["type"]), (2, &json!("access")));
        api.add_member("jo@acme.example", "member").await;
        let own = api.signed_in("jo@acme.example").await.get(&format!("{ACCESS}/export")).await;
        assert_eq!(own.page().lines().count(), 1, "one's own alone");
    }

    a_file_of_more_keys_than_are_read_at_once_has_each_of_them_once(api) {
        let owner = api.owner().await;
        for name in ["reports", "trial"].into_iter().cycle().take(501) {
            let asked = json!({ "name": name, "type": "access", "scope": "read-only" });
            let made = api.post("/v1/tokens", asked).bearer(owner.access_token()).send().await;
            assert_eq!(made.status, 201, "{}", made.json);
        }
        for sort in ["name", "-created", "-last_used"] {
            let copy = api.signed_in(OWNER).await.get(&format!("{ACCESS}/export?sort={sort}")).await;
            let ids: Vec<&str> = copy.page().lines().skip(1).map(|row| row.split("\",\"").next().unwrap()).collect();
            let each: BTreeSet<&str> = ids.iter().copied().collect();
            assert_eq!((ids.len(), each.len()), (501, 501), "{sort}");
        }
    }

    a_key_is_made_shown_once_and_works(api) {
        let browser = api.signed_in(OWNER).await;
        assert!(browser.get(ACCESS).await.page().contains("There is no key yet"));
        let made = browser.post(ACCESS, &terms("reports", "read-only", "203.0.113.0/24\r\n2001:db8::/32", "60", "2031-01-31")).await;
        let key = secret_of(made.page());
        assert!(key.starts_with("kt_"), "{key}");
        for path in [ACCESS, &newest(&browser, ACCESS).await] {
            let page = browser.get(path).await;
            assert!(page.page().contains("reports") && !page.body.contains(&key), "shown once");
        }
        let page = browser.get(&newest(&browser, ACCESS).await).await;
        for part in ["203.0.113.0/24\n2001:db8::/32", r#"value="60""#, r#"value="2031-01-31""#, OWNER] {
            assert!(page.page().contains(part), "{part}: {}", page.body);
        }
        assert_eq!(api.get("/v1/whoami").bearer(&key).send().await.status.as_u16(), 200);
        assert_eq!(api.get("/v1/whoami").bearer(&key).from("192.0.2.1:1").send().await.status.as_u16(), 403);
    }

    the_form_says_that_a_key_that_writes_runs_gateways_as_it_does(api) {
        let browser = api.signed_in(OWNER).await;
        let said = "Also sends AI traffic, writes and rolls out configurations, and runs gateways, as far as you may.";
        assert!(browser.get(ACCESS).await.page().contains(said));
        for (scope, status) in [("read-only", 403), ("write", 404)] {
            let key = secret_of(browser.post(ACCESS, &terms(scope, scope, "", "", "")).await.page());
            let drained = api.post("/v1/gateways/nowhere/drain", Value::Null).bearer(&key).send().await;
            assert_eq!(drained.status.as_u16(), status, "{scope}: only whoever may learns that there is none");
        }
    }

    keys_are_searched_for_by_name_and_by_their_first_characters(api) {
        let browser = api.signed_in(OWNER).await;
        for name in ["reports", "deploy"] {
            make(&browser, ACCESS, name).await;
        }
        let finds = async |typed: &str| {
            let page = browser.get(&format!("{ACCESS}?q={typed}")).await;
            (page.page().contains(">reports<"), page.body.contains(">deploy<"))
        };
        assert_eq!(finds("").await, (true, true));
        assert_eq!(finds("REP").await, (true, false));
        assert_eq!(finds("kt_ak_").await, (true, true));
        assert_eq!(finds("rep%25").await, (false, false));
        assert!(browser.get(&format!("{ACCESS}?q=nothing")).await.page().contains("No key fits this search."));
        assert!(browser.get(&format!("{GATEWAY}?q=reports")).await.page().contains("No key fits this search."));
    }

    what_the_form_cannot_mean_is_told_at_its_field(api) {
        let browser = api.signed_in(OWNER).await;
        for (fields, param) in [
            (terms("", "write", "", "", ""), "name"),
            (terms("x", "emperor", "", "", ""), "scope"),
            (terms("x", "", "", "", ""), "scope"),
            (terms("x", "write", "203.0.113.0/24 nowhere", "", ""), "ip_ranges"),
            (terms("x", "write", "", "many", ""), "requests_per_minute"),
            (terms("x", "write", "", "0", ""), "requests_per_minute"),
            (terms("x", "write", "", "", "31.12.2031"), "expires_at"),
            (terms("x", "write", "", "", "2001-01-01"), "expires_at"),
        ] {
            let answer = browser.post(ACCESS, &fields).await;
            assert_eq!((answer.status.as_u16(), answer.text("/error/param")), (422, param), "{fields:?}");
        }
        assert!(browser.get(ACCESS).await.page().contains("There is no key yet"), "nothing was made");
        assert!(make(&browser, ACCESS, "x").await.page().contains("Your new key"));
    }

    a_key_is_changed_rotated_with_an_overlap_and_revoked(api) {
        let browser = api.signed_in(OWNER).await;
        let old = secret_of(make(&browser, ACCESS, "build").await.page());
        let path = newest(&browser, ACCESS).await;
        let works = async |key: &str| api.get("/v1/whoami").bearer(key).send().await.status.as_u16() == 200;

        let changed = browser.post(&path, &terms("build two", "write", "198.51.100.0/24", "", "")).await;
        assert_eq!(changed.leads_to(), Some(path.as_str()));
        assert!(!works(&old).await, "from another address");
        browser.post(&path, &terms("build two", "write", "", "", "")).await;
        assert!(works(&old).await);

        // Keys are listed in the order of the moments at which they were made.
        api.clock.advance(Duration::from_secs(1));
        let new = secret_of(browser.post(&format!("{path}/rotate"), &[("overlap_seconds", "3600")]).await.page());
        assert!(works(&old).await && works(&new).await, "both for an hour");
        assert!(browser.get(ACCESS).await.page().contains("Replaced"));
        let twice = browser.post(&format!("{path}/rotate"), &[("overlap_seconds", "0")]).await;
        assert_eq!(twice.refusal(), (409, "key_rotated"));
        let path = newest(&browser, ACCESS).await;
        assert_eq!(browser.post(&format!("{path}/revoke"), &[]).await.leads_to(), Some(ACCESS));
        assert!(works(&old).await && !works(&new).await);
        let page = browser.get(&path).await;
        assert!(page.page().contains("Revoked") && !page.body.contains("/rotate"));
        api.clock.advance(Duration::from_hours(1));
        assert!(!works(&old).await);
    }

    a_day_that_was_left_as_it_was_shown_moves_nothing(api) {
        let owner = api.owner().await;
        let noon = json!({ "name": "noon", "scope": "write", "expires_at": "2031-06-01T12:00:00Z" });
        let key = api.post("/v1/tokens", noon).bearer(owner.access_token()).send().await;
        let browser = api.signed_in(OWNER).await;
        let path = newest(&browser, ACCESS).await;
        let expiry = async || {
            let shown = api.get(&format!("/v1/tokens/{}", key.text("/id"))).bearer(owner.access_token()).send().await;
            shown.text("/expires_at").to_owned()
        };
        browser.post(&path, &terms("renamed", "write", "", "", "2031-06-01")).await;
        assert_eq!(expiry().await, "2031-06-01T12:00:00Z");
        browser.post(&path, &terms("renamed", "write", "", "", "2031-06-02")).await;
        assert_eq!(expiry().await, "2031-06-03T00:00:00Z");
    }

    who_may_make_keys_is_shown_and_holds(api) {
        api.add_member("jo@acme.example", "member").await;
        let member = api.signed_in("jo@acme.example").await;
        let page = member.get(ACCESS).await;
        assert!(page.page().contains("Admins and owners") && !page.body.contains(r#"data-dialog="new-key""#));
        assert_eq!(make(&member, ACCESS, "mine").await.refusal(), (403, "insufficient_role"));

        api.demand(json!({ "creation": "everyone", "max_age_days": 90, "max_requests_per_minute": 600 })).await;
        let page = member.get(ACCESS).await;
        for part in ["Everyone but auditors", "After 90 days", "At most 600", r#"data-dialog="new-key""#] {
            assert!(page.page().contains(part), "{part}");
        }
        assert!(make(&member, ACCESS, "mine").await.page().contains("Your new key"));
        assert_eq!(make(&member, GATEWAY, "mine").await.refusal(), (403, "insufficient_role"), "access keys only");
        let owner = api.signed_in(OWNER).await;
        assert!(make(&owner, ACCESS, "the owner's").await.page().contains("Your new key"));
        assert!(!member.get(ACCESS).await.page().contains("the owner"), "one's own alone");
        assert!(owner.get(ACCESS).await.page().contains("mine"), "everybody's");
    }

    each_kind_has_its_page_and_flags_say_what_is_wrong(api) {
        let browser = api.signed_in(OWNER).await;
        make(&browser, ACCESS, "for a program").await;
        make(&browser, GATEWAY, "for the edge").await;
        let (access, gateway) = (browser.get(ACCESS).await, browser.get(GATEWAY).await);
        assert!(access.page().contains("for a program") && !access.body.contains("for the edge"));
        assert!(gateway.page().contains("for the edge") && !gateway.body.contains("for a program"));
        let elsewhere = newest(&browser, ACCESS).await.replace("access-keys", "gateway-keys");
        assert_eq!(browser.get(&elsewhere).await.status.as_u16(), 404);

        let day = (api.clock.now() + Duration::from_hours(48)).strftime("%Y-%m-%d").to_string();
        browser.post(ACCESS, &terms("soon over", "write", "", "", &day)).await;
        assert!(browser.get(ACCESS).await.page().contains("Expires soon"));
        assert!(!browser.get(GATEWAY).await.page().contains("Rotation required"));
        api.demand(json!({ "require_ip_binding": true })).await;
        let flagged = browser.get(GATEWAY).await;
        assert!(flagged.page().contains("Rotation required") && flagged.body.contains("Not bound to addresses"));
        let page = browser.get(&newest(&browser, GATEWAY).await).await;
        assert!(page.page().contains("breaks what your organization demands"));
    }
}
