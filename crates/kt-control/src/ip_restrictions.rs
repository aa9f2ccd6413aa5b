//! From where an organization can be reached: its lists of addresses, shown, tried out, changed.

use std::net::IpAddr;

use kt_domain::actor::Permission;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::network::console_rules::{ConsoleRules, Denial, IpRestrictions};
use kt_domain::security_choices::difference;
use kt_store::organizations::{self, Versioned};
use kt_store::{Tx, audit, sessions};

use crate::authenticate::require_operator;
use crate::control::Control;
use crate::version::Expected;

/// The name of the document that holds them.
pub(crate) const IP_RESTRICTIONS: &str = "ip_restrictions";

/// The restrictions in force, and how whoever asks stands to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpRestrictionsView {
    /// The restrictions.
    pub restrictions: IpRestrictions,
    /// The address of whoever asks.
    pub your_ip: Option<IpAddr>,
    /// Changes with every change.
    pub version: String,
}

/// What restrictions would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOutPreview {
    /// The address of whoever asks.
    pub your_ip: Option<IpAddr>,
    /// Why that would be refused, if it would be.
    pub you: Option<Denial>,
    /// The living sessions whose holder was last seen at an address that would be refused, the newest first.
    pub shut_out: Vec<ShutOut>,
    /// Whether there are more sessions than were looked at.
    pub is_cut: bool,
}

/// A session that restrictions would shut out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutOut {
    /// Whose.
    pub user: UserId,
    /// Their address for mail.
    pub email: String,
    /// Where its holder was last seen.
    pub ip: IpAddr,
    /// Why that would be refused.
    pub denial: Denial,
}

/// How many sessions a preview looks at.
const MOST_SESSIONS: u32 = 1000;

impl Control {
    /// From where the organization can be reached at this moment.
    pub async fn ip_restrictions(&self, ctx: &Ctx) -> Result<IpRestrictionsView, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let kept = organizations::settings(&self.store, organization, IP_RESTRICTIONS).await?;
        Ok(view(ctx, kept))
    }

    /// What these restrictions would do to whoever asks and to the sessions that there are. Nothing is changed.
    pub async fn preview_ip_restrictions(
        &self,
        ctx: &Ctx,
        restrictions: &IpRestrictions,
    ) -> Result<LockOutPreview, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        restrictions.validate()?;
        let rules = ConsoleRules::from(restrictions);
        let settings = self.security_of(&self.store, organization).await?.value.session;
        let living = settings.living_since(ctx.now);
        let most = MOST_SESSIONS + 1;
        let mut sessions = sessions::of_organization(&self.store, organization, living, most).await?;
        let is_cut = sessions.len() > MOST_SESSIONS as usize;
        sessions.truncate(MOST_SESSIONS as usize);
        let shut_out = sessions.into_iter().filter_map(|(session, email)| {
            let ip = session.active_ip?;
            let denial = rules.decide_source(Some(ip)).err()?;
            Some(ShutOut { user: session.user, email, ip, denial })
        });
        Ok(LockOutPreview {
            your_ip: ctx.client.ip,
            you: rules.decide_source(ctx.client.ip).err(),
            shut_out: shut_out.collect(),
            is_cut,
        })
    }

    /// Puts these restrictions in place of the present ones; in force from the next request on, for those signed in too.
    /// Refused with `would_lock_out` where they would shut out the caller's own address, unless that is confirmed.
    pub async fn replace_ip_restrictions(
        &self,
        ctx: &Ctx,
        expected: &Expected,
        restrictions: IpRestrictions,
        confirm_lockout: bool,
    ) -> Result<IpRestrictionsView, Error> {
        let organization = ctx.require(Permission::ChangeSettings)?;
        ctx.require_fresh_authentication()?;
        restrictions.validate()?;
        if !confirm_lockout {
            let decision = ConsoleRules::from(&restrictions).decide_source(ctx.client.ip);
            decision.map_err(|denial| would_lock_out(ctx.client.ip, &denial))?;
        }
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        let kept: Versioned<IpRestrictions> =
            organizations::settings(&tx, organization, IP_RESTRICTIONS).await?;
        expected.check(&kept.version.to_string())?;
        Ok(view(ctx, self.store_ip_restrictions(ctx, tx, organization, kept, restrictions).await?))
    }

    /// Lets every address in again, for the operator when nobody can get in (SPEC section 14): the allow list is kept
    /// and not applied, the deny list is emptied; the audit log holds what it was. Felt by a running server within a
    /// second.
    pub async fn lift_ip_restrictions(&self, ctx: &Ctx, identifier: &str) -> Result<(), Error> {
        require_operator(ctx)?;
        let organization = organizations::by_identifier(&self.store, identifier).await?;
        let organization = organization.ok_or_else(|| Error::not_found("organization"))?.id;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, &organization).await?;
        let kept: Versioned<IpRestrictions> =
            organizations::settings(&tx, &organization, IP_RESTRICTIONS).await?;
        let lifted = IpRestrictions { enforce_allowlist: false, deny: Vec::new(), ..kept.value.clone() };
        self.store_ip_restrictions(ctx, tx, &organization, kept, lifted).await?;
        Ok(())
    }

    async fn store_ip_restrictions(
        &self,
        ctx: &Ctx,
        tx: Tx<'_>,
        organization: &OrganizationId,
        kept: Versioned<IpRestrictions>,
        restrictions: IpRestrictions,
    ) -> Result<Versioned<IpRestrictions>, Error> {
        if kept.value == restrictions {
            return Ok(kept);
        }
        organizations::replace_settings(
            &tx,
            organization,
            IP_RESTRICTIONS,
            kept.version,
            &restrictions,
            ctx.now,
        )
        .await?;
        let before = serde_json::to_value(&kept.value).map_err(Error::internal)?;
        let after = serde_json::to_value(&restrictions).map_err(Error::internal)?;
        let (was, is) = difference(&before, &after);
        let record = self
            .record(ctx, AuditAction::IpRestrictionsUpdated, "security.ip_restrictions")
            .with_change(was, is);
        audit::append(&tx, Some(organization), &record).await?;
        self.commit_revocation(tx).await?;
        Ok(Versioned { version: kept.version + 1, value: restrictions })
    }
}

fn view(ctx: &Ctx, kept: Versioned<IpRestrictions>) -> IpRestrictionsView {
    IpRestrictionsView { restrictions: kept.value, your_ip: ctx.client.ip, version: kept.version.to_string() }
}

fn would_lock_out(ip: Option<IpAddr>, denial: &Denial) -> Error {
    let ip = ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
    let message = format!(
        "These restrictions would shut out your own address, {ip}. Let it in, or send `confirm_lockout: true` if that is \
         what you want."
    );
    Error::new(ErrorKind::Conflict, "would_lock_out", message)
        .with_detail("your_ip", ip)
        .with_detail("matched_rule", denial.rule())
}
