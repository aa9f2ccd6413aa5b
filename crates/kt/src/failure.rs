//! How a command fails: a sentence for the person, a status for the shell.

use std::fmt;
use std::process::ExitCode;

use crate::output;

/// Why a command did not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    /// The work was tried and did not succeed (exit status 1).
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { status: 1, message: message.into() }
    }

    /// The command was used wrongly or its configuration is not valid (exit status 2).
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { status: 2, message: message.into() }
    }

    /// Nobody is signed in, or it is not for this one to do (exit status 3).
    pub(crate) fn not_allowed(message: impl Into<String>) -> Self {
        Self { status: 3, message: message.into() }
    }

    /// The server cannot be reached (exit status 4).
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self { status: 4, message: message.into() }
    }

    /// Everything was already said; only the status is left to give.
    pub(crate) fn silent(status: u8) -> Self {
        Self { status, message: String::new() }
    }

    /// The same, and what else is so.
    pub(crate) fn and(self, more: &str) -> Self {
        Self { message: format!("{}; {more}", self.message), ..self }
    }

    /// Writes the sentence to standard error and gives the exit status.
    pub(crate) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            output::complain(format_args!("error: {}", self.message));
        }
        ExitCode::from(self.status)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}
