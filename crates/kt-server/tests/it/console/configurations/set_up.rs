//! The guided set-up: from a key of a provider to a gateway that answers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use kt_store::gateways::{self, Gateway};
use serde_json::json;

use super::{CANARY, ECHO, OWNER, report, seen, send};
use crate::harness::{Answer, on_both};
use crate::stub_gateway::StubGateway;

/// A provider that answers one request with this.
fn provider(status: &'static str, body: &'static str) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = vec![0; 8192];
        let length = client.read(&mut request).unwrap();
        let length_of_body = body.len();
        write!(
            client,
            "HTTP/1.1 {status}\r\nContent-Length: {length_of_body}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    (address, served)
}

on_both! {
    the_guided_set_up_leads_from_a_key_to_a_published_configuration(api) {
        let browser = api.signed_in(OWNER).await;
        let fields = [("vendor", "openai"), ("base_url", ""), ("model", "gpt-4o"), ("key", CANARY)];
        let rules = browser.post("/setup/provider", &fields).await;
        assert!(rules.page().contains("The key is stored as openai.") && !rules.body.contains(CANARY));
        let again = browser.post("/setup/provider", &fields).await;
        assert!(again.page().contains("openai-2"), "a name is never taken from another");
        let mut chosen = vec![
            ("vendor", "openai"), ("base_url", ""), ("model", "gpt-4o"), ("credential", "openai"), ("callers", "keys"),
            ("allow", "203.0.113.0/24\r\n127.0.0.1/32"), ("origins", "https://app.example.com"), ("pii", "true"),
        ];
        let review = browser.post("/setup/provider/review", &chosen).await;
        let page = review.page();
        assert!(!page.contains("in place of what") && !page.contains("What it changes"), "it takes the place of nothing");
        for part in ["openai:chat:gpt-4o", "stored: openai", "203.0.113.0/24", "https://app.example.com", "pii-detector"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        chosen[5] = ("allow", "everybody");
        assert!(browser.post("/setup/provider/review", &chosen).await.page().contains("E009"));

        let text = "providers:\n  targets:\n    - {id: openai, provider: openai, secret_key_ref: {stored: openai}}\n";
        let text = format!("pack: {{name: p, version: 1.0.0}}\n{text}");
        let version = seen(&review);
        let wrong = browser.post("/setup/provider/publish", &[("text", "cors: 1"), ("version", &version)]).await;
        assert!(wrong.page().contains("E006"), "shown again with what is wrong");
        let published = browser.post("/setup/provider/publish", &[("text", &text), ("version", &version)]).await;
        assert_eq!(published.leads_to(), Some("/setup/provider/done"), "{}", published.body);
        report(&api, json!({ "config_version": "main@1", "address": "http://127.0.0.1:41002" })).await;
        assert!(browser.get("/setup/provider/done").await.page().contains("runs main@1"));
        let line = browser.post("/setup/provider/key", &[]).await;
        assert!(line.page().contains("curl http://127.0.0.1:41002/v1/chat/completions"));
        assert!(line.body.contains("Bearer kt_ak_"));
        for path in ["/settings/provider-credentials", "/configurations/main/versions/1", "/audit-log", "/setup/provider"] {
            assert!(!browser.get(path).await.page().contains(CANARY), "{path}");
        }
    }

    the_last_step_leads_to_a_gateway_that_is_there_and_can_answer(api) {
        let browser = api.signed_in(OWNER).await;
        let line = async || browser.post("/setup/provider/key", &[]).await;
        let target = |state: &str, model: &str| json!({ "id": "main", "provider": "openai", "state": state, "models": [model] });
        let tell = async |id: &str, state: &str, draining: bool| {
            report(&api, json!({ "gateway_id": id, "config_version": "main@1", "address": format!("https://{id}.example"),
                "draining": draining, "targets": [target(state, &format!("of-{id}"))] })).await;
        };
        assert!(line().await.page().contains("https://GATEWAY:41002"), "there is none");
        tell("gone", "usable", false).await;
        api.clock.advance(Duration::from_mins(2));
        assert!(line().await.page().contains("https://gone.example/"), "there is no other");
        tell("drained", "usable", true).await;
        tell("keyless", "no_credential", false).await;
        assert!(line().await.page().contains("https://keyless.example/v1/chat/completions"));
        assert!(line().await.page().contains("MODEL"), "it has none that can be asked for");
        tell("ready", "usable", false).await;
        let shown = line().await;
        assert!(shown.page().contains("https://ready.example/v1/chat/completions"), "{}", shown.body);
        assert!(shown.page().contains("of-ready"), "{}", shown.body);
    }

    publishing_shows_what_it_replaces_and_surprises_nobody(api) {
        let browser = api.signed_in(OWNER).await;
        let drafted = [
            ("vendor", "echo"), ("base_url", ""), ("model", ""), ("credential", ""), ("callers", "keys"), ("allow", ""), ("origins", ""),
        ];
        let review = async || browser.post("/setup/provider/review", &drafted).await;
        let publish = async |version: &str| {
            browser.post("/setup/provider/publish", &[("text", ECHO), ("version", version)]).await
        };
        let first = seen(&review().await);
        let priced = format!("{ECHO}prices: {{currency: EUR, models: [{{model: \"*\", input: 1, output: 1}}]}}\n");
        send(&browser, "/configurations/new", &priced, "save", "0").await;
        browser.post("/configurations/main/versions/1/rollout", &[("to", "all")]).await;
        assert_eq!(publish(&first).await.refusal(), (412, "version_mismatch"), "somebody else was faster");
        assert_eq!(browser.get("/configurations/main/versions/2").await.status, 404, "nothing was kept");

        let shown = review().await;
        for part in ["What it changes from main@1", "prices: {currency", "in place of what they are told", "budgets and policies that are there"] {
            assert!(shown.page().contains(part), "{part}: {}", shown.body);
        }
        assert!(!shown.body.contains("follow too"));
        let checked = browser.post("/setup/provider/check", &[("text", &priced), ("version", "")]).await;
        assert!(checked.page().contains("Nothing: the text is the same."), "{}", checked.body);
        let before = seen(&shown);

        report(&api, json!({})).await;
        browser.post("/configurations/main/versions/1/rollout", &[("to", "chosen"), ("gateways", "gw_edge")]).await;
        assert_eq!(publish(&before).await.refusal(), (412, "version_mismatch"), "another gateway would lose its own");
        let shown = review().await;
        assert!(shown.page().contains("Gateways that are told to run main@1 follow too"), "{}", shown.body);
        assert_eq!(publish(&seen(&shown)).await.leads_to(), Some("/setup/provider/done"));
        assert!(browser.get("/gateways").await.page().contains("not yet main@2"));
        assert_eq!(publish(&seen(&review().await)).await.leads_to(), Some("/setup/provider/done"));
        assert_eq!(browser.get("/configurations/main/versions/3").await.status, 404, "the same text is no new version");
    }

    ranges_that_shut_this_server_out_are_told_before_they_are_published(api) {
        let _beside = StubGateway::start(&api, "openai").await;
        let browser = api.signed_in(OWNER).await;
        let warning = "this server asks the gateway from 127.0.0.1";
        for (ranges, is_shut_out) in [("203.0.113.0/24", true), ("203.0.113.0/24 127.0.0.1", false), ("", false)] {
            let drafted = [
                ("vendor", "echo"), ("base_url", ""), ("model", ""), ("credential", ""), ("callers", "keys"),
                ("allow", ranges), ("origins", ""),
            ];
            let review = browser.post("/setup/provider/review", &drafted).await;
            assert_eq!(review.page().contains(warning), is_shut_out, "{ranges}");
            let text = if ranges.is_empty() { ECHO.to_owned() } else {
                format!("{ECHO}ip_allowlist: {{enabled: true, allow: [{}]}}\n", ranges.replace(' ', ", "))
            };
            let checked = send(&browser, "/configurations/new", &text, "check", "0").await;
            assert_eq!(checked.page().contains(warning), is_shut_out, "{text}");
        }
    }

    a_provider_is_tried_with_its_key_and_says_what_to_change(api) {
        const MODELS: &str = r#"{"data":[{"id":"small"},{"id":"<b>large</b>"}]}"#;
        let browser = api.signed_in(OWNER).await;
        let attempt = async |base_url: &str, model: &str| {
            let fields = [("vendor", "custom"), ("base_url", base_url), ("model", model), ("key", CANARY)];
            browser.post("/setup/provider/try", &fields).await
        };
        let (address, asked) = provider("200 OK", MODELS);
        let answer = attempt(&address, "small").await;
        assert!(answer.page().contains("Models that it offers: 2.") && !answer.body.contains("<b>large") && !answer.body.contains(CANARY));
        let request = asked.join().unwrap();
        assert!(request.starts_with("GET /v1/models ") && request.contains(&format!("Bearer {CANARY}")), "{request}");
        let (address, asked) = provider("200 OK", MODELS);
        assert_eq!(attempt(&address, "huge").await.refusal(), (422, "unknown_model"));
        asked.join().unwrap();
        for (status, code) in [
            ("401 Unauthorized", "provider_key_refused"), ("404 Not Found", "provider_unsuitable"),
            ("302 Found", "provider_unsuitable"), ("429 Too Many Requests", "provider_busy"), ("200 OK", "provider_unsuitable"),
        ] {
            let (address, asked) = provider(status, "{}");
            let refused = attempt(&address, "").await;
            assert_eq!(refused.refusal(), (422, code), "{status}");
            assert!(!refused.body.contains(CANARY));
            asked.join().unwrap();
        }
        let stored = [("vendor", "custom"), ("base_url", "http://127.0.0.1:1/v1"), ("model", ""), ("key", ""), ("credential", "custom")];
        let refused = browser.post("/setup/provider/try", &stored).await;
        assert_eq!((refused.refusal(), refused.text("/error/param")), ((422, "validation_error"), "key"), "it is sent nowhere");
        for nowhere in ["http://127.0.0.1:1/v1", "http://169.254.169.254/v1"] {
            assert_eq!(attempt(nowhere, "").await.refusal(), (422, "provider_unreachable"), "{nowhere}");
        }
        for wrong in ["", "ftp://host/v1", "no address"] {
            assert!(matches!(attempt(wrong, "").await.refusal(), (422, "validation_error" | "provider_unreachable")), "{wrong}");
        }
    }

    a_gateway_on_another_machine_gets_a_key_and_is_seen_to_come(api) {
        let browser = api.signed_in(OWNER).await;
        let fields = [("name", "edge-1"), ("address", "https://edge.example"), ("tls", "before")];
        let in_the_clear = [("name", "edge-1"), ("address", "http://edge.example"), ("tls", "before")];
        let refused = browser.post("/setup/gateway", &in_the_clear).await;
        assert_eq!((refused.refusal(), refused.text("/error/param")), ((422, "validation_error"), "address"));
        let made = browser.post("/setup/gateway", &fields).await;
        let page = made.page();
        assert!(page.contains("--public-url https://edge.example "), "{page}");
        let key = page.split("KEEPTRUSTS_GATEWAY_TOKEN=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let sign = page.split("hx-get=\"/setup/gateway?key=").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let sign = format!("/setup/gateway?key={sign}");
        assert!(browser.get(&sign).await.page().contains("Waiting for the gateway"));
        let sync = async |config_version: &str, address: Option<&str>| {
            let body = json!({ "gateway_id": "gw_far", "software_version": "0.1.0", "config_version": config_version,
                "config_source": "kept", "address": address });
            assert_eq!(api.post("/v1/gateways/sync", body).bearer(&key).send().await.status, 200);
            browser.get(&sign).await
        };
        let arrived = sync("none", None).await;
        assert!(!arrived.page().contains("Waiting for the gateway"));
        for part in ["gw_far", "Reports no address that can be reached", "It waits to be told what to run"] {
            assert!(arrived.body.contains(part), "{part} in {}", arrived.body);
        }
        let arrived = sync("main@1", Some("https://edge.example")).await;
        assert!(arrived.page().contains("gw_far"));
        for part in ["Reports no address", "It waits to be told"] {
            assert!(!arrived.body.contains(part), "{part} in {}", arrived.body);
        }
    }

    what_a_new_gateway_will_run_is_said_before_it_comes_and_then_what_it_runs(api) {
        let browser = api.signed_in(OWNER).await;
        assert!(browser.get("/setup/gateway").await.page().contains("Nothing is rolled out yet that it could run"));
        send(&browser, "/configurations/new", ECHO, "save", "0").await;
        browser.post("/configurations/main/versions/1/rollout", &[("to", "all")]).await;
        let version = "<a href=\"/configurations/main/versions/1\"><code>main@1</code></a>";
        assert!(browser.get("/setup/gateway").await.page().contains(&format!("It will run {version}")));
        let fields = [("name", "edge-1"), ("address", "https://edge.example"), ("tls", "before")];
        let made = browser.post("/setup/gateway", &fields).await;
        let part = |before: &str| made.page().split(before).nth(1).unwrap().split([' ', '"']).next().unwrap().to_owned();
        let (key, sign) = (part("KEEPTRUSTS_GATEWAY_TOKEN="), format!("/setup/gateway?key={}", part("hx-get=\"/setup/gateway?key=")));
        assert!(made.body.contains(&format!("It will run {version}")), "beside the line that starts it");
        for (runs, said) in [("none", "It is told to run"), ("main@1", "It runs")] {
            let body = json!({ "gateway_id": "gw_far", "software_version": "0.1.0", "config_version": runs, "config_source": "kept" });
            assert_eq!(api.post("/v1/gateways/sync", body).bearer(&key).send().await.status, 200);
            let arrived = browser.get(&sign).await;
            assert!(arrived.page().contains(&format!("{said} {version}")), "{}", arrived.body);
            assert!(arrived.body.contains("href=\"/configurations/main/versions\""), "the way to another version");
        }
    }

    a_key_of_a_provider_that_is_not_taken_after_all_does_not_stay_stored(api) {
        let browser = api.signed_in(OWNER).await;
        let choose = async |vendor: &str, key: &str, credential: &str| {
            let fields = [("vendor", vendor), ("base_url", ""), ("model", ""), ("key", key), ("credential", credential)];
            assert_eq!(browser.post("/setup/provider", &fields).await.status, 200);
        };
        let stored = async || {
            let page = browser.get("/settings/provider-credentials").await;
            let rows = page.page().split("<tr><td><code>").skip(1);
            rows.map(|row| row.split('<').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        choose("openai", CANARY, "").await;
        assert_eq!(stored().await, ["openai"], "the control");
        choose("mistral", "sk-other", "openai").await;
        assert_eq!(stored().await, ["mistral"]);
        assert_eq!(api.records("provider_credential.removed").await.len(), 1);
        let text = "pack: {name: p, version: 1.0.0}\nproviders:\n  targets:\n    - {id: m, provider: mistral, secret_key_ref: {stored: mistral}}\n";
        let checked = browser.post("/setup/provider/check", &[("text", text), ("version", "")]).await;
        let published = browser.post("/setup/provider/publish", &[("text", text), ("version", &seen(&checked))]).await;
        assert_eq!(published.leads_to(), Some("/setup/provider/done"), "{}", published.body);
        choose("echo", "", "mistral").await;
        assert_eq!(stored().await, ["mistral"], "gateways are told to use it");
        let own = [("name", "open"), ("key", "sk-of-somebody")];
        assert_eq!(browser.post("/settings/provider-credentials", &own).await.status.as_u16(), 303);
        choose("openai", "", "open").await;
        assert_eq!(stored().await, ["mistral", "open"], "this step never stored that");
    }

    the_guided_set_up_leads_back_and_keeps_what_was_chosen_and_the_key(api) {
        let browser = api.signed_in(OWNER).await;
        let choose = async |vendor: &str, base_url: &str, key: &str, credential: &str| {
            let fields = [("vendor", vendor), ("base_url", base_url), ("model", "gpt-4o"), ("key", key), ("credential", credential)];
            browser.post("/setup/provider", &fields).await
        };
        assert!(choose("openai", "", CANARY, "").await.page().contains("The key is stored as openai."));
        let rules = [
            ("vendor", "openai"), ("base_url", ""), ("model", "gpt-4o"), ("credential", "openai"), ("callers", "open"),
            ("allow", "203.0.113.0/24"), ("origins", ""), ("request_megabytes", "5"), ("injection", "true"),
        ];
        let first = browser.post("/setup/provider/back", &rules).await;
        assert!(first.page().contains("stored as openai.") && first.body.contains("value=\"gpt-4o\""), "{}", first.body);
        assert!(!first.body.contains(CANARY));
        for (vendor, key, credential, stored) in [
            ("openai", "", "openai", Some("openai.")),
            ("openai", "sk-another", "openai", Some("openai.")),
            ("openai", "sk-another", "", Some("openai-2.")),
            ("mistral", "", "openai", None),
            ("openai", "", "open", None),
        ] {
            let page = choose(vendor, "", key, credential).await;
            let told = page.page().split_once("The key is stored as ").map(|(_, rest)| rest.split('<').next().unwrap());
            assert_eq!(told, stored, "{vendor} {key} {credential}");
        }
        for vendor in ["azure", "vllm", "custom"] {
            let refused = choose(vendor, "", "", "").await;
            assert_eq!((refused.refusal(), refused.text("/error/param")), ((422, "validation_error"), "base_url"), "{vendor}");
            assert_eq!(choose(vendor, "https://models.example/v1", "", "").await.status, 200, "{vendor}");
        }

        let review = browser.post("/setup/provider/review", &rules).await;
        assert!(review.page().contains("max_request_body_bytes: 5242880"), "{}", review.body);
        let kept = review.body.split("name=\"rules\" value=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#34;", "\"");
        let checked = browser.post("/setup/provider/check", &[("text", ECHO), ("version", ""), ("rules", &kept)]).await;
        assert!(checked.page().contains("/setup/provider/review/back"), "also once the file was changed");
        let second = browser.post("/setup/provider/review/back", &[("text", ECHO), ("version", ""), ("rules", &kept)]).await;
        for part in ["value=\"open\" checked", ">203.0.113.0/24<", "value=\"5\"", "name=\"injection\" value=\"true\" checked", "name=\"pii\" value=\"true\">"] {
            assert!(second.page().contains(part), "{part} in {}", second.body);
        }
        for wrong in ["0", "101", "5.5", "many"] {
            let mut rules = rules;
            rules[7] = ("request_megabytes", wrong);
            let refused = browser.post("/setup/provider/review", &rules).await;
            assert_eq!((refused.refusal(), refused.text("/error/param")), ((422, "validation_error"), "request_megabytes"), "{wrong}");
        }
    }

    a_gateway_that_is_to_come_is_told_beforehand_what_it_alone_runs(api) {
        let browser = api.signed_in(OWNER).await;
        for name in ["main", "edge"] {
            let text = ECHO.replace("name: echo", &format!("name: {name}"));
            browser.post("/configurations/new", &[("name", name), ("text", &text), ("version", "0"), ("intent", "save")]).await;
        }
        browser.post("/configurations/main/versions/1/rollout", &[("to", "all")]).await;
        assert!(browser.get("/setup/gateway").await.page().contains("<option value=\"edge@1\">"));
        let await_one = async |runs: &str| {
            let fields = [("name", "edge"), ("address", "https://edge.example"), ("tls", "before"), ("runs", runs)];
            browser.post("/setup/gateway", &fields).await
        };
        assert_eq!(await_one("edge@2").await.refusal(), (404, "not_found"));
        assert_eq!(await_one("edge").await.refusal(), (422, "validation_error"));
        let part = |made: &Answer, before: &str| made.page().split(before).nth(1).unwrap().split([' ', '"']).next().unwrap().to_owned();
        let told = async |made: &Answer, gateway: &str| {
            let body = json!({ "gateway_id": gateway, "software_version": "0.1.0", "config_version": "none", "config_source": "kept", "orders_version": "" });
            let key = part(made, "KEEPTRUSTS_GATEWAY_TOKEN=");
            let answer = api.post("/v1/gateways/sync", body).bearer(&key).send().await;
            answer.json["orders"]["configuration"]["id"].clone()
        };
        let (own, usual) = (await_one("edge@1").await, await_one("").await);
        assert!(own.page().contains("It alone is told so"), "{}", own.body);
        assert!(!usual.page().contains("It alone is told so"));
        assert_eq!(told(&own, "gw_own").await, "edge@1");
        assert_eq!(told(&usual, "gw_usual").await, "main@1", "the control");
        assert_eq!(told(&own, "gw_second").await, "main@1", "it was told to one");
        assert_eq!(told(&await_one("edge@1").await, "gw_usual").await, "edge@1", "one that is known comes with another key");

        let later = await_one("edge@1").await;
        let review = browser.post("/setup/provider/review", &[
            ("vendor", "echo"), ("base_url", ""), ("model", ""), ("credential", ""), ("callers", "keys"), ("allow", ""), ("origins", ""),
        ]).await;
        assert!(review.page().contains("Gateways that are told to run edge@1 follow too"), "{}", review.body);
        browser.post("/configurations/main/versions/1/rollout", &[("to", "all")]).await;
        assert_eq!(told(&later, "gw_later").await, "main@1", "all are all, those too that are yet to come");
    }

    the_key_of_a_gateway_that_has_not_come_is_made_anew(api) {
        let browser = api.signed_in(OWNER).await;
        let fields = [("name", "edge-1"), ("address", "https://edge.example"), ("tls", "before")];
        let first = browser.post("/setup/gateway", &fields).await;
        let place = first.headers["hx-replace-url"].to_str().unwrap().to_owned();
        let key = |made: &Answer| made.page().split("KEEPTRUSTS_GATEWAY_TOKEN=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let again = browser.get(&place).await;
        assert!(again.page().contains("Waiting for the gateway") && again.page().contains("shown once"), "{}", again.body);
        assert!(!again.body.contains(&key(&first)) && !again.body.contains("name=\"name\""));
        let (_, lost) = place.split_once("key=").unwrap();
        let anew = [("address", "https://edge.example"), ("tls", "before"), ("instead_of", lost)];
        let second = browser.post("/setup/gateway", &anew).await;
        let sync = async |made: &Answer| {
            let body = json!({ "gateway_id": "gw_edge", "software_version": "0.1.0", "config_version": "none", "config_source": "kept" });
            api.post("/v1/gateways/sync", body).bearer(&key(made)).send().await.status
        };
        assert_eq!(sync(&first).await, 401, "the one before has ended");
        assert_eq!(sync(&second).await, 200);
        let place = second.headers["hx-replace-url"].to_str().unwrap().to_owned();
        let arrived = browser.get(&place).await;
        assert!(arrived.page().contains("gw_edge") && !arrived.page().contains("instead_of"), "{}", arrived.body);
        let (_, serves) = place.split_once("key=").unwrap();
        let anew = [("address", "https://edge.example"), ("tls", "before"), ("instead_of", serves)];
        assert_eq!(browser.post("/setup/gateway", &anew).await.refusal(), (409, "gateway_connected"));
        let access = api.post("/v1/tokens", json!({ "name": "other", "scope": "write" })).bearer(&api.token_of(OWNER).await).send().await;
        let other = format!("/setup/gateway?key={}", access.text("/id"));
        assert_eq!(browser.get(&other).await.status, 404, "the key of no gateway");
    }

    a_gateway_is_seen_to_come_however_many_there_are(api) {
        let browser = api.signed_in(OWNER).await;
        report(&api, json!({})).await;
        let organization = api.owner().await.text("/organization/id").parse().unwrap();
        let known = gateways::find(&api.store, &organization, "gw_edge").await.unwrap().unwrap();
        let tx = api.store.begin_write().await.unwrap();
        for number in 0..250 {
            gateways::insert(&tx, &Gateway { id: format!("gw_{number:03}"), ..known.clone() }).await.unwrap();
        }
        tx.commit().await.unwrap();
        let fields = [("name", "last"), ("address", "https://last.example"), ("tls", "before")];
        let made = browser.post("/setup/gateway", &fields).await;
        let part = |before: &str| made.page().split(before).nth(1).unwrap().split([' ', '"']).next().unwrap().to_owned();
        let key = part("KEEPTRUSTS_GATEWAY_TOKEN=");
        let sign = format!("/setup/gateway?key={}", part("hx-get=\"/setup/gateway?key="));
        let body = json!({ "gateway_id": "gw_zulu", "software_version": "0.1.0", "config_version": "none", "config_source": "kept" });
        assert_eq!(api.post("/v1/gateways/sync", body).bearer(&key).send().await.status, 200);
        let arrived = browser.get(&sign).await;
        assert!(arrived.page().contains("gw_zulu") && !arrived.body.contains("gw_000"), "{}", arrived.body);
        send(&browser, "/configurations/new", ECHO, "save", "0").await;
        let version = browser.get("/configurations/main/versions/1").await;
        assert_eq!(version.page().matches("name=\"gateways\"").count(), 252, "each can be told to run it");
    }
}
