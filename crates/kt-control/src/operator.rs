//! What only the operator does, at the machine itself, when nobody else can: let people back in, copy and put back.
//!
//! All of it works beside a server that runs, which follows with its next request, and all of it is recorded.

use std::path::Path;

use kt_domain::actor::Role;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::email::EmailAddress;
use kt_domain::error::Error;
use kt_domain::id::OrganizationId;
use kt_domain::lockout;
use kt_domain::network::console_rules::IpRestrictions;
use kt_domain::sign_in::MembershipState;
use kt_store::memberships;
use kt_store::organizations::{self, Organization};
use kt_store::users::{self, User};
use kt_store::{BackupError, Source, audit, limits};
use serde_json::{Value, json};

use crate::authenticate::require_operator;
use crate::control::Control;
use crate::ip_restrictions::IP_RESTRICTIONS;

impl Control {
    /// Lets somebody try to sign in again whose account wrong passwords or codes have locked. `false` where nothing was locked
    /// or counted.
    pub async fn unlock(&self, ctx: &Ctx, email: &str) -> Result<bool, Error> {
        require_operator(ctx)?;
        let user = self.user_called(email).await?;
        let tx = self.store.begin_write().await?;
        let mut counts = limits::reset_below(&tx, &lockout::account_key(user.id.as_str())).await?;
        counts += limits::reset_below(&tx, &lockout::codes_key(user.id.as_str())).await?;
        for chain in chains_of(&tx, &user).await? {
            let record = self.record(ctx, AuditAction::AccountUnlocked, user.id.as_str());
            audit::append(&tx, chain.as_ref(), &record).await?;
        }
        tx.commit().await?;
        Ok(counts > 0)
    }

    /// Makes a member an owner, and active: for an organization whose owners are all gone. Gives the name of the
    /// organization.
    pub async fn make_owner(
        &self,
        ctx: &Ctx,
        email: &str,
        organization: Option<&str>,
    ) -> Result<String, Error> {
        require_operator(ctx)?;
        let user = self.user_called(email).await?;
        let tx = self.store.begin_write().await?;
        let place = the_one_place(&tx, &user, organization).await?;
        organizations::lock(&tx, &place.id).await?;
        let membership = memberships::find(&tx, &place.id, &user.id).await?;
        let membership = membership.ok_or_else(|| Error::not_found("member"))?;
        if !self.put_in_place(ctx, &tx, &membership, Role::Owner, MembershipState::Active).await? {
            return Err(Error::internal("the membership changed within the transaction"));
        }
        let before = json!({ "role": membership.role, "state": membership.state });
        let after = json!({ "role": Role::Owner, "state": MembershipState::Active });
        let record =
            self.record(ctx, AuditAction::MemberRoleChanged, user.id.as_str()).with_change(before, after);
        audit::append(&tx, Some(&place.id), &record).await?;
        self.commit_revocation(tx).await?;
        Ok(place.name)
    }

    /// The identifier of the organization that the operator means: the one that they name, or the only one.
    pub async fn organization_meant(&self, ctx: &Ctx, named: Option<&str>) -> Result<String, Error> {
        require_operator(ctx)?;
        let mut known = organizations::identifiers(&self.store).await?;
        if known.is_empty() {
            return Err(Error::not_found("organization"));
        }
        let meant = match named {
            Some(named) => known.iter().position(|identifier| identifier == named),
            None => (known.len() == 1).then_some(0),
        };
        meant.map(|index| known.swap_remove(index)).ok_or_else(|| {
            let message = format!("Name one of the organizations that there are: {}.", known.join(", "));
            Error::invalid("organization", message)
        })
    }

    /// From where an organization is reached, for the operator.
    pub async fn ip_restrictions_of(&self, ctx: &Ctx, identifier: &str) -> Result<IpRestrictions, Error> {
        require_operator(ctx)?;
        let organization = organizations::by_identifier(&self.store, identifier).await?;
        let organization = organization.ok_or_else(|| Error::not_found("organization"))?.id;
        Ok(organizations::settings(&self.store, &organization, IP_RESTRICTIONS).await?.value)
    }

    /// Copies the database to a new file, while others use it.
    pub async fn back_up(&self, ctx: &Ctx, to: &Path) -> Result<(), BackupFailure> {
        require_operator(ctx)?;
        self.store.back_up(to).await?;
        Ok(self.record_operation(ctx, AuditAction::BackedUp, json!({ "file": to })).await?)
    }

    /// Records what was done to the whole deployment: its copy was put back, its schema was brought to the present.
    pub async fn record_operation(&self, ctx: &Ctx, action: AuditAction, after: Value) -> Result<(), Error> {
        require_operator(ctx)?;
        let tx = self.store.begin_write().await?;
        let record = self.record(ctx, action, "deployment").with_change(Value::Null, after);
        audit::append(&tx, None, &record).await?;
        Ok(tx.commit().await?)
    }

    pub(crate) async fn user_called(&self, email: &str) -> Result<User, Error> {
        let address = EmailAddress::parse(email).map_err(|why| Error::invalid("email", why.to_string()))?;
        let user = users::by_email(&self.store, &address.folded()).await?;
        user.ok_or_else(|| Error::not_found("account"))
    }
}

/// Where it is recorded what the operator does to an account: in each organization that it belongs to, and where it belongs to
/// none, in the deployment's own chain.
pub(crate) async fn chains_of(
    source: &impl Source,
    user: &User,
) -> Result<Vec<Option<OrganizationId>>, Error> {
    let places = memberships::of_user(source, &user.id).await?;
    if places.is_empty() {
        return Ok(vec![None]);
    }
    Ok(places.into_iter().map(|place| Some(place.organization)).collect())
}

/// The organization that is meant: the one that is named, or the only one that somebody belongs to.
async fn the_one_place(
    source: &impl Source,
    user: &User,
    named: Option<&str>,
) -> Result<Organization, Error> {
    let mut places = Vec::new();
    for membership in memberships::of_user(source, &user.id).await? {
        let place = organizations::find(source, &membership.organization).await?;
        places.extend(place.filter(|place| named.is_none_or(|name| place.identifier == name)));
    }
    match (places.pop(), places.pop()) {
        (Some(place), None) => Ok(place),
        (None, _) => Err(Error::not_found("member")),
        (Some(one), Some(other)) => {
            let (one, other) = (one.identifier, other.identifier);
            let message =
                format!("They belong to several organizations, such as {one} and {other}. Name one.");
            Err(Error::invalid("organization", message))
        }
    }
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupFailure {
    /// The copy was not made.
    #[error(transparent)]
    NotMade(#[from] BackupError),
    /// It was made, or refused, and something else went wrong.
    #[error(transparent)]
    Failed(#[from] Error),
}
