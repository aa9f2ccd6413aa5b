//! Keeping a defect that one request meets from reaching any other (OWASP ASVS 5.0, 16.5.4).
//!
//! What the request held is dropped while the panic unwinds, its record among it, which says so. The message is on
//! standard error.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

/// Work panicked, and is not to be asked for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// What `work` comes to, unless it panics.
pub(crate) fn contained<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    // Nobody looks at what it has left half done.
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

/// The same for work that waits. It stays where it is: what a request needs is large to move.
pub(crate) async fn contained_async<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Result<T, Panicked> {
    poll_fn(|cx| match contained(|| work.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// One round of work that comes round again: a defect in it is named in the log, and the next round is unharmed.
pub(crate) async fn round(name: &'static str, work: impl Future<Output = ()>) {
    if contained_async(pin!(work)).await == Err(Panicked) {
        tracing::error!(work = name, "a defect was met; the message is on standard error");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Whether it was dropped while a panic was on its way.
    struct Witness<'a>(&'a Cell<Option<bool>>);

    impl Drop for Witness<'_> {
        fn drop(&mut self) {
            self.0.set(Some(std::thread::panicking()));
        }
    }

    #[tokio::test]
    async fn work_that_panics_is_over_and_has_let_go_of_everything() {
        let seen = Cell::new(None);
        let work = async {
            let _witness = Witness(&seen);
            tokio::task::yield_now().await;
            panic!("a defect");
        };
        assert_eq!(contained_async(pin!(work)).await, Err::<(), _>(Panicked));
        assert_eq!(seen.get(), Some(true));
        assert_eq!(contained(|| -> u8 { panic!("a defect") }), Err(Panicked));
    }

    #[tokio::test]
    async fn a_round_that_panics_leaves_the_next_one_unharmed() {
        let rounds = Cell::new(0);
        let work = || async {
            rounds.set(rounds.get() + 1);
            tokio::task::yield_now().await;
            assert!(rounds.get() > 1, "a defect");
        };
        round("test", work()).await;
        round("test", work()).await;
        assert_eq!(rounds.get(), 2);
    }

    #[tokio::test]
    async fn all_other_work_comes_to_what_it_comes_to() {
        let work = async {
            tokio::task::yield_now().await;
            7
        };
        assert_eq!(contained_async(pin!(work)).await, Ok(7));
        assert_eq!(contained(|| 7), Ok(7));
    }
}
