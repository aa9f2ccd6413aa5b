//! What the settings of every policy that reads content have in common.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to content in which a policy finds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The request is refused, or the answer is kept from the client: 409 `policy_block`.
    Block,
    /// What was found is replaced by its name in brackets, such as `[email]`; the rest passes.
    Redact,
    /// It passes; `data-routing-policy` may go by what was found.
    Note,
}

/// What a policy reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// What the client sends, before anything is forwarded.
    Request,
    /// What the provider answers, before any of it reaches the client.
    Response,
}

/// What happens to content that a policy cannot read, such as an image, a file or an event of an unknown shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unreadable {
    /// It is refused: 409 `content_unreadable`.
    Block,
    /// It passes, and the event says that it was not read.
    Allow,
}

impl Phase {
    /// Both, which is what a policy reads unless it says otherwise.
    #[must_use]
    pub fn both() -> Vec<Self> {
        vec![Self::Request, Self::Response]
    }
}
