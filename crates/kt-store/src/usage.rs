//! Usage in figures: what the requests of each day used, by person, key and model, written with the events themselves.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::usage::{Grouping, Used};
use serde::{Deserialize, Serialize};

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Composed, Row, values};

/// What one request used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUsage {
    /// Who made it, if its gateway says so; else it is whoever answers for the key.
    pub user: Option<UserId>,
    /// The key that it was made with; empty without one.
    pub key: String,
    /// The model that it named; empty without one.
    pub model: String,
    /// What its cost is in; empty if it has none.
    pub currency: String,
    /// What it used.
    pub used: Used,
}

/// What a sum is of. What it is not told apart by is 0 or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UsageOf {
    /// The day, counted from 1970.
    pub day: i64,
    /// Who answers for it.
    pub user: String,
    /// The key.
    pub key: String,
    /// The model.
    pub model: String,
    /// What the cost is in.
    pub currency: String,
}

/// A sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSum {
    /// What it is of.
    pub of: UsageOf,
    /// The person's name and address, where that is a member.
    pub person: Option<(String, String)>,
    /// The key's name, where it is one of the organization's.
    pub key_name: Option<String>,
    /// What was used.
    pub used: Used,
}

/// What is summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageFilter {
    /// From this day on, counted from 1970.
    pub from: i64,
    /// Before this day.
    pub until: i64,
    /// Of this person only.
    pub user: Option<UserId>,
    /// Of this key only.
    pub key: Option<String>,
    /// Of this model only.
    pub model: Option<String>,
}

/// How many rows one statement inserts: each has eleven values, and SQLite takes 32,766 of them.
const ROWS: usize = 500;

/// The day of a moment in UTC, counted from 1970.
#[must_use]
pub fn day_of(moment: Timestamp) -> i64 {
    moment.as_second().div_euclid(86_400)
}

/// Adds what requests used at their moments. In the order of their keys, so that two who add to the same sums never wait
/// for each other.
pub(crate) async fn add(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    used: &[(Timestamp, &NewUsage)],
) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO usage_counts (organization_id, day, user_id, key_id, model, currency,
            requests, estimated, input_tokens, output_tokens, cost_micros)
        VALUES ";
    const ON_CONFLICT: &str =
        " ON CONFLICT (organization_id, day, user_id, key_id, model, currency) DO UPDATE SET
            requests = usage_counts.requests + excluded.requests,
            estimated = usage_counts.estimated + excluded.estimated,
            input_tokens = usage_counts.input_tokens + excluded.input_tokens,
            output_tokens = usage_counts.output_tokens + excluded.output_tokens,
            cost_micros = usage_counts.cost_micros + excluded.cost_micros";
    let owners = owners(tx, organization, used).await?;
    let mut sums: BTreeMap<UsageOf, Used> = BTreeMap::new();
    for (moment, usage) in used {
        let told = usage.user.as_ref().map(ToString::to_string);
        let person = told.or_else(|| owners.get(&usage.key).cloned());
        let of = UsageOf {
            day: day_of(*moment),
            user: person.unwrap_or_default(),
            key: usage.key.clone(),
            model: usage.model.clone(),
            currency: usage.currency.clone(),
        };
        sums.entry(of).or_default().add(usage.used);
    }
    let sums: Vec<_> = sums.into_iter().collect();
    for sums in sums.chunks(ROWS) {
        let mut insert = Composed::new(INSERT);
        for (place, (of, used)) in sums.iter().enumerate() {
            if place > 0 {
                insert.text(", ");
            }
            insert.row(values![
                organization.as_str(),
                of.day,
                &of.user,
                &of.key,
                &of.model,
                &of.currency,
                signed(used.requests),
                signed(used.estimated),
                signed(used.input_tokens),
                signed(used.output_tokens),
                signed(used.cost_micros),
            ]);
        }
        insert.text(ON_CONFLICT);
        insert.execute(tx).await?;
    }
    Ok(())
}

/// Who answers for the keys that were used, by the keys' ids.
async fn owners(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    used: &[(Timestamp, &NewUsage)],
) -> Result<BTreeMap<String, String>, StoreError> {
    let keys: BTreeSet<&str> =
        used.iter().map(|(_, usage)| usage.key.as_str()).filter(|key| !key.is_empty()).collect();
    let keys: Vec<&str> = keys.into_iter().collect();
    let mut owners = BTreeMap::new();
    for keys in keys.chunks(ROWS) {
        let mut query = Composed::new("SELECT id, owner_id FROM api_keys WHERE organization_id = ");
        query.value(organization.as_str()).text(" AND id IN (");
        for (place, key) in keys.iter().enumerate() {
            if place > 0 {
                query.text(", ");
            }
            query.value(*key);
        }
        query.text(")");
        for row in query.rows(tx).await? {
            owners.insert(row.get("id")?, row.get("owner_id")?);
        }
    }
    Ok(owners)
}

/// Which sums are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// In the order of what they are told apart by, those behind this one.
    Behind(Option<&'a UsageOf>),
    /// The largest, by cost, then tokens, then requests.
    Largest,
}

/// What sums can be told apart by: the column, and what stands in its place where they are not.
const COLUMNS: [(Grouping, &str, &str); 4] = [
    (Grouping::Day, "day", "CAST(0 AS BIGINT) AS day"),
    (Grouping::Member, "user_id", "'' AS user_id"),
    (Grouping::Key, "key_id", "'' AS key_id"),
    (Grouping::Model, "model", "'' AS model"),
];

/// The columns by which these sums are told apart, the currency among them.
fn apart(groupings: &[Grouping]) -> impl Iterator<Item = &'static str> {
    let asked = COLUMNS.iter().filter(|(grouping, ..)| groupings.contains(grouping));
    asked.map(|(_, column, _)| *column).chain(["currency"])
}

/// What of an organization fits.
fn fitting(query: &mut Composed, organization: &OrganizationId, filter: &UsageFilter) {
    query.text(" FROM usage_counts WHERE organization_id = ").value(organization.as_str());
    query.text(" AND day >= ").value(filter.from).text(" AND day < ").value(filter.until);
    query
        .and("user_id = ", filter.user.as_ref().map(ToString::to_string))
        .and("key_id = ", filter.key.clone())
        .and("model = ", filter.model.clone());
}

/// How many sums there are of what fits, told apart by `groupings`.
pub async fn count(
    source: &impl Source,
    organization: &OrganizationId,
    filter: &UsageFilter,
    groupings: &[Grouping],
) -> Result<u64, StoreError> {
    let mut query = Composed::new("SELECT COUNT(*) AS sums FROM (SELECT 1 AS one");
    fitting(&mut query, organization, filter);
    query.text(" GROUP BY ").listed(apart(groupings)).text(") s");
    let rows = query.rows(source).await?;
    rows.first().map_or(Ok(0), |row| Ok(row.get::<i64>("sums")?.cast_unsigned()))
}

/// Up to `limit` sums of what fits, told apart by `groupings`.
pub async fn sums(
    source: &impl Source,
    organization: &OrganizationId,
    filter: &UsageFilter,
    groupings: &[Grouping],
    which: Which<'_>,
    limit: u32,
) -> Result<Vec<UsageSum>, StoreError> {
    const SUMS: &str = ", currency, CAST(SUM(requests) AS BIGINT) AS requests,
            CAST(SUM(estimated) AS BIGINT) AS estimated, CAST(SUM(input_tokens) AS BIGINT) AS input_tokens,
            CAST(SUM(output_tokens) AS BIGINT) AS output_tokens, CAST(SUM(cost_micros) AS BIGINT) AS cost_micros";
    const LARGEST: &str =
        "SUM(cost_micros) DESC, SUM(input_tokens + output_tokens) DESC, SUM(requests) DESC, ";
    const LARGEST_OF_ALL: &str =
        "s.cost_micros DESC, s.input_tokens + s.output_tokens DESC, s.requests DESC, ";
    let is_apart = |grouping: &Grouping| groupings.contains(grouping);
    let is_ranked = matches!(which, Which::Largest);
    let mut query = Composed::new(
        "SELECT s.*, u.name AS person_name, u.email AS person_email, k.name AS key_name FROM (SELECT ",
    );
    query.listed(
        COLUMNS.iter().map(|(grouping, column, none)| if is_apart(grouping) { *column } else { *none }),
    );
    query.text(SUMS);
    fitting(&mut query, organization, filter);
    if let Which::Behind(Some(after)) = which {
        query.text(" AND (").listed(apart(groupings)).text(") > (");
        for (grouping, ..) in COLUMNS.iter().filter(|(grouping, ..)| is_apart(grouping)) {
            match grouping {
                Grouping::Day => query.value(after.day),
                Grouping::Member => query.value(&after.user),
                Grouping::Key => query.value(&after.key),
                Grouping::Model => query.value(&after.model),
            };
            query.text(", ");
        }
        query.value(&after.currency).text(")");
    }
    query.text(" GROUP BY ").listed(apart(groupings));
    query.text(" ORDER BY ").text(if is_ranked { LARGEST } else { "" });
    query.listed(apart(groupings)).text(" LIMIT ").value(i64::from(limit));
    query
        .text(") s LEFT JOIN memberships m ON m.user_id = s.user_id AND m.organization_id = ")
        .value(organization.as_str());
    query
        .text(" LEFT JOIN users u ON u.id = m.user_id LEFT JOIN api_keys k ON k.id = s.key_id AND k.organization_id = ")
        .value(organization.as_str());
    query.text(" ORDER BY ").text(if is_ranked { LARGEST_OF_ALL } else { "" });
    query.text("s.day, s.user_id, s.key_id, s.model, s.currency");
    query.rows(source).await?.iter().map(read).collect()
}

/// Forgets what was used before this day.
pub async fn forget(tx: &Tx<'_>, day: i64) -> Result<(), StoreError> {
    sql::execute(tx, "DELETE FROM usage_counts WHERE day < $1", values![day]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<UsageSum, StoreError> {
    let count = |column| Ok::<_, StoreError>(u64::try_from(row.get::<i64>(column)?).unwrap_or(0));
    let name: Option<String> = row.get("person_name")?;
    let email: Option<String> = row.get("person_email")?;
    Ok(UsageSum {
        of: UsageOf {
            day: row.get("day")?,
            user: row.get("user_id")?,
            key: row.get("key_id")?,
            model: row.get("model")?,
            currency: row.get("currency")?,
        },
        person: name.zip(email),
        key_name: row.get("key_name")?,
        used: Used {
            requests: count("requests")?,
            estimated: count("estimated")?,
            input_tokens: count("input_tokens")?,
            output_tokens: count("output_tokens")?,
            cost_micros: count("cost_micros")?,
        },
    })
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
