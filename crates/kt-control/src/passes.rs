//! Passes: what lets a person's request through a gateway in place of a key. They never reach a browser.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::actor::{Actor, Permission, Person, Role};
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::keys::PassClaims;
use kt_domain::sign_in::MembershipState;
use kt_store::memberships::{self, Member};
use secrecy::SecretString;

use crate::control::Control;
use crate::members::mfa_deadline;

impl Control {
    /// A pass for the person who acts. Whether their session still stands, and what they are at this moment, is asked
    /// of the store: somebody who was signed out gets none.
    pub async fn gateway_pass(&self, ctx: &Ctx) -> Result<SecretString, Error> {
        ctx.require(Permission::Infer)?;
        self.catch_up().await?;
        let asked = ctx.require_person()?;
        let now = self.clock.now();
        let person = self.person_of(&asked.session, &asked.user, &asked.organization, now).await?;
        let Person { user, organization, role, session, .. } = &person;
        let claims = PassClaims::new(self.signer.issuer(), user, (organization, *role), Some(session), now);
        Ctx { actor: Actor::Person(person), ..ctx.clone() }.require(Permission::Infer)?;
        Ok(self.signer.sign_pass(&claims, now)?.into())
    }

    /// Refuses once a session is over, or its holder may not use models any more.
    pub(crate) async fn may_still_ask(&self, asked: &Person) -> Result<(), Error> {
        let Person { session, user, organization, .. } = asked;
        let person = self.person_of(session, user, organization, self.clock.now()).await?;
        if Permission::Infer.is_of(person.role) { Ok(()) } else { Err(may_not_infer()) }
    }

    /// A pass for what runs on behalf of somebody who may be away: as long as they are an active member whose role uses
    /// models, and their time is not over to add a second factor that they lack. A run is no way round it, as a key is none.
    pub(crate) async fn gateway_pass_for(
        &self,
        organization: &OrganizationId,
        user: &UserId,
        now: Timestamp,
    ) -> Result<SecretString, Error> {
        self.catch_up().await?;
        let role = self.role_for_models(organization, user, now).await?;
        let claims = PassClaims::new(self.signer.issuer(), user, (organization, role), None, now);
        Ok(self.signer.sign_pass(&claims, now)?.into())
    }

    /// The role in which somebody who may be away uses models; refused where they may not, or not any more.
    pub(crate) async fn role_for_models(
        &self,
        organization: &OrganizationId,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Role, Error> {
        let mfa = self.security_of(&self.store, organization).await?.value.mfa;
        let member = memberships::member(&self.store, organization, user).await?;
        let member = member.filter(|Member { membership, .. }| {
            membership.state == MembershipState::Active && Permission::Infer.is_of(membership.role)
        });
        let member = member.ok_or_else(may_not_infer)?;
        if mfa_deadline(&member, &mfa).is_some_and(|deadline| deadline <= now) {
            return Err(must_enroll());
        }
        Ok(member.membership.role)
    }
}

/// How often it is asked, while an answer is on its way, whether its reader may still have it.
const ASKED_EVERY: Duration = Duration::from_secs(2);

/// Is ready, with the reason, once `may_go_on` refuses: an answer that is on its way ends with the right to it. While the
/// store is away, nothing is refused.
pub(crate) async fn until_refused<T, F>(may_go_on: impl Fn() -> F) -> Error
where
    F: Future<Output = Result<T, Error>>,
{
    loop {
        tokio::time::sleep(ASKED_EVERY).await;
        match may_go_on().await {
            Err(why) if matches!(why.kind, ErrorKind::Forbidden | ErrorKind::Unauthenticated) => return why,
            Ok(_) | Err(_) => {}
        }
    }
}

fn may_not_infer() -> Error {
    let message =
        "Whoever started this may not use models any more: they were suspended, or have another role.";
    Error::new(ErrorKind::Forbidden, "insufficient_role", message)
}

fn must_enroll() -> Error {
    let message = "Whoever started this has not added the second factor that their organization asks for. Sign in, add it, and \
                   start it again.";
    Error::new(ErrorKind::Forbidden, "mfa_enrollment_required", message)
}
