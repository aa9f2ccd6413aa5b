//! `events`: how events are recorded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codes;
use super::rules::Review;

/// How events are recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// What happens to requests while events cannot be recorded: `refuse` answers them 503, `allow` lets them through
    /// and records how many were lost as soon as that is possible.
    pub on_failure: OnFailure,
    /// A file, best on another disk or machine, that always holds the newest signed checkpoint; a store that was set
    /// back or cut is recognised by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor_file: Option<String>,
    /// How many refusals a second of one source address are recorded one by one, after a first burst of ten times as
    /// many; a counted event stands for the rest.
    #[schemars(range(min = 1))]
    pub refusals_per_second: u32,
}

impl Default for Events {
    fn default() -> Self {
        Self { on_failure: OnFailure::Refuse, anchor_file: None, refusals_per_second: 100 }
    }
}

impl Events {
    pub(super) fn review(&self, review: &mut Review) {
        if self.anchor_file.is_some() && review.options.kept {
            review.say(
                &codes::ANCHOR_OF_ANOTHER,
                "events.anchor_file",
                "`events.anchor_file` names a file of the gateway's machine, and this configuration is kept elsewhere",
                "remove it, or give the gateway its configuration with --policy-config",
            );
        }
    }
}

/// What happens to requests while events cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// They are answered 503 `events_unavailable`.
    Refuse,
    /// They go through. Their events wait in memory, and those that there is no room for are counted.
    Allow,
}
