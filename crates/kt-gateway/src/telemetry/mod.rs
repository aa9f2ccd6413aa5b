//! Traces and metrics for OpenTelemetry, by its conventions for generative AI.
//!
//! A request that is over leaves its figures in a bounded queue and goes; one thread makes spans and histograms of them
//! and sends both now and then. No request waits for that, and what does not fit into the queue is counted and dropped.
//! Prompts and answers do not come here at all.

mod answered;
mod exporter;
mod histograms;
mod protobuf;
mod settings;
mod spans;
mod trace;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::events::Event;
use tokio::sync::{mpsc, oneshot};

use crate::providers::target::Target;

pub(crate) use answered::Answered;
pub(crate) use exporter::run;
#[cfg(test)]
pub(crate) use histograms::Histograms;
pub(crate) use histograms::counted_of;
pub(crate) use settings::Settings;
pub(crate) use trace::{Trace, span_id};

/// How many requests may wait to be looked at.
const QUEUE: usize = 4096;

/// What a request leaves behind.
pub(crate) struct Finished {
    pub(crate) trace: Trace,
    pub(crate) began: Timestamp,
    pub(crate) took: Duration,
    /// Whole where a span is made of it, else what of it is counted.
    pub(crate) event: Event,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) details: Details,
}

/// What a trace says of a request and its answer beside the event.
#[derive(Debug, Default)]
pub(crate) struct Details {
    pub(crate) max_tokens: Option<u32>,
    pub(crate) temperature: Option<f64>,
    pub(crate) answered: Option<Box<Answered>>,
}

/// One try at one target.
pub(crate) struct Attempt {
    pub(crate) target: Arc<Target>,
    pub(crate) span_id: [u8; 8],
    /// Since the request began.
    pub(crate) began: Duration,
    /// Since the request began; until its end, if the try was the last.
    pub(crate) ended: Option<Duration>,
    /// What went wrong.
    pub(crate) fault: Option<&'static str>,
}

enum Message {
    Finished(Box<Finished>),
    /// Everything that came before this is to be sent now.
    Flush(oneshot::Sender<()>),
}

/// The way to the thread that sends.
pub(crate) struct Queue {
    sender: mpsc::Sender<Message>,
    receiver: Mutex<Option<Receiver>>,
    dropped: AtomicU64,
}

/// The other end of the way.
pub(crate) struct Receiver(mpsc::Receiver<Message>);

impl Default for Queue {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Self { sender, receiver: Mutex::new(Some(Receiver(receiver))), dropped: AtomicU64::new(0) }
    }
}

impl Queue {
    /// Hands over what a request left behind, or drops it.
    pub(crate) fn put(&self, finished: Finished) {
        if self.sender.try_send(Message::Finished(Box::new(finished))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many requests are missing from what was sent: they did not fit, or the collector did not take them.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The other end, for the one who asks first.
    pub(crate) fn receiver(&self) -> Option<Receiver> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits, but not for long, until what came before was sent.
    pub(crate) async fn flush(&self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let (done, flushed) = oneshot::channel();
        if self.sender.try_send(Message::Flush(done)).is_ok() {
            // Whether it was sent or took too long, the gateway ends now.
            let _ = tokio::time::timeout(PATIENCE, flushed).await;
        }
    }
}
