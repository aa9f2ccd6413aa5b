//! Links in mail that work once: what each is for, how long it is good, and whose it is.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::UserId;
use kt_domain::secret::SecretDigest;
use kt_store::once::{self, Consumed, OneTime};
use kt_store::users::{self, User};
use kt_store::{Source, Tx};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::control::Control;
use crate::mail::LinkToken;

/// A kind of link. A token of one kind is good for no other.
pub(crate) struct Link {
    purpose: &'static str,
    lifetime: Duration,
    /// Whether a new one makes the earlier ones about the same subject useless.
    replaces: bool,
}

/// Shows that its holder reads the mail of the address of a new account.
pub(crate) const VERIFY_ADDRESS: Link =
    Link { purpose: "verify_address", lifetime: hours(24), replaces: true };
/// Lets its holder join an organization.
pub(crate) const INVITATION: Link = Link { purpose: "invitation", lifetime: hours(7 * 24), replaces: true };
/// Lets its holder choose a new password.
pub(crate) const RESET_PASSWORD: Link =
    Link { purpose: "reset_password", lifetime: hours(1), replaces: true };
/// Shows that its holder reads the mail of the new address of an account.
pub(crate) const CHANGE_EMAIL: Link = Link { purpose: "change_email", lifetime: hours(24), replaces: true };
/// Gives an account its former address back. Each former address keeps its own.
pub(crate) const UNDO_EMAIL_CHANGE: Link =
    Link { purpose: "undo_email_change", lifetime: hours(72), replaces: false };

const fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

/// A link to be handed out.
pub(crate) struct NewLink<'a, T> {
    /// What for.
    pub(crate) link: &'a Link,
    /// Whom or what it is about.
    pub(crate) subject: &'a str,
    /// The epoch of the user it is about, where it is to die with everything else that was issued to them.
    pub(crate) epoch: Option<i64>,
    /// What it carries.
    pub(crate) data: &'a T,
}

impl Control {
    /// Hands out a link. Its token and the end of its life.
    pub(crate) async fn issue_link<T: Serialize>(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        new: NewLink<'_, T>,
    ) -> Result<(LinkToken, Timestamp), Error> {
        let token = self.new_token();
        let expires_at = ctx.now + new.link.lifetime;
        if new.link.replaces {
            once::supersede(tx, new.link.purpose, new.subject, ctx.now).await?;
        }
        let one_time = OneTime {
            digest: token.digest(),
            purpose: new.link.purpose,
            subject: new.subject,
            epoch: new.epoch,
            data: new.data,
            created_at: ctx.now,
            expires_at,
        };
        once::issue(tx, &one_time).await?;
        Ok((LinkToken::new(token.expose().to_owned()), expires_at))
    }
}

impl Link {
    /// The word for what it is for.
    pub(crate) fn purpose(&self) -> &'static str {
        self.purpose
    }

    /// How long it is good.
    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Looks at a link without using it up.
    pub(crate) async fn peek<T: DeserializeOwned>(
        &self,
        ctx: &Ctx,
        source: &impl Source,
        token: &str,
    ) -> Result<Option<Consumed<T>>, Error> {
        Ok(once::peek(source, self.purpose, &SecretDigest::of(token), ctx.now).await?)
    }

    /// Uses a link up; `None` when it is good no more.
    pub(crate) async fn consume<T: DeserializeOwned>(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        token: &str,
    ) -> Result<Option<Consumed<T>>, Error> {
        Ok(once::consume(tx, self.purpose, &SecretDigest::of(token), ctx.now).await?)
    }

    /// Makes those about `subject` useless that were handed out at `since` or later.
    pub(crate) async fn withdraw_since(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        subject: &str,
        since: Timestamp,
    ) -> Result<(), Error> {
        once::supersede_since(tx, self.purpose, subject, since, ctx.now).await?;
        Ok(())
    }

    /// What the newest link about `subject` carries, if it is still good.
    pub(crate) async fn newest<T: DeserializeOwned>(
        &self,
        ctx: &Ctx,
        source: &impl Source,
        subject: &str,
    ) -> Result<Option<Consumed<T>>, Error> {
        Ok(once::newest(source, self.purpose, subject, ctx.now).await?)
    }
}

/// The user that a link is about, as long as it was issued under their present epoch.
pub(crate) async fn holder<T>(source: &impl Source, link: &Consumed<T>) -> Result<User, Error> {
    let id: UserId = link.subject.parse().map_err(Error::internal)?;
    let user = users::find(source, &id).await?;
    user.filter(|user| link.epoch == Some(user.epoch)).ok_or_else(link_is_over)
}

/// The one answer to a link that is good no more, whatever the reason.
pub(crate) fn link_is_over() -> Error {
    let message = "This link was used, has expired or was replaced by a newer one. Ask for another.";
    Error::new(ErrorKind::Invalid, "invalid_token", message).with_param("token")
}
