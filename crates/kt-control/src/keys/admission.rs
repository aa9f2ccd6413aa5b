//! Whether a key that comes with a request may be used for it: at this moment, from this address, this often.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::{Actor, Program, Scope};
use kt_domain::allowance::Allowance;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::keys::{KeyRestrictions, Verdict, effective_rate, judge};
use kt_domain::secret::SecretDigest;
use kt_domain::sign_in::MembershipState;
use kt_store::keys::{self, LiveKey};

use crate::authenticate::Authenticated;
use crate::control::Control;

/// A key, its owner's present standing, and what its organisation demands of it.
pub(crate) struct KeyHolder {
    live: LiveKey,
    restrictions: KeyRestrictions,
}

impl KeyHolder {
    fn require_admission(&self, ip: Option<IpAddr>, now: Timestamp) -> Result<(), Error> {
        let key = &self.live.key;
        if let Verdict::Refused(refusal) = judge(&key.terms, &self.restrictions, ip, now) {
            return Err(Error::from(refusal).with_private(&key.id));
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
        let restrictions = self.security_of(&self.store, &live.key.organization).await?.value.api_keys;
        Ok(KeyHolder { live, restrictions })
    }

    /// Whom a request with this key comes from, once it is judged and counted.
    pub(crate) async fn admit_key(
        &self,
        holder: &KeyHolder,
        ip: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Authenticated, Error> {
        let key = &holder.live.key;
        holder.require_admission(ip, now)?;
        let allowance = self.count_key_use(holder, now).await?;
        self.key_uses.note(key, ip, now);
        Ok(Authenticated { actor: Actor::Program(program_of(&holder.live)), allowance })
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
        let Some(limit) = effective_rate(&key.terms, &holder.restrictions) else { return Ok(None) };
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
