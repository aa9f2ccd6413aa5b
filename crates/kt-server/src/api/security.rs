//! `/v1/organization/security`: what the organization demands, section by section.

use axum::extract::State;
use kt_control::SecurityView;
use kt_domain::deployment_settings::ManagedBy;
use kt_domain::keys::KeyRestrictions;
use kt_domain::passwords::Preset;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::versions::{IfMatch, Tagged};
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::Caller;

/// The security settings in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecurityAnswer {
    /// `deployment` or `console`: who sets the first three sections.
    managed_by: &'static str,
    session: SessionSection,
    password: PasswordSection,
    lockout: LockoutSection,
    mfa: MfaSection,
    csrf: CsrfSection,
    api_keys: ApiKeysSection,
    registration: RegistrationSection,
}

/// Who sets a section.
#[derive(Serialize, ToSchema)]
struct Management {
    /// `deployment` or `console`.
    managed_by: &'static str,
    /// Where the operator changes it, when the deployment sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_in: Option<String>,
}

/// How long sessions last.
#[derive(Serialize, ToSchema)]
struct SessionSection {
    /// `15m`, `30m`, `1h` or `4h`.
    timeout: String,
    /// Whether `timeout` counts from the last activity; otherwise from sign-in.
    idle: bool,
    /// How long a session lasts at most.
    absolute: String,
    #[serde(flatten)]
    management: Management,
}

/// What a password must be.
#[derive(Serialize, ToSchema)]
struct PasswordSection {
    min_length: u32,
    require_uppercase: bool,
    require_number: bool,
    require_special: bool,
    /// How many of the last passwords may not be used again.
    history: u32,
    /// After how many days a password has to be changed; 0 never.
    max_age_days: u32,
    /// `recommended`, `nist-800-63b`, or null where the values are no preset's. Sent in a change, it sets them all.
    #[schema(value_type = Option<String>)]
    preset: Option<Preset>,
    /// Where the values depart from NIST SP 800-63B-4 or ASVS 5.0.
    deviations: Vec<String>,
    #[serde(flatten)]
    management: Management,
}

/// When wrong passwords lock an account.
#[derive(Serialize, ToSchema)]
struct LockoutSection {
    max_failures: u32,
    window: String,
    duration: String,
    #[serde(flatten)]
    management: Management,
}

/// Whom a second factor is asked of.
#[derive(Serialize, ToSchema)]
struct MfaSection {
    /// `optional`, `required_for_admins` or `required_for_all`.
    policy: &'static str,
    /// Whether admins and owners need a passkey, whatever the policy.
    require_passkey_for_admins: bool,
    /// How long those newly asked have to enrol; `0h` for none.
    grace_period: String,
    #[serde(flatten)]
    management: Management,
}

/// How the console's forms are guarded; there is no off.
#[derive(Serialize, ToSchema)]
struct CsrfSection {
    /// `per_session` or `per_request`.
    rotation: &'static str,
    #[serde(flatten)]
    management: Management,
}

/// What API keys must be, access and gateway alike.
#[derive(Serialize, ToSchema)]
struct ApiKeysSection {
    #[serde(flatten)]
    #[schema(value_type = KeyRestrictionsSection)]
    restrictions: KeyRestrictions,
    #[serde(flatten)]
    management: Management,
}

/// The fields of the section `api_keys`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes `KeyRestrictions`, which is written as it is")]
struct KeyRestrictionsSection {
    /// How many days after it was made a key must be rotated; null for never.
    max_age_days: Option<u32>,
    /// CIDR ranges from which keys work; none means anywhere.
    allowed_ranges: Vec<String>,
    /// Whether every key must have ranges of its own.
    require_ip_binding: bool,
    /// How often a key works in a minute at most; null for no limit.
    max_requests_per_minute: Option<u32>,
    /// Whether every key must have been given a scope.
    require_scope: bool,
    /// Who may make access keys: `admins` or `everyone`.
    creation: String,
    /// Whether keys that are too old or lack a scope are refused at once, and not a week after they were flagged.
    enforce_immediately: bool,
}

/// Who may ask to join.
#[derive(Serialize, ToSchema)]
struct RegistrationSection {
    self_registration: bool,
    signup_approval: bool,
    /// The domains whose addresses may register; none means any.
    email_domains: Vec<String>,
    #[serde(flatten)]
    management: Management,
}

impl From<SecurityView> for Tagged<SecurityAnswer> {
    fn from(view: SecurityView) -> Self {
        let SecurityView { settings, managed_by, preset, deviations, version, .. } = view;
        let by_deployment = |section: &str| Management {
            managed_by: word(managed_by),
            changed_in: (managed_by == ManagedBy::Deployment)
                .then(|| format!("`security.{section}` in keeptrusts.yaml")),
        };
        let by_console = || Management { managed_by: word(ManagedBy::Console), changed_in: None };
        let (session, password, lockout) = (settings.session, settings.password, settings.lockout);
        let body = SecurityAnswer {
            managed_by: word(managed_by),
            session: SessionSection {
                timeout: session.timeout.to_string(),
                idle: session.idle,
                absolute: session.absolute.to_string(),
                management: by_deployment("session"),
            },
            password: PasswordSection {
                min_length: password.min_length,
                require_uppercase: password.require_uppercase,
                require_number: password.require_number,
                require_special: password.require_special,
                history: password.history,
                max_age_days: password.max_age_days,
                preset,
                deviations,
                management: by_deployment("password"),
            },
            lockout: LockoutSection {
                max_failures: lockout.max_failures,
                window: lockout.window.to_string(),
                duration: lockout.duration.to_string(),
                management: by_deployment("lockout"),
            },
            mfa: MfaSection {
                policy: settings.mfa.policy.as_str(),
                require_passkey_for_admins: settings.mfa.require_passkey_for_admins,
                grace_period: settings.mfa.grace_period.map_or("0h".to_owned(), |grace| grace.to_string()),
                management: by_console(),
            },
            csrf: CsrfSection { rotation: settings.csrf.rotation.as_str(), management: by_console() },
            api_keys: ApiKeysSection { restrictions: settings.api_keys, management: by_console() },
            registration: RegistrationSection {
                self_registration: settings.registration.self_registration,
                signup_approval: settings.registration.signup_approval,
                email_domains: settings.registration.email_domains,
                management: by_console(),
            },
        };
        Self { version, body }
    }
}

const fn word(managed_by: ManagedBy) -> &'static str {
    match managed_by {
        ManagedBy::Deployment => "deployment",
        ManagedBy::Console => "console",
    }
}

/// The security settings in force.
#[utoipa::path(get, path = "/v1/organization/security", tag = "organization", responses(
    (status = 200, description = "They, with their version in `ETag`.", body = SecurityAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it.", body = ErrorBody),
))]
pub(crate) async fn read(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Tagged<SecurityAnswer>, Failure> {
    Ok(doors.control.security(&ctx).await?.into())
}

/// Change fields of the security settings; those that are not named stay.
#[utoipa::path(patch, path = "/v1/organization/security", tag = "organization",
    params(("If-Match" = Option<String>, Header, description = "The version that the change is made to.")),
    request_body(content = Object, description = "Sections with the fields to change, named as in the answer.",
        example = json!({ "mfa": { "policy": "required_for_admins", "grace_period": "72h" } })),
    responses(
    (status = 200, description = "They, with their new version in `ETag`.", body = SecurityAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 409, description = "The deployment sets this section.", body = ErrorBody),
    (status = 412, description = "They have changed since that version.", body = ErrorBody),
    (status = 422, description = "A field is unknown, breaks a rule or is looser than the deployment allows.",
        body = ErrorBody),
))]
pub(crate) async fn change(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    IfMatch(expected): IfMatch,
    Input(patch): Input<Map<String, Value>>,
) -> Result<Tagged<SecurityAnswer>, Failure> {
    Ok(doors.control.change_security(&ctx, &expected, &patch, true).await?.into())
}
