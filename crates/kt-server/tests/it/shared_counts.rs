//! Uses of keys that two processes count together in Redis, and in the database while Redis is away.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use kt_domain::clock::Clock;
use kt_store::limits;
use serde_json::json;

use crate::harness::{Answer, TestApi, on_both, side_by_side};
use crate::redis::{self, OwnRedis};

/// A key that may be used this often in a minute.
async fn key(api: &TestApi, rate: u32) -> Answer {
    let body = json!({ "type": "access", "name": "CI", "scope": "read-only", "requests_per_minute": rate });
    let made = api.post("/v1/tokens", body).bearer(api.owner().await.access_token()).send().await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json);
    made
}

async fn used(api: &TestApi, key: &Answer) -> Answer {
    api.get("/v1/whoami").bearer(key.text("/key")).send().await
}

/// How many uses of the key the database has counted.
async fn in_the_database(api: &TestApi, key: &Answer) -> i64 {
    let id = key.text("/id");
    limits::current(&api.store, &format!("key/{id}"), api.clock.now()).await.unwrap()
}

on_both! {
    two_processes_share_a_limit_exactly(api) {
        let (one, other) = (api.beside(&redis::shared()).await, api.beside(&redis::shared()).await);
        let (made, control) = (key(&api, 20).await, key(&api, 60).await);
        for (key, expected) in [(&made, 20), (&control, 60)] {
            let uses = (0..60).map(|n| used(if n % 2 == 0 { &one } else { &other }, key));
            let answers = side_by_side(uses).await;
            let (let_in, refused): (Vec<_>, Vec<_>) =
                answers.iter().partition(|answer| answer.status == StatusCode::OK);
            assert_eq!((let_in.len(), refused.len()), (expected, 60 - expected));
            for answer in refused {
                assert_eq!(answer.refusal(), (429, "rate_limited"));
                let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
                assert!((1..=60).contains(&wait), "{wait}");
            }
            assert_eq!(in_the_database(&api, key).await, 0, "no request wrote to the database");
        }
    }

    while_redis_is_away_uses_are_counted_in_the_database(api) {
        let redis = OwnRedis::start();
        let (one, other) = (api.beside(&redis.url).await, api.beside(&redis.url).await);
        let made = key(&api, 3).await;
        for (process, expected) in [(&one, 200), (&other, 200)] {
            assert_eq!(used(process, &made).await.status, expected);
        }
        assert_eq!(in_the_database(&api, &made).await, 0);
        redis.kill();
        for (process, expected) in [(&one, 200), (&other, 200), (&one, 200), (&other, 429)] {
            assert_eq!(used(process, &made).await.status, expected, "limited, from one on");
        }
        assert_eq!(used(&one, &made).await.refusal(), (429, "rate_limited"));
        assert_eq!(used(&one, &made).await.headers["retry-after"], "60");
        redis.come_back();
        assert_eq!(first_in_redis(&one, &made).await.status, 200, "there it is counted anew");
    }

    a_server_that_never_was_there_keeps_nobody_out(api) {
        let process = api.beside("redis://127.0.0.1:1").await;
        let made = key(&api, 1).await;
        assert_eq!(used(&process, &made).await.status, 200);
        assert_eq!(used(&process, &made).await.refusal(), (429, "rate_limited"));
    }
}

/// The answer to the first use that the database does not count any more.
async fn first_in_redis(api: &TestApi, key: &Answer) -> Answer {
    let began = Instant::now();
    loop {
        let before = in_the_database(api, key).await;
        let answer = used(api, key).await;
        if in_the_database(api, key).await == before {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "Redis is not asked again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
