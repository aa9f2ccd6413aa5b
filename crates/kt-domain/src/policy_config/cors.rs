//! `cors`: which browser origins may read the gateway's answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::codes;
use super::rules::{Review, is_token};

/// Cross-Origin Resource Sharing: which browser origins may read the gateway's answers. It is no access control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Whether `Access-Control-*` headers are sent and preflights answered.
    pub enabled: bool,
    /// The permitted origins, as browsers write them (`https://app.example.com`), or `*` for any.
    pub allow_origins: Vec<String>,
    /// The methods that a browser may use.
    pub allow_methods: Vec<String>,
    /// The request headers that a browser may send; `*` permits those it asks for.
    pub allow_headers: Vec<String>,
    /// The response headers that a browser's scripts may read.
    pub expose_headers: Vec<String>,
    /// Whether a browser may send credentials; must be false when `allow_origins` holds `*`.
    pub allow_credentials: bool,
    /// For how many seconds a browser may remember a preflight's answer.
    #[schemars(range(max = 4_294_967_295_u64))]
    pub max_age_seconds: u64,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            enabled: false,
            allow_origins: Vec::new(),
            allow_methods: ["GET", "POST", "OPTIONS"].map(String::from).to_vec(),
            allow_headers: ["Content-Type", "Authorization"].map(String::from).to_vec(),
            expose_headers: Vec::new(),
            allow_credentials: false,
            max_age_seconds: 86_400,
        }
    }
}

/// Methods that everybody writes in capitals; methods are case-sensitive (RFC 9110 section 9.1).
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl Cors {
    pub(super) fn review(&self, review: &mut Review) {
        review_origins("cors.allow_origins", &self.allow_origins, review);
        self.review_credentials(review);
        self.review_methods(review);
        review_names("allow_headers", &self.allow_headers, review);
        review_names("expose_headers", &self.expose_headers, review);
        if self.enabled && self.allow_headers == Self::default().allow_headers {
            review.say(
                &codes::SDK_HEADERS,
                "cors.allow_headers",
                "a browser cannot send what the SDKs of OpenAI and Anthropic add: `X-Stainless-*`, `anthropic-version`, `x-api-key`",
                "list the headers that your application sends, or `\"*\"` for those it asks for",
            );
        }
        if !review.gives("cors", "enabled") && review.keys_of("cors").next().is_some() {
            review.say(&codes::SWITCHED_OFF, "cors", "`cors` has settings and is off", "add `enabled: true`");
        }
    }

    fn has_wildcard(&self) -> bool {
        self.allow_origins.iter().any(|origin| origin == "*")
    }

    /// The Fetch standard gives `*` no meaning beside credentials (section 3.3.5).
    fn review_credentials(&self, review: &mut Review) {
        if !self.allow_credentials {
            return;
        }
        if self.has_wildcard() {
            review.say(
                &codes::CREDENTIALS_WITH_WILDCARD,
                "cors.allow_credentials",
                "`cors.allow_credentials` must be false when `cors.allow_origins` holds `*`",
                "list the exact origins, or write `allow_credentials: false`",
            );
        }
        if let Some(index) = self.expose_headers.iter().position(|name| name == "*") {
            review.say(
                &codes::CREDENTIALS_WITH_WILDCARD,
                &format!("cors.expose_headers[{index}]"),
                "browsers take `*` in `cors.expose_headers` literally when credentials are allowed",
                "list the headers that your application reads",
            );
        }
    }

    fn review_methods(&self, review: &mut Review) {
        for (index, method) in self.allow_methods.iter().enumerate() {
            let capitals =
                METHODS.iter().find(|known| *known != method && known.eq_ignore_ascii_case(method));
            let problem = match (method.as_str(), capitals) {
                ("*", _) => Some(("each method must be listed", METHODS.join(", "))),
                (_, Some(capitals)) => Some(("methods are case-sensitive", format!("write `{capitals}`"))),
                (method, None) => (!is_token(method)).then(|| {
                    ("a method is a word without blanks or separators", "write one method per entry".into())
                }),
            };
            if let Some((reason, suggestion)) = problem {
                let path = format!("cors.allow_methods[{index}]");
                review.say(
                    &codes::BAD_TOKEN,
                    &path,
                    format!("`{method}` can never match: {reason}"),
                    suggestion,
                );
            }
        }
    }
}

/// Reviews the list of origins at `list`.
pub(super) fn review_origins(list: &str, origins: &[String], review: &mut Review) {
    for (index, origin) in origins.iter().enumerate() {
        let path = format!("{list}[{index}]");
        match origin.as_str() {
            "*" => review_wildcard(&path, origins.len() == 1, review),
            "null" => review.say(
                &codes::OPEN_TO_ANY_ORIGIN,
                &path,
                "`null` is the origin of every sandboxed frame and local file, of whatever website",
                "list the exact origins of your applications",
            ),
            _ => review_origin(&path, origin, review),
        }
    }
}

fn review_wildcard(path: &str, alone: bool, review: &mut Review) {
    let exact = "list the exact origins of your applications";
    if !alone {
        let message = "`*` stands beside other origins and lets every origin in";
        review.say(
            &codes::WILDCARD_AMONG_ORIGINS,
            path,
            message,
            format!("remove `*`, or {exact} without it"),
        );
    }
    let message = "`*` lets every website call the gateway from its visitors' browsers";
    review.say(&codes::OPEN_TO_ANY_ORIGIN, path, message, format!("in production, {exact}"));
}

fn review_origin(path: &str, origin: &str, review: &mut Review) {
    let Err(meant) = as_browsers_write(origin) else { return };
    let message = format!("`{origin}` is no origin as browsers write it, so it would never match");
    let suggestion = match meant {
        Some(meant) => format!("write `{meant}`"),
        None => "write scheme, host and, unless it is the scheme's own, port: `https://app.example.com`; each host by itself".into(),
    };
    review.say(&codes::BAD_ORIGIN, path, message, suggestion);
}

/// Whether browsers serialise the origin so (HTML standard, section 7.1.1); if not, how they do, if that can be told.
fn as_browsers_write(text: &str) -> Result<(), Option<String>> {
    let is_a_host = !text.contains("://") && !text.eq_ignore_ascii_case("null");
    let meant = serialised(text)
        .or_else(|| is_a_host.then(|| serialised(&format!("https://{text}"))).flatten())
        .filter(|origin| !origin.contains('*'));
    if meant.as_deref() == Some(text) { Ok(()) } else { Err(meant) }
}

/// The origin of an address. Schemes of browser extensions and desktop applications count as well: what such a page
/// sends is its scheme and host.
fn serialised(address: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    let origin = url.origin();
    if origin.is_tuple() {
        return Some(origin.ascii_serialization());
    }
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("{}://{host}{port}", url.scheme()))
}

fn review_names(key: &str, names: &[String], review: &mut Review) {
    for (index, name) in names.iter().enumerate().filter(|(_, name)| !is_token(name)) {
        let message = format!("`{name}` is no header name");
        let suggestion = "write one name per entry, without a colon or a value";
        review.say(&codes::BAD_TOKEN, &format!("cors.{key}[{index}]"), message, suggestion);
    }
}
