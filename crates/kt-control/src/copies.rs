//! Copies under way. Each reads the database for as long as it is taken, so nobody takes many at once (OWASP ASVS 5.0,
//! 15.2.2).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::UserId;

/// How many copies one person takes at once, by themselves and by their keys, of one process.
const MOST: usize = 3;

/// When it is worth asking again.
const A_MOMENT: Duration = Duration::from_secs(10);

/// How many copies are under way, of each person who takes any.
#[derive(Clone, Default)]
pub(crate) struct Copies(Arc<Mutex<HashMap<UserId, usize>>>);

/// A copy under way; it is over when this is dropped.
pub(crate) struct CopyUnderWay {
    copies: Copies,
    whose: Option<UserId>,
}

impl Copies {
    /// Begins one more, unless whoever asks takes as many as they may.
    pub(crate) fn begin(&self, ctx: &Ctx) -> Result<CopyUnderWay, Error> {
        let whose = ctx.actor.user().cloned();
        if let Some(user) = &whose {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(user.clone()).or_default();
            if *count >= MOST {
                let message =
                    "You are taking as many copies as you may at once. Wait for one of them to end.";
                let refusal = Error::new(ErrorKind::TooManyRequests, "too_many_copies", message);
                return Err(refusal.with_retry_after(A_MOMENT));
            }
            *count += 1;
        }
        Ok(CopyUnderWay { copies: self.clone(), whose })
    }
}

impl Drop for CopyUnderWay {
    fn drop(&mut self) {
        let Some(user) = &self.whose else { return };
        let mut counts = self.copies.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                counts.remove(user);
            }
        }
    }
}
