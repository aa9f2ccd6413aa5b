use std::sync::Arc;

use kt_domain::random::Random;
use kt_domain::secret::{SecretDigest, Token};
use kt_store::once::{self, Consumed, OneTime};
use kt_store::second_factors::{self, RECOVERY_CODE, Totp};
use kt_store::{Store, limits};

use super::sso::member;
use super::{minutes, now, on_both, organization, user};

/// How many try at once to use what can be used once.
const CROWD: usize = 1000;

async fn issue(store: &Store, purpose: &str, subject: &str) -> SecretDigest {
    let digest = Token::generate(&mut Random::from_os()).digest();
    let token = OneTime {
        digest,
        purpose,
        subject,
        epoch: Some(1),
        data: &"carried".to_owned(),
        created_at: now(),
        expires_at: now() + minutes(5),
    };
    let tx = store.begin_write().await.unwrap();
    once::issue(&tx, &token).await.unwrap();
    tx.commit().await.unwrap();
    digest
}

async fn consume(store: &Store, purpose: &str, digest: &SecretDigest) -> Option<Consumed<String>> {
    let tx = store.begin_write().await.unwrap();
    let consumed = once::consume(&tx, purpose, digest, now()).await.unwrap();
    tx.commit().await.unwrap();
    consumed
}

/// Lets a crowd try at once; tells how many had success.
async fn crowd<F>(attempt: impl Fn(usize) -> F) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    let tasks: Vec<_> = (0..CROWD).map(|n| tokio::spawn(attempt(n))).collect();
    let mut successes = 0;
    for task in tasks {
        successes += usize::from(task.await.unwrap());
    }
    successes
}

on_both! {
    what_is_good_still_is_found_by_the_organization_of_whom_it_is_about(store) {
        let org = organization(&store, "acme").await;
        let other = organization(&store, "other").await;
        let one = member(&store, &org, "one@acme.example").await.id;
        let two = member(&store, &other, "two@other.example").await.id;
        let step = issue(&store, "step", one.as_str()).await;
        let used = issue(&store, "step", one.as_str()).await;
        issue(&store, "step", two.as_str()).await;
        issue(&store, "other", one.as_str()).await;
        assert!(consume(&store, "step", &used).await.is_some());
        let found = |at| once::of_members::<String>(&store, "step", &org, at);
        assert_eq!(found(now()).await.unwrap(), [(step, "carried".to_owned())]);
        assert_eq!(found(now() + minutes(5)).await.unwrap(), [], "what has expired is not among them");
    }

    of_a_thousand_who_use_one_token_one_succeeds(store) {
        let digest = issue(&store, "password_reset", "usr_1").await;
        let store = Arc::new(store);
        let successes = crowd(|_| {
            let store = Arc::clone(&store);
            async move { consume(&store, "password_reset", &digest).await.is_some() }
        }).await;
        assert_eq!(successes, 1);
    }

    of_a_thousand_who_use_one_time_step_of_an_app_one_succeeds(store) {
        let jo = user(&store, "jo@example.com").await.id;
        let totp = Totp { sealed: "sealed".into(), used_step: 57_480, added_at: now(), used_at: None };
        let tx = store.begin_write().await.unwrap();
        second_factors::put_totp(&tx, &jo, &totp).await.unwrap();
        tx.commit().await.unwrap();
        let store = Arc::new(store);
        let uses = async |step: i64| {
            crowd(|_| {
                let (store, jo) = (Arc::clone(&store), jo.clone());
                async move {
                    let tx = store.begin_write().await.unwrap();
                    let is_first = once::use_totp_step(&tx, &jo, "sealed", step, now()).await.unwrap();
                    tx.commit().await.unwrap();
                    is_first
                }
            }).await
        };
        assert_eq!(uses(57_481).await, 1);
        assert_eq!(uses(57_480).await, 0, "and the ones before it are used up with it");
        assert_eq!(uses(57_482).await, 1, "the control");
    }

    of_a_thousand_who_use_one_recovery_code_one_succeeds(store) {
        let jo = user(&store, "jo@example.com").await.id;
        let (used, kept) =
            (issue(&store, RECOVERY_CODE, jo.as_str()).await, issue(&store, RECOVERY_CODE, jo.as_str()).await);
        let store = Arc::new(store);
        let successes = crowd(|_| {
            let store = Arc::clone(&store);
            async move { consume(&store, RECOVERY_CODE, &used).await.is_some() }
        }).await;
        assert_eq!(successes, 1);
        assert_eq!(second_factors::of(&*store, &jo).await.unwrap().recovery_codes, 1, "the other one is left");
        assert!(consume(&store, RECOVERY_CODE, &kept).await.is_some(), "the control");
    }

    of_a_thousand_who_claim_one_value_one_succeeds(store) {
        let store = Arc::new(store);
        let successes = crowd(|_| {
            let store = Arc::clone(&store);
            async move {
                let tx = store.begin_write().await.unwrap();
                let first = once::claim(&tx, "totp/usr_1", "57481", now() + minutes(2)).await.unwrap();
                tx.commit().await.unwrap();
                first
            }
        }).await;
        assert_eq!(successes, 1);
    }

    a_thousand_who_count_at_once_are_counted_exactly(store) {
        let store = Arc::new(store);
        let within_ten = crowd(|_| {
            let store = Arc::clone(&store);
            async move {
                let tx = store.begin_write().await.unwrap();
                let count = limits::count(&tx, "account/usr_1", minutes(15), now()).await.unwrap();
                tx.commit().await.unwrap();
                count <= 10
            }
        }).await;
        assert_eq!(within_ten, 10);
        assert_eq!(limits::current(&*store, "account/usr_1", now()).await.unwrap(), 1000);
    }

    a_token_is_good_for_its_purpose_until_it_expires_or_a_newer_one_comes(store) {
        let digest = issue(&store, "password_reset", "usr_1").await;
        assert_eq!(consume(&store, "email_verification", &digest).await, None, "another purpose");
        let tx = store.begin_write().await.unwrap();
        let late = once::consume::<String>(&tx, "password_reset", &digest, now() + minutes(5)).await.unwrap();
        drop(tx);
        assert_eq!(late, None, "expired");
        let expected = Consumed { subject: "usr_1".into(), epoch: Some(1), data: "carried".into() };
        let peeked = once::peek(&store, "password_reset", &digest, now()).await.unwrap();
        assert_eq!(peeked, Some(expected.clone()), "looking does not use it up");
        assert_eq!(consume(&store, "password_reset", &digest).await, Some(expected), "the control");

        let older = issue(&store, "password_reset", "usr_1").await;
        let other = issue(&store, "password_reset", "usr_2").await;
        let tx = store.begin_write().await.unwrap();
        once::supersede(&tx, "password_reset", "usr_1", now()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(consume(&store, "password_reset", &older).await, None, "superseded");
        assert!(consume(&store, "password_reset", &other).await.is_some(), "somebody else's is not");
    }

    what_a_transaction_consumed_is_good_again_when_it_fails(store) {
        let digest = issue(&store, "invitation", "inv_1").await;
        let tx = store.begin_write().await.unwrap();
        assert!(once::consume::<String>(&tx, "invitation", &digest, now()).await.unwrap().is_some());
        drop(tx);
        assert!(consume(&store, "invitation", &digest).await.is_some());
    }

    a_count_starts_anew_after_its_window_and_can_be_held_longer(store) {
        let at = |n| now() + minutes(n);
        let tx = store.begin_write().await.unwrap();
        assert_eq!(limits::count(&tx, "k", minutes(15), at(0)).await.unwrap(), 1);
        assert_eq!(limits::count(&tx, "k", minutes(15), at(14)).await.unwrap(), 2);
        limits::extend(&tx, "k", at(29)).await.unwrap();
        assert_eq!(limits::current(&tx, "k", at(28)).await.unwrap(), 2, "held");
        assert_eq!(limits::current(&tx, "k", at(29)).await.unwrap(), 0, "over");
        assert_eq!(limits::count(&tx, "k", minutes(15), at(29)).await.unwrap(), 1, "anew");
        limits::reset(&tx, "k").await.unwrap();
        assert_eq!(limits::current(&tx, "k", at(29)).await.unwrap(), 0, "reset");
    }
}
