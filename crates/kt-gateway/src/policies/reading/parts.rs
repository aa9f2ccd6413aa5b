//! Which values of a document are, or stand for, something that is no text: pictures, sounds, files, tokens. A part of a
//! content is a text only if its kind is known to be one. What a tool takes is JSON to the model, whatever its keys say.

use std::collections::BTreeSet;

use super::outline::{Kind, Node, Outline};

/// Where lists of parts stand.
const LISTS: [&str; 7] = ["content", "input", "output", "outputs", "parts", "prompt", "system"];
/// Where one part stands by itself, in requests, in whole answers and in the events of streams.
const SINGLE: [&str; 5] = ["content_block", "item", "output", "part", "source"];
/// The kinds of parts that hold nothing but text, JSON and what only the provider can read: those of Chat Completions, of
/// Responses and of Messages, and the sources of the latter. In order, to be searched.
const TEXT_KINDS: [&str; 52] = [
    "apply_patch_call",
    "apply_patch_call_output",
    "bash_code_execution_tool_result",
    "code_execution_tool_result",
    "code_interpreter_call",
    "compaction",
    "computer_call",
    "computer_call_output",
    "content",
    "custom_tool_call",
    "custom_tool_call_output",
    "document",
    "file_search_call",
    "function_call",
    "function_call_output",
    "input_text",
    "item_reference",
    "local_shell_call",
    "local_shell_call_output",
    "logs",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "mcp_tool_result",
    "mcp_tool_use",
    "message",
    "output_text",
    "reasoning",
    "reasoning_text",
    "redacted_thinking",
    "reference",
    "refusal",
    "search_result",
    "server_tool_use",
    "shell_call",
    "shell_call_output",
    "summary_text",
    "text",
    "text_editor_code_execution_tool_result",
    "thinking",
    "tool_call",
    "tool_reference",
    "tool_result",
    "tool_search_call",
    "tool_search_output",
    "tool_search_tool_result",
    "tool_use",
    "web_fetch_tool_result",
    "web_search_call",
    "web_search_result",
    "web_search_tool_result",
];
/// What a part may hold that does not say of which kind it is: a message, or what a shell wrote.
const KEYS_WITHOUT_KIND: [&str; 12] = [
    "content",
    "id",
    "name",
    "outcome",
    "phase",
    "role",
    "status",
    "stderr",
    "stdout",
    "text",
    "tool_call_id",
    "tool_calls",
];
/// Keys under which something stands that is no text, or text in pieces that nobody can put together again.
const OTHER_VALUES: [&str; 8] = [
    "audio_embeds",
    "audio_url",
    "b64_json",
    "image_embeds",
    "image_url",
    "partial_image_b64",
    "prompt_embeds",
    "video_url",
];
/// The same, if it is an object or a list.
const OTHER_HOLDERS: [&str; 5] = ["audio", "images", "input_audio", "logprobs", "multimodal_data"];
/// Where JSON stands that a tool takes, or the shape of such JSON.
const OWN_JSON: [&str; 6] =
    ["arguments", "input_examples", "input_schema", "json_schema", "parameters", "schema"];

/// The parts of a document, while its values are gone through in their order.
pub(super) struct Parts<'d> {
    json: &'d str,
    nodes: &'d [Node],
    /// Where the JSON of a tool is over that was met last.
    own_json_end: usize,
    /// The object that was looked at last, and whether it is a part.
    known: (usize, bool),
    /// Parts that say that they are of a kind that is text.
    with_kind: BTreeSet<usize>,
    /// Parts that must say it, for what they hold.
    needing_kind: Vec<usize>,
    is_any_other: bool,
}

impl<'d> Parts<'d> {
    pub(super) fn of(json: &'d str, outline: &'d Outline) -> Self {
        Self {
            json,
            nodes: outline.nodes(),
            own_json_end: 0,
            known: (0, false),
            with_kind: BTreeSet::new(),
            needing_kind: Vec::new(),
            is_any_other: false,
        }
    }

    /// Looks at the next value.
    pub(super) fn look_at(&mut self, node: &Node) {
        if node.place.start < self.own_json_end || matches!(node.kind, Kind::Key { .. }) {
            return;
        }
        let Some(key) = node.key_in(self.json) else {
            self.is_any_other |= self.is_token(node);
            return;
        };
        if is_own_json(node, &key) {
            self.own_json_end = node.place.end;
            return;
        }
        self.is_any_other |= is_other(node, &key);
        if self.is_part(node.parent) {
            self.look_into_part(node, &key);
        }
    }

    /// Whether anything was met that is no text.
    pub(super) fn hold_other(&self) -> bool {
        self.is_any_other || self.needing_kind.iter().any(|part| !self.with_kind.contains(part))
    }

    fn look_into_part(&mut self, node: &Node, key: &str) {
        if key.eq_ignore_ascii_case("type") {
            let is_text = node.text(self.json).is_some_and(|kind| TEXT_KINDS.binary_search(&&*kind).is_ok());
            self.is_any_other |= !is_text;
            if is_text && key == "type" {
                self.with_kind.insert(node.parent);
            }
        } else if !KEYS_WITHOUT_KIND.contains(&key) && self.needing_kind.last() != Some(&node.parent) {
            self.needing_kind.push(node.parent);
        }
    }

    /// Whether the object at `index` is a part of a content.
    fn is_part(&mut self, index: usize) -> bool {
        if self.known.0 != index {
            self.known = (index, self.stands_as_part(&self.nodes[index]));
        }
        self.known.1
    }

    fn stands_as_part(&self, node: &Node) -> bool {
        let holder = &self.nodes[node.parent];
        match holder.kind {
            Kind::Array => self.stands_under(self.outer_list(holder), &LISTS),
            _ if self.stands_under(node, &SINGLE) => true,
            // What a stored prompt is filled with.
            _ => self.stands_under(holder, &["variables"]),
        }
    }

    /// Whether a value is a token in place of text.
    fn is_token(&self, node: &Node) -> bool {
        let list = self.outer_list(&self.nodes[node.parent]);
        node.kind == Kind::Number && list.parent == 0 && self.stands_under(list, &["input", "prompt"])
    }

    /// The list itself, or the one that holds it.
    fn outer_list<'n>(&'n self, list: &'n Node) -> &'n Node {
        let holder = &self.nodes[list.parent];
        if list.key.is_none() && holder.kind == Kind::Array { holder } else { list }
    }

    /// Whether a value's key is one of these, as readers take it who ignore the case.
    fn stands_under(&self, node: &Node, names: &[&str]) -> bool {
        node.key_in(self.json).is_some_and(|key| names.iter().any(|name| key.eq_ignore_ascii_case(name)))
    }
}

/// Whether a value is JSON that a tool takes.
fn is_own_json(node: &Node, key: &str) -> bool {
    let is_deeper = node.parent != 0;
    match node.kind {
        Kind::Object => is_deeper && (key == "input" || OWN_JSON.contains(&key)),
        Kind::Array => is_deeper && OWN_JSON.contains(&key),
        _ => false,
    }
}

/// Whether a value is, by its key, something that is no text.
fn is_other(node: &Node, key: &str) -> bool {
    let is_among = |names: &[&str]| names.iter().any(|name| key.eq_ignore_ascii_case(name));
    match node.kind {
        Kind::Object | Kind::Array => {
            node.place.len() > "{}".len() && (is_among(&OTHER_VALUES) || is_among(&OTHER_HOLDERS))
        }
        Kind::String { .. } => !node.place.is_empty() && is_among(&OTHER_VALUES),
        Kind::Number | Kind::Word | Kind::Key { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_text_are_in_order() {
        assert!(TEXT_KINDS.is_sorted());
    }
}
