//! Tables for people: RFC 4180, every field quoted.

/// Writes a row.
pub(crate) fn write_row<T: AsRef<str>>(fields: impl IntoIterator<Item = T>, out: &mut Vec<u8>) {
    for (place, field) in fields.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(quoted(field.as_ref()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The field in quotes. One that a spreadsheet would take for a formula gets an apostrophe in front, which makes it
/// text there (OWASP: CSV injection).
fn quoted(field: &str) -> String {
    let is_formula =
        field.trim_start().starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
            || field.starts_with(['\t', '\r', '\n', '\0']);
    let guard = if is_formula { "'" } else { "" };
    format!("\"{guard}{}\"", field.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_text() {
        for (field, expected) in [
            ("plain", "\"plain\""),
            ("say \"hi\", twice\r\n", "\"say \"\"hi\"\", twice\r\n\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            (" =1", "\"' =1\""),
            ("\t=1", "\"'\t=1\""),
            ("\r1", "\"'\r1\""),
            ("\0=1", "\"'\0=1\""),
            ("\u{ff1d}1", "\"'\u{ff1d}1\""),
            ("a=1", "\"a=1\""),
        ] {
            assert_eq!(quoted(field), expected);
        }
    }

    #[test]
    fn rows_end_as_the_rfc_says() {
        let mut out = Vec::new();
        write_row(["a", "b,c"], &mut out);
        assert_eq!(out, b"\"a\",\"b,c\"\r\n");
    }
}
