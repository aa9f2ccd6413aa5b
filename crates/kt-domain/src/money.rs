//! Amounts of money: whole millionths of a currency, so that sums are exact.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount of money, written with a point: `20`, `2.50`, `0.075`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money {
    /// Millionths of the currency.
    pub micros: u64,
}

const MICROS: u64 = 1_000_000;
/// How many digits stand behind the point at most.
const DECIMALS: usize = 6;
/// The largest amount: what several of them add up to still is a number that every reader of JSON holds exactly.
const MOST: u64 = 1_000_000_000 * MICROS;

impl FromStr for Money {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text).map(|micros| Self { micros }).ok_or_else(|| {
            format!(
                "`{text}` is no amount: write digits, and up to {DECIMALS} more behind a point, such as `2.50` (at most \
                 {})",
                MOST / MICROS
            )
        })
    }
}

fn read(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > DECIMALS {
        return None;
    }
    let part: u64 = format!("{part:0<DECIMALS$}").parse().ok()?;
    let micros = whole.parse::<u64>().ok()?.checked_mul(MICROS)?.checked_add(part)?;
    (micros <= MOST).then_some(micros)
}

impl fmt::Display for Money {
    /// With two digits behind the point, or as many more as there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.micros / MICROS, self.micros % MICROS);
        let part = format!("{part:0DECIMALS$}");
        let shown = part.trim_end_matches('0').len().max(2);
        write!(f, "{whole}.{}", &part[..shown])
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Money {
    fn schema_name() -> Cow<'static, str> {
        "Money".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number"],
            "format": "amount-text",
            "pattern": "^[0-9]+([.][0-9]{1,6})?$",
            "minimum": 0,
            "maximum": MOST / MICROS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly_and_written_as_people_write_them() {
        for (text, micros, written) in [
            ("0", 0, "0.00"),
            ("20", 20_000_000, "20.00"),
            ("2.5", 2_500_000, "2.50"),
            ("0.075", 75_000, "0.075"),
            ("0.000001", 1, "0.000001"),
            ("1000000000", MOST, "1000000000.00"),
        ] {
            assert_eq!(text.parse(), Ok(Money { micros }), "{text}");
            assert_eq!(Money { micros }.to_string(), written);
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_or_not_exactly_is_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1,5",
            "1e3",
            "0.0000001",
            "1 000",
            "1_000",
            "1000000000.01",
            "٣",
        ] {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
    }

    /// Configurations write them as either.
    #[test]
    fn an_amount_is_a_text_or_a_number_to_other_tools_too() {
        let schema = schemars::schema_for!(Money).to_value();
        assert_eq!(schema["type"], serde_json::json!(["string", "number"]));
    }

    #[test]
    fn every_amount_is_read_as_it_was_written() {
        let mut micros = 1_u64;
        while micros < MOST {
            assert_eq!(Money { micros }.to_string().parse(), Ok(Money { micros }));
            micros = micros * 3 + 1;
        }
    }
}
