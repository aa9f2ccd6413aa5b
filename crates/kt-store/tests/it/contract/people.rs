use kt_domain::actor::Role;
use kt_domain::id::SessionId;
use kt_domain::mfa::MfaSettings;
use kt_domain::random::Random;
use kt_domain::secret::Token;
use kt_domain::sessions::Door;
use kt_domain::sign_in::{MembershipState, Proof, Proofs};
use kt_store::memberships::Membership;
use kt_store::organizations::{self, Versioned};
use kt_store::sessions::{self, RefreshUse, Session};
use kt_store::users::{self, Password};
use kt_store::{StoreError, memberships};

use super::{minutes, now, on_both, organization, somebody, user};

fn password(hash: &str, minute: u64) -> Password {
    Password {
        hash: hash.into(),
        set_at: now() + minutes(minute),
        temporary_until: None,
        breaks_policy: false,
    }
}

on_both! {
    an_address_belongs_to_one_person_however_it_is_spelt(store) {
        let first = user(&store, "Jo@example.com").await;
        let tx = store.begin_write().await.unwrap();
        assert!(matches!(users::insert(&tx, &somebody("jo@EXAMPLE.com")).await, Err(StoreError::Exists)));
        drop(tx);
        assert_eq!(users::by_email(&store, "jo@example.com").await.unwrap(), Some(first.clone()));
        assert_eq!(users::find(&store, &first.id).await.unwrap(), Some(first));
    }

    setting_a_password_keeps_the_one_before_and_moves_the_epoch_on(store) {
        let someone = user(&store, "jo@example.com").await;
        let tx = store.begin_write().await.unwrap();
        for n in 0..4_u8 {
            let password = password(&format!("hash-{n}"), n.into());
            assert!(users::set_password(&tx, &someone.id, i64::from(n) + 1, &password).await.unwrap());
        }
        assert!(!users::set_password(&tx, &someone.id, 1, &password("late", 9)).await.unwrap(), "an older epoch");
        tx.commit().await.unwrap();
        let now_is = users::find(&store, &someone.id).await.unwrap().unwrap();
        assert_eq!((now_is.epoch, now_is.password), (5, Some(password("hash-3", 3))));
        assert_eq!(users::past_passwords(&store, &someone.id, 2).await.unwrap(), ["hash-2", "hash-1"]);
    }

    a_change_of_settings_loses_no_other_change(store) {
        let org = organization(&store, "example").await;
        let defaults: Versioned<MfaSettings> = organizations::settings(&store, &org, "mfa").await.unwrap();
        assert_eq!(defaults, Versioned { version: 0, value: MfaSettings::default() });
        let changed = MfaSettings { grace_period: None, ..MfaSettings::default() };
        let tx = store.begin_write().await.unwrap();
        assert!(organizations::replace_settings(&tx, &org, "mfa", 0, &changed, now()).await.unwrap());
        assert!(!organizations::replace_settings(&tx, &org, "mfa", 0, &changed, now()).await.unwrap(), "lost update");
        assert!(organizations::replace_settings(&tx, &org, "mfa", 1, &changed, now()).await.unwrap());
        tx.commit().await.unwrap();
        let stored: Versioned<MfaSettings> = organizations::settings(&store, &org, "mfa").await.unwrap();
        assert_eq!(stored, Versioned { version: 2, value: changed });
    }

    a_latch_closes_once(store) {
        let tx = store.begin_write().await.unwrap();
        assert!(organizations::close_latch(&tx, "set_up", now()).await.unwrap());
        assert!(!organizations::close_latch(&tx, "set_up", now()).await.unwrap());
        tx.commit().await.unwrap();
        assert!(organizations::is_latched(&store, "set_up").await.unwrap());
        assert!(!organizations::is_latched(&store, "another").await.unwrap());
    }

    who_is_alone_and_who_came_first_is_told_by_active_memberships_and_roles(store) {
        let org = organization(&store, "example").await;
        assert_eq!(memberships::founders(&store, &org).await.unwrap(), (0, None));
        let mut members = Vec::new();
        let joined = [("mel", Role::Member), ("ada", Role::Admin), ("olive", Role::Owner)];
        for (minute, (name, role)) in (0..).zip(joined) {
            let membership = Membership {
                organization: org.clone(),
                user: user(&store, &format!("{name}@example.com")).await.id,
                role,
                state: MembershipState::Active,
                mfa_asked_since: None,
                created_at: now() + minutes(minute),
                last_sign_in_at: None,
            };
            let tx = store.begin_write().await.unwrap();
            memberships::insert(&tx, &membership).await.unwrap();
            tx.commit().await.unwrap();
            members.push(membership);
        }
        let [mel, ada, olive] = &members[..] else { unreachable!() };
        let first = Some(ada.user.clone());
        assert_eq!(memberships::founders(&store, &org).await.unwrap(), (3, first.clone()), "a member is no administrator");
        for (suspended, left) in [(mel, 2), (ada, 1)] {
            let tx = store.begin_write().await.unwrap();
            assert!(memberships::change(&tx, suspended, suspended.role, MembershipState::Suspended).await.unwrap());
            tx.commit().await.unwrap();
            let found = memberships::founders(&store, &org).await.unwrap();
            assert_eq!(found, (left, first.clone()), "who is suspended is not there, and came first all the same");
        }
        let tx = store.begin_write().await.unwrap();
        assert!(memberships::change(&tx, olive, Role::Member, MembershipState::Active).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(memberships::founders(&store, &org).await.unwrap().0, 1);
    }

    a_session_is_read_with_its_holders_present_standing(store) {
        let org = organization(&store, "example").await;
        let someone = user(&store, "jo@example.com").await;
        let membership = Membership {
            organization: org.clone(),
            user: someone.id.clone(),
            role: Role::Admin,
            state: MembershipState::Active,
            mfa_asked_since: Some(now()),
            created_at: now(),
            last_sign_in_at: None,
        };
        let session = Session {
            id: SessionId::new(now(), &mut Random::from_os()),
            user: someone.id.clone(),
            organization: org.clone(),
            epoch: someone.epoch,
            door: Door::Api,
            proofs: Proofs::of(Proof::Password),
            created_at: now(),
            authenticated_at: now(),
            active_at: now(),
            ip: Some("2001:db8::1".parse().unwrap()),
            active_ip: Some("2001:db8::2".parse().unwrap()),
            user_agent: Some("curl/8".into()),
            ended_at: None,
        };
        let token = Token::generate(&mut Random::from_os()).digest();
        let tx = store.begin_write().await.unwrap();
        memberships::insert(&tx, &membership).await.unwrap();
        sessions::insert(&tx, &session).await.unwrap();
        sessions::insert_refresh_token(&tx, &token, &session.id, now()).await.unwrap();
        tx.commit().await.unwrap();

        let live = sessions::find(&store, &session.id).await.unwrap().unwrap();
        assert_eq!((live.session, live.epoch, live.membership), (session.clone(), 1, membership.clone()));
        assert_eq!(sessions::of_user(&store, &someone.id).await.unwrap(), std::slice::from_ref(&session));

        let tx = store.begin_write().await.unwrap();
        assert_eq!(memberships::count_active_owners(&tx, &org).await.unwrap(), 0);
        assert!(memberships::change(&tx, &membership, Role::Owner, MembershipState::Active).await.unwrap());
        assert!(!memberships::change(&tx, &membership, Role::Member, MembershipState::Active).await.unwrap(), "stale");
        assert_eq!(memberships::count_active_owners(&tx, &org).await.unwrap(), 1);
        let used = sessions::use_refresh_token(&tx, &token, now()).await.unwrap();
        assert_eq!(used, RefreshUse::Used(session.id.clone()));
        let replayed = sessions::use_refresh_token(&tx, &token, now()).await.unwrap();
        assert_eq!(replayed, RefreshUse::Replayed(session.id.clone()));
        users::end_everything(&tx, &someone.id).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(sessions::of_user(&store, &someone.id).await.unwrap(), []);
        assert_eq!(sessions::find(&store, &session.id).await.unwrap().unwrap().epoch, 2);
    }

    what_is_long_over_is_forgotten_but_for_the_last_of_each_person(store) {
        let org = organization(&store, "example").await;
        let someone = user(&store, "jo@example.com").await;
        let place = Membership {
            organization: org.clone(),
            user: someone.id.clone(),
            role: Role::Member,
            state: MembershipState::Active,
            mfa_asked_since: None,
            created_at: now(),
            last_sign_in_at: None,
        };
        let made_at = |minute| Session {
            id: SessionId::new(now(), &mut Random::from_os()),
            user: someone.id.clone(),
            organization: org.clone(),
            epoch: someone.epoch,
            door: Door::Console,
            proofs: Proofs::of(Proof::Password),
            created_at: now() + minutes(minute),
            authenticated_at: now(),
            active_at: now(),
            ip: Some("2001:db8::1".parse().unwrap()),
            active_ip: Some("2001:db8::2".parse().unwrap()),
            user_agent: Some("curl/8".into()),
            ended_at: None,
        };
        let all = [made_at(0), made_at(0), made_at(9)];
        let digest = || Token::generate(&mut Random::from_os()).digest();
        let tokens = [digest(), digest(), digest()];
        let tx = store.begin_write().await.unwrap();
        memberships::insert(&tx, &place).await.unwrap();
        for (session, token) in all.iter().zip(&tokens) {
            sessions::insert(&tx, session).await.unwrap();
            sessions::set_cookie(&tx, &session.id, &digest(), now()).await.unwrap();
            sessions::insert_refresh_token(&tx, token, &session.id, now()).await.unwrap();
        }
        for (device, minute) in [("old", 0), ("last", 0), ("present", 9)] {
            let seen_at = now() + minutes(minute);
            users::remember_device(&tx, &someone.id, device, seen_at).await.unwrap();
        }
        tx.commit().await.unwrap();
        let forget = async |minute| {
            let tx = store.begin_write().await.unwrap();
            sessions::forget_old(&tx, now() + minutes(minute)).await.unwrap();
            users::forget_devices(&tx, now() + minutes(minute)).await.unwrap();
            tx.commit().await.unwrap();
        };
        let is_good = async |token| {
            let tx = store.begin_write().await.unwrap();
            sessions::use_refresh_token(&tx, token, now()).await.unwrap() != RefreshUse::Unknown
        };
        forget(5).await;
        assert_eq!(sessions::of_user(&store, &someone.id).await.unwrap(), [all[2].clone()]);
        assert!(!is_good(&tokens[0]).await && is_good(&tokens[2]).await);
        forget(10).await;
        let bare = Session { ip: None, active_ip: None, user_agent: None, ..all[2].clone() };
        assert_eq!(sessions::of_user(&store, &someone.id).await.unwrap(), [bare]);
        assert!(!is_good(&tokens[2]).await);
        let tx = store.begin_write().await.unwrap();
        let known = async |device| users::recognize_device(&tx, &someone.id, device, now()).await.unwrap();
        assert!(!known("old").await && !known("last").await && known("present").await);
    }
}
