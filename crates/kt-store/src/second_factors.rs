//! The second factors that somebody has.

use jiff::Timestamp;
use kt_domain::id::UserId;
use kt_domain::sign_in::Factor;

use crate::database::{Source, StoreError, Tx};
use crate::once;
use crate::sql::{self, Row, values};

/// The purpose under which recovery codes are kept among the things that work once.
pub const RECOVERY_CODE: &str = "recovery_code";

/// An authenticator app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totp {
    /// The secret that it shares with us, sealed.
    pub sealed: String,
    /// The last time step whose code was used.
    pub used_step: i64,
    /// When it was added.
    pub added_at: Timestamp,
    /// When it was last used.
    pub used_at: Option<Timestamp>,
}

/// What somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Factors {
    /// So many passkeys.
    pub passkeys: i64,
    /// An authenticator app.
    pub totp: bool,
    /// So many recovery codes that were not used.
    pub recovery_codes: i64,
}

impl Factors {
    /// As the gate asks for them, the best first.
    #[must_use]
    pub fn list(self) -> Vec<Factor> {
        let all = [
            (Factor::Passkey, self.passkeys > 0),
            (Factor::Totp, self.totp),
            (Factor::RecoveryCode, self.recovery_codes > 0),
        ];
        all.into_iter().filter_map(|(factor, is_there)| is_there.then_some(factor)).collect()
    }

    /// Whether there is one that is not merely a substitute for another.
    #[must_use]
    pub fn has_any(self) -> bool {
        self.totp || self.passkeys > 0
    }
}

/// What this person has.
pub async fn of(source: &impl Source, user: &UserId) -> Result<Factors, StoreError> {
    const SELECT: &str = "SELECT
        (SELECT COUNT(*) FROM passkeys WHERE user_id = $1) AS passkeys,
        (SELECT COUNT(*) FROM totp_secrets WHERE user_id = $1) AS totp,
        (SELECT COUNT(*) FROM one_time_tokens
            WHERE purpose = $2 AND subject = $1 AND consumed_at IS NULL) AS recovery_codes";
    let row = sql::row(source, SELECT, values![user.as_str(), RECOVERY_CODE]).await?;
    row.map_or_else(
        || Ok(Factors::default()),
        |row| {
            Ok(Factors {
                passkeys: row.get("passkeys")?,
                totp: row.get::<i64>("totp")? > 0,
                recovery_codes: row.get("recovery_codes")?,
            })
        },
    )
}

/// The authenticator app of this person, if they have one.
pub async fn totp(source: &impl Source, user: &UserId) -> Result<Option<Totp>, StoreError> {
    const SELECT: &str = "SELECT * FROM totp_secrets WHERE user_id = $1";
    sql::row(source, SELECT, values![user.as_str()]).await?.as_ref().map(read_totp).transpose()
}

/// Keeps an authenticator app, in place of the one before if there was one.
pub async fn put_totp(tx: &Tx<'_>, user: &UserId, totp: &Totp) -> Result<(), StoreError> {
    const UPSERT: &str = "INSERT INTO totp_secrets (user_id, sealed, used_step, added_at, used_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (user_id) DO UPDATE SET sealed = excluded.sealed, used_step = excluded.used_step,
            added_at = excluded.added_at, used_at = excluded.used_at";
    let values = values![user.as_str(), &totp.sealed, totp.used_step, totp.added_at, totp.used_at];
    sql::execute(tx, UPSERT, values).await?;
    Ok(())
}

/// Removes the authenticator app. `false` when there is none.
pub async fn remove_totp(tx: &Tx<'_>, user: &UserId) -> Result<bool, StoreError> {
    const DELETE: &str = "DELETE FROM totp_secrets WHERE user_id = $1";
    Ok(sql::execute(tx, DELETE, values![user.as_str()]).await? == 1)
}

/// Removes whatever this person has.
pub async fn remove_all(tx: &Tx<'_>, user: &UserId, now: Timestamp) -> Result<(), StoreError> {
    sql::execute(tx, "DELETE FROM passkeys WHERE user_id = $1", values![user.as_str()]).await?;
    sql::execute(tx, "DELETE FROM totp_secrets WHERE user_id = $1", values![user.as_str()]).await?;
    once::supersede(tx, RECOVERY_CODE, user.as_str(), now).await?;
    Ok(())
}

fn read_totp(row: &Row) -> Result<Totp, StoreError> {
    Ok(Totp {
        sealed: row.get("sealed")?,
        used_step: row.get("used_step")?,
        added_at: row.time("added_at")?,
        used_at: row.time_opt("used_at")?,
    })
}
