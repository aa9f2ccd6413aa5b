//! `safety-filter`: asking a moderation service.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::content::{Phase, Unreadable};
use crate::policy_config::rules::Review;
use crate::policy_config::{PolicyConfig, codes};
use crate::span::Span;

/// `safety-filter`: has texts judged by a moderation service that speaks OpenAI's `/moderations`, after every other policy
/// has let them pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SafetyFilter {
    /// The target that is asked, by its `id`. Give it the moderation model as its `model`, so that nothing else goes
    /// there.
    #[schemars(length(min = 1))]
    pub target: String,
    /// What the service is asked about. A stream is held back until it has judged what was said: every 2,000 bytes, and at
    /// the end.
    #[serde(default = "requests")]
    pub phases: Vec<Phase>,
    /// The categories because of which content is blocked, such as `self-harm`. Empty means every one that the service
    /// flags.
    #[serde(default)]
    pub categories: Vec<String>,
    /// How long the service may take.
    #[serde(default = "two_seconds")]
    pub timeout: Span,
    /// What happens to content when the service gives no usable answer in time: `block` answers it 503
    /// `safety_unavailable`, `allow` lets it pass and the event says that it was not scanned.
    #[serde(default = "block")]
    pub on_failure: Unreadable,
    /// What happens to content that cannot be put to the service as text, such as pictures: `block` answers it 409
    /// `content_unreadable`, `allow` lets it pass if the texts beside it do, and the event says that it was not scanned.
    #[serde(default = "block")]
    pub unreadable: Unreadable,
    /// Whether it only records what it would have done.
    #[serde(default)]
    pub dry_run: bool,
}

fn requests() -> Vec<Phase> {
    vec![Phase::Request]
}

fn two_seconds() -> Span {
    Span(Duration::from_secs(2))
}

fn block() -> Unreadable {
    Unreadable::Block
}

impl SafetyFilter {
    pub(super) fn review(&self, config: &PolicyConfig, review: &mut Review) {
        super::review_phases("policy.safety-filter", &self.phases, review);
        // A missing name was reported before.
        let is_known = config.providers.targets.iter().any(|target| target.id == self.target);
        if !self.target.is_empty() && !is_known {
            review.say(
                &codes::UNKNOWN_NAME,
                "policy.safety-filter.target",
                format!("there is no target `{}`", self.target),
                "name a target by its `id`",
            );
        }
    }
}
