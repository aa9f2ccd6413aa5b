//! How often the shipped policies are right: texts with what is to be found in them, and texts in which nothing is. The
//! counts are asserted, so that a change of a rule shows what it does to both. The texts were written for this purpose;
//! some that get past a policy are among them, because real ones would be too.

use super::super::safety_filter;
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

const ROUTING: &str = "
auth: {mode: static, keys: [{id: night-job, secret_key_ref: {env: A}}, {id: pupil, secret_key_ref: {env: B}}, {id: auditor, secret_key_ref: {env: C}}]}
consumer_groups: [{id: trainees, keys: [pupil]}, {id: auditors, keys: [auditor]}]
providers: {targets: [{id: anywhere, provider: echo}, {id: europe, provider: echo}, {id: in-house, provider: echo}]}
policies: {chain: [pii-detector, dlp-filter, data-routing-policy]}
policy:
  pii-detector: {action: note}
  dlp-filter: {action: note, dictionaries: [{name: projects, terms: [Blue Heron]}]}
  data-routing-policy:
    rules:
      - {name: payment, data: [card, iban], targets: [in-house]}
      - {name: personal, data: [pii-detector], targets: [in-house, europe]}
      - {name: projects, data: [projects], models: [own-*]}
      - {name: trainees, groups: [trainees], models: [small-*]}
      - {name: auditors, groups: [auditors], targets: [europe]}
      - {name: at-night, keys: [night-job], targets: [anywhere]}
";

/// Where a request may go: `any`, the names of targets, or nowhere, which is `block`.
fn way(chain: &Chain, [key, group, model, text]: [&str; 4]) -> String {
    let own = |name| Some(name).filter(|name| *name != "-");
    let asked = Asked { key: own(key), group: own(group), model: Some(model), hides_model: false };
    let body = serde_json::json!({ "messages": [{ "role": "user", "content": text }] }).to_string();
    let Judged { outcome, targets, .. } = chain.judge(Phase::Request, Content::Json(body.as_bytes()), asked);
    match (outcome, targets) {
        (Outcome::Blocked(_), _) => "block".to_owned(),
        (_, None) => "any".to_owned(),
        (_, Some(targets)) => targets.into_iter().collect::<Vec<_>>().join(","),
    }
}

#[test]
fn data_goes_astray_as_often_as_the_guide_says() {
    let chain = chain(ROUTING);
    let (mut bound, mut free) = (0, 0);
    let (mut missed, mut wrong): (Vec<String>, Vec<String>) = Default::default();
    for line in lines(include_str!("corpora/routed.txt")) {
        let mut fields = line.splitn(5, '\t');
        let mut field = || fields.next().unwrap();
        let (key, group, model, right) = (field(), field(), field(), field());
        let is_right = way(&chain, [key, group, model, field()]) == right;
        let (count, others) =
            if right == "any" { (&mut free, &mut wrong) } else { (&mut bound, &mut missed) };
        *count += 1;
        others.extend((!is_right).then_some(line.clone()));
    }
    assert_eq!((bound, missed.len()), (45, 5), "missed: {missed:#?}");
    assert_eq!((free, wrong.len()), (15, 3), "wrong: {wrong:#?}");
}

#[test]
fn what_a_moderation_service_says_is_read_as_often_as_the_guide_says() {
    let of_categories = |names: &str| {
        let names = if names == "-" { "" } else { names };
        chain(&format!(
            "providers: {{targets: [{{id: mod, provider: openai}}]}}\npolicies: {{chain: [safety-filter]}}\npolicy: {{safety-filter: {{target: mod, categories: [{names}]}}}}"
        ))
    };
    let (mut totals, mut others): ([usize; 3], [Vec<String>; 3]) = Default::default();
    for line in lines(include_str!("corpora/moderated.txt")) {
        let fields: Vec<&str> = line.splitn(4, '\t').collect();
        let [right, texts, categories, answer] = fields[..] else { panic!("{line}") };
        let chain = of_categories(categories);
        let (_, settings) = chain.safety_filters(Phase::Request).next().unwrap();
        let flagged = safety_filter::flagged(answer.as_bytes(), texts.parse().unwrap(), settings);
        let read = flagged.map_or_else(
            || "unjudged".to_owned(),
            |names| if names.is_empty() { "pass".to_owned() } else { names.join(",") },
        );
        let kind = ["pass", "unjudged"].iter().position(|own| *own == right).unwrap_or(2);
        totals[kind] += 1;
        others[kind].extend((read != right).then(|| format!("{read}: {line}")));
    }
    let counts = [0, 1, 2].map(|kind| (totals[kind], others[kind].len()));
    assert_eq!(counts, [(11, 0), (25, 0), (16, 2)], "{others:#?}");
}
