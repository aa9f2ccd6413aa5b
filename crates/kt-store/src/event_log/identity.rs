//! Whose log it is: the gateway's name and the key that its checkpoints are signed with.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use kt_domain::events::{Checkpoint, Hash, Head, PublicKey};
use kt_domain::random::Random;

use super::disk::replace_file;
use super::error::{AtPath, LogError};
use super::segments;
use crate::checkpoint_key::CheckpointKey;

/// The gateway's name and key.
pub(super) struct Identity {
    pub(super) gateway_id: Arc<str>,
    pub(super) public_key: PublicKey,
    key: CheckpointKey,
}

impl Identity {
    /// The identity of the log in `directory`; made when there is no log yet.
    pub(super) fn open(directory: &Path, gateway_id: Option<&str>) -> Result<Self, LogError> {
        let key = signing_key(directory)?;
        publish(directory, &key.public())?;
        let gateway_id = gateway_name(directory, gateway_id)?;
        Ok(Self { gateway_id, public_key: key.public(), key })
    }

    /// The hash before the first entry of the log.
    pub(super) fn genesis(&self) -> Head {
        Head { seq: 0, hash: Hash::genesis(&self.gateway_id, &self.public_key) }
    }

    /// A signed statement that the chain has reached `head`.
    pub(super) fn checkpoint(&self, head: Head, now: Timestamp) -> Checkpoint {
        self.key.checkpoint(Arc::clone(&self.gateway_id), head, now)
    }
}

fn signing_key(directory: &Path) -> Result<CheckpointKey, LogError> {
    let path = directory.join("signing.key");
    match fs::read(&path) {
        Ok(bytes) => CheckpointKey::from_pkcs8(&bytes).map_err(|_| LogError::Unusable {
            path,
            problem: "is no Ed25519 key (PKCS#8, DER). Restore it from a copy".to_owned(),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => new_signing_key(directory, path),
        Err(error) => Err(error).at(&path),
    }
}

fn new_signing_key(directory: &Path, path: PathBuf) -> Result<CheckpointKey, LogError> {
    if !segments::list(directory)?.is_empty() {
        let problem = "is missing, though the log has entries that it signed. Restore it from a copy";
        return Err(LogError::Unusable { path, problem: problem.to_owned() });
    }
    let (key, document) = CheckpointKey::generate().map_err(|_| LogError::Unusable {
        path: path.clone(),
        problem: "cannot be made: the system has no randomness to give".to_owned(),
    })?;
    replace_file(&path, &document).at(&path)?;
    Ok(key)
}

/// Writes the public key beside the other one where it does not stand already, as after a crash between the two.
fn publish(directory: &Path, key: &PublicKey) -> Result<(), LogError> {
    let path = directory.join("signing.pub");
    let text = format!("{key}\n");
    if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    replace_file(&path, text.as_bytes()).at(&path)
}

fn gateway_name(directory: &Path, wanted: Option<&str>) -> Result<Arc<str>, LogError> {
    let path = directory.join("gateway_id");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let kept = text.trim();
            match wanted {
                Some(wanted) if wanted != kept => {
                    let problem = format!(
                        "says that the log belongs to the gateway {kept:?}, not to {wanted:?}. Give each gateway \
                         a data directory of its own"
                    );
                    Err(LogError::Unusable { path, problem })
                }
                _ => Ok(kept.into()),
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name =
                wanted.map_or_else(|| format!("gw_{:016x}", Random::from_os().next_u64()), str::to_owned);
            replace_file(&path, format!("{name}\n").as_bytes()).at(&path)?;
            Ok(name.into())
        }
        Err(error) => Err(error).at(&path),
    }
}
