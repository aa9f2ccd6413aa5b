//! What is carried from one step of a sign-in to the next, behind a token that works once.

use std::time::Duration;

use jiff::Timestamp;
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, PasskeyId, UserId};
use kt_domain::secret::SecretDigest;
use kt_domain::sessions::Door;
use kt_domain::sign_in::{Proof, Proofs};
use kt_store::once::{self, OneTime};
use kt_store::sessions::{Federation, LiveSession, VouchedFor};
use kt_store::{Source, Tx, memberships, organizations, passkeys, users};
use serde::{Deserialize, Serialize};

use super::Entrant;
use crate::control::Control;

const PURPOSE: &str = "sign_in_step";

/// How long a step may take (SPEC section 6).
pub(crate) const LIFETIME: Duration = Duration::from_mins(5);

/// A sign-in under way. It says what was proven, and nothing about what may be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) user: UserId,
    pub(crate) organization: OrganizationId,
    epoch: i64,
    pub(crate) proofs: Proofs,
    pub(crate) door: Door,
    /// By what the device is known, where it has signed in before.
    pub(crate) device: Option<SecretDigest>,
    /// When the proofs were given, where that was in an earlier session; otherwise they are given now.
    pub(crate) authenticated_at: Option<Timestamp>,
    /// By whose word, where it is that of an identity provider.
    #[serde(default)]
    pub(crate) vouched: Option<Vouched>,
    /// The passkey that was shown, where one was.
    #[serde(default)]
    passkey: Option<PasskeyId>,
}

/// By whose word somebody comes in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Vouched {
    pub(crate) federation: Federation,
    /// The version of the provider's settings under which it was given, while somebody is on the way in. A session that is
    /// open outlives a change of them, and so does what is carried from one.
    pub(crate) version: Option<i64>,
    /// Whether the account is linked to it once it is let in: one of its second factors was shown first.
    pub(crate) links: bool,
}

impl Flow {
    pub(crate) fn new(entrant: &Entrant, proofs: Proofs, door: Door, device: Option<SecretDigest>) -> Self {
        Self {
            user: entrant.user.id.clone(),
            organization: entrant.organization.id.clone(),
            epoch: entrant.user.epoch,
            proofs,
            door,
            device,
            authenticated_at: None,
            vouched: None,
            passkey: None,
        }
    }

    /// The same on the strength of this passkey.
    pub(crate) fn by_passkey(self, passkey: PasskeyId) -> Self {
        Self { passkey: Some(passkey), ..self.shown(Proof::Passkey) }
    }

    /// The same on the word of an identity provider, which has asked for proofs at `proven_at`: no later sign-in on the
    /// strength of them is any fresher.
    pub(crate) fn by_word_of(self, vouched: Vouched, proven_at: Timestamp) -> Self {
        Self { vouched: Some(vouched), authenticated_at: Some(proven_at), ..self }
    }

    /// The same, with another proof.
    pub(crate) fn proven(self, proof: Proof) -> Self {
        Self { proofs: self.proofs.and(proof), ..self }
    }

    /// The same, with a proof that the account had before and that is shown now. Where it is worth as much as the others, its
    /// holder has proven themselves now.
    pub(crate) fn shown(self, proof: Proof) -> Self {
        let authenticated_at = self.authenticated_at.filter(|_| !self.proofs.are_matched_by(proof));
        Self { authenticated_at, ..self.proven(proof) }
    }

    /// Carries what was proven in a session to another door. The proofs do not become any fresher by that.
    pub(crate) fn carried_by(live: &LiveSession, door: Door) -> Self {
        let session = &live.session;
        let vouched = live.federation.clone();
        let vouched = vouched.map(|federation| Vouched { federation, version: None, links: false });
        Self {
            user: session.user.clone(),
            organization: session.organization.clone(),
            epoch: session.epoch,
            proofs: session.proofs.clone(),
            door,
            device: None,
            authenticated_at: Some(session.authenticated_at),
            vouched,
            passkey: None,
        }
    }
}

impl Control {
    /// A token for the next step.
    pub(crate) async fn carry_on(&self, ctx: &Ctx, tx: &Tx<'_>, flow: &Flow) -> Result<String, Error> {
        let token = self.new_token();
        let step = OneTime {
            digest: token.digest(),
            purpose: PURPOSE,
            subject: flow.user.as_str(),
            epoch: Some(flow.epoch),
            data: flow,
            created_at: ctx.now,
            expires_at: ctx.now + LIFETIME,
        };
        once::issue(tx, &step).await?;
        Ok(token.expose().to_owned())
    }

    /// Uses up the token of a step and gives back who is on the way in. Refused when it was used, has expired, or
    /// everything issued to that person has been ended since.
    pub(crate) async fn take_step(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        step: &SecretDigest,
    ) -> Result<(Entrant, Flow), Error> {
        let consumed = once::consume::<Flow>(tx, PURPOSE, step, ctx.now).await?;
        let flow = consumed.ok_or_else(step_is_over)?.data;
        hold_voucher(tx, &flow).await?;
        let entrant = self.entrant_of_flow(tx, &flow).await?.ok_or_else(step_is_over)?;
        Ok((entrant, flow))
    }

    /// Ends the steps at which somebody waits who came by what a provider takes back.
    pub(crate) async fn end_vouched_steps(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        which: VouchedFor<'_>,
    ) -> Result<(), Error> {
        for (step, flow) in once::of_members::<Flow>(tx, PURPOSE, organization, ctx.now).await? {
            if flow.vouched.is_some_and(|vouched| which.includes(&vouched.federation)) {
                once::consume::<Flow>(tx, PURPOSE, &step, ctx.now).await?;
            }
        }
        Ok(())
    }

    /// Who is on the way in at this step, without using it up. Their organization may let in only some addresses.
    pub(crate) async fn look_at_step(&self, ctx: &Ctx, step: &SecretDigest) -> Result<Entrant, Error> {
        Ok(self.look_at_flow(ctx, step).await?.0)
    }

    /// The same, with what was proven.
    pub(crate) async fn look_at_flow(
        &self,
        ctx: &Ctx,
        step: &SecretDigest,
    ) -> Result<(Entrant, Flow), Error> {
        let seen = once::peek::<Flow>(&self.store, PURPOSE, step, ctx.now).await?;
        let flow = seen.ok_or_else(step_is_over)?.data;
        let entrant = self.entrant_of_flow(&self.store, &flow).await?.ok_or_else(step_is_over)?;
        self.require_address_of(ctx, &entrant.organization.id, flow.door.into()).await?;
        Ok((entrant, flow))
    }

    /// Whose flow it is; `None` when everything issued to that person has been ended since, or whoever vouched for them does
    /// so no longer.
    pub(crate) async fn entrant_of_flow(
        &self,
        source: &impl Source,
        flow: &Flow,
    ) -> Result<Option<Entrant>, Error> {
        if let Some(vouched) = &flow.vouched
            && !self.still_vouches(source, vouched).await?
        {
            return Ok(None);
        }
        let user = users::find(source, &flow.user).await?.filter(|user| user.epoch == flow.epoch);
        let membership = memberships::find(source, &flow.organization, &flow.user).await?;
        let organization = organizations::find(source, &flow.organization).await?;
        Ok(match (user, membership, organization) {
            (Some(user), Some(membership), Some(organization)) => {
                Some(Entrant { user, membership, organization })
            }
            _ => None,
        })
    }
}

/// Holds the provider still on whose word somebody is on the way in, until the transaction ends: turning it off and removing it
/// wait for the session, and end it.
pub(crate) async fn hold_voucher(tx: &Tx<'_>, flow: &Flow) -> Result<(), Error> {
    if flow.vouched.is_some() {
        organizations::lock(tx, &flow.organization).await?;
    }
    Ok(())
}

/// Holds the passkey still by which somebody is on the way in, until the transaction ends: its removal, and a reset, wait for the
/// session and end it, or they were first, and `false` comes back (ATTACKS I59).
pub(crate) async fn hold_passkey(tx: &Tx<'_>, flow: &Flow) -> Result<bool, Error> {
    let Some(passkey) = &flow.passkey else { return Ok(true) };
    users::lock(tx, &flow.user).await?;
    Ok(passkeys::is_of(tx, &flow.user, passkey).await?)
}

/// The one answer to a step that leads nowhere.
pub(super) fn step_is_over() -> Error {
    let message = "This step of the sign-in is over. Sign in again.";
    Error::new(ErrorKind::Unauthenticated, "invalid_flow_token", message)
}
