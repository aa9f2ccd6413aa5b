//! Mail that stays in memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kt_domain::email::EmailAddress;

use super::{Letter, MailError, Mailer, Sending};

/// A [`Mailer`] for tests, of this crate and of others: it keeps what it is given. Clones share what they keep.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    letters: Vec<Letter>,
    failure: Option<MailError>,
}

impl Captured {
    /// The letters taken so far, oldest first.
    #[must_use]
    pub fn letters(&self) -> Vec<Letter> {
        self.state().letters.clone()
    }

    /// The letters to `address`, oldest first.
    #[must_use]
    pub fn letters_to(&self, address: &EmailAddress) -> Vec<Letter> {
        self.state().letters.iter().filter(|letter| letter.to == *address).cloned().collect()
    }

    /// From now on every letter meets `failure`; with `None`, letters are taken again.
    pub fn fail_with(&self, failure: Option<MailError>) {
        self.state().failure = failure;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mailer for Captured {
    fn send<'a>(&'a self, letter: &'a Letter) -> Sending<'a> {
        Box::pin(async move {
            let mut state = self.state();
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            state.letters.push(letter.clone());
            Ok(())
        })
    }
}
