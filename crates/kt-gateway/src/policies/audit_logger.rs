//! `audit-logger`: says how long, and how firmly, the record of what passed is kept.
//!
//! It refuses nothing. Events are recorded whether it is in the chain or not; in the chain its settings take effect:
//! `retention_days` and `immutable` in the event store, `log_all_access` where a decision is recorded.

use kt_domain::policy_config::PolicySettings;

use super::Judge;
use super::text::patterns::TooLarge;

pub(super) const KIND: &str = "audit-logger";

#[expect(clippy::unnecessary_wraps, reason = "the registry's makers have one signature")]
pub(super) fn make(_: &PolicySettings) -> Result<Judge, TooLarge> {
    Ok(Judge::Silent)
}
