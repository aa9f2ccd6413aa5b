//! `prices`: what tokens cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codes;
use super::rules::Review;
use crate::money::Money;

/// What tokens cost, so that events, usage and budgets can say it in money. Nothing has a price unless it is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prices {
    /// What the amounts are in. It is a label: nothing is converted.
    #[schemars(length(min = 1, max = 16))]
    pub currency: String,
    /// The prices. For each model the first entry that fits holds.
    pub models: Vec<ModelPrice>,
}

/// What the tokens of some models cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// The model's name as the provider is asked for it; `*` stands for any letters, such as `gpt-4o*`.
    #[schemars(length(min = 1, max = 200))]
    pub model: String,
    /// A million tokens of prompts.
    pub input: Money,
    /// A million tokens of answers.
    pub output: Money,
}

const MILLION: u128 = 1_000_000;

impl Default for Prices {
    fn default() -> Self {
        Self { currency: "USD".into(), models: Vec::new() }
    }
}

impl Prices {
    /// What holds for a model, if anything does.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<&ModelPrice> {
        self.models.iter().find(|price| fits(&price.model, model))
    }

    pub(super) fn review(&self, review: &mut Review) {
        let names = self.models.iter().map(|price| price.model.as_str());
        let suggestion = "the first entry that fits holds: remove one of them";
        review.unique(names, |index| format!("prices.models[{index}].model"), suggestion);
        if let Some(all) = self.models.iter().position(|price| price.model == "*")
            && all + 1 < self.models.len()
        {
            let message = "`*` fits every model, so that no entry after it ever holds";
            review.say(&codes::BAD_BUDGET, &format!("prices.models[{all}].model"), message, "put it last");
        }
    }
}

impl ModelPrice {
    /// What so many tokens cost, in millionths of the currency; a part of a millionth counts as a whole one.
    #[must_use]
    pub fn cost(&self, input: u64, output: u64) -> u64 {
        let part = |tokens: u64, price: Money| u128::from(tokens) * u128::from(price.micros);
        let total = part(input, self.input).saturating_add(part(output, self.output)).div_ceil(MILLION);
        u64::try_from(total).unwrap_or(u64::MAX)
    }
}

/// Whether a name is one that a pattern stands for.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The earliest place leaves the most for what comes behind.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(model: &str, input: &str, output: &str) -> ModelPrice {
        ModelPrice { model: model.into(), input: input.parse().unwrap(), output: output.parse().unwrap() }
    }

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, fitting, other) in [
            ("gpt-4o", "gpt-4o", "gpt-4o-mini"),
            ("gpt-4o*", "gpt-4o", "gpt-4"),
            ("*-mini", "gpt-4o-mini", "gpt-4o-mini-2"),
            ("claude-*-20*", "claude-3-5-haiku-2024", "claude-3"),
            ("a*a", "aa", "a"),
            ("*", "", "-"),
            ("a*b*c", "aXbbYc", "acb"),
        ] {
            assert!(fits(pattern, fitting), "{pattern} {fitting}");
            assert!(pattern == "*" || !fits(pattern, other), "{pattern} {other}");
        }
    }

    #[test]
    fn the_first_entry_that_fits_holds() {
        let models =
            vec![price("gpt-4o-mini*", "0.15", "0.60"), price("gpt-*", "2.50", "10"), price("*", "1", "1")];
        let prices = Prices { models, ..Prices::default() };
        let input = |model| prices.of(model).map(|price| price.input.micros);
        assert_eq!(input("gpt-4o-mini-2024"), Some(150_000));
        assert_eq!([input("gpt-4o"), input("else")], [Some(2_500_000), Some(1_000_000)]);
        assert!(Prices::default().of("gpt-4o").is_none());
    }

    #[test]
    fn a_cost_is_exact_and_never_less() {
        let price = price("m", "0.15", "0.60");
        assert_eq!(price.cost(0, 0), 0);
        assert_eq!(price.cost(1_000_000, 1_000_000), 750_000);
        assert_eq!(price.cost(1, 0), 1, "0.15 millionths count as one");
        assert_eq!(price.cost(20, 5), 6);
        let dear = super::tests::price("m", "1000000000", "1000000000");
        assert_eq!(dear.cost(u64::MAX, u64::MAX), u64::MAX, "what cannot be counted is as much as can be");
    }
}
