//! Counting what happens on every request, over all processes: in Redis where one is configured, and in the database
//! otherwise.
//!
//! Both count alike: a window begins with the first of its uses, and a count starts anew once it has passed. While
//! Redis is away the database counts in its place, from one on: requests are let in and stay limited.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kt_domain::error::Error;
use kt_store::limits;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, Script};

use crate::control::Control;

/// The Redis or Valkey server in which processes count together.
pub struct SharedCounts {
    connection: ConnectionManager,
    script: Script,
    outage: Outage,
}

/// The server cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SharedCountsError(#[from] RedisError);

/// How many there are in this window.
pub(crate) struct Counted {
    pub(crate) count: i64,
    /// How long it is until the count starts anew.
    pub(crate) left: Duration,
}

/// Counts one more and tells how many there are, and for how many milliseconds still. One script, so that nobody counts
/// in between; the server's clock, so that the processes' own need not agree. A name without an end is given one,
/// whoever took it away.
const COUNT: &str = "
    local count = redis.call('INCR', KEYS[1])
    local left = redis.call('PTTL', KEYS[1])
    if left < 0 then
        left = tonumber(ARGV[1])
        redis.call('PEXPIRE', KEYS[1], left)
    end
    return {count, left}
";

/// For how long a request waits for the server, to connect and again to be answered.
const PATIENCE: Duration = Duration::from_millis(500);

/// For how long a server that did not answer is left alone.
const PAUSE: Duration = Duration::from_secs(1);

impl SharedCounts {
    /// Counts at this address, `redis://…` or `rediss://…`; a connection is made at the first use. Must be called within
    /// an asynchronous runtime.
    pub fn new(url: &str) -> Result<Self, SharedCountsError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            // A request does not wait for a second try: the database counts it.
            .set_number_of_retries(0);
        let connection = ConnectionManager::new_lazy_with_config(Client::open(url)?, config)?;
        Ok(Self { connection, script: Script::new(COUNT), outage: Outage::default() })
    }

    /// Whether the server answers.
    pub async fn ping(&self) -> Result<(), SharedCountsError> {
        Ok(redis::cmd("PING").exec_async(&mut self.connection.clone()).await?)
    }

    /// Counts one more; none while the server is away. Each outage is told once.
    async fn count(&self, name: &str, window: Duration) -> Option<Counted> {
        if !self.outage.may_ask(Instant::now()) {
            return None;
        }
        match self.ask(name, window).await {
            Ok(counted) => {
                if self.outage.ends() {
                    tracing::info!("Redis answers again");
                }
                Some(counted)
            }
            Err(error) => {
                if self.outage.goes_on(Instant::now()) {
                    tracing::warn!(%error, "Redis does not count: until it does, the database counts in its place");
                }
                None
            }
        }
    }

    async fn ask(&self, name: &str, window: Duration) -> Result<Counted, RedisError> {
        let milliseconds = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let mut invocation = self.script.prepare_invoke();
        invocation.key(key(name)).arg(milliseconds);
        let (count, left) = invocation.invoke_async(&mut self.connection.clone()).await?;
        Ok(Counted { count, left: Duration::from_millis(left) })
    }
}

/// Where a count is kept. In a cluster, what stands in braces decides on which node.
fn key(name: &str) -> String {
    format!("keeptrusts:{{{name}}}:count")
}

/// Whether the server is away, and when it is asked again.
#[derive(Default)]
struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// Whether the server may be asked at this moment. During an outage one request in each pause tries it.
    fn may_ask(&self, now: Instant) -> bool {
        let mut again = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *again {
            Some(at) if now < at => false,
            Some(_) => {
                *again = Some(now + PAUSE);
                true
            }
            None => true,
        }
    }

    /// Notes that the server did not answer. Whether that is news.
    fn goes_on(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(now + PAUSE).is_none()
    }

    /// Notes that the server answered. Whether that is news.
    fn ends(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}

impl Control {
    /// Counts one more under this name, exactly, over all processes.
    pub(crate) async fn count(&self, name: &str, window: Duration, now: Timestamp) -> Result<Counted, Error> {
        if let Some(shared) = &self.shared_counts
            && let Some(counted) = shared.count(name, window).await
        {
            return Ok(counted);
        }
        let tx = self.store.begin_write().await?;
        let counted = limits::count_until(&tx, name, window, now).await?;
        tx.commit().await?;
        Ok(Counted { count: counted.count, left: counted.ends_at.duration_since(now).unsigned_abs() })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn an_outage_is_news_once_and_the_server_is_left_alone_in_between() {
        let outage = Outage::default();
        let began = Instant::now();
        assert!(outage.may_ask(began) && !outage.ends(), "all is well");
        assert!(outage.goes_on(began), "the first to find out");
        assert!(!outage.goes_on(began), "who was on the way then");
        assert!(!outage.may_ask(began + PAUSE / 2));
        assert!(outage.may_ask(began + PAUSE), "one tries");
        assert!(!outage.may_ask(began + PAUSE), "and no other meanwhile");
        assert!(!outage.goes_on(began + PAUSE), "the same outage");
        assert!(outage.may_ask(began + PAUSE * 2));
        assert!(outage.ends(), "it answers");
        assert!(outage.may_ask(began + PAUSE * 2) && !outage.ends());
        assert!(outage.goes_on(began + PAUSE * 3), "the next outage is news");
    }

    /// Counts on the server that `./test` starts.
    fn shared_counts() -> SharedCounts {
        #[expect(clippy::disallowed_methods, reason = "tests are told here where their server is")]
        let url = std::env::var("KEEPTRUSTS_TEST_REDIS").expect(
            "tests need a Redis server: ./test starts one; or run `e2e/redis start DIR` and put the address that it \
             prints into KEEPTRUSTS_TEST_REDIS",
        );
        SharedCounts::new(&url).unwrap()
    }

    /// A name that nobody else counts.
    fn name() -> String {
        format!("test/{:016x}", kt_domain::random::Random::from_os().next_u64())
    }

    #[tokio::test]
    async fn a_window_begins_with_the_first_use_and_ends_by_itself() {
        let (counts, name, window) = (shared_counts(), name(), Duration::from_millis(200));
        let first = counts.count(&name, window).await.unwrap();
        assert!(first.count == 1 && first.left == window);
        let began = Instant::now();
        let mut last = first;
        loop {
            let next = counts.count(&name, window).await.unwrap();
            if next.count == 1 {
                break;
            }
            assert_eq!(next.count, last.count + 1);
            assert!(next.left <= last.left, "no use makes it longer");
            assert!(began.elapsed() < Duration::from_secs(30), "it does not end");
            last = next;
        }
        assert!(last.count > 1 && began.elapsed() > window / 2);
    }

    #[tokio::test]
    async fn a_count_that_lost_its_end_is_given_one() {
        let (counts, name, window) = (shared_counts(), name(), Duration::from_mins(1));
        counts.count(&name, window).await.unwrap();
        let persist = redis::cmd("PERSIST").arg(key(&name)).exec_async(&mut counts.connection.clone()).await;
        persist.unwrap();
        let next = counts.count(&name, window).await.unwrap();
        assert!(next.count == 2 && next.left == window);
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_left_to_the_database() {
        let counts = SharedCounts::new("redis://127.0.0.1:1").unwrap();
        assert!(counts.count(&name(), Duration::from_mins(1)).await.is_none());
        assert!(counts.ping().await.is_err());
        assert!(shared_counts().ping().await.is_ok(), "the control");
    }

    /// A server that says what it was told first: over TLS, with a certificate of nobody whom this machine trusts, or in
    /// plain text.
    async fn listener(tls: bool) -> (u16, tokio::task::JoinHandle<Option<Vec<u8>>>) {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![own.cert.der().clone()], key).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut first = vec![0; 4096];
            let length = if tls {
                let mut tls =
                    tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config)).accept(tcp).await.ok()?;
                tls.read(&mut first).await.ok()?
            } else {
                tcp.read(&mut first).await.ok()?
            };
            first.truncate(length);
            Some(first)
        });
        (port, told)
    }

    #[tokio::test]
    async fn a_server_with_a_strangers_certificate_is_told_nothing() {
        let (port, told) = listener(true).await;
        let counts = SharedCounts::new(&format!("rediss://localhost:{port}")).unwrap();
        assert!(counts.ping().await.is_err());
        assert!(
            counts.count(&name(), Duration::from_mins(1)).await.is_none(),
            "the database counts in its place"
        );
        assert_eq!(told.await.unwrap(), None, "no handshake, and nothing behind it");
        let (port, told) = listener(false).await;
        let counts = SharedCounts::new(&format!("redis://localhost:{port}")).unwrap();
        let _ = counts.ping().await;
        assert!(told.await.unwrap().is_some_and(|first| !first.is_empty()), "the control: it is spoken to");
    }

    #[test]
    fn a_count_is_kept_on_the_node_of_its_name() {
        assert_eq!(key("key/key_1"), "keeptrusts:{key/key_1}:count");
    }
}
