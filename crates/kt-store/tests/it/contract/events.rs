use std::sync::Arc;

use kt_domain::events::{EventType, Hash, Head, Kind, PublicKey, Verdict};
use kt_domain::id::event_id;
use kt_domain::random::Random;
use kt_domain::traffic::{Counted, Measure, Tally};
use kt_store::event_log::EventFilter;
use kt_store::events::{self, ChainStanding, ChainedStatement, GatewayChain, NewEvent, Position};
use kt_store::{CheckpointKey, Store};

use super::{minutes, now, on_both, organization};

/// Event `seq` of a gateway: every third was refused, each second one comes from another address, all of a minute from
/// one moment.
fn event(seq: u64) -> NewEvent {
    let occurred_at = now() + minutes(seq / 10);
    let id = event_id(occurred_at.as_microsecond(), &mut Random::seeded(seq));
    let is_denied = seq.is_multiple_of(3);
    NewEvent {
        gateway_id: "gw-1".into(),
        head: Some(Head { seq, hash: Hash::from_bytes([7; 32]) }),
        occurred_at,
        event_type: if is_denied { EventType::IpDenied } else { EventType::Decision },
        source_ip: Some(if seq.is_multiple_of(2) { "203.0.113.9" } else { "2001:db8::9" }.parse().unwrap()),
        request_id: Some(format!("request-{seq}")),
        verdict: (!is_denied).then_some(Verdict::Allow),
        counted: Counted { duration_ms: (!is_denied).then_some(seq), ..Counted::default() },
        usage: None,
        body: format!("{{\"id\":\"{id}\"}}"),
        id,
    }
}

fn seq(event: &NewEvent) -> u64 {
    event.head.unwrap().seq
}

const COUNT: u64 = 1201;

/// What a filter should find.
type Fits = fn(&NewEvent) -> bool;

async fn stored(store: &Store, identifier: &str) -> kt_domain::id::OrganizationId {
    let org = organization(store, identifier).await;
    let all: Vec<_> = (1..=COUNT).map(event).collect();
    let tx = store.begin_write().await.unwrap();
    assert_eq!(events::insert_events(&tx, &org, &all).await.unwrap(), COUNT);
    assert_eq!(events::insert_events(&tx, &org, &all).await.unwrap(), 0, "they are here");
    tx.commit().await.unwrap();
    org
}

on_both! {
    each_filter_finds_what_fits_newest_first_page_by_page(store) {
        let org = stored(&store, "example").await;
        stored(&store, "other").await;
        let any = EventFilter::default;
        let half = now() + minutes(60);
        let table: [(EventFilter, Fits); 7] = [
            (any(), |_| true),
            (EventFilter { event_type: Some(EventType::IpDenied), ..any() }, |event| event.verdict.is_none()),
            (EventFilter { verdict: Some(Verdict::Allow), ..any() }, |event| event.verdict.is_some()),
            (EventFilter { source_ip: Some("2001:db8::9".parse().unwrap()), ..any() }, |event| seq(event) % 2 == 1),
            (EventFilter { request_id: Some("request-7".into()), ..any() }, |event| seq(event) == 7),
            (EventFilter { since: Some(half), ..any() }, |event| seq(event) >= 600),
            (EventFilter { until: Some(half), gateway_id: Some("gw-1".into()), ..any() }, |event| seq(event) < 600),
        ];
        for (filter, fits) in table {
            let mut expected: Vec<_> = (1..=COUNT).map(event).filter(fits).collect();
            expected.sort_by(|one, other| (other.occurred_at, &other.id).cmp(&(one.occurred_at, &one.id)));
            let expected: Vec<_> = expected.into_iter().map(|event| event.body).collect();
            let mut found = Vec::new();
            let mut after: Option<Position> = None;
            loop {
                let page = events::page(&store, &org, &filter, after.as_ref(), 250).await.unwrap();
                after = page.last().map(|event| event.position.clone());
                found.extend(page.into_iter().map(|event| event.body));
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{filter:?}");
        }
        let nobody = EventFilter { gateway_id: Some("gw-2".into()), ..any() };
        assert_eq!(events::page(&store, &org, &nobody, None, 10).await.unwrap(), []);
    }

    an_event_is_kept_once_and_a_place_in_a_chain_outlives_none(store) {
        let org = organization(&store, "example").await;
        let loose = |seq| NewEvent { head: None, body: "{}".into(), ..event(seq) };
        let count = async |events: &[NewEvent]| {
            let tx = store.begin_write().await.unwrap();
            let inserted = events::insert_events(&tx, &org, events).await.unwrap();
            tx.commit().await.unwrap();
            inserted
        };
        assert_eq!(count(&[loose(1), loose(2)]).await, 2);
        assert_eq!(count(&[loose(2), loose(3)]).await, 1, "one was here");
        assert_eq!(count(&[event(1)]).await, 1, "it gets its place");
        assert_eq!(count(&[loose(1), event(1)]).await, 0, "it has its place");
        let after = now() + minutes(1);
        assert_eq!(events::with_loose(&store, now()).await.unwrap(), []);
        assert_eq!(events::with_loose(&store, after).await.unwrap(), std::slice::from_ref(&org));
        let tx = store.begin_write().await.unwrap();
        assert_eq!(events::remove_loose(&tx, &org, after).await.unwrap(), 2);
        tx.commit().await.unwrap();
        let left = events::page(&store, &org, &EventFilter::default(), None, 10).await.unwrap();
        assert_eq!(left.into_iter().map(|event| event.body).collect::<Vec<_>>(), [event(1).body]);
    }

    each_event_is_counted_once_in_its_hour(store) {
        let org = stored(&store, "example").await;
        stored(&store, "other").await;
        let hour = events::hour_of(now());
        let at = |first: i64, hours: i64| events::tallies(&store, &org, first, first + 6, hours);
        let sum = |tallies: std::collections::BTreeMap<i64, Tally>| {
            let mut sum = Tally::default();
            for tally in tallies.values() {
                sum.absorb(tally);
            }
            sum
        };
        let all = sum(at(hour, 1).await.unwrap());
        assert_eq!((all.requests(), all.of(Measure::IpDenied), all.of(Measure::Duration)), (COUNT, 400, 801));
        assert_eq!(all.of(Measure::Allowed), 801);
        assert_eq!(sum(at(hour, 3).await.unwrap()), all, "steps of three hours");
        assert_eq!(at(hour, 3).await.unwrap().keys().copied().collect::<Vec<_>>(), [0]);
        let first_hour = (1..=COUNT).filter(|seq| events::hour_of(event(*seq).occurred_at) == hour).count() as u64;
        assert_eq!(at(hour, 1).await.unwrap()[&0].requests(), first_hour);
        assert_eq!(at(hour - 6, 1).await.unwrap().len(), 0);
        let loose = NewEvent { head: None, ..event(5000) };
        for events in [&[loose][..], &[event(5000)], &[event(5000)]] {
            let tx = store.begin_write().await.unwrap();
            events::insert_events(&tx, &org, events).await.unwrap();
            tx.commit().await.unwrap();
        }
        let later = events::hour_of(event(5000).occurred_at);
        let counted = events::tallies(&store, &org, later, later + 1, 1).await.unwrap();
        assert_eq!(counted[&0].requests(), 1, "it got its place, and is no other event");
        let tx = store.begin_write().await.unwrap();
        events::forget_counts(&tx, later).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(at(hour, 1).await.unwrap().len(), 0);
        assert_eq!(events::tallies(&store, &org, later, later + 1, 1).await.unwrap(), counted);
    }

    an_event_is_found_with_its_place_and_its_chain_with_its_last_signature(store) {
        let org = organization(&store, "example").await;
        let other = organization(&store, "other").await;
        let chain = |gateway: &str| GatewayChain {
            gateway_id: gateway.into(),
            public_key: PublicKey([9; 32]),
            head: Head { seq: 3, hash: Hash::from_bytes([7; 32]) },
        };
        let (key, _) = CheckpointKey::generate().unwrap();
        let statement = |seq, timestamp| ChainedStatement {
            head: Head { seq, hash: Hash::from_bytes([7; 32]) },
            kind: Kind::Checkpoint,
            body: serde_json::to_string(&key.checkpoint("gw-1".into(), chain("gw-1").head, timestamp)).unwrap(),
        };
        let tx = store.begin_write().await.unwrap();
        events::insert_events(&tx, &org, &[event(1), NewEvent { head: None, ..event(2) }]).await.unwrap();
        let signed = [statement(2, now()), statement(3, now() + minutes(1))];
        events::insert_statements(&tx, &org, "gw-1", &signed).await.unwrap();
        events::save_chain(&tx, &org, &chain("gw-1")).await.unwrap();
        events::save_chain(&tx, &org, &chain("gw-2")).await.unwrap();
        tx.commit().await.unwrap();
        let found = events::find(&store, &org, &event(1).id).await.unwrap().unwrap();
        assert_eq!((found.body, found.head, found.gateway_id), (event(1).body, event(1).head, "gw-1".into()));
        assert_eq!(events::find(&store, &org, &event(2).id).await.unwrap().unwrap().head, None);
        assert_eq!(events::find(&store, &other, &event(1).id).await.unwrap(), None);
        let standing = |gateway, signed| ChainStanding { chain: chain(gateway), signed };
        let of_first = standing("gw-1", Some((3, now() + minutes(1))));
        let all = events::standings(&store, &org, None, 10).await.unwrap();
        assert_eq!(all, [of_first.clone(), standing("gw-2", None)]);
        assert_eq!(events::standings(&store, &org, Some("gw-1"), 10).await.unwrap(), [of_first]);
        assert_eq!(events::standings(&store, &other, None, 10).await.unwrap(), []);
        assert!(events::any(&store, &org).await.unwrap());
        assert!(!events::any(&store, &other).await.unwrap());
    }

    of_many_who_move_one_chain_on_each_sees_the_one_before(store) {
        let org = organization(&store, "example").await;
        let chain = |seq| GatewayChain {
            gateway_id: "gw-1".into(),
            public_key: PublicKey([9; 32]),
            head: Head { seq, hash: Hash::from_bytes([7; 32]) },
        };
        let tx = store.begin_write().await.unwrap();
        assert_eq!(events::lock_chain(&tx, &org, "gw-1").await.unwrap(), None);
        events::save_chain(&tx, &org, &chain(0)).await.unwrap();
        tx.commit().await.unwrap();
        let store = Arc::new(store);
        let tasks: Vec<_> = (0..50).map(|_| {
            let (store, org) = (Arc::clone(&store), org.clone());
            tokio::spawn(async move {
                let tx = store.begin_write().await.unwrap();
                let mut chain = events::lock_chain(&tx, &org, "gw-1").await.unwrap().unwrap();
                tokio::task::yield_now().await;
                chain.head.seq += 1;
                events::save_chain(&tx, &org, &chain).await.unwrap();
                tx.commit().await.unwrap();
            })
        }).collect();
        for task in tasks {
            task.await.unwrap();
        }
        let tx = store.begin_write().await.unwrap();
        assert_eq!(events::lock_chain(&tx, &org, "gw-1").await.unwrap(), Some(chain(50)));
    }
}
