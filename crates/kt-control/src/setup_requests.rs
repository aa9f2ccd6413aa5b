//! Where somebody begins after signing in, and how a member who has nothing to work with asks for it.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::{Permission, Role};
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::gateways::{TargetReport, reached_at};
use kt_domain::id::{OrganizationId, SetupRequestId, UserId};
use kt_domain::landing::{Arrival, landing};
use kt_store::gateways::{self, Gateway};
use kt_store::setup_requests::{self, SetupRequest};
use kt_store::{audit, memberships, users};
use serde_json::{Value, json};

use crate::control::Control;
use crate::mail::{Label, Message};
use crate::paging::{Page, PageRequest, PageSize};
use crate::post::kept_email;

const LIST: &str = "setup_requests";

const PAGE: PageSize = PageSize { usual: 50, most: 1000 };

/// The longest note, in characters.
const LONGEST_NOTE: usize = 500;

/// For how long a gateway that says nothing is still deployed: one that is started anew, or whose machine is away for a while,
/// sends nobody back to the beginning. Nor does one that is told to take no requests.
const LATELY: Duration = Duration::from_hours(24);

/// Whether it has a model that answers.
fn deploys(gateway: &Gateway) -> bool {
    gateway.targets.iter().any(TargetReport::deploys)
}

impl Control {
    /// The path of the page where somebody begins who has signed in and asked for no other.
    pub async fn landing(
        &self,
        organization: &OrganizationId,
        user: &UserId,
        role: Role,
    ) -> Result<&'static str, Error> {
        let (active, first_admin) = memberships::founders(&self.store, organization).await?;
        let has_deployment = self.has_deployment_in(organization, self.clock.now()).await?;
        Ok(landing(Arrival {
            role,
            is_first_admin: first_admin.as_ref() == Some(user),
            is_alone: active <= 1,
            has_deployment,
        }))
    }

    /// Whether a gateway of one's organization, heard of lately, has a model that answers.
    pub async fn has_deployment(&self, ctx: &Ctx) -> Result<bool, Error> {
        self.has_deployment_in(ctx.require(Permission::ReadOrganization)?, ctx.now).await
    }

    /// Whether somebody can begin to work with models now: a gateway that has one can be asked, and tells which.
    pub async fn can_begin(&self, ctx: &Ctx) -> Result<bool, Error> {
        let organization = ctx.require(Permission::ReadOrganization)?;
        let found = self.gateways_to_ask(organization, None, ctx.now).await?;
        Ok(found.iter().any(|(gateway, _)| deploys(gateway)) && !self.models(ctx).await?.is_empty())
    }

    async fn has_deployment_in(&self, organization: &OrganizationId, now: Timestamp) -> Result<bool, Error> {
        let lately = gateways::heard_of(&self.store, organization, now - LATELY).await?;
        let is_reached = |gateway: &Gateway| reached_at(gateway.address.as_deref(), gateway.ip).is_some();
        Ok(lately.iter().any(|gateway| is_reached(gateway) && deploys(gateway)))
    }

    /// Asks the administrators to set a gateway up; they are told by mail, and on their Overview. Whoever has asked
    /// already is given their open request, and nobody is told again.
    pub async fn request_setup(&self, ctx: &Ctx, note: Option<&str>) -> Result<(SetupRequest, bool), Error> {
        let organization = ctx.require(Permission::ReadOrganization)?;
        let user = &ctx.require_person()?.user;
        let note = note.map(str::trim).filter(|note| !note.is_empty());
        if note.is_some_and(|note| note.chars().count() > LONGEST_NOTE) {
            return Err(Error::invalid("note", format!("Write at most {LONGEST_NOTE} characters.")));
        }
        let tx = self.store.begin_write().await?;
        let id = self.draw(|random| SetupRequestId::new(ctx.now, random));
        let is_new = setup_requests::insert_unless_open(&tx, organization, &id, user, note, ctx.now).await?;
        if is_new {
            let record = self
                .record(ctx, AuditAction::SetupRequested, id.as_str())
                .with_change(Value::Null, json!({ "user": user, "note": note }));
            audit::append(&tx, Some(organization), &record).await?;
            let member = users::find(&tx, user).await?.ok_or_else(|| Error::not_found("member"))?;
            let message = Message::SetupRequested {
                organization: self.label_of(&tx, organization).await?,
                member: Label::new(&member.name),
                address: kept_email(&member.email)?,
                note: note.map(Label::new),
                at: ctx.now,
            };
            for administrator in memberships::administrators(&tx, organization).await? {
                let to = kept_email(&administrator)?;
                self.enqueue(ctx, &tx, Some(organization), Some(&to), &message).await?;
            }
        }
        let open = setup_requests::open_of(&tx, organization, user).await?;
        tx.commit().await?;
        Ok((open.ok_or_else(|| Error::internal("a request was made and is not there"))?, is_new))
    }

    /// One's own open request.
    pub async fn my_setup_request(&self, ctx: &Ctx) -> Result<Option<SetupRequest>, Error> {
        let organization = ctx.require(Permission::ReadOrganization)?;
        Ok(setup_requests::open_of(&self.store, organization, &ctx.require_person()?.user).await?)
    }

    /// The open requests of members, the earliest first.
    pub async fn setup_requests(
        &self,
        ctx: &Ctx,
        request: &PageRequest,
    ) -> Result<Page<SetupRequest>, Error> {
        let organization = ctx.require(Permission::ReadMembers)?;
        let limit = PAGE.of(request)?;
        let after: Option<SetupRequestId> = self.position(LIST, request)?;
        let found = setup_requests::open(&self.store, organization, after.as_ref(), limit + 1).await?;
        self.page(LIST, limit, found, |request: &SetupRequest| request.id.clone())
    }

    /// Closes a request: it was done, or will not be. Whoever asked can ask again.
    pub async fn close_setup_request(&self, ctx: &Ctx, id: &SetupRequestId) -> Result<(), Error> {
        let organization = ctx.require(Permission::CloseRequests)?;
        let by = ctx.actor.user().ok_or_else(Error::missing_credentials)?;
        let tx = self.store.begin_write().await?;
        if !setup_requests::close(&tx, organization, id, by, ctx.now).await? {
            return Err(Error::not_found("open request"));
        }
        let record = self.record(ctx, AuditAction::SetupRequestClosed, id.as_str());
        audit::append(&tx, Some(organization), &record).await?;
        Ok(tx.commit().await?)
    }
}
