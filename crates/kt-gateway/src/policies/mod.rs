//! The policies that judge what passes, one file each, and the list of them.

mod audit_logger;
pub(crate) mod chain;
mod data_routing;
mod dlp_filter;
mod pii_detector;
mod prompt_injection;
mod reading;
pub(crate) mod safety_filter;
mod tally;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use kt_domain::events::{Phase, Verdict};
use kt_domain::policy_config::{Action, PolicyConfig, PolicySettings, SafetyFilter, Unreadable};

pub(crate) use chain::{Block, Chain, Content, Judged, Outcome, strictest};
pub(crate) use data_routing::Asked;
pub(crate) use reading::said::{Portion, StreamTexts};
pub(crate) use reading::stream::StreamJudge;

use crate::snapshot::CompileError;
use data_routing::Routing;
use prompt_injection::Injection;
use text::patterns::{Patterns, TooLarge};

/// One policy of the chain, made ready.
pub(crate) struct Policy {
    /// Its kind, as in `policies.chain`.
    kind: Arc<str>,
    judge: Judge,
}

/// How a policy judges.
enum Judge {
    /// It has nothing to say; its settings take effect elsewhere.
    Silent,
    /// By what is found in texts.
    Finder(Finder),
    /// By how suspicious the texts of a request read together.
    Injection(Injection),
    /// By where a request goes, and what was found in it.
    Routing(Routing),
    /// By asking somebody else, when all others have let a request pass.
    Safety(SafetyFilter),
}

/// A policy that looks for patterns in content.
struct Finder {
    patterns: Patterns,
    action: Action,
    reading: Reading,
}

/// What all policies that read content have in common.
struct Reading {
    phases: Vec<Phase>,
    unreadable: Unreadable,
    dry_run: bool,
}

/// Makes a policy of one kind ready from its settings.
type Make = fn(&PolicySettings) -> Result<Judge, TooLarge>;

/// Every kind of policy there is.
const REGISTRY: [(&str, Make); 6] = [
    (audit_logger::KIND, audit_logger::make),
    (pii_detector::KIND, pii_detector::make),
    (dlp_filter::KIND, dlp_filter::make),
    (prompt_injection::KIND, prompt_injection::make),
    (data_routing::KIND, data_routing::make),
    (safety_filter::KIND, safety_filter::make),
];

impl Policy {
    /// The policy of a kind; `path` is where the chain names it.
    fn make(kind: &str, path: &dyn Fn() -> String, settings: &PolicySettings) -> Result<Self, CompileError> {
        let error = |message: String| CompileError { path: path(), message };
        let (name, make) = REGISTRY
            .iter()
            .find(|(known, _)| *known == kind)
            .ok_or_else(|| error(format!("`{kind}` is no kind of policy that is known here")))?;
        let judge = make(settings).map_err(|too_large| error(format!("`{kind}`: {too_large}")))?;
        Ok(Self { kind: (*name).into(), judge })
    }

    /// How it reads content; `None` for a policy that reads none in this phase.
    fn reading(&self, phase: Phase) -> Option<&Reading> {
        match &self.judge {
            Judge::Finder(finder) => Some(&finder.reading),
            Judge::Injection(injection) => Some(&injection.reading),
            Judge::Silent | Judge::Routing(_) | Judge::Safety(_) => None,
        }
        .filter(|reading| reading.phases.contains(&phase))
    }
}

impl Finder {
    /// What it says of content in which it found something.
    fn verdict(&self) -> Verdict {
        match self.action {
            Action::Block => Verdict::Block,
            Action::Redact => Verdict::Redact,
            Action::Note => Verdict::Allow,
        }
    }

    /// Whether what is found is cut out.
    fn cuts(&self) -> bool {
        self.action == Action::Redact && !self.reading.dry_run
    }
}

/// Whether requests that were allowed are recorded too: always, unless `audit-logger` says otherwise.
pub(crate) fn records_all_access(config: &PolicyConfig) -> bool {
    let is_in_chain = config.policies.chain.iter().any(|kind| kind == audit_logger::KIND);
    !is_in_chain || config.policy.audit_logger.as_ref().is_none_or(|settings| settings.log_all_access)
}
