//! Counting together with other gateways, in Redis or Valkey.
//!
//! One script looks at all claims of a request and takes all of them or none, so that nobody counts in between; it goes by
//! the server's clock, so that the gateways' own need not agree. A request under way is an entry that ends by itself
//! unless it is renewed ([`places`]): what a gateway that died held is free again after a minute. Rates are unused again by
//! themselves too. What is claimed of a budget is not, so the server is told of it until it confirms ([`debts`]).

mod debts;
mod outage;
mod places;
mod scripts;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, RedisError, Script, ScriptInvocation};
use tokio::sync::oneshot;

use self::debts::{Debts, Settlement, Spent};
use self::outage::{Outage, Turn};
pub(crate) use self::places::KnownRecord;
use self::places::Places;
use super::{
    Claim, Denied, Left, MINUTE_MICROS, Measure, left_of_budget, left_of_rate, micros, share, signed,
};

/// How long a request waits for the server, to connect and again to be answered.
const PATIENCE: Duration = Duration::from_millis(250);
/// For how long a request under way counts unless it is renewed, in microseconds.
const LEASE: i64 = 60_000_000;
/// How much of the time in which the server hears of no request under way counts for that, in microseconds: more than lies
/// between two renewals, so that time counts while somebody renews; and little, so that nothing ends while nobody can.
const LONGEST_GAP: i64 = 15_000_000;
/// How long the gateways have for telling a server that has lost it what is under way, in microseconds. They notice within
/// a second or two.
const GRACE: i64 = 5_000_000;
/// Where the server has its record of places.
const RECORD: &str = "keeptrusts:{gateway}:places";

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
    tell: Script,
    outage: Outage,
    debts: Debts,
    /// Whether the server is being told what it is owed.
    is_paying: AtomicBool,
    places: Places,
}

impl Shared {
    /// Counts at this address, `redis://…` or `rediss://…`; a connection is made at the first use. `known` is the same for
    /// all workers of a process.
    pub(crate) fn new(url: &str, known: &KnownRecord) -> Result<Self, BadUrl> {
        Ok(Self(Arc::new(Inner {
            client: Client::open(url)?,
            connection: OnceLock::new(),
            take: Script::new(scripts::TAKE),
            settle: Script::new(scripts::SETTLE),
            spend: Script::new(scripts::SPEND),
            add: Script::new(scripts::ADD),
            tell: Script::new(scripts::TELL),
            outage: Outage::default(),
            debts: Debts::default(),
            is_paying: AtomicBool::new(false),
            places: Places::new(known),
        })))
    }

    /// Takes all claims or none; `None` while the server is away, or does not know what is under way. Each outage is told once.
    /// What was spent during one, and what is under way, is told the server before anything is claimed again.
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
                    inner.places.begin(name, keys_of_places(claims), true);
                }
                Some(granted)
            }
            Err(error) => {
                inner.places.lose_sight();
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
            self.0.keep_places().await?;
        }
        let mut asked = self.0.ask(claims, name, now).await;
        if is_unsure(&asked) {
            self.0.tell_places().await?;
            asked = self.0.ask(claims, name, now).await;
        }
        if is_unsure(&asked) {
            return Err(RedisError::from((ErrorKind::Io, "it may not know all that is under way")));
        }
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
        let keys = keys_of_places(claims);
        if !keys.is_empty() {
            self.0.places.end(name);
            self.later(|inner| async move { inner.remove(&[(name, keys)]).await });
        }
    }

    /// Gives back all that was granted to a request that has not begun.
    pub(super) fn take_back(&self, claims: &[Claim], name: u64) {
        let is_rate = |claim: &&Claim| matches!(claim.measure, Measure::Requests | Measure::Tokens);
        for claim in claims.iter().filter(is_rate) {
            self.add(claim, -signed(claim.amount));
        }
        self.undo(claims, name);
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

    /// Notes what claims hold that were granted while the server was away.
    pub(super) fn hold(&self, claims: &[Claim], name: u64) {
        self.0.places.begin(name, keys_of_places(claims), false);
    }

    /// Ends what a request held while it was under way. Nobody waits for it.
    pub(super) fn give_back(&self, name: u64) {
        let Some(ended) = self.0.places.end(name) else { return };
        self.later(|inner| async move {
            let told = inner.remove(std::slice::from_ref(&ended)).await;
            if told.is_err() {
                inner.places.owe_end(ended);
            }
            told
        });
    }

    /// Lets the requests under way count for another while, and tells the server what it is owed.
    pub(super) async fn renew(&self, now: i64) {
        if self.0.pay(now).await.is_err() || self.0.renew_places().await.is_err() {
            // The next request finds out whether the server is away.
            self.0.places.lose_sight();
        }
    }

    /// Tells the server what is under way, if it may have lost it.
    pub(super) async fn keep_places(&self) {
        if self.0.keep_places().await.is_err() {
            self.0.places.lose_sight();
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
            self.shared.take_back(&self.claims, self.name);
        }
    }
}

impl Inner {
    async fn ask(&self, claims: &[Claim], name: u64, now: i64) -> Result<Vec<i64>, RedisError> {
        let mut invocation = self.take.prepare_invoke();
        for claim in claims {
            invocation.key(key(claim));
        }
        invocation.key(RECORD);
        if claims.iter().any(Claim::is_of_budget) {
            invocation.key(entry(name));
        }
        invocation.arg(name).arg(LEASE).arg(LONGEST_GAP).arg(self.places.record());
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

/// What it answers to claims on places in a record that it does not have, or that may not be whole yet.
const UNSURE: i64 = -2;

fn is_unsure(asked: &Result<Vec<i64>, RedisError>) -> bool {
    asked.as_ref().is_ok_and(|answer| answer.first() == Some(&UNSURE))
}

fn keys_of_places(claims: &[Claim]) -> Vec<String> {
    claims.iter().filter(|claim| claim.measure == Measure::Concurrent).map(key).collect()
}

/// Where a limit is counted. What stands in braces decides on which node of a cluster: a script's keys must all be on
/// one.
fn key(claim: &Claim) -> String {
    format!("keeptrusts:{{gateway}}:{}:{}", claim.subject, claim.measure)
}

/// Where it stands what one request has claimed of budgets, or that something was done.
fn entry(name: u64) -> String {
    format!("keeptrusts:{{gateway}}:once:{name:016x}")
}
