//! Signed-in sessions and the refresh tokens that carry them on.

use std::net::IpAddr;

use jiff::Timestamp;
use kt_domain::id::{OrganizationId, SessionId, UserId};
use kt_domain::order::SessionColumn;
use kt_domain::search::Search;
use kt_domain::secret::SecretDigest;
use kt_domain::sessions::Door;
use kt_domain::sign_in::Proofs;
use kt_domain::sso::IdentitySource;
use serde::{Deserialize, Serialize};

use crate::database::{Source, StoreError, Tx};
use crate::memberships::Membership;
use crate::order::{EARLIEST, Part, Place, Sorted};
use crate::sql::{self, Composed, Row, values};

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its identifier; no secret.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// Where.
    pub organization: OrganizationId,
    /// The user's epoch when it was made; it is dead once that has moved on.
    pub epoch: i64,
    /// Through which door it was made.
    pub door: Door,
    /// What was proven.
    pub proofs: Proofs,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its holder last proved who they are.
    pub authenticated_at: Timestamp,
    /// Its holder's last act, to the minute.
    pub active_at: Timestamp,
    /// From where it was made.
    pub ip: Option<IpAddr>,
    /// From where its holder's last act came, to the minute.
    pub active_ip: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
    /// When it was ended.
    pub ended_at: Option<Timestamp>,
}

/// A session and what its holder is at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSession {
    /// The session.
    pub session: Session,
    /// The user's epoch now.
    pub epoch: i64,
    /// The user's address.
    pub email: String,
    /// The user's place in the session's organization.
    pub membership: Membership,
    /// Through which identity provider it was opened.
    pub federation: Option<Federation>,
}

/// Through which identity provider a session was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Federation {
    /// Who vouches.
    pub source: IdentitySource,
    /// Who has signed.
    pub issuer: String,
    /// Whom it named.
    pub subject: String,
    /// What it calls its own session.
    pub provider_session: Option<String>,
    /// When the session must end, however active its holder is.
    pub ends_by: Option<Timestamp>,
}

/// Adds a session.
pub async fn insert(tx: &Tx<'_>, session: &Session) -> Result<(), StoreError> {
    const INSERT: &str =
        "INSERT INTO sessions (id, user_id, organization_id, epoch, door, proofs, created_at,
            authenticated_at, active_at, ip, active_ip, user_agent, ended_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let values = values![
        session.id.as_str(),
        session.user.as_str(),
        session.organization.as_str(),
        session.epoch,
        session.door.as_str(),
        sql::document(&session.proofs)?,
        session.created_at,
        session.authenticated_at,
        session.active_at,
        session.ip.map(|ip| ip.to_string()),
        session.active_ip.map(|ip| ip.to_string()),
        session.user_agent.clone(),
        session.ended_at,
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// The session and its holder's present standing, whether or not it still lives.
pub async fn find(source: &impl Source, id: &SessionId) -> Result<Option<LiveSession>, StoreError> {
    const SELECT: &str = "SELECT s.*, u.epoch AS user_epoch, u.email, m.role, m.state, m.mfa_asked_since,
            m.created_at AS member_since, m.last_sign_in_at, f.source, f.issuer, f.subject, f.provider_session, f.ends_by
        FROM sessions s
        JOIN users u ON u.id = s.user_id
        JOIN memberships m ON m.user_id = s.user_id AND m.organization_id = s.organization_id
        LEFT JOIN federated_sessions f ON f.session_id = s.id
        WHERE s.id = $1";
    sql::row(source, SELECT, values![id.as_str()]).await?.as_ref().map(read_live).transpose()
}

/// Forgets the sessions that were made before this time and everything that belongs to them. The last one of somebody stays,
/// without where it came from and what it carried: who has ever been let in is told by it.
pub async fn forget_old(tx: &Tx<'_>, made_before: Timestamp) -> Result<(), StoreError> {
    const BELONGINGS: [&str; 3] = [
        "DELETE FROM refresh_tokens WHERE session_id IN (SELECT id FROM sessions WHERE created_at < $1)",
        "DELETE FROM console_cookies WHERE session_id IN (SELECT id FROM sessions WHERE created_at < $1)",
        "DELETE FROM federated_sessions WHERE session_id IN (SELECT id FROM sessions WHERE created_at < $1)",
    ];
    const DELETE: &str = "DELETE FROM sessions WHERE created_at < $1 AND EXISTS (
        SELECT 1 FROM sessions later WHERE later.user_id = sessions.user_id AND (later.created_at > sessions.created_at
            OR (later.created_at = sessions.created_at AND later.id > sessions.id)))";
    const STRIP: &str = "UPDATE sessions SET ip = NULL, active_ip = NULL, user_agent = NULL
        WHERE created_at < $1 AND (ip IS NOT NULL OR active_ip IS NOT NULL OR user_agent IS NOT NULL)";
    for statement in BELONGINGS.into_iter().chain([DELETE, STRIP]) {
        sql::execute(tx, statement, values![made_before]).await?;
    }
    Ok(())
}

/// The sessions of somebody that were not ended, the newest first. Whether they have lapsed is for the caller to say.
pub async fn of_user(source: &impl Source, user: &UserId) -> Result<Vec<Session>, StoreError> {
    const SELECT: &str = "SELECT s.* FROM sessions s JOIN users u ON u.id = s.user_id
        WHERE s.user_id = $1 AND s.ended_at IS NULL AND s.epoch = u.epoch ORDER BY s.created_at DESC, s.id";
    sql::rows(source, SELECT, values![user.as_str()]).await?.iter().map(read).collect()
}

/// A session and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSession {
    /// The session.
    pub session: Session,
    /// Its holder's address for mail.
    pub email: String,
    /// What its holder is called.
    pub name: String,
}

/// The sessions of active members in this organization that were made and active since these moments and not ended; those
/// alone whose holder, or the address that they were made from, holds what is searched for.
pub async fn of_organization(
    source: &impl Source,
    organization: &OrganizationId,
    (made, active): (Timestamp, Timestamp),
    search: Option<&Search>,
    part: Part<'_, SessionColumn>,
) -> Result<Vec<HeldSession>, StoreError> {
    const SELECT: &str = "SELECT s.*, u.email, u.name FROM sessions s
        JOIN users u ON u.id = s.user_id AND u.epoch = s.epoch
        JOIN memberships m ON m.organization_id = s.organization_id AND m.user_id = s.user_id AND m.state = 'active'
        WHERE s.ended_at IS NULL AND s.organization_id = ";
    let mut query = Composed::new(SELECT);
    query.value(organization.as_str());
    query.and("s.created_at >= ", Some(made)).and("s.active_at >= ", Some(active));
    query.and_found_in(["u.name", "u.email", "s.ip"], search);
    query.part(&sorted(part.order.by), &part);
    query.rows(source).await?.iter().map(read_held).collect()
}

/// Whose sessions of this organization were made and active since these moments and not ended.
pub async fn holders(
    source: &impl Source,
    organization: &OrganizationId,
    (made, active): (Timestamp, Timestamp),
) -> Result<Vec<UserId>, StoreError> {
    const SELECT: &str = "SELECT DISTINCT user_id FROM sessions
        WHERE organization_id = $1 AND ended_at IS NULL AND created_at >= $2 AND active_at >= $3";
    let rows = sql::rows(source, SELECT, values![organization.as_str(), made, active]).await?;
    rows.iter().map(|row| row.parsed("user_id")).collect()
}

/// Where a session stands among the others.
#[must_use]
pub fn place_of(held: &HeldSession, by: SessionColumn) -> Place {
    let Session { id, created_at, active_at, .. } = &held.session;
    match by {
        SessionColumn::Created => Place::of_moment(Some(*created_at), EARLIEST, id.as_str()),
        SessionColumn::Email => Place::of_text(&held.email, id.as_str()),
        SessionColumn::Active => Place::of_moment(Some(*active_at), EARLIEST, id.as_str()),
    }
}

/// By what sessions are ordered.
fn sorted(by: SessionColumn) -> Sorted {
    let by = match by {
        SessionColumn::Created => "s.created_at",
        SessionColumn::Email => "u.email_folded",
        SessionColumn::Active => "s.active_at",
    };
    Sorted { by, id: "s.id" }
}

/// Ends all sessions of somebody in this organization; which.
pub async fn end_all(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    user: &UserId,
    now: Timestamp,
) -> Result<Vec<SessionId>, StoreError> {
    const UPDATE: &str = "UPDATE sessions SET ended_at = $3
        WHERE organization_id = $1 AND user_id = $2 AND ended_at IS NULL RETURNING id";
    let rows = sql::rows(tx, UPDATE, values![organization.as_str(), user.as_str(), now]).await?;
    rows.iter().map(|row| row.parsed("id")).collect()
}

/// Ends all sessions of somebody but this one, wherever they are; which.
pub async fn end_others(
    tx: &Tx<'_>,
    user: &UserId,
    kept: &SessionId,
    now: Timestamp,
) -> Result<Vec<SessionId>, StoreError> {
    const UPDATE: &str = "UPDATE sessions SET ended_at = $3
        WHERE user_id = $1 AND id <> $2 AND ended_at IS NULL RETURNING id";
    let rows = sql::rows(tx, UPDATE, values![user.as_str(), kept.as_str(), now]).await?;
    rows.iter().map(|row| row.parsed("id")).collect()
}

/// Ends a session of this user. `false` when there is none that lives.
pub async fn end(tx: &Tx<'_>, user: &UserId, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
    const UPDATE: &str =
        "UPDATE sessions SET ended_at = $3 WHERE id = $1 AND user_id = $2 AND ended_at IS NULL";
    Ok(sql::execute(tx, UPDATE, values![id.as_str(), user.as_str(), now]).await? == 1)
}

/// Ends a session, unless its holder has done something since it was read.
pub async fn end_as_read(tx: &Tx<'_>, read: &Session, now: Timestamp) -> Result<bool, StoreError> {
    const UPDATE: &str =
        "UPDATE sessions SET ended_at = $3 WHERE id = $1 AND active_at = $2 AND ended_at IS NULL";
    Ok(sql::execute(tx, UPDATE, values![read.id.as_str(), read.active_at, now]).await? == 1)
}

/// Ends the sessions of an organization that were made before the one moment, or whose holders' last act was before the
/// other.
pub async fn end_older(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    (made, active): (Timestamp, Timestamp),
    now: Timestamp,
) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE sessions SET ended_at = $4
        WHERE organization_id = $1 AND ended_at IS NULL AND (created_at < $2 OR active_at < $3)";
    sql::execute(tx, UPDATE, values![organization.as_str(), made, active, now]).await?;
    Ok(())
}

/// Notes through which identity provider a session was opened, or proven again.
pub async fn note_federation(tx: &Tx<'_>, id: &SessionId, federation: &Federation) -> Result<(), StoreError> {
    const UPSERT: &str =
        "INSERT INTO federated_sessions (session_id, source, issuer, subject, provider_session, ends_by)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (session_id) DO UPDATE
            SET provider_session = excluded.provider_session, ends_by = excluded.ends_by";
    let values = values![
        id.as_str(),
        federation.source.to_string(),
        &federation.issuer,
        &federation.subject,
        federation.provider_session.clone(),
        federation.ends_by,
    ];
    sql::execute(tx, UPSERT, values).await?;
    Ok(())
}

/// Which of the sessions that a source has vouched for. Where both a subject and a session are named, those of the subject are
/// meant as well of which no session at the provider is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VouchedFor<'a> {
    /// Of this source.
    pub source: &'a IdentitySource,
    /// Of this subject, if one is named.
    pub subject: Option<&'a str>,
    /// Of this session at the provider, if one is named.
    pub provider_session: Option<&'a str>,
}

impl VouchedFor<'_> {
    /// Whether a session that is opened by this word is one of them.
    #[must_use]
    pub fn includes(&self, federation: &Federation) -> bool {
        let is_session = |wanted| match federation.provider_session.as_deref() {
            Some(known) => known == wanted,
            None => self.subject.is_some(),
        };
        *self.source == federation.source
            && self.subject.is_none_or(|subject| subject == federation.subject)
            && self.provider_session.is_none_or(is_session)
    }
}

/// Ends them; whose they were.
pub async fn end_federated(
    tx: &Tx<'_>,
    which: VouchedFor<'_>,
    now: Timestamp,
) -> Result<Vec<(SessionId, UserId)>, StoreError> {
    const UPDATE: &str = "UPDATE sessions SET ended_at = $4 WHERE ended_at IS NULL AND id IN (
            SELECT session_id FROM federated_sessions WHERE source = $1
                AND ($2 IS NULL OR subject = $2)
                AND ($3 IS NULL OR provider_session = $3 OR ($2 IS NOT NULL AND provider_session IS NULL)))
        RETURNING id, user_id";
    let values = values![
        which.source.to_string(),
        which.subject.map(str::to_owned),
        which.provider_session.map(str::to_owned),
        now,
    ];
    let rows = sql::rows(tx, UPDATE, values).await?;
    rows.iter().map(|row| Ok((row.parsed("id")?, row.parsed("user_id")?))).collect()
}

/// Notes an act of the session's holder.
pub async fn note_activity(
    tx: &Tx<'_>,
    id: &SessionId,
    from: Option<IpAddr>,
    now: Timestamp,
) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE sessions SET active_at = $2, active_ip = COALESCE($3, active_ip)
        WHERE id = $1 AND active_at < $2";
    sql::execute(tx, UPDATE, values![id.as_str(), now, from.map(|ip| ip.to_string())]).await?;
    Ok(())
}

/// Notes that the session's holder has proven again who they are.
pub async fn note_authentication(
    tx: &Tx<'_>,
    id: &SessionId,
    proofs: &Proofs,
    now: Timestamp,
) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE sessions SET authenticated_at = $2, active_at = $2, proofs = $3 WHERE id = $1 AND ended_at IS NULL";
    sql::execute(tx, UPDATE, values![id.as_str(), now, sql::document(proofs)?]).await?;
    Ok(())
}

/// Lets this cookie stand for the session from now on, in place of the one before.
pub async fn set_cookie(
    tx: &Tx<'_>,
    session: &SessionId,
    digest: &SecretDigest,
    now: Timestamp,
) -> Result<(), StoreError> {
    const UPSERT: &str = "INSERT INTO console_cookies (digest, session_id, created_at) VALUES ($1, $2, $3)
        ON CONFLICT (session_id) DO UPDATE SET digest = excluded.digest, created_at = excluded.created_at";
    sql::execute(tx, UPSERT, values![digest.to_string(), session.as_str(), now]).await?;
    Ok(())
}

/// The session that a cookie stands for, whether or not it still lives.
pub async fn by_cookie(source: &impl Source, digest: &SecretDigest) -> Result<Option<SessionId>, StoreError> {
    const SELECT: &str = "SELECT session_id FROM console_cookies WHERE digest = $1";
    let row = sql::row(source, SELECT, values![digest.to_string()]).await?;
    row.map(|row| row.parsed("session_id")).transpose()
}

/// Notes what else was proven in a session. When its holder last proved who they are stays as it is.
pub async fn note_proofs(tx: &Tx<'_>, id: &SessionId, proofs: &Proofs) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE sessions SET proofs = $2 WHERE id = $1 AND ended_at IS NULL";
    sql::execute(tx, UPDATE, values![id.as_str(), sql::document(proofs)?]).await?;
    Ok(())
}

/// Adds a refresh token to a session.
pub async fn insert_refresh_token(
    tx: &Tx<'_>,
    digest: &SecretDigest,
    session: &SessionId,
    now: Timestamp,
) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO refresh_tokens (digest, session_id, created_at) VALUES ($1, $2, $3)";
    sql::execute(tx, INSERT, values![digest.to_string(), session.as_str(), now]).await?;
    Ok(())
}

/// What using a refresh token came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshUse {
    /// There is no such token.
    Unknown,
    /// It was good, and no longer is.
    Used(SessionId),
    /// It was used before: somebody has a copy.
    Replayed(SessionId),
}

/// Uses a refresh token. Of all who try, one gets [`RefreshUse::Used`].
pub async fn use_refresh_token(
    tx: &Tx<'_>,
    digest: &SecretDigest,
    now: Timestamp,
) -> Result<RefreshUse, StoreError> {
    const UPDATE: &str = "UPDATE refresh_tokens SET used_at = $2 WHERE digest = $1 AND used_at IS NULL";
    const SELECT: &str = "SELECT session_id FROM refresh_tokens WHERE digest = $1";
    let first = sql::execute(tx, UPDATE, values![digest.to_string(), now]).await? == 1;
    let Some(row) = sql::row(tx, SELECT, values![digest.to_string()]).await? else {
        return Ok(RefreshUse::Unknown);
    };
    let session = row.parsed("session_id")?;
    Ok(if first { RefreshUse::Used(session) } else { RefreshUse::Replayed(session) })
}

fn read(row: &Row) -> Result<Session, StoreError> {
    Ok(Session {
        id: row.parsed("id")?,
        user: row.parsed("user_id")?,
        organization: row.parsed("organization_id")?,
        epoch: row.get("epoch")?,
        door: row.parsed("door")?,
        proofs: row.document("proofs")?,
        created_at: row.time("created_at")?,
        authenticated_at: row.time("authenticated_at")?,
        active_at: row.time("active_at")?,
        ip: row.parsed_opt("ip")?,
        active_ip: row.parsed_opt("active_ip")?,
        user_agent: row.get("user_agent")?,
        ended_at: row.time_opt("ended_at")?,
    })
}

fn read_held(row: &Row) -> Result<HeldSession, StoreError> {
    Ok(HeldSession { session: read(row)?, email: row.get("email")?, name: row.get("name")? })
}

fn read_live(row: &Row) -> Result<LiveSession, StoreError> {
    let session = read(row)?;
    let membership = Membership {
        organization: session.organization.clone(),
        user: session.user.clone(),
        role: row.parsed("role")?,
        state: row.parsed("state")?,
        mfa_asked_since: row.time_opt("mfa_asked_since")?,
        created_at: row.time("member_since")?,
        last_sign_in_at: row.time_opt("last_sign_in_at")?,
    };
    let federation = match row.parsed_opt("source")? {
        Some(source) => Some(Federation {
            source,
            issuer: row.get("issuer")?,
            subject: row.get("subject")?,
            provider_session: row.get("provider_session")?,
            ends_by: row.time_opt("ends_by")?,
        }),
        None => None,
    };
    let (epoch, email) = (row.get("user_epoch")?, row.get("email")?);
    Ok(LiveSession { session, epoch, email, membership, federation })
}
