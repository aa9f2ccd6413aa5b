//! The SAML provider on `/settings/security/sso` (R199, R207, R208).

use askama::Template;
use axum::extract::State;
use kt_control::{NewSamlProvider, OwnKeyStep, SamlReading, SamlSource};
use kt_domain::error::Error;
use kt_domain::sso::SamlSettings;
use serde::Deserialize;

use super::forms::Checked;
use super::sso::{expected, said};
use crate::Doors;
use crate::api::saml::source_of;
use crate::console::answer::{Answer, Frame, page};
use crate::console::filters;
use crate::console::pages::Fields;
use crate::console::visit::SignedIn;

/// How the provider is described, and who we are to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SamlForm {
    version: String,
    /// The address of its metadata, as the form was filled.
    #[serde(default)]
    kept_url: String,
    /// Its name and its addresses, as the form was filled.
    #[serde(default)]
    kept_entity_id: String,
    #[serde(default)]
    kept_sso_url: String,
    #[serde(default)]
    kept_logout_url: String,
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

impl SamlForm {
    /// Whether a value that is written by hand is another one than the form was filled with.
    fn is_changed_by_hand(&self) -> bool {
        let pairs = [
            (&self.entity_id, &self.kept_entity_id),
            (&self.sso_url, &self.kept_sso_url),
            (&self.logout_url, &self.kept_logout_url),
        ];
        pairs.iter().any(|(is, was)| is.trim() != was.as_str()) || !self.certificates.trim().is_empty()
    }

    /// How the provider is described. What stands in the form as it was filled says nothing; an address of metadata that was
    /// emptied is to be forgotten.
    fn source(&self) -> Result<SamlSource, Error> {
        let address = self.metadata_url.trim();
        let new_address = (address != self.kept_url).then(|| address.to_owned());
        let values = |entity_id| SamlSource::Values {
            entity_id,
            sso_url: self.sso_url.clone(),
            logout_url: Some(self.logout_url.clone()),
            certificates: self.certificates.clone(),
        };
        let entity_id = self.is_changed_by_hand().then(|| self.entity_id.clone());
        let source = source_of(new_address, Some(self.metadata.clone()), entity_id, values)?;
        Ok(match source {
            SamlSource::Kept if address.is_empty() && !self.kept_url.is_empty() => {
                SamlSource::KeptWithoutAddress
            }
            source => source,
        })
    }
}

/// Sets how the provider is reached. What it publishes at an address is read when the address is new, and when an owner asks for
/// it at [`read_again`].
pub(crate) async fn connect(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<SamlForm>,
) -> Answer {
    let new = NewSamlProvider {
        enabled: None,
        settings: None,
        source: form.source()?,
        subject_attribute: Some(form.subject_attribute.trim().to_owned()),
        // A switch that was never shown does not decide against what the provider wants.
        sign_requests: (form.version != "0" || form.sign_requests.is_some())
            .then_some(form.sign_requests.is_some()),
    };
    doors.control.put_saml_provider(&visit.ctx, &expected(form.version), new).await?;
    Ok(said(&doors, &visit, "The connection is saved. Try it out before you turn it on."))
}

#[derive(Template)]
#[template(path = "pages/saml-reading.html")]
struct ReadingPage {
    frame: Frame,
    reading: SamlReading,
}

impl ReadingPage {
    /// What is believed and what is published, side by side.
    fn sides(&self) -> [(&'static str, &SamlSettings); 2] {
        [("Believed now", &self.reading.present), ("Published by the provider", &self.reading.published)]
    }
}

/// Shows what the provider publishes by now, beside what is believed.
pub(crate) async fn read_again(State(doors): State<Doors>, SignedIn { visit, .. }: SignedIn) -> Answer {
    let reading = doors.control.read_saml_again(&visit.ctx).await?;
    page(&visit.look, &ReadingPage { frame: Frame::of(&visit), reading })
}

/// What an owner has seen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeenForm {
    version: String,
    seen: String,
}

/// Takes over what was shown, and nothing else.
pub(crate) async fn take_over(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<SeenForm>,
) -> Answer {
    let new = NewSamlProvider {
        enabled: None,
        settings: None,
        source: SamlSource::Seen(form.seen),
        subject_attribute: None,
        sign_requests: None,
    };
    doors.control.put_saml_provider(&visit.ctx, &expected(form.version), new).await?;
    Ok(said(&doors, &visit, "What the provider publishes is taken over."))
}

/// What is to be done to our own key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnKeyForm {
    version: String,
}

/// Makes the key that is to take the place of our present one.
pub(crate) async fn make_next_key(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<OwnKeyForm>,
) -> Answer {
    doors.control.change_saml_key(&visit.ctx, &expected(form.version), OwnKeyStep::Make).await?;
    Ok(said(&doors, &visit, "The next key is made. Let the provider read our metadata, then use the key."))
}

/// Puts it in its place.
pub(crate) async fn use_next_key(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<OwnKeyForm>,
) -> Answer {
    doors.control.change_saml_key(&visit.ctx, &expected(form.version), OwnKeyStep::Use).await?;
    Ok(said(&doors, &visit, "The next key signs from now on, and the one before is forgotten."))
}
