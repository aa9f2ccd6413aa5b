//! `/v1/organization/sso/saml`: the organization's identity provider, where it speaks SAML 2.0.

use axum::extract::State;
use axum::http::StatusCode;
use kt_control::{
    NewSamlProvider, OwnCertificate, OwnCertificates, OwnKeyStep, ProviderView, SamlPlace, SamlSource,
};
use kt_domain::error::Error;
use kt_domain::sso::{Protocol, SamlCertificate};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::identity_providers::{ProviderAnswer, ProviderBody};
use super::versions::{IfMatch, Tagged};
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::Caller;

/// A SAML provider as it is to be. It is described in one of three ways: by `metadata_url`, by `metadata`, or by `entity_id`,
/// `sso_url`, `logout_url` and `certificates`. Where nothing of these is given it stays described as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SamlRequest {
    /// Whether people come in through it; left out, that stays as it is.
    #[serde(default)]
    enabled: Option<bool>,
    /// Where it publishes its metadata. They are read now, and not again until this is sent again.
    #[serde(default)]
    metadata_url: Option<String>,
    /// Its metadata: an XML document.
    #[serde(default)]
    metadata: Option<String>,
    /// Its name.
    #[serde(default)]
    entity_id: Option<String>,
    /// Where people are sent, by the redirect binding.
    #[serde(default)]
    sso_url: Option<String>,
    /// Where answers to its requests to log out go, by the redirect binding.
    #[serde(default)]
    logout_url: Option<String>,
    /// Its certificates in PEM form, one after the other; left out or empty, they stay as they are where `entity_id` does.
    #[serde(default)]
    certificates: Option<String>,
    /// The attribute that tells people apart, where that is not the `NameID`. Left out, it stays as it is; empty for none. With
    /// another one nobody is linked any more.
    #[serde(default)]
    subject_attribute: Option<String>,
    /// Whether our requests are signed; left out, that stays as it is, and at first they are if the provider wants that.
    #[serde(default)]
    sign_requests: Option<bool>,
    /// Left out, they stay as they are; otherwise all of them are replaced.
    #[serde(default)]
    settings: Option<ProviderBody>,
}

/// A certificate: one of the provider's, or one of ours.
#[derive(Serialize, ToSchema)]
pub(crate) struct CertificateAnswer {
    /// SHA-256.
    fingerprint: String,
    /// When it ends. A signature of the provider's counts afterwards too; ask it for a new one before.
    not_after: String,
}

impl From<SamlCertificate> for CertificateAnswer {
    fn from(certificate: SamlCertificate) -> Self {
        Self { fingerprint: certificate.fingerprint, not_after: certificate.not_after.to_string() }
    }
}

impl From<OwnCertificate> for CertificateAnswer {
    fn from(certificate: OwnCertificate) -> Self {
        Self { fingerprint: certificate.fingerprint, not_after: certificate.not_after.to_string() }
    }
}

/// A SAML provider.
#[derive(Serialize, ToSchema)]
pub(crate) struct SamlAnswer {
    #[serde(flatten)]
    provider: ProviderAnswer,
    entity_id: String,
    sso_url: String,
    logout_url: Option<String>,
    certificates: Vec<CertificateAnswer>,
    metadata_url: Option<String>,
    subject_attribute: Option<String>,
    sign_requests: bool,
    /// Our name, where our metadata is as well.
    service_entity_id: String,
    /// Where the provider has browsers post its responses.
    service_acs_url: String,
    /// Where the provider sends requests to log out.
    service_logout_url: String,
    /// By which it knows us.
    service_certificate: CertificateAnswer,
    /// That of the key which is to take the place of the present one.
    service_next_certificate: Option<CertificateAnswer>,
}

fn tagged(view: ProviderView, place: SamlPlace) -> Result<Tagged<SamlAnswer>, Failure> {
    let saml = view.details.saml().cloned().ok_or_else(|| Error::not_found("identity provider"))?;
    let own = OwnCertificates::of(&saml)?;
    let version = view.version.clone();
    let body = SamlAnswer {
        provider: view.into(),
        entity_id: saml.entity_id,
        sso_url: saml.sso_url,
        logout_url: saml.logout_url,
        certificates: saml.certificates.into_iter().map(Into::into).collect(),
        metadata_url: saml.metadata_url,
        subject_attribute: saml.subject_attribute,
        sign_requests: saml.sign_requests,
        service_entity_id: place.entity_id,
        service_acs_url: place.acs_url,
        service_logout_url: place.logout_url,
        service_certificate: own.present.into(),
        service_next_certificate: own.next.map(Into::into),
    };
    Ok(Tagged { version, body })
}

/// How a provider is described: in one way.
pub(crate) fn source_of(
    metadata_url: Option<String>,
    metadata: Option<String>,
    entity_id: Option<String>,
    values: impl FnOnce(String) -> SamlSource,
) -> Result<SamlSource, Error> {
    let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    match (given(metadata_url), given(metadata), given(entity_id)) {
        (None, None, None) => Ok(SamlSource::Kept),
        (Some(address), None, None) => Ok(SamlSource::Address(address)),
        (None, Some(document), None) => Ok(SamlSource::Document(document)),
        (None, None, Some(entity_id)) => Ok(values(entity_id)),
        _ => Err(Error::invalid(
            "metadata_url",
            "Describe the provider in one way: by address, by document or by hand.",
        )),
    }
}

/// The organization's SAML provider.
#[utoipa::path(get, path = "/v1/organization/sso/saml", tag = "organization", responses(
    (status = 200, description = "It, with its version in `ETag`.", body = SamlAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it.", body = ErrorBody),
    (status = 404, description = "There is none, or this deployment does not offer it.", body = ErrorBody),
))]
pub(crate) async fn read_saml(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Tagged<SamlAnswer>, Failure> {
    let view = doors.control.identity_provider(&ctx, Protocol::Saml).await?;
    tagged(view, doors.control.saml_place(&ctx).await?)
}

/// Put a SAML provider in place of the present one. Owners alone do this.
#[utoipa::path(put, path = "/v1/organization/sso/saml", tag = "organization", request_body = SamlRequest,
    params(("If-Match" = Option<String>, Header, description = "The version that it replaces; `0` for none.")),
    responses(
    (status = 200, description = "It, with its new version in `ETag`.", body = SamlAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "This deployment does not offer it.", body = ErrorBody),
    (status = 409, description = "Another provider is turned on, or it was not proven before it became the only way in.",
        body = ErrorBody),
    (status = 412, description = "It has changed since that version.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule, or its metadata cannot be read.", body = ErrorBody),
))]
pub(crate) async fn put_saml(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    IfMatch(expected): IfMatch,
    Input(request): Input<SamlRequest>,
) -> Result<Tagged<SamlAnswer>, Failure> {
    let (sso_url, logout_url, certificates) = (request.sso_url, request.logout_url, request.certificates);
    let values = |entity_id| SamlSource::Values {
        entity_id,
        sso_url: sso_url.unwrap_or_default(),
        logout_url,
        certificates: certificates.unwrap_or_default(),
    };
    let new = NewSamlProvider {
        enabled: request.enabled,
        settings: request.settings.map(Into::into),
        source: source_of(request.metadata_url, request.metadata, request.entity_id, values)?,
        subject_attribute: request.subject_attribute,
        sign_requests: request.sign_requests,
    };
    let view = doors.control.put_saml_provider(&ctx, &expected, new).await?;
    tagged(view, doors.control.saml_place(&ctx).await?)
}

/// Remove the organization's SAML provider; every session that was opened through it ends.
#[utoipa::path(delete, path = "/v1/organization/sso/saml", tag = "organization",
    params(("If-Match" = Option<String>, Header, description = "The version that is removed.")),
    responses(
    (status = 204, description = "It is removed."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is none.", body = ErrorBody),
    (status = 412, description = "It has changed since that version.", body = ErrorBody),
))]
pub(crate) async fn remove_saml(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    IfMatch(expected): IfMatch,
) -> Result<StatusCode, Failure> {
    doors.control.remove_identity_provider(&ctx, &expected, Protocol::Saml).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make the key that is to take the place of our own. Our metadata name both, so that the provider can read them before. A next
/// key that there is already is forgotten. Owners alone do this.
#[utoipa::path(post, path = "/v1/organization/sso/saml/next-key", tag = "organization",
    params(("If-Match" = Option<String>, Header, description = "The version that is changed.")),
    responses(
    (status = 200, description = "The provider, with its new version in `ETag`.", body = SamlAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such provider, or this deployment does not offer it.", body = ErrorBody),
    (status = 412, description = "It has changed since that version.", body = ErrorBody),
))]
pub(crate) async fn make_next_key(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    IfMatch(expected): IfMatch,
) -> Result<Tagged<SamlAnswer>, Failure> {
    let view = doors.control.change_saml_key(&ctx, &expected, OwnKeyStep::Make).await?;
    tagged(view, doors.control.saml_place(&ctx).await?)
}

/// Put the next key in place of our own, which is forgotten. Owners alone do this.
#[utoipa::path(post, path = "/v1/organization/sso/saml/next-key/use", tag = "organization",
    params(("If-Match" = Option<String>, Header, description = "The version that is changed.")),
    responses(
    (status = 200, description = "The provider, with its new version in `ETag`.", body = SamlAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such provider, or this deployment does not offer it.", body = ErrorBody),
    (status = 409, description = "There is no next key.", body = ErrorBody),
    (status = 412, description = "It has changed since that version.", body = ErrorBody),
))]
pub(crate) async fn use_next_key(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    IfMatch(expected): IfMatch,
) -> Result<Tagged<SamlAnswer>, Failure> {
    let view = doors.control.change_saml_key(&ctx, &expected, OwnKeyStep::Use).await?;
    tagged(view, doors.control.saml_place(&ctx).await?)
}
