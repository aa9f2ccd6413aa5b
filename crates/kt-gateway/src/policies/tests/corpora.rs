//! How often the shipped policies are right: texts with what is to be found in them, and texts in which nothing is. The
//! counts are asserted, so that a change of a rule shows what it does to both. The texts were written for this purpose;
//! some that get past a policy are among them, because real ones would be too.

use super::*;

/// The lines of a corpus. A line break within a text is written `\n`.
fn lines(corpus: &str) -> Vec<String> {
    corpus.lines().map(|line| line.replace("\\n", "\n")).collect()
}

fn rules_found(chain: &Chain, text: &str) -> Vec<String> {
    let body = serde_json::json!({ "messages": [{ "role": "user", "content": text }] }).to_string();
    judged(chain, &body).0.remove(0).2
}

/// Whether the rule that a line of a corpus names finds the text behind it.
fn is_found(chain: &Chain, line: &str) -> bool {
    let (name, text) = line.split_once('\t').unwrap();
    rules_found(chain, text).iter().any(|rule| rule == name)
}

fn is_blocked(chain: &Chain, text: &str) -> bool {
    let body = serde_json::json!({ "messages": [{ "role": "user", "content": text }] }).to_string();
    judged(chain, &body).1.is_none()
}

#[test]
fn personal_data_is_found_as_often_as_the_guide_says() {
    let chain = chain("policies: {chain: [pii-detector]}");
    let texts = lines(include_str!("corpora/personal.txt"));
    let missed: Vec<&String> = texts.iter().filter(|line| !is_found(&chain, line)).collect();
    assert_eq!((texts.len(), missed.len()), (51, 3), "missed: {missed:#?}");

    let texts = lines(include_str!("corpora/impersonal.txt"));
    let wrong: Vec<_> = texts
        .iter()
        .map(|text| (text, rules_found(&chain, text)))
        .filter(|(_, rules)| !rules.is_empty())
        .collect();
    assert_eq!((texts.len(), wrong.len()), (40, 0), "wrong: {wrong:#?}");
}

#[test]
fn words_and_patterns_of_ones_own_are_found_as_often_as_the_guide_says() {
    let chain = chain(
        "policies: {chain: [dlp-filter]}\npolicy: {dlp-filter: {patterns: [{name: ticket, regex: 'ACME-\\d{4,8}'}], dictionaries: [{name: projects, terms: [Blue Heron, Grey Heron]}]}}",
    );
    let texts = lines(include_str!("corpora/confidential.txt"));
    let missed: Vec<&String> = texts.iter().filter(|line| !is_found(&chain, line)).collect();
    assert_eq!((texts.len(), missed.len()), (18, 3), "missed: {missed:#?}");

    let texts = lines(include_str!("corpora/public.txt"));
    let wrong: Vec<&String> = texts.iter().filter(|text| !rules_found(&chain, text).is_empty()).collect();
    assert_eq!((texts.len(), wrong.len()), (12, 0), "wrong: {wrong:#?}");
}

#[test]
fn attacks_are_found_as_often_as_the_guide_says() {
    let chain = chain("policies: {chain: [prompt-injection]}");
    let texts = lines(include_str!("corpora/attacks.txt"));
    let missed: Vec<&String> = texts.iter().filter(|text| !is_blocked(&chain, text)).collect();
    assert_eq!((texts.len(), missed.len()), (45, 7), "missed: {missed:#?}");

    let texts = lines(include_str!("corpora/harmless.txt"));
    let wrong: Vec<&String> = texts.iter().filter(|text| is_blocked(&chain, text)).collect();
    assert_eq!((texts.len(), wrong.len()), (47, 2), "wrong: {wrong:#?}");
}
