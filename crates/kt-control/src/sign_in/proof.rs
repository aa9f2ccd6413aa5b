//! Proving a password outside a sign-in: before it is replaced, and as a fresh proof of identity.

use kt_domain::ctx::Ctx;
use kt_domain::error::Error;

use super::{Entrant, invalid_credentials};
use crate::control::Control;

impl Control {
    /// Refused when this is not the password of somebody signed in. A wrong one counts as a failed sign-in: whoever has
    /// found an open session guesses no faster than a stranger (ASVS 5.0, 6.3.1).
    pub(crate) async fn prove_password(
        &self,
        ctx: &Ctx,
        entrant: &Entrant,
        typed: &str,
    ) -> Result<(), Error> {
        let attempt = self.begin_attempt(ctx, Some(entrant), &entrant.user.email_folded, None).await?;
        let matches = self.password_matches(typed, Some(entrant), ctx.now).await?;
        if !matches || !attempt.is_heard {
            self.fail_attempt(ctx, &attempt).await?;
            return Err(invalid_credentials());
        }
        self.finish_attempt(ctx, &attempt, entrant).await
    }
}
