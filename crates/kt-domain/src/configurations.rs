//! Gateway configurations that the control plane keeps: how they and their versions are called, and what a gateway is
//! told to run.

mod difference;
mod draft;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::secret::SecretDigest;
use crate::words;

pub use difference::{DiffLine, Fate, difference};
pub use draft::Draft;

/// What something that is kept is called, a configuration or a provider's credential: 1 to 40 small letters, digits and
/// inner hyphens, so that it can stand in an address, in a file and in an event as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeptName(String);

/// The longest name.
const MOST_CHARACTERS: usize = 40;

/// Words that stand in addresses where a name could.
const RESERVED: [&str; 2] = ["lint", "new"];

/// Not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use 1 to 40 small letters, digits and hyphens between them, other than `lint` and `new`")]
pub struct InvalidName;

impl KeptName {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeptName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = (1..=MOST_CHARACTERS).contains(&text.len())
            && text.bytes().all(is_plain)
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !RESERVED.contains(&text);
        if is_name { Ok(Self(text.to_owned())) } else { Err(InvalidName) }
    }
}

impl TryFrom<String> for KeptName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<KeptName> for String {
    fn from(name: KeptName) -> Self {
        name.0
    }
}

impl fmt::Display for KeptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A version of a configuration: `NAME@NUMBER`, as events and gateways name it. Its text never changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionId {
    /// The configuration.
    pub name: KeptName,
    /// Counts from 1.
    pub number: u32,
}

/// Not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a version as NAME@NUMBER, such as `main@3`")]
pub struct InvalidVersion;

impl FromStr for VersionId {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let (name, number) = text.split_once('@').ok_or(InvalidVersion)?;
        let name = name.parse().map_err(|_| InvalidVersion)?;
        let number: u32 = number.parse().map_err(|_| InvalidVersion)?;
        let version = Self { name, number };
        // One spelling for each version: no sign, no zero in front.
        if number > 0 && version.to_string() == text { Ok(version) } else { Err(InvalidVersion) }
    }
}

impl TryFrom<String> for VersionId {
    type Error = InvalidVersion;

    fn try_from(text: String) -> Result<Self, InvalidVersion> {
        text.parse()
    }
}

impl From<VersionId> for String {
    fn from(version: VersionId) -> Self {
        version.to_string()
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.number)
    }
}

/// Where a gateway has its configuration from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConfigurationSource {
    /// Files of its own machine, which the control plane shows and does not change.
    #[default]
    File,
    /// The control plane.
    Kept,
}

words!(ConfigurationSource { File = "file", Kept = "kept" });

/// A version that a gateway was told to run and could not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedConfiguration {
    /// Which.
    pub version: VersionId,
    /// What it found, for people.
    pub reason: String,
}

/// What a gateway is told to do.
#[derive(Clone, Serialize, Deserialize)]
pub struct Orders {
    /// Differs whenever anything else in it does.
    pub version: String,
    /// What it is to run; `None` where nobody has said so yet.
    pub configuration: Option<KeptConfiguration>,
    /// Whether it is to take no new requests.
    pub drain: bool,
}

/// A configuration as a gateway gets it, with the secrets that it names.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeptConfiguration {
    /// Which version of which.
    pub id: VersionId,
    /// The file.
    pub text: String,
    /// The credentials that it names and that are kept.
    pub credentials: BTreeMap<KeptName, Credential>,
}

impl Orders {
    /// These orders.
    #[must_use]
    pub fn new(configuration: Option<KeptConfiguration>, drain: bool) -> Self {
        // A version of a configuration has one text, so that its name tells it. Neither can fail to be written as JSON.
        let told = configuration.as_ref().map(|kept| (&kept.id, &kept.credentials));
        let text = serde_json::to_string(&(told, drain)).unwrap_or_default();
        Self { version: SecretDigest::of(&text).to_string(), configuration, drain }
    }
}

/// A provider's key. It is written out for the gateway that needs it and shown to nobody.
#[derive(Clone)]
pub struct Credential(SecretString);

/// Not a provider's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a provider's key is 1 to 4096 visible ASCII characters, without spaces")]
pub struct InvalidCredential;

impl Credential {
    /// The key whose text this is; line ends and blanks around it, as they come with copying, are left out.
    pub fn parse(text: &str) -> Result<Self, InvalidCredential> {
        let text = text.trim();
        let is_key = (1..=4096).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_key { Ok(Self(text.into())) } else { Err(InvalidCredential) }
    }

    /// Its text.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl Serialize for Credential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_stand_in_addresses_files_and_events() {
        for name in ["main", "a", "0", "edge-eu-2", &"x".repeat(40)] {
            assert_eq!(name.parse::<KeptName>().unwrap().as_str(), name);
        }
        for wrong in ["", "-a", "a-", "A", "a b", "a@1", "a/b", "ä", "new", "lint", "<b>", &"x".repeat(41)] {
            assert_eq!(wrong.parse::<KeptName>(), Err(InvalidName), "{wrong}");
        }
    }

    #[test]
    fn a_version_has_one_spelling() {
        let version: VersionId = "main@12".parse().unwrap();
        assert_eq!((version.name.as_str(), version.number), ("main", 12));
        assert_eq!(version.to_string(), "main@12");
        for wrong in ["main", "main@", "main@0", "main@01", "main@+1", "main@1@2", "@1", "main@4294967296"] {
            assert_eq!(wrong.parse::<VersionId>(), Err(InvalidVersion), "{wrong}");
        }
    }

    #[test]
    fn a_credential_is_one_line_without_blanks() {
        assert_eq!(Credential::parse(" sk-abc\n").unwrap().expose(), "sk-abc");
        for wrong in ["", "  ", "sk a", "sk\na", "schlüssel", &"x".repeat(4097)] {
            assert!(Credential::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_version_of_orders_tells_every_difference() {
        let kept = |id: &str, key: &str| KeptConfiguration {
            id: id.parse().unwrap(),
            text: String::new(),
            credentials: BTreeMap::from([("openai".parse().unwrap(), Credential::parse(key).unwrap())]),
        };
        let version = |configuration, drain| Orders::new(configuration, drain).version;
        let known = version(Some(kept("main@1", "sk-1")), false);
        assert_eq!(known, version(Some(kept("main@1", "sk-1")), false));
        for other in [
            version(None, false),
            version(Some(kept("main@2", "sk-1")), false),
            version(Some(kept("main@1", "sk-2")), false),
            version(Some(kept("main@1", "sk-1")), true),
        ] {
            assert_ne!(known, other);
        }
    }
}
