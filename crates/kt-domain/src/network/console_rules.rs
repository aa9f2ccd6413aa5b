//! An organization's IP restrictions: whether a client's address may reach its console and API (SPEC section 7).
//!
//! `deny` overrides `allow` and always applies; it is what an emergency block is made with. `enforce_allowlist` is about
//! the allow list alone: switched off, the list is kept and not applied. An empty allow list means unrestricted, unlike
//! the gateway's in [`gateway_rules`](super::gateway_rules).

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::cidr::{Cidr, CidrSet};
use crate::error::Error;
use crate::sessions::Door;
use crate::words;

/// What the restrictions guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AppliesTo {
    /// The console alone: an API key with the scope `admin` can lift them from anywhere.
    Console,
    /// The console and the API, for sessions and keys.
    #[default]
    ConsoleAndApi,
}

words!(AppliesTo { Console = "console", ConsoleAndApi = "console_and_api" });

/// What a request wants to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// The console's pages, signing in included.
    Console,
    /// The API.
    Api,
}

impl From<Door> for Surface {
    fn from(door: Door) -> Self {
        match door {
            Door::Console => Self::Console,
            Door::Api | Door::Cli => Self::Api,
        }
    }
}

/// A range and what people call it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelledRange {
    /// The range.
    pub cidr: Cidr,
    /// What people call it; may be empty.
    #[serde(default)]
    pub label: String,
}

/// The restrictions, as they are kept and shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IpRestrictions {
    /// Whether `allow` is applied.
    pub enforce_allowlist: bool,
    /// What they guard.
    pub applies_to: AppliesTo,
    /// Where requests may come from.
    pub allow: Vec<LabelledRange>,
    /// Where requests never come in from.
    pub deny: Vec<LabelledRange>,
}

/// The most ranges in one list.
const MOST_RANGES: usize = 10_000;
/// The most characters of a label.
const LONGEST_LABEL: usize = 100;

impl IpRestrictions {
    /// Refuses lists and labels that are too long, naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        for (name, list) in [("allow", &self.allow), ("deny", &self.deny)] {
            if list.len() > MOST_RANGES {
                let message =
                    format!("Keep at most {MOST_RANGES} ranges in a list; join neighbours into wider ones.");
                return Err(Error::invalid(name, message));
            }
            let is_bad =
                |label: &str| label.chars().count() > LONGEST_LABEL || label.chars().any(char::is_control);
            if let Some(index) = list.iter().position(|range| is_bad(&range.label)) {
                let message = format!("Use at most {LONGEST_LABEL} characters, without line breaks.");
                return Err(Error::invalid(format!("{name}[{index}].label"), message));
            }
        }
        Ok(())
    }
}

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// This range of the deny list holds it.
    Denied(Cidr),
    /// The allow list is enforced and holds no range with it.
    NotAllowed,
    /// The address cannot be told, and there are rules that it would have to meet.
    Unresolved,
}

impl Denial {
    /// Its word in records, as in the gateway's events.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Denied(_) => "deny",
            Self::NotAllowed => "not_allowed",
            Self::Unresolved => "unresolved_source",
        }
    }
}

/// The restrictions, ready for use.
#[derive(Clone, Debug)]
pub struct ConsoleRules {
    applies_to: AppliesTo,
    /// `None` where every address that is not denied is let in.
    allow: Option<CidrSet>,
    deny: CidrSet,
}

impl From<&IpRestrictions> for ConsoleRules {
    fn from(restrictions: &IpRestrictions) -> Self {
        let ranges = |list: &[LabelledRange]| list.iter().map(|range| range.cidr).collect();
        let is_applied = restrictions.enforce_allowlist && !restrictions.allow.is_empty();
        Self {
            applies_to: restrictions.applies_to,
            allow: is_applied.then(|| ranges(&restrictions.allow)),
            deny: ranges(&restrictions.deny),
        }
    }
}

impl ConsoleRules {
    /// Whether a request from `source` may reach `surface`.
    pub fn decide(&self, surface: Surface, source: Option<IpAddr>) -> Result<(), Denial> {
        if self.guards(surface) { self.decide_source(source) } else { Ok(()) }
    }

    /// Whether `source` would be let in to what the restrictions guard. A source that cannot be told is refused as soon
    /// as there is any rule.
    pub fn decide_source(&self, source: Option<IpAddr>) -> Result<(), Denial> {
        let Some(source) = source else {
            let is_unrestricted = self.deny.is_empty() && self.allow.is_none();
            return if is_unrestricted { Ok(()) } else { Err(Denial::Unresolved) };
        };
        if let Some(range) = self.deny.longest_match(source) {
            return Err(Denial::Denied(range));
        }
        match &self.allow {
            Some(allow) if !allow.contains(source) => Err(Denial::NotAllowed),
            _ => Ok(()),
        }
    }

    fn guards(&self, surface: Surface) -> bool {
        surface == Surface::Console || self.applies_to == AppliesTo::ConsoleAndApi
    }
}
