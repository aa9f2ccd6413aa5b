//! When and from where keys were last used: noted in passing, written by a job, so that no request waits for it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
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
}

impl KeyUses {
    pub(crate) fn note(&self, key: &ApiKey, ip: Option<IpAddr>, now: Timestamp) {
        if key.last_used_at.is_none_or(|last| now >= last + WRITTEN_EVERY) {
            let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let organization = key.organization.clone();
            uses.insert(key.id.clone(), KeyUse { organization, at: now, ip });
        }
    }

    fn take(&self) -> HashMap<ApiKeyId, KeyUse> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Control {
    /// Writes when and from where keys were last used. What cannot be written is written after their next use.
    pub(crate) async fn write_key_uses(&self) -> Result<(), Error> {
        let mut uses: Vec<_> = self.key_uses.take().into_iter().collect();
        if uses.is_empty() {
            return Ok(());
        }
        // In one order everywhere, so that two processes that write at once do not wait for each other forever.
        uses.sort_by(|(one, _), (other, _)| one.cmp(other));
        let tx = self.store.begin_write().await?;
        for (id, KeyUse { organization, at, ip }) in &uses {
            keys::note_use(&tx, organization, id, *at, *ip).await?;
        }
        Ok(tx.commit().await?)
    }
}
