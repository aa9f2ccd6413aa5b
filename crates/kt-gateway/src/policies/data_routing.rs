//! `data-routing-policy`: where which data may go, by the key that asks and by what earlier policies found.

use std::collections::BTreeSet;
use std::sync::Arc;

use kt_domain::policy_config::{PolicySettings, RoutingRule};

use super::Judge;
use super::text::patterns::TooLarge;

pub(super) const KIND: &str = "data-routing-policy";

#[expect(clippy::unnecessary_wraps, reason = "the registry's makers have one signature")]
pub(super) fn make(settings: &PolicySettings) -> Result<Judge, TooLarge> {
    let settings = settings.data_routing.clone().unwrap_or_default();
    Ok(Judge::Routing(Routing { rules: settings.rules, dry_run: settings.dry_run }))
}

/// The rules of `data-routing-policy`.
pub(super) struct Routing {
    rules: Vec<RoutingRule>,
    pub(super) dry_run: bool,
}

/// Who asks for what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    /// The key that was used.
    pub(crate) key: Option<&'a str>,
    /// The consumer group that the key belongs to.
    pub(crate) group: Option<&'a str>,
    /// The model that is asked for.
    pub(crate) model: Option<&'a str>,
    /// Whether it uses a model even if it names none: the one in an upload's form, or the provider's usual one. Other
    /// requests without a model are not held to the models of a rule.
    pub(crate) hides_model: bool,
}

/// What the rules come to for one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Directions {
    /// The rules that applied.
    pub(super) applied: Vec<Arc<str>>,
    /// Whether the model may not be used.
    pub(super) is_refused: bool,
    /// The targets that may be used; `None` means any.
    pub(super) targets: Option<BTreeSet<String>>,
}

impl Routing {
    /// Where a request may go in which `found` was found.
    pub(super) fn directions(&self, asked: Asked<'_>, found: &BTreeSet<Arc<str>>) -> Directions {
        let mut directions = Directions::default();
        for rule in self.rules.iter().filter(|rule| applies(rule, asked, found)) {
            directions.applied.push(rule.name.as_str().into());
            let fits = |model: &str| rule.models.iter().any(|pattern| is_like(pattern, model));
            let is_other = asked.model.map_or(asked.hides_model, |model| !fits(model));
            directions.is_refused |= !rule.models.is_empty() && is_other;
            if !rule.targets.is_empty() {
                let own: BTreeSet<String> = rule.targets.iter().cloned().collect();
                directions.targets = Some(match directions.targets {
                    Some(earlier) => earlier.intersection(&own).cloned().collect(),
                    None => own,
                });
            }
        }
        directions.is_refused |= directions.targets.as_ref().is_some_and(BTreeSet::is_empty);
        directions
    }
}

fn applies(rule: &RoutingRule, asked: Asked<'_>, found: &BTreeSet<Arc<str>>) -> bool {
    let is_of = |own: &[String], asked: Option<&str>| {
        own.is_empty() || asked.is_some_and(|asked| own.iter().any(|own| own == asked))
    };
    let has_data = || rule.data.iter().any(|name| found.contains(&**name));
    is_of(&rule.keys, asked.key) && is_of(&rule.groups, asked.group) && (rule.data.is_empty() || has_data())
}

fn is_like(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, keys: &[&str], data: &[&str], models: &[&str], targets: &[&str]) -> RoutingRule {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        RoutingRule {
            name: name.into(),
            keys: texts(keys),
            groups: Vec::new(),
            data: texts(data),
            models: texts(models),
            targets: texts(targets),
        }
    }

    /// Key, model and what was found; the rules that apply, whether it is refused, the targets left.
    type Case = (
        Option<&'static str>,
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
        bool,
        Option<&'static [&'static str]>,
    );

    #[test]
    fn every_rule_that_applies_must_be_kept() {
        let rules = vec![
            rule("personal", &[], &["card", "pii-detector"], &[], &["eu", "local"]),
            rule("intern", &["k-intern"], &[], &["small-*", "tiny"], &["local", "us"]),
        ];
        let routing = Routing { rules, dry_run: false };
        let cases: [Case; 7] = [
            (None, "large", &[], &[], false, None),
            (None, "large", &["card"], &["personal"], false, Some(&["eu", "local"])),
            (None, "large", &["email", "pii-detector"], &["personal"], false, Some(&["eu", "local"])),
            (Some("k-intern"), "small-1", &[], &["intern"], false, Some(&["local", "us"])),
            (Some("k-intern"), "large", &[], &["intern"], true, Some(&["local", "us"])),
            (Some("k-intern"), "tiny", &["card"], &["personal", "intern"], false, Some(&["local"])),
            (Some("k-other"), "tiny-2", &["email"], &[], false, None),
        ];
        for (key, model, found, applied, is_refused, targets) in cases {
            let found = found.iter().map(|name| Arc::from(*name)).collect();
            let directions =
                routing.directions(Asked { key, model: Some(model), ..Asked::default() }, &found);
            let expected = Directions {
                applied: applied.iter().map(|name| Arc::from(*name)).collect(),
                is_refused,
                targets: targets.map(|ids| ids.iter().map(ToString::to_string).collect()),
            };
            assert_eq!(directions, expected, "{key:?} {model} {found:?}");
        }
    }

    #[test]
    fn a_model_that_cannot_be_read_is_none_of_those_that_are_allowed() {
        let rules = vec![rule("small", &[], &[], &["small-*"], &[]), rule("here", &[], &[], &[], &["x"])];
        let is_refused = |rules: &[RoutingRule], hides_model| {
            let asked = Asked { hides_model, ..Asked::default() };
            Routing { rules: rules.to_vec(), dry_run: false }.directions(asked, &BTreeSet::new()).is_refused
        };
        assert!(is_refused(&rules, true));
        assert!(!is_refused(&rules, false), "the control: it uses none");
        assert!(!is_refused(&rules[1..], true), "the control: no rule asks for the model");
    }

    #[test]
    fn where_two_rules_leave_no_target_the_request_is_refused() {
        let rules = vec![rule("a", &[], &[], &[], &["x"]), rule("b", &[], &[], &[], &["y"])];
        assert!(Routing { rules, dry_run: false }.directions(Asked::default(), &BTreeSet::new()).is_refused);
    }
}
