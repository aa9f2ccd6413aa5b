//! The program's log: lines on standard error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use kt_domain::deployment_config::{LogFormat, LogSection};
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;

use crate::commands::reading::is_invisible;
use crate::environment;
use crate::failure::Failure;

/// The variable that says what is told; it comes before the configuration.
const VARIABLE: &str = "KEEPTRUSTS_LOG";

/// Begins to log as the configuration says. Where this process logs already, as a gateway does beside a control plane, it
/// goes on as it began.
pub(crate) fn start(section: &LogSection) -> Result<(), Failure> {
    let filter = filter(environment::variable(VARIABLE).as_deref(), section.level.as_deref())?;
    // It fails where there is a log already.
    let _ = tracing::dispatcher::set_global_default(log(filter, section.format, io::stderr));
    Ok(())
}

/// A log that is written where `to` says.
fn log<W: io::Write + 'static>(
    filter: EnvFilter,
    format: LogFormat,
    to: impl Fn() -> W + Send + Sync + 'static,
) -> Dispatch {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        // The library would tell of a line that it could not write with `eprintln!`, which panics where it fails too.
        .log_internal_errors(false)
        .with_writer(move || Line(to()));
    match format {
        LogFormat::Text => lines.into(),
        LogFormat::Json => lines.json().flatten_event(true).into(),
    }
}

/// Writes what is logged at once as one line, whatever a stranger has put into it (STANDARDS LOG-06). The library escapes
/// neither line breaks nor, in fields, what steers a terminal; what it colours lines with goes on. A line that cannot be
/// written is dropped: nobody is left to tell of it, and what is logged must not end what logs it.
struct Line<W>(W);

impl<W: io::Write> io::Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
        let mut line = String::with_capacity(event.len());
        for (at, c) in text.char_indices() {
            if (c.is_control() || is_invisible(c)) && !is_colour(&text[at..]) {
                // As JSON has it. Writing to a string cannot fail.
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            } else {
                line.push(c);
            }
        }
        line.push_str(end);
        let _ = self.0.write_all(line.as_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

/// Whether this begins with what colours a terminal's letters, and does nothing else to it (ECMA-48 section 8.3.117).
fn is_colour(text: &str) -> bool {
    let parameters = |c: char| c.is_ascii_digit() || c == ';';
    text.strip_prefix("\u{1b}[").is_some_and(|rest| rest.trim_start_matches(parameters).starts_with('m'))
}

fn filter(variable: Option<&str>, level: Option<&str>) -> Result<EnvFilter, Failure> {
    let (place, text) = match (variable, level) {
        (Some(text), _) => (VARIABLE, text),
        (None, Some(text)) => ("telemetry.log.level", text),
        (None, None) => return Ok(EnvFilter::new("info")),
    };
    EnvFilter::try_new(text).map_err(|why| {
        Failure::invalid(format!(
            "`{place}` cannot be understood: {why}; write a level such as `info`, or by part as in `warn,kt_control=debug`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_writes_a_line_of_the_log_by_what_they_send() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let written = Written::default();
            let to = written.clone();
            let log = log(EnvFilter::new("info"), format, move || to.clone());
            for sent in [
                "x\nFORGED",
                "x\r\nFORGED",
                "x\u{b}FORGED",
                "x\u{85}FORGED",
                "x\u{2028}FORGED",
                "x\u{1b}[2KFORGED",
            ] {
                tracing::dispatcher::with_default(&log, || tracing::warn!(why = %sent, "{sent} was refused"));
            }
            tracing::dispatcher::with_default(&log, || tracing::warn!("naïve: the control"));
            let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            let lines: Vec<_> = text.split_inclusive('\n').collect();
            assert_eq!(lines.len(), 7, "one for each event: {text:?}");
            assert!(lines.iter().all(|line| line.ends_with('\n')), "{text:?}");
            for steering in ['\r', '\u{b}', '\u{85}', '\u{2028}'] {
                assert!(!text.contains(steering), "{text:?}");
            }
            assert!(!text.contains("\u{1b}[2K"), "{text:?}");
            assert_eq!(text.matches("FORGED").count(), 12, "it stands in its own lines: {text:?}");
            assert!(lines[6].contains("naïve: the control"), "{text:?}");
            let is_json = lines.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
            assert_eq!(is_json, matches!(format, LogFormat::Json), "{text:?}");
        }
    }

    #[test]
    fn the_variable_comes_before_the_configuration_and_info_is_the_default() {
        for (variable, level, expected) in [
            (None, None, "info"),
            (None, Some("warn"), "warn"),
            (Some("debug"), Some("warn"), "debug"),
            (Some("warn,kt_control=debug"), None, "kt_control=debug,warn"),
        ] {
            assert_eq!(filter(variable, level).unwrap().to_string(), expected);
        }
        for (variable, level) in [(Some("loud=very=much"), None), (None, Some("loud=very=much"))] {
            assert!(filter(variable, level).is_err(), "{variable:?} {level:?}");
        }
    }
}
