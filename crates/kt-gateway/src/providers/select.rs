//! Choosing the target that a request goes to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kt_domain::policy_config::vendors::Wire;

use crate::reply::Refusal;
use crate::snapshot::{Snapshot, Target};
use crate::stages::route::Api;

/// The target for a request of `api` that names `model`.
///
/// Targets that name the model come first, then those that name none, then any; among equals the lowest priority,
/// shared out by weight.
pub(crate) fn target<'a>(
    snapshot: &'a Snapshot,
    api: Api,
    model: Option<&str>,
) -> Result<&'a Arc<Target>, Refusal> {
    let speaks = |target: &&Arc<Target>| match target.wire {
        Wire::Echo => true,
        Wire::OpenAi => api == Api::OpenAi,
        Wire::Anthropic => api == Api::Anthropic,
    };
    let standing = |target: &Target| match (&target.model, model) {
        (Some(own), Some(asked)) if own == asked => 0,
        (None, _) => 1,
        _ => 2,
    };
    let rank = |target: &Target| (standing(target), target.priority);
    let usable = || snapshot.targets.iter().filter(speaks).filter(|target| target.available);
    let best = usable().map(|target| rank(target)).min().ok_or_else(|| why_none(snapshot, speaks))?;
    let equals = || usable().filter(|target| rank(target) == best);
    let total: usize = equals().map(|target| target.weight as usize).sum();
    let mut turn = snapshot.turn.fetch_add(1, Ordering::Relaxed) % total.max(1);
    for target in equals() {
        match turn.checked_sub(target.weight as usize) {
            Some(left) => turn = left,
            None => return Ok(target),
        }
    }
    Err(why_none(snapshot, speaks))
}

fn why_none(snapshot: &Snapshot, speaks: impl Fn(&&Arc<Target>) -> bool) -> Refusal {
    if snapshot.targets.is_empty() {
        let message =
            "No provider is configured. Add one under `providers.targets` of the gateway's configuration.";
        return Refusal::unavailable(503, "no_target", message);
    }
    if snapshot.targets.iter().any(|target| speaks(&target)) {
        let message = "No provider is available: the environment variable that holds its key is not set.";
        return Refusal::unavailable(503, "target_unavailable", message);
    }
    Refusal::not_found(
        404,
        "surface_not_served",
        "No configured provider speaks the API of this path. OpenAI's paths need an OpenAI-compatible target, \
         /v1/messages an Anthropic one.",
    )
}
