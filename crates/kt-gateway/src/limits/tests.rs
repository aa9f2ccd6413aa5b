use std::net::Ipv6Addr;
use std::thread;

use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;

use super::*;

const START: i64 = 1_000_000_000_000;
const SECOND: i64 = 1_000_000;

fn requests(limit: u64) -> Claim {
    Claim::new(Subject::Everybody, Measure::Requests, limit, 1)
}

fn tokens(limit: u64, amount: u64) -> Claim {
    Claim::new(Subject::Key("k".into()), Measure::Tokens, limit, amount)
}

fn places(limit: u64) -> Claim {
    Claim::new(Subject::Everybody, Measure::Concurrent, limit, 1)
}

fn limiter() -> Arc<Limiter> {
    Arc::new(Limiter::new(Arc::default(), None))
}

/// What comes of claims at a moment, counted in memory.
fn take(limiter: &Arc<Limiter>, claims: &[Claim], now: i64) -> Result<Grant, Denied> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(limiter.take(claims.to_vec(), OnCountingFailure::Local, 1, now))
}

fn wait_of(taken: &Result<Grant, Denied>) -> Option<u64> {
    match taken {
        Err(Denied::Limited { wait, .. }) => Some(wait.as_secs()),
        _ => None,
    }
}

#[test]
fn a_minutes_worth_passes_at_once_and_then_one_at_a_time() {
    let limiter = limiter();
    assert!((0..60).all(|_| take(&limiter, &[requests(60)], START).is_ok()));
    assert_eq!(wait_of(&take(&limiter, &[requests(60)], START)), Some(1));
    assert!(take(&limiter, &[requests(60)], START + SECOND).is_ok());
    assert_eq!(wait_of(&take(&limiter, &[requests(60)], START + SECOND)), Some(1));
    assert!((0..60).all(|_| take(&limiter, &[requests(60)], START + 120 * SECOND).is_ok()));
}

#[test]
fn whatever_the_limit_is_it_lets_exactly_that_many_pass() {
    for limit in (1..1000).step_by(7) {
        let limiter = limiter();
        let passed = (0..=limit).filter(|_| take(&limiter, &[requests(limit)], START).is_ok()).count();
        assert_eq!(Ok(passed), usize::try_from(limit));
    }
}

#[test]
fn all_claims_are_granted_or_none_is() {
    let limiter = limiter();
    let both = [requests(60), tokens(100, 60), places(9)];
    let first = take(&limiter, &both, START).map(|grant| grant.left.clone());
    assert_eq!(first.map(|left| [left[0].amount, left[1].amount]), Ok([59, 40]));
    let Err(Denied::Limited { claim, wait }) = take(&limiter, &both, START) else { panic!("it was granted") };
    assert_eq!((claim.measure, wait), (Measure::Tokens, Duration::from_secs(12)));
    let left = take(&limiter, &[requests(60), places(9)], START).map(|grant| grant.left.clone());
    assert_eq!(left.map(|left| [left[0].amount, left[1].amount]), Ok([58, 8]), "nothing is left taken");
}

#[test]
fn places_are_free_again_when_their_requests_are_over() {
    let limiter = limiter();
    let held: Vec<_> = (0..2).filter_map(|_| take(&limiter, &[places(2)], START).ok()).collect();
    assert_eq!(held.len(), 2);
    assert_eq!(wait_of(&take(&limiter, &[places(2)], START)), Some(1));
    drop(held);
    assert!(take(&limiter, &[places(2)], START).is_ok());
}

#[test]
fn tokens_are_settled_by_what_they_were() {
    let left_after = |claimed, used| {
        let limiter = limiter();
        let grant =
            take(&limiter, &[tokens(600, claimed)], START).unwrap_or_else(|denied| panic!("{denied:?}"));
        Grant::settle_all(std::slice::from_ref(&grant), Outlay { tokens: used, cost: None });
        drop(grant);
        take(&limiter, &[tokens(600, 0)], START).map(|grant| grant.left[0].amount).map_err(|_| ())
    };
    assert_eq!(left_after(100, Some(40)), Ok(560), "what was too much is given back");
    assert_eq!(left_after(100, Some(250)), Ok(350), "what was too little is charged");
    assert_eq!(left_after(100, None), Ok(500), "nobody can tell: it stays as it was");
    assert_eq!(left_after(100, Some(0)), Ok(600));
    assert_eq!(left_after(100, Some(1200)), Err(()), "more than there is: nothing for a while");
}

#[test]
fn a_request_larger_than_the_limit_has_its_turn_when_nothing_else_was_used() {
    let limiter = limiter();
    assert!(take(&limiter, &[tokens(100, 5000)], START).is_ok());
    assert_eq!(wait_of(&take(&limiter, &[tokens(100, 5000)], START)), Some(60));
    assert!(take(&limiter, &[tokens(100, 5000)], START + 60 * SECOND).is_ok());
}

#[test]
fn a_thousand_at_once_get_no_more_than_the_limit() {
    for claim in [requests(100), places(100), tokens(1000, 10)] {
        let limiter = limiter();
        let granted = thread::scope(|scope| {
            let tries: Vec<_> = (0..10)
                .map(|_| {
                    scope.spawn(|| {
                        let one = || take(&limiter, std::slice::from_ref(&claim), START).ok();
                        (0..100).filter_map(|_| one()).collect::<Vec<_>>()
                    })
                })
                .collect();
            let held: Vec<_> = tries.into_iter().map(|tries| tries.join().unwrap()).collect();
            held.iter().map(Vec::len).sum::<usize>()
        });
        // A claim that is undone can make another wait in vain, so there may be fewer; with one claim there are not.
        assert_eq!(granted, 100, "{claim:?}");
    }
}

#[test]
fn addresses_are_counted_as_networks_where_everybody_has_one() {
    let counted = |address: &str| Subject::address(address.parse().unwrap());
    assert_eq!(counted("2001:db8::1"), counted("2001:db8::ffff:1"));
    assert_ne!(counted("2001:db8::1"), counted("2001:db8:0:1::1"));
    assert_ne!(counted("192.0.2.1"), counted("192.0.2.2"));
}

#[test]
fn any_number_of_addresses_takes_bounded_memory_and_is_still_limited() {
    let memory = Memory::default();
    let one = |n: u32| {
        let subject = Subject::Address(Ipv6Addr::from_bits(u128::from(n) << 64).into());
        memory.take(&[Claim::new(subject, Measure::Requests, 1, 1)], START)
    };
    let passed = (0..100_000).filter(|n| one(*n).is_ok()).count();
    assert!((60_000..=16 * 4096 + 1).contains(&passed), "{passed}");
    assert!(one(200_000).is_err(), "those that are not kept apart share one allowance");
}

#[test]
fn what_nothing_is_used_of_is_forgotten_for_others() {
    let memory = Memory::default();
    let one = |n: u32, now| {
        let subject = Subject::Address(Ipv6Addr::from_bits(u128::from(n) << 64).into());
        memory.take(&[Claim::new(subject, Measure::Requests, 1, 1)], now)
    };
    for n in 0..100_000 {
        let _ = one(n, START);
    }
    assert!((100_000..110_000).all(|n| one(n, START + 60 * SECOND).is_ok()));
}

const MIDNIGHT: i64 = START + 3600 * SECOND;

fn budget(unit: Unit, limit: u64, amount: u64, until: i64) -> Claim {
    Claim::new(
        Subject::Everybody,
        Measure::Spent(Spending { budget: "b".into(), unit, until }),
        limit,
        amount,
    )
}

#[test]
fn a_budget_is_overdrawn_by_one_request_at_most_whatever_requests_claim() {
    for claimed in [0, 1, 7, 10, 99, 100, 1000] {
        let limiter = limiter();
        let claim = budget(Unit::Tokens, 100, claimed, MIDNIGHT);
        let mut granted = 0_u64;
        while let Ok(grant) = take(&limiter, std::slice::from_ref(&claim), START) {
            // Each uses ten.
            Grant::settle_all(&[grant], Outlay { tokens: Some(10), cost: Some(999) });
            granted += 1;
            assert!(granted <= 100, "it never ends");
        }
        assert_eq!(granted, 10, "{claimed} claimed");
        assert_eq!(wait_of(&take(&limiter, &[claim], START)), Some(3600), "until midnight");
    }
}

#[test]
fn money_and_tokens_are_settled_apart_and_a_new_period_begins_with_nothing() {
    let limiter = limiter();
    let both = |until| [budget(Unit::Tokens, 100, 50, until), budget(Unit::Cost, 100, 50, until)];
    let left = |claims: &[Claim], now| {
        take(&limiter, claims, now)
            .map(|grant| {
                let left: Vec<_> = grant.left.iter().map(|left| left.amount).collect();
                Grant::settle_all(&[grant], Outlay { tokens: Some(30), cost: Some(60) });
                left
            })
            .map_err(|denied| denied.limited_by())
    };
    assert_eq!(left(&both(MIDNIGHT), START), Ok(vec![50, 50]));
    assert_eq!(left(&both(MIDNIGHT), START), Ok(vec![20, 0]), "30 tokens and 60 of money were used");
    assert_eq!(left(&both(MIDNIGHT), START), Err(Some("budget b".into())), "120 of 100: overdrawn once");
    assert_eq!(left(&both(MIDNIGHT)[..1], START), Ok(vec![0]), "of tokens nothing was taken by the refusal");
    assert_eq!(left(&both(MIDNIGHT + 86400 * SECOND), MIDNIGHT), Ok(vec![50, 50]));
}

#[test]
fn of_a_thousand_at_once_as_many_pass_as_the_budget_has_room_for_and_one_more_at_most() {
    for (limit, amount) in [(1000, 10), (1005, 10), (1, 10), (1000, 1)] {
        let limiter = limiter();
        let claim = budget(Unit::Cost, limit, amount, MIDNIGHT);
        let granted: u64 = thread::scope(|scope| {
            let some = || {
                let one = |_| u64::from(take(&limiter, std::slice::from_ref(&claim), START).is_ok());
                (0..150).map(one).sum::<u64>()
            };
            let tries: Vec<_> = (0..10).map(|_| scope.spawn(some)).collect();
            tries.into_iter().map(|tries| tries.join().unwrap()).sum()
        });
        // A claim that is larger than the budget is as large as the budget.
        assert_eq!(granted, limit.div_ceil(amount.min(limit)), "{limit} by {amount}");
    }
}

/// What a thousand requests use in the end, all open at once: each claims ten at a time and would use a hundred. A few at a
/// time ask, so that none waits in vain for a server that is busy with the others.
async fn used_by_a_thousand(limiter: &Arc<Limiter>, claim: &Claim) -> u64 {
    let (all_are_open, turns) = (Arc::new(Barrier::new(1000)), Arc::new(Semaphore::new(16)));
    let mut requests = JoinSet::new();
    for number in 0..1000 {
        let (limiter, claim) = (Arc::clone(limiter), claim.clone());
        let (all_are_open, turns) = (Arc::clone(&all_are_open), Arc::clone(&turns));
        requests.spawn(async move {
            let take = async |part| {
                let _turn = turns.acquire().await;
                let claims = vec![claim.clone()];
                limiter.take(claims, OnCountingFailure::Refuse, number << 8 | part, START).await.ok()
            };
            let mut grants = Vec::from_iter(take(0).await);
            all_are_open.wait().await;
            let mut used = 0;
            while used < 10 * grants.len() as u64 && used < 100 {
                used += 10;
                grants.extend(take(used).await);
            }
            Grant::settle_all(&grants, Outlay { tokens: Some(used), cost: None });
            used
        });
    }
    requests.join_all().await.into_iter().sum()
}

/// How much is charged of what a claim is on.
async fn charged(limiter: &Arc<Limiter>, Claim { subject, measure, .. }: &Claim) -> u64 {
    const ALL: u64 = 1 << 50;
    let looking = Claim::new(subject.clone(), measure.clone(), ALL, 0);
    let looked = limiter.take(vec![looking], OnCountingFailure::Refuse, 0, START).await;
    ALL - looked.unwrap_or_else(|denied| panic!("{denied:?}")).left[0].amount
}

/// GW-H1, where a thousand are open at once and use far more than they claim at first.
pub(super) async fn a_thousand_overdraw_by_one_claim_at_most(limiter: &Arc<Limiter>) {
    for limit in [1, 9995, 20_000, 200_000] {
        let spending =
            Spending { budget: format!("b{:x}", rand()).into(), unit: Unit::Tokens, until: MIDNIGHT };
        let claim = Claim::new(Subject::Everybody, Measure::Spent(spending), limit, 10);
        let used = used_by_a_thousand(limiter, &claim).await;
        assert!(used <= (limit + 9).min(100_000), "{used} of {limit}");
        assert!(used >= limit.min(100_000) / 2, "{used} of {limit}: it is used");
        for attempt in 0.. {
            let charged = charged(limiter, &claim).await;
            if charged == used {
                break;
            }
            assert!(attempt < 10_000, "{charged} are charged for {used} of {limit}");
            tokio::task::yield_now().await;
        }
    }
}

fn rand() -> u64 {
    kt_domain::random::Random::from_os().next_u64()
}

#[tokio::test]
async fn a_thousand_open_at_once_that_use_more_than_they_claimed_overdraw_by_one_claim_at_most() {
    a_thousand_overdraw_by_one_claim_at_most(&limiter()).await;
}

#[test]
fn what_was_claimed_in_several_grants_is_charged_once() {
    for used in [0, 15, 25, 40, 90] {
        let limiter = limiter();
        let claims = [20, 10, 10].map(|amount| budget(Unit::Tokens, 1000, amount, MIDNIGHT));
        let granted = |claim| take(&limiter, std::slice::from_ref(claim), START);
        let grants: Vec<Grant> = claims.iter().filter_map(|claim| granted(claim).ok()).collect();
        let spent = || limiter.memory.spent(START).iter().map(|(_, _, spent)| *spent).sum::<i64>();
        assert_eq!((grants.len(), spent()), (3, 40));
        Grant::settle_all(&grants, Outlay { tokens: None, cost: Some(1) });
        assert_eq!(spent(), 40, "nobody can tell: it stays as it was");
        Grant::settle_all(&grants, Outlay { tokens: Some(used), cost: None });
        assert_eq!(spent(), signed(used));
    }
}

#[test]
fn a_flood_of_addresses_costs_nobody_their_budget() {
    let memory = Memory::default();
    let claim = budget(Unit::Tokens, 10, 10, MIDNIGHT);
    for n in 0..100_000_u32 {
        let subject = Subject::Address(Ipv6Addr::from_bits(u128::from(n) << 64).into());
        let _ = memory.take(&[Claim::new(subject, Measure::Requests, 1, 1)], START);
    }
    assert!(memory.take(std::slice::from_ref(&claim), START).is_ok(), "it is not counted with others");
    for n in 0..100_000_u32 {
        let subject = Subject::Address(Ipv6Addr::from_bits(u128::from(n) << 63).into());
        let _ = memory.take(&[Claim::new(subject, Measure::Requests, 1, 1)], START + 61 * SECOND);
    }
    assert!(memory.take(&[claim], START + 61 * SECOND).is_err(), "and not forgotten for others");
}

#[test]
fn any_number_of_tokens_can_be_told_and_none_gives_anything_back() {
    let limiter = limiter();
    let claims = [tokens(100, 1), budget(Unit::Tokens, 100, 1, MIDNIGHT)];
    let both = [take(&limiter, &claims, START), take(&limiter, &claims, START)].map(Result::unwrap);
    for told in [u64::MAX, i64::MAX as u64] {
        Grant::settle_all(&both, Outlay { tokens: Some(told), cost: None });
    }
    let spent = limiter.memory.spent(START);
    assert_eq!(spent.iter().map(|(_, _, spent)| *spent).collect::<Vec<_>>(), [i64::MAX]);
    assert_eq!(wait_of(&take(&limiter, &claims[1..], START)), Some(3600), "until midnight");
    assert!(wait_of(&take(&limiter, &claims[..1], START)).is_some(), "of the rate nothing is left either");
    let next_week = START + 7 * 24 * 3600 * SECOND;
    assert!(take(&limiter, &claims[..1], next_week).is_ok(), "though not for good");
}
