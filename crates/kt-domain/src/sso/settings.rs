//! What an organization has decided about its identity provider, whichever protocol that speaks.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ExternalIdentity, OidcSettings, Protocol, SamlSettings};
use crate::actor::Role;
use crate::error::Error;
use crate::sign_in::Proof;
use crate::span::Span;

/// What both protocols share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct ProviderSettings {
    /// What people call the provider.
    pub display_name: String,
    /// Under which names it sends what we need.
    pub attributes: AttributeNames,
    /// Which groups have which role. Where there are any, they decide at every sign-in.
    pub group_roles: Vec<GroupRole>,
    /// The role of whoever is in none of these groups.
    pub default_role: Role,
    /// Whether somebody without an account gets one at their first sign-in.
    pub just_in_time: bool,
    /// Whether its addresses count as verified although it does not say so: for providers that have no such word.
    pub trust_email: bool,
    /// Whether members with an address in the organization's domains can sign in through it alone. Owners always keep a
    /// way past it.
    pub required: bool,
    /// Whether it has to say that two factors were used; where it does not, one of ours is asked for.
    pub require_mfa: bool,
    /// The words (`amr`, `acr`, authentication context) by which it says so.
    pub mfa_values: Vec<String>,
    /// How long a session lasts at most that was opened through it.
    pub session_limit: Option<Span>,
}

/// Under which names a provider sends what we need: claims of a token, or attributes of an assertion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttributeNames {
    /// Of the address.
    pub email: String,
    /// Of the name.
    pub name: String,
    /// Of the groups.
    pub groups: String,
}

impl Default for AttributeNames {
    fn default() -> Self {
        Self { email: "email".into(), name: "name".into(), groups: "groups".into() }
    }
}

/// A group, and what its members are with us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRole {
    /// The group, exactly as the provider sends it.
    pub group: String,
    /// The role; never owner.
    pub role: Role,
}

/// What only one protocol needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "snake_case")]
pub enum ProviderDetails {
    /// Of an OIDC provider.
    Oidc(OidcSettings),
    /// Of a SAML provider.
    Saml(SamlSettings),
}

impl ProviderDetails {
    /// Which protocol it is.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Oidc(_) => Protocol::Oidc,
            Self::Saml(_) => Protocol::Saml,
        }
    }

    /// The name that it signs with: its issuer, or its entity ID. Another name is another provider.
    #[must_use]
    pub fn issuer(&self) -> &str {
        match self {
            Self::Oidc(settings) => &settings.issuer,
            Self::Saml(settings) => &settings.entity_id,
        }
    }

    /// What an OIDC provider needs, if it is one.
    #[must_use]
    pub fn oidc(&self) -> Option<&OidcSettings> {
        match self {
            Self::Oidc(settings) => Some(settings),
            Self::Saml(_) => None,
        }
    }

    /// What a SAML provider needs, if it is one.
    #[must_use]
    pub fn saml(&self) -> Option<&SamlSettings> {
        match self {
            Self::Saml(settings) => Some(settings),
            Self::Oidc(_) => None,
        }
    }
}

/// RFC 8176 has `mfa` for two factors, and `hwk`, `swk`, `sc` for keys that are never alone where they are asked for with a
/// user's verification; providers use them otherwise too, so that only the word that says it counts until others are added.
const MFA_VALUE: &str = "mfa";

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            display_name: String::new(),
            attributes: AttributeNames::default(),
            group_roles: Vec::new(),
            default_role: Role::Member,
            just_in_time: false,
            trust_email: false,
            required: false,
            require_mfa: false,
            mfa_values: vec![MFA_VALUE.into()],
            session_limit: None,
        }
    }
}

/// How many groups can have a role.
const MOST_GROUPS: usize = 200;

/// How many words can stand for two factors.
const MOST_VALUES: usize = 20;

/// The bounds of [`ProviderSettings::session_limit`].
const SHORTEST: Span = Span(Duration::from_mins(5));
const LONGEST: Span = Span(Duration::from_hours(24));

impl ProviderSettings {
    /// Refuses values that break a rule, naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        if self.display_name.chars().count() > 100 || self.display_name.chars().any(char::is_control) {
            return Err(Error::invalid("display_name", "Use at most 100 characters, without line breaks."));
        }
        let names = &self.attributes;
        for (field, name) in [("email", &names.email), ("name", &names.name), ("groups", &names.groups)] {
            if !is_word(name) {
                let message = "Write the name under which the provider sends it: 1 to 200 characters.";
                return Err(Error::invalid(format!("attributes.{field}"), message));
            }
        }
        self.validate_roles()?;
        if self.mfa_values.len() > MOST_VALUES || !self.mfa_values.iter().all(|value| is_word(value)) {
            let message =
                "Write at most 20 words, each of 1 to 200 characters, exactly as the provider sends them.";
            return Err(Error::invalid("mfa_values", message));
        }
        match self.session_limit {
            Some(limit) if !(SHORTEST..=LONGEST).contains(&limit) => {
                Err(Error::invalid("session_limit", "Choose a time between 5m and 24h, or none."))
            }
            _ => Ok(()),
        }
    }

    /// A provider makes nobody an owner: who decides who runs the organization is decided by its owners alone.
    fn validate_roles(&self) -> Result<(), Error> {
        if self.group_roles.len() > MOST_GROUPS {
            return Err(Error::invalid("group_roles", "Write at most 200 groups."));
        }
        for (index, row) in self.group_roles.iter().enumerate() {
            if !is_word(&row.group) {
                let message = "Write the group exactly as the provider sends it: 1 to 200 characters.";
                return Err(Error::invalid(format!("group_roles[{index}].group"), message));
            }
            if row.role == Role::Owner {
                return Err(Error::invalid(format!("group_roles[{index}].role"), NO_OWNER));
            }
        }
        if self.default_role == Role::Owner {
            return Err(Error::invalid("default_role", NO_OWNER));
        }
        Ok(())
    }

    /// The role of somebody in these groups: the highest of those that one of them has.
    #[must_use]
    pub fn role_of(&self, groups: &[String]) -> Role {
        let of_groups = self.group_roles.iter().filter(|row| groups.contains(&row.group)).map(|row| row.role);
        of_groups.max().unwrap_or(self.default_role)
    }

    /// The role that somebody has from this sign-in on who has `present` until now. It stays where no group has a role, or
    /// where they are in more groups than the provider could send (`None`); and an owner stays one, whatever it says.
    #[must_use]
    pub fn role_after(&self, present: Role, groups: Option<&[String]>) -> Role {
        match groups {
            Some(groups) if !self.group_roles.is_empty() && present != Role::Owner => self.role_of(groups),
            _ => present,
        }
    }

    /// What the provider's word is worth.
    #[must_use]
    pub fn proof_of(&self, identity: &ExternalIdentity) -> Proof {
        let says_two = identity.methods.iter().any(|method| self.mfa_values.contains(method));
        match (says_two, self.require_mfa) {
            (true, _) => Proof::FederatedMfa,
            (false, true) => Proof::FederatedStepUp,
            (false, false) => Proof::Federated,
        }
    }

    /// Whether the address counts as verified.
    #[must_use]
    pub fn takes_for_verified(&self, identity: &ExternalIdentity) -> bool {
        identity.email_verified || self.trust_email
    }

    /// When a session must end that is opened now on the strength of `identity`.
    #[must_use]
    pub fn ends_by(&self, identity: &ExternalIdentity, now: Timestamp) -> Option<Timestamp> {
        let limit = self.session_limit.map(|limit| now.saturating_add(limit.0).unwrap_or(Timestamp::MAX));
        [limit, identity.ends_by].into_iter().flatten().min()
    }
}

const NO_OWNER: &str =
    "A provider makes nobody an owner. Choose member, auditor or admin; owners are made under Members.";

fn is_word(text: &str) -> bool {
    (1..=200).contains(&text.chars().count()) && text.trim() == text && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(methods: &[&str]) -> ExternalIdentity {
        ExternalIdentity {
            issuer: "https://id.example".into(),
            subject: "1".into(),
            email: None,
            email_verified: false,
            name: None,
            groups: None,
            authenticated_at: None,
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            session: None,
            ends_by: None,
        }
    }

    fn with_groups() -> ProviderSettings {
        let row = |group: &str, role| GroupRole { group: group.into(), role };
        let group_roles = vec![row("staff", Role::Auditor), row("ops", Role::Admin)];
        ProviderSettings { group_roles, ..ProviderSettings::default() }
    }

    #[test]
    fn groups_decide_the_role_and_never_about_owners() {
        let groups = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let settings = with_groups();
        let table: [(Role, Option<&[&str]>, Role); 7] = [
            (Role::Member, Some(&["ops", "staff"]), Role::Admin),
            (Role::Admin, Some(&["staff"]), Role::Auditor),
            (Role::Admin, Some(&["others"]), Role::Member),
            (Role::Admin, Some(&["OPS"]), Role::Member),
            (Role::Admin, None, Role::Admin),
            (Role::Owner, Some(&[]), Role::Owner),
            (Role::Owner, Some(&["staff"]), Role::Owner),
        ];
        for (present, named, expected) in table {
            let named = named.map(groups);
            assert_eq!(settings.role_after(present, named.as_deref()), expected, "{present} {named:?}");
        }
        let without = ProviderSettings::default();
        assert_eq!(without.role_after(Role::Admin, Some(&groups(&["staff"]))), Role::Admin);
    }

    #[test]
    fn two_factors_count_where_the_provider_says_so_in_a_word_that_was_agreed() {
        let delegating = ProviderSettings::default();
        let demanding = ProviderSettings { require_mfa: true, ..ProviderSettings::default() };
        let other = ProviderSettings { mfa_values: vec!["urn:gold".into()], ..demanding.clone() };
        let table = [
            (&delegating, &["pwd"][..], Proof::Federated),
            (&delegating, &["pwd", "mfa"], Proof::FederatedMfa),
            (&demanding, &["pwd", "mfa"], Proof::FederatedMfa),
            (&demanding, &["pwd", "MFA"], Proof::FederatedStepUp),
            (&demanding, &[], Proof::FederatedStepUp),
            (&other, &["mfa"], Proof::FederatedStepUp),
            (&other, &["urn:gold"], Proof::FederatedMfa),
        ];
        for (settings, methods, expected) in table {
            assert_eq!(settings.proof_of(&identity(methods)), expected, "{methods:?}");
        }
    }

    #[test]
    fn a_session_ends_by_the_earlier_of_the_two_bounds() {
        let now: Timestamp = "2026-03-15T14:00:00Z".parse().unwrap();
        let bound = ProviderSettings { session_limit: Some(LONGEST), ..ProviderSettings::default() };
        let soon = ExternalIdentity { ends_by: Some(now + SHORTEST.0), ..identity(&[]) };
        assert_eq!(ProviderSettings::default().ends_by(&identity(&[]), now), None);
        assert_eq!(ProviderSettings::default().ends_by(&soon, now), soon.ends_by);
        assert_eq!(bound.ends_by(&identity(&[]), now), Some(now + LONGEST.0));
        assert_eq!(bound.ends_by(&soon, now), soon.ends_by);
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_by_its_name() {
        type Change = fn(&mut ProviderSettings);
        let table: [(Change, &str); 9] = [
            (|settings| settings.display_name = "a\nb".into(), "display_name"),
            (|settings| settings.attributes.email = String::new(), "attributes.email"),
            (|settings| settings.attributes.groups = " groups".into(), "attributes.groups"),
            (|settings| settings.group_roles[1].role = Role::Owner, "group_roles[1].role"),
            (|settings| settings.group_roles[0].group = String::new(), "group_roles[0].group"),
            (|settings| settings.default_role = Role::Owner, "default_role"),
            (|settings| settings.mfa_values = vec!["x".into(); 21], "mfa_values"),
            (|settings| settings.session_limit = Some(Span(Duration::from_mins(4))), "session_limit"),
            (|settings| settings.session_limit = Some(Span(Duration::from_hours(25))), "session_limit"),
        ];
        with_groups().validate().unwrap();
        for (change, field) in table {
            let mut settings = with_groups();
            change(&mut settings);
            assert_eq!(settings.validate().unwrap_err().param.as_deref(), Some(field));
        }
    }
}
