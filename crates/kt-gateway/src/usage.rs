//! How many tokens a provider says a request used, read in passing; and how much text it said, for when it does not tell.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memchr2};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::telemetry::Answered;

/// The longest line of a stream that is looked at, in bytes; a longer one passes unread.
const MAX_LINE: usize = 256 * 1024;
/// The key under which answers tell their counts.
static COUNTS: LazyLock<Finder<'static>> = LazyLock::new(|| finder("usage"));
/// The keys under which answers hold what a model said, in the words of whichever API.
static TEXTS: LazyLock<[Finder<'static>; 6]> =
    LazyLock::new(|| ["content", "text", "delta", "arguments", "partial_json", "thinking"].map(finder));
/// The keys under which Chat Completions hold what it thought. Some servers say the same under both.
static THOUGHTS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| ["reasoning_content", "reasoning"].map(finder));
/// How many bytes of text make a token, as an estimate: English has about four letters in each.
pub(crate) const BYTES_PER_TOKEN: usize = 4;

/// Token counts, as far as they were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
    /// Bytes of what the model said.
    pub(crate) said: u64,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(alias = "prompt_tokens", rename = "input_tokens")]
    input: Option<u64>,
    #[serde(alias = "completion_tokens", rename = "output_tokens")]
    output: Option<u64>,
    /// Messages alone counts these apart; elsewhere they are part of the prompt's tokens and stand under other names.
    #[serde(rename = "cache_creation_input_tokens")]
    written_to_cache: Option<u64>,
    #[serde(rename = "cache_read_input_tokens")]
    read_from_cache: Option<u64>,
}

impl Counts {
    /// All tokens of the prompt, wherever the provider read them from.
    fn input(&self) -> Option<u64> {
        let cached = [self.written_to_cache, self.read_from_cache];
        let apart = cached.into_iter().flatten().fold(0, u64::saturating_add);
        self.input.map(|tokens| tokens.saturating_add(apart))
    }
}

/// Where answers tell their counts: at the top, or one level down in the events of Responses (`response`), of Messages
/// (`message`) and of Groq (`x_groq`). What a client said stands elsewhere, even where a provider repeats it.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    x_groq: Option<&'a RawValue>,
}

impl Told<'_> {
    fn counts(&self) -> Option<Counts> {
        let below = [self.response, self.message, self.x_groq].into_iter().flatten();
        let told = below.filter_map(|event| serde_json::from_str::<Told<'_>>(event.get()).ok()?.usage);
        self.usage.into_iter().chain(told).find_map(|usage| serde_json::from_str(usage.get()).ok())
    }
}

impl Usage {
    /// Takes the counts that a JSON document tells, in the words of either API. It may stand in a line of an event stream.
    pub(crate) fn read(&mut self, line: &[u8]) {
        if !tells_counts(line) {
            return;
        }
        let json = line.strip_prefix(b"data:").unwrap_or(line);
        if let Some(counts) = serde_json::from_slice::<Told<'_>>(json).ok().and_then(|told| told.counts()) {
            // What an earlier event told of the prompt is not taken back by a later one that tells less of it.
            self.input = counts.input().max(self.input);
            self.output = counts.output.or(self.output);
        }
    }

    /// Adds what the model says in a JSON text.
    pub(crate) fn hear(&mut self, json: &[u8]) {
        self.said += TEXTS.iter().map(|key| length_under(key, json)).sum::<u64>();
        self.said += THOUGHTS.iter().map(|key| length_under(key, json)).max().unwrap_or(0);
    }

    /// How many tokens the model's answer is taken to have, by what it said.
    pub(crate) fn estimated_output(&self) -> u64 {
        self.said.div_ceil(BYTES_PER_TOKEN as u64)
    }
}

/// Whether counts may stand in a JSON text, told without reading it: most events of a stream have none, or `null`.
fn tells_counts(json: &[u8]) -> bool {
    COUNTS.find_iter(json).any(|at| {
        let value = json[at + COUNTS.needle().len()..]
            .trim_ascii_start()
            .strip_prefix(b":")
            .map(<[u8]>::trim_ascii_start);
        value.is_some_and(|value| value.starts_with(b"{"))
    })
}

/// Whether a line of a stream is an event of Responses that brings nothing new: each text comes in events that end in
/// `delta`, and then again as a whole in several others.
fn repeats(line: &[u8]) -> bool {
    let data = line.strip_prefix(b"data:").unwrap_or_default().trim_ascii_start();
    let kind =
        data.strip_prefix(b"{\"type\":\"response.").map(|rest| rest.split(|byte| *byte == b'"').next());
    kind.flatten().is_some_and(|kind| !kind.ends_with(b"delta"))
}

fn finder(key: &str) -> Finder<'static> {
    Finder::new(&format!("\"{key}\"")).into_owned()
}

/// How long all strings are together that are values of a key.
fn length_under(key: &Finder<'_>, json: &[u8]) -> u64 {
    key.find_iter(json).map(|at| length_of_string(&json[at + key.needle().len()..])).sum()
}

/// The length of the string that is the value of a key which ends here; 0 for another value.
fn length_of_string(after_key: &[u8]) -> u64 {
    let value = after_key.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
    let Some(string) = value.and_then(|value| value.strip_prefix(b"\"")) else { return 0 };
    let mut at = 0;
    while let Some(found) = memchr2(b'"', b'\\', &string[at..]) {
        if string[at + found] == b'"' {
            return (at + found) as u64;
        }
        at = (at + found + 2).min(string.len());
    }
    string.len() as u64
}

/// Reads the usage out of an event stream (WHATWG HTML section 9.2) as it passes, however it is cut into pieces.
#[derive(Debug, Default)]
pub(crate) struct StreamUsage {
    usage: Usage,
    /// What the provider says of its answer, if that is asked for.
    answered: Option<Box<Answered>>,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    /// Whether that line is too long to be looked at.
    overlong: bool,
}

impl StreamUsage {
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// From now on what the provider says of its answer is gathered too.
    pub(crate) fn gather(&mut self) {
        self.answered = Some(Box::default());
    }

    /// What was gathered.
    pub(crate) fn take_answered(&mut self) -> Option<Box<Answered>> {
        self.answered.take()
    }

    pub(crate) fn feed(&mut self, mut piece: &[u8]) {
        while let Some(end) = memchr(b'\n', piece) {
            let (line, rest) = (&piece[..end], &piece[end + 1..]);
            if !self.overlong {
                let line = if self.partial.is_empty() {
                    line
                } else {
                    self.partial.extend_from_slice(line);
                    &self.partial
                };
                self.usage.read(line);
                if !repeats(line) {
                    self.usage.hear(line);
                }
                if let (Some(answered), Some(data)) = (&mut self.answered, line.strip_prefix(b"data:")) {
                    answered.read(data);
                }
            }
            self.partial.clear();
            self.overlong = false;
            piece = rest;
        }
        if self.partial.len() + piece.len() > MAX_LINE {
            self.overlong = true;
            self.partial = Vec::new();
        } else if !self.overlong {
            self.partial.extend_from_slice(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Usage {
        let mut usage = Usage::default();
        usage.read(json.as_bytes());
        usage
    }

    #[test]
    fn both_apis_words_are_understood() {
        let told = Usage { input: Some(12), output: Some(34), said: 0 };
        assert_eq!(read(r#"{"usage":{"prompt_tokens":12,"completion_tokens":34,"total_tokens":46}}"#), told);
        assert_eq!(read(r#"{"usage" : {"input_tokens":12,"output_tokens":34}}"#), told);
        assert_eq!(
            read(
                r#"{"usage":{"input_tokens":2,"cache_creation_input_tokens":7,"cache_read_input_tokens":3,"output_tokens":34}}"#
            ),
            told,
            "what is read from a cache or written to it is part of the prompt"
        );
        assert_eq!(
            read(
                r#"{"usage":{"prompt_tokens":12,"prompt_tokens_details":{"cached_tokens":10},"completion_tokens":34}}"#
            ),
            told
        );
        assert_eq!(read(r#"{"usage":null}"#), Usage::default());
        assert_eq!(read(r#"{"usage":{"prompt_tokens":-1}}"#), Usage::default());
    }

    #[test]
    fn the_models_own_words_are_not_taken_for_counts() {
        let body = r#"{"usage":{"prompt_tokens":1},"content":"{\"usage\":{\"prompt_tokens\":999}}"}"#;
        assert_eq!(read(body).input, Some(1));
    }

    #[test]
    fn what_a_client_said_is_not_taken_for_counts_where_it_is_repeated() {
        let told = Usage { input: Some(1), output: Some(2), said: 0 };
        for repeated in [r#""metadata":{"usage":"x"}"#, r#""metadata":{"usage":{"input_tokens":9}}"#] {
            let usage = r#""usage":{"input_tokens":1,"output_tokens":2}"#;
            for response in [format!("{{{usage},{repeated}}}"), format!("{{{repeated},{usage}}}")] {
                assert_eq!(read(&response), told, "{response}");
                assert_eq!(
                    read(&format!(r#"data: {{"type":"response.completed","response":{response}}}"#)),
                    told
                );
            }
        }
        assert_eq!(read(r#"{"metadata":{"usage":{"input_tokens":9}}}"#), Usage::default());
    }

    #[test]
    fn counts_are_found_one_level_down_in_events() {
        let told = Usage { input: Some(1), output: Some(2), said: 0 };
        for within in ["response", "message", "x_groq"] {
            let event =
                format!(r#"data:{{"{within}":{{"id":"i","usage":{{"input_tokens":1,"output_tokens":2}}}}}}"#);
            assert_eq!(read(&event), told, "{event}");
        }
    }

    #[test]
    fn a_streams_usage_is_found_however_it_is_cut() {
        let stream = b"data: {\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}\r\n\r\ndata: {\"usage\":null}\n\ndata: {\"usage\":{\"output_tokens\":9}}\n\ndata: [DONE]\n\n";
        for size in 1..stream.len() {
            let mut scanner = StreamUsage::default();
            stream.chunks(size).for_each(|piece| scanner.feed(piece));
            assert_eq!(
                scanner.usage(),
                Usage { input: Some(5), output: Some(9), said: 0 },
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn what_was_told_of_the_prompt_is_not_taken_back() {
        let mut usage = Usage::default();
        usage.read(br#"{"usage":{"input_tokens":5,"cache_creation_input_tokens":2000,"output_tokens":1}}"#);
        usage.read(br#"{"usage":{"input_tokens":5,"output_tokens":20}}"#);
        assert_eq!(usage, Usage { input: Some(2005), output: Some(20), said: 0 });
    }

    #[test]
    fn what_a_model_says_is_measured_in_every_apis_words() {
        for (json, said) in [
            (r#"{"choices":[{"delta":{"role":"assistant","content":"four"}}]}"#, 4),
            (r#"{"choices": [{"delta": {"content": "a \"b\" c"}}]}"#, 9),
            (
                r#"{"choices":[{"message":{"content":null,"tool_calls":[{"function":{"arguments":"{}"}}]}}]}"#,
                2,
            ),
            (r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"five!"}}"#, 5),
            (r#"{"type":"response.output_text.delta","delta":"six"}"#, 3),
            (r#"{"choices":[{"text":"completion"}]}"#, 10),
            (r#"{"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}]}"#, 2),
            (r#"{"choices":[{"delta":{"content":"yes","reasoning":"hmm"}}]}"#, 6),
            (r#"{"choices":[{"delta":{"reasoning_content":"hmm","reasoning":"hmm"}}]}"#, 3),
            (r#"{"response":{"reasoning":{"effort":"low"}}}"#, 0),
            (r#"{"content":"cut off"#, 7),
            (r#"{"content":"cut off\"#, 8),
            (r#"{"data":[{"embedding":[0.1]}]}"#, 0),
        ] {
            let mut usage = Usage::default();
            usage.hear(json.as_bytes());
            assert_eq!(usage.said, said, "{json}");
            assert_eq!(usage.estimated_output(), said.div_ceil(4));
        }
    }

    #[test]
    fn what_a_stream_of_responses_says_again_as_a_whole_is_heard_once() {
        let stream = br#"event: response.output_text.delta
data: {"type":"response.output_text.delta","delta":"six"}

data: {"type":"response.output_text.delta","delta":"letters"}

event: response.output_text.done
data: {"type":"response.output_text.done","text":"sixletters"}

data: {"type":"response.content_part.done","part":{"type":"output_text","text":"sixletters"}}

data: {"type":"response.completed","response":{"output":[{"content":[{"text":"sixletters"}]}],"usage":{"input_tokens":1,"output_tokens":2}}}

"#;
        let mut scanner = StreamUsage::default();
        scanner.feed(stream);
        assert_eq!(scanner.usage(), Usage { input: Some(1), output: Some(2), said: 10 });
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let mut scanner = StreamUsage::default();
        for _ in 0..1000 {
            scanner.feed(&[b'x'; 10_000]);
            assert!(scanner.partial.capacity() <= 2 * MAX_LINE);
        }
        scanner.feed(b"\ndata: {\"usage\":{\"output_tokens\":9}}\n");
        assert_eq!(scanner.usage().output, Some(9));
    }
}
