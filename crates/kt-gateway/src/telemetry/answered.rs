//! What a provider says of its own answer: which one it is, of which model, and why it ended (`gen_ai.response.*`). What the
//! answer says is not looked at.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

/// The longest value that is kept, in bytes.
const MAX_VALUE: usize = 256;
/// How many reasons are kept; there is one for each choice.
const MAX_REASONS: usize = 16;

/// How the keys end under which the APIs say why an answer ended. Within a text the quotation mark would be escaped.
static REASON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"_reason\""));

/// Gathered while an answer passes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) finish_reasons: Vec<String>,
}

impl Answered {
    /// Reads a whole answer, or one event of a stream, in the words of whichever API.
    pub(crate) fn read(&mut self, json: &[u8]) {
        if self.id.is_some() && !tells_a_reason(json) {
            return;
        }
        let Ok(said) = serde_json::from_slice::<Said>(json) else { return };
        let Said { id, model, stop_reason, choices, message, response, delta } = said;
        let inner = message.or(response).unwrap_or_default();
        keep(&mut self.id, id.or(inner.id));
        keep(&mut self.model, model.or(inner.model));
        let of_choices = choices.unwrap_or_default().into_iter().filter_map(|choice| choice.finish_reason);
        let reasons = of_choices.chain(stop_reason).chain(delta.and_then(|delta| delta.stop_reason));
        let room = MAX_REASONS - self.finish_reasons.len();
        self.finish_reasons.extend(reasons.take(room).map(shortened));
    }
}

/// Whether some reason stands there that is not null.
fn tells_a_reason(json: &[u8]) -> bool {
    REASON.find_iter(json).any(|at| {
        let value = json[at + REASON.needle().len()..].trim_ascii_start().strip_prefix(b":");
        value.is_some_and(|value| value.trim_ascii_start().starts_with(b"\""))
    })
}

fn keep(kept: &mut Option<String>, said: Option<String>) {
    if kept.is_none() {
        *kept = said.map(shortened);
    }
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_VALUE));
    text
}

#[derive(Deserialize)]
struct Said {
    id: Option<String>,
    model: Option<String>,
    /// Of Messages.
    stop_reason: Option<String>,
    /// Of Chat Completions and Completions.
    choices: Option<Vec<Choice>>,
    /// Of the first event of Messages.
    message: Option<Inner>,
    /// Of the events of Responses.
    response: Option<Inner>,
    /// Of the last event but one of Messages.
    delta: Option<Delta>,
}

#[derive(Default, Deserialize)]
struct Inner {
    id: Option<String>,
    model: Option<String>,
}

#[derive(Deserialize)]
struct Choice {
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    stop_reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(events: &[&str]) -> (Option<String>, Option<String>, Vec<String>) {
        let mut answered = Answered::default();
        for event in events {
            answered.read(event.as_bytes());
        }
        (answered.id, answered.model, answered.finish_reasons)
    }

    #[test]
    fn every_api_says_which_answer_it_is_and_why_it_ended() {
        let cases: [(&[&str], &str, &[&str]); 6] = [
            (
                &[
                    r#"{"id":"i","model":"m","choices":[{"finish_reason":"stop"},{"finish_reason":"length"}]}"#,
                ],
                "m",
                &["stop", "length"],
            ),
            (&[r#"{"id":"i","model":"m","content":[],"stop_reason":"end_turn"}"#], "m", &["end_turn"]),
            (&[r#"{"id":"i","model":"m","output":[]}"#], "m", &[]),
            (
                &[
                    r#"{"id":"i","model":"m","choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#,
                    r#"{"id":"j","model":"n","choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#,
                    "[DONE]",
                ],
                "m",
                &["tool_calls"],
            ),
            (
                &[
                    r#"{"type":"message_start","message":{"id":"i","model":"m"}}"#,
                    r#"{"type":"content_block_delta","delta":{"text":"\"stop_reason\":\"no\""}}"#,
                    r#"{"type":"message_delta","delta":{"stop_reason" : "end_turn"}}"#,
                ],
                "m",
                &["end_turn"],
            ),
            (
                &[
                    r#"{"type":"response.created","response":{"id":"i","model":"m"}}"#,
                    r#"{"type":"response.output_text.delta","delta":"text"}"#,
                ],
                "m",
                &[],
            ),
        ];
        for (events, model, reasons) in cases {
            let expected = reasons.iter().map(ToString::to_string).collect();
            assert_eq!(gathered(events), (Some("i".into()), Some(model.into()), expected), "{events:?}");
        }
    }

    #[test]
    fn what_is_no_answer_says_nothing_and_what_is_long_is_cut() {
        for other in ["", "{", "[1]", r#"{"id":7}"#, r#"{"choices":{}}"#] {
            assert_eq!(gathered(&[other]), (None, None, Vec::new()), "{other}");
        }
        let long = format!(
            r#"{{"id":"{}","choices":[{}]}}"#,
            "é".repeat(999),
            [r#"{"finish_reason":"stop"}"#; 99].join(",")
        );
        let (id, _, reasons) = gathered(&[&long]);
        assert_eq!((id.map(|id| id.len()), reasons.len()), (Some(MAX_VALUE), MAX_REASONS));
    }
}
