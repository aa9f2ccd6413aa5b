//! Translating conversations between OpenAI's Chat Completions and Anthropic's Messages, both ways: requests, answers,
//! streams and errors.
//!
//! What both can say is said in the other's words. What would change what an answer means or looks like, and cannot be
//! said, is refused with its name; what only hints at how to answer (a seed, a penalty) is left out.

mod chat_answer;
mod chat_request;
mod json;
mod messages_answer;
mod messages_request;
mod sse;
mod stream;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::StatusCode;
use kt_domain::policy_config::vendors::Wire;
use serde_json::Value;

use crate::reply::Refusal;
use crate::stages::route::Api;

pub(crate) use chat_answer::models;
pub(crate) use messages_answer::{anthropic_model, anthropic_models};
pub(crate) use stream::{Stopped, StreamTranslator};

/// Which way a conversation is translated: from what the client speaks to what its target speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Translation {
    ChatToMessages,
    MessagesToChat,
}

/// What a translated request needs to know of its target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Towards<'a> {
    /// The model that the target is to use.
    pub(crate) model: &'a str,
    /// Whether the target knows `max_completion_tokens`; others know the older `max_tokens`.
    pub(crate) knows_max_completion_tokens: bool,
}

/// What a translated answer needs to know of its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// When the answer came, in seconds since 1970.
    pub(crate) created: i64,
    /// Whether the client wants the usage in a stream of Chat Completions.
    pub(crate) include_usage: bool,
}

impl Translation {
    /// How a conversation of `api` gets to a target of `wire`; `None` when it needs no translation.
    pub(crate) fn between(api: Api, wire: Wire) -> Option<Self> {
        match (api, wire) {
            (Api::OpenAi, Wire::Anthropic) => Some(Self::ChatToMessages),
            (Api::Anthropic, Wire::OpenAi) => Some(Self::MessagesToChat),
            _ => None,
        }
    }

    /// The path at the target, `/v1` in front.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::ChatToMessages => "/v1/messages",
            Self::MessagesToChat => "/v1/chat/completions",
        }
    }

    /// The request in the target's words.
    pub(crate) fn request(self, body: &[u8], towards: Towards<'_>) -> Result<Bytes, Refusal> {
        let body: Value = serde_json::from_slice(body).map_err(|_| json::unreadable("the body"))?;
        let translated = match self {
            Self::ChatToMessages => messages_request::from_chat(&body, towards)?,
            Self::MessagesToChat => chat_request::from_messages(&body, towards)?,
        };
        Ok(translated.to_string().into())
    }

    /// The answer in the client's words; `None` when it is not what the target's API says it would be.
    pub(crate) fn answer(self, status: StatusCode, body: &[u8], context: Context) -> Option<Bytes> {
        let body = serde_json::from_slice(body);
        if !status.is_success() {
            // A refusal by what stands before the target need not be JSON; its status says enough.
            return Some(self.error(status, &body.unwrap_or_default()).to_string().into());
        }
        let body: Value = body.ok()?;
        let translated = match self {
            Self::ChatToMessages => chat_answer::from_messages(&body, context)?,
            Self::MessagesToChat => messages_answer::from_chat(&body)?,
        };
        Some(translated.to_string().into())
    }

    /// A target's refusal in the shape of the client's API.
    fn error(self, status: StatusCode, body: &Value) -> Value {
        let message = body["error"]["message"].as_str().unwrap_or("The provider refused the request.");
        match self {
            Self::ChatToMessages => chat_answer::error(body["error"]["type"].as_str(), message),
            Self::MessagesToChat => messages_answer::error(status, message),
        }
    }
}

/// Whether a stream of Chat Completions is to end with the usage.
pub(crate) fn wants_usage(body: &[u8]) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["stream_options"]["include_usage"] == true
}
