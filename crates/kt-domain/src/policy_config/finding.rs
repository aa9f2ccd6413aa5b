//! What there is to say about a configuration, and how it is shown.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde::Serialize;

use super::Source;
use super::codes::{self, Code};
use super::node::{Node, Place};

/// How many characters of a line or a path are shown.
const MAX_SHOWN: usize = 240;

/// How many of them stand before the place, in a line that is longer.
const SHOWN_BEFORE: u32 = 120;

/// How many characters of a message or a suggestion are shown: more than any that is ours alone has, with all the names it
/// lists.
const MAX_SAID: usize = 1000;

/// How many errors are told, and how many warnings: the first ones that are come upon. Nobody reads more, and a text of a few
/// bytes for each can be long.
pub(crate) const MOST_TOLD: usize = 1000;

/// One thing to say about a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its code, such as `E002`; [`CODES`](super::CODES) says what each means.
    pub code: &'static str,
    /// Whether it stops the configuration from being used.
    #[serde(skip)]
    pub severity: Severity,
    /// The key it is about, such as `cors.allow_origins[0]`; empty when it is about the whole file.
    pub path: String,
    /// The source's name.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub suggestion: String,
    /// The line's text; of a long line, what stands around the column, with `…` where it is cut.
    pub excerpt: String,
    /// At how many characters behind the line's beginning the excerpt begins.
    #[serde(skip)]
    excerpt_at: u32,
    /// How many characters of the line it is about.
    #[serde(skip)]
    pub width: u32,
}

/// Whether a finding stops the configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, and a person should know.
    Warning,
}

impl Finding {
    /// What there is to say about a file that could not even be read, and why.
    #[must_use]
    pub fn unreadable(file: &str, why: &str, suggestion: &str) -> Self {
        Self {
            code: codes::NOT_YAML.id,
            severity: Severity::Error,
            path: String::new(),
            file: printable(file, MAX_SHOWN),
            line: 1,
            column: 1,
            message: printable(why, MAX_SAID),
            suggestion: printable(suggestion, MAX_SAID),
            excerpt: String::new(),
            excerpt_at: 0,
            width: 1,
        }
    }

    /// What there is to say about a file whose first so many bytes are UTF-8 and the next are not.
    #[must_use]
    pub fn not_utf8(file: &str, bytes: &[u8], valid_up_to: usize) -> Self {
        let (before, rest) = bytes.split_at(valid_up_to.min(bytes.len()));
        let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| before.len() + at);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
        let column = number(String::from_utf8_lossy(&before[begin..]).chars().count());
        let line = String::from_utf8_lossy(&bytes[begin..end]);
        let (excerpt, excerpt_at) = around(line.trim_end(), column);
        Self {
            line: number(before.split(|byte| *byte == b'\n').count() - 1),
            column,
            excerpt,
            excerpt_at,
            ..Self::unreadable(file, "this is not UTF-8", "save the file as UTF-8")
        }
    }

    /// The finding as people read it: what and where, the line with a mark under the place, and what to do.
    #[must_use]
    pub fn render(&self) -> String {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Self { code, message, file, line, column, excerpt, .. } = self;
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let mut text = format!("{severity}[{code}]: {message}\n{gutter}--> {file}:{line}:{column}\n");
        let _ = writeln!(text, "{gutter} |\n{number} | {excerpt}\n{gutter} | {}", self.mark());
        let _ = writeln!(text, "{gutter} = help: {}", self.suggestion);
        text
    }

    /// What and where, in one line.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let Self { code, message, file, line, column, suggestion, .. } = self;
        format!("{message} ({code}, {file}:{line}:{column}); {suggestion}")
    }

    /// Carets under the place. Tabs before it are kept, so that they are as wide as in the line above.
    fn mark(&self) -> String {
        let before = self.column.saturating_sub(1).saturating_sub(self.excerpt_at);
        let before = usize::try_from(before).unwrap_or(usize::MAX);
        let length = self.excerpt.chars().count();
        let indent = self.excerpt.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' });
        let room = length.saturating_sub(before).max(1);
        let width = usize::try_from(self.width).unwrap_or(usize::MAX).clamp(1, room);
        indent.chain(std::iter::repeat_n('^', width)).collect()
    }
}

/// Collects findings while a configuration is loaded.
#[derive(Debug)]
pub(crate) struct Report<'s> {
    sources: &'s [Source],
    /// Where each line of each source begins, made when first asked for.
    line_starts: Vec<Option<Vec<usize>>>,
    findings: Vec<(Place, Finding)>,
    /// The keys whose values were reported and set aside.
    set_aside: HashSet<String>,
    errors: usize,
    warnings: usize,
}

impl<'s> Report<'s> {
    pub(crate) fn new(sources: &'s [Source]) -> Self {
        let line_starts = vec![None; sources.len()];
        Self { sources, line_starts, findings: Vec::new(), set_aside: HashSet::new(), errors: 0, warnings: 0 }
    }

    /// Whether one more of this code is told.
    pub(crate) fn has_room_for(&self, code: &Code) -> bool {
        let told = match code.severity() {
            Severity::Error => self.errors,
            Severity::Warning => self.warnings,
        };
        told < MOST_TOLD
    }

    /// Reports something at a place.
    pub(crate) fn at(
        &mut self,
        code: &Code,
        place: Place,
        path: &str,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        if !self.has_room_for(code) {
            return;
        }
        match code.severity() {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
        let (excerpt, excerpt_at) = around(self.line(place), place.column);
        let finding = Finding {
            code: code.id,
            severity: code.severity(),
            path: printable(path, MAX_SHOWN),
            file: self.source(place).map(|source| printable(&source.name, MAX_SHOWN)).unwrap_or_default(),
            line: place.line,
            column: place.column,
            message: printable(&message.into(), MAX_SAID),
            suggestion: printable(&suggestion.into(), MAX_SAID),
            excerpt,
            excerpt_at,
            width: place.width,
        };
        self.findings.push((place, finding));
    }

    /// Notes that the value at `path`, as it is written, was reported: what stands in for it is nobody's.
    pub(crate) fn set_aside(&mut self, path: &str) {
        self.set_aside.insert(path.to_owned());
    }

    /// Whether the value at `path` of `tree` was set aside.
    pub(crate) fn is_set_aside(&self, tree: &Node, path: &str) -> bool {
        !self.set_aside.is_empty() && self.set_aside.contains(&tree.locate(path).path)
    }

    /// Reports something about the value at `path` of `tree`, as [`Node::locate`] finds it, unless that was set aside.
    pub(crate) fn on(
        &mut self,
        tree: &Node,
        code: &Code,
        path: &str,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        if !self.has_room_for(code) {
            return;
        }
        let located = tree.locate(path);
        if self.set_aside.contains(&located.path) {
            return;
        }
        self.at(code, located.place, &located.path, message, suggestion);
    }

    /// Everything that was reported, in the order of the sources and their lines.
    pub(crate) fn into_findings(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|(place, _)| *place);
        self.findings.into_iter().map(|(_, finding)| finding).collect()
    }

    fn source(&self, place: Place) -> Option<&'s Source> {
        self.sources.get(usize::try_from(place.file).ok()?)
    }

    fn line(&mut self, place: Place) -> &'s str {
        let line = self.source(place).and_then(|source| {
            let file = usize::try_from(place.file).ok()?;
            let starts = self.line_starts[file].get_or_insert_with(|| line_starts(&source.text));
            let start = *starts.get(usize::try_from(place.line).ok()?.checked_sub(1)?)?;
            source.text[start..].lines().next()
        });
        line.unwrap_or_default().trim_end()
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

/// What is shown of a line with something to say at `column`, and at how many characters behind its beginning that begins.
fn around(line: &str, column: u32) -> (String, u32) {
    let is_long = line.chars().nth(MAX_SHOWN).is_some();
    let begins = if is_long { column.saturating_sub(SHOWN_BEFORE) } else { 0 };
    if begins == 0 {
        return (printable(line, MAX_SHOWN), 0);
    }
    let mut rest = line.chars();
    // Its first character is the one that `…` stands for.
    rest.nth(usize::try_from(begins).unwrap_or(usize::MAX));
    (format!("…{}", printable(rest.as_str(), MAX_SHOWN)), begins)
}

/// `text`, of at most so many characters, without those that could steer a terminal.
fn printable(text: &str, most: usize) -> String {
    let mut shown: String =
        text.chars().take(most).map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.len() > shown.len() && text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

/// Whether a character moves what others show: a control character, or one that turns the direction of the text, by
/// which a line can look like another (CVE-2021-42574).
fn steers(c: char) -> bool {
    c.is_control() && c != '\t' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
