//! `/setup`: the first owner and organization, made by whoever holds the one-time link.

use askama::Template;
use axum::extract::{Query, State};
use kt_control::SetUp;
use serde::Deserialize;

use super::{Fields, Link};
use crate::Doors;
use crate::console::answer::{Answer, Frame, leave_for, page, see};
use crate::console::filters;
use crate::console::visit::Anybody;

#[derive(Template)]
#[template(path = "pages/set-up.html")]
struct SetUpPage {
    frame: Frame,
    token: String,
}

/// The form. Where everything is set up already, the door is closed.
pub(crate) async fn show(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Query(link): Query<Link>,
) -> Answer {
    if !doors.control.is_new().await? {
        return Ok(see("/login"));
    }
    page(&visit.look, &SetUpPage { frame: Frame::of(&visit), token: link.token })
}

/// The first owner and organization.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct First {
    token: String,
    organization_name: String,
    organization: String,
    name: String,
    email: String,
    password: String,
}

/// Makes them; the owner then signs in.
pub(crate) async fn set_up(
    State(doors): State<Doors>,
    Anybody(visit): Anybody,
    Fields(first): Fields<First>,
) -> Answer {
    let set_up = SetUp {
        organization: first.organization,
        organization_name: first.organization_name,
        email: first.email,
        name: first.name,
        password: first.password,
    };
    doors.control.set_up_by_link(&visit.ctx, &first.token, set_up).await?;
    Ok(leave_for("/login?reason=set_up"))
}
