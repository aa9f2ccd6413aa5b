//! What must not get out is in no line that the program logs, however unimportant the line, and in no metric, event or
//! refusal: keys of clients and providers, prompts, answers.

use std::io;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::filter::LevelFilter;

use crate::harness::{PROVIDER_KEY, Request, TestGateway, Then};
use crate::keys::{KEYS, with_key};

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Everything that is logged in this process.
struct Log;

impl Log {
    fn begin() {
        let log = tracing_subscriber::fmt().with_ansi(false).with_max_level(LevelFilter::TRACE);
        log.with_writer(|| Self).init();
    }

    fn text() -> String {
        String::from_utf8_lossy(&LOG.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_key_prompt_or_answer_is_logged_whatever_goes_wrong() {
    const PROMPT: &str = "prompt-canary-1818";
    const ANSWER: &str = "answer-canary-1919";
    const WRONG: &str = "wrong-key-canary-2020";
    let secrets = [PROVIDER_KEY, "client-key", PROMPT, ANSWER, WRONG];
    Log::begin();
    let gateway = TestGateway::with_options(KEYS, |options| {
        options.admin_listen = Some(([127, 0, 0, 1], 0).into());
    });
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{PROMPT}"}}]}}"#);
    let chat = |target: &str| Request::new("POST", target).json(&body);
    let requests = [
        with_key(chat("/v1/chat/completions")),
        chat("/v1/chat/completions").header("Authorization", format!("Bearer {WRONG}")),
        with_key(chat(&format!("/v1/chat/completions?api_key={WRONG}"))),
        with_key(chat(&format!("/v1/{PROMPT}"))),
        with_key(chat("/v1/chat/completions")).header("Content-Type", format!("text/{PROMPT}")),
        with_key(chat("/v1/chat/completions")).json(format!("{{\"{PROMPT}\": ")),
        with_key(chat("/v1/chat/completions")).json(format!("\"{PROMPT}\"")),
        with_key(chat("/v1/chat/completions")).json(format!("[\"{PROMPT}\"]")),
        with_key(chat("/v1/chat/completions")).json(format!(r#"{{"model":"m","messages":"{PROMPT}"}}"#)),
        with_key(chat("/v1/chat/completions")).header("Content-Length", PROMPT),
        with_key(chat("/v1/chat/completions")).header("Transfer-Encoding", PROMPT),
    ];
    let answers = [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 18\r\nX-Answer: {ANSWER}\r\n\r\n{ANSWER}"),
        format!("HTTP/1.1 500 {ANSWER}\r\nContent-Length: 18\r\n\r\n{ANSWER}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{ANSWER}"),
        format!("{ANSWER}\r\n\r\n"),
        format!("HTTP/1.1 302 Found\r\nLocation: /{ANSWER}\r\nContent-Length: 0\r\n\r\n"),
    ];
    let mut statuses = std::collections::BTreeSet::new();
    for answer in &answers {
        gateway.upstream.answer_with(answer.clone(), Then::Close);
        for request in &requests {
            let told = gateway.connect().ask(request);
            statuses.insert(told.status);
            if told.status >= 400 {
                let text = String::from_utf8_lossy(&told.body).into_owned();
                assert!(!secrets.iter().any(|secret| text.contains(secret)), "{text}");
            }
        }
    }
    let metrics = Request::new("GET", "/metrics");
    let metrics = String::from_utf8(gateway.connect_admin().ask(&metrics).body).expect("metrics are text");
    assert!(metrics.contains("keeptrusts_gateway"), "they are there: {metrics}");
    // A path is recorded as it is.
    let in_path = |path: &str| path.contains(PROMPT);
    let events =
        gateway.events().into_iter().filter(|event| !event.request_path.as_deref().is_some_and(in_path));
    let events = serde_json::to_string(&events.collect::<Vec<_>>()).expect("events can be written");
    assert!(events.contains("invalid_json"), "they are there: {events}");
    for secret in secrets {
        assert!(!metrics.contains(secret), "{secret} stands in the metrics: {metrics}");
        assert!(!events.contains(secret), "{secret} stands in an event: {events}");
    }
    assert!(statuses.len() >= 5, "{statuses:?}");
    assert!(gateway.reload("nonsense: [").is_err(), "a line of the log says so");
    gateway.drain();

    let log = Log::text();
    assert!(log.contains("the configuration was not changed"), "the log is heard: {log}");
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} stands in the log: {log}");
    }
}
