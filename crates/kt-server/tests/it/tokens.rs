mod demands;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use kt_domain::actor::Role;
use kt_domain::sign_in::MembershipState;
use kt_store::keys;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, TestApi, on_both};

const DAY: Duration = Duration::from_hours(24);
const INSIDE: &str = "203.0.113.9:1";
const OUTSIDE: &str = "198.51.100.7:1";

async fn make(api: &TestApi, session: &Answer, body: Value) -> Answer {
    api.post("/v1/tokens", body).bearer(session.access_token()).send().await
}

/// A key of this kind and scope, made by the holder of this session.
async fn key(api: &TestApi, session: &Answer, kind: &str, scope: &str) -> Answer {
    let made = make(api, session, json!({ "type": kind, "name": "deploy", "scope": scope })).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json);
    made
}

/// What using the key at an address comes to: `ok`, or the code of the refusal.
async fn used(api: &TestApi, key: &Answer, peer: &str) -> String {
    let answer = api.get("/v1/whoami").bearer(key.text("/key")).from(peer).send().await;
    match answer.status {
        StatusCode::OK => "ok".into(),
        _ => answer.refusal().1.to_owned(),
    }
}

async fn listed(api: &TestApi, bearer: &str) -> Vec<Value> {
    let list = api.get("/v1/tokens").bearer(bearer).send().await;
    list.json["tokens"].as_array().unwrap_or_else(|| panic!("{}", list.json)).clone()
}

fn names<'a>(keys: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    keys.into_iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

fn path(key: &Answer) -> String {
    format!("/v1/tokens/{}", key.text("/id"))
}

async fn rotate(api: &TestApi, session: &Answer, key: &Answer, body: Value) -> Answer {
    api.post(&format!("{}/rotate", path(key)), body).bearer(session.access_token()).send().await
}

async fn patch(api: &TestApi, bearer: &str, key: &Answer, body: Value) -> Answer {
    api.patch(&path(key), body).bearer(bearer).send().await
}

async fn revoke(api: &TestApi, bearer: &str, key: &Answer) -> Answer {
    api.request(Method::DELETE, &path(key)).bearer(bearer).send().await
}

on_both! {
    keys_are_searched_for_among_those_that_one_may_see(api) {
        let owner = api.owner().await;
        let jo = api.somebody("member").await;
        api.demand(json!({ "creation": "everyone" })).await;
        for (holder, name) in [(&owner, "Reports"), (&owner, "deploy"), (&jo, "reports of Jo")] {
            // Keys are listed in the order of the moments at which they were made.
            api.clock.advance(Duration::from_secs(1));
            assert_eq!(make(&api, holder, json!({ "name": name, "scope": "read-only" })).await.status, StatusCode::CREATED);
        }
        let found = async |holder: &Answer, query: &str| {
            let list = api.get(&format!("/v1/tokens?{query}")).bearer(holder.access_token()).send().await;
            let names = list.json["tokens"].as_array().unwrap_or_else(|| panic!("{}", list.json)).iter();
            names.map(|key| key["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found(&owner, "q=REPORTS").await, ["reports of Jo", "Reports"]);
        assert_eq!(found(&jo, "q=reports").await, ["reports of Jo"]);
        assert_eq!(found(&jo, "q=deploy").await, [""; 0]);
        assert_eq!(found(&owner, "q=reports&type=gateway").await, [""; 0]);
        let bad = api.get("/v1/tokens?q=a%0Ab").bearer(owner.access_token()).send().await;
        assert_eq!(bad.refusal(), (422, "validation_error"));
    }

    whoever_answers_for_a_key_is_told_a_week_before_it_ends_and_once(api) {
        let owner = api.owner().await;
        let now = kt_domain::clock::Clock::now(&api.clock);
        let ending = |name: &str, days: u32| json!({
            "type": "access", "name": name, "scope": "read-only", "expires_at": (now + DAY * days).to_string(),
        });
        for (name, days) in [("nightly", 10), ("later", 30), ("revoked", 10)] {
            let made = make(&api, &owner, ending(name, days)).await;
            assert_eq!(made.status, StatusCode::CREATED, "{}", made.json);
            if name == "revoked" {
                api.request(Method::DELETE, &path(&made)).bearer(owner.access_token()).send().await;
            }
        }
        let told = async || {
            api.control.run_jobs(&api.operator()).await.unwrap();
            let letters = api.letters_to("owner@acme.example").await;
            let told = letters.iter().filter(|letter| letter.content.subject == "An access key of yours ends soon");
            told.map(|letter| letter.content.text.contains("nightly")).collect::<Vec<_>>()
        };
        api.clock.advance(DAY * 2);
        assert!(told().await.is_empty(), "eight days before");
        api.clock.advance(DAY);
        assert_eq!(told().await, [true]);
        api.clock.advance(DAY);
        assert_eq!(told().await.len(), 1, "once, and not of what is revoked or later");
    }

    one_key_is_seen_by_its_owner_and_by_who_manages_keys(api) {
        api.add_member("jo@acme.example", "member").await;
        api.demand(json!({ "creation": "everyone" })).await;
        let (owner, jo) = (api.owner().await, api.login("jo@acme.example", PASSWORD).await);
        let (owners, jos) = (key(&api, &owner, "access", "write").await, key(&api, &jo, "access", "write").await);
        let see = |who: &Answer, which: &Answer| api.get(&path(which)).bearer(who.access_token()).send();
        for (who, which) in [(&owner, &owners), (&owner, &jos), (&jo, &jos)] {
            let seen = see(who, which).await;
            let listed = listed(&api, who.access_token()).await;
            assert!(listed.contains(&seen.json), "{}", seen.json);
            assert!(seen.json.get("key").is_none(), "its text is not shown again");
        }
        assert_eq!(see(&jo, &owners).await.refusal(), (404, "not_found"));
        assert_eq!(see(&api.owner_of_another().await, &jos).await.refusal(), (404, "not_found"));
    }

    a_key_in_the_address_is_refused_whatever_it_asks(api) {
        let owner = api.owner().await;
        let made = key(&api, &owner, "access", "read-only").await;
        let text = made.text("/key");
        for query in [
            format!("access_token={text}"), format!("key={text}"), "api_key=x".to_owned(), "API_KEY=x".to_owned(),
            "limit=2&k%65y=".to_owned(), format!("cursor={text}"),
        ] {
            for bearer in ["", text] {
                let request = api.get(&format!("/v1/tokens?{query}"));
                let request = if bearer.is_empty() { request } else { request.bearer(bearer) };
                let answer = request.send().await;
                assert_eq!(answer.refusal(), (400, "key_in_address"), "{query}");
                assert!(!answer.body.contains(text));
            }
        }
        let control = api.get("/v1/tokens?limit=2").bearer(text).send().await;
        assert_eq!(control.status, StatusCode::OK, "{}", control.json);
    }

    a_key_is_shown_once_and_acts_in_its_owners_name(api) {
        let owner = api.owner().await;
        let made = key(&api, &owner, "access", "read-only").await;
        assert!(made.text("/key").starts_with("kt_ak_"));
        assert_eq!(made.text("/prefix"), &made.text("/key")[..10]);
        assert_eq!(made.json["status"], "active");
        let whoami = api.get("/v1/whoami").bearer(made.text("/key")).send().await;
        assert_eq!(whoami.json["user"]["email"], "owner@acme.example");
        assert_eq!(whoami.json["key"]["scope"], "read-only");
        let list = api.get("/v1/tokens").bearer(made.text("/key")).send().await;
        assert_eq!(list.json["tokens"][0]["id"], made.json["id"]);
        assert!(!list.json.to_string().contains(&made.text("/key")[10..]), "{}", list.json);
    }

    making_a_key_is_recorded_and_told_by_mail_without_the_key(api) {
        let owner = api.owner().await;
        let made = key(&api, &owner, "gateway", "write").await;
        let new = rotate(&api, &owner, &made, json!({})).await;
        revoke(&api, owner.access_token(), &new).await;
        for action in ["key.created", "key.rotated", "key.revoked"] {
            let records = api.records(action).await;
            assert_eq!(records.len(), 1, "{action}");
            for key in [&made, &new] {
                assert!(!records[0].to_string().contains(&key.text("/key")[10..]), "{action}");
            }
        }
        assert_eq!(api.records("key.created").await[0]["details"]["after"]["scope"], "write");
        let letters = api.letters_to("owner@acme.example").await;
        let told: Vec<_> = letters.iter().filter(|letter| letter.content.text.contains("deploy")).collect();
        assert_eq!(told.len(), 2, "one for each key that was made");
        assert!(told.iter().all(|letter| !letter.content.text.contains("kt_gk_")));
    }

    a_text_that_is_no_key_is_refused_as_a_revoked_one_is(api) {
        let owner = api.owner().await;
        let good = key(&api, &owner, "access", "admin").await;
        let unknown = key(&api, &owner, "access", "admin").await;
        revoke(&api, owner.access_token(), &unknown).await;
        let text = good.text("/key");
        let mut answers = Vec::new();
        for bad in [unknown.text("/key"), &text[..54], &format!("{text}0"), &text.to_lowercase(), "kt_ak_", "kt_"] {
            let mut answer = api.get("/v1/whoami").bearer(bad).send().await;
            assert_eq!(answer.refusal(), (401, "invalid_key"), "{bad}");
            answer.json["error"]["request_id"] = json!(null);
            answers.push(answer.json);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(used(&api, &good, INSIDE).await, "ok");
    }

    a_key_that_reads_sees_the_keys_that_its_owner_sees(api) {
        let (member, auditor) = (api.somebody("member").await, api.somebody("auditor").await);
        let admin = api.somebody("admin").await;
        api.demand(json!({ "creation": "everyone" })).await;
        let of_member = key(&api, &member, "access", "read-only").await;
        let of_admin = key(&api, &admin, "access", "read-only").await;
        assert_eq!(listed(&api, auditor.access_token()).await.len(), 2, "the control");
        for (reads, sees) in [(&of_member, 1), (&of_admin, 2)] {
            assert_eq!(listed(&api, reads.text("/key")).await.len(), sees);
        }
        let others = api.get(&path(&of_admin)).bearer(of_member.text("/key")).send().await;
        assert_eq!(others.refusal(), (404, "not_found"));
    }

    making_a_key_asks_for_a_fresh_proof(api) {
        let owner = api.owner().await;
        let made = key(&api, &owner, "access", "write").await;
        api.clock.advance(Duration::from_mins(11));
        let new = json!({ "name": "late", "scope": "write" });
        assert_eq!(make(&api, &owner, new).await.refusal(), (403, "reauthentication_required"));
        assert_eq!(rotate(&api, &owner, &made, json!({})).await.refusal(), (403, "reauthentication_required"));
        let change = patch(&api, owner.access_token(), &made, json!({ "name": "late" })).await;
        assert_eq!(change.refusal(), (403, "reauthentication_required"));
        assert_eq!(revoke(&api, owner.access_token(), &made).await.status, StatusCode::NO_CONTENT, "taking away does not");
    }

    a_key_mints_no_key_and_widens_none(api) {
        let owner = api.owner().await;
        let admin_key = key(&api, &owner, "access", "admin").await;
        let narrow = key(&api, &owner, "access", "read-only").await;
        let bearer = admin_key.text("/key");
        let new = json!({ "name": "minted", "scope": "admin" });
        let minted = api.post("/v1/tokens", new.clone()).bearer(bearer).send().await;
        assert_eq!(minted.refusal(), (403, "person_required"));
        let rotated = api.post(&format!("{}/rotate", path(&narrow)), json!({})).bearer(bearer).send().await;
        assert_eq!(rotated.refusal(), (403, "person_required"));
        let widened = patch(&api, bearer, &narrow, json!({ "scope": "admin" })).await;
        assert_eq!(widened.refusal(), (403, "person_required"));
        assert_eq!(make(&api, &owner, new).await.status, StatusCode::CREATED, "the control");
        let widened = patch(&api, owner.access_token(), &narrow, json!({ "scope": "admin" })).await;
        assert_eq!(widened.json["scope"], "admin", "the control");
    }

    a_key_acts_for_its_owner_and_nobody_else_lets_it_do_more(api) {
        let owner = api.owner().await;
        let boss = key(&api, &owner, "access", "read-only").await;
        let limits = json!({ "ip_ranges": ["203.0.113.0/24"], "requests_per_minute": 60, "expires_at": "2026-04-01T00:00:00Z" });
        assert_eq!(patch(&api, owner.access_token(), &boss, limits).await.status, StatusCode::OK);
        api.add_member("ann@acme.example", "admin").await;
        let ann = api.token_of("ann@acme.example").await;
        for more in [
            json!({ "scope": "write" }),
            json!({ "ip_ranges": [] }),
            json!({ "requests_per_minute": 61 }),
            json!({ "expires_at": null }),
        ] {
            assert_eq!(patch(&api, &ann, &boss, more.clone()).await.refusal(), (403, "not_key_owner"), "{more}");
            assert_eq!(patch(&api, owner.access_token(), &boss, more).await.status, StatusCode::OK, "the control");
        }
        for less in [json!({ "requests_per_minute": 10 }), json!({ "scope": "read-only" }), json!({ "name": "ci" })] {
            assert_eq!(patch(&api, &ann, &boss, less.clone()).await.status, StatusCode::OK, "{less}");
        }
        assert_eq!(revoke(&api, &ann, &boss).await.status, StatusCode::NO_CONTENT);
    }

    a_scope_is_the_limit_of_a_key(api) {
        let owner = api.owner().await;
        let other = key(&api, &owner, "access", "write").await;
        for (scope, refusal) in [("read-only", "insufficient_scope"), ("write", "insufficient_scope")] {
            let narrow = key(&api, &owner, "access", scope).await;
            assert_eq!(revoke(&api, narrow.text("/key"), &other).await.refusal(), (403, refusal), "{scope}");
            assert_eq!(used(&api, &narrow, INSIDE).await, "ok", "{scope} reads");
        }
        let gateway = key(&api, &owner, "gateway", "admin").await;
        assert_eq!(revoke(&api, gateway.text("/key"), &other).await.refusal(), (403, "insufficient_scope"));
        let list = api.get("/v1/tokens").bearer(gateway.text("/key")).send().await;
        assert_eq!(list.refusal(), (403, "insufficient_scope"), "a gateway's key is no key to the API");
        assert!(list.text("/error/message").contains("kind `gateway`"), "{}", list.body);
        let itself = api.get("/v1/whoami").bearer(gateway.text("/key")).send().await;
        assert_eq!((itself.text("/key/type"), itself.text("/key/id")), ("gateway", gateway.text("/id")));
        let admin = key(&api, &owner, "access", "admin").await;
        assert_eq!(revoke(&api, admin.text("/key"), &other).await.status, StatusCode::NO_CONTENT);
    }

    a_key_reaches_no_further_than_its_owner_at_this_moment(api) {
        let owner = api.owner().await;
        let admin = api.somebody("admin").await;
        let (theirs, other) = (key(&api, &admin, "access", "admin").await, key(&api, &owner, "access", "write").await);
        assert_eq!(listed(&api, theirs.text("/key")).await.len(), 2, "an admin's key sees everybody's");
        api.becomes(&admin, Role::Member, MembershipState::Active).await;
        assert_eq!(listed(&api, theirs.text("/key")).await.len(), 1, "a member's key sees one's own");
        assert_eq!(revoke(&api, theirs.text("/key"), &other).await.refusal(), (404, "not_found"));
        api.becomes(&admin, Role::Admin, MembershipState::Suspended).await;
        assert_eq!(used(&api, &theirs, INSIDE).await, "invalid_key");
        api.becomes(&admin, Role::Admin, MembershipState::Active).await;
        assert_eq!(revoke(&api, theirs.text("/key"), &other).await.status, StatusCode::NO_CONTENT);
    }

    a_rotated_key_works_for_as_long_as_was_chosen(api) {
        let owner = api.owner().await;
        let old = key(&api, &owner, "access", "write").await;
        let new = rotate(&api, &owner, &old, json!({ "overlap_seconds": 60 })).await;
        assert_eq!(new.status, StatusCode::CREATED, "{}", new.json);
        assert_eq!((&new.json["scope"], &new.json["name"]), (&json!("write"), &json!("deploy")));
        api.clock.advance(Duration::from_secs(59));
        assert_eq!((used(&api, &old, INSIDE).await, used(&api, &new, INSIDE).await), ("ok".into(), "ok".into()));
        assert_eq!(rotate(&api, &owner, &old, json!({})).await.refusal(), (409, "key_rotated"));
        api.clock.advance(Duration::from_secs(1));
        assert_eq!((used(&api, &old, INSIDE).await, used(&api, &new, INSIDE).await), ("invalid_key".into(), "ok".into()));
        let bare = api.request(Method::POST, &format!("{}/rotate", path(&new)));
        let newest = bare.bearer(owner.access_token()).send().await;
        assert_eq!(used(&api, &new, INSIDE).await, "invalid_key", "without an overlap at once");
        assert_eq!(used(&api, &newest, INSIDE).await, "ok");
        let too_long = rotate(&api, &owner, &newest, json!({ "overlap_seconds": 604_801 })).await;
        assert_eq!(too_long.text("/error/param"), "overlap_seconds");
        let stood = listed(&api, owner.access_token()).await;
        let stood: Vec<_> = stood.iter().map(|token| token["status"].as_str().unwrap()).collect();
        assert_eq!(stood, ["active", "revoked", "revoked"]);
    }

    who_rotates_a_key_answers_for_the_new_one(api) {
        let owner = api.owner().await;
        let admin = api.somebody("admin").await;
        let old = key(&api, &owner, "access", "admin").await;
        let new = rotate(&api, &admin, &old, json!({})).await;
        assert_eq!(new.json["owner"], admin.json["user"]["id"], "an admin gets no key that acts as an owner");
        assert_eq!(old.json["owner"], owner.json["user"]["id"]);
    }

    of_a_thousand_who_rotate_one_key_one_succeeds(api) {
        let owner = Arc::new(api.owner().await);
        let old = Arc::new(key(&api, &owner, "access", "write").await);
        let api = Arc::new(api);
        let tasks: Vec<_> = (0..1000).map(|_| {
            let (api, owner, old) = (Arc::clone(&api), Arc::clone(&owner), Arc::clone(&old));
            tokio::spawn(async move { rotate(&api, &owner, &old, json!({})).await.status })
        }).collect();
        let mut successes = 0;
        for task in tasks {
            successes += usize::from(task.await.unwrap() == StatusCode::CREATED);
        }
        assert_eq!(successes, 1);
        let working = listed(&api, owner.access_token()).await;
        assert_eq!(working.iter().filter(|token| token["status"] == "active").count(), 1);
    }

    a_revoked_key_is_refused_on_the_next_request(api) {
        let owner = api.owner().await;
        let (one, other) = (key(&api, &owner, "access", "write").await, key(&api, &owner, "access", "write").await);
        assert_eq!(used(&api, &one, INSIDE).await, "ok");
        assert_eq!(revoke(&api, owner.access_token(), &one).await.status, StatusCode::NO_CONTENT);
        assert_eq!(used(&api, &one, INSIDE).await, "invalid_key");
        assert_eq!(used(&api, &other, INSIDE).await, "ok");
        assert_eq!(revoke(&api, owner.access_token(), &one).await.status, StatusCode::NO_CONTENT, "it stays so");
        assert_eq!(patch(&api, owner.access_token(), &one, json!({ "name": "back" })).await.refusal(), (409, "key_revoked"));
        assert_eq!(rotate(&api, &owner, &one, json!({})).await.refusal(), (409, "key_revoked"));
        let absent = api.request(Method::DELETE, "/v1/tokens/key_1").bearer(owner.access_token()).send().await;
        assert_eq!(absent.refusal(), (404, "not_found"));
    }

    when_and_from_where_a_key_was_used_is_written_once_a_minute(api) {
        let owner = api.owner().await;
        let made = key(&api, &owner, "access", "write").await;
        let (organization, id) = (api.organization_called("acme").await, made.text("/id").parse().unwrap());
        let written = async || {
            api.control.run_jobs(&api.operator()).await.unwrap();
            let key = keys::of_organization(&api.store, &organization, &id).await.unwrap().unwrap();
            (json!(key.last_used_at), json!(key.last_used_ip))
        };
        let told = async || {
            let one = api.get(&path(&made)).bearer(owner.access_token()).send().await.json;
            let of_list = listed(&api, owner.access_token()).await[0].clone();
            assert_eq!(one["last_used_at"], of_list["last_used_at"]);
            (of_list["last_used_at"].clone(), of_list["last_used_ip"].clone())
        };
        let never = (json!(null), json!(null));
        assert_eq!((written().await, told().await), (never.clone(), never));
        used(&api, &made, INSIDE).await;
        let first = (json!("2026-03-15T14:22:31Z"), json!("203.0.113.9"));
        assert_eq!(told().await, first, "before it is written");
        assert_eq!(written().await, first);
        api.clock.advance(Duration::from_secs(59));
        used(&api, &made, OUTSIDE).await;
        assert_eq!(written().await, first);
        let second = (json!("2026-03-15T14:23:30Z"), json!("198.51.100.7"));
        assert_eq!(told().await, second);
        api.clock.advance(Duration::from_secs(1));
        assert_eq!((written().await, told().await), (second.clone(), second));
    }

    a_gateways_key_has_the_scope_that_serves_it_where_none_is_chosen(api) {
        let owner = api.owner().await;
        let bare = json!({ "type": "gateway", "name": "edge", "allowed_ranges": ["203.0.113.0/24"], "rpm": 30 });
        let gateway = make(&api, &owner, bare).await;
        assert_eq!((gateway.status, gateway.text("/scope")), (StatusCode::CREATED, "write"));
        assert_eq!((&gateway.json["ip_ranges"], &gateway.json["requests_per_minute"]), (&json!(["203.0.113.0/24"]), &json!(30)));
        let renamed = patch(&api, owner.access_token(), &gateway, json!({ "allowed_ranges": [], "rpm": null })).await;
        assert_eq!((&renamed.json["ip_ranges"], &renamed.json["requests_per_minute"]), (&json!([]), &json!(null)));
        let both = json!({ "type": "gateway", "name": "edge", "allowed_ranges": [], "ip_ranges": [] });
        assert_eq!(make(&api, &owner, both).await.refusal(), (422, "validation_error"));
        let access = make(&api, &owner, json!({ "name": "app" })).await;
        assert_eq!((access.refusal(), access.text("/error/param")), ((422, "validation_error"), "scope"));
    }

    keys_are_listed_page_by_page(api) {
        let owner = api.owner().await;
        for _ in 0..3 {
            key(&api, &owner, "access", "write").await;
            api.clock.advance(Duration::from_millis(1));
        }
        let gateway = key(&api, &owner, "gateway", "write").await;
        let list = |query: String| api.get(&format!("/v1/tokens?{query}")).bearer(owner.access_token()).send();
        let first = list("type=access&limit=2".into()).await;
        assert_eq!(first.json["tokens"].as_array().unwrap().len(), 2);
        let cursor = first.text("/next_cursor");
        let rest = list(format!("type=access&limit=2&cursor={cursor}")).await;
        assert_eq!((rest.json["tokens"].as_array().unwrap().len(), &rest.json["next_cursor"]), (1, &json!(null)));
        let gateways = list("type=gateway".into()).await;
        assert_eq!(gateways.json["tokens"][0]["id"], gateway.json["id"]);
        let altered: String = cursor.chars().rev().collect();
        for (query, param) in [
            ("type=session", "type"), ("limit=0", "limit"), ("limit=1001", "limit"), ("cursor=1", "cursor"),
            (&*format!("cursor={altered}"), "cursor"), ("kind=access", "kind"),
        ] {
            assert_eq!(list(query.into()).await.text("/error/param"), param, "{query}");
        }
    }
}
