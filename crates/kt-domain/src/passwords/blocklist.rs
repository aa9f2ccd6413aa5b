//! The bundled list of common passwords (ASVS 6.2.4): found in breaches, or what people type to satisfy a length.
//! `blocklist/NOTICE.md` says where they come from and how many they are, `blocklist/generate.py` makes the file.

use sha2::{Digest, Sha256};

use super::password::Password;

/// Forty-eight bits for 220,000 entries: one password in a billion is refused without cause.
const FINGERPRINT_BYTES: usize = 6;

/// The first bytes of SHA-256 of each entry, in lower case, sorted.
static FINGERPRINTS: &[u8] = include_bytes!("blocklist/fingerprints.bin");

/// Whether the whole password is on the list, in whatever case.
pub(super) fn holds(password: &Password) -> bool {
    let digest = Sha256::digest(password.expose().to_lowercase());
    entries().binary_search_by(|entry| entry.as_slice().cmp(&digest[..FINGERPRINT_BYTES])).is_ok()
}

fn entries() -> &'static [[u8; FINGERPRINT_BYTES]] {
    FINGERPRINTS.as_chunks().0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: &str = include_str!("blocklist/samples.txt");

    fn is_listed(text: &str) -> bool {
        holds(&Password::new(text).unwrap())
    }

    #[test]
    fn the_file_is_whole_and_sorted() {
        assert_eq!(FINGERPRINTS.len() % FINGERPRINT_BYTES, 0);
        assert!(entries().is_sorted_by(|one, next| one < next));
        let said = include_str!("blocklist/NOTICE.md").replace(',', "");
        assert!(said.contains(&format!("holds {} entries", entries().len())));
    }

    #[test]
    fn two_hundred_entries_are_found_in_any_case_and_their_neighbours_are_not() {
        assert_eq!(SAMPLES.lines().count(), 200);
        for entry in SAMPLES.lines() {
            assert!(is_listed(entry), "{entry}");
            assert!(is_listed(&entry.to_uppercase()), "{entry} in capitals");
            let (start, end) = entry.split_at(entry.chars().next().unwrap().len_utf8());
            for neighbour in [format!("{entry}~"), format!("~{entry}"), format!("{start}~{end}")] {
                assert!(!is_listed(&neighbour), "{neighbour}");
            }
        }
    }

    #[test]
    fn spaces_count() {
        assert!(is_listed("passwordpassword"));
        assert!(!is_listed(" passwordpassword"));
        assert!(!is_listed("passwordpassword "));
    }
}
