//! What speaks against a password, told while it is typed.

use std::time::Duration;

use kt_domain::actor::Actor;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::OrganizationId;
use kt_domain::lockout::network_of;
use kt_domain::network::console_rules::Surface;
use kt_domain::passwords::{Context, Password, PasswordPolicy, check, strength};
use kt_domain::secret::SecretDigest;
use kt_store::{limits, organizations};

use super::Asker;
use super::choose::{OwnedContext, context_of};
use crate::control::Control;
use crate::sign_in::Entrant;

/// A password that somebody thinks of, and for what.
pub struct Candidate<'a> {
    /// The password as typed.
    pub password: &'a str,
    /// Their name.
    pub name: &'a str,
    /// Their address.
    pub email: &'a str,
    /// The identifier of the organization that they want to join or make.
    pub organization: &'a str,
    /// The token of the link by which they choose it, where they came by one.
    pub link: &'a str,
    /// The token of the sign-in that they are about, where they replace a password in it.
    pub flow: &'a str,
}

impl Candidate<'_> {
    fn require_short(&self) -> Result<(), Error> {
        let told = [("name", self.name), ("email", self.email), ("organization", self.organization)];
        match told.into_iter().find(|(_, text)| text.chars().nth(LONGEST).is_some()) {
            Some((param, _)) => Err(Error::invalid(param, format!("Use at most {LONGEST} characters."))),
            None => Ok(()),
        }
    }

    /// Whether they say anything of themselves, as those do who are new.
    fn tells_of_somebody(&self) -> bool {
        [self.name, self.email, self.organization].iter().any(|text| !text.is_empty())
    }

    fn context(&self) -> Context<'_> {
        Context {
            name: self.name,
            address: self.email,
            organization_name: "",
            organization_identifier: self.organization,
        }
    }
}

/// The longest of what may be told about somebody is an address, of 254 characters; no more than this is looked at.
const LONGEST: usize = 320;

/// How many passwords are judged for one network within [`WINDOW`]: a person who types slowly asks for thirty.
const JUDGED: i64 = 300;
const WINDOW: Duration = Duration::from_mins(5);

/// What a password is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// From 0, guessed at once, to 4; 3 is strong enough.
    pub score: u8,
    /// Everything that speaks against choosing it, in sentences that say what to do; empty when it will do.
    pub violations: Vec<String>,
}

impl Control {
    /// Judges a password by what is known of whoever asks, by their session, link or sign-in, and by the rules of their
    /// organization; of anybody else, by what they say of themselves and the rules of the organization that they want to join,
    /// if it lets people register or has invited them, or of the deployment. Nothing is kept of it, and nothing that is known
    /// is told. Anybody may ask, and the answer stands in the queue of the sign-ins: so the length of what is told and the
    /// number of askings are bounded.
    pub async fn judge_password(&self, ctx: &Ctx, candidate: Candidate<'_>) -> Result<Judgement, Error> {
        candidate.require_short()?;
        self.count_judged(ctx).await?;
        let Ok(password) = Password::new(candidate.password) else {
            let violations = vec!["Use at most 256 characters.".to_owned()];
            return Ok(Judgement { score: 0, violations });
        };
        let known = if candidate.tells_of_somebody() { None } else { self.asker_of(ctx, &candidate).await? };
        let (policy, context) = match &known {
            Some(known) => (
                self.security_of(&self.store, &known.organization.id).await?.value.password,
                OwnedContext::of(&context_of(known)),
            ),
            None => (self.policy_for(ctx, &candidate).await?, OwnedContext::of(&candidate.context())),
        };
        let asker = Asker::of(ctx);
        let examined = self.hasher.examine(&asker, move || {
            let context = context.as_context();
            (strength(&password, &context).score, check(&policy, &password, &context))
        });
        let (score, violations) = examined.await?;
        Ok(Judgement { score, violations: violations.iter().map(ToString::to_string).collect() })
    }

    /// Who asks, where their session, link or sign-in says so. One that is good no more says nothing.
    async fn asker_of(&self, ctx: &Ctx, candidate: &Candidate<'_>) -> Result<Option<Entrant>, Error> {
        if let Actor::Person(person) = &ctx.actor {
            return self.entrant_of_person(person).await.map(Some);
        }
        if !candidate.link.is_empty() {
            return self
                .holder_of_reset(ctx, Surface::Console, candidate.link)
                .await
                .map(Some)
                .or_else(unknown);
        }
        if candidate.flow.is_empty() {
            return Ok(None);
        }
        let step = SecretDigest::of(candidate.flow);
        self.look_at_flow(ctx, &step).await.map(|(entrant, _)| Some(entrant)).or_else(unknown)
    }

    async fn count_judged(&self, ctx: &Ctx) -> Result<(), Error> {
        let Some(network) = ctx.client.ip.map(network_of) else { return Ok(()) };
        let tx = self.store.begin_write().await?;
        let judged = limits::count(&tx, &format!("passwords_judged/{network}"), WINDOW, ctx.now).await?;
        tx.commit().await?;
        if judged > JUDGED {
            let message = "Too many passwords were judged for your network. Wait five minutes, then go on.";
            let refusal = Error::new(ErrorKind::TooManyRequests, "too_many_attempts", message);
            return Err(refusal.with_retry_after(WINDOW));
        }
        Ok(())
    }

    async fn policy_for(&self, ctx: &Ctx, candidate: &Candidate<'_>) -> Result<PasswordPolicy, Error> {
        if let Some(organization) = ctx.actor.organization() {
            return Ok(self.security_of(&self.store, organization).await?.value.password);
        }
        if let Some(found) = organizations::by_identifier(&self.store, candidate.organization).await? {
            let security = self.security_of(&self.store, &found.id).await?.value;
            if security.registration.self_registration
                || self.is_invited(ctx, candidate.link, &found.id).await
            {
                return Ok(security.password);
            }
        }
        Ok(self.deployment.password.policy(false))
    }

    /// Whether this is the link of an invitation to the organization.
    async fn is_invited(&self, ctx: &Ctx, link: &str, organization: &OrganizationId) -> bool {
        if link.is_empty() {
            return false;
        }
        let view = self.invitation_of(ctx, Surface::Console, link).await;
        view.is_ok_and(|view| view.organization.id == *organization)
    }
}

/// Nobody, where what somebody holds is good no more; a failure stays one.
fn unknown(why: Error) -> Result<Option<Entrant>, Error> {
    if matches!(why.kind, ErrorKind::Internal | ErrorKind::Unavailable) { Err(why) } else { Ok(None) }
}
