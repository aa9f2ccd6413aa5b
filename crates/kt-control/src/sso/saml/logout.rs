//! Logout that the provider asks for, by way of the browser (SAML profiles, section 4.4).

use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::sso::{IdentitySource, Protocol, SamlSettings};
use kt_saml::{
    LogoutExpected, RedirectedMessage, Refusal, VerifiedLogout, logout_answer, verify_posted_logout,
    verify_redirected_logout,
};
use kt_store::identity_providers::{self, IdentityProvider as Provider};
use kt_store::sessions::VouchedFor;
use kt_store::{Tx, audit, once, organizations, sessions};
use serde_json::{Value, json};
use url::Url;

use super::{Landed, identity_provider};
use crate::control::Control;
use crate::sso::stray::Brought;

/// A request to log out, as the browser brings it.
#[derive(Clone, Copy)]
pub enum LogoutMessage<'a> {
    /// In the query of an address, which is signed as it stands.
    Query(&'a str),
    /// In a form: `SAMLRequest` and `RelayState`.
    Form {
        /// The request.
        request: &'a str,
        /// What the provider wants back.
        relay_state: Option<&'a str>,
    },
}

impl Control {
    /// Ends the sessions that a signed request of the organization's provider names, and gives the address where the browser
    /// takes the answer, if the provider has one. Refused with `invalid_logout_request`, whatever is wrong with it. No session
    /// need be left for it to be answered.
    pub async fn end_sessions_by_saml(
        &self,
        ctx: &Ctx,
        organization: &str,
        message: LogoutMessage<'_>,
    ) -> Result<Option<Url>, Error> {
        let ended = self.take_logout_request(ctx, organization, message).await;
        self.recording_strays(ctx, Some(organization), Brought::Logout, ended).await
    }

    async fn take_logout_request(
        &self,
        ctx: &Ctx,
        organization: &str,
        message: LogoutMessage<'_>,
    ) -> Result<Option<Url>, Error> {
        let refuse = |why: &dyn std::fmt::Display| invalid_logout_request().with_private(why);
        let found = organizations::by_identifier(&self.store, organization).await?;
        let found = found.ok_or_else(|| refuse(&"there is no such organization"))?;
        let provider = identity_providers::of_protocol(&self.store, &found.id, Protocol::Saml).await?;
        // One that is turned off has no session left, and is asked nothing.
        let provider =
            provider.filter(|provider| provider.enabled && self.offers(provider.details.protocol()));
        let provider = provider.ok_or_else(|| refuse(&"there is no provider that is turned on"))?;
        let settings = provider.details.saml().ok_or_else(|| refuse(&"it does not speak SAML"))?;
        let expected = LogoutExpected {
            identity_provider: &identity_provider(settings)?,
            service_provider: &self.service_provider(&found.identifier),
            now: ctx.now,
        };
        let (request, relay_state) = verified(message, &expected).map_err(|why| refuse(&why))?;
        let tx = self.store.begin_write().await?;
        let scope = format!("saml_logout/{}", provider.id);
        if !once::claim(&tx, &scope, &request.id, request.remember_until).await? {
            return Err(refuse(&"it was sent before"));
        }
        self.end_named(ctx, &tx, &provider, settings, &request).await?;
        self.commit_revocation(tx).await?;

        let key = self.signing_key(&provider, settings)?;
        let id = format!("_{}", self.new_token().expose());
        let answer = logout_answer(&expected, &id, &request, relay_state.as_deref(), &key);
        answer.map(|address| Url::parse(&address)).transpose().map_err(Error::internal)
    }

    /// Ends the sessions of a subject: those that the request names by their indexes, or all.
    async fn end_named(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        provider: &Provider,
        settings: &SamlSettings,
        request: &VerifiedLogout,
    ) -> Result<(), Error> {
        let source = IdentitySource::Provider(provider.id.clone());
        // Where an attribute tells people apart, the NameID is no name of ours; the index of the session is.
        let subject = settings.subject_attribute.is_none().then_some(request.subject.value.as_str());
        let mut indexes: Vec<Option<&str>> =
            request.session_indexes.iter().map(|it| Some(it.as_str())).collect();
        if indexes.is_empty() {
            if subject.is_none() {
                let why = "it names no session, and an attribute that it does not hold tells people apart";
                return Err(invalid_logout_request().with_private(why));
            }
            indexes.push(None);
        }
        for provider_session in indexes {
            let which = VouchedFor { source: &source, subject, provider_session };
            self.end_vouched_steps(ctx, tx, &provider.organization, which).await?;
            self.end_errands::<Landed>(ctx, tx, &source, |landed| landed.is_of(which)).await?;
            for (session, user) in sessions::end_federated(tx, which, ctx.now).await? {
                let record = self
                    .record(ctx, AuditAction::SsoLogout, session.as_str())
                    .with_change(Value::Null, json!({ "user": user, "provider": provider.id }));
                audit::append(tx, Some(&provider.organization), &record).await?;
            }
        }
        Ok(())
    }
}

fn verified(
    message: LogoutMessage<'_>,
    expected: &LogoutExpected<'_>,
) -> Result<(VerifiedLogout, Option<String>), Refusal> {
    match message {
        LogoutMessage::Query(query) => {
            let message = RedirectedMessage::read(query, "SAMLRequest")?;
            Ok((verify_redirected_logout(&message, expected)?, message.relay_state))
        }
        LogoutMessage::Form { request, relay_state } => {
            Ok((verify_posted_logout(request, expected)?, relay_state.map(str::to_owned)))
        }
    }
}

fn invalid_logout_request() -> Error {
    let message = "This is no signed request to log out of the organization's identity provider, or it was used before.";
    Error::new(ErrorKind::Malformed, "invalid_logout_request", message)
}
