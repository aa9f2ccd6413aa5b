use std::sync::Arc;

use kt_domain::actor::Actor;
use kt_domain::audit::{AuditAction, AuditRecord};
use kt_domain::ctx::{Client, Ctx};
use kt_domain::random::Random;
use kt_store::audit;

use super::{now, on_both, organization};

fn record() -> AuditRecord {
    let ctx =
        Ctx { actor: Actor::System("test"), client: Client::default(), request_id: "r".into(), now: now() };
    AuditRecord::new(&ctx, &mut Random::from_os(), AuditAction::SignIn, "usr_1")
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
        assert!(audit::first_broken(Some(&org), &chain).is_none());
    }

    a_record_is_kept_with_its_change_or_not_at_all(store) {
        let org = organization(&store, "example").await;
        let tx = store.begin_write().await.unwrap();
        audit::append(&tx, Some(&org), &record()).await.unwrap();
        drop(tx);
        assert_eq!(audit::chain(&store, Some(&org)).await.unwrap(), []);
    }
}
