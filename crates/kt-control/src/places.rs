//! Giving somebody's place in an organization another role or state. Whatever the way (an approval, an invitation, an
//! administrator's or the operator's hand, an identity provider), what is asked of its holder follows with it.

use kt_domain::actor::Role;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::sign_in::MembershipState;
use kt_store::Tx;
use kt_store::memberships::{self, Member, Membership};

use crate::control::Control;

impl Control {
    /// Gives the holder of a place this role and state; `false`, and nothing is changed, where it is no longer as it was
    /// read. Where a second factor is asked of them by this, the time to add it begins now, and they are told by mail.
    pub(crate) async fn put_in_place(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        read: &Membership,
        role: Role,
        state: MembershipState,
    ) -> Result<bool, Error> {
        let Some(member) = self.put_in_place_untold(ctx, tx, read, role, state).await? else {
            return Ok(false);
        };
        let place = &member.membership;
        if place.state == MembershipState::Active && place.mfa_asked_since == Some(ctx.now) {
            let mfa = self.security_of(tx, &place.organization).await?.value.mfa;
            self.tell_of_demand(ctx, tx, &member, &mfa).await?;
        }
        Ok(true)
    }

    /// The same without the mail, for whoever is not linked yet to the provider that will vouch for them; who they are now.
    ///
    /// Whoever becomes active has all of the time, and so has whoever has a factor and is asked for a better one. For all
    /// others what has begun goes on.
    pub(crate) async fn put_in_place_untold(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        read: &Membership,
        role: Role,
        state: MembershipState,
    ) -> Result<Option<Member>, Error> {
        if !memberships::change(tx, read, role, state).await? {
            return Ok(None);
        }
        let mfa = self.security_of(tx, &read.organization).await?.value.mfa;
        let member = memberships::member(tx, &read.organization, &read.user).await?;
        let mut member = member.ok_or_else(|| Error::internal("a member is gone within the transaction"))?;
        let becomes_active = state == MembershipState::Active && read.state != MembershipState::Active;
        let is_asked_for_more = mfa.demand(role) > mfa.demand(read.role) && member.factors.has_any();
        let until_now = read.mfa_asked_since.filter(|_| !becomes_active && !is_asked_for_more);
        let since = mfa.asked_since(role, until_now, ctx.now);
        memberships::note_asked(tx, &read.organization, &read.user, since).await?;
        member.membership.mfa_asked_since = since;
        Ok(Some(member))
    }
}
