//! Work that takes long, away from the threads that serve.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::task::spawn_blocking;

/// What `work` comes to, on a thread where nothing else waits for it. A defect in it is whose it would have been here.
pub(crate) async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // Only when the process ends is such a thread not let finish.
        Err(_) => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::contain::{Panicked, contained_async};

    #[tokio::test]
    async fn a_defect_comes_back_to_whoever_waits() {
        assert_eq!(contained_async(pin!(apart(|| -> u8 { panic!("a defect") }))).await, Err(Panicked));
        assert_eq!(contained_async(pin!(apart(|| 7))).await, Ok(7), "the control");
    }
}
