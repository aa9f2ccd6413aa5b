//! What a provider can do wrong: each fault gives its stated answer and event, in time, in bounded memory, and never
//! spoils the connection for the next request.

mod kept;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Memory, Received, Request, TestGateway, Then, wait_for};

/// Limits that a test can wait for.
const IMPATIENT: &str = "
timeouts: {connect: 500ms, first_byte: 300ms, upstream_idle: 300ms}
retry: {max_retries: 0}
size_limits: {max_response_body_bytes: 10000}
";

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

type Behaviour = fn(&Received, &mut TcpStream) -> io::Result<Then>;

/// A fault, and the answer that the client gets instead.
struct Fault {
    name: &'static str,
    behaviour: Behaviour,
    status: u16,
    code: &'static str,
}

/// A provider that sends these bytes, then closes or keeps the connection.
macro_rules! sends {
    ($bytes:expr, $then:ident) => {
        |_, client| {
            client.write_all($bytes)?;
            Ok(Then::$then)
        }
    };
}

/// A provider that sends these bytes, then nothing.
macro_rules! stalls_after {
    ($bytes:expr) => {
        |_, client| {
            client.write_all($bytes)?;
            client.read(&mut [0]).map(|_| Then::Close)
        }
    };
}

/// A provider that sends the first bytes once and the second ones without end.
macro_rules! endless {
    ($first:expr, $again:expr) => {
        |_, client| {
            client.write_all($first)?;
            loop {
                client.write_all($again)?;
            }
        }
    };
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "closes without an answer",
        behaviour: sends!(b"", Close),
        status: 502,
        code: "upstream_reset",
    },
    Fault {
        name: "closes within the head",
        behaviour: sends!(b"HTTP/1.1 200 OK\r\nContent-Le", Close),
        status: 502,
        code: "upstream_incomplete",
    },
    Fault {
        name: "closes within the body",
        behaviour: sends!(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\":", Close),
        status: 502,
        code: "upstream_incomplete",
    },
    Fault {
        name: "closes within a chunk",
        behaviour: sends!(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"id\"", Close),
        status: 502,
        code: "upstream_incomplete",
    },
    Fault { name: "never answers", behaviour: stalls_after!(b""), status: 504, code: "upstream_timeout" },
    Fault {
        name: "stops within the head",
        behaviour: stalls_after!(b"HTTP/1.1 200 OK\r\nContent-"),
        status: 504,
        code: "upstream_timeout",
    },
    Fault {
        name: "stops within the body",
        behaviour: stalls_after!(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
        status: 504,
        code: "upstream_timeout",
    },
    Fault {
        name: "fails (500)",
        behaviour: sends!(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}", KeepOpen),
        status: 502,
        code: "upstream_failed",
    },
    Fault {
        name: "is overloaded (503)",
        behaviour: sends!(b"HTTP/1.1 503 Oh\r\nContent-Length: 2\r\n\r\n{}", KeepOpen),
        status: 502,
        code: "upstream_failed",
    },
    Fault {
        name: "refuses our key (401)",
        behaviour: sends!(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}", KeepOpen),
        status: 502,
        code: "upstream_key_refused",
    },
    Fault {
        name: "refuses our key (403)",
        behaviour: sends!(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n{}", KeepOpen),
        status: 502,
        code: "upstream_key_refused",
    },
    Fault {
        name: "redirects",
        behaviour: sends!(
            b"HTTP/1.1 307 There\r\nLocation: /v1/elsewhere\r\nContent-Length: 0\r\n\r\n",
            KeepOpen
        ),
        status: 502,
        code: "upstream_invalid",
    },
    Fault {
        name: "speaks something else",
        behaviour: sends!(b"\0\xff\xfeSSH-2.0-sorry\r\n\r\n", KeepOpen),
        status: 502,
        code: "upstream_invalid",
    },
    Fault {
        name: "ends lines with a bare line feed",
        behaviour: sends!(b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", KeepOpen),
        status: 502,
        code: "upstream_invalid",
    },
    Fault {
        name: "says two lengths",
        behaviour: sends!(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", KeepOpen),
        status: 502,
        code: "upstream_invalid",
    },
    Fault {
        name: "says a length that is none",
        behaviour: sends!(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}", KeepOpen),
        status: 502,
        code: "upstream_invalid",
    },
    Fault {
        name: "says a length and chunks",
        behaviour: sends!(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            KeepOpen
        ),
        status: 502,
        code: "upstream_invalid",
    },
    Fault {
        name: "says a chunk size that is none",
        behaviour: sends!(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            KeepOpen
        ),
        status: 502,
        code: "upstream_invalid",
    },
    Fault {
        name: "says a chunk size that overflows",
        behaviour: sends!(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n",
            KeepOpen
        ),
        status: 502,
        code: "upstream_invalid",
    },
    Fault {
        name: "sends more in a chunk than it said",
        behaviour: sends!(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}{}\r\n0\r\n\r\n",
            KeepOpen
        ),
        status: 502,
        code: "upstream_invalid",
    },
    Fault {
        name: "switches protocols unasked (101)",
        behaviour: sends!(b"HTTP/1.1 101 Now\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", KeepOpen),
        status: 502,
        code: "upstream_invalid",
    },
    Fault {
        name: "sends headers without end",
        behaviour: endless!(b"HTTP/1.1 200 OK\r\n", b"X-More: and more and more and more\r\n"),
        status: 502,
        code: "upstream_invalid",
    },
    Fault {
        name: "sends interim answers without end",
        behaviour: endless!(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"),
        status: 502,
        code: "upstream_invalid",
    },
    Fault {
        name: "sends JSON without end",
        behaviour: endless!(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"8\r\n[[[[[[[[\r\n"
        ),
        status: 502,
        code: "response_too_large",
    },
    Fault {
        name: "sends JSON without end or framing",
        behaviour: endless!(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", b"[[[[[[[["),
        status: 502,
        code: "response_too_large",
    },
    Fault {
        name: "announces more than may be held",
        behaviour: stalls_after!(b"HTTP/1.1 200 OK\r\nContent-Length: 10001\r\n\r\n["),
        status: 502,
        code: "response_too_large",
    },
];

#[test]
fn every_fault_has_its_answer_and_spoils_nothing() {
    for Fault { name, behaviour, status, code } in FAULTS {
        let gateway = TestGateway::with(IMPATIENT);
        gateway.upstream.behave(behaviour);
        let mut client = gateway.connect();
        let answer = client.ask(&Request::chat());
        assert_eq!(answer.outcome(), (*status, (*code).to_owned()), "{name}");
        let event = gateway.event_of(answer.request_id());
        assert_eq!((event.status, event.reason_code.as_deref()), (Some(*status), Some(*code)), "{name}");
        assert_eq!(event.target_id.as_deref(), Some("primary"), "{name}");
        assert_eq!(
            gateway.upstream.requests().len(),
            1,
            "{name}: nothing is tried twice, no redirect followed"
        );

        gateway.upstream.answer_with(GOOD, Then::KeepOpen);
        assert_eq!(client.ask(&Request::chat()).status, 200, "{name}: the same client is served afterwards");
        assert_eq!(gateway.upstream.connections(), 2, "{name}: over a new connection");
    }
}

#[test]
fn interim_answers_are_passed_over() {
    let gateway = TestGateway::with(IMPATIENT);
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    gateway.upstream.answer_with([&hints[..], GOOD].concat(), Then::KeepOpen);
    let answer = gateway.ask(&Request::chat());
    assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
    assert_eq!(answer.header("link"), None);
}

#[test]
fn an_answer_of_exactly_the_limit_passes() {
    let gateway = TestGateway::with(IMPATIENT);
    let body = "x".repeat(10_000);
    for head in [format!("Content-Length: {}\r\n", body.len()), "Connection: close\r\n".to_owned()] {
        gateway.upstream.answer_with(format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}"), Then::Close);
        assert_eq!(gateway.ask(&Request::chat()).body.len(), 10_000, "{head}");
    }
}

/// A provider that reads nothing by itself: `behaviour` has the connection as it is accepted.
fn raw_provider(behaviour: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("a listener has an address");
    thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(behaviour));
    address
}

/// A gateway in front of the provider at `address`.
fn gateway_before(address: SocketAddr) -> TestGateway {
    TestGateway::with(&format!(
        "{IMPATIENT}providers: {{targets: [{{id: primary, provider: openai, base_url: 'http://{address}/v1'}}]}}"
    ))
}

/// A chat request that no socket buffers take whole.
fn long_chat() -> Request {
    let body =
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(9_000_000));
    Request::chat().json(body)
}

#[test]
fn a_provider_that_takes_no_connection_is_unreachable() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let gateway = gateway_before(nobody.expect("a port is free"));
    let answer = gateway.ask(&Request::chat());
    assert_eq!(answer.outcome(), (502, "upstream_unreachable".to_owned()));
    assert!(!String::from_utf8_lossy(&answer.body).contains("127.0.0.1"), "no address is shown");
    let event = gateway.event_of(answer.request_id());
    assert_eq!(event.reason_code.as_deref(), Some("upstream_unreachable"));
}

#[test]
fn a_provider_that_never_reads_is_given_up() {
    // Its large body would be taken for that of another test.
    let _turn = Memory::begin();
    let gateway = gateway_before(raw_provider(std::mem::forget));
    let answer = gateway.ask(&long_chat());
    assert_eq!(answer.outcome(), (504, "upstream_timeout".to_owned()));
}

#[test]
fn an_answer_that_comes_before_the_request_was_sent_is_passed_on() {
    const EARLY: &[u8] = b"HTTP/1.1 413 Too Large\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"early\":1}";
    let stays = gateway_before(raw_provider(|mut client| {
        // The gateway may have gone.
        let _ = client.read(&mut [0; 1024]).and_then(|_| client.write_all(EARLY));
        std::mem::forget(client);
    }));
    let closes = gateway_before(raw_provider(|mut client| {
        let _ = client.read(&mut [0; 1024]).and_then(|_| client.write_all(EARLY));
    }));
    for (name, gateway) in [("stays", stays), ("closes", closes)] {
        let answer = gateway.ask(&long_chat());
        assert_eq!((answer.status, &answer.body[..]), (413, &b"{\"early\":1}"[..]), "{name}");
    }
}

const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENT: &[u8] = b"f\r\ndata: {\"a\":1}\n\n\r\n";

#[test]
fn a_stream_that_breaks_off_is_never_taken_for_whole() {
    let faults: [(&str, Behaviour, &str); 3] = [
        ("closes", sends!(&[STREAM_HEAD, EVENT].concat(), Close), "upstream_incomplete"),
        ("stalls", stalls_after!(&[STREAM_HEAD, EVENT].concat()), "upstream_timeout"),
        ("bad chunk", sends!(&[STREAM_HEAD, EVENT, b"zz\r\n"].concat(), KeepOpen), "upstream_invalid"),
    ];
    for (name, behaviour, code) in faults {
        // Its large body would be taken for that of another test.
        let _turn = Memory::begin();
        let gateway = TestGateway::with(IMPATIENT);
        gateway.upstream.behave(behaviour);
        let mut client = gateway.connect();
        client.send(Request::chat().bytes()).expect("the request is taken");
        let head = client.head_answer();
        assert_eq!(head.status, 200, "{name}");
        let rest = String::from_utf8(client.rest()).expect("a stream is text");
        assert!(rest.contains("data: {\"a\":1}\n\n"), "{name}: what came before is the client's: {rest}");
        assert!(rest.contains(&format!(r#""code":"{code}""#)), "{name}: {rest}");
        assert!(!rest.contains("[DONE]") && !rest.ends_with("0\r\n\r\n"), "{name}: there is no last chunk");
        let event = gateway.event_of(head.request_id());
        assert_eq!((event.status, event.reason_code.as_deref()), (Some(200), Some(code)), "{name}");
    }
}

#[test]
fn a_whole_stream_is_told_from_a_broken_one() {
    let gateway = TestGateway::with(IMPATIENT);
    gateway.upstream.answer_with([STREAM_HEAD, EVENT, b"0\r\n\r\n"].concat(), Then::KeepOpen);
    let answer = gateway.ask(&Request::chat());
    assert_eq!(answer.body, b"data: {\"a\":1}\n\n");
    assert_eq!(gateway.event_of(answer.request_id()).reason_code.as_deref(), Some("ok"));
}

#[test]
fn a_line_without_end_passes_in_bounded_memory() {
    const PASSED: usize = 48 << 20;
    let gateway = TestGateway::with(IMPATIENT);
    gateway.upstream.behave(|_, client| {
        client.write_all(STREAM_HEAD)?;
        let chunk = [&b"4000\r\n"[..], &[b'x'; 0x4000], b"\r\n"].concat();
        loop {
            client.write_all(&chunk)?;
        }
    });
    let mut client = gateway.connect();
    client.send(Request::chat().bytes()).expect("the request is taken");
    let head = client.head_answer();
    let memory = Memory::begin();
    let mut passed = 0;
    while passed < PASSED {
        passed += client.chunk().expect("the stream has no end").len();
    }
    let grown = memory.growth_mib();
    assert!(grown < 16, "{grown} MiB more for a line of {PASSED} bytes");
    drop(client);
    assert_eq!(gateway.event_of(head.request_id()).reason_code.as_deref(), Some("client_closed"));
    wait_for("the provider to be left", || (gateway.upstream.open_connections() == 0).then_some(()));
}

#[test]
fn a_slow_client_slows_the_provider_down() {
    let gateway = TestGateway::with(IMPATIENT);
    let written = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&written);
    gateway.upstream.behave(move |_, client| {
        client.write_all(STREAM_HEAD)?;
        let chunk = [&b"4000\r\n"[..], &[b'x'; 0x4000], b"\r\n"].concat();
        loop {
            client.write_all(&chunk)?;
            counted.fetch_add(chunk.len(), Ordering::SeqCst);
        }
    });
    let memory = Memory::begin();
    let mut client = gateway.connect();
    client.send(Request::chat().bytes()).expect("the request is taken");
    client.head_answer();
    let mut last = (0, Instant::now());
    wait_for("the provider to be held up", || {
        let now = written.load(Ordering::SeqCst);
        if now != last.0 {
            last = (now, Instant::now());
        }
        (now > 0 && last.1.elapsed() > Duration::from_millis(300)).then_some(())
    });
    let grown = memory.growth_mib();
    assert!(grown < 8, "{grown} MiB are held for a client that does not read");
    let held_up_at = written.load(Ordering::SeqCst);
    while written.load(Ordering::SeqCst) == held_up_at {
        client.chunk().expect("the stream has no end");
    }
}
