//! Trying a provider before anything is configured: its models are asked for, with the key that somebody has typed.
//!
//! Only a key that was just typed is sent, never one that is stored: whoever may set an address here would otherwise
//! have stored keys sent to themselves.

use kt_domain::actor::Permission;
use kt_domain::configurations::Credential;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::policy_config::vendors::{self, KeyStyle, Wire};
use serde::Deserialize;
use url::Url;

use crate::control::Control;
use crate::outbound::OutboundError;

/// A provider to try.
pub struct ProviderTrial {
    /// Its vendor, as `provider` names it.
    pub vendor: String,
    /// Where its API is, unless that is known.
    pub base_url: Option<String>,
    /// The model that will be asked for.
    pub model: Option<String>,
    /// Its key, if it asks for one.
    pub key: Option<Credential>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The models that it offers; none for the built-in `echo`.
    pub models: Vec<String>,
}

/// The longest list of models that is read, in bytes.
const MOST_BYTES: usize = 4 << 20;

/// At most so many models are told.
const MOST_MODELS: usize = 500;

/// The version of Anthropic's API that its header must name.
const ANTHROPIC_VERSION: &str = "2023-06-01";

impl Control {
    /// Asks a provider for its models. The error says what to change: the key, the address or the model.
    pub async fn try_provider(&self, ctx: &Ctx, trial: &ProviderTrial) -> Result<Tried, Error> {
        ctx.require(Permission::ChangeSettings)?;
        ctx.require_fresh_authentication()?;
        let vendor = vendors::find(&trial.vendor);
        if vendor.is_some_and(|vendor| vendor.wire == Wire::Echo) {
            return Ok(Tried { models: Vec::new() });
        }
        let base_url = trial.base_url.as_deref().or(vendor.and_then(|vendor| vendor.base_url));
        let base_url = base_url.ok_or_else(|| {
            Error::invalid(
                "base_url",
                "Give the address of its API, with the version segment: https://host/v1.",
            )
        })?;
        let url = Url::parse(&format!("{}/models", base_url.trim_end_matches('/')))
            .map_err(|_| Error::invalid("base_url", "Write an address such as https://host/v1."))?;
        let headers = headers(vendor.map_or(KeyStyle::Bearer, |vendor| vendor.key), trial.key.as_ref());
        let answer = self.providers.get(&url, &headers).await.map_err(|error| unreachable(&error))?;
        let status = answer.status.as_u16();
        if status != 200 {
            return Err(refused(status));
        }
        let body = answer.read(MOST_BYTES).await.map_err(|error| unreachable(&error))?;
        let models = models(&body)?;
        match &trial.model {
            Some(model) if !models.contains(model) => {
                let message =
                    "The provider answers, and does not offer this model. Choose one that it offers.";
                Err(Error::new(ErrorKind::Invalid, "unknown_model", message).with_param("model"))
            }
            _ => Ok(Tried { models }),
        }
    }
}

fn headers(style: KeyStyle, key: Option<&Credential>) -> Vec<(&'static str, String)> {
    let mut headers = vec![("accept", "application/json".to_owned())];
    if style == KeyStyle::XApiKey {
        headers.push(("anthropic-version", ANTHROPIC_VERSION.to_owned()));
    }
    if let Some(key) = key {
        headers.push(match style {
            KeyStyle::Bearer => ("authorization", format!("Bearer {}", key.expose())),
            KeyStyle::XApiKey => ("x-api-key", key.expose().to_owned()),
            KeyStyle::ApiKey => ("api-key", key.expose().to_owned()),
        });
    }
    headers
}

/// The models in an answer, as OpenAI and Anthropic list them.
fn models(body: &[u8]) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct Models {
        data: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        id: String,
    }
    let Models { data } = serde_json::from_slice(body).map_err(|_| {
        unsuitable("What answers there lists no models as an AI provider does. Check the address.")
    })?;
    Ok(data.into_iter().map(|model| model.id).take(MOST_MODELS).collect())
}

/// What a status other than 200 means.
fn refused(status: u16) -> Error {
    let error = match status {
        401 | 403 => {
            let message = "The provider refuses this key. Copy it again, or make a new one there.";
            Error::new(ErrorKind::Invalid, "provider_key_refused", message).with_param("key")
        }
        429 => {
            let message = "The provider answers, and has had enough of this key for now: its limit or its credit is \
                           used up.";
            Error::new(ErrorKind::Invalid, "provider_busy", message).with_param("key")
        }
        404 => unsuitable(
            "There is no such API at this address. It must include the version segment, such as /v1.",
        ),
        300..=399 => unsuitable(
            "This address leads on to another, which is not followed. Give the address where the API is.",
        ),
        _ => unsuitable("The provider answers with a failure. Try again later."),
    };
    error.with_detail("status", status)
}

fn unsuitable(message: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "provider_unsuitable", message).with_param("base_url")
}

/// Why there was no answer.
fn unreachable(error: &OutboundError) -> Error {
    let message = match error {
        OutboundError::TimedOut(_) | OutboundError::NotConnected(_) => {
            "The provider did not answer within 10 seconds. Check the address, then try again."
        }
        OutboundError::Unresolved(..) => "The name in this address cannot be resolved. Check it.",
        OutboundError::Forbidden(_) => {
            "This address is on this machine or a private network, where this server may not connect. The operator can \
             allow it with `providers.allow_private`; gateways reach it without."
        }
        OutboundError::NotAnAddress => "Write an address such as https://host/v1.",
        OutboundError::Broken(..) | OutboundError::NotHttp(..) => {
            "No connection to the provider could be made. Check the address, and whether it is http or https."
        }
    };
    Error::new(ErrorKind::Invalid, "provider_unreachable", message).with_param("base_url").with_private(error)
}
