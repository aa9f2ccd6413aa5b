//! What the organizations of somebody ask of them. Factors belong to an account: what one demands holds for all of it.

use jiff::Timestamp;
use kt_domain::error::Error;
use kt_domain::id::UserId;
use kt_domain::mfa::{Asked, Demand, MfaSettings};
use kt_domain::sign_in::{Asks, MembershipState};
use kt_store::memberships::{self, Membership};
use kt_store::{Source, second_factors};

use crate::control::Control;

/// Whether somebody is asked for a second factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FactorDemand {
    /// What their organizations ask for: the most that one of them does.
    pub demand: Demand,
    /// What they lack, and from when on they can do nothing but add it: of their organizations the one whose time is over first.
    pub lacking: Option<Asked>,
}

/// What one of somebody's organizations asks of them.
struct AskedThere {
    asked: Asked,
    /// Whether its identity provider vouches for them, so that they are asked there.
    is_vouched_for: bool,
}

impl Control {
    /// What is asked of somebody who wants in at this place of theirs. Other organizations whose identity provider vouches for
    /// them ask them there.
    pub(crate) async fn asks_of(
        &self,
        source: &impl Source,
        place: &Membership,
        mfa: &MfaSettings,
    ) -> Result<Asks, Error> {
        let here = mfa.asked(place.role, self.asked_since(source, place, mfa).await?);
        let mut others = memberships::of_user(source, &place.user).await?;
        others.retain(|other| other.organization != place.organization);
        let elsewhere = self.asked_at(source, others).await?;
        let elsewhere = elsewhere.into_iter().filter(|there| !there.is_vouched_for);
        Ok(Asks { here, elsewhere: elsewhere.map(|there| there.asked).collect() })
    }

    /// What has to be there by now of somebody, whichever of their organizations asks it, and whoever vouches for them.
    pub(crate) async fn due_anywhere(
        &self,
        source: &impl Source,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Demand, Error> {
        let all = self.asked_at(source, memberships::of_user(source, user).await?).await?;
        let due = all.into_iter().filter(|there| now >= there.asked.deadline);
        Ok(due.map(|there| there.asked.demand).max().unwrap_or_default())
    }

    /// What the organizations of somebody ask of them: the strictest counts (R126).
    pub(crate) async fn factor_demand(
        &self,
        source: &impl Source,
        user: &UserId,
    ) -> Result<FactorDemand, Error> {
        let all = self.asked_at(source, memberships::of_user(source, user).await?).await?;
        let has = second_factors::of(source, user).await?.list();
        let demand = all.iter().map(|there| there.asked.demand).max().unwrap_or_default();
        let lacking = all.iter().filter(|there| !there.is_vouched_for && !there.asked.demand.is_met_by(&has));
        let lacking = lacking.map(|there| there.asked).min_by_key(|asked| asked.deadline);
        Ok(FactorDemand { demand, lacking })
    }

    /// What is asked of the holder of these places, in those where they are active.
    async fn asked_at(
        &self,
        source: &impl Source,
        mut places: Vec<Membership>,
    ) -> Result<Vec<AskedThere>, Error> {
        places.retain(|place| place.state == MembershipState::Active);
        let mut all = Vec::new();
        for place in places {
            let mfa = self.security_of(source, &place.organization).await?.value.mfa;
            let asked = mfa.asked(place.role, self.asked_since(source, &place, &mfa).await?);
            let member = memberships::member(source, &place.organization, &place.user).await?;
            let is_vouched_for = member.is_some_and(|member| member.is_vouched_for);
            all.push(AskedThere { asked, is_vouched_for });
        }
        Ok(all)
    }

    /// Since when somebody has been asked for a second factor. Their place was read before what the organization demands: if it
    /// does not know yet that they are asked, it is read again, so that nobody loses the time they are given.
    async fn asked_since(
        &self,
        source: &impl Source,
        place: &Membership,
        mfa: &MfaSettings,
    ) -> Result<Timestamp, Error> {
        if place.mfa_asked_since.is_some() || !mfa.asks(place.role) {
            return Ok(place.asked_since());
        }
        let now = memberships::find(source, &place.organization, &place.user).await?;
        Ok(now.as_ref().unwrap_or(place).asked_since())
    }
}
