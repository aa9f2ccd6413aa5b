//! Whether there is room for a request within every limit and budget that concerns it.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use kt_domain::policy_config::{OnCountingFailure, PolicyConfig, RateLimits, Rates};

use crate::exchange::Exchange;
use crate::limits::{Claim, Subject};
use crate::reply::Refusal;
use crate::snapshot::{Key, Snapshot};
use crate::stages::budgets::Expected;
use crate::stages::content::Summary;
use crate::stages::{address, references};
use crate::usage::BYTES_PER_TOKEN;

/// The limits, as far as there are any.
pub(crate) struct RateRules {
    limits: RateLimits,
    /// Whether no limit of the configuration concerns anybody.
    is_empty: bool,
}

impl RateRules {
    pub(crate) fn compile(config: &PolicyConfig) -> Self {
        let limits = config.rate_limits.clone();
        let is_empty =
            [&limits.total, &limits.per_key, &limits.per_address].iter().all(|rates| rates.is_empty());
        Self { limits, is_empty }
    }

    /// Each of those who are counted for a request from `address`, and what they may use.
    fn concerned(&self, exchange: &Exchange<'_>, address: Option<IpAddr>) -> Vec<(Subject, Rates)> {
        let mut concerned = Vec::new();
        if !self.is_empty {
            concerned.push((Subject::Everybody, self.limits.total.clone()));
        }
        if let Some(address) = address {
            concerned.push((Subject::address(address), self.limits.per_address.clone()));
        }
        if let Some(key) = &exchange.key {
            let of_group = exchange.group.as_ref().and_then(|group| group.per_key.as_ref());
            let per_key = of_group.unwrap_or(&self.limits.per_key);
            concerned.push((Subject::Key(Arc::clone(&key.id)), with_own_rate(per_key, key)));
        }
        if let Some(group) = &exchange.group {
            concerned.push((Subject::Group(Arc::clone(&group.id)), group.rates.clone()));
        }
        if let Some(route) = &exchange.route {
            concerned.push((Subject::Route(Arc::clone(&route.id)), route.rates.clone()));
        }
        concerned.retain(|(_, rates)| !rates.is_empty());
        concerned
    }

    /// What a request is taken to have used of what it may use, where nobody tells: no more than a usual answer.
    pub(crate) fn usual(&self, expected: Expected) -> Expected {
        Expected { output: expected.output.min(self.usual_output()), ..expected }
    }

    /// How many tokens an answer is taken to have that nobody bounds.
    pub(crate) fn usual_output(&self) -> u64 {
        self.limits.assumed_output_tokens.into()
    }

    /// How many tokens something is taken to have that a request names and does not hold.
    fn of_reference(&self) -> u64 {
        self.limits.assumed_reference_tokens.into()
    }

    pub(crate) fn on_failure(&self) -> OnCountingFailure {
        self.limits.on_failure
    }

    fn are_none(&self, exchange: &Exchange<'_>) -> bool {
        let has_own_rate = exchange.key.as_ref().is_some_and(|key| key.requests_per_minute.is_some());
        self.is_empty && !has_own_rate && exchange.route.is_none() && exchange.group.is_none()
    }
}

/// The limits of a key that may have a rate of its own; the lower one holds.
fn with_own_rate(per_key: &Rates, key: &Key) -> Rates {
    let rates = [per_key.requests_per_minute, key.requests_per_minute];
    Rates { requests_per_minute: rates.into_iter().flatten().min(), ..per_key.clone() }
}

/// Claims one request, and a place among those under way.
pub(crate) async fn take_request(exchange: &mut Exchange<'_>) -> Result<(), Refusal> {
    if exchange.snapshot.rates.are_none(exchange) {
        return Ok(());
    }
    let counts_addresses = !exchange.snapshot.rates.limits.per_address.is_empty();
    let address = if counts_addresses { Some(address::counted(exchange)?) } else { None };
    let concerned = exchange.snapshot.rates.concerned(exchange, address);
    let claims = concerned.iter().flat_map(|(subject, rates)| Claim::of_request(subject, rates)).collect();
    exchange.concerned = concerned;
    take(exchange, claims).await
}

/// How many tokens a request with this JSON body may come to use. Who only asks how many there are uses none.
pub(crate) fn expected(exchange: &Exchange<'_>, summary: &Summary, body: &Bytes) -> Expected {
    if ["/count_tokens", "/input_tokens"].iter().any(|end| exchange.path.ends_with(end)) {
        return Expected::default();
    }
    let bound = summary.max_output.or(summary.imposed).map(u64::from);
    let of_one = bound.unwrap_or_else(|| exchange.snapshot.rates.usual_output());
    Expected {
        input: (body.len() / BYTES_PER_TOKEN) as u64,
        most_input: most_input(&exchange.snapshot, body),
        output: of_one.saturating_mul(summary.answers.unwrap_or(1).max(1).into()),
        is_bounded: bound.is_some(),
    }
}

/// How many tokens a prompt has at most. Each stands for a byte of text or more, and what the request only names is taken to
/// have as many as the configuration says. Nobody but budgets asks.
fn most_input(snapshot: &Snapshot, body: &Bytes) -> u64 {
    if snapshot.budgets.is_empty() {
        return 0;
    }
    let named = references::count(body).saturating_mul(snapshot.rates.of_reference());
    named.saturating_add(body.len() as u64)
}

/// Claims the tokens that a request is about to use, as far as can be told before, and what they cost; of the limits of those
/// for whom the request itself was counted.
pub(crate) async fn take_tokens(
    exchange: &mut Exchange<'_>,
    summary: &Summary,
    expected: Expected,
) -> Result<(), Refusal> {
    let mut claims = exchange.snapshot.budgets.claims(exchange, summary.model.as_deref(), expected);
    let tokens = expected.input.saturating_add(expected.output);
    let concerned = std::mem::take(&mut exchange.concerned).into_iter();
    claims.extend(concerned.filter_map(|(subject, rates)| Claim::of_tokens(subject, &rates, tokens)));
    take(exchange, claims).await
}

async fn take(exchange: &mut Exchange<'_>, claims: Vec<Claim>) -> Result<(), Refusal> {
    if claims.is_empty() {
        return Ok(());
    }
    let on_failure = exchange.snapshot.rates.on_failure();
    let worker = exchange.worker;
    let taken =
        worker.limiter.take(claims, on_failure, worker.draw(), worker.shared.clock.now_micros()).await;
    match taken {
        Ok(grant) => {
            exchange.record.hold(grant);
            Ok(())
        }
        Err(denied) => {
            exchange.record.event().limited_by = denied.limited_by().map(Into::into);
            Err(denied.into())
        }
    }
}
