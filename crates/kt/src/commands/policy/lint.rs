//! `kt policy lint`: says everything there is to say about a configuration.

use std::path::PathBuf;

use clap::Args;
use kt_domain::policy_config::{Finding, LoadOptions, Loaded, Outline, PolicyConfig, load};
use serde::Serialize;

use crate::commands::reading::printable;
use crate::config::read_or_say;
use crate::failure::Failure;
use crate::output::{self, counted};

/// What to check, and how to say it.
#[derive(Args)]
pub(crate) struct Lint {
    /// The file to check; when given again, later files override earlier ones key by key
    #[arg(long = "file", short, value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Check for a gateway that is connected to a control plane
    #[arg(long)]
    connected: bool,

    /// Check for the control plane, which is to keep it and hand it to gateways
    #[arg(long)]
    kept: bool,
}

impl Lint {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (mut sources, mut unreadable) = (Vec::new(), Vec::new());
        for path in &self.files {
            match read_or_say(path) {
                Ok(source) => sources.push(source),
                Err(finding) => unreadable.push(finding),
            }
        }
        let mut loaded =
            load(&sources, LoadOptions { connected: self.connected || self.kept, kept: self.kept });
        if sources.is_empty() {
            loaded.findings.clear();
            loaded.outline = None;
        }
        if !unreadable.is_empty() {
            loaded.config = None;
            loaded.findings.splice(0..0, unreadable);
        }
        let files: Vec<_> = self.files.iter().map(|path| path.display().to_string()).collect();
        let file = files.join(", ");
        let text = if self.json { json(&file, &loaded) } else { prose(&file, &loaded) };
        output::line(text);
        if loaded.config.is_some() { Ok(()) } else { Err(Failure::silent(2)) }
    }
}

/// What a program reads. `pack` and `chain` are told as far as the file can be read, valid or not.
#[derive(Serialize)]
struct Report<'a> {
    valid: bool,
    file: &'a str,
    pack: Option<&'a str>,
    chain: &'a [String],
    policy_count: usize,
    errors: Vec<&'a Finding>,
    warnings: Vec<&'a Finding>,
    /// Whether there may be more of them than are listed; left out where all are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

impl<'a> Report<'a> {
    /// A report without findings.
    fn about(file: &'a str, outline: Option<&'a Outline>) -> Self {
        let chain = outline.map_or(&[][..], |outline| &outline.chain);
        Self {
            valid: false,
            file,
            pack: outline.map(|outline| outline.pack.as_str()),
            chain,
            policy_count: chain.len(),
            errors: Vec::new(),
            warnings: Vec::new(),
            truncated: false,
        }
    }

    fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

fn json(file: &str, loaded: &Loaded) -> String {
    let report = Report {
        valid: loaded.config.is_some(),
        errors: loaded.errors().collect(),
        warnings: loaded.warnings().collect(),
        truncated: loaded.is_cut_off(),
        ..Report::about(file, loaded.outline.as_ref())
    };
    report.to_text()
}

/// What a person reads: the findings, then what they come to.
fn prose(file: &str, loaded: &Loaded) -> String {
    let findings: Vec<_> = loaded.findings.iter().map(Finding::render).collect();
    let cut = if loaded.is_cut_off() { "; there may be more than are told" } else { "" };
    let warnings = format!("{}{cut}", counted(loaded.warnings().count(), "warning", "warnings"));
    let file = &printable(file);
    let summary = if let Some(config) = &loaded.config {
        summary(file, config, &warnings)
    } else {
        let errors = counted(loaded.errors().count(), "error", "errors");
        format!("{file} is not valid: {errors}, {warnings}")
    };
    [findings, vec![summary]].concat().join("\n")
}

fn summary(file: &str, config: &PolicyConfig, warnings: &str) -> String {
    let targets = config
        .providers
        .targets
        .iter()
        .map(|target| printable(&format!("{} ({})", target.id, target.provider)));
    format!(
        "{file} is valid, with {warnings}\n  pack:    {} {}\n  chain:   {}\n  targets: {}",
        printable(&config.pack.name),
        config.pack.version,
        or_none(&config.policies.chain.join(", ")),
        or_none(&targets.collect::<Vec<_>>().join(", ")),
    )
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

#[cfg(test)]
mod tests {
    use kt_domain::policy_config::Source;

    use super::*;

    const VALID: &str = "\
pack: {name: demo, version: 1.2.3}
providers: {targets: [{id: a, provider: echo}]}
policies: {chain: [audit-logger]}
cors: {enabled: true}
";

    fn loaded(text: &str) -> Loaded {
        let source = Source { name: "policy-config.yaml".into(), text: text.into() };
        load(&[source], LoadOptions::default())
    }

    #[test]
    fn a_person_reads_the_findings_and_a_summary() {
        insta::assert_snapshot!(prose("policy-config.yaml", &loaded(VALID)));
        insta::assert_snapshot!(prose(
            "policy-config.yaml",
            &loaded("cors: {enable: true}\npack: {version: x}\n")
        ));
    }

    #[test]
    fn a_program_reads_json() {
        insta::assert_snapshot!(json("policy-config.yaml", &loaded(VALID)));
        insta::assert_snapshot!(json("policy-config.yaml", &loaded("policies: {chain: [audit-log]}\n")));
        assert!(json("policy-config.yaml", &loaded("pack: {name: \n")).contains("\"pack\": null"));
    }
}
