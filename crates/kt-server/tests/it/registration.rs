use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, TestApi, on_both, token_in};

const JO: &str = "jo@acme.example";
const CHOSEN: &str = "Quiet-willow-4-lakes";

fn request(email: &str, password: &str) -> Value {
    json!({ "organization": "acme", "email": email, "name": "Jo Example", "password": password })
}

async fn register(api: &TestApi, email: &str, password: &str) -> Answer {
    // Letters are in the order of the moments at which they were written.
    api.clock.advance(Duration::from_secs(1));
    api.post("/v1/auth/register", request(email, password)).send().await
}

async fn verify(api: &TestApi, token: &str) -> Answer {
    api.post("/v1/auth/email/verify", json!({ "token": token })).send().await
}

/// Lets everybody register; with `approval`, an administrator has the last word.
async fn open(api: &TestApi, approval: bool) {
    api.set_registration(json!({ "self_registration": true, "signup_approval": approval })).await;
}

/// Somebody who has registered and verified their address; their id in the queue.
async fn waiting(api: &TestApi, admin: &Answer) -> String {
    open(api, true).await;
    register(api, JO, CHOSEN).await;
    let verified = verify(api, &api.token_for(JO).await).await;
    assert_eq!(verified.json, json!({ "status": "pending_approval" }));
    let list = api.get("/v1/registrations").bearer(admin.access_token()).send().await;
    list.text("/registrations/0/id").to_owned()
}

on_both! {
    nobody_registers_where_it_is_off_and_an_unknown_organization_looks_the_same(api) {
        let mut bodies = Vec::new();
        for organization in ["acme", "nowhere"] {
            let mut body = request(JO, CHOSEN);
            body["organization"] = json!(organization);
            let mut answer = api.post("/v1/auth/register", body).send().await;
            assert_eq!(answer.refusal(), (403, "registration_closed"), "{organization}");
            answer.json["error"]["request_id"] = json!(null);
            bodies.push(answer.json);
        }
        assert_eq!(bodies[0], bodies[1]);
        assert_eq!(api.login(JO, CHOSEN).await.refusal(), (401, "invalid_credentials"), "no account was made");
        open(&api, false).await;
        assert_eq!(register(&api, JO, CHOSEN).await.status, StatusCode::ACCEPTED);
    }

    a_link_to_verify_an_address_ends_after_a_day(api) {
        open(&api, false).await;
        for (email, hours, expected) in [(JO, 23, "active"), ("kim@acme.example", 24, "")] {
            register(&api, email, CHOSEN).await;
            let token = api.token_for(email).await;
            api.clock.advance(Duration::from_hours(hours));
            let verified = verify(&api, &token).await;
            match expected {
                "" => assert_eq!(verified.refusal(), (422, "invalid_token"), "{hours} hours"),
                status => assert_eq!(verified.json["status"], status, "{hours} hours"),
            }
        }
    }

    somebody_registers_verifies_and_signs_in(api) {
        open(&api, false).await;
        let answer = register(&api, JO, CHOSEN).await;
        assert_eq!((answer.status.as_u16(), answer.json), (202, json!({ "status": "pending_verification" })));
        assert_eq!(api.login(JO, CHOSEN).await.json, json!({ "status": "pending_verification" }));
        let token = api.token_for(JO).await;
        assert_eq!(verify(&api, &token).await.json, json!({ "status": "active" }));
        assert_eq!(verify(&api, &token).await.refusal(), (422, "invalid_token"));
        let session = api.login(JO, CHOSEN).await;
        assert_eq!(session.json["status"], "authenticated");
        assert_eq!(session.text("/user/role"), "member");
        assert!(api.recorded("registration.received").await && api.recorded("registration.verified").await);
    }

    a_link_to_choose_a_password_verifies_a_registration_as_its_own_link_does(api) {
        const OTHER: &str = "Third-meadow-7-hills";
        for (email, approval, status) in [(JO, false, "authenticated"), ("kim@acme.example", true, "pending_approval")] {
            open(&api, approval).await;
            register(&api, email, CHOSEN).await;
            assert_eq!(api.login(email, CHOSEN).await.json, json!({ "status": "pending_verification" }), "the control");
            api.clock.advance(Duration::from_secs(1));
            api.post("/v1/auth/password/forgot", json!({ "email": email })).send().await;
            let reset = json!({ "token": api.token_for(email).await, "new_password": OTHER });
            let reset = api.post("/v1/auth/password/reset", reset).send().await;
            assert_eq!(reset.json, json!({ "status": "password_changed" }), "{email}");
            assert_eq!(api.login(email, OTHER).await.text("/status"), status, "{email}");
            let told = api.letters_to("owner@acme.example").await.len();
            assert_eq!(told, usize::from(approval), "an administrator is asked where one is to decide");
        }
        register(&api, "mia@acme.example", CHOSEN).await;
        let overview = api.signed_in("owner@acme.example").await.get("/overview").await;
        let waiting = "<b>1</b><span>People who wait to be let in</span>";
        assert!(overview.page().contains(waiting), "kim, and not mia, who has verified nothing: {}", overview.body);
        let states: Vec<Value> = api.records("registration.verified").await;
        let states: Vec<&Value> = states.iter().map(|record| &record["details"]["after"]["state"]).collect();
        assert_eq!(states, ["active", "pending_approval"]);
    }

    whoever_waits_is_let_in_by_an_administrator_and_by_nobody_else(api) {
        let owner = api.owner().await;
        api.add_member("ada@acme.example", "auditor").await;
        api.add_member("mia@acme.example", "member").await;
        let id = waiting(&api, &owner).await;
        assert_eq!(api.login(JO, CHOSEN).await.json, json!({ "status": "pending_approval" }));
        let told = api.letters_to("owner@acme.example").await;
        assert_eq!(told.last().unwrap().content.subject, "A registration at Acme waits for approval");

        let auditor = api.login("ada@acme.example", PASSWORD).await;
        let member = api.login("mia@acme.example", PASSWORD).await;
        let see = async |session: &Answer| api.get("/v1/registrations").bearer(session.access_token()).send().await;
        assert_eq!(see(&auditor).await.status, StatusCode::OK);
        assert_eq!(see(&member).await.refusal(), (403, "insufficient_role"));
        let approve = async |session: &Answer| {
            api.request(axum::http::Method::POST, &format!("/v1/registrations/{id}/approve"))
                .bearer(session.access_token()).send().await
        };
        for session in [&auditor, &member] {
            assert_eq!(approve(session).await.refusal(), (403, "insufficient_role"));
        }
        let other = api.owner_of_another().await;
        assert_eq!(approve(&other).await.refusal(), (404, "not_found"), "another organization");
        assert_eq!(approve(&owner).await.json, json!({ "status": "active" }));
        assert_eq!(approve(&owner).await.refusal(), (404, "not_found"), "once");
        assert_eq!(api.login(JO, CHOSEN).await.json["status"], "authenticated");
        assert!(api.letters_to(JO).await.last().unwrap().content.subject.contains("is ready"));
        assert!(api.recorded("registration.approved").await);
    }

    whoever_is_rejected_is_forgotten_and_may_ask_again(api) {
        let owner = api.owner().await;
        let id = waiting(&api, &owner).await;
        let reject = api.request(axum::http::Method::POST, &format!("/v1/registrations/{id}/reject"));
        assert_eq!(reject.bearer(owner.access_token()).send().await.status, StatusCode::NO_CONTENT);
        assert_eq!(api.login(JO, CHOSEN).await.refusal(), (401, "invalid_credentials"));
        let list = api.get("/v1/registrations").bearer(owner.access_token()).send().await;
        assert_eq!(list.json["registrations"], json!([]));
        assert!(api.recorded("registration.rejected").await);
        register(&api, JO, "Third-meadow-7-hills").await;
        assert_eq!(api.login(JO, "Third-meadow-7-hills").await.json, json!({ "status": "pending_verification" }));
    }

    a_temporary_password_at_approval_is_good_for_choosing_another_alone(api) {
        let owner = api.owner().await;
        let id = waiting(&api, &owner).await;
        let body = json!({ "temporary_password": true, "role": "auditor" });
        let approved = api.post(&format!("/v1/registrations/{id}/approve"), body).bearer(owner.access_token()).send().await;
        let temporary = approved.text("/temporary_password").to_owned();
        assert_eq!(api.login(JO, CHOSEN).await.refusal(), (401, "invalid_credentials"), "the chosen one is gone");
        let step = api.login(JO, &temporary).await;
        assert_eq!((step.text("/status"), step.text("/reason")), ("password_change_required", "temporary"));
        let bearer = api.get("/v1/whoami").bearer(step.text("/flow_token")).send().await;
        assert_eq!(bearer.refusal(), (401, "invalid_token"), "it opens nothing else");
        let replace = async |step: &Answer, new: &str| {
            let body = json!({ "flow_token": step.text("/flow_token"), "new_password": new });
            api.post("/v1/auth/password/replace", body).send().await
        };
        assert_eq!(replace(&step, &temporary).await.status, StatusCode::UNPROCESSABLE_ENTITY, "not the same again");
        let step = api.login(JO, &temporary).await;
        assert_eq!(replace(&step, "Third-meadow-7-hills").await.json, json!({ "status": "password_changed" }));
        assert_eq!(api.login(JO, &temporary).await.refusal(), (401, "invalid_credentials"));
        let session = api.login(JO, "Third-meadow-7-hills").await;
        assert_eq!(session.text("/user/role"), "auditor");
    }

    a_temporary_password_ends_after_three_days_and_no_mail_holds_it(api) {
        let owner = api.owner().await;
        let mia = api.add_member("mia@acme.example", "member").await;
        let before = api.login("mia@acme.example", PASSWORD).await;
        let set = api.request(axum::http::Method::POST, &format!("/v1/members/{mia}/temporary-password"));
        let set = set.bearer(owner.access_token()).send().await;
        let temporary = set.text("/temporary_password").to_owned();
        let whoami = api.get("/v1/whoami").bearer(before.access_token()).send().await;
        assert_eq!(whoami.refusal(), (401, "invalid_token"), "what was issued before is ended");
        let letters = api.letters_to("mia@acme.example").await;
        assert_eq!(letters.last().unwrap().content.subject, "You have a temporary password");
        assert!(letters.iter().all(|letter| !letter.content.text.contains(&temporary)));
        api.clock.advance(Duration::from_secs(72 * 3600 - 1));
        assert_eq!(api.login("mia@acme.example", &temporary).await.text("/status"), "password_change_required");
        api.clock.advance(Duration::from_secs(1));
        assert_eq!(api.login("mia@acme.example", &temporary).await.refusal(), (401, "invalid_credentials"));
        assert!(api.recorded("member.temporary_password_set").await);
    }

    nobody_sets_a_temporary_password_for_themselves(api) {
        let owner = api.owner().await;
        let set = |id: String| {
            let path = format!("/v1/members/{id}/temporary-password");
            api.request(axum::http::Method::POST, &path).bearer(owner.access_token())
        };
        let own = set(owner.text("/user/id").to_owned()).send().await;
        assert_eq!(own.refusal(), (409, "own_password"), "it would make the present one needless");
        let other = api.add_member("mia@acme.example", "member").await;
        assert_eq!(set(other.to_string()).send().await.status, StatusCode::OK);
    }

    nobody_sets_the_password_of_somebody_above_them_or_of_two_organizations(api) {
        let roles = ["member", "auditor", "admin", "owner"];
        for (rank, actor) in roles.iter().enumerate() {
            let actor_email = format!("{actor}.acts@acme.example");
            api.add_member(&actor_email, actor).await;
            let session = api.login(&actor_email, PASSWORD).await;
            for (target_rank, target) in roles.iter().enumerate() {
                let id = api.add_member(&format!("{target}.of.{actor}@acme.example"), target).await;
                let set = api.request(axum::http::Method::POST, &format!("/v1/members/{id}/temporary-password"));
                let answer = set.bearer(session.access_token()).send().await;
                let expected = match (rank, target_rank) {
                    (0 | 1, _) => StatusCode::FORBIDDEN,
                    (rank, target_rank) if target_rank > rank => StatusCode::FORBIDDEN,
                    _ => StatusCode::OK,
                };
                assert_eq!(answer.status, expected, "{actor} sets that of {target}: {}", answer.json);
            }
        }
        let owner = api.owner().await;
        let other = api.owner_of_another().await;
        let both = api.add_member("both@acme.example", "member").await;
        let set = || api.request(axum::http::Method::POST, &format!("/v1/members/{both}/temporary-password"));
        assert_eq!(set().bearer(other.access_token()).send().await.refusal(), (404, "not_found"));
        api.add_place("other", &both, "owner").await;
        assert_eq!(set().bearer(owner.access_token()).send().await.refusal(), (409, "belongs_elsewhere"));
        api.clock.advance(Duration::from_mins(11));
        assert_eq!(set().bearer(owner.access_token()).send().await.refusal(), (403, "reauthentication_required"));
    }

    a_known_address_gets_the_same_answer_and_its_holder_a_message(api) {
        open(&api, false).await;
        let mut answers = Vec::new();
        for email in ["OWNER@acme.example", JO] {
            let answer = register(&api, email, CHOSEN).await;
            answers.push((answer.status, answer.json, answer.headers.len()));
        }
        assert_eq!(answers[0], answers[1]);
        let told = api.letters_to("owner@acme.example").await;
        assert_eq!(told.len(), 1);
        assert!(!told[0].content.text.contains("?token="), "{}", told[0].content.text);
        api.owner().await;
        assert_eq!(api.login("owner@acme.example", CHOSEN).await.refusal(), (401, "invalid_credentials"));
    }

    of_two_registrations_with_one_unverified_address_neither_password_counts(api) {
        const THEIRS: &str = "Third-meadow-7-hills";
        const SUBJECT: &str = "Choose the password of your account";
        open(&api, false).await;
        // In either order: whose registration a link confirms, whoever reads the mail cannot tell.
        for (email, passwords) in [(JO, [CHOSEN, THEIRS]), ("kim@acme.example", [THEIRS, CHOSEN])] {
            for password in passwords {
                register(&api, email, password).await;
            }
            let tokens: Vec<String> = api.letters_to(email).await.iter().map(token_in).collect();
            assert_eq!(verify(&api, &tokens[0]).await.refusal(), (422, "invalid_token"));
            assert_eq!(verify(&api, &tokens[1]).await.json, json!({ "status": "active" }));
            for password in passwords {
                assert_eq!(api.login(email, password).await.refusal(), (401, "invalid_credentials"), "{password}");
            }
            assert_eq!(api.told(email, SUBJECT).await, 1);
            let reset = json!({ "token": api.token_for(email).await, "new_password": "Quiet-harbour-2-boats" });
            assert_eq!(api.post("/v1/auth/password/reset", reset).send().await.status, 200);
            assert_eq!(api.login(email, "Quiet-harbour-2-boats").await.json["status"], "authenticated");
            register(&api, email, CHOSEN).await;
            let session = api.login(email, "Quiet-harbour-2-boats").await;
            assert_eq!(session.json["status"], "authenticated", "verified: it stays");
        }
    }

    whoever_registers_twice_with_the_same_password_has_it(api) {
        open(&api, false).await;
        register(&api, JO, CHOSEN).await;
        register(&api, JO, CHOSEN).await;
        let tokens: Vec<String> = api.letters_to(JO).await.iter().map(token_in).collect();
        assert_eq!(verify(&api, &tokens[0]).await.refusal(), (422, "invalid_token"));
        assert_eq!(verify(&api, &tokens[1]).await.json, json!({ "status": "active" }));
        assert_eq!(api.login(JO, CHOSEN).await.json["status"], "authenticated");
    }

    where_registering_was_closed_meanwhile_administrators_decide(api) {
        open(&api, false).await;
        register(&api, JO, CHOSEN).await;
        register(&api, "kim@acme.example", CHOSEN).await;
        let token = api.token_for("kim@acme.example").await;
        assert_eq!(verify(&api, &token).await.json, json!({ "status": "active" }), "the control");
        let token = api.token_for(JO).await;
        api.set_registration(json!({ "self_registration": false, "signup_approval": false })).await;
        assert_eq!(verify(&api, &token).await.json, json!({ "status": "pending_approval" }));
    }

    the_link_is_sent_again_to_those_who_need_it_and_all_get_one_answer(api) {
        open(&api, false).await;
        register(&api, JO, CHOSEN).await;
        let mut answers = Vec::new();
        for email in [JO, "owner@acme.example", "nobody@acme.example"] {
            api.clock.advance(Duration::from_secs(1));
            let answer = api.post("/v1/auth/email/resend", json!({ "email": email })).send().await;
            answers.push((answer.status, answer.json));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert!(api.letters_to("owner@acme.example").await.is_empty());
        assert!(api.letters_to("nobody@acme.example").await.is_empty());
        assert!(api.recorded("registration.link_requested").await);
        let tokens: Vec<String> = api.letters_to(JO).await.iter().map(token_in).collect();
        assert_eq!(verify(&api, &tokens[0]).await.refusal(), (422, "invalid_token"), "replaced");
        assert_eq!(verify(&api, &tokens[1]).await.json, json!({ "status": "active" }));
    }

    only_the_domains_of_the_organization_register(api) {
        let settings = json!({ "self_registration": true, "signup_approval": false, "email_domains": ["acme.example"] });
        api.set_registration(settings).await;
        for email in ["jo@evilacme.example", "jo@acme.example.evil.example", "jo@mail.acme.example"] {
            assert_eq!(register(&api, email, CHOSEN).await.text("/error/param"), "email", "{email}");
        }
        assert_eq!(register(&api, "jo@ACME.example", CHOSEN).await.status, StatusCode::ACCEPTED);
    }

    a_request_says_nothing_of_what_is_ours_to_say(api) {
        open(&api, false).await;
        for (field, value) in [("role", json!("owner")), ("email_verified", json!(true)), ("status", json!("active"))] {
            let mut body = request(JO, CHOSEN);
            body[field] = value;
            assert_eq!(api.post("/v1/auth/register", body).send().await.refusal(), (422, "validation_error"), "{field}");
        }
        let weak = register(&api, JO, "acme").await;
        assert_eq!(weak.text("/error/param"), "password");
        assert_eq!(register(&api, JO, CHOSEN).await.status, StatusCode::ACCEPTED);
    }

    of_a_thousand_who_use_a_verification_link_one_succeeds(api) {
        open(&api, false).await;
        register(&api, JO, CHOSEN).await;
        let (token, api) = (api.token_for(JO).await, Arc::new(api));
        let tasks: Vec<_> = (0..1000).map(|_| {
            let (api, token) = (Arc::clone(&api), token.clone());
            tokio::spawn(async move { verify(&api, &token).await })
        }).collect();
        let mut successes = 0;
        for task in tasks {
            let answer = task.await.unwrap();
            successes += usize::from(answer.status == StatusCode::OK);
            assert!(answer.status == StatusCode::OK || answer.refusal() == (422, "invalid_token"), "{}", answer.json);
        }
        assert_eq!(successes, 1);
    }
}
