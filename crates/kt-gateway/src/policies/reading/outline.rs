//! Where everything stands in a JSON text: a flat list of its values with their places, so that one of them can be
//! replaced without writing the rest anew.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

/// How deep arrays and objects may be nested, as in every request's body.
const MAX_DEPTH: usize = 128;

/// The values of a JSON text, each behind the one that holds it.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    nodes: Vec<Node>,
}

/// One value, or one key of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// The object or array that holds it; of the outermost value itself.
    pub(crate) parent: usize,
    /// Where its key stands, without quotes; of a value of an object.
    pub(crate) key: Option<Range<usize>>,
    pub(crate) kind: Kind,
    /// Where it stands; a string without its quotes.
    pub(crate) place: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    /// A string, and whether it holds escapes.
    String {
        escaped: bool,
    },
    /// The name of an object's value.
    Key {
        escaped: bool,
    },
    Number,
    /// `true`, `false` or `null`.
    Word,
}

/// A text is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

impl Outline {
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Reads `json` in place of what was read before.
    pub(crate) fn read(&mut self, json: &str) -> Result<(), NotJson> {
        self.nodes.clear();
        let mut reader = Reader { json, bytes: json.as_bytes(), at: 0, nodes: &mut self.nodes };
        reader.value(0, None, 0)?;
        reader.skip_space();
        if reader.at == json.len() { Ok(()) } else { Err(NotJson) }
    }

    /// The values that the one at `index` holds.
    pub(crate) fn children(&self, index: usize) -> impl Iterator<Item = (usize, &Node)> {
        let end = self.nodes.get(index).map_or(0, |node| node.place.end);
        let behind = self.nodes.iter().enumerate().skip(index + 1);
        let inside = behind.take_while(move |(_, node)| node.place.start < end);
        inside.filter(move |(_, node)| node.parent == index && !matches!(node.kind, Kind::Key { .. }))
    }

    /// The value of the key `name` in the object at `index`; of several the last, as most readers take it.
    pub(crate) fn get(&self, json: &str, index: usize, name: &str) -> Option<(usize, &Node)> {
        self.children(index).filter(|(_, node)| node.is_called(json, name)).last()
    }
}

impl Node {
    /// Its key as its readers understand it. One with an escape that stands for no character is given as it stands.
    pub(crate) fn key_in<'j>(&self, json: &'j str) -> Option<Cow<'j, str>> {
        let place = self.key.clone()?;
        let raw = &json[place.clone()];
        let escaped = raw.contains('\\');
        Some(escaped.then(|| unescaped(json, place)).flatten().map_or(Cow::Borrowed(raw), Cow::Owned))
    }

    /// Whether its key is `name`, which needs no escapes, however it is written.
    fn is_called(&self, json: &str, name: &str) -> bool {
        let raw = self.key.clone().map(|place| &json[place]);
        raw == Some(name)
            || raw.is_some_and(|raw| raw.contains('\\')) && self.key_in(json).as_deref() == Some(name)
    }

    /// The text of a string or a key; `None` when it is none, or holds an escape that stands for no character.
    pub(crate) fn text<'j>(&self, json: &'j str) -> Option<Cow<'j, str>> {
        let raw = &json[self.place.clone()];
        match self.kind {
            Kind::String { escaped: false } | Kind::Key { escaped: false } => Some(Cow::Borrowed(raw)),
            Kind::String { escaped: true } | Kind::Key { escaped: true } => {
                unescaped(json, self.place.clone()).map(Cow::Owned)
            }
            _ => None,
        }
    }
}

/// The text of the string at `place`, which is without its quotes; `None` when it holds an escape that stands for no
/// character.
fn unescaped(json: &str, place: Range<usize>) -> Option<String> {
    serde_json::from_str(&json[place.start - 1..=place.end]).ok()
}

struct Reader<'a> {
    json: &'a str,
    bytes: &'a [u8],
    at: usize,
    nodes: &'a mut Vec<Node>,
}

impl Reader<'_> {
    fn value(&mut self, parent: usize, key: Option<Range<usize>>, depth: usize) -> Result<(), NotJson> {
        self.skip_space();
        let start = self.at;
        let index = self.nodes.len();
        match self.bytes.get(start) {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => return Err(NotJson),
            Some(b'{') => {
                self.nodes.push(Node { parent, key, kind: Kind::Object, place: start..start });
                self.members(index, b'}', depth, Self::member)?;
                self.nodes[index].place.end = self.at;
            }
            Some(b'[') => {
                self.nodes.push(Node { parent, key, kind: Kind::Array, place: start..start });
                self.members(index, b']', depth, |reader, index, depth| reader.value(index, None, depth))?;
                self.nodes[index].place.end = self.at;
            }
            Some(b'"') => {
                let (place, escaped) = self.string()?;
                self.nodes.push(Node { parent, key, kind: Kind::String { escaped }, place });
            }
            Some(b'-' | b'0'..=b'9') => {
                self.at += run(&self.bytes[start..], |byte| {
                    byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')
                });
                self.nodes.push(Node { parent, key, kind: Kind::Number, place: start..self.at });
            }
            _ => {
                self.at += run(&self.bytes[start..], |byte| byte.is_ascii_lowercase());
                if !matches!(&self.json[start..self.at], "true" | "false" | "null") {
                    return Err(NotJson);
                }
                self.nodes.push(Node { parent, key, kind: Kind::Word, place: start..self.at });
            }
        }
        Ok(())
    }

    /// Reads what stands between the brackets of the object or array at `index`.
    fn members(
        &mut self,
        index: usize,
        close: u8,
        depth: usize,
        mut member: impl FnMut(&mut Self, usize, usize) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.at += 1;
        self.skip_space();
        if self.take(close) {
            return Ok(());
        }
        loop {
            member(self, index, depth + 1)?;
            self.skip_space();
            if self.take(close) {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(NotJson);
            }
        }
    }

    fn member(&mut self, parent: usize, depth: usize) -> Result<(), NotJson> {
        self.skip_space();
        if self.bytes.get(self.at) != Some(&b'"') {
            return Err(NotJson);
        }
        let (place, escaped) = self.string()?;
        self.nodes.push(Node { parent, key: None, kind: Kind::Key { escaped }, place: place.clone() });
        self.skip_space();
        if !self.take(b':') {
            return Err(NotJson);
        }
        self.value(parent, Some(place), depth)
    }

    /// Reads the string that begins here: where it stands without its quotes, and whether it holds escapes.
    fn string(&mut self) -> Result<(Range<usize>, bool), NotJson> {
        let start = self.at + 1;
        let mut escaped = false;
        let mut at = start;
        loop {
            let rest = self.bytes.get(at..).ok_or(NotJson)?;
            let found = at + memchr2(b'"', b'\\', rest).ok_or(NotJson)?;
            if self.bytes[found] == b'"' {
                self.at = found + 1;
                return Ok((start..found, escaped));
            }
            escaped = true;
            at = found + 2;
        }
    }

    fn skip_space(&mut self) {
        self.at += run(&self.bytes[self.at..], |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }
}

fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !belongs(*byte)).unwrap_or(bytes.len())
}
