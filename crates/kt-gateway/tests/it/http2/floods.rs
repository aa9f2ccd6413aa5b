//! What one connection may do, frame by frame.

use std::io::{Read, Write};
use std::time::Duration;

use crate::harness::{Memory, Request, TestGateway, wait_for};

/// One frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is short");
    [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM_AND_HEADERS: u8 = 5;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET / HTTP/2` of `http://gateway.test`, in indexed fields and one literal (RFC 7541 appendix A).
const GET_ROOT: &[u8] = b"\x82\x86\x84\x41\x0cgateway.test";

/// Sends the preface and these frames, and gives the frames that come back, as kind and payload, until the gateway ends
/// the connection or, if it does not, for a moment.
fn frames_after(gateway: &TestGateway, frames: &[u8]) -> (Vec<(u8, Vec<u8>)>, bool) {
    let client = gateway.connect();
    let mut stream = client.stream();
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, b"")[..]].concat();
    // A gateway that has had enough takes no more.
    let _ = stream.write_all(&[&preface, frames].concat());
    stream.set_read_timeout(Some(Duration::from_millis(500))).expect("a time limit can be set");
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let ended = loop {
        match stream.read(&mut piece) {
            Ok(0) => break true,
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
            Err(error) => break error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    };
    let mut frames = Vec::new();
    let mut rest = &bytes[..];
    while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((payload, next)) = after.split_at_checked(length) else { break };
        frames.push((*kind, payload.to_vec()));
        rest = next;
    }
    (frames, ended)
}

fn still_serves(gateway: &TestGateway) -> bool {
    gateway.ask(&Request::chat()).status == 200
}

#[test]
fn a_connection_says_what_it_allows() {
    let gateway = TestGateway::with("");
    let (frames, ended) = frames_after(&gateway, b"");
    let settings =
        &frames.iter().find(|(kind, payload)| *kind == SETTINGS && !payload.is_empty()).expect("settings").1;
    let value = |id: u16| {
        let pairs = settings.chunks(6).find(|pair| pair[..2] == id.to_be_bytes());
        pairs.map(|pair| u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]))
    };
    assert_eq!((value(3), value(6), ended), (Some(100), Some(256 * 1024), false), "streams and header list");
}

#[test]
fn streams_that_are_opened_and_reset_in_a_row_end_their_connection_alone() {
    let gateway = TestGateway::with("");
    let attack = |streams: u32| -> Vec<u8> {
        let ids = (0..streams).map(|n| 2 * n + 1);
        ids.flat_map(|id| {
            [
                frame(HEADERS, END_STREAM_AND_HEADERS, id, GET_ROOT),
                frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()),
            ]
        })
        .flatten()
        .collect()
    };
    assert_a_few_are_forgiven_and_no_flood(&gateway, attack);
}

/// The gateway is made to reset the streams itself (CVE-2025-8671): what it may send of their answers cannot be counted.
#[test]
fn streams_that_the_gateway_has_to_reset_in_a_row_end_their_connection_alone() {
    let gateway = TestGateway::with("");
    let post = [&b"\x83\x86\x04\x14/v1/chat/completions"[..], &GET_ROOT[3..]].concat();
    let attack = |streams: u32| -> Vec<u8> {
        let ids = (0..streams).map(|n| 2 * n + 1);
        ids.flat_map(|id| {
            [frame(HEADERS, END_HEADERS, id, &post), frame(WINDOW_UPDATE, 0, id, &i32::MAX.to_be_bytes())]
        })
        .flatten()
        .collect()
    };
    assert_a_few_are_forgiven_and_no_flood(&gateway, attack);
    assert_eq!(gateway.upstream.requests().len(), 1, "only the other request");
}

fn assert_a_few_are_forgiven_and_no_flood(gateway: &TestGateway, attack: impl Fn(u32) -> Vec<u8>) {
    let (frames, ended) = frames_after(gateway, &attack(1000));
    let goaway = frames.iter().find(|(kind, _)| *kind == GOAWAY).map(|(_, payload)| payload[4..8].to_vec());
    assert_eq!(goaway, Some(11_u32.to_be_bytes().to_vec()), "ENHANCE_YOUR_CALM");
    assert!(ended);
    assert!(still_serves(gateway));
    let (frames, ended) = frames_after(gateway, &attack(5));
    assert!(!ended && frames.iter().all(|(kind, _)| *kind != GOAWAY), "a few are forgiven");
}

#[test]
fn a_field_that_is_said_once_and_meant_ten_thousand_times_takes_no_memory() {
    let gateway = TestGateway::with("");
    let memory = Memory::begin();
    // A field of 4,000 bytes is put into the table, then named by its place there (RFC 7541 section 6.1).
    let entry = [&b"\x40\x01x\x7f\xa1\x1e"[..], &[b'v'; 4000]].concat();
    let bomb = [GET_ROOT, &entry, &[0xbe; 10_000]].concat();
    let (frames, _) = frames_after(&gateway, &frame(HEADERS, END_STREAM_AND_HEADERS, 1, &bomb));
    assert!(frames.iter().any(|(kind, _)| [HEADERS, RST_STREAM, GOAWAY].contains(kind)), "it is refused");
    assert!(memory.growth_mib() < 20, "{} MiB", memory.growth_mib());
    assert!(still_serves(&gateway));
    assert!(gateway.events().iter().all(|event| event.request_path.as_deref() != Some("/")), "nobody saw it");
}

#[test]
fn a_header_list_without_end_ends_its_connection_alone() {
    let gateway = TestGateway::with("");
    let literal = [&b"\x00\x01x\x7f\x81\x7e"[..], &[b'v'; 253]].concat();
    let block = literal.repeat(60);
    let begun = frame(HEADERS, END_STREAM, 1, GET_ROOT);
    let flood: Vec<u8> =
        std::iter::once(begun).chain((0..200).map(|_| frame(CONTINUATION, 0, 1, &block))).flatten().collect();
    let (frames, ended) = frames_after(&gateway, &flood);
    assert!(ended, "{frames:?}");
    assert!(still_serves(&gateway));
    assert_eq!(gateway.upstream.requests().len(), 1, "only the other request");
}

#[test]
fn what_only_begins_like_http2_is_no_request() {
    let gateway = TestGateway::with("");
    for bytes in [
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        "PRI / HTTP/2.0\r\nHost: a\r\n\r\n",
    ] {
        let mut client = gateway.connect();
        client.send(bytes).unwrap();
        client.rest();
    }
    let answer = gateway
        .ask(&Request::chat().header("Connection", "Upgrade, HTTP2-Settings").header("Upgrade", "h2c"));
    assert_eq!(answer.status, 200, "an upgrade is not taken up: the request is answered as it is");
    wait_for("the only request", || (gateway.upstream.requests().len() == 1).then_some(()));
}
