//! Somebody comes back from a provider, verified: whose account it is, and what comes next.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, SessionId, UserId};
use kt_domain::network::console_rules::Denial;
use kt_domain::return_to::ReturnTo;
use kt_domain::sessions::Door;
use kt_domain::sign_in::{Proof, Proofs};
use kt_domain::sso::{ExternalIdentity, IdentitySource, ProviderSettings};
use kt_store::sessions::Federation;
use kt_store::{Source, Tx, audit, external_identities, identity_providers, organizations, sessions};
use serde_json::{Value, json};

use super::account::{Received, name_of};
use super::errand::{Errand, Origin};
use super::trial::{TestReport, Trail};
use super::{kept_reason, sso_refused};
use crate::control::Control;
use crate::sign_in::{Flow, SignInOutcome, Vouched, stronger_proof_required};

/// What came of somebody who came back.
pub enum SsoOutcome {
    /// A step of a sign-in.
    SignIn(Arrival),
    /// The session counts as authenticated now.
    Reauthenticated {
        /// Where its holder wants to go on.
        return_to: Option<ReturnTo>,
    },
    /// A provider was tried out; nobody was signed in.
    Tested(TestReport),
}

/// Somebody on the way in.
pub struct Arrival {
    /// What comes next.
    pub outcome: SignInOutcome,
    /// Where they want to go afterwards.
    pub return_to: Option<ReturnTo>,
}

/// Why somebody is not let in: said to nobody but the audit log and whoever tries the provider out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disbelief {
    pub(crate) step: &'static str,
    pub(crate) why: String,
}

/// How far the provider's clock may be from ours.
pub(crate) const SKEW: Duration = Duration::from_mins(1);

/// Why nobody comes in.
pub(super) enum Turned {
    /// The person is not received.
    Away { why: String, user: Option<UserId>, organization: Option<OrganizationId> },
    /// The organization does not let the address in that they come from.
    Elsewhere { organization: OrganizationId, denial: Denial },
    /// Something failed.
    Back(Error),
}

impl<E: Into<Error>> From<E> for Turned {
    fn from(error: E) -> Self {
        Self::Back(error.into())
    }
}

impl Control {
    /// What becomes of somebody whom a provider has verified, or not.
    pub(crate) async fn receive(
        &self,
        ctx: &Ctx,
        origin: Origin,
        trail: Trail,
        verified: Result<ExternalIdentity, Disbelief>,
    ) -> Result<SsoOutcome, Error> {
        if let Errand::Test { session } = &origin.errand {
            require_own_errand(ctx, session)?;
            return Ok(SsoOutcome::Tested(self.report(ctx, &origin, trail, verified).await?));
        }
        let identity = match verified {
            Ok(identity) => identity,
            Err(disbelief) => {
                let why = format!("{}: {}", disbelief.step, disbelief.why);
                self.record_turned_away(ctx, &origin, origin.organization.as_ref(), None, &why).await?;
                return Err(sso_refused().with_private(why));
            }
        };
        match &origin.errand {
            Errand::Reauthenticate { session, return_to } => {
                let proven = self.reauthenticate_by_provider(ctx, &origin, session, &identity).await;
                self.recording_refusal(ctx, &origin, proven).await?;
                let return_to = return_to.as_deref().and_then(ReturnTo::parse);
                Ok(SsoOutcome::Reauthenticated { return_to })
            }
            _ => self.sign_in_by_provider(ctx, &origin, &identity).await,
        }
    }

    async fn sign_in_by_provider(
        &self,
        ctx: &Ctx,
        origin: &Origin,
        identity: &ExternalIdentity,
    ) -> Result<SsoOutcome, Error> {
        let tx = self.store.begin_write().await?;
        match self.let_in(ctx, &tx, origin, identity).await {
            Ok((arrival, has_changed)) => {
                if has_changed {
                    self.commit_revocation(tx).await?;
                } else {
                    tx.commit().await?;
                }
                Ok(SsoOutcome::SignIn(arrival))
            }
            Err(Turned::Away { why, user, organization }) => {
                drop(tx);
                self.record_turned_away(ctx, origin, organization.as_ref(), user.as_ref(), &why).await?;
                Err(sso_refused().with_private(why))
            }
            Err(Turned::Elsewhere { organization, denial }) => {
                drop(tx);
                self.refuse_address(ctx, Some(&organization), &denial).await?;
                Err(sso_refused())
            }
            Err(Turned::Back(error)) => {
                drop(tx);
                self.recording_refusal(ctx, origin, Err(error)).await
            }
        }
    }

    /// Finds or makes the account, and lets the gate say what comes next.
    async fn let_in(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        origin: &Origin,
        identity: &ExternalIdentity,
    ) -> Result<(Arrival, bool), Turned> {
        // Held still, so that a provider that is turned off or removed meanwhile ends what it opens.
        if let Some(organization) = &origin.organization {
            organizations::lock(tx, organization).await?;
        }
        let settings = self.settings_of(tx, origin).await?;
        let received = self.find_or_make(ctx, tx, origin, &settings, identity).await?;
        let Received { entrant, is_linked_later, has_changed } = received;
        let away = |why: &str| Turned::Away {
            why: why.to_owned(),
            user: Some(entrant.user.id.clone()),
            organization: Some(entrant.organization.id.clone()),
        };
        // Whose member somebody is who comes from Google is known only now.
        let organization = &entrant.organization.id;
        if let Err(denial) = self.decide_address(tx, ctx, organization, Door::Console.into()).await? {
            return Err(Turned::Elsewhere { organization: organization.clone(), denial });
        }
        let is_own = matches!(origin.source, IdentitySource::Provider(_));
        if !is_own && self.must_use_sso(tx, &entrant.membership, &entrant.user.email).await? {
            return Err(away("the organization's own provider is required"));
        }
        let vouched = Vouched {
            federation: federation(origin, &settings, identity, ctx.now),
            version: is_own.then_some(origin.version),
            links: is_linked_later,
        };
        let is_one_factor = is_linked_later || !is_own;
        let proof = if is_one_factor { Proof::FederatedSingle } else { settings.proof_of(identity) };
        let Errand::SignIn { device, return_to } = &origin.errand else { return Err(away("no sign-in")) };
        let flow = Flow::new(&entrant, Proofs::of(proof), Door::Console, *device);
        let flow = flow.by_word_of(vouched, identity.proven_at(ctx.now));
        let outcome = match self.advance_in(ctx, tx, &entrant, &flow).await {
            Err(error) if error.kind == ErrorKind::Unauthenticated => {
                return Err(away("the account cannot sign in"));
            }
            outcome => outcome?,
        };
        if let IdentitySource::Provider(id) = &origin.source {
            identity_providers::note_use(tx, id, ctx.now).await?;
        }
        let return_to = return_to.as_deref().and_then(ReturnTo::parse);
        let has_changed = has_changed || outcome.has_ended_another();
        Ok((Arrival { outcome, return_to }, has_changed))
    }

    /// What holds for whom this source vouches at this moment.
    pub(super) async fn settings_of(
        &self,
        source: &impl Source,
        origin: &Origin,
    ) -> Result<ProviderSettings, Error> {
        let provider = self.provider_again(source, origin).await?;
        Ok(provider.map_or_else(ProviderSettings::default, |provider| provider.settings))
    }

    /// The session that asks counts as authenticated now, where the provider has just asked its holder again.
    async fn reauthenticate_by_provider(
        &self,
        ctx: &Ctx,
        origin: &Origin,
        session: &SessionId,
        identity: &ExternalIdentity,
    ) -> Result<(), Error> {
        require_own_errand(ctx, session)?;
        let person = ctx.require_person()?;
        let tx = self.store.begin_write().await?;
        let settings = self.settings_of(&tx, origin).await?;
        let holder = external_identities::user_of(&tx, name_of(origin, identity)).await?;
        if holder.as_ref() != Some(&person.user) {
            return Err(sso_refused().with_private("the provider named somebody else"));
        }
        let is_fresh =
            identity.authenticated_at.is_some_and(|at| at >= origin.begun_at - SKEW && at <= ctx.now + SKEW);
        if !is_fresh {
            return Err(not_asked_again());
        }
        let live = sessions::find(&tx, &person.session).await?.ok_or_else(sso_refused)?;
        let proof = match origin.source {
            IdentitySource::Google => Proof::FederatedSingle,
            IdentitySource::Provider(_) => settings.proof_of(identity),
        };
        if !live.session.proofs.are_matched_by(proof) {
            return Err(stronger_proof_required());
        }
        if live.federation.is_some_and(|federation| federation.source == origin.source) {
            let federation = federation(origin, &settings, identity, ctx.now);
            sessions::note_federation(&tx, &person.session, &federation).await?;
        }
        let proofs = live.session.proofs.and(proof);
        sessions::note_authentication(&tx, &person.session, &proofs, ctx.now).await?;
        let record = self.record(ctx, AuditAction::Reauthenticated, person.session.as_str());
        audit::append(&tx, Some(&person.organization), &record).await?;
        self.commit_revocation(tx).await
    }

    /// The same, recorded where somebody was refused who came back to sign in, or to prove again who they are.
    pub(super) async fn recording_refusal<T>(
        &self,
        ctx: &Ctx,
        origin: &Origin,
        came_of: Result<T, Error>,
    ) -> Result<T, Error> {
        let is_trial = matches!(origin.errand, Errand::Test { .. });
        if let Err(refused) = &came_of
            && matches!(refused.code, "sso_refused" | "provider_did_not_ask")
            && !is_trial
        {
            let why = refused.private.as_deref().unwrap_or(refused.code);
            self.record_turned_away(ctx, origin, origin.organization.as_ref(), None, why).await?;
        }
        came_of
    }

    async fn record_turned_away(
        &self,
        ctx: &Ctx,
        origin: &Origin,
        organization: Option<&OrganizationId>,
        user: Option<&UserId>,
        why: &str,
    ) -> Result<(), Error> {
        let subject = user.map_or_else(|| origin.source.to_string(), ToString::to_string);
        let why = kept_reason(why);
        tracing::info!(why, "somebody came back from an identity provider and was not let in");
        let record = self
            .record(ctx, AuditAction::SignIn, subject)
            .with_change(
                Value::Null,
                json!({
                    "reason": "sso_refused", "why": why, "door": Door::Console,
                    "identity_provider": { "id": origin.source },
                }),
            )
            .refused();
        let tx = self.store.begin_write().await?;
        audit::append(&tx, organization, &record).await?;
        Ok(tx.commit().await?)
    }
}

/// What is kept of a provider's word beside a session.
fn federation(
    origin: &Origin,
    settings: &ProviderSettings,
    identity: &ExternalIdentity,
    now: Timestamp,
) -> Federation {
    Federation {
        source: origin.source.clone(),
        issuer: identity.issuer.clone(),
        subject: identity.subject.clone(),
        provider_session: identity.session.clone(),
        ends_by: settings.ends_by(identity, now),
    }
}

/// What was begun in a session is brought to its end in that one alone.
fn require_own_errand(ctx: &Ctx, session: &SessionId) -> Result<(), Error> {
    if ctx.require_person()?.session == *session {
        return Ok(());
    }
    Err(sso_refused().with_private("it was begun in another session"))
}

fn not_asked_again() -> Error {
    let message = "Your identity provider did not ask you again who you are, so nothing was confirmed. Sign in again, or ask \
                   an administrator whether it answers `auth_time`.";
    Error::new(ErrorKind::Forbidden, "provider_did_not_ask", message)
        .with_private("the provider did not ask again")
}
