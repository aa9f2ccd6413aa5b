//! The texts of a JSON document, wherever they stand: in messages, parts, tool arguments and results, keys. Reading all
//! of them but the APIs' own words, in place of those that are known, leaves no field in which something could be hidden.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::joined::{Joined, Runs};
use super::known;
use super::outline::{Kind, Node, Outline};
use super::parts::Parts;
use crate::policies::text::channel::Cuts;
use crate::policies::text::fold::Readings;
use crate::policies::text::patterns::Patterns;

/// A document, read.
pub(crate) struct Body<'j> {
    json: &'j str,
    texts: Vec<Text<'j>>,
    /// The texts that stand directly one after the other in a content.
    runs: Runs,
    /// What stands around the borders between those, once it is to be read too.
    joined: Vec<Joined>,
    /// Whether it holds something that cannot be read as text.
    pub(crate) is_partly_unreadable: bool,
}

/// One text of it.
struct Text<'j> {
    place: Range<usize>,
    is_number: bool,
    /// Whether it is JSON itself.
    is_json: bool,
    written: Cow<'j, str>,
    readings: Readings,
}

/// Where something stands that was found.
pub(crate) struct Found {
    /// The text, and where in it.
    pub(crate) text: usize,
    pub(crate) place: Range<usize>,
    /// Whether it began in the text before.
    pub(crate) is_rest: bool,
}

/// Keys of texts that clients read as JSON: what a tool takes.
const JSON_TEXTS: [&str; 2] = ["arguments", "partial_json"];

/// What is to be replaced in which of the texts.
pub(crate) type TextCuts = BTreeMap<usize, Cuts>;

impl<'j> Body<'j> {
    /// Reads every text but those of the nodes to be left out.
    pub(crate) fn read(json: &'j str, outline: &Outline, leave_out: &dyn Fn(usize) -> bool) -> Self {
        let (texts, joined) = (Vec::new(), Vec::new());
        let mut body = Self { json, texts, runs: Runs::default(), joined, is_partly_unreadable: false };
        let mut parts = Parts::of(json, outline);
        for (index, node) in outline.nodes().iter().enumerate() {
            parts.look_at(node);
            if is_text(json, node) && !leave_out(index) {
                body.add(node, outline);
            }
        }
        body.is_partly_unreadable |= parts.hold_other();
        body
    }

    fn add(&mut self, node: &Node, outline: &Outline) {
        let is_number = node.kind == Kind::Number;
        let text = if is_number {
            Some(Cow::Borrowed(&self.json[node.place.clone()]))
        } else {
            node.text(self.json)
        };
        match text {
            Some(text) => {
                self.runs.look_at(self.json, outline, node, self.texts.len());
                let is_json = node.key_in(self.json).is_some_and(|key| JSON_TEXTS.contains(&&*key));
                let (place, readings) = (node.place.clone(), Readings::of(&text));
                self.texts.push(Text { place, is_number, is_json, written: text, readings });
            }
            None => self.is_partly_unreadable = true,
        }
    }

    /// Its texts as they are written.
    pub(crate) fn written(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(|text| &*text.written)
    }

    /// Has what stands around the borders of neighbouring parts of a content read as one, too.
    pub(crate) fn join_parts(&mut self) {
        let texts = &self.texts;
        self.joined = self.runs.joined(|index| &*texts[index].written);
    }

    /// Its texts, each as it is written and in each way in which it reads, but for how its letters look.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = self.texts.iter().map(|text| (&*text.written, &text.readings));
        let all = own.chain(self.joined.iter().map(|joined| (&*joined.written, &joined.readings)));
        all.flat_map(|(written, readings)| {
            let read = readings.of_text(written).filter(|(_, way)| way.is_none_or(|way| !way.is_as_seen()));
            read.map(move |(read, _)| (written, read))
        })
    }

    /// Reports everything that is found in each text, and around the borders of those that are joined.
    pub(crate) fn find(&self, patterns: &Patterns, mut found: impl FnMut(Found, &Arc<str>)) {
        for (index, text) in self.texts.iter().enumerate() {
            find_in(&text.written, &text.readings, patterns, |place, rule| {
                found(Found { text: index, place, is_rest: false }, rule);
            });
        }
        for joined in &self.joined {
            find_in(&joined.written, &joined.readings, patterns, |place, rule| {
                for (index, (text, place)) in joined.pieces(&place).into_iter().enumerate() {
                    found(Found { text, place, is_rest: index > 0 }, rule);
                }
            });
        }
    }

    /// No cuts yet of one of its texts.
    pub(crate) fn cuts_of(&self, text: usize) -> Cuts {
        if self.texts[text].is_json { Cuts::of_json() } else { Cuts::default() }
    }

    /// What replaces which places of the document.
    pub(crate) fn replacements(&self, cuts: TextCuts) -> Vec<(Range<usize>, String)> {
        let replace = |(index, mut cuts): (usize, Cuts)| {
            let text = &self.texts[index];
            let shown = cuts.apply(0, &text.written)?;
            let written = if text.is_number { quoted(&shown) } else { escaped(&shown) };
            Some((text.place.clone(), written))
        };
        cuts.into_iter().filter_map(replace).collect()
    }
}

/// Reports where in a text something is found, in whichever way it is read.
fn find_in(
    written: &str,
    readings: &Readings,
    patterns: &Patterns,
    mut found: impl FnMut(Range<usize>, &Arc<str>),
) {
    for (read, folded) in readings.of_text(written) {
        patterns.find_all(read, |hit| {
            let place = hit.start..hit.end;
            found(folded.map_or(place.clone(), |folded| folded.raw(place)), hit.rule);
        });
    }
}

/// A document with some of its places replaced.
pub(crate) fn spliced(json: &str, mut replacements: Vec<(Range<usize>, String)>) -> String {
    replacements.sort_by_key(|(place, _)| place.start);
    let mut whole = String::with_capacity(json.len() + 64);
    let mut at = 0;
    for (place, text) in replacements {
        whole.push_str(&json[at..place.start]);
        whole.push_str(&text);
        at = place.end;
    }
    whole.push_str(&json[at..]);
    whole
}

/// A text as it stands between the quotes of a JSON string.
pub(crate) fn escaped(text: &str) -> String {
    let quoted = quoted(text);
    quoted[1..quoted.len() - 1].to_owned()
}

fn quoted(text: &str) -> String {
    // Writing a string as JSON cannot fail.
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

fn is_text(json: &str, node: &Node) -> bool {
    let raw = &json[node.place.clone()];
    match node.kind {
        Kind::Key { .. } => !known::is_key(raw),
        Kind::String { .. } => match node.key_in(json).as_deref() {
            Some("model") => node.parent != 0,
            Some(key) => !raw.is_empty() && !known::is_word(key, raw),
            None => !raw.is_empty(),
        },
        Kind::Number => known::is_long(json, node),
        Kind::Object | Kind::Array | Kind::Word => false,
    }
}
