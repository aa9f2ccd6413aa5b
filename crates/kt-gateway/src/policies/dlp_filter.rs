//! `dlp-filter`: an organization's own patterns and words, as one automaton.

use kt_domain::patterns::{self, Hir};
use kt_domain::policy_config::PolicySettings;

use super::text::leads::Lead;
use super::text::patterns::{Patterns, Rule, TooLarge};
use super::{Finder, Judge, Reading};

pub(super) const KIND: &str = "dlp-filter";

/// What the linter refuses is left out here: nothing that it refuses is ever put in force.
pub(super) fn make(settings: &PolicySettings) -> Result<Judge, TooLarge> {
    let settings = settings.dlp_filter.clone().unwrap_or_default();
    let mut rules = Vec::new();
    for own in &settings.patterns {
        rules.extend(patterns::regex(&own.regex).ok().map(|pattern| rule(&own.name, pattern)));
    }
    for own in &settings.dictionaries {
        let terms =
            own.terms.iter().filter_map(|term| patterns::term(term, own.whole_words, own.ignore_case).ok());
        rules.extend(terms.map(|pattern| rule(&own.name, pattern)));
    }
    let patterns = Patterns::new(vec![(Lead::Patterns, rules)], &[])?;
    let reading =
        Reading { phases: settings.phases, unreadable: settings.unreadable, dry_run: settings.dry_run };
    Ok(Judge::Finder(Finder { patterns, action: settings.action, reading }))
}

fn rule(name: &str, pattern: Hir) -> Rule {
    Rule { name: name.into(), pattern, accepts: |_| true, needs_more: true }
}
