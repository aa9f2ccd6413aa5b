//! `pii-detector`: personal data and secrets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::content::{Action, Phase, Unreadable};
use crate::policy_config::codes;
use crate::policy_config::rules::Review;

/// `pii-detector`: finds personal data and secrets by their form and, where they have one, their check digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PiiDetector {
    /// What happens to content that holds some.
    pub action: Action,
    /// What it reads.
    pub phases: Vec<Phase>,
    /// What it looks for.
    pub entities: Vec<Entity>,
    /// Texts that are never reported, such as the address of your own help desk. Case does not matter.
    pub except: Vec<String>,
    /// What happens to content that it cannot read.
    pub unreadable: Unreadable,
    /// Whether it only records what it would have done.
    pub dry_run: bool,
}

/// A kind of personal data or secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Entity {
    /// E-mail addresses.
    Email,
    /// Telephone numbers: international ones, and national ones that are written in groups.
    Phone,
    /// Payment cards, by issuer and Luhn digit (ISO/IEC 7812-1).
    Card,
    /// International bank account numbers, by country and check digits (ISO 13616, ISO/IEC 7064).
    Iban,
    /// National identity, tax and insurance numbers of several countries, by their check digits where they have some.
    NationalId,
    /// API keys, access tokens and private keys.
    Secret,
}

impl Entity {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Email, Self::Phone, Self::Card, Self::Iban, Self::NationalId, Self::Secret];

    /// The names of the rules that find it.
    #[must_use]
    pub fn rules(self) -> &'static [&'static str] {
        match self {
            Self::Email => &["email"],
            Self::Phone => &["phone"],
            Self::Card => &["card"],
            Self::Iban => &["iban"],
            Self::NationalId => &NATIONAL_IDS,
            Self::Secret => &SECRETS,
        }
    }
}

const NATIONAL_IDS: [&str; 14] = [
    "be-national-number",
    "br-cpf",
    "ch-ahv",
    "de-tax-id",
    "es-dni",
    "fr-nir",
    "in-aadhaar",
    "it-codice-fiscale",
    "nl-bsn",
    "pl-pesel",
    "se-personal-number",
    "uk-nhs-number",
    "uk-nino",
    "us-ssn",
];
const SECRETS: [&str; 14] = [
    "private-key",
    "anthropic-key",
    "openai-key",
    "aws-key",
    "github-token",
    "gitlab-token",
    "slack-token",
    "google-key",
    "stripe-key",
    "sendgrid-key",
    "npm-token",
    "huggingface-token",
    "pypi-token",
    "jwt",
];

impl Default for PiiDetector {
    fn default() -> Self {
        Self {
            action: Action::Redact,
            phases: Phase::both(),
            entities: Entity::ALL.to_vec(),
            except: Vec::new(),
            unreadable: Unreadable::Block,
            dry_run: false,
        }
    }
}

impl PiiDetector {
    pub(super) fn review(&self, review: &mut Review) {
        super::review_phases("policy.pii-detector", &self.phases, review);
        if self.entities.is_empty() {
            review.say(
                &codes::IDLE_POLICY,
                "policy.pii-detector.entities",
                "the list is empty, so nothing is looked for",
                "name what to look for, or remove the key to look for everything",
            );
        }
    }
}
