//! What must hold of one account: which of its secrets open something at a moment, told without looking at the system.

use std::time::Duration;

use jiff::Timestamp;

/// How long an access token, a step of a sign-in, a reset link and a temporary password are good.
const ACCESS: Duration = Duration::from_mins(15);
const STEP: Duration = Duration::from_mins(5);
const LINK: Duration = Duration::from_hours(1);
const TEMPORARY: Duration = Duration::from_hours(72);

/// The longest pause and the longest life of a session.
const IDLE: Duration = Duration::from_mins(30);
const ABSOLUTE: Duration = Duration::from_hours(12);

/// How long a password is good, and how many sessions somebody has at most.
const PASSWORD_AGE: Duration = Duration::from_hours(90 * 24);
const MOST_SESSIONS: usize = 10;

/// An account, and all that was ever handed out to whoever uses it.
pub(super) struct Model {
    pub(super) now: Timestamp,
    pub(super) password: String,
    pub(super) role: &'static str,
    pub(super) is_suspended: bool,
    /// Whether the organization asks everybody for a second factor, which this account has not.
    pub(super) asks_for_factor: bool,
    pub(super) secrets: Vec<Secret>,
    chosen_at: Timestamp,
    is_temporary: bool,
    sessions: Vec<Session>,
}

/// A secret that was handed out.
pub(super) struct Secret {
    pub(super) text: String,
    pub(super) kind: Kind,
    issued: Timestamp,
    is_spent: bool,
}

/// What a secret is for, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Access(usize),
    Refresh(usize),
    Step,
    Link,
    /// What a device is known by: it opens nothing.
    Device,
}

struct Session {
    made: Timestamp,
    active: Timestamp,
    is_over: bool,
}

/// What must come of a password that is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Refused,
    /// Another password must be chosen.
    Replace(&'static str),
    /// A second factor must be set up.
    Enroll,
    Session,
}

impl Model {
    /// An active member with this password, to whom nothing was handed out yet.
    pub(super) fn new(now: Timestamp, password: &str) -> Self {
        Self {
            now,
            password: password.to_owned(),
            role: "member",
            is_suspended: false,
            asks_for_factor: false,
            secrets: Vec::new(),
            chosen_at: now,
            is_temporary: false,
            sessions: Vec::new(),
        }
    }

    /// What typing this password must come to.
    pub(super) fn entry(&self, typed: &str) -> Entry {
        if typed != self.password || self.is_suspended {
            return Entry::Refused;
        }
        let age = self.age(self.chosen_at);
        match (self.is_temporary, self.asks_for_factor) {
            (true, _) if age >= TEMPORARY => Entry::Refused,
            (true, _) => Entry::Replace("temporary"),
            (false, _) if age >= PASSWORD_AGE => Entry::Replace("expired"),
            (false, true) => Entry::Enroll,
            (false, false) => Entry::Session,
        }
    }

    /// Whether this secret is an access token that must be let in.
    pub(super) fn admits(&self, secret: &Secret) -> bool {
        matches!(secret.kind, Kind::Access(session) if self.lives(session))
            && self.age(secret.issued) < ACCESS
    }

    /// Whether this secret must give new tokens. One that comes again takes its session with it.
    pub(super) fn refreshes(&mut self, at: usize) -> bool {
        let Kind::Refresh(session) = self.secrets[at].kind else { return false };
        if self.secrets[at].is_spent {
            self.sessions[session].is_over = true;
            return false;
        }
        if !self.lives(session) {
            return false;
        }
        self.secrets[at].is_spent = true;
        self.sessions[session].active = self.now;
        true
    }

    /// Whether this secret must let its holder replace a password that has to be replaced.
    pub(super) fn replaces(&self, at: usize) -> bool {
        let secret = &self.secrets[at];
        let is_alive = secret.kind == Kind::Step && !secret.is_spent && self.age(secret.issued) < STEP;
        // A temporary password whose time is over after the step was handed out was right when it was typed.
        let must_be_replaced = self.is_temporary || self.age(self.chosen_at) >= PASSWORD_AGE;
        is_alive && must_be_replaced && !self.is_suspended
    }

    /// Whether this secret must let its holder choose another password.
    pub(super) fn resets(&self, at: usize) -> bool {
        let secret = &self.secrets[at];
        secret.kind == Kind::Link && !secret.is_spent && self.age(secret.issued) < LINK
    }

    /// A secret was handed out.
    pub(super) fn hand_out(&mut self, kind: Kind, text: &str) {
        if kind == Kind::Link {
            self.spend(Kind::Link);
        }
        self.secrets.push(Secret { text: text.to_owned(), kind, issued: self.now, is_spent: false });
    }

    /// The session of this token, to hand out others.
    pub(super) fn session_of(&self, at: usize) -> Option<usize> {
        match self.secrets[at].kind {
            Kind::Access(session) | Kind::Refresh(session) => Some(session),
            Kind::Step | Kind::Link | Kind::Device => None,
        }
    }

    /// A session was made; the oldest made way for it. Its number.
    pub(super) fn begin_session(&mut self) -> usize {
        let standing: Vec<usize> =
            (0..self.sessions.len()).filter(|at| !self.sessions[*at].is_over).collect();
        for at in standing.iter().rev().skip(MOST_SESSIONS - 1) {
            self.sessions[*at].is_over = true;
        }
        self.sessions.push(Session { made: self.now, active: self.now, is_over: false });
        self.sessions.len() - 1
    }

    /// A session was ended by its holder.
    pub(super) fn end_session(&mut self, session: usize) {
        self.sessions[session].is_over = true;
    }

    /// No session goes on, not even when its holder is let in again.
    pub(super) fn suspend(&mut self) {
        self.is_suspended = true;
        self.end_sessions();
    }

    /// Another password holds from now on, and nothing that was handed out before opens anything.
    pub(super) fn set_password(&mut self, password: &str, is_temporary: bool) {
        (self.password, self.is_temporary, self.chosen_at) = (password.to_owned(), is_temporary, self.now);
        self.end_sessions();
        self.spend(Kind::Step);
        self.spend(Kind::Link);
    }

    fn lives(&self, session: usize) -> bool {
        let Session { made, active, is_over } = self.sessions[session];
        !is_over
            && !self.is_suspended
            && !self.asks_for_factor
            && self.age(made) <= ABSOLUTE
            && self.age(active) <= IDLE
    }

    fn end_sessions(&mut self) {
        self.sessions.iter_mut().for_each(|session| session.is_over = true);
    }

    fn spend(&mut self, kind: Kind) {
        let all = self.secrets.iter_mut().filter(|secret| secret.kind == kind);
        all.for_each(|secret| secret.is_spent = true);
    }

    fn age(&self, since: Timestamp) -> Duration {
        self.now.duration_since(since).unsigned_abs()
    }
}
