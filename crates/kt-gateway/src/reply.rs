//! Answers, and refusals with the one error that all of Keeptrusts uses.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use kt_domain::events::EventType;

use crate::http1::head::HeadFault;
use crate::shared::Place;
use crate::surface::{ErrorBody, Surface};

/// The header that names a request in every answer and every event.
pub(crate) const X_KT_REQUEST_ID: HeaderName = HeaderName::from_static("x-kt-request-id");
/// Tells the SDKs of OpenAI and Anthropic whether to try again by themselves.
pub(crate) const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// The header that says what the policy chain did.
pub(crate) const X_KT_POLICY_ACTION: HeaderName = HeaderName::from_static("x-kt-policy-action");
/// For how many headers an answer of the gateway's own has room without growing.
const OWN_HEADERS: usize = 16;

/// An answer to one request.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ReplyBody,
    /// What happens to a request body that is still on its way.
    pub(crate) unread: UnreadBody,
    /// The request's place among those under way, until the client has its answer.
    pub(crate) place: Option<Place>,
    /// Whether the client went away: nobody waits for this, and nothing of it is sent.
    pub(crate) is_for_nobody: bool,
}

/// The content of an answer.
pub(crate) enum ReplyBody {
    Empty,
    Full(Bytes),
    Stream(Box<dyn ReplyStream>),
}

/// What happens to a request body that was not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnreadBody {
    /// If all of it is here it is dropped, and the connection goes on. Else what comes is read and dropped for a moment, so
    /// that the client gets to read its answer, and the connection is closed.
    Discard,
    /// Not one byte of it is read, and the connection is closed.
    Leave,
}

/// An answer that comes piece by piece.
pub(crate) trait ReplyStream: Send {
    /// Appends what has come to `out`, without waiting for more once something has.
    fn poll_fill(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Fill>;

    /// Told once the client's connection has taken the whole answer.
    fn delivered(&mut self);
}

/// How a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// There is more to come.
    More,
    /// It is whole.
    End,
    /// It broke off; the client must not take it for whole.
    Broken,
}

impl Reply {
    /// An answer without content.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self::new(status, HeaderMap::with_capacity(OWN_HEADERS), ReplyBody::Empty)
    }

    /// An answer of the gateway's own with content of the given type. A browser that is led to it takes it for nothing
    /// else, and runs nothing in it (OWASP ASVS 5.0, 3.2.1). What a provider answers has the provider's own headers.
    pub(crate) fn full(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut reply =
            Self::new(status, HeaderMap::with_capacity(OWN_HEADERS), ReplyBody::Full(body.into()));
        for (name, value) in [
            (header::CONTENT_TYPE, content_type),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        ] {
            reply.headers.insert(name, HeaderValue::from_static(value));
        }
        reply
    }

    /// An answer with JSON content.
    pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::full(status, "application/json", body)
    }

    /// An answer with headers and body as given.
    pub(crate) fn new(status: StatusCode, headers: HeaderMap, body: ReplyBody) -> Self {
        Self { status, headers, body, unread: UnreadBody::Discard, place: None, is_for_nobody: false }
    }
}

/// Why a request is not served.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    /// The `code` of the error body; also the event's `reason_code`.
    pub(crate) code: &'static str,
    message: Cow<'static, str>,
    param: Option<Box<str>>,
    policy: Option<Arc<str>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    unread: UnreadBody,
}

macro_rules! kinds {
    ($($name:ident => $kind:literal,)+) => {
        $(
            #[doc = concat!("A refusal of type `", $kind, "`.")]
            pub(crate) fn $name(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
                Self::of_kind($kind, status, code, message.into())
            }
        )+
    };
}

impl Refusal {
    kinds! {
        authentication => "authentication_error",
        permission => "permission_denied",
        not_found => "not_found",
        too_large => "request_too_large",
        invalid => "validation_error",
        rate_limit => "rate_limit",
        upstream => "upstream_error",
        unavailable => "unavailable",
    }

    fn of_kind(kind: &'static str, status: u16, code: &'static str, message: Cow<'static, str>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            kind,
            code,
            message,
            param: None,
            policy: None,
            headers: Vec::new(),
            unread: UnreadBody::Discard,
        }
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The field at fault.
    #[cfg(test)]
    pub(crate) fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// Names the field at fault.
    pub(crate) fn with_param(mut self, param: impl Into<Box<str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Adds a header to the answer.
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Leaves a body that is on its way unread.
    pub(crate) fn leaving_body_unread(mut self) -> Self {
        self.unread = UnreadBody::Leave;
        self
    }

    /// A policy did not let the content pass.
    pub(crate) fn policy_block(policy: &Arc<str>) -> Self {
        let message = format!(
            "The policy `{policy}` does not allow this content. Leave out what it guards, or ask whoever owns it."
        );
        Self::policy_violation(policy, 409, "policy_block", message)
    }

    /// A policy cannot read the content, and lets nothing pass unread.
    pub(crate) fn unreadable(policy: &Arc<str>) -> Self {
        let message = format!(
            "The policy `{policy}` lets no content pass that it cannot read, such as images and files. Send text, or ask \
             whoever owns it."
        );
        Self::policy_violation(policy, 409, "content_unreadable", message)
    }

    fn policy_violation(policy: &Arc<str>, status: u16, code: &'static str, message: String) -> Self {
        let refusal = Self::of_kind("policy_violation", status, code, message.into());
        Self { policy: Some(Arc::clone(policy)), ..refusal }
    }

    /// A defect of the gateway's own.
    pub(crate) fn internal() -> Self {
        let message =
            "Something went wrong in the gateway. Try again; if it stays, give the operator the request id.";
        Self::of_kind("internal_error", 500, "internal_error", message.into())
    }

    /// As many connections are open as there may be.
    pub(crate) fn too_many_connections() -> Self {
        let message = "As many connections are open as this gateway takes. Use those you have, or try again in a second.";
        Self::unavailable(503, "too_many_connections", message).with_header(header::RETRY_AFTER, 1.into())
    }

    /// The client went away; nobody reads this answer, but the event does.
    pub(crate) fn client_closed() -> Self {
        Self::invalid(499, "client_closed", "The client closed the connection before its answer was there.")
    }

    /// A method that a path does not have; names those it has (RFC 9110 section 15.5.6).
    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        Self::invalid(405, "method_not_allowed", format!("This path takes {allowed} only."))
            .with_header(header::ALLOW, HeaderValue::from_static(allowed))
    }

    /// What the event of such a refusal reports.
    pub(crate) fn event_type(&self) -> EventType {
        match (self.kind, self.code) {
            (_, "ip_denied") => EventType::IpDenied,
            ("authentication_error" | "permission_denied", _) => EventType::AuthFailed,
            ("request_too_large", _) => EventType::RequestTooLarge,
            ("rate_limit", _) => EventType::RateLimited,
            _ => EventType::Decision,
        }
    }

    /// Appends the event that ends a stream with this refusal.
    pub(crate) fn write_event(&self, surface: Surface, request_id: &str, out: &mut Vec<u8>) {
        surface.write_event(self.error(request_id), out);
    }

    /// The answer.
    pub(crate) fn into_reply(self, surface: Surface, request_id: &str) -> Reply {
        let mut reply = Reply::json(self.status, surface.body(self.error(request_id)));
        reply.headers.extend(self.headers);
        reply.unread = self.unread;
        reply.is_for_nobody = self.code == "client_closed";
        reply
    }

    fn error<'a>(&'a self, request_id: &'a str) -> ErrorBody<'a> {
        ErrorBody {
            kind: self.kind,
            code: self.code,
            message: &self.message,
            param: self.param.as_deref(),
            policy: self.policy.as_deref(),
            request_id,
        }
    }
}

impl From<HeadFault> for Refusal {
    fn from(fault: HeadFault) -> Self {
        Self::invalid(fault.status.as_u16(), fault.code, fault.message)
    }
}

/// The methods of a list, as `Allow` names them.
pub(crate) fn is_listed(allowed: &str, method: &Method) -> bool {
    allowed.split(", ").any(|name| name == method.as_str())
}
