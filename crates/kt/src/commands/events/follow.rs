//! `kt events tail`: the newest events, and those that come.

use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use kt_domain::events::Event;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::source::{AdminAddress, Source};
use super::{DataDir, text};
use crate::commands::reading::printable;
use crate::failure::Failure;
use crate::output;

/// How often new events are looked for.
const POLL: Duration = Duration::from_millis(500);

/// Show the newest events, and those that come
#[derive(Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    data_dir: DataDir,
    /// Ask the admin listener of a running gateway instead, such as <http://127.0.0.1:41003>
    #[arg(long, value_name = "URL")]
    admin_url: Option<AdminAddress>,
    /// Go on with the events that come, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// How many events to begin with
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only events of this type, such as `ip_denied` or `decision`
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Print the events as JSON, one a line
    #[arg(long)]
    json: bool,
}

impl Tail {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let source = match &self.admin_url {
            Some(address) => Source::Admin(address.clone()),
            None => Source::Directory(self.data_dir.events()?),
        };
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

    fn query(&self, limit: u16, cursor: Option<&str>) -> String {
        let mut query = format!("limit={limit}");
        if let Some(event_type) = &self.event_type {
            let encoded: String = event_type
                .bytes()
                .flat_map(|byte| format!("%{byte:02X}").into_bytes())
                .map(char::from)
                .collect();
            query = format!("{query}&event_type={encoded}");
        }
        match cursor {
            Some(cursor) => format!("{query}&cursor={cursor}"),
            None => query,
        }
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
