use std::sync::Arc;

use kt_domain::id::{MailId, OrganizationId};
use kt_domain::random::Random;
use kt_store::Store;
use kt_store::mail_queue::{self, QueuedMail};

use super::{minutes, now, on_both};

async fn queued(store: &Store) -> QueuedMail {
    let mail = QueuedMail {
        id: MailId::new(now(), &mut Random::from_os()),
        organization: None,
        kind: "password_reset".into(),
        recipient: Some("ada@example.org".into()),
        sealed: "sealed".into(),
        created_at: now(),
        attempts: 0,
    };
    let tx = store.begin_write().await.unwrap();
    mail_queue::insert(&tx, &mail).await.unwrap();
    tx.commit().await.unwrap();
    mail
}

/// Tries to take the message `after` so many minutes, for ten.
async fn lease(store: &Store, mail: &QueuedMail, after: u64) -> Option<QueuedMail> {
    let at = now() + minutes(after);
    let tx = store.begin_write().await.unwrap();
    let leased = mail_queue::lease(&tx, &mail.id, at, at + minutes(10)).await.unwrap();
    tx.commit().await.unwrap();
    leased
}

on_both! {
    what_waits_and_what_was_given_up_is_counted(store) {
        let backlog = async |before| {
            let told = mail_queue::backlog(&store, None, before, now()).await.unwrap();
            (told.waiting, told.oldest, told.given_up)
        };
        assert_eq!(backlog(now() + minutes(1)).await, (0, None, 0));
        let mail = queued(&store).await;
        queued(&store).await;
        assert_eq!(backlog(now()).await, (0, Some(now()), 0), "none of them waits for long");
        assert_eq!(backlog(now() + minutes(1)).await, (2, Some(now()), 0));
        let tx = store.begin_write().await.unwrap();
        mail_queue::give_up(&tx, &mail, "nobody there", now()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(backlog(now() + minutes(1)).await, (1, Some(now()), 1));
        let elsewhere = OrganizationId::new(now(), &mut Random::from_os());
        let theirs = mail_queue::backlog(&store, Some(&elsewhere), now() + minutes(1), now()).await.unwrap();
        assert_eq!(theirs, mail_queue::Backlog::default(), "it belongs to nobody in particular");
    }

    of_a_hundred_servers_one_takes_a_message(store) {
        let mail = queued(&store).await;
        assert_eq!(mail_queue::due(&store, now(), 5).await.unwrap(), std::slice::from_ref(&mail.id));
        let (store, mail) = (Arc::new(store), Arc::new(mail));
        let takers: Vec<_> = (0..100).map(|_| {
            let (store, mail) = (Arc::clone(&store), Arc::clone(&mail));
            tokio::spawn(async move { lease(&store, &mail, 0).await })
        }).collect();
        let mut taken = Vec::new();
        for taker in takers {
            taken.extend(taker.await.unwrap());
        }
        assert_eq!(taken, [QueuedMail { attempts: 1, ..(*mail).clone() }]);
        assert!(mail_queue::due(&*store, now() + minutes(9), 5).await.unwrap().is_empty());
    }

    a_message_whose_taker_died_is_due_again_and_the_dead_one_changes_nothing(store) {
        let mail = queued(&store).await;
        let dead = lease(&store, &mail, 0).await.unwrap();
        assert_eq!(lease(&store, &mail, 9).await, None, "still held");
        let second = lease(&store, &mail, 10).await.unwrap();
        assert_eq!(second.attempts, 2);
        let tx = store.begin_write().await.unwrap();
        mail_queue::put_off(&tx, &dead, now(), "late").await.unwrap();
        tx.commit().await.unwrap();
        assert!(mail_queue::due(&store, now() + minutes(10), 5).await.unwrap().is_empty());
    }

    a_sent_message_is_gone_and_one_given_up_stays_without_its_words(store) {
        let (sent, refused) = (queued(&store).await, queued(&store).await);
        let tx = store.begin_write().await.unwrap();
        mail_queue::remove(&tx, &sent).await.unwrap();
        mail_queue::give_up(&tx, &refused, "no such mailbox", now()).await.unwrap();
        tx.commit().await.unwrap();
        let failed = mail_queue::failed(&store, 5).await.unwrap();
        let told: Vec<_> = failed.iter().map(|mail| (&mail.id, mail.reason.as_str())).collect();
        assert_eq!(told, [(&refused.id, "no such mailbox")]);
        assert_eq!(lease(&store, &sent, 60).await, None);
        assert_eq!(lease(&store, &refused, 60).await, None);
        let waits = queued(&store).await;
        for (before, forgotten) in [(now(), 0), (now() + minutes(1), 1)] {
            let tx = store.begin_write().await.unwrap();
            assert_eq!(mail_queue::forget_failed(&tx, before).await.unwrap(), forgotten);
            tx.commit().await.unwrap();
        }
        assert!(mail_queue::failed(&store, 5).await.unwrap().is_empty());
        assert_eq!(mail_queue::due(&store, now(), 5).await.unwrap(), [waits.id], "what waits stays");
    }
}
