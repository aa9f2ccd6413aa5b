use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use kt_domain::clock::Clock;
use kt_domain::events::{Entry, Event, EventType, Hash, Head, MatchedRule, SegmentStart, Verdict};
use kt_domain::id::event_id;
use kt_domain::random::Random;
use kt_store::CheckpointKey;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task;

use crate::harness::{Answer, TestApi, on_both, side_by_side};

const DAY: Duration = Duration::from_hours(24);

/// The event log of a gateway.
pub(crate) struct Log {
    gateway_id: Arc<str>,
    key: CheckpointKey,
    head: Head,
    entries: Vec<Value>,
}

impl Log {
    pub(crate) fn begin(api: &TestApi, gateway_id: &str) -> Self {
        let (key, _) = CheckpointKey::generate().unwrap();
        let head = Head { seq: 0, hash: Hash::genesis(gateway_id, &key.public()) };
        let mut log = Self { gateway_id: gateway_id.into(), key, head, entries: Vec::new() };
        log.segment(api);
        log
    }

    fn append(&mut self, entry: &Entry<'_>) {
        let mut line = Vec::new();
        self.head.append(entry, &mut line).unwrap();
        self.entries.push(serde_json::from_slice(&line).unwrap());
    }

    /// Begins a segment that is kept for 30 days.
    fn segment(&mut self, api: &TestApi) {
        let start = SegmentStart {
            gateway_id: Arc::clone(&self.gateway_id),
            immutable: true,
            previous_hash: self.head.hash,
            public_key: self.key.public(),
            retention_days: 30,
            timestamp: timestamp(api),
        };
        self.append(&Entry::Segment(&start));
    }

    pub(crate) fn checkpoint(&mut self, api: &TestApi) {
        let checkpoint = self.key.checkpoint(Arc::clone(&self.gateway_id), self.head, api.clock.now());
        self.append(&Entry::Checkpoint(&checkpoint));
    }

    pub(crate) fn event(&mut self, api: &TestApi, change: impl FnOnce(&mut Event)) -> String {
        let id = event_id(api.clock.now_micros(), &mut Random::from_os());
        let gateway = Arc::clone(&self.gateway_id);
        let mut event = Event::new(EventType::Decision, id.clone(), timestamp(api), gateway);
        event.verdict = Some(Verdict::Allow);
        change(&mut event);
        self.append(&Entry::Event(&event));
        id
    }

    /// A log with this many events and a checkpoint behind them.
    fn with_events(api: &TestApi, gateway_id: &str, count: usize) -> Self {
        let mut log = Self::begin(api, gateway_id);
        for _ in 0..count {
            log.event(api, |_| {});
        }
        log.checkpoint(api);
        log
    }

    pub(crate) async fn deliver(&self, api: &TestApi, key: &str) -> Answer {
        deliver(api, key, &self.gateway_id, &self.entries).await
    }
}

fn timestamp(api: &TestApi) -> String {
    format!("{:.3}", api.clock.now())
}

async fn deliver(api: &TestApi, key: &str, gateway_id: &str, entries: &[Value]) -> Answer {
    let body = json!({ "gateway_id": gateway_id, "entries": entries });
    api.post("/v1/events", body).bearer(key).send().await
}

pub(crate) async fn gateway_key(api: &TestApi) -> String {
    let new = json!({ "type": "gateway", "name": "edge", "scope": "write" });
    let made = api.post("/v1/tokens", new).bearer(api.owner().await.access_token()).send().await;
    made.text("/key").to_owned()
}

/// The events that the owner finds.
async fn found(api: &TestApi, query: &str) -> Vec<Value> {
    let path = format!("/v1/events?{query}");
    let answer = api.get(&path).bearer(api.owner().await.access_token()).send().await;
    answer.json["events"].as_array().unwrap_or_else(|| panic!("{query}: {}", answer.json)).clone()
}

on_both! {
    events_are_kept_once_however_often_they_are_delivered(api) {
        let key = gateway_key(&api).await;
        let mut log = Log::with_events(&api, "gw-1", 3);
        let first = log.deliver(&api, &key).await;
        assert_eq!(first.json, json!({ "accepted": 5, "next_seq": 6 }), "{}", first.json);
        let again = log.deliver(&api, &key).await;
        assert_eq!(again.json, json!({ "accepted": 0, "next_seq": 6 }));
        log.event(&api, |_| {});
        let overlapping = deliver(&api, &key, "gw-1", &log.entries[3..]).await;
        assert_eq!(overlapping.json, json!({ "accepted": 1, "next_seq": 7 }));
        assert_eq!(deliver(&api, &key, "gw-1", &[]).await.json, json!({ "accepted": 0, "next_seq": 7 }));
        assert_eq!(found(&api, "").await.len(), 4);
    }

    events_by_themselves_are_known_by_their_id(api) {
        let key = gateway_key(&api).await;
        let event = |id: &str| json!({
            "id": id, "event_type": "ip_denied", "timestamp": "2026-03-15T14:22:31.000Z", "gateway_id": "gw-1",
            "source_ip": "198.51.100.7", "matched_rule": "deny",
        });
        let send = |events: Value| api.post("/v1/events", json!({ "events": events })).bearer(&key).send();
        let first = send(json!([event("evt_1"), event("evt_2"), event("evt_2")])).await;
        assert_eq!(first.json, json!({ "accepted": 2, "next_seq": null }));
        assert_eq!(send(json!([event("evt_2"), event("evt_3")])).await.json["accepted"], 1);
        let all = found(&api, "event_type=ip_denied").await;
        assert_eq!(all, [event("evt_3"), event("evt_2"), event("evt_1")]);
        let mut unknown_type = event("evt_4");
        unknown_type["event_type"] = json!("session");
        for (events, param) in [
            (json!([]), "events"), (json!([event("evt_4"), {}]), "events[1]"), (json!([unknown_type]), "events[0]"),
            (json!([event("")]), "events[0]"),
        ] {
            assert_eq!(send(events.clone()).await.text("/error/param"), param, "{events}");
        }
        let both = json!({ "gateway_id": "gw-1", "entries": [], "events": [event("evt_4")] });
        assert_eq!(api.post("/v1/events", both).bearer(&key).send().await.text("/error/param"), "entries");
        assert_eq!(found(&api, "").await.len(), 3);
    }

    names_of_any_length_are_refused_whatever_database_would_keep_them(api) {
        let key = gateway_key(&api).await;
        let send = async |field: &str, length: usize| {
            let mut event = json!({
                "id": format!("evt_{field}_{length}"), "event_type": "decision", "gateway_id": "gw-1",
                "timestamp": "2026-03-15T14:22:31.000Z", "source_ip": "::ffff:198.51.100.7",
            });
            event[field] = json!("x".repeat(length));
            api.post("/v1/events", json!({ "events": [event] })).bearer(&key).send().await
        };
        for field in ["gateway_id", "request_id"] {
            assert_eq!(send(field, 128).await.json["accepted"], 1, "{field}");
            let refused = send(field, 129).await;
            assert_eq!((refused.refusal(), refused.text("/error/param")), ((422, "validation_error"), "events[0]"), "{field}");
        }
        assert_eq!(send("gateway_id", 0).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(found(&api, "source_ip=198.51.100.7").await.len(), 2, "IPv4 however it was written");
    }

    the_use_of_a_key_at_a_gateway_is_noted(api) {
        let key = gateway_key(&api).await;
        let owner = api.owner().await;
        let new = json!({ "name": "app", "scope": "write" });
        let access = api.post("/v1/tokens", new).bearer(owner.access_token()).send().await;
        let mut log = Log::begin(&api, "gw-1");
        let mut used = |at: &str, ip: &str| log.event(&api, |event| {
            event.timestamp = at.into();
            event.key_id = Some(access.text("/id").into());
            event.source_ip = Some(ip.parse().unwrap());
        });
        used("2026-03-15T14:20:00.000Z", "203.0.113.1");
        used("2026-03-15T14:22:00.000Z", "203.0.113.3");
        used("2026-03-15T14:21:00.000Z", "203.0.113.2");
        assert_eq!(log.deliver(&api, &key).await.status, StatusCode::OK);
        let tokens = api.get("/v1/tokens?type=access").bearer(owner.access_token()).send().await;
        assert_eq!(tokens.text("/tokens/0/last_used_at"), "2026-03-15T14:22:00Z");
        assert_eq!(tokens.text("/tokens/0/last_used_ip"), "203.0.113.3");
    }

    of_many_who_deliver_the_same_at_once_one_is_heard(api) {
        let key = gateway_key(&api).await;
        let log = Log::with_events(&api, "gw-1", 20);
        let answers = side_by_side((0..50).map(|_| log.deliver(&api, &key))).await;
        let accepted: u64 = answers.iter().map(|answer| answer.json["accepted"].as_u64().unwrap()).sum();
        assert_eq!(accepted, 22);
        assert_eq!(found(&api, "").await.len(), 20);
    }

    only_a_gateways_key_delivers_and_it_reads_nothing(api) {
        let log = Log::with_events(&api, "gw-1", 1);
        let owner = api.owner().await;
        let new = json!({ "name": "app", "scope": "admin" });
        let access = api.post("/v1/tokens", new).bearer(owner.access_token()).send().await;
        assert_eq!(log.deliver(&api, owner.access_token()).await.refusal(), (403, "insufficient_role"));
        assert_eq!(log.deliver(&api, access.text("/key")).await.refusal(), (403, "insufficient_scope"));
        let body = json!({ "gateway_id": "gw-1", "entries": [] });
        assert_eq!(api.post("/v1/events", body).send().await.refusal(), (401, "missing_key"));
        let key = gateway_key(&api).await;
        assert_eq!(log.deliver(&api, &key).await.status, StatusCode::OK);
        assert_eq!(api.get("/v1/events").bearer(&key).send().await.refusal(), (403, "insufficient_scope"));
        let read = api.get("/v1/events").bearer(access.text("/key")).send().await;
        assert_eq!(read.json["events"].as_array().unwrap().len(), 1);
        let member = api.somebody("member").await;
        let refused = api.get("/v1/events").bearer(member.access_token()).send().await;
        assert_eq!(refused.refusal(), (403, "insufficient_role"));
        let auditor = api.somebody("auditor").await;
        assert_eq!(api.get("/v1/events").bearer(auditor.access_token()).send().await.status, StatusCode::OK);
    }

    what_is_not_the_gateways_chain_is_refused_and_nothing_of_it_kept(api) {
        let key = gateway_key(&api).await;
        let good = Log::with_events(&api, "gw-1", 3);
        let edited = {
            let mut entries = good.entries.clone();
            entries[2]["event"]["verdict"] = json!("block");
            entries
        };
        let without_one = [&good.entries[..2], &good.entries[3..]].concat();
        let unsigned = {
            let mut log = Log::with_events(&api, "gw-1", 1);
            (log.key, _) = CheckpointKey::generate().unwrap();
            log.checkpoint(&api);
            log.entries
        };
        let no_event = json!({ "event": { "id": "evt_1" }, "hash": "0".repeat(64), "seq": 2 });
        let of_another = Log::begin(&api, "gw-2").entries;
        let table = [
            (edited, (409, "chain_broken")),
            (without_one, (409, "chain_gap")),
            (unsigned, (409, "chain_broken")),
            (good.entries[1..].to_vec(), (409, "chain_gap")),
            (of_another, (409, "chain_broken")),
            (vec![], (409, "chain_gap")),
            (vec![good.entries[0].clone(), no_event], (409, "chain_broken")),
            (vec![good.entries[0].clone(), json!({ "id": "evt_1" })], (422, "validation_error")),
        ];
        for (row, (entries, refusal)) in table.into_iter().enumerate() {
            assert_eq!(deliver(&api, &key, "gw-1", &entries).await.refusal(), refusal, "row {row}");
        }
        assert_eq!(found(&api, "").await, [] as [Value; 0]);
        assert_eq!(good.deliver(&api, &key).await.status, StatusCode::OK);
        let another = Log::with_events(&api, "gw-1", 3);
        assert_eq!(another.deliver(&api, &key).await.refusal(), (409, "chain_conflict"));
        let missing = deliver(&api, &key, "gw-1", &Log::with_events(&api, "gw-1", 9).entries[7..]).await;
        assert_eq!((missing.refusal(), &missing.json["error"]["next_seq"]), ((409, "chain_gap"), &json!(6)));
    }

    a_refused_address_is_found_as_its_gateway_recorded_it(api) {
        let key = gateway_key(&api).await;
        let mut log = Log::begin(&api, "gw-1");
        let id = log.event(&api, |event| {
            event.event_type = EventType::IpDenied;
            event.verdict = None;
            event.source_ip = Some("198.51.100.7".parse().unwrap());
            event.matched_rule = Some(MatchedRule::Deny);
            event.deny_range = Some("198.51.100.0/24".into());
            event.request_path = Some("/v1/chat/completions".into());
            event.request_id = Some("0190f6c2-1".into());
        });
        log.event(&api, |event| event.verdict = Some(Verdict::Block));
        log.deliver(&api, &key).await;
        let expected = json!([{
            "id": id, "event_type": "ip_denied", "timestamp": "2026-03-15T14:22:31.000Z", "gateway_id": "gw-1",
            "source_ip": "198.51.100.7", "matched_rule": "deny", "deny_range": "198.51.100.0/24",
            "request_path": "/v1/chat/completions", "request_id": "0190f6c2-1",
        }]);
        for query in [
            "event_type=ip_denied&limit=100", "source_ip=198.51.100.7", "source_ip=::ffff:198.51.100.7",
            "request_id=0190f6c2-1",
            "event_type=ip_denied&since=2026-03-15T14:22:31Z&until=2026-03-15T14:22:32Z&gateway_id=gw-1",
        ] {
            assert_eq!(json!(found(&api, query).await), expected, "{query}");
        }
        assert_eq!(found(&api, "verdict=block").await.len(), 1);
        for query in ["event_type=auth_failed", "source_ip=198.51.100.8", "until=2026-03-15T14:22:31Z", "gateway_id=gw-2"] {
            assert_eq!(found(&api, query).await, [] as [Value; 0], "{query}");
        }
        for (query, param) in [
            ("event_type=ip", "event_type"), ("verdict=deny", "verdict"), ("source_ip=1.2.3", "source_ip"),
            ("since=yesterday", "since"), ("limit=1001", "limit"), ("limit=0", "limit"), ("cursor=1", "cursor"),
            ("type=ip_denied", "type"), ("limit=1&limit=2", "limit"), ("limit=many", "limit"), ("verdict=allow&limit=-1", "limit"),
        ] {
            let path = format!("/v1/events?{query}");
            let answer = api.get(&path).bearer(api.owner().await.access_token()).send().await;
            assert_eq!((answer.refusal(), answer.text("/error/param")), ((422, "validation_error"), param), "{query}");
        }
        let answer = api.get("/v1/events?verdict=deny").bearer(api.owner().await.access_token()).send().await;
        assert_eq!(answer.text("/error/message"), "expected one of allow, block, redact, escalate");
    }

    events_come_page_by_page_and_stay_in_their_organization(api) {
        let key = gateway_key(&api).await;
        Log::with_events(&api, "gw-1", 5).deliver(&api, &key).await;
        let owner = api.owner().await;
        let mut seen = Vec::new();
        let mut path = "/v1/events?limit=2".to_owned();
        loop {
            let page = api.get(&path).bearer(owner.access_token()).send().await;
            seen.extend(page.json["events"].as_array().unwrap().iter().map(|event| event["id"].clone()));
            let Some(cursor) = page.json["next_cursor"].as_str() else { break };
            path = format!("/v1/events?limit=2&cursor={cursor}");
        }
        let all: Vec<_> = found(&api, "").await.iter().map(|event| event["id"].clone()).collect();
        assert_eq!((seen.len(), seen), (5, all));
        let other = api.organization("other").await;
        api.add_member_of(&other, "owner@other.example", kt_domain::actor::Role::Owner).await;
        let theirs = api.get("/v1/events").bearer(&api.token_of("owner@other.example").await).send().await;
        assert_eq!(theirs.json["events"], json!([]));
    }

    events_go_when_their_days_are_over_and_never_before(api) {
        let key = gateway_key(&api).await;
        let mut log = Log::with_events(&api, "gw-1", 3);
        api.clock.advance(DAY);
        log.segment(&api);
        log.event(&api, |_| {});
        log.checkpoint(&api);
        log.deliver(&api, &key).await;
        api.clock.advance(DAY * 29);
        api.control.run_jobs(&api.operator()).await.unwrap();
        assert_eq!(found(&api, "").await.len(), 4, "30 days after the first checkpoint");
        api.clock.advance(Duration::from_secs(1));
        api.control.run_jobs(&api.operator()).await.unwrap();
        assert_eq!(found(&api, "").await.len(), 1);
        let records = api.records("events.removed").await;
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["resource"], "gw-1");
        let before = &records[0]["details"]["before"];
        assert_eq!((&before["first_removed"], &before["first_kept"], &before["events"]), (&json!(1), &json!(6), &json!(3)));
        assert_eq!(before["previous_hash"], log.entries[4]["hash"], "the chain goes on from there");
        api.clock.advance(DAY * 2);
        api.control.run_jobs(&api.operator()).await.unwrap();
        assert_eq!(found(&api, "").await.len(), 0, "the last segment goes too");
        log.event(&api, |_| {});
        assert_eq!(log.deliver(&api, &key).await.json, json!({ "accepted": 1, "next_seq": 10 }));
    }

    whoever_removes_events_is_told_after_each_piece_how_many_so_far(api) {
        let key = gateway_key(&api).await;
        let mut log = Log::with_events(&api, "gw-1", 3);
        log.segment(&api);
        log.event(&api, |_| {});
        log.checkpoint(&api);
        log.deliver(&api, &key).await;
        Log::with_events(&api, "gw-2", 2).deliver(&api, &key).await;
        let by_itself = json!({
            "id": "evt_1", "event_type": "decision", "timestamp": timestamp(&api), "gateway_id": "gw-1",
        });
        api.post("/v1/events", json!({ "events": [by_itself] })).bearer(&key).send().await;
        let mut told = Vec::new();
        assert_eq!(api.control.retain_events(&api.operator(), |so_far| told.push(so_far)).await.unwrap(), 0);
        assert!(told.is_empty(), "nothing is over yet: {told:?}");
        api.clock.advance(DAY * 366);
        assert_eq!(api.control.retain_events(&api.operator(), |so_far| told.push(so_far)).await.unwrap(), 7);
        assert_eq!(told, [3, 4, 6, 7]);
    }

    a_chain_that_grows_while_others_are_shortened_is_left_until_its_days_are_over(api) {
        let key = gateway_key(&api).await;
        Log::with_events(&api, "gw-1", 3).deliver(&api, &key).await;
        let mut growing = Log::with_events(&api, "gw-2", 2);
        growing.deliver(&api, &key).await;
        api.clock.advance(DAY * 31);
        growing.checkpoint(&api);
        let runtime = Handle::current();
        let deliver = |_| {
            task::block_in_place(|| runtime.block_on(growing.deliver(&api, &key)));
        };
        assert_eq!(api.control.retain_events(&api.operator(), deliver).await.unwrap(), 3);
        assert_eq!(found(&api, "").await.len(), 2);
        api.clock.advance(DAY * 31);
        assert_eq!(api.control.retain_events(&api.operator(), |_| {}).await.unwrap(), 2, "the control");
    }
}
