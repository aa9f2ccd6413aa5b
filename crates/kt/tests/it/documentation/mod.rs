//! The documentation says what is so: its tables name tests that exist, its links lead somewhere, its configurations
//! load, and every error has its explanation.

mod sources;
mod tables;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kt_domain::deployment_config;
use kt_domain::policy_cases;
use kt_domain::policy_config::{Finding, LoadOptions, Source, load};

/// A file of the repository, by its path from the root.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// All files below `folder` with this extension, built and installed things left out.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "node_modules"].contains(&&*name) {
                found.extend(files(&path, extension));
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let mut dead = Vec::new();
    for page in files(root(), "md") {
        let text = std::fs::read_to_string(&page).unwrap();
        for target in links(&text) {
            let file = target.split('#').next().unwrap();
            if !file.is_empty() && !page.parent().unwrap().join(file).exists() {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

/// The targets of a page's links that lead to files; code is no link.
fn links(text: &str) -> Vec<&str> {
    let outside_code = text.split("```").step_by(2);
    outside_code
        .flat_map(|part| part.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

#[test]
fn every_configuration_in_the_guide_is_valid() {
    let mut pages = files(&root().join("docs/guide"), "md");
    pages.push(root().join("README.md"));
    let mut seen = 0;
    for page in pages {
        for text in yaml_blocks(&std::fs::read_to_string(&page).unwrap()) {
            let name = page.file_name().unwrap().to_string_lossy().into_owned();
            let source = Source { name, text: text.clone() };
            let findings = if text.starts_with("# keeptrusts.yaml\n") {
                deployment_config::load(Some(source), &[]).findings
            } else if text.starts_with("# policy-cases.yaml\n") {
                policy_cases::load(source).findings
            } else {
                load(&[source], LoadOptions::default()).errors().cloned().collect()
            };
            let errors: Vec<_> = findings.iter().map(Finding::render).collect();
            assert!(errors.is_empty(), "{}\n{text}", errors.join("\n"));
            seen += 1;
        }
    }
    assert!(seen >= 10, "the guide has configurations, and {seen} were found");
}

fn yaml_blocks(page: &str) -> Vec<String> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn every_error_code_is_explained_and_no_other() {
    let explained: BTreeSet<String> = tables::rows(&read("docs/guide/errors.md"))
        .filter_map(|cells| Some(cells[0].strip_prefix('`')?.strip_suffix('`')?.to_owned()))
        .collect();
    let given = sources::error_codes();
    let unexplained: Vec<_> = given.difference(&explained).collect();
    let invented: Vec<_> = explained.difference(&given).collect();
    assert!(
        unexplained.is_empty() && invented.is_empty(),
        "unexplained {unexplained:?}, invented {invented:?}"
    );
}
