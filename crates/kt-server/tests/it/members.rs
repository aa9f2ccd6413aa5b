use std::time::Duration;

use axum::http::Method;
use kt_domain::actor::Role;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, TestApi, on_both, side_by_side};

async fn set_role(api: &TestApi, token: &str, id: &str, role: &str) -> Answer {
    api.patch(&format!("/v1/members/{id}"), json!({ "role": role })).bearer(token).send().await
}

async fn act(api: &TestApi, token: &str, method: Method, id: &str, verb: &str) -> Answer {
    api.request(method, &format!("/v1/members/{id}{verb}")).bearer(token).send().await
}

async fn id_of(api: &TestApi, token: &str) -> String {
    api.get("/v1/whoami").bearer(token).send().await.text("/user/id").to_owned()
}

on_both! {
    members_are_listed_in_pages_and_seen_one_by_one(api) {
        for n in 0..5 {
            api.clock.advance(Duration::from_secs(1));
            api.add_member(&format!("m{n}@acme.example"), "member").await;
        }
        let owner = api.token_of("owner@acme.example").await;
        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let page = api.get(&format!("/v1/members?limit=2{next}")).bearer(&owner).send().await;
            let members = page.json["members"].as_array().unwrap();
            assert!(members.len() <= 2);
            seen.extend(members.iter().map(|member| member["email"].as_str().unwrap().to_owned()));
            match page.json["next_cursor"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => break,
            }
        }
        let expected: Vec<String> = std::iter::once("owner@acme.example".to_owned())
            .chain((0..5).map(|n| format!("m{n}@acme.example")))
            .collect();
        assert_eq!(seen, expected);
        let id = id_of(&api, &owner).await;
        let one = api.get(&format!("/v1/members/{id}")).bearer(&owner).send().await;
        assert_eq!((one.text("/role"), one.text("/status")), ("owner", "active"));
        assert!(one.json["last_sign_in_at"].is_string());
        for nobody in ["usr_nobody", "x"] {
            assert_eq!(api.get(&format!("/v1/members/{nobody}")).bearer(&owner).send().await.refusal(), (404, "not_found"));
        }
        assert_eq!(api.get("/v1/members?limit=1001").bearer(&owner).send().await.refusal(), (422, "validation_error"));
        assert_eq!(api.get("/v1/members?cursor=made-up").bearer(&owner).send().await.refusal(), (422, "validation_error"));
    }

    members_are_searched_for_on_every_page_of_the_list(api) {
        for n in 0..6 {
            api.clock.advance(Duration::from_secs(1));
            let name = if n % 2 == 0 { "even" } else { "odd" };
            api.add_member(&format!("{name}-{n}@acme.example"), "member").await;
        }
        let owner = api.token_of("owner@acme.example").await;
        let page = async |query: &str| {
            let page = api.get(&format!("/v1/members?{query}")).bearer(&owner).send().await;
            let emails = page.json["members"].as_array().unwrap_or_else(|| panic!("{}", page.json)).iter();
            let emails: Vec<_> = emails.map(|member| member["email"].as_str().unwrap().to_owned()).collect();
            (emails, page.json["next_cursor"].as_str().map(str::to_owned))
        };
        let (first, next) = page("q=EVEN-&limit=2").await;
        assert_eq!(first, ["even-0@acme.example", "even-2@acme.example"]);
        let (rest, next) = page(&format!("q=EVEN-&limit=2&cursor={}", next.unwrap())).await;
        assert_eq!((rest.as_slice(), next), (["even-4@acme.example".to_owned()].as_slice(), None));
        assert_eq!(page("q=").await.0.len(), 7);
        assert_eq!(page("q=%25").await.0.len(), 0);
        assert_eq!(page("q=owner&mfa=missing").await.0, ["owner@acme.example"]);
        for refused in ["q=%00".to_owned(), format!("q={}", "a".repeat(321))] {
            let answer = api.get(&format!("/v1/members?{refused}")).bearer(&owner).send().await;
            assert_eq!(answer.refusal(), (422, "validation_error"));
        }
    }

    another_role_is_felt_at_the_next_request(api) {
        let jo = api.add_member("jo@acme.example", "admin").await.to_string();
        let (owner, theirs) = (api.token_of("owner@acme.example").await, api.token_of("jo@acme.example").await);
        let settings = || api.get("/v1/organization/security").bearer(&theirs).send();
        assert_eq!(settings().await.status, 200);
        assert_eq!(set_role(&api, &owner, &jo, "member").await.text("/role"), "member");
        assert_eq!(settings().await.refusal(), (403, "insufficient_role"));
        assert_eq!(api.get("/v1/whoami").bearer(&theirs).send().await.text("/user/role"), "member");
        assert_eq!(set_role(&api, &owner, &jo, "member").await.status, 200, "no change");
        let records = api.records("member.role_changed").await;
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["resource"], jo.as_str());
        assert_eq!(records[0]["details"], json!({ "before": { "role": "admin" }, "after": { "role": "member" } }));
        assert_eq!(set_role(&api, &owner, &jo, "king").await.refusal(), (422, "validation_error"));
    }

    a_suspended_member_is_out_at_the_next_request_and_signs_in_anew_when_let_in_again(api) {
        let jo = api.add_member("jo@acme.example", "member").await.to_string();
        let owner = api.token_of("owner@acme.example").await;
        let session = api.login("jo@acme.example", PASSWORD).await;
        let theirs = session.access_token();
        assert_eq!(api.get("/v1/whoami").bearer(theirs).send().await.status, 200);
        assert_eq!(act(&api, &owner, Method::POST, &jo, "/suspend").await.text("/status"), "suspended");
        assert_eq!(api.get("/v1/whoami").bearer(theirs).send().await.refusal(), (401, "invalid_token"));
        let refresh = json!({ "refresh_token": session.text("/refresh_token") });
        assert_eq!(api.post("/v1/auth/refresh", refresh).send().await.refusal(), (401, "invalid_refresh_token"));
        assert_eq!(api.login("jo@acme.example", PASSWORD).await.refusal(), (401, "invalid_credentials"));
        assert_eq!(act(&api, &owner, Method::POST, &jo, "/suspend").await.status, 200, "twice is once");
        assert_eq!(act(&api, &owner, Method::POST, &jo, "/reactivate").await.text("/status"), "active");
        assert_eq!(api.get("/v1/whoami").bearer(theirs).send().await.refusal(), (401, "invalid_token"), "the old session stays over");
        assert_eq!(api.login("jo@acme.example", PASSWORD).await.json["status"], "authenticated");
        assert_eq!((api.records("member.suspended").await.len(), api.records("member.reactivated").await.len()), (1, 1));
        assert_eq!(api.told("jo@acme.example", "Your account at Acme is suspended").await, 1);
        assert_eq!(api.told("jo@acme.example", "Your account at Acme works again").await, 1);
    }

    a_member_is_signed_out_everywhere_without_being_suspended(api) {
        let jo = api.add_member("jo@acme.example", "member").await.to_string();
        api.add_member("admin@acme.example", "admin").await;
        let (owner, admin) = (api.token_of("owner@acme.example").await, api.token_of("admin@acme.example").await);
        let theirs = [api.token_of("jo@acme.example").await, api.token_of("jo@acme.example").await];
        let end = async |who: &str, whose: &str| act(&api, who, Method::POST, whose, "/end-sessions").await;
        assert_eq!(end(&admin, &jo).await.text("/status"), "active");
        for bearer in &theirs {
            assert_eq!(api.get("/v1/whoami").bearer(bearer).send().await.refusal(), (401, "invalid_token"));
        }
        assert_eq!(api.login("jo@acme.example", PASSWORD).await.json["status"], "authenticated", "and may come again");
        let records = api.records("session.revoked").await;
        assert_eq!(records.len(), 2);
        assert_eq!(records[0]["actor"]["name"], "admin@acme.example");
        let letters = api.letters_to("jo@acme.example").await;
        let told = letters.iter().filter(|letter| letter.content.subject.contains("signed out")).count();
        assert_eq!(told, 1, "one letter tells of all");
        let (owner_id, admin_id) = (id_of(&api, &owner).await, id_of(&api, &admin).await);
        assert_eq!(end(&admin, &owner_id).await.refusal(), (403, "rank_too_low"));
        assert_eq!(end(&admin, &admin_id).await.refusal(), (409, "own_membership"));
        api.clock.advance(Duration::from_mins(11));
        assert_eq!(end(&admin, &jo).await.refusal(), (403, "reauthentication_required"));
    }

    everybody_is_signed_out_at_once_as_far_as_the_rank_of_whoever_asks_reaches(api) {
        for (email, role) in [("jo@acme.example", "member"), ("kim@acme.example", "member"), ("admin@acme.example", "admin")] {
            api.add_member(email, role).await;
        }
        let other = api.organization("other").await;
        api.add_member_of(&other, "owner@other.example", Role::Owner).await;
        api.token_of("kim@acme.example").await;
        api.clock.advance(Duration::from_mins(40));
        let theirs = api.token_of("jo@acme.example").await;
        let (owner, admin) = (api.token_of("owner@acme.example").await, api.token_of("admin@acme.example").await);
        let elsewhere = api.token_of("owner@other.example").await;
        let end = async |who: &str| api.request(Method::DELETE, "/v1/organization/sessions").bearer(who).send().await;
        let is_in = async |who: &str| api.get("/v1/whoami").bearer(who).send().await.status == 200;
        assert_eq!(end(&theirs).await.refusal(), (403, "insufficient_role"));
        assert!(is_in(&theirs).await, "the control");
        assert_eq!(end(&admin).await.status, 204);
        assert!(!is_in(&theirs).await && is_in(&admin).await && is_in(&owner).await && is_in(&elsewhere).await);
        assert_eq!(api.records("session.revoked").await.len(), 1);
        let told = async |who: &str| {
            let letters = api.letters_to(who).await;
            letters.iter().filter(|letter| letter.content.subject.contains("signed out")).count()
        };
        assert_eq!((told("jo@acme.example").await, told("kim@acme.example").await), (1, 0), "none of hers lived");
        assert_eq!(end(&owner).await.status, 204);
        assert!(!is_in(&admin).await && is_in(&owner).await && is_in(&elsewhere).await);
        api.clock.advance(Duration::from_mins(11));
        assert_eq!(end(&owner).await.refusal(), (403, "reauthentication_required"));
    }

    whoever_is_removed_is_out_at_the_next_request_and_not_seen_again(api) {
        let jo = api.add_member("jo@acme.example", "member").await.to_string();
        let (owner, theirs) = (api.token_of("owner@acme.example").await, api.token_of("jo@acme.example").await);
        assert_eq!(act(&api, &owner, Method::DELETE, &jo, "").await.status, 204);
        assert_eq!(api.get("/v1/whoami").bearer(&theirs).send().await.refusal(), (401, "invalid_token"));
        assert_eq!(api.login("jo@acme.example", PASSWORD).await.refusal(), (401, "invalid_credentials"));
        for verb in ["/suspend", "/reactivate"] {
            assert_eq!(act(&api, &owner, Method::POST, &jo, verb).await.refusal(), (404, "not_found"));
        }
        assert_eq!(act(&api, &owner, Method::DELETE, &jo, "").await.refusal(), (404, "not_found"));
        assert_eq!(api.records("member.removed").await[0]["details"]["before"], json!({ "role": "member", "state": "active" }));
    }

    nobody_reaches_above_their_own_rank(api) {
        api.add_member("admin@acme.example", "admin").await;
        let jo = api.add_member("jo@acme.example", "member").await.to_string();
        let (owner, admin) = (api.token_of("owner@acme.example").await, api.token_of("admin@acme.example").await);
        let (owner_id, admin_id) = (id_of(&api, &owner).await, id_of(&api, &admin).await);
        assert_eq!(set_role(&api, &admin, &owner_id, "member").await.refusal(), (403, "rank_too_low"));
        assert_eq!(set_role(&api, &admin, &admin_id, "owner").await.refusal(), (403, "rank_too_low"));
        assert_eq!(set_role(&api, &admin, &jo, "owner").await.refusal(), (403, "rank_too_low"));
        assert_eq!(act(&api, &admin, Method::POST, &owner_id, "/suspend").await.refusal(), (403, "rank_too_low"));
        assert_eq!(act(&api, &admin, Method::DELETE, &owner_id, "").await.refusal(), (403, "rank_too_low"));
        assert_eq!(act(&api, &admin, Method::DELETE, &admin_id, "").await.refusal(), (409, "own_membership"));
        assert_eq!(set_role(&api, &admin, &jo, "admin").await.text("/role"), "admin", "the control");
        api.clock.advance(Duration::from_mins(11));
        assert_eq!(set_role(&api, &admin, &jo, "member").await.refusal(), (403, "reauthentication_required"));
    }

    the_last_owner_stays(api) {
        let owner = api.token_of("owner@acme.example").await;
        let id = id_of(&api, &owner).await;
        assert_eq!(set_role(&api, &owner, &id, "admin").await.refusal(), (409, "last_owner"));
        let second = api.add_member("second@acme.example", "owner").await.to_string();
        assert_eq!(act(&api, &owner, Method::POST, &second, "/suspend").await.status, 200);
        assert_eq!(set_role(&api, &owner, &id, "admin").await.refusal(), (409, "last_owner"), "a suspended owner runs nothing");
        act(&api, &owner, Method::POST, &second, "/reactivate").await;
        assert_eq!(set_role(&api, &owner, &id, "admin").await.text("/role"), "admin");
    }

    owners_that_remove_each_other_at_once_leave_one(api) {
        let mut owners = vec![(api.token_of("owner@acme.example").await, String::new())];
        owners[0].1 = id_of(&api, &owners[0].0).await;
        for n in 0..5 {
            let email = format!("owner{n}@acme.example");
            let id = api.add_member(&email, "owner").await.to_string();
            owners.push((api.token_of(&email).await, id));
        }
        let tries = (0..owners.len()).map(|n| {
            let (token, victim) = (&owners[n].0, &owners[(n + 1) % owners.len()].1);
            set_role(&api, token, victim, "member")
        });
        side_by_side(tries).await;
        side_by_side(owners.iter().map(|(token, id)| set_role(&api, token, id, "member"))).await;
        let mut left = 0;
        for (_, id) in &owners {
            let acme = kt_store::organizations::by_identifier(&api.store, "acme").await.unwrap().unwrap();
            let member = kt_store::memberships::member(&api.store, &acme.id, &id.parse().unwrap()).await.unwrap().unwrap();
            left += usize::from(member.membership.role == Role::Owner);
        }
        assert_eq!(left, 1);
    }

    nobody_reaches_into_another_organization(api) {
        let other = api.organization("other").await;
        let theirs = api.add_member_of(&other, "owner@other.example", Role::Owner).await.to_string();
        let owner = api.token_of("owner@acme.example").await;
        assert_eq!(set_role(&api, &owner, &theirs, "member").await.refusal(), (404, "not_found"));
        assert_eq!(act(&api, &owner, Method::DELETE, &theirs, "").await.refusal(), (404, "not_found"));
        assert_eq!(api.get(&format!("/v1/members/{theirs}")).bearer(&owner).send().await.refusal(), (404, "not_found"));
        let list = api.get("/v1/members").bearer(&owner).send().await;
        assert_eq!(list.json["members"].as_array().map(Vec::len), Some(1));
    }

    a_new_role_is_asked_for_a_second_factor_as_the_policy_says(api) {
        let jo = api.add_member("jo@acme.example", "member").await.to_string();
        let owner = api.token_of("owner@acme.example").await;
        let policy = json!({ "mfa": { "policy": "required_for_admins" } });
        api.patch("/v1/organization/security", policy).bearer(&owner).send().await;
        assert_eq!(set_role(&api, &owner, &jo, "admin").await.text("/mfa_asked_since"), "2026-03-15T14:22:31Z");
        assert_eq!(set_role(&api, &owner, &jo, "member").await.json["mfa_asked_since"], Value::Null);
    }
}
