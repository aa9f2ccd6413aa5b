//! `/settings/organization`: what the organization is called, and who may ask to join it.

use askama::Template;
use axum::extract::State;
use kt_control::{Expected, OrganizationView};
use kt_domain::actor::Permission;
use kt_domain::security_settings::RegistrationSettings;
use serde::Deserialize;
use serde_json::{Map, json};

use super::Fields;
use crate::Doors;
use crate::console::answer::{Answer, Frame, page, see_and_say};
use crate::console::filters;
use crate::console::visit::SignedIn;

const PAGE: &str = "/settings/organization";

#[derive(Template)]
#[template(path = "pages/organization.html")]
struct OrganizationPage {
    frame: Frame,
    view: OrganizationView,
    /// For those who may see settings.
    registration: Option<Registration>,
    may_change: bool,
}

/// Who may ask to join.
struct Registration {
    settings: RegistrationSettings,
    version: String,
    /// The page that people are sent to.
    link: String,
}

/// The page.
pub(crate) async fn show(State(doors): State<Doors>, SignedIn { visit, .. }: SignedIn) -> Answer {
    let view = doors.control.organization(&visit.ctx).await?;
    let registration = if visit.may(Permission::ReadSettings) {
        let security = doors.control.security(&visit.ctx).await?;
        let mut link = doors.console.page("/register");
        link.query_pairs_mut().append_pair("organization", &view.organization.identifier);
        let settings = security.settings.registration;
        Some(Registration { settings, version: security.version, link: link.into() })
    } else {
        None
    };
    let template = OrganizationPage {
        frame: Frame::of(&visit),
        view,
        registration,
        may_change: visit.may(Permission::ChangeSettings),
    };
    page(&visit.look, &template)
}

/// Another name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Renamed {
    name: String,
    version: String,
}

/// Gives the organization another name.
pub(crate) async fn rename(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(renamed): Fields<Renamed>,
) -> Answer {
    let expected = Expected::OneOf(vec![renamed.version]);
    doors.control.rename_organization(&visit.ctx, &expected, &renamed.name).await?;
    Ok(see_and_say(&doors, PAGE, visit.look.language.text("The organization was renamed.")))
}

/// Who may ask to join.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistrationFields {
    #[serde(default)]
    self_registration: bool,
    #[serde(default)]
    signup_approval: bool,
    /// One a line.
    email_domains: String,
    version: String,
}

/// Changes who may ask to join.
pub(crate) async fn change_registration(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(fields): Fields<RegistrationFields>,
) -> Answer {
    let section = json!({
        "self_registration": fields.self_registration,
        "signup_approval": fields.signup_approval,
        "email_domains": fields.email_domains.split_whitespace().collect::<Vec<_>>(),
    });
    let patch = Map::from_iter([("registration".to_owned(), section)]);
    doors.control.change_security(&visit.ctx, &Expected::OneOf(vec![fields.version]), &patch, true).await?;
    Ok(see_and_say(&doors, PAGE, visit.look.language.text("Registration was changed.")))
}
