//! Cross-Origin Resource Sharing (Fetch standard, section 3.3): preflights answered here, headers put on every answer.

use std::collections::HashMap;

use http::StatusCode;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, VARY,
};
use kt_domain::policy_config::Cors;

use crate::reply::Reply;
use crate::snapshot::CompileError;
use crate::stages::route;

/// How many bytes of header names a preflight may ask for and is answered.
const MAX_REQUESTED_BYTES: usize = 8 * 1024;

/// The `cors` section, made ready.
pub(crate) struct CorsRules {
    /// The listed origins, by their bytes; empty when every origin is allowed.
    origins: HashMap<Vec<u8>, HeaderValue>,
    any_origin: bool,
    methods: HeaderValue,
    /// `None` when the names that were asked for are answered.
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

impl CorsRules {
    /// Makes the section ready; `None` when it is not enabled.
    pub(crate) fn compile(cors: &Cors) -> Result<Option<Self>, CompileError> {
        if !cors.enabled {
            return Ok(None);
        }
        let any_origin = cors.allow_origins.iter().any(|origin| origin == "*");
        if any_origin && cors.allow_credentials {
            return Err(CompileError {
                path: "cors.allow_credentials".into(),
                message: "must be false when `allow_origins` contains \"*\"".into(),
            });
        }
        let listed = cors.allow_origins.iter().filter(|origin| *origin != "*");
        let origins: Result<_, CompileError> = listed
            .map(|origin| Ok((origin.clone().into_bytes(), value("cors.allow_origins", origin)?)))
            .collect();
        let any_header = cors.allow_headers.iter().any(|name| name == "*");
        Ok(Some(Self {
            origins: origins?,
            any_origin,
            methods: list("cors.allow_methods", &cors.allow_methods)?,
            headers: if any_header { None } else { Some(list("cors.allow_headers", &cors.allow_headers)?) },
            expose: match &cors.expose_headers[..] {
                [] => None,
                names => Some(list("cors.expose_headers", names)?),
            },
            credentials: cors.allow_credentials,
            max_age: cors.max_age_seconds.into(),
        }))
    }

    /// Answers an `OPTIONS` request. One that is no preflight is told the path's methods.
    pub(crate) fn answer_options(&self, path: &str, request: &HeaderMap) -> Reply {
        let mut reply = Reply::empty(StatusCode::NO_CONTENT);
        let is_preflight =
            request.contains_key(ORIGIN) && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight {
            reply.headers.insert(ALLOW, HeaderValue::from_static(route::methods_of(path)));
            return reply;
        }
        let Some(origin) = self.matched_origin(request) else { return reply };
        reply.headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        reply.headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        if let Some(names) = self.headers.clone().or_else(|| requested_headers(request)) {
            reply.headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        reply.headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        reply
    }

    /// Puts the headers of an actual answer into `reply`, and `Vary: Origin` beside what it may already vary by.
    pub(crate) fn decorate(&self, request: &HeaderMap, reply: &mut HeaderMap) {
        let origin = match reply.get(ACCESS_CONTROL_ALLOW_ORIGIN) {
            Some(origin) => Some(origin.clone()),
            None => self.matched_origin(request),
        };
        if let Some(origin) = origin {
            reply.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if self.credentials {
                reply.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
            if let Some(expose) = &self.expose {
                reply.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
            }
        }
        self.vary(request, reply);
    }

    /// Whether the page that a request names may read the answer.
    pub(crate) fn allows(&self, request: &HeaderMap) -> bool {
        self.matched_origin(request).is_some()
    }

    /// The value of `Access-Control-Allow-Origin`: the configured text of the origin that matched, never the request's.
    fn matched_origin(&self, request: &HeaderMap) -> Option<HeaderValue> {
        if self.any_origin {
            return Some(HeaderValue::from_static("*"));
        }
        let mut sent = request.get_all(ORIGIN).iter();
        match (sent.next(), sent.next()) {
            (Some(origin), None) => self.origins.get(origin.as_bytes()).cloned(),
            _ => None,
        }
    }

    fn vary(&self, request: &HeaderMap, reply: &mut HeaderMap) {
        const NAMES: HeaderValue = HeaderValue::from_static("Origin");
        const NAMES_ASKED: HeaderValue = HeaderValue::from_static("Origin, Access-Control-Request-Headers");
        let reflects = self.headers.is_none() && request.contains_key(ACCESS_CONTROL_REQUEST_HEADERS);
        let own = if reflects { NAMES_ASKED } else { NAMES };
        if !reply.contains_key(VARY) {
            reply.insert(VARY, own);
            return;
        }
        let upstream = reply.get_all(VARY).iter().filter_map(|line| line.to_str().ok());
        let is_other = |name: &&str| !name.is_empty() && !name.eq_ignore_ascii_case("origin");
        let others = upstream.flat_map(|line| line.split(',')).map(str::trim).filter(is_other);
        let merged = std::iter::once("Origin").chain(others).collect::<Vec<_>>().join(", ");
        reply.insert(VARY, HeaderValue::from_str(&merged).unwrap_or(own));
    }
}

/// The header names that a preflight asks for, as it spells them. Each must be a token, or none is answered, so that nothing
/// else can be reflected.
pub(crate) fn requested_headers(request: &HeaderMap) -> Option<HeaderValue> {
    let lines = || request.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    if lines().map(HeaderValue::len).sum::<usize>() > MAX_REQUESTED_BYTES {
        return None;
    }
    let listed = lines().flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut names = Vec::new();
    for name in listed.filter(|name| !name.is_empty()) {
        HeaderName::from_bytes(name).ok()?;
        names.push(name);
    }
    HeaderValue::from_bytes(&names.join(&b", "[..])).ok().filter(|names| !names.is_empty())
}

/// A list's header value, in the configured order.
fn list(path: &str, items: &[String]) -> Result<HeaderValue, CompileError> {
    value(path, &items.join(", "))
}

fn value(path: &str, text: &str) -> Result<HeaderValue, CompileError> {
    HeaderValue::from_str(text)
        .map_err(|error| CompileError { path: path.into(), message: error.to_string() })
}
