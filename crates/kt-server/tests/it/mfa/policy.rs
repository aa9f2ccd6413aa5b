//! A second factor that an organization asks for: the grace, its end, and enrolling on the way in.

use std::time::Duration;

use kt_domain::clock::Clock;
use serde_json::json;

use super::authenticator::Authenticator;
use super::{App, Holder, amr, codes, factors, step, verify};
use crate::gateways::{key, known, sync};
use crate::harness::{Answer, PASSWORD, TestApi, on_both};

/// Makes `acme` ask for a second factor.
pub(super) async fn demand(api: &TestApi, policy: &str, grace: &str) {
    let patch = json!({ "mfa": { "policy": policy, "grace_period": grace } });
    let owner = api.token_of("owner@acme.example").await;
    let changed = api.patch("/v1/organization/security", patch).bearer(&owner).send().await;
    assert_eq!(changed.status, 200, "{}", changed.json);
}

async fn enroll(api: &TestApi, flow_token: &str) -> (App, Answer) {
    let setup = api.post("/v1/auth/mfa/totp", json!({ "flow_token": flow_token })).send().await;
    let end = (api.clock.now() + Duration::from_mins(5)).to_string();
    assert_eq!(setup.text("/expires_at"), end, "no later than the step");
    let app = App::reading(setup.text("/otpauth_uri"));
    let confirm = |code: String| {
        let body = json!({ "flow_token": setup.text("/flow_token"), "code": code });
        api.post("/v1/auth/mfa/totp/confirm", body).send()
    };
    assert_eq!(confirm(app.wrong_code(&api.clock)).await.refusal(), (422, "invalid_code"));
    let answer = confirm(app.code(&api.clock)).await;
    (app, answer)
}

on_both! {
    once_the_grace_is_over_nothing_but_enrolling_is_left(api) {
        for role in ["member", "auditor", "admin"] {
            api.add_member(&format!("{role}@acme.example"), role).await;
        }
        demand(&api, "required_for_all", "72h").await;
        let mut sessions = Vec::new();
        for role in ["member", "auditor", "admin", "owner"] {
            let login = api.login(&format!("{role}@acme.example"), PASSWORD).await;
            assert_eq!(login.text("/status"), "authenticated", "{role}, within the grace");
            let told = factors(&api, login.access_token()).await;
            assert_eq!((&told["required"], &told["enabled"]), (&json!(true), &json!(false)));
            assert!(told["deadline"].is_string(), "{told}");
            sessions.push(login);
        }
        api.clock.advance(Duration::from_mins(29));
        assert_eq!(api.get("/v1/whoami").bearer(&api.token_of("admin@acme.example").await).send().await.status, 200);
        api.clock.advance(Duration::from_hours(72));
        for (before, role) in ["member", "auditor", "admin", "owner"].into_iter().enumerate() {
            let email = format!("{role}@acme.example");
            let login = api.login(&email, PASSWORD).await;
            assert_eq!(login.text("/status"), "mfa_enrollment_required", "{role}");
            let flow = login.text("/flow_token");
            assert_eq!(api.get("/v1/whoami").bearer(flow).send().await.refusal(), (401, "invalid_token"));
            let replace = json!({ "flow_token": flow, "new_password": "Quiet-otter-7-harbour" });
            let replaced = api.post("/v1/auth/password/replace", replace).send().await;
            assert_eq!(replaced.refusal(), (401, "invalid_flow_token"), "{role}");
            let (app, answer) = enroll(&api, flow).await;
            assert_eq!(answer.text("/status"), "authenticated", "{role}");
            assert_eq!((codes(&answer).len(), amr(&answer)), (10, json!(["pwd", "otp"])));
            let added = api.records("mfa.factor_added").await.len();
            assert_eq!(added, 2 * (before + 1), "{role}: the app and the recovery codes");
            api.clock.advance(Duration::from_secs(30));
            let again = verify(&api, &step(&api, &email).await, "totp", &app.code(&api.clock)).await;
            assert_eq!(again.text("/status"), "authenticated", "{role}");
        }
    }

    a_session_without_a_factor_ends_with_the_grace(api) {
        api.add_member("kim@acme.example", "member").await;
        let jo = Holder::new(&api, "jo@acme.example", "member").await;
        demand(&api, "required_for_all", "10m").await;
        let kim = api.login("kim@acme.example", PASSWORD).await;
        let whoami = |token: &str| api.get("/v1/whoami").bearer(token).send();
        api.clock.advance(Duration::from_mins(9));
        assert_eq!(whoami(kim.access_token()).await.status, 200);
        api.clock.advance(Duration::from_mins(1));
        assert_eq!(whoami(kim.access_token()).await.refusal(), (401, "invalid_token"));
        let refresh = json!({ "refresh_token": kim.text("/refresh_token") });
        let refreshed = api.post("/v1/auth/refresh", refresh).send().await;
        assert_eq!(refreshed.refusal(), (401, "invalid_refresh_token"));
        assert_eq!(whoami(&jo.token).await.status, 200, "who has one goes on");
    }

    keys_rest_while_their_owner_lacks_what_is_asked_of_them(api) {
        let owner = api.owner().await;
        let gateway = key(&api, &owner, "gateway", "write").await;
        api.add_member("kim@acme.example", "admin").await;
        let kims = key(&api, &api.login("kim@acme.example", PASSWORD).await, "access", "admin").await;
        let jo = Holder::new(&api, "jo@acme.example", "admin").await;
        api.clock.advance(Duration::from_secs(30));
        let session = verify(&api, &step(&api, "jo@acme.example").await, "totp", &jo.app.code(&api.clock)).await;
        let jos = key(&api, &session, "access", "write").await;
        demand(&api, "required_for_admins", "10m").await;
        let used = |key: &str| api.get("/v1/whoami").bearer(key).send();
        let admitted = async || {
            let told = sync(&api, gateway.text("/key"), json!({})).await;
            known(&told).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        api.clock.advance(Duration::from_secs(599));
        assert_eq!(used(kims.text("/key")).await.status, 200, "within the grace");
        assert_eq!(admitted().await, [kims.text("/id"), jos.text("/id")]);

        api.clock.advance(Duration::from_secs(1));
        assert_eq!(used(kims.text("/key")).await.refusal(), (403, "mfa_enrollment_required"));
        assert_eq!(used(jos.text("/key")).await.status, 200, "who has one");
        assert_eq!(admitted().await, [jos.text("/id")], "the gateway's own key works on");

        let login = api.login("kim@acme.example", PASSWORD).await;
        enroll(&api, login.text("/flow_token")).await;
        assert_eq!(used(kims.text("/key")).await.status, 200);
        assert_eq!(admitted().await, [kims.text("/id"), jos.text("/id")]);
    }

    only_those_who_are_asked_must_enrol_and_the_last_factor_stays(api) {
        let admin = Holder::new(&api, "admin@acme.example", "admin").await;
        let member = Holder::new(&api, "member@acme.example", "member").await;
        api.add_member("plain@acme.example", "member").await;
        demand(&api, "required_for_admins", "0h").await;
        let remove = |token: &str| api.request("DELETE".parse().unwrap(), "/v1/me/mfa/totp").bearer(token).send();
        assert_eq!(remove(&admin.token).await.refusal(), (409, "factor_required"));
        assert_eq!(remove(&member.token).await.status, 204, "a member is not asked");
        assert_eq!(api.login("plain@acme.example", PASSWORD).await.text("/status"), "authenticated");
        assert_eq!(api.login("owner@acme.example", PASSWORD).await.text("/status"), "mfa_enrollment_required");
    }

    the_posture_counts_those_who_have_none(api) {
        let count = async || {
            let owner = api.token_of("owner@acme.example").await;
            let posture = api.get("/v1/organization/security/posture").bearer(&owner).send().await;
            posture.json["users_without_2fa"].as_i64().unwrap()
        };
        assert_eq!(count().await, 1);
        api.add_member("kim@acme.example", "member").await;
        assert_eq!(count().await, 2);
        Holder::new(&api, "jo@acme.example", "member").await;
        assert_eq!(count().await, 2, "who has one is not counted");
    }
}

/// The addresses on the list of members with this filter.
async fn listed(api: &TestApi, token: &str, filter: &str) -> Vec<String> {
    let found = api.get(&format!("/v1/members?mfa={filter}")).bearer(token).send().await;
    let members = found.json["members"].as_array().unwrap_or_else(|| panic!("{}", found.json)).clone();
    members.iter().map(|member| member["email"].as_str().unwrap().to_owned()).collect()
}

/// How many times somebody was reminded.
async fn reminded(api: &TestApi, email: &str) -> usize {
    api.control.run_jobs(&api.operator()).await.unwrap();
    let letters = api.letters_to(email).await;
    letters
        .iter()
        .filter(|letter| letter.content.subject.starts_with("Set up a second factor before"))
        .count()
}

on_both! {
    whoever_lacks_a_factor_is_reminded_until_the_deadline_and_listed(api) {
        api.clock.advance(Duration::from_secs(1));
        api.add_member("kim@acme.example", "member").await;
        api.clock.advance(Duration::from_secs(1));
        let jo = Holder::new(&api, "jo@acme.example", "auditor").await;
        assert_eq!(reminded(&api, "kim@acme.example").await, 0, "nobody is asked");
        api.clock.advance(Duration::from_hours(1));
        demand(&api, "required_for_all", "72h").await;
        let owner = api.token_of("owner@acme.example").await;
        assert_eq!(listed(&api, &owner, "missing").await, ["owner@acme.example", "kim@acme.example"]);
        assert!(listed(&api, &owner, "late").await.is_empty());
        let unknown = api.get("/v1/members?mfa=never").bearer(&owner).send().await;
        assert_eq!(unknown.refusal(), (422, "validation_error"));
        let all = api.get("/v1/members").bearer(&owner).send().await;
        let enabled: Vec<_> = all.json["members"].as_array().unwrap().iter().map(|one| one["mfa_enabled"] == true).collect();
        assert_eq!(enabled, [false, false, true]);
        for (hours, letters) in [(0, 1), (1, 1), (46, 1), (1, 2), (1, 2), (22, 2), (2, 2)] {
            api.clock.advance(Duration::from_hours(hours));
            assert_eq!(reminded(&api, "kim@acme.example").await, letters, "{hours} hours later");
        }
        assert_eq!(reminded(&api, "jo@acme.example").await, 0, "who has one");
        let flow = step(&api, "jo@acme.example").await;
        let auditor = verify(&api, &flow, "totp", &jo.app.code(&api.clock)).await;
        assert_eq!(
            listed(&api, auditor.access_token(), "late").await,
            ["owner@acme.example", "kim@acme.example"]
        );
        let login = api.login("kim@acme.example", PASSWORD).await;
        enroll(&api, login.text("/flow_token")).await;
        assert_eq!(listed(&api, auditor.access_token(), "late").await, ["owner@acme.example"]);
    }

    whoever_belongs_to_several_organizations_is_held_to_the_strictest(api) {
        let jo = Holder::new(&api, "jo@acme.example", "member").await;
        let other = api.owner_of_another().await;
        let id = api.get("/v1/whoami").bearer(&jo.token).send().await.text("/user/id").parse().unwrap();
        assert_eq!(factors(&api, &jo.token).await["required"], false);
        api.add_place("other", &id, "admin").await;
        for (mfa, required, passkey) in [
            (json!({ "policy": "required_for_admins", "grace_period": "72h" }), true, false),
            (json!({ "require_passkey_for_admins": true }), true, true),
        ] {
            let patch = api.patch("/v1/organization/security", json!({ "mfa": mfa }));
            assert_eq!(patch.bearer(other.access_token()).send().await.status, 200);
            let told = factors(&api, &jo.token).await;
            assert_eq!((&told["required"], &told["passkey_required"]), (&json!(required), &json!(passkey)), "{told}");
        }
        let remove = api.request("DELETE".parse().unwrap(), "/v1/me/mfa/totp").bearer(&jo.token).send().await;
        assert_eq!(remove.refusal(), (409, "factor_required"), "although `acme` asks for nothing");
    }

    what_one_organization_demands_is_asked_at_the_door_of_each(api) {
        let other = api.owner_of_another().await;
        for (email, role) in [("kim@acme.example", "admin"), ("lee@acme.example", "member")] {
            let id = api.add_member(email, "member").await;
            // Whoever does not say where is let in where they have been longest.
            api.clock.advance(Duration::from_secs(1));
            api.add_place("other", &id, role).await;
        }
        let sessions = [api.login("kim@acme.example", PASSWORD).await, api.login("lee@acme.example", PASSWORD).await];
        assert!(sessions.iter().all(|session| session.text("/organization/identifier") == "acme"));
        let mfa = json!({ "mfa": { "policy": "required_for_admins", "grace_period": "10m" } });
        assert_eq!(api.patch("/v1/organization/security", mfa).bearer(other.access_token()).send().await.status, 200);
        let asked = async |email: &str| api.login(email, PASSWORD).await.text("/status").to_owned();
        api.clock.advance(Duration::from_mins(9));
        let told = factors(&api, sessions[0].access_token()).await;
        assert!(told["required"] == true && told["deadline"].is_string(), "{told}");
        assert_eq!(asked("kim@acme.example").await, "authenticated", "within the grace");
        api.clock.advance(Duration::from_mins(1));
        let late = api.login("kim@acme.example", PASSWORD).await;
        assert_eq!(late.text("/status"), "mfa_enrollment_required", "at `acme`, which asks for nothing");
        assert_eq!(asked("lee@acme.example").await, "authenticated", "whom `other` does not ask");
        let whoami = sessions.each_ref().map(|session| api.get("/v1/whoami").bearer(session.access_token()).send());
        let [kims, lees] = whoami;
        assert_eq!((kims.await.refusal(), lees.await.status.as_u16()), ((401, "invalid_token"), 200));
        let (_, enrolled) = enroll(&api, late.text("/flow_token")).await;
        assert_eq!(enrolled.text("/organization/identifier"), "acme");
    }

    whoever_comes_by_an_invitation_passes_the_same_gate(api) {
        let owner = api.owner().await;
        api.post("/v1/invitations", json!({ "email": "new@acme.example", "role": "admin" }))
            .bearer(owner.access_token())
            .send()
            .await;
        let token = api.token_for("new@acme.example").await;
        demand(&api, "required_for_admins", "0h").await;
        let registration = json!({
            "organization": "acme", "email": "new@acme.example", "name": "New", "password": PASSWORD, "invitation_token": token,
        });
        let joined = api.post("/v1/auth/register", registration).send().await;
        assert_eq!((joined.text("/status"), joined.body.contains("access_token")), ("active", false));
        let login = api.login("new@acme.example", PASSWORD).await;
        assert_eq!(login.text("/status"), "mfa_enrollment_required");
        let (_, answer) = enroll(&api, login.text("/flow_token")).await;
        assert_eq!(answer.text("/status"), "authenticated", "the control");
    }

    a_passkey_can_be_demanded_of_those_who_run_the_organization(api) {
        let admin = Holder::new(&api, "admin@acme.example", "admin").await;
        let member = Holder::new(&api, "member@acme.example", "member").await;
        let owner = api.token_of("owner@acme.example").await;
        let patch = json!({ "mfa": { "require_passkey_for_admins": true, "grace_period": "72h" } });
        let changed = api.patch("/v1/organization/security", patch).bearer(&owner).send().await;
        assert_eq!(changed.json["mfa"]["require_passkey_for_admins"], true, "{}", changed.json);
        let told = factors(&api, &admin.token).await;
        assert_eq!((&told["required"], &told["passkey_required"]), (&json!(true), &json!(true)));
        assert!(told["deadline"].is_string(), "{told}");
        assert_eq!(factors(&api, &member.token).await["required"], false);
        api.clock.advance(Duration::from_hours(71));
        let by_code = async |holder: &Holder, email: &str| {
            let flow = step(&api, email).await;
            let answer = verify(&api, &flow, "totp", &holder.app.code(&api.clock)).await;
            api.clock.advance(Duration::from_secs(30));
            answer
        };
        let session = by_code(&admin, "admin@acme.example").await;
        assert_eq!(session.text("/status"), "authenticated", "within the time");
        api.clock.advance(Duration::from_mins(10));
        assert_eq!(factors(&api, session.access_token()).await["enabled"], true);
        api.clock.advance(Duration::from_hours(1));
        let late = by_code(&admin, "admin@acme.example").await;
        assert_eq!(late.text("/status"), "mfa_enrollment_required");
        let flow = json!({ "flow_token": late.text("/flow_token") });
        let app = api.post("/v1/auth/mfa/totp", flow.clone()).send().await;
        assert_eq!(app.refusal(), (409, "passkey_required"));
        assert_eq!(by_code(&member, "member@acme.example").await.text("/status"), "authenticated");

        let asked = api.post("/v1/auth/mfa/passkey/options", flow).send().await;
        let mut authenticator = Authenticator::new();
        let credential = authenticator.create(&asked.json["options"]);
        let body = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
        let done = api.post("/v1/auth/mfa/passkey", body).send().await;
        assert_eq!(amr(&done), json!(["pwd", "otp", "hwk"]));
        let login = api.login("admin@acme.example", PASSWORD).await;
        assert_eq!(login.json["methods"], json!(["passkey", "recovery_code"]), "a code is not enough any more");
        let code = verify(&api, login.text("/flow_token"), "totp", &admin.app.code(&api.clock)).await;
        assert_eq!(code.refusal(), (401, "invalid_flow_token"));
        let lost = verify(&api, login.text("/flow_token"), "recovery_code", &admin.recovery_codes[0]).await;
        assert_eq!(lost.text("/status"), "authenticated", "for whoever has lost it");
        let passkeys = api.get("/v1/me/passkeys").bearer(done.access_token()).send().await;
        let its_passkey = format!("/v1/me/passkeys/{}", passkeys.text("/passkeys/0/id"));
        let remove = api.request("DELETE".parse().unwrap(), &its_passkey).bearer(done.access_token()).send().await;
        assert_eq!(remove.refusal(), (409, "factor_required"), "although there is an app");
    }
}
