//! Accepting connections, how long they may wait, and letting go of them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use kt_domain::lockout::network_of;
use kt_domain::network::cidr::CidrSet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tower::{BoxError, ServiceExt};

/// How long is waited for what a client has to do.
#[derive(Clone, Copy)]
struct Patience {
    /// For the head of a request, and for the first request of a connection.
    head: Duration,
    /// For the next request of a connection over HTTP/2, and until it takes a part of an answer.
    quiet: Duration,
}

const PATIENCE: Patience = Patience { head: Duration::from_secs(10), quiet: Duration::from_mins(5) };

/// How long the body of a request may take to arrive: the largest, over a slow line.
const BODY_DEADLINE: Duration = Duration::from_mins(1);

/// How many connections are served at once; more are turned away.
const MOST_CONNECTIONS: usize = 10_000;

/// How many of them one network may hold.
const SHARE_OF_A_NETWORK: usize = 1_000;

/// How often it is told that connections are turned away.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// How much of an answer is handed over at once: the next piece waits until the client has taken of this one.
const PIECE: usize = 64 * 1024;

/// How long what is under way may take to finish once the process is told to end.
pub const DRAIN: Duration = Duration::from_secs(30);

/// How long to wait after a failure to accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// A bound socket.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Binds `address`; port 0 picks a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self)
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Serves until `ended`, then lets requests under way finish for at most 30 seconds. The proxies stand for many clients, and
/// hold as many connections as they like.
pub async fn serve(listener: Listener, app: Router, proxies: CidrSet, ended: impl Future<Output = ()>) {
    let places = Places::new(MOST_CONNECTIONS, SHARE_OF_A_NETWORK, proxies);
    serve_within(listener, app, places, PATIENCE, ended).await;
}

async fn serve_within(
    listener: Listener,
    app: Router,
    places: Arc<Places>,
    patience: Patience,
    ended: impl Future<Output = ()>,
) {
    let (end, ending) = watch::channel(());
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => break,
            accepted = listener.0.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Some(place) = places.take(peer.ip()) {
                        let served = serve_connection(stream, peer, app.clone(), patience, ending.clone());
                        tokio::spawn(async move {
                            served.await;
                            drop(place);
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop((listener, ending));
    end.send_replace(());
    tokio::select! {
        () = end.closed() => {}
        () = tokio::time::sleep(DRAIN) => tracing::warn!("requests were still under way after {DRAIN:?}"),
    }
}

/// The places for connections. Whoever finds none is turned away at once, so that no one of many holds up the next.
struct Places {
    most: usize,
    share: usize,
    proxies: CidrSet,
    taken: Mutex<Taken>,
}

/// Who holds them.
#[derive(Default)]
struct Taken {
    all: usize,
    of: HashMap<IpAddr, usize>,
    /// When it was told last that somebody was turned away.
    told_at: Option<Instant>,
}

impl Places {
    fn new(most: usize, share: usize, proxies: CidrSet) -> Arc<Self> {
        Arc::new(Self { most, share, proxies, taken: Mutex::default() })
    }

    /// A place for a connection of this address. This machine's own have no share: a proxy on it may stand for many.
    fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let stands_for_many = peer.to_canonical().is_loopback() || self.proxies.contains(peer);
        let network = (!stands_for_many).then(|| network_of(peer).network());
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let held = network.and_then(|network| taken.of.get(&network).copied()).unwrap_or_default();
        if taken.all >= self.most || held >= self.share {
            taken.tell(peer);
            return None;
        }
        taken.all += 1;
        if let Some(network) = network {
            *taken.of.entry(network).or_default() += 1;
        }
        Some(Place { places: Arc::clone(self), network })
    }
}

impl Taken {
    fn tell(&mut self, peer: IpAddr) {
        if self.told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            self.told_at = Some(Instant::now());
            let of_network = self.of.get(&network_of(peer).network()).copied().unwrap_or_default();
            tracing::warn!(%peer, connections = self.all, of_network, "connections are turned away");
        }
    }
}

/// A place that a connection holds.
struct Place {
    places: Arc<Places>,
    network: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        let Some(network) = self.network else { return };
        if let Some(held) = taken.of.get_mut(&network) {
            *held -= 1;
            if *held == 0 {
                taken.of.remove(&network);
            }
        }
    }
}

/// Serves a connection until one of the two sides ends it: this one, where the client has neither asked nor taken anything for
/// too long. However long this side works on an answer, the connection stays.
async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    patience: Patience,
    mut ending: watch::Receiver<()>,
) {
    // An answer goes out at once; a failure to ask for that costs time only.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::new(patience));
    let of_service = Arc::clone(&activity);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let turn = Turn::begin(&of_service);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = app.clone().oneshot(request.map(|body| axum::body::Body::new(Timely::new(body))));
        async move { Ok::<_, Infallible>(answer.await?.map(|body| Piecewise::new(body, turn))) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(PIECE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(patience.head)
        .max_concurrent_streams(100)
        .max_send_buf_size(PIECE);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut is_told = false;
    loop {
        let look_at = if is_told { Instant::now() + patience.head } else { activity.ends_at() };
        tokio::select! {
            outcome = connection.as_mut() => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            Ok(()) = ending.changed() => connection.as_mut().graceful_shutdown(),
            () = tokio::time::sleep_until(look_at) => {
                if activity.is_over() {
                    if is_told {
                        return;
                    }
                    connection.as_mut().graceful_shutdown();
                    is_told = true;
                }
            }
        }
    }
}

/// Whose turn it is on a connection, and since when.
struct Activity {
    patience: Patience,
    state: Mutex<State>,
}

struct State {
    /// How many requests this side works on.
    working: usize,
    /// Since when it works on none.
    quiet_since: Instant,
    has_asked: bool,
}

impl Activity {
    fn new(patience: Patience) -> Self {
        let state = State { working: 0, quiet_since: Instant::now(), has_asked: false };
        Self { patience, state: Mutex::new(state) }
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When the client has had its time, if nothing happens until then.
    fn ends_at(&self) -> Instant {
        let Patience { head, quiet } = self.patience;
        self.with(|state| match state {
            State { working: 0, quiet_since, has_asked } => {
                *quiet_since + if *has_asked { quiet } else { head }
            }
            _ => Instant::now() + quiet,
        })
    }

    fn is_over(&self) -> bool {
        self.ends_at() <= Instant::now()
    }
}

/// A request that this side works on. What it does not work on waits for the client.
struct Turn(Arc<Activity>);

impl Turn {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.with(|state| {
            state.working += 1;
            state.has_asked = true;
        });
        Self(Arc::clone(activity))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.working -= 1;
            state.quiet_since = Instant::now();
        });
    }
}

/// The body of an answer, a piece at a time. From one piece until the next is asked for, it is the client's turn.
struct Piecewise {
    body: axum::body::Body,
    /// What was made and not handed over.
    rest: Bytes,
    activity: Arc<Activity>,
    turn: Option<Turn>,
}

impl Piecewise {
    fn new(body: axum::body::Body, turn: Turn) -> Self {
        Self { body, rest: Bytes::new(), activity: Arc::clone(&turn.0), turn: Some(turn) }
    }
}

impl Body for Piecewise {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let turn = self.turn.take().unwrap_or_else(|| Turn::begin(&self.activity));
        if self.rest.is_empty() {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                self.turn = Some(turn);
                return Poll::Pending;
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(made))) => self.rest = made,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, made) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = made.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(made.lower() + rest);
        hint
    }
}

/// A body that must have arrived within [`BODY_DEADLINE`] of the first look at it.
struct Timely {
    body: Incoming,
    /// Set at the first look: most requests have no body, and need no timer.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Timely {
    fn new(body: Incoming) -> Self {
        Self { body, deadline: None }
    }
}

impl Body for Timely {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_DEADLINE)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Some(Err("the body did not arrive in time".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::http::StatusCode;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Notify, mpsc};

    use super::*;

    const SHORT: Patience = Patience { head: Duration::from_millis(200), quiet: Duration::from_secs(2) };

    const ASKS: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const ASKS_AND_ENDS: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    /// How a connection over HTTP/2 begins (RFC 9113 section 3.4).
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// `GET /` in its first stream.
    const ASKS_OVER_HTTP2: &[u8] = b"\0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x84\x41\x09localhost";

    async fn served(app: Router, places: Arc<Places>) -> SocketAddr {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address().unwrap();
        tokio::spawn(serve_within(listener, app, places, SHORT, pending()));
        address
    }

    fn many() -> Arc<Places> {
        Places::new(100, 100, CidrSet::from_iter([]))
    }

    fn prompt() -> Router {
        Router::new().route("/", get(|| async { "here" }))
    }

    async fn sending(to: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// All that comes until the other side ends the connection.
    async fn rest(mut stream: TcpStream) -> String {
        let mut came = Vec::new();
        // However it ends.
        let _ = stream.read_to_end(&mut came).await;
        String::from_utf8_lossy(&came).into_owned()
    }

    /// Answers all pings of HTTP/2 until the other side ends the connection, and lets it send no more.
    async fn answer_pings(mut stream: TcpStream) {
        loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                return;
            }
            let mut content = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            if stream.read_exact(&mut content).await.is_err() {
                return;
            }
            let (kind, is_answer) = (head[3], head[4] & 1 == 1);
            if kind == 6 && !is_answer {
                let answer = [&[0, 0, 8, 6, 1, 0, 0, 0, 0], content.as_slice()].concat();
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
        }
    }

    #[tokio::test]
    async fn whoever_asks_nothing_is_not_waited_for_whatever_they_speak() {
        let address = served(prompt(), many()).await;
        for sent in [&b""[..], b"PRI * HTTP/2.0", b"GET / HTTP/1.1\r\nHost: loc"] {
            let began = Instant::now();
            let came = rest(sending(address, sent).await).await;
            assert!(!came.contains("here"), "{came}");
            assert!((SHORT.head..SHORT.quiet).contains(&began.elapsed()), "{sent:?}: {:?}", began.elapsed());
        }
        let began = Instant::now();
        answer_pings(sending(address, PREFACE).await).await;
        assert!((SHORT.head..SHORT.quiet).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert!(rest(sending(address, ASKS_AND_ENDS.as_bytes()).await).await.contains("here"), "the control");
    }

    #[tokio::test]
    async fn an_answer_that_this_side_works_on_is_waited_for() {
        let ready = Arc::new(Notify::new());
        let waits = Arc::clone(&ready);
        let slow = get(move || {
            let waits = Arc::clone(&waits);
            async move {
                waits.notified().await;
                "here"
            }
        });
        let address = served(prompt().route("/slow", slow), many()).await;
        let asks = ASKS_AND_ENDS.replace("GET /", "GET /slow");
        let asked = sending(address, asks.as_bytes()).await;
        let began = Instant::now();
        while began.elapsed() < 2 * SHORT.quiet {
            rest(sending(address, b"").await).await;
        }
        ready.notify_one();
        assert!(rest(asked).await.contains("here"));
    }

    /// Says when nobody makes it any more.
    struct Made(mpsc::UnboundedSender<()>);

    impl Drop for Made {
        fn drop(&mut self) {
            // Whoever does not listen any more need not know.
            let _ = self.0.send(());
        }
    }

    /// An answer without an end.
    fn endless(dropped: mpsc::UnboundedSender<()>) -> Router {
        let answer = move || {
            let made = Made(dropped.clone());
            async move {
                let more = move || {
                    let _made = &made;
                    Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1000]))
                };
                axum::body::Body::from_stream(futures_util::stream::repeat_with(more))
            }
        };
        Router::new().route("/", get(answer))
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_ends_with_its_connection() {
        let (dropped, mut is_dropped) = mpsc::unbounded_channel();
        let address = served(endless(dropped), many()).await;
        let began = Instant::now();
        let untaken = sending(address, ASKS.as_bytes()).await;
        is_dropped.recv().await.unwrap();
        assert!(began.elapsed() >= SHORT.quiet, "it had its time: {:?}", began.elapsed());
        drop(untaken);

        let began = Instant::now();
        let asks = [PREFACE, ASKS_OVER_HTTP2].concat();
        let untaken = tokio::spawn(answer_pings(sending(address, &asks).await));
        is_dropped.recv().await.unwrap();
        assert!(
            began.elapsed() >= SHORT.quiet,
            "over HTTP/2 too, whatever else it answers: {:?}",
            began.elapsed()
        );
        untaken.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_is_taken_late_comes_whole() {
        let long = "x".repeat(20_000_000);
        let length = long.len();
        let address = served(Router::new().route("/", get(move || async move { long })), many()).await;
        let late = sending(address, ASKS_AND_ENDS.as_bytes()).await;
        rest(sending(address, b"").await).await;
        let came = rest(late).await;
        assert_eq!(came.len() - came.find("\r\n\r\n").unwrap() - 4, length);
        assert!(came.contains(&format!("content-length: {length}")));
    }

    #[tokio::test]
    async fn whoever_finds_no_place_is_turned_away_and_not_left_waiting() {
        let address = served(prompt(), Places::new(1, 1, CidrSet::from_iter([]))).await;
        let mut first = sending(address, ASKS.as_bytes()).await;
        let mut came = [0; 15];
        first.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"HTTP/1.1 200 OK");
        assert_eq!(rest(TcpStream::connect(address).await.unwrap()).await, "", "turned away");
        rest(first).await;
        let second = rest(sending(address, ASKS_AND_ENDS.as_bytes()).await).await;
        assert!(second.contains(StatusCode::OK.as_str()), "the control: {second}");
    }

    #[test]
    fn one_network_holds_its_share_and_leaves_the_others_theirs() {
        let proxy = "192.0.2.0/24".parse().unwrap();
        let places = Places::new(6, 2, CidrSet::from_iter([proxy]));
        let take = |peer: &str| places.take(peer.parse().unwrap());
        let held: Vec<_> = ["198.51.100.1", "198.51.100.2"].into_iter().filter_map(take).collect();
        assert_eq!(held.len(), 2);
        assert!(
            take("198.51.100.3").is_none() && take("::ffff:198.51.100.3").is_none(),
            "the network has its share"
        );
        let others: Vec<_> =
            ["203.0.113.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"].into_iter().filter_map(take).collect();
        assert_eq!(others.len(), 4, "a proxy stands for many");
        assert!(take("127.0.0.1").is_none(), "no place is left");
        drop((held, others));
        let again: Vec<_> = ["198.51.100.3"; 2].into_iter().filter_map(take).collect();
        assert_eq!(again.len(), 2);
        let of_this_machine: Vec<_> = ["127.0.0.1"; 3].into_iter().filter_map(take).collect();
        assert_eq!(of_this_machine.len(), 3, "nor has this machine itself a share");
    }
}
