//! Who belongs to which organization, as what.

use jiff::Timestamp;
use kt_domain::actor::Role;
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::order::MemberColumn;
use kt_domain::search::Search;
use kt_domain::sign_in::MembershipState;

use crate::database::{Source, StoreError, Tx};
use crate::order::{EARLIEST, Part, Place, Sorted};
use crate::second_factors::Factors;
use crate::sql::{self, Composed, Row, values};

/// Somebody's place in an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Where.
    pub organization: OrganizationId,
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// Where it stands.
    pub state: MembershipState,
    /// Since when the organization has asked them for a second factor.
    pub mfa_asked_since: Option<Timestamp>,
    /// Since when.
    pub created_at: Timestamp,
    /// When they last signed in here.
    pub last_sign_in_at: Option<Timestamp>,
}

impl Membership {
    /// Since when they are asked for a second factor, where they are: whoever is and was never told so, since they have been
    /// here. For the gate, for what people are told and for their keys alike.
    #[must_use]
    pub fn asked_since(&self) -> Timestamp {
        self.mfa_asked_since.unwrap_or(self.created_at)
    }
}

/// Somebody with a place in an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Their place.
    pub membership: Membership,
    /// Their address.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// The second factors they have.
    pub factors: Factors,
    /// Whether the organization's identity provider, where one is turned on, vouches for them.
    pub is_vouched_for: bool,
}

/// Which members are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MembersFilter<'a> {
    /// Active members alone who lack a second factor.
    pub lacking: bool,
    /// Admins and owners lack one as long as they have no passkey.
    pub admins_need_passkey: bool,
    /// Those alone of whom it is asked.
    pub asked: Option<AskedMembers<'a>>,
    /// Those alone whose name, address or role holds this.
    pub search: Option<&'a Search>,
}

/// Of whom a second factor is asked: of those with one of these roles for whom no identity provider vouches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedMembers<'a> {
    /// The roles.
    pub roles: &'a [Role],
    /// Those alone who were asked at this moment or before.
    pub before: Timestamp,
}

/// Whose word is taken for a member.
const VOUCHERS: &str =
    "(SELECT COUNT(*) FROM external_identities e JOIN identity_providers p ON p.id = e.source
        WHERE e.user_id = m.user_id AND p.organization_id = m.organization_id AND p.enabled)";

/// Of somebody without a second factor.
const HAS_NONE: &str = "NOT EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = m.user_id)
        AND NOT EXISTS (SELECT 1 FROM totp_secrets t WHERE t.user_id = m.user_id)";

/// Of an admin or owner without a passkey.
const LACKS_PASSKEY: &str = "m.role IN ('admin', 'owner')
        AND NOT EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = m.user_id)";

/// Adds a membership. [`StoreError::Exists`] when there is one.
pub async fn insert(tx: &Tx<'_>, membership: &Membership) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO memberships
            (organization_id, user_id, role, state, mfa_asked_since, created_at, last_sign_in_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let values = values![
        membership.organization.as_str(),
        membership.user.as_str(),
        membership.role.as_str(),
        membership.state.as_str(),
        membership.mfa_asked_since,
        membership.created_at,
        membership.last_sign_in_at,
    ];
    sql::execute(tx, INSERT, values).await?;
    Ok(())
}

/// Adds a membership of somebody who is known, unless they have one; tells whether it was done. Whoever is not known gets
/// none.
pub async fn insert_unless_there(tx: &Tx<'_>, membership: &Membership) -> Result<bool, StoreError> {
    const INSERT: &str = "INSERT INTO memberships
            (organization_id, user_id, role, state, mfa_asked_since, created_at, last_sign_in_at)
        SELECT $1, id, $3, $4, $5, $6, $7 FROM users WHERE id = $2
        ON CONFLICT (organization_id, user_id) DO NOTHING";
    let values = values![
        membership.organization.as_str(),
        membership.user.as_str(),
        membership.role.as_str(),
        membership.state.as_str(),
        membership.mfa_asked_since,
        membership.created_at,
        membership.last_sign_in_at,
    ];
    Ok(sql::execute(tx, INSERT, values).await? == 1)
}

/// Removes the membership as it was read; `false` when it is no longer so.
pub async fn remove_as_read(tx: &Tx<'_>, read: &Membership) -> Result<bool, StoreError> {
    const DELETE: &str =
        "DELETE FROM memberships WHERE organization_id = $1 AND user_id = $2 AND role = $3 AND state = $4";
    let values =
        values![read.organization.as_str(), read.user.as_str(), read.role.as_str(), read.state.as_str()];
    Ok(sql::execute(tx, DELETE, values).await? == 1)
}

/// Somebody who waits for an administrator's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Who.
    pub user: UserId,
    /// Their address, which they have verified.
    pub email: String,
    /// Their name.
    pub name: String,
    /// Since when.
    pub since: Timestamp,
}

/// Those who wait in this organization with a verified address, the longest waiting first, at most `limit` of those
/// behind `after`.
pub async fn waiting(
    source: &impl Source,
    organization: &OrganizationId,
    after: Option<(Timestamp, UserId)>,
    limit: u32,
) -> Result<Vec<Waiting>, StoreError> {
    const SELECT: &str = "SELECT m.user_id, m.created_at, u.email, u.name
        FROM memberships m JOIN users u ON u.id = m.user_id
        WHERE m.organization_id = $1 AND m.state = 'pending_approval' AND u.email_verified_at IS NOT NULL
            AND (m.created_at > $2 OR (m.created_at = $2 AND m.user_id > $3))
        ORDER BY m.created_at, m.user_id LIMIT $4";
    let (since, user) = match &after {
        Some((since, user)) => (*since, user.as_str()),
        None => (Timestamp::MIN, ""),
    };
    let values = values![organization.as_str(), since, user, i64::from(limit)];
    let read = |row: &Row| {
        Ok(Waiting {
            user: row.parsed("user_id")?,
            email: row.get("email")?,
            name: row.get("name")?,
            since: row.time("created_at")?,
        })
    };
    sql::rows(source, SELECT, values).await?.iter().map(read).collect()
}

/// The addresses of the organization's active admins and owners.
pub async fn administrators(
    source: &impl Source,
    organization: &OrganizationId,
) -> Result<Vec<String>, StoreError> {
    const SELECT: &str = "SELECT u.email FROM memberships m JOIN users u ON u.id = m.user_id
        WHERE m.organization_id = $1 AND m.state = 'active' AND m.role IN ('admin', 'owner') ORDER BY u.email";
    let rows = sql::rows(source, SELECT, values![organization.as_str()]).await?;
    rows.iter().map(|row| row.get("email")).collect()
}

/// The addresses of the organization's active owners.
pub async fn owners(source: &impl Source, organization: &OrganizationId) -> Result<Vec<String>, StoreError> {
    const SELECT: &str = "SELECT u.email FROM memberships m JOIN users u ON u.id = m.user_id
        WHERE m.organization_id = $1 AND m.state = 'active' AND m.role = 'owner' ORDER BY u.email";
    let rows = sql::rows(source, SELECT, values![organization.as_str()]).await?;
    rows.iter().map(|row| row.get("email")).collect()
}

/// How many are active in an organization, and who was the first of its administrators.
pub async fn founders(
    source: &impl Source,
    organization: &OrganizationId,
) -> Result<(i64, Option<UserId>), StoreError> {
    const SELECT: &str = "SELECT
        (SELECT COUNT(*) FROM memberships WHERE organization_id = $1 AND state = 'active') AS active,
        (SELECT user_id FROM memberships WHERE organization_id = $1 AND role IN ('admin', 'owner')
            ORDER BY created_at, user_id LIMIT 1) AS first_admin";
    let row = sql::row(source, SELECT, values![organization.as_str()]).await?;
    let Some(row) = row else { return Ok((0, None)) };
    Ok((row.get("active")?, row.parsed_opt("first_admin")?))
}

/// Somebody's place in this organization, if they have one.
pub async fn find(
    source: &impl Source,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<Option<Membership>, StoreError> {
    const SELECT: &str = "SELECT * FROM memberships WHERE organization_id = $1 AND user_id = $2";
    sql::row(source, SELECT, values![organization.as_str(), user.as_str()])
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// All places that somebody has, the oldest first.
pub async fn of_user(source: &impl Source, user: &UserId) -> Result<Vec<Membership>, StoreError> {
    const SELECT: &str = "SELECT * FROM memberships WHERE user_id = $1 ORDER BY created_at, organization_id";
    sql::rows(source, SELECT, values![user.as_str()]).await?.iter().map(read).collect()
}

/// Somebody in this organization whose membership was approved.
pub async fn member(
    source: &impl Source,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<Option<Member>, StoreError> {
    let mut query = members_that();
    query.text("m.organization_id = ").value(organization.as_str());
    query.text(" AND m.user_id = ").value(user.as_str());
    query.text(" AND m.state <> 'pending_approval'");
    query.rows(source).await?.first().map(read_member).transpose()
}

/// The people of this organization, but for those who wait for approval.
pub async fn members(
    source: &impl Source,
    organization: &OrganizationId,
    filter: MembersFilter<'_>,
    part: Part<'_, MemberColumn>,
) -> Result<Vec<Member>, StoreError> {
    let mut query = members_that();
    choose(&mut query, organization, filter);
    query.part(&sorted(part.order.by), &part);
    query.rows(source).await?.iter().map(read_member).collect()
}

/// Where a member stands among the others.
#[must_use]
pub fn place_of(member: &Member, by: MemberColumn) -> Place {
    let Membership { user, created_at, last_sign_in_at, .. } = &member.membership;
    match by {
        MemberColumn::Created => Place::of_moment(Some(*created_at), EARLIEST, user.as_str()),
        MemberColumn::Name => Place::of_text(&member.name, user.as_str()),
        MemberColumn::Email => Place::of_text(&member.email, user.as_str()),
        MemberColumn::LastSignIn => Place::of_moment(*last_sign_in_at, EARLIEST, user.as_str()),
    }
}

/// By what members are ordered.
fn sorted(by: MemberColumn) -> Sorted {
    let by = match by {
        MemberColumn::Created => "m.created_at",
        MemberColumn::Name => "LOWER(u.name)",
        MemberColumn::Email => "u.email_folded",
        MemberColumn::LastSignIn => "COALESCE(m.last_sign_in_at, 0)",
    };
    Sorted { by, id: "m.user_id" }
}

/// How many of them there are.
pub async fn count(
    source: &impl Source,
    organization: &OrganizationId,
    filter: MembersFilter<'_>,
) -> Result<i64, StoreError> {
    let mut query = Composed::new(
        "SELECT COUNT(*) AS members FROM memberships m JOIN users u ON u.id = m.user_id WHERE ",
    );
    choose(&mut query, organization, filter);
    query.rows(source).await?.first().map_or(Ok(0), |row| row.get("members"))
}

/// The condition on members that are looked for.
fn choose(query: &mut Composed, organization: &OrganizationId, filter: MembersFilter<'_>) {
    query.text("m.organization_id = ").value(organization.as_str());
    query.text(" AND m.state <> 'pending_approval'");
    if filter.lacking {
        query.text(" AND m.state = 'active' AND ((").text(HAS_NONE).text(")");
        if filter.admins_need_passkey {
            query.text(" OR (").text(LACKS_PASSKEY).text(")");
        }
        query.text(")");
    }
    if let Some(asked) = filter.asked {
        match asked.roles {
            [] => query.text(" AND 1 = 0"),
            roles => query.text(" AND m.role IN ").values(roles.iter().map(|role| role.as_str())),
        };
        query.text(" AND COALESCE(m.mfa_asked_since, m.created_at) <= ").value(asked.before);
        query.text(" AND 0 = ").text(VOUCHERS);
    }
    query.and_found_in(["u.name", "u.email", "m.role"], filter.search);
}

/// The active members of all organizations who are asked for a second factor and have no passkey: whoever lacks what is
/// asked of them is among them.
pub async fn asked_without_passkey(source: &impl Source) -> Result<Vec<Member>, StoreError> {
    let mut query = members_that();
    query.text("m.mfa_asked_since IS NOT NULL AND m.state = 'active'");
    query.text(" AND NOT EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = m.user_id)");
    query.text(" ORDER BY m.organization_id, m.user_id");
    query.rows(source).await?.iter().map(read_member).collect()
}

/// The active members of this organization who have chosen their password behind `after` and not behind `until`.
pub async fn with_password_set(
    source: &impl Source,
    organization: &OrganizationId,
    after: Timestamp,
    until: Timestamp,
) -> Result<Vec<Member>, StoreError> {
    let mut query = members_that();
    query.text("m.organization_id = ").value(organization.as_str()).text(" AND m.state = 'active'");
    query.text(" AND u.password_hash IS NOT NULL AND u.password_temporary_until IS NULL");
    query.text(" AND u.password_set_at > ").value(after).text(" AND u.password_set_at <= ").value(until);
    query.text(" ORDER BY m.user_id");
    query.rows(source).await?.iter().map(read_member).collect()
}

/// The active members of all organizations who have a temporary password that ends behind `after` and not behind `until`.
pub async fn with_temporary_password(
    source: &impl Source,
    after: Timestamp,
    until: Timestamp,
) -> Result<Vec<Member>, StoreError> {
    let mut query = members_that();
    query.text("m.state = 'active'");
    query.text(" AND u.password_temporary_until > ").value(after);
    query.text(" AND u.password_temporary_until <= ").value(until);
    query.text(" ORDER BY m.organization_id, m.user_id");
    query.rows(source).await?.iter().map(read_member).collect()
}

/// Ends a membership. `false` when there is none.
pub async fn remove(tx: &Tx<'_>, organization: &OrganizationId, user: &UserId) -> Result<bool, StoreError> {
    const DELETE: &str = "DELETE FROM memberships WHERE organization_id = $1 AND user_id = $2";
    Ok(sql::execute(tx, DELETE, values![organization.as_str(), user.as_str()]).await? == 1)
}

/// Notes since when this member is asked for a second factor.
pub async fn note_asked(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    user: &UserId,
    since: Option<Timestamp>,
) -> Result<(), StoreError> {
    const UPDATE: &str =
        "UPDATE memberships SET mfa_asked_since = $3 WHERE organization_id = $1 AND user_id = $2";
    sql::execute(tx, UPDATE, values![organization.as_str(), user.as_str(), since]).await?;
    Ok(())
}

/// Puts `changed` in place of the membership as it was read; `false` when it is no longer so. Whoever is suspended by it is
/// suspended by somebody here, until [`note_suspended_by_provider`] says otherwise.
pub async fn change(
    tx: &Tx<'_>,
    read: &Membership,
    role: Role,
    state: MembershipState,
) -> Result<bool, StoreError> {
    const UPDATE: &str = "UPDATE memberships SET role = $5, state = $6,
            suspended_by_provider = suspended_by_provider AND state = $6
        WHERE organization_id = $1 AND user_id = $2 AND role = $3 AND state = $4";
    let values = values![
        read.organization.as_str(),
        read.user.as_str(),
        read.role.as_str(),
        read.state.as_str(),
        role.as_str(),
        state.as_str(),
    ];
    Ok(sql::execute(tx, UPDATE, values).await? == 1)
}

/// Notes that it was the identity provider that suspended this member.
pub async fn note_suspended_by_provider(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE memberships SET suspended_by_provider = TRUE
        WHERE organization_id = $1 AND user_id = $2 AND state = 'suspended'";
    sql::execute(tx, UPDATE, values![organization.as_str(), user.as_str()]).await?;
    Ok(())
}

/// Asks all members of a role for a second factor from `since` on, unless they have been asked before; with `None` they
/// are asked no more.
pub async fn ask_for_second_factor(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    role: Role,
    since: Option<Timestamp>,
) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE memberships
        SET mfa_asked_since = CASE WHEN $3 IS NULL THEN NULL ELSE COALESCE(mfa_asked_since, $3) END
        WHERE organization_id = $1 AND role = $2";
    sql::execute(tx, UPDATE, values![organization.as_str(), role.as_str(), since]).await?;
    Ok(())
}

/// Begins the time anew in which members of a role can add a passkey who have another second factor: that one is asked of
/// them meanwhile. Whoever has none keeps the deadline they have.
pub async fn ask_for_passkeys(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    role: Role,
    since: Timestamp,
) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE memberships SET mfa_asked_since = $3
        WHERE organization_id = $1 AND role = $2
            AND EXISTS (SELECT 1 FROM totp_secrets t WHERE t.user_id = memberships.user_id)
            AND NOT EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = memberships.user_id)";
    sql::execute(tx, UPDATE, values![organization.as_str(), role.as_str(), since]).await?;
    Ok(())
}

/// Notes a sign-in.
pub async fn note_sign_in(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    user: &UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    const UPDATE: &str =
        "UPDATE memberships SET last_sign_in_at = $3 WHERE organization_id = $1 AND user_id = $2";
    sql::execute(tx, UPDATE, values![organization.as_str(), user.as_str(), now]).await?;
    Ok(())
}

/// How many active owners the organization has. Hold it still with [`crate::organizations::lock`] first.
pub async fn count_active_owners(tx: &Tx<'_>, organization: &OrganizationId) -> Result<i64, StoreError> {
    const COUNT: &str = "SELECT COUNT(*) AS owners FROM memberships
        WHERE organization_id = $1 AND role = 'owner' AND state = 'active'";
    let row = sql::row(tx, COUNT, values![organization.as_str()]).await?;
    row.map_or(Ok(0), |row| row.get("owners"))
}

/// What is read of members, up to the condition.
fn members_that() -> Composed {
    let mut query = Composed::new("SELECT m.*, u.email, u.name, ");
    query.text("(SELECT COUNT(*) FROM passkeys p WHERE p.user_id = m.user_id) AS passkeys, ");
    query.text("(SELECT COUNT(*) FROM totp_secrets t WHERE t.user_id = m.user_id) AS totp, ");
    query.text(VOUCHERS).text(" AS vouchers FROM memberships m JOIN users u ON u.id = m.user_id WHERE ");
    query
}

fn read(row: &Row) -> Result<Membership, StoreError> {
    Ok(Membership {
        organization: row.parsed("organization_id")?,
        user: row.parsed("user_id")?,
        role: row.parsed("role")?,
        state: row.parsed("state")?,
        mfa_asked_since: row.time_opt("mfa_asked_since")?,
        created_at: row.time("created_at")?,
        last_sign_in_at: row.time_opt("last_sign_in_at")?,
    })
}

fn read_member(row: &Row) -> Result<Member, StoreError> {
    let factors = Factors {
        passkeys: row.get("passkeys")?,
        totp: row.get::<i64>("totp")? > 0,
        // They are told to their holder alone.
        recovery_codes: 0,
    };
    let is_vouched_for = row.get::<i64>("vouchers")? > 0;
    Ok(Member {
        membership: read(row)?,
        email: row.get("email")?,
        name: row.get("name")?,
        factors,
        is_vouched_for,
    })
}
