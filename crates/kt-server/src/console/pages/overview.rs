//! `/overview`: how things stand, at a glance.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use kt_control::Posture;
use kt_domain::actor::Permission;

use crate::Doors;
use crate::console::answer::{Frame, page};
use crate::console::filters;
use crate::console::visit::SignedIn;
use crate::failure::Failure;

#[derive(Template)]
#[template(path = "pages/overview.html")]
struct OverviewPage {
    frame: Frame,
    organization: String,
    /// For whoever may see it.
    posture: Option<Posture>,
}

/// The page.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, session }: SignedIn,
) -> Result<Response, Failure> {
    let posture = if visit.may(Permission::ReadSettings) {
        Some(doors.control.posture(&visit.ctx).await?)
    } else {
        None
    };
    let template =
        OverviewPage { frame: Frame::of(&visit), organization: session.organization_name, posture };
    Ok(page(&visit.look, &template).into_response())
}
