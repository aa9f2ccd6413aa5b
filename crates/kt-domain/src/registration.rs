//! Who may register without an invitation.

use crate::email::EmailAddress;
use crate::error::{Error, ErrorKind};
use crate::security_settings::RegistrationSettings;

/// Refused where the organization lets nobody register, or not with an address of this domain. Domains are compared
/// whole, in the one spelling that addresses have: `evilacme.example` and `acme.example.evil.example` are not
/// `acme.example`.
pub fn may_register(settings: &RegistrationSettings, address: &EmailAddress) -> Result<(), Error> {
    if !settings.self_registration {
        return Err(registration_closed());
    }
    let is_listed = |domain: &String| {
        EmailAddress::parse(&format!("a@{domain}")).is_ok_and(|listed| listed.domain() == address.domain())
    };
    if settings.email_domains.is_empty() || settings.email_domains.iter().any(is_listed) {
        return Ok(());
    }
    Err(Error::invalid("email", "Register with the address that your organization has given you."))
}

/// The one answer where nobody may register: the organization does not let them, or there is none of this name.
#[must_use]
pub fn registration_closed() -> Error {
    let message = "Nobody can register here without an invitation. Ask an administrator for one.";
    Error::new(ErrorKind::Forbidden, "registration_closed", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_compared_whole() {
        let settings = |domains: &[&str]| RegistrationSettings {
            self_registration: true,
            signup_approval: true,
            email_domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        };
        let table = [
            (&["acme.example"][..], "jo@acme.example", true),
            (&["acme.example"], "jo@ACME.example", true),
            (&["Acme.Example"], "jo@acme.example", true),
            (&["bücher.example"], "jo@xn--bcher-kva.example", true),
            (&["other.example", "acme.example"], "jo@acme.example", true),
            (&[], "jo@anywhere.example", true),
            (&["acme.example"], "jo@evilacme.example", false),
            (&["acme.example"], "jo@acme.example.evil.example", false),
            (&["acme.example"], "jo@mail.acme.example", false),
            (&["", "*", ".example"], "jo@acme.example", false),
        ];
        for (domains, address, admitted) in table {
            let address = EmailAddress::parse(address).unwrap();
            assert_eq!(
                may_register(&settings(domains), &address).is_ok(),
                admitted,
                "{address} in {domains:?}"
            );
            let closed = RegistrationSettings { self_registration: false, ..settings(domains) };
            assert_eq!(may_register(&closed, &address).unwrap_err().code, "registration_closed");
        }
    }
}
