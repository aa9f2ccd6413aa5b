//! Whose account somebody is who comes from a provider: found, made or linked, with a place in the organization.

use kt_domain::actor::Role;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::email::EmailAddress;
use kt_domain::error::Error;
use kt_domain::id::{OrganizationId, SessionId, UserId};
use kt_domain::sign_in::MembershipState;
use kt_domain::sso::reception::{self, Account, Address, Reception, Refusal};
use kt_domain::sso::{ExternalIdentity, IdentitySource, Protocol, ProviderSettings};
use kt_store::external_identities::{self, ExternalName};
use kt_store::memberships::Membership;
use kt_store::sessions::Federation;
use kt_store::users::{self, User};
use kt_store::{
    Source, Tx, audit, domains, identity_providers, memberships, organizations, second_factors, sessions,
};
use serde_json::{Value, json};

use super::errand::Origin;
use super::receive::Turned;
use super::sso_refused;
use crate::control::Control;
use crate::organizations::check_name;
use crate::registration::new_place;
use crate::scim::provisioned_groups;
use crate::sign_in::{Entrant, Vouched};

/// Whose account it is, and how they got it.
pub(super) struct Received {
    pub(super) entrant: Entrant,
    /// Whether the account is still to be linked, after one of its second factors was shown.
    pub(super) is_linked_later: bool,
    /// Whether something of somebody's was changed that others may rely on.
    pub(super) has_changed: bool,
}

impl Control {
    pub(super) async fn find_or_make(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        origin: &Origin,
        settings: &ProviderSettings,
        identity: &ExternalIdentity,
    ) -> Result<Received, Turned> {
        let name = name_of(origin, identity);
        let known = match external_identities::user_of(tx, name).await? {
            Some(user) => users::find(tx, &user).await?,
            None => None,
        };
        match known {
            Some(user) => self.receive_known(ctx, tx, origin, settings, identity, user).await,
            None => self.receive_stranger(ctx, tx, origin, settings, identity).await,
        }
    }

    async fn receive_known(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        origin: &Origin,
        settings: &ProviderSettings,
        identity: &ExternalIdentity,
        user: User,
    ) -> Result<Received, Turned> {
        let id = user.id.clone();
        let away = |why: Refusal, organization: Option<&OrganizationId>| Turned::Away {
            why: why.to_string(),
            user: Some(id.clone()),
            organization: organization.cloned(),
        };
        let Some(organization) = &origin.organization else {
            let places = memberships::of_user(tx, &user.id).await?;
            // The oldest in which they are active: being suspended in one shuts nobody out of the others.
            let place = places.into_iter().min_by_key(|place| place.state != MembershipState::Active);
            let place = place.ok_or_else(|| away(Refusal::NoPlace, None))?;
            let organization = organizations::find(tx, &place.organization).await?;
            let organization = organization.ok_or_else(|| away(Refusal::NoPlace, None))?;
            let entrant = Entrant { user, membership: place, organization };
            return Ok(Received { entrant, is_linked_later: false, has_changed: false });
        };
        let place = memberships::find(tx, organization, &user.id).await?;
        let state = place.as_ref().map(|place| place.state);
        let joins = reception::joins(settings, state).map_err(|why| away(why, Some(organization)))?;
        let (entrant, has_changed) =
            self.place_of(ctx, tx, origin, organization, settings, identity, user, joins).await?;
        Ok(Received { entrant, is_linked_later: false, has_changed })
    }

    async fn receive_stranger(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        origin: &Origin,
        settings: &ProviderSettings,
        identity: &ExternalIdentity,
    ) -> Result<Received, Turned> {
        let stranger = self.look_up(tx, origin, settings, identity).await?;
        let away = |why: Refusal, user: Option<UserId>| Turned::Away {
            why: why.to_string(),
            user,
            organization: stranger.organization.clone(),
        };
        let holder = stranger.user.as_ref().map(|user| user.id.clone());
        let reception = stranger.reception.map_err(|why| away(why, holder.clone()))?;
        let (Some(organization), Some(email)) = (stranger.organization.clone(), stranger.email) else {
            return Err(away(Refusal::NoAddress, holder));
        };
        let (user, joins, asks_for_factor) = match (reception, stranger.user) {
            (Reception::Create, _) => {
                let Some(user) = self.new_federated_user(ctx, tx, &email, identity).await? else {
                    // They have come twice at the same moment, and the other one has made the account.
                    return Box::pin(self.find_or_make(ctx, tx, origin, settings, identity)).await;
                };
                (user, true, false)
            }
            (Reception::Link { wipes_credentials, asks_for_factor, joins }, Some(user)) => {
                let user = if wipes_credentials {
                    // Whoever opened it has named it as well.
                    users::rename(tx, &user.id, &shown_name(identity, &email)).await?;
                    wiped(ctx, tx, user).await?
                } else {
                    user
                };
                (user, joins, asks_for_factor)
            }
            (Reception::Link { .. }, None) => return Err(away(Refusal::NoAccount, None)),
        };
        let (entrant, _) =
            self.place_of(ctx, tx, origin, &organization, settings, identity, user, joins).await?;
        if !asks_for_factor && entrant.membership.state != MembershipState::Suspended {
            self.link(ctx, tx, &entrant, name_of(origin, identity)).await?;
        }
        Ok(Received { entrant, is_linked_later: asks_for_factor, has_changed: true })
    }

    /// Links an account to the name that a provider has for its holder.
    async fn link(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        entrant: &Entrant,
        name: ExternalName<'_>,
    ) -> Result<(), Error> {
        if !external_identities::link(tx, name, &entrant.user.id, ctx.now).await? {
            return Err(sso_refused().with_private("somebody else was linked to it meanwhile"));
        }
        let what = json!({ "source": name.source, "issuer": name.issuer, "subject": name.subject });
        let record =
            self.record(ctx, AuditAction::SsoLinked, entrant.user.id.as_str()).with_change(Value::Null, what);
        Ok(audit::append(tx, Some(&entrant.organization.id), &record).await?)
    }

    /// Notes by whose word a session was made; links the account where it was to be linked once it was let in.
    pub(crate) async fn note_vouched(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        entrant: &Entrant,
        session: &SessionId,
        vouched: &Vouched,
    ) -> Result<(), Error> {
        let Federation { source, issuer, subject, .. } = &vouched.federation;
        let name = ExternalName { source, issuer, subject };
        if vouched.links {
            self.link(ctx, tx, entrant, name).await?;
        }
        // Not before: a second factor may have been asked for besides.
        external_identities::note_use(tx, name, ctx.now).await?;
        Ok(sessions::note_federation(tx, session, &vouched.federation).await?)
    }

    /// By whose word somebody came in, as records tell it.
    pub(crate) async fn told_of(&self, source: &impl Source, vouched: &Vouched) -> Result<Value, Error> {
        let Federation { source: provider, issuer, .. } = &vouched.federation;
        let protocol = match provider {
            IdentitySource::Google => Some(Protocol::Oidc),
            IdentitySource::Provider(id) => {
                identity_providers::find(source, id).await?.map(|found| found.details.protocol())
            }
        };
        Ok(json!({ "id": provider, "issuer": issuer, "protocol": protocol }))
    }

    /// `None` where there is an account with this address by now.
    async fn new_federated_user(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        email: &EmailAddress,
        identity: &ExternalIdentity,
    ) -> Result<Option<User>, Error> {
        let user = User {
            id: self.draw(|random| UserId::new(ctx.now, random)),
            email: email.as_typed().to_owned(),
            email_folded: email.folded(),
            email_verified_at: Some(ctx.now),
            name: shown_name(identity, email),
            password: None,
            epoch: 1,
            created_at: ctx.now,
        };
        Ok(users::insert_unless_known(tx, &user).await?.then_some(user))
    }

    /// The groups that decide somebody's role at this sign-in: those that the provider names, and where it names none those
    /// that it has provisioned them into. `None` where there are more than it could send.
    pub(super) async fn groups_of(
        &self,
        source: &impl Source,
        organization: &OrganizationId,
        user: &UserId,
        identity: &ExternalIdentity,
    ) -> Result<Option<Vec<String>>, Error> {
        match &identity.groups {
            Some(named) if named.is_empty() => {
                Ok(Some(provisioned_groups(source, organization, user).await?))
            }
            named => Ok(named.clone()),
        }
    }

    /// Somebody's place in the organization, made where they join, with the role that their groups have.
    #[expect(clippy::too_many_arguments, reason = "who, where, and by whose word")]
    async fn place_of(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        origin: &Origin,
        organization: &OrganizationId,
        settings: &ProviderSettings,
        identity: &ExternalIdentity,
        user: User,
        joins: bool,
    ) -> Result<(Entrant, bool), Error> {
        let security = self.security_of(tx, organization).await?.value;
        let groups = self.groups_of(tx, organization, &user.id, identity).await?;
        let mut has_changed = false;
        if joins {
            let role = settings.role_of(groups.as_deref().unwrap_or_default());
            let place = new_place(ctx, organization, &user.id, role, MembershipState::Active, &security);
            if !memberships::insert_unless_there(tx, &place).await?
                && let Some(waiting) = memberships::find(tx, organization, &user.id).await?
            {
                self.put_in_place_untold(ctx, tx, &waiting, role, MembershipState::Active).await?;
            }
            let record = self
                .record(ctx, AuditAction::MemberJoined, user.id.as_str())
                .with_change(Value::Null, json!({ "role": role, "source": origin.source }));
            audit::append(tx, Some(organization), &record).await?;
            has_changed = true;
        }
        let place = memberships::find(tx, organization, &user.id).await?;
        let place = place.ok_or_else(|| Error::internal("a place that was made is not there"))?;
        let role = settings.role_after(place.role, groups.as_deref());
        if role != place.role {
            self.change_role_by_groups(ctx, tx, &place, role).await?;
            has_changed = true;
        }
        let organization = organizations::find(tx, organization).await?;
        let organization = organization.ok_or_else(|| Error::not_found("organization"))?;
        let place = memberships::find(tx, &organization.id, &user.id).await?.unwrap_or(place);
        Ok((Entrant { user, membership: place, organization }, has_changed))
    }

    async fn change_role_by_groups(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        place: &Membership,
        role: Role,
    ) -> Result<(), Error> {
        self.put_in_place_untold(ctx, tx, place, role, place.state).await?;
        let record = self
            .record(ctx, AuditAction::MemberRoleChanged, place.user.as_str())
            .with_change(json!({ "role": place.role }), json!({ "role": role, "by": "groups" }));
        Ok(audit::append(tx, Some(&place.organization), &record).await?)
    }
}

/// What is known of somebody whom the organization does not know yet.
pub(super) struct Stranger {
    organization: Option<OrganizationId>,
    email: Option<EmailAddress>,
    user: Option<User>,
    pub(super) reception: Result<Reception, Refusal>,
}

impl Control {
    pub(super) async fn look_up(
        &self,
        source: &impl Source,
        origin: &Origin,
        settings: &ProviderSettings,
        identity: &ExternalIdentity,
    ) -> Result<Stranger, Error> {
        let email = identity.email.as_deref().and_then(|email| EmailAddress::parse(email).ok());
        let owner = match &email {
            Some(email) => domains::owner_of(source, email.domain()).await?,
            None => None,
        };
        // Whoever comes from Google is looked for where their domain belongs.
        let organization = origin.organization.clone().or_else(|| owner.clone());
        let user = match &email {
            Some(email) => users::by_email(source, &email.folded()).await?,
            None => None,
        };
        let account = match (&user, &organization) {
            (Some(user), Some(organization)) => Some(Account {
                email_verified: user.email_verified_at.is_some(),
                has_factors: !second_factors::of(source, &user.id).await?.list().is_empty(),
                is_linked: external_identities::is_linked(source, &origin.source, &user.id).await?,
                place: memberships::find(source, organization, &user.id).await?.map(|place| place.state),
            }),
            _ => None,
        };
        let address = email.as_ref().map(|_| Address {
            is_verified: settings.takes_for_verified(identity),
            is_own: owner.is_some() && owner == organization,
        });
        let reception = reception::receive(settings, address, account);
        Ok(Stranger { organization, email, user, reception })
    }
}

pub(super) fn name_of<'a>(origin: &'a Origin, identity: &'a ExternalIdentity) -> ExternalName<'a> {
    ExternalName { source: &origin.source, issuer: &identity.issuer, subject: &identity.subject }
}

/// The account without whatever it was opened with: password, second factors, everything issued (ATTACKS I19).
pub(crate) async fn wiped(ctx: &Ctx, tx: &Tx<'_>, user: User) -> Result<User, Error> {
    users::take_over_unverified(tx, &user.id, ctx.now).await?;
    second_factors::remove_all(tx, &user.id, ctx.now).await?;
    let user = users::find(tx, &user.id).await?;
    user.ok_or_else(|| Error::internal("an account is gone within the transaction"))
}

/// What somebody is called who comes for the first time; their address where the provider does not say.
fn shown_name(identity: &ExternalIdentity, email: &EmailAddress) -> String {
    let name: String =
        identity.name.iter().flat_map(|name| name.chars()).filter(|c| !c.is_control()).collect();
    let name: String = name.trim().chars().take(200).collect();
    let name = name.trim();
    check_name("name", name).map_or_else(|_| email.as_typed().to_owned(), |()| name.to_owned())
}
