//! Passkeys.

use jiff::Timestamp;
use kt_domain::id::{PasskeyId, UserId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Row, values};

/// A passkey. `C` is what is needed to check what it signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passkey<C> {
    /// Its identifier.
    pub id: PasskeyId,
    /// Whose it is.
    pub user: UserId,
    /// What its authenticator calls it: base64url, unique among all passkeys.
    pub credential_id: String,
    /// What its holder calls it.
    pub name: String,
    /// Its public key, its counter and what else it has said of itself.
    pub credential: C,
    /// The number of the authenticator's model.
    pub aaguid: String,
    /// Whether there is a copy of it in some cloud.
    pub backed_up: bool,
    /// When it was added.
    pub added_at: Timestamp,
    /// When it was last used.
    pub used_at: Option<Timestamp>,
}

/// Adds a passkey. `false` when it is known already, whoever has it.
pub async fn insert<C: Serialize>(tx: &Tx<'_>, passkey: &Passkey<C>) -> Result<bool, StoreError> {
    const INSERT: &str = "INSERT INTO passkeys
            (id, user_id, credential_id, name, credential, aaguid, backed_up, added_at, used_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (credential_id) DO NOTHING";
    let values = values![
        passkey.id.as_str(),
        passkey.user.as_str(),
        &passkey.credential_id,
        &passkey.name,
        sql::document(&passkey.credential)?,
        &passkey.aaguid,
        passkey.backed_up,
        passkey.added_at,
        passkey.used_at,
    ];
    Ok(sql::execute(tx, INSERT, values).await? == 1)
}

/// The passkeys of this person, in the order in which they were added.
pub async fn of<C: DeserializeOwned>(
    source: &impl Source,
    user: &UserId,
) -> Result<Vec<Passkey<C>>, StoreError> {
    const SELECT: &str = "SELECT * FROM passkeys WHERE user_id = $1 ORDER BY added_at, id";
    sql::rows(source, SELECT, values![user.as_str()]).await?.iter().map(read).collect()
}

/// The passkey that its authenticator calls so, held still until the transaction ends.
pub async fn by_credential<C: DeserializeOwned>(
    tx: &Tx<'_>,
    credential_id: &str,
) -> Result<Option<Passkey<C>>, StoreError> {
    const SELECT: &str = "SELECT * FROM passkeys WHERE credential_id = $1";
    const SELECT_LOCKED: &str = "SELECT * FROM passkeys WHERE credential_id = $1 FOR UPDATE";
    let select = if tx.locks_rows() { SELECT_LOCKED } else { SELECT };
    sql::row(tx, select, values![credential_id]).await?.as_ref().map(read).transpose()
}

/// Whether this person has this passkey.
pub async fn is_of(source: &impl Source, user: &UserId, id: &PasskeyId) -> Result<bool, StoreError> {
    const SELECT: &str = "SELECT id FROM passkeys WHERE id = $1 AND user_id = $2";
    Ok(sql::row(source, SELECT, values![id.as_str(), user.as_str()]).await?.is_some())
}

/// Keeps what a passkey has said at its use.
pub async fn note_use<C: Serialize>(
    tx: &Tx<'_>,
    passkey: &Passkey<C>,
    now: Timestamp,
) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE passkeys SET credential = $2, backed_up = $3, used_at = $4 WHERE id = $1";
    let values = values![passkey.id.as_str(), sql::document(&passkey.credential)?, passkey.backed_up, now];
    sql::execute(tx, UPDATE, values).await?;
    Ok(())
}

/// Gives a passkey of this person another name; the one before. `None` when they have no such passkey.
pub async fn rename(
    tx: &Tx<'_>,
    user: &UserId,
    id: &PasskeyId,
    name: &str,
) -> Result<Option<String>, StoreError> {
    const SELECT: &str = "SELECT name FROM passkeys WHERE id = $1 AND user_id = $2";
    const UPDATE: &str = "UPDATE passkeys SET name = $3 WHERE id = $1 AND user_id = $2";
    let row = sql::row(tx, SELECT, values![id.as_str(), user.as_str()]).await?;
    sql::execute(tx, UPDATE, values![id.as_str(), user.as_str(), name]).await?;
    row.map(|row| row.get("name")).transpose()
}

/// Removes a passkey of this person; its name. `None` when they have no such passkey.
pub async fn remove(tx: &Tx<'_>, user: &UserId, id: &PasskeyId) -> Result<Option<String>, StoreError> {
    const DELETE: &str = "DELETE FROM passkeys WHERE id = $1 AND user_id = $2 RETURNING name";
    let row = sql::row(tx, DELETE, values![id.as_str(), user.as_str()]).await?;
    row.map(|row| row.get("name")).transpose()
}

fn read<C: DeserializeOwned>(row: &Row) -> Result<Passkey<C>, StoreError> {
    Ok(Passkey {
        id: row.parsed("id")?,
        user: row.parsed("user_id")?,
        credential_id: row.get("credential_id")?,
        name: row.get("name")?,
        credential: row.document("credential")?,
        aaguid: row.get("aaguid")?,
        backed_up: row.get("backed_up")?,
        added_at: row.time("added_at")?,
        used_at: row.time_opt("used_at")?,
    })
}
