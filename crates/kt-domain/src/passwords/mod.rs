//! Passwords: what is accepted as one, what a policy demands, and how strong one is.
//!
//! Sources: NIST SP 800-63B-4 section 3.1.1.2, OWASP ASVS 5.0 section 6.2. Where the default policy departs from them,
//! [`PasswordPolicy::deviations`] says so.

mod blocklist;
mod check;
mod context;
mod password;
mod policy;
mod strength;

pub use check::{Violation, check, unmet_demands};
pub use context::Context;
pub use password::{MAX_BYTES, MAX_CHARACTERS, MIN_CHARACTERS, Password, TooLong};
pub use policy::{OutOfBounds, PasswordPolicy, Preset};
pub use strength::{STRONG_ENOUGH, Strength, strength};
