//! What a plain scalar means, by the core schema of YAML 1.2 (section 10.3.2).

/// The meaning of a scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Boolean(bool),
    Integer(i128),
    /// A number that is not whole, or too large to be of use. Its value is never needed: no key takes one.
    OtherNumber,
    Text,
}

/// The meaning of `text`; in quotes (not `plain`) it is always a text.
///
/// An integer that begins with 0 has two meanings in two versions of YAML and is taken as a text here, so that it is
/// refused where a number is due.
pub(super) fn meaning(text: &str, plain: bool) -> Scalar {
    if !plain {
        return Scalar::Text;
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" => Scalar::Boolean(true),
        "false" | "False" | "FALSE" => Scalar::Boolean(false),
        _ if is_number_like(text) => number(text),
        _ => Scalar::Text,
    }
}

fn number(text: &str) -> Scalar {
    let integer = if let Some(digits) = text.strip_prefix("0x") {
        i128::from_str_radix(digits, 16)
    } else if let Some(digits) = text.strip_prefix("0o") {
        i128::from_str_radix(digits, 8)
    } else if has_leading_zero(text) {
        return Scalar::Text;
    } else {
        text.parse()
    };
    match integer {
        Ok(integer) => Scalar::Integer(integer),
        Err(_) if text.parse::<f64>().is_ok() => Scalar::OtherNumber,
        Err(_) if matches!(text.trim_start_matches(['+', '-']), ".inf" | ".nan") => Scalar::OtherNumber,
        Err(_) => Scalar::Text,
    }
}

/// Rust reads `inf`, `nan` and `infinity` as floats, which YAML takes as texts.
fn is_number_like(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
}

/// Whether these are decimal digits after a 0.
pub(super) fn has_leading_zero(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_the_core_schema_says() {
        let cases = [
            ("", Scalar::Null),
            ("~", Scalar::Null),
            ("true", Scalar::Boolean(true)),
            ("FALSE", Scalar::Boolean(false)),
            ("yes", Scalar::Text),
            ("0", Scalar::Integer(0)),
            ("-12", Scalar::Integer(-12)),
            ("+7", Scalar::Integer(7)),
            ("0x1F", Scalar::Integer(31)),
            ("0o17", Scalar::Integer(15)),
            ("017", Scalar::Text),
            ("1_000", Scalar::Text),
            ("1.0", Scalar::OtherNumber),
            ("1e3", Scalar::OtherNumber),
            ("-.inf", Scalar::OtherNumber),
            ("1.0.0", Scalar::Text),
            ("nan", Scalar::Text),
            ("10MB", Scalar::Text),
            ("::1/128", Scalar::Text),
        ];
        for (text, expected) in cases {
            assert_eq!(meaning(text, true), expected, "{text:?}");
            assert_eq!(meaning(text, false), Scalar::Text, "{text:?} in quotes");
        }
    }
}
