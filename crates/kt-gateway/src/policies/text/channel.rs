//! One text of a stream: what came of it so far, what was found in it, and how far it may be let out.

use std::ops::Range;
use std::sync::Arc;

use memchr::memchr;

use super::fold::Folded;
use super::patterns::{CONTEXT, Patterns, Step};

/// A text that comes in fragments. Places in it count from its beginning, in bytes.
#[derive(Default)]
pub(crate) struct Channel {
    /// How much came.
    length: usize,
    as_written: Reading,
    /// From its first backslash on, how it reads if its backslashes begin escapes.
    as_meant: Option<Reading>,
    /// From its first letter on that looks like another, how it reads to the eye.
    as_seen: Option<Reading>,
    cuts: Cuts,
}

/// One way to read a text.
#[derive(Clone, Default)]
struct Reading {
    /// The end of what came and could not be folded yet: an escape that may go on.
    unfolded: String,
    folded: Folded,
    /// For each of the judges, from where in `folded` it has still to judge.
    judged: Vec<usize>,
}

/// Something that a judge found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Find {
    /// Which of the judges.
    pub(crate) judge: usize,
    pub(crate) rule: Arc<str>,
    pub(crate) place: Range<usize>,
}

impl Channel {
    /// A text that is JSON itself, such as what a tool takes.
    pub(crate) fn of_json() -> Self {
        Self { cuts: Cuts::of_json(), ..Self::default() }
    }

    /// How much came so far.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// How much of it is kept in memory.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.readings().map(|reading| reading.folded.text.len() + reading.unfolded.len()).sum()
    }

    /// Takes the next fragment, or learns that there is none, and reports what is found for certain.
    pub(crate) fn push<'p>(
        &mut self,
        fragment: &str,
        ended: bool,
        judges: &(impl Iterator<Item = &'p Patterns> + Clone),
        mut found: impl FnMut(Find),
    ) {
        if self.as_meant.is_none() && memchr(b'\\', fragment.as_bytes()).is_some() {
            self.as_meant = Some(self.as_written.as_meant());
        }
        self.length += fragment.len();
        let length = self.length;
        let before = self.as_written.folded.text.len();
        self.readings_mut().for_each(|reading| reading.take(fragment, length, ended));
        if self.as_seen.is_none() && self.as_written.folded.has_look_alikes(before) {
            self.as_seen = Some(self.as_meant.as_ref().unwrap_or(&self.as_written).as_seen());
        }
        self.readings_mut().for_each(|reading| reading.judge(ended, judges.clone(), &mut found));
    }

    /// How far everything has been judged.
    pub(crate) fn decided(&self) -> usize {
        self.readings().map(|reading| reading.decided(self.length)).min().unwrap_or(self.length)
    }

    /// Has what was found replaced by the name of its rule.
    pub(crate) fn cut(&mut self, find: Find) {
        self.cuts.add(find.place, find.judge, &find.rule);
    }

    /// The part of the text that stands at `start` with everything cut out of it; `None` if that is nothing. To be asked
    /// for one part after the other, as far as the text is decided.
    pub(crate) fn let_out(&mut self, start: usize, part: &str) -> Option<String> {
        let shown = self.cuts.apply(start, part);
        self.readings_mut().for_each(Reading::forget);
        shown
    }

    fn readings(&self) -> impl Iterator<Item = &Reading> {
        std::iter::once(&self.as_written).chain(&self.as_meant).chain(&self.as_seen)
    }

    fn readings_mut(&mut self) -> impl Iterator<Item = &mut Reading> {
        std::iter::once(&mut self.as_written).chain(&mut self.as_meant).chain(&mut self.as_seen)
    }
}

impl Reading {
    /// The same so far, to be read on by what JSON means.
    fn as_meant(&self) -> Self {
        Self { folded: self.folded.as_meant(), ..self.clone() }
    }

    /// The same so far, to be read on by how its letters look. What was judged of it has none that look like others.
    fn as_seen(&self) -> Self {
        Self { folded: self.folded.as_seen(), ..self.clone() }
    }

    /// Takes the next fragment of a text that is as long as `length` with it.
    fn take(&mut self, fragment: &str, length: usize, ended: bool) {
        self.unfolded.push_str(fragment);
        let base = length - self.unfolded.len();
        let taken = self.folded.push(&self.unfolded, base, ended);
        self.unfolded.drain(..taken);
    }

    /// Judges what was taken, as far as that can be told.
    fn judge<'p>(
        &mut self,
        ended: bool,
        judges: impl Iterator<Item = &'p Patterns>,
        found: &mut impl FnMut(Find),
    ) {
        for (judge, patterns) in judges.enumerate() {
            if judge == self.judged.len() {
                self.judged.push(0);
            }
            let from = &mut self.judged[judge];
            loop {
                match patterns.step(&self.folded.text, *from, ended) {
                    Step::Found(hit) => {
                        let place = self.folded.raw(hit.start..hit.end);
                        found(Find { judge, rule: Arc::clone(hit.rule), place });
                        *from = hit.end;
                    }
                    Step::Undecided(at) => {
                        *from = at;
                        break;
                    }
                    Step::Clear => {
                        *from = self.folded.text.len();
                        break;
                    }
                }
            }
        }
    }

    fn decided(&self, length: usize) -> usize {
        let undecided = self.judged.iter().filter_map(|from| self.folded.raw_start(*from)).min();
        undecided.unwrap_or(length - self.unfolded.len())
    }

    /// Forgets what nobody looks at again.
    fn forget(&mut self) {
        let least = self.judged.iter().copied().min().unwrap_or(0);
        let forgotten = self.folded.text.floor_char_boundary(least.saturating_sub(CONTEXT));
        // Moving the rest to the front costs as much as there is of it.
        if forgotten > 4 * CONTEXT {
            self.folded.forget(forgotten);
            self.judged.iter_mut().for_each(|from| *from -= forgotten);
        }
    }
}

/// Places of a text that are replaced by the names of what was found there; where several overlap, by the name of the
/// one that begins first, and of those that begin together by that of the first judge's.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// What is still to be cut; each judge's nearly in the order of the text.
    places: Vec<(Range<usize>, usize, Arc<str>)>,
    /// How far the last cut goes.
    until: usize,
    /// Of a text that is JSON itself: where in it the last part ended.
    json: Option<Json>,
}

impl Cuts {
    /// Those of a text that is JSON. What is found within quotes leaves JSON when it is cut out, and so does what is all of a
    /// number: a text takes its place. Not so a part of a number, such as the digits behind a sign, or what goes beyond one
    /// value, as a match of an operator's own pattern may.
    pub(crate) fn of_json() -> Self {
        Self { json: Some(Json::Begins), ..Self::default() }
    }

    pub(crate) fn add(&mut self, place: Range<usize>, judge: usize, name: &Arc<str>) {
        self.places.push((place, judge, Arc::clone(name)));
    }

    /// The rest of something that begins in the text before, where its name stands.
    pub(crate) fn add_rest(&mut self, place: Range<usize>, judge: usize) {
        self.places.push((place, judge, "".into()));
    }

    /// The part of a text that stands at `start`, with its places replaced; `None` if there are none.
    pub(crate) fn apply(&mut self, start: usize, part: &str) -> Option<String> {
        // Joining what each judge has found in order takes a step for each find.
        self.places.sort_by(|(place, judge, name), (other, other_judge, other_name)| {
            (place.start, judge, name).cmp(&(other.start, other_judge, other_name))
        });
        let end = start + part.len();
        let first = self.places.first().map_or(usize::MAX, |(place, ..)| place.start);
        if self.until <= start && first >= end {
            self.json.iter_mut().for_each(|json| json.read(part));
            return None;
        }
        let mut shown = String::with_capacity(part.len());
        let mut at = start;
        let due = self.places.partition_point(|(place, ..)| place.start < end);
        for (place, _, name) in self.places.drain(..due) {
            let before = part.get(at - start..place.start.max(at) - start).unwrap_or_default();
            self.json.iter_mut().for_each(|json| json.read(before));
            if place.start >= self.until {
                let kept = at.max(self.until)..place.start;
                shown.push_str(part.get(kept.start - start..kept.end - start).unwrap_or_default());
                let quote = if self.json == Some(Json::Between) { "\"" } else { "" };
                if !name.is_empty() {
                    shown.extend([quote, "[", &*name, "]", quote]);
                }
            }
            self.until = self.until.max(place.end);
            at = at.max(place.start);
        }
        let rest = at.max(self.until).min(end);
        shown.push_str(part.get(rest - start..).unwrap_or_default());
        self.json.iter_mut().for_each(|json| json.read(part.get(at - start..).unwrap_or_default()));
        Some(shown)
    }
}

/// Where in a text that is JSON something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Json {
    /// Nothing of it came yet but space.
    Begins,
    Between,
    InString,
    /// Behind a backslash within a string.
    Escaped,
    /// The text is no object and no list.
    Not,
}

impl Json {
    fn read(&mut self, text: &str) {
        for byte in text.bytes() {
            *self = match (*self, byte) {
                (Self::Begins, b' ' | b'\t' | b'\n' | b'\r') => Self::Begins,
                (Self::Begins, b'{' | b'[') | (Self::InString, b'"') => Self::Between,
                (Self::Begins | Self::Not, _) => Self::Not,
                (Self::Between, b'"') | (Self::Escaped, _) => Self::InString,
                (Self::InString, b'\\') => Self::Escaped,
                (same, _) => same,
            };
        }
    }
}
