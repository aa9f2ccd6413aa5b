//! Media types, as the values of `Content-Type` and `Accept` name them (RFC 9110, sections 8.3.1 and 12.5.1).

/// The type without its parameters, as it is spelt: `text/html` of `text/html; charset=utf-8`.
#[must_use]
pub fn essence(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// Whether this value is of the type, whatever its parameters say. `name` is spelt in small letters.
#[must_use]
pub fn is(value: &[u8], name: &str) -> bool {
    essence(value).eq_ignore_ascii_case(name.as_bytes())
}

/// Whether this value is JSON: `application/json`, or a type that is written in it (RFC 6839, section 3.1).
#[must_use]
pub fn is_json(value: &[u8]) -> bool {
    const SUFFIX: &[u8] = b"+json";
    let essence = essence(value);
    let suffix = &essence[essence.len().saturating_sub(SUFFIX.len())..];
    essence.eq_ignore_ascii_case(b"application/json") || suffix.eq_ignore_ascii_case(SUFFIX)
}

/// Whether one of the ranges in a value of `Accept` is this very type.
#[must_use]
pub fn is_among(ranges: &[u8], name: &str) -> bool {
    ranges.split(|byte| *byte == b',').any(|range| is(range, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_space_and_case_make_no_other_type() {
        for value in ["text/html", "Text/HTML", " text/html ;charset=utf-8", "text/html;q=0.1;x"] {
            assert!(is(value.as_bytes(), "text/html"), "{value}");
        }
        for value in ["", "text", "text/htm", "text/html5", "x;text/html"] {
            assert!(!is(value.as_bytes(), "text/html"), "{value}");
        }
    }

    #[test]
    fn what_is_written_in_json_is_told_from_what_is_not() {
        for value in ["application/json", "application/scim+json; charset=utf-8", "application/ld+JSON"] {
            assert!(is_json(value.as_bytes()), "{value}");
        }
        for value in ["", "json", "application/jsonl", "application/x-json+", "text/plain;a=+json"] {
            assert!(!is_json(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_type_is_found_among_ranges() {
        let ranges = b"text/html,application/xhtml+xml;q=0.9 , application/json;q=0.5, */*";
        assert!(is_among(ranges, "text/html"));
        assert!(is_among(ranges, "application/json"));
        assert!(!is_among(ranges, "text/plain"), "a wildcard names no type");
    }
}
