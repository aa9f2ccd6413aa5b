//! API keys: their text, what an organization demands of them, and whether one may be used.

mod judge;
mod pass;
mod restrictions;
mod snapshot;
mod standing;
#[cfg(test)]
mod tests;
mod text;

pub use judge::{Breach, KeyTerms, Refusal, Verdict, breaches, effective_rate, judge, usual_rate};
pub use pass::{BadPass, PASS_LIFETIME, PASS_TYPE, PassClaims, PassKey, PassTerms, UnverifiedPass};
pub use restrictions::{KeyCreation, KeyRestrictions, check_ranges, check_rate};
pub use snapshot::{KeySnapshot, KnownKey};
pub use standing::{KeyStanding, KeyStatus, KeysDue, SOON, flagged_at, standing};
pub use text::{KeyText, MARKER, PREFIX_SHOWN, recognise, stands_in_query};
