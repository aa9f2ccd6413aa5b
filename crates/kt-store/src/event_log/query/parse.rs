//! The query string of `GET /v1/events`.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kt_domain::network::cidr::canonical;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};
use url::form_urlencoded;

use super::EventQuery;

/// What a caller got wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryProblem {
    /// The parameter.
    pub param: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl FromStr for EventQuery {
    type Err = QueryProblem;

    /// Reads a query string, without its `?`; values are percent-encoded.
    fn from_str(text: &str) -> Result<Self, QueryProblem> {
        let mut query = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if seen.iter().any(|before| *before == name) {
                return Err(problem(&name, "stands twice; give it once"));
            }
            query.set(&name, &value).map_err(|message| problem(&name, message))?;
            seen.push(name.into_owned());
        }
        Ok(query)
    }
}

impl EventQuery {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let filter = &mut self.filter;
        match name {
            "event_type" => filter.event_type = Some(word(value)?),
            "verdict" => filter.verdict = Some(word(value)?),
            "since" => filter.since = Some(time(value)?),
            "until" => filter.until = Some(time(value)?),
            "source_ip" => filter.source_ip = Some(canonical(parsed(value, "an IPv4 or IPv6 address")?)),
            "request_id" => filter.request_id = Some(value.to_owned()),
            "gateway_id" => filter.gateway_id = Some(value.to_owned()),
            "limit" => self.limit = limit(value)?,
            "cursor" => {
                let seq = from_cursor(value).ok_or("must be the `next_cursor` of an earlier answer")?;
                self.before = Some(seq);
            }
            _ => {
                return Err(
                    "is not known; there are event_type, verdict, since, until, source_ip, request_id, \
                            gateway_id, limit and cursor"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

/// The `next_cursor` of a page whose last event is entry `seq`.
pub(super) fn cursor(seq: u64) -> String {
    URL_SAFE_NO_PAD.encode(seq.to_string())
}

fn from_cursor(text: &str) -> Option<u64> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?.parse().ok()
}

fn problem(param: &str, message: impl Display) -> QueryProblem {
    QueryProblem { param: param.to_owned(), message: format!("the parameter {param:?} {message}") }
}

/// A value of an enum, by its name in JSON.
fn word<T: for<'de> Deserialize<'de>>(value: &str) -> Result<T, String> {
    let deserializer: StrDeserializer<'_, Error> = value.into_deserializer();
    T::deserialize(deserializer).map_err(|error| format!("is not right: {error}"))
}

fn time(value: &str) -> Result<jiff::Timestamp, String> {
    parsed(value, "a time such as 2026-03-15T14:22:31Z (a `+` is written %2B)")
}

fn limit(value: &str) -> Result<usize, String> {
    let expected = "a whole number from 1 to 1000";
    parsed(value, expected).and_then(|limit| match limit {
        1..=1000 => Ok(limit),
        _ => Err(format!("must be {expected}, not {limit}")),
    })
}

fn parsed<T: FromStr>(value: &str, expected: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("must be {expected}, not {value:?}"))
}
