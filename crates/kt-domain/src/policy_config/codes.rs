//! The codes of findings, each with its sentence; the reference page is made from them.

use super::finding::Severity;

/// What kind of finding something is.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `E` for an error or `W` for a warning, and a number that never changes its meaning.
    pub id: &'static str,
    /// When it is found, and why it matters.
    pub meaning: &'static str,
}

impl Code {
    /// Whether it stops the configuration from being used.
    #[must_use]
    pub fn severity(&self) -> Severity {
        if self.id.starts_with('E') { Severity::Error } else { Severity::Warning }
    }
}

macro_rules! codes {
    ($($name:ident = $id:literal: $meaning:literal;)*) => {
        $(pub(crate) static $name: Code = Code { id: $id, meaning: $meaning };)*

        /// Every code, in order.
        pub static CODES: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    UNKNOWN_POLICY = "E001": "`policies.chain` or `policy` names a policy kind that this version does not have.";
    UNKNOWN_KEY = "E002": "A key is not known where it stands. Nothing is accepted that would have no effect.";
    MISSING_POLICY_BLOCK = "E003": "`policies.chain` names a kind that needs settings, and `policy` has none for it.";
    NOT_YAML = "E004": "The file or its text cannot be read: it is not there, or is not YAML 1.2, or it uses an anchor, an alias, a tag, a second document or too deep nesting, none of which a configuration needs.";
    REPEATED_KEY = "E005": "A mapping has the same key twice. YAML readers disagree about which one counts.";
    WRONG_TYPE = "E006": "A value is of another type than its key takes. Only `true` and `false` are booleans; a number in quotes is a text.";
    OUT_OF_RANGE = "E007": "A value has the right type and is out of its range, too long, too short, misspelt or not one of the choices.";
    MISSING_KEY = "E008": "A key that must be given is missing.";
    BAD_CIDR = "E009": "A value is no address and no range in CIDR notation, or has bits set beyond its prefix, a leading zero or a zone id.";
    BAD_ORIGIN = "E010": "An entry of `cors.allow_origins` is not written as browsers write an origin: scheme, host and, unless it is the scheme's own, port. It would never match.";
    CREDENTIALS_WITH_WILDCARD = "E011": "`cors.allow_credentials` is true together with `*`, which the Fetch standard forbids.";
    WILDCARD_AMONG_ORIGINS = "E012": "`*` stands beside other origins, which it makes meaningless.";
    BAD_TOKEN = "E013": "A method or header name is not one that HTTP allows, or not one that can ever match.";
    BAD_HEADER = "E014": "A target's `headers` hold a value that HTTP does not allow, or a header that the gateway sets itself.";
    BAD_PACK_VERSION = "E015": "`pack.version` is no version by Semantic Versioning 2.0.0.";
    BAD_PROVIDER = "E016": "A target's `provider` is neither `vendor` nor `vendor:surface:model`, or contradicts its `model`.";
    BAD_BASE_URL = "E017": "A target's `base_url` is missing, or is no plain http or https address.";
    FORBIDDEN_BASE_URL = "E018": "A target's `base_url` leads to a link-local or metadata address, where cloud machines keep their credentials.";
    REPEATED_ID = "E019": "Two entries of a list have the same name, or a policy kind stands in the chain twice.";
    BAD_AUTH = "E020": "`auth` says how callers prove who they are, and lacks a part of it or contradicts itself.";
    BAD_KEY_SOURCE = "E021": "A key of `auth.keys` has no value, or two: exactly one of `sha256` and `secret_key_ref` is given.";
    ACCESS_KEYS_ALONE = "E022": "`auth.mode` is `access_keys`, and the gateway has no control plane to ask about them.";
    BAD_HOST = "E023": "An entry of `listener.hosts`, or of `server.hosts` in `keeptrusts.yaml`, is no host name or address with an optional port.";
    PROXY_PROTOCOL_FROM_ANYBODY = "E024": "`listener.proxy_protocol` is on without `ip_allowlist.trusted_proxies`: anybody could claim any address.";
    BAD_VARIABLE_NAME = "E025": "`secret_key_ref.env` is not the name of an environment variable. It names the variable; the secret itself never stands in a configuration.";
    BAD_SECRET_REF = "E026": "`secret_key_ref` has neither `env` nor `stored`, or both, or `stored` is no name of a credential.";
    STORED_IN_A_FILE = "E027": "`secret_key_ref.stored` stands in a file. The control plane hands its credentials only to gateways that follow a configuration that it keeps itself.";
    ANCHOR_OF_ANOTHER = "E028": "`events.anchor_file` stands in a configuration that the control plane keeps. It names a file of the gateway's machine, which only a file there may do.";
    BAD_ROUTE = "E030": "A route's `path` is none that requests can have, or one of its rules has no effect.";
    UNKNOWN_NAME = "E031": "A route, group or policy names a target, group or key that there is not, or data that no policy finds, or nobody could belong to the group.";
    BAD_BUDGET = "E032": "A budget could never be used up or would concern nobody, or a price never holds.";
    BAD_PATTERN = "E040": "A pattern or word of a policy cannot be searched for: it is no regular expression, matches nothing at all, or can match without end.";
    OPEN_TO_ANY_ORIGIN = "W001": "Every website, or every page without an origin of its own, may call the gateway from a visitor's browser.";
    SDK_HEADERS = "W002": "CORS is on with the default `allow_headers`: the SDKs of OpenAI and Anthropic send more from a browser, and its preflight would fail.";
    PROXY_IN_ALLOW = "W003": "`ip_allowlist.allow` holds addresses of a trusted proxy. Once proxy headers are trusted, clients behind it have their own addresses; the proxy's own need not be allowed.";
    LARGE_REQUESTS = "W004": "Requests above 100 MB are allowed. Most LLM requests fit into 5 MB; a high limit helps whoever wants to exhaust memory.";
    UNUSED_POLICY_BLOCK = "W005": "`policy` has settings for a kind that is not in `policies.chain`: they have no effect.";
    NOT_EXPANDED = "W006": "A value looks like a variable. It is taken literally: only `secret_key_ref` reads the environment.";
    UNUSED_PROXY_SETTINGS = "W007": "`ip_allowlist` says where the client's address is read from, and neither `trust_proxy_headers` nor `listener.proxy_protocol` is on: it has no effect.";
    NO_TARGET = "W008": "`providers.targets` is empty: there is nowhere to forward a request to.";
    SWITCHED_OFF = "W009": "A section has settings and does not say `enabled`, so that it is off. Write `enabled: false` if that is meant.";
    NOBODY_ALLOWED = "W010": "`ip_allowlist` is enabled and `allow` is empty: everybody is refused.";
    UNBOUNDED_BUDGET = "W011": "A budget says `unbounded_answers`. An answer that is not streamed, and whose request does not bound it, may be longer than what was claimed for it, so that many at once overdraw the budget.";
    PASSED_ROUTE = "W012": "A route below `/v1` has a rule that a route with another path has not. Such a route serves the same requests, by its own rules alone, so that whoever may call it passes the rule by.";
    IDLE_POLICY = "W040": "A policy in the chain has settings by which it never finds anything.";
    IDLE_RULE = "W041": "A rule of `data-routing-policy` goes by data that no earlier policy of some chain finds in requests. There the rule never applies, and the data may go anywhere.";
}
