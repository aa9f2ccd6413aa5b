//! Check digits: what tells a number that was given to somebody from one that merely has the same length.

/// The digits of a text, whatever stands between them.
pub(super) fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

/// The Luhn digit (ISO/IEC 7812-1 annex B).
pub(super) fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| if at % 2 == 0 { *digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    sum.is_multiple_of(10)
}

/// The remainder of a decimal number, however long.
pub(super) fn remainder(digits: &[u32], modulus: u32) -> u32 {
    digits.iter().fold(0, |rest, digit| (rest * 10 + digit) % modulus)
}

/// The sum of each digit times its weight.
pub(super) fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// Two check digits of ISO/IEC 7064 MOD 97-10 over letters and digits, the first four characters counted last, as an
/// IBAN has them (ISO 13616-1 section 6).
pub(super) fn mod_97_of_iban(characters: &[char]) -> bool {
    let (front, rest) = characters.split_at(characters.len().min(4));
    let values = rest.iter().chain(front).filter_map(|c| c.to_digit(36));
    let sum =
        values.fold(0, |rest, value| if value < 10 { rest * 10 + value } else { rest * 100 + value } % 97);
    sum == 1
}

/// The check digit of ISO/IEC 7064 MOD 11,10.
pub(super) fn mod_11_10(digits: &[u32]) -> bool {
    let Some((last, front)) = digits.split_last() else { return false };
    let product = front.iter().fold(10, |product, digit| {
        let sum = (product + digit) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == *last
}

/// The check digit of Verhoeff (Mathematical Centre Tract 29, 1969), built of the dihedral group of ten elements.
pub(super) fn verhoeff(digits: &[u32]) -> bool {
    const PERMUTATION: [u32; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let product = |left: u32, right: u32| match (left < 5, right < 5) {
        (true, true) => (left + right) % 5,
        (true, false) => 5 + (left + right) % 5,
        (false, true) => 5 + (left - right) % 5,
        (false, false) => (left + 5 - right) % 5,
    };
    let permuted = |digit: u32, times: usize| (0..times).fold(digit, |digit, _| PERMUTATION[digit as usize]);
    let check =
        digits.iter().rev().enumerate().fold(0, |sum, (at, digit)| product(sum, permuted(*digit, at % 8)));
    check == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes each digit to each other one: a good check digit notices them all.
    fn notices_every_wrong_digit(number: &str, check: fn(&[u32]) -> bool) {
        let right = digits(number);
        assert!(check(&right), "{number}");
        for at in 0..right.len() {
            for other in (0..10).filter(|other| *other != right[at]) {
                let mut wrong = right.clone();
                wrong[at] = other;
                assert!(!check(&wrong), "{wrong:?}");
            }
        }
    }

    #[test]
    fn a_wrong_digit_is_noticed() {
        notices_every_wrong_digit("4111111111111111", luhn);
        notices_every_wrong_digit("79927398713", luhn);
        notices_every_wrong_digit("2363", verhoeff);
        notices_every_wrong_digit("86095742719", mod_11_10);
    }

    #[test]
    fn an_iban_is_checked_with_its_letters() {
        let check = |text: &str| mod_97_of_iban(&text.chars().collect::<Vec<_>>());
        assert!(check("GB82WEST12345698765432") && check("DE89370400440532013000"));
        assert!(!check("GB82WEST12345698765433") && !check("GB28WEST12345698765432"));
    }

    #[test]
    fn remainders_are_of_the_whole_number() {
        let number = 123_456_789_012_345_678_901_234_567_890_u128;
        assert_eq!(u128::from(remainder(&digits(&number.to_string()), 97)), number % 97);
        assert_eq!(weighted(&[1, 2, 3], &[3, 2, 1]), 10);
    }
}
