//! The groups of an organization's identity provider, and the roles that follow from them.

use std::collections::BTreeSet;

use kt_domain::actor::Permission;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::{OrganizationId, ScimGroupId, UserId};
use kt_domain::members::MemberChange;
use kt_domain::scim::{GroupChange, MemberEdit, ScimType};
use kt_store::scim::{self, Part, ScimGroup};
use kt_store::{Source, StoreError, Tx, audit, identity_providers, memberships, organizations};
use serde_json::{Map, Value, json};

use super::{ScimQuery, taken};
use crate::control::Control;

/// How many of those who have joined or left a group at once a record names.
const MOST_NAMED: usize = 200;

/// A group, and who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScimGroupView {
    /// The group.
    pub group: ScimGroup,
    /// Its members.
    pub members: BTreeSet<UserId>,
}

impl Control {
    /// The provider's groups.
    pub async fn scim_groups(&self, ctx: &Ctx, query: &ScimQuery) -> Result<Part<ScimGroupView>, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let found = scim::groups(&self.store, organization, &query.filter, query.from, query.limit).await?;
        let wanted: Vec<_> =
            found.items.iter().filter(|_| query.with_places).map(|group| &group.id).collect();
        let mut members = scim::members_of_all(&self.store, &wanted).await?;
        let view = |group: ScimGroup| {
            let members = members.remove(&group.id).unwrap_or_default();
            ScimGroupView { group, members }
        };
        Ok(Part { total: found.total, items: found.items.into_iter().map(view).collect() })
    }

    /// One of them, with its members where they are wanted.
    pub async fn scim_group(&self, ctx: &Ctx, id: &str, with_members: bool) -> Result<ScimGroupView, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let id = id.parse().map_err(|_| no_group())?;
        let group = scim::group(&self.store, organization, &id).await?.ok_or_else(no_group)?;
        let members = if with_members { scim::members(&self.store, &id).await? } else { BTreeSet::default() };
        Ok(ScimGroupView { group, members })
    }

    /// Adds a group.
    pub async fn create_scim_group(&self, ctx: &Ctx, change: &GroupChange) -> Result<ScimGroupView, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let group = ScimGroup {
            id: self.draw(|random| ScimGroupId::new(ctx.now, random)),
            display_name: change.display_name.clone().unwrap_or_default(),
            external_id: change.external_id.over(None),
            created_at: ctx.now,
            changed_at: ctx.now,
        };
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        self.save_group(ctx, tx, organization, None, group, &change.members).await
    }

    /// Changes a group. The roles of all whom that concerns follow at once.
    pub async fn change_scim_group(
        &self,
        ctx: &Ctx,
        id: &str,
        change: &GroupChange,
    ) -> Result<ScimGroupView, Error> {
        let organization = ctx.require(Permission::Provision)?;
        let id = id.parse().map_err(|_| no_group())?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        let before = scim::group(&tx, organization, &id).await?.ok_or_else(no_group)?;
        let after = ScimGroup {
            display_name: change.display_name.clone().unwrap_or_else(|| before.display_name.clone()),
            external_id: change.external_id.over(before.external_id.as_deref()),
            changed_at: ctx.now,
            ..before.clone()
        };
        self.save_group(ctx, tx, organization, Some(&before), after, &change.members).await
    }

    async fn save_group(
        &self,
        ctx: &Ctx,
        tx: Tx<'_>,
        organization: &OrganizationId,
        before: Option<&ScimGroup>,
        after: ScimGroup,
        edits: &[MemberEdit],
    ) -> Result<ScimGroupView, Error> {
        match scim::save_group(&tx, organization, &after).await {
            Err(StoreError::Exists) => {
                return Err(taken("There is a group with this `displayName` or `externalId`."));
            }
            saved => saved?,
        }
        let was = scim::members(&tx, &after.id).await?;
        for edit in edits {
            edit_members(&tx, organization, &after.id, edit).await?;
        }
        let is = scim::members(&tx, &after.id).await?;
        let is_renamed = before.is_some_and(|before| names(before) != names(&after));
        let concerned: Vec<_> =
            if is_renamed { was.union(&is).collect() } else { was.symmetric_difference(&is).collect() };
        self.follow_groups(ctx, &tx, organization, concerned).await?;
        let mut change = told(&after);
        name(&mut change, "joined", is.difference(&was));
        name(&mut change, "left", was.difference(&is));
        let record = self
            .record(ctx, AuditAction::GroupProvisioned, after.id.as_str())
            .with_change(before.map_or(Value::Null, |before| told(before).into()), change.into());
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await?;
        Ok(ScimGroupView { group: after, members: is })
    }

    /// Removes a group. Its members stay, with the roles that their other groups give them.
    pub async fn remove_scim_group(&self, ctx: &Ctx, id: &str) -> Result<(), Error> {
        let organization = ctx.require(Permission::Provision)?;
        let id = id.parse().map_err(|_| no_group())?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        let before = scim::group(&tx, organization, &id).await?.ok_or_else(no_group)?;
        let members = scim::members(&tx, &id).await?;
        scim::remove_group(&tx, &id).await?;
        self.follow_groups(ctx, &tx, organization, &members).await?;
        let mut removed = told(&before);
        name(&mut removed, "members", members.iter());
        let record = self
            .record(ctx, AuditAction::GroupProvisioned, id.as_str())
            .with_change(removed.into(), Value::Null);
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await
    }

    /// Gives members the role that their groups say, by the rule of single sign-on: never owner, and an owner stays one.
    async fn follow_groups(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        users: impl IntoIterator<Item = &UserId>,
    ) -> Result<(), Error> {
        let provider = identity_providers::enabled(tx, organization).await?;
        let provider = provider.filter(|provider| self.offers(provider.details.protocol()));
        // Where no group has a role, there is nothing to follow.
        let Some(provider) = provider.filter(|provider| !provider.settings.group_roles.is_empty()) else {
            return Ok(());
        };
        for user in users {
            let Some(place) = memberships::find(tx, organization, user).await? else { continue };
            let groups = provisioned_groups(tx, organization, user).await?;
            let role = provider.settings.role_after(place.role, Some(&groups));
            if role != place.role {
                self.change_place(ctx, tx, organization, user, MemberChange::Role(role)).await?;
            }
        }
        Ok(())
    }
}

/// The groups that a member was provisioned into, by all that single sign-on knows them by.
pub(crate) async fn provisioned_groups(
    source: &impl Source,
    organization: &OrganizationId,
    user: &UserId,
) -> Result<Vec<String>, Error> {
    let groups = scim::groups_of(source, organization, user).await?;
    Ok(groups.iter().flat_map(names).map(str::to_owned).collect())
}

/// What single sign-on knows a group by: its name, or the provider's own identifier, as Entra ID sends it in tokens.
fn names(group: &ScimGroup) -> Vec<&str> {
    [Some(group.display_name.as_str()), group.external_id.as_deref()].into_iter().flatten().collect()
}

async fn edit_members(
    tx: &Tx<'_>,
    organization: &OrganizationId,
    group: &ScimGroupId,
    edit: &MemberEdit,
) -> Result<(), Error> {
    let named = |users: &[UserId]| users.iter().cloned().collect::<BTreeSet<_>>();
    let (joining, leaving) = match edit {
        MemberEdit::Add(users) => (named(users), BTreeSet::new()),
        MemberEdit::Remove(users) => (BTreeSet::new(), named(users)),
        MemberEdit::Set(users) => {
            let (wanted, present) = (named(users), scim::members(tx, group).await?);
            (&wanted - &present, &present - &wanted)
        }
    };
    scim::leave_group(tx, group, &leaving).await?;
    if !scim::join_group(tx, organization, group, &joining).await? {
        let message = "One of `members` is no user of this organization.";
        return Err(ScimType::InvalidValue.refusal(message));
    }
    Ok(())
}

/// What the audit log says of a group. Who is in it follows from who has joined and left: a record that named all of a large
/// group at each change of one member would grow with the group, for ever.
fn told(group: &ScimGroup) -> Map<String, Value> {
    Map::from_iter([
        ("name".to_owned(), json!(group.display_name)),
        ("external_id".to_owned(), json!(group.external_id)),
    ])
}

/// Adds those who have joined, left or stood in it, if anybody has: the first of them by name, and how many more.
fn name<'u>(told: &mut Map<String, Value>, how: &str, users: impl Iterator<Item = &'u UserId>) {
    let users: Vec<_> = users.collect();
    let (named, more) = users.split_at(users.len().min(MOST_NAMED));
    if !named.is_empty() {
        told.insert(how.to_owned(), json!(named));
    }
    if !more.is_empty() {
        told.insert(format!("{how}_and_more"), json!(more.len()));
    }
}

fn no_group() -> Error {
    Error::not_found("group")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use kt_domain::random::Random;

    use super::*;

    #[test]
    fn a_record_names_some_hundred_and_counts_the_others() {
        let mut random = Random::seeded(1);
        let users: Vec<_> =
            (0..5 * MOST_NAMED).map(|_| UserId::new(Timestamp::UNIX_EPOCH, &mut random)).collect();
        for (count, more) in
            [(0, None), (1, None), (MOST_NAMED, None), (5 * MOST_NAMED, Some(4 * MOST_NAMED))]
        {
            let mut told = Map::new();
            name(&mut told, "joined", users[..count].iter());
            let named = told.get("joined").map_or(0, |named| named.as_array().unwrap().len());
            assert_eq!(named, count.min(MOST_NAMED), "{count}");
            assert_eq!(told.get("joined_and_more"), more.map(|more| json!(more)).as_ref(), "{count}");
        }
    }
}
