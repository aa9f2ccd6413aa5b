//! What must not get out is in no line that the program logs, however unimportant the line: keys of clients and providers,
//! prompts, answers.

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
    let gateway = TestGateway::with(KEYS);
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{PROMPT}"}}]}}"#);
    let chat = |target: &str| Request::new("POST", target).json(&body);
    let requests = [
        with_key(chat("/v1/chat/completions")),
        chat("/v1/chat/completions").header("Authorization", format!("Bearer {WRONG}")),
        with_key(chat(&format!("/v1/chat/completions?api_key={WRONG}"))),
        with_key(chat(&format!("/v1/{PROMPT}"))),
        with_key(chat("/v1/chat/completions")).header("Content-Type", format!("text/{PROMPT}")),
        with_key(chat("/v1/chat/completions")).json(format!("{{\"{PROMPT}\": ")),
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
            statuses.insert(gateway.connect().ask(request).status);
        }
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
