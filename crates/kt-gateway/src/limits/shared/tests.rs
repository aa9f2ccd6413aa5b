use super::debts::Sum;
use super::*;
use crate::limits::tests::a_thousand_overdraw_by_one_claim_at_most;
use crate::limits::{Limiter, Spending, Subject, Unit};

/// Counts on the server that `./test` starts.
fn shared() -> Shared {
    #[expect(clippy::disallowed_methods, reason = "tests are told here where their server is")]
    let url = std::env::var("KEEPTRUSTS_TEST_REDIS").expect(
        "tests need a Redis server: ./test starts one; or run `e2e/redis start DIR` and put the address that it \
         prints into KEEPTRUSTS_TEST_REDIS",
    );
    Shared::new(&url, &KnownRecord::default()).unwrap()
}

/// The only place of a key that nobody else counts.
fn only_place() -> Vec<Claim> {
    let name = format!("test-{:016x}", kt_domain::random::Random::from_os().next_u64());
    vec![Claim::new(Subject::Key(name.as_str().into()), Measure::Concurrent, 1, 1)]
}

async fn takes(shared: &Shared, claims: &[Claim], name: u64) -> bool {
    shared.take(claims, name, 0).await.expect("the server answers").is_ok()
}

/// Lets a minute pass for the entry of request 1.
async fn end_now(shared: &Shared, claims: &[Claim]) {
    let mut connection = shared.0.connection().unwrap();
    redis::cmd("ZADD")
        .arg(key(&claims[0]))
        .arg("XX")
        .arg(1)
        .arg(1)
        .exec_async(&mut connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_gateway_held_when_it_died_is_free_again_and_what_is_renewed_is_not() {
    let (died, other, claims) = (shared(), shared(), only_place());
    assert!(takes(&died, &claims, 1).await);
    assert!(!takes(&other, &claims, 2).await, "it is taken");
    end_now(&died, &claims).await;
    died.renew(0).await;
    assert!(!takes(&other, &claims, 2).await, "it lives");
    end_now(&died, &claims).await;
    assert!(takes(&other, &claims, 2).await, "nobody renewed it");
}

/// How many requests the server has under way for the key of these claims.
async fn places_of(shared: &Shared, claims: &[Claim]) -> usize {
    let mut connection = shared.0.connection().unwrap();
    redis::cmd("ZCARD").arg(key(&claims[0])).query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn what_ended_during_an_outage_is_told_when_it_is_over_however_much_it_is() {
    const MANY: u64 = 1234;
    let (shared, claims) = (shared(), only_place());
    (0..MANY).for_each(|name| shared.hold(&claims, name));
    shared.0.tell_places().await.unwrap();
    assert_eq!(places_of(&shared, &claims).await, 1234, "the control");
    for name in 1..MANY {
        let ended = shared.0.places.end(name).expect("the server may know of it");
        shared.0.places.owe_end(ended);
    }
    shared.keep_places().await;
    assert_eq!(places_of(&shared, &claims).await, 1, "that of request 0");
}

#[tokio::test]
async fn a_thousand_open_at_once_overdraw_by_one_claim_at_most_on_the_server_too() {
    let limiter = Arc::new(Limiter::new(Arc::default(), Some(shared())));
    a_thousand_overdraw_by_one_claim_at_most(&limiter).await;
}

/// A budget that nobody else counts, and claims on it.
fn own_budget() -> impl Fn(u64) -> Vec<Claim> {
    let name = format!("test-{:016x}", kt_domain::random::Random::from_os().next_u64());
    let spending = Spending { budget: name.as_str().into(), unit: Unit::Tokens, until: 3_600_000_000 };
    move |amount| vec![Claim::new(Subject::Everybody, Measure::Spent(spending.clone()), 1 << 50, amount)]
}

/// How much is spent of what these claims are on.
async fn spent(shared: &Shared, claims: &[Claim]) -> Option<i64> {
    let mut connection = shared.0.connection().unwrap();
    redis::cmd("GET").arg(key(&claims[0])).query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn what_is_told_twice_is_done_once() {
    let (shared, claims) = (shared(), own_budget());
    let name = kt_domain::random::Random::from_os().next_u64();
    assert!(takes(&shared, &claims(100), name).await);
    assert!(takes(&shared, &claims(7), name ^ 1).await);
    let settlement = Settlement { name, used: vec![(key(&claims(0)[0]), 40)], may_come_first: false };
    for _ in 0..2 {
        shared.0.tell_settlement(&settlement).await.unwrap();
        assert_eq!(spent(&shared, &claims(0)).await, Some(47));
    }
    let sums = vec![Sum { key: key(&claims(0)[0]), amount: -7, kept: 60_000 }];
    let more = Spent { name: name ^ 2, sums };
    for _ in 0..2 {
        shared.0.tell_spent(&more).await.unwrap();
        assert_eq!(spent(&shared, &claims(0)).await, Some(40));
    }
}

#[tokio::test]
async fn a_claim_that_comes_after_it_was_taken_back_is_not_granted() {
    let (shared, claims) = (shared(), own_budget());
    let name = kt_domain::random::Random::from_os().next_u64();
    let undone = Settlement { name, used: vec![(key(&claims(0)[0]), 0)], may_come_first: true };
    shared.0.tell_settlement(&undone).await.unwrap();
    assert!(shared.0.ask(&claims(10), name, 0).await.is_err());
    assert_eq!(spent(&shared, &claims(0)).await, None);
    assert!(takes(&shared, &claims(10), name ^ 1).await, "the control: another request");
    assert_eq!(spent(&shared, &claims(0)).await, Some(10));
}

#[test]
fn everything_that_one_script_looks_at_is_on_one_node() {
    let subjects = [Subject::Everybody, Subject::Key("a}{b".into()), Subject::Group("g".into())];
    for subject in subjects {
        let key = key(&Claim::new(subject, Measure::Tokens, 1, 1));
        let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
        assert_eq!(tag, Some("gateway"), "{key}");
    }
}
