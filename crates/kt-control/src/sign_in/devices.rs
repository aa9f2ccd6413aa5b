//! The devices that somebody signs in with: each is known by a secret of its own from its first sign-in on.

use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::secret::SecretDigest;
use kt_store::{Tx, users};

use super::Entrant;
use crate::control::Control;
use crate::mail::Message;
use crate::post::{circumstances, kept_email};

impl Control {
    /// A device that is known stays so; another gets a secret to be known by, and its holder is told by mail: if it was
    /// not them, they know at once (ASVS 5.0, 6.3.5). The very first sign-in of an account is no news.
    pub(super) async fn remember_device(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        entrant: &Entrant,
        device: Option<&SecretDigest>,
    ) -> Result<Option<String>, Error> {
        let user = &entrant.user;
        if let Some(device) = device
            && users::recognize_device(tx, &user.id, &device.to_string(), ctx.now).await?
        {
            return Ok(None);
        }
        if users::has_device(tx, &user.id).await? {
            let message = Message::NewDevice { happened: circumstances(ctx) };
            let to = kept_email(&user.email)?;
            self.enqueue(ctx, tx, Some(&entrant.organization.id), Some(&to), &message).await?;
        }
        let secret = self.new_token();
        users::remember_device(tx, &user.id, &secret.digest().to_string(), ctx.now).await?;
        Ok(Some(secret.expose().to_owned()))
    }
}
