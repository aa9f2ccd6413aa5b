//! Whether this process can serve. Whoever asks is nobody and asks as often as they like, so that the store is asked once in a
//! while for all of them.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::error::{Error, ErrorKind};
use tokio::sync::Mutex;

/// How long an answer of the store is told again.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// What the store has answered last, and when.
#[derive(Default)]
pub(crate) struct Readiness(Mutex<Option<(Timestamp, bool)>>);

impl Readiness {
    /// Asks the store, unless it has answered of late; those who come meanwhile wait for its answer.
    pub(crate) async fn look(
        &self,
        now: Timestamp,
        ask: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let mut last = self.0.lock().await;
        if let Some((at, is_ready)) = *last
            && now.duration_since(at).unsigned_abs() < GOOD_FOR
        {
            return if is_ready { Ok(()) } else { Err(not_ready()) };
        }
        let answer = ask.await;
        *last = Some((now, answer.is_ok()));
        answer
    }
}

/// The cause was logged when the store was asked.
fn not_ready() -> Error {
    let message = "The service cannot reach its database. Nothing was changed; try again in a moment.";
    Error::new(ErrorKind::Unavailable, "store_unavailable", message)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn the_store_is_asked_once_a_second_however_often_strangers_ask() {
        let (readiness, asked, start) = (Readiness::default(), Cell::new(0), Timestamp::UNIX_EPOCH);
        let answers = |answer: Result<(), Error>| {
            let asked = &asked;
            async move {
                asked.set(asked.get() + 1);
                answer
            }
        };
        for _ in 0..1000 {
            readiness.look(start, answers(Ok(()))).await.unwrap();
        }
        assert_eq!(asked.get(), 1);
        let later = start + GOOD_FOR;
        let away = readiness.look(later, answers(Err(Error::unavailable("it is away")))).await.unwrap_err();
        assert_eq!((away.code, away.private.as_deref()), ("store_unavailable", Some("it is away")));
        let again = readiness.look(later, answers(Ok(()))).await.unwrap_err();
        assert_eq!((again.code, again.private), ("store_unavailable", None), "it fills no log");
        readiness.look(later + GOOD_FOR, answers(Ok(()))).await.unwrap();
        assert_eq!(asked.get(), 3);
    }
}
