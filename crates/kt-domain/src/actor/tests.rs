use super::*;
use crate::random::Random;

fn person(role: Role) -> Actor {
    let mut random = Random::seeded(1);
    let now = Timestamp::UNIX_EPOCH;
    Actor::Person(Person {
        user: UserId::new(now, &mut random),
        organization: OrganizationId::new(now, &mut random),
        role,
        session: SessionId::new(now, &mut random),
        email: "somebody@example.com".into(),
        authenticated_at: now,
    })
}

fn program(kind: KeyKind, scope: Scope, owner_role: Role) -> Actor {
    let mut random = Random::seeded(2);
    let now = Timestamp::UNIX_EPOCH;
    Actor::Program(Program {
        key: ApiKeyId::new(now, &mut random),
        name: "deploy".into(),
        kind,
        organization: OrganizationId::new(now, &mut random),
        owner: UserId::new(now, &mut random),
        owner_role,
        scope,
    })
}

#[test]
fn nobody_may_do_anything_before_saying_who_they_are() {
    for permission in Permission::ALL {
        assert!(!Actor::Anonymous.may(*permission), "{permission:?}");
    }
}

#[test]
fn an_auditor_changes_nothing() {
    use Permission::{
        ChangeSettings, CloseRequests, Infer, ManageKeys, ManageMembers, RunGateways, ServeAsGateway, UseKeys,
    };
    let changes = [
        ChangeSettings,
        RunGateways,
        ManageMembers,
        CloseRequests,
        ManageKeys,
        UseKeys,
        Infer,
        ServeAsGateway,
    ];
    for permission in changes {
        assert!(!person(Role::Auditor).may(permission), "{permission:?}");
    }
    assert!(person(Role::Auditor).may(Permission::ReadAudit));
}

#[test]
fn an_access_key_never_reaches_further_than_its_scope_or_its_owner() {
    for permission in Permission::ALL.iter().copied() {
        for role in Role::ALL.iter().copied() {
            for scope in Scope::ALL.iter().copied() {
                let key = program(KeyKind::Access, scope, role);
                if key.may(permission) {
                    assert!(person(role).may(permission), "{permission:?} {role} {scope}");
                    let wider = Scope::ALL.iter().copied().filter(|wider| *wider >= scope);
                    for wider in wider {
                        assert!(
                            program(KeyKind::Access, wider, role).may(permission),
                            "a wider scope includes it"
                        );
                    }
                }
            }
        }
    }
    assert!(program(KeyKind::Access, Scope::Admin, Role::Owner).may(Permission::ChangeSettings));
    assert!(!program(KeyKind::Access, Scope::Admin, Role::Member).may(Permission::ChangeSettings));
    assert!(!program(KeyKind::Access, Scope::Write, Role::Owner).may(Permission::ChangeSettings));
    for change in [Permission::RunGateways, Permission::CloseRequests] {
        assert!(program(KeyKind::Access, Scope::Write, Role::Admin).may(change));
        assert!(!program(KeyKind::Access, Scope::ReadOnly, Role::Owner).may(change));
        assert!(!program(KeyKind::Access, Scope::Write, Role::Auditor).may(change));
    }
}

#[test]
fn a_gateway_key_serves_its_gateway_and_nothing_else_does() {
    for permission in Permission::ALL.iter().copied() {
        let serves = [Permission::ServeAsGateway, Permission::KnowOneself].contains(&permission);
        assert_eq!(
            program(KeyKind::Gateway, Scope::Admin, Role::Owner).may(permission),
            serves,
            "{permission:?}"
        );
    }
    for role in Role::ALL.iter().copied() {
        assert!(!person(role).may(Permission::ServeAsGateway));
        let key = |scope| program(KeyKind::Gateway, scope, role).may(Permission::ServeAsGateway);
        assert_eq!(key(Scope::Write), role >= Role::Admin, "an owner who may not give out such keys: {role}");
        assert!(!key(Scope::ReadOnly), "delivering events is more than reading");
        let knows_itself = program(KeyKind::Gateway, Scope::ReadOnly, role).may(Permission::KnowOneself);
        assert_eq!(knows_itself, role >= Role::Admin, "{role}");
    }
}

#[test]
fn words_read_back_and_others_are_refused_with_the_list() {
    for role in Role::ALL {
        assert_eq!(role.as_str().parse(), Ok(*role));
    }
    let error = "root".parse::<Role>().unwrap_err();
    assert_eq!(error.to_string(), "expected one of member, auditor, admin, owner");
    assert_eq!(serde_json::to_string(&Scope::ReadOnly).unwrap(), "\"read-only\"");
}
