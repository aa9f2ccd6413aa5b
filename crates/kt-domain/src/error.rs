//! How a use case fails: by meaning, with the sentence that may be shown and the one that may not, side by side.
//!
//! Doors (HTTP, CLI) decide once what each [`ErrorKind`] becomes there.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::allowance::Allowance;

/// What a failure means, whatever door it is shown at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Nobody has proven who they are, or the proof is no longer good.
    Unauthenticated,
    /// Somebody has, and may not do this.
    Forbidden,
    /// There is no such thing, or none that the actor may know of.
    NotFound,
    /// It does not fit the present state.
    Conflict,
    /// It was made for an older version than the present one.
    VersionMismatch,
    /// It must not be sent in this way, whatever it asks.
    Malformed,
    /// It is meant for another host.
    Misdirected,
    /// It is longer than what is read here.
    TooLarge,
    /// It is of a kind that is not read here.
    UnsupportedMediaType,
    /// It is well-formed and breaks a rule; `param` names the field.
    Invalid,
    /// Too many tries; `retry_after` says when the next one may be made.
    TooManyRequests,
    /// Something this depends on is out of order; nothing was changed.
    Unavailable,
    /// A defect of ours.
    Internal,
}

/// A failed operation. Nothing that it wanted to change was changed.
pub struct Error {
    /// What it means.
    pub kind: ErrorKind,
    /// A word for programs, such as `invalid_credentials`.
    pub code: &'static str,
    /// What people are told: what to do next, and never a secret.
    pub message: Cow<'static, str>,
    /// The field at fault.
    pub param: Option<Cow<'static, str>>,
    /// Facts that a program needs in order to go on, such as the caller's address.
    pub details: Map<String, Value>,
    /// How long to wait before the next try.
    pub retry_after: Option<Duration>,
    /// The limit that was met, where its measure may be told.
    pub allowance: Option<Allowance>,
    /// What only the operator's log may hold.
    pub private: Option<String>,
}

impl Error {
    /// A failure of `kind` that programs know as `code`.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            code,
            message: message.into(),
            param: None,
            details: Map::new(),
            retry_after: None,
            allowance: None,
            private: None,
        }
    }

    /// The field `param` breaks a rule.
    pub fn invalid(param: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, "validation_error", message).with_param(param)
    }

    /// There is no such `noun`, or it belongs to somebody else: both answers are the same.
    #[must_use]
    pub fn not_found(noun: &str) -> Self {
        Self::new(ErrorKind::NotFound, "not_found", format!("There is no such {noun}."))
    }

    /// A defect, or a dependency that broke its word.
    pub fn internal(private: impl fmt::Display) -> Self {
        let message = "Something went wrong here. Try again; if it stays, give the operator the request id.";
        Self::new(ErrorKind::Internal, "internal_error", message).with_private(private)
    }

    /// The store cannot be reached or cannot write.
    pub fn unavailable(private: impl fmt::Display) -> Self {
        let message = "The service cannot reach its database. Nothing was changed; try again in a moment.";
        Self::new(ErrorKind::Unavailable, "store_unavailable", message).with_private(private)
    }

    /// The same, naming the field at fault.
    #[must_use]
    pub fn with_param(self, param: impl Into<Cow<'static, str>>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// The same, with a fact for programs.
    #[must_use]
    pub fn with_detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// The same, saying how long to wait.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// The same, telling the limit that was met, and to wait until it is renewed.
    #[must_use]
    pub fn with_allowance(self, allowance: Allowance) -> Self {
        Self { allowance: Some(allowance), ..self.with_retry_after(allowance.renewed_in) }
    }

    /// The same, with a sentence for the operator's log.
    #[must_use]
    pub fn with_private(self, private: impl fmt::Display) -> Self {
        Self { private: Some(private.to_string()), ..self }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// For the operator's log: the private sentence stands beside the public one.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        match &self.private {
            Some(private) => write!(f, " ({private})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
