//! The SAML provider on `/settings/security/sso` (R199, R207, R208).

use axum::extract::State;
use kt_control::{NewSamlProvider, SamlSource};
use serde::Deserialize;

use super::forms::Checked;
use super::sso::{expected, said};
use crate::Doors;
use crate::api::saml::source_of;
use crate::console::answer::Answer;
use crate::console::pages::Fields;
use crate::console::visit::SignedIn;

/// How the provider is described, and who we are to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SamlForm {
    version: String,
    #[serde(default)]
    metadata_url: String,
    #[serde(default)]
    metadata: String,
    #[serde(default)]
    entity_id: String,
    #[serde(default)]
    sso_url: String,
    #[serde(default)]
    logout_url: String,
    #[serde(default)]
    certificates: String,
    #[serde(default)]
    subject_attribute: String,
    sign_requests: Option<Checked>,
}

/// Sets how the provider is reached. What it publishes at an address is read again with every save.
pub(crate) async fn connect(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<SamlForm>,
) -> Answer {
    let (sso_url, logout_url, certificates) = (form.sso_url, form.logout_url, form.certificates);
    let values =
        |entity_id| SamlSource::Values { entity_id, sso_url, logout_url: Some(logout_url), certificates };
    let new = NewSamlProvider {
        enabled: None,
        settings: None,
        source: source_of(Some(form.metadata_url), Some(form.metadata), Some(form.entity_id), values)?,
        subject_attribute: Some(form.subject_attribute.trim().to_owned()),
        // A switch that was never shown does not decide against what the provider wants.
        sign_requests: (form.version != "0" || form.sign_requests.is_some())
            .then_some(form.sign_requests.is_some()),
    };
    doors.control.put_saml_provider(&visit.ctx, &expected(form.version), new).await?;
    Ok(said(&doors, &visit, "The connection is saved. Try it out before you turn it on."))
}
