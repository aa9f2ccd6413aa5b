//! Whether the server is away, and who tries it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long a server that did not answer is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// What a request may do with a server that may be away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It answers, as far as is known.
    Ask,
    /// It did not answer, and may be tried.
    Try,
    /// It did not answer a moment ago.
    Wait,
}

/// Whether the server is away, and when it is asked again.
#[derive(Default)]
pub(super) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// What may be done at this moment. During an outage one request in each pause tries the server.
    pub(super) fn turn(&self, now: Instant) -> Turn {
        let mut again = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *again {
            Some(at) if now < at => Turn::Wait,
            Some(_) => {
                *again = Some(now + PAUSE);
                Turn::Try
            }
            None => Turn::Ask,
        }
    }

    /// Notes that the server did not answer. Whether that is news.
    pub(super) fn goes_on(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(now + PAUSE).is_none()
    }

    /// Notes that the server answered. Whether that is news.
    pub(super) fn ends(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_news_once_and_one_request_tries_in_each_pause() {
        let (outage, began) = (Outage::default(), Instant::now());
        assert_eq!(outage.turn(began), Turn::Ask);
        assert!(outage.goes_on(began) && !outage.goes_on(began));
        assert_eq!(outage.turn(began + PAUSE / 2), Turn::Wait);
        assert_eq!([outage.turn(began + PAUSE), outage.turn(began + PAUSE)], [Turn::Try, Turn::Wait]);
        assert!(outage.ends() && !outage.ends());
        assert_eq!(outage.turn(began), Turn::Ask);
    }
}
