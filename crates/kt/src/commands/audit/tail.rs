//! `kt audit tail`: the newest records, and those that come.

use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use kt_domain::audit::AuditRecord;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{Api, ApiAddress};
use crate::commands::reading::{fitting, printable, time};
use crate::failure::Failure;
use crate::output;

/// How often new records are looked for.
const POLL: Duration = Duration::from_secs(1);

/// The longest page that the API gives.
const LONGEST: u16 = 1000;

/// How many of the records that have come are fetched at once.
const PAGE: u16 = 200;

/// Show the newest records, and those that come
#[derive(Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    api: ApiAddress,
    /// Go on with the records that come, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// How many records to begin with
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=i64::from(LONGEST)))]
    limit: u16,
    /// Only this action, or those that begin so, such as `auth.sign_in` or `auth.`
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what this one did: an id, an address, or a key's name
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    /// Only what was done to this
    #[arg(long, value_name = "WHAT")]
    resource: Option<String>,
    /// Only what ended so: `success` or `failure`
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// Only records of this time or later
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Print the records as JSON, one a line
    #[arg(long)]
    json: bool,
}

/// The answer of `GET /v1/audit-log`.
#[derive(Deserialize)]
struct Page {
    records: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

impl Tail {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let filter = self.filter();
        let (follow, limit, json) = (self.follow, self.limit, self.json);
        let api = self.api.open()?;
        let first = page(&api, &filter, limit, None)?.records;
        let mut newest = first.first().and_then(|record| id(record));
        print(first, json);
        if !follow {
            return Ok(());
        }
        loop {
            sleep(POLL);
            let new = since(&api, &filter, newest.as_deref())?;
            newest = new.first().and_then(|record| id(record)).or(newest);
            print(new, json);
        }
    }

    fn filter(&self) -> Vec<(&'static str, String)> {
        [
            ("action", self.action.clone()),
            ("actor", self.actor.clone()),
            ("resource", self.resource.clone()),
            ("outcome", self.outcome.clone()),
            ("since", self.since.map(|since| since.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

fn page(
    api: &Api,
    filter: &[(&'static str, String)],
    limit: u16,
    cursor: Option<String>,
) -> Result<Page, Failure> {
    let mut query = filter.to_vec();
    query.push(("limit", limit.to_string()));
    query.extend(cursor.map(|cursor| ("cursor", cursor)));
    api.json("/v1/audit-log", &query)
}

/// The records that are newer than the one called `known`, the newest first.
fn since(
    api: &Api,
    filter: &[(&'static str, String)],
    known: Option<&str>,
) -> Result<Vec<Box<RawValue>>, Failure> {
    let mut new = Vec::new();
    let mut cursor = None;
    loop {
        let page = page(api, filter, PAGE, cursor)?;
        for record in page.records {
            if id(&record).as_deref() == known {
                return Ok(new);
            }
            new.push(record);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(new);
        }
    }
}

/// Prints records that come newest first, oldest first.
fn print(records: Vec<Box<RawValue>>, json: bool) {
    for record in records.into_iter().rev() {
        match serde_json::from_str::<AuditRecord>(record.get()) {
            Ok(record) if !json => output::line(fitting(&line(&record))),
            // A newer server may record what this program does not know. In JSON, the escapes mean the same.
            _ => output::line(printable(record.get())),
        }
    }
}

/// One line: when, how it ended, what, who, from where, to what.
fn line(record: &AuditRecord) -> String {
    printable(&format!(
        "{:.3}  {:7}  {:28}  {}  {:15}  {}",
        record.timestamp,
        record.outcome.as_str(),
        record.action.as_str(),
        record.actor.name,
        record.ip_address.map_or_else(|| "-".to_owned(), |ip| ip.to_string()),
        record.resource,
    ))
}

fn id(record: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    serde_json::from_str(record.get()).ok().map(|named: Named| named.id)
}
