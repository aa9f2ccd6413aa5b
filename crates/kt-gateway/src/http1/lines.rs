//! Finding the end of a header block without forgiving anything (RFC 9112 section 2.2).

use memchr::memchr_iter;

/// How far a header block has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// It ends, with its empty line, at this offset.
    Complete(usize),
    /// Its empty line has not come yet.
    Partial,
    /// A line does not end in CRLF.
    BareLineFeed,
}

/// Looks for the empty line that ends a header block.
///
/// `from` is how much of `bytes` an earlier call has looked at. A line feed without its carriage return is refused as
/// soon as it is seen: readers that take it for a line's end and readers that do not see two different messages.
pub(super) fn find_end(bytes: &[u8], from: usize) -> Block {
    for at in memchr_iter(b'\n', &bytes[from..]).map(|at| at + from) {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Block::BareLineFeed;
        }
        if at == 1 || (at >= 3 && &bytes[at - 3..at - 1] == b"\r\n") {
            return Block::Complete(at + 1);
        }
    }
    Block::Partial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_at_its_first_empty_line_however_it_arrives() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n";
        for seen in 0..27 {
            assert_eq!(find_end(bytes, seen), Block::Complete(27), "after {seen} bytes");
        }
        assert_eq!(find_end(&bytes[..26], 0), Block::Partial);
        assert_eq!(find_end(b"\r\n", 0), Block::Complete(2));
    }

    #[test]
    fn a_bare_line_feed_is_refused_wherever_it_stands() {
        for bytes in [&b"\n"[..], b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nHost: a\n\r\n", b"a\r\n\n"] {
            assert_eq!(find_end(bytes, 0), Block::BareLineFeed, "{bytes:?}");
        }
    }
}
