//! `audit-logger`: says how long, and how firmly, the record of what passed is kept.
//!
//! It refuses nothing. Events are recorded whether it is in the chain or not; in the chain its settings take effect:
//! `retention_days` and `immutable` in the event store, `log_all_access` where a decision is recorded.

use kt_domain::events::Verdict;
use kt_domain::policy_config::PolicyConfig;

use super::Policy;

pub(super) const KIND: &str = "audit-logger";

pub(super) fn make(_: &PolicyConfig) -> Box<dyn Policy> {
    Box::new(AuditLogger)
}

struct AuditLogger;

impl Policy for AuditLogger {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn judge_request(&self) -> Verdict {
        Verdict::Allow
    }
}
