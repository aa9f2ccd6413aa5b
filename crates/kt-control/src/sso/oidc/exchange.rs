//! Exchanging a code for tokens, and asking what else the provider tells of somebody.
//!
//! The tokens of the provider are used here and forgotten: neither the browser nor the store ever holds one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use kt_domain::sso::ClientAuthentication;
use kt_domain::sso::id_token::text;
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::{Party, Published};
use crate::control::Control;
use crate::sso::fetch::{self, FetchError};

/// What a provider gives for a code.
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub(super) id_token: String,
    #[serde(default)]
    pub(super) access_token: Option<String>,
}

/// Why there are no tokens.
#[derive(Debug, Error)]
pub(super) enum ExchangeError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the provider refused with {status} `{error}`")]
    Refused { status: StatusCode, error: String, description: Option<String> },
    #[error("the provider gave no ID token")]
    NoToken,
    #[error("no client secret is set")]
    NoSecret,
    #[error("the address `{0}` cannot be used")]
    Address(String),
    #[error("what it tells of somebody is no JSON object")]
    NoObject,
    #[error("it tells of another subject than the ID token")]
    OtherSubject,
}

impl Control {
    /// What the provider gives for a code, together with the proof that we have asked for it (RFC 7636 section 4.5).
    pub(super) async fn exchange(
        &self,
        party: &Party,
        published: &Published,
        code: &str,
        verifier: &str,
    ) -> Result<Tokens, ExchangeError> {
        let url = address(&published.endpoints.token)?;
        let (headers, form) = request(party, code, verifier)?;
        let answer = fetch::post_form(&self.sso.outbound, &url, &headers, form).await?;
        if answer.status != StatusCode::OK {
            return Err(refused(answer.status, &answer.body));
        }
        serde_json::from_slice(&answer.body).map_err(|_| ExchangeError::NoToken)
    }

    /// What the provider tells besides of whom the ID token names, and of nobody else (OpenID Connect Core 1.0 section
    /// 5.3.2). The access token goes into the header alone.
    pub(super) async fn userinfo(
        &self,
        endpoint: &str,
        access_token: &str,
        claims: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ExchangeError> {
        let headers =
            [("accept", "application/json".to_owned()), ("authorization", format!("Bearer {access_token}"))];
        let body = fetch::get(&self.sso.outbound, &address(endpoint)?, &headers).await?;
        let told: Map<String, Value> = serde_json::from_slice(&body).map_err(|_| ExchangeError::NoObject)?;
        if text(&told, "sub").is_none() || text(&told, "sub") != text(claims, "sub") {
            return Err(ExchangeError::OtherSubject);
        }
        Ok(told)
    }
}

type Headers = Vec<(&'static str, String)>;

/// What is sent for a code: the headers and the form.
fn request(party: &Party, code: &str, verifier: &str) -> Result<(Headers, String), ExchangeError> {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", code)
        .append_pair("redirect_uri", party.redirect_uri.as_str())
        .append_pair("code_verifier", verifier);
    let mut headers = vec![("accept", "application/json".to_owned())];
    let client_id = &party.settings.client_id;
    match (party.settings.authentication, secret(party)?) {
        (ClientAuthentication::ClientSecretBasic, Some(secret)) => {
            headers.push(("authorization", basic(client_id, &secret)));
        }
        (ClientAuthentication::ClientSecretPost, Some(secret)) => {
            form.append_pair("client_id", client_id).append_pair("client_secret", &secret);
        }
        _ => {
            form.append_pair("client_id", client_id);
        }
    }
    Ok((headers, form.finish()))
}

fn address(text: &str) -> Result<Url, ExchangeError> {
    Url::parse(text).map_err(|_| ExchangeError::Address(text.to_owned()))
}

/// The secret, where one is needed.
fn secret(party: &Party) -> Result<Option<String>, ExchangeError> {
    if party.settings.authentication == ClientAuthentication::None {
        return Ok(None);
    }
    let secret = party.secret.clone().and_then(|secret| String::from_utf8(secret).ok());
    secret.map(Some).ok_or(ExchangeError::NoSecret)
}

/// RFC 6749 section 2.3.1: both are form-encoded before they are joined.
fn basic(client_id: &str, secret: &str) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(secret))))
}

/// How many characters are kept of what a refusal is described by.
const LONGEST_DESCRIPTION: usize = 1000;

/// A refusal: its word `error`, and what describes it, which is shown to whoever tries the provider out alone. Nothing else of it
/// is repeated anywhere.
fn refused(status: StatusCode, body: &[u8]) -> ExchangeError {
    let answer: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let word = text(&answer, "error").unwrap_or("unknown");
    let error = word.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
    let description = text(&answer, "error_description");
    let description = description.map(|words| words.chars().take(LONGEST_DESCRIPTION).collect());
    ExchangeError::Refused { status, error, description }
}
