//! How budgets stand: what is used of those that gateways keep to, by the events that have arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::Permission;
use kt_domain::configurations::{ConfigurationSource, VersionId};
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::policy_config::{Budget, Payer, PolicyConfig};
use kt_domain::usage::{Grouping, Used};
use kt_store::gateways::{self, Gateway};
use kt_store::{configurations, usage};

use crate::configurations::load;
use crate::control::Control;
use crate::usage::{Named, UsageRow};

/// How a budget stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetStanding {
    /// The budget, as a configuration in force says it.
    pub budget: Budget,
    /// What its money is in.
    pub currency: String,
    /// When it begins anew.
    pub ends_at: Timestamp,
    /// Those who have it: the fullest first, 20 of them at most.
    pub shares: Vec<BudgetShare>,
    /// How many there are besides.
    pub more: usize,
}

/// What somebody has used of a budget of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetShare {
    /// Who has it; `None` where everybody together does.
    pub whose: Option<Named>,
    /// What was used since the budget last began, with the cost in its currency.
    pub used: Used,
}

/// What a gateway keeps to counts for so long after it was last heard of.
const HEARD_WITHIN: Duration = Duration::from_hours(24);

/// Most of those who have a budget that are told.
const MOST_SHARES: usize = 20;

/// What models without a price are called together, as the gateway calls them.
const UNPRICED: &str = "other models";

impl BudgetStanding {
    /// How much of it this is, in hundredths rounded down: of its tokens or its money, whichever is used up more. More than
    /// 100 where it is overdrawn.
    #[must_use]
    pub fn percent(&self, used: &Used) -> u64 {
        let of = |used: u64, limit: Option<u64>| {
            let hundredfold = u128::from(used) * 100;
            limit.map(|limit| u64::try_from(hundredfold / u128::from(limit.max(1))).unwrap_or(u64::MAX))
        };
        let cost = self.budget.cost.map(|cost| cost.micros);
        let parts = [of(used.tokens(), self.budget.tokens), of(used.cost_micros, cost)];
        parts.into_iter().flatten().max().unwrap_or(0)
    }
}

impl Control {
    /// How the budgets stand that the organization's gateways keep to: all of them, for whoever sees the events; else those
    /// that the actor and their keys have for themselves. Gateways that count for themselves each have every budget by
    /// itself; what they let through is summed here.
    pub async fn budget_standings(&self, ctx: &Ctx) -> Result<Vec<BudgetStanding>, Error> {
        let organization = ctx.require(Permission::ReadUsage)?;
        let own = ctx.actor.user().filter(|_| !ctx.actor.may(Permission::ReadEvents));
        let mut standings: Vec<BudgetStanding> = Vec::new();
        for config in self.configurations_in_force(organization, ctx.now).await? {
            let currency = &config.prices.currency;
            for budget in &config.budgets {
                let is_told =
                    standings.iter().any(|told| told.budget == *budget && told.currency == *currency);
                let concerns = own.is_none() || matches!(budget.per, Payer::Key | Payer::User);
                if !is_told && concerns {
                    standings.push(self.standing(organization, own, &config, budget, ctx.now).await?);
                }
            }
        }
        Ok(standings)
    }

    async fn standing(
        &self,
        organization: &OrganizationId,
        own: Option<&UserId>,
        config: &PolicyConfig,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<BudgetStanding, Error> {
        let sought = usage::UsageFilter {
            from: usage::day_of(budget.period.begin(now)),
            until: usage::day_of(now) + 1,
            user: own.cloned(),
            key: None,
            model: None,
        };
        let rows = self.all_sums(organization, &sought, grouping(budget.per)).await?;
        let mut shares = shares(config, budget, rows);
        if own.is_none() {
            add_unused(budget, &mut shares);
        }
        let ends_at = budget.period.end(now);
        let currency = config.prices.currency.clone();
        let mut standing =
            BudgetStanding { budget: budget.clone(), currency, ends_at, shares: Vec::new(), more: 0 };
        let mut shares: Vec<BudgetShare> = shares.into_values().collect();
        // Stable: what is as full stays in the order of its identifier.
        shares.sort_by_key(|share| std::cmp::Reverse(standing.percent(&share.used)));
        standing.more = shares.len().saturating_sub(MOST_SHARES);
        shares.truncate(MOST_SHARES);
        standing.shares = shares;
        Ok(standing)
    }

    /// The configurations that the gateways run of which was heard lately, each once.
    async fn configurations_in_force(
        &self,
        organization: &OrganizationId,
        now: Timestamp,
    ) -> Result<Vec<PolicyConfig>, Error> {
        let heard = gateways::in_service(&self.store, organization, now - HEARD_WITHIN).await?;
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for gateway in heard {
            if seen.contains(&gateway.config_version) {
                continue;
            }
            // Another gateway with the same file may have told it where this one has not yet.
            if let Some(config) = self.configuration_in_force(organization, &gateway).await? {
                seen.insert(gateway.config_version);
                found.push(config);
            }
        }
        Ok(found)
    }

    /// The configuration that a gateway runs, as far as it is known here and can be read.
    async fn configuration_in_force(
        &self,
        organization: &OrganizationId,
        gateway: &Gateway,
    ) -> Result<Option<PolicyConfig>, Error> {
        if gateway.config_source == ConfigurationSource::File {
            let told = gateways::configuration(&self.store, organization, &gateway.id).await?;
            let told = told.filter(|told| told.version == gateway.config_version);
            return Ok(told
                .and_then(|told| told.document)
                .and_then(|document| serde_json::from_value(document).ok()));
        }
        // One that has none yet reports no version.
        let Ok(version) = gateway.config_version.parse::<VersionId>() else { return Ok(None) };
        let found = configurations::find(&self.store, organization, &version).await?;
        let Some((_, text)) = found else { return Ok(None) };
        Ok(load(&text).await?.config)
    }
}

/// What sums have to be told apart by, so that it is known whose they are.
fn grouping(payer: Payer) -> &'static [Grouping] {
    match payer {
        Payer::Key | Payer::Group => &[Grouping::Key, Grouping::Member],
        Payer::User => &[Grouping::Member],
        Payer::Model => &[Grouping::Model],
        Payer::Total => &[],
    }
}

/// What each of those has used whom the budget concerns, by their identifiers.
fn shares(config: &PolicyConfig, budget: &Budget, rows: Vec<UsageRow>) -> BTreeMap<String, BudgetShare> {
    let mut shares = BTreeMap::new();
    for row in rows {
        let has_cost = row.currency.as_deref() == Some(config.prices.currency.as_str());
        let used = Used { cost_micros: if has_cost { row.used.cost_micros } else { 0 }, ..row.used };
        let whose = match budget.per {
            Payer::Total => None,
            _ => match payer(config, budget.per, row) {
                Some(named) if budget.only.is_empty() || budget.only.contains(&named.id) => Some(named),
                _ => continue,
            },
        };
        let id = whose.as_ref().map(|named| named.id.clone()).unwrap_or_default();
        let share = shares.entry(id).or_insert_with(|| BudgetShare { whose, used: Used::default() });
        share.used.add(used);
    }
    shares
}

/// Who pays for a sum.
fn payer(config: &PolicyConfig, payer: Payer, row: UsageRow) -> Option<Named> {
    let called = |id: &str| Named { id: id.to_owned(), name: None, email: None };
    match payer {
        Payer::Total => None,
        Payer::Key => of_key(row),
        Payer::User => row.member,
        Payer::Group => {
            let key = of_key(row)?.id;
            config
                .consumer_groups
                .iter()
                .find(|group| group.keys.contains(&key))
                .map(|group| called(&group.id))
        }
        Payer::Model => {
            let model = row.model.unwrap_or_default();
            Some(called(config.prices.of(&model).map_or(UNPRICED, |price| &price.model)))
        }
    }
}

/// What a gateway counts as the key: a person asks without one, and counts as one.
fn of_key(row: UsageRow) -> Option<Named> {
    row.key.or(row.member)
}

/// Those who have a budget and have used nothing of it, as far as they are known.
fn add_unused(budget: &Budget, shares: &mut BTreeMap<String, BudgetShare>) {
    if budget.per == Payer::Total {
        shares.entry(String::new()).or_insert(BudgetShare { whose: None, used: Used::default() });
    }
    for id in &budget.only {
        let whose = Some(Named { id: id.clone(), name: None, email: None });
        shares.entry(id.clone()).or_insert(BudgetShare { whose, used: Used::default() });
    }
}
