//! Counting together with other gateways, in Redis or Valkey.
//!
//! One script looks at all claims of a request and takes all of them or none, so that nobody counts in between; it goes by
//! the server's clock, so that the gateways' own need not agree. A request under way is an entry that ends by itself
//! unless it is renewed: what a gateway that died held is free again after a minute. Rates are unused again by themselves
//! too. What is claimed of a budget is not, so the server is told of it until it confirms ([`debts`]).

mod debts;
mod outage;
mod scripts;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, RedisError, Script, ScriptInvocation};
use tokio::sync::oneshot;

use self::debts::{Debts, Settlement, Spent};
use self::outage::{Outage, Turn};
use super::{
    Claim, Denied, Left, MINUTE_MICROS, Measure, left_of_budget, left_of_rate, micros, share, signed,
};

/// How long a request waits for the server, to connect and again to be answered.
const PATIENCE: Duration = Duration::from_millis(250);
/// For how long a request under way counts unless it is renewed, in microseconds.
const LEASE: i64 = 60_000_000;

/// How long what was spent of a budget is known beyond the budget's period, in milliseconds: gateways' clocks may differ.
const AFTERWARDS: i64 = 3_600_000;
/// For how long a request that was taken back may not claim any more, in milliseconds: its claim may still be on its way.
const LATECOMERS: i64 = 60_000;

/// The address of the server is none.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct BadUrl(#[from] RedisError);

/// The server, as one worker knows it.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inner>);

struct Inner {
    client: Client,
    /// Made at the first use, which is within the worker's event loop.
    connection: OnceLock<Result<ConnectionManager, RedisError>>,
    take: Script,
    settle: Script,
    spend: Script,
    add: Script,
    renew: Script,
    outage: Outage,
    debts: Debts,
    /// Whether the server is being told what it is owed.
    is_paying: AtomicBool,
    /// The keys in which each request under way counts.
    under_way: Mutex<HashMap<u64, Vec<String>>>,
}

impl Shared {
    /// Counts at this address, `redis://…` or `rediss://…`; a connection is made at the first use.
    pub(crate) fn new(url: &str) -> Result<Self, BadUrl> {
        Ok(Self(Arc::new(Inner {
            client: Client::open(url)?,
            connection: OnceLock::new(),
            take: Script::new(scripts::TAKE),
            settle: Script::new(scripts::SETTLE),
            spend: Script::new(scripts::SPEND),
            add: Script::new(scripts::ADD),
            renew: Script::new(scripts::RENEW),
            outage: Outage::default(),
            debts: Debts::default(),
            is_paying: AtomicBool::new(false),
            under_way: Mutex::default(),
        })))
    }

    /// Takes all claims or none; `None` while the server is away. Each outage is told once. What was spent during one is
    /// told the server before anything is claimed again.
    pub(super) async fn take(
        &self,
        claims: &[Claim],
        name: u64,
        now: i64,
    ) -> Option<Result<Vec<Left>, Denied>> {
        let inner = &self.0;
        let turn = inner.outage.turn(Instant::now());
        if turn == Turn::Wait {
            return None;
        }
        match self.ask_to_the_end(claims, name, now, turn).await {
            Ok(answer) => {
                if inner.outage.ends() {
                    tracing::info!("Redis answers again: limits are counted together again");
                }
                self.pay_soon(now);
                let granted = read_answer(claims, &answer, now);
                if granted.is_ok() {
                    inner.remember(claims, name);
                }
                Some(granted)
            }
            Err(error) => {
                if inner.outage.goes_on(Instant::now()) {
                    tracing::warn!(
                        %error,
                        "Redis does not count; see `rate_limits.on_failure` for what happens to requests meanwhile"
                    );
                }
                None
            }
        }
    }

    /// Asks for the claims, to the end: whoever waits for the answer may go away meanwhile, as its client does.
    async fn ask_to_the_end(
        &self,
        claims: &[Claim],
        name: u64,
        now: i64,
        turn: Turn,
    ) -> Result<Vec<i64>, RedisError> {
        let (answered, answer) = oneshot::channel();
        let (shared, claims) = (self.clone(), claims.to_vec());
        tokio::spawn(async move {
            let asked = shared.ask(&claims, name, now, turn).await;
            let granted = asked.map(|answer| Unheard { shared, claims, name, answer: Some(answer) });
            // Should nobody wait any more, it is dropped, and so given back.
            let _ = answered.send(granted);
        });
        match answer.await {
            Ok(granted) => granted.map(|mut granted| granted.answer.take().unwrap_or_default()),
            Err(_) => Err(RedisError::from((ErrorKind::Io, "the gateway stops"))),
        }
    }

    /// Asks for the claims. Where no answer comes, the server may have granted them, or may still: they are taken back.
    async fn ask(&self, claims: &[Claim], name: u64, now: i64, turn: Turn) -> Result<Vec<i64>, RedisError> {
        if turn == Turn::Try {
            self.0.tell_what_was_spent(now).await?;
        }
        let asked = self.0.ask(claims, name, now).await;
        if let Err(error) = &asked
            && !error.is_connection_refusal()
        {
            self.undo(claims, name);
        }
        asked
    }

    /// Gives back what a request claimed that has not begun, but for rates, which are unused again by themselves.
    fn undo(&self, claims: &[Claim], name: u64) {
        let budgets = claims.iter().filter(|claim| claim.is_of_budget());
        let used: Vec<_> = budgets.map(|claim| (key(claim), 0)).collect();
        if !used.is_empty() {
            self.tell(Settlement { name, used, may_come_first: true });
        }
        let held: Vec<_> = claims.iter().filter(|claim| claim.measure == Measure::Concurrent).collect();
        if !held.is_empty() {
            self.give_back(&held, name);
        }
    }

    /// Puts what a request used of budgets in the place of what it claimed of them, sooner or later. Nobody waits for it.
    pub(super) fn settle(&self, name: u64, used: &[(&Claim, u64)]) {
        let used = used.iter().map(|(claim, used)| (key(claim), *used)).collect();
        self.tell(Settlement { name, used, may_come_first: false });
    }

    /// Notes that so much more of a budget was spent while the server was away; less, if it is negative.
    pub(super) fn owe(&self, claim: &Claim, more: i64) {
        if let Measure::Spent(spending) = &claim.measure {
            self.0.debts.spend(key(claim), spending.until, more);
        }
    }

    /// Moves a rate by so much more than was claimed; less, if it is negative. Nobody waits for it.
    pub(super) fn add(&self, claim: &Claim, more: i64) {
        let (key, more) = (key(claim), share(claim.limit, more));
        self.later(move |inner| async move {
            let mut invocation = inner.add.prepare_invoke();
            invocation.key(key).arg(more);
            inner.invoke(&invocation).await
        });
    }

    /// Tells the server of a settlement, again and again until it is confirmed.
    fn tell(&self, settlement: Settlement) {
        let (inner, settlement) = (Arc::clone(&self.0), Arc::new(settlement));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return inner.debts.settle(settlement);
        };
        runtime.spawn(async move {
            if inner.tell_settlement(&settlement).await.is_err() {
                inner.debts.settle(settlement);
            }
        });
    }

    /// Begins to tell the server what it is owed, if anything is.
    fn pay_soon(&self, now: i64) {
        if !self.0.debts.are_none() {
            let inner = Arc::clone(&self.0);
            // Whether it is away after all is found out by the next request.
            tokio::spawn(async move { inner.pay(now).await.ok() });
        }
    }

    /// Ends what claims held while their request was under way. Nobody waits for it.
    pub(super) fn give_back(&self, held: &[&Claim], name: u64) {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        let keys: Vec<String> = held.iter().map(|claim| key(claim)).collect();
        self.later(|inner| async move {
            let mut pipeline = redis::pipe();
            for key in keys {
                pipeline.zrem(key, name).ignore();
            }
            pipeline.exec_async(&mut inner.connection()?).await
        });
    }

    /// Lets the requests under way count for another while, and tells the server what it is owed.
    pub(super) async fn renew(&self, now: i64) {
        if self.0.pay(now).await.is_err() {
            return;
        }
        let under_way = self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, keys) in under_way {
            let mut invocation = self.0.renew.prepare_invoke();
            for key in keys {
                invocation.key(key);
            }
            invocation.arg(name).arg(LEASE);
            if self.0.invoke(&invocation).await.is_err() {
                // The next request finds out whether the server is away.
                return;
            }
        }
    }

    /// Does something without anybody waiting for it. Should it fail, the entry ends by itself.
    fn later<F>(&self, work: impl FnOnce(Arc<Inner>) -> F)
    where
        F: Future<Output = Result<(), RedisError>> + Send + 'static,
    {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let work = work(Arc::clone(&self.0));
            runtime.spawn(async move {
                if let Err(error) = work.await {
                    tracing::debug!(%error, "Redis did not take back a claim");
                }
            });
        }
    }
}

/// An answer to claims that nobody has heard yet. Dropped unheard, it gives back what was granted.
struct Unheard {
    shared: Shared,
    claims: Vec<Claim>,
    name: u64,
    answer: Option<Vec<i64>>,
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let is_granted = self.answer.as_ref().is_some_and(|answer| answer.first() == Some(&0));
        if is_granted {
            let is_rate = |claim: &&Claim| matches!(claim.measure, Measure::Requests | Measure::Tokens);
            for claim in self.claims.iter().filter(is_rate) {
                self.shared.add(claim, -signed(claim.amount));
            }
            self.shared.undo(&self.claims, self.name);
        }
    }
}

impl Inner {
    async fn ask(&self, claims: &[Claim], name: u64, now: i64) -> Result<Vec<i64>, RedisError> {
        let mut invocation = self.take.prepare_invoke();
        for claim in claims {
            invocation.key(key(claim));
        }
        if claims.iter().any(Claim::is_of_budget) {
            invocation.key(entry(name));
        }
        invocation.arg(name).arg(LEASE);
        for claim in claims {
            match &claim.measure {
                Measure::Concurrent => invocation.arg("places").arg(claim.limit).arg(claim.amount).arg(0),
                Measure::Requests | Measure::Tokens => {
                    let share = share(claim.limit, signed(claim.amount));
                    invocation.arg("rate").arg(MINUTE_MICROS).arg(share).arg(0)
                }
                Measure::Spent(spending) => {
                    let kept = (spending.until - now) / 1000 + AFTERWARDS;
                    invocation.arg("budget").arg(claim.limit).arg(claim.amount).arg(kept)
                }
            };
        }
        let answer: Vec<i64> = invocation.invoke_async(&mut self.connection()?).await?;
        if answer.first() == Some(&TAKEN_BACK) {
            return Err(RedisError::from((ErrorKind::Io, "the claim came too late")));
        }
        Ok(answer)
    }

    /// Tells the server everything that it is owed, as far as it answers. Whoever comes while that is under way need not.
    async fn pay(&self, now: i64) -> Result<(), RedisError> {
        if self.debts.are_none() || self.is_paying.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let paid = self.pay_all(now).await;
        self.is_paying.store(false, Ordering::Release);
        paid
    }

    async fn pay_all(&self, now: i64) -> Result<(), RedisError> {
        self.tell_what_was_spent(now).await?;
        while let Some(settlement) = self.debts.settlement() {
            self.tell_settlement(&settlement).await?;
            self.debts.forget_settlement(&settlement);
        }
        Ok(())
    }

    /// Tells what was spent while the server was away; fails if it still is.
    async fn tell_what_was_spent(&self, now: i64) -> Result<(), RedisError> {
        let mut connection = self.connection()?;
        redis::cmd("PING").exec_async(&mut connection).await?;
        while let Some(spent) = self.debts.spent(now) {
            self.tell_spent(&spent).await?;
            self.debts.forget_spent(&spent);
        }
        Ok(())
    }

    async fn tell_spent(&self, Spent { name, sums }: &Spent) -> Result<(), RedisError> {
        let mut invocation = self.spend.prepare_invoke();
        invocation.key(entry(*name)).arg(sums.iter().map(|sum| sum.kept).max().unwrap_or(AFTERWARDS));
        for sum in sums {
            invocation.key(&sum.key).arg(sum.amount).arg(sum.kept);
        }
        self.invoke(&invocation).await
    }

    async fn tell_settlement(&self, settlement: &Settlement) -> Result<(), RedisError> {
        let Settlement { name, used, may_come_first } = settlement;
        let mut invocation = self.settle.prepare_invoke();
        invocation.key(entry(*name)).arg(if *may_come_first { LATECOMERS } else { 0 });
        for (key, used) in used {
            invocation.key(key).arg(*used);
        }
        self.invoke(&invocation).await
    }

    async fn invoke(&self, invocation: &ScriptInvocation<'_>) -> Result<(), RedisError> {
        invocation.invoke_async(&mut self.connection()?).await
    }

    fn connection(&self) -> Result<ConnectionManager, RedisError> {
        let config = || {
            ConnectionManagerConfig::new()
                .set_connection_timeout(Some(PATIENCE))
                .set_response_timeout(Some(PATIENCE))
                // A request does not wait for a second try.
                .set_number_of_retries(0)
        };
        self.connection
            .get_or_init(|| ConnectionManager::new_lazy_with_config(self.client.clone(), config()))
            .clone()
    }

    fn remember(&self, claims: &[Claim], name: u64) {
        let places = claims.iter().filter(|claim| claim.measure == Measure::Concurrent);
        let keys: Vec<String> = places.map(key).collect();
        if !keys.is_empty() {
            self.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(name, keys);
        }
    }
}

fn read_answer(claims: &[Claim], answer: &[i64], now: i64) -> Result<Vec<Left>, Denied> {
    let (first, rest) = answer.split_first().unwrap_or((&0, &[]));
    let refusing = usize::try_from(*first).ok().and_then(|place| claims.get(place.checked_sub(1)?));
    if let Some(claim) = refusing {
        let wait = match &claim.measure {
            Measure::Concurrent => Duration::from_secs(1),
            Measure::Requests | Measure::Tokens => micros(rest.first().copied().unwrap_or_default()),
            Measure::Spent(spending) => micros(spending.until - now),
        };
        return Err(Denied::Limited { claim: claim.clone(), wait });
    }
    let left = |(claim, state): (&Claim, &i64)| match &claim.measure {
        Measure::Concurrent => {
            let under_way = u64::try_from(*state).unwrap_or(u64::MAX);
            Left { amount: claim.limit.saturating_sub(under_way), reset: Duration::ZERO }
        }
        Measure::Requests | Measure::Tokens => left_of_rate(claim.limit, *state),
        Measure::Spent(spending) => left_of_budget(claim.limit, *state, spending, now),
    };
    Ok(claims.iter().zip(rest).map(left).collect())
}

/// What the server answers to claims that were taken back before they came.
const TAKEN_BACK: i64 = -1;

/// Where a limit is counted. What stands in braces decides on which node of a cluster: a script's keys must all be on
/// one.
fn key(claim: &Claim) -> String {
    format!("keeptrusts:{{gateway}}:{}:{}", claim.subject, claim.measure)
}

/// Where it stands what one request has claimed of budgets, or that something was done.
fn entry(name: u64) -> String {
    format!("keeptrusts:{{gateway}}:once:{name:016x}")
}

#[cfg(test)]
mod tests {
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
        Shared::new(&url).unwrap()
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
}
