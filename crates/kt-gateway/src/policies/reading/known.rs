//! The words of the APIs themselves, in which no text stands. Whatever is not among them is read, so that one that is
//! missing here costs a little time and hides nothing.

use super::outline::Node;

/// Keys of the APIs, and of the schemas that tools are described in. In order, to be searched.
const KEYS: [&str; 173] = [
    "$ref",
    "$schema",
    "action",
    "additionalProperties",
    "annotations",
    "anyOf",
    "arguments",
    "audio",
    "audio_url",
    "b64_json",
    "best_of",
    "cache_control",
    "cache_creation",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cached_tokens",
    "call_id",
    "choices",
    "citations",
    "completion_tokens",
    "completion_tokens_details",
    "const",
    "container_id",
    "content",
    "content_block",
    "content_filter_results",
    "content_index",
    "context_management",
    "conversation",
    "created",
    "created_at",
    "data",
    "default",
    "delta",
    "description",
    "detail",
    "dimensions",
    "echo",
    "effort",
    "embedding",
    "encoding_format",
    "encrypted_content",
    "end_index",
    "enum",
    "error",
    "examples",
    "file",
    "file_id",
    "finish_reason",
    "format",
    "frequency_penalty",
    "function",
    "function_call",
    "functions",
    "id",
    "image_url",
    "include",
    "include_usage",
    "incomplete_details",
    "index",
    "input",
    "input_audio",
    "input_schema",
    "input_text",
    "input_tokens",
    "input_tokens_details",
    "instructions",
    "is_error",
    "item",
    "item_id",
    "items",
    "json_schema",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "max_tool_calls",
    "maximum",
    "media_type",
    "message",
    "messages",
    "metadata",
    "minimum",
    "mode",
    "model",
    "n",
    "name",
    "native_finish_reason",
    "obfuscation",
    "object",
    "oneOf",
    "output",
    "output_index",
    "output_text",
    "output_tokens",
    "output_tokens_details",
    "parallel_tool_calls",
    "parameters",
    "part",
    "partial_image_b64",
    "partial_json",
    "parts",
    "pattern",
    "phase",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_filter_results",
    "prompt_tokens",
    "prompt_tokens_details",
    "properties",
    "provider",
    "queries",
    "reasoning",
    "reasoning_content",
    "reasoning_effort",
    "reasoning_tokens",
    "refusal",
    "required",
    "response",
    "response_format",
    "result",
    "results",
    "role",
    "safety_identifier",
    "schema",
    "seed",
    "sequence_number",
    "server_tool_use",
    "service_tier",
    "signature",
    "source",
    "start_index",
    "status",
    "stop",
    "stop_reason",
    "stop_sequence",
    "stop_sequences",
    "store",
    "stream",
    "stream_options",
    "strict",
    "suffix",
    "summary",
    "summary_index",
    "system",
    "system_fingerprint",
    "temperature",
    "text",
    "thinking",
    "title",
    "tool_call_id",
    "tool_calls",
    "tool_choice",
    "tool_name",
    "tool_use_id",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "total_tokens",
    "truncation",
    "type",
    "url",
    "usage",
    "user",
    "variables",
    "verbosity",
    "version",
    "video_url",
    "voice",
];
/// Keys whose values are words of the APIs.
const WORDED: [&str; 6] = ["finish_reason", "object", "role", "status", "stop_reason", "type"];
/// Those words. In order, to be searched.
const WORDS: [&str; 113] = [
    "adaptive",
    "any",
    "array",
    "assistant",
    "auto",
    "boolean",
    "chat.completion",
    "chat.completion.chunk",
    "code_interpreter",
    "completed",
    "content",
    "content_block_delta",
    "content_block_start",
    "content_block_stop",
    "content_filter",
    "custom",
    "custom_tool_call",
    "custom_tool_call_output",
    "developer",
    "disabled",
    "document",
    "embedding",
    "enabled",
    "end_turn",
    "ephemeral",
    "error",
    "failed",
    "file",
    "file_search",
    "file_search_call",
    "function",
    "function_call",
    "function_call_output",
    "image",
    "image_generation",
    "image_url",
    "in_progress",
    "incomplete",
    "input_audio",
    "input_file",
    "input_image",
    "input_json_delta",
    "input_text",
    "integer",
    "item_reference",
    "json_object",
    "json_schema",
    "keepalive",
    "length",
    "list",
    "max_tokens",
    "mcp",
    "mcp_call",
    "message",
    "message_delta",
    "message_start",
    "message_stop",
    "model",
    "null",
    "number",
    "object",
    "output_text",
    "pause_turn",
    "ping",
    "queued",
    "reasoning",
    "reasoning_text",
    "redacted_thinking",
    "refusal",
    "response",
    "response.completed",
    "response.content_part.added",
    "response.content_part.done",
    "response.created",
    "response.custom_tool_call_input.delta",
    "response.custom_tool_call_input.done",
    "response.failed",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.in_progress",
    "response.incomplete",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_text.delta",
    "response.output_text.done",
    "response.reasoning_summary_part.added",
    "response.reasoning_summary_part.done",
    "response.reasoning_summary_text.delta",
    "response.reasoning_summary_text.done",
    "response.reasoning_text.delta",
    "response.reasoning_text.done",
    "response.refusal.delta",
    "response.refusal.done",
    "search_result",
    "server_tool_use",
    "signature_delta",
    "stop",
    "stop_sequence",
    "string",
    "summary_text",
    "system",
    "text",
    "text_completion",
    "text_delta",
    "thinking",
    "thinking_delta",
    "tool",
    "tool_calls",
    "tool_result",
    "tool_use",
    "url",
    "user",
    "web_search_call",
];
/// Keys of moments, in seconds since 1970.
const MOMENTS: [&str; 5] = ["completed_at", "created", "created_at", "expires_at", "started_at"];

/// How many digits make a whole number worth reading: fewer are a count or a setting.
const DIGITS_OF_A_NUMBER: usize = 9;
/// How many make one worth reading that has a fraction, as those have that stand for the meaning of a text.
const DIGITS_OF_A_FRACTION: usize = 12;
/// How many a moment has at most.
const DIGITS_OF_A_MOMENT: usize = 10;

/// For each byte, where in a list the words begin that begin with it.
type ByByte = [usize; 257];

static KEYS_BY_BYTE: ByByte = by_byte(&KEYS);
static WORDS_BY_BYTE: ByByte = by_byte(&WORDS);

/// The list is in order.
const fn by_byte(list: &[&str]) -> ByByte {
    let mut places = [list.len(); 257];
    let (mut byte, mut at) = (0, 0);
    while byte < 256 {
        places[byte] = at;
        while at < list.len() && list[at].as_bytes()[0] as usize == byte {
            at += 1;
        }
        byte += 1;
    }
    places
}

fn is_among(raw: &str, list: &[&str], by_byte: &ByByte) -> bool {
    let Some(first) = raw.bytes().next().map(usize::from) else { return false };
    list[by_byte[first]..by_byte[first + 1]].contains(&raw)
}

/// Whether a key, as it is written, is one of the APIs'.
pub(super) fn is_key(raw: &str) -> bool {
    is_among(raw, &KEYS, &KEYS_BY_BYTE)
}

/// Whether a value, as it is written, is one that the APIs give to this key.
pub(super) fn is_word(key: &str, raw: &str) -> bool {
    WORDED.contains(&key) && is_among(raw, &WORDS, &WORDS_BY_BYTE)
}

/// Whether a number is long enough to stand for a person or a thing.
pub(super) fn is_long(json: &str, node: &Node) -> bool {
    let raw = &json.as_bytes()[node.place.clone()];
    let digits = raw.iter().filter(|byte| byte.is_ascii_digit()).count();
    if raw.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return digits >= DIGITS_OF_A_FRACTION;
    }
    let is_moment = || node.key_in(json).is_some_and(|key| MOMENTS.contains(&&*key));
    digits >= DIGITS_OF_A_NUMBER && (digits > DIGITS_OF_A_MOMENT || !is_moment())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_are_in_order() {
        assert!(KEYS.is_sorted());
        assert!(WORDS.is_sorted());
    }

    #[test]
    fn every_word_is_known_and_none_that_is_like_it() {
        for (list, by_byte) in [(&KEYS[..], &KEYS_BY_BYTE), (&WORDS[..], &WORDS_BY_BYTE)] {
            assert!(list.iter().all(|word| is_among(word, list, by_byte)));
            for other in ["", "zzz", "é", "\0", "modeL", "Model"] {
                assert!(!is_among(other, list, by_byte), "{other}");
            }
        }
    }
}
