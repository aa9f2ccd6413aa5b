//! Asking each policy of the chain, in order, until one does not let the request pass.

use kt_domain::events::{PolicyEvaluation, Verdict};

use crate::exchange::Exchange;
use crate::reply::Refusal;

/// Judges the request; says in its record which policies were asked and what came of it.
pub(crate) fn judge_request(exchange: &mut Exchange<'_>) -> Result<(), Refusal> {
    let snapshot = &exchange.snapshot;
    for (index, policy) in snapshot.chain.iter().enumerate() {
        let verdict = policy.judge_request();
        if verdict == Verdict::Block {
            let mut asked = snapshot.all_passed[..index].to_vec();
            asked.push(PolicyEvaluation { kind: policy.kind().into(), verdict });
            exchange.record.event().policies_evaluated = Some(asked);
            return Err(Refusal::policy_block(policy.kind()));
        }
    }
    let event = exchange.record.event();
    event.policies_evaluated = Some(snapshot.all_passed.clone());
    event.verdict = Some(Verdict::Allow);
    Ok(())
}
