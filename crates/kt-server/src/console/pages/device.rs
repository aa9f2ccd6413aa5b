//! `/device`: deciding about a device that shows a code (RFC 8628), such as `kt auth login` in a terminal.

use askama::Template;
use axum::extract::{Query, State};
use kt_control::WaitingDevice;
use kt_domain::sessions::SessionSettings;
use serde::Deserialize;

use super::Fields;
use crate::Doors;
use crate::console::answer::{Answer, Frame, page};
use crate::console::filters;
use crate::console::visit::{SignedIn, Visit};

#[derive(Template)]
#[template(path = "pages/device.html")]
struct DevicePage {
    frame: Frame,
    step: Step,
    email: String,
    organization: String,
}

/// How far the decision is.
enum Step {
    /// The code is asked for.
    Ask,
    /// The device is shown, and how long its session would last.
    Decide { user_code: String, device: WaitingDevice, life: SessionSettings },
    /// It may sign in.
    Approved,
    /// It was refused.
    Denied,
}

impl Step {
    fn answer(self, SignedIn { visit, session }: &SignedIn) -> Answer {
        let template = DevicePage {
            frame: Frame::of(visit),
            step: self,
            email: session.person.email.clone(),
            organization: session.organization_name.clone(),
        };
        page(&visit.look, &template)
    }

    async fn decide(
        doors: &Doors,
        visit: &Visit,
        user_code: String,
    ) -> Result<Self, crate::failure::Failure> {
        let device = doors.control.waiting_device(&visit.ctx, &user_code).await?;
        let life = doors.control.device_session(&visit.ctx).await?;
        Ok(Self::Decide { user_code, device, life })
    }
}

/// What the address says.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Asked {
    user_code: String,
}

/// The device whose code is in the address; without one, the form for it.
pub(crate) async fn show(
    State(doors): State<Doors>,
    signed_in: SignedIn,
    Query(asked): Query<Asked>,
) -> Answer {
    let step = if asked.user_code.is_empty() {
        Step::Ask
    } else {
        Step::decide(&doors, &signed_in.visit, asked.user_code).await?
    };
    step.answer(&signed_in)
}

/// A code as it was typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Code {
    user_code: String,
}

/// Shows the device of a code that was typed.
pub(crate) async fn look(
    State(doors): State<Doors>,
    signed_in: SignedIn,
    Fields(code): Fields<Code>,
) -> Answer {
    Step::decide(&doors, &signed_in.visit, code.user_code).await?.answer(&signed_in)
}

/// Lets the device sign in as whoever is signed in here.
pub(crate) async fn approve(
    State(doors): State<Doors>,
    signed_in: SignedIn,
    Fields(code): Fields<Code>,
) -> Answer {
    doors.control.approve_device(&signed_in.visit.ctx, &code.user_code).await?;
    Step::Approved.answer(&signed_in)
}

/// Refuses it.
pub(crate) async fn deny(
    State(doors): State<Doors>,
    signed_in: SignedIn,
    Fields(code): Fields<Code>,
) -> Answer {
    doors.control.deny_device(&signed_in.visit.ctx, &code.user_code).await?;
    Step::Denied.answer(&signed_in)
}
