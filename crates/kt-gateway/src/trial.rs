//! Trying out a chain of policies offline: what it would say of content, without a gateway, a client or a provider.

use kt_domain::events::{Phase, Verdict};
use kt_domain::policy_config::PolicyConfig;

use crate::policies::{Asked, Chain, Content, Judged, Outcome, strictest};
use crate::snapshot::CompileError;

/// A chain to be tried out. Moderation services are not asked.
pub struct Trial {
    chain: Chain,
}

/// What a chain said of content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What became of it.
    pub verdict: Verdict,
    /// The policy that blocked it.
    pub blocked_by: Option<String>,
    /// The names of the rules of all policies that found something or applied, in order and none twice.
    pub rules: Vec<String>,
    /// The targets that it may go to; `None` means any.
    pub targets: Option<Vec<String>>,
    /// What passes; `None` when it was blocked.
    pub body: Option<Vec<u8>>,
}

impl Trial {
    /// Makes the chain of a configuration ready.
    pub fn new(config: &PolicyConfig) -> Result<Self, CompileError> {
        Chain::of(config).map(|chain| Self { chain })
    }

    /// Judges a body of JSON that is sent with this key and asks for this model.
    #[must_use]
    pub fn judge(&self, phase: Phase, body: &[u8], key: Option<&str>, model: Option<&str>) -> Observed {
        let judged = self.chain.judge(phase, Content::Json(body), Asked { key, model });
        let Judged { evaluations, outcome, targets } = judged;
        let mut rules: Vec<String> =
            evaluations.iter().flat_map(|own| &own.rules).map(ToString::to_string).collect();
        rules.sort_unstable();
        rules.dedup();
        let (blocked_by, body) = match outcome {
            Outcome::Pass => (None, Some(body.to_vec())),
            Outcome::Redacted(redacted) => (None, Some(redacted.to_vec())),
            Outcome::Blocked(block) => (Some(block.policy.to_string()), None),
        };
        let targets = targets.map(|targets| targets.into_iter().collect());
        Observed { verdict: strictest(&evaluations), blocked_by, rules, targets, body }
    }
}
