//! Taking all second factors from somebody who has lost them: by an administrator who has seen who asks, or by the operator.

use kt_domain::actor::Permission;
use kt_domain::audit::{AuditAction, AuditActor};
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::lockout;
use kt_store::users::{self, User};
use kt_store::{Tx, audit, limits, memberships, organizations, second_factors, sessions};
use serde_json::json;

use crate::authenticate::require_operator;
use crate::control::Control;
use crate::mail::{Label, Message};
use crate::operator::chains_of;
use crate::post::kept_email;

/// What the record and the mail say where a program gives no reason.
const NO_REASON: &str = "not given";

impl Control {
    /// Removes all second factors of another member of no higher rank, so that an owner's are removed by another owner
    /// alone. Their sessions end, and they are told by mail by whom and why. Only a person can do it. Refused with
    /// `own_factors` for oneself, and with `belongs_elsewhere` for an account of another organization too.
    pub async fn reset_second_factors(
        &self,
        ctx: &Ctx,
        user: &UserId,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let organization = ctx.require(Permission::ManageMembers)?;
        ctx.require_fresh_authentication()?;
        if ctx.require_person()?.user == *user {
            return Err(own_factors());
        }
        let reason = reason.unwrap_or(NO_REASON);
        check_reason(reason)?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, organization).await?;
        let member = memberships::member(&tx, organization, user).await?;
        let member = member.ok_or_else(|| Error::not_found("member"))?;
        ctx.require_rank(member.membership.role)?;
        let user = users::find(&tx, user).await?.ok_or_else(|| Error::not_found("member"))?;
        if memberships::of_user(&tx, &user.id).await?.len() > 1 {
            return Err(belongs_elsewhere());
        }
        self.take_factors(ctx, &tx, &user, &[Some(organization.clone())], reason).await?;
        self.commit_revocation(tx).await
    }

    /// The same by the operator, for somebody whom no administrator can help; each of their organizations records it, or the
    /// deployment where there is none.
    pub async fn reset_second_factors_of(&self, ctx: &Ctx, email: &str, reason: &str) -> Result<(), Error> {
        require_operator(ctx)?;
        check_reason(reason)?;
        let user = self.user_called(email).await?;
        let tx = self.store.begin_write().await?;
        let chains = chains_of(&tx, &user).await?;
        self.take_factors(ctx, &tx, &user, &chains, reason).await?;
        self.commit_revocation(tx).await
    }

    /// `chains` are those of the organizations whose sessions end, and that of the deployment where there is none.
    async fn take_factors(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        user: &User,
        chains: &[Option<OrganizationId>],
        reason: &str,
    ) -> Result<(), Error> {
        users::lock(tx, &user.id).await?;
        let had = second_factors::of(tx, &user.id).await?;
        second_factors::remove_all(tx, &user.id, ctx.now).await?;
        limits::reset_below(tx, &lockout::codes_key(user.id.as_str())).await?;
        for chain in chains {
            if let Some(organization) = chain {
                sessions::end_all(tx, organization, &user.id, ctx.now).await?;
            }
            let record = self
                .record(ctx, AuditAction::FactorsReset, user.id.as_str())
                .with_change(json!({ "factors": had.list() }), json!({ "reason": reason }));
            audit::append(tx, chain.as_ref(), &record).await?;
        }
        let by = Label::new(&AuditActor::of(&ctx.actor).name);
        let message = Message::FactorsReset { by, reason: Label::new(reason), at: ctx.now };
        let organization = chains.first().and_then(Option::as_ref);
        self.enqueue(ctx, tx, organization, Some(&kept_email(&user.email)?), &message).await
    }
}

/// A reason that says something, for the record and for whoever it concerns.
fn check_reason(reason: &str) -> Result<(), Error> {
    let length = reason.trim().chars().count();
    if (3..=500).contains(&length) && !reason.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::invalid("reason", "Say in 3 to 500 characters why, such as how you know who asks."))
}

fn own_factors() -> Error {
    let message =
        "These are your own. Sign in with a recovery code and change them, or ask another administrator.";
    Error::new(ErrorKind::Conflict, "own_factors", message)
}

fn belongs_elsewhere() -> Error {
    let message = "This account belongs to another organization too, so that no administrator of one takes its second \
                   factors away. The operator can, with `kt admin mfa reset`.";
    Error::new(ErrorKind::Conflict, "belongs_elsewhere", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_something() {
        for good in ["Lost the phone; seen in person", "abc", &"x".repeat(500)] {
            assert!(check_reason(good).is_ok(), "{good}");
        }
        for bad in ["", "  ", "ab", " a ", "two\nlines", &"x".repeat(501)] {
            assert_eq!(check_reason(bad).unwrap_err().param.as_deref(), Some("reason"), "{bad:?}");
        }
    }
}
