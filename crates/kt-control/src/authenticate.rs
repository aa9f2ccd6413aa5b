//! The one check of who sends a request: every bearer, on every request, against what holds at this moment.
//!
//! What was found is remembered for a second, so that a busy client costs one query a second and not one a request. A
//! change that takes something away forgets it all at once in this process; another process follows within the second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::{Actor, Person};
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, SessionId, UserId};
use kt_domain::secret::SecretDigest;
use kt_domain::sign_in::MembershipState;
use kt_store::Source;
use kt_store::sessions::{self, LiveSession};

use crate::control::Control;
use crate::jwt::invalid_token;

/// What a client sends as `Authorization: Bearer …`.
#[derive(Clone, Copy)]
pub struct Bearer<'a>(pub &'a str);

/// How long what was found about a bearer may be relied on.
const RELIED_ON: Duration = Duration::from_secs(1);

/// At most so many bearers are remembered; with more, all are forgotten and asked about anew.
const MOST: usize = 100_000;

impl Control {
    /// Who sends a request with this bearer from this address. Refused with one answer, whatever is wrong with it.
    pub async fn authenticate(
        &self,
        bearer: Bearer<'_>,
        ip: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Actor, Error> {
        let _ = ip;
        let digest = SecretDigest::of(bearer.0);
        if let Some(actor) = self.recent.get(&digest, now) {
            return Ok(actor);
        }
        let generation = self.recent.generation();
        let claims = self.signer.verify(bearer.0, now).ok_or_else(invalid_token)?;
        let person = self.person_of(&claims.sid, &claims.sub, &claims.org, now).await?;
        let actor = Actor::Person(person);
        let token_ends = Timestamp::from_second(claims.exp).unwrap_or(now);
        self.recent.remember(generation, digest, &actor, now, token_ends);
        Ok(actor)
    }

    /// The holder of a session that lives at `now`.
    async fn person_of(
        &self,
        session: &SessionId,
        user: &UserId,
        organization: &OrganizationId,
        now: Timestamp,
    ) -> Result<Person, Error> {
        let live = sessions::find(&self.store, session).await?.ok_or_else(invalid_token)?;
        let belongs = &live.session.user == user && &live.session.organization == organization;
        if !belongs || !self.lives(&self.store, &live, now).await? {
            return Err(invalid_token());
        }
        Ok(Person {
            user: live.session.user,
            organization: live.session.organization,
            role: live.membership.role,
            session: live.session.id,
            email: live.email,
            authenticated_at: live.session.authenticated_at,
        })
    }

    /// Whether a session still stands: not ended, not outlived, issued under the present epoch, to an active member.
    pub(crate) async fn lives(
        &self,
        source: &impl Source,
        live: &LiveSession,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let session = &live.session;
        let settings = self.security_of(source, &session.organization).await?.value;
        Ok(session.ended_at.is_none()
            && session.epoch == live.epoch
            && live.membership.state == MembershipState::Active
            && settings.session.lapse(session.created_at, session.active_at, now).is_none())
    }
}

/// Only the operator at the machine itself.
pub(crate) fn require_operator(ctx: &Ctx) -> Result<(), Error> {
    match ctx.actor {
        Actor::System(_) => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Forbidden,
            "operator_required",
            "Only the operator can do this, with `kt admin` on the machine.",
        )),
    }
}

/// Bearers that were found good a moment ago.
#[derive(Default)]
pub(crate) struct Recent(RwLock<Remembered>);

#[derive(Default)]
struct Remembered {
    generation: u64,
    bearers: HashMap<SecretDigest, Found>,
}

struct Found {
    actor: Arc<Actor>,
    good_until: Timestamp,
}

impl Recent {
    fn get(&self, digest: &SecretDigest, now: Timestamp) -> Option<Actor> {
        let remembered = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = remembered.bearers.get(digest)?;
        (now < found.good_until).then(|| (*found.actor).clone())
    }

    /// Read before the store is asked: what is found after it has moved on is not remembered.
    fn generation(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    fn remember(
        &self,
        generation: u64,
        digest: SecretDigest,
        actor: &Actor,
        now: Timestamp,
        ends: Timestamp,
    ) {
        let mut remembered = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.generation != generation {
            return;
        }
        if remembered.bearers.len() >= MOST {
            remembered.bearers.clear();
        }
        let good_until = (now + RELIED_ON).min(ends);
        remembered.bearers.insert(digest, Found { actor: Arc::new(actor.clone()), good_until });
    }

    /// From now on every bearer is asked about anew.
    pub(crate) fn forget(&self) {
        let mut remembered = self.0.write().unwrap_or_else(PoisonError::into_inner);
        remembered.generation += 1;
        remembered.bearers.clear();
    }
}
