//! The security settings of an organization: shown with who sets them, changed section by section.

use jiff::Timestamp;
use kt_domain::actor::{Permission, Role};
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::deployment_settings::{LoosestSettings, ManagedBy};
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::mfa::{Demand, MfaSettings};
use kt_domain::passwords::Preset;
use kt_domain::security_choices::{Section, SecurityChoices};
use kt_domain::security_settings::SecuritySettings;
use kt_domain::sessions::SessionSettings;
use kt_store::order::Part;
use kt_store::organizations::{self, Versioned};
use kt_store::{Tx, audit, memberships, sessions};
use serde_json::{Map, Value};

use crate::control::Control;
use crate::members::{lacking, mfa_deadline};
use crate::organizations::SECURITY;
use crate::version::Expected;

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityView {
    /// The settings.
    pub settings: SecuritySettings,
    /// Who sets session lifetime, password policy and lockout.
    pub managed_by: ManagedBy,
    /// The loosest that the organization may choose of the first three sections, where it sets them.
    pub loosest: LoosestSettings,
    /// The preset whose values the password policy holds, if it holds one's.
    pub preset: Option<Preset>,
    /// Where the password policy departs from the standards, in sentences.
    pub deviations: Vec<String>,
    /// Changes with every change.
    pub version: String,
}

impl Control {
    /// What the organization demands at this moment.
    pub async fn security(&self, ctx: &Ctx) -> Result<SecurityView, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let Versioned { version, value } = self.security_of(&self.store, organization).await?;
        Ok(self.view_of(value, version))
    }

    /// Changes the fields that `patch` names; the others stay. In force from the next request on, each changed section
    /// with a record of its own. Refused, and nothing changed, with [`kt_domain::error::ErrorKind::Invalid`] where a
    /// field is unknown, breaks a rule or is looser than the deployment allows, with `deployment_managed` where the
    /// deployment sets the section, and with `would_shut_out` where it would leave members with nothing but adding a second
    /// factor at once, unless that is `confirmed`.
    pub async fn change_security(
        &self,
        ctx: &Ctx,
        expected: &Expected,
        patch: &Map<String, Value>,
        confirmed: bool,
    ) -> Result<SecurityView, Error> {
        let organization = ctx.require(Permission::ChangeSettings)?;
        ctx.require_fresh_authentication()?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        let kept: Versioned<SecurityChoices> = organizations::settings(&tx, organization, SECURITY).await?;
        expected.check(&kept.version.to_string())?;
        let change = kept.value.patched(&self.deployment, patch)?;
        if change.sections.is_empty() {
            return Ok(self.view_of(change.settings, kept.version));
        }
        organizations::replace_settings(&tx, organization, SECURITY, kept.version, &change.choices, ctx.now)
            .await?;
        let before = kept.value.in_force(&self.deployment).map_err(Error::internal)?;
        let shut_out =
            self.ask_for_second_factors(ctx, &tx, organization, &before.mfa, &change.settings.mfa).await?;
        if !shut_out.is_empty() && !confirmed {
            return Err(would_shut_out(ctx, &shut_out));
        }
        self.end_lapsed(&tx, organization, &before.session, &change.settings.session, ctx.now).await?;
        self.flag_keys(&tx, organization, &before.api_keys, &change.settings.api_keys, ctx.now).await?;
        for (section, before, after) in change.sections {
            let record = self.record(ctx, recorded_as(section), format!("security.{section}"));
            audit::append(&tx, Some(organization), &record.with_change(before, after)).await?;
        }
        self.commit_revocation(tx).await?;
        Ok(self.view_of(change.settings, kept.version + 1))
    }

    /// Ends the sessions that have lapsed under the settings of before, so that those which come after them bring none back.
    async fn end_lapsed(
        &self,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        before: &SessionSettings,
        after: &SessionSettings,
        now: Timestamp,
    ) -> Result<(), Error> {
        if before != after {
            sessions::end_older(tx, organization, before.living_since(now), now).await?;
        }
        Ok(())
    }

    /// The grace of whoever is newly asked begins now; it ends for whoever no longer is. Whoever lacks something is told where
    /// what is asked of them, or until when, is another now. Gives those whose time is over by this.
    async fn ask_for_second_factors(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        before: &MfaSettings,
        mfa: &MfaSettings,
    ) -> Result<Vec<UserId>, Error> {
        for role in Role::ALL.iter().copied() {
            let asked = mfa.asks(role).then_some(ctx.now);
            memberships::ask_for_second_factor(tx, organization, role, asked).await?;
            if mfa.demand(role) == Demand::Passkey && before.demand(role) != Demand::Passkey {
                memberships::ask_for_passkeys(tx, organization, role, ctx.now).await?;
            }
        }
        let mut shut_out = Vec::new();
        if before == mfa {
            return Ok(shut_out);
        }
        for member in memberships::members(tx, organization, lacking(mfa), Part::whole()).await? {
            let (role, since) = (member.membership.role, member.membership.asked_since());
            let asks = |mfa: &MfaSettings| (mfa.demand(role), mfa.deadline(since));
            if since == ctx.now || asks(before) != asks(mfa) {
                self.tell_of_demand(ctx, tx, &member, mfa).await?;
            }
            let is_late = |mfa| mfa_deadline(&member, mfa).is_some_and(|deadline| deadline <= ctx.now);
            let was_late = since != ctx.now && is_late(before);
            if is_late(mfa) && !was_late {
                shut_out.push(member.membership.user);
            }
        }
        Ok(shut_out)
    }

    fn view_of(&self, settings: SecuritySettings, version: i64) -> SecurityView {
        let second_factor_enforced = settings.mfa.is_enforced_for_all();
        SecurityView {
            loosest: self.deployment.loosest(&settings.mfa),
            managed_by: self.deployment.managed_by,
            preset: settings.password.preset(second_factor_enforced),
            deviations: settings.password.deviations(second_factor_enforced),
            settings,
            version: version.to_string(),
        }
    }
}

fn would_shut_out(ctx: &Ctx, shut_out: &[UserId]) -> Error {
    let you = ctx.actor.user().is_some_and(|user| shut_out.contains(user));
    let message = format!(
        "{} of your members, {}, could do nothing but add a second factor from the next request on. Give them time, or confirm \
         that this is what you want.",
        shut_out.len(),
        if you { "you among them" } else { "you not among them" },
    );
    Error::new(ErrorKind::Conflict, "would_shut_out", message)
        .with_detail("members", shut_out.len())
        .with_detail("you", you)
}

fn recorded_as(section: Section) -> AuditAction {
    match section {
        Section::Session => AuditAction::SessionSettingsUpdated,
        Section::Password => AuditAction::PasswordPolicyUpdated,
        Section::Lockout => AuditAction::LockoutUpdated,
        Section::Mfa => AuditAction::MfaPolicyUpdated,
        Section::Csrf => AuditAction::CsrfUpdated,
        Section::ApiKeys => AuditAction::KeyRestrictionsUpdated,
        Section::Registration => AuditAction::RegistrationUpdated,
    }
}
