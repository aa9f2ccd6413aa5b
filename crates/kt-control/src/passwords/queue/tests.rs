use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;

fn queue(running: usize, waiting: usize) -> Arc<Queue> {
    Arc::new(Queue::new(Capacity { running: NonZeroUsize::new(running).unwrap(), waiting }))
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
        .map(|_| {
            let (queue, turnstile) = (Arc::clone(&queue), Arc::clone(&turnstile));
            tokio::spawn(async move { queue.run(move || turnstile.pass()).await.is_ok() })
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
    let start = || {
        let (queue, work) = (Arc::clone(&queue), held(&began, &released));
        tokio::spawn(async move { queue.run(work).await.is_ok() })
    };

    let mut tasks = vec![start(), start()];
    begins.recv().unwrap();
    begins.recv().unwrap();
    tasks.extend([start(), start(), start()]);
    while queue.places.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(queue.run(|| ()).await, Err(NotRun::Full)));
    assert!(begins.try_recv().is_err(), "nothing more than two has begun");

    for _ in 0..5 {
        release.send(()).unwrap();
    }
    for task in tasks {
        assert!(task.await.unwrap());
    }
    assert!(queue.run(|| ()).await.is_ok(), "there is a place again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_whose_asker_went_away_keeps_its_place_until_it_is_done() {
    let queue = queue(1, 0);
    let (began, begins) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let work = held(&began, &Arc::new(std::sync::Mutex::new(released)));
    let task = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.run(work).await.is_ok() }
    });
    begins.recv().unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());

    assert!(matches!(queue.run(|| ()).await, Err(NotRun::Full)));
    release.send(()).unwrap();
    let _place = queue.places.acquire().await.unwrap();
}

#[tokio::test]
async fn work_that_panics_gives_its_place_back() {
    let queue = queue(1, 0);
    assert!(matches!(queue.run(|| panic!("as tested")).await, Err(NotRun::Broken(_))));
    assert!(queue.run(|| ()).await.is_ok());
}
