//! Configurations from their first version to the gateways that run them; providers' keys, which go in and reach a
//! gateway and nobody else; draining.

use std::time::{Duration, Instant};

use axum::http::Method;
use kt_domain::actor::Role;
use kt_store::gateways::{self, OwnOrders};
use kt_store::organizations;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, TestApi, on_both};

const ECHO: &str = "pack: {name: echo, version: 1.0.0}\nproviders: {targets: [{id: echo, provider: echo}]}\n";

/// What no answer but a gateway's may hold.
const CANARY: &str = "sk-canary-7f3a9d21c4";

/// A configuration that asks for a stored credential.
fn with_credential(name: &str) -> String {
    format!(
        "{ECHO}telemetry: {{otlp_endpoint: 'http://127.0.0.1:4318', secret_key_ref: {{stored: {name}}}}}\n"
    )
}

/// Somebody who asks: the owner, or another.
struct Client<'a> {
    api: &'a TestApi,
    token: String,
}

impl<'a> Client<'a> {
    async fn owner(api: &'a TestApi) -> Self {
        Self { api, token: api.token_of("owner@acme.example").await }
    }

    async fn get(&self, path: &str) -> Answer {
        self.api.get(path).bearer(&self.token).send().await
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Answer {
        self.api.request(method, path).bearer(&self.token).body(Some(body)).send().await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    async fn create(&self, name: &str, text: &str) -> Answer {
        self.post("/v1/configurations", json!({ "name": name, "text": text })).await
    }

    async fn roll_out(&self, name: &str, version: u32, gateways: Value) -> Answer {
        let body = json!({ "version": version, "gateways": gateways });
        self.post(&format!("/v1/configurations/{name}/rollout"), body).await
    }

    async fn gateway(&self, id: &str) -> Value {
        self.get(&format!("/v1/gateways/{id}")).await.json
    }
}

/// A gateway that runs what it is told.
struct Edge<'a> {
    api: &'a TestApi,
    id: &'static str,
    key: String,
}

impl<'a> Edge<'a> {
    async fn new(client: &Client<'a>, id: &'static str) -> Self {
        let body = json!({ "type": "gateway", "name": id, "scope": "write" });
        let made = client.post("/v1/tokens", body).await;
        let edge = Self { api: client.api, id, key: made.text("/key").to_owned() };
        edge.sync(json!({ "orders_version": "" })).await;
        edge
    }

    async fn sync(&self, more: Value) -> Answer {
        let mut body = json!({
            "gateway_id": self.id, "software_version": "0.1.0", "config_version": "none", "config_source": "kept",
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.api.post("/v1/gateways/sync", body).bearer(&self.key).send().await;
        assert_eq!(answer.status, 200, "{}", answer.json);
        answer
    }

    async fn orders(&self) -> Value {
        self.sync(json!({ "orders_version": "" })).await.json["orders"].clone()
    }

    /// The version that it is to run.
    async fn told(&self) -> Value {
        self.orders().await["configuration"]["id"].clone()
    }
}

on_both! {
    a_configuration_grows_by_versions_that_never_change(api) {
        let owner = Client::owner(&api).await;
        let first = owner.create("main", ECHO).await;
        assert_eq!(first.status, 201, "{}", first.json);
        assert_eq!((first.text("/id"), first.text("/author")), ("main@1", "owner@acme.example"));
        assert_eq!(owner.create("main", ECHO).await.refusal(), (409, "name_taken"));
        let versions = "/v1/configurations/main/versions";
        let second = ECHO.replace("echo, version", "changed, version");
        let save = |text: &str, tag: &'static str| {
            let body = json!({ "text": text, "note": "a reason" });
            api.post(versions, body).bearer(&owner.token).header("if-match", tag).send()
        };
        assert_eq!(save(&second, "\"1\"").await.text("/id"), "main@2");
        assert_eq!(save(ECHO, "\"1\"").await.refusal(), (412, "version_mismatch"), "made from an older one");
        assert_eq!(save(&second, "\"2\"").await.text("/id"), "main@2", "what is there already is not saved again");
        assert_eq!(owner.get(&format!("{versions}/1")).await.text("/text"), ECHO);
        assert_eq!(owner.get(&format!("{versions}/newest")).await.text("/text"), second);
        assert_eq!(owner.get(&format!("{versions}/3")).await.refusal(), (404, "not_found"));
        let listed = owner.get(versions).await;
        assert_eq!((listed.text("/versions/0/id"), listed.text("/versions/1/id")), ("main@2", "main@1"));
        assert_eq!(listed.text("/versions/0/note"), "a reason");
        assert_eq!(api.records("configuration.saved").await.len(), 2);
        let list = owner.get("/v1/configurations").await;
        assert_eq!(list.text("/configurations/0/newest/id"), "main@2");
        assert_eq!(list.json["configurations"].as_array().unwrap().len(), 1);
    }

    what_is_not_valid_is_refused_with_its_place(api) {
        let owner = Client::owner(&api).await;
        let wrong = "pack: {name: p, version: 1.0.0}\ncors: {enabeld: true}\n";
        let refused = owner.create("main", wrong).await;
        assert_eq!(refused.refusal(), (422, "configuration_invalid"));
        let finding = &refused.json["error"]["findings"][0];
        assert_eq!((&finding["code"], &finding["line"], &finding["column"]), (&json!("E002"), &json!(2), &json!(8)));
        let linted = owner.post("/v1/configurations/lint", json!({ "text": wrong })).await;
        assert_eq!((&linted.json["valid"], &linted.json["errors"][0]), (&json!(false), finding));
        let linted = owner.post("/v1/configurations/lint", json!({ "text": ECHO })).await;
        assert_eq!(linted.json["valid"], true, "the control: {}", linted.json);
        let longest = format!("{ECHO}{}", "#".repeat((1 << 20) - ECHO.len()));
        for (text, status) in [(longest.clone(), 200), (longest + "#", 422)] {
            let linted = owner.post("/v1/configurations/lint", json!({ "text": text })).await;
            assert_eq!(linted.status, status, "{} bytes", text.len());
        }
        for name in ["", "a b", "<script>", "Main", "new", "../x"] {
            assert_eq!(owner.create(name, ECHO).await.refusal(), (422, "validation_error"), "{name}");
        }
        let anchored = format!("{ECHO}events: {{anchor_file: /etc/passwd}}\n");
        assert_eq!(owner.create("main", &anchored).await.json["error"]["findings"][0]["code"], "E028");
        assert_eq!(owner.create("main", ECHO).await.status, 201, "the control");
    }

    gateways_are_told_what_is_rolled_out_and_rolled_back(api) {
        let owner = Client::owner(&api).await;
        let (one, two) = (Edge::new(&owner, "gw_one").await, Edge::new(&owner, "gw_two").await);
        assert_eq!(one.told().await, Value::Null);
        owner.create("main", ECHO).await;
        assert_eq!(one.told().await, Value::Null, "saved is not rolled out");
        let changed = json!({ "text": format!("{ECHO}# changed\n") });
        owner.post("/v1/configurations/main/versions", changed).await;
        assert_eq!(owner.roll_out("main", 1, Value::Null).await.status, 204);
        assert_eq!((one.told().await, two.told().await), (json!("main@1"), json!("main@1")));
        assert_eq!(owner.roll_out("main", 2, json!(["gw_two"])).await.status, 204);
        assert_eq!((one.told().await, two.told().await), (json!("main@1"), json!("main@2")));
        assert_eq!(two.orders().await["configuration"]["text"], format!("{ECHO}# changed\n"));
        let late = Edge::new(&owner, "gw_late").await;
        assert_eq!(late.told().await, "main@1", "one that comes later is told what all are");
        let view = owner.get("/v1/configurations/main").await;
        assert_eq!((&view.json["for_all"], &view.json["for_single"]), (&json!("main@1"), &json!(["main@2"])));
        assert_eq!(owner.roll_out("main", 1, Value::Null).await.status, 204);
        assert_eq!(two.told().await, "main@1", "back, with all others");
        assert_eq!(owner.roll_out("main", 3, Value::Null).await.refusal(), (404, "not_found"));
        for nobody in [json!([]), json!(["gw_nobody"])] {
            assert_eq!(owner.roll_out("main", 1, nobody).await.refusal(), (422, "validation_error"));
        }
        assert_eq!(api.records("configuration.rolled_out").await.len(), 3);
    }

    a_roll_out_ends_the_wait_of_a_gateway_at_once(api) {
        let owner = Client::owner(&api).await;
        let edge = Edge::new(&owner, "gw_edge").await;
        owner.create("main", ECHO).await;
        let known = edge.sync(json!({ "orders_version": "" })).await;
        let wait = json!({
            "orders_version": known.text("/orders/version"), "keys_version": known.text("/keys/version"),
            "wait_seconds": 20,
        });
        let begun = Instant::now();
        let (told, rolled_out) = tokio::join!(edge.sync(wait), async {
            tokio::task::yield_now().await;
            owner.roll_out("main", 1, Value::Null).await
        });
        assert_eq!(rolled_out.status, 204);
        assert_eq!(told.text("/orders/configuration/id"), "main@1");
        assert_eq!(told.json["keys"], Value::Null);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    the_list_says_what_came_of_it(api) {
        let owner = Client::owner(&api).await;
        let edge = Edge::new(&owner, "gw_edge").await;
        owner.create("main", ECHO).await;
        owner.roll_out("main", 1, Value::Null).await;
        let view = owner.gateway("gw_edge").await;
        assert_eq!((&view["wanted_version"], &view["config_version"]), (&json!("main@1"), &json!("none")));
        let hostile = "<script>alert(1)</script>";
        let refused = json!({ "version": "main@1", "reason": hostile });
        edge.sync(json!({ "refused": refused })).await;
        assert_eq!(owner.gateway("gw_edge").await["refused"], refused);
        edge.sync(json!({ "config_version": "main@1" })).await;
        let view = owner.gateway("gw_edge").await;
        assert_eq!((&view["refused"], &view["config_version"]), (&Value::Null, &json!("main@1")));
    }

    a_gateway_with_files_of_its_own_is_shown_and_not_changed(api) {
        let owner = Client::owner(&api).await;
        let edge = Edge::new(&owner, "gw_files").await;
        owner.create("main", ECHO).await;
        owner.roll_out("main", 1, Value::Null).await;
        let told = edge.sync(json!({ "config_source": "file", "config_version": "abc", "orders_version": "" })).await;
        assert_eq!(told.json["orders"]["configuration"], Value::Null);
        assert_eq!(owner.roll_out("main", 1, json!(["gw_files"])).await.refusal(), (409, "configured_by_file"));
        let view = owner.gateway("gw_files").await;
        assert_eq!((&view["config_source"], &view["wanted_version"]), (&json!("file"), &Value::Null));
    }

    a_providers_key_reaches_the_gateways_that_need_it_and_nobody_else(api) {
        let owner = Client::owner(&api).await;
        let edge = Edge::new(&owner, "gw_edge").await;
        let text = with_credential("otlp");
        assert_eq!(owner.create("main", &text).await.refusal(), (422, "unknown_credential"));
        let store = json!({ "name": "otlp", "key": CANARY });
        let stored = owner.post("/v1/provider-credentials", store.clone()).await;
        assert_eq!(stored.status, 204, "{}", stored.json);
        assert_eq!(owner.post("/v1/provider-credentials", store).await.refusal(), (409, "name_taken"));
        assert_eq!(owner.create("main", &text).await.status, 201);
        assert_eq!(owner.roll_out("main", 1, Value::Null).await.status, 204);
        let orders = edge.orders().await;
        assert_eq!(orders["configuration"]["credentials"], json!({ "otlp": CANARY }));
        let remove = || owner.send(Method::DELETE, "/v1/provider-credentials/otlp", Value::Null);
        assert_eq!(remove().await.refusal(), (409, "credential_in_use"));
        let replaced = owner.send(Method::PATCH, "/v1/provider-credentials/otlp", json!({ "key": "sk-other" })).await;
        assert_eq!(replaced.status, 204);
        let renewed = edge.orders().await;
        assert_eq!(renewed["configuration"]["credentials"]["otlp"], "sk-other");
        assert_ne!(renewed["version"], orders["version"], "gateways are told of the new key");

        owner.create("plain", ECHO).await;
        owner.roll_out("plain", 1, Value::Null).await;
        assert_eq!(edge.orders().await["configuration"]["credentials"], json!({}), "what is not named is not handed out");
        let files = edge.sync(json!({ "config_source": "file", "orders_version": "" })).await;
        assert!(!files.body.contains("sk-other"));
        assert_eq!(remove().await.status, 204);
        assert_eq!(owner.roll_out("main", 1, Value::Null).await.refusal(), (422, "unknown_credential"));

        for path in [
            "/v1/provider-credentials", "/v1/configurations", "/v1/configurations/main/versions/1", "/v1/gateways",
            "/v1/audit-log?limit=200", "/v1/audit-log/export?format=jsonl",
        ] {
            let answer = owner.get(path).await;
            assert_eq!(answer.status, 200, "{path}");
            assert!(!answer.body.contains(CANARY) && !answer.body.contains("sk-other"), "{path}");
        }
        let records = ["stored", "replaced", "removed"].map(|what| format!("provider_credential.{what}"));
        for action in &records {
            assert_eq!(api.records(action).await.len(), 1, "{action}");
        }
    }

    another_organizations_gateways_and_keys_are_their_own(api) {
        let owner = Client::owner(&api).await;
        let other = api.organization("other").await;
        api.add_member_of(&other, "boss@other.example", Role::Owner).await;
        let boss = Client { api: &api, token: api.login("boss@other.example", PASSWORD).await.access_token().to_owned() };
        let theirs = Edge::new(&boss, "gw_theirs").await;
        owner.post("/v1/provider-credentials", json!({ "name": "otlp", "key": CANARY })).await;
        assert_eq!(boss.create("main", &with_credential("otlp")).await.refusal(), (422, "unknown_credential"));
        owner.create("main", ECHO).await;
        assert_eq!(owner.roll_out("main", 1, json!(["gw_theirs"])).await.refusal(), (422, "validation_error"));
        assert_eq!(owner.roll_out("main", 1, Value::Null).await.status, 204);
        assert_eq!(theirs.told().await, Value::Null);
        assert_eq!(boss.create("main", ECHO).await.text("/id"), "main@1", "names are an organization's own");
    }

    a_gateway_is_drained_resumed_and_at_last_forgotten(api) {
        let owner = Client::owner(&api).await;
        let edge = Edge::new(&owner, "gw_edge").await;
        assert_eq!(edge.orders().await["drain"], false);
        let told = owner.post("/v1/gateways/gw_edge/drain", Value::Null).await;
        assert_eq!((told.status.as_u16(), &told.json["drained"], &told.json["draining"]), (200, &json!(true), &json!(false)));
        assert_eq!(edge.orders().await["drain"], true);
        edge.sync(json!({ "draining": true })).await;
        assert_eq!(owner.gateway("gw_edge").await["draining"], true);
        owner.post("/v1/gateways/gw_edge/drain", Value::Null).await;
        assert_eq!(api.records("gateway.drained").await.len(), 1, "told twice is told once");
        assert_eq!(owner.post("/v1/gateways/gw_edge/resume", Value::Null).await.json["drained"], false);
        assert_eq!(edge.orders().await["drain"], false);
        assert_eq!(api.records("gateway.resumed").await.len(), 1);

        let forget = || owner.send(Method::DELETE, "/v1/gateways/gw_edge", Value::Null);
        assert_eq!(forget().await.refusal(), (409, "gateway_connected"));
        api.clock.advance(Duration::from_mins(2));
        assert_eq!(forget().await.status, 204);
        assert_eq!(owner.get("/v1/gateways").await.json["gateways"], json!([]));
        assert_eq!(api.records("gateway.forgotten").await.len(), 1);
        edge.sync(json!({})).await;
        assert_eq!(owner.gateway("gw_edge").await["drained"], false, "it comes as a new one");
    }

    a_gateway_that_is_drained_beside_a_rollout_is_told_both(api) {
        let owner = Client::owner(&api).await;
        let edge = Edge::new(&owner, "gw_edge").await;
        owner.create("main", ECHO).await;
        let acme = organizations::by_identifier(&api.store, "acme").await.unwrap().unwrap().id;
        // What a rollout does.
        let tx = api.store.begin_write().await.unwrap();
        organizations::lock(&tx, &acme).await.unwrap();
        let present = gateways::orders(&tx, &acme, "gw_edge").await.unwrap();
        let orders = OwnOrders { configuration: Some("main@1".parse().unwrap()), ..present };
        gateways::order(&tx, &acme, "gw_edge", &orders).await.unwrap();
        let mut drain = Box::pin(owner.post("/v1/gateways/gw_edge/drain", Value::Null));
        let waits = tokio::time::timeout(Duration::from_millis(200), &mut drain).await;
        assert!(waits.is_err(), "it is not done before the rollout is");
        tx.commit().await.unwrap();
        assert_eq!(drain.await.json["drained"], true);
        let told = edge.orders().await;
        assert_eq!((&told["configuration"]["id"], &told["drain"]), (&json!("main@1"), &json!(true)));
    }

    changes_ask_for_a_fresh_proof(api) {
        let owner = Client::owner(&api).await;
        api.clock.advance(Duration::from_mins(11));
        let stale = owner.create("main", ECHO).await;
        assert_eq!(stale.refusal(), (403, "reauthentication_required"));
        let fresh = Client::owner(&api).await;
        assert_eq!(fresh.create("main", ECHO).await.status, 201, "the control");
        for refused in [
            owner.roll_out("main", 1, Value::Null).await,
            owner.post("/v1/provider-credentials", json!({ "name": "a", "key": "b" })).await,
        ] {
            assert_eq!(refused.refusal(), (403, "reauthentication_required"));
        }
    }
}
