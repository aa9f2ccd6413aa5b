//! What a request names and does not hold: pictures and files elsewhere, conversations that the provider keeps. Only the
//! provider sees how much of the prompt they are.

use std::borrow::Cow;

use memchr::memchr;

use crate::stages::content::string_end;

/// The keys under which something is named, in the words of whichever API. A picture that a request does hold stands under the
/// first as well, and has no fewer tokens for being small.
const KEYS: [&str; 7] = [
    "conversation",
    "file_id",
    "file_url",
    "image_url",
    "mcp_servers",
    "previous_response_id",
    "vector_store_ids",
];
/// What the `type` is of that which only names something.
const TYPES: [&str; 2] = ["item_reference", "url"];

/// How many such things a JSON body names. It was read before, so it is JSON.
pub(crate) fn count(body: &[u8]) -> u64 {
    let mut count = 0;
    let mut is_type = false;
    let mut at = 0;
    while let Some(found) = memchr(b'"', &body[at..]) {
        let start = at + found;
        at = string_end(body, start + 1);
        let string = &body[start..at];
        let value = body[at..].trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        let names_something = match value {
            Some(value) => is_one_of(string, &KEYS) && !value.starts_with(b"null"),
            None => is_type && is_one_of(string, &TYPES),
        };
        count += u64::from(names_something);
        is_type = value.is_some_and(|value| value.starts_with(b"\"")) && is_one_of(string, &["type"]);
    }
    count
}

/// Whether a string, in its quotes, is one of these words, however it is written.
fn is_one_of(string: &[u8], words: &[&str]) -> bool {
    let text = if string.contains(&b'\\') {
        serde_json::from_slice(string).ok().map(Cow::Owned)
    } else {
        str::from_utf8(string).ok().map(|string| Cow::Borrowed(string.trim_matches('"')))
    };
    text.is_some_and(|text: Cow<'_, str>| words.contains(&&*text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_names_is_counted_in_every_apis_words_and_spellings() {
        for (body, named) in [
            (r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://a/b"}}]}]}"#, 1),
            (r#"{"messages":[{"content":[{"type":"image_url", "image\u005furl" : "data:,"}]}]}"#, 1),
            (r#"{"messages":[{"content":[{"type":"image","source":{"type":"url","url":"https://a"}}]}]}"#, 1),
            (r#"{"messages":[{"content":[{"type":"image","source":{"typ\u0065" : "ur\u006c"}}]}]}"#, 1),
            (r#"{"input":[{"type":"input_file","file_id":"f"},{"type":"item_reference","id":"i"}]}"#, 2),
            (r#"{"input":"a \" \\","previous_response_id":"resp_1","conversation":"conv_1"}"#, 2),
            (r#"{"input":"\ud83d","previous_response_id":"resp_1"}"#, 1),
            (r#"{"input":"x","previous_response_id":null}"#, 0),
            (r#"{"messages":[{"content":"the \"file_id\": and the \"type\":\"url\""}]}"#, 0),
            (
                r#"{"messages":[{"content":"image_url"},{"content":["url"]}],"tools":[{"type":"function"}]}"#,
                0,
            ),
            ("{}", 0),
        ] {
            assert_eq!(count(body.as_bytes()), named, "{body}");
        }
    }

    #[test]
    fn no_bytes_are_too_strange_to_be_counted() {
        for bytes in [&b""[..], b"\"", b"\"\\", b"\"\\\"", b"\xff\"\xff\":", b"\"\"\"\"\"type\":\""] {
            assert_eq!(count(bytes), 0);
        }
    }
}
