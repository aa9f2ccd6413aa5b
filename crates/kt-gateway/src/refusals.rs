//! Keeping a flood of refusals from filling the disk, without losing count of one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use kt_domain::events::{Event, EventType};
use kt_domain::network::cidr::subscriber;

/// How many sources are told apart; all others share one allowance, so that many addresses are no way around it.
const MAX_SOURCES: usize = 16_384;
/// How many refusals a source may have in one burst, in seconds' worth of the rate.
const BURST_SECONDS: u32 = 10;

/// Which refusals share an allowance: those of one kind, for one reason, of one client.
type Source = (EventType, Option<Arc<str>>, Who);

/// Whose refusals they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    /// A client, by the address that the rules saw.
    Client(IpAddr),
    /// Whoever is at the other end of the connection; which client it is could not be told.
    Peer(IpAddr),
    /// All for whom there is no room to be told apart.
    Others,
}

impl Who {
    fn of(event: &Event) -> Self {
        let peer = || event.peer_ip.map(|address| Self::Peer(subscriber(address)));
        event.source_ip.map(|address| Self::Client(subscriber(address))).or_else(peer).unwrap_or(Self::Others)
    }
}

/// Admits the refusals of each source one by one up to a rate, and counts the rest.
#[derive(Debug, Default)]
pub(crate) struct RefusalMeter {
    sources: Mutex<HashMap<Source, Allowance>>,
}

#[derive(Debug)]
struct Allowance {
    left: u32,
    /// An event like those that were not admitted since the last tick; its `count` says how many they are.
    summary: Option<Box<Event>>,
}

impl RefusalMeter {
    /// Gives the event back if it is to be recorded by itself; else it is counted and `None` is given.
    pub(crate) fn admit(&self, event: Box<Event>, per_second: u32) -> Option<Box<Event>> {
        self.take(event, per_second, true)
    }

    /// Counts the event, whatever its source is allowed.
    pub(crate) fn count(&self, event: Box<Event>, per_second: u32) {
        self.take(event, per_second, false);
    }

    /// Whether there is nothing to tell and nothing to renew.
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn take(&self, event: Box<Event>, per_second: u32, may_admit: bool) -> Option<Box<Event>> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut source = (event.event_type, event.reason_code.clone(), Who::of(&event));
        if sources.len() >= MAX_SOURCES && !sources.contains_key(&source) {
            source.2 = Who::Others;
        }
        let who = source.2;
        let allowance =
            sources.entry(source).or_insert_with(|| Allowance { left: burst(per_second), summary: None });
        if may_admit && allowance.left > 0 {
            allowance.left -= 1;
            return Some(event);
        }
        match &mut allowance.summary {
            Some(summary) => add(summary, &event),
            None => allowance.summary = Some(Box::new(summarise(*event, who))),
        }
        None
    }

    /// To be called once a second while events can be written: renews each allowance by `per_second` and gives the
    /// summaries of what was counted.
    pub(crate) fn tick(&self, per_second: u32) -> Vec<Event> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let burst = burst(per_second);
        let mut summaries = Vec::new();
        sources.retain(|_, allowance| {
            summaries.extend(allowance.summary.take().map(|summary| *summary));
            let renewed = allowance.left.saturating_add(per_second);
            allowance.left = renewed.min(burst);
            renewed < burst
        });
        summaries
    }
}

fn burst(per_second: u32) -> u32 {
    per_second.saturating_mul(BURST_SECONDS)
}

/// The event that stands for all that were not admitted, of which this is the first. It says no more than what they have in
/// common, so that nobody is blamed for another's request; [`add`] takes away what the next one does not share.
fn summarise(first: Event, who: Who) -> Event {
    let (source_ip, peer_ip) = match who {
        Who::Client(address) => (Some(address), first.peer_ip),
        Who::Peer(address) => (None, Some(address)),
        Who::Others => (None, None),
    };
    Event {
        count: Some(1),
        since: Some(first.timestamp.clone()),
        source_ip,
        peer_ip,
        reason_code: first.reason_code,
        status: first.status,
        verdict: first.verdict,
        matched_rule: first.matched_rule,
        deny_range: first.deny_range,
        route: first.route,
        limited_by: first.limited_by,
        key_id: first.key_id,
        ..Event::new(first.event_type, first.id, first.timestamp, first.gateway_id)
    }
}

/// Counts one more, and keeps of the summary what is true of it too.
fn add(summary: &mut Event, other: &Event) {
    summary.count = summary.count.map(|count| count + 1);
    // Without a client's address the peer's is what they were told apart by, as that of a network.
    if summary.source_ip.is_some() {
        keep_equal(&mut summary.peer_ip, other.peer_ip.as_ref());
    }
    keep_equal(&mut summary.status, other.status.as_ref());
    keep_equal(&mut summary.verdict, other.verdict.as_ref());
    keep_equal(&mut summary.matched_rule, other.matched_rule.as_ref());
    keep_equal(&mut summary.deny_range, other.deny_range.as_ref());
    keep_equal(&mut summary.route, other.route.as_ref());
    keep_equal(&mut summary.limited_by, other.limited_by.as_ref());
    keep_equal(&mut summary.key_id, other.key_id.as_ref());
}

fn keep_equal<T: PartialEq>(kept: &mut Option<T>, other: Option<&T>) {
    if kept.as_ref() != other {
        *kept = None;
    }
}

#[cfg(test)]
mod tests {
    use kt_domain::events::MatchedRule;

    use super::*;

    fn refusal(address: [u8; 4]) -> Box<Event> {
        let mut event =
            Event::new(EventType::IpDenied, "evt_1".into(), "2026-03-15T14:22:31.000Z".into(), "gw_1".into());
        event.source_ip = Some(address.into());
        Box::new(event)
    }

    #[test]
    fn every_refusal_is_either_recorded_or_counted() {
        let meter = RefusalMeter::default();
        let mut recorded = 0;
        let mut counted = 0;
        for round in 0..20 {
            let admitted = (0..500).filter(|_| meter.admit(refusal([10, 0, 0, 1]), 10).is_some()).count();
            assert_eq!(admitted, if round == 0 { 100 } else { 10 }, "round {round}");
            recorded += admitted as u64;
            counted += meter.tick(10).iter().filter_map(|summary| summary.count).sum::<u64>();
        }
        assert_eq!(recorded + counted, 20 * 500);
    }

    #[test]
    fn a_flood_from_one_source_does_not_hide_another() {
        let meter = RefusalMeter::default();
        for _ in 0..1000 {
            meter.admit(refusal([10, 0, 0, 1]), 10);
        }
        assert!(meter.admit(refusal([10, 0, 0, 2]), 10).is_some());
        let summaries = meter.tick(10);
        assert_eq!(summaries.len(), 1);
        assert_eq!((summaries[0].count, summaries[0].source_ip), (Some(900), Some([10, 0, 0, 1].into())));
    }

    #[test]
    fn all_addresses_of_one_network_are_one_source() {
        let meter = RefusalMeter::default();
        let from = |address: &str| {
            let mut event = refusal([10, 0, 0, 1]);
            event.source_ip = address.parse().ok();
            meter.admit(event, 1)
        };
        let admitted = (0..50).filter(|n| from(&format!("2001:db8:1:2::{n:x}")).is_some()).count();
        assert_eq!(admitted, 10, "one burst");
        assert!(from("2001:db8:1:3::1").is_some(), "the control: another network");
        let summaries = meter.tick(1);
        assert_eq!(summaries.len(), 1);
        assert_eq!(
            (summaries[0].count, summaries[0].source_ip),
            (Some(40), "2001:db8:1:2::".parse().ok()),
            "their network is named"
        );
    }

    #[test]
    fn a_summary_says_only_what_its_refusals_have_in_common() {
        let meter = RefusalMeter::default();
        // The first is admitted with its whole burst; the rule is the same for all, the rest differs from one to the next.
        let told = |source: Option<[u8; 4]>, n: u32| {
            let mut event = refusal([0; 4]);
            event.source_ip = source.map(Into::into);
            event.peer_ip = Some([192, 0, 2, 1].into());
            event.reason_code = Some("ip_denied".into());
            event.status = Some(403);
            event.matched_rule = Some(MatchedRule::Deny);
            event.deny_range = Some("10.0.0.0/8".into());
            for text in [&mut event.route, &mut event.limited_by, &mut event.key_id] {
                *text = Some(format!("of number {n}").into());
            }
            event
        };
        for source in [Some([10, 0, 0, 1]), None] {
            (0..13).for_each(|n| drop(meter.admit(told(source, n), 1)));
        }
        for n in 0..u32::try_from(MAX_SOURCES).unwrap() {
            meter.admit(told(Some((n + 0x0b00_0000).to_be_bytes()), n), 1);
        }
        (0..13).for_each(|n| drop(meter.admit(told(Some([203, 0, 113, 9]), n), 1)));
        let summaries = meter.tick(1);
        let mut whom: Vec<_> = summaries.iter().map(|summary| (summary.source_ip, summary.peer_ip)).collect();
        whom.sort();
        let (client, peer) = ([10, 0, 0, 1].into(), [192, 0, 2, 1].into());
        assert_eq!(whom, [(None, None), (None, Some(peer)), (Some(client), Some(peer))]);
        for summary in summaries {
            assert_eq!((summary.reason_code.as_deref(), summary.status), (Some("ip_denied"), Some(403)));
            assert!(summary.count > Some(1), "{summary:?}");
            let common = (summary.matched_rule, summary.deny_range.as_deref());
            assert_eq!(common, (Some(MatchedRule::Deny), Some("10.0.0.0/8")));
            let rest = [&summary.route, &summary.limited_by, &summary.key_id];
            assert!(rest.iter().all(|text| text.is_none()), "{summary:?}");
        }
    }

    #[test]
    fn any_number_of_sources_takes_bounded_memory_and_is_still_counted() {
        let meter = RefusalMeter::default();
        let total = u32::try_from(MAX_SOURCES).unwrap() + 5_000;
        let admitted =
            (0..total).filter(|n| meter.admit(refusal(n.to_be_bytes()), 10).is_some()).count() as u64;
        assert!(meter.sources.lock().unwrap().len() <= MAX_SOURCES + 1);
        let counted: u64 = meter.tick(10).iter().filter_map(|summary| summary.count).sum();
        assert_eq!(admitted + counted, u64::from(total));
    }

    #[test]
    fn a_source_that_is_quiet_again_is_forgotten() {
        let meter = RefusalMeter::default();
        meter.admit(refusal([10, 0, 0, 1]), 10);
        assert!(!meter.is_empty());
        meter.tick(10);
        assert!(meter.is_empty());
    }

    #[test]
    fn what_is_only_to_be_counted_takes_nothing_of_the_allowance() {
        let meter = RefusalMeter::default();
        (0..50).for_each(|_| meter.count(refusal([10, 0, 0, 1]), 1));
        let admitted = (0..50).filter(|_| meter.admit(refusal([10, 0, 0, 1]), 1).is_some()).count();
        assert_eq!(admitted, 10, "one burst");
        let summaries = meter.tick(1);
        assert_eq!(summaries.iter().map(|summary| summary.count).collect::<Vec<_>>(), [Some(50 + 40)]);
    }
}
