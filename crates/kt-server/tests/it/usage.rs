//! What was used: summed as events come, and shown to whom it concerns.

use std::time::Duration;

use kt_domain::events::Event;
use serde_json::{Value, json};

use crate::events::{Log, gateway_key};
use crate::harness::{TestApi, on_both};

/// The access key of somebody who is not the owner, made by them.
pub(crate) async fn key_of(api: &TestApi, email: &str) -> String {
    api.demand(json!({ "creation": "everyone" })).await;
    let new = json!({ "name": "laptop", "scope": "write" });
    let made = api.post("/v1/tokens", new).bearer(&api.token_of(email).await).send().await;
    made.text("/id").to_owned()
}

/// A request that a provider answered.
pub(crate) fn answered(event: &mut Event, key: &str, model: &str, tokens: u64) {
    event.target_id = Some("primary".into());
    event.key_id = Some(key.into());
    event.model = Some(model.to_owned());
    event.input_tokens = Some(tokens);
    event.output_tokens = Some(tokens * 2);
    event.cost_micros = Some(tokens * 10);
    event.currency = Some("EUR".into());
}

/// Two days' events: of a member's key, of a key of the configuration, of none, and some that used nothing.
pub(crate) async fn two_days(api: &TestApi) -> String {
    api.add_member("member@acme.example", "member").await;
    let key = key_of(api, "member@acme.example").await;
    let gateway = gateway_key(api).await;
    let mut log = Log::begin(api, "gw-1");
    log.event(api, |event| answered(event, &key, "big", 100));
    log.event(api, |event| answered(event, "static", "big", 7));
    log.event(api, |event| {
        event.key_id = Some(key.as_str().into());
        event.model = Some("blocked before any target was asked".into());
    });
    api.clock.advance(Duration::from_hours(24));
    log.event(api, |event| {
        answered(event, &key, "small", 10);
        event.usage_estimated = Some(true);
    });
    log.event(api, |event| {
        event.target_id = Some("primary".into());
        event.model = Some("free\u{0}\u{1b}[31m".into());
        event.input_tokens = Some(1);
    });
    log.checkpoint(api);
    for _again in 0..2 {
        assert_eq!(log.deliver(api, &gateway).await.status, 200);
    }
    key
}

async fn usage(api: &TestApi, who: &str, query: &str) -> Value {
    let answer = api.get(&format!("/v1/usage?{query}")).bearer(&api.token_of(who).await).send().await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.json);
    answer.json
}

/// Some fields of each sum.
fn fields(usage: &Value, pointers: &[&str]) -> Vec<Value> {
    let of = |row: &Value| pointers.iter().map(|at| row.pointer(at).cloned().unwrap_or_default()).collect();
    usage["usage"].as_array().unwrap().iter().map(of).collect()
}

/// Each share of each budget: the budget, whose it is, the tokens, the cost, and how full it is.
async fn budgets(api: &TestApi, who: &str) -> Vec<Value> {
    let answer = api.get("/v1/budgets").bearer(&api.token_of(who).await).send().await;
    assert_eq!(answer.status, 200, "{}", answer.json);
    let shares = |budget: &Value| {
        let id = budget["id"].clone();
        let share = move |share: &Value| {
            let whose = ["/whose/email", "/whose/id"]
                .iter()
                .find_map(|at| share.pointer(at).filter(|told| !told.is_null()));
            json!([id, whose, share["tokens_used"], share["cost_micros_used"], share["percent"]])
        };
        budget["standings"].as_array().unwrap().iter().map(share).collect::<Vec<_>>()
    };
    answer.json["budgets"].as_array().unwrap().iter().flat_map(shares).collect()
}

on_both! {
    usage_is_summed_by_day_member_key_and_model(api) {
        let key = two_days(&api).await;
        let owner = "owner@acme.example";
        let by_day = usage(&api, owner, "").await;
        assert_eq!((&by_day["since"], &by_day["until"]), (&json!("2026-02-15"), &json!("2026-03-17")));
        let table = ["/day", "/currency", "/requests", "/estimated_requests", "/input_tokens", "/output_tokens", "/cost_micros"];
        assert_eq!(fields(&by_day, &table), [
            json!(["2026-03-15", "EUR", 2, 0, 107, 214, 1070]),
            json!(["2026-03-16", null, 1, 0, 1, 0, 0]),
            json!(["2026-03-16", "EUR", 1, 1, 10, 20, 100]),
        ]);
        let by_member = usage(&api, owner, "group_by=member&since=2026-03-01&until=2026-04-01").await;
        let people = fields(&by_member, &["/member/email", "/member/name", "/requests", "/cost_micros"]);
        assert_eq!(people.len(), 3, "{people:?}");
        assert!(people.contains(&json!(["member@acme.example", "Some Member", 2, 1100])), "{people:?}");
        let by_key = usage(&api, owner, "group_by=key").await;
        let keys = fields(&by_key, &["/key/id", "/key/name", "/input_tokens"]);
        assert!(keys.contains(&json!([key, "laptop", 110])) && keys.contains(&json!(["static", null, 7])), "{keys:?}");
        let by_model = usage(&api, owner, &format!("group_by=model,day&key_id={key}")).await;
        let models = fields(&by_model, &["/day", "/model", "/input_tokens"]);
        assert_eq!(models, [json!(["2026-03-15", "big", 100]), json!(["2026-03-16", "small", 10])]);
        let named = fields(&usage(&api, owner, "group_by=model").await, &["/model"]);
        assert!(named.contains(&json!(["free[31m"])), "what is no text is left out: {named:?}");
        assert_eq!(fields(&usage(&api, owner, "since=2026-03-16&model=big").await, &["/day"]), Vec::<Value>::new());
    }

    budgets_stand_as_the_events_say_by_the_configurations_in_force(api) {
        let key = two_days(&api).await;
        let (owner, member) = ("owner@acme.example", "member@acme.example");
        assert_eq!(budgets(&api, owner).await, Vec::<Value>::new(), "no gateway has told of any");
        let me = api.get("/v1/me").bearer(&api.token_of(member).await).send().await;
        let person = me.text("/user/id").to_owned();
        let price = |model: &str| json!({ "model": model, "input": "1", "output": "1" });
        let configuration = json!({
            "prices": { "currency": "EUR", "models": [price("big*")] },
            "consumer_groups": [{ "id": "dev", "keys": [key, person] }],
            "budgets": [
                { "id": "all", "per": "total", "period": "month", "tokens": 1000, "cost": "0.001" },
                { "id": "each", "per": "user", "period": "day", "tokens": 100 },
                { "id": "one", "per": "key", "only": ["idle"], "period": "day", "tokens": 5 },
                { "id": "keys", "per": "key", "period": "day", "tokens": 100 },
                { "id": "models", "per": "model", "period": "month", "tokens": 321 },
                { "id": "groups", "per": "group", "period": "month", "cost": "0.0022" },
            ],
        });
        let gateway = gateway_key(&api).await;
        let mut log = Log::begin(&api, "gw-2");
        log.event(&api, |event| {
            answered(event, "", "small", 5);
            (event.key_id, event.user_id) = (None, Some(person.as_str().into()));
        });
        log.checkpoint(&api);
        assert_eq!(log.deliver(&api, &gateway).await.status, 200, "what they asked in the console");
        let version = "0123456789ab";
        let told = json!({ "config_source": "file", "configuration": { "version": version, "document": configuration } });
        let silent = json!({ "config_source": "file" });
        // One gateway with these files has not told them yet, and the last one says nothing new.
        for (id, told) in [("gw_mute", &silent), ("gw_one", &told), ("gw_two", &told)] {
            for more in [&json!({}), told, &silent] {
                let mut report = json!({ "gateway_id": id, "software_version": "0.1.0", "config_version": version });
                report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                assert_eq!(api.post("/v1/gateways/sync", report).bearer(&gateway).send().await.status, 200);
            }
        }
        let email = json!(member);
        let expected = [
            json!(["all", null, 367, 1220, 122]),
            json!(["each", email, 45, 150, 45]),
            json!(["one", "idle", 0, 0, 0]),
            json!(["keys", key, 30, 100, 30]),
            json!(["keys", email, 15, 50, 15]),
            json!(["models", "big*", 321, 1070, 100]),
            json!(["models", "other models", 46, 150, 14]),
            json!(["groups", "dev", 345, 1150, 52]),
        ];
        assert_eq!(budgets(&api, owner).await, expected);
        let own = [1, 3, 4].map(|place: usize| expected[place].clone());
        api.add_member("auditor@acme.example", "auditor").await;
        assert_eq!(budgets(&api, "auditor@acme.example").await, expected);
        assert_eq!(budgets(&api, member).await, own, "their own");
        let all = api.get("/v1/budgets").bearer(&api.token_of(owner).await).send().await.json;
        assert_eq!((&all["budgets"][0]["ends_at"], &all["budgets"][1]["ends_at"]), (&json!("2026-04-01T00:00:00Z"), &json!("2026-03-17T00:00:00Z")));
        api.clock.advance(Duration::from_hours(25));
        assert_eq!(budgets(&api, owner).await, Vec::<Value>::new(), "what is gone keeps to nothing");
    }

    budgets_of_what_is_rolled_out_stand_too(api) {
        two_days(&api).await;
        let owner = "owner@acme.example";
        let bearer = api.token_of(owner).await;
        let text = "pack: {name: p, version: 1.0.0}\nproviders: {targets: [{id: echo, provider: echo}]}\n\
            budgets: [{id: kept, per: total, period: month, tokens: 704}]\n";
        let made = api.post("/v1/configurations", json!({ "name": "main", "text": text })).bearer(&bearer).send().await;
        assert_eq!(made.status, 201, "{}", made.json);
        let report = json!({ "gateway_id": "gw_one", "software_version": "0.1.0", "config_source": "kept", "config_version": "main@1" });
        assert_eq!(api.post("/v1/gateways/sync", report).bearer(&gateway_key(&api).await).send().await.status, 200);
        assert_eq!(budgets(&api, owner).await, [json!(["kept", null, 352, 0, 50])]);
    }

    pages_of_usage_lead_on(api) {
        two_days(&api).await;
        let mut all = Vec::new();
        let mut query = "group_by=day,model&limit=1".to_owned();
        loop {
            let page = usage(&api, "owner@acme.example", &query).await;
            all.extend(fields(&page, &["/day", "/model"]));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            query = format!("group_by=day,model&limit=1&cursor={cursor}");
        }
        let whole = usage(&api, "owner@acme.example", "group_by=day,model").await;
        assert_eq!((all.len(), &all), (3, &fields(&whole, &["/day", "/model"])));
        let first = usage(&api, "owner@acme.example", "group_by=day,model&limit=1").await;
        let path = format!("/v1/usage?group_by=day&cursor={}", first["next_cursor"].as_str().unwrap());
        let other_list = api.get(&path).bearer(&api.token_of("owner@acme.example").await).send().await;
        assert_eq!(other_list.refusal(), (422, "validation_error"));
    }

    a_member_sees_their_own_usage_and_no_more(api) {
        two_days(&api).await;
        api.add_member("other@acme.example", "member").await;
        api.add_member("auditor@acme.example", "auditor").await;
        let total = async |who: &str, query: &str| {
            fields(&usage(&api, who, query).await, &["/input_tokens"]).iter().map(|row| row[0].as_u64().unwrap()).sum::<u64>()
        };
        assert_eq!(total("auditor@acme.example", "").await, 118, "everybody's");
        assert_eq!(total("member@acme.example", "").await, 110);
        assert_eq!(total("other@acme.example", "").await, 0);
        let whoami = api.get("/v1/me").bearer(&api.token_of("member@acme.example").await).send().await;
        let member = whoami.text("/user/id").to_owned();
        assert_eq!(total("auditor@acme.example", &format!("user_id={member}")).await, 110);
        assert_eq!(total("member@acme.example", &format!("user_id={member}")).await, 110);
        assert_eq!(total("other@acme.example", &format!("user_id={member}")).await, 0, "of others there is nothing to see");
        let other = api.organization("other").await;
        api.add_member_of(&other, "owner@other.example", kt_domain::actor::Role::Owner).await;
        assert_eq!(total("owner@other.example", "").await, 0, "another organization");
        for query in ["group_by=colour", "since=yesterday", "user_id=me", "since=2026-03-02&until=2026-03-02", "since=2020-01-01", "limit=0", "colour=red"] {
            let answer = api.get(&format!("/v1/usage?{query}")).bearer(&api.token_of("auditor@acme.example").await).send().await;
            assert_eq!(answer.refusal(), (422, "validation_error"), "{query}");
        }
    }

    a_table_holds_every_sum_and_is_recorded(api) {
        two_days(&api).await;
        let token = api.token_of("owner@acme.example").await;
        let copy = api.get("/v1/usage/export?group_by=day,member,model&since=2026-03-15&until=2026-03-16").bearer(&token).send().await;
        assert_eq!(copy.status, 200);
        let lines: Vec<&str> = copy.body.lines().collect();
        assert_eq!(lines.len(), 3, "{}", copy.body);
        assert!(lines[0].starts_with("\"day\",\"user_id\",\"user_name\",\"user_email\""));
        let member = lines.iter().find(|line| line.contains("member@acme.example")).unwrap();
        assert!(member.ends_with("\"\",\"\",\"big\",\"1\",\"100\",\"200\",\"0\",\"0.001\",\"EUR\""), "{member}");
        assert!(api.recorded("usage.exported").await);
        let own = api.get("/v1/usage/export?group_by=member").bearer(&api.token_of("member@acme.example").await).send().await;
        assert_eq!(own.body.lines().count(), 2, "{}", own.body);
    }

    what_was_used_long_ago_is_forgotten(api) {
        two_days(&api).await;
        // Passwords expire sooner.
        let new = json!({ "name": "reports", "scope": "read-only" });
        let made = api.post("/v1/tokens", new).bearer(api.owner().await.access_token()).send().await;
        let days = async || {
            api.control.run_jobs(&api.operator()).await.unwrap();
            let path = "/v1/usage?since=2026-03-01&until=2026-04-01";
            fields(&api.get(path).bearer(made.text("/key")).send().await.json, &["/day"])
        };
        api.clock.advance(Duration::from_hours(24 * 399));
        assert_eq!(days().await, [json!(["2026-03-15"]), json!(["2026-03-16"]), json!(["2026-03-16"])]);
        api.clock.advance(Duration::from_hours(24));
        assert_eq!(days().await, [json!(["2026-03-16"]), json!(["2026-03-16"])]);
    }
}
