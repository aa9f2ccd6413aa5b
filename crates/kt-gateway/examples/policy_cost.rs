//! What each policy costs: nanoseconds for a request of 1.5 KiB, and the rate at which long text is read. See
//! `bench/policies`. With an argument, for the chains alone whose name has it.

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

/// JSON as tools answer it: quotes, ends of lines and a path, so that a request that holds it is full of backslashes.
const JSON: &str = r#"{"title":"Minutes of the meeting","lines":["The release was moved by 2 weeks,\nbecause tests take long.","Maria writes to \"all\" customers."],"path":"C:\\reports\\new"} "#;

/// Prose with letters and quotation marks that are not ASCII.
const GERMAN: &str = "Bitte fassen Sie das Protokoll der letzten Sitzung für die Gruppe zusammen, möglichst kurz. Die Ausgabe \
wurde um 2 Wochen verschoben, weil die Prüfungen länger dauern; alle fanden das „richtig“. Übrigens: Geht’s auch früher? ";

/// Prose whose letters are no Latin ones, and look like them here and there.
const RUSSIAN: &str = "Пожалуйста, подведите итоги последней встречи команды, и покороче. Выпуск перенесён на 2 недели, \
потому что проверка новой программы занимает больше времени, чем предполагалось; все согласны, что это правильно. ";

const THREE: &str = "policies: {chain: [pii-detector, prompt-injection, dlp-filter]}\npolicy: {dlp-filter: {dictionaries: [{name: w, terms: [TERMS]}]}}";

const CHAINS: [(&str, &str, &str); 10] = [
    ("none that reads", "policies: {chain: [audit-logger]}", PROSE),
    ("pii-detector", "policies: {chain: [pii-detector]}", PROSE),
    (
        "dlp-filter, 100 words",
        "policies: {chain: [dlp-filter]}\npolicy: {dlp-filter: {dictionaries: [{name: w, terms: [TERMS]}]}}",
        PROSE,
    ),
    ("prompt-injection", "policies: {chain: [prompt-injection]}", PROSE),
    (
        "pii + data-routing",
        "providers: {targets: [{id: own, provider: echo}]}\npolicies: {chain: [pii-detector, data-routing-policy]}\npolicy: {data-routing-policy: {rules: [{name: cards, data: [card], targets: [own]}, {name: models, models: [m]}]}}",
        PROSE,
    ),
    ("pii + injection + dlp", THREE, PROSE),
    ("the same, redacting a card", THREE, PROSE),
    ("the same, JSON in the text", THREE, JSON),
    ("the same, German prose", THREE, GERMAN),
    ("the same, Russian prose", THREE, RUSSIAN),
];

const CALLER: Caller<'_> = Caller { key: None, group: None, model: Some("m"), path: None };

fn main() {
    println!(
        "| chain | 1.5 KiB request | each KiB more | 1 MiB of text | SSE, per event |\n|---|---|---|---|---|"
    );
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for (name, yaml, prose) in CHAINS.into_iter().filter(|(name, ..)| name.contains(&wanted)) {
        let trial = trial(yaml);
        let end = if name.contains("card") { "Card 4111 1111 1111 1111." } else { "" };
        let short = request(prose, 1500, end);
        let long = request(prose, 1 << 20, end);
        let stream = stream(prose, 200);
        let bytes = |body: &[u8]| u32::try_from(body.len()).map_or(f64::MAX, f64::from);
        let of_short = fastest(|| trial.judge(Phase::Request, black_box(&short), CALLER));
        let of_long = fastest(|| trial.judge(Phase::Request, black_box(&long), CALLER));
        let of_stream = fastest(|| trial.judge_stream(black_box(&stream), 1500, CALLER));
        println!(
            "| {name} | {:.1} µs | {:.2} µs | {:.2} GB/s | {:.2} µs |",
            of_short.as_secs_f64() * 1e6,
            of_long.saturating_sub(of_short).as_secs_f64() * 1e6 * 1024.0 / (bytes(&long) - bytes(&short)),
            bytes(&long) / of_long.as_secs_f64() / 1e9,
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
fn request(prose: &str, size: usize, end: &str) -> Vec<u8> {
    let mut text = prose.repeat(size / prose.len() + 1);
    text.truncate(text.floor_char_boundary(size.saturating_sub(80)));
    serde_json::json!({ "model": "m", "messages": [{ "role": "user", "content": text + end }] })
        .to_string()
        .into_bytes()
}

/// A stream of this many events of one word each.
fn stream(prose: &str, events: usize) -> Vec<u8> {
    let words = prose.split_inclusive(' ').cycle().take(events);
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
