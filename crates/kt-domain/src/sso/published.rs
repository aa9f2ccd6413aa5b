//! What a provider publishes of itself, and that it cannot be had.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::words;

/// A part of what a provider publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishedPart {
    /// Where it is reached.
    Metadata,
    /// What it signs with.
    Keys,
}

words!(PublishedPart { Metadata = "metadata", Keys = "keys" });

/// A part of what a provider publishes cannot be had: until it can, nobody comes in through the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedProblem {
    /// Which part.
    pub part: PublishedPart,
    /// Since when.
    pub since: Timestamp,
    /// Why, in words.
    pub why: String,
}

impl PublishedProblem {
    /// Whether it is over once this part was had: keys are found through the metadata, and not the other way round.
    #[must_use]
    pub fn is_over_with(&self, part: PublishedPart) -> bool {
        part == PublishedPart::Keys || part == self.part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_had_end_every_problem_and_metadata_only_their_own() {
        use PublishedPart::{Keys, Metadata};
        let problem = |part| PublishedProblem { part, since: Timestamp::UNIX_EPOCH, why: String::new() };
        for (problem_with, had, is_over) in
            [(Metadata, Metadata, true), (Metadata, Keys, true), (Keys, Keys, true), (Keys, Metadata, false)]
        {
            assert_eq!(problem(problem_with).is_over_with(had), is_over, "{problem_with} {had}");
        }
    }
}
