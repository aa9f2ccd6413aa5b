//! Every route there is. A route that is not here is not served, and one that is stands in the OpenAPI document.

use axum::Router;
use axum::routing::get;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, Required, ResponseBuilder,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{
    audit_log, configurations, device, events, gateways, health, invitations, ip_restrictions, me, members,
    mfa, organization, passkeys, passwords, posture, profile, provider_credentials, reauthentication,
    registration, saml, scim, security, sessions, set_up, setup_requests, sign_in, sso, tokens, usage,
};
use crate::idempotency::{self, IDEMPOTENCY_KEY};
use crate::{Doors, Hosts, layers};

/// The API, ready to be served to whoever asks it by one of these names.
pub fn api(doors: Doors, hosts: Hosts) -> Router {
    let (routes, document) = documented().split_for_parts();
    let document = with_common(document);
    let document = serde_json::to_string(&document).unwrap_or_default();
    let routes = routes
        .route("/openapi.json", get(|| async move { ([("content-type", "application/json")], document) }));
    layers::around(routes, &doors, hosts).with_state(doors)
}

/// The OpenAPI 3.1 document of the API.
#[must_use]
pub fn openapi() -> OpenApi {
    with_common(documented().into_openapi())
}

/// Says what holds for many operations alike.
fn with_common(document: OpenApi) -> OpenApi {
    with_refusals_of_all(with_unread_bodies(with_idempotency(document)))
}

/// How any request may be refused, whatever it is for.
const OF_ALL: [(&str, &str); 5] = [
    (
        "400",
        "The request cannot be read as it is, names a key in its address (`key_in_address`), or no host or two (`invalid_host`).",
    ),
    ("403", "The address may not reach this (`ip_denied`), or is not known (`unresolved_source`)."),
    ("421", "The API is not known by the name in `Host` (`unknown_host`)."),
    ("500", "Something is wrong in the server (`internal_error`)."),
    (
        "503",
        "The store cannot be reached (`store_unavailable`), or too many passwords are being checked at once (`overloaded`).",
    ),
];

/// How a value in the address may be refused.
const OF_VALUES: (&str, &str) = ("422", "A value in the address breaks a rule.");

/// How whoever has a key may be refused.
const OF_KEYS: (&str, &str) = ("429", "The key was used too often (`rate_limited`).");

/// Says of every operation but those that machines ask how any may be refused.
fn with_refusals_of_all(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        if layers::ASKED_BY_MACHINES.contains(&path.as_str()) {
            continue;
        }
        let is_scim = path.starts_with("/scim/");
        let (kind, body) =
            if is_scim { ("application/scim+json", "ScimError") } else { ("application/json", "ErrorBody") };
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().filter_map(Option::as_mut) {
            let is_for_keys = operation.security.is_none();
            let has_values = !is_scim && operation.parameters.as_ref().is_some_and(|all| !all.is_empty());
            let of_some = [is_for_keys.then_some(OF_KEYS), has_values.then_some(OF_VALUES)];
            for (status, description) in OF_ALL.into_iter().chain(of_some.into_iter().flatten()) {
                let content = Content::new(Some(Ref::from_schema_name(body)));
                let refusal = ResponseBuilder::new().description(description).content(kind, content);
                let responses = &mut operation.responses.responses;
                responses.entry(status.to_owned()).or_insert_with(|| refusal.build().into());
            }
        }
    }
    document
}

/// How a body may be refused, whatever it is for.
const UNREAD: [(&str, &str); 3] = [
    ("400", "The body is no valid JSON (`invalid_json`), or broke off (`unreadable_body`)."),
    ("413", "The body is too long (`request_too_large`)."),
    ("415", "The body is not JSON (`unsupported_media_type`)."),
];

/// Says of every operation that takes a body how that may be refused.
fn with_unread_bodies(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().filter_map(Option::as_mut) {
            if operation.request_body.is_none() {
                continue;
            }
            for (status, description) in UNREAD {
                let refusal =
                    ResponseBuilder::new().description(description).content("application/json", error_body());
                let responses = &mut operation.responses.responses;
                responses.entry(status.to_owned()).or_insert_with(|| refusal.build().into());
            }
        }
    }
    document
}

/// Says of every POST that takes an `Idempotency-Key` that it does.
fn with_idempotency(mut document: OpenApi) -> OpenApi {
    let key = ParameterBuilder::new()
        .name(IDEMPOTENCY_KEY.as_str())
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "A word of the caller's choice, such as a UUID: sent again within 24 hours, the request is not carried out \
             again, and answered as it was.",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).max_length(Some(255))))
        .build();
    for (path, item) in &mut document.paths.paths {
        let Some(post) = item.post.as_mut().filter(|_| idempotency::is_kept(path)) else { continue };
        post.parameters.get_or_insert_default().push(key.clone().into());
        for (status, description) in idempotency::REFUSALS {
            let refusal =
                || ResponseBuilder::new().description(description).content("application/json", error_body());
            post.responses.responses.entry(status.to_owned()).or_insert_with(|| refusal().build().into());
        }
    }
    document
}

fn documented() -> OpenApiRouter<Doors> {
    OpenApiRouter::with_openapi(frame())
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::jwks))
        .routes(routes!(passkeys::endpoints))
        .routes(routes!(invitations::show))
        .routes(routes!(me::whoami))
        .routes(routes!(profile::show, profile::change))
        .routes(routes!(passwords::change))
        .routes(routes!(reauthentication::reauthenticate))
        .routes(routes!(reauthentication::passkey_options))
        .routes(routes!(mfa::show))
        .routes(routes!(mfa::begin_totp, mfa::remove_totp))
        .routes(routes!(mfa::confirm_totp))
        .routes(routes!(mfa::renew_recovery_codes))
        .routes(routes!(passkeys::list, passkeys::add))
        .routes(routes!(passkeys::options))
        .routes(routes!(passkeys::rename, passkeys::remove))
        .routes(routes!(me::sessions, me::end_other_sessions))
        .routes(routes!(me::end_session))
        .routes(routes!(registration::list))
        .routes(routes!(registration::approve))
        .routes(routes!(registration::reject))
        .routes(routes!(registration::temporary_password))
        .routes(routes!(setup_requests::list, setup_requests::create))
        .routes(routes!(setup_requests::close))
        .routes(routes!(invitations::list, invitations::create))
        .routes(routes!(invitations::accept))
        .routes(routes!(invitations::resend))
        .routes(routes!(invitations::revoke))
        .routes(routes!(audit_log::audit_log))
        .routes(routes!(audit_log::export))
        .routes(routes!(audit_log::keys))
        .routes(routes!(audit_log::audit_record))
        .routes(routes!(organization::read, organization::change))
        .routes(routes!(security::read, security::change))
        .routes(routes!(posture::read))
        .routes(routes!(sessions::list, sessions::end_everybodys))
        .routes(routes!(device::show))
        .routes(routes!(device::approve))
        .routes(routes!(device::deny))
        .routes(routes!(ip_restrictions::read, ip_restrictions::replace))
        .routes(routes!(ip_restrictions::preview))
        .routes(routes!(sso::start))
        .routes(routes!(sso::read_oidc, sso::put_oidc, sso::remove_oidc))
        .routes(routes!(saml::read_saml, saml::put_saml, saml::remove_saml))
        .routes(routes!(saml::make_next_key))
        .routes(routes!(saml::use_next_key))
        .routes(routes!(sso::domains, sso::add_domain))
        .routes(routes!(sso::remove_domain))
        .routes(routes!(sso::verify_domain))
        .routes(routes!(members::list))
        .routes(routes!(members::export))
        .routes(routes!(members::read, members::change_role, members::remove))
        .routes(routes!(members::suspend))
        .routes(routes!(members::reactivate))
        .routes(routes!(members::end_sessions))
        .routes(routes!(members::reset_mfa))
        .routes(routes!(events::events, events::deliver))
        .routes(routes!(usage::usage))
        .routes(routes!(usage::export))
        .routes(routes!(usage::budgets))
        .routes(routes!(tokens::tokens, tokens::create))
        .routes(routes!(tokens::export))
        .routes(routes!(tokens::read, tokens::change, tokens::revoke))
        .routes(routes!(tokens::rotate))
        .routes(routes!(gateways::list))
        .routes(routes!(gateways::export))
        .routes(routes!(gateways::sync))
        .routes(routes!(gateways::read, gateways::forget))
        .routes(routes!(gateways::drain))
        .routes(routes!(gateways::resume))
        .routes(routes!(configurations::list, configurations::create))
        .routes(routes!(configurations::lint))
        .routes(routes!(configurations::read))
        .routes(routes!(configurations::versions, configurations::save))
        .routes(routes!(configurations::version))
        .routes(routes!(configurations::roll_out))
        .routes(routes!(provider_credentials::list, provider_credentials::store))
        .routes(routes!(provider_credentials::replace, provider_credentials::remove))
        .merge(ways_in())
        .merge(scim::routes())
}

/// The routes by which somebody who has no session comes to one.
fn ways_in() -> OpenApiRouter<Doors> {
    OpenApiRouter::new()
        .routes(routes!(set_up::set_up))
        .routes(routes!(sign_in::login))
        .routes(routes!(sign_in::verify))
        .routes(routes!(passkeys::sign_in_options))
        .routes(routes!(passkeys::sign_in))
        .routes(routes!(mfa::begin_totp_at_sign_in))
        .routes(routes!(mfa::confirm_totp_at_sign_in))
        .routes(routes!(passkeys::options_at_sign_in))
        .routes(routes!(passkeys::add_at_sign_in))
        .routes(routes!(sign_in::refresh))
        .routes(routes!(sign_in::logout))
        .routes(routes!(sign_in::replace_password))
        .routes(routes!(passwords::forgot))
        .routes(routes!(passwords::reset))
        .routes(routes!(registration::register))
        .routes(routes!(registration::resend))
        .routes(routes!(profile::confirm_email))
        .routes(routes!(profile::undo_email_change))
        .routes(routes!(device::authorize))
        .routes(routes!(device::token))
}

fn error_body() -> Content {
    Content::new(Some(Ref::from_schema_name("ErrorBody")))
}

/// What the document says beside its routes: every route takes a bearer, unless it says otherwise.
fn frame() -> OpenApi {
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Keeptrusts")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some("People, keys, settings and evidence of a Keeptrusts deployment.")),
        )
        .components(Some(ComponentsBuilder::new().security_scheme("bearer", bearer).build()))
        .security(Some([SecurityRequirement::new("bearer", [""; 0])]))
        .build()
}
