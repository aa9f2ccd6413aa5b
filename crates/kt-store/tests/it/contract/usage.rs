use std::collections::BTreeMap;

use jiff::Timestamp;
use kt_domain::actor::KeyKind;
use kt_domain::events::{EventType, Verdict};
use kt_domain::id::{ApiKeyId, OrganizationId, UserId, event_id};
use kt_domain::keys::KeyTerms;
use kt_domain::random::Random;
use kt_domain::secret::SecretDigest;
use kt_domain::traffic::Counted;
use kt_domain::usage::{Grouping, Used};
use kt_store::events::NewEvent;
use kt_store::keys::ApiKey;
use kt_store::usage::{NewUsage, UsageFilter, UsageOf, UsageSum, Which};
use kt_store::{Store, events, keys, usage};

use super::{minutes, now, on_both, organization, user};

const EVENTS: u64 = 700;

/// A key of somebody's.
async fn key(store: &Store, org: &OrganizationId, owner: &UserId) -> ApiKeyId {
    let id = ApiKeyId::new(now(), &mut Random::from_os());
    let key = ApiKey {
        id: id.clone(),
        organization: org.clone(),
        kind: KeyKind::Access,
        name: "deploy".into(),
        prefix: "kt_ak_".into(),
        owner: owner.clone(),
        terms: KeyTerms {
            scope: None,
            ranges: Vec::new(),
            requests_per_minute: None,
            created_at: now(),
            expires_at: None,
            ends_at: None,
            flagged_at: None,
        },
        last_used_at: None,
        last_used_ip: None,
        replaced_by: None,
    };
    let tx = store.begin_write().await.unwrap();
    keys::insert(&tx, &key, &SecretDigest::of(id.as_str())).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// Events of four days, by two keys and none, for three models, in two currencies and none.
fn some(number: u64, keys: &[String], told: Option<&UserId>) -> NewEvent {
    let occurred_at = now() + minutes(number * 7);
    let currency = ["", "EUR", "USD"][usize::try_from(number / 3 % 3).unwrap()];
    NewEvent {
        gateway_id: "gw-1".into(),
        head: None,
        id: event_id(occurred_at.as_microsecond(), &mut Random::seeded(number)),
        occurred_at,
        event_type: EventType::Decision,
        source_ip: None,
        request_id: None,
        verdict: Some(Verdict::Allow),
        counted: Counted::default(),
        usage: (!number.is_multiple_of(10)).then(|| NewUsage {
            user: told.filter(|_| number.is_multiple_of(4)).cloned(),
            key: keys[usize::try_from(number % 3).unwrap()].clone(),
            model: ["", "small", "big"][usize::try_from(number / 2 % 3).unwrap()].into(),
            currency: currency.into(),
            used: Used {
                requests: 1,
                estimated: number % 2,
                input_tokens: number,
                output_tokens: number * 2,
                cost_micros: if currency.is_empty() { 0 } else { number * 3 },
            },
        }),
        body: "{}".into(),
    }
}

struct Filled {
    org: OrganizationId,
    owner: UserId,
    told: UserId,
    events: Vec<NewEvent>,
}

async fn filled(store: &Store, name: &str) -> Filled {
    let org = organization(store, name).await;
    let owner = user(store, &format!("owner@{name}.example")).await.id;
    let told = user(store, &format!("told@{name}.example")).await.id;
    let keys = [String::new(), key(store, &org, &owner).await.to_string(), "static".to_owned()];
    let events: Vec<_> = (1..=EVENTS).map(|number| some(number, &keys, Some(&told))).collect();
    for _twice in 0..2 {
        let tx = store.begin_write().await.unwrap();
        events::insert_events(&tx, &org, &events).await.unwrap();
        tx.commit().await.unwrap();
    }
    Filled { org, owner, told, events }
}

impl Filled {
    /// What the sums must be, worked out event by event.
    fn expected(&self, filter: &UsageFilter, groupings: &[Grouping]) -> BTreeMap<UsageOf, Used> {
        let mut sums: BTreeMap<UsageOf, Used> = BTreeMap::new();
        for event in &self.events {
            let Some(used) = &event.usage else { continue };
            let day = usage::day_of(event.occurred_at);
            let owner = Some(&self.owner).filter(|_| used.key.starts_with("key_"));
            let person = used.user.as_ref().or(owner).map(ToString::to_string).unwrap_or_default();
            let fits = (filter.from..filter.until).contains(&day)
                && filter.user.as_ref().is_none_or(|user| *user.as_str() == *person)
                && filter.key.as_ref().is_none_or(|key| *key == used.key)
                && filter.model.as_ref().is_none_or(|model| *model == used.model);
            if fits {
                let apart = |grouping, text: &str| {
                    if groupings.contains(&grouping) { text.to_owned() } else { String::new() }
                };
                let of = UsageOf {
                    day: if groupings.contains(&Grouping::Day) { day } else { 0 },
                    user: apart(Grouping::Member, &person),
                    key: apart(Grouping::Key, &used.key),
                    model: apart(Grouping::Model, &used.model),
                    currency: used.currency.clone(),
                };
                sums.entry(of).or_default().add(used.used);
            }
        }
        sums
    }
}

fn everything() -> UsageFilter {
    UsageFilter { from: 0, until: 1_000_000, user: None, key: None, model: None }
}

async fn sums(
    store: &Store,
    org: &OrganizationId,
    filter: &UsageFilter,
    groupings: &[Grouping],
) -> Vec<UsageSum> {
    let mut all: Vec<UsageSum> = Vec::new();
    loop {
        let after = all.last().map(|sum| sum.of.clone());
        let page =
            usage::sums(store, org, filter, groupings, Which::Behind(after.as_ref()), 3).await.unwrap();
        let is_last = page.len() < 3;
        all.extend(page);
        if is_last {
            return all;
        }
    }
}

on_both! {
    sums_are_those_of_the_events_however_they_are_told_apart_and_paged(store) {
        use Grouping::{Day, Key, Member, Model};
        let Filled { .. } = filled(&store, "other").await;
        let filled = filled(&store, "example").await;
        let day = usage::day_of(now());
        let filters = [
            everything(),
            UsageFilter { from: day + 1, until: day + 3, ..everything() },
            UsageFilter { user: Some(filled.owner.clone()), ..everything() },
            UsageFilter { user: Some(filled.told.clone()), model: Some("big".into()), ..everything() },
            UsageFilter { key: Some("static".into()), ..everything() },
            UsageFilter { from: day + 100, ..everything() },
        ];
        let groupings: [&[Grouping]; 7] =
            [&[], &[Day], &[Member], &[Key], &[Model], &[Day, Model], &[Day, Member, Key, Model]];
        for filter in &filters {
            for groupings in groupings {
                let found = sums(&store, &filled.org, filter, groupings).await;
                let found: BTreeMap<_, _> = found.into_iter().map(|sum| (sum.of, sum.used)).collect();
                let expected = filled.expected(filter, groupings);
                assert_eq!(found, expected, "{filter:?} {groupings:?}");
                let count = usage::count(&store, &filled.org, filter, groupings).await.unwrap();
                assert_eq!(count, expected.len() as u64, "{filter:?} {groupings:?}");
                let largest = usage::sums(&store, &filled.org, filter, groupings, Which::Largest, 3).await.unwrap();
                let mut ranked: Vec<_> = expected.into_iter().collect();
                ranked.sort_by_key(|(_, used)| std::cmp::Reverse((used.cost_micros, used.tokens(), used.requests)));
                ranked.truncate(3);
                let largest: Vec<_> = largest.into_iter().map(|sum| (sum.of, sum.used)).collect();
                assert_eq!(largest, ranked, "{filter:?} {groupings:?}");
            }
        }
    }

    people_are_named_only_where_they_are_members_and_keys_where_they_are_the_organizations(store) {
        let filled = filled(&store, "example").await;
        let other = organization(&store, "other").await;
        let tx = store.begin_write().await.unwrap();
        let foreign: Vec<_> = filled.events.iter().filter(|event| event.usage.as_ref().is_some_and(|used| used.user.is_some())).cloned().collect();
        events::insert_events(&tx, &other, &foreign).await.unwrap();
        tx.commit().await.unwrap();
        let apart = [Grouping::Member, Grouping::Key];
        let theirs = sums(&store, &other, &everything(), &apart).await;
        assert!(!theirs.is_empty());
        assert!(theirs.iter().all(|sum| sum.person.is_none() && sum.key_name.is_none()), "{theirs:?}");
        let ours = sums(&store, &filled.org, &everything(), &apart).await;
        assert!(ours.iter().any(|sum| sum.key_name.as_deref() == Some("deploy")), "{ours:?}");
    }

    what_is_old_is_forgotten(store) {
        let filled = filled(&store, "example").await;
        let day = usage::day_of(now()) + 2;
        let tx = store.begin_write().await.unwrap();
        usage::forget(&tx, day).await.unwrap();
        tx.commit().await.unwrap();
        let left = sums(&store, &filled.org, &everything(), &[Grouping::Day]).await;
        let expected = filled.expected(&UsageFilter { from: day, ..everything() }, &[Grouping::Day]);
        assert_eq!(left.into_iter().map(|sum| (sum.of, sum.used)).collect::<BTreeMap<_, _>>(), expected);
        assert!(!expected.is_empty());
    }
}

#[test]
fn days_count_from_1970_and_end_at_midnight() {
    for (moment, day) in
        [("1970-01-01T00:00:00Z", 0), ("1969-12-31T23:59:59Z", -1), ("2026-03-15T23:59:59.9Z", 20_527)]
    {
        assert_eq!(usage::day_of(moment.parse::<Timestamp>().unwrap()), day, "{moment}");
    }
}
