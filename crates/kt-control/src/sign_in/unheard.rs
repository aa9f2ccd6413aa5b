//! What a network tries at sign-in once it has had its tries: no password and no account is looked at. It is counted to the
//! last one and recorded together, since the audit chain must not grow as fast as a stranger can send.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::email::EmailAddress;
use kt_domain::error::Error;
use kt_domain::lockout::{counts_of_networks, network_of};
use kt_domain::secret::SecretDigest;
use kt_store::{audit, limits, organizations, users};
use serde_json::{Value, json};

use crate::control::Control;

/// The tries of one network are recorded together, once in this time.
const RECORDED_EVERY: Duration = Duration::from_mins(1);

/// So many networks are told apart at most; in a flood of more, the tries of the others are counted as [`OTHERS`].
const MOST: usize = 2000;

/// All networks that are not told apart.
const OTHERS: &str = "other networks";

/// The tries of networks that were not listened to, as long as they are not recorded.
#[derive(Default)]
pub(crate) struct Unheard(Mutex<HashMap<String, Tries>>);

/// The tries of one network.
#[derive(Clone)]
struct Tries {
    first: Ctx,
    count: u64,
}

impl Unheard {
    pub(super) fn note(&self, ctx: &Ctx) {
        let network = ctx.client.ip.map(|ip| network_of(ip).to_string()).unwrap_or_default();
        let mut networks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_told_apart = networks.len() < MOST || networks.contains_key(&network);
        let name = if is_told_apart { network } else { OTHERS.to_owned() };
        networks.entry(name).or_insert_with(|| Tries { first: ctx.clone(), count: 0 }).count += 1;
    }

    /// What is to be recorded by now.
    fn due(&self, now: Timestamp) -> Vec<(String, Tries)> {
        let networks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = |tries: &Tries| now.duration_since(tries.first.now).unsigned_abs() >= RECORDED_EVERY;
        let due = networks.iter().filter(|(_, tries)| is_due(tries));
        due.map(|(network, tries)| (network.clone(), tries.clone())).collect()
    }

    /// Forgets what was recorded, and keeps what has come since.
    fn settle(&self, recorded: &[(String, Tries)], now: Timestamp) {
        let mut networks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (network, Tries { count, .. }) in recorded {
            if let Some(tries) = networks.get_mut(network) {
                tries.count -= count;
                tries.first.now = now;
            }
        }
        networks.retain(|_, tries| tries.count > 0);
    }
}

impl Control {
    /// Whether this comes from a network that has had its tries, and from no device that is known to the account. It is asked
    /// before anything of the account is looked up: where no password is hashed, any such look would tell by the clock who is
    /// there (ATTACKS I42).
    pub(super) async fn is_unheard(
        &self,
        ctx: &Ctx,
        email: Option<&EmailAddress>,
        device: Option<&str>,
    ) -> Result<bool, Error> {
        let mut has_had_its_tries = false;
        for count in ctx.client.ip.map(counts_of_networks).unwrap_or_default() {
            let tries = limits::current(&self.store, &count.key, ctx.now).await?;
            has_had_its_tries |= tries >= i64::from(count.limit);
        }
        let (true, Some(email), Some(device)) = (has_had_its_tries, email, device) else {
            return Ok(has_had_its_tries);
        };
        let digest = SecretDigest::of(device).to_string();
        Ok(!users::knows_device(&self.store, &email.folded(), &digest).await?)
    }

    /// Records the tries that were not listened to, each network's together.
    pub(crate) async fn record_unheard(&self, ctx: &Ctx) -> Result<(), Error> {
        let due = self.unheard.due(ctx.now);
        if due.is_empty() {
            return Ok(());
        }
        let tx = self.store.begin_write().await?;
        let organization = organizations::only(&tx).await?;
        for (network, Tries { first, count }) in &due {
            let what = json!({ "reason": "network_locked", "tries": count, "since": first.now.to_string() });
            let record = self
                .record(&Ctx { now: ctx.now, ..first.clone() }, AuditAction::SignIn, network.as_str())
                .with_change(Value::Null, what)
                .refused();
            audit::append(&tx, organization.as_ref(), &record).await?;
        }
        tx.commit().await?;
        self.unheard.settle(&due, ctx.now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kt_domain::actor::Actor;
    use kt_domain::ctx::Client;

    use super::*;

    #[test]
    fn any_number_of_networks_takes_bounded_memory_and_each_try_is_counted_once() {
        let (start, unheard) = (Timestamp::UNIX_EPOCH, Unheard::default());
        let note = |n: u32| {
            let ip = Some(std::net::Ipv4Addr::from_bits(n << 8).into());
            let client = Client { ip, user_agent: None };
            unheard.note(&Ctx { actor: Actor::Anonymous, client, request_id: String::new(), now: start });
        };
        let all = u32::try_from(MOST).unwrap() + 500;
        (0..all).for_each(note);
        note(0);
        assert!(unheard.due(start + Duration::from_secs(59)).is_empty());
        let now = start + RECORDED_EVERY;
        let due = unheard.due(now);
        assert_eq!(due.len(), MOST + 1);
        let count = |due: &[(String, Tries)]| due.iter().map(|(_, tries)| tries.count).sum::<u64>();
        assert_eq!(count(&due), u64::from(all) + 1);
        note(1);
        unheard.settle(&due, now);
        assert!(unheard.due(now).is_empty(), "what came meanwhile waits its time");
        assert_eq!(count(&unheard.due(now + RECORDED_EVERY)), 1);
    }
}
