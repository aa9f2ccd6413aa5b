//! What `deny.toml` says of the tree of dependencies, as far as it can be checked without an internet: licences, and where
//! sources come from. Advisories are for `cargo deny`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::house::{cargo, root};

/// The words of the list `allow` of a section of `deny.toml`, one on each line as it is written there.
fn allowed_licenses() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let (_, section) = text.split_once("[licenses]").unwrap();
    let (_, list) = section.split_once("allow = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    let quoted = list.lines().filter_map(|line| line.trim().strip_prefix('"')?.split('"').next());
    quoted.map(str::to_owned).collect()
}

/// Whether an SPDX expression is met by what is allowed. `AND` binds tighter than `OR`; `/` is how `OR` was once written.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = alternatives(&mut words, allowed);
    met && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn alternatives(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut met = parts(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= parts(words, allowed);
    }
    met
}

fn parts(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut met = license(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= license(words, allowed);
    }
    met
}

fn license(words: &mut Words<'_>, allowed: &[String]) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let met = alternatives(words, allowed);
        return words.next_if_eq(&")").is_some() && met;
    }
    let met = words.next().is_some_and(|word| allowed.iter().any(|license| license == word));
    // An exception takes a license out of its own rules, never into stricter ones.
    if words.next_if_eq(&"WITH").is_some() {
        return words.next().is_some() && met;
    }
    met
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let allowed = allowed_licenses();
    assert!(allowed.len() > 5 && allowed.contains(&"Apache-2.0".to_owned()), "{allowed:?}");
    let tree =
        cargo(&["tree", "--offline", "--workspace", "--prefix=none", "--no-dedupe", "--format={p}|{l}"]);
    let mut lines: Vec<&str> = tree.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.sort_unstable();
    lines.dedup();
    assert!(lines.len() > 300, "the tree is printed as it is read here");
    let strangers: Vec<_> = lines
        .into_iter()
        .filter(|line| !line.split_once('|').is_some_and(|(_, license)| is_met(license, &allowed)))
        .collect();
    assert!(strangers.is_empty(), "{strangers:#?}");
}

#[test]
fn an_expression_is_met_by_what_is_allowed_and_by_nothing_else() {
    let allowed = ["MIT", "ISC", "Apache-2.0"].map(str::to_owned);
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("MIT AND ISC OR GPL-3.0", true),
        ("ISC AND (GPL-3.0 OR MIT)", true),
        ("ISC AND (GPL-3.0 OR AGPL-3.0)", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-2.0 WITH Classpath-exception-2.0", false),
        ("MIT ISC", false),
        ("(MIT", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}

#[test]
fn every_dependency_comes_from_the_registry() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let sources: Vec<&str> = lock.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    assert!(sources.len() > 300);
    let registry = "\"registry+https://github.com/rust-lang/crates.io-index\"";
    let strangers: Vec<_> = sources.into_iter().filter(|source| *source != registry).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    let unchecked = lock
        .split("\n\n")
        .filter(|package| package.contains("source = ") && !package.contains("checksum = "));
    assert_eq!(unchecked.count(), 0, "what comes from outside has its checksum in the lock file");
}

#[test]
fn the_bill_of_materials_names_what_the_program_is_built_from_with_its_checksum() {
    let output = Command::new(root().join("sbom")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bill: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    assert_eq!(bill["metadata"]["component"]["name"], "kt");
    let named: BTreeSet<String> = bill["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| format!("{} v{}", part["name"].as_str().unwrap(), part["version"].as_str().unwrap()))
        .collect();
    let tree =
        cargo(&["tree", "--offline", "--package=kt", "--edges=normal", "--prefix=none", "--format={p}"]);
    let linked: BTreeSet<String> = tree
        .lines()
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .filter(|part| !part.is_empty() && !part.starts_with("kt v"))
        .collect();
    let missing: Vec<_> = linked.difference(&named).collect();
    assert!(linked.len() > 100 && missing.is_empty(), "{missing:?}");
    for part in bill["components"].as_array().unwrap() {
        let name = part["name"].as_str().unwrap();
        assert_eq!(
            part.get("hashes").is_some(),
            !name.starts_with("kt-"),
            "{name}: all but ours have a checksum"
        );
    }
}
