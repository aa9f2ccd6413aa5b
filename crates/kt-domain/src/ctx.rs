//! What every use case gets first: who acts, from where, with which request, and *now*.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use crate::actor::{Actor, Permission, Person, Role};
use crate::error::{Error, ErrorKind};
use crate::id::OrganizationId;

/// Where a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The resolved client address; `None` for what is done on the machine itself.
    pub ip: Option<IpAddr>,
    /// What the client calls itself, at most 512 characters.
    pub user_agent: Option<String>,
}

/// The context of one operation.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// Who acts.
    pub actor: Actor,
    /// From where.
    pub client: Client,
    /// The request that this is part of.
    pub request_id: String,
    /// The present moment, read once for the whole operation.
    pub now: Timestamp,
}

/// How old a proof of identity may be for changing settings, people and keys (SPEC section 7).
pub const FRESH_AUTHENTICATION: Duration = Duration::from_mins(10);

impl Ctx {
    /// The organization in which the actor has this permission: every query of a use case starts from it.
    pub fn require(&self, permission: Permission) -> Result<&OrganizationId, Error> {
        let organization = self.actor.organization().ok_or_else(Error::missing_credentials)?;
        if self.actor.may(permission) { Ok(organization) } else { Err(self.forbidden(permission)) }
    }

    /// The actor ranks at least as high as `role`: nobody makes, invites or manages somebody above themselves.
    pub fn require_rank(&self, role: Role) -> Result<(), Error> {
        if self.actor.rank().is_some_and(|rank| rank >= role) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forbidden,
            "rank_too_low",
            format!("Only somebody who is at least {role} can do this. Ask one of them."),
        ))
    }

    /// The signed-in person; a key or nobody is refused.
    pub fn require_person(&self) -> Result<&Person, Error> {
        match &self.actor {
            Actor::Person(person) => Ok(person),
            Actor::Anonymous => Err(Error::missing_credentials()),
            Actor::Program(_) | Actor::System(_) => Err(Error::new(
                ErrorKind::Forbidden,
                "person_required",
                "Only a signed-in person can do this. Sign in instead of using an API key.",
            )),
        }
    }

    /// The proof of a person's identity is fresh enough for a change that matters; a key is as good as the sign-in
    /// that made it.
    pub fn require_fresh_authentication(&self) -> Result<(), Error> {
        let Actor::Person(person) = &self.actor else { return Ok(()) };
        let age = self.now.duration_since(person.authenticated_at).unsigned_abs();
        if age <= FRESH_AUTHENTICATION {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forbidden,
            "reauthentication_required",
            "This change asks for a fresh proof of who you are. Confirm it with your password, a code, a passkey \
             or your identity provider, then try again.",
        ))
    }

    fn forbidden(&self, permission: Permission) -> Error {
        match &self.actor {
            Actor::Program(program) if !program.kind.is_for(permission) => Error::new(
                ErrorKind::Forbidden,
                "insufficient_scope",
                format!("No key of the kind `{}` reaches this. Use one of another kind.", program.kind),
            ),
            Actor::Program(program) if program.has_scope_for(permission) => Error::new(
                ErrorKind::Forbidden,
                "insufficient_scope",
                "The owner of this key may not do this any more, and so the key may not. Use a key of somebody who may.",
            ),
            Actor::Program(program) => Error::new(
                ErrorKind::Forbidden,
                "insufficient_scope",
                format!(
                    "This key's scope is `{}`, which does not reach this. Use a key with a wider scope.",
                    program.scope
                ),
            ),
            _ => Error::new(
                ErrorKind::Forbidden,
                "insufficient_role",
                "Your role does not allow this. Ask an administrator of your organization.",
            ),
        }
        .with_private(format!("{permission:?}"))
    }
}

impl Error {
    /// Nobody has said who they are, where somebody must.
    #[must_use]
    pub fn missing_credentials() -> Self {
        Self::new(ErrorKind::Unauthenticated, "missing_key", "Sign in, or send an API key as a bearer token.")
    }
}
