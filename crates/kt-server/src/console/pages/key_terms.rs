//! The terms of a key, as forms have them.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use kt_domain::actor::Scope;
use kt_domain::error::Error;
use kt_domain::network::cidr::Cidr;
use serde::Deserialize;

/// What a form says of a key: an empty field is none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Terms {
    pub(super) name: String,
    #[serde(default)]
    scope: String,
    /// Apart by lines, blanks or commas.
    ip_ranges: String,
    requests_per_minute: String,
    /// The last day on which it works.
    expires_at: String,
}

impl Terms {
    pub(super) fn scope(&self) -> Result<Option<Scope>, Error> {
        if self.scope.is_empty() {
            return Ok(None);
        }
        self.scope.parse().map(Some).map_err(|why| Error::invalid("scope", format!("{why}")))
    }

    pub(super) fn ranges(&self) -> Result<Vec<Cidr>, Error> {
        let apart = |c: char| c.is_whitespace() || c == ',';
        let ranges = self.ip_ranges.split(apart).filter(|range| !range.is_empty());
        ranges.map(|range| range.parse().map_err(|why| no_range(range, &why))).collect()
    }

    pub(super) fn requests_per_minute(&self) -> Result<Option<u32>, Error> {
        let digits = self.requests_per_minute.trim();
        let no_number =
            || Error::invalid("requests_per_minute", "Give a whole number, or nothing for no limit.");
        (!digits.is_empty()).then(|| digits.parse().map_err(|_| no_number())).transpose()
    }

    pub(super) fn expires_at(&self) -> Result<Option<Timestamp>, Error> {
        let no_day = || Error::invalid("expires_at", "Give a day such as 2030-12-31, or nothing.");
        (!self.expires_at.is_empty()).then(|| end_of_day(&self.expires_at).ok_or_else(no_day)).transpose()
    }

    /// Whether the day is the one that the form was shown with for this end.
    pub(super) fn keeps_expiry(&self, present: Option<Timestamp>) -> bool {
        self.expires_at == present.map(last_day).unwrap_or_default()
    }
}

fn no_range(range: &str, why: &impl std::fmt::Display) -> Error {
    Error::invalid("ip_ranges", format!("`{range}`: {why}"))
}

/// The end of a day in UTC.
fn end_of_day(text: &str) -> Option<Timestamp> {
    let next: Date = text.parse::<Date>().ok()?.tomorrow().ok()?;
    Some(next.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The last day in UTC on which something works that ends at this moment.
pub(super) fn last_day(end: Timestamp) -> String {
    let last = end.checked_sub(jiff::SignedDuration::from_nanos(1)).unwrap_or(end);
    last.to_zoned(TimeZone::UTC).date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_works_to_the_end_of_its_last_day() {
        let table = [
            ("2030-12-31", Some("2031-01-01T00:00:00Z")),
            ("2028-02-28", Some("2028-02-29T00:00:00Z")),
            ("2027-02-29", None),
            ("31.12.2030", None),
            ("9999-12-31", None),
        ];
        for (day, end) in table {
            let end: Option<Timestamp> = end.map(|end| end.parse().unwrap());
            assert_eq!(end_of_day(day), end, "{day}");
            if let Some(end) = end {
                assert_eq!(last_day(end), day);
            }
        }
        assert_eq!(last_day("2030-06-01T12:00:00Z".parse().unwrap()), "2030-06-01");
    }
}
