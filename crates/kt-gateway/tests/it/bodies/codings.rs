//! Packed bodies of several parts, with sums, and with something behind their end.

use super::{CHAT, LIMIT, LIMITED, ZSTD_FRAME, body_of, brotli, gzip, zlib, zstd};
use crate::harness::{Request, TestGateway};

/// [`CHAT`] in one raw block, as `zstd --check` packs it: the last four bytes are its sum (RFC 8878 section 3.1.1).
fn zstd_with_sum() -> Vec<u8> {
    [b"\x28\xb5\x2f\xfd\x04\x58\xe1\x01\x00", CHAT, b"\xe4\x6b\xa3\xf3"].concat()
}

/// A frame that every reader of Zstandard passes over (RFC 8878 section 3.1.2).
fn skippable(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("one frame holds it");
    [b"\x5a\x2a\x4d\x18", &length.to_le_bytes()[..], content].concat()
}

/// A frame of nothing.
fn empty_zstd() -> Vec<u8> {
    [ZSTD_FRAME, &[0b001, 0, 0]].concat()
}

fn packed(coding: &str, body: &[u8]) -> Request {
    Request::chat().header("Content-Encoding", coding).body(body)
}

#[test]
fn what_is_packed_in_several_parts_comes_out_as_one() {
    let gateway = TestGateway::with("");
    let (first, second) = CHAT.split_at(20);
    for (coding, body) in [
        ("gzip", [gzip(first), gzip(second)].concat()),
        ("zstd", [zstd(first), zstd(second)].concat()),
        ("zstd", [skippable(b"a note"), zstd(CHAT)].concat()),
        ("zstd", [zstd(first), skippable(b""), zstd(second), skippable(&[0; 9000])].concat()),
        ("zstd", [empty_zstd(), zstd_with_sum(), empty_zstd()].concat()),
        ("zstd", zstd_with_sum()),
    ] {
        assert_eq!(gateway.ask(&packed(coding, &body)).status, 200, "{coding} {body:x?}");
        let forwarded = gateway.upstream.requests().pop().expect("it was forwarded");
        assert_eq!(forwarded.body, CHAT, "{coding} {body:x?}");
    }
}

#[test]
fn what_is_packed_in_several_parts_is_held_to_the_limit_by_all_of_them() {
    let gateway = TestGateway::with(LIMITED);
    for more in [0, 1] {
        let content = body_of(LIMIT + more);
        let parts: Vec<Vec<u8>> = content.chunks(400).map(blanks_in_one_byte).collect();
        let answer = gateway.ask(&packed("zstd", &parts.concat()));
        assert_eq!(answer.status, if more == 0 { 200 } else { 413 }, "{more} too many");
    }
}

#[test]
fn a_body_of_more_parts_than_anyone_packs_is_refused() {
    const MAX_PARTS: usize = 4096;
    let gateway = TestGateway::with("");
    for (coding, empty, last) in [
        ("gzip", gzip(b""), gzip(CHAT)),
        ("zstd", empty_zstd(), zstd(CHAT)),
        ("zstd", skippable(b""), zstd(CHAT)),
    ] {
        let of_parts = |count: usize| packed(coding, &[empty.repeat(count - 1), last.clone()].concat());
        assert_eq!(gateway.ask(&of_parts(MAX_PARTS)).status, 200, "the control: {coding}");
        let refused = gateway.ask(&of_parts(MAX_PARTS + 1));
        assert_eq!(refused.outcome(), (400, "invalid_encoding".to_owned()), "{coding}");
    }
}

/// A part of a body: what is no blank in a raw block, the blanks behind it in a block of one repeated byte.
fn blanks_in_one_byte(content: &[u8]) -> Vec<u8> {
    let blanks = content.iter().rev().take_while(|byte| **byte == b' ').count();
    let (text, blanks) = content.split_at(content.len() - blanks);
    let header = |length: usize, kind: u32, last: u32| {
        let length = u32::try_from(length).expect("one block holds it");
        ((length << 3) | (kind << 1) | last).to_le_bytes()[..3].to_vec()
    };
    [ZSTD_FRAME, &header(text.len(), 0, 0), text, &header(blanks.len(), 1, 1), b" "].concat()
}

#[test]
fn what_stands_behind_the_end_or_does_not_come_to_its_sum_is_refused() {
    let gateway = TestGateway::with("");
    let with = |packed: Vec<u8>, behind: &[u8]| [&packed, behind].concat();
    let mut spoilt_sum = zstd_with_sum();
    *spoilt_sum.last_mut().expect("it has a sum") ^= 1;
    let mut spoilt_content = zstd_with_sum();
    spoilt_content[20] ^= 1;
    let long_skip = [b"\x50\x2a\x4d\x18\xff\xff\xff\xff".to_vec(), zstd(CHAT)].concat();
    for (coding, whole, spoilt) in [
        ("gzip", gzip(CHAT), with(gzip(CHAT), b"x")),
        ("gzip", gzip(CHAT), with(gzip(CHAT), &[0; 9000])),
        ("gzip", gzip(CHAT), with(gzip(CHAT), &gzip(b"more")[..9])),
        ("deflate", zlib(CHAT), with(zlib(CHAT), b"x")),
        ("deflate", zlib(CHAT), with(zlib(CHAT), &zlib(CHAT))),
        ("deflate", zlib(CHAT), with(zlib(CHAT), &[0; 9000])),
        ("br", brotli(CHAT), with(brotli(CHAT), b"x")),
        ("br", brotli(CHAT), with(brotli(CHAT), &brotli(CHAT))),
        ("br", brotli(CHAT), with(brotli(CHAT), &[0; 9000])),
        ("br", brotli(&body_of(4092)), with(brotli(&body_of(4092)), b"x")),
        ("zstd", zstd(CHAT), with(zstd(CHAT), b"x")),
        ("zstd", zstd(CHAT), with(zstd(CHAT), b"\x28\xb5\x2f\xfd")),
        ("zstd", zstd(CHAT), with(zstd(CHAT), &skippable(b"a note")[..9])),
        ("zstd", zstd(CHAT), long_skip),
        ("zstd", zstd_with_sum(), spoilt_sum),
        ("zstd", zstd_with_sum(), spoilt_content),
        ("zstd", zstd_with_sum(), with(zstd_with_sum()[..71].to_vec(), b"")),
    ] {
        let refused = gateway.ask(&packed(coding, &spoilt));
        assert_eq!(refused.outcome(), (400, "invalid_encoding".to_owned()), "{coding} {spoilt:x?}");
        assert_eq!(gateway.ask(&packed(coding, &whole)).status, 200, "the control: {coding} {whole:x?}");
    }
}
