//! Which models of a target asked to be left alone: providers limit most of what they limit by model.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// For how long a wish to be left alone holds at most.
const LONGEST: Duration = Duration::from_mins(10);
/// Of how many models of one target that is kept in mind: clients name them, also such as there are not.
const MOST_MODELS: usize = 32;

/// Until when the models of one target rest; moments are in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Rests {
    /// Until when any of them does. Mostly none does, and then nobody looks further.
    until: AtomicI64,
    models: Mutex<Vec<Rest>>,
}

#[derive(Debug)]
struct Rest {
    /// `None` for requests that name no model.
    model: Option<Box<str>>,
    until: i64,
}

impl Rests {
    /// A model asked at `now` to be left alone for so long. Where too many do, the one that rests least is forgotten.
    pub(crate) fn add(&self, model: Option<&str>, asked_for: Duration, now: i64) {
        let length = i64::try_from(asked_for.min(LONGEST).as_micros()).unwrap_or(i64::MAX);
        let until = now.saturating_add(length);
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.retain(|rest| rest.until > now);
        if let Some(known) = models.iter_mut().find(|rest| rest.model.as_deref() == model) {
            known.until = known.until.max(until);
        } else {
            models.push(Rest { model: model.map(Into::into), until });
        }
        if models.len() > MOST_MODELS
            && let Some((least, _)) = models.iter().enumerate().min_by_key(|(_, rest)| rest.until)
        {
            models.swap_remove(least);
        }
        self.until.fetch_max(until, Ordering::Relaxed);
    }

    /// Whether a model is to be left alone at `now`.
    pub(crate) fn holds(&self, model: Option<&str>, now: i64) -> bool {
        if self.until.load(Ordering::Relaxed) <= now {
            return false;
        }
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.iter().any(|rest| rest.until > now && rest.model.as_deref() == model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn each_model_rests_for_itself_and_as_long_as_it_asked_for_at_most() {
        let rests = Rests::default();
        rests.add(Some("a"), Duration::from_secs(5), 0);
        rests.add(Some("a"), Duration::from_secs(2), 0);
        rests.add(None, Duration::from_hours(1), 0);
        for (model, now, rest) in [
            (Some("a"), 0, true),
            (Some("a"), 5 * SECOND - 1, true),
            (Some("a"), 5 * SECOND, false),
            (Some("b"), 0, false),
            (None, 600 * SECOND - 1, true),
            (None, 600 * SECOND, false),
        ] {
            assert_eq!(rests.holds(model, now), rest, "{model:?} at {now}");
        }
    }

    #[test]
    fn whoever_makes_up_models_fills_no_memory_and_ends_no_longer_rest() {
        let rests = Rests::default();
        rests.add(Some("real"), Duration::from_mins(5), 0);
        for number in 0..10_000 {
            rests.add(Some(&number.to_string()), Duration::from_secs(30), 0);
        }
        assert!(rests.holds(Some("real"), 0));
        let kept = |rests: &Rests| rests.models.lock().unwrap().len();
        assert_eq!(kept(&rests), MOST_MODELS);
        rests.add(Some("later"), Duration::from_secs(1), 60 * SECOND);
        assert_eq!(kept(&rests), 2, "what is over is forgotten");
    }
}
