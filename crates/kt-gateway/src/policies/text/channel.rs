//! One text of a stream: what came of it so far, what was found in it, and how far it may be let out.

use std::ops::Range;
use std::sync::Arc;

use super::fold::Folded;
use super::patterns::{CONTEXT, Patterns, Step};

/// A text that comes in fragments. Places in it count from its beginning, in bytes.
#[derive(Default)]
pub(crate) struct Channel {
    /// The end of what came and could not be folded yet: an escape that may go on.
    unfolded: String,
    /// How much came.
    length: usize,
    folded: Folded,
    /// For each of the judges, from where in `folded` it has still to judge.
    judged: Vec<usize>,
    cuts: Cuts,
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
    /// How much came so far.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// How much of it is kept in memory.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.folded.text.len() + self.unfolded.len()
    }

    /// Takes the next fragment, or learns that there is none, and reports what is found for certain.
    pub(crate) fn push<'p>(
        &mut self,
        fragment: &str,
        ended: bool,
        judges: impl Iterator<Item = &'p Patterns>,
        mut found: impl FnMut(Find),
    ) {
        self.unfolded.push_str(fragment);
        self.length += fragment.len();
        let base = self.length - self.unfolded.len();
        let taken = self.folded.push(&self.unfolded, base, ended);
        self.unfolded.drain(..taken);
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

    /// How far everything has been judged.
    pub(crate) fn decided(&self) -> usize {
        let undecided = self.judged.iter().filter_map(|from| self.folded.raw_start(*from)).min();
        undecided.unwrap_or(self.length - self.unfolded.len())
    }

    /// Has what was found replaced by the name of its rule.
    pub(crate) fn cut(&mut self, find: Find) {
        self.cuts.add(find.place, find.judge, &find.rule);
    }

    /// The part of the text that stands at `start` with everything cut out of it; `None` if that is nothing. To be asked
    /// for one part after the other, as far as the text is decided.
    pub(crate) fn let_out(&mut self, start: usize, part: &str) -> Option<String> {
        let shown = self.cuts.apply(start, part);
        let least = self.judged.iter().copied().min().unwrap_or(0);
        let forgotten = self.folded.text.floor_char_boundary(least.saturating_sub(CONTEXT));
        // Moving the rest to the front costs as much as there is of it.
        if forgotten > 4 * CONTEXT {
            self.folded.forget(forgotten);
            self.judged.iter_mut().for_each(|from| *from -= forgotten);
        }
        shown
    }
}

/// Places of a text that are replaced by the names of what was found there; where several overlap, by the name of the
/// one that begins first, and of those that begin together by that of the first judge's.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// What is still to be cut; each judge's in the order of the text.
    places: Vec<(Range<usize>, usize, Arc<str>)>,
    /// How far the last cut goes.
    until: usize,
}

impl Cuts {
    pub(crate) fn add(&mut self, place: Range<usize>, judge: usize, name: &Arc<str>) {
        self.places.push((place, judge, Arc::clone(name)));
    }

    /// The part of a text that stands at `start`, with its places replaced; `None` if there are none.
    pub(crate) fn apply(&mut self, start: usize, part: &str) -> Option<String> {
        // Joining what each judge has found in order takes a step for each find.
        self.places.sort_by_key(|(place, judge, _)| (place.start, *judge));
        let end = start + part.len();
        let first = self.places.first().map_or(usize::MAX, |(place, ..)| place.start);
        if self.until <= start && first >= end {
            return None;
        }
        let mut shown = String::with_capacity(part.len());
        let mut at = start;
        let due = self.places.partition_point(|(place, ..)| place.start < end);
        for (place, _, name) in self.places.drain(..due) {
            if place.start >= self.until {
                let kept = at.max(self.until)..place.start;
                shown.push_str(part.get(kept.start - start..kept.end - start).unwrap_or_default());
                shown.push('[');
                shown.push_str(&name);
                shown.push(']');
            }
            self.until = self.until.max(place.end);
            at = at.max(place.start);
        }
        let rest = at.max(self.until).min(end);
        shown.push_str(part.get(rest - start..).unwrap_or_default());
        Some(shown)
    }
}
