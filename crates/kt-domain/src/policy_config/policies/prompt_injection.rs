//! `prompt-injection`: instructions that are meant to take a model away from those that it was given.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::content::Unreadable;

/// The names of its rules.
pub const INJECTION_RULES: [&str; 15] = [
    "override",
    "override-other-language",
    "reveal-prompt",
    "reveal-text",
    "new-role",
    "new-persona",
    "pretend",
    "no-restrictions",
    "role-marker",
    "role-heading",
    "new-instructions",
    "secrecy",
    "exfiltration",
    "hidden-text",
    "encoded",
];

/// `prompt-injection`: adds up how suspicious a request reads, and blocks it from a threshold on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromptInjection {
    /// From how many points on a request is blocked. A plain "ignore all previous instructions" has 10, a hint has 3 to
    /// 6; a lower threshold finds more and is wrong more often.
    #[schemars(range(min = 1, max = 100))]
    pub threshold: u32,
    /// What happens to content that it cannot read.
    pub unreadable: Unreadable,
    /// Whether it only records what it would have done.
    pub dry_run: bool,
}

impl Default for PromptInjection {
    fn default() -> Self {
        Self { threshold: 10, unreadable: Unreadable::Block, dry_run: false }
    }
}
