//! Counting together with other gateways, in Redis or Valkey.
//!
//! One script looks at all claims of a request and takes all of them or none, so that nobody counts in between; it goes by
//! the server's clock, so that the gateways' own need not agree. A request under way is an entry that ends by itself
//! unless it is renewed: what a gateway that died held is free again after a minute.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, RedisError, Script, ScriptInvocation};
use tokio::sync::oneshot;

use super::{
    Claim, Denied, Left, MINUTE_MICROS, Measure, left_of_budget, left_of_rate, micros, share, signed,
};

/// How long a request waits for the server, to connect and again to be answered.
const PATIENCE: Duration = Duration::from_millis(250);
/// For how long a server that did not answer is left alone.
const PAUSE: Duration = Duration::from_secs(1);
/// For how long a request under way counts unless it is renewed, in microseconds.
const LEASE: i64 = 60_000_000;

/// How long what was spent of a budget is known beyond the budget's period, in milliseconds: gateways' clocks may differ.
const AFTERWARDS: i64 = 3_600_000;

/// `ARGV`: the request's name, the lease, and for each key of which kind it is, its limit (`rate`: a minute in
/// microseconds), what the claim takes of it, and for how many milliseconds it is kept (`budget`). Answers 0 and for each
/// key how it stands, or the place of the key that refuses (from 1) and by how much too much it would be.
const TAKE: &str = "
    local t = redis.call('TIME')
    local now = t[1] * 1000000 + t[2]
    local after = {}
    for i, key in ipairs(KEYS) do
        local kind, limit, cost = ARGV[4 * i - 1], tonumber(ARGV[4 * i]), tonumber(ARGV[4 * i + 1])
        if kind == 'rate' then
            after[i] = math.max(tonumber(redis.call('GET', key) or now), now) + cost
            if after[i] - now > limit then return {i, after[i] - now - limit} end
        elseif kind == 'budget' then
            local spent = tonumber(redis.call('GET', key) or 0)
            if spent >= limit then return {i, 0} end
            after[i] = spent + cost
        else
            redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
            after[i] = redis.call('ZCARD', key) + cost
            if after[i] > limit then return {i, 0} end
        end
    end
    local answer = {0}
    for i, key in ipairs(KEYS) do
        local kind = ARGV[4 * i - 1]
        if kind == 'rate' then
            redis.call('SET', key, string.format('%.0f', after[i]), 'PX', math.ceil((after[i] - now) / 1000) + 1)
            answer[i + 1] = after[i] - now
        elseif kind == 'budget' then
            redis.call('SET', key, string.format('%.0f', after[i]), 'PX', ARGV[4 * i + 2])
            answer[i + 1] = after[i]
        else
            redis.call('ZADD', key, now + ARGV[2], ARGV[1])
            redis.call('PEXPIRE', key, math.ceil(ARGV[2] / 1000))
            answer[i + 1] = after[i]
        end
    end
    return answer
";

/// Moves a rate by so many microseconds.
const ADD: &str = "
    local t = redis.call('TIME')
    local now = t[1] * 1000000 + t[2]
    local after = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + ARGV[1]
    if after > now then
        redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1)
    else
        redis.call('DEL', KEYS[1])
    end
";

/// Adds to what is spent of a budget, unless its period is over.
const SPEND: &str = "
    if redis.call('EXISTS', KEYS[1]) == 1 then
        redis.call('INCRBY', KEYS[1], ARGV[1])
    end
";

/// Lets a request that is under way count for another lease.
const RENEW: &str = "
    local t = redis.call('TIME')
    for i, key in ipairs(KEYS) do
        redis.call('ZADD', key, 'XX', t[1] * 1000000 + t[2] + ARGV[2], ARGV[1])
        redis.call('PEXPIRE', key, math.ceil(ARGV[2] / 1000))
    end
";

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
    add: Script,
    spend: Script,
    renew: Script,
    outage: Outage,
    /// The keys in which each request under way counts.
    under_way: Mutex<HashMap<u64, Vec<String>>>,
}

impl Shared {
    /// Counts at this address, `redis://…` or `rediss://…`; a connection is made at the first use.
    pub(crate) fn new(url: &str) -> Result<Self, BadUrl> {
        Ok(Self(Arc::new(Inner {
            client: Client::open(url)?,
            connection: OnceLock::new(),
            take: Script::new(TAKE),
            add: Script::new(ADD),
            spend: Script::new(SPEND),
            renew: Script::new(RENEW),
            outage: Outage::default(),
            under_way: Mutex::default(),
        })))
    }

    /// Takes all claims or none; `None` while the server is away. Each outage is told once.
    pub(super) async fn take(
        &self,
        claims: &[Claim],
        name: u64,
        now: i64,
    ) -> Option<Result<Vec<Left>, Denied>> {
        let inner = &self.0;
        if !inner.outage.may_ask(Instant::now()) {
            return None;
        }
        match self.ask_to_the_end(claims, name, now).await {
            Ok(answer) => {
                if inner.outage.ends() {
                    tracing::info!("Redis answers again: limits are counted together again");
                }
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
    async fn ask_to_the_end(&self, claims: &[Claim], name: u64, now: i64) -> Result<Vec<i64>, RedisError> {
        let (answered, answer) = oneshot::channel();
        let (shared, claims) = (self.clone(), claims.to_vec());
        tokio::spawn(async move {
            let asked = shared.0.ask(&claims, name, now).await;
            let granted = asked.map(|answer| Unheard { shared, claims, name, answer: Some(answer) });
            // Should nobody wait any more, it is dropped, and so given back.
            let _ = answered.send(granted);
        });
        match answer.await {
            Ok(granted) => granted.map(|mut granted| granted.answer.take().unwrap_or_default()),
            Err(_) => Err(RedisError::from((ErrorKind::Io, "the gateway stops"))),
        }
    }

    /// Gives back what was granted to a request that has not begun.
    fn undo(&self, claims: &[Claim], name: u64) {
        let (held, counted): (Vec<&Claim>, Vec<&Claim>) =
            claims.iter().partition(|claim| claim.measure == Measure::Concurrent);
        for claim in counted {
            self.add(claim, -signed(claim.amount));
        }
        if !held.is_empty() {
            self.give_back(&held, name);
        }
    }

    /// Counts so much more of a rate or budget that was claimed; less, if it is negative. Nobody waits for it.
    pub(super) fn add(&self, claim: &Claim, more: i64) {
        let is_budget = matches!(claim.measure, Measure::Spent(_));
        let more = if is_budget { more } else { share(claim.limit, more) };
        let key = key(claim);
        self.later(move |inner| async move {
            let script = if is_budget { &inner.spend } else { &inner.add };
            let mut invocation = script.prepare_invoke();
            invocation.key(key).arg(more);
            inner.invoke(&invocation).await
        });
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

    /// Lets the requests under way count for another while.
    pub(super) async fn renew(&self) {
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
        invocation.invoke_async(&mut self.connection()?).await
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

/// Where a limit is counted. What stands in braces decides on which node of a cluster: a script's keys must all be on
/// one.
fn key(claim: &Claim) -> String {
    format!("keeptrusts:{{gateway}}:{}:{}", claim.subject, claim.measure)
}

/// Whether the server is away, and when it is asked again.
#[derive(Default)]
struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// Whether the server may be asked at this moment. During an outage one request in each pause tries it.
    fn may_ask(&self, now: Instant) -> bool {
        let mut again = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *again {
            Some(at) if now < at => false,
            Some(_) => {
                *again = Some(now + PAUSE);
                true
            }
            None => true,
        }
    }

    /// Notes that the server did not answer. Whether that is news.
    fn goes_on(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(now + PAUSE).is_none()
    }

    /// Notes that the server answered. Whether that is news.
    fn ends(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Subject;

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
        died.renew().await;
        assert!(!takes(&other, &claims, 2).await, "it lives");
        end_now(&died, &claims).await;
        assert!(takes(&other, &claims, 2).await, "nobody renewed it");
    }

    #[test]
    fn an_outage_is_news_once_and_one_request_tries_in_each_pause() {
        let (outage, began) = (Outage::default(), Instant::now());
        assert!(outage.may_ask(began) && outage.goes_on(began) && !outage.goes_on(began));
        assert!(!outage.may_ask(began + PAUSE / 2));
        assert!(outage.may_ask(began + PAUSE) && !outage.may_ask(began + PAUSE));
        assert!(outage.ends() && !outage.ends());
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
