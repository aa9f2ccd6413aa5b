//! People, and the passwords they have and had.

use jiff::Timestamp;
use kt_domain::email::EmailAddress;
use kt_domain::id::UserId;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their identifier.
    pub id: UserId,
    /// Their address as they typed it.
    pub email: String,
    /// Its form for comparison, unique among all people.
    pub email_folded: String,
    /// When they showed that they read its mail.
    pub email_verified_at: Option<Timestamp>,
    /// What they are called.
    pub name: String,
    /// Their password, if they have one.
    pub password: Option<Password>,
    /// What was issued under an older epoch is dead.
    pub epoch: i64,
    /// When they came.
    pub created_at: Timestamp,
}

/// A password as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    /// Its hash, a PHC string.
    pub hash: String,
    /// When it was set.
    pub set_at: Timestamp,
    /// Until when a temporary one is good; it must be replaced at the first sign-in.
    pub temporary_until: Option<Timestamp>,
    /// Whether it breaks the present policy.
    pub breaks_policy: bool,
}

/// Adds a person. [`StoreError::Exists`] when the address is taken.
pub async fn insert(tx: &Tx<'_>, user: &User) -> Result<(), StoreError> {
    if insert_unless_known(tx, user).await? { Ok(()) } else { Err(StoreError::Exists) }
}

/// Adds a person unless the address is taken; tells whether it was done.
pub async fn insert_unless_known(tx: &Tx<'_>, user: &User) -> Result<bool, StoreError> {
    const INSERT: &str = "INSERT INTO users (id, email, email_folded, email_verified_at, name, password_hash,
            password_set_at, password_temporary_until, password_breaks_policy, epoch, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (email_folded) DO NOTHING";
    let password = user.password.as_ref();
    let values = values![
        user.id.as_str(),
        &user.email,
        &user.email_folded,
        user.email_verified_at,
        &user.name,
        password.map(|password| password.hash.clone()),
        password.map(|password| password.set_at),
        password.and_then(|password| password.temporary_until),
        password.is_some_and(|password| password.breaks_policy),
        user.epoch,
        user.created_at,
    ];
    Ok(sql::execute(tx, INSERT, values).await? == 1)
}

/// The person with this id.
pub async fn find(source: &impl Source, id: &UserId) -> Result<Option<User>, StoreError> {
    sql::row(source, "SELECT * FROM users WHERE id = $1", values![id.as_str()])
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// The person with this address, given in its folded form.
pub async fn by_email(source: &impl Source, folded: &str) -> Result<Option<User>, StoreError> {
    sql::row(source, "SELECT * FROM users WHERE email_folded = $1", values![folded])
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// Sets the password that is in force from now on, keeps the one before in the history, and ends everything that was
/// issued before: the epoch goes up. `false`, and nothing changed, when the epoch is no longer the one given.
pub async fn set_password(
    tx: &Tx<'_>,
    user: &UserId,
    epoch: i64,
    password: &Password,
) -> Result<bool, StoreError> {
    const KEEP: &str = "INSERT INTO password_history (user_id, set_at, password_hash)
        SELECT id, password_set_at, password_hash FROM users
        WHERE id = $1 AND password_hash IS NOT NULL AND epoch = $2
        ON CONFLICT (user_id, set_at) DO NOTHING";
    const UPDATE: &str =
        "UPDATE users SET password_hash = $3, password_set_at = $4, password_temporary_until = $5,
            password_breaks_policy = $6, epoch = epoch + 1
        WHERE id = $1 AND epoch = $2";
    sql::execute(tx, KEEP, values![user.as_str(), epoch]).await?;
    let values = values![
        user.as_str(),
        epoch,
        &password.hash,
        password.set_at,
        password.temporary_until,
        password.breaks_policy,
    ];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Puts a hash made with newer parameters in place of the one given; the password stays the same.
pub async fn rehash(tx: &Tx<'_>, user: &UserId, old: &str, new: &str) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2";
    sql::execute(tx, UPDATE, values![user.as_str(), old, new]).await?;
    Ok(())
}

/// Notes whether the password with this hash breaks the present policy.
pub async fn note_breach(tx: &Tx<'_>, user: &UserId, hash: &str, breaks: bool) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE users SET password_breaks_policy = $3 WHERE id = $1 AND password_hash = $2";
    sql::execute(tx, UPDATE, values![user.as_str(), hash, breaks]).await?;
    Ok(())
}

/// The hashes of the last `count` passwords before the present one, the newest first.
pub async fn past_passwords(
    source: &impl Source,
    user: &UserId,
    count: u32,
) -> Result<Vec<String>, StoreError> {
    const SELECT: &str =
        "SELECT password_hash FROM password_history WHERE user_id = $1 ORDER BY set_at DESC LIMIT $2";
    let rows = sql::rows(source, SELECT, values![user.as_str(), i64::from(count)]).await?;
    rows.iter().map(|row| row.get("password_hash")).collect()
}

/// Ends everything that was issued to them: sessions, refresh tokens, links, steps of a sign-in.
pub async fn end_everything(tx: &Tx<'_>, user: &UserId) -> Result<(), StoreError> {
    sql::execute(tx, "UPDATE users SET epoch = epoch + 1 WHERE id = $1", values![user.as_str()]).await?;
    Ok(())
}

/// Notes that they read the mail of their address, given in its folded form. `false` when it is no longer theirs.
pub async fn verify_email(
    tx: &Tx<'_>,
    user: &UserId,
    folded: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE users SET email_verified_at = COALESCE(email_verified_at, $3) WHERE id = $1 AND email_folded = $2";
    Ok(sql::execute(tx, UPDATE, values![user.as_str(), folded, now]).await? == 1)
}

/// Gives them another address in place of the one given in its folded form, and counts it as verified. `false` when that
/// is no longer theirs; [`StoreError::Exists`] when the new one is somebody's.
pub async fn change_email(
    tx: &Tx<'_>,
    user: &UserId,
    old_folded: &str,
    new: &EmailAddress,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE users SET email = $3, email_folded = $4, email_verified_at = $5
        WHERE id = $1 AND email_folded = $2";
    let values = values![user.as_str(), old_folded, new.as_typed(), new.folded(), now];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Puts name and password of a newer registration in place of those of an earlier one whose address was never verified, or
/// takes the password away, and ends everything that was issued for that. `false` when the address is verified.
pub async fn replace_unverified(
    tx: &Tx<'_>,
    user: &UserId,
    name: &str,
    password: Option<&Password>,
) -> Result<bool, StoreError> {
    const UPDATE: &str =
        "UPDATE users SET name = $2, password_hash = $3, password_set_at = $4, password_temporary_until = $5,
            password_breaks_policy = $6, epoch = epoch + 1
        WHERE id = $1 AND email_verified_at IS NULL";
    let values = values![
        user.as_str(),
        name,
        password.map(|password| password.hash.clone()),
        password.map(|password| password.set_at),
        password.and_then(|password| password.temporary_until),
        password.is_some_and(|password| password.breaks_policy),
    ];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Wipes whatever an account was opened with whose address nobody had shown to be theirs, ends everything that was issued
/// for that, and counts the address as verified from now on. `false`, and nothing changed, when it was verified before.
pub async fn take_over_unverified(tx: &Tx<'_>, user: &UserId, now: Timestamp) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE users SET password_hash = NULL, password_set_at = NULL,
            password_temporary_until = NULL, password_breaks_policy = FALSE, email_verified_at = $2, epoch = epoch + 1
        WHERE id = $1 AND email_verified_at IS NULL";
    if sql::execute(tx, UPDATE, values![user.as_str(), now]).await? == 0 {
        return Ok(false);
    }
    sql::execute(tx, "DELETE FROM password_history WHERE user_id = $1", values![user.as_str()]).await?;
    sql::execute(tx, "DELETE FROM known_devices WHERE user_id = $1", values![user.as_str()]).await?;
    Ok(true)
}

/// Forgets a registration that nobody has made theirs: its address was never verified, and it was let in nowhere. `false`, and
/// nothing changed, for any other account.
pub async fn forget_unclaimed(tx: &Tx<'_>, user: &UserId) -> Result<bool, StoreError> {
    const WAITS: &str = "DELETE FROM memberships WHERE user_id = $1";
    lock(tx, user).await?;
    if !is_unclaimed(tx, user).await? {
        return Ok(false);
    }
    sql::execute(tx, WAITS, values![user.as_str()]).await?;
    forget_stranger(tx, user).await?;
    Ok(true)
}

/// Whether it is a registration whose address was never verified, and which was let in nowhere: at most it waits.
pub async fn is_unclaimed(source: &impl Source, user: &UserId) -> Result<bool, StoreError> {
    const SELECT: &str = "SELECT id FROM users WHERE id = $1 AND email_verified_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM memberships WHERE user_id = $1 AND state <> 'pending_approval')
        AND NOT EXISTS (SELECT 1 FROM sessions WHERE user_id = $1)
        AND NOT EXISTS (SELECT 1 FROM external_identities WHERE user_id = $1)";
    Ok(sql::row(source, SELECT, values![user.as_str()]).await?.is_some())
}

/// Forgets somebody who belongs nowhere and never has: a registration that was rejected.
pub async fn forget_stranger(tx: &Tx<'_>, user: &UserId) -> Result<(), StoreError> {
    const HISTORY: &str = "DELETE FROM password_history WHERE user_id = $1
        AND NOT EXISTS (SELECT 1 FROM memberships WHERE user_id = $1)
        AND NOT EXISTS (SELECT 1 FROM sessions WHERE user_id = $1)
        AND NOT EXISTS (SELECT 1 FROM external_identities WHERE user_id = $1)";
    const USER: &str = "DELETE FROM users WHERE id = $1
        AND NOT EXISTS (SELECT 1 FROM memberships WHERE user_id = $1)
        AND NOT EXISTS (SELECT 1 FROM sessions WHERE user_id = $1)
        AND NOT EXISTS (SELECT 1 FROM external_identities WHERE user_id = $1)";
    sql::execute(tx, HISTORY, values![user.as_str()]).await?;
    sql::execute(tx, USER, values![user.as_str()]).await?;
    Ok(())
}

/// Holds somebody still until the transaction ends, so that what is counted of theirs (their second factors) stays true.
pub async fn lock(tx: &Tx<'_>, user: &UserId) -> Result<(), StoreError> {
    if tx.locks_rows() {
        sql::row(tx, "SELECT id FROM users WHERE id = $1 FOR UPDATE", values![user.as_str()]).await?;
    }
    Ok(())
}

/// Gives them another name.
pub async fn rename(tx: &Tx<'_>, user: &UserId, name: &str) -> Result<(), StoreError> {
    sql::execute(tx, "UPDATE users SET name = $2 WHERE id = $1", values![user.as_str(), name]).await?;
    Ok(())
}

/// Whether this device has signed in to this account before; notes that it was seen.
pub async fn recognize_device(
    tx: &Tx<'_>,
    user: &UserId,
    digest: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE known_devices SET seen_at = $3 WHERE user_id = $1 AND digest = $2";
    Ok(sql::execute(tx, UPDATE, values![user.as_str(), digest, now]).await? == 1)
}

/// Whether this device has signed in before to the account of this folded address, if there is one.
pub async fn knows_device(source: &impl Source, folded: &str, digest: &str) -> Result<bool, StoreError> {
    const SELECT: &str = "SELECT known_devices.digest FROM known_devices
        JOIN users ON users.id = known_devices.user_id WHERE users.email_folded = $1 AND known_devices.digest = $2";
    Ok(sql::row(source, SELECT, values![folded, digest]).await?.is_some())
}

/// Whether any device has signed in to this account.
pub async fn has_device(source: &impl Source, user: &UserId) -> Result<bool, StoreError> {
    const SELECT: &str = "SELECT digest FROM known_devices WHERE user_id = $1 LIMIT 1";
    Ok(sql::row(source, SELECT, values![user.as_str()]).await?.is_some())
}

/// Remembers a device that has signed in to this account.
pub async fn remember_device(
    tx: &Tx<'_>,
    user: &UserId,
    digest: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    const INSERT: &str =
        "INSERT INTO known_devices (user_id, digest, created_at, seen_at) VALUES ($1, $2, $3, $3)
        ON CONFLICT (user_id, digest) DO NOTHING";
    sql::execute(tx, INSERT, values![user.as_str(), digest, now]).await?;
    Ok(())
}

/// Forgets the devices that have not signed in since this time. The last one of somebody stays: that another is new is told by
/// it.
pub async fn forget_devices(tx: &Tx<'_>, unseen_since: Timestamp) -> Result<u64, StoreError> {
    const DELETE: &str = "DELETE FROM known_devices WHERE seen_at < $1 AND EXISTS (
        SELECT 1 FROM known_devices later WHERE later.user_id = known_devices.user_id
            AND (later.seen_at > known_devices.seen_at
                OR (later.seen_at = known_devices.seen_at AND later.digest > known_devices.digest)))";
    sql::execute(tx, DELETE, values![unseen_since]).await
}

fn read(row: &Row) -> Result<User, StoreError> {
    let hash: Option<String> = row.get("password_hash")?;
    let password = hash.map(|hash| {
        Ok::<_, StoreError>(Password {
            hash,
            set_at: row.time("password_set_at")?,
            temporary_until: row.time_opt("password_temporary_until")?,
            breaks_policy: row.get("password_breaks_policy")?,
        })
    });
    Ok(User {
        id: row.parsed("id")?,
        email: row.get("email")?,
        email_folded: row.get("email_folded")?,
        email_verified_at: row.time_opt("email_verified_at")?,
        name: row.get("name")?,
        password: password.transpose()?,
        epoch: row.get("epoch")?,
        created_at: row.time("created_at")?,
    })
}
