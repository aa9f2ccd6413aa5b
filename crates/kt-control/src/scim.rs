//! Provisioning by SCIM: an identity provider makes, changes and ends memberships, and says who is in which group.
//!
//! The provider acts by a key of its own kind, in the name of whoever made it: it reaches nobody of higher rank than they
//! are, makes nobody an owner, and never leaves an organization without one.

mod groups;
mod users;

use kt_domain::actor::Permission;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_domain::scim::{Equals, ScimType};

use crate::control::Control;

pub use groups::ScimGroupView;
pub(crate) use groups::provisioned_groups;
pub use users::ScimUserView;

/// Which part of a list: the first place is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScimQuery {
    /// What fits: all of these hold.
    pub filter: Vec<Equals>,
    /// From where.
    pub from: i64,
    /// At most how many.
    pub limit: i64,
    /// Whether the members of groups, or the groups of users, are wanted too.
    pub with_places: bool,
}

impl Control {
    /// Where identity providers reach this deployment: by what the operator has configured, and never by what a request says.
    #[must_use]
    pub fn provisioning_address(&self) -> String {
        format!("{}/scim/v2", self.api_address().trim_end_matches('/'))
    }

    /// Lets an identity provider through, and nobody else.
    pub fn require_provisioning(&self, ctx: &Ctx) -> Result<(), Error> {
        ctx.require(Permission::Provision).map(|_| ())
    }
}

/// There is one that is called the same already.
fn taken(message: &'static str) -> Error {
    ScimType::Uniqueness.refusal(message)
}
