//! Entries over HTTP, signed as Standard Webhooks (<https://www.standardwebhooks.com>) describes, so that the receiver knows
//! who sent them, when, and that nobody changed them on the way.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kt_domain::network::reach::Reach;
use kt_store::audit::ChainEntry;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::value::RawValue;
use thiserror::Error;
use url::Url;

use super::NotTaken;
use crate::outbound::Outbound;

/// How the text of a secret begins.
const SECRET_PREFIX: &str = "whsec_";

/// A receiver of entries over HTTP.
pub struct Webhook {
    url: Url,
    key: Box<hmac::Key>,
    outbound: Outbound,
}

/// The receiver cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WebhookError {
    /// Not an address, or one that everybody on the way can listen to.
    #[error(
        "write an address such as https://collector.example.com/audit; http is for private networks alone"
    )]
    Url,
    /// Too short, too long, or not base64.
    #[error(
        "a webhook's secret is `whsec_` and 24 to 64 bytes in base64: `openssl rand -base64 32` makes some"
    )]
    Secret,
}

/// The body of a request.
#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    chain: &'a str,
    entries: Vec<Box<RawValue>>,
}

impl Webhook {
    /// A receiver at `url` that knows `secret`. Without TLS only where private networks may be reached.
    pub fn new(url: &str, secret: &SecretString, outbound: Outbound) -> Result<Self, WebhookError> {
        let url = Url::parse(url).map_err(|_| WebhookError::Url)?;
        let is_allowed = match url.scheme() {
            "https" => true,
            "http" => outbound.reach() == Reach::Private,
            _ => false,
        };
        if !is_allowed || !url.username().is_empty() || url.password().is_some() {
            return Err(WebhookError::Url);
        }
        Ok(Self { url, key: key(secret).ok_or(WebhookError::Secret)?, outbound })
    }

    pub(super) async fn send(
        &self,
        chain: &str,
        entries: &[ChainEntry],
        now: Timestamp,
    ) -> Result<(), NotTaken> {
        let unreadable = |error: serde_json::Error| NotTaken { reason: error.to_string(), wait: None };
        let lines: Result<Vec<_>, _> =
            entries.iter().map(|entry| serde_json::from_slice(&entry.line())).collect();
        let data = Data { chain, entries: lines.map_err(unreadable)? };
        let message = Message { r#type: "audit_log.entries", timestamp: now, data };
        let body = serde_json::to_vec(&message).map_err(unreadable)?;
        // The same part has the same name each time it is sent, so that a receiver can tell.
        let (first, last) =
            (entries.first().map_or(0, |entry| entry.seq), entries.last().map_or(0, |entry| entry.seq));
        let id = format!("msg_{chain}_{first}_{last}");
        let sent_at = now.as_second();
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("webhook-signature", signature(&self.key, &id, sent_at, &body)),
            ("webhook-timestamp", sent_at.to_string()),
            ("webhook-id", id),
        ];
        let answer = self.outbound.post(&self.url, &headers, body).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(NotTaken {
            reason: format!("{} answered {}", self.url.authority(), answer.status),
            wait: answer.retry_after,
        })
    }
}

fn key(secret: &SecretString) -> Option<Box<hmac::Key>> {
    let text = secret.expose_secret().trim().strip_prefix(SECRET_PREFIX)?;
    let bytes = STANDARD.decode(text).ok()?;
    (24..=64).contains(&bytes.len()).then(|| Box::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
}

fn signature(key: &hmac::Key, id: &str, sent_at: i64, body: &[u8]) -> String {
    let mut signing = hmac::Context::with_key(key);
    signing.update(format!("{id}.{sent_at}.").as_bytes());
    signing.update(body);
    format!("v1,{}", STANDARD.encode(signing.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(url: &str, secret: &str, reach: Reach) -> Result<(), WebhookError> {
        let outbound = Outbound::new(reach, None).unwrap();
        Webhook::new(url, &SecretString::from(secret), outbound).map(|_| ())
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_signature_is_that_of_the_standards_own_example() {
        let key = key(&SecretString::from(SECRET)).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let made = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(made, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn only_private_networks_go_without_tls() {
        for (url, public, private) in [
            ("https://collector.example.com/audit?x=1", Ok(()), Ok(())),
            ("http://collector.example.com/audit", Err(WebhookError::Url), Ok(())),
            ("ftp://collector.example.com", Err(WebhookError::Url), Err(WebhookError::Url)),
            ("https://me:word@collector.example.com", Err(WebhookError::Url), Err(WebhookError::Url)),
            ("collector", Err(WebhookError::Url), Err(WebhookError::Url)),
        ] {
            assert_eq!(made(url, SECRET, Reach::Public), public, "{url}");
            assert_eq!(made(url, SECRET, Reach::Private), private, "{url}");
        }
    }

    #[test]
    fn a_secret_is_long_enough_and_written_as_the_standard_says() {
        for secret in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_***"] {
            assert_eq!(
                made("https://a.example", secret, Reach::Public),
                Err(WebhookError::Secret),
                "{secret}"
            );
        }
    }
}
