//! How much may be asked for, and counting it: in this process's memory ([`memory`]) or together with other gateways
//! ([`shared`]).
//!
//! A request claims what it is about to use before it uses it. All of its claims are granted or none is. What a grant
//! holds while the request is under way is given back when it ends, and tokens and money are settled by what they were.

mod answer;
mod kept;
mod memory;
mod shared;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use kt_domain::network::cidr::subscriber;
use kt_domain::policy_config::{OnCountingFailure, Rates};
use kt_domain::words;

pub(crate) use answer::no_place;
pub(crate) use kept::Kept;
use memory::Count;
pub(crate) use memory::Memory;
pub(crate) use shared::{KnownRecord, Shared};

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Everybody,
    Key(Arc<str>),
    Address(IpAddr),
    Group(Arc<str>),
    Route(Arc<str>),
    User(Arc<str>),
    /// An entry of the prices.
    Model(Arc<str>),
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Measure {
    /// In a minute.
    Requests,
    /// In a minute.
    Tokens,
    /// Requests under way.
    Concurrent,
    /// In one period of a budget.
    Spent(Spending),
}

/// One period of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spending {
    pub(crate) budget: Arc<str>,
    pub(crate) unit: Unit,
    /// When it is over, in microseconds.
    pub(crate) until: i64,
}

/// What a budget is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Unit {
    Tokens,
    /// Millionths of the currency.
    Cost,
}

/// What a request used in the end, each as far as it can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outlay {
    pub(crate) tokens: Option<u64>,
    /// Millionths of the currency.
    pub(crate) cost: Option<u64>,
}

/// What a request is about to use of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) subject: Subject,
    pub(crate) measure: Measure,
    pub(crate) limit: u64,
    /// How much of it; never more than `limit`, so that a request that is larger than a whole minute's worth has its
    /// turn once nothing else was used.
    amount: u64,
    /// How much it is about to use, also where that is more than the limit.
    meant: u64,
}

/// How a limit stands after a claim on it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// How much could be claimed at once now.
    pub(crate) amount: u64,
    /// When nothing of it will be used any more, if nothing else comes.
    pub(crate) reset: Duration,
}

/// Why a request may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// A limit is reached; after so long there may be room again.
    Limited { claim: Claim, wait: Duration },
    /// It cannot be told, since nobody can count.
    Unknown,
}

/// Grants claims, for one worker.
pub(crate) struct Limiter {
    memory: Arc<Memory>,
    /// Where other gateways count too.
    shared: Option<Shared>,
}

/// What a request was granted. Dropped, it gives back what it held while it was under way.
pub(crate) struct Grant {
    limiter: Arc<Limiter>,
    claims: Vec<Claim>,
    left: Vec<Left>,
    /// Each claim's count in memory; none if they are not counted there.
    counts: Vec<Arc<Count>>,
    told: Told,
}

/// Whether other gateways know of what was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// There are none, or nothing is counted.
    Never,
    /// They do, under this name.
    As(u64),
    /// They will, once the server is back in which they count, and under this name.
    Later(u64),
}

impl Claim {
    pub(crate) fn new(subject: Subject, measure: Measure, limit: u64, amount: u64) -> Self {
        Self { subject, measure, limit, amount: amount.min(limit), meant: amount }
    }

    /// The claims of one request on the limits of one subject, tokens aside.
    pub(crate) fn of_request(subject: &Subject, rates: &Rates) -> impl Iterator<Item = Self> {
        let limits =
            [(Measure::Requests, rates.requests_per_minute), (Measure::Concurrent, rates.concurrent)];
        let claim =
            |(measure, limit): (_, Option<u32>)| Some(Self::new(subject.clone(), measure, limit?.into(), 1));
        limits.into_iter().filter_map(claim)
    }

    /// The claim of one request on the tokens of one subject.
    pub(crate) fn of_tokens(subject: Subject, rates: &Rates, tokens: u64) -> Option<Self> {
        Some(Self::new(subject, Measure::Tokens, rates.tokens_per_minute?.into(), tokens))
    }

    fn is_of_budget(&self) -> bool {
        matches!(self.measure, Measure::Spent(_))
    }
}

impl Subject {
    /// A source address, as it is counted.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::Address(subscriber(address))
    }
}

/// As it stands in keys and files. Identifiers are at the end, since they may hold anything.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => write!(f, "total"),
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Address(address) => write!(f, "address:{address}"),
            Self::Group(id) => write!(f, "group:{id}"),
            Self::Route(id) => write!(f, "route:{id}"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::Model(id) => write!(f, "model:{id}"),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests => write!(f, "requests"),
            Self::Tokens => write!(f, "tokens"),
            Self::Concurrent => write!(f, "concurrent"),
            Self::Spent(Spending { budget, unit, until }) => {
                write!(f, "budget:{}:{until}:{budget}", unit.as_str())
            }
        }
    }
}

words!(Unit { Tokens = "tokens", Cost = "cost" });

impl Limiter {
    pub(crate) fn new(memory: Arc<Memory>, shared: Option<Shared>) -> Self {
        Self { memory, shared }
    }

    /// Grants all claims at `now` (microseconds), or none. `name` tells this request from all others.
    pub(crate) async fn take(
        self: &Arc<Self>,
        claims: Vec<Claim>,
        on_failure: OnCountingFailure,
        name: u64,
        now: i64,
    ) -> Result<Grant, Denied> {
        if let Some(shared) = &self.shared {
            match (shared.take(&claims, name, now).await, on_failure) {
                (Some(granted), _) => {
                    let left = granted?;
                    // Should the server go away, this gateway goes on from what it let through itself.
                    let counts = match on_failure {
                        OnCountingFailure::Local => self.memory.note(&claims, now).inspect_err(|_| {
                            shared.take_back(&claims, name);
                        })?,
                        OnCountingFailure::Refuse | OnCountingFailure::Allow => Vec::new(),
                    };
                    return Ok(self.grant(claims, left, counts, Told::As(name)));
                }
                (None, OnCountingFailure::Refuse) => return Err(Denied::Unknown),
                (None, OnCountingFailure::Allow) => {
                    return Ok(self.grant(Vec::new(), Vec::new(), Vec::new(), Told::Never));
                }
                (None, OnCountingFailure::Local) => {}
            }
        }
        let (left, counts) = self.memory.take(&claims, now)?;
        let told = match &self.shared {
            None => Told::Never,
            Some(shared) => {
                for claim in &claims {
                    shared.owe(claim, signed(claim.amount));
                }
                shared.hold(&claims, name);
                Told::Later(name)
            }
        };
        Ok(self.grant(claims, left, counts, told))
    }

    /// Lets the other gateways know that the requests under way still are, and what they have not heard of. To be called
    /// every few seconds.
    pub(crate) async fn renew(&self, now: i64) {
        if let Some(shared) = &self.shared {
            shared.renew(now).await;
        }
    }

    /// Tells a server that may have lost it what is under way. To be called every second.
    pub(crate) async fn keep_places(&self) {
        if let Some(shared) = &self.shared {
            shared.keep_places().await;
        }
    }

    fn grant(
        self: &Arc<Self>,
        claims: Vec<Claim>,
        left: Vec<Left>,
        counts: Vec<Arc<Count>>,
        told: Told,
    ) -> Grant {
        Grant { limiter: Arc::clone(self), claims, left, counts, told }
    }
}

impl Grant {
    /// Each limit that was claimed, and how it stands.
    pub(crate) fn standing(&self) -> impl Iterator<Item = (&Claim, &Left)> {
        self.claims.iter().zip(&self.left)
    }

    /// What one more claim on the same budgets would be, for so many tokens at such a cost; nothing if it is on none.
    pub(crate) fn once_more(&self, more: Outlay) -> impl Iterator<Item = Claim> {
        self.claims.iter().filter(|claim| claim.is_of_budget()).filter_map(move |claim| {
            let amount = more.of(&claim.measure)?;
            Some(Claim::new(claim.subject.clone(), claim.measure.clone(), claim.limit, amount))
        })
    }

    /// Puts what a request used in the place of what all of its grants hold. What nobody can tell stays claimed: going away
    /// early is no way to avoid the charge.
    ///
    /// A budget may have been claimed from more than once. The grants are filled in their order and the last takes the rest,
    /// so that each is set right by itself, wherever it is counted.
    pub(crate) fn settle_all(grants: &[Self], outlay: Outlay) {
        let last = grants.iter().rposition(Self::is_of_budgets);
        let mut rest = outlay;
        for (index, grant) in grants.iter().enumerate() {
            let own = if Some(index) == last { rest } else { rest.at_most(grant.meant()) };
            grant.settle(outlay, own);
            rest = rest.without(own);
        }
    }

    /// `own` is this grant's part of what was used of budgets; rates are claimed from once.
    fn settle(&self, outlay: Outlay, own: Outlay) {
        let mut of_budgets = Vec::new();
        for (index, claim) in self.claims.iter().enumerate() {
            let is_of_budget = claim.is_of_budget();
            let Some(used) = (if is_of_budget { own } else { outlay }).of(&claim.measure) else { continue };
            let more = signed(used).saturating_sub(signed(claim.amount));
            if let Some(count) = self.counts.get(index) {
                count.add(claim, more);
            }
            match (&self.limiter.shared, self.told) {
                (Some(_), Told::As(_)) if is_of_budget => of_budgets.push((claim, used)),
                (Some(shared), Told::As(_)) if more != 0 => shared.add(claim, more),
                (Some(shared), Told::Later(_)) => shared.owe(claim, more),
                _ => {}
            }
        }
        if let (Some(shared), Told::As(name), false) =
            (&self.limiter.shared, self.told, of_budgets.is_empty())
        {
            shared.settle(name, &of_budgets);
        }
    }

    fn is_of_budgets(&self) -> bool {
        self.claims.iter().any(Claim::is_of_budget)
    }

    /// What its claims on budgets were meant for.
    fn meant(&self) -> Outlay {
        let of = |unit| {
            let is_of = |claim: &&Claim| matches!(&claim.measure, Measure::Spent(of) if of.unit == unit);
            self.claims.iter().filter(is_of).map(|claim| claim.meant).max()
        };
        Outlay { tokens: of(Unit::Tokens), cost: of(Unit::Cost) }
    }
}

impl Outlay {
    fn of(self, measure: &Measure) -> Option<u64> {
        match measure {
            Measure::Requests | Measure::Concurrent => None,
            Measure::Tokens | Measure::Spent(Spending { unit: Unit::Tokens, .. }) => self.tokens,
            Measure::Spent(Spending { unit: Unit::Cost, .. }) => self.cost,
        }
    }

    /// As much of it as there is room for; where none is, nothing.
    fn at_most(self, room: Self) -> Self {
        let least = |own: Option<u64>, room: Option<u64>| own.map(|own| own.min(room.unwrap_or(0)));
        Self { tokens: least(self.tokens, room.tokens), cost: least(self.cost, room.cost) }
    }

    fn without(self, part: Self) -> Self {
        let less = |own: Option<u64>, part: Option<u64>| own.map(|own| own.saturating_sub(part.unwrap_or(0)));
        Self { tokens: less(self.tokens, part.tokens), cost: less(self.cost, part.cost) }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let is_place = |claim: &&Claim| claim.measure == Measure::Concurrent;
        let places = self.claims.iter().zip(&self.counts).filter(|(claim, _)| is_place(claim));
        places.for_each(|(_, count)| count.give_back());
        if let (Some(shared), Told::As(name) | Told::Later(name)) = (&self.limiter.shared, self.told)
            && self.claims.iter().any(|claim| is_place(&claim))
        {
            shared.give_back(name);
        }
    }
}

const MINUTE_MICROS: i64 = 60_000_000;

/// The longest time that one request uses a rate up for, in microseconds: a number of tokens that no provider can have used
/// would otherwise use it up for good.
const MOST_MICROS: i64 = 24 * 60 * MINUTE_MICROS;

/// For how long `amount` uses up its share of a minute, in microseconds; a day at most.
fn share(limit: u64, amount: i64) -> i64 {
    let micros = i128::from(amount) * i128::from(MINUTE_MICROS) / i128::from(limit.max(1));
    i64::try_from(micros.clamp(-i128::from(MOST_MICROS), i128::from(MOST_MICROS))).unwrap_or(MOST_MICROS)
}

/// How a rate stands when it will be unused in so many microseconds.
fn left_of_rate(limit: u64, unused_in: i64) -> Left {
    let unused_in = unused_in.clamp(0, MINUTE_MICROS);
    let amount = i128::from(MINUTE_MICROS - unused_in) * i128::from(limit) / i128::from(MINUTE_MICROS);
    Left { amount: u64::try_from(amount).unwrap_or(u64::MAX), reset: micros(unused_in) }
}

/// How a budget stands of which so much is spent.
fn left_of_budget(limit: u64, spent: i64, Spending { until, .. }: &Spending, now: i64) -> Left {
    let amount = limit.saturating_sub(u64::try_from(spent).unwrap_or(0));
    Left { amount, reset: micros(until - now) }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn micros(count: i64) -> Duration {
    Duration::from_micros(u64::try_from(count).unwrap_or(0))
}
