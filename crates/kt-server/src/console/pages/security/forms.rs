//! What the sections of the security settings send: each is a change of its own fields, made to the version that the
//! page showed.

use axum::extract::State;
use axum::response::Response;
use kt_control::Expected;
use kt_domain::error::Error;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{MfaDraft, PAGE, show_mfa_draft};
use crate::Doors;
use crate::console::answer::{Answer, see_and_say};
use crate::console::pages::Fields;
use crate::console::visit::{SignedIn, Visit};

/// A switch that is on. Browsers send nothing for one that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Checked {
    On,
}

/// How long sessions last.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    version: String,
    timeout: String,
    idle: Option<Checked>,
    absolute: String,
}

/// Sets how long sessions last (R12–R18).
pub(crate) async fn change_session(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<Session>,
) -> Answer {
    let fields =
        json!({ "timeout": form.timeout, "idle": form.idle.is_some(), "absolute": form.absolute.trim() });
    save(&doors, &visit, form.version, "session", fields).await
}

/// What a password must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Password {
    version: String,
    min_length: String,
    require_uppercase: Option<Checked>,
    require_number: Option<Checked>,
    require_special: Option<Checked>,
    history: String,
    max_age_days: String,
}

/// Sets what a password must be (R68–R76).
pub(crate) async fn change_password_policy(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<Password>,
) -> Answer {
    let fields = json!({
        "min_length": whole_number("password.min_length", &form.min_length)?,
        "require_uppercase": form.require_uppercase.is_some(),
        "require_number": form.require_number.is_some(),
        "require_special": form.require_special.is_some(),
        "history": whole_number("password.history", &form.history)?,
        "max_age_days": whole_number("password.max_age_days", &form.max_age_days)?,
    });
    save(&doors, &visit, form.version, "password", fields).await
}

/// All values of a preset.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordPreset {
    version: String,
    preset: String,
}

/// Puts the values of a preset in place of the present ones.
pub(crate) async fn use_password_preset(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<PasswordPreset>,
) -> Answer {
    save(&doors, &visit, form.version, "password", json!({ "preset": form.preset })).await
}

/// When wrong passwords lock.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lockout {
    version: String,
    max_failures: String,
    window: String,
    duration: String,
}

/// Sets when wrong passwords lock (R156).
pub(crate) async fn change_lockout(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<Lockout>,
) -> Answer {
    let fields = json!({
        "max_failures": whole_number("lockout.max_failures", &form.max_failures)?,
        "window": form.window.trim(),
        "duration": form.duration.trim(),
    });
    save(&doors, &visit, form.version, "lockout", fields).await
}

/// Whom a second factor is asked of.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mfa {
    version: String,
    policy: String,
    require_passkey_for_admins: Option<Checked>,
    grace_period: String,
    confirm_shut_out: Option<Checked>,
}

/// Sets whom a second factor is asked of (R120–R133). Where that would leave somebody with nothing but enrolling at once,
/// nothing is saved, and the page asks whether that is meant.
pub(crate) async fn change_mfa(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<Mfa>,
) -> Answer {
    let fields = json!({
        "policy": form.policy,
        "require_passkey_for_admins": form.require_passkey_for_admins.is_some(),
        "grace_period": form.grace_period,
    });
    let patch = Map::from_iter([("mfa".to_owned(), fields.clone())]);
    let expected = Expected::OneOf(vec![form.version]);
    let is_confirmed = form.confirm_shut_out.is_some();
    match doors.control.change_security(&visit.ctx, &expected, &patch, is_confirmed).await {
        Ok(_) => Ok(saved(&doors, &visit)),
        Err(error) if error.code == "would_shut_out" => {
            let settings = serde_json::from_value(fields).map_err(Error::internal)?;
            show_mfa_draft(&doors, &visit, MfaDraft::of(settings, &error)).await
        }
        Err(error) => Err(error.into()),
    }
}

/// How often the forms' token changes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Csrf {
    version: String,
    rotation: String,
}

/// Sets how often the forms' token changes (R65–R67).
pub(crate) async fn change_csrf(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<Csrf>,
) -> Answer {
    save(&doors, &visit, form.version, "csrf", json!({ "rotation": form.rotation })).await
}

/// What keys must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKeys {
    version: String,
    max_age_days: String,
    allowed_ranges: String,
    require_ip_binding: Option<Checked>,
    max_requests_per_minute: String,
    require_scope: Option<Checked>,
    creation: String,
    enforce_immediately: Option<Checked>,
}

/// Sets what keys must be (R137–R148).
pub(crate) async fn change_key_restrictions(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<ApiKeys>,
) -> Answer {
    let fields = json!({
        "max_age_days": number_or_none("api_keys.max_age_days", &form.max_age_days)?,
        "allowed_ranges": lines(&form.allowed_ranges),
        "require_ip_binding": form.require_ip_binding.is_some(),
        "max_requests_per_minute":
            number_or_none("api_keys.max_requests_per_minute", &form.max_requests_per_minute)?,
        "require_scope": form.require_scope.is_some(),
        "creation": form.creation,
        "enforce_immediately": form.enforce_immediately.is_some(),
    });
    save(&doors, &visit, form.version, "api_keys", fields).await
}

async fn save(doors: &Doors, visit: &Visit, version: String, section: &str, fields: Value) -> Answer {
    let patch = Map::from_iter([(section.to_owned(), fields)]);
    doors.control.change_security(&visit.ctx, &Expected::OneOf(vec![version]), &patch, true).await?;
    Ok(saved(doors, visit))
}

fn saved(doors: &Doors, visit: &Visit) -> Response {
    see_and_say(doors, PAGE, visit.look.language.text("Saved. It is in force from the next request on."))
}

fn whole_number(param: &'static str, text: &str) -> Result<u32, Error> {
    text.trim().parse().map_err(|_| Error::invalid(param, "Write a whole number."))
}

/// The number that a field holds, if it holds one.
fn number_or_none(param: &'static str, text: &str) -> Result<Option<u32>, Error> {
    if text.trim().is_empty() { Ok(None) } else { whole_number(param, text).map(Some) }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}
