//! What speaks against a password, told while it is typed.

use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::passwords::{Context, Password, PasswordPolicy, check, strength};
use kt_store::organizations;

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
    /// The identifier of the organisation that they want to join or make.
    pub organization: &'a str,
}

/// What a password is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// From 0, guessed at once, to 4; 3 is strong enough.
    pub score: u8,
    /// Everything that speaks against choosing it, in sentences that say what to do; empty when it will do.
    pub violations: Vec<String>,
}

impl Control {
    /// Judges a password by the rules of the organisation of whoever asks; of anybody else, by those of the organisation
    /// that they want to join, if it lets people register, or of the deployment. Nothing is kept of it.
    pub async fn judge_password(&self, ctx: &Ctx, candidate: Candidate<'_>) -> Result<Judgement, Error> {
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
        let examined = self.hasher.examine(move || {
            let context = context.as_context();
            (strength(&password, &context).score, check(&policy, &password, &context))
        });
        let (score, violations) = examined.await?;
        Ok(Judgement { score, violations: violations.iter().map(ToString::to_string).collect() })
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
