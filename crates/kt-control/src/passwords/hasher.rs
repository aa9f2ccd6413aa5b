//! Making and checking hashes.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use kt_domain::passwords::Password;
use kt_domain::random::Random;

use super::cost::Cost;
use super::queue::{Asker, Capacity, NotRun, Queue};

/// A password's hash as it is stored: algorithm, cost, salt and hash in one text, `$argon2id$v=19$m=…,t=…,p=…$…$…`.
#[derive(Clone)]
pub struct Phc(PasswordHash);

impl Phc {
    /// The hash that a stored text describes.
    pub fn parse(stored: &str) -> Result<Self, NotAHash> {
        let hash = PasswordHash::new(stored).map_err(|_| NotAHash)?;
        let is_whole = hash.algorithm == Algorithm::Argon2id.ident()
            && hash.version == Some(Version::V0x13.into())
            && hash.salt.is_some()
            && hash.hash.is_some()
            && Params::try_from(&hash).is_ok();
        if is_whole { Ok(Self(hash)) } else { Err(NotAHash) }
    }

    /// The text to store.
    #[must_use]
    pub fn to_stored(&self) -> String {
        self.0.to_string()
    }
}

/// A stored text is not the hash of a password by Argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored password hash is damaged: restore it from a backup, or let its holder reset the password")]
pub struct NotAHash;

/// Why no hash was made or checked.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// As many are under way and waiting as may be.
    #[error("too many sign-ins at once: try again in a few seconds")]
    Overloaded,
    /// Something is wrong with the process, not with the password.
    #[error("a password could not be hashed: {0}")]
    Failed(String),
}

/// Makes and checks hashes of passwords with Argon2id, in bounded number and away from the threads that serve requests.
pub struct Hasher {
    argon2: Argon2<'static>,
    /// What is checked where there is no account.
    decoy: Phc,
    queue: Queue,
}

impl Hasher {
    /// A hasher whose new hashes have this cost. Takes as long as one hash.
    pub fn new(cost: &Cost, capacity: Capacity) -> Result<Self, HashError> {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.params().clone());
        let decoy = make(&argon2, &Random::from_os().bytes::<32>())?;
        Ok(Self { argon2, decoy, queue: Queue::new(capacity) })
    }

    /// A new hash of the password, with a salt of its own.
    pub async fn hash(&self, asker: &Asker, password: &Password) -> Result<Phc, HashError> {
        let (argon2, password) = (self.argon2.clone(), password.clone());
        self.queue.run(asker, move || make(&argon2, password.expose().as_bytes())).await?
    }

    /// Whether the password is the one that was hashed. Without a hash, for an account that does not exist or has no
    /// password, the answer is no and costs as much as any other.
    pub async fn verify(
        &self,
        asker: &Asker,
        password: &Password,
        stored: Option<&Phc>,
    ) -> Result<bool, HashError> {
        let (argon2, password, target) = (self.argon2.clone(), password.clone(), self.target(stored).clone());
        let verify = move || argon2.verify_password(password.expose().as_bytes(), &target.0).is_ok();
        let is_right = self.queue.run(asker, verify).await?;
        Ok(is_right && stored.is_some())
    }

    /// What `examine` gives: for [`check`](kt_domain::passwords::check()) and
    /// [`strength`](kt_domain::passwords::strength()), which a hostile text keeps busy for longer than a hash, and which
    /// therefore stand in the same queue.
    pub async fn examine<T: Send + 'static>(
        &self,
        asker: &Asker,
        examine: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        Ok(self.queue.run(asker, examine).await?)
    }

    /// Whether the hash has another cost than new ones, so that the next successful sign-in should replace it.
    #[must_use]
    pub fn needs_rehash(&self, stored: &Phc) -> bool {
        stored.0.params != self.decoy.0.params
    }

    fn target<'a>(&'a self, stored: Option<&'a Phc>) -> &'a Phc {
        stored.unwrap_or(&self.decoy)
    }
}

fn make(argon2: &Argon2<'_>, password: &[u8]) -> Result<Phc, HashError> {
    // Sixteen bytes of salt from the operating system.
    argon2.hash_password(password).map(Phc).map_err(|error| HashError::Failed(error.to_string()))
}

impl From<NotRun> for HashError {
    fn from(reason: NotRun) -> Self {
        match reason {
            NotRun::Full => Self::Overloaded,
            NotRun::Broken(error) => Self::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
