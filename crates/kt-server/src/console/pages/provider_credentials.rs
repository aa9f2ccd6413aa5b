//! `/settings/provider-credentials`: providers' keys, stored and never shown.

use askama::Template;
use axum::extract::{Path, State};
use kt_control::CredentialView;
use kt_domain::actor::Permission;
use kt_domain::configurations::{Credential, KeptName};
use kt_domain::error::Error;
use serde::Deserialize;

use super::Fields;
use crate::Doors;
use crate::api::paging::Everything;
use crate::console::answer::{Answer, Frame, page, see_and_say};
use crate::console::asked::{Asked, Listing};
use crate::console::filters;
use crate::console::visit::SignedIn;

const PAGE: &str = "/settings/provider-credentials";

#[derive(Template)]
#[template(path = "pages/provider-credentials.html")]
struct CredentialsPage {
    frame: Frame,
    listing: Listing,
    credentials: Vec<CredentialView>,
    may_change: bool,
}

/// The list.
pub(crate) async fn show(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    asked: Asked<Everything>,
) -> Answer {
    let found = doors.control.provider_credentials(&visit.ctx, &asked.page).await?;
    let template = CredentialsPage {
        frame: Frame::of(&visit),
        listing: asked.listing(None, found.next_cursor.as_deref()),
        credentials: found.items,
        may_change: visit.may(Permission::ChangeSettings),
    };
    page(&visit.look, &template)
}

/// A provider's key to be stored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    name: String,
    key: String,
}

/// Stores one.
pub(crate) async fn store(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(new): Fields<New>,
) -> Answer {
    let name: KeptName = new.name.trim().parse().map_err(|why| Error::invalid("name", format!("{why}")))?;
    doors.control.store_credential(&visit.ctx, &name, &credential(&new.key)?).await?;
    Ok(see_and_say(&doors, PAGE, visit.look.language.text("The key was stored. Nobody can show it again.")))
}

/// Another key for one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replacement {
    key: String,
}

/// Puts another key in the place of one.
pub(crate) async fn replace(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(name): Path<String>,
    Fields(replacement): Fields<Replacement>,
) -> Answer {
    doors.control.replace_credential(&visit.ctx, &kept(&name)?, &credential(&replacement.key)?).await?;
    let said = visit.look.language.text("The key was replaced. Gateways use the new one within seconds.");
    Ok(see_and_say(&doors, PAGE, said))
}

/// Removes one.
pub(crate) async fn remove(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Path(name): Path<String>,
) -> Answer {
    doors.control.remove_credential(&visit.ctx, &kept(&name)?).await?;
    Ok(see_and_say(&doors, PAGE, visit.look.language.text("The key was removed.")))
}

/// A text that is no name names nothing.
fn kept(name: &str) -> Result<KeptName, Error> {
    name.parse().map_err(|_| Error::not_found("provider credential"))
}

pub(super) fn credential(text: &str) -> Result<Credential, Error> {
    Credential::parse(text).map_err(|why| Error::invalid("key", format!("{why}")))
}
