//! Passes: what lets a person's request through a gateway in place of a key. They never reach a browser.

use jiff::Timestamp;
use kt_domain::actor::{Actor, Permission, Person};
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::keys::PassClaims;
use kt_domain::sign_in::MembershipState;
use kt_store::memberships;
use secrecy::SecretString;

use crate::control::Control;

impl Control {
    /// A pass for the person who acts. Whether their session still stands, and what they are at this moment, is asked
    /// of the store: somebody who was signed out gets none.
    pub async fn gateway_pass(&self, ctx: &Ctx) -> Result<SecretString, Error> {
        ctx.require(Permission::Infer)?;
        let asked = ctx.require_person()?;
        let now = self.clock.now();
        let person = self.person_of(&asked.session, &asked.user, &asked.organization, now).await?;
        let Person { user, organization, role, session, .. } = &person;
        let claims = PassClaims::new(self.signer.issuer(), user, (organization, *role), Some(session), now);
        Ctx { actor: Actor::Person(person), ..ctx.clone() }.require(Permission::Infer)?;
        Ok(self.signer.sign_pass(&claims, now)?.into())
    }

    /// A pass for what runs on behalf of somebody who may be away: as long as they are an active member whose role uses
    /// models.
    pub(crate) async fn gateway_pass_for(
        &self,
        organization: &OrganizationId,
        user: &UserId,
        now: Timestamp,
    ) -> Result<SecretString, Error> {
        let place = memberships::find(&self.store, organization, user).await?;
        let place = place
            .filter(|place| place.state == MembershipState::Active && Permission::Infer.is_of(place.role));
        let place = place.ok_or_else(may_not_infer)?;
        let claims = PassClaims::new(self.signer.issuer(), user, (organization, place.role), None, now);
        Ok(self.signer.sign_pass(&claims, now)?.into())
    }
}

fn may_not_infer() -> Error {
    let message =
        "Whoever started this may not use models any more: they were suspended, or have another role.";
    Error::new(ErrorKind::Forbidden, "insufficient_role", message)
}
