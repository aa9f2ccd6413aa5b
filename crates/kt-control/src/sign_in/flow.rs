//! What is carried from one step of a sign-in to the next, behind a token that works once.

use std::time::Duration;

use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::secret::SecretDigest;
use kt_domain::sessions::Door;
use kt_domain::sign_in::Proofs;
use kt_store::once::{self, OneTime};
use kt_store::{Tx, memberships, organizations, users};
use serde::{Deserialize, Serialize};

use super::Entrant;
use crate::control::Control;

const PURPOSE: &str = "sign_in_step";

/// How long a step may take (SPEC section 6).
const LIFETIME: Duration = Duration::from_mins(5);

/// A sign-in under way. It says what was proven, and nothing about what may be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) user: UserId,
    pub(crate) organization: OrganizationId,
    epoch: i64,
    pub(crate) proofs: Proofs,
    pub(crate) door: Door,
    pub(crate) device: Option<String>,
}

impl Flow {
    pub(crate) fn new(entrant: &Entrant, proofs: Proofs, door: Door, device: Option<String>) -> Self {
        Self {
            user: entrant.user.id.clone(),
            organization: entrant.organization.id.clone(),
            epoch: entrant.user.epoch,
            proofs,
            door,
            device,
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
        token: &str,
    ) -> Result<(Entrant, Flow), Error> {
        let consumed = once::consume::<Flow>(tx, PURPOSE, &SecretDigest::of(token), ctx.now).await?;
        let flow = consumed.ok_or_else(step_is_over)?.data;
        let user = users::find(tx, &flow.user).await?.filter(|user| user.epoch == flow.epoch);
        let membership = memberships::find(tx, &flow.organization, &flow.user).await?;
        let organization = organizations::find(tx, &flow.organization).await?;
        match (user, membership, organization) {
            (Some(user), Some(membership), Some(organization)) => {
                Ok((Entrant { user, membership, organization }, flow))
            }
            _ => Err(step_is_over()),
        }
    }
}

fn step_is_over() -> Error {
    let message = "This step of the sign-in is over. Sign in again.";
    Error::new(ErrorKind::Unauthenticated, "invalid_flow_token", message)
}
