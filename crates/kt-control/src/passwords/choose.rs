//! Choosing a password: the rules first, then the hash.

use std::time::Duration;

use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::passwords::{Context, Password, PasswordPolicy, TooLong, Violation, check};
use kt_store::{Source, users};
use serde_json::{Value, json};

use super::{Asker, HashError, Phc};
use crate::control::Control;
use crate::sign_in::Entrant;

impl From<HashError> for Error {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Overloaded => Self::new(
                ErrorKind::Unavailable,
                "overloaded",
                "Too many people are signing in at this moment. Try again in a few seconds.",
            )
            .with_retry_after(Duration::from_secs(2)),
            HashError::Failed(why) => Self::internal(why),
        }
    }
}

impl Control {
    /// The password as it is kept, if it may be one. [`ErrorKind::Invalid`] names `param` and lists every rule that it
    /// breaks in the detail `violations`.
    pub(crate) async fn new_password(
        &self,
        ctx: &Ctx,
        param: &'static str,
        typed: &str,
        policy: &PasswordPolicy,
        context: &Context<'_>,
    ) -> Result<users::Password, Error> {
        let password = Password::new(typed).map_err(|why| too_long(param, why))?;
        let (policy, owned) = (policy.clone(), OwnedContext::of(context));
        let (candidate, asker) = (password.clone(), Asker::of(ctx));
        let violations =
            self.hasher.examine(&asker, move || check(&policy, &candidate, &owned.as_context())).await?;
        if !violations.is_empty() {
            return Err(violated(param, &violations));
        }
        let hash = self.hasher.hash(&asker, &password).await?.to_stored();
        Ok(users::Password { hash, set_at: ctx.now, temporary_until: None, breaks_policy: false })
    }
}

impl Control {
    /// The same for somebody who has a place already: also none of their last passwords, nor the present one.
    pub(crate) async fn password_for(
        &self,
        ctx: &Ctx,
        source: &impl Source,
        param: &'static str,
        typed: &str,
        policy: &PasswordPolicy,
        entrant: &Entrant,
    ) -> Result<users::Password, Error> {
        let chosen = self.new_password(ctx, param, typed, policy, &context_of(entrant)).await?;
        let present = entrant.user.password.iter().map(|password| password.hash.clone());
        let past = users::past_passwords(source, &entrant.user.id, policy.history).await?;
        let password = Password::new(typed).map_err(|why| too_long(param, why))?;
        for hash in present.chain(past).take(policy.history.max(1) as usize) {
            let old = Phc::parse(&hash).map_err(Error::internal)?;
            if self.hasher.verify(&Asker::of(ctx), &password, Some(&old)).await? {
                return Err(violated(param, &[Violation::Reused { history: policy.history.max(1) }]));
            }
        }
        Ok(chosen)
    }
}

/// A password that is longer than passwords are.
pub(crate) fn too_long(param: &'static str, why: TooLong) -> Error {
    violated(param, &[why.into()])
}

/// Names `param`, says the first of the rules that it breaks, and lists them all.
fn violated(param: &'static str, violations: &[Violation]) -> Error {
    let message = violations.first().map(Violation::to_string).unwrap_or_default();
    let listed: Vec<Value> = violations
        .iter()
        .map(|violation| json!({ "code": violation.code(), "message": violation.to_string() }))
        .collect();
    Error::invalid(param, message).with_detail("violations", listed)
}

/// What a password of somebody must not contain.
pub(super) fn context_of(entrant: &Entrant) -> Context<'_> {
    Context {
        name: &entrant.user.name,
        address: &entrant.user.email,
        organization_name: &entrant.organization.name,
        organization_identifier: &entrant.organization.identifier,
    }
}

/// A [`Context`] that may go to another thread.
pub(super) struct OwnedContext([String; 4]);

impl OwnedContext {
    pub(super) fn of(context: &Context<'_>) -> Self {
        let Context { name, address, organization_name, organization_identifier } = context;
        Self([name, address, organization_name, organization_identifier].map(|text| (*text).to_owned()))
    }

    pub(super) fn as_context(&self) -> Context<'_> {
        let [name, address, organization_name, organization_identifier] = &self.0;
        Context { name, address, organization_name, organization_identifier }
    }
}
