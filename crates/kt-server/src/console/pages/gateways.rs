//! `/gateways`: which gateways there are, how they are, and what they are told.

use askama::Template;
use axum::extract::{Path, Query, State};
use kt_control::GatewayView;
use kt_domain::actor::Permission;
use kt_domain::configurations::ConfigurationSource;
use kt_domain::gateways::{ShownConfiguration, TargetState};
use kt_domain::id::ApiKeyId;
use kt_domain::traffic::Measure;
use serde_json::Value;

use crate::Doors;
use crate::api::gateways::{GATEWAYS_FILE, GatewaysParams};
use crate::api::paging::Everything;
use crate::console::answer::{Answer, Frame, leave_and_say, page, see_and_say};
use crate::console::asked::{Asked, Listing};
use crate::console::filters;
use crate::console::places::place_of;
use crate::console::visit::SignedIn;
use crate::download;

#[derive(Template)]
#[template(path = "pages/gateways.html")]
struct GatewaysPage {
    frame: Frame,
    listing: Listing,
    gateways: Vec<GatewayView>,
    /// What is searched for.
    q: String,
    /// How many of all gateways that are connected count by themselves.
    count_alone: usize,
    may_change: bool,
}

impl GatewaysPage {
    /// How many count apart, where that is more than one: what is allowed in all is then allowed at each.
    fn count_apart(&self) -> Option<usize> {
        Some(self.count_alone).filter(|count| *count > 1)
    }
}

/// The list.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    asked: Asked<GatewaysParams>,
) -> Answer {
    let found = doors.control.gateways(&visit.ctx, &asked.filter.q, &asked.page).await?;
    let template = GatewaysPage {
        frame: Frame::of(&visit),
        listing: asked.listing(None, found.next_cursor.as_deref()),
        gateways: found.items,
        q: asked.filter.q,
        count_alone: doors.control.gateways_that_count_alone(&visit.ctx).await?,
        may_change: visit.may(Permission::RunGateways),
    };
    page(&visit.look, &template)
}

/// All gateways that the page leads to, as a file.
pub(crate) async fn export(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Query(asked): Query<GatewaysParams>,
) -> Answer {
    let export = doors.control.export_gateways(&visit.ctx, &asked.q).await?;
    Ok(download::table(&doors.control, export, GATEWAYS_FILE))
}

/// How many targets of a gateway are in each state in which some are: how many, what it is called, and the class of its badge.
fn health_of(view: &GatewayView) -> Vec<(usize, &'static str, &'static str)> {
    let targets = &view.delivering.gateway.targets;
    let states = [
        (TargetState::Usable, "{} usable", "good"),
        (TargetState::NoCredential, "{} without their key", "warn"),
        (TargetState::Failing, "{} failing", "bad"),
    ];
    let count = |state| targets.iter().filter(|target| target.state == state).count();
    let counted = states.map(|(state, text, class)| (count(state), text, class));
    counted.into_iter().filter(|(count, ..)| *count > 0).collect()
}

#[derive(Template)]
#[template(path = "pages/gateway.html")]
struct GatewayPage {
    frame: Frame,
    listing: Listing,
    view: GatewayView,
    /// What is in force there from its own files, as far as it was told.
    configuration: Option<ShownConfiguration>,
    /// Where the key that it comes with is shown.
    key_place: Option<String>,
    may_change: bool,
}

impl GatewayPage {
    /// The document as people read it.
    fn pretty(document: &Value) -> String {
        format!("{document:#}")
    }
}

/// One gateway.
pub(crate) async fn show_one(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
    asked: Asked<Everything>,
) -> Answer {
    let view = doors.control.gateway(&visit.ctx, &id).await?;
    let configuration = doors.control.configuration_of_gateway(&visit.ctx, &view.delivering.gateway).await?;
    let key = view.delivering.gateway.key.as_ref().map(ApiKeyId::as_str);
    let key_place = place_of(&doors, &visit, key).await?;
    let template = GatewayPage {
        frame: Frame::of(&visit),
        listing: asked.listing(None, None),
        key_place,
        view,
        configuration,
        may_change: visit.may(Permission::RunGateways),
    };
    page(&visit.look, &template)
}

/// Tells a gateway to take no new requests.
pub(crate) async fn drain(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    let view = doors.control.drain_gateway(&visit.ctx, &id, true).await?;
    let said = visit.look.language.text("The gateway is told to take no new requests.");
    Ok(see_and_say(&doors, &followed(&view), said))
}

/// Tells a gateway to take requests again.
pub(crate) async fn resume(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    let view = doors.control.drain_gateway(&visit.ctx, &id, false).await?;
    let said = visit.look.language.text("The gateway is told to take requests again.");
    Ok(see_and_say(&doors, &followed(&view), said))
}

/// Takes a gateway off the list that is gone.
pub(crate) async fn forget(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(id): Path<String>,
) -> Answer {
    doors.control.forget_gateway(&visit.ctx, &id).await?;
    Ok(leave_and_say(
        &doors,
        "/gateways",
        visit.look.language.text("The gateway was forgotten. Its events stay."),
    ))
}

/// Its page, which is followed: what the gateway was told shows there once it has reported again. Its name is made of
/// characters that stand in an address as they are.
fn followed(view: &GatewayView) -> String {
    format!("/gateways/{}?live=on", view.delivering.gateway.id)
}
