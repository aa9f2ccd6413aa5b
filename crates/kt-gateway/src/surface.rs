//! In which shape the gateway says that something went wrong: that of the API which the client's path belongs to.

use serde::Serialize;
use serde_json::json;

/// Whose errors the client understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Surface {
    /// OpenAI's, and everything that belongs to no API.
    #[default]
    OpenAi,
    /// OpenAI's Responses, whose streams have errors of their own.
    Responses,
    /// Anthropic's Messages.
    Messages,
}

/// What is said of one error, by the names that all of Keeptrusts uses.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ErrorBody<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) code: &'static str,
    pub(crate) message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) param: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<&'a str>,
    pub(crate) request_id: &'a str,
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    error: ErrorBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl Surface {
    /// The surface of a path, whether or not a route of its own stands before it.
    pub(crate) fn of(path: &str) -> Self {
        let surface = path.rfind("/v1/").map_or(path, |at| &path[at..]);
        let is_at = |root: &str| {
            surface.strip_prefix(root).is_some_and(|below| below.is_empty() || below.starts_with('/'))
        };
        if is_at("/v1/messages") {
            Self::Messages
        } else if is_at("/v1/responses") {
            Self::Responses
        } else {
            Self::OpenAi
        }
    }

    /// The body of an answer that is an error. What Anthropic's clients look for stands around what all others do.
    pub(crate) fn body(self, error: ErrorBody<'_>) -> Vec<u8> {
        let of_messages = self == Self::Messages;
        let envelope = Envelope {
            kind: of_messages.then_some("error"),
            error,
            request_id: of_messages.then_some(error.request_id),
        };
        serde_json::to_vec(&envelope).unwrap_or_default()
    }

    /// Appends the event that ends a stream with an error.
    pub(crate) fn write_event(self, error: ErrorBody<'_>, out: &mut Vec<u8>) {
        let (name, data) = match self {
            Self::OpenAi => ("", self.body(error)),
            Self::Messages => ("event: error\n", self.body(error)),
            Self::Responses => {
                let ErrorBody { code, message, param, policy, request_id, .. } = error;
                let data = json!({ "type": "error", "code": code, "message": message, "param": param,
                    "policy": policy, "request_id": request_id });
                ("event: error\n", data.to_string().into_bytes())
            }
        };
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&data);
        out.extend_from_slice(b"\n\n");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const ERROR: ErrorBody<'_> = ErrorBody {
        kind: "policy_violation",
        code: "policy_block",
        message: "No.",
        param: None,
        policy: Some("pii-detector"),
        request_id: "r1",
    };

    #[test]
    fn a_path_is_of_the_api_that_has_it_whatever_stands_before() {
        for (path, surface) in [
            ("/v1/messages", Surface::Messages),
            ("/v1/messages/count_tokens", Surface::Messages),
            ("/team/v1/messages", Surface::Messages),
            ("/v1/responses", Surface::Responses),
            ("/v1/responses/r1", Surface::Responses),
            ("/v1/chat/completions", Surface::OpenAi),
            ("/v1/messagesx", Surface::OpenAi),
            ("/messages", Surface::OpenAi),
            ("/healthz", Surface::OpenAi),
            ("", Surface::OpenAi),
        ] {
            assert_eq!(Surface::of(path), surface, "{path}");
        }
    }

    #[test]
    fn the_error_itself_is_the_same_on_every_surface() {
        let body = |surface: Surface| serde_json::from_slice::<Value>(&surface.body(ERROR)).unwrap();
        let plain = body(Surface::OpenAi);
        assert_eq!(plain.as_object().unwrap().len(), 1, "{plain}");
        assert_eq!(plain, body(Surface::Responses));
        let of_messages = body(Surface::Messages);
        assert_eq!(of_messages, json!({ "type": "error", "error": plain["error"], "request_id": "r1" }));
    }

    #[test]
    fn an_error_in_a_stream_is_one_event_in_the_shape_of_its_api() {
        for (surface, first_line, code) in [
            (Surface::OpenAi, "data: {", "/error/code"),
            (Surface::Messages, "event: error", "/error/code"),
            (Surface::Responses, "event: error", "/code"),
        ] {
            let mut out = Vec::new();
            surface.write_event(ERROR, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert!(text.starts_with(first_line) && text.ends_with("\n\n"), "{text}");
            assert_eq!(text.matches("\n\n").count(), 1);
            let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(data.pointer(code), Some(&"policy_block".into()), "{text}");
            assert_eq!(data["type"].as_str(), (surface != Surface::OpenAi).then_some("error"));
        }
    }
}
