//! The one check of who sends a request: every bearer, on every request, against what holds at this moment.
//!
//! What was found is remembered for a second, so that a busy client does not cost all queries again with each request.
//! A change that takes something away, in this process or in another, ends that at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::{Actor, Person};
use kt_domain::allowance::Allowance;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, SessionId, UserId};
use kt_domain::keys;
use kt_domain::secret::SecretDigest;
use kt_domain::sign_in::{Asks, Factor, Standing, may_go_on};
use kt_store::sessions::{self, LiveSession};
use kt_store::{Source, second_factors};

use crate::control::Control;
use crate::jwt::invalid_token;
use crate::keys::KeyHolder;

/// What a client sends as `Authorization: Bearer …`.
#[derive(Clone, Copy)]
pub struct Bearer<'a>(pub &'a str);

/// Who sends a request.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// Who.
    pub actor: Actor,
    /// What is left of the uses of their key, where they are limited.
    pub allowance: Option<Allowance>,
}

/// How long what was found about somebody may be relied on: time alone ends sessions too.
pub(crate) const RELIED_ON: Duration = Duration::from_secs(1);

impl Control {
    /// Who sends a request with this bearer. One that is not good is refused with one answer, whatever is wrong with it; a key
    /// that is good and may not be used so is told why.
    pub async fn authenticate(&self, ctx: &Ctx, bearer: Bearer<'_>) -> Result<Authenticated, Error> {
        let now = ctx.now;
        self.catch_up().await?;
        let digest = SecretDigest::of(bearer.0);
        let holder = match self.recent.bearers.get(&digest, now) {
            Some(holder) => holder,
            // Few requests get here: the others carry no room for it.
            None => Box::pin(self.find_holder(bearer, digest, now)).await?,
        };
        match &*holder {
            Holder::Person(person) => {
                Ok(Authenticated { actor: Actor::Person(person.clone()), allowance: None })
            }
            Holder::Key(key) => self.admit_key(ctx, key).await,
        }
    }

    /// Asks the store whose bearer it is, and remembers the answer.
    async fn find_holder(
        &self,
        bearer: Bearer<'_>,
        digest: SecretDigest,
        now: Timestamp,
    ) -> Result<Arc<Holder>, Error> {
        let generation = self.recent.bearers.generation();
        let (holder, ends) = match keys::recognise(bearer.0) {
            Some(_) => (Holder::Key(Box::new(self.key_holder(&digest).await?)), Timestamp::MAX),
            None if bearer.0.starts_with(keys::MARKER) => return Err(Error::invalid_key()),
            None => {
                let claims = self.signer.verify(bearer.0, now).ok_or_else(invalid_token)?;
                let person = self.person_of(&claims.sid, &claims.sub, &claims.org, now).await?;
                (Holder::Person(person), Timestamp::from_second(claims.exp).unwrap_or(now))
            }
        };
        Ok(self.recent.bearers.remember(generation, digest, holder, (now + RELIED_ON).min(ends)))
    }

    /// The holder of a session that lives at `now`.
    pub(crate) async fn person_of(
        &self,
        session: &SessionId,
        user: &UserId,
        organization: &OrganizationId,
        now: Timestamp,
    ) -> Result<Person, Error> {
        let live = sessions::find(&self.store, session).await?.ok_or_else(invalid_token)?;
        let belongs = &live.session.user == user && &live.session.organization == organization;
        if !belongs {
            return Err(invalid_token());
        }
        if !self.lives(&self.store, &live, now).await? {
            self.end_if_lapsed(&live, now).await?;
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

    /// Whether a session still stands: not ended, not outlived, issued under the present epoch, to an active member, on
    /// proofs that are still enough, by the word of nobody whom the deployment no longer offers.
    pub(crate) async fn lives(
        &self,
        source: &impl Source,
        live: &LiveSession,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let session = &live.session;
        let settings = self.security_of(source, &session.organization).await?.value;
        let factors = second_factors::of(source, &session.user).await?.list();
        let asks = self.asks_of(source, &live.membership, &settings.mfa).await?;
        let standing = standing_in(live, &factors, &asks);
        let ends_by = live.federation.as_ref().and_then(|federation| federation.ends_by);
        if let Some(federation) = &live.federation
            && !self.still_offers(source, &federation.source).await?
        {
            return Ok(false);
        }
        Ok(session.ended_at.is_none()
            && session.epoch == live.epoch
            && ends_by.is_none_or(|end| now < end)
            && may_go_on(&standing, &session.proofs, now)
            && settings.session.lapse(session.created_at, session.active_at, now).is_none())
    }

    /// Ends a session that is found to have lapsed: a longer time-out, which may be set later, does not bring back what its
    /// holder was told to be over.
    pub(crate) async fn end_if_lapsed(&self, live: &LiveSession, now: Timestamp) -> Result<(), Error> {
        let session = &live.session;
        let settings = self.security_of(&self.store, &session.organization).await?.value.session;
        let has_lapsed = settings.lapse(session.created_at, session.active_at, now).is_some();
        if session.ended_at.is_some() || !has_lapsed {
            return Ok(());
        }
        let tx = self.store.begin_write().await?;
        sessions::end_as_read(&tx, session, now).await?;
        Ok(tx.commit().await?)
    }
}

/// What is known of the holder of a session that lives.
pub(crate) fn standing_in<'a>(live: &LiveSession, factors: &'a [Factor], asks: &'a Asks) -> Standing<'a> {
    Standing {
        email_verified: true,
        membership: live.membership.state,
        password: None,
        factors,
        asks,
        // That is asked of whoever comes in; whoever is in stays until the session ends.
        sso_required: false,
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

/// Whose bearer it is.
pub(crate) enum Holder {
    Person(Person),
    /// A key is judged and counted at each use.
    Key(Box<KeyHolder>),
}
