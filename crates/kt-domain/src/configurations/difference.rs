//! What differs between two texts, line by line.

use std::time::Duration;

use similar::{ChangeTag, TextDiff};

/// How long a difference is looked for. With more, lines that stayed may be told as taken out and put in.
const PATIENCE: Duration = Duration::from_millis(200);

/// How many lines around a change are shown with it.
const CONTEXT: usize = 3;

/// A line of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffLine {
    /// What became of it.
    pub fate: Fate,
    /// Its number in the older text, from 1; none where it was put in.
    pub before: Option<usize>,
    /// Its number in the newer text, from 1; none where it was taken out.
    pub after: Option<usize>,
    /// Its text, without the line end.
    pub text: String,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stayed.
    Kept,
    /// It was taken out.
    Removed,
    /// It was put in.
    Added,
}

/// What has to change in `before` to make it `after`: groups of changed lines with some that stayed around them. None
/// where nothing differs.
#[must_use]
pub fn difference(before: &str, after: &str) -> Vec<Vec<DiffLine>> {
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(before, after);
    let groups = diff.grouped_ops(CONTEXT);
    groups
        .iter()
        .map(|group| {
            let changes = group.iter().flat_map(|op| diff.iter_changes(op));
            changes
                .map(|change| DiffLine {
                    fate: match change.tag() {
                        ChangeTag::Equal => Fate::Kept,
                        ChangeTag::Delete => Fate::Removed,
                        ChangeTag::Insert => Fate::Added,
                    },
                    before: change.old_index().map(|index| index + 1),
                    after: change.new_index().map(|index| index + 1),
                    text: change.value().trim_end_matches(['\r', '\n']).to_owned(),
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_are_told_with_their_places_and_what_stayed_around_them() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), Vec::<Vec<DiffLine>>::new());
        let told = difference("a\nb\nc\n", "a\nB\nc\n");
        let line = |fate, before, after, text: &str| DiffLine { fate, before, after, text: text.to_owned() };
        assert_eq!(
            told,
            [[
                line(Fate::Kept, Some(1), Some(1), "a"),
                line(Fate::Removed, Some(2), None, "b"),
                line(Fate::Added, None, Some(2), "B"),
                line(Fate::Kept, Some(3), Some(3), "c"),
            ]]
        );
    }

    #[test]
    fn changes_far_apart_are_told_apart() {
        let text = (0..40).map(|line| line.to_string()).collect::<Vec<_>>().join("\n") + "\n";
        let changed = text.replace("0\n", "x\n");
        let told = difference(&text, &changed);
        assert!(told.len() > 1);
        assert!(told.iter().flatten().filter(|line| line.fate == Fate::Added).count() == 4);
    }
}
