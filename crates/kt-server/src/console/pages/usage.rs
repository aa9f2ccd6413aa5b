//! `/usage`: what was used and what it cost, by day, person, key and model.

use askama::Template;
use axum::extract::State;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use kt_control::{BudgetShare, BudgetStanding, Named, Ranking, UsageReport, UsageRow};
use kt_domain::error::Error;
use kt_domain::policy_config::Period;
use kt_domain::usage::Used;

use crate::Doors;
use crate::api::usage::UsageParams;
use crate::console::answer::{Answer, Frame, page};
use crate::console::asked::Asked;
use crate::console::columns::{Chart, Column, Series};
use crate::console::filters;
use crate::console::visit::SignedIn;
use crate::download;

#[derive(Template)]
#[template(path = "pages/usage.html")]
struct UsagePage {
    frame: Frame,
    report: UsageReport,
    tokens: Chart,
    costs: Chart,
    /// What the costs of the chart are in.
    currency: Option<String>,
    total: Used,
    spans: Vec<Span>,
    budgets: Vec<BudgetStanding>,
    /// Where the three rankings stand in the page, what they are called, and what they hold.
    rankings: Vec<(&'static str, &'static str, Ranking)>,
}

/// A length of time that can be chosen.
struct Span {
    name: &'static str,
    since: Date,
    until: Date,
    is_shown: bool,
}

const TOKENS: [Series; 2] =
    [Series { name: "In prompts", class: "soft" }, Series { name: "In answers", class: "accent" }];
const COSTS: [Series; 1] = [Series { name: "Cost", class: "accent" }];

/// The page.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    asked: Asked<UsageParams>,
) -> Answer {
    let filter = asked.filter.filter()?;
    let report = doors.control.usage_report(&visit.ctx, filter.since, filter.until).await?;
    let currency = report.totals.iter().find_map(|row| row.currency.clone());
    let mut total = Used::default();
    report.totals.iter().for_each(|row| total.add(row.used));
    let mut rankings =
        vec![("models", "Models", report.models.clone()), ("keys", "Keys", report.keys.clone())];
    if report.is_everybodys {
        rankings.insert(0, ("members", "Members", report.members.clone()));
    }
    let template = UsagePage {
        frame: Frame::of(&visit),
        tokens: chart(&TOKENS, &report, |used| vec![used.input_tokens, used.output_tokens])?,
        costs: chart(&COSTS, &report, |used| vec![used.cost_micros])?,
        currency,
        total,
        spans: spans(visit.ctx.now, &report),
        budgets: doors.control.budget_standings(&visit.ctx).await?,
        rankings,
        report,
    };
    page(&visit.look, &template)
}

fn chart(
    series: &[Series],
    report: &UsageReport,
    values: impl Fn(&Used) -> Vec<u64>,
) -> Result<Chart, Error> {
    let column = |(day, used): &(Date, Used)| {
        let midnight = day.to_zoned(TimeZone::UTC).map_err(Error::internal)?;
        Ok(Column { begins_at: midnight.timestamp(), values: values(used) })
    };
    let columns = report.days.iter().map(column).collect::<Result<Vec<_>, Error>>()?;
    Ok(Chart::stacked(series, columns.into_iter()))
}

fn spans(now: Timestamp, report: &UsageReport) -> Vec<Span> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let (tomorrow, month) = (today.saturating_add(1.day()), today.first_of_month());
    let days_before = |days: i64| tomorrow.saturating_sub(days.days());
    let spans = [
        ("7 days", days_before(7), tomorrow),
        ("30 days", days_before(30), tomorrow),
        ("This month", month, tomorrow),
        ("Last month", month.saturating_sub(1.month()), month),
        ("90 days", days_before(90), tomorrow),
    ];
    let span = |(name, since, until)| Span {
        name,
        since,
        until,
        is_shown: (since, until) == (report.since, report.until),
    };
    spans.map(span).into()
}

impl UsagePage {
    /// What a row of a ranking is about: what people call it, and what tells it from others. `None` for what nobody is
    /// known of.
    fn named<'r>(ranking: &str, row: &'r UsageRow) -> Option<(&'r str, &'r str)> {
        let named = match ranking {
            "members" => row.member.as_ref(),
            "keys" => row.key.as_ref(),
            _ => return row.model.as_deref().map(|model| (model, "")),
        }?;
        Some(Self::words(named))
    }

    /// Whose share of a budget it is: what people call it, and what tells it from others.
    fn payer(share: &BudgetShare) -> Option<(&str, &str)> {
        share.whose.as_ref().map(Self::words)
    }

    fn words(named: &Named) -> (&str, &str) {
        let detail = named.email.as_deref().unwrap_or(&named.id);
        named.name.as_deref().map_or((&named.id, ""), |name| (name, detail))
    }

    /// What stands where nobody is known.
    fn nobody(ranking: &str) -> &'static str {
        match ranking {
            "members" => "Nobody known",
            "keys" => "Without a key",
            _ => "No model named",
        }
    }
}

/// The sums as a table, as a file.
pub(crate) async fn export(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    asked: Asked<UsageParams>,
) -> Answer {
    let export = doors.control.export_usage(&visit.ctx, &asked.filter.filter()?).await?;
    let disposition = "attachment; filename=\"usage.csv\"";
    Ok(download::attachment(&doors.control, export, "text/csv; charset=utf-8", disposition))
}
