//! What the sources hold: tests by their full name, error codes.

use std::collections::BTreeSet;
use std::path::Path;

use super::{files, root};

/// Every test of the workspace as `crate_name::module::test_name`; those of an integration binary as
/// `crate_name::it::module::test_name`.
pub(super) fn rust_tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for file in files(&root().join("crates"), "rs") {
        let text = std::fs::read_to_string(&file).unwrap();
        let module = module_of(file.strip_prefix(root().join("crates")).unwrap());
        tests.extend(tests_of(&text).into_iter().map(|test| format!("{module}::{test}")));
    }
    tests
}

/// `kt-domain/src/network/cidr/tests.rs` is `kt_domain::network::cidr::tests`.
fn module_of(path: &Path) -> String {
    let path = path.with_extension("");
    let mut parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().replace('-', "_")).collect();
    // `src`, or the `tests` beside it.
    parts.remove(1);
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts.join("::")
}

/// The functions of a file that are tests, with the inline module that they stand in.
fn tests_of(text: &str) -> Vec<String> {
    let mut tests = Vec::new();
    let mut module = None;
    let mut is_test = false;
    let mut is_on_both = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
            module = Some(name);
        } else if line == "}" {
            module = None;
        }
        let code = line.trim_start();
        // The macro that runs a test on both databases.
        if line == "on_both! {" {
            is_on_both = true;
        } else if line == "}" {
            is_on_both = false;
        } else if let Some((name, rest)) = code.split_once('(')
            && is_on_both
            && line.starts_with("    ")
            && !line.starts_with("     ")
            && rest.ends_with(") {")
        {
            tests.push(name.to_owned());
        }
        if code.starts_with("#[test]") || code.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(name) = code.strip_prefix("async ").unwrap_or(code).strip_prefix("fn ")
            && is_test
        {
            let name = name.split('(').next().unwrap();
            tests.push(module.map_or_else(|| name.to_owned(), |module| format!("{module}::{name}")));
            is_test = false;
        }
    }
    tests
}

/// Whether the end-to-end tests have one of this title, or function of this name.
pub(super) fn has_end_to_end_test(title: &str) -> bool {
    let folder = root().join("e2e");
    let holds = |extension: &str, spellings: &[String]| {
        files(&folder, extension).iter().any(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            spellings.iter().any(|spelling| text.contains(spelling))
        })
    };
    let quoted = ['\'', '`', '"'].map(|quote| format!("test({quote}{}{quote}", title.replace('\'', "\\'")));
    holds("mjs", &quoted) || holds("py", &[format!("def {title}(")])
}

/// The `code` of every error body that the gateway or the control plane may send.
pub(super) fn error_codes() -> BTreeSet<String> {
    let mut codes = control_plane_codes();
    for file in files(&root().join("crates/kt-gateway/src"), "rs") {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        for (at, _) in code.match_indices('"') {
            let literal = code[at + 1..].split('"').next().unwrap();
            if is_name(literal) && introduces_a_code(&code[..at]) {
                codes.insert(literal.to_owned());
            }
        }
        for raw in code.split("\\\"code\\\":\\\"").skip(1) {
            codes.insert(raw.split('\\').next().unwrap().to_owned());
        }
    }
    codes
}

/// In the control plane a code stands behind the meaning of its error: `Error::new(ErrorKind::Conflict, "exists", …)`.
fn control_plane_codes() -> BTreeSet<String> {
    let crates = ["kt-domain", "kt-control", "kt-server"];
    let sources = crates.map(|name| files(&root().join("crates").join(name).join("src"), "rs"));
    let mut codes = BTreeSet::new();
    for file in sources.concat() {
        let code = std::fs::read_to_string(&file).unwrap();
        let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        for behind in code.split("::new(ErrorKind::").skip(1) {
            let literal = behind.split_once(",\"").map(|(_, rest)| rest.split('"').next().unwrap());
            codes.extend(literal.filter(|literal| is_name(literal)).map(str::to_owned));
        }
        // What the router itself refuses stands behind the class of its error.
        for behind in code.split("(\"validation_error\",\"").skip(1) {
            codes.extend(behind.split('"').next().filter(|literal| is_name(literal)).map(str::to_owned));
        }
    }
    codes
}

fn is_name(literal: &str) -> bool {
    !literal.is_empty() && literal.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Whether a literal behind `before` is an error's code: behind a status (`Refusal::invalid(400, …`), as a field, from
/// the helper for 401, or told by a fault of a provider.
fn introduces_a_code(before: &str) -> bool {
    let is_behind_status = before.strip_suffix(',').is_some_and(|before| {
        let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        digits == 3 && before[..before.len() - digits].ends_with(['(', ','])
    });
    let is_told_by_fault = before
        .strip_suffix("=>")
        .is_some_and(|before| before.rsplit([',', '{', ';']).next().unwrap().starts_with("Self::"));
    is_behind_status || is_told_by_fault || before.ends_with("code:") || before.ends_with("unauthenticated(")
}
