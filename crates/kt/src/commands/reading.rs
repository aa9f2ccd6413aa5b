//! What commands that read long records share: times as they are typed, how far the work has come, and text of strangers
//! made harmless.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

/// A time as it is typed.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "expected a time such as 2026-03-15T14:22:31Z".to_owned())
}

/// Shows how far a long file was read, on standard error when that is a terminal.
pub(crate) fn progress_bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    let style = ProgressStyle::with_template("{bar:40} {percent:>3}% of {total_bytes}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// `text` with everything written as `\u….` that could move the cursor, colour or reorder what a terminal shows: what
/// is in a record comes from strangers.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            // Writing to a string cannot fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The same for a text of several lines.
pub(crate) fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// Line and paragraph separators, marks that set the direction of writing (Unicode TR 9), joiners and fillers.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
