//! The policies that judge what passes, one file each, and the list of them.

mod audit_logger;

use kt_domain::events::{PolicyEvaluation, Verdict};
use kt_domain::policy_config::PolicyConfig;

use crate::snapshot::CompileError;

/// One policy of the chain, made ready.
pub(crate) trait Policy: Send + Sync {
    /// Its kind, as in `policies.chain`.
    fn kind(&self) -> &'static str;

    /// Judges a request before anything is forwarded.
    fn judge_request(&self) -> Verdict;
}

/// Makes a policy of one kind ready from the configuration.
type Make = fn(&PolicyConfig) -> Box<dyn Policy>;

/// Every kind of policy there is.
const REGISTRY: [(&str, Make); 1] = [(audit_logger::KIND, audit_logger::make)];

/// The chain that `config` asks for.
pub(crate) fn build(config: &PolicyConfig) -> Result<Vec<Box<dyn Policy>>, CompileError> {
    let make = |(index, kind): (usize, &String)| match REGISTRY.iter().find(|(known, _)| known == kind) {
        Some((_, make)) => Ok(make(config)),
        None => Err(CompileError {
            path: format!("policies.chain[{index}]"),
            message: format!("`{kind}` is no kind of policy that is known here"),
        }),
    };
    config.policies.chain.iter().enumerate().map(make).collect()
}

/// What the chain looks like in an event when all of it let a request pass.
pub(crate) fn all_passed(chain: &[Box<dyn Policy>]) -> Vec<PolicyEvaluation> {
    chain
        .iter()
        .map(|policy| PolicyEvaluation { kind: policy.kind().into(), verdict: Verdict::Allow })
        .collect()
}

/// Whether requests that were allowed are recorded too: always, unless `audit-logger` says otherwise.
pub(crate) fn records_all_access(config: &PolicyConfig) -> bool {
    let is_in_chain = config.policies.chain.iter().any(|kind| kind == audit_logger::KIND);
    !is_in_chain || config.policy.audit_logger.as_ref().is_none_or(|settings| settings.log_all_access)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_and_the_configurations_kinds_are_the_same() {
        let known: Vec<&str> = REGISTRY.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(known, kt_domain::policy_config::POLICY_KINDS);
    }
}
