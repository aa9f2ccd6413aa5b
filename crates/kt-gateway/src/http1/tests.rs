//! Properties of the parsers: what they accept has one meaning, and no cut or garbage makes a difference.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::body::{BadFraming, Decoder, Framing, Step};
use super::head::{self, Head, Wire};

/// What came of a body: its bytes, and what was left behind it once it was whole.
type Decoded = (Vec<u8>, Result<Option<Vec<u8>>, BadFraming>);

/// Decodes a body that arrives in these pieces.
fn decode<'a>(framing: Framing, pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = Decoder::new(framing);
    let mut buffer = BytesMut::new();
    let mut body = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.step(&mut buffer) {
                Ok(Step::Data(length)) => body.extend_from_slice(&buffer.split_to(length)),
                Ok(Step::Starved | Step::End) => break,
                Err(fault) => return (body, Err(fault)),
            }
        }
    }
    (body, Ok(decoder.is_done().then(|| buffer.to_vec())))
}

fn encode(chunks: &[Vec<u8>], extension: &str, trailers: &[String]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for chunk in chunks {
        encoded.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
        encoded.extend_from_slice(chunk);
        encoded.extend_from_slice(b"\r\n");
    }
    encoded.extend_from_slice(b"0\r\n");
    for trailer in trailers {
        encoded.extend_from_slice(format!("{trailer}\r\n").as_bytes());
    }
    encoded.extend_from_slice(b"\r\n");
    encoded
}

fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6)
}

/// A chunked body that may have been spoilt at one place, with other bytes behind it.
fn nearly_chunked() -> impl Strategy<Value = Vec<u8>> {
    let spoilt = prop::option::of((any::<prop::sample::Index>(), any::<u8>()));
    (chunks(), "(;[a-z]{1,5})?", prop::collection::vec("[A-Z]: [a-z]{0,9}", 0..3), spoilt, ".{0,20}")
        .prop_map(|(chunks, extension, trailers, spoilt, behind)| {
            let mut encoded = encode(&chunks, &extension, &trailers);
            if let Some((at, byte)) = spoilt {
                let at = at.index(encoded.len());
                encoded[at] = byte;
            }
            encoded.extend_from_slice(behind.as_bytes());
            encoded
        })
}

/// A head made of lines that are right and wrong, with line ends that are right and wrong.
fn nearly_a_head() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "Host: gateway.test",
        "host: other.test",
        "Host:",
        "Content-Length: 5",
        "content-length: 5",
        "Content-Length: 05",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Content-Length : 5",
        " Content-Length: 5",
        "Content_Length: 9",
        "Transfer-Encoding: chunked",
        "transfer-encoding: Chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: identity",
        "Transfer_Encoding: chunked",
        "Connection: close",
        "Expect: 100-continue",
        "X: y",
        "X:\tz",
    ]);
    let end = prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\n ")];
    let request_line = prop::sample::select(vec![
        "POST / HTTP/1.1",
        "POST / HTTP/1.0",
        "GET http://gateway.test/ HTTP/1.1",
        "GET /a?b HTTP/1.1",
        "GET  / HTTP/1.1",
        "OPTIONS * HTTP/1.1",
    ]);
    (request_line, prop::collection::vec((end, line), 0..5)).prop_map(|(request_line, lines)| {
        let lines: String = lines.into_iter().flat_map(|(end, line)| [end, line]).collect();
        format!("{request_line}{lines}\r\n\r\n")
    })
}

/// The values of a field, read as naively as another reader might: by lines of any end, by the first colon, with blanks
/// around the name forgiven.
fn naive_values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.split(['\r', '\n'])
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(own, _)| own.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

fn parse(head: &str) -> Option<(Head, Wire)> {
    let measured = head::measure(head.as_bytes(), 0).ok()??;
    head::parse(&Bytes::copy_from_slice(&head.as_bytes()[..measured])).ok()
}

proptest! {
    #[test]
    fn a_body_comes_out_as_it_was_put_into_chunks(
        chunks in chunks(),
        extension in "(;[ -~&&[^;]]{0,9})?",
        trailers in prop::collection::vec("[A-Za-z-]{1,9}: [ -~]{0,9}", 0..3),
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let encoded = [encode(&chunks, &extension, &trailers), behind.clone()].concat();
        prop_assert_eq!(decode(Framing::Chunked, [&encoded[..]]), (chunks.concat(), Ok(Some(behind))));
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut(
        encoded in prop_oneof![nearly_chunked(), prop::collection::vec(any::<u8>(), 0..60)],
        size in 1_usize..9,
        length in 0_u64..80,
    ) {
        for framing in [Framing::Chunked, Framing::Length(length), Framing::UntilClose] {
            let at_once = decode(framing, [&encoded[..]]);
            prop_assert_eq!(decode(framing, encoded.chunks(size)), at_once, "{:?}", framing);
        }
    }

    #[test]
    fn a_body_of_known_length_is_that_many_bytes(bytes in prop::collection::vec(any::<u8>(), 0..60), length in 0_usize..80) {
        let (body, end) = decode(Framing::Length(length as u64), [&bytes[..]]);
        let whole = length.min(bytes.len());
        prop_assert_eq!(&body[..], &bytes[..whole]);
        prop_assert_eq!(end, Ok((whole == length).then(|| bytes[whole..].to_vec())));
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_is_cut(head in nearly_a_head(), seen in any::<prop::sample::Index>()) {
        let bytes = head.as_bytes();
        let seen = seen.index(bytes.len());
        // What was looked at before held no end and no fault, or the reader would not have come back.
        if matches!(head::measure(&bytes[..seen], 0), Ok(None)) {
            prop_assert_eq!(head::measure(bytes, seen), head::measure(bytes, 0));
        }
    }

    #[test]
    fn no_bytes_are_too_odd_for_the_head_parser(bytes in prop::collection::vec(any::<u8>(), 0..200), head in nearly_a_head()) {
        let at = bytes.len() / 2;
        for input in [bytes.clone(), [head.as_bytes(), &bytes].concat(), [&bytes[..at], head.as_bytes()].concat()] {
            if let Ok(Some(length)) = head::measure(&input, 0) {
                // Whatever it says, it says it without a panic.
                let _ = head::parse(&Bytes::copy_from_slice(&input[..length]));
            }
        }
    }

    #[test]
    fn an_accepted_head_has_one_meaning(head in nearly_a_head()) {
        let Some((parsed, wire)) = parse(&head) else { return Ok(()) };
        let lengths = naive_values(&head, "Content-Length");
        let codings = naive_values(&head, "Transfer-Encoding");
        match (&lengths[..], &codings[..]) {
            ([], []) => prop_assert_eq!(wire.framing, Framing::Length(0)),
            ([length], []) => prop_assert_eq!(Some(wire.framing), length.parse().ok().map(Framing::Length)),
            ([], [coding]) => {
                prop_assert!(coding.eq_ignore_ascii_case("chunked"));
                prop_assert_eq!(wire.framing, Framing::Chunked);
            }
            _ => prop_assert!(false, "accepted with {:?} and {:?}", lengths, codings),
        }
        let hosts = naive_values(&head, "Host");
        prop_assert!(hosts.len() == 1 || (hosts.is_empty() && !wire.speaks_1_1));
        prop_assert_eq!(parsed.authority.as_ref().map(http::uri::Authority::as_str), hosts.first().copied());
        prop_assert!(!head.contains("\r\n ") && head.replace("\r\n", "").find(['\r', '\n']).is_none());
    }
}

#[test]
fn an_accepted_head_is_no_rarity_among_those_tried() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let accepted = (0..2000)
        .filter(|_| {
            let head = nearly_a_head().new_tree(&mut runner).expect("a head can be made").current();
            parse(&head).is_some()
        })
        .count();
    assert!(accepted > 100, "{accepted} of 2000");
}

#[test]
fn a_chunks_size_fits_its_type_and_no_more_digits_are_taken() {
    let sized = |size: &str| decode(Framing::Chunked, [format!("{size}\r\nx").as_bytes()]).1;
    assert_eq!(sized("fffffffffffffff"), Ok(None));
    assert_eq!(sized("000000000000001"), Ok(None));
    assert_eq!(sized("0000000000000001"), Err(BadFraming));
    assert_eq!(sized("ffffffffffffffff"), Err(BadFraming));
}
