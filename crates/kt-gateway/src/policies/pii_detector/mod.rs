//! `pii-detector`: personal data and secrets, by their form and their check digits.

mod check_digits;
mod national_ids;
mod rules;

use kt_domain::policy_config::{Entity, PolicySettings};

use super::text::leads::Lead;
use super::text::patterns::{Patterns, Rule, TooLarge};
use super::{Finder, Judge, Reading};

pub(super) const KIND: &str = "pii-detector";

pub(super) fn make(settings: &PolicySettings) -> Result<Judge, TooLarge> {
    let settings = settings.pii_detector.clone().unwrap_or_default();
    let of = |wanted: &[Entity], rules: fn(Entity) -> Vec<Rule>| -> Vec<Rule> {
        wanted
            .iter()
            .filter(|entity| settings.entities.contains(entity))
            .flat_map(|entity| rules(*entity))
            .collect()
    };
    // A number may begin with letters: a birthplace of a codice fiscale, the country of an account.
    let numbers = of(&[Entity::Card, Entity::Iban, Entity::NationalId, Entity::Phone], rules::of);
    let groups = vec![
        (Lead::Digit(rules::BEFORE_FIRST_DIGIT), numbers),
        (Lead::Byte(b'@', rules::BEFORE_AT), of(&[Entity::Email], rules::of)),
        (Lead::Patterns, of(&[Entity::Secret], rules::of)),
    ];
    let patterns = Patterns::new(groups, &settings.except)?;
    let reading =
        Reading { phases: settings.phases, unreadable: settings.unreadable, dry_run: settings.dry_run };
    Ok(Judge::Finder(Finder { patterns, action: settings.action, reading }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_rules_are_those_that_the_configuration_knows() {
        for entity in Entity::ALL {
            let mut names: Vec<_> = rules::of(entity).into_iter().map(|rule| rule.name).collect();
            names.dedup();
            assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), entity.rules(), "{entity:?}");
        }
    }
}
