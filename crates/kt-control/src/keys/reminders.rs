//! Reminding by mail of keys that end: what uses them stops working that day (OWASP ASVS 5.0, 6.4.5).

use std::time::Duration;

use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_store::{keys, once};

use crate::control::Control;
use crate::jobs::is_first_of_hour;
use crate::mail::{Label, Message};
use crate::post::kept_email;

/// Whoever answers for a key is told so long before it ends.
const BEFORE: Duration = Duration::from_hours(7 * 24);

/// How long it is remembered that one was sent.
const REMEMBERED: Duration = Duration::from_hours(24);

impl Control {
    /// Tells whoever answers for a key a week before it ends, once, however many processes do this. A key whose end was moved
    /// is worth another message.
    pub(crate) async fn remind_of_ending_keys(&self, ctx: &Ctx) -> Result<(), Error> {
        let tx = self.store.begin_write().await?;
        if !is_first_of_hour(&tx, "key_reminders", ctx.now).await? {
            return Ok(());
        }
        for (key, email) in keys::ending(&tx, ctx.now, ctx.now + BEFORE).await? {
            let Some(expires_at) = key.terms.expires_at else { continue };
            let scope = format!("key_reminder/{}", key.id);
            if once::claim(&tx, &scope, &expires_at.to_string(), expires_at + REMEMBERED).await? {
                let message = Message::ApiKeyEnds { key: key.kind, name: Label::new(&key.name), expires_at };
                self.enqueue(ctx, &tx, Some(&key.organization), Some(&kept_email(&email)?), &message).await?;
            }
        }
        Ok(tx.commit().await?)
    }
}
