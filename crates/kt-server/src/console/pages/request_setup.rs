//! `/request-setup`: a member without anything to work with asks for it; administrators see who has asked.

use askama::Template;
use axum::extract::{Path, State};
use kt_control::SetupRequest;
use kt_domain::actor::Permission;
use kt_domain::error::Error;
use serde::Deserialize;

use super::Fields;
use crate::Doors;
use crate::api::paging::Everything;
use crate::console::answer::{Answer, Frame, page, see_and_say};
use crate::console::asked::{Asked, Listing};
use crate::console::filters;
use crate::console::visit::SignedIn;

const PAGE: &str = "/request-setup";

#[derive(Template)]
#[template(path = "pages/request-setup.html")]
struct AskPage {
    frame: Frame,
    organization: String,
    mine: Option<SetupRequest>,
    can_begin: bool,
}

#[derive(Template)]
#[template(path = "pages/setup-requests.html")]
struct RequestsPage {
    frame: Frame,
    listing: Listing,
    requests: Vec<SetupRequest>,
    has_deployment: bool,
    may_close: bool,
}

/// The page.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, session }: SignedIn,
    asked: Asked<Everything>,
) -> Answer {
    if visit.may(Permission::ReadMembers) {
        let found = doors.control.setup_requests(&visit.ctx, &asked.page).await?;
        let template = RequestsPage {
            frame: Frame::of(&visit),
            listing: asked.listing(None, found.next_cursor.as_deref()),
            requests: found.items,
            has_deployment: doors.control.has_deployment(&visit.ctx).await?,
            may_close: visit.may(Permission::CloseRequests),
        };
        return page(&visit.look, &template);
    }
    let template = AskPage {
        frame: Frame::of(&visit),
        organization: session.organization_name,
        mine: doors.control.my_setup_request(&visit.ctx).await?,
        can_begin: doors.control.can_begin(&visit.ctx).await?,
    };
    page(&visit.look, &template)
}

/// What somebody says besides.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    note: String,
}

/// Asks the administrators.
pub(crate) async fn ask(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(Note { note }): Fields<Note>,
) -> Answer {
    doors.control.request_setup(&visit.ctx, Some(&note)).await?;
    Ok(see_and_say(&doors, PAGE, visit.look.language.text("Your administrators were told.")))
}

/// Closes a request.
pub(crate) async fn close(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    let id = id.parse().map_err(|_| Error::not_found("open request"))?;
    doors.control.close_setup_request(&visit.ctx, &id).await?;
    Ok(see_and_say(&doors, PAGE, visit.look.language.text("The request was closed.")))
}
