//! YAML text to a tree of located nodes.
//!
//! Only what a configuration needs is taken: one document of mappings with text keys, sequences and scalars. Anchors
//! and aliases (which can grow without bound), tags and repeated keys are refused. YAML's own scanner keeps no
//! recursion, and the depth here is bounded.

use std::collections::HashSet;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::codes;
use super::finding::Report;
use super::node::{Entry, Node, Place, Value};

/// The largest file that is read. A list of 100,000 ranges takes about 3 MB.
pub(super) const MAX_BYTES: usize = 32 * 1024 * 1024;

/// How deep collections may nest. The deepest key of a configuration lies 5 deep.
const MAX_DEPTH: usize = 32;

/// Parses one source. `None` when it cannot be read to its end. What else is not taken is left out of the tree; the
/// reasons are in `report`.
pub(super) fn parse(file: usize, text: &str, report: &mut Report) -> Option<Node> {
    let file = u32::try_from(file).unwrap_or(u32::MAX);
    let start = Place { file, line: 1, column: 1, width: 1 };
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len());
        report.at(&codes::NOT_YAML, start, "", message, None);
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { file, parser: Parser::new_from_str(text), report };
    match builder.stream() {
        Ok(tree) => Some(tree.unwrap_or(Node { place: start, value: Value::Mapping(Vec::new()) })),
        Err(problem) => {
            builder.refuse(problem);
            None
        }
    }
}

struct Builder<'t, 'r, 's> {
    file: u32,
    parser: Parser<'t, StrInput<'t>>,
    report: &'r mut Report<'s>,
}

/// What is not taken.
struct Problem {
    place: Place,
    message: String,
    suggestion: Option<String>,
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
                    None => Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain },
                    Some(_) => Value::Refused,
                }
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(span, anchor, tag.as_deref());
                Value::Sequence(self.sequence(depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(span, anchor, tag.as_deref());
                Value::Mapping(self.mapping(depth)?)
            }
            _ => {
                let problem = self.problem(span, "an alias (`*name`) is not taken", "write the value out");
                self.refuse(problem);
                Value::Refused
            }
        };
        Ok(Node { place, value })
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<Entry>, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(entries);
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            match key.value {
                Value::Scalar { text, .. } if seen.insert(text.clone()) => {
                    entries.push(Entry { key: text, key_place: key.place, value });
                }
                Value::Scalar { text, .. } => self.repeated(&text, key.place, &entries),
                Value::Sequence(_) | Value::Mapping(_) => self.refuse(Problem {
                    place: key.place,
                    message: "a key must be a text".into(),
                    suggestion: Some("put quotes around a key or value that begins with `[` or `{`".into()),
                }),
                Value::Refused => {}
            }
        }
    }

    fn repeated(&mut self, key: &str, place: Place, entries: &[Entry]) {
        let first = entries.iter().find(|entry| entry.key == key).map_or(0, |entry| entry.key_place.line);
        self.report.at(
            &codes::REPEATED_KEY,
            place,
            key,
            format!("`{key}` is given twice; it stands in line {first} already"),
            Some("keep one of them".into()),
        );
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
        self.report.at(&codes::NOT_YAML, problem.place, "", problem.message, problem.suggestion);
    }

    fn unreadable(&self, error: &ScanError) -> Problem {
        let place = self.place(Span::empty(*error.marker()));
        let tab = error.info().contains("tab");
        Problem {
            place,
            message: format!("this is not YAML: {}", error.info()),
            suggestion: tab.then(|| "indent with spaces".into()),
        }
    }

    fn problem(&self, span: Span, message: &str, suggestion: &str) -> Problem {
        Problem { place: self.place(span), message: message.into(), suggestion: Some(suggestion.into()) }
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
