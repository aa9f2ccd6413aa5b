//! Logout through the back channel: the provider itself ends sessions (OpenID Connect Back-Channel Logout 1.0).

use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::sso::id_token::{TokenContext, check_logout_token};
use kt_domain::sso::{IdentitySource, Protocol};
use kt_store::sessions::VouchedFor;
use kt_store::{audit, identity_providers, once, organizations, sessions};
use serde_json::{Value, json};

use crate::control::Control;
use crate::sso::stray::Brought;

/// The kind that a logout token says it is (section 2.4).
const KIND: &str = "logout+jwt";

impl Control {
    /// Ends the sessions that a logout token of the organization's provider names. Refused with `invalid_logout_token`,
    /// whatever is wrong with it. No session need be left for it to be taken.
    pub async fn end_sessions_by_logout_token(
        &self,
        ctx: &Ctx,
        organization: &str,
        token: &str,
    ) -> Result<(), Error> {
        let ended = self.take_logout_token(ctx, organization, token).await;
        self.recording_strays(ctx, Some(organization), Brought::Logout, ended).await
    }

    async fn take_logout_token(&self, ctx: &Ctx, organization: &str, token: &str) -> Result<(), Error> {
        let refuse = |why: &dyn std::fmt::Display| invalid_logout_token().with_private(why);
        let organization = organizations::by_identifier(&self.store, organization).await?;
        let organization = organization.ok_or_else(|| refuse(&"there is no such organization"))?.id;
        let provider = identity_providers::of_protocol(&self.store, &organization, Protocol::Oidc).await?;
        // One that is turned off has no session left, and is asked nothing.
        let provider =
            provider.filter(|provider| provider.enabled && self.offers(provider.details.protocol()));
        let provider = provider.ok_or_else(|| refuse(&"there is no provider that is turned on"))?;
        let settings = provider.details.oidc().ok_or_else(|| refuse(&"it does not speak OIDC"))?;
        let party = self.party_of(&provider, settings).await?;
        let verified = self.verify_jws(ctx, &party, token, Some(KIND)).await.map_err(|why| refuse(&why))?;
        let context = TokenContext { issuer: &settings.issuer, client_id: &settings.client_id, now: ctx.now };
        let out = check_logout_token(&verified.claims, context).map_err(|why| refuse(&why))?;

        let source = IdentitySource::Provider(provider.id.clone());
        let tx = self.store.begin_write().await?;
        if !once::claim(&tx, &format!("logout/{source}"), &out.token_id, out.until).await? {
            return Err(refuse(&"it was sent before"));
        }
        let which = VouchedFor {
            source: &source,
            subject: out.subject.as_deref(),
            provider_session: out.session.as_deref(),
        };
        self.end_vouched_steps(ctx, &tx, &organization, which).await?;
        for (session, user) in sessions::end_federated(&tx, which, ctx.now).await? {
            let record = self
                .record(ctx, AuditAction::SsoLogout, session.as_str())
                .with_change(Value::Null, json!({ "user": user, "provider": provider.id }));
            audit::append(&tx, Some(&organization), &record).await?;
        }
        self.commit_revocation(tx).await
    }
}

fn invalid_logout_token() -> Error {
    let message = "This is no logout token of the organization's identity provider, or it was used before.";
    Error::new(ErrorKind::Malformed, "invalid_logout_token", message)
}
