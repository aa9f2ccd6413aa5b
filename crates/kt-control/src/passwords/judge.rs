//! What speaks against a password, told while it is typed.

use std::time::Duration;

use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::lockout::network_of;
use kt_domain::passwords::{Context, Password, PasswordPolicy, check, strength};
use kt_store::{limits, organizations};

use super::Asker;
use super::choose::OwnedContext;
use crate::control::Control;

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
}

impl Candidate<'_> {
    fn require_short(&self) -> Result<(), Error> {
        let told = [("name", self.name), ("email", self.email), ("organization", self.organization)];
        match told.into_iter().find(|(_, text)| text.chars().nth(LONGEST).is_some()) {
            Some((param, _)) => Err(Error::invalid(param, format!("Use at most {LONGEST} characters."))),
            None => Ok(()),
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
    /// Judges a password by the rules of the organization of whoever asks; of anybody else, by those of the organization
    /// that they want to join, if it lets people register, or of the deployment. Nothing is kept of it. Anybody may ask, and
    /// the answer stands in the queue of the sign-ins: so the length of what is told and the number of askings are bounded.
    pub async fn judge_password(&self, ctx: &Ctx, candidate: Candidate<'_>) -> Result<Judgement, Error> {
        candidate.require_short()?;
        self.count_judged(ctx).await?;
        let Ok(password) = Password::new(candidate.password) else {
            let violations = vec!["Use at most 256 characters.".to_owned()];
            return Ok(Judgement { score: 0, violations });
        };
        let policy = self.policy_for(ctx, candidate.organization).await?;
        let context = OwnedContext::of(&Context {
            name: candidate.name,
            address: candidate.email,
            organization_name: "",
            organization_identifier: candidate.organization,
        });
        let asker = Asker::of(ctx);
        let examined = self.hasher.examine(&asker, move || {
            let context = context.as_context();
            (strength(&password, &context).score, check(&policy, &password, &context))
        });
        let (score, violations) = examined.await?;
        Ok(Judgement { score, violations: violations.iter().map(ToString::to_string).collect() })
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

    async fn policy_for(&self, ctx: &Ctx, organization: &str) -> Result<PasswordPolicy, Error> {
        if let Some(organization) = ctx.actor.organization() {
            return Ok(self.security_of(&self.store, organization).await?.value.password);
        }
        if let Some(found) = organizations::by_identifier(&self.store, organization).await? {
            let security = self.security_of(&self.store, &found.id).await?.value;
            if security.registration.self_registration {
                return Ok(security.password);
            }
        }
        Ok(self.deployment.password.policy(false))
    }
}
