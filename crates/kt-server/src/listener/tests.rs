use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::get;
use kt_domain::network::cidr::CidrSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

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
