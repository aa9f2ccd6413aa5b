//! Numbers that states give to people, each with what its issuer says of it.

use super::super::text::patterns::Candidate;
use super::check_digits::{digits, luhn, mod_11_10, remainder, verhoeff, weighted};

type NationalId = (&'static str, &'static str, fn(Candidate<'_>) -> bool);

/// By country. Numbers of few digits and weak check digits count only in the form that their issuer writes, or after
/// their name.
pub(super) const ALL: [NationalId; 14] = [
    ("be-national-number", r"\b\d{2}[. ]?\d{2}[. ]?\d{2}[ -]?\d{3}[. ]?\d{2}\b", |found| {
        let number = digits(found.text);
        let (front, check) = (&number[..9], number[9] * 10 + number[10]);
        let after_2000 = [&[2], front].concat();
        is_month_and_day(&number[2..6])
            && [front, &after_2000].iter().any(|front| 97 - remainder(front, 97) == check)
    }),
    ("br-cpf", r"\b\d{3}\.\d{3}\.\d{3}-\d{2}\b", |found| {
        let number = digits(found.text);
        let check = |count: usize| {
            let weights: Vec<u32> = (2..).take(count).collect();
            let reversed: Vec<u32> = number[..count].iter().rev().copied().collect();
            let rest = weighted(&reversed, &weights) * 10 % 11 % 10;
            rest == number[count]
        };
        number.iter().any(|digit| *digit != number[0]) && check(9) && check(10)
    }),
    ("ch-ahv", r"\b756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}\b", |found| {
        weighted(&digits(found.text), &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
    }),
    ("de-tax-id", r"\b[1-9]\d(?: ?\d{3}){3}\b", |found| {
        let number = digits(found.text);
        let times = |digit: u32| number[..10].iter().filter(|own| **own == digit).count();
        let repeated: Vec<usize> = (0..10).map(times).filter(|times| *times > 1).collect();
        matches!(repeated[..], [2 | 3]) && mod_11_10(&number)
    }),
    ("es-dni", r"\b(?:\d{8}|[XYZxyz]-?\d{7})-?[A-Za-z]\b", |found| {
        let foreign = "XYZ".find(|c| found.text.to_ascii_uppercase().starts_with(c));
        let mut number = digits(found.text);
        if let Some(prefix) = foreign.and_then(|at| u32::try_from(at).ok()) {
            number.insert(0, prefix);
        }
        let letter = b"TRWAGMYFPDXBNJZSQVHLCKE"[remainder(&number, 23) as usize];
        found.text.as_bytes().last().is_some_and(|last| last.eq_ignore_ascii_case(&letter))
    }),
    ("fr-nir", r"\b[12] ?\d{2} ?[0-9]{2} ?(?:\d{2}|2[ABab]) ?\d{3} ?\d{3} ?\d{2}\b", |found| {
        let text = found.text.to_ascii_uppercase();
        // Corsica's departments count as 19 and 18 (INSEE).
        let number = digits(&text.replace("2A", "19").replace("2B", "18"));
        number.len() == 15 && 97 - remainder(&number[..13], 97) == number[13] * 10 + number[14]
    }),
    ("in-aadhaar", r"\b[2-9]\d{3}(?: \d{4}){2}\b|\b[2-9]\d{3}(?:-\d{4}){2}\b", |found| {
        verhoeff(&digits(found.text)) && !found.before.ends_with(b"-")
    }),
    (
        "it-codice-fiscale",
        r"\b[A-Za-z]{6}[0-9LMNPQRSTUV]{2}[A-Ea-eHhLlMmPpRrSsTt][0-9LMNPQRSTUV]{2}[A-Za-z][0-9LMNPQRSTUV]{3}[A-Za-z]\b",
        |found| is_codice_fiscale(found.text),
    ),
    ("nl-bsn", r"\b\d{9}\b", |found| {
        let number = digits(found.text);
        let sum = weighted(&number, &[9, 8, 7, 6, 5, 4, 3, 2]);
        is_named(found, &[b"bsn", b"burgerservicenummer", b"sofinummer"]) && sum % 11 == number[8]
    }),
    ("pl-pesel", r"\b\d{11}\b", |found| {
        let number = digits(found.text);
        let month = number[2] * 10 + number[3];
        let day = number[4] * 10 + number[5];
        (1..=12).contains(&(month % 20))
            && (1..=31).contains(&day)
            && weighted(&number, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
    }),
    ("se-personal-number", r"\b(?:19|20)?\d{6}[-+]\d{4}\b", |found| {
        let number = digits(found.text);
        let number = &number[number.len() - 10..];
        is_month_and_day(&number[2..6]) && luhn(number)
    }),
    ("uk-nhs-number", r"\b\d{3}[ -]?\d{3}[ -]?\d{4}\b", |found| {
        let number = digits(found.text);
        let check = (11 - weighted(&number, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11;
        is_named(found, &[b"nhs"]) && check == number[9]
    }),
    (
        "uk-nino",
        r"\b[A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z][A-CEGHJ-NPR-TW-Za-ceghj-npr-tw-z] ?\d{2} ?\d{2} ?\d{2} ?[A-Da-d]\b",
        |found| {
            let prefix = found.text[..2].to_ascii_uppercase();
            !["BG", "GB", "KN", "NK", "NT", "TN", "ZZ"].contains(&&*prefix)
        },
    ),
    ("us-ssn", r"\b\d{3}[- ]\d{2}[- ]\d{4}\b", |found| {
        let area = &found.text[..3];
        area != "000"
            && area != "666"
            && !area.starts_with('9')
            && &found.text[4..6] != "00"
            && !found.text.ends_with("0000")
    }),
];

fn is_month_and_day(number: &[u32]) -> bool {
    let month = number[0] * 10 + number[1];
    let day = number[2] * 10 + number[3];
    (1..=12).contains(&month) && (1..=31).contains(&day)
}

/// Whether one of the names of a number stands before it.
fn is_named(found: Candidate<'_>, names: &[&[u8]]) -> bool {
    let before = found.before.to_ascii_lowercase();
    names.iter().any(|name| before.windows(name.len()).any(|window| window == *name))
}

/// The check letter of a codice fiscale (decree of 23 December 1976): characters in odd places count by a table, those in
/// even places by their order.
fn is_codice_fiscale(text: &str) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let order = |byte: u8| {
        u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte.to_ascii_uppercase() - b'A' })
    };
    let (front, last) = text.as_bytes().split_at(15);
    let sum: u32 = front
        .iter()
        .enumerate()
        .map(|(at, byte)| if at % 2 == 0 { ODD[order(*byte) as usize] } else { order(*byte) })
        .sum();
    sum % 26 == order(last[0])
}
