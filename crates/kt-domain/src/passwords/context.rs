//! Words that an attacker would try first for one account: its own, its organization's, the product's.
//! NIST SP 800-63B-4 section 3.1.1.2 calls them context-specific; ASVS 6.1.2 wants the list documented.

use std::collections::HashSet;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

const PRODUCT: &str = "Keeptrusts";

/// Shorter words stand within ordinary ones too often: an Ann could not choose "planned".
const SHORTEST_WORD: usize = 4;

/// Whose password it is to be. What is not known is left empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The account's name.
    pub name: &'a str,
    /// Its e-mail address.
    pub address: &'a str,
    /// The organization's name.
    pub organization_name: &'a str,
    /// The organization's identifier.
    pub organization_identifier: &'a str,
}

impl Context<'_> {
    /// The words of at least four characters that a password may not contain: the names, the address, what stands before its
    /// `@`, and the domain without its ending, each as it is, without what separates its words, and each word by itself; and
    /// the product's name.
    pub(super) fn words(&self) -> Vec<String> {
        let (local, domain) = self.address.rsplit_once('@').unwrap_or((self.address, ""));
        let domain = domain.rsplit_once('.').map_or(domain, |(name, _ending)| name);
        let (mut words, mut known) = (Vec::new(), HashSet::new());
        let mut add = |word: String| {
            if fold(&word).chars().count() >= SHORTEST_WORD && known.insert(word.clone()) {
                words.push(word);
            }
        };
        for text in [self.name, local, domain, self.organization_name, self.organization_identifier, PRODUCT]
        {
            text.split(|c: char| !c.is_alphanumeric())
                .chain([text.trim()])
                .map(str::to_owned)
                .for_each(&mut add);
            add(joined(text));
        }
        // Its words count above, but for its ending, which is nobody's own.
        add(self.address.trim().to_owned());
        words
    }

    /// The words that stand in the password, in whatever case, with or without accents, and with digits or signs in
    /// place of letters.
    pub(super) fn words_in(&self, password: &str) -> Vec<String> {
        let password = fold(password);
        let mut words: Vec<_> =
            self.words().into_iter().filter(|word| password.contains(&fold(word))).collect();
        words.dedup_by_key(|word| fold(word));
        words
    }
}

fn joined(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// A text as it would be without accents, capitals and signs in place of letters. Both sides of a comparison are folded,
/// so it does not matter that an `l` becomes an `i`.
fn fold(text: &str) -> String {
    text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).map(plain).collect()
}

fn plain(c: char) -> char {
    match c {
        '4' | '@' => 'a',
        '8' => 'b',
        '3' | '€' => 'e',
        '6' | '9' => 'g',
        '1' | '!' | '|' | 'l' => 'i',
        '0' => 'o',
        '5' | '$' => 's',
        '7' | '+' => 't',
        '2' => 'z',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JANE: Context<'static> = Context {
        name: "Jane Ólafsdóttir",
        address: "jane.o+work@mail.blue-harbour.co.uk",
        organization_name: "Acme Li",
        organization_identifier: "acme-nordic",
    };

    #[test]
    fn the_words_are_these() {
        let words = [
            "Jane",
            "Ólafsdóttir",
            "Jane Ólafsdóttir",
            "JaneÓlafsdóttir",
            "jane",
            "work",
            "jane.o+work",
            "janeowork",
            "mail",
            "blue",
            "harbour",
            "mail.blue-harbour.co",
            "mailblueharbourco",
            "Acme",
            "Acme Li",
            "AcmeLi",
            "acme",
            "nordic",
            "acme-nordic",
            "acmenordic",
            "Keeptrusts",
            "jane.o+work@mail.blue-harbour.co.uk",
        ];
        assert_eq!(JANE.words(), words);
        assert_eq!(Context::default().words(), ["Keeptrusts"]);
    }

    #[test]
    fn a_word_is_found_in_whatever_clothes_and_not_in_its_neighbours() {
        let cases = [
            ("acmecorp-acmecorp1", "Acme"),
            ("my-ACME-password", "Acme"),
            ("xx4cm3xx", "Acme"),
            ("@CM€2026!", "Acme"),
            ("olafsdottir1", "Ólafsdóttir"),
            ("0l@f$d0++1r", "Ólafsdóttir"),
            ("H4rb0ur.view", "harbour"),
            ("k33p7ru575!!", "Keeptrusts"),
        ];
        for (password, word) in cases {
            assert!(JANE.words_in(password).contains(&word.to_owned()), "{password}");
        }
        let short = Context { name: "Mem X", address: "jo@ab.io", ..Context::default() };
        for (password, word) in [
            ("Mem X 9x! zulu moon", "Mem X"),
            ("zulu MEMX moon", "MemX"),
            ("jo@ab.io 9X zulu moon", "jo@ab.io"),
            ("JOaAB.i0", "jo@ab.io"),
        ] {
            assert!(short.words_in(password).contains(&word.to_owned()), "{password}");
        }
        assert_eq!(
            short.words_in("Mem and X, jo at ab.io"),
            [""; 0],
            "their words are too short by themselves"
        );
        for neighbour in ["acne corporation", "harbor view", "keep trust", "olafs other", "li wu uk co", ""] {
            assert_eq!(JANE.words_in(neighbour), [""; 0], "{neighbour}");
        }
    }
}
