//! What an event costs: `cargo run --release -p kt-store --example event_rate -- DIRECTORY [EVENTS]`
//!
//! Records events as fast as the queue takes them, waits until the last is on disk, and prints the processor time that
//! an event took on the thread that records, and on all threads together, beside the time that passed.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{Write, stdout};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use kt_domain::clock::SystemClock;
use kt_domain::events::{Event, EventType, Verdict};
use kt_store::event_log::{EventWriter, Options, RecordError};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let directory = arguments.next().ok_or("name a directory for the log")?;
    let events: u32 = arguments.next().map_or(Ok(500_000), |text| text.parse())?;
    let writer = EventWriter::open(Path::new(&directory), &Options::new(Arc::new(SystemClock)))?;

    let (start, own, all) =
        (Instant::now(), processor_time("/proc/thread-self/stat")?, processor_time("/proc/self/stat")?);
    let mut refused = 0_u32;
    for n in 0..events {
        while writer.record(&event(n)) == Err(RecordError::Full) {
            refused += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let recorded = processor_time("/proc/thread-self/stat")?.saturating_sub(own);
    let (sender, receiver) = mpsc::channel();
    writer.record_then(&event(events), move |outcome| {
        // The receiver waits below.
        let _ = sender.send(outcome);
    });
    receiver.recv()??;
    let passed = start.elapsed();
    let used = processor_time("/proc/self/stat")?.saturating_sub(all);

    let per_event = |time: Duration| time / events;
    writeln!(
        stdout(),
        "{events} events: {:?} passed an event, {:?} of processor time, {:?} of it in making and recording it; \
         the queue was full {refused} times",
        per_event(passed),
        per_event(used),
        per_event(recorded)
    )?;
    Ok(())
}

/// A decision like those of ordinary traffic.
fn event(n: u32) -> Event {
    let id = format!("evt_0195997e0b5870008000{n:012x}");
    let mut event = Event::new(EventType::Decision, id, "2026-03-15T14:22:31.123Z".to_owned(), "gw_0".into());
    event.config_version = Some("0123456789ab".into());
    event.duration_ms = Some(12);
    event.key_id = Some("app".into());
    event.method = Some("POST".to_owned());
    event.model = Some("gpt-4o-mini".to_owned());
    event.input_tokens = Some(100);
    event.output_tokens = Some(200);
    event.peer_ip = Some([192, 0, 2, 1].into());
    event.source_ip = Some([192, 0, 2, 1].into());
    event.provider = Some("openai".into());
    event.reason_code = Some("ok".into());
    event.request_id = Some(format!("0195997e-0b58-7000-8000-{n:012x}"));
    event.request_path = Some("/v1/chat/completions".to_owned());
    event.status = Some(200);
    event.stream = Some(false);
    event.target_id = Some("main".into());
    event.upstream_ms = Some(11);
    event.verdict = Some(Verdict::Allow);
    event
}

/// User and system time, in the 14th and 15th field of Linux's `stat` file, in hundredths of a second.
fn processor_time(stat: &str) -> Result<Duration, Box<dyn Error>> {
    let text = fs::read_to_string(stat)?;
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
