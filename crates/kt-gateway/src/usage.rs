//! How many tokens a provider says a request used, read in passing.

use memchr::memchr;
use memchr::memmem;
use serde::Deserialize;

/// The longest line of a stream that is looked at, in bytes; a longer one passes unread.
const MAX_LINE: usize = 256 * 1024;
const KEY: &[u8] = b"\"usage\"";

/// Token counts, as far as they were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(alias = "prompt_tokens")]
    input_tokens: Option<u64>,
    #[serde(alias = "completion_tokens")]
    output_tokens: Option<u64>,
}

impl Usage {
    /// Takes the counts of the last `usage` object in a JSON text, in the words of either API.
    ///
    /// Within a JSON string the key would stand with escaped quotes, so it is not mistaken for one.
    pub(crate) fn read(&mut self, json: &[u8]) {
        let Some(at) = memmem::rfind(json, KEY) else { return };
        let Some(value) = json[at + KEY.len()..].trim_ascii_start().strip_prefix(b":") else { return };
        let mut values = serde_json::Deserializer::from_slice(value).into_iter::<Option<Counts>>();
        if let Some(Ok(Some(counts))) = values.next() {
            self.input = counts.input_tokens.or(self.input);
            self.output = counts.output_tokens.or(self.output);
        }
    }
}

/// Reads the usage out of an event stream (WHATWG HTML section 9.2) as it passes, however it is cut into pieces.
#[derive(Debug, Default)]
pub(crate) struct StreamUsage {
    usage: Usage,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    /// Whether that line is too long to be looked at.
    overlong: bool,
}

impl StreamUsage {
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    pub(crate) fn feed(&mut self, mut piece: &[u8]) {
        while let Some(end) = memchr(b'\n', piece) {
            let (line, rest) = (&piece[..end], &piece[end + 1..]);
            if !self.overlong {
                if self.partial.is_empty() {
                    self.usage.read(line);
                } else {
                    self.partial.extend_from_slice(line);
                    self.usage.read(&self.partial);
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
        let told = Usage { input: Some(12), output: Some(34) };
        assert_eq!(read(r#"{"usage":{"prompt_tokens":12,"completion_tokens":34,"total_tokens":46}}"#), told);
        assert_eq!(read(r#"{"usage" : {"input_tokens":12,"output_tokens":34}}"#), told);
        assert_eq!(read(r#"{"usage":null}"#), Usage::default());
        assert_eq!(read(r#"{"usage":{"prompt_tokens":-1}}"#), Usage::default());
    }

    #[test]
    fn the_models_own_words_are_not_taken_for_counts() {
        let body = r#"{"usage":{"prompt_tokens":1},"content":"{\"usage\":{\"prompt_tokens\":999}}"}"#;
        assert_eq!(read(body).input, Some(1));
    }

    #[test]
    fn a_streams_usage_is_found_however_it_is_cut() {
        let stream = b"data: {\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}\r\n\r\ndata: {\"usage\":null}\n\ndata: {\"usage\":{\"output_tokens\":9}}\n\ndata: [DONE]\n\n";
        for size in 1..stream.len() {
            let mut scanner = StreamUsage::default();
            stream.chunks(size).for_each(|piece| scanner.feed(piece));
            assert_eq!(scanner.usage(), Usage { input: Some(5), output: Some(9) }, "pieces of {size}");
        }
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
