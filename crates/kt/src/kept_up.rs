//! Keeping up what this process does beside what it is asked: nobody else would miss it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long work that met a defect waits before it is begun again.
const PAUSE: Duration = Duration::from_secs(5);

/// Does what `begin` gives until it is done. Work that panics is named in the log and begun again after a moment, until `ended` says
/// so. Whether it was done in the end.
pub(crate) async fn kept_up<W>(
    name: &'static str,
    ended: watch::Receiver<bool>,
    begin: impl FnMut(watch::Receiver<bool>) -> W,
) -> bool
where
    W: Future<Output = ()> + Send + 'static,
{
    begun_again_after(PAUSE, name, ended, begin).await
}

async fn begun_again_after<W>(
    pause: Duration,
    name: &'static str,
    ended: watch::Receiver<bool>,
    mut begin: impl FnMut(watch::Receiver<bool>) -> W,
) -> bool
where
    W: Future<Output = ()> + Send + 'static,
{
    loop {
        // Ends the work when this is dropped.
        let mut work = JoinSet::new();
        work.spawn(begin(ended.clone()));
        let has_panicked =
            work.join_next().await.is_some_and(|done| done.is_err_and(|error| error.is_panic()));
        if !has_panicked {
            return true;
        }
        tracing::error!(
            work = name,
            "a defect was met and the work is begun again; standard error says more"
        );
        until(ended.clone(), tokio::time::sleep(pause)).await;
        if *ended.borrow() {
            return false;
        }
    }
}

/// Does `work` until `ended` says so.
pub(crate) async fn until(ended: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = is_true(ended) => {}
        () = work => {}
    }
}

/// Waits until the value is true, or nobody can make it so any more.
pub(crate) async fn is_true(mut value: watch::Receiver<bool>) {
    let _ = value.wait_for(|value| *value).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    /// Work that panics the first `times`, and how often it was begun.
    fn panicking(times: usize) -> (Arc<AtomicUsize>, impl FnMut(watch::Receiver<bool>) -> Work) {
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let work = move |_| -> Work {
            let is_bad = counted.fetch_add(1, Ordering::SeqCst) < times;
            Box::pin(async move {
                tokio::task::yield_now().await;
                assert!(!is_bad, "a defect");
            })
        };
        (begun, work)
    }

    type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

    #[tokio::test]
    async fn work_that_panics_is_begun_again_and_work_that_is_done_is_not() {
        for panics in [0, 1, 2] {
            let (_ending, ended) = watch::channel(false);
            let (begun, work) = panicking(panics);
            assert!(begun_again_after(Duration::ZERO, "test", ended, work).await);
            assert_eq!(begun.load(Ordering::SeqCst), panics + 1);
        }
    }

    #[tokio::test]
    async fn work_that_panics_when_all_ends_is_not_begun_again() {
        let (_ending, ended) = watch::channel(true);
        let (begun, work) = panicking(1);
        assert!(!begun_again_after(Duration::from_hours(1), "test", ended, work).await);
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_is_dropped() {
        let (_ending, ended) = watch::channel(false);
        let (held, dropped) = oneshot::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let mut ends = Some((held, begun));
        let kept = tokio::spawn(kept_up("test", ended, move |_| {
            let ends = ends.take();
            async move {
                let Some((_held, begun)) = ends else { return };
                begun.send(()).expect("the test waits for it");
                std::future::pending::<()>().await;
            }
        }));
        has_begun.await.expect("it begins");
        kept.abort();
        dropped.await.expect_err("what it held is let go of");
    }
}
