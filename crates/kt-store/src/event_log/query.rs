//! The newest events that fit, read backwards through the segments without any lock: the writer never waits.

mod parse;

use std::borrow::Cow;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;
use kt_domain::events::{EventType, Kind, Record, Verdict};
use memchr::memmem;
use serde::Deserialize;

use super::error::{AtPath, LogError};
use super::lines::LinesBackwards;
use super::segments::{self, Segment};
pub use parse::QueryProblem;

/// Which events are asked for: those that fit everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Events of this type.
    pub event_type: Option<EventType>,
    /// Events at or after this time.
    pub since: Option<Timestamp>,
    /// Events before this time.
    pub until: Option<Timestamp>,
    /// Events caused from this address.
    pub source_ip: Option<IpAddr>,
    /// Events of this request.
    pub request_id: Option<String>,
    /// Events with this verdict.
    pub verdict: Option<Verdict>,
    /// Events of this gateway.
    pub gateway_id: Option<String>,
}

/// A filter, and which part of what fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Which events.
    pub filter: EventFilter,
    /// How many at most.
    pub limit: usize,
    /// Only events before this entry of the log.
    pub before: Option<u64>,
}

impl Default for EventQuery {
    fn default() -> Self {
        Self { filter: EventFilter::default(), limit: 100, before: None }
    }
}

/// Events, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Each the JSON text of an event, as recorded.
    pub events: Vec<String>,
    /// Asks for the events that come after these; `None` when there are no more.
    pub next_cursor: Option<String>,
}

impl Page {
    /// The body of `GET /v1/events`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let cursor = self.next_cursor.as_ref().map_or("null".to_owned(), |cursor| format!("\"{cursor}\""));
        format!("{{\"events\":[{}],\"next_cursor\":{cursor}}}", self.events.join(","))
    }
}

/// The newest events of the log in `directory` that `query` asks for.
pub fn query(directory: &Path, query: &EventQuery) -> Result<Page, LogError> {
    let mut search = Search { matcher: Matcher::new(&query.filter), query, page: Page::default(), last: 0 };
    for segment in segments::list(directory)?.iter().rev() {
        if query.before.is_some_and(|before| segment.first_seq >= before) {
            continue;
        }
        if search.read(segment)? == Progress::Finished {
            break;
        }
    }
    Ok(search.page)
}

struct Search<'a> {
    query: &'a EventQuery,
    matcher: Matcher<'a>,
    page: Page,
    /// The entry of the page's last event.
    last: u64,
}

#[derive(PartialEq)]
enum Progress {
    GoOn,
    /// All that stands before in this segment is too old.
    SegmentDone,
    Finished,
}

impl Search<'_> {
    fn read(&mut self, segment: &Segment) -> Result<Progress, LogError> {
        let mut lines = match LinesBackwards::open(&segment.path) {
            // Retention removed it meanwhile, and with it all before.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Progress::Finished),
            opened => opened.at(&segment.path)?,
        };
        while let Some(line) = lines.previous().at(&segment.path)? {
            // A damaged line is for `verify` to report; it must not hide the others.
            let Some(record) = Record::from_written(line) else { continue };
            match self.visit(&record) {
                Progress::GoOn => {}
                done => return Ok(done),
            }
        }
        Ok(Progress::SegmentDone)
    }

    fn visit(&mut self, record: &Record<'_>) -> Progress {
        if self.query.before.is_some_and(|before| record.seq >= before) {
            return Progress::GoOn;
        }
        match record.kind {
            Kind::Event if self.matcher.fits(record.content()) => self.take(record),
            Kind::Checkpoint if self.is_before_since(record) => Progress::SegmentDone,
            _ => Progress::GoOn,
        }
    }

    /// One event more than the limit says that there is a next page.
    fn take(&mut self, record: &Record<'_>) -> Progress {
        if self.page.events.len() == self.query.limit {
            self.page.next_cursor = Some(parse::cursor(self.last));
            return Progress::Finished;
        }
        self.last = record.seq;
        self.page.events.push(String::from_utf8_lossy(record.content()).into_owned());
        Progress::GoOn
    }

    /// Events can lie out of order, but none was recorded before it happened, and a segment ends where the clock is set
    /// back: all that stand before a checkpoint in its segment are older than it.
    fn is_before_since(&self, record: &Record<'_>) -> bool {
        let Some(since) = self.query.filter.since else { return false };
        let written =
            record.checkpoint().and_then(|checkpoint| checkpoint.timestamp.parse::<Timestamp>().ok());
        written.is_some_and(|written| written < since)
    }
}

/// Compares events with a filter: first byte by byte, which rules nearly all out, then field by field.
struct Matcher<'a> {
    filter: &'a EventFilter,
    /// What the text of every event that fits holds.
    needles: Vec<memmem::Finder<'static>>,
}

impl<'a> Matcher<'a> {
    fn new(filter: &'a EventFilter) -> Self {
        let needles = [
            needle("event_type", filter.event_type.as_ref()),
            needle("source_ip", filter.source_ip.as_ref()),
            needle("request_id", filter.request_id.as_ref()),
            needle("verdict", filter.verdict.as_ref()),
            needle("gateway_id", filter.gateway_id.as_ref()),
        ];
        Self { filter, needles: needles.into_iter().flatten().collect() }
    }

    fn fits(&self, event: &[u8]) -> bool {
        self.needles.iter().all(|needle| needle.find(event).is_some())
            && serde_json::from_slice(event).is_ok_and(|fields| self.fields_fit(&fields))
    }

    fn fields_fit(&self, fields: &Fields<'_>) -> bool {
        let filter = self.filter;
        let happened = || fields.timestamp.parse::<Timestamp>().ok();
        let fits = |wanted: &Option<String>, found: &Option<Cow<'_, str>>| {
            wanted.as_ref().is_none_or(|wanted| found.as_ref().is_some_and(|found| found == wanted))
        };
        filter.event_type.is_none_or(|wanted| fields.event_type == wanted)
            && filter.source_ip.is_none_or(|wanted| fields.source_ip == Some(wanted))
            && filter.verdict.is_none_or(|wanted| fields.verdict == Some(wanted))
            && fits(&filter.request_id, &fields.request_id)
            && fits(&filter.gateway_id, &fields.gateway_id)
            && filter.since.is_none_or(|since| happened().is_some_and(|happened| happened >= since))
            && filter.until.is_none_or(|until| happened().is_some_and(|happened| happened < until))
    }
}

/// How a field with `value` is spelled in the canonical form.
fn needle<T: serde::Serialize>(field: &str, value: Option<&T>) -> Option<memmem::Finder<'static>> {
    let value = serde_json::to_string(value?).ok()?;
    Some(memmem::Finder::new(format!("\"{field}\":{value}").as_bytes()).into_owned())
}

/// What can be filtered by.
#[derive(Deserialize)]
struct Fields<'a> {
    event_type: EventType,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow, default)]
    gateway_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    request_id: Option<Cow<'a, str>>,
    source_ip: Option<IpAddr>,
    verdict: Option<Verdict>,
}
