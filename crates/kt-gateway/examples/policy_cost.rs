//! What each policy costs: nanoseconds for a request of 1.5 KiB, and the rate at which long text is read. See
//! `bench/policies`.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::expect_used, reason = "a benchmark that cannot begin has nothing to say")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use kt_domain::events::Phase;
use kt_domain::policy_config::{LoadOptions, Source, load};
use kt_gateway::{Caller, Trial};

/// Prose with a number and a name now and then, as people write to models.
const PROSE: &str = "Please summarize the minutes of the last meeting for the team, and keep it short. The release was \
moved by 2 weeks, because the tests of the new reader take longer than planned; everybody agreed that this is the right \
thing to do. Maria will write to the customers, and the support team prepares answers to the usual questions. ";

const CHAINS: [(&str, &str); 7] = [
    ("none that reads", "policies: {chain: [audit-logger]}"),
    ("pii-detector", "policies: {chain: [pii-detector]}"),
    (
        "dlp-filter, 100 words",
        "policies: {chain: [dlp-filter]}\npolicy: {dlp-filter: {dictionaries: [{name: w, terms: [TERMS]}]}}",
    ),
    ("prompt-injection", "policies: {chain: [prompt-injection]}"),
    (
        "pii + data-routing",
        "providers: {targets: [{id: own, provider: echo}]}\npolicies: {chain: [pii-detector, data-routing-policy]}\npolicy: {data-routing-policy: {rules: [{name: cards, data: [card], targets: [own]}, {name: models, models: [m]}]}}",
    ),
    (
        "pii + injection + dlp",
        "policies: {chain: [pii-detector, prompt-injection, dlp-filter]}\npolicy: {dlp-filter: {dictionaries: [{name: w, terms: [TERMS]}]}}",
    ),
    (
        "the same, redacting a card",
        "policies: {chain: [pii-detector, prompt-injection, dlp-filter]}\npolicy: {dlp-filter: {dictionaries: [{name: w, terms: [TERMS]}]}}",
    ),
];

const CALLER: Caller<'_> = Caller { key: None, group: None, model: Some("m"), path: None };

fn main() {
    println!(
        "| chain | 1.5 KiB request | each KiB more | 1 MiB of text | SSE, per event |\n|---|---|---|---|---|"
    );
    for (name, yaml) in CHAINS {
        let trial = trial(yaml);
        let end = if name.contains("card") { "Card 4111 1111 1111 1111." } else { "" };
        let short = request(1500, end);
        let long = request(1 << 20, end);
        let stream = stream(200);
        let of_short = fastest(|| trial.judge(Phase::Request, black_box(&short), CALLER));
        let of_long = fastest(|| trial.judge(Phase::Request, black_box(&long), CALLER));
        let of_stream = fastest(|| trial.judge_stream(black_box(&stream), 1500, CALLER));
        println!(
            "| {name} | {:.1} µs | {:.2} µs | {:.2} GB/s | {:.2} µs |",
            of_short.as_secs_f64() * 1e6,
            of_long.saturating_sub(of_short).as_secs_f64() * 1e6 * 1024.0 / f64::from((1_u32 << 20) - 1500),
            f64::from(1_u32 << 20) / of_long.as_secs_f64() / 1e9,
            of_stream.as_secs_f64() * 1e6 / 200.0,
        );
    }
}

fn trial(yaml: &str) -> Trial {
    let terms: Vec<String> = (0..100).map(|index| format!("Project Heron {index}")).collect();
    let source = Source { name: "bench".into(), text: yaml.replace("TERMS", &terms.join(", ")) };
    let config = load(&[source], LoadOptions::default()).config.expect("a valid configuration");
    Trial::new(&config).expect("a chain that can be made")
}

/// A chat request of about this many bytes.
fn request(size: usize, end: &str) -> Vec<u8> {
    let text: String = PROSE.chars().cycle().take(size.saturating_sub(80)).collect();
    serde_json::json!({ "model": "m", "messages": [{ "role": "user", "content": text + end }] })
        .to_string()
        .into_bytes()
}

/// A stream of this many events of one word each.
fn stream(events: usize) -> Vec<u8> {
    let words = PROSE.split_inclusive(' ').cycle().take(events);
    let event = |word| {
        serde_json::json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m",
        "choices": [{ "index": 0, "delta": { "content": word }, "finish_reason": null }] })
    };
    let events: Vec<String> = words.map(|word| format!("data: {}\n\n", event(word))).collect();
    events.concat().into_bytes()
}

/// The fastest of many runs, which is the one that nothing disturbed.
fn fastest<T>(mut run: impl FnMut() -> T) -> Duration {
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut best = Duration::MAX;
    while Instant::now() < deadline {
        let started = Instant::now();
        black_box(run());
        best = best.min(started.elapsed());
    }
    best
}
