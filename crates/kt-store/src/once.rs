//! The one consume: everything that works once is consumed here, by one statement that changes one row.
//!
//! Whoever changes the row has won; of a thousand who try at the same time exactly one has. The change is part of the
//! caller's transaction, so that what is consumed and what is given for it are kept together or not at all.

use jiff::Timestamp;
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::secret::SecretDigest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// Something to be handed out: a link in an e-mail, a step of a sign-in, a code.
#[derive(Clone, Debug)]
pub struct OneTime<'a, T> {
    /// What is stored of the secret.
    pub digest: SecretDigest,
    /// What it is good for; it is good for nothing else.
    pub purpose: &'a str,
    /// Whom or what it is about.
    pub subject: &'a str,
    /// The epoch of the user it is about; it dies when that moves on.
    pub epoch: Option<i64>,
    /// What it carries.
    pub data: &'a T,
    /// When it is made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What a consumed one was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumed<T> {
    /// Whom or what it was about.
    pub subject: String,
    /// The epoch it was made under.
    pub epoch: Option<i64>,
    /// What it carried.
    pub data: T,
}

/// Hands one out.
pub async fn issue<T: Serialize>(tx: &Tx<'_>, token: &OneTime<'_, T>) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO one_time_tokens
            (digest, purpose, subject, epoch, data, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let values = values![
        token.digest.to_string(),
        token.purpose,
        token.subject,
        token.epoch,
        sql::document(token.data)?,
        token.created_at,
        token.expires_at,
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// Takes back those of this purpose and subject that were not used: a newer link makes the older ones useless.
pub async fn supersede(tx: &Tx<'_>, purpose: &str, subject: &str, now: Timestamp) -> Result<u64, StoreError> {
    const UPDATE: &str = "UPDATE one_time_tokens SET consumed_at = $3 WHERE purpose = $1 AND subject = $2 AND consumed_at IS NULL";
    sql::execute(tx, UPDATE, values![purpose, subject, now]).await
}

/// The same for those that were handed out at `since` or later alone.
pub async fn supersede_since(
    tx: &Tx<'_>,
    purpose: &str,
    subject: &str,
    since: Timestamp,
    now: Timestamp,
) -> Result<u64, StoreError> {
    const UPDATE: &str = "UPDATE one_time_tokens SET consumed_at = $4
        WHERE purpose = $1 AND subject = $2 AND created_at >= $3 AND consumed_at IS NULL";
    sql::execute(tx, UPDATE, values![purpose, subject, since, now]).await
}

/// Uses one up. `None` when there is none of this purpose that is still good.
pub async fn consume<T: DeserializeOwned>(
    tx: &Tx<'_>,
    purpose: &str,
    digest: &SecretDigest,
    now: Timestamp,
) -> Result<Option<Consumed<T>>, StoreError> {
    const UPDATE: &str = "UPDATE one_time_tokens SET consumed_at = $3
        WHERE digest = $1 AND purpose = $2 AND consumed_at IS NULL AND expires_at > $3
        RETURNING subject, epoch, data";
    sql::row(tx, UPDATE, values![digest.to_string(), purpose, now]).await?.as_ref().map(read).transpose()
}

/// Looks at one without using it up. What it says may be shown, never relied on.
pub async fn peek<T: DeserializeOwned>(
    source: &impl Source,
    purpose: &str,
    digest: &SecretDigest,
    now: Timestamp,
) -> Result<Option<Consumed<T>>, StoreError> {
    const SELECT: &str = "SELECT subject, epoch, data FROM one_time_tokens
        WHERE digest = $1 AND purpose = $2 AND consumed_at IS NULL AND expires_at > $3";
    sql::row(source, SELECT, values![digest.to_string(), purpose, now]).await?.as_ref().map(read).transpose()
}

/// What the newest one of this purpose and subject carries, if one is still good.
pub async fn newest<T: DeserializeOwned>(
    source: &impl Source,
    purpose: &str,
    subject: &str,
    now: Timestamp,
) -> Result<Option<Consumed<T>>, StoreError> {
    const SELECT: &str = "SELECT subject, epoch, data FROM one_time_tokens
        WHERE purpose = $1 AND subject = $2 AND consumed_at IS NULL AND expires_at > $3
        ORDER BY created_at DESC LIMIT 1";
    sql::row(source, SELECT, values![purpose, subject, now]).await?.as_ref().map(read).transpose()
}

/// Claims something from elsewhere that may be used once, such as a time step of a TOTP secret. `true` for the first.
/// It is remembered until `expires_at`: let that be later than the thing itself could still be good.
pub async fn claim(tx: &Tx<'_>, scope: &str, value: &str, expires_at: Timestamp) -> Result<bool, StoreError> {
    const INSERT: &str = "INSERT INTO consumed (scope, value, expires_at) VALUES ($1, $2, $3) ON CONFLICT (scope, value) DO NOTHING";
    Ok(sql::execute(tx, INSERT, values![scope, value, expires_at]).await? == 1)
}

/// Those of this purpose and subject that are still good, each with what it is used up by.
pub async fn of_subject<T: DeserializeOwned>(
    source: &impl Source,
    purpose: &str,
    subject: &str,
    now: Timestamp,
) -> Result<Vec<(SecretDigest, T)>, StoreError> {
    const SELECT: &str = "SELECT digest, data FROM one_time_tokens
        WHERE purpose = $1 AND subject = $2 AND consumed_at IS NULL AND expires_at > $3";
    let rows = sql::rows(source, SELECT, values![purpose, subject, now]).await?;
    rows.iter().map(|row| Ok((row.parsed("digest")?, row.document("data")?))).collect()
}

/// Those of this purpose that are still good and are about members of an organization, each with what it is used up by.
pub async fn of_members<T: DeserializeOwned>(
    source: &impl Source,
    purpose: &str,
    organization: &OrganizationId,
    now: Timestamp,
) -> Result<Vec<(SecretDigest, T)>, StoreError> {
    const SELECT: &str = "SELECT digest, data FROM one_time_tokens
        WHERE purpose = $1 AND consumed_at IS NULL AND expires_at > $3
            AND subject IN (SELECT user_id FROM memberships WHERE organization_id = $2)";
    let rows = sql::rows(source, SELECT, values![purpose, organization.as_str(), now]).await?;
    rows.iter().map(|row| Ok((row.parsed("digest")?, row.document("data")?))).collect()
}

/// How many of this purpose and subject are still good.
pub async fn count(
    source: &impl Source,
    purpose: &str,
    subject: &str,
    now: Timestamp,
) -> Result<i64, StoreError> {
    const COUNT: &str = "SELECT COUNT(*) AS left_over FROM one_time_tokens
        WHERE purpose = $1 AND subject = $2 AND consumed_at IS NULL AND expires_at > $3";
    let row = sql::row(source, COUNT, values![purpose, subject, now]).await?;
    row.map_or(Ok(0), |row| row.get("left_over"))
}

/// Uses up a time step of somebody's authenticator app, and with it all before it. `true` for the one that does
/// (RFC 6238 section 5.2), while the app is the one with this secret.
pub async fn use_totp_step(
    tx: &Tx<'_>,
    user: &UserId,
    sealed: &str,
    step: i64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE totp_secrets SET used_step = $2, used_at = $3
        WHERE user_id = $1 AND used_step < $2 AND sealed = $4";
    Ok(sql::execute(tx, UPDATE, values![user.as_str(), step, now, sealed]).await? == 1)
}

/// Forgets what has expired.
pub async fn forget_expired(tx: &Tx<'_>, now: Timestamp) -> Result<u64, StoreError> {
    let tokens = sql::execute(tx, "DELETE FROM one_time_tokens WHERE expires_at <= $1", values![now]).await?;
    Ok(tokens + sql::execute(tx, "DELETE FROM consumed WHERE expires_at <= $1", values![now]).await?)
}

fn read<T: DeserializeOwned>(row: &Row) -> Result<Consumed<T>, StoreError> {
    Ok(Consumed { subject: row.get("subject")?, epoch: row.get("epoch")?, data: row.document("data")? })
}
