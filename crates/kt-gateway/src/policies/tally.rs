//! What each policy of a chain found so far, and what its event will say of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use kt_domain::events::{Phase, PolicyEvaluation, Verdict};
use kt_domain::policy_config::Unreadable;

use super::Reading;
use super::chain::Block;

/// What one policy found so far in one phase.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) rules: BTreeSet<Arc<str>>,
    /// The points of those rules, of a policy that weighs them.
    pub(super) score: Option<u32>,
    pub(super) was_asked: bool,
    /// What it says, whether or not that takes effect.
    verdict: Option<Verdict>,
    not_scanned: bool,
    /// Whether nothing goes on because of it.
    pub(super) blocked: bool,
}

impl Tally {
    pub(super) fn note(&mut self, rule: &Arc<str>) {
        if !self.rules.contains(rule) {
            self.rules.insert(Arc::clone(rule));
        }
    }

    /// The policy says this. To block takes effect unless it runs dry.
    pub(super) fn says(&mut self, kind: &Arc<str>, verdict: Verdict, dry_run: bool) -> Result<(), Block> {
        if self.verdict != Some(Verdict::Block) {
            self.verdict = Some(verdict);
        }
        self.blocked |= verdict == Verdict::Block && !dry_run;
        if self.blocked {
            Err(Block { policy: Arc::clone(kind), was_unreadable: self.not_scanned })
        } else {
            Ok(())
        }
    }

    /// There is something that the policy cannot read.
    pub(super) fn could_not_read(&mut self, kind: &Arc<str>, reading: &Reading) -> Result<(), Block> {
        self.was_asked = true;
        self.not_scanned = true;
        match reading.unreadable {
            Unreadable::Block => self.says(kind, Verdict::Block, reading.dry_run),
            Unreadable::Allow => self.says(kind, self.verdict.unwrap_or(Verdict::Allow), reading.dry_run),
        }
    }

    /// There is more than any policy can hold, which none of them may let pass.
    pub(super) fn refuse_unread(&mut self, kind: &Arc<str>) -> Block {
        (self.was_asked, self.not_scanned, self.blocked) = (true, true, true);
        self.verdict = Some(Verdict::Block);
        Block { policy: Arc::clone(kind), was_unreadable: true }
    }

    pub(super) fn evaluation(&self, kind: &Arc<str>, dry_run: bool, phase: Phase) -> PolicyEvaluation {
        PolicyEvaluation {
            dry_run: dry_run && !self.blocked,
            not_scanned: self.not_scanned,
            phase: (phase == Phase::Response).then_some(phase),
            rules: self.rules.iter().cloned().collect(),
            score: self.score,
            ..PolicyEvaluation::new(Arc::clone(kind), self.verdict.unwrap_or(Verdict::Allow))
        }
    }
}
