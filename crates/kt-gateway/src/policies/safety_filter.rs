//! `safety-filter`: what is asked of a moderation service, and how its answer is read (OpenAI's `/v1/moderations`).

use std::collections::BTreeMap;

use kt_domain::policy_config::{PolicySettings, SafetyFilter};
use serde::Deserialize;
use serde_json::json;

use super::Judge;
use super::reading::body::Body;
use super::reading::outline::Outline;
use super::text::patterns::TooLarge;

pub(super) const KIND: &str = "safety-filter";

#[expect(clippy::unnecessary_wraps, reason = "the registry's makers have one signature")]
pub(super) fn make(settings: &PolicySettings) -> Result<Judge, TooLarge> {
    Ok(settings.safety_filter.clone().map_or(Judge::Silent, Judge::Safety))
}

/// What a service is asked about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) texts: Vec<String>,
    /// Whether something stands beside them that cannot be put to it.
    pub(crate) is_partly_unreadable: bool,
}

/// What a body says.
pub(crate) fn said(body: &[u8]) -> Said {
    let mut outline = Outline::default();
    match std::str::from_utf8(body) {
        Ok(json) if outline.read(json).is_ok() => {
            let body = Body::read(json, &outline, &|_| false);
            let texts = body.written().map(str::to_owned).collect();
            Said { texts, is_partly_unreadable: body.is_partly_unreadable }
        }
        _ => Said { texts: Vec::new(), is_partly_unreadable: true },
    }
}

/// What the service is asked about texts.
pub(crate) fn question(texts: &[String], model: Option<&str>) -> String {
    let mut question = json!({ "input": texts });
    if let Some(model) = model {
        question["model"] = model.into();
    }
    question.to_string()
}

/// The categories of `settings` that the service's answer about so many texts flags; `None` when it is no answer. A
/// service may judge each text or all of them together.
pub(crate) fn flagged(answer: &[u8], texts: usize, settings: &SafetyFilter) -> Option<Vec<String>> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let judged = answer.results.len();
    if judged != 1 && judged < texts.max(1) {
        return None;
    }
    let counts = |name: &String| settings.categories.is_empty() || settings.categories.contains(name);
    let mut flagged: Vec<String> = Vec::new();
    for result in answer.results.into_iter().filter(|result| result.flagged) {
        let are_flagged = result.categories.into_iter().filter(|(_, is_flagged)| *is_flagged == Some(true));
        let names: Vec<String> = are_flagged.map(|(name, _)| name).collect();
        if names.is_empty() {
            // It may be any of those that are asked for.
            flagged.push("flagged".to_owned());
        }
        flagged.extend(names.into_iter().filter(counts));
    }
    flagged.sort_unstable();
    flagged.dedup();
    Some(flagged)
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    flagged: bool,
    #[serde(default)]
    categories: BTreeMap<String, Option<bool>>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kt_domain::events::Phase;
    use kt_domain::policy_config::Unreadable;
    use kt_domain::span::Span;

    use super::*;

    fn settings(categories: &[&str]) -> SafetyFilter {
        SafetyFilter {
            target: "moderation".into(),
            phases: vec![Phase::Request],
            categories: categories.iter().map(ToString::to_string).collect(),
            timeout: Span(Duration::from_secs(2)),
            on_failure: Unreadable::Block,
            unreadable: Unreadable::Block,
            dry_run: false,
        }
    }

    #[test]
    fn every_text_of_a_request_is_asked_about() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"one\n"}]},{"content":"two"}]}"#;
        let asked = said(body);
        assert_eq!(question(&asked.texts, Some("mod")), r#"{"input":["one\n","two"],"model":"mod"}"#);
        assert!(!asked.is_partly_unreadable);
    }

    #[test]
    fn what_cannot_be_put_to_the_service_is_told() {
        let nothing = Said { texts: Vec::new(), is_partly_unreadable: true };
        for body in [&b"no json"[..], b"\xff", br#"{"model":"m","prompt":[1,2,3]}"#] {
            assert_eq!(said(body), nothing);
        }
        let beside = said(br#"{"input":[{"role":"user","content":[{"type":"input_text","text":"one"},{"type":"input_file","file_id":"f"}]}]}"#);
        assert!(beside.is_partly_unreadable && beside.texts.contains(&"one".to_owned()), "{beside:?}");
    }

    #[test]
    fn an_answer_flags_what_it_names_and_what_was_asked_for() {
        let answer = br#"{"results":[{"flagged":true,"categories":{"hate":true,"violence":false}},{"flagged":true,"categories":{"self-harm":true,"hate":true}}]}"#;
        let of = |categories: &[&str]| flagged(answer, 2, &settings(categories));
        assert_eq!(of(&[]), Some(vec!["hate".into(), "self-harm".into()]));
        assert_eq!(of(&["self-harm", "violence"]), Some(vec!["self-harm".into()]));
        assert_eq!(of(&["violence"]), Some(vec![]));
        assert_eq!(
            flagged(br#"{"results":[{"flagged":true}]}"#, 3, &settings(&[])),
            Some(vec!["flagged".into()])
        );
        assert_eq!(flagged(br#"{"results":[{"flagged":false}]}"#, 1, &settings(&[])), Some(vec![]));
        let unnamed = br#"{"results":[{"flagged":true,"categories":{"hate":null,"violence":false}}]}"#;
        assert_eq!(flagged(unnamed, 1, &settings(&["violence"])), Some(vec!["flagged".into()]));
        for bad in [&b"{}"[..], b"", b"{\"error\":{}}", b"{\"results\":[{}]}", b"{\"results\":[]}"] {
            assert_eq!(flagged(bad, 1, &settings(&[])), None);
        }
    }

    #[test]
    fn an_answer_about_some_of_the_texts_alone_is_none() {
        let answer = br#"{"results":[{"flagged":false},{"flagged":false}]}"#;
        for (texts, expected) in [(1, Some(vec![])), (2, Some(vec![])), (3, None)] {
            assert_eq!(flagged(answer, texts, &settings(&[])), expected, "{texts}");
        }
    }
}
