//! A length of time as people write it: `500ms`, `30s`, `2m`, `1h`, `7d`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written as a number and a unit: `500ms`, `30s`, `2m`, `1h`. Days can be read as well, and are written in
/// hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// The unit that is read and not written.
const DAYS: (&str, u64) = ("d", 86_400_000);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: Option<u64> = text[..digits].parse().ok();
        let unit = UNITS.iter().chain([&DAYS]).find(|(name, _)| *name == &text[digits..]);
        match number.zip(unit).and_then(|(number, (_, millis))| number.checked_mul(*millis)) {
            Some(millis @ 1..=2_592_000_000) => Ok(Self(Duration::from_millis(millis))),
            _ => Err(format!(
                "`{text}` is no length of time: write a number and `ms`, `s`, `m`, `h` or `d`, such as `30s` (at most 30d)"
            )),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (unit, factor) = UNITS
            .iter()
            .rev()
            .find(|(_, factor)| millis.is_multiple_of(u128::from(*factor)))
            .unwrap_or(&UNITS[0]);
        write!(f, "{}{unit}", millis / u128::from(*factor))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration-text", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_hours_written() {
        for (text, written) in
            [("1d", "24h"), ("7d", "168h"), ("30d", "720h"), ("72h", "72h"), ("90m", "90m")]
        {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), written);
        }
        for text in ["31d", "0d", "d", "1D", "1 d", "1w", "-1d", "1.5d", "721h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
