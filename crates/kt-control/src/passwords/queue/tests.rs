use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;

fn queue(running: usize, waiting: usize) -> Arc<Queue> {
    Arc::new(Queue::new(Capacity { running: NonZeroUsize::new(running).unwrap(), waiting }))
}

/// Somebody who is known.
fn somebody(n: usize) -> Asker {
    Asker { name: format!("usr_{n}"), is_known: true }
}

/// Somebody in a network of their own.
fn stranger(n: u8) -> Asker {
    Asker::stranger(Some([203, 0, n, 9].into()))
}

/// Counts how many are inside at once.
#[derive(Default)]
struct Turnstile {
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Turnstile {
    fn pass(&self) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        std::thread::yield_now();
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Work that says when it has begun and then waits to be released.
fn held(
    began: &mpsc::Sender<()>,
    release: &Arc<std::sync::Mutex<mpsc::Receiver<()>>>,
) -> impl FnOnce() + Send + use<> {
    let (began, release) = (began.clone(), Arc::clone(release));
    move || {
        began.send(()).unwrap();
        release.lock().unwrap().recv().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_hundred_never_more_run_at_once_than_may() {
    let (queue, turnstile) = (queue(4, 196), Arc::new(Turnstile::default()));
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let (queue, turnstile) = (Arc::clone(&queue), Arc::clone(&turnstile));
            tokio::spawn(async move { queue.run(&somebody(n), move || turnstile.pass()).await.is_ok() })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
    assert!((1..=4).contains(&turnstile.most.load(Ordering::SeqCst)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finds_no_place_is_refused_at_once_and_the_others_are_done() {
    let queue = queue(2, 3);
    let (began, begins) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let released = Arc::new(std::sync::Mutex::new(released));
    let start = |n| {
        let (queue, work) = (Arc::clone(&queue), held(&began, &released));
        tokio::spawn(async move { queue.run(&somebody(n), work).await.is_ok() })
    };

    let mut tasks = vec![start(0), start(1)];
    begins.recv().unwrap();
    begins.recv().unwrap();
    tasks.extend([start(2), start(3), start(4)]);
    while queue.places.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(queue.run(&somebody(5), || ()).await, Err(NotRun::Full)));
    assert!(begins.try_recv().is_err(), "nothing more than two has begun");

    for _ in 0..5 {
        release.send(()).unwrap();
    }
    for task in tasks {
        assert!(task.await.unwrap());
    }
    assert!(queue.run(&somebody(5), || ()).await.is_ok(), "there is a place again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_whose_asker_went_away_keeps_its_place_until_it_is_done() {
    let queue = queue(1, 0);
    let (began, begins) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let work = held(&began, &Arc::new(std::sync::Mutex::new(released)));
    let task = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.run(&somebody(0), work).await.is_ok() }
    });
    begins.recv().unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());

    assert!(matches!(queue.run(&somebody(5), || ()).await, Err(NotRun::Full)));
    release.send(()).unwrap();
    let _place = queue.places.acquire().await.unwrap();
}

#[tokio::test]
async fn work_that_panics_gives_its_place_back() {
    let queue = queue(1, 0);
    assert!(matches!(queue.run(&somebody(0), || panic!("as tested")).await, Err(NotRun::Broken(_))));
    assert!(queue.run(&somebody(5), || ()).await.is_ok());
}

#[tokio::test]
async fn one_network_takes_half_of_the_places_and_all_strangers_together_leave_some() {
    let queue = queue(2, 8);
    let of_one: Vec<_> = (0..5).map(|_| queue.place_for(&stranger(0)).unwrap()).collect();
    assert!(queue.place_for(&stranger(0)).is_err());
    assert!(queue.place_for(&Asker::stranger(Some([203, 0, 0, 200].into()))).is_err(), "the same network");
    let of_others: Vec<_> = (1..4).map(|n| queue.place_for(&stranger(n)).unwrap()).collect();
    assert!(queue.place_for(&stranger(4)).is_err(), "the rest is for whoever is known");
    let known = [queue.place_for(&somebody(0)).unwrap(), queue.place_for(&somebody(1)).unwrap()];
    assert!(queue.place_for(&somebody(2)).is_err(), "all are taken");
    drop((of_one, of_others, known));
    assert!(queue.taken.lock().unwrap().is_empty(), "nothing is kept of those who are gone");
    let of_account: Vec<_> = (0..5).map(|_| queue.place_for(&somebody(0)).unwrap()).collect();
    assert!(queue.place_for(&somebody(0)).is_err(), "nor does one account take more");
    drop(of_account);
    assert!(queue.place_for(&somebody(0)).is_ok());
}

#[test]
fn there_is_a_place_for_everybody_in_the_smallest_queue() {
    let least = Capacity { running: NonZeroUsize::MIN, waiting: 0 };
    assert_eq!((least.places(), least.for_strangers(), least.for_one()), (1, 1, 1));
    let two = Capacity { running: NonZeroUsize::new(2).unwrap(), waiting: 32 };
    assert_eq!((two.places(), two.for_strangers(), two.for_one()), (34, 26, 17));
}
