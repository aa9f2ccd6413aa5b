//! Who may do what to whom among the members of an organization.

use crate::actor::{Actor, Role};
use crate::error::{Error, ErrorKind};
use crate::id::UserId;

/// What is done to somebody's membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Give them this role.
    Role(Role),
    /// Let nothing of theirs in any more.
    Suspend,
    /// Let them in again.
    Reactivate,
    /// Sign them out everywhere; they may sign in again.
    EndSessions,
    /// End their membership.
    Remove,
}

/// Refuses a change by somebody of lower rank than whom it concerns or than the role it gives (ATTACKS: an administrator
/// who takes over an owner's account), and what would shut out the very person that does it.
pub fn allow_change(actor: &Actor, target: &UserId, role: Role, change: MemberChange) -> Result<(), Error> {
    let rank = actor.rank();
    if rank.is_none_or(|rank| role > rank) {
        return Err(Error::new(
            ErrorKind::Forbidden,
            "rank_too_low",
            format!("Somebody with the role {role} is changed by those of the same role only."),
        ));
    }
    match change {
        MemberChange::Role(given) if rank.is_none_or(|rank| given > rank) => Err(Error::new(
            ErrorKind::Forbidden,
            "rank_too_low",
            format!("You cannot give the role {given}: it is above your own."),
        )),
        MemberChange::Suspend | MemberChange::Remove if actor.user() == Some(target) => Err(Error::new(
            ErrorKind::Conflict,
            "own_membership",
            "You cannot suspend or remove yourself. Ask another administrator.",
        )),
        MemberChange::EndSessions if actor.user() == Some(target) => {
            Err(Error::new(ErrorKind::Conflict, "own_membership", "End your own sessions in your profile."))
        }
        _ => Ok(()),
    }
}

/// An organization without an owner could never be run again.
#[must_use]
pub fn last_owner() -> Error {
    let message = "This is the last active owner. Make somebody else an owner first.";
    Error::new(ErrorKind::Conflict, "last_owner", message)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::actor::Person;
    use crate::id::{OrganizationId, SessionId};
    use crate::random::Random;

    fn somebody(role: Role) -> (Actor, UserId) {
        let mut random = Random::seeded(1);
        let now: Timestamp = "2026-03-15T14:22:31Z".parse().unwrap();
        let user = UserId::new(now, &mut random);
        let person = Person {
            user: user.clone(),
            organization: OrganizationId::new(now, &mut random),
            role,
            session: SessionId::new(now, &mut random),
            email: "jo@example.com".into(),
            authenticated_at: now,
        };
        (Actor::Person(person), user)
    }

    #[test]
    fn nobody_changes_or_makes_somebody_of_higher_rank() {
        let (_, other) = somebody(Role::Member);
        let other = UserId::new(
            "2026-03-16T00:00:00Z".parse().unwrap(),
            &mut Random::seeded(other.as_str().len() as u64),
        );
        for &rank in Role::ALL {
            let (actor, _) = somebody(rank);
            for &role in Role::ALL {
                let changes = [
                    MemberChange::Suspend,
                    MemberChange::Reactivate,
                    MemberChange::EndSessions,
                    MemberChange::Remove,
                ];
                for change in changes {
                    let allowed = allow_change(&actor, &other, role, change).is_ok();
                    assert_eq!(allowed, role <= rank, "{rank} on {role}: {change:?}");
                }
                for &given in Role::ALL {
                    let allowed = allow_change(&actor, &other, role, MemberChange::Role(given)).is_ok();
                    assert_eq!(allowed, role <= rank && given <= rank, "{rank} makes {role} {given}");
                }
            }
        }
        let anonymous = allow_change(&Actor::Anonymous, &other, Role::Member, MemberChange::Remove);
        assert_eq!(anonymous.unwrap_err().code, "rank_too_low");
    }

    #[test]
    fn nobody_shuts_themselves_out_or_promotes_themselves() {
        let (admin, themselves) = somebody(Role::Admin);
        let code =
            |change| allow_change(&admin, &themselves, Role::Admin, change).err().map(|error| error.code);
        assert_eq!(code(MemberChange::Suspend), Some("own_membership"));
        assert_eq!(code(MemberChange::Remove), Some("own_membership"));
        assert_eq!(code(MemberChange::Role(Role::Owner)), Some("rank_too_low"));
        assert_eq!(code(MemberChange::Role(Role::Member)), None, "stepping down is one's own business");
    }
}
