use std::time::Duration;

use kt_control::SetUp;
use kt_domain::actor::Actor;
use kt_domain::ctx::Ctx;

use crate::databases::Kind;
use crate::harness::{PASSWORD, TestApi, on_both, side_by_side};

fn acme(password: &str) -> SetUp {
    SetUp {
        organization: "acme".into(),
        organization_name: "Acme".into(),
        email: "owner@acme.example".into(),
        name: "Olive Owner".into(),
        password: password.into(),
    }
}

async fn a_link_sets_up_once(kind: Kind) {
    let api = TestApi::empty(kind).await;
    let operator = api.operator();
    let anonymous = Ctx { actor: Actor::Anonymous, ..operator.clone() };
    let first = api.control.new_set_up_link(&operator).await.unwrap().unwrap();
    let link = api.control.new_set_up_link(&operator).await.unwrap().unwrap();
    assert_eq!(
        api.control.set_up_by_link(&anonymous, first.expose(), acme(PASSWORD)).await.unwrap_err().code,
        "invalid_token",
        "replaced by a newer one"
    );
    assert_eq!(
        api.control.set_up_by_link(&anonymous, link.expose(), acme("acme")).await.unwrap_err().code,
        "validation_error",
        "keeps the link good"
    );
    api.control.set_up_by_link(&anonymous, link.expose(), acme(PASSWORD)).await.unwrap();
    assert_eq!(
        api.control.set_up_by_link(&anonymous, link.expose(), acme(PASSWORD)).await.unwrap_err().code,
        "invalid_token"
    );
    assert!(api.control.new_set_up_link(&operator).await.unwrap().is_none());
    assert_eq!(api.control.set_up(&operator, acme(PASSWORD)).await.unwrap_err().code, "already_set_up");
    assert_eq!(api.control.set_up(&anonymous, acme(PASSWORD)).await.unwrap_err().code, "operator_required");
    api.owner().await;
}

#[tokio::test]
async fn a_link_sets_up_once_on_sqlite() {
    a_link_sets_up_once(Kind::Sqlite).await;
}

#[tokio::test]
async fn a_link_sets_up_once_on_postgres() {
    a_link_sets_up_once(Kind::Postgres).await;
}

#[tokio::test]
async fn a_link_ends_after_a_day() {
    for (hours, is_good) in [(23, true), (24, false)] {
        let api = TestApi::empty(Kind::Sqlite).await;
        let link = api.control.new_set_up_link(&api.operator()).await.unwrap().unwrap();
        api.clock.advance(Duration::from_hours(hours));
        let anonymous = Ctx { actor: Actor::Anonymous, ..api.operator() };
        let outcome = api.control.set_up_by_link(&anonymous, link.expose(), acme(PASSWORD)).await;
        assert_eq!(
            outcome.map_err(|error| error.code).err(),
            (!is_good).then_some("invalid_token"),
            "{hours} hours"
        );
    }
}

on_both! {
    from crate::harness::TestApi::empty;
    of_a_thousand_who_use_a_set_up_link_one_becomes_the_owner(api) {
        let link = api.control.new_set_up_link(&api.operator()).await.unwrap().unwrap();
        let anonymous = Ctx { actor: Actor::Anonymous, ..api.operator() };
        let all = (0..1000).map(|_| api.control.set_up_by_link(&anonymous, link.expose(), acme(PASSWORD)));
        let outcomes = side_by_side(all).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let codes: Vec<_> = outcomes.into_iter().filter_map(Result::err).map(|error| error.code).collect();
        assert!(codes.iter().all(|code| *code == "invalid_token"), "{codes:?}");
        api.owner().await;
    }

    of_a_thousand_who_set_up_without_a_link_one_does(api) {
        let operator = api.operator();
        let outcomes = side_by_side((0..1000).map(|_| api.control.set_up(&operator, acme(PASSWORD)))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let codes: Vec<_> = outcomes.into_iter().filter_map(Result::err).map(|error| error.code).collect();
        assert!(codes.iter().all(|code| *code == "already_set_up"), "{codes:?}");
        api.owner().await;
    }
}
