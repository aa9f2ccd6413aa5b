//! The pages, one file each: what it shows, and what can be done there.

pub(super) mod approvals;
pub(super) mod audit_log;
pub(super) mod chat;
pub(super) mod configurations;
pub(super) mod connect_gateway;
pub(super) mod connect_provider;
pub(super) mod design;
pub(super) mod device;
pub(super) mod events;
pub(super) mod gateways;
pub(super) mod help;
pub(super) mod invitations;
mod key_terms;
pub(super) mod keys;
pub(super) mod members;
pub(super) mod mfa;
pub(super) mod organization;
pub(super) mod overview;
pub(super) mod passkeys;
pub(super) mod profile;
pub(super) mod provider_credentials;
pub(super) mod recovery;
pub(super) mod register;
pub(super) mod request_setup;
pub(super) mod saml;
pub(super) mod second_step;
pub(super) mod security;
pub(super) mod session;
pub(super) mod set_up;
mod shown_once;
pub(super) mod sign_in;
pub(super) mod sso;
pub(super) mod tasks;
pub(super) mod usage;
pub(super) mod verify_email;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequest, Request};
use kt_domain::error::{Error, ErrorKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::unread;
use crate::failure::Failure;

/// What the address of a page says that a link in a mail leads to.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Link {
    token: String,
}

/// A link that is used by a button.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsedLink {
    token: String,
}

/// The fields of a form, read strictly: unknown ones are refused by the types themselves.
pub(super) struct Fields<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Fields<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        match Form::<T>::from_request(request, state).await {
            Ok(Form(fields)) => Ok(Self(fields)),
            Err(FormRejection::BytesRejection(why)) => Err(unread(&why).into()),
            Err(FormRejection::InvalidFormContentType(_)) => {
                let message = "This address takes a form. Send it as `application/x-www-form-urlencoded`.";
                Err(Error::new(ErrorKind::UnsupportedMediaType, "unsupported_media_type", message).into())
            }
            Err(why) => {
                let message = "The form cannot be read. Load the page again and repeat what you did.";
                Err(Error::new(ErrorKind::Malformed, "unreadable_form", message).with_private(why).into())
            }
        }
    }
}
