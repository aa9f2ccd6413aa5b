//! `/v1/organization/sso` and `/v1/organization/domains`: the organization's identity provider, and whose addresses it
//! vouches for. `/v1/auth/sso/start`: where a sign-in through it begins.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use kt_control::{DomainView, NewOidcProvider, OidcPlace, ProviderView};
use kt_domain::error::Error;
use kt_domain::sso::{ClientAuthentication, DomainProof, OidcEndpoints, Protocol};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::identity_providers::{ProviderAnswer, ProviderBody};
use super::paging::{Everything, Listing, PageParams};
use super::versions::{IfMatch, Tagged};
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::{Caller, Visitor};

/// Which organization.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SsoStartRequest {
    /// The organization's identifier.
    organization: String,
}

/// Where a sign-in begins.
#[derive(Serialize, ToSchema)]
pub(crate) struct SsoStartAnswer {
    /// A page of the console, to be opened in a browser: what is begun there comes back there.
    url: String,
}

/// Tell where somebody signs in through their organization's identity provider. The answer is the same whether or not there
/// is such an organization.
#[utoipa::path(post, path = "/v1/auth/sso/start", tag = "sign-in", security(()), request_body = SsoStartRequest, responses(
    (status = 200, description = "Where.", body = SsoStartAnswer),
    (status = 404, description = "This deployment offers no single sign-on.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn start(
    State(doors): State<Doors>,
    Visitor(_ctx): Visitor,
    Input(request): Input<SsoStartRequest>,
) -> Result<Json<SsoStartAnswer>, Failure> {
    doors.control.require_single_sign_on()?;
    let mut url = doors.console.page("/login/sso");
    url.query_pairs_mut().append_pair("organization", &request.organization);
    Ok(Json(SsoStartAnswer { url: url.into() }))
}

/// Where a provider is reached that has no metadata.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointsBody {
    authorization: String,
    token: String,
    jwks: String,
    #[serde(default)]
    userinfo: Option<String>,
}

impl From<EndpointsBody> for OidcEndpoints {
    fn from(EndpointsBody { authorization, token, jwks, userinfo }: EndpointsBody) -> Self {
        Self { authorization, token, jwks, userinfo }
    }
}

impl From<OidcEndpoints> for EndpointsBody {
    fn from(OidcEndpoints { authorization, token, jwks, userinfo }: OidcEndpoints) -> Self {
        Self { authorization, token, jwks, userinfo }
    }
}

/// An OIDC provider as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OidcRequest {
    /// Whether people come in through it; left out, that stays as it is.
    #[serde(default)]
    enabled: Option<bool>,
    /// The issuer, or the address of its metadata.
    issuer: String,
    client_id: String,
    /// Kept as it is where it is left out; removed where it is empty. Never answered.
    #[serde(default)]
    client_secret: Option<String>,
    /// `client_secret_basic`, which is usual, `client_secret_post` or `none`; left out, it stays as it is.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    authentication: Option<ClientAuthentication>,
    /// Where it is reached, if its metadata is not to be asked.
    #[serde(default)]
    endpoints: Option<EndpointsBody>,
    /// Left out, they stay as they are; otherwise all of them are replaced.
    #[serde(default)]
    settings: Option<ProviderBody>,
}

/// An OIDC provider.
#[derive(Serialize, ToSchema)]
pub(crate) struct OidcAnswer {
    #[serde(flatten)]
    provider: ProviderAnswer,
    issuer: String,
    client_id: String,
    has_secret: bool,
    /// `client_secret_basic`, `client_secret_post` or `none`.
    authentication: &'static str,
    endpoints: Option<EndpointsBody>,
    /// What the provider leads browsers back to.
    redirect_uri: String,
    /// Where the provider sends its logout tokens.
    back_channel_logout_uri: String,
}

fn tagged(view: ProviderView, place: OidcPlace) -> Result<Tagged<OidcAnswer>, Failure> {
    let oidc = view.details.oidc().cloned().ok_or_else(|| Error::not_found("identity provider"))?;
    let (version, has_secret) = (view.version.clone(), view.has_secret);
    let body = OidcAnswer {
        provider: view.into(),
        issuer: oidc.issuer,
        client_id: oidc.client_id,
        has_secret,
        authentication: oidc.authentication.as_str(),
        endpoints: oidc.endpoints.map(Into::into),
        redirect_uri: place.redirect_uri.into(),
        back_channel_logout_uri: place.back_channel_logout_uri.into(),
    };
    Ok(Tagged { version, body })
}

/// The organization's OIDC provider.
#[utoipa::path(get, path = "/v1/organization/sso/oidc", tag = "organization", responses(
    (status = 200, description = "It, with its version in `ETag`; never its secret.", body = OidcAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it.", body = ErrorBody),
    (status = 404, description = "There is none, or this deployment does not offer it.", body = ErrorBody),
))]
pub(crate) async fn read_oidc(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Tagged<OidcAnswer>, Failure> {
    let view = doors.control.identity_provider(&ctx, Protocol::Oidc).await?;
    tagged(view, doors.control.oidc_place(&ctx).await?)
}

/// Put an OIDC provider in place of the present one. Owners alone do this.
#[utoipa::path(put, path = "/v1/organization/sso/oidc", tag = "organization", request_body = OidcRequest,
    params(("If-Match" = Option<String>, Header, description = "The version that it replaces; `0` for none.")),
    responses(
    (status = 200, description = "It, with its new version in `ETag`.", body = OidcAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "This deployment does not offer it.", body = ErrorBody),
    (status = 409, description = "Another provider is turned on, or it was not proven before it became the only way in.",
        body = ErrorBody),
    (status = 412, description = "It has changed since that version.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule, or its metadata cannot be read.", body = ErrorBody),
))]
pub(crate) async fn put_oidc(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    IfMatch(expected): IfMatch,
    Input(request): Input<OidcRequest>,
) -> Result<Tagged<OidcAnswer>, Failure> {
    let new = NewOidcProvider {
        enabled: request.enabled,
        settings: request.settings.map(Into::into),
        issuer: request.issuer,
        client_id: request.client_id,
        authentication: request.authentication,
        endpoints: request.endpoints.map(Into::into),
        client_secret: request.client_secret,
    };
    let view = doors.control.put_oidc_provider(&ctx, &expected, new).await?;
    tagged(view, doors.control.oidc_place(&ctx).await?)
}

/// Remove the organization's OIDC provider; every session that was opened through it ends.
#[utoipa::path(delete, path = "/v1/organization/sso/oidc", tag = "organization",
    params(("If-Match" = Option<String>, Header, description = "The version that is removed.")),
    responses(
    (status = 204, description = "It is removed."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is none.", body = ErrorBody),
    (status = 412, description = "It has changed since that version.", body = ErrorBody),
))]
pub(crate) async fn remove_oidc(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    IfMatch(expected): IfMatch,
) -> Result<StatusCode, Failure> {
    doors.control.remove_identity_provider(&ctx, &expected, Protocol::Oidc).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A domain of mail addresses.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DomainRequest {
    /// Such as `example.com`.
    domain: String,
}

/// A domain that the organization claims.
#[derive(Serialize, ToSchema)]
pub(crate) struct DomainAnswer {
    domain: String,
    /// Where the TXT record stands that shows it to be the organization's.
    record_name: String,
    /// What the record says.
    record_value: String,
    added_at: String,
    /// When it was shown to be the organization's.
    verified_at: Option<String>,
    /// By what: `dns`, whose record is looked for again every day, or `operator`.
    verified_by: Option<&'static str>,
    /// Since when the record is gone.
    missing_since: Option<String>,
    /// When it no longer counts as the organization's, if the record stays away.
    lapses_at: Option<String>,
}

impl From<DomainView> for DomainAnswer {
    fn from(view: DomainView) -> Self {
        Self {
            domain: view.domain.to_string(),
            record_name: view.record_name,
            record_value: view.record_value,
            added_at: view.added_at.to_string(),
            verified_at: view.verified_at.map(|at| at.to_string()),
            verified_by: view.proof.map(DomainProof::as_str),
            missing_since: view.missing_since.map(|at| at.to_string()),
            lapses_at: view.lapses_at.map(|at| at.to_string()),
        }
    }
}

/// The domains that the organization claims.
#[derive(Serialize, ToSchema)]
pub(crate) struct DomainsAnswer {
    domains: Vec<DomainAnswer>,
    next_cursor: Option<String>,
}

/// The domains that the organization claims.
#[utoipa::path(get, path = "/v1/organization/domains", tag = "organization", params(PageParams), responses(
    (status = 200, description = "In the order of their names.", body = DomainsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it.", body = ErrorBody),
    (status = 422, description = "`limit` or `cursor` is not valid.", body = ErrorBody),
))]
pub(crate) async fn domains(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { page: request, .. }: Listing<Everything>,
) -> Result<Json<DomainsAnswer>, Failure> {
    let all = doors.control.domains(&ctx).await?;
    let page = doors.control.page_of_whole("domains", &request, all, |view| view.domain.clone())?;
    let domains = page.items.into_iter().map(Into::into).collect();
    Ok(Json(DomainsAnswer { domains, next_cursor: page.next_cursor }))
}

/// Claim a domain. It counts once it is verified. Owners alone do this.
#[utoipa::path(post, path = "/v1/organization/domains", tag = "organization", request_body = DomainRequest, responses(
    (status = 201, description = "The claim, and the TXT record that proves it.", body = DomainAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 422, description = "It is no domain, or one where anybody can have an address.", body = ErrorBody),
))]
pub(crate) async fn add_domain(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(request): Input<DomainRequest>,
) -> Result<(StatusCode, Json<DomainAnswer>), Failure> {
    let view = doors.control.add_domain(&ctx, &request.domain).await?;
    Ok((StatusCode::CREATED, Json(view.into())))
}

/// Look whether the TXT record of a domain is there.
#[utoipa::path(post, path = "/v1/organization/domains/{domain}/verify", tag = "organization",
    params(("domain" = String, Path, description = "The domain.")), responses(
    (status = 200, description = "It is the organization's from now on.", body = DomainAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such claim.", body = ErrorBody),
    (status = 409, description = "The record is not there, or another organization has the domain.", body = ErrorBody),
    (status = 422, description = "It is no domain.", body = ErrorBody),
    (status = 429, description = "The name servers were asked too often.", body = ErrorBody),
))]
pub(crate) async fn verify_domain(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(domain): Path<String>,
) -> Result<Json<DomainAnswer>, Failure> {
    Ok(Json(doors.control.verify_domain(&ctx, &domain).await?.into()))
}

/// Give a domain up.
#[utoipa::path(delete, path = "/v1/organization/domains/{domain}", tag = "organization",
    params(("domain" = String, Path, description = "The domain.")), responses(
    (status = 204, description = "It is no longer the organization's."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such claim.", body = ErrorBody),
    (status = 422, description = "It is no domain.", body = ErrorBody),
))]
pub(crate) async fn remove_domain(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(domain): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.remove_domain(&ctx, &domain).await?;
    Ok(StatusCode::NO_CONTENT)
}
