//! Events as lines for people.

use std::fmt::Write;
use std::net::IpAddr;

use kt_domain::events::Event;
use serde::Serialize;

use crate::commands::reading::printable;

/// One line: when, what, the verdict and status, from where, for what, and what else is worth knowing.
pub(super) fn line(event: &Event) -> String {
    let mut line = format!(
        "{:24}  {:17}  {:8}  {:3}  {:15}  {} {}",
        event.timestamp,
        name(&event.event_type),
        event.verdict.as_ref().map_or_else(|| "-".to_owned(), name),
        event.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
        event.source_ip.as_ref().map_or_else(|| "-".to_owned(), IpAddr::to_string),
        event.method.as_deref().unwrap_or("-"),
        event.request_path.as_deref().unwrap_or("-"),
    );
    for (key, value) in details(event) {
        let _ = write!(line, "  {key}={value}");
    }
    line += &failed_attempts(event);
    printable(&line)
}

/// Which targets gave no usable answer before, in order: `  (after a: upstream_timeout, b: upstream_error)`.
fn failed_attempts(event: &Event) -> String {
    let attempts: Vec<String> = event
        .failed_attempts
        .iter()
        .flatten()
        .map(|failed| format!("{}: {}", failed.target_id, failed.reason_code))
        .collect();
    if attempts.is_empty() { String::new() } else { format!("  (after {})", attempts.join(", ")) }
}

fn details(event: &Event) -> impl Iterator<Item = (&'static str, String)> {
    let text = |text: Option<&str>| text.map(str::to_owned);
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    [
        ("reason", text(event.reason_code.as_deref())),
        ("rule", event.matched_rule.as_ref().map(name)),
        ("range", text(event.deny_range.as_deref())),
        ("count", number(event.count)),
        ("target", text(event.target_id.as_deref())),
        ("model", text(event.model.as_deref())),
        ("key", text(event.key_id.as_deref())),
        ("user", text(event.user_id.as_deref())),
        ("tokens_in", number(event.input_tokens)),
        ("tokens_out", number(event.output_tokens)),
        ("ms", number(event.duration_ms)),
        ("request", text(event.request_id.as_deref())),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
}

/// The name of an enum's value, as in JSON.
fn name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use kt_domain::events::{EventType, FailedAttempt, MatchedRule, Verdict};

    use super::*;
    use crate::commands::reading::is_invisible;

    fn event() -> Event {
        let timestamp = "2026-03-15T14:22:31.000Z".to_owned();
        let mut event = Event::new(EventType::IpDenied, "evt_1".to_owned(), timestamp, "gw".into());
        event.verdict = Some(Verdict::Block);
        event.status = Some(403);
        event.source_ip = Some("203.0.113.9".parse().unwrap());
        event.method = Some("POST".to_owned());
        event.request_path = Some("/v1/chat/completions".to_owned());
        event.matched_rule = Some(MatchedRule::Deny);
        event.deny_range = Some("203.0.113.0/24".into());
        event
    }

    #[test]
    fn an_event_is_one_aligned_line() {
        assert_eq!(
            line(&event()),
            "2026-03-15T14:22:31.000Z  ip_denied          block     403  203.0.113.9      POST /v1/chat/completions  \
             rule=deny  range=203.0.113.0/24"
        );
    }

    #[test]
    fn an_answer_behind_failed_attempts_is_told_from_a_direct_one() {
        let mut event = event();
        let direct = line(&event);
        let failed = |target_id: &str, reason_code: &str| FailedAttempt {
            reason_code: reason_code.into(),
            target_id: target_id.into(),
        };
        event.failed_attempts =
            Some(vec![failed("main", "upstream_timeout"), failed("spare", "upstream_connect_failed")]);
        assert_eq!(
            line(&event),
            format!("{direct}  (after main: upstream_timeout, spare: upstream_connect_failed)")
        );
    }

    #[test]
    fn nothing_in_an_event_reaches_the_terminal_as_a_command() {
        let mut event = event();
        event.request_path = Some("/a\u{1b}[2J\r\nfake line\u{9b}31m\u{202e}\0\u{7f}".to_owned());
        let line = line(&event);
        assert!(line.contains(r"/a\u001b[2J\u000d\u000afake line\u009b31m\u202e\u0000\u007f"), "{line}");
        assert!(!line.chars().any(|c| c.is_control() || is_invisible(c)));
        assert_eq!(printable("plain text, é, 漢字, 😀"), "plain text, é, 漢字, 😀");
    }
}
