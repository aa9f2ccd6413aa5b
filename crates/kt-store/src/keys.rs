//! API keys. What is stored of one is its digest, its first characters and its terms.

use std::net::IpAddr;

use jiff::Timestamp;
use kt_domain::actor::{KeyKind, Role};
use kt_domain::id::{ApiKeyId, OrganizationId, UserId};
use kt_domain::keys::{KeyRestrictions, KeyTerms, KeysDue, SOON};
use kt_domain::order::KeyColumn;
use kt_domain::search::Search;
use kt_domain::secret::SecretDigest;
use kt_domain::sign_in::MembershipState;

use crate::database::{Source, StoreError, Tx};
use crate::order::{EARLIEST, LATEST, Part, Place, Sorted};
use crate::sql::{self, Composed, Row, values};

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its identifier; no secret.
    pub id: ApiKeyId,
    /// Where it is good.
    pub organization: OrganizationId,
    /// What it is for.
    pub kind: KeyKind,
    /// What people call it.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// Who answers for it.
    pub owner: UserId,
    /// What it was given.
    pub terms: KeyTerms,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// From where it was last used.
    pub last_used_ip: Option<IpAddr>,
    /// The key that came in its place.
    pub replaced_by: Option<ApiKeyId>,
}

/// A key and what its owner is at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveKey {
    /// The key.
    pub key: ApiKey,
    /// What its owner is.
    pub owner_role: Role,
    /// Where its owner's membership stands.
    pub owner_state: MembershipState,
}

/// Adds a key. The digest is stored in place of its text.
pub async fn insert(tx: &Tx<'_>, key: &ApiKey, digest: &SecretDigest) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO api_keys (id, organization_id, kind, name, prefix, digest, owner_id,
            scope, ip_ranges, requests_per_minute, created_at, expires_at, ends_at, flagged_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    let terms = &key.terms;
    let values = values![
        key.id.as_str(),
        key.organization.as_str(),
        key.kind.as_str(),
        &key.name,
        &key.prefix,
        digest.to_string(),
        key.owner.as_str(),
        terms.scope.map(|scope| scope.as_str().to_owned()),
        sql::document(&terms.ranges)?,
        terms.requests_per_minute.map(i64::from),
        terms.created_at,
        terms.expires_at,
        terms.ends_at,
        terms.flagged_at,
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// The key whose text has this digest and its owner's present standing, whether or not it may still be used.
pub async fn by_digest(source: &impl Source, digest: &SecretDigest) -> Result<Option<LiveKey>, StoreError> {
    const SELECT: &str = "SELECT k.*, m.role AS owner_role, m.state AS owner_state
        FROM api_keys k
        JOIN memberships m ON m.user_id = k.owner_id AND m.organization_id = k.organization_id
        WHERE k.digest = $1";
    sql::row(source, SELECT, values![digest.to_string()]).await?.as_ref().map(read_live).transpose()
}

/// The access keys of an organization's active members that have not ended by `now`, with their digests.
pub async fn of_applications(
    source: &impl Source,
    organization: &OrganizationId,
    now: Timestamp,
) -> Result<Vec<(LiveKey, SecretDigest)>, StoreError> {
    const SELECT: &str = "SELECT k.*, m.role AS owner_role, m.state AS owner_state
        FROM api_keys k
        JOIN memberships m ON m.user_id = k.owner_id AND m.organization_id = k.organization_id
        WHERE k.organization_id = $1 AND k.kind = 'access' AND m.state = 'active'
            AND (k.ends_at IS NULL OR k.ends_at > $2)";
    let rows = sql::rows(source, SELECT, values![organization.as_str(), now]).await?;
    rows.iter().map(|row| Ok((read_live(row)?, row.parsed("digest")?))).collect()
}

/// Up to `limit` keys of an organization's programs and identity providers that were used since, have not ended by `now` and
/// have an active owner, the last used first. Gateways are known by themselves.
pub async fn used_since(
    source: &impl Source,
    organization: &OrganizationId,
    (since, now): (Timestamp, Timestamp),
    limit: u32,
) -> Result<Vec<ApiKey>, StoreError> {
    const SELECT: &str = "SELECT k.* FROM api_keys k
        JOIN memberships m ON m.user_id = k.owner_id AND m.organization_id = k.organization_id AND m.state = 'active'
        WHERE k.organization_id = $1 AND k.kind <> 'gateway' AND k.last_used_at >= $2
            AND (k.ends_at IS NULL OR k.ends_at > $3) AND (k.expires_at IS NULL OR k.expires_at > $3)
        ORDER BY k.last_used_at DESC, k.id LIMIT $4";
    let values = values![organization.as_str(), since, now, i64::from(limit)];
    sql::rows(source, SELECT, values).await?.iter().map(read).collect()
}

/// The keys in use of active members that expire within this time and were not replaced, with their owners' addresses.
pub async fn ending(
    source: &impl Source,
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<(ApiKey, String)>, StoreError> {
    const SELECT: &str = "SELECT k.*, u.email FROM api_keys k
        JOIN memberships m ON m.user_id = k.owner_id AND m.organization_id = k.organization_id
        JOIN users u ON u.id = k.owner_id
        WHERE k.expires_at > $1 AND k.expires_at <= $2 AND (k.ends_at IS NULL OR k.ends_at > $1)
            AND k.replaced_by IS NULL AND m.state = 'active' ORDER BY k.id";
    let rows = sql::rows(source, SELECT, values![now, until]).await?;
    rows.iter().map(|row| Ok((read(row)?, row.get("email")?))).collect()
}

/// The key of this id and its owner's present standing, whether or not it may still be used.
pub async fn find(source: &impl Source, id: &ApiKeyId) -> Result<Option<LiveKey>, StoreError> {
    const SELECT: &str = "SELECT k.*, m.role AS owner_role, m.state AS owner_state
        FROM api_keys k
        JOIN memberships m ON m.user_id = k.owner_id AND m.organization_id = k.organization_id
        WHERE k.id = $1";
    sql::row(source, SELECT, values![id.as_str()]).await?.as_ref().map(read_live).transpose()
}

/// Which keys of an organization are listed.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Of this kind only.
    pub kind: Option<KeyKind>,
    /// Of this person only.
    pub owner: Option<UserId>,
    /// Those only whose name or first characters hold this.
    pub search: Option<Search>,
    /// Those only that need somebody.
    pub due: Option<Due>,
}

/// Which keys need somebody.
#[derive(Clone, Debug)]
pub struct Due {
    /// What they need somebody for.
    pub what: KeysDue,
    /// At this moment.
    pub now: Timestamp,
    /// What is demanded of keys.
    pub restrictions: KeyRestrictions,
}

/// Keys of an organization.
pub async fn page(
    source: &impl Source,
    organization: &OrganizationId,
    filter: &KeyFilter,
    part: Part<'_, KeyColumn>,
) -> Result<Vec<ApiKey>, StoreError> {
    let mut query = Composed::new("SELECT * FROM api_keys WHERE organization_id = ");
    query.value(organization.as_str());
    query.and("kind = ", filter.kind.map(KeyKind::as_str));
    query.and("owner_id = ", filter.owner.as_ref().map(UserId::as_str));
    query.and_found_in(["name", "prefix"], filter.search.as_ref());
    if let Some(Due { what, now, restrictions }) = &filter.due {
        work_still(&mut query, *now);
        match what {
            KeysDue::Expiring => query.and("expires_at <= ", Some(*now + SOON)),
            KeysDue::Flagged => break_demands(&mut query, restrictions, *now),
        };
    }
    query.part(&sorted(part.order.by), &part);
    query.rows(source).await?.iter().map(read).collect()
}

/// Goes on with that a key has neither ended nor expired.
fn work_still(query: &mut Composed, now: Timestamp) {
    query.text(" AND (ends_at IS NULL OR ends_at > ").value(now).text(")");
    query.text(" AND (expires_at IS NULL OR expires_at > ").value(now).text(")");
}

/// Goes on with that a key breaks what is demanded of it, as `kt_domain::keys::breaches` says of one: many come to be too old
/// long after that was demanded.
fn break_demands<'a>(
    query: &'a mut Composed,
    restrictions: &KeyRestrictions,
    now: Timestamp,
) -> &'a mut Composed {
    query.text(" AND (created_at <= ").value(restrictions.too_old_since(now).unwrap_or(Timestamp::MIN));
    query.text(" OR (scope IS NULL AND ").value(restrictions.require_scope);
    query.text(") OR (ip_ranges = '[]' AND ").value(restrictions.require_ip_binding).text("))")
}

/// How many keys of an organization work still and break what is demanded of them.
pub async fn count_flagged(
    source: &impl Source,
    organization: &OrganizationId,
    restrictions: &KeyRestrictions,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let mut query = Composed::new("SELECT COUNT(*) AS number FROM api_keys WHERE organization_id = ");
    query.value(organization.as_str());
    work_still(&mut query, now);
    break_demands(&mut query, restrictions, now);
    let rows = query.rows(source).await?;
    rows.first().map_or(Ok(0), |row| row.get("number"))
}

/// Where a key stands among the others.
#[must_use]
pub fn place_of(key: &ApiKey, by: KeyColumn) -> Place {
    let id = key.id.as_str();
    match by {
        KeyColumn::Created => Place::of_moment(Some(key.terms.created_at), EARLIEST, id),
        KeyColumn::Name => Place::of_text(&key.name, id),
        KeyColumn::Ends => Place::of_moment(key.terms.ends_at.or(key.terms.expires_at), LATEST, id),
        KeyColumn::LastUsed => Place::of_moment(key.last_used_at, EARLIEST, id),
    }
}

/// By what keys are ordered.
fn sorted(by: KeyColumn) -> Sorted {
    let by = match by {
        KeyColumn::Created => "created_at",
        KeyColumn::Name => "LOWER(name)",
        KeyColumn::Ends => "COALESCE(ends_at, expires_at, 9223372036854775807)",
        KeyColumn::LastUsed => "COALESCE(last_used_at, 0)",
    };
    Sorted { by, id: "id" }
}

/// A key of this organization, whether or not it may still be used.
pub async fn of_organization(
    source: &impl Source,
    organization: &OrganizationId,
    id: &ApiKeyId,
) -> Result<Option<ApiKey>, StoreError> {
    const SELECT: &str = "SELECT * FROM api_keys WHERE organization_id = $1 AND id = $2";
    sql::row(source, SELECT, values![organization.as_str(), id.as_str()])
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// The key, held still until the transaction ends: of all who would change it, one goes first.
pub async fn lock(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    id: &ApiKeyId,
) -> Result<Option<ApiKey>, StoreError> {
    const SELECT_LOCKED: &str = "SELECT * FROM api_keys WHERE organization_id = $1 AND id = $2 FOR UPDATE";
    if !tx.locks_rows() {
        return of_organization(tx, organization, id).await;
    }
    let row = sql::row(tx, SELECT_LOCKED, values![organization.as_str(), id.as_str()]).await?;
    row.as_ref().map(read).transpose()
}

/// The keys of an organization that have not ended by `now`, held still until the transaction ends.
pub async fn lock_all(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    now: Timestamp,
) -> Result<Vec<ApiKey>, StoreError> {
    const SELECT: &str =
        "SELECT * FROM api_keys WHERE organization_id = $1 AND (ends_at IS NULL OR ends_at > $2) ORDER BY id";
    const SELECT_LOCKED: &str = "SELECT * FROM api_keys
        WHERE organization_id = $1 AND (ends_at IS NULL OR ends_at > $2) ORDER BY id FOR UPDATE";
    let select = if tx.locks_rows() { SELECT_LOCKED } else { SELECT };
    sql::rows(tx, select, values![organization.as_str(), now]).await?.iter().map(read).collect()
}

/// The names of the keys that somebody answers for and that have not ended by `now`.
pub async fn names_of(
    source: &impl Source,
    owner: &UserId,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    const SELECT: &str = "SELECT name FROM api_keys WHERE owner_id = $1 AND (ends_at IS NULL OR ends_at > $2)
        AND (expires_at IS NULL OR expires_at > $2) ORDER BY name";
    let rows = sql::rows(source, SELECT, values![owner.as_str(), now]).await?;
    rows.iter().map(|row| row.get("name")).collect()
}

/// Stores what may change of a key: its name, its terms, what came in its place. Take it with [`lock`] first.
pub async fn change(tx: &Tx<'_>, key: &ApiKey) -> Result<(), StoreError> {
    const UPDATE: &str =
        "UPDATE api_keys SET name = $2, scope = $3, ip_ranges = $4, requests_per_minute = $5,
            expires_at = $6, ends_at = $7, flagged_at = $8, replaced_by = $9
        WHERE id = $1";
    let terms = &key.terms;
    let values = values![
        key.id.as_str(),
        &key.name,
        terms.scope.map(|scope| scope.as_str().to_owned()),
        sql::document(&terms.ranges)?,
        terms.requests_per_minute.map(i64::from),
        terms.expires_at,
        terms.ends_at,
        terms.flagged_at,
        key.replaced_by.as_ref().map(|id| id.as_str().to_owned()),
    ];
    sql::execute(tx, UPDATE, values).await?;
    Ok(())
}

/// Ends all keys that somebody answers for in an organization.
pub async fn end_all(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    owner: &UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE api_keys SET ends_at = $3
        WHERE organization_id = $1 AND owner_id = $2 AND (ends_at IS NULL OR ends_at > $3)";
    sql::execute(tx, UPDATE, values![organization.as_str(), owner.as_str(), now]).await?;
    Ok(())
}

/// Notes when and from where a key of the organization was used, unless a later use was noted.
pub async fn note_use(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    id: &ApiKeyId,
    at: Timestamp,
    ip: Option<IpAddr>,
) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE api_keys SET last_used_at = $2, last_used_ip = $3
        WHERE id = $1 AND organization_id = $4 AND (last_used_at IS NULL OR last_used_at < $2)";
    let values = values![id.as_str(), at, ip.map(|ip| ip.to_string()), organization.as_str()];
    sql::execute(tx, UPDATE, values).await?;
    Ok(())
}

fn read(row: &Row) -> Result<ApiKey, StoreError> {
    let requests_per_minute: Option<i64> = row.get("requests_per_minute")?;
    Ok(ApiKey {
        id: row.parsed("id")?,
        organization: row.parsed("organization_id")?,
        kind: row.parsed("kind")?,
        name: row.get("name")?,
        prefix: row.get("prefix")?,
        owner: row.parsed("owner_id")?,
        terms: KeyTerms {
            scope: row.parsed_opt("scope")?,
            ranges: row.document("ip_ranges")?,
            requests_per_minute: requests_per_minute.and_then(|rate| u32::try_from(rate).ok()),
            created_at: row.time("created_at")?,
            expires_at: row.time_opt("expires_at")?,
            ends_at: row.time_opt("ends_at")?,
            flagged_at: row.time_opt("flagged_at")?,
        },
        last_used_at: row.time_opt("last_used_at")?,
        last_used_ip: row.parsed_opt("last_used_ip")?,
        replaced_by: row.parsed_opt("replaced_by")?,
    })
}

fn read_live(row: &Row) -> Result<LiveKey, StoreError> {
    Ok(LiveKey {
        key: read(row)?,
        owner_role: row.parsed("owner_role")?,
        owner_state: row.parsed("owner_state")?,
    })
}
