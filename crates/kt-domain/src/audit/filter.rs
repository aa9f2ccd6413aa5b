//! Which records are looked for.

use std::str::FromStr;

use jiff::Timestamp;

use super::{AuditAction, Outcome};

/// Which records are looked for: those for which all that is stated holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// What was done.
    pub action: Option<ActionFilter>,
    /// Who did it: an id or a name, whole.
    pub actor: Option<String>,
    /// What it was done to, whole.
    pub resource: Option<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
}

/// Which actions are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionFilter {
    /// This one.
    Exactly(AuditAction),
    /// All whose word begins so; it ends in a dot, such as `auth.`.
    Below(String),
}

/// No action has this word, and none begins so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no such action: write one such as `auth.sign_in`, or the beginning of some such as `auth.`"
)]
pub struct UnknownAction;

impl FromStr for ActionFilter {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        if text.ends_with('.') && AuditAction::ALL.iter().any(|action| action.as_str().starts_with(text)) {
            return Ok(Self::Below(text.to_owned()));
        }
        text.parse().map(Self::Exactly).map_err(|_| UnknownAction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_named_whole_or_by_its_area() {
        assert_eq!("auth.sign_in".parse(), Ok(ActionFilter::Exactly(AuditAction::SignIn)));
        assert_eq!("auth.".parse(), Ok(ActionFilter::Below("auth.".into())));
        for unknown in ["", ".", "auth", "auth.sign", "nothing.", "AUTH.", "auth.sign_in."] {
            assert_eq!(unknown.parse::<ActionFilter>(), Err(UnknownAction), "{unknown}");
        }
    }
}
