//! Whether a key that comes with a request may be used for it: at this moment, from this address, this often.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::{Actor, KeyKind, Program, Role, Scope};
use kt_domain::allowance::Allowance;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::keys::{KeyRestrictions, Verdict, effective_rate, judge, usual_rate};
use kt_domain::mfa::MfaSettings;
use kt_domain::secret::SecretDigest;
use kt_domain::sign_in::MembershipState;
use kt_store::keys::{self, LiveKey};
use kt_store::memberships::{self, Member};
use kt_store::order::Part;

use crate::authenticate::Authenticated;
use crate::control::Control;
use crate::members::{lacking, mfa_deadline};

/// A key, its owner's present standing, and what its organization demands of it.
pub(crate) struct KeyHolder {
    live: LiveKey,
    restrictions: KeyRestrictions,
    closed_from: Option<Timestamp>,
}

impl KeyHolder {
    fn require_admission(&self, ip: Option<IpAddr>, now: Timestamp) -> Result<(), Error> {
        let key = &self.live.key;
        if let Verdict::Refused(refusal) = judge(&key.terms, &self.restrictions, ip, now) {
            return Err(Error::from(refusal).with_private(&key.id));
        }
        if self.closed_from.is_some_and(|closed_from| closed_from <= now) {
            return Err(owner_must_enroll().with_private(&key.id));
        }
        Ok(())
    }
}

/// The window in which uses are counted.
const MINUTE: Duration = Duration::from_mins(1);

impl Control {
    /// The key whose text has this digest, with an owner who may act at this moment.
    pub(crate) async fn key_holder(&self, digest: &SecretDigest) -> Result<KeyHolder, Error> {
        self.holder_of(keys::by_digest(&self.store, digest).await?).await
    }

    async fn holder_of(&self, live: Option<LiveKey>) -> Result<KeyHolder, Error> {
        let live = live.filter(|live| live.owner_state == MembershipState::Active);
        let live = live.ok_or_else(Error::invalid_key)?;
        let settings = self.security_of(&self.store, &live.key.organization).await?.value;
        let closed_from = self.closed_from(&live, &settings.mfa).await?;
        Ok(KeyHolder { live, restrictions: settings.api_keys, closed_from })
    }

    /// From when on this key does nothing until its owner has added the second factor that they lack: a key is no way round
    /// what its owner is asked for. Only those that act for a person are closed.
    async fn closed_from(&self, live: &LiveKey, mfa: &MfaSettings) -> Result<Option<Timestamp>, Error> {
        if live.key.kind != KeyKind::Access || !mfa.asks(live.owner_role) {
            return Ok(None);
        }
        let owner = memberships::member(&self.store, &live.key.organization, &live.key.owner).await?;
        Ok(owner.and_then(|owner| mfa_deadline(&owner, mfa)))
    }

    /// The same for everybody in an organization to whom it happens. An owner is asked whenever anybody is.
    pub(crate) async fn owners_closed_to(
        &self,
        organization: &OrganizationId,
        mfa: &MfaSettings,
    ) -> Result<HashMap<UserId, Timestamp>, Error> {
        if !mfa.asks(Role::Owner) {
            return Ok(HashMap::new());
        }
        let lacking = memberships::members(&self.store, organization, lacking(mfa), Part::whole()).await?;
        let closed = |owner: Member| Some((owner.membership.user.clone(), mfa_deadline(&owner, mfa)?));
        Ok(lacking.into_iter().filter_map(closed).collect())
    }

    /// Whom a request with this key comes from, once it is judged and counted. A refusal is recorded.
    pub(crate) async fn admit_key(&self, ctx: &Ctx, holder: &KeyHolder) -> Result<Authenticated, Error> {
        let actor = Actor::Program(program_of(&holder.live));
        match self.use_key(ctx, holder).await {
            Ok(allowance) => Ok(Authenticated { actor, allowance }),
            Err(refusal) => {
                Box::pin(self.record_refused_key(ctx, actor, &refusal)).await;
                Err(refusal)
            }
        }
    }

    async fn use_key(&self, ctx: &Ctx, holder: &KeyHolder) -> Result<Option<Allowance>, Error> {
        holder.require_admission(ctx.client.ip, ctx.now)?;
        let allowance = self.count_key_use(holder, ctx.now).await?;
        self.key_uses.note(&holder.live.key, ctx.client.ip, ctx.now);
        Ok(allowance)
    }

    /// Refuses a program whose key may no longer be used, though it could when it began to wait.
    pub(crate) async fn still_admits(&self, ctx: &Ctx) -> Result<(), Error> {
        let Actor::Program(program) = &ctx.actor else { return Ok(()) };
        let (programs, now) = (&self.recent.programs, self.clock.now());
        let holder = if let Some(remembered) = programs.get(&program.key, now) {
            remembered
        } else {
            let generation = programs.generation();
            let holder = self.holder_of(keys::find(&self.store, &program.key).await?).await?;
            programs.remember(generation, program.key.clone(), holder, Timestamp::MAX)
        };
        holder.require_admission(ctx.client.ip, now)
    }

    /// Counts one more use in the minute that began with the first, over all processes; tells what is left.
    async fn count_key_use(&self, holder: &KeyHolder, now: Timestamp) -> Result<Option<Allowance>, Error> {
        let key = &holder.live.key;
        let limit = effective_rate(&key.terms, &holder.restrictions).or(usual_rate(key.kind));
        let Some(limit) = limit else { return Ok(None) };
        let uses = self.count(&format!("key/{}", key.id), MINUTE, now).await?;
        let left = i64::from(limit) - uses.count;
        let allowance = Allowance {
            limit,
            window: MINUTE,
            left: u32::try_from(left).unwrap_or(0),
            renewed_in: uses.left,
        };
        if left >= 0 {
            return Ok(Some(allowance));
        }
        let message =
            format!("This API key may be used {limit} times a minute. Wait as long as `Retry-After` says.");
        Err(Error::new(ErrorKind::TooManyRequests, "rate_limited", message)
            .with_allowance(allowance)
            .with_private(&key.id))
    }
}

fn owner_must_enroll() -> Error {
    let message = "The owner of this API key has not added the second factor that their organization asks for. It works \
                   again as soon as they have: they sign in to the console and follow what it shows.";
    Error::new(ErrorKind::Forbidden, "mfa_enrollment_required", message)
}

/// The program that acts by a key.
pub(crate) fn program_of(LiveKey { key, owner_role, .. }: &LiveKey) -> Program {
    Program {
        key: key.id.clone(),
        name: key.name.clone(),
        kind: key.kind,
        organization: key.organization.clone(),
        owner: key.owner.clone(),
        owner_role: *owner_role,
        scope: key.terms.scope.unwrap_or(Scope::ReadOnly),
    }
}
