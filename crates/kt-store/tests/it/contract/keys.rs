use std::sync::Arc;
use std::time::Duration;

use kt_domain::actor::{KeyKind, Role, Scope};
use kt_domain::id::{ApiKeyId, OrganizationId};
use kt_domain::keys::{KeyTerms, KeyText};
use kt_domain::order::{KeyColumn, Order};
use kt_domain::random::Random;
use kt_domain::search::Search;
use kt_domain::secret::SecretDigest;
use kt_domain::sign_in::MembershipState;
use kt_store::keys::{self, ApiKey, KeyFilter};
use kt_store::memberships::{self, MembersFilter, Membership};
use kt_store::order::Part;
use kt_store::{Store, StoreError};

use super::{minutes, now, on_both, organization, user};

async fn member(store: &Store, organization: &OrganizationId, email: &str) -> Membership {
    let membership = Membership {
        organization: organization.clone(),
        user: user(store, email).await.id,
        role: Role::Admin,
        state: MembershipState::Active,
        mfa_asked_since: None,
        created_at: now(),
        last_sign_in_at: None,
    };
    let tx = store.begin_write().await.unwrap();
    memberships::insert(&tx, &membership).await.unwrap();
    tx.commit().await.unwrap();
    membership
}

fn key_of(owner: &Membership, kind: KeyKind, age: Duration) -> (ApiKey, SecretDigest) {
    let random = &mut Random::from_os();
    let text = KeyText::generate(kind, random);
    let key = ApiKey {
        id: ApiKeyId::new(now() - age, random),
        organization: owner.organization.clone(),
        kind,
        name: "deploy".into(),
        prefix: text.prefix().into(),
        owner: owner.user.clone(),
        terms: KeyTerms {
            scope: Some(Scope::Write),
            ranges: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            requests_per_minute: Some(60),
            created_at: now() - age,
            expires_at: Some(now() + minutes(60)),
            ends_at: None,
            flagged_at: None,
        },
        last_used_at: None,
        last_used_ip: None,
        replaced_by: None,
    };
    (key, text.digest())
}

async fn stored(store: &Store, owner: &Membership, kind: KeyKind, age: Duration) -> (ApiKey, SecretDigest) {
    let (key, digest) = key_of(owner, kind, age);
    let tx = store.begin_write().await.unwrap();
    keys::insert(&tx, &key, &digest).await.unwrap();
    tx.commit().await.unwrap();
    (key, digest)
}

on_both! {
    a_key_is_found_by_its_digest_with_what_its_owner_is_now(store) {
        let org = organization(&store, "example").await;
        let owner = member(&store, &org, "jo@example.com").await;
        let (key, digest) = stored(&store, &owner, KeyKind::Access, minutes(0)).await;
        let found = keys::by_digest(&store, &digest).await.unwrap().unwrap();
        assert_eq!((found.key, found.owner_role), (key.clone(), Role::Admin));
        assert_eq!(keys::by_digest(&store, &SecretDigest::of("another")).await.unwrap(), None);
        let tx = store.begin_write().await.unwrap();
        assert!(matches!(keys::insert(&tx, &key, &digest).await, Err(StoreError::Exists)));
        drop(tx);
        let tx = store.begin_write().await.unwrap();
        memberships::change(&tx, &owner, Role::Member, MembershipState::Suspended).await.unwrap();
        tx.commit().await.unwrap();
        let found = keys::by_digest(&store, &digest).await.unwrap().unwrap();
        assert_eq!((found.owner_role, found.owner_state), (Role::Member, MembershipState::Suspended));
    }

    a_list_holds_what_is_asked_for_of_one_organization_newest_first(store) {
        let org = organization(&store, "example").await;
        let other = organization(&store, "other").await;
        let (jo, al) = (member(&store, &org, "jo@example.com").await, member(&store, &org, "al@example.com").await);
        let (oldest, _) = stored(&store, &jo, KeyKind::Access, minutes(3)).await;
        let (gateway, _) = stored(&store, &jo, KeyKind::Gateway, minutes(2)).await;
        let (newest, _) = stored(&store, &al, KeyKind::Access, minutes(1)).await;
        stored(&store, &member(&store, &other, "x@example.com").await, KeyKind::Access, minutes(0)).await;
        let access = KeyFilter { kind: Some(KeyKind::Access), ..KeyFilter::default() };
        let of_jo = KeyFilter { owner: Some(jo.user.clone()), ..KeyFilter::default() };
        let all = KeyFilter::default();
        let table = [
            (&all, None, 10, vec![&newest, &gateway, &oldest]),
            (&all, None, 2, vec![&newest, &gateway]),
            (&all, Some(&gateway), 10, vec![&oldest]),
            (&access, None, 10, vec![&newest, &oldest]),
            (&of_jo, None, 10, vec![&gateway, &oldest]),
        ];
        for (row, (filter, after, limit, expected)) in table.into_iter().enumerate() {
            let after = after.map(|key| keys::place_of(key, KeyColumn::Created));
            let part = Part { order: Order::default(), after: after.as_ref(), limit };
            let found = keys::page(&store, &org, filter, part).await.unwrap();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "row {row}");
        }
    }

    keys_come_in_every_order_and_page_by_page_as_in_one(store) {
        let org = organization(&store, "example").await;
        let jo = member(&store, &org, "jo@example.com").await;
        // Two of each column are equal, so that the identifier decides there.
        let table = [("beta", 5, Some(9), None), ("Alpha", 4, None, Some(3)), ("alpha", 5, Some(2), Some(3)), ("gamma", 1, Some(9), None)];
        for (name, made, expires, used) in table {
            let (mut key, digest) = key_of(&jo, KeyKind::Access, minutes(made));
            key.name = name.into();
            key.terms.expires_at = expires.map(|days: u64| now() + Duration::from_hours(24 * days));
            let tx = store.begin_write().await.unwrap();
            keys::insert(&tx, &key, &digest).await.unwrap();
            if let Some(ago) = used {
                keys::note_use(&tx, &org, &key.id, now() - minutes(ago), None).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
        let filter = KeyFilter::default();
        for by in KeyColumn::ALL.iter().copied() {
            for order in [Order::up(by), Order::down(by)] {
                let whole = keys::page(&store, &org, &filter, Part { order, after: None, limit: 10 }).await.unwrap();
                let value = |key: &ApiKey| match by {
                    KeyColumn::Created => key.terms.created_at.to_string(),
                    KeyColumn::Name => key.name.to_lowercase(),
                    KeyColumn::Ends => key.terms.expires_at.map_or("9999".to_owned(), |end| end.to_string()),
                    KeyColumn::LastUsed => key.last_used_at.map_or(String::new(), |used| used.to_string()),
                };
                let mut expected = whole.clone();
                expected.sort_by_key(|key| (value(key), key.id.to_string()));
                if order.descending {
                    expected.reverse();
                }
                assert_eq!(whole.len(), 4);
                assert_eq!(whole, expected, "{order}");
                let (mut found, mut after) = (Vec::new(), None);
                for _ in 0..4 {
                    let part = Part { order, after: after.as_ref(), limit: 1 };
                    found.extend(keys::page(&store, &org, &filter, part).await.unwrap());
                    after = found.last().map(|key| keys::place_of(key, by));
                }
                assert_eq!(found, expected, "{order}, one at a time");
            }
        }
    }

    a_search_finds_what_holds_its_characters_and_no_character_of_it_stands_for_others(store) {
        let org = organization(&store, "example").await;
        let owner = member(&store, &org, "jo.o_neil@example.com").await;
        member(&store, &org, "joxoxneil@example.com").await;
        let names = ["100% reports", "100 reports", "a_b", "axb", "wow!", "Über", r"back\slash", "it's", "x'); DROP TABLE api_keys; --"];
        for name in names {
            let (mut key, digest) = key_of(&owner, KeyKind::Access, minutes(0));
            key.name = name.into();
            let tx = store.begin_write().await.unwrap();
            keys::insert(&tx, &key, &digest).await.unwrap();
            tx.commit().await.unwrap();
        }
        let search = |text: &str| Search::read(text).unwrap();
        let every = names.len();
        for (text, expected) in [
            ("", every),
            ("REPORTS", 2),
            ("100%", 1),
            ("%", 1),
            ("_", every),
            ("A_B", 1),
            ("!", 1),
            ("Über", 1),
            ("\\", 1),
            ("'", 2),
            ("' OR '1'='1", 0),
            ("'); drop table api_keys", 1),
            ("kt_ak_", every),
            ("nothing", 0),
        ] {
            let filter = KeyFilter { search: search(text), ..KeyFilter::default() };
            let found = keys::page(&store, &org, &filter, Part::whole()).await.unwrap();
            assert_eq!(found.len(), expected, "{text}");
        }
        for (text, expected) in [("o_neil", 1), ("NEIL@", 2), ("somebody", 2), ("admin", 2), ("owner", 0), ("%", 0)] {
            let search = search(text);
            let filter = MembersFilter { search: search.as_ref(), ..MembersFilter::default() };
            let found = memberships::members(&store, &org, filter, Part::whole()).await.unwrap();
            assert_eq!(found.len(), expected, "{text}");
        }
    }

    of_a_thousand_who_replace_one_key_one_succeeds(store) {
        let org = organization(&store, "example").await;
        let owner = member(&store, &org, "jo@example.com").await;
        let (key, _) = stored(&store, &owner, KeyKind::Access, minutes(0)).await;
        let store = Arc::new(store);
        let tasks: Vec<_> = (0..1000).map(|_| {
            let (store, org, id) = (Arc::clone(&store), org.clone(), key.id.clone());
            tokio::spawn(async move {
                let tx = store.begin_write().await.unwrap();
                let mut key = keys::lock(&tx, &org, &id).await.unwrap().unwrap();
                if key.replaced_by.is_some() {
                    return 0;
                }
                key.replaced_by = Some(ApiKeyId::new(now(), &mut Random::from_os()));
                keys::change(&tx, &key).await.unwrap();
                tx.commit().await.unwrap();
                1
            })
        }).collect();
        let mut successes = 0;
        for task in tasks {
            successes += task.await.unwrap();
        }
        assert_eq!(successes, 1);
    }

    what_changes_of_a_key_is_kept_and_a_key_of_another_organization_is_not_found(store) {
        let org = organization(&store, "example").await;
        let other = organization(&store, "other").await;
        let owner = member(&store, &org, "jo@example.com").await;
        let (mut key, digest) = stored(&store, &owner, KeyKind::Gateway, minutes(0)).await;
        let tx = store.begin_write().await.unwrap();
        assert_eq!(keys::lock(&tx, &other, &key.id).await.unwrap(), None);
        assert_eq!(keys::lock(&tx, &org, &key.id).await.unwrap().as_ref(), Some(&key));
        key.name = "edge".into();
        key.terms = KeyTerms {
            scope: None,
            ranges: Vec::new(),
            requests_per_minute: None,
            expires_at: None,
            ends_at: Some(now() + minutes(1)),
            flagged_at: Some(now()),
            ..key.terms
        };
        keys::change(&tx, &key).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(keys::by_digest(&store, &digest).await.unwrap().unwrap().key, key);
        let tx = store.begin_write().await.unwrap();
        assert_eq!(keys::lock_all(&tx, &org, now()).await.unwrap(), [key]);
        assert_eq!(keys::lock_all(&tx, &org, now() + minutes(1)).await.unwrap(), [], "it has ended");
    }

    the_latest_use_of_a_key_is_kept_in_whatever_order_uses_are_written(store) {
        let org = organization(&store, "example").await;
        let other = organization(&store, "other").await;
        let owner = member(&store, &org, "jo@example.com").await;
        let (key, digest) = stored(&store, &owner, KeyKind::Access, minutes(0)).await;
        let tx = store.begin_write().await.unwrap();
        keys::note_use(&tx, &org, &key.id, now() + minutes(2), Some("203.0.113.9".parse().unwrap())).await.unwrap();
        keys::note_use(&tx, &org, &key.id, now() + minutes(1), None).await.unwrap();
        keys::note_use(&tx, &other, &key.id, now() + minutes(3), None).await.unwrap();
        tx.commit().await.unwrap();
        let found = keys::by_digest(&store, &digest).await.unwrap().unwrap().key;
        assert_eq!(found.last_used_at, Some(now() + minutes(2)));
        assert_eq!(found.last_used_ip, Some("203.0.113.9".parse().unwrap()));
    }
}
