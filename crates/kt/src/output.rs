//! What commands print. A reader that goes away (`kt … | head`) is no failure; a disk that takes nothing is one.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::failure::Failure;

/// Why something could not be printed.
static LOST: OnceLock<String> = OnceLock::new();

/// Writes one line to standard output. What is lost is told by [`all_printed`].
pub(crate) fn line(text: impl Display) {
    let mut output = io::stdout().lock();
    if let Err(error) = writeln!(output, "{text}").and_then(|()| output.flush())
        && error.kind() != ErrorKind::BrokenPipe
    {
        // The first reason is the one.
        let _ = LOST.set(error.to_string());
    }
}

/// Writes one line to standard output for whoever waits for it; the work goes on without a reader.
pub(crate) fn announce(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Whether everything was printed; if not, why not. What was done is done all the same.
pub(crate) fn all_printed() -> Result<(), Failure> {
    match LOST.get() {
        None => Ok(()),
        Some(why) => Err(Failure::failed(format!(
            "standard output takes no more ({why}): what was to be printed is lost, and what the command has done is not \
             undone"
        ))),
    }
}

/// Tells what was done: a sentence for people, or its facts for programs.
pub(crate) fn done(as_json: bool, sentence: impl Display, facts: impl Display) {
    if as_json { line(facts) } else { line(sentence) }
}

/// Writes a whole list as the one document in which the API would give it. `plural` is what it is a list of.
pub(crate) fn list(plural: &str, entries: &[Value]) {
    line(json!({ plural: entries, "next_cursor": null }));
}

/// `1 event`, `2 events`: a number, and behind it what stands by one or by many.
pub(crate) fn counted<N: Copy + Display + From<u8> + PartialEq>(number: N, one: &str, many: &str) -> String {
    let noun = if number == N::from(1) { one } else { many };
    format!("{number} {noun}")
}

/// Writes one line to standard error.
pub(crate) fn complain(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_otherwise_than_none_or_many() {
        for (number, expected) in [(0_u64, "0 entries"), (1, "1 entry"), (2, "2 entries"), (11, "11 entries")]
        {
            assert_eq!(counted(number, "entry", "entries"), expected);
        }
    }
}
