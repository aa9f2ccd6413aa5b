//! Which budgets a request concerns, what it may come to use of them, and what it costs.

use std::sync::Arc;

use kt_domain::policy_config::{Budget, ModelPrice, Payer, PolicyConfig, Prices};

use crate::exchange::Exchange;
use crate::limits::{Claim, Measure, Spending, Subject, Unit};
use crate::providers::target::Target;

/// What the budget of models without a price is called.
const UNPRICED: &str = "other models";

/// The prices and the budgets, as far as there are any.
pub(crate) struct BudgetRules {
    prices: Prices,
    pub(crate) currency: Arc<str>,
    budgets: Vec<(Arc<str>, Budget)>,
}

/// A number of tokens, of the prompt and of the answer, as far as it can be told before there is an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) input: u64,
    /// How many the prompt has at most, as far as its text tells.
    pub(crate) most_input: u64,
    pub(crate) output: u64,
    /// Whether the provider is told that the answer may have no more.
    pub(crate) is_bounded: bool,
}

/// Makes a name the subject that bears it.
type Named = fn(Arc<str>) -> Subject;

impl BudgetRules {
    pub(crate) fn compile(config: &PolicyConfig) -> Self {
        let prices = config.prices.clone();
        let budgets = config.budgets.iter().map(|budget| (budget.id.as_str().into(), budget.clone()));
        Self { currency: prices.currency.as_str().into(), budgets: budgets.collect(), prices }
    }

    /// What the tokens of a model cost, if that is known.
    pub(crate) fn price_of(&self, model: &str) -> Option<&ModelPrice> {
        self.prices.of(model)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.budgets.is_empty()
    }

    /// How many tokens the answer to a request may have that says nothing of it, by the budgets that concern it.
    pub(crate) fn bound(&self, exchange: &Exchange<'_>, model: Option<&str>) -> Option<u32> {
        let concerned = |(_, budget): &&(_, Budget)| self.subject(budget, exchange, model).is_some();
        let budgets = self.budgets.iter().filter(|(_, budget)| budget.bound().is_some());
        budgets.filter(concerned).filter_map(|(_, budget)| budget.bound()).min()
    }

    /// What a request claims of the budgets that concern it.
    pub(crate) fn claims(
        &self,
        exchange: &Exchange<'_>,
        model: Option<&str>,
        expected: Expected,
    ) -> Vec<Claim> {
        if self.budgets.is_empty() {
            return Vec::new();
        }
        let tokens = expected.most_input.saturating_add(expected.output);
        let cost = self.highest_cost(&exchange.snapshot.targets, model, expected);
        let now = exchange.worker.shared.clock.now();
        let mut claims = Vec::new();
        for (id, budget) in &self.budgets {
            let Some(subject) = self.subject(budget, exchange, model) else { continue };
            let until = budget.period.end(now).as_microsecond();
            let limits = [
                (Unit::Tokens, budget.tokens, tokens),
                (Unit::Cost, budget.cost.map(|cost| cost.micros), cost),
            ];
            claims.extend(limits.into_iter().filter_map(|(unit, limit, amount)| {
                let spending = Spending { budget: Arc::clone(id), unit, until };
                Some(Claim::new(subject.clone(), Measure::Spent(spending), limit?, amount))
            }));
        }
        claims
    }

    /// Who of those whom a budget concerns makes this request, if any does.
    fn subject(&self, budget: &Budget, exchange: &Exchange<'_>, model: Option<&str>) -> Option<Subject> {
        let key = exchange.key.as_ref();
        let (name, subject): (Arc<str>, Named) = match budget.per {
            Payer::Total => return Some(Subject::Everybody),
            Payer::Key => (Arc::clone(&key?.id), Subject::Key),
            Payer::User => (Arc::clone(key?.user.as_ref()?), Subject::User),
            Payer::Group => (Arc::clone(&exchange.group.as_ref()?.id), Subject::Group),
            Payer::Model => {
                let price = self.price_of(model.unwrap_or_default());
                (price.map_or(UNPRICED, |price| &price.model).into(), Subject::Model)
            }
        };
        let is_concerned = budget.only.is_empty() || budget.only.iter().any(|only| **only == *name);
        is_concerned.then(|| subject(name))
    }

    /// What a request may cost at most, whichever target answers it.
    fn highest_cost(&self, targets: &[Arc<Target>], model: Option<&str>, expected: Expected) -> u64 {
        let instead = targets.iter().filter_map(|target| target.model_instead_of(model));
        // A provider that is named no model takes one of its own: of the prices, that of every model fits.
        let asked = model.unwrap_or_default();
        let prices = instead.chain([asked]).filter_map(|model| self.price_of(model));
        prices.map(|price| price.cost(expected.most_input, expected.output)).max().unwrap_or(0)
    }
}
