use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::actor::Role;
use crate::mfa::{Demand, MfaPolicy, MfaSettings};

fn now() -> Timestamp {
    "2026-03-15T14:22:31Z".parse().unwrap()
}

fn any_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(all)
}

/// What is asked of somebody of this role who has been asked for so many hours.
fn asked(mfa: &MfaSettings, role: Role, hours: u64) -> Asked {
    mfa.asked(role, now() - Duration::from_hours(hours))
}

fn any_asked() -> impl Strategy<Value = Asked> {
    let role = any_of(Role::ALL);
    (any_of(MfaPolicy::ALL), any::<bool>(), role, 0_u64..200).prop_map(|(policy, passkey, role, hours)| {
        let mfa = MfaSettings { policy, require_passkey_for_admins: passkey, ..MfaSettings::default() };
        asked(&mfa, role, hours)
    })
}

proptest! {
    #[test]
    fn nobody_is_admitted_without_what_the_organization_demands(
        email_verified: bool,
        membership in any_of(MembershipState::ALL),
        password in proptest::option::of(any_of(PasswordReason::ALL)),
        factors in proptest::collection::vec(any_of(Factor::ALL), 0..3),
        here in any_asked(),
        elsewhere in proptest::collection::vec(any_asked(), 0..3),
        sso_required: bool,
        given in proptest::collection::vec(any_of(Proof::ALL), 0..4),
    ) {
        let asks = Asks { here, elsewhere };
        let standing =
            Standing { email_verified, membership, password, factors: &factors, asks: &asks, sso_required };
        let proofs = given.iter().fold(Proofs::default(), |proofs, proof| proofs.and(*proof));
        let next = gate(&standing, &proofs, now());
        if next == Gate::Admit {
            prop_assert!(email_verified);
            prop_assert_eq!(membership, MembershipState::Active);
            prop_assert!(given.iter().any(|p| !matches!(p, Proof::Totp | Proof::RecoveryCode)), "a first factor");
            prop_assert!(password.is_none() || !given.contains(&Proof::Password));
            prop_assert!(!sso_required || proofs.are_federated());
            let delegated = given.contains(&Proof::Federated);
            let is_short = given.contains(&Proof::FederatedStepUp) && !delegated;
            prop_assert!(!is_short || proofs.is_multi_factor(), "two factors, whatever the policy");
            prop_assert!(factors.is_empty() || proofs.is_multi_factor() || delegated, "an enrolled factor is always asked for");
            let all = std::iter::once(&asks.here).chain(&asks.elsewhere);
            for late in all.filter(|asked| !delegated && now() >= asked.deadline) {
                let is_vouched_for = given.contains(&Proof::FederatedMfa);
                prop_assert!(late.demand == Demand::Nothing || proofs.is_multi_factor());
                if late.demand == Demand::Passkey && !is_vouched_for {
                    let has_lost_it = factors.contains(&Factor::Passkey) && given.contains(&Proof::RecoveryCode);
                    prop_assert!(given.contains(&Proof::Passkey) || has_lost_it, "{:?}", given);
                }
            }
        }
        if membership == MembershipState::Suspended {
            prop_assert_eq!(&next, &Gate::Refuse);
        }
        // A session goes on exactly where the same proofs would make one, but for what is asked at sign-in alone.
        if next == Gate::Admit {
            prop_assert!(may_go_on(&standing, &proofs, now()));
        }
        if matches!(next, Gate::MfaRequired(_) | Gate::MfaEnrollmentRequired) {
            prop_assert!(!may_go_on(&standing, &proofs, now()));
        }
        // And whoever is told until when it goes on cannot go on from then.
        if let (Gate::Admit, Some(asked)) = (&next, to_enroll(&standing, &proofs)) {
            prop_assert!(now() < asked.deadline);
            prop_assert!(!may_go_on(&standing, &proofs, asked.deadline));
        }
    }
}

/// What is asked of somebody of this role by a single organization, for so many hours.
fn asks(mfa: &MfaSettings, role: Role, hours: u64) -> Asks {
    Asks { here: asked(mfa, role, hours), elsewhere: Vec::new() }
}

/// Somebody of whom this is asked, without anything that must be done first.
fn standing(asks: &Asks) -> Standing<'_> {
    Standing {
        email_verified: true,
        membership: MembershipState::Active,
        password: None,
        factors: &[],
        asks,
        sso_required: false,
    }
}

#[test]
fn each_step_comes_in_its_order() {
    let mfa = MfaSettings { policy: MfaPolicy::RequiredForAdmins, ..MfaSettings::default() };
    let (in_time, late) = (asks(&mfa, Role::Admin, 71), asks(&mfa, Role::Admin, 72));
    let member = asks(&mfa, Role::Member, 72);
    let admin = standing(&in_time);
    let (password, temporary) = (Proofs::of(Proof::Password), Some(PasswordReason::Temporary));
    let totp = &[Factor::Totp];
    let table = [
        ("within the grace", admin.clone(), password.clone(), Gate::Admit),
        (
            "after the grace",
            Standing { asks: &late, ..admin.clone() },
            password.clone(),
            Gate::MfaEnrollmentRequired,
        ),
        ("a member is not asked", Standing { asks: &member, ..admin.clone() }, password.clone(), Gate::Admit),
        (
            "with a factor",
            Standing { factors: totp, ..admin.clone() },
            password.clone(),
            Gate::MfaRequired(totp.to_vec()),
        ),
        (
            "factor shown",
            Standing { factors: totp, ..admin.clone() },
            password.clone().and(Proof::Totp),
            Gate::Admit,
        ),
        ("a code alone", Standing { factors: totp, ..admin.clone() }, Proofs::of(Proof::Totp), Gate::Refuse),
        (
            "temporary password and a factor: the factor first",
            Standing { factors: totp, password: temporary, ..admin.clone() },
            password.clone(),
            Gate::MfaRequired(totp.to_vec()),
        ),
        (
            "temporary password",
            Standing { password: temporary, ..admin.clone() },
            password.clone(),
            Gate::PasswordChangeRequired(PasswordReason::Temporary),
        ),
        (
            "a passkey does not ask for the password",
            Standing { password: temporary, factors: &[Factor::Passkey], ..admin.clone() },
            Proofs::of(Proof::Passkey),
            Gate::Admit,
        ),
        (
            "unverified",
            Standing { email_verified: false, ..admin.clone() },
            password.clone(),
            Gate::PendingVerification,
        ),
        (
            "unapproved",
            Standing { membership: MembershipState::PendingApproval, ..admin.clone() },
            password,
            Gate::PendingApproval,
        ),
    ];
    for (case, standing, proofs, expected) in table {
        assert_eq!(gate(&standing, &proofs, now()), expected, "{case}");
    }
}

#[test]
fn a_passkey_that_is_demanded_anywhere_is_asked_for() {
    let mfa = MfaSettings {
        policy: MfaPolicy::RequiredForAdmins,
        require_passkey_for_admins: true,
        ..MfaSettings::default()
    };
    let (soon_bound, bound) = (asks(&mfa, Role::Admin, 71), asks(&mfa, Role::Admin, 72));
    let member = asks(&mfa, Role::Member, 72);
    let bound_elsewhere = Asks { here: member.here, elsewhere: vec![soon_bound.here, bound.here] };
    let admin = standing(&soon_bound);
    let password = Proofs::of(Proof::Password);
    let all: &[Factor] = &[Factor::Passkey, Factor::Totp, Factor::RecoveryCode];
    let totp = &all[1..2];
    let table = [
        (
            "a passkey is demanded, and there is an app alone",
            Standing { asks: &bound, factors: totp, ..admin.clone() },
            password.clone().and(Proof::Totp),
            Gate::MfaEnrollmentRequired,
        ),
        (
            "within the grace the app will do",
            Standing { asks: &soon_bound, factors: totp, ..admin.clone() },
            password.clone().and(Proof::Totp),
            Gate::Admit,
        ),
        (
            "a passkey is demanded and there, and a code was shown",
            Standing { asks: &bound, factors: all, ..admin.clone() },
            password.clone().and(Proof::Totp),
            Gate::MfaRequired(vec![Factor::Passkey, Factor::RecoveryCode]),
        ),
        (
            "a passkey is demanded and lost",
            Standing { asks: &bound, factors: all, ..admin.clone() },
            password.clone().and(Proof::RecoveryCode),
            Gate::Admit,
        ),
        (
            "a passkey is demanded elsewhere and there, and a code was shown",
            Standing { asks: &bound_elsewhere, factors: all, ..admin.clone() },
            password.clone().and(Proof::Totp),
            Gate::MfaRequired(vec![Factor::Passkey, Factor::RecoveryCode]),
        ),
        (
            "a passkey is demanded elsewhere, and there is none",
            Standing { asks: &bound_elsewhere, ..admin.clone() },
            password.clone(),
            Gate::MfaEnrollmentRequired,
        ),
    ];
    for (case, standing, proofs, expected) in table {
        assert_eq!(gate(&standing, &proofs, now()), expected, "{case}");
    }
}

#[test]
fn a_providers_word_is_worth_what_the_organization_takes_it_for() {
    let mfa = MfaSettings { policy: MfaPolicy::RequiredForAdmins, ..MfaSettings::default() };
    let (in_time, late) = (asks(&mfa, Role::Admin, 71), asks(&mfa, Role::Admin, 72));
    let member = asks(&mfa, Role::Member, 72);
    let late_elsewhere = Asks { here: member.here, elsewhere: vec![late.here] };
    let admin = standing(&in_time);
    let totp: &[Factor] = &[Factor::Totp];
    let table = [
        (
            "a provider's word takes the place of a factor where that is left to it",
            Standing { asks: &late, factors: totp, ..admin.clone() },
            Proofs::of(Proof::Federated),
            Gate::Admit,
        ),
        (
            "a provider's word that counts as one factor",
            Standing { factors: totp, ..admin.clone() },
            Proofs::of(Proof::FederatedSingle),
            Gate::MfaRequired(totp.to_vec()),
        ),
        (
            "a provider's word that tells of one factor where two are wanted",
            Standing { asks: &member, ..admin.clone() },
            Proofs::of(Proof::FederatedStepUp),
            Gate::MfaEnrollmentRequired,
        ),
        (
            "a provider's word where another organization asks for a factor",
            Standing { asks: &late_elsewhere, ..admin.clone() },
            Proofs::of(Proof::Federated),
            Gate::Admit,
        ),
        (
            "the same, where it counts as one factor",
            Standing { asks: &late_elsewhere, ..admin.clone() },
            Proofs::of(Proof::FederatedSingle),
            Gate::MfaEnrollmentRequired,
        ),
        (
            "past a provider that is required",
            Standing { sso_required: true, ..admin.clone() },
            Proofs::of(Proof::Password),
            Gate::SsoRequired,
        ),
        (
            "through a provider that is required",
            Standing { sso_required: true, ..admin.clone() },
            Proofs::of(Proof::FederatedMfa),
            Gate::Admit,
        ),
    ];
    for (case, standing, proofs, expected) in table {
        assert_eq!(gate(&standing, &proofs, now()), expected, "{case}");
    }
}

#[test]
fn a_proof_that_is_given_again_is_worth_as_much_as_the_best_before() {
    let password = Proofs::of(Proof::Password);
    let table = [
        (password.clone(), Proof::Password, true),
        (password.clone(), Proof::Totp, true),
        (password.clone().and(Proof::Totp), Proof::Password, false),
        (password.clone().and(Proof::Totp), Proof::Totp, true),
        (password.clone().and(Proof::RecoveryCode), Proof::Password, false),
        (password.clone().and(Proof::RecoveryCode), Proof::Totp, true),
        (password.and(Proof::Passkey), Proof::Totp, false),
        (Proofs::of(Proof::Passkey), Proof::Password, false),
        (Proofs::of(Proof::Passkey), Proof::Passkey, true),
    ];
    for (given, again, is_enough) in table {
        assert_eq!(given.are_matched_by(again), is_enough, "{given:?} {again}");
    }
}
