//! Every address of the console. One that is not here is not served.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use kt_domain::error::{Error, ErrorKind};

use super::pages::provider_credentials as credentials;
use super::pages::security::{self, forms, network, saml as saml_settings, sessions, sso as sso_settings};
use super::pages::{
    approvals, audit_log, chat, configurations, connect_gateway, connect_provider, design, device, events,
    gateways, help, invitations, keys, members, mfa, organization, overview, passkeys, profile, recovery,
    register, request_setup, saml, second_step, session, set_up, sign_in, sso, tasks, usage, verify_email,
};
use super::{assets, guard};
use crate::Doors;
use crate::client::anonymous;
use crate::failure::Failure;

/// The console, ready to be served.
pub fn console(doors: Doors) -> Router {
    let pages = Router::new()
        .route("/", get(session::home))
        .route("/login", get(sign_in::show).post(sign_in::sign_in))
        .route("/login/passkey/options", post(passkeys::begin_sign_in))
        .route("/login/passkey", post(passkeys::sign_in))
        .route("/login/sso", get(sso::show).post(sso::begin))
        .route("/login/google", post(sso::begin_google))
        .route("/sso/oidc/{organization}/callback", get(sso::come_back))
        .route("/sso/saml/arrive", get(saml::arrive))
        .route("/sso/google/callback", get(sso::come_back_from_google))
        .route("/login/verify", get(second_step::show).post(second_step::verify))
        .route("/login/verify/passkey/options", post(passkeys::begin_second_step))
        .route("/mfa/setup", get(mfa::show))
        .route("/mfa/setup/totp", post(mfa::begin_totp))
        .route("/mfa/setup/totp/confirm", post(mfa::confirm_totp))
        .route("/mfa/setup/passkey/options", post(mfa::begin_passkey))
        .route("/mfa/setup/passkey", post(mfa::add_passkey))
        .route("/mfa/recovery-codes", post(mfa::renew_codes))
        .route("/mfa/totp/remove", post(mfa::remove_totp))
        .route("/mfa/passkeys/{id}/rename", post(mfa::rename_passkey))
        .route("/mfa/passkeys/{id}/remove", post(mfa::remove_passkey))
        .route("/logout", post(session::sign_out))
        .route("/change-password", get(sign_in::show_replacement).post(sign_in::replace))
        .route("/pending", get(sign_in::show_pending))
        .route("/setup", get(set_up::show).post(set_up::set_up))
        .route("/register", get(register::show).post(register::register))
        .route("/register/accept", post(register::accept))
        .route("/verify-email", get(verify_email::show).post(verify_email::confirm))
        .route("/verify-email/resend", post(verify_email::resend))
        .route("/forgot-password", get(recovery::show_forgot).post(recovery::forgot))
        .route("/reset-password", get(recovery::show_reset).post(recovery::reset))
        .route("/undo-email-change", get(recovery::show_undo).post(recovery::undo))
        .route("/device", get(device::show).post(device::look))
        .route("/device/approve", post(device::approve))
        .route("/device/deny", post(device::deny))
        .route("/overview", get(overview::show))
        .route("/events", get(events::show))
        .route("/events/{id}", get(events::show_one))
        .route("/events/export/{format}", get(events::export))
        .route("/usage", get(usage::show))
        .route("/usage/export", get(usage::export))
        .route("/audit-log", get(audit_log::show))
        .route("/audit-log/export", get(audit_log::copy).post(audit_log::ask_for_copy))
        .route("/audit-log/{id}", get(audit_log::show_one))
        .route("/gateways", get(gateways::show))
        .route("/gateways/export/csv", get(gateways::export))
        .route("/gateways/{id}", get(gateways::show_one))
        .route("/gateways/{id}/drain", post(gateways::drain))
        .route("/gateways/{id}/resume", post(gateways::resume))
        .route("/gateways/{id}/forget", post(gateways::forget))
        .merge(configurations())
        .route("/settings", get(profile::settings))
        .route("/settings/profile", get(profile::show).post(profile::change))
        .route("/settings/profile/password", post(profile::change_password))
        .route("/settings/profile/sessions/end-others", post(profile::end_other_sessions))
        .route("/settings/profile/sessions/{id}/end", post(profile::end_session))
        .route("/settings/organization", get(organization::show).post(organization::rename))
        .route("/settings/organization/registration", post(organization::change_registration))
        .merge(people())
        .merge(api_keys())
        .merge(security_settings())
        .merge(workspaces())
        .route("/help", get(help::index))
        .route("/help/{page}", get(help::show))
        .route("/design", get(design::show))
        .route("/preferences", post(session::prefer))
        .route("/api/session", get(session::session))
        .route("/api/session/activity", post(session::activity))
        .route("/api/session/reauthenticate", post(session::reauthenticate))
        .route("/api/session/reauthenticate/provider", post(sso::begin_proof))
        .route("/api/session/reauthenticate/options", post(passkeys::begin_proof))
        .route("/api/password-strength", post(session::password_strength))
        .fallback(no_page)
        .method_not_allowed_fallback(no_such_method);
    let routes = guard::around_pages(pages, &doors)
        .route("/assets/{digest}/{name}", get(assets::asset))
        .route("/.well-known/passkey-endpoints", get(passkeys::endpoints))
        .route(
            "/sso/oidc/{organization}/logout",
            post(sso::log_out).layer(DefaultBodyLimit::max(MAX_LOGOUT_TOKEN)),
        )
        .merge(saml_doors())
        .route("/.well-known/security.txt", get(security_txt))
        .route("/csp-report", post(policy_broken).layer(DefaultBodyLimit::max(MAX_REPORT)))
        .route("/healthz", get(|| async { StatusCode::OK }))
        .route("/readyz", get(ready));
    let routes = routes.method_not_allowed_fallback(no_such_method);
    guard::around(routes, &doors).with_state(doors)
}

/// No page has this address.
async fn no_page() -> Failure {
    let message = "No page has this address. It may be mistyped, or what it showed is gone.";
    Failure(Error::new(ErrorKind::NotFound, "not_found", message))
}

/// Something else can be done at this address, and not this.
async fn no_such_method() -> (StatusCode, Failure) {
    let message = "There is nothing to look at under this address: a button of another page leads here.";
    (StatusCode::METHOD_NOT_ALLOWED, Failure(Error::new(ErrorKind::NotFound, "method_not_allowed", message)))
}

/// What gateways run, and the guided way there.
fn configurations() -> Router<Doors> {
    Router::new()
        .route("/configurations", get(configurations::show))
        .route("/configurations/new", get(configurations::show_new).post(configurations::create))
        .route("/configurations/{name}", get(configurations::edit).post(configurations::save))
        .route("/configurations/{name}/versions", get(configurations::show_one))
        .route("/configurations/{name}/versions/{number}", get(configurations::show_version))
        .route("/configurations/{name}/versions/{number}/rollout", post(configurations::roll_out))
        .route("/settings/provider-credentials", get(credentials::show).post(credentials::store))
        .route("/settings/provider-credentials/{name}/replace", post(credentials::replace))
        .route("/settings/provider-credentials/{name}/remove", post(credentials::remove))
        .route("/setup/provider", get(connect_provider::show).post(connect_provider::choose))
        .route("/setup/provider/try", post(connect_provider::try_it))
        .route("/setup/provider/back", post(connect_provider::choose_again))
        .route("/setup/provider/review", post(connect_provider::review))
        .route("/setup/provider/review/back", post(connect_provider::review_again))
        .route("/setup/provider/check", post(connect_provider::check))
        .route("/setup/provider/publish", post(connect_provider::publish))
        .route("/setup/provider/done", get(connect_provider::show_done))
        .route("/setup/provider/key", post(connect_provider::make_key))
        .route("/setup/gateway", get(connect_gateway::show).post(connect_gateway::make_key))
}

/// Who belongs to the organization, and who is on the way in.
fn people() -> Router<Doors> {
    Router::new()
        .route("/settings/members", get(members::show))
        .route("/settings/members/export", get(members::export))
        .route("/settings/members/{id}", get(members::show_one))
        .route("/settings/members/{id}/role", post(members::change_role))
        .route("/settings/members/{id}/end-sessions", post(members::end_sessions))
        .route("/settings/members/{id}/suspend", post(members::suspend))
        .route("/settings/members/{id}/reactivate", post(members::reactivate))
        .route("/settings/members/{id}/remove", post(members::remove))
        .route("/settings/members/{id}/reset-mfa", post(members::reset_mfa))
        .route("/settings/members/{id}/temporary-password", post(members::set_temporary_password))
        .route("/settings/registrations/{id}/approve", post(approvals::approve))
        .route("/settings/registrations/{id}/reject", post(approvals::reject))
        .route("/settings/invitations", post(invitations::invite))
        .route("/settings/invitations/{id}/resend", post(invitations::resend))
        .route("/settings/invitations/{id}/revoke", post(invitations::revoke))
}

/// The lists of keys, one for each kind.
fn api_keys() -> Router<Doors> {
    Router::new()
        .route("/settings/access-keys", get(keys::show).post(keys::create))
        .route("/settings/access-keys/export", get(keys::export))
        .route("/settings/access-keys/{id}", get(keys::show_one).post(keys::change))
        .route("/settings/access-keys/{id}/rotate", post(keys::rotate))
        .route("/settings/access-keys/{id}/revoke", post(keys::revoke))
        .route("/settings/gateway-keys", get(keys::show).post(keys::create))
        .route("/settings/gateway-keys/export", get(keys::export))
        .route("/settings/gateway-keys/{id}", get(keys::show_one).post(keys::change))
        .route("/settings/gateway-keys/{id}/rotate", post(keys::rotate))
        .route("/settings/gateway-keys/{id}/revoke", post(keys::revoke))
        .route("/settings/provisioning-keys", get(keys::show).post(keys::create))
        .route("/settings/provisioning-keys/export", get(keys::export))
        .route("/settings/provisioning-keys/{id}", get(keys::show_one).post(keys::change))
        .route("/settings/provisioning-keys/{id}/rotate", post(keys::rotate))
        .route("/settings/provisioning-keys/{id}/revoke", post(keys::revoke))
}

/// `/settings/security`, and what each of its sections sends.
fn security_settings() -> Router<Doors> {
    Router::new()
        .route("/settings/security", get(security::show))
        .route("/settings/security/session", post(forms::change_session))
        .route("/settings/security/password", post(forms::change_password_policy))
        .route("/settings/security/password/preset", post(forms::use_password_preset))
        .route("/settings/security/lockout", post(forms::change_lockout))
        .route("/settings/security/mfa", post(forms::change_mfa))
        .route("/settings/security/csrf", post(forms::change_csrf))
        .route("/settings/security/api-keys", post(forms::change_key_restrictions))
        .route("/settings/security/ip-restrictions", post(network::save))
        .route("/settings/security/ip-restrictions/draft", post(network::draft))
        .route("/settings/security/sessions", get(sessions::show))
        .route("/settings/security/sessions/end-everybodys", post(sessions::end_everybodys))
        .route("/settings/security/sso", get(sso_settings::show))
        .route("/settings/security/sso/oidc", post(sso_settings::connect_oidc))
        .route("/settings/security/sso/saml", post(saml_settings::connect))
        .route("/settings/security/sso/saml/read", post(saml_settings::read_again))
        .route("/settings/security/sso/saml/take-over", post(saml_settings::take_over))
        .route("/settings/security/sso/saml/next-key", post(saml_settings::make_next_key))
        .route("/settings/security/sso/saml/next-key/use", post(saml_settings::use_next_key))
        .route("/settings/security/sso/rules", post(sso_settings::change_rules))
        .route("/settings/security/sso/switch", post(sso_settings::switch))
        .route("/settings/security/sso/remove", post(sso_settings::remove))
        .route("/settings/security/sso/test", post(sso_settings::test))
        .route("/settings/security/sso/domains", post(sso_settings::add_domain))
        .route("/settings/security/sso/domains/verify", post(sso_settings::verify_domain))
        .route("/settings/security/sso/domains/remove", post(sso_settings::remove_domain))
}

/// What people use models by, and how they ask for it.
fn workspaces() -> Router<Doors> {
    Router::new()
        .route("/chat", get(chat::show).post(chat::begin))
        .route("/chat/{id}", get(chat::show_one).post(chat::ask))
        .route("/chat/{id}/retry", post(chat::retry))
        .route("/chat/{id}/rename", post(chat::rename))
        .route("/chat/{id}/delete", post(chat::delete))
        .route("/chat/{id}/turns/{turn}/decision", get(chat::show_decision))
        .route("/tasks", get(tasks::show).post(tasks::add))
        .route("/tasks/{id}", get(tasks::show_one).post(tasks::change))
        .route("/tasks/{id}/delete", post(tasks::delete))
        .route("/tasks/{id}/runs", post(tasks::start))
        .route("/tasks/{id}/runs/{run}", get(tasks::show_run))
        .route("/tasks/{id}/runs/{run}/cancel", post(tasks::cancel))
        .route("/request-setup", get(request_setup::show).post(request_setup::ask))
        .route("/request-setup/{id}/close", post(request_setup::close))
}

/// What providers and browsers on their way from one ask for, outside the guard of the pages: see [`saml`].
fn saml_doors() -> Router<Doors> {
    Router::new()
        .route("/sso/saml/{organization}/metadata", get(saml::metadata))
        .route("/sso/saml/{organization}/acs", post(saml::land))
        .route("/sso/saml/{organization}/logout", get(saml::log_out_by_redirect).post(saml::log_out_by_form))
        .layer(DefaultBodyLimit::max(saml::MAX_FORM))
}

/// The longest logout token that is read, with the name of its field, in bytes.
const MAX_LOGOUT_TOKEN: usize = 64 * 1024;

/// The longest report of a browser that is read, in bytes.
const MAX_REPORT: usize = 8 * 1024;

/// A browser says that a page has tried what its policy forbids (CSP level 3 section 5): the operator's log tells. Anybody
/// can say so, and one network is heard so often as a broken page would say it.
async fn policy_broken(State(doors): State<Doors>, request: Request) -> Result<StatusCode, Failure> {
    let (parts, body) = request.into_parts();
    doors.control.count_report(&anonymous(&doors, &parts)).await?;
    let report = Bytes::from_request(Request::from_parts(parts, body), &doors).await;
    let Ok(report) = report else { return Ok(StatusCode::PAYLOAD_TOO_LARGE) };
    // Escaped: whoever sends this must not write lines of the log.
    let report = without_queries(&report).to_string();
    tracing::warn!(?report, "a browser has stopped what a page tried");
    Ok(StatusCode::NO_CONTENT)
}

/// A report as it is logged: without what stands behind `?` and `#` in its texts. The token of a link, or the code and state
/// of a way through an identity provider, may stand in the address of a page (STANDARDS LOG-05). Of what is no JSON nothing is
/// logged.
fn without_queries(report: &[u8]) -> serde_json::Value {
    fn cut(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => text.truncate(text.find(['?', '#']).unwrap_or(text.len())),
            serde_json::Value::Array(values) => values.iter_mut().for_each(cut),
            serde_json::Value::Object(values) => values.values_mut().for_each(cut),
            _ => {}
        }
    }
    let mut report = serde_json::from_slice(report).unwrap_or_default();
    cut(&mut report);
    report
}

/// How long what `security.txt` says is to be believed (RFC 9116 section 2.5.5: less than a year).
const BELIEVED: Duration = Duration::from_hours(180 * 24);

/// `GET /.well-known/security.txt`: whom somebody tells who has found a weakness (RFC 9116), where the operator has said it.
async fn security_txt(State(doors): State<Doors>) -> Result<Response, Failure> {
    let contact = doors.security_contact.as_ref().ok_or_else(|| Error::not_found("contact"))?;
    let expires = (doors.control.clock().now() + BELIEVED).strftime("%Y-%m-%dT%H:%M:%SZ");
    let canonical = doors.console.page("/.well-known/security.txt");
    let text = format!("Contact: {contact}\nExpires: {expires}\nCanonical: {canonical}\n");
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Whether the store answers.
async fn ready(State(doors): State<Doors>) -> Result<StatusCode, Failure> {
    doors.control.ready().await?;
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queries_of_addresses_are_left_out_of_what_is_logged() {
        for (report, expected) in [
            (
                r#"{"document-uri":"https://c.example/x?token=abc","status":200}"#,
                r#"{"document-uri":"https://c.example/x","status":200}"#,
            ),
            (
                r#"[{"body":{"referrer":"https://c.example/cb?code=a\u0026state=b#c"}}]"#,
                r#"[{"body":{"referrer":"https://c.example/cb"}}]"#,
            ),
            (r#"{"a":"https:\/\/c.example\/x#token=a\"b"}"#, r#"{"a":"https://c.example/x"}"#),
            ("https://c.example/x?token=abc", "null"),
        ] {
            assert_eq!(without_queries(report.as_bytes()).to_string(), expected);
        }
    }
}
