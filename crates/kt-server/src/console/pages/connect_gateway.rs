//! `/setup/gateway`: a gateway on another machine: its key, the command that starts it, and whether it has come.

use askama::Template;
use axum::extract::{Query, State};
use kt_control::{GatewayView, NewKey, PageRequest};
use kt_domain::actor::{KeyKind, Scope};
use kt_domain::id::ApiKeyId;
use serde::Deserialize;

use super::Fields;
use crate::Doors;
use crate::console::answer::{Answer, Frame, page};
use crate::console::filters;
use crate::console::visit::SignedIn;

#[derive(Template)]
#[template(path = "pages/connect-gateway.html")]
struct ConnectPage {
    frame: Frame,
    /// Where gateways find the API.
    api: String,
    /// The key that was made just now, and its id.
    made: Option<(String, ApiKeyId)>,
    /// Whether one is waited for.
    is_awaited: bool,
    /// The gateways that have come with the key that is waited for.
    arrived: Vec<GatewayView>,
}

/// Whose arrival is waited for.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Awaited {
    key: Option<ApiKeyId>,
}

/// The form; asked with a key, whether a gateway has come with it.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Query(awaited): Query<Awaited>,
) -> Answer {
    doors.control.require_configurer(&visit.ctx)?;
    let is_awaited = awaited.key.is_some();
    let arrived = match awaited.key {
        Some(key) => {
            let request = PageRequest { limit: Some(200), cursor: None };
            let gateways = doors.control.gateways(&visit.ctx, &request).await?.items;
            let is_it = |view: &GatewayView| view.delivering.gateway.key.as_ref() == Some(&key);
            gateways.into_iter().filter(is_it).collect()
        }
        None => Vec::new(),
    };
    let api = doors.control.api_address().to_owned();
    page(&visit.look, &ConnectPage { frame: Frame::of(&visit), api, made: None, is_awaited, arrived })
}

/// A gateway to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    name: String,
}

/// Makes a gateway's key, and shows the command that starts it.
pub(crate) async fn make_key(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(new): Fields<New>,
) -> Answer {
    let new = NewKey {
        kind: KeyKind::Gateway,
        name: new.name,
        scope: Some(Scope::Write),
        ranges: Vec::new(),
        requests_per_minute: None,
        expires_at: None,
    };
    let made = doors.control.create_key(&visit.ctx, new).await?;
    let made = Some((made.text.expose().to_owned(), made.view.key.id));
    let api = doors.control.api_address().to_owned();
    page(
        &visit.look,
        &ConnectPage { frame: Frame::of(&visit), api, made, is_awaited: true, arrived: Vec::new() },
    )
}
