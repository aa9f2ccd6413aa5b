//! `/v1/members`: who belongs to the organization, and as what.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use kt_control::{FactorFilter, MemberView, WhichMembers};
use kt_domain::actor::Role;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::id::UserId;
use kt_domain::members::MemberChange;
use kt_domain::order::{MemberColumn, Order};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::paging::{Listing, PageParams};
use super::{ErrorBody, Failure, Input, Params};
use crate::Doors;
use crate::client::Caller;
use crate::download;

/// Which members.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MembersParams {
    /// `none`: those alone who have no second factor, whatever is asked of them; `missing`: those who have none, or not the
    /// one that is asked of them; `late`: those among them whose deadline has passed.
    #[param(value_type = Option<String>)]
    mfa: Option<FactorFilter>,
    /// Those alone whose name, address or role holds this.
    q: Option<String>,
    /// In which order: `created`, `name`, `email` or `last_sign_in`, with a minus in front for the greatest first; without
    /// it, as they joined. A cursor goes on in the order in which it was begun.
    #[param(value_type = Option<String>)]
    #[serde(default)]
    sort: Order<MemberColumn>,
}

impl MembersParams {
    /// The members that are asked for.
    fn which(self) -> WhichMembers {
        WhichMembers { factor: self.mfa, search: self.q, order: self.sort }
    }
}

/// A member.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemberAnswer {
    id: String,
    email: String,
    name: String,
    /// `owner`, `admin`, `auditor` or `member`.
    role: &'static str,
    /// `active` or `suspended`.
    status: &'static str,
    created_at: String,
    last_sign_in_at: Option<String>,
    /// Since when they have been asked for a second factor.
    mfa_asked_since: Option<String>,
    /// Whether they have a second factor.
    mfa_enabled: bool,
    /// From when on they can do nothing but add what they lack, if they lack something.
    mfa_deadline: Option<String>,
}

impl From<MemberView> for MemberAnswer {
    fn from(view: MemberView) -> Self {
        let MemberView { membership, email, name, has_second_factor, mfa_deadline, .. } = view;
        Self {
            mfa_enabled: has_second_factor,
            mfa_deadline: mfa_deadline.map(|at| at.to_string()),
            id: membership.user.to_string(),
            email,
            name,
            role: membership.role.as_str(),
            status: membership.state.as_str(),
            created_at: membership.created_at.to_string(),
            last_sign_in_at: membership.last_sign_in_at.map(|at| at.to_string()),
            mfa_asked_since: membership.mfa_asked_since.map(|at| at.to_string()),
        }
    }
}

/// Members.
#[derive(Serialize, ToSchema)]
pub(crate) struct MembersAnswer {
    members: Vec<MemberAnswer>,
    next_cursor: Option<String>,
}

/// Another role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberPatch {
    /// `owner`, `admin`, `auditor` or `member`.
    #[schema(value_type = String)]
    role: Role,
}

/// Who belongs to the organization.
#[utoipa::path(get, path = "/v1/members", tag = "people", params(PageParams, MembersParams), responses(
    (status = 200, description = "A page of members.", body = MembersAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it.", body = ErrorBody),
    (status = 422, description = "A parameter breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Listing { filter: params, page: request }: Listing<MembersParams>,
) -> Result<Json<MembersAnswer>, Failure> {
    let page = doors.control.members(&ctx, &request, &params.which()).await?;
    let members = page.items.into_iter().map(MemberAnswer::from).collect();
    Ok(Json(MembersAnswer { members, next_cursor: page.next_cursor }))
}

/// The same as a table (CSV), whole. Is recorded in the audit log.
#[utoipa::path(get, path = "/v1/members/export", tag = "people", params(MembersParams), responses(
    (status = 200, description = "The table, as a stream. One that breaks off is incomplete.", body = String,
        content_type = "text/csv"),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it.", body = ErrorBody),
    (status = 422, description = "A parameter breaks a rule.", body = ErrorBody),
    (status = 429, description = "As many copies are under way as one person may take at once.", body = ErrorBody),
))]
pub(crate) async fn export(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Params(params): Params<MembersParams>,
) -> Result<Response, Failure> {
    let export = doors.control.export_members(&ctx, &params.which()).await?;
    Ok(download::table(&doors.control, export, MEMBERS_FILE))
}

/// As what a table of members is saved.
pub(crate) const MEMBERS_FILE: &str = "attachment; filename=\"members.csv\"";

/// One member.
#[utoipa::path(get, path = "/v1/members/{id}", tag = "people", params(("id" = String, Path)), responses(
    (status = 200, description = "They.", body = MemberAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role does not allow it.", body = ErrorBody),
    (status = 404, description = "There is no such member.", body = ErrorBody),
))]
pub(crate) async fn read(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<Json<MemberAnswer>, Failure> {
    Ok(Json(doors.control.member(&ctx, &user(&id)?).await?.into()))
}

/// Give a member another role; felt at their next request.
#[utoipa::path(patch, path = "/v1/members/{id}", tag = "people", params(("id" = String, Path)),
    request_body = MemberPatch, responses(
    (status = 200, description = "They, with that role.", body = MemberAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Your role or rank does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such member.", body = ErrorBody),
    (status = 409, description = "They are the last active owner.", body = ErrorBody),
    (status = 422, description = "There is no such role.", body = ErrorBody),
))]
pub(crate) async fn change_role(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
    Input(patch): Input<MemberPatch>,
) -> Result<Json<MemberAnswer>, Failure> {
    change(&doors, &ctx, &id, MemberChange::Role(patch.role)).await
}

/// Suspend a member: nothing of theirs is let in any more, from the next request on.
#[utoipa::path(post, path = "/v1/members/{id}/suspend", tag = "people", params(("id" = String, Path)), responses(
    (status = 200, description = "They, suspended.", body = MemberAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Your role or rank does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such member.", body = ErrorBody),
    (status = 409, description = "It is yourself, or the last active owner.", body = ErrorBody),
))]
pub(crate) async fn suspend(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<Json<MemberAnswer>, Failure> {
    change(&doors, &ctx, &id, MemberChange::Suspend).await
}

/// Let a suspended member in again; they sign in anew.
#[utoipa::path(post, path = "/v1/members/{id}/reactivate", tag = "people", params(("id" = String, Path)), responses(
    (status = 200, description = "They, active.", body = MemberAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Your role or rank does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such member.", body = ErrorBody),
))]
pub(crate) async fn reactivate(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<Json<MemberAnswer>, Failure> {
    change(&doors, &ctx, &id, MemberChange::Reactivate).await
}

/// Sign a member out everywhere; they may sign in again at once. They are told by mail.
#[utoipa::path(post, path = "/v1/members/{id}/end-sessions", tag = "people", params(("id" = String, Path)), responses(
    (status = 200, description = "They, signed out.", body = MemberAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Your role or rank does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such member.", body = ErrorBody),
    (status = 409, description = "It is yourself: your own are ended at `/v1/me/sessions`.", body = ErrorBody),
))]
pub(crate) async fn end_sessions(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<Json<MemberAnswer>, Failure> {
    change(&doors, &ctx, &id, MemberChange::EndSessions).await
}

/// Why.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ResetMfaRequest {
    /// For the record, and for whoever it concerns: 3 to 500 characters. Without it both say that none was given.
    reason: Option<String>,
}

/// Remove all second factors of a member who has lost them. Their sessions end, and they are told by mail.
#[utoipa::path(post, path = "/v1/members/{id}/reset-mfa", tag = "people", params(("id" = String, Path)),
    request_body = Option<ResetMfaRequest>, responses(
    (status = 204, description = "They have none: they add one at their next sign-in, where one is asked for."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Your role or rank does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such member.", body = ErrorBody),
    (status = 409, description = "It is yourself, or the account belongs to another organization too.", body = ErrorBody),
    (status = 422, description = "The reason says nothing.", body = ErrorBody),
))]
pub(crate) async fn reset_mfa(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
    request: Option<Input<ResetMfaRequest>>,
) -> Result<StatusCode, Failure> {
    let request = request.map(|Input(request)| request).unwrap_or_default();
    doors.control.reset_second_factors(&ctx, &user(&id)?, request.reason.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End somebody's membership; their account stays theirs.
#[utoipa::path(delete, path = "/v1/members/{id}", tag = "people", params(("id" = String, Path)), responses(
    (status = 204, description = "They are no member any more."),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "Your role or rank does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 404, description = "There is no such member.", body = ErrorBody),
    (status = 409, description = "It is yourself, or the last active owner.", body = ErrorBody),
))]
pub(crate) async fn remove(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    doors.control.change_member(&ctx, &user(&id)?, MemberChange::Remove).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn change(
    doors: &Doors,
    ctx: &Ctx,
    id: &str,
    change: MemberChange,
) -> Result<Json<MemberAnswer>, Failure> {
    let member = doors.control.change_member(ctx, &user(id)?, change).await?;
    Ok(Json(member.ok_or_else(no_member)?.into()))
}

/// What is no identifier is answered as one that nobody has.
fn user(id: &str) -> Result<UserId, Error> {
    id.parse().map_err(|_| no_member())
}

fn no_member() -> Error {
    Error::not_found("member")
}
