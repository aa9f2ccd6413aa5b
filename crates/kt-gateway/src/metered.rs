//! Claiming more of the budgets while an answer comes, so that no stream goes on that they have no room for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use kt_domain::policy_config::OnCountingFailure;

use crate::limits::{Claim, Denied, Grant};
use crate::shared::Worker;
use crate::stages::budgets::Expected;

type Asking = Pin<Box<dyn Future<Output = Result<Grant, Denied>> + Send>>;

/// How much of a stream is claimed.
pub(crate) struct Meter {
    worker: Arc<Worker>,
    on_failure: OnCountingFailure,
    /// What is claimed at a time, and how many tokens that is for.
    claims: Vec<Claim>,
    step: u64,
    /// How many tokens there may be before more is claimed.
    covered: u64,
    asking: Option<Asking>,
    granted: Vec<Grant>,
    denied: Option<Denied>,
}

impl Meter {
    /// For a request that has claimed what is `expected`, and for each further `step` claims these.
    pub(crate) fn new(
        worker: Arc<Worker>,
        on_failure: OnCountingFailure,
        expected: Expected,
        claims: Vec<Claim>,
        step: u64,
    ) -> Self {
        let covered = first_part(expected);
        Self { worker, on_failure, claims, step, covered, asking: None, granted: Vec::new(), denied: None }
    }

    /// Whether a stream may go on that has said so many tokens, as an estimate; claims more if it needs more for that. What
    /// the provider tells at the end is settled, since nothing can be ended any more.
    pub(crate) fn poll_covers(&mut self, tokens: u64, cx: &mut Context<'_>) -> Poll<bool> {
        while tokens >= self.covered && self.denied.is_none() {
            let asked = ready!(
                self.asking
                    .get_or_insert_with(|| ask(&self.worker, &self.claims, self.on_failure))
                    .as_mut()
                    .poll(cx)
            );
            self.asking = None;
            match asked {
                Ok(grant) => {
                    self.granted.push(grant);
                    self.covered = self.covered.saturating_add(self.step);
                }
                Err(denied) => self.denied = Some(denied),
            }
        }
        Poll::Ready(self.denied.is_none())
    }

    /// Why the stream may not go on, if it may not.
    pub(crate) fn denied(&self) -> Option<&Denied> {
        self.denied.as_ref()
    }

    /// What was claimed on the way.
    pub(crate) fn take_granted(&mut self) -> Vec<Grant> {
        std::mem::take(&mut self.granted)
    }
}

fn ask(worker: &Arc<Worker>, claims: &[Claim], on_failure: OnCountingFailure) -> Asking {
    let (worker, claims) = (Arc::clone(worker), claims.to_vec());
    Box::pin(async move {
        let now = worker.shared.clock.now_micros();
        worker.limiter.take(claims, on_failure, worker.draw(), now).await
    })
}

/// How many tokens there may be of an answer before more is claimed than at first.
///
/// Tokens are estimated by letters while they come. An answer that nobody bounds asks for more a little early, so that it
/// does not pass what was claimed in one piece. One that the provider bounds ends by itself, and is not to be cut off for
/// its long words: only one that is twice as long as it may be is taken to have no end.
fn first_part(Expected { output, is_bounded, .. }: Expected) -> u64 {
    if is_bounded { output.saturating_mul(2) } else { output - output / 8 }
}
