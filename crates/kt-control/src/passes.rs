//! Passes: what lets a person's request through a gateway in place of a key. They never reach a browser.

use kt_domain::actor::{Actor, Permission, Person};
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::keys::PassClaims;
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
}
