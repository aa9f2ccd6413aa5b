//! `/gateways`: which gateways there are, and how they are.

use askama::Template;
use axum::extract::State;
use kt_control::GatewayView;
use kt_domain::actor::Permission;

use crate::Doors;
use crate::api::paging::Everything;
use crate::console::answer::{Answer, Frame, page};
use crate::console::asked::{Asked, Listing};
use crate::console::filters;
use crate::console::visit::SignedIn;

#[derive(Template)]
#[template(path = "pages/gateways.html")]
struct GatewaysPage {
    frame: Frame,
    listing: Listing,
    gateways: Vec<GatewayView>,
    /// Where gateways find the API.
    api: String,
    may_make_keys: bool,
}

/// The list.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    asked: Asked<Everything>,
) -> Answer {
    let found = doors.control.gateways(&visit.ctx, &asked.page).await?;
    let template = GatewaysPage {
        frame: Frame::of(&visit),
        listing: asked.listing(None, found.next_cursor.as_deref()),
        gateways: found.items,
        api: doors.control.api_address().to_owned(),
        may_make_keys: visit.may(Permission::ManageKeys),
    };
    page(&visit.look, &template)
}
