//! What somebody may have meant.

/// The candidate that is most like `word`, if one is like it at all: the same apart from case, `-` and `_`, or at most
/// one letter in three away.
pub(super) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = folded(word);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &folded(candidate)), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3).min(4))
        .map(|(_, candidate)| candidate)
}

/// Long words are cut, since comparing takes time by the square of the length.
fn folded(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).take(64).collect()
}

/// `a`, `b` or `c`, in backticks.
pub(super) fn one_of<'a>(choices: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = choices.into_iter().map(|choice| format!("`{choice}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_candidate_is_found_and_a_strange_one_is_not() {
        let keys = ["allow_origins", "allow_methods", "enabled", "env"];
        let cases = [
            ("allow_origin", Some("allow_origins")),
            ("allowMethods", Some("allow_methods")),
            ("ALLOW-ORIGINS", Some("allow_origins")),
            ("enable", Some("enabled")),
            ("name", None),
            ("", None),
            ("completely_else", None),
        ];
        for (word, expected) in cases {
            assert_eq!(closest(word, keys), expected, "{word}");
        }
    }

    #[test]
    fn choices_are_listed_as_a_sentence_has_them() {
        assert_eq!(one_of(["a"]), "`a`");
        assert_eq!(one_of(["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
