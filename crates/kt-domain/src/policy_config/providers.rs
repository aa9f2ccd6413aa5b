//! `providers`: where requests are forwarded to.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::base_url;
use super::codes;
use super::rules::{Review, is_token};
use super::suggest::closest;
use super::vendors::{self, ProviderName, VENDORS, Vendor, Wire};
use crate::configurations::KeptName;

/// The providers that requests can be forwarded to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Providers {
    /// The targets. A request goes to a target that names the request's model, else to one that names no model, else
    /// to any; among those to the lowest `priority`, shared out by `weight`. When it fails, `retry` says whether the
    /// next one is asked; one that names another model never is, unless it `serves` the request's.
    pub targets: Vec<Target>,
}

/// One place to forward to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The target's name in events and metrics; unique.
    #[schemars(length(min = 1, max = 200))]
    pub id: String,
    /// `vendor` or `vendor:surface:model`, such as `openai:chat:gpt-4o`, `anthropic` or `echo`.
    pub provider: String,
    /// The model this target serves; the same as the third part of `provider`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Further names by which clients may ask for `model`: a request that names one of them is sent with `model` in its
    /// place. Lets a target stand in for another vendor's model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serves: Vec<String>,
    /// Where the vendor's API is, with its version segment, as the vendor's SDKs take it: `https://host/v1`.
    /// Needed for a vendor whose address is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// For `azure` alone, the version of its API (`2024-10-21`): requests are then addressed by deployment
    /// (`/openai/deployments/MODEL/…?api-version=…`) below `base_url`, which is `https://NAME.openai.azure.com`. Without
    /// it `base_url` is that of Azure's newer API, `https://NAME.openai.azure.com/openai/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Where the provider's key is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretRef>,
    /// Headers added to every request to this target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// This target's share among targets of the same priority.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
    /// Targets with a lower number are asked first.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: u32,
}

fn one() -> u32 {
    1
}

/// Where a secret is read from: exactly one of `env` and `stored`. The secret itself never stands in a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// The environment variable of the gateway that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub env: Option<String>,
    /// The provider credential of the control plane that holds it; for a configuration that the control plane keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub stored: Option<String>,
}

/// Where a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretPlace<'a> {
    /// In this environment variable of the gateway.
    Environment(&'a str),
    /// Kept by the control plane under this name.
    Stored(&'a str),
}

/// Headers that belong to the connection or to the gateway; one that carries a credential is set from
/// `secret_key_ref`.
const OWN_HEADERS: [&str; 18] = [
    "accept-encoding",
    "api-key",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-api-key",
    "x-forwarded-for",
];

impl Providers {
    pub(super) fn review(&self, review: &mut Review) {
        if self.targets.is_empty() {
            review.say(
                &codes::NO_TARGET,
                "providers.targets",
                "there is no target, so no request can be forwarded",
                "add one to `providers.targets`; `{id: demo, provider: echo}` needs no key",
            );
        }
        let ids = self.targets.iter().map(|target| target.id.as_str());
        review.unique(
            ids,
            |index| format!("providers.targets[{index}].id"),
            "give each target a name of its own",
        );
        for (index, target) in self.targets.iter().enumerate() {
            target.review(&format!("providers.targets[{index}]"), review);
        }
    }
}

impl Target {
    fn review(&self, path: &str, review: &mut Review) {
        self.review_provider(path, review);
        if let Some(base_url) = &self.base_url {
            base_url::review(&format!("{path}.base_url"), base_url, review);
        }
        if let Some(secret) = &self.secret_key_ref {
            secret.review(&format!("{path}.secret_key_ref"), review);
        }
        self.review_serves(path, review);
        self.review_api_version(path, review);
        for (name, value) in &self.headers {
            review_header(&format!("{path}.headers.{name}"), name, value, review);
        }
    }

    /// The model that this target names, in `model` or in `provider`.
    fn own_model(&self) -> Option<&str> {
        self.model.as_deref().or_else(|| ProviderName::parse(&self.provider)?.model)
    }

    fn review_serves(&self, path: &str, review: &mut Review) {
        if !self.serves.is_empty() && self.own_model().is_none() {
            review.say(
                &codes::BAD_PROVIDER,
                &format!("{path}.serves"),
                format!("`{path}` serves other names and names no model to send in their place"),
                "add `model`, or write the provider as `vendor:surface:model`",
            );
        }
        let names = self.serves.iter().map(String::as_str);
        review.unique(names, |index| format!("{path}.serves[{index}]"), "keep one of them");
    }

    fn review_api_version(&self, path: &str, review: &mut Review) {
        let Some(version) = &self.api_version else { return };
        let path = format!("{path}.api_version");
        if ProviderName::parse(&self.provider).is_none_or(|name| name.vendor != "azure") {
            let message = format!("`{path}` is known to `azure` alone");
            review.say(&codes::BAD_PROVIDER, &path, message, "remove it");
        } else if version.is_empty()
            || !version.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            let message = format!("`{version}` is no version of Azure's API");
            review.say(&codes::BAD_PROVIDER, &path, message, "write a date, such as `2024-10-21`");
        }
    }

    fn review_provider(&self, path: &str, review: &mut Review) {
        let path = format!("{path}.provider");
        if self.provider.is_empty() {
            // It is missing, which was reported.
            return;
        }
        let Some(name) = ProviderName::parse(&self.provider) else {
            let message = format!("`{}` is neither `vendor` nor `vendor:surface:model`", self.provider);
            let suggestion = "write it like `openai:chat:gpt-4o`, or `openai` alone for every model";
            return review.say(&codes::BAD_PROVIDER, &path, message, suggestion);
        };
        if let (Some(in_name), Some(model)) = (name.model, &self.model)
            && in_name != model
        {
            let message = format!("`{}` names another model than `model: {model}`", self.provider);
            review.say(&codes::BAD_PROVIDER, &path, message, "keep one of them");
        }
        if self.base_url.is_none() {
            review_address_known(&path, name.vendor, self.api_version.is_some(), review);
        }
    }
}

/// Reports a vendor whose address is not known, for a target that gives none.
fn review_address_known(path: &str, vendor: &str, by_deployment: bool, review: &mut Review) {
    let example = match vendor {
        "azure" if by_deployment => "add `base_url: https://NAME.openai.azure.com`",
        "azure" => "add `base_url: https://NAME.openai.azure.com/openai/v1`",
        _ => "add `base_url: https://HOST/v1`",
    };
    let (message, suggestion) = match vendors::find(vendor) {
        Some(Vendor { base_url: Some(_), .. } | Vendor { wire: Wire::Echo, .. }) => return,
        Some(Vendor { name, .. }) => (
            format!("every deployment of `{name}` has its own address, and there is no `base_url`"),
            example.into(),
        ),
        None => {
            let message = format!("the address of `{vendor}` is not known, and there is no `base_url`");
            let meant = closest(vendor, VENDORS.iter().map(|vendor| vendor.name));
            (
                message,
                meant.map_or_else(|| example.into(), |name| format!("did you mean `{name}`? Else {example}")),
            )
        }
    };
    review.say(&codes::BAD_BASE_URL, path, message, suggestion);
}

fn review_header(path: &str, name: &str, value: &str, review: &mut Review) {
    // A value may be a secret, so it is not repeated.
    let lower = name.to_ascii_lowercase();
    let (message, suggestion) = if !is_token(name) {
        (format!("`{name}` is no header name"), "write the name alone, without colon or blank")
    } else if OWN_HEADERS.contains(&lower.as_str()) {
        (
            format!("`{name}` is set by the gateway itself"),
            "remove it; a provider's key is named by `secret_key_ref`",
        )
    } else if !is_field_value(value) {
        (
            format!("the value of `{name}` has characters that no header may have"),
            "write one line of visible ASCII",
        )
    } else {
        return;
    };
    review.say(&codes::BAD_HEADER, path, message, suggestion);
}

/// Whether this is a header's value (RFC 9110 section 5.5) without bytes above ASCII.
fn is_field_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) && text.trim() == text
}

impl SecretRef {
    /// Where the secret is; `None` where the reference names no place, or two.
    #[must_use]
    pub fn place(&self) -> Option<SecretPlace<'_>> {
        match (&self.env, &self.stored) {
            (Some(variable), None) => Some(SecretPlace::Environment(variable)),
            (None, Some(name)) => Some(SecretPlace::Stored(name)),
            _ => None,
        }
    }

    /// Why there is no secret, for people.
    #[must_use]
    pub fn absence(&self) -> String {
        match self.place() {
            Some(SecretPlace::Environment(variable)) => {
                format!("the environment variable {variable} is not set")
            }
            Some(SecretPlace::Stored(name)) => format!("the control plane keeps no credential `{name}`"),
            None => "its `secret_key_ref` names no secret".to_owned(),
        }
    }

    /// Why the secret is of no use though it is there, for people, who are told what to do.
    #[must_use]
    pub fn unsoundness(&self) -> String {
        let (place, advice) = match self.place() {
            Some(SecretPlace::Environment(variable)) => (
                format!("the environment variable {variable}"),
                "set it to the key alone, as `printf %s` writes it and `echo` does not",
            ),
            Some(SecretPlace::Stored(name)) => {
                (format!("the control plane's credential `{name}`"), "store the key alone")
            }
            None => ("its `secret_key_ref`".to_owned(), "name one secret"),
        };
        format!(
            "{place} holds a control character, such as a line break at its end, or has a blank at an end: {advice}"
        )
    }

    /// Reviews the reference at `path`.
    pub(super) fn review(&self, path: &str, review: &mut Review) {
        match self.place() {
            Some(SecretPlace::Environment(variable)) => review_variable(variable, path, review),
            Some(SecretPlace::Stored(name)) => review_stored(name, path, review),
            None => {
                let (found, suggestion) = if self.env.is_some() {
                    ("both `env` and `stored`", "keep one of them")
                } else {
                    (
                        "neither `env` nor `stored`",
                        "add `env: NAME`, and set the secret in the gateway's environment",
                    )
                };
                review.say(&codes::BAD_SECRET_REF, path, format!("`{path}` has {found}"), suggestion);
            }
        }
    }
}

/// Reviews the name of an environment variable.
fn review_variable(variable: &str, path: &str, review: &mut Review) {
    if variable.is_empty() || is_variable_name(variable) {
        return;
    }
    // What stands here may be the secret by mistake, so it is not repeated.
    let inner = variable.trim_start_matches(['$', '{']).trim_end_matches('}');
    let suggestion = if variable.starts_with('$') && is_variable_name(inner) {
        format!("write `{inner}`, without `$`")
    } else {
        "write the name, such as `OPENAI_API_KEY`, and set the secret in the gateway's environment".into()
    };
    let message = format!("`{path}.env` is no name of an environment variable");
    review.say(&codes::BAD_VARIABLE_NAME, &format!("{path}.env"), message, suggestion);
}

/// Reviews the name of a provider credential. What stands there may be the secret by mistake, so it is not repeated.
fn review_stored(name: &str, path: &str, review: &mut Review) {
    let path = format!("{path}.stored");
    if !review.options.kept {
        let message =
            format!("`{path}` names what the control plane keeps, and this configuration is a file");
        let suggestion = "write `env: NAME`, and set the secret in the gateway's environment";
        review.say(&codes::STORED_IN_A_FILE, &path, message, suggestion);
    } else if !name.is_empty() && name.parse::<KeptName>().is_err() {
        let message = format!("`{path}` is no name of a provider credential");
        let suggestion = "write the name under which the key was stored, such as `openai`";
        review.say(&codes::BAD_SECRET_REF, &path, message, suggestion);
    }
}

/// Letters, digits and `_`, not a digit first (POSIX, Base Definitions section 8.1).
fn is_variable_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
