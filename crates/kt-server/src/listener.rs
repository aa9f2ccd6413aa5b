//! Accepting connections, how long they may wait, and letting go of them.

mod activity;
mod bodies;
mod places;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use kt_domain::network::cidr::CidrSet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::ServiceExt;

use activity::{Activity, Patience, Turn};
use bodies::{PIECE, Piecewise, Timely};
use places::Places;

const PATIENCE: Patience = Patience { head: Duration::from_secs(10), quiet: Duration::from_mins(5) };

/// How many connections are served at once; more are turned away.
const MOST_CONNECTIONS: usize = 10_000;

/// How many of them one network may hold.
const SHARE_OF_A_NETWORK: usize = 1_000;

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
