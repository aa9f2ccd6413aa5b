//! What people see and change of themselves: name and password. The address and second factors have files of their own.

use jiff::Timestamp;
use kt_domain::actor::Person;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_store::{audit, memberships, organizations, users};
use serde_json::json;

use crate::control::Control;
use crate::mail::PasswordChange;
use crate::organizations::check_name;
use crate::sign_in::{self, Entrant, Whoami};

/// Somebody as they see themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Who, and where.
    pub whoami: Whoami,
    /// Whether they have shown that they read the mail of their address.
    pub email_verified: bool,
    /// The address that waits to be confirmed in place of the present one.
    pub pending_email: Option<String>,
    /// When the password was set, where there is one.
    pub password_set_at: Option<Timestamp>,
    /// When the account was made.
    pub created_at: Timestamp,
}

/// What to change of a profile; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct ProfileChange {
    /// The name.
    pub name: Option<String>,
    /// The address: it is asked there first whether it is theirs.
    pub email: Option<String>,
}

impl Control {
    /// The profile of the person that asks.
    pub async fn profile(&self, ctx: &Ctx) -> Result<Profile, Error> {
        let entrant = self.entrant_of_person(ctx.require_person()?).await?;
        let pending_email = self.pending_email(ctx, &entrant.user).await?;
        Ok(Profile {
            whoami: sign_in::whoami(&entrant),
            email_verified: entrant.user.email_verified_at.is_some(),
            pending_email,
            password_set_at: entrant.user.password.as_ref().map(|password| password.set_at),
            created_at: entrant.user.created_at,
        })
    }

    /// Changes the name at once, and asks for the new address to be confirmed.
    pub async fn change_profile(&self, ctx: &Ctx, change: ProfileChange) -> Result<Profile, Error> {
        let person = ctx.require_person()?;
        if let Some(name) = &change.name {
            check_name("name", name)?;
        }
        if let Some(email) = &change.email {
            self.request_email_change(ctx, person, email).await?;
        }
        if let Some(name) = &change.name {
            self.rename(ctx, person, name).await?;
        }
        self.profile(ctx).await
    }

    async fn rename(&self, ctx: &Ctx, person: &Person, name: &str) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        let user = users::find(&tx, &person.user).await?.ok_or_else(|| Error::not_found("member"))?;
        users::rename(&tx, &person.user, name).await?;
        let record = self
            .record(ctx, AuditAction::ProfileChanged, person.user.as_str())
            .with_change(json!({ "name": user.name }), json!({ "name": name }));
        audit::append(&tx, Some(&person.organization), &record).await?;
        self.commit_revocation(tx).await
    }

    /// Sets the password of the person that asks, who proves the present one; where there is none yet, a fresh proof of
    /// identity takes its place (R87, R89). All their sessions end, this one too, and they are told by mail.
    pub async fn change_password(&self, ctx: &Ctx, current: Option<&str>, typed: &str) -> Result<(), Error> {
        let entrant = self.entrant_of_person(ctx.require_person()?).await?;
        let change = match (&entrant.user.password, current) {
            (Some(_), Some(current)) => {
                self.prove_password(ctx, &entrant, current).await?;
                PasswordChange::Changed
            }
            (Some(_), None) => {
                return Err(Error::invalid("current_password", "Send the present password too."));
            }
            (None, Some(_)) => {
                let message = "This account has no password yet: leave the present one out.";
                return Err(Error::invalid("current_password", message));
            }
            (None, None) => {
                self.require_own_proof(ctx).await?;
                PasswordChange::Added
            }
        };
        let policy = self.security_of(&self.store, &entrant.organization.id).await?.value.password;
        let password = self.password_for(ctx, &self.store, "new_password", typed, &policy, &entrant).await?;

        let tx = self.store.begin_write().await?;
        if !users::set_password(&tx, &entrant.user.id, entrant.user.epoch, &password).await? {
            return Err(sign_in::invalid_credentials());
        }
        let record = self.record(ctx, AuditAction::PasswordChanged, entrant.user.id.as_str());
        audit::append(&tx, Some(&entrant.organization.id), &record).await?;
        self.tell_of_password(ctx, &tx, &entrant.user, &entrant.organization.id, change).await?;
        self.commit_revocation(tx).await
    }

    /// The person that asks, with all that is kept about them.
    pub(crate) async fn entrant_of_person(&self, person: &Person) -> Result<Entrant, Error> {
        let user = users::find(&self.store, &person.user).await?;
        let membership = memberships::find(&self.store, &person.organization, &person.user).await?;
        let organization = organizations::find(&self.store, &person.organization).await?;
        match (user, membership, organization) {
            (Some(user), Some(membership), Some(organization)) => {
                Ok(Entrant { user, membership, organization })
            }
            _ => Err(Error::not_found("member")),
        }
    }
}
