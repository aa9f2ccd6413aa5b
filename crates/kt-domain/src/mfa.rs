//! Whom an organisation asks for a second factor, and from when on.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actor::Role;
use crate::error::Error;
use crate::span::Span;
use crate::words;

/// Whom an organisation asks for a second factor (R128, R130–R132).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MfaPolicy {
    /// Nobody: members choose for themselves.
    #[default]
    Optional,
    /// Admins and owners.
    RequiredForAdmins,
    /// Everybody.
    RequiredForAll,
}

words!(MfaPolicy {
    Optional = "optional",
    RequiredForAdmins = "required_for_admins",
    RequiredForAll = "required_for_all",
});

/// The section `mfa` of an organisation's security settings (SPEC section 7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MfaSettings {
    /// Whom it asks.
    pub policy: MfaPolicy,
    /// How long those newly asked have to enrol: up to 720h (30 days); none with `null`.
    pub grace_period: Option<Span>,
}

impl Default for MfaSettings {
    fn default() -> Self {
        Self { policy: MfaPolicy::Optional, grace_period: Some(Span(Duration::from_hours(72))) }
    }
}

impl MfaSettings {
    /// Refuses a grace period out of bounds; [`Span`] itself ends at 720h.
    pub fn validate(&self) -> Result<(), Error> {
        match self.grace_period {
            Some(grace) if grace < Span(Duration::from_mins(1)) => {
                Err(Error::invalid("mfa.grace_period", "Give at least 1m, or null for no grace."))
            }
            _ => Ok(()),
        }
    }

    /// Whether somebody with this role is asked for a second factor.
    #[must_use]
    pub fn asks(&self, role: Role) -> bool {
        match self.policy {
            MfaPolicy::Optional => false,
            MfaPolicy::RequiredForAdmins => role >= Role::Admin,
            MfaPolicy::RequiredForAll => true,
        }
    }

    /// When the grace of somebody who has been asked since `asked_since` ends; from then on they can only enrol.
    #[must_use]
    pub fn deadline(&self, asked_since: Timestamp) -> Timestamp {
        let grace = self.grace_period.map_or(Duration::ZERO, |grace| grace.0);
        asked_since.saturating_add(grace).unwrap_or(Timestamp::MAX)
    }
}
