//! The texts of a JSON document, wherever they stand: in messages, parts, tool arguments and results, keys. Reading all
//! of them but the APIs' own words, in place of those that are known, leaves no field in which something could be hidden.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::known;
use super::outline::{Kind, Node, Outline};
use super::parts::Parts;
use crate::policies::text::channel::Cuts;
use crate::policies::text::fold::Folded;
use crate::policies::text::patterns::Patterns;

/// A document, read.
pub(crate) struct Body<'j> {
    json: &'j str,
    texts: Vec<Text<'j>>,
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
    /// The ways in which it reads; none when it reads as it is written.
    readings: Vec<Folded>,
}

/// Keys of texts that clients read as JSON: what a tool takes.
const JSON_TEXTS: [&str; 2] = ["arguments", "partial_json"];

/// What is to be replaced in which of the texts.
pub(crate) type TextCuts = BTreeMap<usize, Cuts>;

impl<'j> Body<'j> {
    /// Reads every text but those of the nodes to be left out.
    pub(crate) fn read(json: &'j str, outline: &Outline, leave_out: &dyn Fn(usize) -> bool) -> Self {
        let mut body = Self { json, texts: Vec::new(), is_partly_unreadable: false };
        let mut parts = Parts::of(json, outline);
        for (index, node) in outline.nodes().iter().enumerate() {
            parts.look_at(node);
            if is_text(json, node) && !leave_out(index) {
                body.add(node);
            }
        }
        body.is_partly_unreadable |= parts.hold_other();
        body
    }

    fn add(&mut self, node: &Node) {
        let is_number = node.kind == Kind::Number;
        let text = if is_number {
            Some(Cow::Borrowed(&self.json[node.place.clone()]))
        } else {
            node.text(self.json)
        };
        match text {
            Some(text) => {
                let is_json = node.key_in(self.json).is_some_and(|key| JSON_TEXTS.contains(&&*key));
                let (place, readings) = (node.place.clone(), Folded::readings(&text));
                self.texts.push(Text { place, is_number, is_json, written: text, readings });
            }
            None => self.is_partly_unreadable = true,
        }
    }

    /// Its texts as they are written.
    pub(crate) fn written(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(|text| &*text.written)
    }

    /// Its texts, each as it is written and in each way in which it reads.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().flat_map(|text| text.read().map(|(read, _)| (&*text.written, read)))
    }

    /// Reports everything that is found in each text: which text, where in it, and by which rule.
    pub(crate) fn find(&self, patterns: &Patterns, mut found: impl FnMut(usize, Range<usize>, &Arc<str>)) {
        for (index, text) in self.texts.iter().enumerate() {
            for (read, folded) in text.read() {
                patterns.find_all(read, |hit| {
                    let place = hit.start..hit.end;
                    let place = folded.map_or(place.clone(), |folded| folded.raw(place));
                    found(index, place, hit.rule);
                });
            }
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

impl Text<'_> {
    /// Each way in which it reads, with where everything in it stood unless it reads as it is written.
    fn read(&self) -> impl Iterator<Item = (&str, Option<&Folded>)> {
        let as_written = self.readings.is_empty().then_some((&*self.written, None));
        as_written.into_iter().chain(self.readings.iter().map(|folded| (&*folded.text, Some(folded))))
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
