//! What all policies have in common: the registry, the chain, and that nothing depends on how content arrives.

mod corpora;
mod entities;
mod splits;

use std::time::{Duration, Instant};

use kt_domain::events::{Phase, Verdict};
use kt_domain::policy_config::{self, LoadOptions, POLICY_KINDS, PolicyConfig, Source};

use super::*;

/// A configuration with this `policies` and `policy`.
fn config(yaml: &str) -> PolicyConfig {
    let source = Source { name: "test.yaml".into(), text: yaml.into() };
    let loaded = policy_config::load(&[source], LoadOptions::default());
    let findings: Vec<_> = loaded.errors().map(policy_config::Finding::render).collect();
    loaded.config.unwrap_or_else(|| panic!("{findings:?}"))
}

fn chain(yaml: &str) -> Arc<Chain> {
    let config = config(yaml);
    Arc::new(Chain::new(&config.policies.chain, "policies.chain", &config.policy).unwrap())
}

/// A policy's kind, its verdict and the names of its rules that found something.
type Said = (String, Verdict, Vec<String>);

/// The kinds and verdicts of a judgement, and what goes on: the body, or nothing when it was blocked.
fn judged(chain: &Chain, body: &str) -> (Vec<Said>, Option<String>) {
    let Judged { evaluations, outcome, .. } =
        chain.judge(Phase::Request, Content::Json(body.as_bytes()), Asked::default());
    let said = evaluations
        .iter()
        .map(|own| (own.kind.to_string(), own.verdict, own.rules.iter().map(ToString::to_string).collect()));
    let passed = match outcome {
        Outcome::Pass => Some(body.to_owned()),
        Outcome::Redacted(redacted) => Some(String::from_utf8(redacted.to_vec()).unwrap()),
        Outcome::Blocked(_) => None,
    };
    (said.collect(), passed)
}

const BOTH: &str = "
policies: {chain: [audit-logger, pii-detector, dlp-filter]}
policy:
  pii-detector: {action: redact}
  dlp-filter: {action: block, dictionaries: [{name: projects, terms: [Blue Heron]}]}
";

#[test]
fn the_registry_and_the_configurations_kinds_are_the_same() {
    let known: Vec<&str> = REGISTRY.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(known, POLICY_KINDS);
}

#[test]
fn a_pattern_that_elsewhere_tries_every_way_is_through_with_a_long_text_in_no_time() {
    let chain = chain(
        "policies: {chain: [dlp-filter]}\npolicy: {dlp-filter: {patterns: [{name: slow, regex: '(a|a|aa)+b'}]}}",
    );
    let body = |end: &str| format!(r#"{{"messages":[{{"content":"{}{end}"}}]}}"#, "a".repeat(50_000));
    let began = Instant::now();
    assert!(judged(&chain, &body("!")).1.is_some());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(judged(&chain, &body("b")).1, None, "the control");
}

#[test]
fn policies_are_asked_in_order_until_one_blocks() {
    let chain = chain(BOTH);
    let (said, passed) = judged(&chain, r#"{"messages":[{"content":"hello"}]}"#);
    let verdicts: Vec<_> = said.iter().map(|(kind, verdict, _)| (&**kind, *verdict)).collect();
    assert_eq!(
        verdicts,
        [("audit-logger", Verdict::Allow), ("pii-detector", Verdict::Allow), ("dlp-filter", Verdict::Allow)]
    );
    assert!(passed.is_some());

    let (said, passed) =
        judged(&chain, r#"{"messages":[{"content":"mail a@example.com about blue  heron"}]}"#);
    assert_eq!(said[1], ("pii-detector".into(), Verdict::Redact, vec!["email".into()]));
    assert_eq!(said[2], ("dlp-filter".into(), Verdict::Block, vec!["projects".into()]));
    assert_eq!(passed, None);
}

#[test]
fn the_first_block_is_the_last_to_be_asked() {
    let yaml = BOTH.replace("redact", "block");
    let (said, passed) = judged(&chain(&yaml), r#"{"a":"a@example.com, Blue Heron"}"#);
    assert_eq!(said.iter().map(|(kind, ..)| &**kind).collect::<Vec<_>>(), ["audit-logger", "pii-detector"]);
    assert_eq!(passed, None);
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let yaml = BOTH.replace("{action: redact}", "{action: block, dry_run: true}");
    let chain = chain(&yaml);
    let body = r#"{"a":"a@example.com"}"#;
    let Judged { evaluations, outcome, .. } =
        chain.judge(Phase::Request, Content::Json(body.as_bytes()), Asked::default());
    assert!(matches!(outcome, Outcome::Pass));
    assert_eq!((evaluations[1].verdict, evaluations[1].dry_run), (Verdict::Block, true));
    assert_eq!(strictest(&evaluations), Verdict::Allow);
}

#[test]
fn what_is_cut_out_leaves_the_rest_as_it_stood() {
    let body = "{ \"a\" : [\"x\", \"to bob@example.com \\u00e9\\n\"],\"n\":4111111111111111, \"bob@example.com\": 1.50 }";
    let (_, passed) = judged(&chain(BOTH), body);
    assert_eq!(
        passed.as_deref(),
        Some("{ \"a\" : [\"x\", \"to [email] é\\n\"],\"n\":\"[card]\", \"[email]\": 1.50 }")
    );
}

#[test]
fn what_is_no_text_is_refused_unless_it_may_pass() {
    let strict = chain("policies: {chain: [pii-detector]}");
    let lenient = chain("policies: {chain: [pii-detector]}\npolicy: {pii-detector: {unreadable: allow}}");
    for body in [
        r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","data":"AA"}}]}]}"#,
        r#"{"input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"}]}]}"#,
        r#"{"input":[[1,2,3]]}"#,
        r#"{"prompt":[1,2,3]}"#,
        r#"{"choices":[{"logprobs":{"content":[{"token":"a"}]}}]}"#,
        r#"{"messages":[{"content":"\ud83d"}]}"#,
        "no json",
    ] {
        let of =
            |chain: &Chain| chain.judge(Phase::Request, Content::Json(body.as_bytes()), Asked::default());
        let Judged { evaluations, outcome, .. } = of(&strict);
        let Outcome::Blocked(block) = outcome else { panic!("{body}") };
        assert!(block.was_unreadable && evaluations[0].not_scanned, "{body}");
        let Judged { evaluations, outcome, .. } = of(&lenient);
        assert!(matches!(outcome, Outcome::Pass), "{body}");
        assert!(evaluations[0].not_scanned, "{body}");
        assert_eq!(evaluations[0].verdict, Verdict::Allow, "{body}");
    }
    let plain = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"logprobs":true,"tools":[{"type":"function"}]}"#;
    let Judged { evaluations, outcome, .. } =
        strict.judge(Phase::Request, Content::Json(plain.as_bytes()), Asked::default());
    assert!(matches!(outcome, Outcome::Pass) && !evaluations[0].not_scanned, "the control");
}
