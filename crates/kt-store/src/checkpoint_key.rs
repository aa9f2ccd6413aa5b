//! The Ed25519 key that signs how far a chain has come.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use jiff::Timestamp;
use kt_domain::events::{Checkpoint, Head, PublicKey};

use crate::event_log::rfc_3339;

/// Signs checkpoints.
pub struct CheckpointKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

/// Not an Ed25519 key in PKCS#8, or none could be made for want of randomness.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it is no Ed25519 key (PKCS#8, DER)")]
pub struct KeyRejected;

impl CheckpointKey {
    /// A new key, and its PKCS#8 document to be kept.
    pub fn generate() -> Result<(Self, Vec<u8>), KeyRejected> {
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(|_| KeyRejected)?;
        Ok((Self::from_pkcs8(document.as_ref())?, document.as_ref().to_vec()))
    }

    /// The key in a PKCS#8 document.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, KeyRejected> {
        let pair = Ed25519KeyPair::from_pkcs8(document).map_err(|_| KeyRejected)?;
        let bytes = pair.public_key().as_ref().try_into().map_err(|_| KeyRejected)?;
        Ok(Self { pair, public: PublicKey(bytes) })
    }

    /// What its signatures are verified with.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// A signed statement that the chain of `name` has reached `head`.
    #[must_use]
    pub fn checkpoint(&self, name: Arc<str>, head: Head, now: Timestamp) -> Checkpoint {
        let checkpoint = Checkpoint {
            gateway_id: name,
            hash: head.hash,
            key_id: self.public.id(),
            seq: head.seq,
            signature: String::new(),
            timestamp: rfc_3339(now),
        };
        let signature = self.pair.sign(&checkpoint.message());
        let mut bytes = [0; 64];
        bytes.copy_from_slice(signature.as_ref());
        checkpoint.signed(&bytes)
    }
}

/// Whether `checkpoint` was signed with the private half of `key`.
#[must_use]
pub fn is_signed_with(checkpoint: &Checkpoint, key: &PublicKey) -> bool {
    let Some(signature) = checkpoint.signature() else { return false };
    UnparsedPublicKey::new(&ED25519, key.0).verify(&checkpoint.message(), &signature).is_ok()
}
