use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use kt_domain::actor::Role;
use kt_domain::sign_in::MembershipState;
use kt_store::memberships;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, TestApi, on_both, token_in};

const JO: &str = "jo@acme.example";
const CHOSEN: &str = "Quiet-willow-4-lakes";

async fn invite(api: &TestApi, session: &Answer, email: &str, role: &str) -> Answer {
    // Letters are in the order of the moments at which they were written.
    api.clock.advance(Duration::from_secs(1));
    let body = json!({ "email": email, "role": role });
    api.post("/v1/invitations", body).bearer(session.access_token()).send().await
}

fn registration(token: &str) -> Value {
    json!({
        "organization": "acme", "email": JO, "name": "Jo Example", "password": CHOSEN, "invitation_token": token,
    })
}

async fn register(api: &TestApi, token: &str) -> Answer {
    api.post("/v1/auth/register", registration(token)).send().await
}

async fn accept(api: &TestApi, session: &Answer, token: &str) -> Answer {
    api.post("/v1/invitations/accept", json!({ "token": token })).bearer(session.access_token()).send().await
}

/// The one invitation of the list has this status.
async fn has_status(api: &TestApi, session: &Answer, status: &str) {
    let list = api.get("/v1/invitations").bearer(session.access_token()).send().await;
    assert_eq!(list.text("/invitations/0/status"), status);
}

on_both! {
    somebody_new_comes_by_an_invitation_as_what_it_says(api) {
        let owner = api.owner().await;
        let invited = invite(&api, &owner, JO, "admin").await;
        assert_eq!((invited.status, invited.text("/status")), (StatusCode::CREATED, "open"));
        assert!(!invited.json.to_string().contains("token"), "the link goes to the address alone");
        let token = api.token_for(JO).await;
        let shown = api.post("/v1/auth/invitation", json!({ "token": token })).send().await;
        assert_eq!((shown.text("/organization"), shown.text("/email"), shown.text("/role")), ("acme", JO, "admin"));

        let joined = register(&api, &token).await;
        assert_eq!((joined.status.as_u16(), joined.json), (202, json!({ "status": "active" })));
        let session = api.login(JO, CHOSEN).await;
        assert_eq!(session.text("/user/role"), "admin", "{}", session.json);
        has_status(&api, &owner, "accepted").await;
        assert_eq!(register(&api, &token).await.refusal(), (422, "invalid_token"), "once");
        assert!(api.recorded("invitation.made").await && api.recorded("invitation.accepted").await);
    }

    whoever_is_invited_without_a_role_comes_as_a_member(api) {
        let owner = api.owner().await;
        let body = json!({ "email": JO });
        let invited = api.post("/v1/invitations", body).bearer(owner.access_token()).send().await;
        assert_eq!((invited.status, invited.text("/role")), (StatusCode::CREATED, "member"));
    }

    an_account_joins_only_after_signing_in_with_the_invited_address(api) {
        let other = api.owner_of_another().await;
        let owner = api.owner().await;
        api.add_member("mia@acme.example", "member").await;
        let mia = api.login("mia@acme.example", PASSWORD).await;
        invite(&api, &owner, "owner@other.example", "auditor").await;
        let token = api.token_for("owner@other.example").await;
        let mut body = registration(&token);
        body["email"] = json!("owner@other.example");
        assert_eq!(api.post("/v1/auth/register", body).send().await.refusal(), (409, "account_exists"));
        assert_eq!(accept(&api, &mia, &token).await.refusal(), (403, "invited_another"));
        let nobody = api.post("/v1/invitations/accept", json!({ "token": token })).send().await;
        assert_eq!(nobody.refusal(), (401, "missing_key"));
        assert!(!api.recorded("invitation.accepted").await);
        assert_eq!(accept(&api, &other, &token).await.text("/organization"), "acme");
        assert!(api.recorded("invitation.accepted").await);
        assert_eq!(accept(&api, &other, &token).await.refusal(), (422, "invalid_token"));
        let body = json!({ "email": "owner@other.example", "password": PASSWORD, "organization": "acme" });
        let session = api.post("/v1/auth/login", body).send().await;
        assert_eq!((session.text("/organization/identifier"), session.text("/user/role")), ("acme", "auditor"));
    }

    somebody_who_was_removed_comes_back_by_an_invitation(api) {
        let owner = api.owner().await;
        let jo = api.add_member(JO, "admin").await;
        let remove = api.request(Method::DELETE, &format!("/v1/members/{jo}")).bearer(owner.access_token());
        assert_eq!(remove.send().await.status, StatusCode::NO_CONTENT);
        invite(&api, &owner, JO, "member").await;
        let token = api.token_for(JO).await;
        assert_eq!(register(&api, &token).await.status, StatusCode::ACCEPTED);
        assert_eq!(api.login(JO, PASSWORD).await.refusal(), (401, "invalid_credentials"));
        assert_eq!(api.login(JO, CHOSEN).await.text("/user/role"), "member");
        let changed = "Your password was changed";
        assert_eq!((api.told(JO, changed).await, api.records("auth.password_reset").await.len()), (1, 1));
        invite(&api, &owner, "kim@acme.example", "member").await;
        let mut body = registration(&api.token_for("kim@acme.example").await);
        body["email"] = json!("kim@acme.example");
        assert_eq!(api.post("/v1/auth/register", body).send().await.status, StatusCode::ACCEPTED);
        assert_eq!(api.told("kim@acme.example", changed).await, 0, "the control: somebody new had none");
        assert_eq!(api.records("auth.password_reset").await.len(), 1);
    }

    whoever_is_shut_out_elsewhere_comes_by_an_invitation_and_signs_in_where_they_are_let(api) {
        let elsewhere = api.owner_of_another().await;
        api.becomes(&elsewhere, Role::Member, MembershipState::Suspended).await;
        let owner = api.owner().await;
        invite(&api, &owner, "owner@other.example", "member").await;
        let mut body = registration(&api.token_for("owner@other.example").await);
        body["email"] = json!("owner@other.example");
        assert_eq!(api.post("/v1/auth/register", body).send().await.status, StatusCode::ACCEPTED);
        assert_eq!(api.login("owner@other.example", CHOSEN).await.text("/organization/identifier"), "acme");
        let there = json!({ "email": "owner@other.example", "password": CHOSEN, "organization": "other" });
        assert_eq!(api.post("/v1/auth/login", there).send().await.refusal(), (401, "invalid_credentials"));
    }

    nobody_invites_above_their_own_rank(api) {
        let roles = ["member", "auditor", "admin", "owner"];
        for (rank, actor) in roles.iter().enumerate() {
            let email = format!("{actor}.acts@acme.example");
            api.add_member(&email, actor).await;
            let session = api.login(&email, PASSWORD).await;
            for (invited_rank, role) in roles.iter().enumerate() {
                let answer = invite(&api, &session, &format!("{role}.by.{actor}@acme.example"), role).await;
                let expected = match (rank, invited_rank) {
                    (0 | 1, _) => StatusCode::FORBIDDEN,
                    (rank, invited) if invited > rank => StatusCode::FORBIDDEN,
                    _ => StatusCode::CREATED,
                };
                assert_eq!(answer.status, expected, "{actor} invites {role}: {}", answer.json);
            }
        }
    }

    an_invitation_ends_when_it_is_revoked_replaced_or_too_old(api) {
        let owner = api.owner().await;
        let id = invite(&api, &owner, JO, "member").await.text("/id").to_owned();
        assert_eq!(invite(&api, &owner, JO, "admin").await.refusal(), (409, "already_invited"));
        api.clock.advance(Duration::from_secs(1));
        let again = api.request(Method::POST, &format!("/v1/invitations/{id}/resend")).bearer(owner.access_token());
        assert_eq!(again.send().await.status, StatusCode::OK);
        let tokens: Vec<String> = api.letters_to(JO).await.iter().map(token_in).collect();
        assert_eq!(register(&api, &tokens[0]).await.refusal(), (422, "invalid_token"), "replaced");

        let revoke = || api.request(Method::DELETE, &format!("/v1/invitations/{id}")).bearer(owner.access_token()).send();
        assert_eq!(revoke().await.status, StatusCode::NO_CONTENT);
        assert_eq!(revoke().await.refusal(), (409, "invitation_is_over"));
        assert_eq!(register(&api, &tokens[1]).await.refusal(), (422, "invalid_token"), "revoked");
        has_status(&api, &owner, "revoked").await;

        assert_eq!(invite(&api, &owner, JO, "member").await.status, StatusCode::CREATED, "a new one may be made");
        let token = api.token_for(JO).await;
        api.clock.advance(Duration::from_secs(7 * 24 * 3600 - 1));
        let shown = api.post("/v1/auth/invitation", json!({ "token": token })).send().await;
        assert_eq!(shown.status, StatusCode::OK, "still good");
        api.clock.advance(Duration::from_secs(1));
        assert_eq!(register(&api, &token).await.refusal(), (422, "invalid_token"), "too old");
        has_status(&api, &api.owner().await, "expired").await;
    }

    an_invitation_outlives_neither_its_makers_place_nor_their_rank(api) {
        let maker = api.add_member("ada@acme.example", "admin").await;
        let session = api.login("ada@acme.example", PASSWORD).await;
        invite(&api, &session, JO, "admin").await;
        let token = api.token_for(JO).await;
        let place = memberships::of_user(&api.store, &maker).await.unwrap().remove(0);
        let put = async |role: &str, state| {
            let tx = api.store.begin_write().await.unwrap();
            let present = memberships::find(&tx, &place.organization, &maker).await.unwrap().unwrap();
            assert!(memberships::change(&tx, &present, role.parse().unwrap(), state).await.unwrap());
            tx.commit().await.unwrap();
        };
        put("admin", MembershipState::Suspended).await;
        assert_eq!(register(&api, &token).await.refusal(), (422, "invalid_token"));
        put("auditor", MembershipState::Active).await;
        assert_eq!(register(&api, &token).await.refusal(), (422, "invalid_token"));
        put("admin", MembershipState::Active).await;
        assert_eq!(register(&api, &token).await.status, StatusCode::ACCEPTED, "the control");
    }

    whoever_registered_before_with_an_invited_address_has_nothing_of_it(api) {
        api.set_registration(json!({ "self_registration": true, "signup_approval": false })).await;
        let mut squatter = registration("");
        squatter["password"] = json!("Third-meadow-7-hills");
        squatter.as_object_mut().unwrap().remove("invitation_token");
        assert_eq!(api.post("/v1/auth/register", squatter).send().await.status, StatusCode::ACCEPTED);
        let earlier = api.token_for(JO).await;
        let invited = invite(&api, &api.owner().await, JO, "admin").await;
        assert_eq!(invited.status, StatusCode::CREATED, "{}", invited.json);
        let token = api.token_for(JO).await;
        let joined = register(&api, &token).await;
        assert_eq!(joined.status, StatusCode::ACCEPTED, "{}", joined.json);
        assert_eq!(api.login(JO, "Third-meadow-7-hills").await.refusal(), (401, "invalid_credentials"));
        let verify = api.post("/v1/auth/email/verify", json!({ "token": earlier })).send().await;
        assert_eq!(verify.refusal(), (422, "invalid_token"));
        assert_eq!(api.login(JO, CHOSEN).await.text("/user/role"), "admin");
    }

    the_keys_of_somebody_who_was_removed_stay_ended_when_they_come_again(api) {
        let owner = api.owner().await;
        invite(&api, &owner, JO, "admin").await;
        register(&api, &api.token_for(JO).await).await;
        let jo = api.login(JO, CHOSEN).await;
        let body = json!({ "type": "access", "name": "Nightly", "scope": "read-only" });
        let key = api.post("/v1/tokens", body).bearer(jo.access_token()).send().await;
        let key = key.text("/key").to_owned();
        let use_it = || api.get("/v1/whoami").bearer(&key).send();
        assert_eq!(use_it().await.status, 200, "the control");
        let id = api.get("/v1/whoami").bearer(jo.access_token()).send().await.text("/user/id").to_owned();
        let remove = api.request(Method::DELETE, &format!("/v1/members/{id}")).bearer(owner.access_token());
        assert_eq!(remove.send().await.status, 204);
        assert_eq!(use_it().await.refusal(), (401, "invalid_key"));
        invite(&api, &owner, JO, "admin").await;
        register(&api, &api.token_for(JO).await).await;
        assert_eq!(api.login(JO, CHOSEN).await.json["status"], "authenticated", "they are back");
        assert_eq!(use_it().await.refusal(), (401, "invalid_key"), "their old key is not");
    }

    an_invitation_is_for_its_address_organization_and_role(api) {
        let owner = api.owner().await;
        invite(&api, &owner, JO, "member").await;
        let token = api.token_for(JO).await;
        api.owner_of_another().await;
        for (field, value) in [("email", "max@acme.example"), ("organization", "other"), ("role", "owner")] {
            let mut body = registration(&token);
            body[field] = json!(value);
            let answer = api.post("/v1/auth/register", body).send().await;
            assert_eq!(answer.refusal(), (422, "validation_error"), "{field}");
        }
        for path in ["/v1/auth/email/verify", "/v1/auth/email/undo"] {
            let answer = api.post(path, json!({ "token": token })).send().await;
            assert_eq!(answer.refusal(), (422, "invalid_token"), "{path}");
        }
        assert_eq!(register(&api, &token).await.status, StatusCode::ACCEPTED, "the control");
        assert_eq!(invite(&api, &owner, JO, "member").await.refusal(), (409, "already_member"));
    }

    another_organization_sees_and_touches_no_invitation(api) {
        let owner = api.owner().await;
        let id = invite(&api, &owner, JO, "member").await.text("/id").to_owned();
        let other = api.owner_of_another().await;
        let list = api.get("/v1/invitations").bearer(other.access_token()).send().await;
        assert_eq!(list.json["invitations"], json!([]));
        for (method, path) in [(Method::POST, format!("/v1/invitations/{id}/resend")), (Method::DELETE, format!("/v1/invitations/{id}"))] {
            let answer = api.request(method, &path).bearer(other.access_token()).send().await;
            assert_eq!(answer.refusal(), (404, "not_found"), "{path}");
        }
        has_status(&api, &owner, "open").await;
        api.clock.advance(Duration::from_mins(11));
        assert_eq!(invite(&api, &owner, "max@acme.example", "member").await.refusal(), (403, "reauthentication_required"));
    }

    the_list_is_read_in_pages(api) {
        let owner = api.owner().await;
        for n in 0..5 {
            invite(&api, &owner, &format!("guest{n}@acme.example"), "member").await;
        }
        let (mut seen, mut path) = (Vec::new(), "/v1/invitations?limit=2".to_owned());
        loop {
            let page = api.get(&path).bearer(owner.access_token()).send().await;
            let items = page.json["invitations"].as_array().unwrap();
            seen.extend(items.iter().map(|item| item["email"].as_str().unwrap().to_owned()));
            match page.json["next_cursor"].as_str() {
                Some(cursor) => path = format!("/v1/invitations?limit=2&cursor={cursor}"),
                None => break,
            }
        }
        let expected: Vec<String> = (0..5).rev().map(|n| format!("guest{n}@acme.example")).collect();
        assert_eq!(seen, expected);
        let forged = api.get("/v1/invitations?cursor=inv_1").bearer(owner.access_token()).send().await;
        assert_eq!(forged.refusal(), (422, "validation_error"));
    }

    of_a_thousand_who_use_an_invitation_one_succeeds(api) {
        invite(&api, &api.owner().await, JO, "member").await;
        let (token, api) = (api.token_for(JO).await, Arc::new(api));
        let tasks: Vec<_> = (0..1000).map(|_| {
            let (api, token) = (Arc::clone(&api), token.clone());
            tokio::spawn(async move { register(&api, &token).await })
        }).collect();
        let mut successes = 0;
        for task in tasks {
            let answer = task.await.unwrap();
            successes += usize::from(answer.status == StatusCode::ACCEPTED);
            assert!(answer.status == StatusCode::ACCEPTED || answer.refusal() == (422, "invalid_token"), "{}", answer.json);
        }
        assert_eq!(successes, 1);
    }
}
