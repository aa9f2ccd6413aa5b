use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::id::{ConversationId, RunId, SetupRequestId, TaskId, TurnId};
use kt_domain::random::Random;
use kt_domain::workspace::{Ending, Refusal, RunState, Spent};
use kt_store::conversations::{self, Answered, Conversation, Keeper, Turn};
use kt_store::tasks::{self, Run, Task};
use kt_store::{Store, setup_requests};

use super::{now, on_both, organization, user};

const SECOND: Duration = Duration::from_secs(1);

/// A run that waits, of a task of somebody new in a new organization.
async fn waiting(store: &Store, organization: &str) -> Run {
    let user = user(store, &format!("ada@{organization}.example")).await.id;
    let organization = self::organization(store, organization).await;
    let mut random = Random::from_os();
    let task = Task {
        id: TaskId::new(now(), &mut random),
        name: "Greet".into(),
        prompt: "Hello {{name}}".into(),
        model: "small".into(),
        created_at: now(),
        updated_at: now(),
    };
    let run = Run {
        id: RunId::new(now(), &mut random),
        task: task.id.clone(),
        organization: organization.clone(),
        user: user.clone(),
        prompt: "Hello Ada".into(),
        model: "small".into(),
        state: RunState::Queued,
        attempt: 0,
        asked: 0,
        leased_until: now(),
        answer: String::new(),
        request_id: None,
        refusal: None,
        spent: Spent::default(),
        created_at: now(),
        ended_at: None,
    };
    let tx = store.begin_write().await.unwrap();
    tasks::insert(&tx, Keeper { organization: &organization, user: &user }, &task).await.unwrap();
    tasks::start(&tx, &run).await.unwrap();
    tx.commit().await.unwrap();
    run
}

async fn lease(store: &Store, run: &Run, until: Timestamp) -> bool {
    let tx = store.begin_write().await.unwrap();
    let is_taken = tasks::lease(&tx, run, until).await.unwrap();
    tx.commit().await.unwrap();
    is_taken
}

async fn settle(store: &Store, run: &Run, attempt: i64, text: &str) -> bool {
    let answered = Answered { text: text.into(), ..Answered::default() };
    let tx = store.begin_write().await.unwrap();
    let is_kept = tasks::settle(&tx, &run.id, attempt, RunState::Complete, &answered, now()).await.unwrap();
    tx.commit().await.unwrap();
    is_kept
}

on_both! {
    what_is_older_than_it_is_kept_for_is_removed_and_nothing_else(store) {
        let run = waiting(&store, "acme").await;
        let keeper = Keeper { organization: &run.organization, user: &run.user };
        let mut random = Random::from_os();
        let mut make = |title: &str, at: Timestamp| Conversation {
            id: ConversationId::new(at, &mut random),
            title: title.into(),
            model: "small".into(),
            created_at: now(),
            updated_at: at,
        };
        let (old, new) = (make("old", now()), make("new", now() + SECOND));
        assert!(lease(&store, &run, now() + SECOND).await && settle(&store, &run, 1, "Hello").await);
        let tx = store.begin_write().await.unwrap();
        for conversation in [&old, &new] {
            conversations::insert(&tx, keeper, conversation).await.unwrap();
        }
        assert_eq!(tasks::remove_ended_runs(&tx, now()).await.unwrap(), 0, "it ended later");
        assert_eq!(conversations::remove_untouched(&tx, now() + SECOND).await.unwrap(), 1);
        assert_eq!(tasks::remove_ended_runs(&tx, now() + 60 * SECOND).await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert_eq!(conversations::find(&store, keeper, &old.id).await.unwrap(), None);
        assert!(conversations::find(&store, keeper, &new.id).await.unwrap().is_some());
        assert!(tasks::find(&store, keeper, &run.task).await.unwrap().is_some(), "the task itself stays");
    }

    of_a_hundred_servers_one_takes_a_run(store) {
        let run = waiting(&store, "acme").await;
        let (store, run) = (Arc::new(store), Arc::new(run));
        let takers: Vec<_> = (0..100).map(|_| {
            let (store, run) = (Arc::clone(&store), Arc::clone(&run));
            tokio::spawn(async move { lease(&store, &run, now() + 20 * SECOND).await })
        }).collect();
        let mut taken = 0;
        for taker in takers {
            taken += usize::from(taker.await.unwrap());
        }
        assert_eq!(taken, 1);
        assert!(tasks::due(&*store, now() + 19 * SECOND, 5, 5).await.unwrap().is_empty());
        assert_eq!(tasks::due(&*store, now() + 20 * SECOND, 5, 5).await.unwrap().len(), 1);
    }

    a_server_whose_lease_was_taken_over_changes_nothing(store) {
        let run = waiting(&store, "acme").await;
        assert!(lease(&store, &run, now() + SECOND).await);
        let due = tasks::due(&store, now() + SECOND, 5, 5).await.unwrap();
        assert_eq!((due[0].attempt, due[0].state), (1, RunState::Running));
        assert!(lease(&store, &due[0], now() + 20 * SECOND).await, "another takes it over");
        let tx = store.begin_write().await.unwrap();
        assert!(!tasks::renew(&tx, &run.id, 1, now() + 60 * SECOND).await.unwrap(), "the first holds it no more");
        assert!(tasks::renew(&tx, &run.id, 2, now() + 30 * SECOND).await.unwrap());
        tx.commit().await.unwrap();
        assert!(!settle(&store, &run, 1, "late").await);
        assert!(settle(&store, &run, 2, "right").await);
        assert!(!settle(&store, &run, 2, "twice").await);
        let kept = tasks::runs(&store, &run.task, 5).await.unwrap();
        assert_eq!((kept[0].answer.as_str(), kept[0].state), ("right", RunState::Complete));
        assert!(tasks::due(&store, now() + 3600 * SECOND, 5, 5).await.unwrap().is_empty());
    }

    a_run_that_was_put_off_waits_and_was_not_asked(store) {
        let run = waiting(&store, "acme").await;
        assert!(lease(&store, &run, now() + 20 * SECOND).await);
        let put_off = async |attempt: i64| {
            let tx = store.begin_write().await.unwrap();
            let is_put_off = tasks::put_off(&tx, &run.id, attempt, now() + 5 * SECOND).await.unwrap();
            tx.commit().await.unwrap();
            is_put_off
        };
        assert!(!put_off(0).await, "under a number that is not the latest");
        assert!(put_off(1).await);
        assert!(!put_off(1).await, "it is leased no more");
        assert!(tasks::due(&store, now() + 4 * SECOND, 5, 5).await.unwrap().is_empty());
        let due = tasks::due(&store, now() + 5 * SECOND, 5, 5).await.unwrap();
        assert_eq!((due[0].state, due[0].attempt, due[0].asked), (RunState::Queued, 1, 0));
    }

    a_run_that_is_held_on_is_neither_taken_nor_given_up(store) {
        let run = waiting(&store, "acme").await;
        assert!(lease(&store, &run, now() + SECOND).await);
        let seen = tasks::due(&store, now() + SECOND, 5, 5).await.unwrap().remove(0);
        let tx = store.begin_write().await.unwrap();
        assert!(tasks::renew(&tx, &run.id, 1, now() + 20 * SECOND).await.unwrap(), "its server was only slow");
        assert!(!tasks::lease(&tx, &seen, now() + 30 * SECOND).await.unwrap());
        assert!(!tasks::give_up(&tx, &seen, &Refusal::default(), now()).await.unwrap());
        tx.commit().await.unwrap();
        let seen = tasks::due(&store, now() + 20 * SECOND, 5, 5).await.unwrap().remove(0);
        let tx = store.begin_write().await.unwrap();
        assert!(tasks::give_up(&tx, &seen, &Refusal::default(), now()).await.unwrap(), "the control");
        tx.commit().await.unwrap();
        assert_eq!(tasks::runs(&store, &run.task, 5).await.unwrap()[0].state, RunState::Failed);
    }

    of_several_organizations_each_has_its_turn(store) {
        let acme = waiting(&store, "acme").await;
        let tx = store.begin_write().await.unwrap();
        for _ in 0..5 {
            let id = RunId::new(now(), &mut Random::from_os());
            tasks::start(&tx, &Run { id, ..acme.clone() }).await.unwrap();
        }
        tx.commit().await.unwrap();
        let other = waiting(&store, "other").await;
        let due = tasks::due(&store, now(), 3, 10).await.unwrap();
        let whose: Vec<_> = due.iter().map(|run| &run.organization).collect();
        assert_eq!(whose.len(), 4, "three of one and all of the other");
        assert!(whose[..2].contains(&&other.organization) && whose[2..] == [&acme.organization; 2], "{whose:?}");
        assert_eq!(tasks::due(&store, now(), 3, 3).await.unwrap().len(), 3);
    }

    what_runs_hold_is_counted_in_bytes(store) {
        let run = waiting(&store, "acme").await;
        let keeper = Keeper { organization: &run.organization, user: &run.user };
        assert_eq!(tasks::bytes(&store, keeper).await.unwrap(), 9);
        assert!(lease(&store, &run, now() + SECOND).await);
        assert!(settle(&store, &run, 1, "Grüße").await);
        assert_eq!(tasks::bytes(&store, keeper).await.unwrap(), 9 + 7, "letters of two bytes");
        let other = waiting(&store, "other").await;
        let nobody = Keeper { organization: &other.organization, user: &run.user };
        assert_eq!(tasks::bytes(&store, nobody).await.unwrap(), 0);
    }

    what_was_cancelled_is_neither_taken_nor_ended(store) {
        let run = waiting(&store, "acme").await;
        let keeper = Keeper { organization: &run.organization, user: &run.user };
        assert!(lease(&store, &run, now() + SECOND).await);
        let tx = store.begin_write().await.unwrap();
        assert!(tasks::cancel(&tx, keeper, &run.id, now()).await.unwrap());
        assert!(!tasks::cancel(&tx, keeper, &run.id, now()).await.unwrap());
        assert!(!tasks::renew(&tx, &run.id, 1, now() + 60 * SECOND).await.unwrap());
        tx.commit().await.unwrap();
        assert!(!settle(&store, &run, 1, "late").await);
        assert!(tasks::due(&store, now() + 60 * SECOND, 5, 5).await.unwrap().is_empty());
    }

    what_somebody_keeps_is_found_and_changed_by_nobody_else(store) {
        let organization = organization(&store, "acme").await;
        let (ada, eve) = (user(&store, "ada@example.org").await.id, user(&store, "eve@example.org").await.id);
        let (own, foreign) = (
            Keeper { organization: &organization, user: &ada }, Keeper { organization: &organization, user: &eve },
        );
        let mut random = Random::from_os();
        let new = Conversation {
            id: ConversationId::new(now(), &mut random), title: "Hello".into(), model: "small".into(),
            created_at: now(), updated_at: now(),
        };
        let turn = Turn {
            id: TurnId::new(now(), &mut random), question: "Hello?".into(), model: "small".into(), answer: String::new(),
            state: Ending::Answering, attempt: 1, held_until: now() + SECOND, request_id: None, refusal: None,
            spent: Spent::default(), asked_at: now(),
        };
        let tx = store.begin_write().await.unwrap();
        conversations::insert(&tx, own, &new).await.unwrap();
        conversations::ask(&tx, &new.id, &turn).await.unwrap();
        assert!(!conversations::touch(&tx, foreign, &new.id, "large", now()).await.unwrap());
        assert!(!conversations::rename(&tx, foreign, &new.id, "Mine").await.unwrap());
        assert!(!conversations::remove(&tx, foreign, &new.id).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(conversations::find(&store, foreign, &new.id).await.unwrap(), None);
        assert_eq!(conversations::bytes(&store, own).await.unwrap(), 6);
        assert_eq!(conversations::bytes(&store, foreign).await.unwrap(), 0);
        assert_eq!(conversations::find(&store, own, &new.id).await.unwrap(), Some(new.clone()));

        let so_far = Answered { text: "Hi".into(), request_id: Some("r".into()), ..Answered::default() };
        let tx = store.begin_write().await.unwrap();
        assert!(conversations::keep_so_far(&tx, &turn.id, 1, &so_far, now() + 2 * SECOND).await.unwrap());
        assert!(conversations::ask_again(&tx, &turn.id, "large", 1, now() + 3 * SECOND).await.unwrap());
        assert!(!conversations::ask_again(&tx, &turn.id, "large", 1, now()).await.unwrap());
        assert!(!conversations::settle(&tx, &turn.id, 1, Ending::Complete, &so_far).await.unwrap(), "another try began");
        assert!(conversations::settle(&tx, &turn.id, 2, Ending::Complete, &so_far).await.unwrap());
        tx.commit().await.unwrap();
        let turns = conversations::turns(&store, &new.id).await.unwrap();
        assert_eq!((turns[0].answer.as_str(), turns[0].state, turns[0].attempt), ("Hi", Ending::Complete, 2));
        let found = conversations::find_turn(&store, own, &new.id, &turn.id).await.unwrap();
        assert_eq!(found.as_ref(), turns.first());
        assert_eq!(conversations::find_turn(&store, foreign, &new.id, &turn.id).await.unwrap(), None);
        let elsewhere = ConversationId::new(now(), &mut random);
        assert_eq!(conversations::find_turn(&store, own, &elsewhere, &turn.id).await.unwrap(), None);

        let tx = store.begin_write().await.unwrap();
        assert!(conversations::remove(&tx, own, &new.id).await.unwrap());
        tx.commit().await.unwrap();
        assert!(conversations::turns(&store, &new.id).await.unwrap().is_empty());
    }

    one_request_of_somebody_is_open_at_a_time(store) {
        let organization = organization(&store, "acme").await;
        let ada = user(&store, "ada@example.org").await.id;
        let mut random = Random::from_os();
        let (first, second) = (SetupRequestId::new(now(), &mut random), SetupRequestId::new(now(), &mut random));
        let tx = store.begin_write().await.unwrap();
        let ask = async |id| setup_requests::insert_unless_open(&tx, &organization, id, &ada, Some("note"), now()).await;
        assert!(ask(&first).await.unwrap());
        assert!(!ask(&second).await.unwrap());
        assert!(setup_requests::close(&tx, &organization, &first, &ada, now()).await.unwrap());
        assert!(!setup_requests::close(&tx, &organization, &first, &ada, now()).await.unwrap());
        assert!(ask(&second).await.unwrap());
        tx.commit().await.unwrap();
        let open = setup_requests::open_of(&store, &organization, &ada).await.unwrap().unwrap();
        assert_eq!((open.id, open.note.as_deref()), (second, Some("note")));
    }
}
