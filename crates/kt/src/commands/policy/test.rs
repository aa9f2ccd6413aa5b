//! `kt policy test`: tries a configuration's policies out on the cases beside it, offline.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use kt_domain::events::Verdict;
use kt_domain::policy_cases::{self, Case, CaseVerdict};
use kt_domain::policy_config::{Finding, LoadOptions, load};
use kt_gateway::{Caller, Observed, Trial};
use serde::Serialize;
use serde_json::json;

use crate::commands::reading::printable;
use crate::config::{read_source_or_advise, read_sources};
use crate::failure::Failure;
use crate::output;

/// What to do when there are no cases.
const CASES_ADVICE: &str =
    "Cases stand in a file of their own, named with --cases; the guide's page on policies shows one";

/// Which configuration to try out, and on what.
#[derive(Args)]
pub(crate) struct Test {
    /// The configuration; when given again, later files override earlier ones key by key
    #[arg(long = "file", short, value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// The cases [default: `policy-cases.yaml` beside the last configuration]
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,

    /// Try it out for a gateway that is connected to a control plane
    #[arg(long)]
    connected: bool,

    /// Try it out as the control plane keeps it and hands it to gateways
    #[arg(long)]
    kept: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Test {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let options = LoadOptions { connected: self.connected || self.kept, kept: self.kept };
        let loaded = load(&read_sources(&self.files)?, options);
        let config = loaded.config.ok_or_else(|| self.refused(&loaded.findings))?;
        let trial = Trial::new(&config).map_err(|error| Failure::invalid(error.to_string()))?;
        let read = policy_cases::load(read_source_or_advise(&self.cases_file(), CASES_ADVICE)?);
        let cases = read.cases.ok_or_else(|| self.refused(&read.findings))?;
        check_callers(&trial, &cases)?;
        let outcomes: Vec<_> = cases.iter().map(|case| Outcome::of(&trial, case)).collect();
        let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
        let report = Report { total: cases.len(), failed, cases: outcomes };
        output::line(if self.json { report.to_json() } else { report.to_text() });
        if failed == 0 { Ok(()) } else { Err(Failure::silent(1)) }
    }

    /// What is wrong with a file, said at once; the exit status is that of `kt policy lint`.
    fn refused(&self, findings: &[Finding]) -> Failure {
        let shown = || findings.iter().map(Finding::render).collect::<Vec<_>>().join("\n");
        output::line(if self.json { json!({ "findings": findings }).to_string() } else { shown() });
        Failure::silent(2)
    }

    fn cases_file(&self) -> PathBuf {
        let beside = || self.files.last().map(|file| file.with_file_name("policy-cases.yaml"));
        self.cases.clone().or_else(beside).unwrap_or_default()
    }
}

/// A group or path that is misspelt would be judged like none in particular.
fn check_callers(trial: &Trial, cases: &[Case]) -> Result<(), Failure> {
    let unknown = cases.iter().find_map(|case| {
        let name = printable(&case.name);
        let group = case.group.as_deref().filter(|group| !trial.knows_group(group)).map(|group| {
            format!(
                "the case `{name}` comes from the group `{}`, which has no keys in `consumer_groups`; name one that has",
                printable(group)
            )
        });
        let path = case.path.as_deref().filter(|path| !trial.knows_path(path));
        group.or_else(|| {
            Some(format!("the case `{name}` asks `{}`, and there is no such path; write it as clients do", printable(path?)))
        })
    });
    unknown.map_or(Ok(()), |message| Err(Failure::invalid(message)))
}

/// What came of all cases.
#[derive(Serialize)]
struct Report<'a> {
    total: usize,
    failed: usize,
    cases: Vec<Outcome<'a>>,
}

/// What came of one.
#[derive(Serialize)]
struct Outcome<'a> {
    name: &'a str,
    passed: bool,
    /// How much `prompt-injection` makes of what it found, if it found something.
    score: Option<u32>,
    /// Whether a gateway would have asked a service, which was not asked here.
    needs_service: bool,
    differences: Vec<Difference>,
}

impl<'a> Outcome<'a> {
    fn of(trial: &Trial, case: &'a Case) -> Self {
        let observed = observe(trial, case);
        let differences = differences(case, &observed);
        Self {
            name: &case.name,
            passed: differences.is_empty(),
            score: observed.score,
            needs_service: observed.needs_service && observed.blocked_by.is_none(),
            differences,
        }
    }
}

impl Report<'_> {
    fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// A line for each case, the differences below it, and what it comes to.
    fn to_text(&self) -> String {
        let mut text = String::new();
        for Outcome { name, passed, score, differences, .. } in &self.cases {
            let mark = if *passed { "ok  " } else { "FAIL" };
            let score = score.map(|score| format!(" (score {score})")).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{mark}  {}{score}", printable(name));
            for Difference { what, expected, found } in differences {
                let (expected, found) = (printable(expected), printable(found));
                let _ = writeln!(
                    text,
                    "        {what}\n          - expected {expected}\n          + found    {found}"
                );
            }
        }
        let _ = write!(text, "{} of {} cases passed", self.total - self.failed, self.total);
        let unasked = self.cases.iter().filter(|outcome| outcome.needs_service).count();
        if unasked > 0 {
            let _ = write!(text, "\n`safety-filter` was not asked; a gateway would in {unasked} of them");
        }
        text
    }
}

fn observe(trial: &Trial, case: &Case) -> Observed {
    let caller = Caller {
        key: case.key.as_deref(),
        group: case.group.as_deref(),
        model: case.model.as_deref(),
        path: case.path.as_deref(),
    };
    let body = case.whole_body();
    if case.stream {
        // Nothing depends on the pieces in which it comes.
        trial.judge_stream(body.as_bytes(), body.len(), caller)
    } else {
        trial.judge(case.phase, body.as_bytes(), caller)
    }
}

/// Something that is not as expected.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    what: &'static str,
    expected: String,
    found: String,
}

/// Compares what was observed with everything that the case says it expects.
fn differences(case: &Case, observed: &Observed) -> Vec<Difference> {
    let expected = &case.expect;
    let shown = |text: &Option<String>| text.as_deref().unwrap_or("nothing").to_owned();
    let listed = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort_unstable();
        listed(&list)
    };
    let mut found =
        vec![("verdict", name_of(expected.verdict).to_owned(), observed.verdict.as_str().to_owned())];
    if expected.policy.is_some() {
        found.push(("policy", shown(&expected.policy), shown(&observed.blocked_by)));
    }
    if let Some(rules) = &expected.rules {
        found.push(("rules", sorted(rules), listed(&observed.rules)));
    }
    if let Some(score) = expected.score {
        found.push(("score", score.to_string(), observed.score.unwrap_or_default().to_string()));
    }
    if expected.text.is_some() {
        let text = observed.body.as_deref().and_then(|body| case.text_of(body));
        found.push(("text", shown(&expected.text), shown(&text)));
    }
    if let Some(targets) = &expected.targets {
        found.push((
            "targets",
            sorted(targets),
            observed.targets.as_deref().map_or_else(|| "any".into(), listed),
        ));
    }
    found
        .into_iter()
        .filter(|(_, expected, found)| expected != found)
        .map(|(what, expected, found)| Difference { what, expected, found })
        .collect()
}

fn name_of(verdict: CaseVerdict) -> &'static str {
    match verdict {
        CaseVerdict::Allow => Verdict::Allow,
        CaseVerdict::Block => Verdict::Block,
        CaseVerdict::Redact => Verdict::Redact,
    }
    .as_str()
}
