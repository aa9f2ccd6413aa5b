//! What Google's word on an address is worth.

use crate::email::EmailAddress;

/// The domains of Google's own mail.
const GOOGLE_MAIL: [&str; 2] = ["gmail.com", "googlemail.com"];

/// Whether Google answers for an address: it is one of its own mail, or one of the Workspace to which the account belongs
/// (`hd`). Anybody can open an account with any other address; that they could read its mail on that day says nothing of whose
/// it is by now (Google's documentation of ID tokens: it is not authoritative for such an address).
#[must_use]
pub fn answers_for(email: &EmailAddress, hosted_domain: Option<&str>) -> bool {
    let domain = email.domain();
    GOOGLE_MAIL.iter().any(|own| domain.eq_ignore_ascii_case(own))
        || hosted_domain.is_some_and(|hosted| domain.eq_ignore_ascii_case(hosted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn google_answers_for_its_own_mail_and_for_the_workspace_of_the_account() {
        for (email, hosted, expected) in [
            ("ada@acme.example", Some("acme.example"), true),
            ("ada@acme.example", Some("ACME.example"), true),
            ("ada@gmail.com", None, true),
            ("ada@googlemail.com", None, true),
            ("ada@acme.example", None, false),
            ("ada@acme.example", Some("other.example"), false),
            ("ada@sub.acme.example", Some("acme.example"), false),
            ("ada@acme.example", Some("gmail.com"), false),
            ("ada@acme.example", Some(""), false),
        ] {
            let email = EmailAddress::parse(email).unwrap();
            assert_eq!(answers_for(&email, hosted), expected, "{email:?} {hosted:?}");
        }
    }
}
