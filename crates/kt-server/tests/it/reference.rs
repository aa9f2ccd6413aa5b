//! The reference of the API says what the code says. `KEEPTRUSTS_WRITE_REFERENCE=1` writes it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

const BEGINNING: &str = "<!-- Made from the code; `KEEPTRUSTS_WRITE_REFERENCE=1 cargo test -p kt-server reference` writes it anew. -->

# The control plane's API

Every route, by area. [`openapi.json`](openapi.json) is the same as an OpenAPI 3.1 document, with the fields of every
request and answer; a running server gives it at `GET /openapi.json`.

Requests and answers are JSON. A request says who it is from by `Authorization: Bearer …`, with an access token or an
API key, where it does not say \"anybody\". A refusal is `{\"error\": {\"type\", \"code\", \"message\", \"request_id\", …}}`;
[errors](../guide/errors.md) explains the codes.
";

#[test]
fn the_pages_about_the_api_are_the_ones_in_the_docs() {
    let document = serde_json::to_value(kt_server::openapi()).unwrap();
    compare("openapi.json", &format!("{document:#}\n"));
    compare("api.md", &page(&document));
}

#[test]
fn every_route_says_what_it_does_and_how_it_fails() {
    let document = serde_json::to_value(kt_server::openapi()).unwrap();
    for (route, operation) in operations(&document) {
        assert!(
            operation["summary"].as_str().is_some_and(|summary| summary.ends_with('.')),
            "{route} has no sentence"
        );
        let answers = operation["responses"].as_object().unwrap();
        assert!(
            answers.values().all(|answer| !answer["description"].as_str().unwrap().is_empty()),
            "{route}"
        );
        assert!(operation["tags"][0].is_string(), "{route} belongs to no area");
        let is_operational = operation["tags"][0] == "operations";
        let is_open = operation["security"] == serde_json::json!([{}]);
        assert!(is_operational || is_open || answers.contains_key("401"), "{route} does not say 401");
    }
}

#[test]
fn every_schema_has_a_name_of_its_own() {
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut places: BTreeMap<String, PathBuf> = BTreeMap::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let derived = text.split("#[derive(").skip(1).filter(|part| {
            part.split(")]").next().is_some_and(|traits| traits.split(", ").any(|name| name == "ToSchema"))
        });
        for part in derived {
            let declared = part.lines().find(|line| line.contains(" struct ") || line.contains(" enum "));
            // A macro's own list of traits declares nothing by itself.
            let Some(declared) = declared else { continue };
            let rest = declared.split(" struct ").last().unwrap().split(" enum ").last().unwrap();
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            let taken = places.insert(name.clone(), path.clone());
            assert_eq!(
                taken,
                None,
                "{name} is also in {}: the document would hold one of them",
                path.display()
            );
        }
    }
    assert!(places.len() > 50, "{}", places.len());
}

pub(crate) fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    #[expect(clippy::disallowed_methods, reason = "whoever runs the test says here that it is to write")]
    let write = std::env::var("KEEPTRUSTS_WRITE_REFERENCE").is_ok();
    if write {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is out of date: set KEEPTRUSTS_WRITE_REFERENCE=1 to write it", path.display());
}

/// Every operation, named by method and path.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            all.push((format!("{} {path}", method.to_uppercase()), operation));
        }
    }
    all
}

fn page(document: &Value) -> String {
    let mut areas: BTreeMap<&str, Vec<(String, &Value)>> = BTreeMap::new();
    for (route, operation) in operations(document) {
        areas.entry(operation["tags"][0].as_str().unwrap()).or_default().push((route, operation));
    }
    let mut page = BEGINNING.to_owned();
    for (area, operations) in areas {
        write!(page, "\n## {area}\n\n| route | what it does | answers |\n|---|---|---|\n").unwrap();
        for (route, operation) in operations {
            let statuses: Vec<_> =
                operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
            let by_anybody = if operation["security"].is_array() { " (anybody)" } else { "" };
            // A row of a table has one line.
            let summary = operation["summary"].as_str().unwrap().replace('\n', " ");
            writeln!(page, "| `{route}`{by_anybody} | {summary} | {} |", statuses.join(", ")).unwrap();
        }
    }
    page
}
