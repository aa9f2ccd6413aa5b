//! Whose account an external identity is (STANDARDS OIDC-09; ATTACKS I18, I19, I28).
//!
//! An identity that is known by source, issuer and subject has its account already. For a stranger an address counts, and
//! only one that is verified, in a domain that the organization has shown to be its own: whoever answers for that domain
//! could read the mail of a reset as well. Nothing here changes where a membership stands: the gate reads that afterwards.

use super::ProviderSettings;
use crate::sign_in::MembershipState;
use crate::words;

/// The account that already has the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whether its holder has shown that they read the mail of the address.
    pub email_verified: bool,
    /// Whether it has second factors.
    pub has_factors: bool,
    /// Whether the provider knows its holder by another name already.
    pub is_linked: bool,
    /// Its place in the organization.
    pub place: Option<MembershipState>,
}

/// What is known of a stranger's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether it counts as verified.
    pub is_verified: bool,
    /// Whether the organization has shown its domain to be its own.
    pub is_own: bool,
}

/// What happens with a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// They get an account.
    Create,
    /// They get the account that has the address.
    Link {
        /// Whether whatever it was opened with is wiped first: nobody has ever shown that the address is theirs.
        wipes_credentials: bool,
        /// Whether one of its second factors must be shown once before.
        asks_for_factor: bool,
        /// Whether it gets a place in the organization.
        joins: bool,
    },
}

/// Why somebody is not received, in a word for the audit log and the administrators' test. Whoever signs in hears one
/// answer for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The provider sent no address, or none that is one.
    NoAddress,
    /// The address is not verified.
    AddressUnverified,
    /// Its domain is not one that the organization has shown to be its own.
    ForeignDomain,
    /// There is no account, and none is made.
    NoAccount,
    /// There is an account without a place in the organization, and none is made.
    NoPlace,
    /// The account is linked to somebody else at the same provider: an address that went to a new colleague takes nobody's
    /// account along.
    LinkedToAnother,
}

words!(Refusal {
    NoAddress = "no_address",
    AddressUnverified = "address_unverified",
    ForeignDomain = "foreign_domain",
    NoAccount = "no_account",
    NoPlace = "no_place",
    LinkedToAnother = "linked_to_another",
});

impl Refusal {
    /// What an administrator does about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NoAddress => {
                "The provider sent no e-mail address under the name that is set. Look at what it sends, and set that name."
            }
            Self::AddressUnverified => {
                "The provider does not say that it has verified the address. Have it send `email_verified`, or let its \
                 addresses count as verified."
            }
            Self::ForeignDomain => {
                "The domain of the address is not one that your organization has verified. Verify it first."
            }
            Self::NoAccount => {
                "Nobody has an account with this address. Invite them, or let accounts be made at the first sign-in."
            }
            Self::NoPlace => {
                "The account with this address has no place in your organization. Invite them, or let places be made at \
                 the first sign-in."
            }
            Self::LinkedToAnother => {
                "The account with this address belongs to somebody whom the provider calls by another name. If it is the same \
                 person, remove them from the organization and invite them again; if not, give the account its right address."
            }
        }
    }
}

/// What happens with an identity that nobody has yet.
pub fn receive(
    settings: &ProviderSettings,
    address: Option<Address>,
    account: Option<Account>,
) -> Result<Reception, Refusal> {
    let address = address.ok_or(Refusal::NoAddress)?;
    if !address.is_own {
        return Err(Refusal::ForeignDomain);
    }
    if !address.is_verified {
        return Err(Refusal::AddressUnverified);
    }
    let Some(account) = account else {
        return if settings.just_in_time { Ok(Reception::Create) } else { Err(Refusal::NoAccount) };
    };
    if account.is_linked {
        return Err(Refusal::LinkedToAnother);
    }
    let joins = joins(settings, account.place)?;
    Ok(Reception::Link {
        wipes_credentials: !account.email_verified,
        asks_for_factor: account.email_verified && account.has_factors,
        joins,
    })
}

/// Whether somebody whose account is known gets a place in the organization with this sign-in.
pub fn joins(settings: &ProviderSettings, place: Option<MembershipState>) -> Result<bool, Refusal> {
    match place {
        Some(MembershipState::Active | MembershipState::Suspended) => Ok(false),
        // An administrator who lets the provider make accounts has approved whom it sends.
        Some(MembershipState::PendingApproval) => Ok(settings.just_in_time),
        None if settings.just_in_time => Ok(true),
        None => Err(Refusal::NoPlace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_reached_by_a_verified_address_in_an_own_domain_alone() {
        let settings = |just_in_time| ProviderSettings { just_in_time, ..ProviderSettings::default() };
        let good = Some(Address { is_verified: true, is_own: true });
        let unverified = Some(Address { is_verified: false, is_own: true });
        let foreign = Some(Address { is_verified: true, is_own: false });
        let active = Account {
            email_verified: true,
            has_factors: false,
            is_linked: false,
            place: Some(MembershipState::Active),
        };
        let link = |wipes_credentials, asks_for_factor, joins| {
            Ok(Reception::Link { wipes_credentials, asks_for_factor, joins })
        };
        let table = [
            (true, good, None, Ok(Reception::Create)),
            (false, good, None, Err(Refusal::NoAccount)),
            (false, good, Some(active), link(false, false, false)),
            (false, good, Some(Account { has_factors: true, ..active }), link(false, true, false)),
            (
                false,
                good,
                Some(Account { email_verified: false, has_factors: true, ..active }),
                link(true, false, false),
            ),
            (false, good, Some(Account { place: None, ..active }), Err(Refusal::NoPlace)),
            (true, good, Some(Account { place: None, ..active }), link(false, false, true)),
            (
                true,
                good,
                Some(Account { place: Some(MembershipState::PendingApproval), ..active }),
                link(false, false, true),
            ),
            (
                false,
                good,
                Some(Account { place: Some(MembershipState::PendingApproval), ..active }),
                link(false, false, false),
            ),
            // They stay what they are: the gate keeps them out.
            (
                true,
                good,
                Some(Account { place: Some(MembershipState::Suspended), ..active }),
                link(false, false, false),
            ),
            (true, good, Some(Account { is_linked: true, ..active }), Err(Refusal::LinkedToAnother)),
            (true, unverified, None, Err(Refusal::AddressUnverified)),
            (true, unverified, Some(active), Err(Refusal::AddressUnverified)),
            (true, foreign, None, Err(Refusal::ForeignDomain)),
            (true, foreign, Some(active), Err(Refusal::ForeignDomain)),
            (true, None, None, Err(Refusal::NoAddress)),
        ];
        for (just_in_time, address, account, expected) in table {
            assert_eq!(
                receive(&settings(just_in_time), address, account),
                expected,
                "{just_in_time} {address:?} {account:?}"
            );
        }
    }
}
