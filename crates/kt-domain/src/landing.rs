//! Where somebody begins who has signed in and asked for no page (SPEC section 10; R236–R239).

use crate::actor::Role;

/// What the choice goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// What they are in the organization.
    pub role: Role,
    /// Whether they were the first of its administrators.
    pub is_first_admin: bool,
    /// Whether nobody else is active in it.
    pub is_alone: bool,
    /// Whether a gateway of it can be asked that has a model that answers.
    pub has_deployment: bool,
}

/// The path of the page where they begin.
#[must_use]
pub fn landing(arrival: Arrival) -> &'static str {
    if arrival.has_deployment {
        "/overview"
    } else if arrival.role != Role::Auditor && (arrival.is_first_admin || arrival.is_alone) {
        "/chat"
    } else if arrival.role == Role::Member {
        "/request-setup"
    } else {
        "/overview"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_lands_where_it_can_go_on() {
        let table = [
            // Role, first administrator, alone: without a deployment.
            (Role::Owner, true, true, "/chat"),
            (Role::Owner, true, false, "/chat"),
            (Role::Owner, false, false, "/overview"),
            (Role::Admin, true, false, "/chat"),
            (Role::Admin, false, false, "/overview"),
            (Role::Admin, false, true, "/chat"),
            (Role::Auditor, false, false, "/overview"),
            (Role::Auditor, false, true, "/overview"),
            (Role::Member, false, true, "/chat"),
            (Role::Member, false, false, "/request-setup"),
        ];
        for (role, is_first_admin, is_alone, page) in table {
            let arrival = Arrival { role, is_first_admin, is_alone, has_deployment: false };
            assert_eq!(landing(arrival), page, "{arrival:?}");
            assert_eq!(landing(Arrival { has_deployment: true, ..arrival }), "/overview");
        }
    }
}
