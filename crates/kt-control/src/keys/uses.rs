//! When and from where keys were last used: noted in passing, written by a job, so that no request waits for it. Until then
//! the process that has noted it tells it besides what is written.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::error::Error;
use kt_domain::id::{ApiKeyId, OrganizationId};
use kt_store::keys::{self, ApiKey};

use crate::control::Control;

/// A use of a key is written when the last one that was written is as old as this.
const WRITTEN_EVERY: Duration = Duration::from_mins(1);

/// Uses of keys that are still to be written: the latest of each.
#[derive(Default)]
pub(crate) struct KeyUses(Mutex<HashMap<ApiKeyId, KeyUse>>);

struct KeyUse {
    organization: OrganizationId,
    at: Timestamp,
    ip: Option<IpAddr>,
    /// From when on it is written.
    due_at: Timestamp,
}

impl KeyUses {
    pub(crate) fn note(&self, key: &ApiKey, ip: Option<IpAddr>, now: Timestamp) {
        let due_at = key.last_used_at.map_or(now, |written| written + WRITTEN_EVERY);
        let organization = key.organization.clone();
        self.waiting().insert(key.id.clone(), KeyUse { organization, at: now, ip, due_at });
    }

    /// The key with its last use, though that waits to be written.
    pub(crate) fn told_of(&self, key: ApiKey) -> ApiKey {
        match self.waiting().get(&key.id) {
            Some(KeyUse { at, ip, .. }) if key.last_used_at.is_none_or(|written| written < *at) => {
                ApiKey { last_used_at: Some(*at), last_used_ip: *ip, ..key }
            }
            _ => key,
        }
    }

    fn take_due(&self, now: Timestamp) -> Vec<(ApiKeyId, KeyUse)> {
        self.waiting().extract_if(|_, waiting| waiting.due_at <= now).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<ApiKeyId, KeyUse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Writes when and from where keys were last used. What cannot be written is written after their next use.
    pub(crate) async fn write_key_uses(&self, now: Timestamp) -> Result<(), Error> {
        let mut uses = self.key_uses.take_due(now);
        if uses.is_empty() {
            return Ok(());
        }
        // In one order everywhere, so that two processes that write at once do not wait for each other forever.
        uses.sort_by(|(one, _), (other, _)| one.cmp(other));
        let tx = self.store.begin_write().await?;
        for (id, KeyUse { organization, at, ip, .. }) in &uses {
            keys::note_use(&tx, organization, id, *at, *ip).await?;
        }
        Ok(tx.commit().await?)
    }
}
