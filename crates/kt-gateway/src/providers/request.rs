//! Building the request that a provider sees. It is built anew; nothing of the client's passes but what is listed.

use std::io::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, header};
use kt_domain::policy_config::vendors::Wire;
use kt_domain::secret::SecretDigest;

use crate::http1::head::connection_options;
use crate::providers::target::Target;
use crate::stages::path::percent_decoded;

/// The version of the Messages API that is asked for when the client names none.
const ANTHROPIC_VERSION: &[u8] = b"anthropic-version: 2023-06-01\r\n";

/// A client's headers that a provider may see, by their whole name.
const PASSED: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::ACCEPT,
    header::USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];
/// The same, by how their name begins.
const PASSED_PREFIXES: [&str; 3] = ["anthropic-", "openai-beta", "x-stainless-"];

/// What a client asks of a provider.
pub(crate) struct Forward<'a> {
    pub(crate) method: &'a Method,
    /// The normalised path, `/v1` in front.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    /// The model that is asked for; Azure has it in the path.
    pub(crate) model: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    /// Whose key the request came with, if any: all share the gateway's own key at the provider.
    pub(crate) caller: Option<&'a str>,
    /// The trace that this request belongs to, if the gateway traces it; the client's own otherwise passes.
    pub(crate) traceparent: Option<&'a str>,
    pub(crate) body: &'a Bytes,
    pub(crate) request_id: &'a str,
    /// The name under which this gateway stands in `Via` (RFC 9110 section 7.6.3).
    pub(crate) gateway_id: &'a str,
}

/// Whether a part of a query says which version of Azure's API is meant.
fn names_a_version(part: &str) -> bool {
    let name = part.split('=').next().unwrap_or_default();
    percent_decoded(name).eq_ignore_ascii_case("api-version")
}

impl Forward<'_> {
    /// The head of the request to `target`, its final empty line included.
    pub(crate) fn head(&self, target: &Target) -> Vec<u8> {
        let mut head = Vec::with_capacity(768);
        let below_version = self.path.strip_prefix("/v1").unwrap_or(self.path);
        for part in [self.method.as_str(), " ", &target.base_path] {
            head.extend_from_slice(part.as_bytes());
        }
        if target.api_version.is_some() {
            self.write_deployment(&mut head, target, below_version);
        }
        head.extend_from_slice(below_version.as_bytes());
        let version = target.api_version.as_deref().map(|version| ["api-version=", version]);
        // A version of the client's own would be a second one.
        let is_passed = |part: &&str| version.is_none() || !names_a_version(part);
        let asked = self.query.into_iter().flat_map(|query| query.split('&')).filter(is_passed);
        let parts = version.into_iter().chain(asked.map(|part| [part, ""]));
        for (separator, parts) in std::iter::once(b'?').chain(std::iter::repeat(b'&')).zip(parts) {
            head.push(separator);
            for part in parts {
                head.extend_from_slice(part.as_bytes());
            }
        }
        head.extend_from_slice(b" HTTP/1.1\r\n");
        head.extend_from_slice(&target.fixed_lines);
        self.write_passed(&mut head, target);
        self.write_idempotency_key(&mut head);
        if target.wire == Wire::Anthropic && !self.headers.contains_key("anthropic-version") {
            head.extend_from_slice(ANTHROPIC_VERSION);
        }
        if let Some(traceparent) = self.traceparent {
            for part in ["traceparent: ", traceparent, "\r\n"] {
                head.extend_from_slice(part.as_bytes());
            }
        }
        // The answer is to be read on its way, so it must not come compressed.
        head.extend_from_slice(b"accept-encoding: identity\r\nvia: 1.1 ");
        head.extend_from_slice(self.gateway_id.as_bytes());
        head.extend_from_slice(b"\r\nx-kt-request-id: ");
        head.extend_from_slice(self.request_id.as_bytes());
        head.extend_from_slice(b"\r\n");
        if !self.body.is_empty() || self.method == Method::POST {
            // Writing to a vector cannot fail.
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Azure's older addresses: what a model does is found below its deployment, everything else beside.
    fn write_deployment(&self, head: &mut Vec<u8>, target: &Target, below_version: &str) {
        const OF_A_MODEL: [&str; 5] = ["/chat/", "/completions", "/embeddings", "/images/", "/audio/"];
        if !target.base_path.ends_with("/openai") && !target.base_path.contains("/openai/") {
            head.extend_from_slice(b"/openai");
        }
        let is_of_a_model = OF_A_MODEL.iter().any(|beginning| below_version.starts_with(beginning));
        let Some(model) = self.model.filter(|_| is_of_a_model) else { return };
        if target.base_path.contains("/deployments/") {
            return;
        }
        head.extend_from_slice(b"/deployments/");
        for byte in model.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                head.push(byte);
            } else {
                // Writing to a vector cannot fail.
                let _ = write!(head, "%{byte:02X}");
            }
        }
    }

    /// What tells the provider a repeated request from another one. Two callers may have chosen the same word, and neither
    /// is to be given the other's answer.
    fn write_idempotency_key(&self, head: &mut Vec<u8>) {
        let Some(word) = self.headers.get("idempotency-key") else { return };
        let named = [self.caller.unwrap_or_default().as_bytes(), word.as_bytes()].join(&0);
        // Writing to a vector cannot fail.
        let _ = write!(head, "idempotency-key: {}\r\n", SecretDigest::of(&named));
    }

    fn write_passed(&self, head: &mut Vec<u8>, target: &Target) {
        for (name, value) in self.headers {
            let is_passed = PASSED.contains(name)
                || PASSED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix));
            let is_own_trace =
                self.traceparent.is_some() && matches!(name.as_str(), "traceparent" | "tracestate");
            if !is_passed || is_own_trace || target.fixed_names.contains(name) || self.is_hop_by_hop(name) {
                continue;
            }
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(part);
            }
        }
    }

    /// Whether the client marked a header as meant for this hop only (RFC 9110 section 7.6.1). That the content is
    /// JSON is no matter of one hop.
    fn is_hop_by_hop(&self, name: &HeaderName) -> bool {
        name != header::CONTENT_TYPE
            && self.headers.contains_key(header::CONNECTION)
            && connection_options(self.headers).any(|option| option.eq_ignore_ascii_case(name.as_str()))
    }
}
