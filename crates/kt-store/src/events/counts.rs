//! Events in figures: what the events of each hour add up to, written with the events themselves.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kt_domain::id::OrganizationId;
use kt_domain::traffic::{Measure, Tally};

use super::ROWS;
use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Composed, values};

/// The hour of a moment, counted from 1970.
#[must_use]
pub fn hour_of(moment: Timestamp) -> i64 {
    moment.as_second().div_euclid(3600)
}

/// Adds to the counts of some hours. In the order of their keys, so that two who add to the same ones never wait for each
/// other.
pub(super) async fn add(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    tallies: &BTreeMap<(i64, &str), Tally>,
) -> Result<(), StoreError> {
    const INSERT: &str =
        "INSERT INTO event_counts (organization_id, hour, gateway_id, measure, bucket, count) VALUES ";
    const ON_CONFLICT: &str = " ON CONFLICT (organization_id, hour, gateway_id, measure, bucket)
        DO UPDATE SET count = event_counts.count + excluded.count";
    let counts: Vec<_> = tallies
        .iter()
        .flat_map(|(place, tally)| {
            tally.counts().map(|(measure, bucket, count)| (*place, measure, bucket, count))
        })
        .collect();
    for counts in counts.chunks(ROWS) {
        let mut insert = Composed::new(INSERT);
        for (row, ((hour, gateway), measure, bucket, count)) in counts.iter().enumerate() {
            if row > 0 {
                insert.text(", ");
            }
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            let bucket = i64::from(*bucket);
            insert.row(values![organization.as_str(), *hour, *gateway, measure.as_str(), bucket, count]);
        }
        insert.text(ON_CONFLICT);
        insert.execute(tx).await?;
    }
    Ok(())
}

/// What the events from hour `from` on and before hour `until` add up to, in steps of so many hours, by the number of the
/// step. A step without events is absent.
pub async fn tallies(
    source: &impl Source,
    organization: &OrganizationId,
    from: i64,
    until: i64,
    hours: i64,
) -> Result<BTreeMap<i64, Tally>, StoreError> {
    const SELECT: &str =
        "SELECT (hour - $2) / $4 AS step, measure, bucket, CAST(SUM(count) AS BIGINT) AS count
        FROM event_counts WHERE organization_id = $1 AND hour >= $2 AND hour < $3
        GROUP BY (hour - $2) / $4, measure, bucket";
    let mut tallies: BTreeMap<i64, Tally> = BTreeMap::new();
    for row in sql::rows(source, SELECT, values![organization.as_str(), from, until, hours]).await? {
        let measure: Measure = row.parsed("measure")?;
        let bucket = u32::try_from(row.get::<i64>("bucket")?).unwrap_or(u32::MAX);
        let count = row.get::<i64>("count")?.cast_unsigned();
        tallies.entry(row.get("step")?).or_default().add(measure, bucket, count);
    }
    Ok(tallies)
}

/// What the events of each gateway from hour `from` on add up to. A gateway without events is absent.
pub async fn tallies_of_gateways(
    source: &impl Source,
    organization: &OrganizationId,
    from: i64,
) -> Result<BTreeMap<String, Tally>, StoreError> {
    const SELECT: &str = "SELECT gateway_id, measure, bucket, CAST(SUM(count) AS BIGINT) AS count
        FROM event_counts WHERE organization_id = $1 AND hour >= $2 GROUP BY gateway_id, measure, bucket";
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for row in sql::rows(source, SELECT, values![organization.as_str(), from]).await? {
        let measure: Measure = row.parsed("measure")?;
        let bucket = u32::try_from(row.get::<i64>("bucket")?).unwrap_or(u32::MAX);
        let count = row.get::<i64>("count")?.cast_unsigned();
        tallies.entry(row.get("gateway_id")?).or_default().add(measure, bucket, count);
    }
    Ok(tallies)
}

/// Forgets the counts of the hours before this one.
pub async fn forget_counts(tx: &Tx<'_>, hour: i64) -> Result<(), StoreError> {
    sql::execute(tx, "DELETE FROM event_counts WHERE hour < $1", values![hour]).await?;
    Ok(())
}
