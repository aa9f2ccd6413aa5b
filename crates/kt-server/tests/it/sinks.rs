//! The audit log on its way out: to real listeners, on both databases.

mod listeners;

use std::path::Path;
use std::time::Duration;

use kt_control::outbound::Outbound;
use kt_control::{AuditSink, Syslog, Webhook};
use kt_domain::clock::Clock;
use kt_domain::network::reach::Reach;
use kt_store::audit;
use listeners::{Collector, Receiver};
use serde_json::json;

use crate::harness::{TestApi, on_both};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn webhook(receiver: &Receiver, reach: Reach) -> AuditSink {
    let outbound = Outbound::new(reach, None).unwrap();
    AuditSink::Webhook(Webhook::new(&receiver.url, &SECRET.to_owned().into(), outbound).unwrap())
}

fn syslog(address: &str, authority: Option<&Path>, reach: Reach) -> AuditSink {
    let outbound = Outbound::new(reach, authority).unwrap();
    AuditSink::Syslog(Syslog::new(address.parse().unwrap(), "kt.example.com".into(), outbound))
}

/// Every entry of every chain, as its line.
async fn all_entries(api: &TestApi) -> Vec<String> {
    let mut lines = Vec::new();
    for chain in audit::deliveries::due(&api.store, "nothing was sent here", api.clock.now()).await.unwrap() {
        for entry in audit::entries(&api.store, &chain, 0, u32::MAX).await.unwrap() {
            lines.push(String::from_utf8(entry.line()).unwrap().trim_end().to_owned());
        }
    }
    assert!(!lines.is_empty());
    lines
}

on_both! {
    a_webhook_gets_every_entry_once_signed_and_in_order(api) {
        let receiver = Receiver::answering([200; 2]).await;
        let sink = webhook(&receiver, Reach::Private);
        api.owner().await;
        api.control.checkpoint_audit(api.clock.now()).await.unwrap();
        let expected = all_entries(&api).await;
        assert_eq!(api.control.send_audit(&sink).await.unwrap(), expected.len());
        assert_eq!(api.control.send_audit(&sink).await.unwrap(), 0, "nothing twice");
        api.owner().await;
        assert_eq!(api.control.send_audit(&sink).await.unwrap(), 1, "only what is new");

        let requests = receiver.requests();
        assert_eq!(requests[0].entries(), expected);
        assert_eq!(requests[1].entries(), all_entries(&api).await[expected.len()..]);
        for request in &requests {
            assert!(request.is_signed_with(SECRET), "{request:?}");
            assert!(!request.is_signed_with("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
            assert_eq!(request.header("webhook-timestamp"), Some("1773584551"));
            assert_eq!(request.json()["type"], "audit_log.entries");
        }
        assert_ne!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    }

    what_arrived_is_proven_like_a_copy(api) {
        let receiver = Receiver::answering([200]).await;
        let session = api.owner().await;
        let copy = api.get("/v1/audit-log/export").bearer(session.access_token()).send().await.body;
        api.control.send_audit(&webhook(&receiver, Reach::Private)).await.unwrap();
        let first_line = copy.lines().next().unwrap();
        let arrived = receiver.requests()[0].entries().join("\n");
        assert_eq!(format!("{first_line}\n{arrived}\n"), copy);
    }

    what_a_webhook_refuses_is_sent_again_later_under_the_same_name(api) {
        // A redirection is no success, and is not followed.
        let receiver = Receiver::answering([503, 302, 200]).await;
        let sink = webhook(&receiver, Reach::Private);
        for wait in [1, 2] {
            assert_eq!(api.control.send_audit(&sink).await.unwrap(), 0);
            assert_eq!(api.control.send_audit(&sink).await.unwrap(), 0, "not at once");
            api.clock.advance(Duration::from_secs(wait));
        }
        assert_eq!(api.control.send_audit(&sink).await.unwrap(), 1);
        let requests = receiver.requests();
        assert_eq!(requests.len(), 3);
        assert_eq!(requests[0].header("webhook-id"), requests[2].header("webhook-id"));
        assert_eq!(requests[0].entries(), requests[2].entries());
    }

    a_process_that_dies_while_it_sends_loses_nothing(api) {
        // The first one takes the part and never answers: the sender is dropped, as `kill -9` would.
        let receiver = Receiver::answering([0, 200]).await;
        let sink = webhook(&receiver, Reach::Private);
        tokio::select! {
            sent = api.control.send_audit(&sink) => panic!("{sent:?}"),
            () = receiver.has_come(1) => {}
        }
        assert_eq!(api.control.send_audit(&sink).await.unwrap(), 0, "somebody else may still be sending");
        api.clock.advance(Duration::from_mins(2));
        assert_eq!(api.control.send_audit(&sink).await.unwrap(), 1);
        assert_eq!(receiver.requests()[1].entries(), all_entries(&api).await);
    }

    a_sink_that_stays_away_is_recorded_once_a_day_and_shown_on_the_overview(api) {
        let receiver = Receiver::answering([503; 20]).await;
        let sink = webhook(&receiver, Reach::Private);
        let late = async || api.records("audit.sink_late").await;
        let told = async || api.signed_in("owner@acme.example").await.get("/overview").await.page().contains("wait to be sent");
        for _ in 0..14 {
            api.control.send_audit(&sink).await.unwrap();
            api.clock.advance(Duration::from_mins(1));
            api.control.run_jobs(&api.operator()).await.unwrap();
        }
        assert!(late().await.is_empty() && !told().await, "it may come back soon");
        for _ in 0..3 {
            api.clock.advance(Duration::from_mins(5));
            api.control.send_audit(&sink).await.unwrap();
            api.control.run_jobs(&api.operator()).await.unwrap();
        }
        let records = late().await;
        assert_eq!(records.len(), 1);
        assert_eq!((&records[0]["resource"], &records[0]["outcome"]), (&json!("webhook"), &json!("failure")));
        assert_eq!(records[0]["details"]["after"]["oldest"], "2026-03-15T14:22:31Z");
        assert!(told().await);

        let well = webhook(&Receiver::answering([200; 9]).await, Reach::Private);
        api.clock.advance(Duration::from_mins(5));
        while api.control.send_audit(&well).await.unwrap() > 0 {}
        assert!(!told().await, "it has come back");
        // It is away again, and stands no more in the configuration: nobody tries.
        api.control.send_audit(&sink).await.unwrap();
        api.clock.advance(Duration::from_hours(1));
        assert!(!told().await);
    }

    many_processes_send_each_entry_once(api) {
        let receiver = Receiver::answering([200; 8]).await;
        let sinks: Vec<AuditSink> = (0..8).map(|_| webhook(&receiver, Reach::Private)).collect();
        let mut taken = 0;
        let (a, b, c, d) = tokio::join!(
            api.control.send_audit(&sinks[0]),
            api.control.send_audit(&sinks[1]),
            api.control.send_audit(&sinks[2]),
            api.control.send_audit(&sinks[3]),
        );
        for sent in [a, b, c, d] {
            taken += sent.unwrap();
        }
        assert_eq!((taken, receiver.requests().len()), (1, 1));
    }

    a_sink_inside_the_network_is_refused_unless_it_is_allowed(api) {
        let receiver = Receiver::answering([200]).await;
        let mut collector = Collector::tcp().await;
        let public = Outbound::new(Reach::Public, None).unwrap();
        let https = receiver.url.replace("http:", "https:");
        let inside = AuditSink::Webhook(Webhook::new(&https, &SECRET.to_owned().into(), public).unwrap());
        assert_eq!(api.control.send_audit(&inside).await.unwrap(), 0);
        assert_eq!(api.control.send_audit(&syslog(&collector.address, None, Reach::Public)).await.unwrap(), 0);

        api.clock.advance(Duration::from_secs(1));
        // The only answer that the receiver has goes to the request that was allowed.
        assert_eq!(api.control.send_audit(&webhook(&receiver, Reach::Private)).await.unwrap(), 1);
        let allowed = syslog(&collector.address, None, Reach::Private);
        assert_eq!(api.control.send_audit(&allowed).await.unwrap(), 1);
        assert_eq!(collector.messages(1).await.len(), 1);
    }

    a_collector_of_logs_gets_every_entry_over_each_transport(api) {
        let mut sent = 0;
        for mut collector in [Collector::tcp().await, Collector::tls().await, Collector::udp().await] {
            api.login("owner@acme.example", "wrong").await;
            api.control.checkpoint_audit(api.clock.now()).await.unwrap();
            let expected = all_entries(&api).await.split_off(sent);
            let sink = syslog(&collector.address, collector.authority(), Reach::Private);
            assert_eq!(api.control.send_audit(&sink).await.unwrap(), expected.len(), "{}", collector.address);
            let messages = collector.messages(expected.len()).await;
            let texts: Vec<&str> = messages.iter().map(|message| message.split_once("] ").unwrap().1).collect();
            assert_eq!(texts, expected, "{}", collector.address);
            let failed = messages.iter().find(|message| message.contains(" auth.sign_in ")).unwrap();
            assert!(failed.starts_with("<109>1 2026-03-15T14:22:31.000Z kt.example.com keeptrusts org_"), "{failed}");
            sent += expected.len();
        }
    }

    a_collector_that_is_away_or_a_stranger_gets_nothing_counted_as_taken(api) {
        let (mut collector, stranger) = (Collector::tls().await, Collector::tls().await);
        let untrusted = syslog(&collector.address, stranger.authority(), Reach::Private);
        assert_eq!(api.control.send_audit(&untrusted).await.unwrap(), 0);
        api.clock.advance(Duration::from_secs(1));
        assert_eq!(api.control.send_audit(&syslog("tcp://127.0.0.1:1", None, Reach::Private)).await.unwrap(), 0);
        api.clock.advance(Duration::from_secs(2));
        let trusted = syslog(&collector.address, collector.authority(), Reach::Private);
        assert_eq!(api.control.send_audit(&trusted).await.unwrap(), 1);
        assert_eq!(collector.messages(1).await.len(), 1);
    }
}
