//! `/v1/organization/ip-restrictions`: from where the organization can be reached.

use axum::Json;
use axum::extract::State;
use kt_control::{IpRestrictionsView, LockOutPreview, ShutOut};
use kt_domain::network::cidr::Cidr;
use kt_domain::network::console_rules::{AppliesTo, ConsoleRules, Denial, IpRestrictions, LabelledRange};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::versions::{IfMatch, Tagged};
use super::{ErrorBody, Failure, Input};
use crate::Doors;
use crate::client::Caller;

/// A range and what people call it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangeBody {
    /// Such as `203.0.113.0/24` or `2001:db8::/32`.
    #[schema(value_type = String)]
    cidr: Cidr,
    /// At most 100 characters.
    #[serde(default)]
    label: String,
}

/// The restrictions to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IpRestrictionsRequest {
    /// Whether `allow` is applied; `deny` always is.
    #[serde(default)]
    enforce_allowlist: bool,
    /// `console` or `console_and_api`, which is usual.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    applies_to: AppliesTo,
    /// Where requests may come from; none means anywhere.
    #[serde(default)]
    allow: Vec<RangeBody>,
    /// Where requests never come in from; it overrides `allow`.
    #[serde(default)]
    deny: Vec<RangeBody>,
    /// Whether your own address may be shut out.
    #[serde(default)]
    confirm_lockout: bool,
}

impl IpRestrictionsRequest {
    fn into_restrictions(self) -> IpRestrictions {
        let ranges = |list: Vec<RangeBody>| {
            list.into_iter().map(|RangeBody { cidr, label }| LabelledRange { cidr, label }).collect()
        };
        IpRestrictions {
            enforce_allowlist: self.enforce_allowlist,
            applies_to: self.applies_to,
            allow: ranges(self.allow),
            deny: ranges(self.deny),
        }
    }
}

/// The restrictions in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct IpRestrictionsAnswer {
    enforce_allowlist: bool,
    /// `console` or `console_and_api`.
    applies_to: &'static str,
    allow: Vec<RangeBody>,
    deny: Vec<RangeBody>,
    /// The address that this request came from.
    your_ip: Option<String>,
    /// Whether that address is let in where the restrictions apply.
    your_ip_allowed: bool,
}

impl From<IpRestrictionsView> for Tagged<IpRestrictionsAnswer> {
    fn from(view: IpRestrictionsView) -> Self {
        let IpRestrictionsView { restrictions, your_ip, version } = view;
        let ranges = |list: Vec<LabelledRange>| {
            list.into_iter().map(|LabelledRange { cidr, label }| RangeBody { cidr, label }).collect()
        };
        let body = IpRestrictionsAnswer {
            your_ip_allowed: ConsoleRules::from(&restrictions).decide_source(your_ip).is_ok(),
            your_ip: your_ip.map(|ip| ip.to_string()),
            enforce_allowlist: restrictions.enforce_allowlist,
            applies_to: restrictions.applies_to.as_str(),
            allow: ranges(restrictions.allow),
            deny: ranges(restrictions.deny),
        };
        Self { version, body }
    }
}

/// What restrictions would do.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewAnswer {
    your_ip: Option<String>,
    /// Whether they would shut out the address that this request came from.
    would_lock_out: bool,
    /// The living sessions whose holder was last seen at an address that would be refused, the newest first.
    shut_out: Vec<ShutOutAnswer>,
    /// The keys of programs and identity providers, used within 30 days, that would be refused here from where they were last
    /// used, the last used first. At a gateway they work on: its own lists count there.
    keys: Vec<ShutOutKeyAnswer>,
    /// The gateways that have reported within 30 days and whose reports last came from an address that would be refused.
    gateways: Vec<ShutOutGatewayAnswer>,
    /// Whether there are more sessions or keys than the newest thousand of each, which alone were looked at.
    incomplete: bool,
}

/// Why something would be shut out.
#[derive(Serialize, ToSchema)]
pub(crate) struct WhyShutOut {
    ip_address: String,
    /// `deny`, or `not_allowed` where no allowed range holds the address.
    matched_rule: &'static str,
    /// The range of the deny list that holds it.
    deny_range: Option<String>,
}

/// A session that would be shut out.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShutOutAnswer {
    user_id: String,
    email: String,
    #[serde(flatten)]
    why: WhyShutOut,
}

/// A key that would be refused.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShutOutKeyAnswer {
    id: String,
    name: String,
    #[serde(flatten)]
    why: WhyShutOut,
}

/// A gateway that would be refused.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShutOutGatewayAnswer {
    id: String,
    #[serde(flatten)]
    why: WhyShutOut,
}

impl<T> From<&ShutOut<T>> for WhyShutOut {
    fn from(shut_out: &ShutOut<T>) -> Self {
        Self {
            ip_address: shut_out.ip.to_string(),
            matched_rule: shut_out.denial.rule(),
            deny_range: match &shut_out.denial {
                Denial::Denied(range) => Some(range.to_string()),
                Denial::NotAllowed | Denial::Unresolved => None,
            },
        }
    }
}

impl From<LockOutPreview> for PreviewAnswer {
    fn from(preview: LockOutPreview) -> Self {
        let shut_out = preview.shut_out.into_iter().map(|session| ShutOutAnswer {
            why: (&session).into(),
            user_id: session.what.user.to_string(),
            email: session.what.email,
        });
        let keys = preview.keys.into_iter().map(|key| ShutOutKeyAnswer {
            why: (&key).into(),
            id: key.what.id.to_string(),
            name: key.what.name,
        });
        let gateways = preview
            .gateways
            .into_iter()
            .map(|gateway| ShutOutGatewayAnswer { why: (&gateway).into(), id: gateway.what });
        Self {
            your_ip: preview.your_ip.map(|ip| ip.to_string()),
            would_lock_out: preview.you.is_some(),
            shut_out: shut_out.collect(),
            keys: keys.collect(),
            gateways: gateways.collect(),
            incomplete: preview.is_cut,
        }
    }
}

/// From where the organization can be reached.
#[utoipa::path(get, path = "/v1/organization/ip-restrictions", tag = "organization", responses(
    (status = 200, description = "The restrictions, with their version in `ETag`.", body = IpRestrictionsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or the address does not allow it.", body = ErrorBody),
))]
pub(crate) async fn read(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
) -> Result<Tagged<IpRestrictionsAnswer>, Failure> {
    Ok(doors.control.ip_restrictions(&ctx).await?.into())
}

/// Put other restrictions in place of the present ones.
#[utoipa::path(put, path = "/v1/organization/ip-restrictions", tag = "organization",
    request_body = IpRestrictionsRequest,
    params(("If-Match" = Option<String>, Header, description = "The version that they replace.")),
    responses(
    (status = 200, description = "They, with their new version in `ETag`.", body = IpRestrictionsAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or the address does not allow it, or a fresh proof of identity is asked for.",
        body = ErrorBody),
    (status = 409, description = "They would shut out your own address, `your_ip`.", body = ErrorBody),
    (status = 412, description = "They have changed since that version.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn replace(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    IfMatch(expected): IfMatch,
    Input(request): Input<IpRestrictionsRequest>,
) -> Result<Tagged<IpRestrictionsAnswer>, Failure> {
    let confirm = request.confirm_lockout;
    let restrictions = request.into_restrictions();
    Ok(doors.control.replace_ip_restrictions(&ctx, &expected, restrictions, confirm).await?.into())
}

/// Tell whom restrictions would shut out. Nothing is changed.
#[utoipa::path(post, path = "/v1/organization/ip-restrictions/preview", tag = "organization",
    request_body = IpRestrictionsRequest, responses(
    (status = 200, description = "Whom they would shut out.", body = PreviewAnswer),
    (status = 401, description = "Nobody is signed in.", body = ErrorBody),
    (status = 403, description = "The role or the address does not allow it.", body = ErrorBody),
    (status = 422, description = "A field breaks a rule.", body = ErrorBody),
))]
pub(crate) async fn preview(
    State(doors): State<Doors>,
    Caller(ctx): Caller,
    Input(request): Input<IpRestrictionsRequest>,
) -> Result<Json<PreviewAnswer>, Failure> {
    Ok(Json(doors.control.preview_ip_restrictions(&ctx, &request.into_restrictions()).await?.into()))
}
