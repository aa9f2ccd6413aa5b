//! Work whose duration must not tell who is there (STANDARDS ATK-05; ATTACKS I42). The same statements for everybody come
//! close, but a database looks up what a row that is there refers to, and what is found has to be read.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::control::Control;

/// The steps in which such work takes its time in a deployment: longer than it takes on an idle database, and too short to
/// be noticed by whoever signs in.
pub const EVEN_STEP: Duration = Duration::from_millis(20);

impl Control {
    /// Does the work and comes back at the end of a step: after one of them, or as many more as the work has taken.
    pub(crate) async fn evenly<T>(&self, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        sleep_until(began + whole_steps(began.elapsed(), self.even_step)).await;
        done
    }
}

/// So much time, rounded up to whole steps, of which there is one at least.
fn whole_steps(taken: Duration, step: Duration) -> Duration {
    let steps = taken.as_nanos().div_ceil(step.as_nanos().max(1)).max(1);
    step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_rounded_up_to_whole_steps() {
        let ms = Duration::from_millis;
        for (taken, expected) in [(0, 20), (1, 20), (20, 20), (21, 40), (399, 400)] {
            assert_eq!(whole_steps(ms(taken), ms(20)), ms(expected), "{taken}");
        }
        assert_eq!(whole_steps(ms(7), Duration::ZERO), Duration::ZERO, "no steps, no wait");
    }
}
