//! Identifiers that sort by the time they were made.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::random::Random;

/// A version 7 UUID (RFC 9562 section 5.7): 48 bits of Unix milliseconds, then 74 random bits.
///
/// It shows when it was made, so it names things and never guards them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// A new identifier for the moment `now_micros` (microseconds since the Unix epoch).
    #[must_use]
    pub fn new(now_micros: i64, random: &mut Random) -> Self {
        Self(uuid_v7(now_micros, random))
    }

    /// Writes the hyphenated lower-case form, 36 ASCII characters, into `buffer`.
    pub fn encode(self, buffer: &mut [u8; 36]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A new event identifier: `evt_` and the 32 hexadecimal digits of a version 7 UUID; sorts by time.
#[must_use]
pub fn event_id(now_micros: i64, random: &mut Random) -> String {
    prefixed("evt_", now_micros, random)
}

fn prefixed(prefix: &str, now_micros: i64, random: &mut Random) -> String {
    let mut buffer = [0_u8; 32];
    let digits = uuid_v7(now_micros, random).simple().encode_lower(&mut buffer);
    let mut id = String::with_capacity(prefix.len() + digits.len());
    id.push_str(prefix);
    id.push_str(digits);
    id
}

fn is_prefixed(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|digits| {
        digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Not an identifier of the kind that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an identifier: `{0}` and 32 lower-case hexadecimal digits")]
pub struct InvalidId(&'static str);

/// One type for each kind of thing, so that one is never taken for another.
macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A new one, made at `now`.
            #[must_use]
            pub fn new(now: Timestamp, random: &mut Random) -> Self {
                Self(prefixed($prefix, now.as_microsecond(), random))
            }

            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                if is_prefixed($prefix, &text) { Ok(Self(text)) } else { Err(InvalidId($prefix)) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

identifiers! {
    /// An organization.
    OrganizationId = "org_";
    /// A group of an identity provider's.
    ScimGroupId = "grp_";
    /// A person, in whatever organizations.
    UserId = "usr_";
    /// A signed-in session.
    SessionId = "ses_";
    /// An API key, access or gateway.
    ApiKeyId = "key_";
    /// An invitation to join an organization.
    InvitationId = "inv_";
    /// A record of the audit log.
    AuditId = "aud_";
    /// A passkey.
    PasskeyId = "psk_";
    /// A conversation with a model.
    ConversationId = "cnv_";
    /// A question in a conversation, with its answer.
    TurnId = "trn_";
    /// A saved prompt.
    TaskId = "tsk_";
    /// A run of a task.
    RunId = "run_";
    /// A member's request that a gateway be set up.
    SetupRequestId = "srq_";
    /// A message that waits to be sent.
    MailId = "mail_";
    /// An organization's identity provider.
    IdentityProviderId = "idp_";
}

fn uuid_v7(now_micros: i64, random: &mut Random) -> Uuid {
    let millis = u64::try_from(now_micros / 1000).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &random.bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_version_7_and_carry_the_time() {
        let id = RequestId::new(1_773_584_551_000_000, &mut Random::seeded(1));
        assert_eq!(id.0.get_version_num(), 7);
        assert_eq!(id.0.get_timestamp().map(|t| t.to_unix().0), Some(1_773_584_551));
        assert_eq!(id.encode(&mut [0; 36]), id.to_string());
    }

    #[test]
    fn an_identifier_reads_back_what_it_wrote_and_no_other_kind() {
        let id = UserId::new(Timestamp::UNIX_EPOCH, &mut Random::seeded(1));
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        for other in [
            "",
            "usr_",
            "usr_1",
            &id.as_str().to_uppercase(),
            &format!("{id}0"),
            &id.as_str().replace("usr", "org"),
        ] {
            assert!(other.parse::<UserId>().is_err(), "{other}");
        }
    }

    #[test]
    fn event_ids_sort_by_time() {
        let mut random = Random::seeded(1);
        let ids: Vec<String> = (0..50).map(|n| event_id(n * 1000, &mut random)).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.starts_with("evt_") && id.len() == 36));
    }
}
