//! What a stream says, gathered text by text for somebody who judges it portion by portion.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::body::Body;
use super::dialect;
use super::events::{Splitter, fields};
use super::outline::Outline;
use crate::policies::safety_filter::Said;

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
/// What says which answer an event belongs to and in which state that is, or is for nobody to read.
const LABELS: [&str; 13] = [
    "call_id",
    "encrypted_content",
    "finish_reason",
    "id",
    "item_id",
    "model",
    "object",
    "obfuscation",
    "role",
    "service_tier",
    "signature",
    "system_fingerprint",
    "type",
];

/// The texts of a stream so far.
#[derive(Default)]
pub(crate) struct StreamTexts {
    events: Splitter,
    texts: Vec<Text>,
    /// What came as a whole since the last portion, and the digests of all that ever did.
    wholes: Vec<String>,
    known_wholes: HashSet<[u8; 32]>,
    /// How many bytes were said since the last portion.
    waiting: usize,
    /// How many bytes of the stream were read since then.
    length: usize,
    /// Whether something came since then that cannot be read.
    is_unreadable: bool,
    outline: Outline,
}

/// A part of a stream that is judged at once: some of its events, whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Portion {
    /// Each text that goes on in it, from a little before, and each that came as a whole.
    pub(crate) said: Said,
    /// How many bytes of the stream it is.
    pub(crate) length: usize,
}

struct Text {
    name: String,
    /// The end of what was taken, and what came since.
    said: String,
    is_new: bool,
    /// How long all of it is, and its digest so far.
    length: usize,
    digest: Sha256,
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
        texts.append(&mut self.wholes);
        let is_partly_unreadable = std::mem::take(&mut self.is_unreadable);
        Portion { said: Said { texts, is_partly_unreadable }, length: std::mem::take(&mut self.length) }
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
        let wholes = self.wholes(&data, &shape.fragments);
        for (name, index) in shape.fragments {
            match self.outline.nodes()[index].text(&data) {
                Some(fragment) => add(&mut self.texts, &mut self.waiting, name, &fragment),
                None => self.is_unreadable = true,
            }
        }
        for text in wholes {
            self.add_whole(text);
        }
        self.is_unreadable |= self.texts.len() > MAX_TEXTS;
        self.texts.truncate(MAX_TEXTS);
    }

    /// The texts of an event beside its fragments.
    fn wholes(&mut self, data: &str, fragments: &[(String, usize)]) -> Vec<String> {
        let nodes = self.outline.nodes();
        let is_label = |index: usize| nodes[index].key_in(data).is_some_and(|key| LABELS.contains(&&*key));
        let is_fragment = |index: usize| fragments.iter().any(|(_, fragment)| *fragment == index);
        let body = Body::read(data, &self.outline, &|index| is_label(index) || is_fragment(index));
        self.is_unreadable |= body.is_partly_unreadable;
        body.written().map(str::to_owned).collect()
    }

    /// Adds a text that came as a whole, unless it is what others were pieces of, or came before.
    fn add_whole(&mut self, text: String) {
        let digest: [u8; 32] = Sha256::digest(&text).into();
        let is_said = |own: &Text| own.length == text.len() && own.digest.clone().finalize()[..] == digest;
        if self.known_wholes.contains(&digest) || self.texts.iter().any(is_said) {
            return;
        }
        if self.known_wholes.len() < MAX_TEXTS {
            self.known_wholes.insert(digest);
        }
        self.waiting += text.len();
        self.wholes.push(text);
    }
}

fn add(texts: &mut Vec<Text>, waiting: &mut usize, name: String, fragment: &str) {
    *waiting += fragment.len();
    let known = texts.iter().position(|text| text.name == name).unwrap_or_else(|| {
        texts.push(Text { name, said: String::new(), is_new: false, length: 0, digest: Sha256::new() });
        texts.len() - 1
    });
    let text = &mut texts[known];
    text.said.push_str(fragment);
    text.is_new |= !fragment.is_empty();
    text.length += fragment.len();
    text.digest.update(fragment);
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
                readable(&[&format!("one {}", "é".repeat(1000)), "zwei "], first.len()),
                readable(&[&format!("{} end", "é".repeat(250))], second.len()),
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
            assert!(texts.next().is_some_and(|own| !own.said.is_partly_unreadable), "{unreadable}");
            assert_eq!(texts.rest(), unreadable_portion(unreadable.len()));
            assert_eq!(texts.rest(), readable(&[], 0));
        }
        let mut texts = StreamTexts::default();
        texts.feed(b"data: \xff\n\n");
        assert_eq!((texts.next(), texts.rest()), (None, unreadable_portion(9)));
    }

    #[test]
    fn a_text_that_comes_as_a_whole_is_judged_unless_its_pieces_were() {
        let line = |event: serde_json::Value| format!("data: {event}\n\n");
        let delta = |text: &str| {
            line(serde_json::json!({ "type": "response.output_text.delta", "item_id": "m", "delta": text }))
        };
        let done = |kind: &str, text: &str| {
            line(
                serde_json::json!({ "type": kind, "response": { "id": "r", "model": "m", "output": [{ "type": "message",
                "content": [{ "type": "output_text", "text": text }] }] } }),
            )
        };
        for (events, texts) in [
            (
                vec![delta("sunny "), delta("days"), done("response.completed", "sunny days")],
                vec!["sunny days"],
            ),
            (
                vec![delta("sunny"), done("response.completed", "something else")],
                vec!["sunny", "something else"],
            ),
            (
                vec![done("response.incomplete", "at once"), done("response.completed", "at once")],
                vec!["at once"],
            ),
        ] {
            let stream = events.concat();
            assert_eq!(portions(&stream, 7), [readable(&texts, stream.len())]);
        }
        let picture = line(
            serde_json::json!({ "type": "response.image_generation_call.partial_image", "partial_image_b64": "AA" }),
        );
        let of_picture = portions(&picture, 7);
        assert!(of_picture.len() == 1 && of_picture[0].said.is_partly_unreadable, "{of_picture:?}");
    }

    fn readable(texts: &[&str], length: usize) -> Portion {
        let texts = texts.iter().map(ToString::to_string).collect();
        Portion { said: Said { texts, is_partly_unreadable: false }, length }
    }

    fn unreadable_portion(length: usize) -> Portion {
        Portion { said: Said { texts: Vec::new(), is_partly_unreadable: true }, length }
    }

    #[test]
    fn an_event_without_end_is_held_no_longer_than_it_can_be_read() {
        let mut texts = StreamTexts::default();
        texts.feed(b"data: ");
        texts.feed(&vec![b'x'; MAX_EVENT]);
        assert_eq!(texts.next(), Some(unreadable_portion(MAX_EVENT + 6)));
    }
}
