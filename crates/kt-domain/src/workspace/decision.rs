//! What the gateway decided about a question, as it is shown beside the answer.

use crate::events::{Event, Phase, Verdict};

/// What the gateway decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What became of the request.
    pub verdict: Option<Verdict>,
    /// The target that was asked.
    pub target: Option<String>,
    /// Its vendor.
    pub provider: Option<String>,
    /// The model that was asked for.
    pub model: Option<String>,
    /// The policies that were asked, in order.
    pub policies: Vec<Judged>,
    /// Tokens of the question and all that went with it.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: Option<u64>,
    /// Milliseconds from the first byte of the request to the last of the answer.
    pub duration_ms: Option<u64>,
    /// The code of the error, or `ok`.
    pub reason: Option<String>,
}

/// A policy, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Its kind.
    pub kind: String,
    /// Whether it read the answer, and not the question.
    pub is_of_answer: bool,
    /// What it said.
    pub verdict: Verdict,
    /// Whether that had no effect.
    pub is_dry_run: bool,
    /// The names of its rules that found something.
    pub rules: Vec<String>,
}

impl Judged {
    /// Whether the question or the answer went no further because of it.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.verdict == Verdict::Block && !self.is_dry_run
    }
}

impl From<Event> for Decision {
    fn from(event: Event) -> Self {
        let policies = event.policies_evaluated.unwrap_or_default().into_iter().map(|evaluation| Judged {
            kind: evaluation.kind.to_string(),
            is_of_answer: evaluation.phase == Some(Phase::Response),
            verdict: evaluation.verdict,
            is_dry_run: evaluation.dry_run,
            rules: evaluation.rules.iter().map(ToString::to_string).collect(),
        });
        Self {
            verdict: event.verdict,
            target: event.target_id.map(|target| target.to_string()),
            provider: event.provider.map(|provider| provider.to_string()),
            model: event.model,
            policies: policies.collect(),
            input_tokens: event.input_tokens,
            output_tokens: event.output_tokens,
            duration_ms: event.duration_ms,
            reason: event.reason_code.map(|code| code.to_string()),
        }
    }
}
