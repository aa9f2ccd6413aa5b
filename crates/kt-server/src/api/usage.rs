//! `/v1/usage`: what was used and what it cost, in sums.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use jiff::civil::Date;
use kt_control::{BudgetShare, BudgetStanding, Named, Usage, UsageFilter, UsageRow};
use kt_domain::error::Error;
use kt_domain::policy_config::{Payer, Period};
use kt_domain::usage::Grouping;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::paging::{Everything, Listing, PageParams};
use super::{ErrorBody, Failure, Params};
use crate::Doors;
use crate::client::Caller;
use crate::download;

/// What is summed, and how.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageParams {
    /// From this day on (`2026-03-01`, in UTC); without it, the last 30 days.
    pub(crate) since: Option<String>,
    /// Before this day; without it, up to now.
    pub(crate) until: Option<String>,
    /// What sums are told apart by: `day`, `member`, `key`, `model`, or several with commas between; `day` without it.
    pub(crate) group_by: Option<String>,
    /// Of this member only.
    pub(crate) user_id: Option<String>,
    /// Of this key only.
    pub(crate) key_id: Option<String>,
    /// Of this model only.
    pub(crate) model: Option<String>,
}

impl UsageParams {
    /// The sums that are asked for.
    pub(crate) fn filter(&self) -> Result<UsageFilter, Error> {
        Ok(UsageFilter {
            since: day("since", self.since.as_deref())?,
            until: day("until", self.until.as_deref())?,
            user: self.user_id.as_deref().map(str::parse).transpose().map_err(|_| no_member())?,
            key: self.key_id.clone(),
            model: self.model.clone(),
            group_by: groupings(self.group_by.as_deref().unwrap_or("day"))?,
        })
    }
}

fn no_member() -> Error {
    Error::invalid("user_id", "Give a member's id, such as `usr_…`.")
}

fn day(param: &'static str, text: Option<&str>) -> Result<Option<Date>, Error> {
    let read =
        text.map(|text| text.parse().map_err(|_| Error::invalid(param, "Write a day such as 2026-03-15.")));
    read.transpose()
}

fn groupings(text: &str) -> Result<Vec<Grouping>, Error> {
    let mut all = Vec::new();
    for word in text.split(',') {
        let grouping =
            word.parse().map_err(|why| Error::invalid("group_by", format!("`group_by`: {why}.")))?;
        if !all.contains(&grouping) {
            all.push(grouping);
        }
    }
    Ok(all)
}

/// What was used.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageAnswer {
    /// The first day.
    #[schema(value_type = String, format = Date)]
    since: Date,
    /// The day behind the last one.
    #[schema(value_type = String, format = Date)]
    until: Date,
    usage: Vec<UsageRowAnswer>,
    next_cursor: Option<String>,
}

/// A sum. What it is not told apart by is absent.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageRowAnswer {
    /// The day, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date)]
    day: Option<Date>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<UsageNameAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<UsageNameAnswer>,
    /// The model that was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// Requests that reached a provider.
    requests: u64,
    /// Of these, the ones whose tokens are estimated in part.
    estimated_requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    /// Millionths of the currency.
    cost_micros: u64,
    /// What the cost is in; absent where nothing had a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
}

/// A member or a key.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageNameAnswer {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

impl From<Named> for UsageNameAnswer {
    fn from(Named { id, name, email }: Named) -> Self {
        Self { id, name, email }
    }
}

impl From<UsageRow> for UsageRowAnswer {
    fn from(UsageRow { day, member, key, model, currency, used }: UsageRow) -> Self {
        Self {
            day,
            member: member.map(Into::into),
            key: key.map(Into::into),
            model,
            requests: used.requests,
            estimated_requests: used.estimated,
            input_tokens: used.input_tokens,
            output_tokens: used.output_tokens,
            cost_micros: used.cost_micros,
            currency,
        }
    }
}

/// What was used and what it cost. Whoever sees the events sees everybody's; others see their own.
#[utoipa::path(get, path = "/v1/usage", tag = "evidence", params(UsageParams, PageParams), responses(
    (status = 200, description = "A page of sums.", body = UsageAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key.", body = ErrorBody),
    (status = 422, description = "A parameter breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn usage(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { filter: params, page: request }: Listing<UsageParams>,
) -> Result<Json<UsageAnswer>, Failure> {
    let Usage { since, until, rows, .. } = doors.control.usage(&ctx, &params.filter()?, &request).await?;
    let usage = rows.items.into_iter().map(Into::into).collect();
    Ok(Json(UsageAnswer { since, until, usage, next_cursor: rows.next_cursor }))
}

/// How budgets stand.
#[derive(Serialize, ToSchema)]
pub(crate) struct BudgetsAnswer {
    budgets: Vec<BudgetAnswer>,
    next_cursor: Option<String>,
}

/// How a budget stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct BudgetAnswer {
    id: String,
    /// Who has it: each `key`, `user`, `group` or `model` by itself, or all together (`total`).
    #[schema(value_type = String)]
    per: Payer,
    /// `day` or `month`, in UTC.
    #[schema(value_type = String)]
    period: Period,
    /// When it begins anew.
    ends_at: String,
    /// How many tokens may be used; `null` where they are not bounded.
    tokens: Option<u64>,
    /// How much may be spent, in millionths of the currency; `null` where that is not bounded.
    cost_micros: Option<u64>,
    currency: String,
    /// The fullest first; 20 at most.
    standings: Vec<BudgetShareAnswer>,
    /// How many there are besides.
    more: usize,
}

/// What somebody has used of a budget of their own.
#[derive(Serialize, ToSchema)]
pub(crate) struct BudgetShareAnswer {
    /// `null` where everybody together has it.
    whose: Option<UsageNameAnswer>,
    tokens_used: u64,
    cost_micros_used: u64,
    /// Of the tokens or the money, whichever is used up more; over 100 where it is overdrawn.
    percent: u64,
}

impl From<BudgetStanding> for BudgetAnswer {
    fn from(standing: BudgetStanding) -> Self {
        let share = |share: &BudgetShare| BudgetShareAnswer {
            whose: share.whose.clone().map(Into::into),
            tokens_used: share.used.tokens(),
            cost_micros_used: share.used.cost_micros,
            percent: standing.percent(&share.used),
        };
        let standings = standing.shares.iter().map(share).collect();
        let BudgetStanding { budget, currency, ends_at, more, .. } = standing;
        Self {
            id: budget.id,
            per: budget.per,
            period: budget.period,
            ends_at: ends_at.to_string(),
            tokens: budget.tokens,
            cost_micros: budget.cost.map(|cost| cost.micros),
            currency,
            standings,
            more,
        }
    }
}

/// How the budgets stand that the gateways keep to, by the events that have arrived. Whoever sees the events sees all of
/// them; others see those that they and their keys have for themselves.
#[utoipa::path(get, path = "/v1/budgets", tag = "evidence", params(PageParams), responses(
    (status = 200, description = "The budgets of the configurations in force.", body = BudgetsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key.", body = ErrorBody),
    (status = 422, description = "`limit` or `cursor` is not valid.", body = ErrorBody),
))]
pub(crate) async fn budgets(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { page: request, .. }: Listing<Everything>,
) -> Result<Json<BudgetsAnswer>, Failure> {
    let all: Vec<_> = doors.control.budget_standings(&ctx).await?.into_iter().enumerate().collect();
    let page = doors.control.page_of_whole("budgets", &request, all, |(place, _)| *place)?;
    let budgets = page.items.into_iter().map(|(_, standing)| standing.into()).collect();
    Ok(Json(BudgetsAnswer { budgets, next_cursor: page.next_cursor }))
}

/// The same as a table (CSV), whole. Is recorded in the audit log.
#[utoipa::path(get, path = "/v1/usage/export", tag = "evidence", params(UsageParams), responses(
    (status = 200, description = "The table, as a stream. One that breaks off is incomplete.", body = String,
        content_type = "text/csv"),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or key.", body = ErrorBody),
    (status = 422, description = "A parameter breaks a rule.", body = ErrorBody),
    (status = 429, description = "As many copies are under way as one person may take at once.", body = ErrorBody),
))]
pub(crate) async fn export(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Params(params): Params<UsageParams>,
) -> Result<Response, Failure> {
    let export = doors.control.export_usage(&ctx, &params.filter()?).await?;
    let disposition = "attachment; filename=\"usage.csv\"";
    Ok(download::attachment(&doors.control, export, "text/csv; charset=utf-8", disposition))
}
