//! Providers whose metadata or keys cannot be had: their organization is told on Overview until they can be had again.
//!
//! Only the change from one to the other is written, so that a provider that is away for a day leaves two records.

use std::time::Duration;

use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::IdentityProviderId;
use kt_domain::sso::{Protocol, ProviderDetails, PublishedPart, PublishedProblem};
use kt_store::{audit, identity_providers, once};
use serde_json::{Value, json};

use super::Party;
use super::metadata::MetadataError;
use crate::control::Control;

/// How often a provider is asked again that nobody wants to sign in through.
const ASKED_AGAIN: Duration = Duration::from_mins(5);

/// How many characters of the reason are kept.
const LONGEST: usize = 300;

impl Control {
    /// Notes how it ended that a provider was asked for a part of what it publishes. That this cannot be noted is no reason
    /// not to let somebody in.
    pub(super) async fn note_asked(
        &self,
        ctx: &Ctx,
        party: &Party,
        part: PublishedPart,
        failed: Option<&MetadataError>,
    ) {
        if let Some(why) = failed {
            tracing::warn!(provider = party.key, %part, %why, "an identity provider cannot be asked what it publishes");
        }
        let Some((id, version)) = &party.provider else { return };
        let why = failed.map(ToString::to_string);
        if let Err(error) = self.write_asked(ctx, id, *version, part, why).await {
            tracing::error!(%error, "how an identity provider is cannot be noted");
        }
    }

    async fn write_asked(
        &self,
        ctx: &Ctx,
        id: &IdentityProviderId,
        version: i64,
        part: PublishedPart,
        why: Option<String>,
    ) -> Result<(), Error> {
        let provider = identity_providers::find(&self.store, id).await?;
        let Some(provider) = provider.filter(|provider| provider.version == version) else { return Ok(()) };
        let is_news = match (&provider.problem, &why) {
            (None, Some(_)) => true,
            (Some(noted), None) => noted.is_over_with(part),
            _ => false,
        };
        if !is_news {
            return Ok(());
        }
        let is = why.map(|why| PublishedProblem {
            part,
            since: ctx.now,
            why: why.chars().filter(|c| !c.is_control()).take(LONGEST).collect(),
        });
        let tx = self.store.begin_write().await?;
        // Of several processes that find the same, one writes it.
        if identity_providers::note_problem(&tx, id, version, is.as_ref()).await? {
            let action = if is.is_some() { AuditAction::SsoUnreachable } else { AuditAction::SsoReachable };
            let told = |problem: &Option<PublishedProblem>| {
                problem.as_ref().map_or(Value::Null, |problem| json!(problem))
            };
            let record =
                self.record(ctx, action, id.as_str()).with_change(told(&provider.problem), told(&is));
            audit::append(&tx, Some(&provider.organization), &record).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Asks providers again that could not be asked: what is told of them ends although nobody signs in meanwhile. Each every
    /// five minutes, whichever process comes first; none whose protocol this deployment offers no more.
    pub(crate) async fn ask_providers_again(&self, ctx: &Ctx) -> Result<(), Error> {
        if !self.offers(Protocol::Oidc) {
            return Ok(());
        }
        for provider in identity_providers::with_problems(&self.store).await? {
            let ProviderDetails::Oidc(settings) = &provider.details else { continue };
            let turn = ctx.now.as_second().div_euclid(ASKED_AGAIN.as_secs().cast_signed());
            let tx = self.store.begin_write().await?;
            let scope = format!("provider_asked_again/{}", provider.id);
            let is_first = once::claim(&tx, &scope, &turn.to_string(), ctx.now + 2 * ASKED_AGAIN).await?;
            tx.commit().await?;
            if is_first {
                let party = self.party_of(&provider, settings).await?;
                // What comes of it is noted where it is asked.
                let _ = self.provider_keys(ctx, &party, true).await;
            }
        }
        Ok(())
    }
}
