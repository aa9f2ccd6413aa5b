//! `kt events tail`: the newest events, and those that come.

use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use kt_domain::events::Event;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::source::{Origin, Query, Source};
use super::text;
use crate::commands::reading::{printable, time};
use crate::failure::Failure;
use crate::output;

/// How often new events are looked for.
const POLL: Duration = Duration::from_millis(500);

/// Show the newest events, and those that come
#[derive(Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    origin: Origin,
    /// Go on with the events that come, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// How many events to begin with
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only events of this type, such as `ip_denied` or `decision`
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Only the events of this request: what its answer says in `X-KT-Request-Id`
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Only what came from this address
    #[arg(long, value_name = "ADDRESS")]
    source_ip: Option<String>,
    /// Only what was decided so: `allow`, `block`, `redact` or `escalate`
    #[arg(long, value_name = "VERDICT")]
    verdict: Option<String>,
    /// Only the events of this gateway
    #[arg(long, value_name = "ID")]
    gateway_id: Option<String>,
    /// Only events of this time or later
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Print the events as JSON, one a line
    #[arg(long)]
    json: bool,
}

impl Tail {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let source = self.origin.clone().open()?;
        let first = source.page(&self.query(self.limit, None))?.events;
        let newest = first.first().and_then(|event| id(event));
        self.print(first);
        if self.follow { self.follow(&source, newest) } else { Ok(()) }
    }

    /// Prints the events that come after the one called `newest`, until the process is interrupted.
    fn follow(&self, source: &Source, mut newest: Option<String>) -> Result<(), Failure> {
        loop {
            sleep(POLL);
            let new = self.since(source, newest.as_deref())?;
            newest = new.first().and_then(|event| id(event)).or(newest);
            self.print(new);
        }
    }

    /// The events that are newer than the one called `known`, newest first.
    fn since(&self, source: &Source, known: Option<&str>) -> Result<Vec<Box<RawValue>>, Failure> {
        let mut new = Vec::new();
        let mut cursor = None;
        loop {
            let page = source.page(&self.query(1000, cursor.as_deref()))?;
            for event in page.events {
                if id(&event).as_deref() == known {
                    return Ok(new);
                }
                new.push(event);
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(new);
            }
        }
    }

    fn query(&self, limit: u16, cursor: Option<&str>) -> Query {
        let wanted = [
            ("limit", Some(limit.to_string())),
            ("cursor", cursor.map(str::to_owned)),
            ("event_type", self.event_type.clone()),
            ("request_id", self.request_id.clone()),
            ("source_ip", self.source_ip.clone()),
            ("verdict", self.verdict.clone()),
            ("gateway_id", self.gateway_id.clone()),
            ("since", self.since.map(|since| since.to_string())),
        ];
        wanted.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Prints events that come newest first, oldest first.
    fn print(&self, events: Vec<Box<RawValue>>) {
        for event in events.into_iter().rev() {
            match serde_json::from_str::<Event>(event.get()) {
                Ok(event) if !self.json => output::line(text::line(&event)),
                // A newer gateway may record what this program does not know. In JSON, the escapes mean the same.
                _ => output::line(printable(event.get())),
            }
        }
    }
}

fn id(event: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    serde_json::from_str(event.get()).ok().map(|named: Named| named.id)
}
