//! In which order a list is shown: by one of its columns, up or down.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::actor::UnknownWord;
use crate::words;

/// A column, and whether its greatest value comes first: `name`, or `-name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order<C> {
    /// The column.
    pub by: C,
    /// Whether the greatest comes first.
    pub descending: bool,
}

/// The columns by which members can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberColumn {
    /// When they joined the organization.
    Created,
    /// What they are called.
    Name,
    /// Their address.
    Email,
    /// When they last signed in; whoever never has is the earliest.
    LastSignIn,
}

words!(MemberColumn { Created = "created", Name = "name", Email = "email", LastSignIn = "last_sign_in" });

/// The columns by which keys can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyColumn {
    /// When they were made.
    Created,
    /// What people call them.
    Name,
    /// When they end; those that never do are the latest.
    Ends,
    /// When they were last used; those that never were are the earliest.
    LastUsed,
}

words!(KeyColumn { Created = "created", Name = "name", Ends = "ends", LastUsed = "last_used" });

/// The columns by which the sessions of an organization can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionColumn {
    /// When they were made.
    Created,
    /// Their holder's address for mail.
    Email,
    /// Their holder's last act.
    Active,
}

words!(SessionColumn { Created = "created", Email = "email", Active = "active" });

impl<C> Order<C> {
    /// The smallest, or the earliest, first.
    #[must_use]
    pub const fn up(by: C) -> Self {
        Self { by, descending: false }
    }

    /// The greatest, or the latest, first.
    #[must_use]
    pub const fn down(by: C) -> Self {
        Self { by, descending: true }
    }
}

/// Members are listed as they joined, unless another order is asked for.
impl Default for Order<MemberColumn> {
    fn default() -> Self {
        Self::up(MemberColumn::Created)
    }
}

/// Of keys the newest comes first, unless another order is asked for.
impl Default for Order<KeyColumn> {
    fn default() -> Self {
        Self::down(KeyColumn::Created)
    }
}

/// Of sessions the newest comes first, unless another order is asked for.
impl Default for Order<SessionColumn> {
    fn default() -> Self {
        Self::down(SessionColumn::Created)
    }
}

impl<C: fmt::Display> fmt::Display for Order<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.descending { "-" } else { "" }, self.by)
    }
}

impl<C: FromStr<Err = UnknownWord>> FromStr for Order<C> {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Ok(match text.strip_prefix('-') {
            Some(column) => Self::down(column.parse()?),
            None => Self::up(text.parse()?),
        })
    }
}

impl<C: fmt::Display> Serialize for Order<C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, C: FromStr<Err = UnknownWord>> Deserialize<'de> for Order<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_column_with_a_minus_where_the_greatest_comes_first() {
        for (text, order) in [
            ("name", Some(Order::up(MemberColumn::Name))),
            ("-name", Some(Order::down(MemberColumn::Name))),
            ("-last_sign_in", Some(Order::down(MemberColumn::LastSignIn))),
            ("--name", None),
            ("+name", None),
            ("Name", None),
            ("name,email", None),
            ("password_hash", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), order, "{text}");
            assert_eq!(order.map(|order| order.to_string()), order.map(|_| text.to_owned()));
        }
    }
}
