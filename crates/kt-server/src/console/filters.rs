//! What templates can do to a value.

#![expect(
    unreachable_pub,
    clippy::inline_always,
    clippy::trivially_copy_pass_by_ref,
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "the attribute that makes a filter of a function asks for it, or writes it so"
)]

use std::fmt::{self, Display};

use askama::filters::{Escaper, Html, Safe};
use askama::{Error, Values, filter_fn, get_value};
use jiff::Timestamp;
use kt_domain::money::Money;

use super::messages::Language;

/// The key of the page's language among the values that a template is rendered with.
pub(crate) const LANGUAGE: &str = "language";

fn language(values: &dyn Values) -> Result<Language, Error> {
    get_value::<Language>(values, LANGUAGE).copied()
}

/// The text in the page's language.
#[filter_fn]
pub(super) fn t(text: &str, values: &dyn Values) -> Result<String, Error> {
    Ok(language(values)?.text(text).to_owned())
}

/// A sentence that was made elsewhere, in the page's language.
#[filter_fn]
pub(super) fn said(text: &str, values: &dyn Values) -> Result<String, Error> {
    Ok(language(values)?.said(text).into_owned())
}

/// The text in the page's language, with a value in place of its `{}`.
#[filter_fn]
pub(super) fn t1<A: Display>(text: &str, values: &dyn Values, one: A) -> Result<String, Error> {
    Ok(language(values)?.text_with(text, &[&one]))
}

/// A message as HTML in which what stands between backticks is code. All of it is text: nothing in it becomes markup.
#[filter_fn]
pub(super) fn coded<M: Display>(message: M, _: &dyn Values) -> Result<Safe<String>, Error> {
    Ok(Safe(with_code(&message.to_string())?))
}

fn with_code(message: &str) -> Result<String, fmt::Error> {
    let mut html = String::with_capacity(message.len() + 32);
    let mut rest = message;
    while let Some((before, code, behind)) = next_code(rest) {
        Html.write_escaped_str(&mut html, before)?;
        html.push_str("<code>");
        Html.write_escaped_str(&mut html, code)?;
        html.push_str("</code>");
        rest = behind;
    }
    Html.write_escaped_str(&mut html, rest)?;
    Ok(html)
}

/// What stands before the next pair of backticks, between them, and behind.
fn next_code(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('`')?;
    let (code, behind) = rest.split_once('`')?;
    Some((before, code, behind))
}

/// A moment as the attribute `datetime` has it: RFC 3339, to the second, in UTC.
#[filter_fn]
pub(super) fn rfc3339(moment: &Timestamp, _: &dyn Values) -> Result<String, Error> {
    Ok(moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A moment for people, in UTC; the page's script writes it anew in local time.
#[filter_fn]
pub(super) fn utc(moment: &Timestamp, _: &dyn Values) -> Result<String, Error> {
    Ok(moment.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// The day of a moment, in UTC.
#[filter_fn]
pub(super) fn day(moment: &Timestamp, _: &dyn Values) -> Result<String, Error> {
    Ok(moment.strftime("%Y-%m-%d").to_string())
}

/// Millionths of a currency as an amount: `12.50`.
#[filter_fn]
pub(super) fn money(micros: &u64, _: &dyn Values) -> Result<String, Error> {
    Ok(Money { micros: *micros }.to_string())
}

/// Milliseconds for people: `< 1 ms`, `820 ms`, `1.3 s`.
#[filter_fn]
pub(super) fn duration(milliseconds: &u64, _: &dyn Values) -> Result<String, Error> {
    Ok(match *milliseconds {
        0 => "< 1\u{202f}ms".to_owned(),
        short @ 1..1000 => format!("{short}\u{202f}ms"),
        long => format!("{}.{}\u{202f}s", long / 1000, long % 1000 / 100),
    })
}

/// A number with its thousands apart: `12 345`.
#[filter_fn]
pub(super) fn grouped<N: Display>(number: N, _: &dyn Values) -> Result<String, Error> {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code_and_nothing_is_markup() {
        for (message, html) in [
            ("plain", "plain"),
            ("The policy `pii` says", "The policy <code>pii</code> says"),
            ("`a` and `b`", "<code>a</code> and <code>b</code>"),
            ("one ` alone", "one ` alone"),
            ("`a` and ` alone", "<code>a</code> and ` alone"),
            ("", ""),
            ("`<script>`", "<code>&#60;script&#62;</code>"),
            (r#"<img src=x onerror="a('b')">&"#, "&#60;img src=x onerror=&#34;a(&#39;b&#39;)&#34;&#62;&#38;"),
        ] {
            assert_eq!(with_code(message).unwrap(), html, "{message}");
        }
    }
}
