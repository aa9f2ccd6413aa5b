//! The thread that sends telemetry to the collector (OTLP 1.x over HTTP, protobuf).

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kt_domain::policy_config::Timeouts;
use kt_domain::span::Span;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::histograms::Histograms;
use super::protobuf::{Message as Proto, Value};
use super::{Finished, Message, Receiver, Settings, spans};
use crate::http1::client::{AnswerHead, ClientConnection};
use crate::shared::Shared;
use crate::upstream::{Limits, Pool};

/// How often metrics are sent, and traces unless there are many.
const INTERVAL: Duration = Duration::from_secs(5);
/// How many requests' spans are sent at once.
const BATCH: usize = 512;
/// How much of an answer is read to use its connection again, in bytes; a collector has little to say.
const MOST_WORDS: usize = 64 * 1024;
/// The versions of the conventions that names and units follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.41.1";

struct Exporter {
    shared: Arc<Shared>,
    pool: Pool,
    limits: Limits,
    histograms: Histograms,
    sampled: Vec<Finished>,
    /// When counting began, in nanoseconds since 1970.
    start: u64,
    /// Whether the last thing that was sent did not arrive.
    is_failing: bool,
}

/// Sends what comes, for as long as the gateway runs.
pub(crate) async fn run(shared: Arc<Shared>, Receiver(mut receiver): Receiver) {
    let mut exporter = Exporter::new(shared);
    let mut interval = tokio::time::interval_at(Instant::now() + INTERVAL, INTERVAL);
    loop {
        tokio::select! {
            message = receiver.recv() => match message {
                Some(Message::Finished(finished)) => exporter.take(*finished).await,
                Some(Message::Flush(done)) => exporter.flush(done).await,
                None => return,
            },
            _ = interval.tick() => exporter.send_all().await,
        }
    }
}

impl Exporter {
    fn new(shared: Arc<Shared>) -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        let limits = Limits::of(&Timeouts {
            connect: seconds(5),
            first_byte: seconds(10),
            upstream_idle: seconds(10),
            upstream_total: Some(seconds(10)),
            ..Timeouts::default()
        });
        let start = now(&shared);
        let (pool, histograms) = (Pool::default(), Histograms::default());
        Self { shared, pool, limits, histograms, sampled: Vec::new(), start, is_failing: false }
    }

    async fn take(&mut self, finished: Finished) {
        self.histograms.count(&finished);
        if finished.trace.is_sampled {
            self.sampled.push(finished);
        }
        if self.sampled.len() >= BATCH {
            self.send_traces().await;
        }
    }

    async fn flush(&mut self, done: oneshot::Sender<()>) {
        self.send_all().await;
        // Whoever waited may have given up.
        let _ = done.send(());
    }

    async fn send_all(&mut self) {
        self.send_traces().await;
        self.send_metrics().await;
    }

    async fn send_traces(&mut self) {
        let sampled = std::mem::take(&mut self.sampled);
        let Some(settings) = self.settings().filter(|_| !sampled.is_empty()) else { return };
        let body = export(&settings, |scope| {
            for finished in &sampled {
                spans::write(finished, 2, scope);
            }
        });
        if !self.send(&settings, "/v1/traces", body).await {
            self.shared.telemetry.dropped.fetch_add(sampled.len() as u64, Ordering::Relaxed);
        }
    }

    async fn send_metrics(&mut self) {
        let Some(settings) = self.settings().filter(|_| !self.histograms.is_empty()) else { return };
        let times = [self.start, now(&self.shared)];
        let body = export(&settings, |scope| self.histograms.write(2, scope, times));
        // What does not arrive now is in what is sent next.
        self.send(&settings, "/v1/metrics", body).await;
    }

    fn settings(&self) -> Option<Arc<Settings>> {
        self.shared.snapshot.load().telemetry.clone()
    }

    /// Whether the collector took it. Each outage is told once.
    async fn send(&mut self, settings: &Settings, path: &str, body: Vec<u8>) -> bool {
        let head = format!(
            "POST {}{path} HTTP/1.1\r\n{}content-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            settings.base_path,
            settings.fixed_lines,
            body.len()
        );
        let limits = self.limits.starting_now();
        let asked = self.pool.ask(&settings.origin, head.as_bytes(), &Bytes::from(body), &limits).await;
        let why = match asked {
            Ok((connection, answer)) => {
                let status = answer.status;
                self.keep(settings, connection, answer, limits).await;
                (!status.is_success()).then(|| status.to_string())
            }
            Err(fault) => Some(fault.code().to_owned()),
        };
        match (&why, self.is_failing) {
            (Some(why), false) => {
                tracing::warn!(why, "the collector does not take telemetry; it is dropped until it does");
            }
            (None, true) => tracing::info!("the collector takes telemetry again"),
            _ => {}
        }
        self.is_failing = why.is_some();
        !self.is_failing
    }

    /// Keeps a connection for what is sent next, once the rest of the collector's answer, which is of no use here, is taken off it.
    async fn keep(
        &self,
        settings: &Settings,
        mut connection: ClientConnection,
        mut answer: AnswerHead,
        limits: Limits,
    ) {
        let mut rest = BytesMut::new();
        connection.await_body(limits.idle());
        let is_whole = poll_fn(|cx| {
            while rest.len() < MOST_WORDS {
                match ready!(connection.poll_body(&mut answer.decoder, limits.idle(), cx, &mut rest)) {
                    Ok(false) => {}
                    ended => return Poll::Ready(ended == Ok(true)),
                }
            }
            Poll::Ready(false)
        });
        if is_whole.await && answer.reusable {
            self.pool.put_back(&settings.origin, connection);
        }
    }
}

/// A request for export: one resource (this gateway), one scope, and what is written into it.
fn export(settings: &Settings, write: impl FnOnce(&mut Proto)) -> Vec<u8> {
    let mut request = Proto::default();
    request.message(1, |of_resource| {
        of_resource.message(1, |resource| {
            resource.attribute(1, "service.name", &Value::Text(&settings.service_name));
            resource.attribute(1, "service.version", &Value::Text(env!("CARGO_PKG_VERSION")));
        });
        of_resource.message(2, |of_scope| {
            of_scope.message(1, |scope| {
                scope.text(1, "keeptrusts.gateway");
                scope.text(2, env!("CARGO_PKG_VERSION"));
            });
            write(of_scope);
            of_scope.text(3, SCHEMA);
        });
        of_resource.text(3, SCHEMA);
    });
    request.into_bytes()
}

fn now(shared: &Shared) -> u64 {
    u64::try_from(shared.clock.now_micros()).unwrap_or(0).saturating_mul(1000)
}
