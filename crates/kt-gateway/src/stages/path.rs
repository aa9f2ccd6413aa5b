//! Bringing a path into its one form, before anything looks at it (RFC 3986 section 6.2.2).

use std::borrow::Cow;

use crate::reply::Refusal;

/// The path with its needless percent-encodings undone.
///
/// Refused are the spellings that two readers could take for two paths: encoded slashes, backslashes and control
/// characters, dot segments in any spelling and with parameters, empty segments, and broken percent-encodings.
pub(crate) fn normalise(path: &str) -> Result<Cow<'_, str>, Refusal> {
    if path == "*" {
        return Ok(path.into());
    }
    let decoded = decode(path).ok_or_else(invalid)?;
    let mut segments = decoded.strip_prefix('/').ok_or_else(invalid)?.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if is_dots(segment) || (segment.is_empty() && !is_last) || segment.contains('\\') {
            return Err(invalid());
        }
    }
    Ok(decoded)
}

/// Whether a reader may take a segment for a dot segment: some cut parameters off first, which stand behind a `;`.
fn is_dots(segment: &str) -> bool {
    let end = [segment.find(';'), segment.find("%3B")].into_iter().flatten().min();
    matches!(&segment[..end.unwrap_or(segment.len())], "." | "..")
}

/// Undoes the percent-encoding of characters that need none; `None` for what may not be encoded at all.
fn decode(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(path.into());
    }
    let mut decoded = String::with_capacity(path.len());
    let mut parts = path.split('%');
    decoded.push_str(parts.next()?);
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        match u8::from_str_radix(digits, 16).ok()? {
            b'/' | b'\\' | 0..=b'\x1f' | b'\x7f' => return None,
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => decoded.push(char::from(byte)),
            _ => {
                decoded.push('%');
                decoded.push_str(&digits.to_ascii_uppercase());
            }
        }
        decoded.push_str(rest);
    }
    Some(decoded.into())
}

/// A text with its percent-encodings undone. What is none stays as it is.
pub(crate) fn percent_decoded(text: &str) -> Cow<'_, str> {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    if decoded.len() == text.len() {
        return text.into();
    }
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.unwrap_or(b'%'));
        decoded.extend_from_slice(&part.as_bytes()[if byte.is_some() { 2 } else { 0 }..]);
    }
    String::from_utf8_lossy(&decoded).into_owned().into()
}

fn invalid() -> Refusal {
    Refusal::invalid(
        400,
        "invalid_path",
        "The path holds a dot segment, an empty segment, an encoded slash or a broken percent-encoding.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_spellings_become_one() {
        for (sent, normal) in [
            ("/v1/models", "/v1/models"),
            ("/v1/mod%65ls", "/v1/models"),
            ("/%761/models/", "/v1/models/"),
            ("/v1/models/a%20b", "/v1/models/a%20b"),
            ("/v1/models/%c3%a9", "/v1/models/%C3%A9"),
            ("/v1/models;x", "/v1/models;x"),
            ("/v1/models/a..;x", "/v1/models/a..;x"),
            ("/v1/models/...;x", "/v1/models/...;x"),
            ("/v1/models/;x", "/v1/models/;x"),
            ("/", "/"),
            ("*", "*"),
        ] {
            assert_eq!(normalise(sent).ok().as_deref(), Some(normal), "{sent}");
        }
    }

    #[test]
    fn encodings_are_undone_and_what_is_none_stays() {
        for (text, decoded) in [
            ("llama3%3A8b", "llama3:8b"),
            ("a%20b%C3%A9", "a bé"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%é", "%é"),
            ("plain", "plain"),
        ] {
            assert_eq!(percent_decoded(text), decoded);
        }
    }

    #[test]
    fn spellings_that_hide_another_path_are_refused() {
        for sent in [
            "/v1/../admin",
            "/v1/./models",
            "/v1/%2e%2e/admin",
            "/v1/.%2E/admin",
            "/..",
            "/v1/..",
            "/v1/models/..;/files",
            "/v1/models/..;x=1/files",
            "/v1/models/.;/files",
            "/v1/models/..%3b/files",
            "/v1/models/%2e%2E%3Bx/files",
            "/v1/models/..;",
            "//v1/models",
            "/v1//models",
            "/v1%2fmodels",
            "/v1%2Fmodels",
            "/v1%5cmodels",
            "/v1\\models",
            "/v1/%",
            "/v1/%2",
            "/v1/%zz",
            "/v1/%00",
            "/v1/%0d%0a",
            "/v1/%7f",
            "v1/models",
            "/v1/%+1x",
        ] {
            let refusal = normalise(sent).expect_err(sent);
            assert_eq!((refusal.status().as_u16(), refusal.code), (400, "invalid_path"), "{sent}");
        }
    }
}
