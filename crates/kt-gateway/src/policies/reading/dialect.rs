//! Which strings of a stream's event are fragments of a text that goes on: in the events of Chat Completions and
//! Completions, of Responses, and of Messages. An event of any other shape cannot be read.

use std::borrow::Cow;

use super::outline::{Kind, Outline};

/// What one event adds to which texts.
pub(crate) struct Shape {
    /// The name of a text, and the node that continues it.
    pub(crate) fragments: Vec<(String, usize)>,
    /// How the names of the texts begin that are over after this event.
    pub(crate) ends: Vec<String>,
}

/// The events of Messages that hold no fragment.
const WHOLE: [&str; 4] = ["message_delta", "message_start", "message_stop", "ping"];
/// Strings of a delta that say what it is.
const LABELS: [&str; 4] = ["id", "role", "signature", "type"];

/// The shape of an event; `None` for one that is not known.
pub(crate) fn shape(json: &str, outline: &Outline) -> Option<Shape> {
    let event = Event { json, outline };
    let mut shape = Shape { fragments: Vec::new(), ends: Vec::new() };
    if let Some((choices, _)) = event.of_kind(0, "choices", Kind::Array) {
        event.choices(choices, &mut shape);
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
    fn of_kind(&self, index: usize, name: &str, kind: Kind) -> Option<(usize, &'a super::outline::Node)> {
        self.outline.get(self.json, index, name).filter(|(_, node)| node.kind == kind)
    }

    fn string(&self, index: usize, name: &str) -> Option<Cow<'a, str>> {
        self.outline.get(self.json, index, name).and_then(|(_, node)| node.text(self.json))
    }

    /// The number `name` of the object at `index`, as it is written.
    fn number(&self, index: usize, name: &str, otherwise: usize) -> String {
        match self.of_kind(index, name, Kind::Number) {
            Some((_, node)) => self.json[node.place.clone()].to_owned(),
            None => otherwise.to_string(),
        }
    }

    /// Chat Completions: `choices[].delta`; Completions: `choices[].text`.
    fn choices(&self, choices: usize, shape: &mut Shape) {
        for (position, (choice, _)) in self.outline.children(choices).enumerate() {
            let name = format!("choice {}/", self.number(choice, "index", position));
            if let Some((delta, _)) = self.of_kind(choice, "delta", Kind::Object) {
                self.strings(delta, &name, shape);
            }
            if let Some((text, node)) = self.outline.get(self.json, choice, "text")
                && matches!(node.kind, Kind::String { .. })
            {
                shape.fragments.push((format!("{name}text"), text));
            }
            if self.string(choice, "finish_reason").is_some() {
                shape.ends.push(name);
            }
        }
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

    /// Responses: `….delta` goes on, and `….done` is over.
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
