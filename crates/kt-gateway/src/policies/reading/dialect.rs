//! Which strings of a stream's event are fragments of a text that goes on: in the events of Chat Completions and
//! Completions, of Responses, and of Messages. An event of any other shape cannot be read.

use std::borrow::Cow;

use super::outline::{Kind, Node, Outline};

/// What one event adds to which texts.
pub(crate) struct Shape {
    /// The name of a text, and the node that continues it.
    pub(crate) fragments: Vec<(String, usize)>,
    /// How the names of the texts begin that are over after this event.
    pub(crate) ends: Vec<String>,
}

/// The events of Messages that hold no fragment.
const WHOLE: [&str; 4] = ["message_delta", "message_start", "message_stop", "ping"];
/// How the types of Responses' events end that hold no fragment, behind the last dot.
const WHOLE_RESPONSES: [&str; 11] = [
    "added",
    "completed",
    "created",
    "failed",
    "generating",
    "in_progress",
    "incomplete",
    "interpreting",
    "partial_image",
    "queued",
    "searching",
];
/// What a choice may hold beside text: why it ended, and what a filter thinks of it.
const BESIDE_TEXT: [&str; 9] = [
    "content_filter_offsets",
    "content_filter_result",
    "content_filter_results",
    "error",
    "finish_reason",
    "index",
    "logprobs",
    "native_finish_reason",
    "stop_reason",
];
/// How many fragments one event may have, and how many texts may be over after it: as many as a stream may have texts.
const MOST: usize = 1024;
/// Strings of a delta that say what it is.
const LABELS: [&str; 4] = ["id", "role", "signature", "type"];

/// The shape of an event; `None` for one that is not known, and for one with more fragments than anybody sends.
pub(crate) fn shape(json: &str, outline: &Outline) -> Option<Shape> {
    known_shape(json, outline).filter(|shape| shape.fragments.len() <= MOST && shape.ends.len() <= MOST)
}

fn known_shape(json: &str, outline: &Outline) -> Option<Shape> {
    let event = Event { json, outline };
    let mut shape = Shape { fragments: Vec::new(), ends: Vec::new() };
    if let Some((choices, _)) = event.of_kind(0, "choices", Kind::Array) {
        event.choices(choices, &mut shape)?;
        return Some(shape);
    }
    match event.string(0, "type").as_deref() {
        Some("content_block_start") => event.block("content_block", &mut shape)?,
        Some("content_block_delta") => event.block("delta", &mut shape)?,
        Some("content_block_stop") => shape.ends.push(format!("block {}/", event.number(0, "index", 0))),
        Some(kind) if WHOLE.contains(&kind) => {}
        Some("error" | "keepalive") => {}
        Some(kind) if kind.starts_with("response.") => {
            event.response(kind, &mut shape)?;
        }
        Some(_) => return None,
        None => {
            outline.get(json, 0, "error")?;
        }
    }
    Some(shape)
}

struct Event<'a> {
    json: &'a str,
    outline: &'a Outline,
}

impl<'a> Event<'a> {
    fn of_kind(&self, index: usize, name: &str, kind: Kind) -> Option<(usize, &'a Node)> {
        self.outline.get(self.json, index, name).filter(|(_, node)| node.kind == kind)
    }

    fn string(&self, index: usize, name: &str) -> Option<Cow<'a, str>> {
        self.outline.get(self.json, index, name).and_then(|(_, node)| node.text(self.json))
    }

    /// The number `name` of the object at `index`, as it is written.
    fn number(&self, index: usize, name: &str, otherwise: usize) -> Cow<'a, str> {
        match self.of_kind(index, name, Kind::Number) {
            Some((_, node)) => Cow::Borrowed(&self.json[node.place.clone()]),
            None => otherwise.to_string().into(),
        }
    }

    /// Chat Completions: `choices[].delta`; Completions: `choices[].text`. Text that stands elsewhere goes on nobody knows
    /// where.
    fn choices(&self, choices: usize, shape: &mut Shape) -> Option<()> {
        for (position, (choice, node)) in self.outline.children(choices).enumerate() {
            if node.kind != Kind::Object {
                return None;
            }
            let name = format!("choice {}/", self.number(choice, "index", position));
            let fragments = shape.fragments.len();
            match self.outline.get(self.json, choice, "delta") {
                Some((delta, node)) if node.kind == Kind::Object => self.strings(delta, &name, shape),
                Some((_, node)) if node.kind != Kind::Word => return None,
                _ => {}
            }
            if let Some((text, node)) = self.outline.get(self.json, choice, "text")
                && matches!(node.kind, Kind::String { .. })
            {
                shape.fragments.push((format!("{name}text"), text));
            }
            if shape.fragments.len() == fragments && self.holds_other_text(choice) {
                return None;
            }
            if self.string(choice, "finish_reason").is_some() {
                shape.ends.push(name);
            }
        }
        Some(())
    }

    /// Whether a choice holds text where no text is known to stand.
    fn holds_other_text(&self, choice: usize) -> bool {
        let is_known = |key: &str| key == "delta" || BESIDE_TEXT.contains(&key);
        let others = self.outline.children(choice);
        others
            .filter(|(_, node)| node.key_in(self.json).is_none_or(|key| !is_known(&key)))
            .any(|(index, _)| self.holds_text(index))
    }

    /// Whether the value at `index` is a text or holds one. Looks at nothing beyond it.
    fn holds_text(&self, index: usize) -> bool {
        let values = &self.outline.nodes()[index..];
        let end = values[0].place.end;
        let mut own = values.iter().take_while(|node| node.place.start < end);
        own.any(|node| matches!(node.kind, Kind::String { .. }) && !node.place.is_empty())
    }

    /// Messages: one block of the content, as it begins or goes on.
    fn block(&self, holder: &str, shape: &mut Shape) -> Option<()> {
        let (block, _) = self.of_kind(0, holder, Kind::Object)?;
        let name = format!("block {}/", self.number(0, "index", 0));
        for (index, node) in self.outline.children(block) {
            let key = node.key_in(self.json).unwrap_or_default();
            let is_text =
                matches!(node.kind, Kind::String { .. }) && !LABELS.contains(&&*key) && key != "name";
            if is_text {
                shape.fragments.push((format!("{name}{key}"), index));
            }
        }
        Some(())
    }

    /// Responses: `….delta` goes on, `….done` is over, and what else there is stands in one event.
    fn response(&self, kind: &str, shape: &mut Shape) -> Option<()> {
        let name = |stem: &str| {
            let places = ["output_index", "content_index", "summary_index"];
            let places = places.map(|place| self.number(0, place, 0)).join(".");
            format!("{stem} {} {places}/", self.string(0, "item_id").unwrap_or_default())
        };
        if let Some(stem) = kind.strip_suffix(".delta") {
            let (delta, node) = self.outline.get(self.json, 0, "delta")?;
            if !matches!(node.kind, Kind::String { .. }) || stem.ends_with("audio") {
                return None;
            }
            shape.fragments.push((name(stem), delta));
        } else if let Some(stem) = kind.strip_suffix(".done") {
            shape.ends.push(name(stem));
        } else if !kind.rsplit('.').next().is_some_and(|ending| WHOLE_RESPONSES.contains(&ending)) {
            return None;
        }
        Some(())
    }

    /// Every string within a delta, by its keys and by the `index` of the list entries that it stands in.
    fn strings(&self, index: usize, name: &str, shape: &mut Shape) {
        for (position, (child, node)) in self.outline.children(index).enumerate() {
            let key = node.key_in(self.json).unwrap_or_default();
            match node.kind {
                Kind::String { .. } if !LABELS.contains(&&*key) => {
                    shape.fragments.push((format!("{name}{key}"), child));
                }
                Kind::Object if node.key.is_none() => {
                    let name = format!("{name}{}/", self.number(child, "index", position));
                    self.strings(child, &name, shape);
                }
                Kind::Object | Kind::Array => self.strings(child, &format!("{name}{key}/"), shape),
                _ => {}
            }
        }
    }
}
