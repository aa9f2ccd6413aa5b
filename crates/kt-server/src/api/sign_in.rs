//! `/v1/auth`: signing in, carrying a session on, and ending it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kt_control::{Credentials, SessionTokens, SignIn, SignInOutcome, Whoami};
use kt_domain::error::Error;
use kt_domain::sessions::Door;
use kt_domain::sign_in::Factor;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::{Caller, Visitor};

/// An address and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginRequest {
    email: String,
    password: String,
    /// The organization's identifier, where somebody belongs to several.
    organization: Option<String>,
    /// The secret that an earlier sign-in on this device has answered: it keeps strangers' wrong passwords from locking
    /// this device out.
    device_token: Option<String>,
}

/// What a step of a sign-in came to.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum LoginAnswer {
    Authenticated(Box<Authenticated>),
    MfaRequired { flow_token: String, methods: Vec<String> },
    MfaEnrollmentRequired { flow_token: String },
    PasswordChangeRequired { flow_token: String, reason: String },
    PendingVerification,
    PendingApproval,
}

/// A session.
#[derive(Serialize, ToSchema)]
pub(crate) struct Authenticated {
    #[serde(flatten)]
    tokens: SessionTokensAnswer,
    #[serde(flatten)]
    whoami: WhoamiAnswer,
    /// Keep it and send it at the next sign-in on this device.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<String>,
}

/// The tokens of a session.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionTokensAnswer {
    access_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    refresh_token: String,
}

/// Somebody.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserAnswer {
    id: String,
    email: String,
    name: String,
    role: String,
}

/// An organization.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrganizationAnswer {
    id: String,
    identifier: String,
    name: String,
}

impl From<SessionTokens> for SessionTokensAnswer {
    fn from(tokens: SessionTokens) -> Self {
        Self {
            access_token: tokens.access_token,
            token_type: "Bearer",
            expires_in: tokens.expires_in,
            refresh_token: tokens.refresh_token,
        }
    }
}

/// Who asks, and where.
#[derive(Serialize, ToSchema)]
pub(crate) struct WhoamiAnswer {
    user: UserAnswer,
    organization: OrganizationAnswer,
    /// The key by which a program asks in the user's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<WhoamiKeyAnswer>,
}

/// The key by which a program asks.
#[derive(Serialize, ToSchema)]
pub(crate) struct WhoamiKeyAnswer {
    id: String,
    name: String,
    /// `access`, `gateway` or `scim`.
    r#type: String,
    scope: String,
}

impl From<Whoami> for WhoamiAnswer {
    fn from(whoami: Whoami) -> Self {
        let user = UserAnswer {
            id: whoami.user.to_string(),
            email: whoami.email,
            name: whoami.name,
            role: whoami.role.to_string(),
        };
        let organization = OrganizationAnswer {
            id: whoami.organization.to_string(),
            identifier: whoami.organization_identifier,
            name: whoami.organization_name,
        };
        let key = whoami.key.map(|key| WhoamiKeyAnswer {
            id: key.id.to_string(),
            name: key.name,
            r#type: key.kind.to_string(),
            scope: key.scope.to_string(),
        });
        Self { user, organization, key }
    }
}

impl TryFrom<SignInOutcome> for LoginAnswer {
    type Error = Error;

    fn try_from(outcome: SignInOutcome) -> Result<Self, Error> {
        Ok(match outcome {
            SignInOutcome::Authenticated(signed_in) => {
                let Credentials::Tokens(tokens) = signed_in.credentials else {
                    return Err(Error::internal("a session of the console was made at the API"));
                };
                Self::Authenticated(Box::new(Authenticated {
                    tokens: tokens.into(),
                    whoami: signed_in.whoami.into(),
                    device_token: signed_in.new_device,
                }))
            }
            SignInOutcome::MfaRequired { flow_token, methods } => {
                Self::MfaRequired { flow_token, methods: methods.iter().map(ToString::to_string).collect() }
            }
            SignInOutcome::MfaEnrollmentRequired { flow_token } => Self::MfaEnrollmentRequired { flow_token },
            SignInOutcome::PasswordChangeRequired { flow_token, reason } => {
                Self::PasswordChangeRequired { flow_token, reason: reason.to_string() }
            }
            SignInOutcome::PendingVerification => Self::PendingVerification,
            SignInOutcome::PendingApproval => Self::PendingApproval,
        })
    }
}

/// Sign in by password.
#[utoipa::path(post, path = "/v1/auth/login", tag = "sign-in", security(()), request_body = LoginRequest, responses(
    (status = 200, description = "What comes next; with `authenticated`, a session.", body = LoginAnswer),
    (status = 401, description = "Not let in.", body = ErrorBody),
    (status = 403, description = "The organization signs in through its identity provider alone (`sso_required`), or its address rules refuse this (`ip_denied`).", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
    (status = 503, description = "Too many sign-ins at once, or the store is out of order.", body = ErrorBody),
))]
pub(crate) async fn login(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<LoginRequest>,
) -> Result<Json<LoginAnswer>, Failure> {
    let sign_in = SignIn {
        email: request.email,
        password: request.password,
        organization: request.organization,
        device: request.device_token,
        door: Door::Api,
    };
    let outcome = doors.control.sign_in(&ctx, sign_in).await?;
    Ok(Json(outcome.try_into()?))
}

/// A code of a second factor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyRequest {
    flow_token: String,
    /// `totp` or `recovery_code`.
    #[schema(value_type = String)]
    method: CodeMethod,
    code: String,
}

/// The second factors that are codes.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CodeMethod {
    Totp,
    RecoveryCode,
}

/// Go on with a sign-in by a code of a second factor. After a wrong one the same flow token can be used again, five times.
#[utoipa::path(post, path = "/v1/auth/mfa/verify", tag = "sign-in", security(()), request_body = VerifyRequest, responses(
    (status = 200, description = "What comes next; with `authenticated`, a session.", body = LoginAnswer),
    (status = 401, description = "The code is wrong or was used, or the step is over.", body = ErrorBody),
    (status = 403, description = "The organization signs in through its identity provider alone (`sso_required`), or its address rules refuse this (`ip_denied`).", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
    (status = 429, description = "Too many wrong codes.", body = ErrorBody),
))]
pub(crate) async fn verify(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<VerifyRequest>,
) -> Result<Json<LoginAnswer>, Failure> {
    let factor = match request.method {
        CodeMethod::Totp => Factor::Totp,
        CodeMethod::RecoveryCode => Factor::RecoveryCode,
    };
    let outcome =
        doors.control.verify_second_factor(&ctx, &request.flow_token, factor, &request.code).await?;
    Ok(Json(outcome.try_into()?))
}

/// A new password in place of one that must be replaced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplaceRequest {
    flow_token: String,
    new_password: String,
}

/// What was done.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusAnswer {
    pub(crate) status: &'static str,
}

/// Replace a password that must be replaced; then sign in with the new one.
#[utoipa::path(post, path = "/v1/auth/password/replace", tag = "passwords", security(()), request_body = ReplaceRequest, responses(
    (status = 200, description = "`password_changed`.", body = StatusAnswer),
    (status = 401, description = "The step is over.", body = ErrorBody),
    (status = 422, description = "The password breaks rules; `violations` lists them.", body = ErrorBody),
))]
pub(crate) async fn replace_password(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<ReplaceRequest>,
) -> Result<Json<StatusAnswer>, Failure> {
    doors.control.replace_password(&ctx, &request.flow_token, &request.new_password).await?;
    Ok(Json(StatusAnswer { status: "password_changed" }))
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshRequest {
    refresh_token: String,
}

/// New tokens for old; the refresh token works once.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "sign-in", security(()), request_body = RefreshRequest, responses(
    (status = 200, description = "New tokens.", body = SessionTokensAnswer),
    (status = 401, description = "The session is over.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn refresh(
    State(doors): State<Doors>,
    Visitor(ctx): Visitor,
    Input(request): Input<RefreshRequest>,
) -> Result<Json<SessionTokensAnswer>, Failure> {
    let tokens = doors.control.refresh(&ctx, &request.refresh_token).await?;
    Ok(Json(tokens.into()))
}

/// End the session that asks.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "sign-in", responses(
    (status = 204, description = "It is over."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
))]
pub(crate) async fn logout(State(doors): State<Doors>, Caller(ctx): Caller) -> Result<StatusCode, Failure> {
    doors.control.sign_out(&ctx).await?;
    Ok(StatusCode::NO_CONTENT)
}
