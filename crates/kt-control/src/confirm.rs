//! Confirming an e-mail address on the strength of a link that was sent to it.

use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::sign_in::MembershipState;

use crate::control::Control;
use crate::email_change::NewEmail;
use crate::links::{CHANGE_EMAIL, VERIFY_ADDRESS, link_is_over};
use crate::registration::Verification;

/// What confirming an address has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// The account can be used.
    Active,
    /// An administrator must approve.
    PendingApproval,
    /// The account has this address now.
    EmailChanged,
}

impl Control {
    /// Uses up a link that was sent to an address, whatever for. Whether an address is verified is decided by the use of
    /// a link that was sent there, never by what a request says.
    pub async fn confirm_email(&self, ctx: &Ctx, token: &str) -> Result<Confirmed, Error> {
        let tx = self.store.begin_write().await?;
        if let Some(link) = VERIFY_ADDRESS.consume::<Verification>(ctx, &tx, token).await? {
            let state = self.confirm_registration(ctx, &tx, &link).await?;
            tx.commit().await?;
            return Ok(match state {
                MembershipState::Active => Confirmed::Active,
                MembershipState::PendingApproval | MembershipState::Suspended => Confirmed::PendingApproval,
            });
        }
        let link = CHANGE_EMAIL.consume::<NewEmail>(ctx, &tx, token).await?;
        self.confirm_email_change(ctx, &tx, &link.ok_or_else(link_is_over)?).await?;
        tx.commit().await?;
        Ok(Confirmed::EmailChanged)
    }
}
