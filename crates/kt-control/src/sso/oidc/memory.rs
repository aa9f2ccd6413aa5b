//! What was asked of somebody else, remembered: for a while where it was answered, and for a moment where it was not.
//! One asks at a time, and the others wait for what comes of it: however many strangers want it, whoever is asked is asked
//! once, and whoever is away is left alone.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// How long somebody is left alone who did not answer: whoever wants to sign in meanwhile waits for nothing.
pub(super) const LEFT_ALONE: Duration = Duration::from_secs(10);

/// One thing that is asked for again and again.
pub(super) struct Memory<T> {
    known: Mutex<Known<T>>,
    /// Held by whoever asks.
    asking: tokio::sync::Mutex<()>,
}

struct Known<T> {
    found: Option<(Timestamp, T)>,
    failed: Option<(Timestamp, String)>,
    /// Since when somebody asks. Whoever goes away before there is an answer leaves it behind.
    begun: Option<Timestamp>,
}

/// Where an answer comes from.
pub(super) enum Outcome<T, E> {
    /// It is remembered; why there is none, in words.
    Known(Result<T, String>),
    /// It was asked for just now.
    Asked(Result<T, E>),
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        let known = Known { found: None, failed: None, begun: None };
        Self { known: Mutex::new(known), asking: tokio::sync::Mutex::new(()) }
    }
}

impl<T: Clone> Memory<T> {
    /// What was found within the time that it is relied on; otherwise what comes of asking, unless that has failed a moment
    /// ago. What was found before stays for those who rely on it for longer.
    pub(super) async fn recall<E: ToString>(
        &self,
        now: Timestamp,
        relied_on: Duration,
        ask: impl Future<Output = Result<T, E>>,
    ) -> Outcome<T, E> {
        if let Some(known) = self.known().look(now, relied_on) {
            return Outcome::Known(known);
        }
        let _alone = self.asking.lock().await;
        if let Some(known) = self.known().look_behind_another(now, relied_on) {
            return Outcome::Known(known);
        }
        self.known().begun = Some(now);
        let asked = ask.await;
        let mut known = self.known();
        known.begun = None;
        match &asked {
            Ok(found) => {
                known.found = Some((now, found.clone()));
                known.failed = None;
            }
            Err(why) => known.failed = Some((now, why.to_string())),
        }
        Outcome::Asked(asked)
    }

    fn known(&self) -> MutexGuard<'_, Known<T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Known<T> {
    fn look(&self, now: Timestamp, relied_on: Duration) -> Option<Result<T, String>> {
        if let Some((_, found)) = self.found.as_ref().filter(|(at, _)| is_within(*at, now, relied_on)) {
            return Some(Ok(found.clone()));
        }
        let failed = self.failed.as_ref().filter(|(at, _)| is_within(*at, now, LEFT_ALONE));
        failed.map(|(_, why)| Err(why.clone()))
    }

    /// The same for whoever has waited for another to ask: if that one did not wait for the answer, it is not asked for over
    /// and over on behalf of those who go away.
    fn look_behind_another(&self, now: Timestamp, relied_on: Duration) -> Option<Result<T, String>> {
        let was_left = self.begun.is_some_and(|at| is_within(at, now, LEFT_ALONE));
        let left = || was_left.then(|| Err("whoever asked did not wait for the answer".to_owned()));
        self.look(now, relied_on).or_else(left)
    }
}

/// Whether two moments are this near to each other: requests overtake one another, and clocks are set back.
fn is_within(at: Timestamp, now: Timestamp, time: Duration) -> bool {
    now.duration_since(at).unsigned_abs() < time
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    /// Somebody who counts how often they are asked.
    #[derive(Default)]
    struct Asked(AtomicUsize);

    impl Asked {
        async fn answer(&self, answer: Result<u8, &'static str>) -> Result<u8, &'static str> {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            answer
        }

        fn times(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn told(outcome: Outcome<u8, &'static str>) -> Result<u8, String> {
        match outcome {
            Outcome::Known(known) => known,
            Outcome::Asked(asked) => asked.map_err(str::to_owned),
        }
    }

    #[tokio::test]
    async fn an_answer_is_relied_on_for_a_while_and_a_failure_for_a_moment() {
        let (memory, asked, start) = (Memory::default(), Asked::default(), Timestamp::UNIX_EPOCH);
        let recall = async |now, answer| told(memory.recall(now, MINUTE, asked.answer(answer)).await);
        assert_eq!(recall(start, Err("away")).await, Err("away".to_owned()));
        assert_eq!(recall(start + Duration::from_secs(9), Ok(1)).await, Err("away".to_owned()));
        assert_eq!(asked.times(), 1, "it is left alone");
        assert_eq!(recall(start + LEFT_ALONE, Ok(1)).await, Ok(1));
        assert_eq!(recall(start + LEFT_ALONE + Duration::from_secs(59), Ok(2)).await, Ok(1));
        assert_eq!(asked.times(), 2, "it is relied on");
        assert_eq!(recall(start + LEFT_ALONE + MINUTE, Err("away")).await, Err("away".to_owned()));
        let relied_on_for_longer =
            memory.recall(start + LEFT_ALONE + MINUTE, 2 * MINUTE, asked.answer(Ok(3)));
        assert_eq!(told(relied_on_for_longer.await), Ok(1), "a failure takes nothing away that was found");
        assert_eq!(asked.times(), 3);
    }

    #[tokio::test]
    async fn of_many_one_asks_and_all_have_the_answer() {
        for answer in [Ok(1), Err("away")] {
            let (memory, asked, start) = (Memory::default(), Asked::default(), Timestamp::UNIX_EPOCH);
            let recall = || memory.recall(start, MINUTE, asked.answer(answer));
            let (first, second, third) = tokio::join!(recall(), recall(), recall());
            for outcome in [first, second, third] {
                assert_eq!(told(outcome), answer.map_err(str::to_owned));
            }
            assert_eq!(asked.times(), 1);
        }
    }

    #[tokio::test]
    async fn whoever_goes_away_has_nobody_asked_over_and_over() {
        let (memory, asked, start) = (Memory::default(), Asked::default(), Timestamp::UNIX_EPOCH);
        let mut goes_away = Box::pin(memory.recall(start, MINUTE, asked.answer(Ok(1))));
        assert!(
            std::future::poll_fn(|context| std::task::Poll::Ready(goes_away.as_mut().poll(context)))
                .await
                .is_pending()
        );
        drop(goes_away);
        let later = memory.recall(start + Duration::from_secs(1), MINUTE, asked.answer(Ok(1))).await;
        assert!(told(later).is_err(), "within the moment");
        assert_eq!(asked.times(), 1);
        let control = memory.recall(start + LEFT_ALONE, MINUTE, asked.answer(Ok(1))).await;
        assert_eq!(told(control), Ok(1), "the control: after it");
    }
}
