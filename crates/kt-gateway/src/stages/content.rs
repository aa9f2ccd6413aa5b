//! Reading the little that the gateway must know of a JSON body, and refusing what providers could read differently.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use kt_domain::media_type;
use memchr::memchr2;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::reply::Refusal;
use crate::stages::route::{Bound, Field};

/// How deep arrays and objects may be nested.
const MAX_DEPTH: usize = 128;
/// The longest name of a model, in bytes. It stands in the event of the request, which has to be delivered.
const MAX_MODEL: usize = 256;

/// What the gateway knows of a request's body.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Summary {
    /// The model that is asked for.
    pub(crate) model: Option<String>,
    /// Whether a stream is asked for.
    pub(crate) stream: bool,
    /// How many tokens the answer may have at most, if the request says so.
    pub(crate) max_output: Option<u32>,
    /// How many it may have by the rules of this gateway, which the provider is told where the request says nothing.
    pub(crate) imposed: Option<u32>,
    /// How many answers are asked for, if the request says so.
    pub(crate) answers: Option<u32>,
    /// How freely the model is to choose its words, if the request says so.
    pub(crate) temperature: Option<f64>,
    /// Whether the provider is to keep nothing of it, and it goes on with nothing that was kept.
    pub(crate) leaves_nothing: bool,
}

/// Whether content is declared as JSON.
pub(crate) fn is_declared_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|declared| media_type::is_json(declared.as_bytes()))
}

/// Declares what was read as JSON to be JSON, for providers that go by that.
pub(crate) fn declare_json(headers: &mut HeaderMap) {
    if !is_declared_json(headers) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
}

/// Reads a JSON object, checks that it has the `required` fields, and gives what is known of it. `bounds` are the fields by
/// which it may bound its answer.
pub(crate) fn read(body: &[u8], required: &[Field], bounds: &[Bound]) -> Result<Summary, Refusal> {
    let text = std::str::from_utf8(body).map_err(|_| invalid_json("it is not UTF-8"))?;
    if is_too_deep(body) {
        let message = format!("The JSON body is nested deeper than {MAX_DEPTH} levels.");
        return Err(Refusal::invalid(400, "json_too_deep", message));
    }
    // A sequence would be taken for the fields in their order, and of anything else the parser's complaint holds the content.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(invalid_json("it does not begin with `{`"));
    }
    let top: Top<'_> = serde_json::from_str(text).map_err(|error| invalid_json(&error.to_string()))?;
    for field in required {
        top.check(*field)?;
    }
    let model = top.model.and_then(text_of);
    if model.as_ref().is_some_and(|name| name.len() > MAX_MODEL) {
        return Err(wrong("model", "must not be longer than 256 bytes"));
    }
    // It can become a part of a path, where these lead elsewhere.
    if matches!(model.as_deref(), Some("." | "..")) {
        return Err(wrong("model", "must be the name of a model"));
    }
    let stream = match top.stream.map(RawValue::get) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(wrong("stream", "must be true or false")),
    };
    Ok(Summary {
        model,
        stream,
        max_output: largest(bounds.iter().map(|bound| top.bound(*bound))),
        imposed: None,
        answers: top.answers(),
        leaves_nothing: top.leaves_nothing(),
        temperature: top.temperature.and_then(|value| value.get().parse().ok()),
    })
}

/// The same body with `model` for its model. `body` was read before, so there is one model in it.
pub(crate) fn with_model(body: &Bytes, model: &str) -> Bytes {
    let found = std::str::from_utf8(body).ok().and_then(|text| {
        let top: Top<'_> = serde_json::from_str(text).ok()?;
        Some(place_in(text, top.model?))
    });
    let model = || serde_json::Value::from(model).to_string();
    found.map_or_else(|| body.clone(), |found| with(body, found, &model()))
}

/// The same body, with `most` for the value of this field. `body` was read before, so there is one at most, and it has others.
pub(crate) fn with_bound(body: &Bytes, field: Bound, most: u32) -> Bytes {
    let changed = std::str::from_utf8(body).ok().and_then(|text| {
        let top: Top<'_> = serde_json::from_str(text).ok()?;
        let first = text.find('{')? + 1;
        Some(match top.bound(field) {
            Some(own) => with(body, place_in(text, own), &most.to_string()),
            None => with(body, first..first, &format!("\"{}\":{most},", field.name())),
        })
    });
    changed.unwrap_or_else(|| body.clone())
}

fn place_in(text: &str, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + value.get().len()
}

/// The same body with `text` in that place.
fn with(body: &Bytes, place: Range<usize>, text: &str) -> Bytes {
    let mut changed = Vec::with_capacity(body.len() + text.len());
    changed.extend_from_slice(&body[..place.start]);
    changed.extend_from_slice(text.as_bytes());
    changed.extend_from_slice(&body[place.end..]);
    changed.into()
}

/// The fields that the gateway looks at, unread. One of them named twice is refused, also in other letters, which some readers
/// take for the same (Go's `encoding/json`): two readers could take two values. Others may be, also further within, because
/// nothing is decided by them.
#[derive(Default)]
struct Top<'a> {
    model: Option<&'a RawValue>,
    stream: Option<&'a RawValue>,
    messages: Option<&'a RawValue>,
    input: Option<&'a RawValue>,
    prompt: Option<&'a RawValue>,
    /// These also where they are `null`.
    max_tokens: Option<&'a RawValue>,
    max_completion_tokens: Option<&'a RawValue>,
    max_output_tokens: Option<&'a RawValue>,
    n: Option<&'a RawValue>,
    best_of: Option<&'a RawValue>,
    temperature: Option<&'a RawValue>,
    store: Option<&'a RawValue>,
    previous_response_id: Option<&'a RawValue>,
    conversation: Option<&'a RawValue>,
}

/// The name of a field.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Top<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Top<'de>, A::Error> {
        let mut top = Top::default();
        while let Some(Name(name)) = members.next_key()? {
            let folded: Cow<'_, str> = fold(&name);
            match top.field(&folded) {
                Some(_) if folded != name => {
                    // The place comes behind it.
                    let message =
                        format!("`{name}`, which some readers take for `{folded}` and others do not, stands");
                    return Err(A::Error::custom(message));
                }
                Some(field) => {
                    if field.replace(members.next_value()?).is_some() {
                        return Err(A::Error::custom(format!("duplicate field `{name}`")));
                    }
                }
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        top.forget_nulls();
        Ok(top)
    }
}

/// A name in small letters, as readers have it that do not tell letters of one name from others.
fn fold(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(name);
    }
    let small = |letter: char| match letter {
        // The long s and the sign of Kelvin.
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    Cow::Owned(name.chars().map(small).collect())
}

impl<'a> Top<'a> {
    fn field(&mut self, name: &str) -> Option<&mut Option<&'a RawValue>> {
        Some(match name {
            "model" => &mut self.model,
            "stream" => &mut self.stream,
            "messages" => &mut self.messages,
            "input" => &mut self.input,
            "prompt" => &mut self.prompt,
            "max_tokens" => &mut self.max_tokens,
            "max_completion_tokens" => &mut self.max_completion_tokens,
            "max_output_tokens" => &mut self.max_output_tokens,
            "n" => &mut self.n,
            "best_of" => &mut self.best_of,
            "temperature" => &mut self.temperature,
            "store" => &mut self.store,
            "previous_response_id" => &mut self.previous_response_id,
            "conversation" => &mut self.conversation,
            _ => return None,
        })
    }

    /// A `null` is as good as nothing where nobody puts another value in its place.
    fn forget_nulls(&mut self) {
        let fields = [
            &mut self.model,
            &mut self.stream,
            &mut self.messages,
            &mut self.input,
            &mut self.prompt,
            &mut self.n,
            &mut self.best_of,
            &mut self.temperature,
            &mut self.store,
            &mut self.previous_response_id,
            &mut self.conversation,
        ];
        for field in fields {
            *field = field.filter(|value| value.get() != "null");
        }
    }

    fn bound(&self, field: Bound) -> Option<&'a RawValue> {
        match field {
            Bound::Plain => self.max_tokens,
            Bound::Completion => self.max_completion_tokens,
            Bound::Output => self.max_output_tokens,
        }
    }

    /// How many answers the model is to write, whether or not all are told.
    fn answers(&self) -> Option<u32> {
        largest([self.n, self.best_of])
    }

    fn leaves_nothing(&self) -> bool {
        self.store.is_some_and(|store| store.get() == "false")
            && self.previous_response_id.is_none()
            && self.conversation.is_none()
    }

    fn check(&self, field: Field) -> Result<(), Refusal> {
        match field {
            Field::Model => match self.model.map(text_of) {
                None => Err(wrong("model", "is missing: name the model to use")),
                Some(None) => Err(wrong("model", "must be a string")),
                Some(Some(name)) if name.is_empty() => Err(wrong("model", "must not be empty")),
                Some(Some(_)) => Ok(()),
            },
            Field::Messages => match self.messages {
                None => Err(wrong("messages", "is missing: send the conversation as an array")),
                Some(messages) if !messages.get().starts_with('[') => {
                    Err(wrong("messages", "must be an array"))
                }
                Some(_) => Ok(()),
            },
            Field::Input if self.input.is_none() => Err(wrong("input", "is missing")),
            Field::Prompt if self.prompt.is_none() => Err(wrong("prompt", "is missing")),
            Field::Input | Field::Prompt => Ok(()),
        }
    }
}

/// The largest of those that are whole numbers.
fn largest<'a>(values: impl IntoIterator<Item = Option<&'a RawValue>>) -> Option<u32> {
    values.into_iter().flatten().filter_map(|value| value.get().parse().ok()).max()
}

fn text_of(value: &RawValue) -> Option<String> {
    serde_json::from_str::<Cow<'_, str>>(value.get()).ok().map(Cow::into_owned)
}

/// Whether brackets are nested deeper than allowed. What is no JSON is for the parser to refuse.
fn is_too_deep(body: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = string_end(body, at),
            _ => {}
        }
    }
    false
}

/// Where the string that began before `at` is over.
pub(crate) fn string_end(body: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr2(b'"', b'\\', body.get(at..).unwrap_or_default()) {
        if body[at + found] == b'"' {
            return at + found + 1;
        }
        at += found + 2;
    }
    body.len()
}

fn invalid_json(why: &str) -> Refusal {
    Refusal::invalid(400, "invalid_json", format!("The body is no valid JSON object: {why}."))
}

fn wrong(param: &'static str, what: &str) -> Refusal {
    Refusal::invalid(422, "validation_error", format!("`{param}` {what}.")).with_param(param)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::route::bounds;

    const CHAT: &[Field] = &[Field::Model, Field::Messages];

    fn code_of(body: &[u8]) -> Result<Summary, (u16, &'static str)> {
        read(body, CHAT, bounds("/v1/chat/completions"))
            .map_err(|refusal| (refusal.status().as_u16(), refusal.code))
    }

    #[test]
    fn what_matters_is_read_whatever_stands_beside_it() {
        let body = br#"{"messages":[{"role":"user","content":"a \" ] } {"}],"x":{"model":"no"},"stream":true,"model":"gp\u0074"}"#;
        assert_eq!(
            code_of(body),
            Ok(Summary { model: Some("gpt".into()), stream: true, ..Summary::default() })
        );
        assert_eq!(
            code_of(br#"{"model":"m","messages":[],"stream":null}"#).map(|read| read.stream),
            Ok(false)
        );
        let many = code_of(br#"{"model":"m","messages":[],"max_tokens":5,"max_completion_tokens":7,"n":4}"#);
        assert_eq!(many.map(|read| (read.max_output, read.answers)), Ok((Some(7), Some(4))));
    }

    #[test]
    fn what_is_no_json_object_or_could_be_read_in_two_ways_is_refused() {
        let bodies: [&[u8]; 14] = [
            b"",
            b"{",
            b"[]",
            b"null",
            b"{\"model\":\"m\",\"messages\":[]} x",
            b"{\"model\":\"m\",\"model\":\"n\",\"messages\":[]}",
            b"{\"model\":\"m\",\"mode\\u006c\":\"n\",\"messages\":[]}",
            b"{\"model\":\"m\",\"Model\":\"n\",\"messages\":[]}",
            b"{\"MODEL\":\"n\",\"model\":\"m\",\"messages\":[]}",
            b"{\"model\":\"m\",\"messages\":[],\"Max_Tokens\":100000}",
            b"{\"model\":\"m\",\"messages\":[],\"max_to\\u212aens\":100000}",
            b"{\"model\":\"m\",\"messages\":[],\"\xc5\xbftream\":true}",
            b"{\"model\":\"\xff\",\"messages\":[]}",
            b"{'model':'m'}",
        ];
        for body in bodies {
            assert_eq!(code_of(body), Err((400, "invalid_json")), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn only_an_object_is_one_and_what_is_none_is_not_repeated() {
        let fields = r#""m",false,[],null,null,null,null,null,null,null,null,null,null,null"#;
        for body in
            [format!("[{fields}]"), format!(" \n[{fields}]"), r#""the prompt""#.into(), "4242424242".into()]
        {
            let refusal = read(body.as_bytes(), CHAT, &[]).expect_err(&body);
            assert_eq!((refusal.status().as_u16(), refusal.code), (400, "invalid_json"), "{body}");
            let told = format!("{refusal:?}");
            assert!(!told.contains("prompt") && !told.contains("4242") && !told.contains("Top"), "{told}");
        }
        assert!(read(b" \r\n\t{\"model\":\"m\",\"messages\":[]} ", CHAT, &[]).is_ok(), "the control");
    }

    #[test]
    fn no_model_is_a_way_to_another_path() {
        let named = |model: &str| code_of(format!(r#"{{"model":"{model}","messages":[]}}"#).as_bytes());
        for model in [".", "..", "\\u002e."] {
            assert_eq!(named(model), Err((422, "validation_error")), "{model}");
        }
        assert!(named("...").is_ok() && named("a..b").is_ok(), "the control");
    }

    #[test]
    fn another_model_takes_the_place_of_the_first_and_nothing_else_changes() {
        let body = br#"{"x": {"model":"no"}, "model" : "gp\u0074",  "messages":["model"]}"#;
        let changed = with_model(&Bytes::from_static(body), "a\"b");
        assert_eq!(&changed[..], br#"{"x": {"model":"no"}, "model" : "a\"b",  "messages":["model"]}"#);
        let without = Bytes::from_static(br#"{"input":1}"#);
        assert_eq!(with_model(&without, "m"), without);
    }

    #[test]
    fn only_what_an_api_knows_bounds_its_answers() {
        let body = br#"{"model":"m","messages":[],"input":"","max_tokens":5,"max_completion_tokens":7,"max_output_tokens":9}"#;
        for (path, bound) in [
            ("/v1/chat/completions", Some(7)),
            ("/v1/messages", Some(5)),
            ("/v1/completions", Some(5)),
            ("/v1/responses", Some(9)),
            ("/v1/responses/compact", None),
            ("/v1/messages/count_tokens", None),
            ("/v1/embeddings", None),
        ] {
            assert_eq!(read(body, &[], bounds(path)).unwrap().max_output, bound, "{path}");
        }
        for none in ["null", "1e9", "7.5", "-1", "\"5\"", "4294967296", "[5]"] {
            let body = format!(r#"{{"model":"m","messages":[],"max_tokens":{none}}}"#);
            assert_eq!(code_of(body.as_bytes()).unwrap().max_output, None, "{none}");
        }
    }

    #[test]
    fn a_bound_is_put_in_once_whatever_stood_there() {
        for (body, bounded) in [
            (r#" { "model":"m" }"#, r#" {"max_tokens":9, "model":"m" }"#),
            (r#"{"model":"m","max_tokens": null,"x":1}"#, r#"{"model":"m","max_tokens": 9,"x":1}"#),
            (r#"{"max_tokens":1e9,"model":"m"}"#, r#"{"max_tokens":9,"model":"m"}"#),
            (r#"{"max\u005ftokens":null,"model":"m"}"#, r#"{"max\u005ftokens":9,"model":"m"}"#),
            (r#"{"model":"m","x":{"max_tokens":5}}"#, r#"{"max_tokens":9,"model":"m","x":{"max_tokens":5}}"#),
        ] {
            let changed = with_bound(&Bytes::copy_from_slice(body.as_bytes()), Bound::Plain, 9);
            assert_eq!(std::str::from_utf8(&changed), Ok(bounded));
            assert_eq!(read(&changed, &[], &[Bound::Plain]).unwrap().max_output, Some(9));
        }
    }

    #[test]
    fn what_nothing_is_decided_by_may_be_there_twice() {
        let body = br#"{"model":"m","messages":[{"role":"user","role":"user","Model":1}],"x":1,"x":2,"X":3}"#;
        assert_eq!(code_of(body), Ok(Summary { model: Some("m".into()), ..Summary::default() }));
    }

    #[test]
    fn a_missing_or_mistyped_field_is_named() {
        for (body, param) in [
            (r#"{"messages":[]}"#, "model"),
            (r#"{"model":null,"messages":[]}"#, "model"),
            (r#"{"model":4,"messages":[]}"#, "model"),
            (r#"{"model":"","messages":[]}"#, "model"),
            (&format!(r#"{{"model":"{}","messages":[]}}"#, "m".repeat(257)), "model"),
            (r#"{"model":"m"}"#, "messages"),
            (r#"{"model":"m","messages":"hello"}"#, "messages"),
            (r#"{"model":"m","messages":[],"stream":"yes"}"#, "stream"),
        ] {
            let refusal = read(body.as_bytes(), CHAT, &[]).expect_err(body);
            assert_eq!((refusal.status().as_u16(), refusal.param()), (422, Some(param)), "{body}");
        }
        let longest = format!(r#"{{"model":"{}","messages":[]}}"#, "m".repeat(256));
        assert!(read(longest.as_bytes(), CHAT, &[]).is_ok(), "the control");
    }

    #[test]
    fn nesting_is_allowed_to_128_levels_and_no_deeper() {
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
            format!(r#"{{"model":"m","messages":[],"x":{open}{close}}}"#)
        };
        assert!(code_of(nested(128).as_bytes()).is_ok());
        assert_eq!(code_of(nested(129).as_bytes()), Err((400, "json_too_deep")));
        assert_eq!(code_of(nested(1_000_000).as_bytes()), Err((400, "json_too_deep")));
        let brackets_in_text = format!(r#"{{"model":"m","messages":["{}"]}}"#, "[\\\"".repeat(1000));
        assert!(code_of(brackets_in_text.as_bytes()).is_ok());
    }
}
