//! Which paths there are, which methods they take, and what a request to them must hold.

use http::Method;

use crate::reply::{Refusal, is_listed};

/// One path, or all that begin like it.
#[derive(Debug)]
pub(crate) struct Route {
    path: &'static str,
    /// Whether longer paths below this one belong to it too.
    with_children: bool,
    /// Its methods, as `Allow` names them.
    methods: &'static str,
    pub(crate) api: Api,
    pub(crate) content: Content,
}

/// Whose API a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    OpenAi,
    Anthropic,
}

/// What a `POST` to a path holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// A JSON object with these fields.
    Json(&'static [Field]),
    /// A JSON object, or nothing.
    JsonOrNothing,
    /// An upload with a form, which is passed on unread and names its model in there.
    Form,
    /// Something that is passed on as it is: an upload, or nothing.
    Opaque,
}

/// A field that a JSON body must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// `model`, a string.
    Model,
    /// `messages`, an array.
    Messages,
    /// `input`, of any kind.
    Input,
    /// `prompt`, of any kind.
    Prompt,
}

/// A field by which a request says how many tokens its answer may have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// `max_tokens`
    Plain,
    /// `max_completion_tokens`
    Completion,
    /// `max_output_tokens`
    Output,
}

impl Bound {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Bound::Plain => "max_tokens",
            Bound::Completion => "max_completion_tokens",
            Bound::Output => "max_output_tokens",
        }
    }
}

use Content::{Form, Json, JsonOrNothing, Opaque};
use Field::{Input, Messages, Model, Prompt};

/// Every path that is forwarded.
const ROUTES: [Route; 18] = [
    openai("/v1/chat/completions", "POST", Json(&[Model, Messages])),
    openai("/v1/completions", "POST", Json(&[Model, Prompt])),
    openai("/v1/responses", "POST", Json(&[Model])),
    openai("/v1/responses/compact", "POST", Json(&[Model])),
    openai("/v1/embeddings", "POST", Json(&[Model, Input])),
    openai("/v1/moderations", "POST", Json(&[Input])),
    openai("/v1/images/generations", "POST", Json(&[Prompt])),
    openai("/v1/images/edits", "POST", Form),
    openai("/v1/images/variations", "POST", Form),
    openai("/v1/audio/speech", "POST", Json(&[Model, Input])),
    openai("/v1/audio/transcriptions", "POST", Form),
    openai("/v1/audio/translations", "POST", Form),
    openai("/v1/models", "GET", Opaque),
    children_of("/v1/models", "GET", Opaque),
    // Some take nothing, some a model and its input.
    children_of("/v1/responses", "GET, POST, DELETE", JsonOrNothing),
    openai("/v1/files", "GET, POST", Opaque),
    children_of("/v1/files", "GET, POST, DELETE", Opaque),
    Route {
        api: Api::Anthropic,
        with_children: true,
        ..openai("/v1/messages", "POST", Json(&[Model, Messages]))
    },
];

const fn openai(path: &'static str, methods: &'static str, content: Content) -> Route {
    Route { path, with_children: false, methods, api: Api::OpenAi, content }
}

const fn children_of(path: &'static str, methods: &'static str, content: Content) -> Route {
    Route { with_children: true, ..openai(path, methods, content) }
}

impl Content {
    /// The fields that a `POST` with this body must have; `None` where the body is not read.
    pub(crate) fn required(self, body: &[u8]) -> Option<&'static [Field]> {
        match self {
            Json(fields) => Some(fields),
            JsonOrNothing if !body.is_empty() => Some(&[]),
            JsonOrNothing | Form | Opaque => None,
        }
    }

    /// Whether a request uses a model that need not be named where it is read: in the form of an upload, or the
    /// provider's usual one.
    pub(crate) fn hides_model(self) -> bool {
        match self {
            Json(fields) => !fields.contains(&Model),
            Form => true,
            JsonOrNothing | Opaque => false,
        }
    }
}

impl Route {
    fn holds(&self, path: &str) -> bool {
        match path.strip_prefix(self.path) {
            Some("") => true,
            Some(below) => self.with_children && below.starts_with('/') && below.len() > 1,
            None => false,
        }
    }
}

/// The route of a normalised path and a method.
pub(crate) fn find(path: &str, method: &Method) -> Result<&'static Route, Refusal> {
    let Some(route) = of_path(path) else {
        return Err(Refusal::not_found(
            404,
            "unknown_path",
            "No such path here. See the list of surfaces in the guide.",
        ));
    };
    if is_listed(route.methods, method) { Ok(route) } else { Err(Refusal::method_not_allowed(route.methods)) }
}

/// Whether a request to this path is a conversation, which can be put into the words of another API.
pub(crate) fn is_conversation(path: &str) -> bool {
    matches!(path, "/v1/chat/completions" | "/v1/messages")
}

/// Whether what a request to this path is about is kept by the provider, under a name that only that account knows: files,
/// and responses, which are asked for again or gone on with later.
pub(crate) fn is_kept(path: &str) -> bool {
    ["/v1/files", "/v1/responses"]
        .iter()
        .any(|kept| path.strip_prefix(kept).is_some_and(|below| below.is_empty() || below.starts_with('/')))
}

/// The fields that bound the answer to a request to this path, the one to use first; none where none is known. What an API
/// knows nothing of bounds none of its answers.
pub(crate) fn bounds(path: &str) -> &'static [Bound] {
    match path {
        "/v1/chat/completions" => &[Bound::Completion, Bound::Plain],
        "/v1/completions" | "/v1/messages" => &[Bound::Plain],
        "/v1/responses" => &[Bound::Output],
        _ => &[],
    }
}

/// The methods that a normalised path takes; `None` when there is no such path.
pub(crate) fn methods_of_known(path: &str) -> Option<&'static str> {
    of_path(path).map(|route| route.methods)
}

/// The methods of a normalised path with `OPTIONS` among them, as `Allow` names them.
pub(crate) fn methods_of(path: &str) -> &'static str {
    match methods_of_known(path) {
        Some("POST") => "OPTIONS, POST",
        Some("GET") | None => "GET, OPTIONS",
        Some("GET, POST") => "GET, OPTIONS, POST",
        Some(_) => "DELETE, GET, OPTIONS, POST",
    }
}

fn of_path(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.holds(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_a_route_exactly_or_below_it() {
        let found = |path: &str, method: Method| {
            find(path, &method).map(|route| route.api).map_err(|error| error.code)
        };
        assert_eq!(found("/v1/chat/completions", Method::POST), Ok(Api::OpenAi));
        assert_eq!(found("/v1/messages", Method::POST), Ok(Api::Anthropic));
        assert_eq!(found("/v1/messages/count_tokens", Method::POST), Ok(Api::Anthropic));
        assert_eq!(found("/v1/models/gpt-4o", Method::GET), Ok(Api::OpenAi));
        assert_eq!(found("/v1/files/f/content", Method::GET), Ok(Api::OpenAi));
        assert_eq!(found("/v1/chat/completions", Method::GET), Err("method_not_allowed"));
        for path in [
            "/v1/chat/completions/",
            "/v1/chat/completions/x",
            "/V1/models",
            "/v1/modelsx",
            "/v1/models/",
            "/",
        ] {
            assert_eq!(found(path, Method::GET), Err("unknown_path"), "{path}");
        }
    }

    #[test]
    fn what_is_asked_of_a_model_is_read_wherever_it_is_sent() {
        let required = |path: &str, body: &[u8]| {
            let route = find(path, &Method::POST).map_err(|error| error.code)?;
            Ok::<_, &str>(route.content.required(body).map(<[_]>::len))
        };
        assert_eq!(required("/v1/responses", b"{}"), Ok(Some(1)));
        assert_eq!(required("/v1/responses/compact", b"{}"), Ok(Some(1)));
        assert_eq!(required("/v1/responses/resp_1/whatever-comes", b"{}"), Ok(Some(0)));
        assert_eq!(required("/v1/responses/resp_1/cancel", b""), Ok(None));
        assert_eq!(required("/v1/files/f/whatever", b"bytes"), Ok(None));
    }

    #[test]
    fn every_routes_methods_can_be_named_with_options_beside() {
        for route in &ROUTES {
            let named = methods_of(route.path);
            let of_path = of_path(route.path).map(|route| route.methods).unwrap_or_default();
            assert!(of_path.split(", ").all(|method| named.contains(method)), "{route:?}");
        }
    }
}
