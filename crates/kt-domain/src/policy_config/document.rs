//! YAML text to a tree of located nodes.
//!
//! Only what a configuration needs is taken: one document of mappings with text keys, sequences and scalars. Anchors
//! and aliases (which can grow without bound), tags and repeated keys are refused. YAML's own scanner keeps no
//! recursion, and the depth here is bounded.

use std::collections::HashMap;
use std::fmt::Write as _;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::codes;
use super::finding::Report;
use super::node::{Entry, Node, Place, Value};

/// The largest file that is read, in bytes. A list of 100,000 ranges takes about 3 MB.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;

/// How deep collections may nest. The deepest key of a configuration lies 5 deep.
const MAX_DEPTH: usize = 32;

/// Parses one source. `None` when it cannot be read to its end. What else is not taken is left out of the tree; the
/// reasons are in `report`.
pub(crate) fn parse(file: usize, text: &str, report: &mut Report) -> Option<Node> {
    let file = u32::try_from(file).unwrap_or(u32::MAX);
    let start = Place { file, line: 1, column: 1, width: 1 };
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len());
        report.at(
            &codes::NOT_YAML,
            start,
            "",
            message,
            "split it into several files; later ones override earlier ones",
        );
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(at) = text.find('\0') {
        // The scanner takes it for the end, and would pass over what follows.
        let place = Place { file, ..place_of(text, at) };
        let message = "this is not YAML: here is a NUL character (U+0000)";
        report.at(&codes::NOT_YAML, place, "", message.to_owned(), "remove the character");
        return None;
    }
    let mut builder = Builder { file, parser: Parser::new_from_str(text), path: String::new(), report };
    match builder.stream() {
        Ok(tree) => Some(tree.unwrap_or(Node { place: start, value: Value::Mapping(Box::default()) })),
        Err(problem) => {
            builder.refuse(problem);
            None
        }
    }
}

/// Where the character at the byte `at` stands.
fn place_of(text: &str, at: usize) -> Place {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    Place {
        file: 0,
        line: number(before.matches('\n').count()).saturating_add(1),
        column: number(before[line_start..].chars().count()).saturating_add(1),
        width: 1,
    }
}

struct Builder<'t, 'r, 's> {
    file: u32,
    parser: Parser<'t, StrInput<'t>>,
    path: String,
    report: &'r mut Report<'s>,
}

/// What is not taken.
struct Problem {
    place: Place,
    message: String,
    suggestion: &'static str,
}

impl<'t> Builder<'t, '_, '_> {
    /// Reads to the end of the stream. The tree is `None` when there is no document.
    fn stream(&mut self) -> Result<Option<Node>, Problem> {
        let mut tree = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(tree),
                Event::DocumentStart(_) if tree.is_some() => {
                    return Err(self.problem(
                        span,
                        "the file holds a second document",
                        "give each document a file of its own; later files override earlier ones",
                    ));
                }
                Event::DocumentStart(_) => {
                    let (event, span) = self.next()?;
                    tree = Some(self.node(event, span, 0)?);
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.unreadable(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Problem> {
        if depth > MAX_DEPTH {
            return Err(self.problem(
                span,
                &format!("collections nest deeper than {MAX_DEPTH}"),
                "no key of a configuration lies that deep: check the indentation",
            ));
        }
        let place = self.place(span);
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(span, anchor, tag.as_deref());
                match tag {
                    None => Value::Scalar { text: text.into(), plain: style == ScalarStyle::Plain },
                    Some(_) => Value::Refused,
                }
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(span, anchor, tag.as_deref());
                Value::Sequence(self.sequence(depth)?.into())
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(span, anchor, tag.as_deref());
                Value::Mapping(self.mapping(depth)?.into())
            }
            Event::Alias(_) => {
                let problem = self.problem(span, "an alias (`*name`) is not taken", "write the value out");
                self.refuse(problem);
                Value::Refused
            }
            _ => return Err(self.problem(span, "a value is missing here", "check what is not closed above")),
        };
        Ok(Node { place, value })
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        let length = self.path.len();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(items);
            }
            // Writing to a string cannot fail.
            let _ = write!(self.path, "[{}]", items.len());
            items.push(self.node(event, span, depth + 1)?);
            self.path.truncate(length);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<Entry>, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines = HashMap::new();
        let length = self.path.len();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(entries);
            }
            let key = self.key(event, span, depth)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if let Some((key, key_place)) = key {
                match lines.insert(key.clone(), key_place.line) {
                    None => entries.push(Entry { key, key_place, value }),
                    Some(line) => self.repeated(&key, key_place, line),
                }
            }
            self.path.truncate(length);
        }
    }

    /// Reads a mapping's key and adds it to the path. `None` when it is not taken.
    fn key(
        &mut self,
        event: Event<'t>,
        span: Span,
        depth: usize,
    ) -> Result<Option<(String, Place)>, Problem> {
        let key = self.node(event, span, depth + 1)?;
        match key.value {
            Value::Scalar { text, .. } => {
                if !self.path.is_empty() {
                    self.path.push('.');
                }
                self.path += &text;
                Ok(Some((text.into(), key.place)))
            }
            Value::Sequence(_) | Value::Mapping(_) => {
                self.refuse(Problem {
                    place: key.place,
                    message: "a key must be a text".into(),
                    suggestion: "put quotes around a key or value that begins with `[` or `{`",
                });
                Ok(None)
            }
            Value::Refused => Ok(None),
        }
    }

    fn repeated(&mut self, key: &str, place: Place, line: u32) {
        let message = format!("`{key}` is given twice; it stands in line {line} already");
        self.report.at(&codes::REPEATED_KEY, place, &self.path, message, "keep one of them");
    }

    fn refuse_extras(&mut self, span: Span, anchor: usize, tag: Option<&Tag>) {
        if anchor > 0 {
            let problem = self.problem(span, "an anchor (`&name`) is not taken", "write the value out");
            self.refuse(problem);
        }
        if let Some(tag) = tag {
            let message = format!("the tag `{}{}` is not taken", tag.handle, tag.suffix);
            let problem =
                self.problem(span, &message, "leave it out; put quotes around what is meant as text");
            self.refuse(problem);
        }
    }

    fn refuse(&mut self, problem: Problem) {
        self.report.at(&codes::NOT_YAML, problem.place, &self.path, problem.message, problem.suggestion);
    }

    fn unreadable(&self, error: &ScanError) -> Problem {
        let place = self.place(Span::empty(*error.marker()));
        let names = |word: &str| error.info().split(|c: char| !c.is_alphabetic()).any(|named| named == word);
        Problem {
            place,
            message: format!("this is not YAML: {}", error.info()),
            suggestion: if names("tab") || names("tabs") {
                "indent with spaces"
            } else if names("unprintable") {
                "remove the character"
            } else {
                "check indentation, quotes and brackets here and in the lines before"
            },
        }
    }

    fn problem(&self, span: Span, message: &str, suggestion: &'static str) -> Problem {
        Problem { place: self.place(span), message: message.into(), suggestion }
    }

    fn place(&self, span: Span) -> Place {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let Span { start, end } = span;
        let on_one_line = |end: Marker| start.line() == end.line() && end.col() > start.col();
        Place {
            file: self.file,
            line: number(start.line().max(1)),
            column: number(start.col()).saturating_add(1),
            width: if on_one_line(end) { number(end.col() - start.col()) } else { 1 },
        }
    }
}
