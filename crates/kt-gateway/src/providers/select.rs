//! Choosing the target that a request goes to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderValue, header};

use crate::breaker::Pass;
use crate::providers::health::Fault;
use crate::providers::target::Target;
use crate::reply::Refusal;
use crate::scopes::Scope;
use crate::snapshot::Snapshot;
use crate::stages::route::Api;

/// What a request asks for, as far as it decides where the request goes.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) api: Api,
    pub(crate) model: Option<&'a str>,
    /// Whether a target of another API can be asked too, because the request is a conversation that can be translated.
    pub(crate) is_translatable: bool,
    /// Whether a provider keeps what it is about, so that all such requests have to reach the same account.
    pub(crate) is_kept: bool,
    /// The route and the group whose targets alone may be asked.
    pub(crate) within: [Option<&'a Scope>; 2],
    /// The only targets that a policy lets the request go to; `None` means any.
    pub(crate) only: Option<&'a BTreeSet<String>>,
}

impl Asked<'_> {
    /// Whether a target may be asked at all.
    pub(crate) fn permits(&self, target: &Target) -> bool {
        self.within.iter().flatten().all(|scope| scope.permits(target))
            && self.only.is_none_or(|only| only.contains(&*target.id))
    }
}

/// A target that a request may go to now. Dropped without a word, it says nothing of the target.
pub(crate) struct Choice {
    pub(crate) target: Arc<Target>,
    pass: Option<Pass>,
}

impl Choice {
    /// The target's answer has begun, and comes as a stream. A probe has shown enough by that: nobody else is to wait for the
    /// target until a long answer is over.
    pub(crate) fn begun(mut self) -> Self {
        if let Some(pass) = self.pass.take_if(|pass| *pass == Pass::Probe) {
            self.target.health.succeeded(pass);
        }
        self
    }

    /// What began as a stream broke off; `counts` says whether that speaks against the target.
    pub(crate) fn broke_off(mut self, fault: Fault, counts: bool) {
        self.target.health.failed(self.pass.take().unwrap_or(Pass::Closed), fault, counts);
    }

    /// The target gave a usable answer.
    pub(crate) fn succeeded(mut self) {
        if let Some(pass) = self.pass.take() {
            self.target.health.succeeded(pass);
        }
    }

    /// The target failed; `counts` says whether that speaks against it.
    pub(crate) fn failed(mut self, fault: Fault, counts: bool) {
        if let Some(pass) = self.pass.take() {
            self.target.health.failed(pass, fault, counts);
        }
    }
}

impl Drop for Choice {
    fn drop(&mut self) {
        if let Some(pass) = self.pass {
            self.target.health.abandoned(pass);
        }
    }
}

/// The target for a request, none of those that were `tried` already.
///
/// Targets that name the model come first, then those that name none; only where there are neither, any. Among equals
/// the lowest priority, shared out by weight; what a provider keeps goes to the first of them. Targets whose circuit is
/// open are passed over, and those whose model asked to be left alone while another can stand in.
pub(crate) fn target(
    snapshot: &Snapshot,
    asked: Asked<'_>,
    tried: &[Arc<Target>],
    now: i64,
) -> Result<Choice, Refusal> {
    let candidates = Candidates { snapshot, asked };
    loop {
        let target = candidates.best(tried, now).ok_or_else(|| candidates.why_none(tried, now))?;
        // Somebody else may have taken its last place for a probe since; then it is no longer the best.
        if let Some(choice) = again(target, now) {
            return Ok(choice);
        }
    }
}

/// The targets that a request could go to if their circuits let everything through.
pub(crate) fn fitting<'a>(snapshot: &'a Snapshot, asked: Asked<'a>) -> Vec<&'a Arc<Target>> {
    Candidates { snapshot, asked }.fitting().collect()
}

/// This target, if its circuit lets a request through.
pub(crate) fn again(target: &Arc<Target>, now: i64) -> Option<Choice> {
    let pass = target.health.admit(now).ok()?;
    Some(Choice { target: Arc::clone(target), pass: Some(pass) })
}

struct Candidates<'a> {
    snapshot: &'a Snapshot,
    asked: Asked<'a>,
}

/// How well a target fits the model that was asked for, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It names the model.
    Named,
    /// It names none, and speaks the client's API.
    Any,
    /// It names another, or none and would have to be asked in other words.
    Other,
}

impl<'a> Candidates<'a> {
    fn best(&self, tried: &[Arc<Target>], now: i64) -> Option<&'a Arc<Target>> {
        // What a provider keeps, nobody else has.
        let rests = |target: &Target| {
            !self.asked.is_kept && target.health.rests.holds(target.model_for(self.asked.model), now)
        };
        let awake = self.best_of(tried, now, |target| !rests(target));
        awake.or_else(|| self.best_of(tried, now, |_| true))
    }

    fn best_of(
        &self,
        tried: &[Arc<Target>],
        now: i64,
        counts: impl Fn(&Target) -> bool,
    ) -> Option<&'a Arc<Target>> {
        let is_left = |target: &&Arc<Target>| {
            !was_tried(tried, target) && target.health.may_admit(now) && counts(target)
        };
        let left = || self.fitting().filter(is_left);
        let rank = |target: &Target| (self.fit(target), target.priority);
        let best = left().map(|target| rank(target)).min()?;
        let equals = || left().filter(|target| rank(target) == best);
        if self.asked.is_kept {
            return equals().next();
        }
        let total: usize = equals().map(|target| target.weight as usize).sum();
        let mut turn = self.snapshot.turn.fetch_add(1, Ordering::Relaxed) % total.max(1);
        equals().find(|target| {
            let left = turn.checked_sub(target.weight as usize);
            turn = left.unwrap_or(turn);
            left.is_none()
        })
    }

    fn fit(&self, target: &Target) -> Fit {
        match (&target.model, self.asked.model) {
            (None, _) if target.speaks(self.asked.api) => Fit::Any,
            (Some(own), Some(asked)) if own == asked || target.serves.iter().any(|name| name == asked) => {
                Fit::Named
            }
            (_, _) => Fit::Other,
        }
    }

    fn speaking(&self) -> impl Iterator<Item = &'a Arc<Target>> {
        let asked = self.asked;
        let speaks = move |target: &Target| asked.is_translatable || target.speaks(asked.api);
        self.snapshot.targets.iter().filter(move |target| asked.permits(target) && speaks(target))
    }

    fn usable(&self) -> impl Iterator<Item = &'a Arc<Target>> {
        self.speaking().filter(|target| target.available)
    }

    /// The usable ones that fit the model best: others only where there is no better one.
    fn fitting(&self) -> impl Iterator<Item = &'a Arc<Target>> {
        let takes_others = self.usable().all(|target| self.fit(target) == Fit::Other);
        self.usable().filter(move |target| takes_others || self.fit(target) != Fit::Other)
    }

    fn why_none(&self, tried: &[Arc<Target>], now: i64) -> Refusal {
        if self.snapshot.targets.is_empty() {
            let message = "No provider is configured. Add one under `providers.targets` of the gateway's configuration.";
            return Refusal::unavailable(503, "no_target", message);
        }
        let left = self.fitting().filter(|target| !was_tried(tried, target));
        if let Some(wait) = left.map(|target| target.health.wait(now)).min() {
            let seconds = u64::try_from(wait).unwrap_or(0).div_ceil(1_000_000).max(1);
            let message = format!(
                "Every provider for this request has failed several times in a row and is left alone for a while. Try \
                 again in {seconds} s."
            );
            return Refusal::unavailable(503, "circuit_open", message)
                .with_header(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.speaking().next().is_some() {
            let message = "No provider is available: the environment variable that holds its key is not set.";
            return Refusal::unavailable(503, "target_unavailable", message);
        }
        Refusal::not_found(
            404,
            "surface_not_served",
            "No configured provider speaks the API of this path. But for /v1/chat/completions and /v1/messages, which are \
             translated, OpenAI's paths need an OpenAI-compatible target and Anthropic's an Anthropic one.",
        )
    }
}

fn was_tried(tried: &[Arc<Target>], target: &Arc<Target>) -> bool {
    tried.iter().any(|tried| Arc::ptr_eq(tried, target))
}
