//! Configurations and gateways, as people go through them.

mod set_up;

use std::time::Duration;

use serde_json::{Value, json};

use super::browser::Browser;
use crate::harness::{Answer, TestApi, on_both};

const OWNER: &str = "owner@acme.example";

const ECHO: &str = "pack: {name: echo, version: 1.0.0}\nproviders: {targets: [{id: echo, provider: echo}]}\n";

/// What no page may show.
const CANARY: &str = "sk-canary-0b6e4d77f2";

async fn send(browser: &Browser<'_>, path: &str, text: &str, intent: &str, version: &str) -> Answer {
    browser.post(path, &[("name", "main"), ("text", text), ("version", version), ("intent", intent)]).await
}

/// A gateway that reports `more`.
async fn report(api: &TestApi, more: Value) {
    let owner = api.token_of(OWNER).await;
    let key = json!({ "type": "gateway", "name": "edge key", "scope": "write" });
    let made = api.post("/v1/tokens", key).bearer(&owner).send().await;
    let mut body = json!({
        "gateway_id": "gw_edge", "software_version": "0.1.0", "config_version": "none", "config_source": "kept",
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = api.post("/v1/gateways/sync", body).bearer(made.text("/key")).send().await;
    assert_eq!(answer.status, 200, "{}", answer.json);
}

/// What the page of a review says that its reader has seen.
fn seen(review: &Answer) -> String {
    let (_, rest) = review.page().split_once("name=\"version\" value=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

on_both! {
    a_configuration_is_checked_saved_compared_and_rolled_out(api) {
        let browser = api.signed_in(OWNER).await;
        assert!(browser.get("/configurations").await.page().contains("Nothing is kept here yet"));
        assert!(browser.get("/configurations/new").await.page().contains("echo"), "it begins with the starter");
        let hostile = "pack: {name: p, version: 1.0.0}\n'<script>alert(1)</script>': '\"><img onerror=x>'\n";
        let checked = send(&browser, "/configurations/new", hostile, "check", "0").await;
        let page = checked.page();
        assert!(page.contains("E002") && page.contains("&#60;script&#62;") && !page.contains("<script>alert"), "{page}");
        let refused = send(&browser, "/configurations/new", hostile, "save", "0").await;
        assert!(refused.page().contains("What the check found"), "a mistake is not saved");
        let saved = send(&browser, "/configurations/new", ECHO, "save", "0").await;
        assert_eq!(saved.leads_to(), Some("/configurations/main/versions/1"), "{}", saved.body);
        let changed = format!("{ECHO}# a second line\n");
        let saved = send(&browser, "/configurations/main", &changed, "save", "1").await;
        assert_eq!(saved.leads_to(), Some("/configurations/main/versions/2"));
        let late = send(&browser, "/configurations/main", ECHO, "save", "1").await;
        assert_eq!(late.refusal(), (412, "version_mismatch"));

        report(&api, json!({})).await;
        let roll_out = async |number: u32, fields: &[(&str, &str)]| {
            browser.post(&format!("/configurations/main/versions/{number}/rollout"), fields).await
        };
        assert_eq!(roll_out(1, &[("to", "chosen")]).await.refusal(), (422, "validation_error"), "nobody was chosen");
        assert_eq!(roll_out(1, &[("to", "all")]).await.leads_to(), Some("/gateways?live=on"));
        let difference = browser.get("/configurations/main/versions/2").await;
        assert!(difference.page().contains("What it changes from main@1") && difference.body.contains("# a second line"));
        assert_eq!(roll_out(2, &[("to", "chosen"), ("gateways", "gw_edge")]).await.leads_to(), Some("/gateways?live=on"));
        let list = browser.get("/gateways").await;
        assert!(list.page().contains("not yet main@2"), "{}", list.body);
        let versions = browser.get("/configurations/main/versions").await;
        assert!(versions.page().contains("main@1") && versions.body.contains("main@2"));
    }

    a_gateway_is_shown_with_what_it_refused_and_is_drained_and_forgotten(api) {
        let browser = api.signed_in(OWNER).await;
        send(&browser, "/configurations/new", ECHO, "save", "0").await;
        browser.post("/configurations/main/versions/1/rollout", &[("to", "all")]).await;
        let target = json!({ "id": "<b>t</b>", "provider": "openai", "state": "no_credential", "models": ["gpt-4o"] });
        let refused = json!({ "version": "main@1", "reason": "<script>alert(1)</script>" });
        report(&api, json!({ "refused": refused, "targets": [target] })).await;
        let shown = browser.get("/gateways/gw_edge").await;
        let page = shown.page();
        assert!(page.contains("It could not run main@1") && page.contains("Without its key") && page.contains("gpt-4o"));
        assert!(!page.contains("<script>alert") && !page.contains("<b>t</b>"));
        let path = "/gateways/gw_edge";
        assert_eq!(browser.post(&format!("{path}/drain"), &[]).await.leads_to(), Some("/gateways/gw_edge?live=on"));
        assert!(browser.get(path).await.page().contains("To be drained"));
        assert_eq!(browser.post(&format!("{path}/resume"), &[]).await.leads_to(), Some("/gateways/gw_edge?live=on"));
        assert_eq!(browser.post(&format!("{path}/forget"), &[]).await.refusal(), (409, "gateway_connected"));
        api.clock.advance(Duration::from_mins(2));
        assert!(browser.get(path).await.page().contains("Forget"));
        assert_eq!(browser.post(&format!("{path}/forget"), &[]).await.leads_to(), Some("/gateways"));
        assert_eq!(browser.get(path).await.status, 404);
    }

    gateways_renew_themselves_for_whoever_follows_them_alone(api) {
        let browser = api.signed_in(OWNER).await;
        report(&api, json!({})).await;
        for path in ["/gateways", "/gateways?q=gw", "/gateways/gw_edge"] {
            let still = browser.get(path).await;
            assert!(!still.page().contains("data-live") && still.body.contains("Follow</a>"), "{path}: {}", still.body);
            let join = if path.contains('?') { "&#38;" } else { "?" };
            assert!(still.body.contains(&format!(r#"href="{path}{join}live=on""#)), "{path}: {}", still.body);
            let join = if path.contains('?') { "&" } else { "?" };
            let followed = browser.get(&format!("{path}{join}live=on")).await;
            assert!(followed.page().contains("data-live") && followed.body.contains("Stop following</a>"), "{path}");
            assert!(followed.body.contains("Following: what gateways report appears by itself."), "{path}");
        }
    }

    a_gateway_with_files_of_its_own_is_shown_locked(api) {
        let browser = api.signed_in(OWNER).await;
        report(&api, json!({ "config_source": "file", "config_version": "0123456789ab" })).await;
        let page = browser.get("/gateways/gw_edge").await;
        assert!(page.page().contains("--policy-config") && page.body.contains("0123456789ab"));
        send(&browser, "/configurations/new", ECHO, "save", "0").await;
        let fields = [("to", "chosen"), ("gateways", "gw_edge")];
        let refused = browser.post("/configurations/main/versions/1/rollout", &fields).await;
        assert_eq!(refused.refusal(), (409, "configured_by_file"));
        assert!(!page.page().contains("Show the configuration"), "nothing is told yet");
        let told = |document: Value| json!({ "config_source": "file", "config_version": "0123456789ab",
            "configuration": { "version": "0123456789ab", "document": document } });
        report(&api, told(json!({ "pack": { "name": "<script>alert(1)</script>" } }))).await;
        let shown = browser.get("/gateways/gw_edge").await;
        assert!(shown.page().contains("Show the configuration") && shown.body.contains("&#60;script&#62;"), "{}", shown.body);
        assert!(!shown.body.contains("<script>alert"));
        report(&api, json!({ "config_source": "file", "config_version": "ba9876543210" })).await;
        assert!(!browser.get("/gateways/gw_edge").await.page().contains("Show the configuration"), "of another version");
        report(&api, json!({ "config_source": "file", "config_version": "0123456789ab" })).await;
        report(&api, told(Value::Null)).await;
        assert!(browser.get("/gateways/gw_edge").await.page().contains("longer than 256 KiB"));
    }

    gateways_that_count_each_for_itself_are_told_of(api) {
        let browser = api.signed_in(OWNER).await;
        let warns = async || browser.get("/gateways").await.page().contains("for themselves");
        report(&api, json!({})).await;
        assert!(!warns().await, "one has nobody to count with");
        report(&api, json!({ "gateway_id": "gw_two" })).await;
        assert!(warns().await);
        assert!(browser.get("/gateways/gw_two").await.page().contains("counted by itself"));
        report(&api, json!({ "gateway_id": "gw_two", "counts_shared": true })).await;
        assert!(!warns().await);
        assert!(browser.get("/gateways/gw_two").await.page().contains("counted together"));
        report(&api, json!({ "gateway_id": "gw_three" })).await;
        assert!(warns().await);
        api.clock.advance(Duration::from_mins(2));
        assert!(!warns().await, "they are gone");
    }

    the_list_of_gateways_is_searched_and_taken_as_a_table(api) {
        let browser = api.signed_in(OWNER).await;
        let target = json!({ "id": "main", "provider": "openai", "state": "failing" });
        report(&api, json!({ "gateway_id": "gw_edge", "address": "https://edge.example", "targets": [target] })).await;
        report(&api, json!({ "gateway_id": "gw_core", "address": "https://core.example" })).await;
        for (asked, found) in [("EDGE", vec!["gw_edge"]), ("core.example", vec!["gw_core"]), ("gw_", vec!["gw_core", "gw_edge"]), ("%", vec![])] {
            let page = browser.get(&format!("/gateways?q={}", asked.replace('%', "%25"))).await;
            let table = browser.get(&format!("/gateways/export/csv?q={}", asked.replace('%', "%25"))).await;
            assert_eq!(table.status, 200);
            for id in ["gw_core", "gw_edge"] {
                assert_eq!(page.page().contains(&format!("<code>{id}</code>")), found.contains(&id), "{asked} {id}");
                assert_eq!(table.body.contains(&format!("\"{id}\",\"true\"")), found.contains(&id), "{asked} {id}");
            }
            assert_eq!(page.page().contains("No gateway fits this search."), found.is_empty(), "{asked}");
            assert_eq!(table.body.lines().count(), found.len() + 1, "{}", table.body);
        }
        let whole = browser.get("/gateways/export/csv").await;
        assert!(whole.body.starts_with("\"id\",\"connected\","), "{}", whole.body);
        assert!(whole.body.contains("\"https://edge.example\",\"https://edge.example\",\"main: failing\""), "{}", whole.body);
        assert_eq!(api.records("gateway.list_exported").await.len(), 5);
        api.add_member("jo@acme.example", "member").await;
        let jo = api.signed_in("jo@acme.example").await;
        assert_eq!(jo.get("/gateways/export/csv").await.refusal_page(), (403, true));
    }

    the_list_of_gateways_tells_where_each_is_reached_and_how_its_targets_are(api) {
        let browser = api.signed_in(OWNER).await;
        let target = |state: &str| json!({ "id": state, "provider": "openai", "state": state });
        let targets = ["usable", "no_credential", "failing"].map(target);
        report(&api, json!({ "address": "https://edge.example", "targets": targets })).await;
        let list = browser.get("/gateways").await;
        for part in ["https://edge.example", "1 usable", "1 without their key", "1 failing"] {
            assert!(list.page().contains(part), "{part} in {}", list.body);
        }
        assert!(!list.body.contains("not from this server") && !list.body.contains("it does not say"));
        report(&api, json!({ "address": "http://127.0.0.1:41002" })).await;
        assert!(browser.get("/gateways").await.page().contains("not from this server"));
        report(&api, json!({})).await;
        assert!(browser.get("/gateways").await.page().contains("it does not say"));
    }

    whoever_only_looks_changes_nothing(api) {
        let owner = api.signed_in(OWNER).await;
        send(&owner, "/configurations/new", ECHO, "save", "0").await;
        owner.post("/settings/provider-credentials", &[("name", "openai"), ("key", CANARY)]).await;
        for (role, sees) in [("auditor", true), ("member", false)] {
            let email = format!("{role}@acme.example");
            api.add_member(&email, role).await;
            let browser = api.signed_in(&email).await;
            for path in ["/configurations", "/configurations/main/versions", "/configurations/main/versions/1"] {
                assert_eq!(browser.get(path).await.status == 200, sees, "{path} as {role}");
            }
            for (path, fields) in [
                ("/configurations/main", &[("text", ECHO), ("intent", "save")][..]),
                ("/configurations/main/versions/1/rollout", &[("to", "all")]),
                ("/settings/provider-credentials", &[("name", "a"), ("key", "b")]),
                ("/settings/provider-credentials/openai/replace", &[("key", "b")]),
                ("/settings/provider-credentials/openai/remove", &[]),
                ("/setup/provider", &[("vendor", "openai"), ("base_url", ""), ("model", ""), ("key", "")]),
                ("/setup/provider/publish", &[("text", ECHO), ("version", "")]),
                ("/setup/gateway", &[("name", "x"), ("address", "https://x.example"), ("tls", "before")]),
            ] {
                assert_eq!(browser.post(path, fields).await.refusal(), (403, "insufficient_role"), "{path} as {role}");
            }
        }
        let keys = owner.get("/settings/provider-credentials").await;
        assert!(keys.page().contains("openai") && !keys.body.contains(CANARY));
        let replaced = owner.post("/settings/provider-credentials/openai/replace", &[("key", "sk-2")]).await;
        assert_eq!(replaced.leads_to(), Some("/settings/provider-credentials"));
        let removed = owner.post("/settings/provider-credentials/openai/remove", &[]).await;
        assert_eq!(removed.leads_to(), Some("/settings/provider-credentials"));
    }
}
