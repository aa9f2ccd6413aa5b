//! Where folded text stood in the raw text. Most of a text stands for itself and takes one run here, however long it is.

use std::ops::Range;

/// The places of all bytes of a text.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    /// In order; each goes to where the next one begins.
    runs: Vec<Run>,
}

#[derive(Clone, Debug)]
struct Run {
    /// Where it begins in the text.
    at: usize,
    stood: Stood,
}

#[derive(Clone, Debug)]
enum Stood {
    /// Each byte as so many, from here on.
    Each { start: usize, bytes: usize },
    /// All of it here, and none of it by itself.
    As(Range<usize>),
}

impl Origins {
    /// Has room for so many more runs, since making more again and again takes longer.
    pub(super) fn reserve(&mut self, runs: usize) {
        self.runs.reserve(runs);
    }

    /// Says that each byte of the text from `at` on stood as so many, from `start` on: as one, if it stands as it is.
    pub(super) fn each(&mut self, at: usize, start: usize, bytes: usize) {
        let goes_on = self.runs.last().is_some_and(|last| {
            matches!(last.stood, Stood::Each { start: began, bytes: own }
                if own == bytes && began + (at - last.at) * bytes == start)
        });
        if !goes_on {
            self.runs.push(Run { at, stood: Stood::Each { start, bytes } });
        }
    }

    /// Says that all of the text from `at` on stood at `place`.
    pub(super) fn all_at(&mut self, at: usize, place: Range<usize>) {
        let goes_on =
            self.runs.last().is_some_and(|last| matches!(&last.stood, Stood::As(own) if *own == place));
        if !goes_on {
            self.runs.push(Run { at, stood: Stood::As(place) });
        }
    }

    /// Where the byte at `at` stood, or the whole that it is a part of.
    pub(super) fn of(&self, at: usize) -> Option<Range<usize>> {
        let run = self.runs.get(self.holder(at)?)?;
        Some(match &run.stood {
            Stood::Each { start, bytes } => {
                let start = start + (at - run.at) * bytes;
                start..start + bytes
            }
            Stood::As(place) => place.clone(),
        })
    }

    /// Which run holds the byte at `at`.
    fn holder(&self, at: usize) -> Option<usize> {
        self.runs.partition_point(|run| run.at <= at).checked_sub(1)
    }

    /// Forgets the first `length` bytes of the text.
    pub(super) fn forget(&mut self, length: usize) {
        self.runs.drain(..self.holder(length).unwrap_or(0));
        for run in &mut self.runs {
            if let (Some(forgotten), Stood::Each { start, bytes }) =
                (length.checked_sub(run.at), &mut run.stood)
            {
                *start += forgotten * *bytes;
            }
            run.at = run.at.saturating_sub(length);
        }
    }
}
