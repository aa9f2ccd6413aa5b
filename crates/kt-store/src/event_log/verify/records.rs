//! The entries of a log or export as they stand in its files, in any spelling of JSON.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;

use kt_domain::audit::AuditLogStart;
use kt_domain::events::{Excerpt, Record};
use serde::{Deserialize, Serialize};

use super::super::error::{AtPath, LogError};
use super::super::segments::LINE_LIMIT;

/// Where an entry stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file.
    pub file: Arc<PathBuf>,
    /// Its first line, counted from 1.
    pub line: u64,
}

/// What stands at a place.
pub(super) enum Item<'a> {
    Entry(Record<'a>),
    Excerpt(Excerpt),
    /// The beginning of an export of an audit log.
    AuditLog(AuditLogStart),
    /// The last line of a file, without its end.
    Unfinished {
        /// Whether no file follows.
        is_last: bool,
    },
    Unreadable(String),
}

/// Reads files one after the other.
pub(super) struct Records<'a> {
    files: std::vec::IntoIter<PathBuf>,
    current: Option<Current>,
    text: Vec<u8>,
    progress: &'a mut dyn FnMut(u64),
}

struct Current {
    path: Arc<PathBuf>,
    reader: BufReader<File>,
    lines_read: u64,
}

/// What an export begins with that does not begin with a segment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum FirstLine {
    AuditLog(AuditLogStart),
    Excerpt(Excerpt),
}

impl<'a> Records<'a> {
    pub(super) fn new(files: Vec<PathBuf>, progress: &'a mut dyn FnMut(u64)) -> Self {
        Self { files: files.into_iter(), current: None, text: Vec::new(), progress }
    }

    /// The next entry; `None` at the end of the last file.
    pub(super) fn next(&mut self) -> Result<Option<(Place, Item<'_>)>, LogError> {
        let Some(place) = self.read_text()? else { return Ok(None) };
        if Record::from_written(&self.text).is_none() && self.text.last() == Some(&b'\n') {
            self.read_on_if_unfinished()?;
        }
        Ok(Some((place, self.item())))
    }

    /// Reads the next line that is not blank.
    fn read_text(&mut self) -> Result<Option<Place>, LogError> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(path) = self.files.next() else { return Ok(None) };
                let reader = BufReader::with_capacity(256 << 10, File::open(&path).at(&path)?);
                self.current = Some(Current { path: Arc::new(path), reader, lines_read: 0 });
                continue;
            };
            self.text.clear();
            let read = current.read_line(&mut self.text)?;
            (self.progress)(read);
            if read == 0 {
                self.current = None;
            } else if !self.text.trim_ascii().is_empty() {
                return Ok(Some(Place { file: Arc::clone(&current.path), line: current.lines_read }));
            }
        }
    }

    /// A pretty-printed entry takes several lines: adds lines until its braces are closed.
    fn read_on_if_unfinished(&mut self) -> Result<(), LogError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let mut nesting = Nesting::default();
        let mut seen = 0;
        loop {
            nesting.pass(&self.text[seen..]);
            seen = self.text.len();
            if !nesting.is_open() || seen as u64 >= LINE_LIMIT {
                return Ok(());
            }
            let read = current.read_line(&mut self.text)?;
            (self.progress)(read);
            if read == 0 {
                return Ok(());
            }
        }
    }

    fn item(&self) -> Item<'_> {
        if let Some(record) = Record::from_written(&self.text) {
            return Item::Entry(record);
        }
        match Record::from_json(&self.text) {
            Ok(record) => Item::Entry(record),
            Err(error) => match serde_json::from_slice(&self.text) {
                Ok(FirstLine::Excerpt(excerpt)) => Item::Excerpt(excerpt),
                Ok(FirstLine::AuditLog(start)) => Item::AuditLog(start),
                Err(_) if self.text.len() as u64 >= LINE_LIMIT => {
                    Item::Unreadable(format!("it is longer than {} MiB", LINE_LIMIT >> 20))
                }
                Err(_) if self.text.last() != Some(&b'\n') => {
                    Item::Unfinished { is_last: self.files.as_slice().is_empty() }
                }
                Err(_) => Item::Unreadable(error.to_string()),
            },
        }
    }
}

impl Current {
    fn read_line(&mut self, text: &mut Vec<u8>) -> Result<u64, LogError> {
        let left = LINE_LIMIT.saturating_sub(text.len() as u64).max(1);
        let read = self.reader.by_ref().take(left).read_until(b'\n', text).at(&self.path)?;
        self.lines_read += u64::from(read > 0);
        Ok(read as u64)
    }
}

/// How deep in braces a JSON text is.
#[derive(Default)]
struct Nesting {
    depth: u64,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    fn pass(&mut self, text: &[u8]) {
        for byte in text {
            let escaped = std::mem::take(&mut self.escaped);
            match byte {
                b'"' if !escaped => self.in_string = !self.in_string,
                b'\\' if self.in_string && !escaped => self.escaped = true,
                b'{' if !self.in_string => self.depth += 1,
                b'}' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn is_open(&self) -> bool {
        self.depth > 0
    }
}
