//! Which product made a passkey, by the number that its maker has for the model. It is what the authenticator says of
//! itself, and good for telling passkeys apart, not for deciding anything.

use uuid::Uuid;

/// One line for each model, in the order of their numbers.
const MODELS: &str = include_str!("authenticators.txt");

/// The name of the product with this number, if it is known.
pub(crate) fn name_of(aaguid: Uuid) -> Option<&'static str> {
    let number = aaguid.hyphenated().to_string();
    MODELS.lines().find_map(|line| line.strip_prefix(&number)?.strip_prefix(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_named_and_what_is_unknown_is_not() {
        let named = |text: &str| name_of(text.parse().unwrap());
        assert_eq!(named("bada5566-a7aa-401f-bd96-45619a55120d"), Some("1Password"));
        assert_eq!(named("fbfc3007-154e-4ecc-8c0b-6e020557d7bd"), Some("Apple Passwords"));
        assert_eq!(named("00000000-0000-0000-0000-000000000000"), None, "who does not say");
        assert_eq!(named("11111111-1111-4111-8111-111111111111"), None);
    }

    #[test]
    fn every_line_is_a_number_and_a_name() {
        let lines: Vec<&str> = MODELS.lines().filter(|line| !line.starts_with('#')).collect();
        for line in &lines {
            let (number, name) = line.split_once(' ').unwrap();
            number.parse::<Uuid>().unwrap();
            assert!(!name.is_empty() && name.trim() == name, "{line}");
        }
        assert!(lines.len() > 300 && lines.is_sorted(), "{}", lines.len());
    }
}
