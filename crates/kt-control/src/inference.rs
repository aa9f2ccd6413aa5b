//! Asking a model through a gateway, on behalf of somebody.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::future::join_all;
use hyper::StatusCode;
use jiff::Timestamp;
use kt_domain::error::Error;
use kt_domain::gateways::{TargetReport, reached_at};
use kt_domain::id::OrganizationId;
use kt_domain::media_type;
use kt_domain::network::gateway_rules::{Decision, IpRules};
use kt_domain::policy_config::PolicyConfig;
use kt_domain::public_url::PublicUrl;
use kt_domain::workspace::Refusal;
use kt_store::gateways::{self, Gateway};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Host;

use crate::control::Control;
use crate::gateways::GONE_AFTER;
use crate::outbound::{Answer, OutboundError};

/// How long a gateway may take until it answers, and between two parts of its answer. Its own limits are shorter.
pub(crate) const PATIENCE: Duration = Duration::from_mins(10);

/// How long a gateway may take to take a connection. A host that is gone says nothing at all, and another gateway waits; a
/// first packet that is lost is sent again after one second and after three (RFC 6298 section 2).
pub(crate) const CONNECTS_WITHIN: Duration = Duration::from_secs(4);

/// The longest line of an answer that is read, in bytes.
const LONGEST_LINE: usize = 4 << 20;

/// The longest refusal that is read, in bytes.
const LONGEST_REFUSAL: usize = 64 << 10;

const NO_GATEWAY: &str = "no_gateway";
const UNREACHABLE: &str = "gateway_unreachable";
const BROKE_OFF: &str = "gateway_broke_off";
const UNEXPLAINED: &str = "gateway_unexplained";

/// What a gateway says that takes no new requests.
const DRAINING: &str = "draining";

/// What a model is asked.
#[derive(Serialize)]
pub(crate) struct Question<'a> {
    pub(crate) model: &'a str,
    pub(crate) messages: Vec<Said<'a>>,
}

/// Something that was said.
#[derive(Serialize)]
pub(crate) struct Said<'a> {
    role: &'static str,
    content: &'a str,
}

impl<'a> Said<'a> {
    pub(crate) fn by_user(content: &'a str) -> Self {
        Self { role: "user", content }
    }

    pub(crate) fn by_model(content: &'a str) -> Self {
        Self { role: "assistant", content }
    }
}

/// An answer that is on its way.
pub(crate) struct Reply {
    /// The gateway's identifier of the request.
    pub(crate) request_id: Option<String>,
    /// Tokens, as soon as they are told.
    pub(crate) used: Used,
    answer: Answer,
    is_stream: bool,
    /// What came and was not read yet.
    came: Vec<u8>,
    is_over: bool,
}

/// What an answer has used.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Used {
    pub(crate) prompt_tokens: Option<i64>,
    pub(crate) completion_tokens: Option<i64>,
}

/// A request that was not answered.
#[derive(Debug)]
pub(crate) struct NotAnswered {
    pub(crate) request_id: Option<String>,
    pub(crate) refusal: Refusal,
    /// How long whoever asks again should wait at least.
    pub(crate) retry_after: Duration,
}

impl Control {
    /// The gateways of an organization that can be asked now, with their addresses; those that name `model` first.
    pub(crate) async fn gateways_to_ask(
        &self,
        organization: &OrganizationId,
        model: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<(Gateway, PublicUrl)>, Error> {
        let names = |gateway: &Gateway| {
            let usable = gateway.targets.iter().filter(|target| target.is_usable());
            usable.flat_map(|target| &target.models).any(|known| Some(known.as_str()) == model)
        };
        let in_service = gateways::in_service(&self.store, organization, now - GONE_AFTER).await?;
        let mut found: Vec<_> = in_service
            .into_iter()
            .filter(|gateway| gateway.targets.iter().any(TargetReport::is_usable))
            .filter_map(|gateway| {
                let address = reached_at(gateway.address.as_deref(), gateway.ip)?;
                Some((gateway, address))
            })
            .collect();
        found.sort_by_key(|(gateway, _)| !names(gateway));
        Ok(found)
    }

    /// Asks, with this pass. A gateway is passed over to which there is no way, or which takes no new requests; one that has
    /// taken the question is the only one: a question is never asked twice unseen. `key` lets whoever stands behind recognise
    /// the same question.
    pub(crate) async fn ask(
        &self,
        organization: &OrganizationId,
        pass: &SecretString,
        question: &Question<'_>,
        key: &str,
    ) -> Result<Reply, NotAnswered> {
        let found = self.gateways_to_ask(organization, Some(question.model), self.clock.now()).await;
        let found = found.map_err(|error| refused(error.code, &error.message))?;
        let headers = [
            ("authorization", format!("Bearer {}", pass.expose_secret())),
            ("content-type", "application/json".to_owned()),
            ("accept", "text/event-stream".to_owned()),
            ("idempotency-key", key.to_owned()),
        ];
        let body = json!({ "model": question.model, "messages": question.messages, "stream": true,
            "stream_options": { "include_usage": true } });
        let mut last = no_gateway();
        for (gateway, address) in found {
            let url = address.page("/v1/chat/completions");
            let begun = match self.gateways.post(&url, &headers, body.to_string().into()).await {
                Ok(answer) => Reply::begin(answer).await,
                Err(error) => {
                    tracing::warn!(gateway = gateway.id, %error, "a gateway cannot be asked");
                    Err(if error.is_unreached() { unreachable() } else { broke_off() })
                }
            };
            match begun {
                Err(NotAnswered { refusal, .. }) if was_not_taken(&refusal) => last = unreachable(),
                outcome => return outcome,
            }
        }
        Err(last)
    }

    /// An address of this machine from which gateways are asked, and which this configuration of theirs would not let in. From
    /// where this server comes to a gateway on another machine is not known here.
    pub(crate) async fn shut_out_by(
        &self,
        organization: &OrganizationId,
        config: &PolicyConfig,
        now: Timestamp,
    ) -> Result<Option<IpAddr>, Error> {
        // What is wrong with the ranges is told as a finding.
        let Ok(rules) = IpRules::compile(&config.ip_allowlist) else { return Ok(None) };
        let is_refused =
            |ip: &IpAddr| matches!(rules.decide(*ip, std::iter::empty()), Decision::Denied { .. });
        let found = self.gateways_to_ask(organization, None, now).await?;
        Ok(found.iter().filter_map(|(_, address)| own_address(address)).find(is_refused))
    }

    /// The models that can be asked for in an organization, by name. Gateways report those that their targets name; where
    /// a target lists its own, the gateway is asked, with this pass.
    pub(crate) async fn models_of(
        &self,
        organization: &OrganizationId,
        pass: &SecretString,
        now: Timestamp,
    ) -> Result<Vec<String>, Error> {
        let gateways = self.gateways_to_ask(organization, None, now).await?;
        let asked = gateways.iter().map(|(gateway, address)| self.models_through(gateway, address, pass));
        let mut models = join_all(asked).await.concat();
        let mut known = std::collections::HashSet::new();
        models.retain(|model| known.insert(model.clone()));
        Ok(models)
    }

    async fn models_through(
        &self,
        gateway: &Gateway,
        address: &PublicUrl,
        pass: &SecretString,
    ) -> Vec<String> {
        let usable: Vec<_> = gateway.targets.iter().filter(|target| target.is_usable()).collect();
        let lists_more = usable.iter().any(|target| target.models.is_empty());
        let mut models = if lists_more { self.listed_models(address, pass).await } else { Vec::new() };
        models.extend(usable.into_iter().flat_map(|target| target.models.iter().cloned()));
        models
    }

    async fn listed_models(&self, address: &PublicUrl, pass: &SecretString) -> Vec<String> {
        #[derive(Deserialize)]
        struct List {
            data: Vec<Model>,
        }
        #[derive(Deserialize)]
        struct Model {
            id: String,
        }
        let headers = [("authorization", format!("Bearer {}", pass.expose_secret()))];
        let asked = async {
            let answer = self.gateways.get(&address.page("/v1/models"), &headers).await?;
            answer.read(LONGEST_LINE).await
        };
        let body = match tokio::time::timeout(LISTED_WITHIN, asked).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a gateway did not list its models");
                return Vec::new();
            }
            Err(_) => return Vec::new(),
        };
        let list: Result<List, _> = serde_json::from_slice(&body);
        list.map_or_else(|_| Vec::new(), |list| list.data.into_iter().map(|model| model.id).collect())
    }
}

/// From where this server comes to an address of its own machine: from the same one.
fn own_address(address: &PublicUrl) -> Option<IpAddr> {
    let ip = match address.url().host()? {
        Host::Ipv4(address) => IpAddr::V4(address),
        Host::Ipv6(address) => IpAddr::V6(address),
        Host::Domain("localhost") => Ipv4Addr::LOCALHOST.into(),
        Host::Domain(_) => return None,
    };
    ip.is_loopback().then_some(ip)
}

/// How long a page waits for the names of models.
const LISTED_WITHIN: Duration = Duration::from_secs(3);

/// A part of a streamed answer, or a whole one.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Used>,
    error: Option<Refused>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(alias = "message")]
    delta: Option<Delta>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Refused {
    code: Option<String>,
    message: Option<String>,
    policy: Option<String>,
}

impl Reply {
    async fn begin(answer: Answer) -> Result<Self, NotAnswered> {
        let request_id = answer.header("x-kt-request-id").map(str::to_owned);
        if answer.status != StatusCode::OK {
            let status = answer.status.as_u16();
            let told = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
            let retry_after = told.map_or(Duration::ZERO, Duration::from_secs);
            let body = answer.read(LONGEST_REFUSAL).await.unwrap_or_default();
            let chunk = serde_json::from_slice::<Chunk>(&body).ok();
            let told = chunk.and_then(|chunk| chunk.error).map(Refusal::from);
            let refusal = told.unwrap_or_else(|| {
                tracing::warn!(status, "what answers at a gateway's address does not say why it refuses");
                unexplained()
            });
            return Err(NotAnswered { request_id, refusal, retry_after });
        }
        let declared = answer.header("content-type");
        let is_stream =
            declared.is_some_and(|declared| media_type::is(declared.as_bytes(), "text/event-stream"));
        Ok(Self { request_id, used: Used::default(), answer, is_stream, came: Vec::new(), is_over: false })
    }

    /// The next part of the answer's text; `None` when it has come to its end.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, Refusal> {
        while !self.is_over {
            let text = self.read_what_came()?;
            if !text.is_empty() {
                return Ok(Some(text));
            }
            if self.is_over {
                break;
            }
            match self.answer.next().await {
                Ok(Some(_)) if self.came.len() > LONGEST_LINE => return Err(broke_off().refusal),
                Ok(Some(part)) => self.came.extend_from_slice(&part),
                // A stream says itself that it is over; one that just ends was broken off.
                Ok(None) if self.is_stream => return Err(broke_off().refusal),
                Ok(None) => return self.whole().map(|text| Some(text).filter(|text| !text.is_empty())),
                Err(error) => {
                    tracing::warn!(%error, "a gateway broke an answer off");
                    return Err(broke_off().refusal);
                }
            }
        }
        Ok(None)
    }

    /// The text of all lines that are there as a whole (Server-Sent Events, WHATWG HTML section 9.2.6).
    fn read_what_came(&mut self) -> Result<String, Refusal> {
        let mut text = String::new();
        if !self.is_stream {
            return Ok(text);
        }
        let mut begins = 0;
        while let Some(length) = self.came[begins..].iter().position(|byte| *byte == b'\n') {
            let line = self.came[begins..begins + length].trim_ascii_end();
            begins += length + 1;
            let Some(data) = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii_start) else { continue };
            if data == b"[DONE]" {
                self.is_over = true;
                break;
            }
            let Ok(chunk) = serde_json::from_slice::<Chunk>(data) else { continue };
            match note(&mut self.used, chunk) {
                Ok(more) => text.push_str(&more),
                // What came before the refusal is told first.
                Err(_) if !text.is_empty() => {
                    begins -= length + 1;
                    break;
                }
                Err(refusal) => return Err(refusal),
            }
        }
        self.came.drain(..begins);
        Ok(text)
    }

    fn whole(&mut self) -> Result<String, Refusal> {
        self.is_over = true;
        let chunk = serde_json::from_slice(&self.came).map_err(|_| broke_off().refusal)?;
        note(&mut self.used, chunk)
    }
}

/// The text of a part, in which the character NUL is none that is kept; what it says of tokens is.
fn note(used: &mut Used, chunk: Chunk) -> Result<String, Refusal> {
    if let Some(error) = chunk.error {
        return Err(error.into());
    }
    if let Some(told) = chunk.usage {
        *used = told;
    }
    let deltas = chunk.choices.into_iter().filter_map(|choice| choice.delta?.content);
    Ok(deltas.collect::<String>().replace('\0', "\u{FFFD}"))
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self {
            code: refused.code.unwrap_or_else(|| "upstream_error".to_owned()),
            message: refused.message.unwrap_or_default(),
            policy: refused.policy,
        }
    }
}

impl OutboundError {
    /// Whether nothing was sent.
    fn is_unreached(&self) -> bool {
        !matches!(self, Self::TimedOut(_) | Self::NotHttp(..))
    }
}

fn refused(code: &str, message: &str) -> NotAnswered {
    NotAnswered { request_id: None, refusal: refusal(code, message), retry_after: Duration::ZERO }
}

fn refusal(code: &str, message: &str) -> Refusal {
    Refusal { code: code.to_owned(), message: message.to_owned(), policy: None }
}

/// What is said where no gateway could be asked.
pub(crate) fn no_gateway() -> NotAnswered {
    let message =
        "No gateway is connected that has a usable model. An administrator sees why under Gateways.";
    refused(NO_GATEWAY, message)
}

fn unreachable() -> NotAnswered {
    refused(UNREACHABLE, "The gateway cannot be reached at the moment. Try again soon.")
}

/// Whether the gateway was not asked, or has passed the question on to nobody because it takes none.
fn was_not_taken(refusal: &Refusal) -> bool {
    matches!(&*refusal.code, UNREACHABLE | DRAINING)
}

/// Whether asking once more, a little later, may help: nobody knows what the answer would have been, because the gateway's connection ended before it did, the provider's did, or something before the gateway
/// answered in its place.
pub(crate) fn may_pass(refusal: &Refusal) -> bool {
    matches!(&*refusal.code, BROKE_OFF | UNEXPLAINED | "upstream_incomplete")
}

/// Why no model was asked, where that passes by itself: the store is away, or a gateway lets nobody in at the moment or so much
/// at a time. A budget begins anew too late for that.
const TOO_EARLY: [&str; 9] = [
    NO_GATEWAY,
    "store_unavailable",
    "rate_limited",
    "tokens_limited",
    "concurrency_limit",
    "limits_unavailable",
    "keys_unavailable",
    "too_many_connections",
    "circuit_open",
];

/// Whether no model was asked, because there is no gateway that takes the question at the moment.
pub(crate) fn was_not_asked(refusal: &Refusal) -> bool {
    TOO_EARLY.contains(&&*refusal.code) || was_not_taken(refusal)
}

fn broke_off() -> NotAnswered {
    refused(BROKE_OFF, "The answer broke off. What had come is kept; try again.")
}

/// Gateways say why they refuse; what does not is something else.
fn unexplained() -> Refusal {
    let message = "Something before the gateway, such as a proxy, answered in its place and gave no reason. Tell an administrator.";
    refusal(UNEXPLAINED, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_tokens_and_refusals_are_read_out_of_parts() {
        let mut used = Used::default();
        let mut read = |text: &str| note(&mut used, serde_json::from_str(text).unwrap());
        for (chunk, text) in [
            (r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#, ""),
            (
                r#"{"choices":[{"index":0,"delta":{"content":"a b"},"finish_reason":null}],"usage":null}"#,
                "a b",
            ),
            (r#"{"choices":[{"delta":{"content":null}}]}"#, ""),
            (r#"{"choices":[{"delta":{"content":"a\u0000b"}}]}"#, "a\u{FFFD}b"),
            (r#"{"choices":[{"delta":{"tool_calls":[]}}]}"#, ""),
            (r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"whole"}}]}"#, "whole"),
            (r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#, ""),
        ] {
            assert_eq!(read(chunk).unwrap(), text, "{chunk}");
        }
        let refusal = read(
            r#"{"error":{"type":"policy_violation","code":"policy_block","message":"No.","policy":"pii-detector"}}"#,
        );
        assert_eq!(refusal.unwrap_err().policy.as_deref(), Some("pii-detector"));
        assert_eq!((used.prompt_tokens, used.completion_tokens), (Some(3), Some(4)));
    }
}
