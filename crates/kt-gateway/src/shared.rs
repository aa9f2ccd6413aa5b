//! What all workers of one gateway share, and what each has for itself.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Method;
use jiff::Timestamp;
use kt_domain::clock::Clock;
use kt_domain::events::{Event, EventType};
use kt_domain::id::{RequestId, event_id};
use kt_domain::random::Random;
use tokio::sync::{Semaphore, watch};

use crate::access_keys::AccessKeys;
use crate::events::EventSink;
use crate::limits::{self, Limiter};
use crate::metrics::Metrics;
use crate::record::Record;
use crate::refusals::RefusalMeter;
use crate::reply::Refusal;
use crate::snapshot::{Lasting, Snapshot};
use crate::telemetry::Queue;
use crate::upstream::Pool;

/// The longest method that an event carries, in bytes; the longest that is registered has 17.
const MAX_RECORDED_METHOD: usize = 32;
/// The longest path that an event carries, in bytes.
const MAX_RECORDED_PATH: usize = 1024;

/// How long a gateway that stands aside goes on with new requests, so that a load balancer that asks every few seconds
/// has sent clients elsewhere before any is refused.
const ASIDE_GRACE_MICROS: i64 = 10_000_000;

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) gateway_id: Arc<str>,
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) lasting: Lasting,
    /// The control plane's keys, when the gateway is connected to one.
    pub(crate) access_keys: Option<Arc<AccessKeys>>,
    pub(crate) events: Arc<dyn EventSink>,
    pub(crate) refusals: RefusalMeter,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) telemetry: Queue,
    /// Whether the process is about to end.
    pub(crate) draining: AtomicBool,
    /// Turns true once what is still under way is cut off.
    cut_off: watch::Sender<bool>,
    /// Since when it stands aside, in microseconds; [`i64::MAX`] while it does not.
    aside_since: AtomicI64,
    /// How many requests may be under way at once.
    pub(crate) max_concurrency: usize,
    pub(crate) in_flight: AtomicUsize,
    /// Who may take a long body apart: on half of the processors, so that the others serve.
    pub(crate) long_bodies: Arc<Semaphore>,
    /// How many connections clients have open.
    pub(crate) connections: Arc<AtomicUsize>,
    /// Events that could not be recorded since that was last reported.
    unrecorded: AtomicUsize,
    ok: Arc<str>,
}

impl Shared {
    pub(crate) fn new(
        gateway_id: Arc<str>,
        snapshot: Snapshot,
        lasting: Lasting,
        access_keys: Option<Arc<AccessKeys>>,
        events: Arc<dyn EventSink>,
        clock: Arc<dyn Clock>,
        max_concurrency: usize,
    ) -> Self {
        Self {
            gateway_id,
            snapshot: ArcSwap::from_pointee(snapshot),
            metrics: Metrics::new(&lasting.targets),
            telemetry: Queue::default(),
            lasting,
            access_keys,
            events,
            refusals: RefusalMeter::default(),
            clock,
            draining: AtomicBool::new(false),
            cut_off: watch::Sender::new(false),
            aside_since: AtomicI64::new(i64::MAX),
            max_concurrency,
            in_flight: AtomicUsize::new(0),
            long_bodies: Arc::new(Semaphore::new((processors() / 2).max(1))),
            connections: Arc::default(),
            unrecorded: AtomicUsize::new(0),
            ok: "ok".into(),
        }
    }

    /// Cuts off what is still under way.
    pub(crate) fn cut_off(&self) {
        self.cut_off.send_replace(true);
    }

    /// Whether what is still under way is cut off.
    pub(crate) fn cuts_off(&self) -> bool {
        *self.cut_off.borrow()
    }

    /// Tells when what is still under way is cut off.
    pub(crate) fn when_cut_off(&self) -> watch::Receiver<bool> {
        self.cut_off.subscribe()
    }

    /// Whether clients are to go elsewhere: it says so in its health, and closes each connection behind its answer.
    pub(crate) fn sends_away(&self) -> bool {
        self.draining.load(Ordering::Relaxed) || self.stands_aside()
    }

    pub(crate) fn stands_aside(&self) -> bool {
        self.aside_since.load(Ordering::Relaxed) != i64::MAX
    }

    /// From now on it takes no new requests, or takes them again.
    pub(crate) fn stand_aside(&self, aside: bool) {
        if aside != self.stands_aside() {
            let since = if aside { self.clock.now_micros() } else { i64::MAX };
            self.aside_since.store(since, Ordering::Relaxed);
        }
    }

    /// Whether it has stood aside for so long that whoever asks its health has heard of it: new requests are refused.
    pub(crate) fn refuses_new_requests(&self) -> bool {
        let since = self.aside_since.load(Ordering::Relaxed);
        self.clock.now_micros() >= since.saturating_add(ASIDE_GRACE_MICROS)
    }

    /// Hands an event over for keeping; it is on disk within 100 ms, or once events can be written again.
    pub(crate) fn keep(&self, event: &Event) {
        if self.events.record(event).is_err() {
            self.report_unrecorded();
        }
    }

    /// Counts an event that is lost, or that will be recorded later than it had to be, and says so now and then.
    pub(crate) fn report_unrecorded(&self) {
        self.metrics.unrecorded.inc();
        if self.unrecorded.fetch_add(1, Ordering::Relaxed).is_multiple_of(1000) {
            tracing::error!(
                "events cannot be recorded; see `events.on_failure` for what happens to requests meanwhile"
            );
        }
    }

    /// Gives a refusal's event back if it is to be recorded by itself, else counts it. While events cannot be written all
    /// are counted: what room there is belongs to the requests that were let through.
    pub(crate) fn admit_refusal(&self, event: Box<Event>) -> Option<Box<Event>> {
        let per_second = self.snapshot.load().config.events.refusals_per_second;
        if self.events.is_writable() {
            return self.refusals.admit(event, per_second);
        }
        self.report_unrecorded();
        self.refusals.count(event, per_second);
        None
    }

    /// Records what was counted instead of recorded. To be called once a second. While events cannot be written they stay
    /// counted, unless the process is about to end.
    pub(crate) fn summarise_refusals(&self, random: &mut Random) {
        let may_wait = !self.draining.load(Ordering::Relaxed);
        if self.refusals.is_empty() || (may_wait && !self.events.is_writable()) {
            return;
        }
        let per_second = self.snapshot.load().config.events.refusals_per_second;
        for mut summary in self.refusals.tick(per_second) {
            let now = self.clock.now();
            summary.id = event_id(now.as_microsecond(), random);
            summary.timestamp = rfc3339(now);
            self.keep(&summary);
        }
    }

    /// An event's `reason_code`.
    pub(crate) fn reason(&self, code: &str) -> Arc<str> {
        if code == "ok" { Arc::clone(&self.ok) } else { code.into() }
    }

    /// Takes one of the places for requests; it is given back when the guard is dropped.
    pub(crate) fn take_place(self: &Arc<Self>) -> Result<Place, Refusal> {
        let place = Place(Arc::clone(self));
        if self.in_flight.fetch_add(1, Ordering::AcqRel) < self.max_concurrency {
            return Ok(place);
        }
        drop(place);
        let message = "The gateway is serving as many requests as it may. Try again in a second.";
        Err(limits::no_place(self.max_concurrency as u64, message, Duration::from_secs(1)))
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// A place among the requests that may be under way at once.
pub(crate) struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What one thread has for itself, so that it need not wait for others.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    pub(crate) limiter: Arc<Limiter>,
    /// Whether only this machine can reach it.
    pub(crate) is_local: bool,
    random: Mutex<Random>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, counts: Option<limits::Shared>, is_local: bool) -> Self {
        let limiter = Arc::new(Limiter::new(Arc::clone(&shared.lasting.used), counts));
        Self { shared, pool: Pool::default(), limiter, is_local, random: Mutex::new(Random::from_os()) }
    }

    /// Starts the record of a request that begins now.
    pub(crate) fn begin_record(self: &Arc<Self>, snapshot: &Arc<Snapshot>) -> (RequestId, Record) {
        let now = self.shared.clock.now();
        let request_id = RequestId::new(now.as_microsecond(), &mut self.random());
        (request_id, Record::new(Arc::clone(self), Arc::clone(snapshot), request_id, now))
    }

    /// An event that happened at `moment`, with nothing in it yet.
    pub(crate) fn new_event(&self, moment: Timestamp) -> Event {
        let id = event_id(moment.as_microsecond(), &mut self.random());
        Event::new(EventType::Decision, id, rfc3339(moment), Arc::clone(&self.shared.gateway_id))
    }

    /// A random number.
    pub(crate) fn draw(&self) -> u64 {
        self.random().next_u64()
    }

    fn random(&self) -> MutexGuard<'_, Random> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts what a request says of itself into its event.
pub(crate) fn describe(event: &mut Event, method: &Method, path: &str) {
    event.method = Some(beginning(method.as_str(), MAX_RECORDED_METHOD));
    event.request_path = Some(beginning(path, MAX_RECORDED_PATH));
}

/// The beginning of a text, of so many bytes at most.
fn beginning(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

/// RFC 3339, in UTC, to the millisecond.
pub(crate) fn rfc3339(moment: Timestamp) -> String {
    format!("{moment:.3}")
}
