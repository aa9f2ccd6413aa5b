//! Trying a provider out: each step is shown, and what the provider sent, and nobody is signed in.

use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::email::EmailAddress;
use kt_domain::error::Error;
use kt_domain::sign_in::{MembershipState, Proof};
use kt_domain::sso::reception::{self, Reception};
use kt_domain::sso::{ExternalIdentity, ProviderSettings};
use kt_store::memberships::Membership;
use kt_store::users::User;
use kt_store::{audit, external_identities, memberships, users};
use serde_json::{Map, Value, json};

use super::account::name_of;
use super::errand::Origin;
use super::receive::Disbelief;
use crate::control::Control;

/// The step that shows whom the provider names.
pub(super) const WHO: &str = "Who the provider says it is";

/// The step that shows whose account that is.
const ACCOUNT: &str = "Whose account it would be";

/// What trying out a provider has shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestReport {
    /// Each step in order; what follows one that failed was not tried.
    pub steps: Vec<TestStep>,
    /// What the provider sent, as it sent it.
    pub sent: Map<String, Value>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestStep {
    /// What was looked at.
    pub name: &'static str,
    /// What was found.
    pub found: String,
    /// Whether it passed.
    pub passed: bool,
}

/// What is noted while an answer of a provider is verified, step by step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail(TestReport);

impl Trail {
    /// This was looked at and is good.
    pub(crate) fn passed(&mut self, name: &'static str, found: impl Into<String>) {
        self.0.steps.push(TestStep { name, found: found.into(), passed: true });
    }

    /// The provider sent this.
    pub(crate) fn sent(&mut self, part: &str, content: Value) {
        self.0.sent.insert(part.to_owned(), content);
    }

    fn failed(mut self, disbelief: Disbelief) -> TestReport {
        let Disbelief { step, why } = disbelief;
        self.0.steps.push(TestStep { name: step, found: why, passed: false });
        self.0
    }
}

impl Control {
    /// What trying out a provider has shown: the steps of its protocol, then whose account it would be. Nothing is changed
    /// but the record of it.
    pub(super) async fn report(
        &self,
        ctx: &Ctx,
        origin: &Origin,
        mut trail: Trail,
        verified: Result<ExternalIdentity, Disbelief>,
    ) -> Result<TestReport, Error> {
        let judged = match verified {
            Ok(identity) => self.judge(origin, &identity, &mut trail).await?,
            Err(disbelief) => Err(disbelief),
        };
        let report = match judged {
            Ok(()) => trail.0,
            Err(disbelief) => trail.failed(disbelief),
        };
        let passed = report.steps.iter().all(|step| step.passed);
        let record = self
            .record(ctx, AuditAction::SsoTested, origin.source.to_string())
            .with_change(Value::Null, json!({ "passed": passed }));
        let record = if passed { record } else { record.refused() };
        let tx = self.store.begin_write().await?;
        audit::append(&tx, ctx.actor.organization(), &record).await?;
        tx.commit().await?;
        Ok(report)
    }

    async fn judge(
        &self,
        origin: &Origin,
        identity: &ExternalIdentity,
        trail: &mut Trail,
    ) -> Result<Result<(), Disbelief>, Error> {
        let settings = self.settings_of(&self.store, origin).await?;
        trail.passed(
            WHO,
            format!(
                "{}; {}; {}",
                identity.subject,
                identity.email.as_deref().unwrap_or("no e-mail address"),
                identity.name.as_deref().unwrap_or("no name"),
            ),
        );
        let account = self.account_meant(origin, identity).await?;
        let groups = match &account {
            Some(Account { user, place: Some(place), .. }) => {
                self.groups_of(&self.store, &place.organization, &user.id, identity).await?
            }
            _ => identity.groups.clone(),
        };
        trail.passed("The role", role(&settings, account.as_ref(), groups.as_deref()));
        let methods = identity.methods.join(", ");
        let worth = match settings.proof_of(identity) {
            Proof::FederatedMfa => format!("counts as two factors ({methods})"),
            Proof::FederatedStepUp => format!("one of our second factors is asked for ({methods})"),
            _ => format!("how people prove who they are is left to the provider ({methods})"),
        };
        trail.passed("What it is worth", worth);
        if let Some(account) = &account
            && account.place.as_ref().is_some_and(|place| place.state == MembershipState::Suspended)
        {
            let why = format!("that of a member who is suspended here: {}", account.user.email);
            return Ok(Err(Disbelief { step: ACCOUNT, why }));
        }
        if let Some(Account { user, place, is_linked: true }) = &account {
            return Ok(match reception::joins(&settings, place.as_ref().map(|place| place.state)) {
                Ok(_) => {
                    trail.passed(ACCOUNT, format!("linked already: {}", user.email));
                    Ok(())
                }
                Err(why) => Err(Disbelief { step: ACCOUNT, why: why.advice().to_owned() }),
            });
        }
        let stranger = self.look_up(&self.store, origin, &settings, identity).await?;
        Ok(match stranger.reception {
            Ok(Reception::Create) => {
                trail.passed(ACCOUNT, "a new one would be made");
                Ok(())
            }
            Ok(Reception::Link { asks_for_factor, .. }) => {
                let found = if asks_for_factor {
                    "the one with this address would be linked, after one of its second factors was shown"
                } else {
                    "the one with this address would be linked"
                };
                trail.passed(ACCOUNT, found);
                Ok(())
            }
            Err(why) => Err(Disbelief { step: ACCOUNT, why: why.advice().to_owned() }),
        })
    }

    /// The account that somebody comes to, if there is one: that which is linked to them, or else that of their address.
    async fn account_meant(
        &self,
        origin: &Origin,
        identity: &ExternalIdentity,
    ) -> Result<Option<Account>, Error> {
        let linked = external_identities::user_of(&self.store, name_of(origin, identity)).await?;
        let email = identity.email.as_deref().and_then(|email| EmailAddress::parse(email).ok());
        let user = match (&linked, &email) {
            (Some(id), _) => users::find(&self.store, id).await?,
            (None, Some(email)) => users::by_email(&self.store, &email.folded()).await?,
            (None, None) => None,
        };
        let (Some(user), Some(organization)) = (user, &origin.organization) else { return Ok(None) };
        let place = memberships::find(&self.store, organization, &user.id).await?;
        Ok(Some(Account { user, place, is_linked: linked.is_some() }))
    }
}

/// An account, as the organization of the provider sees it.
struct Account {
    user: User,
    place: Option<Membership>,
    /// Whether the provider's name for its holder is known.
    is_linked: bool,
}

/// The role that somebody has after a sign-in, and by what.
fn role(settings: &ProviderSettings, account: Option<&Account>, groups: Option<&[String]>) -> String {
    let role = match account.and_then(|account| account.place.as_ref()) {
        Some(place) if place.state != MembershipState::PendingApproval => {
            settings.role_after(place.role, groups)
        }
        _ => settings.role_of(groups.unwrap_or_default()),
    };
    let told = match groups {
        None => "more groups than the provider could send".to_owned(),
        Some([]) => "no groups were sent".to_owned(),
        Some(groups) => groups.join(", "),
    };
    format!("{role} ({told})")
}
