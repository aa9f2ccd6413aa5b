//! What a stream says, gathered text by text for somebody who judges it portion by portion.

use super::dialect;
use super::events::{Splitter, fields};
use super::outline::Outline;

/// How much is said in one portion, in bytes: a few sentences.
const PORTION: usize = 2000;
/// How much of the stream is in one portion at most, in bytes, however little of it is said.
const MAX_PORTION: usize = 256 * 1024;
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
    /// How many bytes were said since the last portion.
    waiting: usize,
    /// How many bytes of the stream were read since then.
    length: usize,
    /// Whether something came that cannot be read.
    is_unreadable: bool,
    outline: Outline,
}

/// A part of a stream that is judged at once: some of its events, whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Portion {
    /// Each text that goes on in it, from a little before; `None` when something cannot be read.
    pub(crate) texts: Option<Vec<String>>,
    /// How many bytes of the stream it is.
    pub(crate) length: usize,
}

struct Text {
    name: String,
    /// The end of what was taken, and what came since.
    said: String,
    is_new: bool,
}

impl StreamTexts {
    /// Takes what came.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.events.push(piece);
    }

    /// The next portion, if all of it has come. Where it ends depends on what is said alone, not on the pieces in which the
    /// stream comes.
    pub(crate) fn next(&mut self) -> Option<Portion> {
        while self.waiting < PORTION && self.length < MAX_PORTION {
            let Some(event) = self.events.next() else {
                return (self.events.unfinished() > MAX_EVENT).then(|| self.rest());
            };
            self.length += event.len();
            self.read(&event);
        }
        Some(self.take())
    }

    /// The last portion: nothing more will come.
    pub(crate) fn rest(&mut self) -> Portion {
        let rest = self.events.rest();
        self.length += rest.len();
        if rest.len() > MAX_EVENT {
            self.is_unreadable = true;
        } else {
            self.read(&rest);
        }
        self.take()
    }

    fn take(&mut self) -> Portion {
        self.waiting = 0;
        let mut texts = Vec::new();
        for text in self.texts.iter_mut().filter(|text| text.is_new) {
            text.is_new = false;
            texts.push(text.said.clone());
            let kept = text.said.ceil_char_boundary(text.said.len().saturating_sub(CONTEXT));
            text.said.drain(..kept);
        }
        let is_unreadable = std::mem::take(&mut self.is_unreadable);
        Portion { texts: (!is_unreadable).then_some(texts), length: std::mem::take(&mut self.length) }
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

    /// The portions of a stream that comes in pieces of `size` bytes.
    fn portions(stream: &str, size: usize) -> Vec<Portion> {
        let mut texts = StreamTexts::default();
        let mut portions = Vec::new();
        for piece in stream.as_bytes().chunks(size) {
            texts.feed(piece);
            portions.extend(std::iter::from_fn(|| texts.next()));
        }
        portions.push(texts.rest());
        portions
    }

    #[test]
    fn portions_are_the_same_however_the_stream_is_cut() {
        let word = |n: usize| event(u8::from(n.is_multiple_of(3)), &"wörd ".repeat(n % 40));
        let stream: String =
            (0..400).map(word).chain(["data: [DONE]\n\n".to_owned(), event(0, "end")]).collect();
        let whole = portions(&stream, stream.len());
        assert!(whole.len() > 10, "{}", whole.len());
        assert_eq!(
            whole.iter().map(|portion| portion.length).sum::<usize>(),
            stream.len(),
            "all of it is judged"
        );
        for size in [1, 2, 3, 7, 64, 701, 1999, 2000, 2001, 4096, 100_000] {
            assert!(portions(&stream, size) == whole, "in pieces of {size}");
        }
    }

    #[test]
    fn each_text_goes_on_from_a_little_before() {
        let first = [event(0, "one "), event(1, "zwei "), event(0, &"é".repeat(1000))].concat();
        let second = [event(0, " end"), "data: [DONE]\n\n".to_owned()].concat();
        assert_eq!(
            portions(&[first.as_str(), &second].concat(), 7),
            [
                Portion {
                    texts: Some(vec![format!("one {}", "é".repeat(1000)), "zwei ".to_owned()]),
                    length: first.len(),
                },
                Portion { texts: Some(vec![format!("{} end", "é".repeat(250))]), length: second.len() },
            ]
        );
    }

    #[test]
    fn what_says_little_is_no_portion_without_end() {
        let comment = format!(": {}\n\n", "x".repeat(1000));
        let portions = portions(&comment.repeat(1000), 4096);
        assert!(portions.iter().all(|portion| portion.length <= MAX_PORTION + comment.len()));
        assert_eq!(portions.iter().map(|portion| portion.length).sum::<usize>(), 1000 * comment.len());
    }

    #[test]
    fn what_cannot_be_read_is_told_once() {
        for unreadable in ["data: nonsense\n\n", "data: {\"type\":\"unheard-of\"}\n\n", "data: [1]\n\n"] {
            let mut texts = StreamTexts::default();
            texts.feed([&event(0, &"fine ".repeat(500)), unreadable].concat().as_bytes());
            assert!(texts.next().is_some_and(|portion| portion.texts.is_some()), "{unreadable}");
            assert_eq!(texts.rest(), Portion { texts: None, length: unreadable.len() });
            assert_eq!(texts.rest(), Portion { texts: Some(Vec::new()), length: 0 });
        }
        let mut texts = StreamTexts::default();
        texts.feed(b"data: \xff\n\n");
        assert_eq!((texts.next(), texts.rest().texts), (None, None));
    }

    #[test]
    fn an_event_without_end_is_held_no_longer_than_it_can_be_read() {
        let mut texts = StreamTexts::default();
        texts.feed(b"data: ");
        texts.feed(&vec![b'x'; MAX_EVENT]);
        assert_eq!(texts.next(), Some(Portion { texts: None, length: MAX_EVENT + 6 }));
    }
}
