//! `kt policy lint`: says everything there is to say about a configuration.

use std::path::PathBuf;

use clap::Args;
use kt_domain::policy_config::{Finding, LoadOptions, Loaded, PolicyConfig, Source, load};
use serde::Serialize;

use crate::config::read_sources;
use crate::failure::Failure;
use crate::output;

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
        let sources = read_sources(&self.files)?;
        let loaded = load(&sources, LoadOptions { connected: self.connected || self.kept, kept: self.kept });
        let file = names(&sources);
        let text = if self.json { json(&file, &loaded) } else { prose(&file, &loaded) };
        output::line(text);
        if loaded.config.is_some() { Ok(()) } else { Err(Failure::silent(2)) }
    }
}

fn names(sources: &[Source]) -> String {
    sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// What a program reads. `pack` and `chain` are those of a valid configuration.
#[derive(Serialize)]
struct Report<'a> {
    valid: bool,
    file: &'a str,
    pack: Option<&'a str>,
    chain: &'a [String],
    policy_count: usize,
    errors: Vec<&'a Finding>,
    warnings: Vec<&'a Finding>,
}

fn json(file: &str, loaded: &Loaded) -> String {
    let config = loaded.config.as_ref();
    let chain = config.map_or(&[][..], |config| &config.policies.chain);
    let report = Report {
        valid: config.is_some(),
        file,
        pack: config.map(|config| config.pack.name.as_str()),
        chain,
        policy_count: chain.len(),
        errors: loaded.errors().collect(),
        warnings: loaded.warnings().collect(),
    };
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

/// What a person reads: the findings, then what they come to.
fn prose(file: &str, loaded: &Loaded) -> String {
    let findings: Vec<_> = loaded.findings.iter().map(Finding::render).collect();
    let warnings = counted(loaded.warnings().count(), "warning");
    let summary = if let Some(config) = &loaded.config {
        summary(file, config, &warnings)
    } else {
        format!("{file} is not valid: {}, {warnings}", counted(loaded.errors().count(), "error"))
    };
    [findings, vec![summary]].concat().join("\n")
}

fn summary(file: &str, config: &PolicyConfig, warnings: &str) -> String {
    let targets =
        config.providers.targets.iter().map(|target| format!("{} ({})", target.id, target.provider));
    format!(
        "{file} is valid, with {warnings}\n  pack:    {} {}\n  chain:   {}\n  targets: {}",
        config.pack.name,
        config.pack.version,
        or_none(&config.policies.chain.join(", ")),
        or_none(&targets.collect::<Vec<_>>().join(", ")),
    )
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

#[cfg(test)]
mod tests {
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
    }
}
