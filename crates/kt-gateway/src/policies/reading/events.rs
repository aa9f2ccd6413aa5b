//! Taking an event stream apart (WHATWG HTML section 9.2), however it is cut on its way.

use memchr::memchr2;

/// Collects whole events.
#[derive(Default)]
pub(super) struct Splitter {
    bytes: Vec<u8>,
    /// How much of `bytes` was given already.
    given: usize,
    /// Where the last line begins that has no end yet.
    line: usize,
    /// Up to where that end was looked for in vain.
    searched: usize,
}

impl Splitter {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.given);
        self.line -= self.given;
        self.searched = self.searched.saturating_sub(self.given);
        self.given = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// The next event as it came, its empty line included.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let end = self.event_end()?;
        let event = self.bytes[self.given..end].to_vec();
        self.given = end;
        Some(event)
    }

    /// How much came of an event that is not whole.
    pub(super) fn unfinished(&self) -> usize {
        self.bytes.len() - self.given
    }

    /// What came of the last event, when nothing more will come.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.given);
        *self = Self::default();
        rest
    }

    /// Where the next event is over: behind its empty line.
    fn event_end(&mut self) -> Option<usize> {
        loop {
            let from = self.line.max(self.searched);
            let Some(at) = memchr2(b'\n', b'\r', &self.bytes[from..]).map(|found| from + found) else {
                self.searched = self.bytes.len();
                return None;
            };
            // A CR at the very end may be the first half of a line end.
            let next = *self.bytes.get(at + 1).or((self.bytes[at] == b'\n').then_some(&0))?;
            let after = at + if self.bytes[at] == b'\r' && next == b'\n' { 2 } else { 1 };
            let is_empty_line = at == self.line;
            self.line = after;
            if is_empty_line {
                return Some(after);
            }
        }
    }
}

/// The lines of a text, with an empty one between CR and LF.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let end = memchr2(b'\n', b'\r', text.as_bytes()).unwrap_or(text.len());
        rest = text.get(end + 1..);
        Some(&text[..end])
    })
}

/// The lines of an event that are not its data, and its data.
pub(super) fn fields(event: &str) -> (Vec<String>, String) {
    let mut others = Vec::new();
    let mut data: Option<String> = None;
    for line in lines(event).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name != "data" {
            others.push(line.to_owned());
            continue;
        }
        let value = value.strip_prefix(' ').unwrap_or(value);
        match &mut data {
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
            None => data = Some(value.to_owned()),
        }
    }
    (others, data.unwrap_or_default())
}
