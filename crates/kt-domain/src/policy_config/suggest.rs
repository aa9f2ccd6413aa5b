//! What somebody may have meant.

use std::collections::BTreeSet;

use super::shape::{Key, Shape};

/// Among how many candidates is looked for what was meant: nobody remembers more names, and each is compared at length.
const MOST_COMPARED: usize = 1000;

/// The candidate that is most like `word`, if one is like it at all: the same apart from case, `-` and `_`, or at most
/// one letter in three away.
pub(super) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = folded(word);
    candidates
        .into_iter()
        .take(MOST_COMPARED)
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
    listed(choices, "or")
}

/// `a`, `b` and `c`, in backticks.
pub(super) fn all_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    listed(names, "and")
}

fn listed<'a>(names: impl IntoIterator<Item = &'a str>, before_last: &str) -> String {
    let quoted: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} {before_last} {last}", others.join(", ")),
        None => String::new(),
    }
}

pub(super) fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}

/// What somebody who wrote `text` for `shape` should write.
pub(super) fn conversion(text: &str, shape: &Shape) -> Option<String> {
    match shape {
        Shape::Boolean => match text.to_ascii_lowercase().as_str() {
            "yes" | "y" | "on" | "true" | "1" => Some("write `true`, without quotes".into()),
            "no" | "n" | "off" | "false" | "0" => Some("write `false`, without quotes".into()),
            _ => None,
        },
        Shape::Integer { .. } => whole_number(text).map(|number| format!("write `{number}`")),
        Shape::List(_) => Some(format!("write a list: `[\"{text}\"]`")),
        _ => None,
    }
}

/// The number that `10_485_760`, `007`, `"5"` or `10 MB` means. Units are taken by 1024, as the guide's tables are.
fn whole_number(text: &str) -> Option<u64> {
    let text = text.replace(['_', ','], "").to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match text[digits..].trim() {
        "" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}

/// Says where a key belongs that is known in another place.
pub(super) fn elsewhere(name: &str, root: &Shape) -> Option<String> {
    let mut sections = BTreeSet::new();
    sections_with(name, root, "", &mut sections);
    let root = sections.remove("");
    if root {
        Some(format!("`{name}` belongs at the top level of the file: check the indentation"))
    } else {
        (!sections.is_empty())
            .then(|| format!("`{name}` is a key of {}", one_of(sections.iter().map(String::as_str))))
    }
}

fn sections_with(name: &str, shape: &Shape, path: &str, found: &mut BTreeSet<String>) {
    match shape {
        Shape::Section(keys) => {
            if keys.contains_key(name) {
                found.insert(path.into());
            }
            for (key, Key { shape, .. }) in keys {
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                sections_with(name, shape, &inner, found);
            }
        }
        Shape::List(item) => sections_with(name, item, &format!("{path}[]"), found),
        _ => {}
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
    fn names_are_listed_as_a_sentence_has_them() {
        assert_eq!((one_of(["a"]), all_of(["a"])), ("`a`".into(), "`a`".into()));
        assert_eq!(one_of(["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(all_of(["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
