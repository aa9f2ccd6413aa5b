//! From where an organization can be reached: its lists of addresses, shown, tried out, changed.

use std::net::IpAddr;
use std::time::Duration;

use kt_domain::actor::Permission;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{ApiKeyId, OrganizationId, UserId};
use kt_domain::network::console_rules::{ConsoleRules, Denial, IpRestrictions, Surface};
use kt_domain::order::Order;
use kt_domain::security_choices::difference;
use kt_store::gateways::{self, Gateway};
use kt_store::order::Part;
use kt_store::organizations::{self, Versioned};
use kt_store::sessions::{self, HeldSession};
use kt_store::{Tx, audit, keys};

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
    pub shut_out: Vec<ShutOut<ShutOutSession>>,
    /// The keys of programs and identity providers that would be refused at the API from where they were last used, the last
    /// used first.
    pub keys: Vec<ShutOut<ShutOutKey>>,
    /// The names of the gateways whose reports last came from an address that would be refused.
    pub gateways: Vec<ShutOut<String>>,
    /// Whether there are more sessions or keys than were looked at.
    pub is_cut: bool,
}

/// What restrictions would shut out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutOut<T> {
    /// What.
    pub what: T,
    /// Where it was last seen.
    pub ip: IpAddr,
    /// Why that would be refused.
    pub denial: Denial,
}

/// A session, by its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutOutSession {
    /// Whose.
    pub user: UserId,
    /// Their address for mail.
    pub email: String,
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutOutKey {
    /// Its identifier.
    pub id: ApiKeyId,
    /// What people call it.
    pub name: String,
}

/// How many sessions, and how many keys, a preview looks at.
const MOST_LOOKED_AT: u32 = 1000;
/// For how long a key or a gateway counts as in use after it was last heard of.
const IN_USE: Duration = Duration::from_hours(30 * 24);

impl Control {
    /// From where the organization can be reached at this moment.
    pub async fn ip_restrictions(&self, ctx: &Ctx) -> Result<IpRestrictionsView, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let kept = organizations::settings(&self.store, organization, IP_RESTRICTIONS).await?;
        Ok(view(ctx, kept))
    }

    /// What these restrictions would do to whoever asks, and to the sessions, keys and gateways that there are. Nothing is
    /// changed.
    pub async fn preview_ip_restrictions(
        &self,
        ctx: &Ctx,
        restrictions: &IpRestrictions,
    ) -> Result<LockOutPreview, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        restrictions.validate()?;
        let rules = ConsoleRules::from(restrictions);
        let (shut_out, has_more_sessions) = self.sessions_shut_out(ctx, organization, &rules).await?;
        let (keys, has_more_keys) = self.keys_shut_out(ctx, organization, &rules).await?;
        Ok(LockOutPreview {
            your_ip: ctx.client.ip,
            you: rules.decide_source(ctx.client.ip).err(),
            shut_out,
            keys,
            gateways: self.gateways_shut_out(ctx, organization, &rules).await?,
            is_cut: has_more_sessions || has_more_keys,
        })
    }

    async fn sessions_shut_out(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        rules: &ConsoleRules,
    ) -> Result<(Vec<ShutOut<ShutOutSession>>, bool), Error> {
        let settings = self.security_of(&self.store, organization).await?.value.session;
        let living = settings.living_since(ctx.now);
        let part = Part { order: Order::default(), after: None, limit: MOST_LOOKED_AT + 1 };
        let sessions = sessions::of_organization(&self.store, organization, living, None, part).await?;
        let has_more = sessions.len() > MOST_LOOKED_AT as usize;
        let shut_out = sessions.into_iter().take(MOST_LOOKED_AT as usize).filter_map(|held| {
            let HeldSession { session, email, .. } = held;
            let holder = ShutOutSession { user: session.user, email };
            shut_out(rules, session.door.into(), session.active_ip, holder)
        });
        Ok((shut_out.collect(), has_more))
    }

    async fn keys_shut_out(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        rules: &ConsoleRules,
    ) -> Result<(Vec<ShutOut<ShutOutKey>>, bool), Error> {
        let used = (ctx.now - IN_USE, ctx.now);
        let keys = keys::used_since(&self.store, organization, used, MOST_LOOKED_AT + 1).await?;
        let has_more = keys.len() > MOST_LOOKED_AT as usize;
        let shut_out = keys.into_iter().take(MOST_LOOKED_AT as usize).filter_map(|key| {
            let key = self.key_uses.told_of(key);
            let named = ShutOutKey { id: key.id, name: key.name };
            shut_out(rules, Surface::Api, key.last_used_ip, named)
        });
        Ok((shut_out.collect(), has_more))
    }

    async fn gateways_shut_out(
        &self,
        ctx: &Ctx,
        organization: &OrganizationId,
        rules: &ConsoleRules,
    ) -> Result<Vec<ShutOut<String>>, Error> {
        let gateways = gateways::heard_of(&self.store, organization, ctx.now - IN_USE).await?;
        let of = |gateway: Gateway| shut_out(rules, Surface::Api, gateway.ip, gateway.id);
        Ok(gateways.into_iter().filter_map(of).collect())
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

/// `what`, if it would be refused from where it was last seen; of what was seen nowhere, nothing can be said.
fn shut_out<T>(rules: &ConsoleRules, surface: Surface, ip: Option<IpAddr>, what: T) -> Option<ShutOut<T>> {
    let ip = ip?;
    let denial = rules.decide(surface, Some(ip)).err()?;
    Some(ShutOut { what, ip, denial })
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
