//! Confirming an e-mail address on the strength of a link that was sent to it.

use kt_domain::ctx::Ctx;
use kt_domain::error::Error;

use crate::control::Control;
use crate::email_change::NewEmail;
use crate::links::{CHANGE_EMAIL, link_is_over};

/// What confirming an address has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// The account has this address now.
    EmailChanged,
}

impl Control {
    /// Uses up a link that was sent to an address. Whether an address is verified is decided here and on the use of a
    /// reset link, never by what a request says.
    pub async fn confirm_email(&self, ctx: &Ctx, token: &str) -> Result<Confirmed, Error> {
        let tx = self.store.begin_write().await?;
        let link = CHANGE_EMAIL.consume::<NewEmail>(ctx, &tx, token).await?.ok_or_else(link_is_over)?;
        self.confirm_email_change(ctx, &tx, &link).await?;
        tx.commit().await?;
        Ok(Confirmed::EmailChanged)
    }
}
