//! `/v1/configurations`: what gateways can be told to run.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use kt_control::{ConfigurationVersion, ConfigurationView, Linted, NewVersion, RollOutTo, VersionView};
use kt_domain::configurations::{KeptName, VersionId};
use kt_domain::error::Error;
use kt_domain::policy_config::Finding;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::paging::{Everything, Listing, PageParams};
use super::versions::{IfMatch, Tagged};
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::Caller;

/// A configuration to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConfigurationRequest {
    /// 1 to 40 small letters, digits and hyphens between them.
    name: String,
    /// The file, `policy-config.yaml`.
    text: String,
    /// Why, for people; at most 500 characters.
    #[serde(default)]
    note: String,
}

/// A version to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewVersionRequest {
    /// The file, `policy-config.yaml`.
    text: String,
    /// Why, for people; at most 500 characters.
    #[serde(default)]
    note: String,
}

/// A text to look at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LintRequest {
    /// The file, `policy-config.yaml`.
    text: String,
}

/// Who is to run a version.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollOutRequest {
    /// The number of the version; an older one rolls back.
    version: u32,
    /// The gateways; without them all, those that are yet to come too.
    #[serde(default)]
    gateways: Option<Vec<String>>,
}

/// A version, without its text.
#[derive(Serialize, ToSchema)]
pub(crate) struct VersionAnswer {
    /// `NAME@NUMBER`, as events name it.
    id: String,
    name: String,
    number: u32,
    sha256: String,
    author: String,
    note: String,
    created_at: String,
}

/// A configuration.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConfigurationAnswer {
    name: String,
    newest: VersionAnswer,
    /// The version of it that all gateways are told to run that are told nothing else.
    for_all: Option<String>,
    /// The versions of it that single gateways are told to run.
    for_single: Vec<String>,
}

/// Configurations.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConfigurationsAnswer {
    configurations: Vec<ConfigurationAnswer>,
    next_cursor: Option<String>,
}

/// Versions.
#[derive(Serialize, ToSchema)]
pub(crate) struct VersionsAnswer {
    versions: Vec<VersionAnswer>,
    next_cursor: Option<String>,
}

/// A version with its text.
#[derive(Serialize, ToSchema)]
pub(crate) struct VersionTextAnswer {
    #[serde(flatten)]
    version: VersionAnswer,
    text: String,
    /// The number of the newest version of the same configuration.
    newest: u32,
}

/// What there is to say about a text.
#[derive(Serialize, ToSchema)]
pub(crate) struct LintAnswer {
    /// Whether it could be saved.
    valid: bool,
    #[schema(value_type = Vec<Object>)]
    errors: Vec<Finding>,
    #[schema(value_type = Vec<Object>)]
    warnings: Vec<Finding>,
    /// The credentials that it names and that are not kept.
    missing_credentials: Vec<String>,
}

impl From<ConfigurationVersion> for VersionAnswer {
    fn from(version: ConfigurationVersion) -> Self {
        Self {
            id: version.id.to_string(),
            number: version.id.number,
            name: version.id.name.into(),
            sha256: version.sha256,
            author: version.author,
            note: version.note,
            created_at: version.created_at.to_string(),
        }
    }
}

impl From<ConfigurationView> for ConfigurationAnswer {
    fn from(view: ConfigurationView) -> Self {
        Self {
            name: view.newest.id.name.to_string(),
            newest: view.newest.into(),
            for_all: view.for_all.map(|version| version.to_string()),
            for_single: view.for_single.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Its version is the number of the newest: a change is made to that.
impl From<VersionView> for Tagged<VersionTextAnswer> {
    fn from(view: VersionView) -> Self {
        let VersionView { version, text, newest } = view;
        Self {
            version: newest.to_string(),
            body: VersionTextAnswer { version: version.into(), text, newest },
        }
    }
}

impl From<Linted> for LintAnswer {
    fn from(linted: Linted) -> Self {
        let errors: Vec<Finding> = linted.errors().cloned().collect();
        let is_warning = |finding: &Finding| !errors.contains(finding);
        Self {
            valid: errors.is_empty() && linted.missing_credentials.is_empty(),
            warnings: linted.findings.into_iter().filter(is_warning).collect(),
            errors,
            missing_credentials: linted.missing_credentials,
        }
    }
}

/// The configurations that are kept here.
#[utoipa::path(get, path = "/v1/configurations", tag = "evidence", params(PageParams), responses(
    (status = 200, description = "By name.", body = ConfigurationsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or scope does not allow it.", body = ErrorBody),
    (status = 422, description = "`limit` or `cursor` is not valid.", body = ErrorBody),
))]
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { page: request, .. }: Listing<Everything>,
) -> Result<Json<ConfigurationsAnswer>, Failure> {
    let page = doors.control.configurations(&ctx, &request).await?;
    let configurations = page.items.into_iter().map(ConfigurationAnswer::from).collect();
    Ok(Json(ConfigurationsAnswer { configurations, next_cursor: page.next_cursor }))
}

/// Save the first version of a configuration. No gateway runs it until it is rolled out.
#[utoipa::path(post, path = "/v1/configurations", tag = "evidence", request_body = NewConfigurationRequest, responses(
    (status = 201, description = "It was saved.", body = VersionTextAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or scope, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 409, description = "There is a configuration of this name.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule, or the configuration is not valid: then `findings` says where.",
        body = ErrorBody),
))]
pub(crate) async fn create(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(request): Input<NewConfigurationRequest>,
) -> Result<(StatusCode, Tagged<VersionTextAnswer>), Failure> {
    let NewConfigurationRequest { name, text, note } = request;
    let name: KeptName = name.parse().map_err(|why| Error::invalid("name", format!("{why}")))?;
    let saved = doors.control.create_configuration(&ctx, &name, NewVersion { text, note }).await?;
    Ok((StatusCode::CREATED, saved.into()))
}

/// Look at a text as `kt policy lint` does. Nothing is kept.
#[utoipa::path(post, path = "/v1/configurations/lint", tag = "evidence", request_body = LintRequest, responses(
    (status = 200, description = "What there is to say.", body = LintAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or scope does not allow it.", body = ErrorBody),
))]
pub(crate) async fn lint(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(request): Input<LintRequest>,
) -> Result<Json<LintAnswer>, Failure> {
    Ok(Json(doors.control.lint_configuration(&ctx, &request.text).await?.into()))
}

/// One configuration.
#[utoipa::path(get, path = "/v1/configurations/{name}", tag = "evidence", params(("name" = String, Path)), responses(
    (status = 200, description = "The configuration, without its text.", body = ConfigurationAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or scope does not allow it.", body = ErrorBody),
    (status = 404, description = "There is no such configuration.", body = ErrorBody),
))]
pub(crate) async fn read(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(name): Path<String>,
) -> Result<Json<ConfigurationAnswer>, Failure> {
    Ok(Json(doors.control.configuration(&ctx, &kept(&name)?).await?.into()))
}

/// The versions of a configuration, the newest first.
#[utoipa::path(get, path = "/v1/configurations/{name}/versions", tag = "evidence",
    params(("name" = String, Path), PageParams), responses(
    (status = 200, description = "Versions, without their texts.", body = VersionsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or scope does not allow it.", body = ErrorBody),
    (status = 404, description = "There is no such configuration.", body = ErrorBody),
    (status = 422, description = "`limit` or `cursor` is not valid.", body = ErrorBody),
))]
pub(crate) async fn versions(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(name): Path<String>,
    Listing { page: request, .. }: Listing<Everything>,
) -> Result<Json<VersionsAnswer>, Failure> {
    let page = doors.control.configuration_versions(&ctx, &kept(&name)?, &request).await?;
    let versions = page.items.into_iter().map(VersionAnswer::from).collect();
    Ok(Json(VersionsAnswer { versions, next_cursor: page.next_cursor }))
}

/// Save a further version. One that is the newest already changes nothing.
#[utoipa::path(post, path = "/v1/configurations/{name}/versions", tag = "evidence",
    params(("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "The number of the version that it was made from.")),
    request_body = NewVersionRequest, responses(
    (status = 201, description = "The newest version, its number in `ETag`.", body = VersionTextAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or scope, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such configuration.", body = ErrorBody),
    (status = 412, description = "Somebody else has saved a version meanwhile.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule, or the configuration is not valid: then `findings` says where.",
        body = ErrorBody),
))]
pub(crate) async fn save(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(name): Path<String>,
    IfMatch(expected): IfMatch,
    Input(request): Input<NewVersionRequest>,
) -> Result<(StatusCode, Tagged<VersionTextAnswer>), Failure> {
    let new = NewVersion { text: request.text, note: request.note };
    let saved = doors.control.save_configuration(&ctx, &kept(&name)?, &expected, new).await?;
    Ok((StatusCode::CREATED, saved.into()))
}

/// A version with its text.
#[utoipa::path(get, path = "/v1/configurations/{name}/versions/{number}", tag = "evidence",
    params(("name" = String, Path), ("number" = String, Path, description = "Its number, or `newest`.")), responses(
    (status = 200, description = "The version; the number of the newest in `ETag`.", body = VersionTextAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or scope does not allow it.", body = ErrorBody),
    (status = 404, description = "There is no such version.", body = ErrorBody),
))]
pub(crate) async fn version(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path((name, number)): Path<(String, String)>,
) -> Result<Tagged<VersionTextAnswer>, Failure> {
    let number = match number.as_str() {
        "newest" => None,
        digits => Some(digits.parse().map_err(|_| no_configuration())?),
    };
    Ok(doors.control.configuration_version(&ctx, &kept(&name)?, number).await?.into())
}

/// Tell gateways to run a version. An older one rolls back.
#[utoipa::path(post, path = "/v1/configurations/{name}/rollout", tag = "evidence", params(("name" = String, Path)),
    request_body = RollOutRequest, responses(
    (status = 204, description = "They are told."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Not for this role or scope, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such version.", body = ErrorBody),
    (status = 409, description = "A gateway is configured by its own files.", body = ErrorBody),
    (status = 422, description = "It is not valid any more, names a credential that is not kept, or a gateway is not here.",
        body = ErrorBody),
))]
pub(crate) async fn roll_out(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(name): Path<String>,
    Input(request): Input<RollOutRequest>,
) -> Result<StatusCode, Failure> {
    let id = VersionId { name: kept(&name)?, number: request.version };
    let to = request.gateways.map_or(RollOutTo::All, RollOutTo::Gateways);
    doors.control.roll_out(&ctx, &id, &to).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A text that is no name names nothing.
fn kept(name: &str) -> Result<KeptName, Error> {
    name.parse().map_err(|_| no_configuration())
}

fn no_configuration() -> Error {
    Error::not_found("configuration")
}
