//! How an answer ended.

use serde::{Deserialize, Serialize};

use crate::words;

/// Where an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It is being written.
    Answering,
    /// It is there as a whole.
    Complete,
    /// Whoever asked stopped it, or it grew too long: what was there is kept.
    Stopped,
    /// A policy refused the question or the answer.
    Blocked,
    /// The gateway or the model gave none, or broke off.
    Failed,
}

words!(Ending {
    Answering = "answering",
    Complete = "complete",
    Stopped = "stopped",
    Blocked = "blocked",
    Failed = "failed",
});

impl Ending {
    /// Whether the question and its answer go with the next question. What a policy refused once would be refused with
    /// every further question.
    #[must_use]
    pub fn is_remembered(self) -> bool {
        matches!(self, Self::Complete | Self::Stopped)
    }
}

/// Why a request was not answered, as the gateway says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The code of the error.
    pub code: String,
    /// What people are told.
    pub message: String,
    /// The policy that refused it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
}

impl Refusal {
    /// The answer has grown beyond [`LONGEST_ANSWER`](super::LONGEST_ANSWER), and was stopped there.
    #[must_use]
    pub fn too_long() -> Self {
        let message = "The answer grew longer than an answer may be that is kept, and was stopped there. What had come is kept.";
        Self { code: "answer_too_long".to_owned(), message: message.to_owned(), policy: None }
    }

    /// Whether a policy refused it.
    #[must_use]
    pub fn ending(&self) -> Ending {
        if self.policy.is_some() { Ending::Blocked } else { Ending::Failed }
    }
}

/// What an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Tokens of the question and all that went with it.
    pub input_tokens: Option<i64>,
    /// Tokens of the answer.
    pub output_tokens: Option<i64>,
    /// Milliseconds from the question to the end of the answer.
    pub duration_ms: i64,
}
