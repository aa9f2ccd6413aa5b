//! What was used and what it cost: summed as events arrive, looked at by days, people, keys and models.

use std::time::Duration;

use jiff::civil::{Date, date};
use jiff::{Timestamp, ToSpan};
use kt_domain::actor::Permission;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::money::Money;
use kt_domain::usage::{Grouping, Used};
use kt_store::usage::{self, UsageOf, UsageSum, Which};
use kt_store::{Tx, audit};
use serde_json::{Value, json};

use crate::control::Control;
use crate::copies::CopyUnderWay;
use crate::csv;
use crate::paging::{Page, PageRequest, PageSize};

/// What is summed, and what sums are told apart by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// From this day on, in UTC; without it, the last 30 days.
    pub since: Option<Date>,
    /// Before this day; without it, up to now.
    pub until: Option<Date>,
    /// Of this person only.
    pub user: Option<UserId>,
    /// Of this key only.
    pub key: Option<String>,
    /// Of this model only.
    pub model: Option<String>,
    /// What sums are told apart by, beside the currency.
    pub group_by: Vec<Grouping>,
}

/// A sum. What it is not told apart by is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The day, in UTC.
    pub day: Option<Date>,
    /// Who made the requests, or answers for the key. Absent as well where nobody is known.
    pub member: Option<Named>,
    /// The key. Absent as well where none was shown.
    pub key: Option<Named>,
    /// The model that was named.
    pub model: Option<String>,
    /// What the cost is in; absent where nothing had a price.
    pub currency: Option<String>,
    /// What was used.
    pub used: Used,
}

/// Somebody or something with an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The identifier.
    pub id: String,
    /// What people call it, if they call it anything: a key's name, a person's name.
    pub name: Option<String>,
    /// A person's address.
    pub email: Option<String>,
}

/// What was used in a length of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The first day.
    pub since: Date,
    /// The day behind the last one.
    pub until: Date,
    /// Whether it is everybody's, and not the actor's own.
    pub is_everybodys: bool,
    /// The sums.
    pub rows: Page<UsageRow>,
}

/// What was used in a length of time, at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageReport {
    /// The first day.
    pub since: Date,
    /// The day behind the last one.
    pub until: Date,
    /// Whether it is everybody's, and not the actor's own.
    pub is_everybodys: bool,
    /// All together: one sum for each currency, and one for what had no price.
    pub totals: Vec<UsageRow>,
    /// Each day, also those without any; with the cost in the first currency of `totals`.
    pub days: Vec<(Date, Used)>,
    /// Who used most.
    pub members: Ranking,
    /// Which keys were used most.
    pub keys: Ranking,
    /// Which models were used most.
    pub models: Ranking,
}

/// The largest sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// The largest first.
    pub rows: Vec<UsageRow>,
    /// How many there are besides.
    pub more: u64,
}

/// A table of sums that is being made.
pub struct UsageExport {
    organization: OrganizationId,
    filter: usage::UsageFilter,
    group_by: Vec<Grouping>,
    /// The last sum that was written.
    after: Option<UsageOf>,
    begun: bool,
    complete: bool,
    _under_way: CopyUnderWay,
}

/// The columns of a table.
const COLUMNS: [&str; 13] = [
    "day",
    "user_id",
    "user_name",
    "user_email",
    "key_id",
    "key_name",
    "model",
    "requests",
    "input_tokens",
    "output_tokens",
    "estimated_requests",
    "cost",
    "currency",
];

const PAGE: PageSize = PageSize { usual: 100, most: 1000 };

/// How many sums are read at once.
const PART: u32 = 2000;

/// How many rows a ranking has.
const RANKED: u32 = 20;

/// How many days are looked at unless it is said.
const USUAL_DAYS: i64 = 30;

/// How many days are looked at at most.
const MOST_DAYS: i64 = 400;

/// How long sums are kept: a year, and the month that it is compared with.
const KEPT: Duration = Duration::from_hours(400 * 24);

const FIRST_DAY: Date = date(1970, 1, 1);

impl Control {
    /// What was used, told apart as is asked for: by everybody, for whoever sees the events; else by the actor alone.
    pub async fn usage(
        &self,
        ctx: &Ctx,
        filter: &UsageFilter,
        request: &PageRequest,
    ) -> Result<Usage, Error> {
        let organization = ctx.require(Permission::ReadUsage)?;
        let (since, until) = days(filter, ctx.now)?;
        let sought = sought(ctx, filter, since, until);
        let list = format!("usage/{organization}/{sought:?}/{:?}", filter.group_by);
        let limit = PAGE.of(request)?;
        let after = self.position(&list, request)?;
        let found = usage::sums(
            &self.store,
            organization,
            &sought,
            &filter.group_by,
            Which::Behind(after.as_ref()),
            limit + 1,
        )
        .await?;
        let page = self.page(&list, limit, found, |sum| sum.of.clone())?;
        let items = page.items.into_iter().map(|sum| row(sum, &filter.group_by)).collect();
        let rows = Page { items, next_cursor: page.next_cursor };
        Ok(Usage { since, until, is_everybodys: ctx.actor.may(Permission::ReadEvents), rows })
    }

    /// What was used from `since` on and before `until`, at a glance: by everybody, for whoever sees the events; else by the
    /// actor alone.
    pub async fn usage_report(
        &self,
        ctx: &Ctx,
        since: Option<Date>,
        until: Option<Date>,
    ) -> Result<UsageReport, Error> {
        let organization = ctx.require(Permission::ReadUsage)?;
        let filter = UsageFilter { since, until, ..UsageFilter::default() };
        let (since, until) = days(&filter, ctx.now)?;
        let sought = sought(ctx, &filter, since, until);
        let all = async |groupings: &[Grouping]| self.all_sums(organization, &sought, groupings).await;
        let totals = all(&[]).await?;
        let currency = totals.iter().find_map(|row| row.currency.clone());
        Ok(UsageReport {
            since,
            until,
            is_everybodys: ctx.actor.may(Permission::ReadEvents),
            days: each_day(since, until, currency.as_deref(), &all(&[Grouping::Day]).await?),
            members: self.ranking(organization, &sought, Grouping::Member).await?,
            keys: self.ranking(organization, &sought, Grouping::Key).await?,
            models: self.ranking(organization, &sought, Grouping::Model).await?,
            totals,
        })
    }

    /// The largest sums. However many there are: a client may name a model as it likes.
    async fn ranking(
        &self,
        organization: &OrganizationId,
        sought: &usage::UsageFilter,
        grouping: Grouping,
    ) -> Result<Ranking, Error> {
        let groupings = [grouping];
        let found =
            usage::sums(&self.store, organization, sought, &groupings, Which::Largest, RANKED).await?;
        let all = usage::count(&self.store, organization, sought, &groupings).await?;
        let more = all.saturating_sub(found.len() as u64);
        Ok(Ranking { rows: found.into_iter().map(|sum| row(sum, &groupings)).collect(), more })
    }

    pub(crate) async fn all_sums(
        &self,
        organization: &OrganizationId,
        sought: &usage::UsageFilter,
        groupings: &[Grouping],
    ) -> Result<Vec<UsageRow>, Error> {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let found = usage::sums(
                &self.store,
                organization,
                sought,
                groupings,
                Which::Behind(after.as_ref()),
                PART,
            )
            .await?;
            let is_last = found.len() < PART as usize;
            after = found.last().map(|sum| sum.of.clone());
            rows.extend(found.into_iter().map(|sum| row(sum, groupings)));
            if is_last {
                return Ok(rows);
            }
        }
    }

    /// Begins a table of what was used, and records that it was taken.
    pub async fn export_usage(&self, ctx: &Ctx, filter: &UsageFilter) -> Result<UsageExport, Error> {
        let organization = ctx.require(Permission::ReadUsage)?.clone();
        let (since, until) = days(filter, ctx.now)?;
        let sought = sought(ctx, filter, since, until);
        let under_way = self.copies.begin(ctx)?;
        // What the store cannot look for is refused while there is an answer to refuse it in.
        usage::sums(&self.store, &organization, &sought, &filter.group_by, Which::Largest, 1).await?;
        let asked =
            json!({ "since": since, "until": until, "user_id": sought.user, "group_by": filter.group_by });
        let tx = self.store.begin_write().await?;
        let record = self
            .record(ctx, AuditAction::UsageExported, organization.as_str())
            .with_change(Value::Null, asked);
        audit::append(&tx, Some(&organization), &record).await?;
        tx.commit().await?;
        let group_by = filter.group_by.clone();
        Ok(UsageExport {
            organization,
            filter: sought,
            group_by,
            after: None,
            begun: false,
            complete: false,
            _under_way: under_way,
        })
    }

    /// The next part of the table; `None` when it is complete.
    pub async fn next_usage(&self, export: &mut UsageExport) -> Result<Option<Vec<u8>>, Error> {
        if export.complete {
            return Ok(None);
        }
        let mut part = Vec::new();
        if !std::mem::replace(&mut export.begun, true) {
            csv::write_row(COLUMNS, &mut part);
        }
        let UsageExport { organization, filter, group_by, after, .. } = &*export;
        let which = Which::Behind(after.as_ref());
        let found = usage::sums(&self.store, organization, filter, group_by, which, PART).await?;
        export.complete = found.len() < PART as usize;
        export.after = found.last().map(|sum| sum.of.clone());
        for sum in found {
            csv::write_row(cells(row(sum, &export.group_by)), &mut part);
        }
        Ok(Some(part).filter(|part| !part.is_empty()))
    }
}

/// All days from `since` on and before `until`, with what these sums say of them.
fn each_day(since: Date, until: Date, currency: Option<&str>, sums: &[UsageRow]) -> Vec<(Date, Used)> {
    let days = (day_number(since)..day_number(until)).map(date_of);
    let used_on = |day: Date| {
        let mut used = Used::default();
        for row in sums.iter().filter(|row| row.day == Some(day)) {
            let has_cost = row.currency.as_deref() == currency;
            used.add(Used { cost_micros: if has_cost { row.used.cost_micros } else { 0 }, ..row.used });
        }
        used
    };
    days.map(|day| (day, used_on(day))).collect()
}

/// Forgets what was used more than 400 days ago.
pub(crate) async fn forget_old_usage(tx: &Tx<'_>, now: Timestamp) -> Result<(), Error> {
    Ok(usage::forget(tx, usage::day_of(now - KEPT)).await?)
}

/// The first day, and the one behind the last.
fn days(filter: &UsageFilter, now: Timestamp) -> Result<(Date, Date), Error> {
    let today = date_of(usage::day_of(now));
    let until = filter.until.unwrap_or(today.saturating_add(1.day()));
    let since = filter.since.unwrap_or(until.saturating_sub(USUAL_DAYS.days()));
    if since >= until {
        return Err(Error::invalid(
            "until",
            "Choose a day behind `since`; it is the first that is left out.",
        ));
    }
    if day_number(until) - day_number(since) > MOST_DAYS {
        return Err(Error::invalid("since", format!("Choose at most {MOST_DAYS} days; no more are kept.")));
    }
    Ok((since, until))
}

/// What is asked for, as far as the actor may see it.
fn sought(ctx: &Ctx, filter: &UsageFilter, since: Date, until: Date) -> usage::UsageFilter {
    let own = ctx.actor.user().filter(|_| !ctx.actor.may(Permission::ReadEvents));
    // Of somebody else there is nothing to see, whether or not there is such a person.
    let is_hidden = own.is_some_and(|own| filter.user.as_ref().is_some_and(|asked| asked != own));
    let from = day_number(since);
    usage::UsageFilter {
        from,
        until: if is_hidden { from } else { day_number(until) },
        user: own.cloned().or_else(|| filter.user.clone()),
        key: filter.key.clone(),
        model: filter.model.clone(),
    }
}

fn day_number(day: Date) -> i64 {
    day.duration_since(FIRST_DAY).as_hours() / 24
}

fn date_of(day: i64) -> Date {
    FIRST_DAY.saturating_add(day.days())
}

fn row(UsageSum { of, person, key_name, used }: UsageSum, group_by: &[Grouping]) -> UsageRow {
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let (name, email) = person.unzip();
    UsageRow {
        day: group_by.contains(&Grouping::Day).then(|| date_of(of.day)),
        member: given(of.user).map(|id| Named { id, name, email }),
        key: given(of.key).map(|id| Named { id, name: key_name, email: None }),
        model: given(of.model),
        currency: given(of.currency),
        used,
    }
}

fn cells(row: UsageRow) -> [String; 13] {
    let UsageRow { day, member, key, model, currency, used } = row;
    let named =
        |named: Option<Named>| named.map(|Named { id, name, email }| (id, name, email)).unwrap_or_default();
    let (user_id, user_name, user_email) = named(member);
    let (key_id, key_name, _) = named(key);
    let cost = currency.as_ref().map(|_| Money { micros: used.cost_micros }.to_string());
    [
        day.map(|day| day.to_string()).unwrap_or_default(),
        user_id,
        user_name.unwrap_or_default(),
        user_email.unwrap_or_default(),
        key_id,
        key_name.unwrap_or_default(),
        model.unwrap_or_default(),
        used.requests.to_string(),
        used.input_tokens.to_string(),
        used.output_tokens.to_string(),
        used.estimated.to_string(),
        cost.unwrap_or_default(),
        currency.unwrap_or_default(),
    ]
}
