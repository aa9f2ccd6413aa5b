//! Cases by which a configuration's policies are tried out: what is sent, and what is expected of them.
//!
//! They stand in a file beside the configuration and are read as strictly as it, by the same reader.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::policy_config::check::check;
use crate::policy_config::codes;
use crate::policy_config::de::from_tree;
use crate::policy_config::finding::Report;
use crate::policy_config::shape::{schema_of, shape_of};
use crate::policy_config::{Finding, Phase, Severity, Source, parse_layers};

/// A file of cases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyCases {
    /// The cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Whether it is sent by a client or answered by a provider.
    #[serde(default = "request")]
    pub phase: Phase,
    /// What is said: the content of one message. Either this or `body` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A whole body, as JSON; of a stream, its events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether an answer comes as a stream of events.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// The path that is asked, with that of its route in front, such as `/hr/v1/chat/completions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The model that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The id of the key that is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The id of the consumer group that asks, if it is not to be that of `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What is to come of it.
    pub expect: Expectation,
}

/// What is to come of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// What the chain decides.
    pub verdict: CaseVerdict,
    /// The policy that blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The rules that find something, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<String>>,
    /// The points of what `prompt-injection` finds; 0 if that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u32>,
    /// The content of the message that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The targets that it may go to, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
}

/// What a chain can decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaseVerdict {
    /// It passes.
    #[default]
    Allow,
    /// It does not pass.
    Block,
    /// It passes with something cut out.
    Redact,
}

fn request() -> Phase {
    Phase::Request
}

/// What came of loading a file of cases.
#[derive(Clone, Debug)]
pub struct LoadedCases {
    /// The cases; none when a finding is an error.
    pub cases: Option<Vec<Case>>,
    /// Everything there is to say.
    pub findings: Vec<Finding>,
}

/// Reads a file of cases.
#[must_use]
pub fn load(source: Source) -> LoadedCases {
    let sources = [source];
    let mut report = Report::new(&sources);
    let cases = parse_layers(&sources, &mut report).and_then(|mut tree| {
        check(&mut tree, &shape_of(&json_schema()), None, &mut report);
        let file: PolicyCases = from_tree(&tree, &mut report)?;
        for (index, case) in file.cases.iter().enumerate() {
            if case.text.is_some() == case.body.is_some() {
                report.on(
                    &tree,
                    &codes::MISSING_KEY,
                    &format!("cases[{index}]"),
                    "a case has either `text` or `body`",
                    "write what is said as `text`, or a whole body as `body`",
                );
            }
            if case.stream && case.phase == Phase::Request {
                report.on(
                    &tree,
                    &codes::OUT_OF_RANGE,
                    &format!("cases[{index}].stream"),
                    "only answers come as streams",
                    "write `phase: response` beside it, or remove `stream`",
                );
            }
        }
        Some(file.cases)
    });
    let findings = report.into_findings();
    let valid = findings.iter().all(|finding| finding.severity == Severity::Warning);
    LoadedCases { cases: cases.filter(|_| valid), findings }
}

/// The JSON Schema (draft 2020-12) of a file of cases.
#[must_use]
pub fn json_schema() -> Value {
    schema_of::<PolicyCases>("Keeptrusts policy cases")
}

impl Case {
    /// The body that is judged: its own, or one of Chat Completions around its text.
    #[must_use]
    pub fn whole_body(&self) -> String {
        let text = || self.text.as_deref().unwrap_or_default();
        match (&self.body, self.phase) {
            (Some(body), _) => body.clone(),
            (None, Phase::Request) => json!({ "model": self.model.as_deref().unwrap_or("model"),
                    "messages": [{ "role": "user", "content": text() }] })
            .to_string(),
            (None, Phase::Response) if self.stream => stream_of(text()),
            (None, Phase::Response) => {
                json!({ "choices": [{ "index": 0, "message": { "role": "assistant", "content": text() } }] })
                    .to_string()
            }
        }
    }

    /// The content of the message in a body such as [`Self::whole_body`] makes.
    #[must_use]
    pub fn text_of(&self, body: &[u8]) -> Option<String> {
        if self.stream {
            return said_in(body);
        }
        let body: Value = serde_json::from_slice(body).ok()?;
        let place = match self.phase {
            Phase::Request => "/messages/0/content",
            Phase::Response => "/choices/0/message/content",
        };
        body.pointer(place)?.as_str().map(str::to_owned)
    }
}

/// How many characters come with one event: fewer than nearly everything that is looked for has.
const PIECE: usize = 5;

/// A stream of Chat Completions that says this.
fn stream_of(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let event = |piece: &[char]| {
        let delta = json!({ "choices": [{ "index": 0, "delta": { "content": String::from_iter(piece) } }] });
        format!("data: {delta}\n\n")
    };
    letters.chunks(PIECE).map(event).chain(["data: [DONE]\n\n".to_owned()]).collect()
}

/// What a stream of Chat Completions says.
fn said_in(stream: &[u8]) -> Option<String> {
    let lines = std::str::from_utf8(stream).ok()?.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = lines.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    Some(
        events
            .filter_map(|event| event.pointer("/choices/0/delta/content")?.as_str().map(str::to_owned))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> LoadedCases {
        load(Source { name: "cases.yaml".into(), text: text.into() })
    }

    #[test]
    fn a_case_says_what_is_sent_and_what_is_expected() {
        let file = "cases:\n  - {name: a card, text: 4111 1111 1111 1111, expect: {verdict: redact, text: '[card]'}}\n";
        let cases = loaded(file).cases.unwrap();
        assert_eq!((cases[0].phase, cases[0].expect.verdict), (Phase::Request, CaseVerdict::Redact));
        assert_eq!(
            cases[0].text_of(cases[0].whole_body().as_bytes()).as_deref(),
            Some("4111 1111 1111 1111")
        );
    }

    #[test]
    fn a_stream_says_its_text_piece_by_piece() {
        let file = "cases: [{name: x, phase: response, stream: true, text: über 4111 1111, expect: {verdict: allow}}]";
        let case = loaded(file).cases.unwrap().remove(0);
        let body = case.whole_body();
        assert_eq!(body.matches("data: {").count(), 3);
        assert!(body.contains("\"4111 \"") && body.ends_with("data: [DONE]\n\n"), "{body}");
        assert_eq!(case.text_of(body.as_bytes()).as_deref(), Some("über 4111 1111"));
    }

    #[test]
    fn what_is_misspelt_or_missing_is_named() {
        for (file, code) in [
            ("cases: [{name: x, text: a, expects: {verdict: allow}}]", "E002"),
            ("cases: [{name: x, expect: {verdict: allow}}]", "E008"),
            ("cases: [{name: x, text: a, body: '{}', expect: {verdict: allow}}]", "E008"),
            ("cases: [{name: x, text: a, expect: {verdict: maybe}}]", "E007"),
            ("cases: [{name: x, text: a, stream: true, expect: {verdict: allow}}]", "E007"),
        ] {
            let loaded = loaded(file);
            assert!(loaded.cases.is_none(), "{file}");
            assert!(
                loaded.findings.iter().any(|finding| finding.code == code),
                "{file}: {:?}",
                loaded.findings
            );
        }
    }
}
