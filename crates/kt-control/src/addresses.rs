//! The check of where a request comes from, before anything else is looked at (R51).
//!
//! Rules are compiled once for each version of an organization's lists. Another process's change is seen within a
//! second, one of this process at once. A check that cannot be made lets nobody in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::Actor;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::OrganizationId;
use kt_domain::lockout::network_of;
use kt_domain::network::console_rules::{ConsoleRules, Denial, IpRestrictions, Surface};
use kt_store::{Source, Tx, audit, organizations};
use serde_json::{Value, json};

use crate::authenticate::RELIED_ON;
use crate::control::Control;
use crate::ip_restrictions::IP_RESTRICTIONS;
use crate::sparingly::Sparingly;

/// Of refusals of one network, one is recorded in this time.
const RECORDED_EVERY: Duration = Duration::from_mins(1);

/// What is known about the rules of all organizations.
pub(crate) struct Addresses {
    known: Mutex<Known>,
    /// The networks whose refusals were recorded of late.
    recorded: Sparingly<String>,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { known: Mutex::default(), recorded: Sparingly::new(RECORDED_EVERY) }
    }
}

#[derive(Clone, Default)]
struct Known {
    looked_at: Option<Timestamp>,
    /// Goes up with every change of this process: what was asked for before it is not remembered after it.
    generation: u64,
    rules: Rules,
}

/// The rules of each organization, and the version of the lists that they were compiled from.
type Rules = Arc<HashMap<OrganizationId, (i64, Arc<ConsoleRules>)>>;

impl Addresses {
    /// From now on the store is asked anew.
    pub(crate) fn forget(&self) {
        let mut known = lock(&self.known);
        known.looked_at = None;
        known.generation += 1;
    }

    /// Whether a refusal is to be recorded, which it then counts as.
    fn takes_record(
        &self,
        organization: Option<&OrganizationId>,
        ip: Option<IpAddr>,
        now: Timestamp,
    ) -> bool {
        let Some(network) = ip.map(network_of) else { return true };
        self.recorded.lets_through(organization, network.to_string(), now)
    }
}

impl Control {
    /// Refuses a request whose address may not reach `surface`: of whoever is known, by the rules of their
    /// organization; of anybody else, where no organization would let them in.
    pub async fn require_address(&self, ctx: &Ctx, surface: Surface) -> Result<(), Error> {
        if matches!(ctx.actor, Actor::System(_)) {
            return Ok(());
        }
        if let Some(organization) = ctx.actor.organization() {
            return self.require_address_of(ctx, organization, surface).await;
        }
        let rules = self.address_rules(&self.store, ctx.now).await?;
        let mut refusal = None;
        for (organization, (_, rules)) in &*rules {
            match rules.decide(surface, ctx.client.ip) {
                Ok(()) => return Ok(()),
                Err(denial) => refusal = Some((organization, denial)),
            }
        }
        let Some((organization, denial)) = refusal else { return Ok(()) };
        let is_only_one = rules.len() == 1;
        self.refuse_address(ctx, is_only_one.then_some(organization), &denial).await
    }

    /// The same by the rules of one organization, whoever asks.
    pub(crate) async fn require_address_of(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        surface: Surface,
    ) -> Result<(), Error> {
        match self.decide_address(&self.store, ctx, organization, surface).await? {
            Ok(()) => Ok(()),
            Err(denial) => self.refuse_address(ctx, Some(organization), &denial).await,
        }
    }

    /// The same of a way in that is under way, and therefore as part of its transaction: a refusal gives that up, so that
    /// nothing of it is used up.
    pub(crate) async fn require_address_in<'a>(
        &self,
        ctx: &Ctx,
        tx: Tx<'a>,
        organization: &OrganizationId,
        surface: Surface,
    ) -> Result<Tx<'a>, Error> {
        match self.decide_address(&tx, ctx, organization, surface).await? {
            Ok(()) => Ok(tx),
            Err(denial) => {
                drop(tx);
                Err(self.address_refusal(ctx, Some(organization), &denial).await?)
            }
        }
    }

    /// What the rules of one organization say of where a request comes from. Nothing is written.
    pub(crate) async fn decide_address(
        &self,
        source: &impl Source,
        ctx: &Ctx,
        organization: &OrganizationId,
        surface: Surface,
    ) -> Result<Result<(), Denial>, Error> {
        let rules = self.address_rules(source, ctx.now).await?;
        Ok(match rules.get(organization) {
            Some((_, rules)) => rules.decide(surface, ctx.client.ip),
            // Made since they were looked at, so nothing has been restricted yet.
            None => Ok(()),
        })
    }

    async fn address_rules(&self, source: &impl Source, now: Timestamp) -> Result<Rules, Error> {
        let known = lock(&self.addresses.known).clone();
        let is_fresh = |at: Timestamp| now.duration_since(at).unsigned_abs() < RELIED_ON;
        if known.looked_at.is_some_and(is_fresh) {
            return Ok(known.rules);
        }
        let mut rules = HashMap::new();
        for (organization, version) in organizations::versions(source, IP_RESTRICTIONS).await? {
            let compiled = match known.rules.get(&organization) {
                Some((compiled_for, compiled)) if *compiled_for == version => Arc::clone(compiled),
                _ => {
                    let kept =
                        organizations::settings::<IpRestrictions>(source, &organization, IP_RESTRICTIONS);
                    Arc::new(ConsoleRules::from(&kept.await?.value))
                }
            };
            rules.insert(organization, (version, compiled));
        }
        let rules = Arc::new(rules);
        let mut remembered = lock(&self.addresses.known);
        if remembered.generation == known.generation {
            remembered.looked_at = Some(now);
            remembered.rules = Arc::clone(&rules);
        }
        Ok(rules)
    }

    /// Refuses, and records it sparingly.
    pub(crate) async fn refuse_address(
        &self,
        ctx: &Ctx,
        organization: Option<&OrganizationId>,
        denial: &Denial,
    ) -> Result<(), Error> {
        // Few requests get here: the others carry no room for it.
        Err(Box::pin(self.address_refusal(ctx, organization, denial)).await?)
    }

    async fn address_refusal(
        &self,
        ctx: &Ctx,
        organization: Option<&OrganizationId>,
        denial: &Denial,
    ) -> Result<Error, Error> {
        if self.addresses.takes_record(organization, ctx.client.ip, ctx.now) {
            let range = match denial {
                Denial::Denied(range) => Value::from(range.to_string()),
                Denial::NotAllowed | Denial::Unresolved => Value::Null,
            };
            let tried = json!({ "matched_rule": denial.rule(), "deny_range": range });
            let resource = ctx.client.ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
            let record =
                self.record(ctx, AuditAction::IpDenied, resource).with_change(Value::Null, tried).refused();
            let tx = self.store.begin_write().await?;
            audit::append(&tx, organization, &record).await?;
            tx.commit().await?;
        }
        let message = "Your address may not reach this. Use an allowed network, or ask an administrator to allow yours.";
        Ok(Error::new(ErrorKind::Forbidden, "ip_denied", message).with_private(denial.rule()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
