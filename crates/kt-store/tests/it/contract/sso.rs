use kt_domain::actor::Role;
use kt_domain::id::{IdentityProviderId, OrganizationId, SessionId};
use kt_domain::random::Random;
use kt_domain::sessions::Door;
use kt_domain::sign_in::{MembershipState, Proof, Proofs};
use kt_domain::sso::{
    ClientAuthentication, DomainProof, IdentitySource, OidcSettings, OwnDomain, Protocol, ProviderDetails,
    ProviderSettings, PublishedPart, PublishedProblem,
};
use kt_store::domains::{self, ClaimedDomain};
use kt_store::external_identities::{self, ExternalName};
use kt_store::identity_providers::{self, IdentityProvider};
use kt_store::memberships::{self, Membership};
use kt_store::sessions::{self, Federation, Session, VouchedFor};
use kt_store::users::{self, User};
use kt_store::{Store, StoreError};

use super::{now, on_both, organization, user};

fn provider(organization: &OrganizationId, enabled: bool) -> IdentityProvider {
    IdentityProvider {
        id: IdentityProviderId::new(now(), &mut Random::from_os()),
        organization: organization.clone(),
        enabled,
        version: 1,
        settings: ProviderSettings { display_name: "Acme".into(), ..ProviderSettings::default() },
        details: ProviderDetails::Oidc(OidcSettings {
            issuer: "https://id.example".into(),
            client_id: "us".into(),
            authentication: ClientAuthentication::default(),
            endpoints: None,
        }),
        secret_sealed: Some("sealed".into()),
        created_at: now(),
        used_at: None,
        problem: None,
    }
}

/// A session of somebody that a provider has opened.
async fn federated(
    store: &Store,
    someone: &User,
    org: &OrganizationId,
    federation: &Federation,
) -> SessionId {
    let session = Session {
        id: SessionId::new(now(), &mut Random::from_os()),
        user: someone.id.clone(),
        organization: org.clone(),
        epoch: someone.epoch,
        door: Door::Console,
        proofs: Proofs::of(Proof::Federated),
        created_at: now(),
        authenticated_at: now(),
        active_at: now(),
        ip: None,
        active_ip: None,
        user_agent: None,
        ended_at: None,
    };
    let tx = store.begin_write().await.unwrap();
    sessions::insert(&tx, &session).await.unwrap();
    sessions::note_federation(&tx, &session.id, federation).await.unwrap();
    tx.commit().await.unwrap();
    session.id
}

pub(super) async fn member(store: &Store, org: &OrganizationId, email: &str) -> User {
    let someone = user(store, email).await;
    let membership = Membership {
        organization: org.clone(),
        user: someone.id.clone(),
        role: Role::Member,
        state: MembershipState::Active,
        mfa_asked_since: None,
        created_at: now(),
        last_sign_in_at: None,
    };
    let tx = store.begin_write().await.unwrap();
    memberships::insert(&tx, &membership).await.unwrap();
    tx.commit().await.unwrap();
    someone
}

on_both! {
    an_organization_has_one_provider_of_a_protocol_and_loses_no_change(store) {
        let (org, other) = (organization(&store, "acme").await, organization(&store, "other").await);
        let kept = provider(&org, true);
        let tx = store.begin_write().await.unwrap();
        identity_providers::insert(&tx, &kept).await.unwrap();
        identity_providers::insert(&tx, &provider(&other, true)).await.unwrap();
        tx.commit().await.unwrap();
        let tx = store.begin_write().await.unwrap();
        let second = identity_providers::insert(&tx, &provider(&org, false)).await;
        assert!(matches!(second, Err(StoreError::Exists)));
        drop(tx);
        let found = identity_providers::of_protocol(&store, &org, Protocol::Oidc).await.unwrap();
        assert_eq!(found.as_ref(), Some(&kept));
        assert_eq!(identity_providers::enabled(&store, &org).await.unwrap().as_ref(), Some(&kept));

        let off = IdentityProvider { enabled: false, ..kept.clone() };
        let tx = store.begin_write().await.unwrap();
        assert!(identity_providers::replace(&tx, &off, now()).await.unwrap());
        assert!(!identity_providers::replace(&tx, &kept, now()).await.unwrap(), "an older version");
        tx.commit().await.unwrap();
        let found = identity_providers::find(&store, &kept.id).await.unwrap().unwrap();
        assert_eq!((found.version, found.enabled), (2, false));
        assert_eq!(identity_providers::enabled(&store, &org).await.unwrap(), None);
    }

    a_name_at_a_provider_belongs_to_one_account(store) {
        let org = organization(&store, "acme").await;
        let (one, other) = (member(&store, &org, "one@acme.example").await, member(&store, &org, "two@acme.example").await);
        let source = IdentitySource::Provider(provider(&org, true).id);
        let name = ExternalName { source: &source, issuer: "https://id.example", subject: "1" };
        let tx = store.begin_write().await.unwrap();
        assert!(external_identities::link(&tx, name, &one.id, now()).await.unwrap());
        assert!(!external_identities::link(&tx, name, &other.id, now()).await.unwrap(), "somebody has it");
        let elsewhere = ExternalName { source: &IdentitySource::Google, ..name };
        assert!(external_identities::link(&tx, elsewhere, &other.id, now()).await.unwrap(), "another source");
        tx.commit().await.unwrap();
        assert_eq!(external_identities::user_of(&store, name).await.unwrap(), Some(one.id));
        assert_eq!(external_identities::user_of(&store, elsewhere).await.unwrap(), Some(other.id));
        let of_another_issuer = ExternalName { issuer: "https://id.example/", ..name };
        assert_eq!(external_identities::user_of(&store, of_another_issuer).await.unwrap(), None);
        assert_eq!(external_identities::count(&store, &source).await.unwrap(), 1);
        let tx = store.begin_write().await.unwrap();
        external_identities::forget_source(&tx, &source).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(external_identities::user_of(&store, name).await.unwrap(), None);
        assert!(external_identities::user_of(&store, elsewhere).await.unwrap().is_some());
    }

    a_domain_is_verified_for_one_organization(store) {
        let (org, other) = (organization(&store, "acme").await, organization(&store, "other").await);
        let domain = OwnDomain::parse("acme.example").unwrap();
        let claim = ClaimedDomain::new(domain.clone(), "c".into(), now());
        let tx = store.begin_write().await.unwrap();
        assert!(domains::add(&tx, &org, &claim).await.unwrap());
        assert!(!domains::add(&tx, &org, &claim).await.unwrap());
        assert!(domains::add(&tx, &other, &claim).await.unwrap(), "anybody may claim");
        assert_eq!(domains::owner_of(&tx, "acme.example").await.unwrap(), None, "nobody has shown it");
        domains::verify(&tx, &org, &domain, DomainProof::Dns, now()).await.unwrap();
        tx.commit().await.unwrap();
        let tx = store.begin_write().await.unwrap();
        assert!(matches!(domains::verify(&tx, &other, &domain, DomainProof::Dns, now()).await, Err(StoreError::Exists)));
        drop(tx);
        assert_eq!(domains::owner_of(&store, "acme.example").await.unwrap(), Some(org.clone()));
        assert_eq!(domains::owner_of(&store, "mail.acme.example").await.unwrap(), None);
        let tx = store.begin_write().await.unwrap();
        assert!(domains::remove(&tx, &org, &domain).await.unwrap());
        domains::verify(&tx, &other, &domain, DomainProof::Operator, now()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(domains::owner_of(&store, "acme.example").await.unwrap(), Some(other));
    }

    the_record_of_a_verified_domain_is_looked_for_by_one_at_a_time(store) {
        let org = organization(&store, "acme").await;
        let domain = OwnDomain::parse("acme.example").unwrap();
        let [told, claimed] = ["told.example", "claimed.example"].map(|name| OwnDomain::parse(name).unwrap());
        let tx = store.begin_write().await.unwrap();
        for domain in [&domain, &told, &claimed] {
            domains::add(&tx, &org, &ClaimedDomain::new(domain.clone(), "c".into(), now())).await.unwrap();
        }
        domains::verify(&tx, &org, &domain, DomainProof::Dns, now()).await.unwrap();
        domains::verify(&tx, &org, &told, DomainProof::Operator, now()).await.unwrap();
        let day = std::time::Duration::from_hours(24);
        assert!(domains::to_look_at(&tx, now(), 10).await.unwrap().is_empty(), "it was looked for just now");
        let due = domains::to_look_at(&tx, now() + day, 10).await.unwrap();
        let named: Vec<_> = due.iter().map(|(org, claim)| (org, claim.domain.as_str())).collect();
        assert_eq!(named, [(&org, "acme.example")], "the operator's word has no record, and a claim shows nothing");
        assert!(domains::take_look(&tx, &org, &domain, now() + day, now() + day).await.unwrap());
        assert!(!domains::take_look(&tx, &org, &domain, now() + day, now() + day).await.unwrap(), "one has the turn");
        assert!(!domains::lapse(&tx, &org, &domain).await.unwrap(), "its record is there");
        assert!(domains::note_missing(&tx, &org, &domain, Some(now())).await.unwrap());
        assert!(!domains::note_missing(&tx, &org, &told, Some(now())).await.unwrap());
        assert!(domains::lapse(&tx, &org, &domain).await.unwrap());
        assert_eq!(domains::owner_of(&tx, "acme.example").await.unwrap(), None);
        let claim = domains::find(&tx, &org, &domain).await.unwrap().unwrap();
        assert_eq!((claim.verified_at, claim.proof, claim.missing_since), (None, None, Some(now())));
        domains::verify(&tx, &org, &domain, DomainProof::Dns, now()).await.unwrap();
        let claim = domains::find(&tx, &org, &domain).await.unwrap().unwrap();
        assert_eq!((claim.verified_at, claim.missing_since), (Some(now()), None), "shown again");
        tx.commit().await.unwrap();
    }

    what_is_wrong_with_a_provider_is_noted_once_and_for_one_version(store) {
        let org = organization(&store, "acme").await;
        let ours = provider(&org, true);
        let problem = PublishedProblem { part: PublishedPart::Keys, since: now(), why: "away".into() };
        let tx = store.begin_write().await.unwrap();
        identity_providers::insert(&tx, &ours).await.unwrap();
        let note = async |version, problem: Option<&PublishedProblem>| {
            identity_providers::note_problem(&tx, &ours.id, version, problem).await.unwrap()
        };
        assert!(!note(1, None).await, "there is nothing to end");
        assert!(!note(2, Some(&problem)).await, "of another version");
        assert!(note(1, Some(&problem)).await);
        assert!(!note(1, Some(&problem)).await, "once");
        let found = identity_providers::with_problems(&tx).await.unwrap();
        assert_eq!(found.iter().map(|found| found.problem.clone()).collect::<Vec<_>>(), [Some(problem.clone())]);
        assert!(note(1, None).await);
        assert!(note(1, Some(&problem)).await);
        assert!(identity_providers::replace(&tx, &ours, now()).await.unwrap());
        assert!(identity_providers::with_problems(&tx).await.unwrap().is_empty(), "other settings begin anew");
        tx.commit().await.unwrap();
    }

    a_provider_ends_the_sessions_that_it_names_and_no_others(store) {
        let org = organization(&store, "acme").await;
        let (one, other) = (member(&store, &org, "one@acme.example").await, member(&store, &org, "two@acme.example").await);
        let source = IdentitySource::Provider(provider(&org, true).id);
        let named = |subject: &str, session: &str| Federation {
            source: source.clone(),
            issuer: "https://id.example".into(),
            subject: subject.into(),
            provider_session: Some(session.into()),
            ends_by: None,
        };
        let first = federated(&store, &one, &org, &named("1", "a")).await;
        let second = federated(&store, &one, &org, &named("1", "b")).await;
        let theirs = federated(&store, &other, &org, &named("2", "c")).await;
        let google = Federation { source: IdentitySource::Google, ..named("1", "a") };
        let elsewhere = federated(&store, &one, &org, &google).await;
        let live = sessions::find(&store, &first).await.unwrap().unwrap();
        assert_eq!(live.federation, Some(named("1", "a")));

        let all = VouchedFor { source: &source, subject: None, provider_session: None };
        let table = [
            (VouchedFor { provider_session: Some("a"), subject: Some("2"), ..all }, vec![]),
            (VouchedFor { provider_session: Some("a"), ..all }, vec![(first, one.id.clone())]),
            (VouchedFor { subject: Some("1"), ..all }, vec![(second, one.id.clone())]),
            (all, vec![(theirs, other.id)]),
        ];
        for (which, expected) in table {
            let tx = store.begin_write().await.unwrap();
            assert_eq!(sessions::end_federated(&tx, which, now()).await.unwrap(), expected);
            tx.commit().await.unwrap();
        }
        assert_eq!(sessions::find(&store, &elsewhere).await.unwrap().unwrap().session.ended_at, None);
    }

    who_is_on_the_way_in_is_named_as_a_session_would_be(store) {
        let org = organization(&store, "acme").await;
        let one = member(&store, &org, "one@acme.example").await;
        let source = IdentitySource::Provider(provider(&org, true).id);
        let names = [None, Some("1"), Some("2")];
        for known in [None, Some("a")] {
            let federation = Federation {
                source: source.clone(),
                issuer: "https://id.example".into(),
                subject: "1".into(),
                provider_session: known.map(Into::into),
                ends_by: None,
            };
            for subject in names {
                for provider_session in [None, Some("a"), Some("b")] {
                    for of in [&source, &IdentitySource::Google] {
                        let session = federated(&store, &one, &org, &federation).await;
                        let which = VouchedFor { source: of, subject, provider_session };
                        let tx = store.begin_write().await.unwrap();
                        let ended = sessions::end_federated(&tx, which, now()).await.unwrap();
                        assert_eq!(which.includes(&federation), ended == [(session, one.id.clone())], "{which:?} {known:?}");
                        let rest = VouchedFor { source: &source, subject: None, provider_session: None };
                        sessions::end_federated(&tx, rest, now()).await.unwrap();
                        tx.commit().await.unwrap();
                    }
                }
            }
        }
    }

    what_an_unproven_account_was_opened_with_is_wiped_once(store) {
        let someone = user(&store, "one@acme.example").await;
        let tx = store.begin_write().await.unwrap();
        assert!(users::verify_email(&tx, &someone.id, "one@acme.example", now()).await.unwrap());
        assert!(!users::take_over_unverified(&tx, &someone.id, now()).await.unwrap(), "it is verified");
        drop(tx);
        let open = super::somebody("two@acme.example");
        let tx = store.begin_write().await.unwrap();
        users::insert(&tx, &open).await.unwrap();
        users::remember_device(&tx, &open.id, "device", now()).await.unwrap();
        assert!(users::take_over_unverified(&tx, &open.id, now()).await.unwrap());
        assert!(!users::take_over_unverified(&tx, &open.id, now()).await.unwrap());
        tx.commit().await.unwrap();
        let left = users::find(&store, &open.id).await.unwrap().unwrap();
        assert_eq!((left.password, left.epoch, left.email_verified_at), (None, open.epoch + 1, Some(now())));
        assert!(!users::has_device(&store, &open.id).await.unwrap());
    }
}
