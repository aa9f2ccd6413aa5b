//! What identity providers of every protocol have in common, as the API takes and tells it.

use kt_control::ProviderView;
use kt_domain::actor::Role;
use kt_domain::span::Span;
use kt_domain::sso::{AttributeNames, GroupRole, ProviderSettings, PublishedProblem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Under which names the provider sends what is needed.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AttributesBody {
    email: String,
    name: String,
    groups: String,
}

impl Default for AttributesBody {
    fn default() -> Self {
        AttributeNames::default().into()
    }
}

impl From<AttributeNames> for AttributesBody {
    fn from(AttributeNames { email, name, groups }: AttributeNames) -> Self {
        Self { email, name, groups }
    }
}

/// A group and the role of those in it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupRoleBody {
    /// Exactly as the provider sends it.
    group: String,
    /// `member`, `auditor` or `admin`.
    #[schema(value_type = String)]
    role: Role,
}

/// What providers of every protocol share.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct ProviderBody {
    /// What people call it.
    display_name: String,
    attributes: AttributesBody,
    /// Where there are any, groups decide the role at every sign-in, but never an owner's.
    group_roles: Vec<GroupRoleBody>,
    /// The role of whoever is in none of these groups; never `owner`.
    #[schema(value_type = String)]
    default_role: Role,
    /// Whether somebody without an account gets one at their first sign-in.
    just_in_time: bool,
    /// Whether its addresses count as verified although it does not say so.
    trust_email: bool,
    /// Whether members with an address in the organization's domains sign in through it alone; owners keep a way past it.
    required: bool,
    /// Whether it has to say that two factors were used; where it does not, one of ours is asked for.
    require_mfa: bool,
    /// The values of `amr` or `acr` by which it says so.
    mfa_values: Vec<String>,
    /// How long a session lasts at most that was opened through it, such as `8h`.
    #[schema(value_type = Option<String>)]
    session_limit: Option<Span>,
}

impl Default for ProviderBody {
    fn default() -> Self {
        ProviderSettings::default().into()
    }
}

impl From<ProviderSettings> for ProviderBody {
    fn from(settings: ProviderSettings) -> Self {
        let group = |GroupRole { group, role }| GroupRoleBody { group, role };
        Self {
            display_name: settings.display_name,
            attributes: settings.attributes.into(),
            group_roles: settings.group_roles.into_iter().map(group).collect(),
            default_role: settings.default_role,
            just_in_time: settings.just_in_time,
            trust_email: settings.trust_email,
            required: settings.required,
            require_mfa: settings.require_mfa,
            mfa_values: settings.mfa_values,
            session_limit: settings.session_limit,
        }
    }
}

impl From<ProviderBody> for ProviderSettings {
    fn from(body: ProviderBody) -> Self {
        let AttributesBody { email, name, groups } = body.attributes;
        let group = |GroupRoleBody { group, role }| GroupRole { group, role };
        Self {
            display_name: body.display_name,
            attributes: AttributeNames { email, name, groups },
            group_roles: body.group_roles.into_iter().map(group).collect(),
            default_role: body.default_role,
            just_in_time: body.just_in_time,
            trust_email: body.trust_email,
            required: body.required,
            require_mfa: body.require_mfa,
            mfa_values: body.mfa_values,
            session_limit: body.session_limit,
        }
    }
}

/// Why nobody can come in through a provider at this moment.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProblemAnswer {
    /// What cannot be had of what it publishes: `metadata` or `keys`.
    part: &'static str,
    since: String,
    why: String,
}

impl From<PublishedProblem> for ProblemAnswer {
    fn from(problem: PublishedProblem) -> Self {
        Self { part: problem.part.as_str(), since: problem.since.to_string(), why: problem.why }
    }
}

/// A provider, whatever it speaks.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProviderAnswer {
    id: String,
    enabled: bool,
    /// How many accounts it is linked to.
    linked_accounts: i64,
    /// When somebody last came through it.
    last_used_at: Option<String>,
    /// Why nobody can come in through it at this moment.
    problem: Option<ProblemAnswer>,
    settings: ProviderBody,
}

impl From<ProviderView> for ProviderAnswer {
    fn from(view: ProviderView) -> Self {
        Self {
            id: view.id.to_string(),
            enabled: view.enabled,
            linked_accounts: view.linked,
            last_used_at: view.used_at.map(|at| at.to_string()),
            problem: view.problem.map(Into::into),
            settings: view.settings.into(),
        }
    }
}
