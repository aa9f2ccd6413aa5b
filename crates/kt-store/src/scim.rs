//! What an identity provider has said of an organization's people and groups by SCIM, beside what everybody has.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kt_domain::email::EmailAddress;
use kt_domain::id::{OrganizationId, ScimGroupId, UserId};
use kt_domain::scim::{Equals, Names};
use kt_domain::sign_in::MembershipState;

use crate::database::{Source, StoreError, Tx};
use crate::sql::{self, Composed, Row, values};

/// A member, as a provider sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScimUser {
    /// Who.
    pub user: UserId,
    /// Their address.
    pub email: String,
    /// What they are called here.
    pub name: String,
    /// Where their membership stands.
    pub state: MembershipState,
    /// Whether somebody here has suspended them, and not the provider.
    pub is_suspended_here: bool,
    /// What the provider calls them.
    pub external_id: Option<String>,
    /// Their name as the provider has sent it; what they are called here where it has said nothing of them yet.
    pub names: Names,
    /// Since when they are a member.
    pub created_at: Timestamp,
    /// When the provider last changed something.
    pub changed_at: Timestamp,
}

/// A group of the provider's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScimGroup {
    /// Its identifier here.
    pub id: ScimGroupId,
    /// What it is called.
    pub display_name: String,
    /// What the provider calls it.
    pub external_id: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub changed_at: Timestamp,
}

/// A part of a list, and how many there are in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<T> {
    /// How many fit.
    pub total: i64,
    /// Those asked for.
    pub items: Vec<T>,
}

/// Whoever waits for approval is none yet.
const USER: &str =
    "SELECT m.user_id, m.state, m.suspended_by_provider, m.created_at, u.email, u.name, s.external_id, s.names, s.changed_at
    FROM memberships m JOIN users u ON u.id = m.user_id
    LEFT JOIN scim_users s ON s.organization_id = m.organization_id AND s.user_id = m.user_id
    WHERE m.state <> 'pending_approval' AND m.organization_id = ";
const USERS: &str = "SELECT COUNT(*) AS total
    FROM memberships m JOIN users u ON u.id = m.user_id
    LEFT JOIN scim_users s ON s.organization_id = m.organization_id AND s.user_id = m.user_id
    WHERE m.state <> 'pending_approval' AND m.organization_id = ";
const GROUP: &str = "SELECT * FROM scim_groups g WHERE g.organization_id = ";
const GROUPS: &str = "SELECT COUNT(*) AS total FROM scim_groups g WHERE g.organization_id = ";

/// The members that fit, from place `from` (the first is 0), at most `limit`.
pub async fn users(
    source: &impl Source,
    organization: &OrganizationId,
    filter: &[Equals],
    from: i64,
    limit: i64,
) -> Result<Part<ScimUser>, StoreError> {
    let narrowed = |sql| {
        let mut query = Composed::new(sql);
        query.value(organization.as_str());
        for Equals { attribute, value } in filter {
            match attribute.as_str() {
                "externalid" => query.text(" AND s.external_id = ").value(value),
                "id" => query.text(" AND m.user_id = ").value(value),
                // `userName` is the address, and the only one.
                _ => query.text(" AND u.email_folded = ").value(folded(value)),
            };
        }
        query
    };
    let total = narrowed(USERS).rows(source).await?.first().map_or(Ok(0), |row| row.get("total"))?;
    let mut query = narrowed(USER);
    query.text(" ORDER BY m.user_id LIMIT ").value(limit).text(" OFFSET ").value(from);
    let items = query.rows(source).await?.iter().map(read_user).collect::<Result<_, _>>()?;
    Ok(Part { total, items })
}

/// An address in the form that accounts are found by; what is none is nobody's.
fn folded(address: &str) -> String {
    EmailAddress::parse(address).map_or_else(|_| address.to_lowercase(), |address| address.folded())
}

/// One member.
pub async fn user(
    source: &impl Source,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<Option<ScimUser>, StoreError> {
    let mut query = Composed::new(USER);
    query.value(organization.as_str()).text(" AND m.user_id = ").value(user.as_str());
    query.rows(source).await?.first().map(read_user).transpose()
}

/// Keeps what the provider has said of a member. [`StoreError::Exists`] when it calls another one the same.
pub async fn save_user(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    user: &UserId,
    external_id: Option<&str>,
    names: &Names,
    now: Timestamp,
) -> Result<(), StoreError> {
    const UPSERT: &str = "INSERT INTO scim_users (organization_id, user_id, external_id, names, changed_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (organization_id, user_id) DO UPDATE SET
            external_id = excluded.external_id, names = excluded.names, changed_at = excluded.changed_at";
    let values = values![
        organization.as_str(),
        user.as_str(),
        external_id.map(str::to_owned),
        sql::document(names)?,
        now,
    ];
    sql::execute(tx, UPSERT, values).await?;
    Ok(())
}

/// Forgets what the provider has said of somebody who is a member no more, their groups among it.
pub async fn forget_user(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<(), StoreError> {
    const USER: &str = "DELETE FROM scim_users WHERE organization_id = $1 AND user_id = $2";
    const PLACES: &str = "DELETE FROM scim_group_members WHERE user_id = $2
        AND group_id IN (SELECT id FROM scim_groups WHERE organization_id = $1)";
    sql::execute(tx, USER, values![organization.as_str(), user.as_str()]).await?;
    sql::execute(tx, PLACES, values![organization.as_str(), user.as_str()]).await?;
    Ok(())
}

/// The groups that a member is in, by their names.
pub async fn groups_of(
    source: &impl Source,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<Vec<ScimGroup>, StoreError> {
    const SELECT: &str = "SELECT g.* FROM scim_groups g
        JOIN scim_group_members p ON p.group_id = g.id
        WHERE g.organization_id = $1 AND p.user_id = $2 ORDER BY g.display_name, g.id";
    let rows = sql::rows(source, SELECT, values![organization.as_str(), user.as_str()]).await?;
    rows.iter().map(read_group).collect()
}

/// The same of all of these members, by one query; whoever is in none is absent.
pub async fn groups_of_all(
    source: &impl Source,
    organization: &OrganizationId,
    users: &[UserId],
) -> Result<BTreeMap<UserId, Vec<ScimGroup>>, StoreError> {
    const SELECT: &str = "SELECT p.user_id, g.* FROM scim_groups g
        JOIN scim_group_members p ON p.group_id = g.id WHERE g.organization_id = ";
    let mut found: BTreeMap<UserId, Vec<ScimGroup>> = BTreeMap::new();
    if users.is_empty() {
        return Ok(found);
    }
    let mut query = Composed::new(SELECT);
    query.value(organization.as_str()).text(" AND p.user_id IN ");
    query.values(users.iter().map(UserId::as_str)).text(" ORDER BY g.display_name, g.id");
    for row in query.rows(source).await? {
        found.entry(row.parsed("user_id")?).or_default().push(read_group(&row)?);
    }
    Ok(found)
}

/// The groups that fit, from place `from` (the first is 0), at most `limit`.
pub async fn groups(
    source: &impl Source,
    organization: &OrganizationId,
    filter: &[Equals],
    from: i64,
    limit: i64,
) -> Result<Part<ScimGroup>, StoreError> {
    const HAS_MEMBER: &str =
        " AND EXISTS (SELECT 1 FROM scim_group_members p WHERE p.group_id = g.id AND p.user_id = ";
    let narrowed = |sql| {
        let mut query = Composed::new(sql);
        query.value(organization.as_str());
        for Equals { attribute, value } in filter {
            match attribute.as_str() {
                "externalid" => query.text(" AND g.external_id = ").value(value),
                "id" => query.text(" AND g.id = ").value(value),
                "members" | "members.value" => query.text(HAS_MEMBER).value(value).text(")"),
                // Names are the same in any capitals (RFC 7643 section 8.7.1).
                _ => query.text(" AND g.name_folded = ").value(value.to_lowercase()),
            };
        }
        query
    };
    let total = narrowed(GROUPS).rows(source).await?.first().map_or(Ok(0), |row| row.get("total"))?;
    let mut query = narrowed(GROUP);
    query.text(" ORDER BY g.id LIMIT ").value(limit).text(" OFFSET ").value(from);
    let items = query.rows(source).await?.iter().map(read_group).collect::<Result<_, _>>()?;
    Ok(Part { total, items })
}

/// One group.
pub async fn group(
    source: &impl Source,
    organization: &OrganizationId,
    id: &ScimGroupId,
) -> Result<Option<ScimGroup>, StoreError> {
    let mut query = Composed::new(GROUP);
    query.value(organization.as_str()).text(" AND g.id = ").value(id.as_str());
    query.rows(source).await?.first().map(read_group).transpose()
}

/// Adds a group, or puts it in the place of the one with the same identifier. [`StoreError::Exists`] when another one is
/// called the same.
pub async fn save_group(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    group: &ScimGroup,
) -> Result<(), StoreError> {
    const UPSERT: &str = "INSERT INTO scim_groups
            (id, organization_id, display_name, name_folded, external_id, created_at, changed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (id) DO UPDATE SET
            display_name = excluded.display_name, name_folded = excluded.name_folded,
            external_id = excluded.external_id, changed_at = excluded.changed_at";
    let values = values![
        group.id.as_str(),
        organization.as_str(),
        &group.display_name,
        group.display_name.to_lowercase(),
        group.external_id.clone(),
        group.created_at,
        group.changed_at,
    ];
    sql::execute(tx, UPSERT, values).await?;
    Ok(())
}

/// Removes a group; its members stay.
pub async fn remove_group(tx: &Tx<'_>, id: &ScimGroupId) -> Result<(), StoreError> {
    sql::execute(tx, "DELETE FROM scim_groups WHERE id = $1", values![id.as_str()]).await?;
    Ok(())
}

/// Who is in a group.
pub async fn members(source: &impl Source, id: &ScimGroupId) -> Result<BTreeSet<UserId>, StoreError> {
    const SELECT: &str = "SELECT user_id FROM scim_group_members WHERE group_id = $1";
    sql::rows(source, SELECT, values![id.as_str()]).await?.iter().map(|row| row.parsed("user_id")).collect()
}

/// Who is in each of these groups, by one query; a group without members is absent.
pub async fn members_of_all(
    source: &impl Source,
    ids: &[&ScimGroupId],
) -> Result<BTreeMap<ScimGroupId, BTreeSet<UserId>>, StoreError> {
    let mut found: BTreeMap<ScimGroupId, BTreeSet<UserId>> = BTreeMap::new();
    if ids.is_empty() {
        return Ok(found);
    }
    let mut query = Composed::new("SELECT group_id, user_id FROM scim_group_members WHERE group_id IN ");
    query.values(ids.iter().map(|id| id.as_str()));
    for row in query.rows(source).await? {
        found.entry(row.parsed("group_id")?).or_default().insert(row.parsed("user_id")?);
    }
    Ok(found)
}

/// How many people one statement puts into a group, or takes out of it: databases bound how many values it has.
const AT_A_TIME: usize = 500;

/// Puts members of the organization into a group; `false` where any of them is none.
pub async fn join_group(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    id: &ScimGroupId,
    users: &BTreeSet<UserId>,
) -> Result<bool, StoreError> {
    const ON_CONFLICT: &str = " ON CONFLICT (group_id, user_id) DO UPDATE SET user_id = excluded.user_id";
    let users: Vec<&str> = users.iter().map(UserId::as_str).collect();
    for some in users.chunks(AT_A_TIME) {
        let mut insert = Composed::new(
            "INSERT INTO scim_group_members (group_id, user_id) SELECT g.id, m.user_id
            FROM scim_groups g JOIN memberships m ON m.organization_id = g.organization_id
            WHERE m.state <> 'pending_approval' AND g.id = ",
        );
        insert.value(id.as_str()).text(" AND g.organization_id = ").value(organization.as_str());
        insert.text(" AND m.user_id IN ").values(some.iter().copied()).text(ON_CONFLICT);
        if insert.execute(tx).await? != some.len() as u64 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes people out of a group.
pub async fn leave_group(tx: &Tx<'_>, id: &ScimGroupId, users: &BTreeSet<UserId>) -> Result<(), StoreError> {
    let users: Vec<&str> = users.iter().map(UserId::as_str).collect();
    for some in users.chunks(AT_A_TIME) {
        let mut delete = Composed::new("DELETE FROM scim_group_members WHERE group_id = ");
        delete.value(id.as_str()).text(" AND user_id IN ").values(some.iter().copied());
        delete.execute(tx).await?;
    }
    Ok(())
}

fn read_user(row: &Row) -> Result<ScimUser, StoreError> {
    let created_at = row.time("created_at")?;
    let name: String = row.get("name")?;
    let named_here = || Names { display: Some(name.clone()), ..Names::default() };
    let names = row.document_opt("names")?.unwrap_or_else(named_here);
    let state = row.parsed("state")?;
    Ok(ScimUser {
        user: row.parsed("user_id")?,
        email: row.get("email")?,
        name,
        state,
        is_suspended_here: state == MembershipState::Suspended
            && !row.get::<bool>("suspended_by_provider")?,
        external_id: row.get("external_id")?,
        names,
        created_at,
        changed_at: row.time_opt("changed_at")?.unwrap_or(created_at),
    })
}

fn read_group(row: &Row) -> Result<ScimGroup, StoreError> {
    Ok(ScimGroup {
        id: row.parsed("id")?,
        display_name: row.get("display_name")?,
        external_id: row.get("external_id")?,
        created_at: row.time("created_at")?,
        changed_at: row.time("changed_at")?,
    })
}
