//! Texts of neighbouring parts of a content, which a model reads as one.
//!
//! What is found in one of them is found there. Only what the border to the next has to do with is looked for here, so
//! that no more than the longest match is read once more on both sides of it.

use std::ops::Range;

use kt_domain::patterns::MAX_MATCH_BYTES;

use super::outline::{Kind, Node, Outline};
use crate::policies::text::fold::Readings;

/// How far behind a border a match can begin that depends on what stands before it, in bytes: more than any rule looks
/// back, also where that is written in disguise.
const NEAR: usize = 1024;
/// How much is read on both sides of a border, in bytes.
const REACH: usize = MAX_MATCH_BYTES + 2 * NEAR;

/// Which texts of a document stand in neighbouring parts.
#[derive(Default)]
pub(super) struct Runs {
    /// Those of two and more.
    runs: Vec<Vec<usize>>,
    /// The last text of a part, and the object that the part is.
    last: Option<(usize, usize)>,
}

/// Some of these texts, or their ends, as one.
#[derive(Default)]
pub(super) struct Joined {
    pub(super) written: String,
    pub(super) readings: Readings,
    parts: Vec<Part>,
}

/// What was taken of one text.
struct Part {
    text: usize,
    /// Where in the text it begins.
    start: usize,
    /// Where it stands among the others.
    place: Range<usize>,
}

impl Runs {
    /// Looks at one more text of a document, at `node`.
    pub(super) fn look_at(&mut self, json: &str, outline: &Outline, node: &Node, text: usize) {
        let is_own = matches!(node.kind, Kind::String { .. })
            && node.key_in(json).is_some_and(|key| key.eq_ignore_ascii_case("text"));
        if !is_own {
            return;
        }
        let nodes = outline.nodes();
        let list = nodes[node.parent].parent;
        let before = self.last.replace((text, node.parent));
        let is_next = |part: usize| nodes[part].parent == list && nodes[list].kind == Kind::Array;
        let Some((earlier, _)) = before.filter(|(_, part)| is_next(*part)) else { return };
        match self.runs.last_mut().filter(|run| run.last() == Some(&earlier)) {
            Some(run) => run.push(text),
            None => self.runs.push(vec![earlier, text]),
        }
    }

    /// What stands around the borders, given how each text is written.
    pub(super) fn joined<'t>(&self, written: impl Fn(usize) -> &'t str) -> Vec<Joined> {
        let mut all = Vec::new();
        for run in &self.runs {
            let mut joined = Joined::default();
            for text in run {
                let whole = written(*text);
                let head = whole.floor_char_boundary(REACH.min(whole.len()));
                let tail = whole.ceil_char_boundary(whole.len().saturating_sub(REACH));
                let is_first = joined.parts.is_empty();
                if tail <= head {
                    joined.add(*text, whole, 0..whole.len());
                    continue;
                }
                if !is_first {
                    joined.add(*text, whole, 0..head);
                    all.push(std::mem::take(&mut joined));
                }
                joined.add(*text, whole, tail..whole.len());
            }
            all.push(joined);
        }
        all.retain(|joined| joined.parts.len() > 1);
        for joined in &mut all {
            joined.readings = Readings::of(&joined.written);
        }
        all
    }
}

impl Joined {
    fn add(&mut self, text: usize, whole: &str, taken: Range<usize>) {
        let at = self.written.len();
        let start = taken.start;
        self.written.push_str(&whole[taken]);
        self.parts.push(Part { text, start, place: at..self.written.len() });
    }

    /// In which texts something stands that was found, and where in each; none where it is found without the others.
    pub(super) fn pieces(&self, place: &Range<usize>) -> Vec<(usize, Range<usize>)> {
        let mut pieces = Vec::new();
        let mut is_near = false;
        let first = self.parts.partition_point(|part| part.place.end <= place.start);
        let parts = self.parts.iter().enumerate().skip(first);
        for (index, Part { text, start, place: own }) in
            parts.take_while(|(_, part)| part.place.start < place.end)
        {
            let common = place.start.max(own.start)..place.end.min(own.end);
            if common.start < common.end {
                is_near |= !pieces.is_empty() || (index > 0 && common.start - own.start < NEAR);
                pieces.push((*text, start + common.start - own.start..start + common.end - own.start));
            }
        }
        if is_near { pieces } else { Vec::new() }
    }
}
