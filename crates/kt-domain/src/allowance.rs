//! What is left of a limit on how often something may be done.

use std::time::Duration;

/// What is left after a use, or after a try that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// How many uses there may be in a window.
    pub limit: u32,
    /// How long a window is.
    pub window: Duration,
    /// How many uses are left in this one.
    pub left: u32,
    /// When the next one begins.
    pub renewed_in: Duration,
}
