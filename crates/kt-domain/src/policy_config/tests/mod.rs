//! Tests of the whole way from text to configuration.

mod bad_documents;
mod layers;
mod reference;
mod robustness;
mod samples;
mod warnings;

use super::{Finding, LoadOptions, Loaded, Source, load};

/// Loads one file for a gateway that stands alone.
fn load_text(text: &str) -> Loaded {
    load_files(&[text])
}

/// Loads texts as the files `0.yaml`, `1.yaml` and so on.
fn load_files(texts: &[&str]) -> Loaded {
    let source =
        |(index, text): (usize, &&str)| Source { name: format!("{index}.yaml"), text: (*text).into() };
    load(&texts.iter().enumerate().map(source).collect::<Vec<_>>(), LoadOptions::default())
}

/// A finding in short: code, line, column and path.
fn short(finding: &Finding) -> (&str, u32, u32, &str) {
    (finding.code, finding.line, finding.column, &finding.path)
}
