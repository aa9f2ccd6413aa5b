//! Signed checkpoints: how far each chain had come at a time, so that no one can shorten or rewrite it unnoticed.

use jiff::Timestamp;
use kt_domain::actor::Permission;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::events::{Head, PublicKey};
use kt_domain::random::Random;
use kt_store::audit::{self, SigningKey};
use kt_store::{CheckpointKey, Store, Tx};

use crate::control::Control;
use crate::seal::SealKey;

/// Where the private part of the key is sealed.
const PLACE: &str = "audit_signing_key";

/// The deployment's key for checkpoints. Made once: what it has signed is verified with it for ever.
pub(crate) struct AuditKey(CheckpointKey);

impl AuditKey {
    /// The key that the store holds; made where there is none.
    pub(crate) async fn load(
        store: &Store,
        seal: &SealKey,
        random: &mut Random,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let stored = match audit::signing_key(store).await? {
            Some(stored) => stored,
            None => make(store, seal, random, now).await?,
        };
        let document = seal.open(PLACE, &stored.private_key_sealed)?;
        CheckpointKey::from_pkcs8(&document).map(Self).map_err(Error::internal)
    }

    pub(super) fn public(&self) -> PublicKey {
        self.0.public()
    }
}

/// Refuses a key that does not open what this store holds: it is the key of another one. A store that holds nothing yet takes any.
pub async fn require_seal_of(store: &Store, seal: &SealKey) -> Result<(), Error> {
    match audit::signing_key(store).await? {
        Some(stored) => seal.open(PLACE, &stored.private_key_sealed).map(drop),
        None => Ok(()),
    }
}

async fn make(
    store: &Store,
    seal: &SealKey,
    random: &mut Random,
    now: Timestamp,
) -> Result<SigningKey, Error> {
    let (key, document) = CheckpointKey::generate().map_err(Error::internal)?;
    let made = SigningKey {
        public_key: key.public().to_string(),
        private_key_sealed: seal.seal(PLACE, &document, random)?,
        created_at: now,
    };
    let tx = store.begin_write().await?;
    let kept = audit::insert_signing_key(&tx, &made).await?;
    tx.commit().await?;
    Ok(kept)
}

impl Control {
    /// What the checkpoints of the audit log are verified with.
    pub fn audit_public_key(&self, ctx: &Ctx) -> Result<PublicKey, Error> {
        ctx.require(Permission::ReadAudit)?;
        Ok(self.audit_key.public())
    }

    /// Signs every chain that has grown since its last checkpoint; tells how many.
    pub async fn checkpoint_audit(&self, now: Timestamp) -> Result<usize, Error> {
        let chains = audit::unsigned(&self.store).await?;
        for chain in &chains {
            let tx = self.store.begin_write().await?;
            self.checkpoint_chain(&tx, chain, now).await?;
            tx.commit().await?;
        }
        Ok(chains.len())
    }

    /// Ends the chain in a checkpoint; tells where it ends then.
    pub(super) async fn checkpoint_chain(
        &self,
        tx: &Tx<'_>,
        chain: &str,
        now: Timestamp,
    ) -> Result<Head, Error> {
        let sign = |head| self.audit_key.0.checkpoint(chain.into(), head, now);
        Ok(audit::append_checkpoint(tx, chain, now, sign).await?)
    }
}
