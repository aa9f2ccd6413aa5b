//! `kt events tail`: the newest events, and those that come.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use kt_domain::clock::{Clock, SystemClock};
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

/// How many events are asked for at a time where new ones are looked for.
const PAGE: u16 = 1000;

/// An event bears the moment at which its request began, and comes once that is over and its gateway has delivered it. What
/// happened up to so long after it may have come before.
const LATE: Duration = Duration::from_mins(10);

/// Show the newest events, and those that come
#[derive(Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    origin: Origin,
    /// Go on with the events that come, until interrupted. Gateways may deliver an event late to a control plane. It is shown
    /// all the same, unless it is ten minutes older than the newest event shown, or a thousand events are newer than it
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
        match source {
            _ if !self.follow => {
                self.print(source.page(&self.query(self.limit, self.since, None))?.events);
                Ok(())
            }
            Source::ControlPlane(_) => self.follow_by_time(&source),
            Source::Directory(_) | Source::Admin(_) => self.follow_by_place(&source),
        }
    }

    /// Prints the events of a log, which are listed as they came, and those that come behind them, until the process is
    /// interrupted.
    fn follow_by_place(&self, source: &Source) -> Result<(), Failure> {
        let first = source.page(&self.query(self.limit, self.since, None))?.events;
        let mut newest = first.first().and_then(|event| id(event));
        self.print(first);
        loop {
            sleep(POLL);
            let new = self.behind(source, newest.as_deref())?;
            newest = new.first().and_then(|event| id(event)).or(newest);
            self.print(new);
        }
    }

    /// The same of many gateways, whose events are listed by when they happened, and come in another order.
    fn follow_by_time(&self, source: &Source) -> Result<(), Failure> {
        let mut seen = Seen::default();
        let mut first = seen.take_new(source.page(&self.query(PAGE, self.since, None))?.events);
        first.truncate(self.limit.into());
        self.print(first);
        loop {
            sleep(POLL);
            let since = seen.reaches_back(SystemClock.now()).max(self.since);
            let new = self.unseen(source, since, &mut seen)?;
            seen.forget_before(since);
            self.print(new);
        }
    }

    /// The events since this time that were not seen before, newest first.
    fn unseen(
        &self,
        source: &Source,
        since: Option<Timestamp>,
        seen: &mut Seen,
    ) -> Result<Vec<Box<RawValue>>, Failure> {
        let mut new = Vec::new();
        let mut cursor = None;
        loop {
            let page = source.page(&self.query(PAGE, since, cursor.as_deref()))?;
            let listed = page.events.len();
            let found = seen.take_new(page.events);
            // Only behind a page without any that was seen may stand others that were not.
            cursor = page.next_cursor.filter(|_| found.len() == listed);
            new.extend(found);
            if cursor.is_none() {
                return Ok(new);
            }
        }
    }

    /// The events that stand behind the one called `known`, newest first.
    fn behind(&self, source: &Source, known: Option<&str>) -> Result<Vec<Box<RawValue>>, Failure> {
        let mut new = Vec::new();
        let mut cursor = None;
        loop {
            let page = source.page(&self.query(PAGE, self.since, cursor.as_deref()))?;
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

    fn query(&self, limit: u16, since: Option<Timestamp>, cursor: Option<&str>) -> Query {
        let wanted = [
            ("limit", Some(limit.to_string())),
            ("cursor", cursor.map(str::to_owned)),
            ("event_type", self.event_type.clone()),
            ("request_id", self.request_id.clone()),
            ("source_ip", self.source_ip.clone()),
            ("verdict", self.verdict.clone()),
            ("gateway_id", self.gateway_id.clone()),
            ("since", since.map(|since| since.to_string())),
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

/// Events that were printed, and when each happened.
#[derive(Default)]
struct Seen {
    moments: HashMap<String, Option<Timestamp>>,
    /// When the newest of them happened.
    newest: Option<Timestamp>,
}

impl Seen {
    /// From when on events are asked for that may have come late. A gateway's clock may be ahead.
    fn reaches_back(&self, now: Timestamp) -> Option<Timestamp> {
        self.newest.map(|newest| newest.min(now) - LATE)
    }

    /// Those of these that were not seen before; now they are.
    fn take_new(&mut self, events: Vec<Box<RawValue>>) -> Vec<Box<RawValue>> {
        events.into_iter().filter(|event| self.sees(event)).collect()
    }

    /// Whether this is seen for the first time.
    fn sees(&mut self, event: &RawValue) -> bool {
        let (Some(id), happened) = (id(event), moment(event)) else { return true };
        self.newest = self.newest.max(happened);
        self.moments.insert(id, happened).is_none()
    }

    /// What happened before this is not asked for again.
    fn forget_before(&mut self, since: Option<Timestamp>) {
        self.moments.retain(|_, happened| *happened >= since);
    }
}

fn id(event: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    serde_json::from_str(event.get()).ok().map(|named: Named| named.id)
}

fn moment(event: &RawValue) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Timed {
        timestamp: Timestamp,
    }
    serde_json::from_str(event.get()).ok().map(|timed: Timed| timed.timestamp)
}
