//! The PROXY protocol: only a trusted forwarding layer says who the client is, and only in a whole, well-formed header.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use kt_domain::events::EventType;

use crate::harness::{Client, Request, TestGateway};

const CLIENT: [u8; 4] = [203, 0, 113, 7];
const STRANGER: [u8; 4] = [198, 51, 100, 9];

/// Takes headers from `127.0.0.1`, lets in the client's address and that of the forwarding layer.
const RULES: &str = "
listener: {proxy_protocol: true}
timeouts: {request_header: 400ms}
ip_allowlist:
  enabled: true
  allow: [203.0.113.7/32, '2001:db8::7/128', 127.0.0.1/32]
  trusted_proxies: [127.0.0.1/32]
";

fn text(source: [u8; 4]) -> Vec<u8> {
    let source = IpAddr::from(source);
    format!("PROXY TCP4 {source} 192.0.2.1 50000 443\r\n").into_bytes()
}

/// A header of version 2: command (`1` for PROXY, `0` for LOCAL), family and protocol, addresses and what follows.
fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a header is short").to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, family], &length, content].concat()
}

fn ipv4(source: [u8; 4]) -> Vec<u8> {
    [&source[..], &[192, 0, 2, 1], &[0xc3, 0x50], &[0x01, 0xbb]].concat()
}

fn ipv6(last: u8) -> Vec<u8> {
    let mut source = [0; 16];
    source[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    source[15] = last;
    [&source[..], &[0; 15], &[1], &[0xc3, 0x50], &[0x01, 0xbb]].concat()
}

/// Type-length-values that are none of the gateway's business.
fn with_values(addresses: &[u8], length: u16) -> Vec<u8> {
    [addresses, &[0xe0], &length.to_be_bytes(), &vec![b'v'; usize::from(length)]].concat()
}

#[test]
fn the_allowlist_sees_the_address_that_a_trusted_layer_gives() {
    let cases: [(&str, Vec<u8>, Option<IpAddr>, u16); 10] = [
        ("v1, allowed", text(CLIENT), Some(CLIENT.into()), 200),
        ("v1, not allowed", text(STRANGER), Some(STRANGER.into()), 403),
        ("v1, unknown", b"PROXY UNKNOWN\r\n".to_vec(), Some([127, 0, 0, 1].into()), 200),
        ("v2, allowed", binary(1, 0x11, &ipv4(CLIENT)), Some(CLIENT.into()), 200),
        ("v2, not allowed", binary(1, 0x11, &ipv4(STRANGER)), Some(STRANGER.into()), 403),
        ("v2, IPv6, allowed", binary(1, 0x21, &ipv6(7)), "2001:db8::7".parse().ok(), 200),
        ("v2, IPv6, not allowed", binary(1, 0x21, &ipv6(8)), "2001:db8::8".parse().ok(), 403),
        ("v2, local", binary(0, 0x00, &[]), Some([127, 0, 0, 1].into()), 200),
        ("v2, local with an address", binary(0, 0x11, &ipv4(STRANGER)), Some([127, 0, 0, 1].into()), 200),
        ("v2, with values", binary(1, 0x11, &with_values(&ipv4(CLIENT), 200)), Some(CLIENT.into()), 200),
    ];
    let gateway = TestGateway::with(RULES);
    for (name, header, source, status) in cases {
        let request = [header, Request::chat().bytes()].concat();
        let answer = gateway.raw(request);
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        let event = gateway.event_of(answer.request_id());
        assert_eq!(event.source_ip, source, "{name}");
        if status == 403 {
            assert_eq!(
                (answer.code().as_str(), event.event_type),
                ("ip_denied", EventType::IpDenied),
                "{name}"
            );
        }
    }
}

#[test]
fn a_header_holds_for_every_request_of_its_connection() {
    let gateway = TestGateway::with(RULES);
    let mut client = gateway.connect();
    client.send(text(CLIENT)).expect("the header is taken");
    for _ in 0..3 {
        let answer = client.ask(&Request::chat());
        assert_eq!(gateway.event_of(answer.request_id()).source_ip, Some(CLIENT.into()));
    }
}

#[test]
fn a_header_may_come_in_pieces() {
    for header in [text(CLIENT), binary(1, 0x11, &with_values(&ipv4(CLIENT), 20))] {
        for at in [1, 5, 12, 13, 15, 20, header.len() - 1] {
            let gateway = TestGateway::with(RULES);
            let mut client = gateway.connect();
            client.send(&header[..at]).expect("the beginning is taken");
            // So that the pieces come apart.
            thread::sleep(Duration::from_millis(5));
            client.send(&header[at..]).expect("the rest is taken");
            let answer = client.ask(&Request::chat());
            assert_eq!(answer.status, 200, "cut at {at}");
        }
    }
}

#[test]
fn what_is_no_whole_header_is_closed_without_an_answer() {
    let too_long_a_line = [&b"PROXY TCP4 "[..], &[b'1'; 200], b"\r\n"].concat();
    let cases: [(&str, Vec<u8>); 12] = [
        ("none at all", Vec::new()),
        ("a line of another case", b"proxy TCP4 203.0.113.7 192.0.2.1 50000 443\r\n".to_vec()),
        ("an address that is none", b"PROXY TCP4 203.0.113.777 192.0.2.1 50000 443\r\n".to_vec()),
        ("an address of the other family", b"PROXY TCP4 2001:db8::7 192.0.2.1 50000 443\r\n".to_vec()),
        ("a family that is none", b"PROXY TCP9 203.0.113.7 192.0.2.1 50000 443\r\n".to_vec()),
        ("a bare line feed", b"PROXY TCP4 203.0.113.7 192.0.2.1 50000 443\n".to_vec()),
        ("too long a line", too_long_a_line),
        (
            "a signature that is not right",
            binary(1, 0x11, &ipv4(CLIENT)).iter().map(|byte| byte ^ 1).collect(),
        ),
        ("a version that is none", {
            let mut header = binary(1, 0x11, &ipv4(CLIENT));
            header[12] = 0x31;
            header
        }),
        ("too few bytes for its addresses", binary(1, 0x11, &CLIENT)),
        ("more values than are taken", binary(1, 0x11, &with_values(&ipv4(CLIENT), 600))),
        ("a path instead of an address", binary(1, 0x31, &[b'/'; 216])),
    ];
    let gateway = TestGateway::with(RULES);
    for (name, header) in cases {
        let mut client = gateway.connect();
        // The gateway may have closed the connection already.
        let _ = client.send([header, Request::chat().bytes()].concat());
        assert_eq!(client.rest(), b"", "{name}");
    }
    assert_eq!(gateway.upstream.requests().len(), 0);
    assert_eq!(gateway.raw([text(CLIENT), Request::chat().bytes()].concat()).status, 200, "the control");
}

#[test]
fn an_unfinished_header_is_waited_for_no_longer_than_a_request() {
    let gateway = TestGateway::with(RULES);
    for beginning in [&b"PROXY TCP4 203"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c", b""] {
        let mut client = gateway.connect();
        client.send(beginning).expect("the beginning is taken");
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_stranger_cannot_say_who_it_is() {
    let gateway = TestGateway::with(RULES);
    let speak_from = |source: [u8; 4]| -> Client {
        let mut client = gateway.connect_from(source);
        // The gateway may have closed the connection already.
        let _ = client.send([text(CLIENT), Request::chat().bytes()].concat());
        client
    };
    assert_eq!(speak_from([127, 0, 0, 9]).rest(), b"");
    assert_eq!(gateway.upstream.requests().len(), 0);
    assert_eq!(speak_from([127, 0, 0, 1]).answer().status, 200, "the control");
}

#[test]
fn a_header_that_is_not_expected_is_no_request() {
    let gateway = TestGateway::with("");
    for header in [text(CLIENT), binary(1, 0x11, &ipv4(CLIENT))] {
        let answer = gateway.raw([header, Request::chat().bytes()].concat());
        assert!([400, 505].contains(&answer.status), "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
    }
    assert_eq!(gateway.upstream.requests().len(), 0);
}
