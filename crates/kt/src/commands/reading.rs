//! What commands that read long records share: times as they are typed, where copies go, how far the work has come, and
//! text of strangers made harmless.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, IsTerminal, StdoutLock, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use crate::failure::Failure;

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

/// The same for what comes over a network, whose size nobody knows before.
pub(crate) fn bytes_so_far() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {bytes} ({bytes_per_sec})");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}

/// Shows how many of something were worked through, and for how long, also while none is added; on standard error when
/// that is a terminal.
pub(crate) fn count_so_far(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what);
    let style = ProgressStyle::with_template("{spinner} {human_pos} {msg} ({elapsed})");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A new file for its owner's eyes only; without a path, standard output, whose reader may have read enough: then the command
/// is over, and done.
pub(crate) fn new_file(path: Option<&Path>) -> Result<Box<dyn Write>, Failure> {
    let Some(path) = path else { return Ok(Box::new(ToReader(io::stdout().lock()))) };
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = opened.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::failed(format!("{} exists already; name another file", path.display()))
        }
        _ => Failure::failed(format!("cannot write {}: {error}", path.display())),
    })?;
    Ok(Box::new(file))
}

/// Standard output, as long as somebody reads it.
struct ToReader(StdoutLock<'static>);

impl Write for ToReader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).inspect_err(end_without_reader)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().inspect_err(end_without_reader)
    }
}

/// Ends the process if what went wrong is that nobody reads any more: there is nothing left to do.
fn end_without_reader(error: &io::Error) {
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
}

/// A table with this heading and no rows yet, as wide as the terminal.
pub(crate) fn empty_table(heading: &[impl ToString]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(heading.iter().map(ToString::to_string));
    table
}

/// A printable line, cut to the width of the terminal where there is one.
pub(crate) fn fitting(line: &str) -> String {
    let width = io::stdout().is_terminal().then(|| Table::new().width()).flatten();
    cut(line, width.map_or(usize::MAX, usize::from))
}

fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_the_terminal_ends() {
        for (line, width, expected) in
            [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("äöüß", 4, "äöüß"), ("äöüß", 3, "äö…"), ("", 0, "")]
        {
            assert_eq!(cut(line, width), expected);
        }
    }
}
