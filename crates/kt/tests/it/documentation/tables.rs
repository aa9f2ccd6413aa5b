//! The tables that say which test shows what.

use std::collections::BTreeMap;

use super::read;
use super::sources::{has_end_to_end_test, rust_tests};

const TABLES: [&str; 3] =
    ["docs/coverage.md", "docs/reference/standards.md", "docs/reference/security-cases.md"];

#[test]
fn the_coverage_table_names_every_requirement_once() {
    let expected: Vec<String> = (1..=356).map(|number| format!("R{number}")).collect();
    assert_lists("docs/coverage.md", &expected);
}

#[test]
fn the_table_of_standards_names_every_control_once() {
    let areas = [
        ("PWD", 13),
        ("ATK", 10),
        ("FLOW", 12),
        ("MFA", 14),
        ("PK", 17),
        ("SES", 16),
        ("CSRF", 9),
        ("WEB", 16),
        ("OIDC", 18),
        ("SAML", 18),
        ("JWT", 9),
        ("KEY", 11),
        ("AZ", 10),
        ("CORS", 17),
        ("IP", 13),
        ("HTTP", 22),
        ("LLM", 10),
        ("API", 12),
        ("CRY", 9),
        ("LOG", 15),
        ("OPS", 14),
    ];
    let of_area = |(letters, count)| (1..=count).map(move |number: u32| format!("{letters}-{number:02}"));
    let expected: Vec<String> = areas.into_iter().flat_map(of_area).collect();
    assert_lists("docs/reference/standards.md", &expected);
}

#[test]
fn the_table_of_security_cases_names_every_case_once() {
    let mut expected: Vec<String> = (1..=76).map(|number| format!("I{number}")).collect();
    for (letter, count) in
        [("A", 11), ("B", 7), ("C", 8), ("D", 4), ("E", 8), ("F", 5), ("G", 4), ("H", 3), ("I", 4)]
    {
        expected.extend((1..=count).map(|number| format!("GW-{letter}{number}")));
    }
    assert_lists("docs/reference/security-cases.md", &expected);
}

/// Asserts that each of `expected` stands at the head of exactly one row, and nothing else does.
fn assert_lists(page: &str, expected: &[String]) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for cells in rows(&read(page)) {
        for id in ids(&cells[0]) {
            *counts.entry(id).or_default() += 1;
        }
    }
    let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).map(|(id, _)| id).collect();
    let missing: Vec<_> = expected.iter().filter(|id| !counts.contains_key(*id)).collect();
    let unknown: Vec<_> = counts.keys().filter(|id| !expected.contains(id)).collect();
    assert!(repeated.is_empty(), "{page} lists twice: {repeated:?}");
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{page} lacks {missing:?}, and has unknown {unknown:?}"
    );
}

#[test]
fn every_row_has_its_evidence_or_says_why_not() {
    for page in TABLES {
        for cells in rows(&read(page)).filter(|cells| !ids(&cells[0]).is_empty()) {
            let evidence = cells.last().unwrap();
            let says_why =
                ["not yet: ", "cannot occur: ", "not offered: "].iter().any(|why| evidence.contains(why));
            let has_evidence = !test_names(evidence).is_empty() || evidence.contains("](");
            assert!(says_why || has_evidence, "{page}: {} has neither a test nor a reason", cells[0]);
        }
    }
}

#[test]
fn every_test_that_a_table_names_exists() {
    let tests = rust_tests();
    let mut unknown = Vec::new();
    for page in TABLES {
        for cells in rows(&read(page)) {
            for name in test_names(cells.last().unwrap()) {
                let exists = match name.strip_prefix("e2e::") {
                    Some(title) => has_end_to_end_test(title),
                    None => tests.contains(name),
                };
                if !exists {
                    unknown.push(format!("{page}, {}: {name}", cells[0]));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "no such tests: {unknown:#?}");
}

/// The rows of a page's tables, as their trimmed cells.
pub(super) fn rows(page: &str) -> impl Iterator<Item = Vec<String>> {
    let is_row = |line: &&str| line.starts_with('|') && !line.starts_with("|-");
    page.lines().filter(is_row).map(|line| {
        let line = line.trim().trim_matches('|').replace("\\|", "\u{0}");
        line.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
    })
}

/// The identifiers of a row's first cell: one, several with commas, or a range such as `R1–R11`.
fn ids(cell: &str) -> Vec<String> {
    cell.split(", ").flat_map(range).collect()
}

fn range(text: &str) -> Vec<String> {
    let (first, last) = text.split_once('–').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Some((letters, from)), Some((_, to))) => {
            // The standards' identifiers are written with two digits.
            let width = if letters.ends_with('-') { 2 } else { 0 };
            (from..=to).map(|number| format!("{letters}{number:0width$}")).collect()
        }
        _ => Vec::new(),
    }
}

/// `GW-A1` is `GW-A` and 1.
fn number(id: &str) -> Option<(&str, u32)> {
    let letters = id.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_id = !letters.is_empty() && letters.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    Some((letters, id[letters.len()..].parse().ok()?)).filter(|_| is_id)
}

/// The names of tests in a cell: what stands in backticks and holds `::`.
fn test_names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).filter(|code| code.contains("::")).collect()
}
