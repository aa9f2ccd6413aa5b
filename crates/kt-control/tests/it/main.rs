//! What holds of the control plane's ways out, on a real disk and against real servers.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect, wherever that happens")]

mod outbox;
mod smtp;
mod support;
