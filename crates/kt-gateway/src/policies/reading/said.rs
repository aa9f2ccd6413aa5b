//! What a stream says, gathered text by text for somebody who judges it portion by portion.

use super::dialect;
use super::events::{Splitter, fields};
use super::outline::Outline;

/// How much of what was judged goes along with the next portion, in bytes: a sentence should not be torn.
const CONTEXT: usize = 500;
/// The longest event that is read, in bytes.
const MAX_EVENT: usize = 4 * 1024 * 1024;
/// How many texts a stream may have: choices, blocks, tool calls.
const MAX_TEXTS: usize = 1024;

/// The texts of a stream so far.
#[derive(Default)]
pub(crate) struct StreamTexts {
    events: Splitter,
    texts: Vec<Text>,
    /// How many bytes were said since the last portion was taken.
    waiting: usize,
    /// Whether something came that cannot be read.
    is_unreadable: bool,
    outline: Outline,
}

struct Text {
    name: String,
    /// The end of what was taken, and what came since.
    said: String,
    is_new: bool,
}

impl StreamTexts {
    /// Reads on.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.events.push(piece);
        while let Some(event) = self.events.next() {
            self.read(&event);
        }
        if self.events.unfinished() > MAX_EVENT {
            self.events.rest();
            self.is_unreadable = true;
        }
    }

    /// Reads the rest: nothing more will come.
    pub(crate) fn finish(&mut self) {
        let rest = self.events.rest();
        self.read(&rest);
    }

    /// How much was said that was not taken, in bytes.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Each text that went on since the last time, from a little before; `None` when something cannot be read.
    pub(crate) fn take(&mut self) -> Option<Vec<String>> {
        self.waiting = 0;
        let mut portion = Vec::new();
        for text in self.texts.iter_mut().filter(|text| text.is_new) {
            text.is_new = false;
            portion.push(text.said.clone());
            let kept = text.said.ceil_char_boundary(text.said.len().saturating_sub(CONTEXT));
            text.said.drain(..kept);
        }
        (!std::mem::take(&mut self.is_unreadable)).then_some(portion)
    }

    fn read(&mut self, event: &[u8]) {
        let Ok(event) = std::str::from_utf8(event) else {
            self.is_unreadable = true;
            return;
        };
        let (_, data) = fields(event.trim_start_matches('\u{feff}'));
        if data.is_empty() || data.trim() == "[DONE]" {
            return;
        }
        let is_json = self.outline.read(&data).is_ok();
        let shape = is_json.then(|| dialect::shape(&data, &self.outline)).flatten();
        let Some(shape) = shape else {
            self.is_unreadable = true;
            return;
        };
        for (name, index) in shape.fragments {
            match self.outline.nodes()[index].text(&data) {
                Some(fragment) => add(&mut self.texts, &mut self.waiting, name, &fragment),
                None => self.is_unreadable = true,
            }
        }
        self.is_unreadable |= self.texts.len() > MAX_TEXTS;
        self.texts.truncate(MAX_TEXTS);
    }
}

fn add(texts: &mut Vec<Text>, waiting: &mut usize, name: String, fragment: &str) {
    *waiting += fragment.len();
    let known = texts.iter().position(|text| text.name == name).unwrap_or_else(|| {
        texts.push(Text { name, said: String::new(), is_new: false });
        texts.len() - 1
    });
    texts[known].said.push_str(fragment);
    texts[known].is_new |= !fragment.is_empty();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(index: u8, content: &str) -> String {
        format!(
            "data: {}\n\n",
            serde_json::json!({ "choices": [{ "index": index, "delta": { "content": content } }] })
        )
    }

    #[test]
    fn each_text_is_taken_from_a_little_before_however_the_stream_is_cut() {
        let first = [event(0, "one "), event(1, "zwei "), event(0, &"é".repeat(300))].concat();
        let second = [event(0, " end"), "data: [DONE]\n\n".to_owned()].concat();
        for size in [1, 7, 4096] {
            let mut texts = StreamTexts::default();
            first.as_bytes().chunks(size).for_each(|piece| texts.feed(piece));
            assert_eq!(texts.waiting(), 4 + 5 + 600);
            let taken = texts.take().unwrap();
            assert_eq!(taken, [format!("one {}", "é".repeat(300)), "zwei ".to_owned()]);
            second.as_bytes().chunks(size).for_each(|piece| texts.feed(piece));
            texts.finish();
            assert_eq!(texts.take().unwrap(), [format!("{} end", "é".repeat(250))]);
            assert_eq!((texts.waiting(), texts.take()), (0, Some(Vec::new())));
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_once() {
        for unreadable in ["data: nonsense\n\n", "data: {\"type\":\"unheard-of\"}\n\n", "data: [1]\n\n"] {
            let mut texts = StreamTexts::default();
            texts.feed(event(0, "fine").as_bytes());
            texts.feed(unreadable.as_bytes());
            assert_eq!((texts.take(), texts.take()), (None, Some(Vec::new())), "{unreadable}");
        }
        let mut texts = StreamTexts::default();
        texts.feed(b"data: \xff\n\n");
        assert_eq!(texts.take(), None);
    }
}
