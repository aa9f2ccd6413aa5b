//! Invitations: made by somebody of at least the rank that they give, sent to one address, accepted once by whoever reads
//! its mail.

use jiff::Timestamp;
use kt_domain::actor::{Permission, Role};
use kt_domain::audit::{AuditAction, AuditActor};
use kt_domain::ctx::Ctx;
use kt_domain::email::EmailAddress;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{InvitationId, OrganizationId, UserId};
use kt_domain::network::console_rules::Surface;
use kt_domain::sign_in::MembershipState;
use kt_store::invitations::{self, Invitation};
use kt_store::organizations::{self, Organization};
use kt_store::users::{self, User};
use kt_store::{Source, Tx, audit, memberships};
use serde_json::{Value, json};

use crate::control::Control;
use crate::links::{INVITATION, NewLink, link_is_over};
use crate::mail::{Label, Message};
use crate::paging::{Page, PageRequest, PageSize};
use crate::post::parse_email;
use crate::registration::{Newcomer, Register, new_place};

const PAGES: PageSize = PageSize { usual: 50, most: 1000 };

/// An invitation, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvitationView {
    /// The invitation.
    pub invitation: Invitation,
    /// The organization that it leads to.
    pub organization: Organization,
}

impl Control {
    /// Invites somebody by mail. Whether the address has an account elsewhere does not show.
    pub async fn invite(&self, ctx: &Ctx, email: &str, role: Role) -> Result<Invitation, Error> {
        let organization = ctx.require(Permission::ManageMembers)?;
        ctx.require_fresh_authentication()?;
        ctx.require_rank(role)?;
        let email = parse_email("email", email)?;
        let invited_by = ctx.actor.user().ok_or_else(|| Error::internal("nobody answers for this"))?;
        let invitation = Invitation {
            id: self.draw(|random| InvitationId::new(ctx.now, random)),
            organization: organization.clone(),
            email,
            role,
            invited_by: invited_by.clone(),
            created_at: ctx.now,
            expires_at: ctx.now + INVITATION.lifetime(),
            accepted_at: None,
            revoked_at: None,
        };
        self.evenly(self.add_invitation(ctx, &invitation)).await?;
        Ok(invitation)
    }

    async fn add_invitation(&self, ctx: &Ctx, invitation: &Invitation) -> Result<(), Error> {
        let Invitation { organization, email, role, .. } = invitation;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        if self.belongs(&tx, organization, email).await? {
            return Err(already_member());
        }
        if invitations::open_for(&tx, organization, &email.folded(), ctx.now).await?.is_some() {
            return Err(already_invited());
        }
        invitations::insert(&tx, invitation).await?;
        self.send_invitation(ctx, &tx, invitation).await?;
        let what = json!({ "email": email, "role": role });
        self.record_of(ctx, &tx, AuditAction::InvitationMade, invitation, what).await?;
        Ok(tx.commit().await?)
    }

    /// The organization's invitations, the newest first.
    pub async fn invitations(&self, ctx: &Ctx, request: &PageRequest) -> Result<Page<Invitation>, Error> {
        let organization = ctx.require(Permission::ReadMembers)?;
        let limit = PAGES.of(request)?;
        let list = format!("invitations/{organization}");
        let before: Option<InvitationId> = self.position(&list, request)?;
        let found = invitations::page(&self.store, organization, before.as_ref(), limit + 1).await?;
        self.page(&list, limit, found, |invitation| invitation.id.clone())
    }

    /// Sends an invitation again, with another link and another seven days; the earlier link is dead.
    pub async fn resend_invitation(&self, ctx: &Ctx, id: &InvitationId) -> Result<Invitation, Error> {
        let organization = ctx.require(Permission::ManageMembers)?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        let mut invitation = self.own_invitation(&tx, organization, id).await?;
        ctx.require_rank(invitation.role)?;
        invitation.expires_at = ctx.now + INVITATION.lifetime();
        if !invitations::renew(&tx, id, invitation.expires_at).await? {
            return Err(invitation_is_over());
        }
        self.send_invitation(ctx, &tx, &invitation).await?;
        self.record_of(ctx, &tx, AuditAction::InvitationResent, &invitation, Value::Null).await?;
        tx.commit().await?;
        Ok(invitation)
    }

    /// Takes an invitation back; its link is dead.
    pub async fn revoke_invitation(&self, ctx: &Ctx, id: &InvitationId) -> Result<(), Error> {
        let organization = ctx.require(Permission::ManageMembers)?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        let invitation = self.own_invitation(&tx, organization, id).await?;
        ctx.require_rank(invitation.role)?;
        if !invitations::revoke(&tx, id, ctx.now).await? {
            return Err(invitation_is_over());
        }
        INVITATION.withdraw_since(ctx, &tx, id.as_str(), Timestamp::MIN).await?;
        self.record_of(ctx, &tx, AuditAction::InvitationRevoked, &invitation, Value::Null).await?;
        self.commit_revocation(tx).await
    }

    /// What an invitation says, to whoever holds its link, where the organization lets them in from. It is not used up.
    pub async fn invitation_of(
        &self,
        ctx: &Ctx,
        surface: Surface,
        token: &str,
    ) -> Result<InvitationView, Error> {
        let view = self.invitation_behind(ctx, &self.store, token).await?;
        self.require_address_of(ctx, &view.organization.id, surface).await?;
        Ok(view)
    }

    /// The person that asks joins the organization that has invited their address. Their session stays where it is.
    pub async fn accept_invitation(
        &self,
        ctx: &Ctx,
        surface: Surface,
        token: &str,
    ) -> Result<InvitationView, Error> {
        let person = ctx.require_person()?;
        self.invitation_of(ctx, surface, token).await?;
        let tx = self.store.begin_write().await?;
        let view = self.take_invitation(ctx, &tx, token).await?;
        let user = users::find(&tx, &person.user).await?.ok_or_else(|| Error::not_found("member"))?;
        let is_theirs = user.email_folded == view.invitation.email.folded();
        if !is_theirs || user.email_verified_at.is_none() {
            return Err(invited_another());
        }
        self.join(ctx, &tx, &view.invitation, &user).await?;
        self.commit_revocation(tx).await?;
        Ok(view)
    }

    /// Makes the account of somebody invited. The link shows that they read the mail of the address, so that is verified.
    /// An earlier registration with the address that was never verified is replaced, and an account that belongs nowhere
    /// any more gets the new password; any other joins by signing in instead, and the invitation stays good.
    pub(crate) async fn register_invited(
        &self,
        ctx: &Ctx,
        token: &str,
        register: &Register,
    ) -> Result<(), Error> {
        let email = parse_email("email", &register.email)?;
        let InvitationView { invitation, organization } =
            self.invitation_of(ctx, register.surface, token).await?;
        if email != invitation.email {
            return Err(Error::invalid(
                "email",
                "Register with the address that the invitation was sent to.",
            ));
        }
        if register.organization != organization.identifier {
            let message = format!("The invitation leads to the organization `{}`.", organization.identifier);
            return Err(Error::invalid("organization", message));
        }
        let security = self.security_of(&self.store, &organization.id).await?.value;
        let newcomer = self.newcomer(ctx, register, &email, &organization, &security).await?;

        let tx = self.store.begin_write().await?;
        let InvitationView { invitation, .. } = self.take_invitation(ctx, &tx, token).await?;
        let user = self.verified_newcomer(ctx, &tx, newcomer, &organization.id).await?;
        self.join(ctx, &tx, &invitation, &user).await?;
        self.commit_revocation(tx).await
    }

    async fn verified_newcomer(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        Newcomer { user, password }: Newcomer,
        organization: &OrganizationId,
    ) -> Result<User, Error> {
        users::insert_unless_known(tx, &user).await?;
        let known = users::by_email(tx, &user.email_folded).await?;
        let known = known.ok_or_else(|| Error::internal("an account that was added is not there"))?;
        if users::replace_unverified(tx, &known.id, &user.name, Some(&password)).await? {
            users::verify_email(tx, &known.id, &known.email_folded, ctx.now).await?;
            return Ok(known);
        }
        // Nobody can sign in without an active place somewhere. The link proves the mailbox as the link of a reset would.
        let places = memberships::of_user(tx, &known.id).await?;
        let has_place = places.iter().any(|place| place.state == MembershipState::Active);
        if has_place || !users::set_password(tx, &known.id, known.epoch, &password).await? {
            return Err(account_exists());
        }
        self.note_chosen_by_link(ctx, tx, &known, organization).await?;
        Ok(known)
    }

    /// Gives the user the place that the invitation promises.
    async fn join(&self, ctx: &Ctx, tx: &Tx<'_>, invitation: &Invitation, user: &User) -> Result<(), Error> {
        let Invitation { organization, role, .. } = invitation;
        let security = self.security_of(tx, organization).await?.value;
        let place = new_place(ctx, organization, &user.id, *role, MembershipState::Active, &security);
        let has_joined = memberships::insert_unless_there(tx, &place).await?
            || self.admit_waiting(ctx, tx, organization, &user.id, *role).await?;
        if !has_joined {
            return Err(already_member());
        }
        let what = json!({ "user": user.id, "email": user.email, "role": role });
        self.record_of(ctx, tx, AuditAction::InvitationAccepted, invitation, what).await
    }

    /// Uses up the link of an invitation and the invitation. Whoever made it must still be able to: a link outlives
    /// neither its maker's place nor their rank.
    async fn take_invitation(&self, ctx: &Ctx, tx: &Tx<'_>, token: &str) -> Result<InvitationView, Error> {
        let view = self.invitation_behind(ctx, tx, token).await?;
        let Invitation { id, organization, invited_by, role, .. } = &view.invitation;
        let maker = memberships::find(tx, organization, invited_by).await?;
        let may_invite = |maker: &memberships::Membership| {
            maker.state == MembershipState::Active && maker.role >= *role && maker.role >= Role::Admin
        };
        let stands = maker.as_ref().is_some_and(may_invite);
        let consumed = INVITATION.consume::<()>(ctx, tx, token).await?.is_some();
        if stands && consumed && invitations::accept(tx, id, ctx.now).await? {
            Ok(view)
        } else {
            Err(link_is_over())
        }
    }

    async fn invitation_behind(
        &self,
        ctx: &Ctx,
        source: &impl Source,
        token: &str,
    ) -> Result<InvitationView, Error> {
        let link = INVITATION.peek::<()>(ctx, source, token).await?.ok_or_else(link_is_over)?;
        let id: InvitationId = link.subject.parse().map_err(Error::internal)?;
        let invitation = invitations::find(source, &id).await?.ok_or_else(link_is_over)?;
        let organization = organizations::find(source, &invitation.organization).await?;
        Ok(InvitationView { invitation, organization: organization.ok_or_else(link_is_over)? })
    }

    /// Whether the address has a place there. One that only waits does not count: anybody can register with any address,
    /// and must not keep its holder from being invited.
    async fn belongs(
        &self,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        email: &EmailAddress,
    ) -> Result<bool, Error> {
        let Some(user) = users::by_email(tx, &email.folded()).await? else { return Ok(false) };
        let place = memberships::find(tx, organization, &user.id).await?;
        Ok(place.is_some_and(|place| place.state != MembershipState::PendingApproval))
    }

    async fn own_invitation(
        &self,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        id: &InvitationId,
    ) -> Result<Invitation, Error> {
        let invitation = invitations::find(tx, id).await?;
        let own = invitation.filter(|invitation| invitation.organization == *organization);
        own.ok_or_else(|| Error::not_found("invitation"))
    }

    /// An invitation is an administrator's word: whoever waits for one is let in.
    async fn admit_waiting(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        user: &UserId,
        role: Role,
    ) -> Result<bool, Error> {
        let place = memberships::find(tx, organization, user).await?;
        match place.filter(|place| place.state == MembershipState::PendingApproval) {
            Some(place) => self.put_in_place(ctx, tx, &place, role, MembershipState::Active).await,
            None => Ok(false),
        }
    }

    async fn send_invitation(&self, ctx: &Ctx, tx: &Tx<'_>, invitation: &Invitation) -> Result<(), Error> {
        let link = NewLink { link: &INVITATION, subject: invitation.id.as_str(), epoch: None, data: &() };
        let (token, expires_at) = self.issue_link(ctx, tx, link).await?;
        let message = Message::Invitation {
            organization: self.label_of(tx, &invitation.organization).await?,
            invited_by: Label::new(&AuditActor::of(&ctx.actor).name),
            role: Label::new(invitation.role.as_str()),
            token,
            expires_at,
        };
        self.enqueue(ctx, tx, Some(&invitation.organization), Some(&invitation.email), &message).await
    }

    async fn record_of(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        action: AuditAction,
        invitation: &Invitation,
        what: Value,
    ) -> Result<(), Error> {
        let record = self.record(ctx, action, invitation.id.as_str()).with_change(Value::Null, what);
        Ok(audit::append(tx, Some(&invitation.organization), &record).await?)
    }
}

fn already_member() -> Error {
    let message = "This address belongs to the organization already.";
    Error::new(ErrorKind::Conflict, "already_member", message)
}

fn already_invited() -> Error {
    let message = "This address has an invitation already. Send that again, or revoke it first.";
    Error::new(ErrorKind::Conflict, "already_invited", message)
}

fn invitation_is_over() -> Error {
    let message = "This invitation was accepted or revoked. Make a new one.";
    Error::new(ErrorKind::Conflict, "invitation_is_over", message)
}

fn invited_another() -> Error {
    let message = "This invitation was sent to another address. Sign in with the account of that address.";
    Error::new(ErrorKind::Forbidden, "invited_another", message)
}

fn account_exists() -> Error {
    let message = "This address has an account already. Sign in, then accept the invitation.";
    Error::new(ErrorKind::Conflict, "account_exists", message)
}
