//! Trying out a chain of policies offline: what it would say of content, without a gateway, a client or a provider.

use std::sync::Arc;

use kt_domain::events::{Phase, PolicyEvaluation, Verdict};
use kt_domain::policy_config::PolicyConfig;

use crate::policies::{Asked, Chain, Content, Judged, Outcome, StreamJudge, strictest};
use crate::snapshot::CompileError;

/// The largest event of a stream that is read, in bytes.
const MAX_EVENT: u64 = 32 * 1024 * 1024;

/// A chain to be tried out. Moderation services are not asked.
pub struct Trial {
    chain: Arc<Chain>,
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
    /// What passes: nothing of a body that was blocked, and of a stream what left before it was.
    pub body: Option<Vec<u8>>,
}

impl Trial {
    /// Makes the chain of a configuration ready.
    pub fn new(config: &PolicyConfig) -> Result<Self, CompileError> {
        let chain = Chain::new(&config.policies.chain, "policies.chain", &config.policy)?;
        Ok(Self { chain: Arc::new(chain) })
    }

    /// Judges a body of JSON that is sent with this key and asks for this model.
    #[must_use]
    pub fn judge(&self, phase: Phase, body: &[u8], key: Option<&str>, model: Option<&str>) -> Observed {
        let judged = self.chain.judge(phase, Content::Json(body), Asked { key, group: None, model });
        let Judged { evaluations, outcome, targets } = judged;
        let (blocked_by, body) = match outcome {
            Outcome::Pass => (None, Some(body.to_vec())),
            Outcome::Redacted(redacted) => (None, Some(redacted.to_vec())),
            Outcome::Blocked(block) => (Some(block.policy.to_string()), None),
        };
        let targets = targets.map(|targets| targets.into_iter().collect());
        Observed { targets, ..observed(&evaluations, blocked_by, body) }
    }

    /// Judges a stream of events that comes in pieces of `size` bytes.
    #[must_use]
    pub fn judge_stream(&self, stream: &[u8], size: usize) -> Observed {
        let mut judge = StreamJudge::new(Arc::clone(&self.chain), MAX_EVENT);
        let mut out = Vec::new();
        let mut pieces = stream.chunks(size.max(1));
        let fed = pieces.try_for_each(|piece| judge.feed(piece, &mut out));
        let blocked_by =
            fed.and_then(|()| judge.finish(&mut out)).err().map(|block| block.policy.to_string());
        observed(&judge.evaluations(), blocked_by, Some(out))
    }
}

fn observed(evaluations: &[PolicyEvaluation], blocked_by: Option<String>, body: Option<Vec<u8>>) -> Observed {
    let mut rules: Vec<String> =
        evaluations.iter().flat_map(|own| &own.rules).map(ToString::to_string).collect();
    rules.sort_unstable();
    rules.dedup();
    Observed { verdict: strictest(evaluations), blocked_by, rules, targets: None, body }
}
