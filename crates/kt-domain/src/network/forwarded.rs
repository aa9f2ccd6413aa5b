//! The `Forwarded` header (RFC 7239), as far as it names clients.
//!
//! Written here because the crates for it (`rfc7239` 0.1, archived, and `forwarded-header-value` 0.1) split at every
//! `,` and `;` without regard to quotes and strip quotes without undoing escapes, so that a client who can put text
//! into one element can make up others; and both begin at the left, which strangers write.

use std::borrow::Cow;
use std::net::IpAddr;

use super::node;

/// The elements of one header line, the right-most first, each without the white space around it.
///
/// Going from the right, the elements that trusted proxies have appended are found whatever stands to the left of
/// them: an opening quotation mark there cannot swallow them. On a line that follows the grammar, the elements are the
/// same as from the left.
pub fn elements_from_right(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let Some(comma) = last_separator(text) else { return Some(trim(text)) };
        rest = Some(&text[..comma]);
        Some(trim(&text[comma + 1..]))
    })
}

/// The address that the element's `for` names; none when the element breaks the grammar of section 4, has no `for`,
/// or names no address (`unknown`, `_hidden`).
#[must_use]
pub fn client(element: &[u8]) -> Option<IpAddr> {
    let mut client = None;
    let mut rest = element;
    loop {
        // Pairs may be empty: forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] )
        if !rest.is_empty() && rest[0] != b';' {
            let (pair, after) = take_pair(rest)?;
            if pair.name.eq_ignore_ascii_case(b"for")
                && client.replace(node::of_rfc7239(&pair.value)?).is_some()
            {
                return None;
            }
            rest = after;
        }
        match rest.split_first() {
            None => return client,
            Some((b';', after)) => rest = after,
            Some(_) => return None,
        }
    }
}

/// Where the right-most `,` outside quotation marks stands.
fn last_separator(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in text.iter().enumerate().rev() {
        match byte {
            b'"' if !(quoted && is_escaped(text, at)) => quoted = !quoted,
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Whether an odd number of backslashes stands before `at`.
fn is_escaped(text: &[u8], at: usize) -> bool {
    text[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// A parameter, its value without quotation marks and escapes.
struct Pair<'a> {
    name: &'a [u8],
    value: Cow<'a, [u8]>,
}

/// Takes `token "=" ( token / quoted-string )` from the front of `text`.
fn take_pair(text: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let (name, rest) = take_token(text)?;
    let rest = rest.strip_prefix(b"=")?;
    let (value, rest) = match rest.strip_prefix(b"\"") {
        Some(quoted) => take_quoted(quoted)?,
        None => take_token(rest).map(|(token, rest)| (Cow::Borrowed(token), rest))?,
    };
    Some((Pair { name, value }, rest))
}

fn take_token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| !is_token_char(*byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Takes a quoted string (RFC 9110 section 5.6.4) whose opening mark is already taken.
fn take_quoted(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut end = 0;
    loop {
        match text.get(end)? {
            b'"' => return Some((unescaped(&text[..end]), &text[end + 1..])),
            b'\\' if is_quotable(*text.get(end + 1)?) => end += 2,
            byte if is_quotable(*byte) && *byte != b'\\' => end += 1,
            _ => return None,
        }
    }
}

/// `text` without the backslashes that mark the bytes after them.
fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'\\') {
        return Cow::Borrowed(text);
    }
    let mut bytes = text.iter();
    let next = || bytes.next().and_then(|byte| if *byte == b'\\' { bytes.next() } else { Some(byte) });
    std::iter::from_fn(next).copied().collect::<Vec<u8>>().into()
}

/// Whether `byte` may stand in a quoted string, escaped if need be: tab, space, visible or not ASCII.
fn is_quotable(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// `tchar` of RFC 9110 section 5.6.2.
pub(super) fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `text` without the optional white space (RFC 9110 section 5.6.3) around it.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}
