use std::sync::Arc;

use jiff::Timestamp;
use kt_domain::actor::Actor;
use kt_domain::audit::{AuditAction, AuditRecord, genesis};
use kt_domain::ctx::{Client, Ctx};
use kt_domain::id::OrganizationId;
use kt_domain::random::Random;
use kt_store::CheckpointKey;
use kt_store::audit::deliveries::{self, Lag};
use kt_store::audit::{self, ChainEntry};

use super::{minutes, now, on_both, organization};

fn record() -> AuditRecord {
    let ctx =
        Ctx { actor: Actor::System("test"), client: Client::default(), request_id: "r".into(), now: now() };
    AuditRecord::new(&ctx, &mut Random::from_os(), AuditAction::SignIn, "usr_1")
}

/// Whether each entry follows the one before.
fn is_unbroken(organization: &OrganizationId, chain: &[ChainEntry]) -> bool {
    let mut head = genesis(organization.as_str());
    chain.iter().all(|entry| {
        head = head.followed_by(entry.kind, entry.body.as_bytes());
        entry.head() == head
    })
}

on_both! {
    records_of_many_writers_form_one_chain_without_gaps(store) {
        let org = organization(&store, "example").await;
        let store = Arc::new(store);
        let tasks: Vec<_> = (0..50).map(|_| {
            let (store, org) = (Arc::clone(&store), org.clone());
            tokio::spawn(async move {
                let tx = store.begin_write().await.unwrap();
                audit::append(&tx, Some(&org), &record()).await.unwrap();
                tx.commit().await.unwrap();
            })
        }).collect();
        for task in tasks {
            task.await.unwrap();
        }
        let chain = audit::chain(&*store, Some(&org)).await.unwrap();
        assert_eq!(chain.iter().map(|entry| entry.seq).collect::<Vec<_>>(), (1..=50).collect::<Vec<u64>>());
        assert!(is_unbroken(&org, &chain));
    }

    a_record_is_kept_with_its_change_or_not_at_all(store) {
        let org = organization(&store, "example").await;
        let tx = store.begin_write().await.unwrap();
        audit::append(&tx, Some(&org), &record()).await.unwrap();
        drop(tx);
        assert_eq!(audit::chain(&store, Some(&org)).await.unwrap(), []);
    }

    the_newest_entry_is_told_also_behind_a_checkpoint(store) {
        let org = organization(&store, "example").await;
        assert_eq!(audit::newest(&store).await.unwrap(), None);
        let tx = store.begin_write().await.unwrap();
        audit::append(&tx, Some(&org), &record()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(audit::newest(&store).await.unwrap(), Some(now()));
        let (key, _) = CheckpointKey::generate().unwrap();
        let later = now() + minutes(1);
        let tx = store.begin_write().await.unwrap();
        let sign = |head| key.checkpoint(org.as_str().into(), head, later);
        let signed = audit::append_checkpoint(&tx, org.as_str(), later, sign).await.unwrap();
        let again = audit::append_checkpoint(&tx, org.as_str(), later, sign).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!((signed.seq, again), (2, signed), "a chain that ends in a checkpoint needs none");
        assert_eq!(audit::newest(&store).await.unwrap(), Some(later));
        let chain = audit::chain(&store, Some(&org)).await.unwrap();
        assert!(is_unbroken(&org, &chain));
    }

    a_chain_tells_how_far_it_has_come_and_was_signed(store) {
        let org = organization(&store, "example").await;
        let empty = audit::standing(&store, org.as_str()).await.unwrap();
        assert_eq!((empty.head.seq, empty.signed), (0, None));
        let (key, _) = CheckpointKey::generate().unwrap();
        let tx = store.begin_write().await.unwrap();
        audit::append(&tx, Some(&org), &record()).await.unwrap();
        let sign = |head| key.checkpoint(org.as_str().into(), head, now());
        let signed = audit::append_checkpoint(&tx, org.as_str(), now(), sign).await.unwrap();
        audit::append(&tx, Some(&org), &record()).await.unwrap();
        tx.commit().await.unwrap();
        let standing = audit::standing(&store, org.as_str()).await.unwrap();
        assert_eq!((standing.head.seq, standing.signed), (3, Some((signed, now()))));
    }

    a_position_is_leased_to_one_and_moved_on_by_whoever_holds_it(store) {
        let org = organization(&store, "example").await;
        for _ in 0..3 {
            let tx = store.begin_write().await.unwrap();
            audit::append(&tx, Some(&org), &record()).await.unwrap();
            tx.commit().await.unwrap();
        }
        let chain = org.as_str();
        let lease = async |at: Timestamp| {
            let tx = store.begin_write().await.unwrap();
            let leased = deliveries::lease(&tx, "sink", chain, at, at + minutes(2)).await.unwrap();
            tx.commit().await.unwrap();
            leased
        };
        assert_eq!(deliveries::due(&store, "sink", now()).await.unwrap(), [chain]);
        let lag = async |sink: &str| {
            let Lag { entries, oldest, reason } = deliveries::lag(&store, sink).await.unwrap();
            assert_eq!(oldest, (entries > 0).then(now), "{sink}");
            (entries, reason)
        };
        assert_eq!(lag("sink").await, (3, None), "nothing was sent yet");
        let first = lease(now()).await.unwrap();
        assert_eq!((first.seq, first.attempts), (0, 1));
        assert_eq!(lease(now() + minutes(1)).await, None);
        assert!(deliveries::due(&store, "sink", now() + minutes(1)).await.unwrap().is_empty());
        let second = lease(now() + minutes(2)).await.unwrap();
        assert_eq!((second.seq, second.attempts), (0, 2), "the first has not come back");

        let tx = store.begin_write().await.unwrap();
        deliveries::advance(&tx, &second, 2, now() + minutes(2)).await.unwrap();
        // The first one comes back after all: what it has sent is known to be taken, and nothing is skipped.
        deliveries::advance(&tx, &first, 3, now() + minutes(2)).await.unwrap();
        deliveries::put_off(&tx, &first, now() + minutes(60), "too late").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(lag("sink").await, (1, None));
        let third = lease(now() + minutes(2)).await.unwrap();
        assert_eq!((third.seq, third.attempts), (2, 1));
        let tx = store.begin_write().await.unwrap();
        deliveries::put_off(&tx, &third, now() + minutes(2), "it is away").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(lag("sink").await, (1, Some("it is away".to_owned())));
        let late = async |before, tried_since| deliveries::late(&store, before, tried_since).await.unwrap();
        let told = late(now() + minutes(1), now()).await;
        assert_eq!((told.len(), told[0].entries, told[0].oldest, &*told[0].chain), (1, 1, now(), chain));
        assert!(late(now(), now()).await.is_empty(), "nothing was made before that");
        assert!(late(now() + minutes(1), now() + minutes(3)).await.is_empty(), "nobody tries it any more");
        let fourth = lease(now() + minutes(2)).await.unwrap();
        let tx = store.begin_write().await.unwrap();
        deliveries::advance(&tx, &fourth, 3, now() + minutes(2)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!((lag("sink").await, lag("other").await), ((0, None), (3, None)));
        assert!(deliveries::due(&store, "sink", now() + minutes(60)).await.unwrap().is_empty(), "all was sent");
        assert_eq!(deliveries::due(&store, "other", now()).await.unwrap(), [chain], "each sink for itself");
    }
}
