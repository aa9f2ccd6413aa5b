//! That no file of messages keeps a text that nothing says any more.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::FILES;
use super::{code_of, files};

/// Where a text comes from that stands in no file of ours; its message says so before it: `#: zxcvbn`.
const ELSEWHERE: &str = "zxcvbn";

/// Whatever stands between one quote and the next in the program and its templates, with `{}` in place of values: the texts
/// are among it.
fn between_quotes() -> BTreeSet<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = [
        ("kt-domain/src", "rs"),
        ("kt-store/src", "rs"),
        ("kt-control/src", "rs"),
        ("kt-server/src", "rs"),
        ("kt-server/templates", "html"),
    ];
    let mut found = BTreeSet::new();
    for file in folders.iter().flat_map(|(folder, ends)| files(&crates.join(folder), ends)) {
        let text = std::fs::read_to_string(&file).unwrap();
        let text = if file.extension().is_some_and(|ends| ends == "rs") { code_of(&text) } else { text };
        // A quote within a text neither begins nor ends it.
        let whole = joined(&text).replace("\\\"", "\u{1}");
        found.extend(whole.split('"').map(|part| without_names(&part.replace('\u{1}', "\""))));
    }
    found
}

/// The code with each text that goes on in the next line as one.
fn joined(code: &str) -> String {
    let mut parts = code.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| whole + part.trim_start())
}

/// The text with `{}` in place of what stands between braces and is one word.
fn without_names(text: &str) -> String {
    let mut parts = text.split('{');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}') {
            Some((name, behind)) if !name.contains(char::is_whitespace) => {
                plain += "{}";
                plain += behind;
            }
            _ => {
                plain.push('{');
                plain += part;
            }
        }
    }
    plain
}

#[test]
fn no_language_keeps_what_nothing_says_any_more() {
    let said = between_quotes();
    assert!(!said.contains("Nobody says this."), "the control: it stands in a test alone");
    for (tag, file) in FILES {
        let parsed = polib::po_file::parse_from_reader(file.as_bytes()).unwrap();
        let (mut unsaid, mut ours) = (Vec::new(), Vec::new());
        for message in parsed.messages() {
            let is_said = said.contains(&without_names(message.msgid()));
            match (message.source() == ELSEWHERE, is_said) {
                (false, false) => unsaid.push(message.msgid().to_owned()),
                (true, true) => ours.push(message.msgid().to_owned()),
                _ => {}
            }
        }
        assert!(unsaid.is_empty(), "{tag}: nothing says {unsaid:#?}");
        assert!(ours.is_empty(), "{tag}: said here, and not by {ELSEWHERE}: {ours:#?}");
    }
}
