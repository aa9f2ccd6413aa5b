//! Passkeys: added, shown at the door, copied, stolen, taken for something else.

mod answers;

use std::time::Duration;

use axum::http::Method;
use kt_domain::actor::Role;
use kt_domain::sign_in::MembershipState;
use serde_json::{Value, json};

use super::authenticator::{Authenticator, BACKED_UP, BACKUP_ELIGIBLE};
use super::policy::demand;
use super::{Holder, JO, amr, codes, factors, step, verify};
use crate::harness::{Answer, PASSWORD, TestApi, on_both, side_by_side};

pub(super) async fn options(api: &TestApi, token: &str) -> Answer {
    api.post("/v1/me/passkeys/options", json!({})).bearer(token).send().await
}

pub(super) async fn add(api: &TestApi, token: &str, options: &Answer, credential: Value) -> Answer {
    let body = json!({ "flow_token": options.text("/flow_token"), "credential": credential });
    api.post("/v1/me/passkeys", body).bearer(token).send().await
}

/// A new member of `acme` with a passkey, and their session.
async fn member_with_passkey(api: &TestApi, email: &str) -> (Authenticator, String) {
    api.add_member(email, "member").await;
    let token = api.token_of(email).await;
    let asked = options(api, &token).await;
    let mut authenticator = Authenticator::new();
    let credential = authenticator.create(&asked.json["options"]);
    let added = add(api, &token, &asked, credential).await;
    assert_eq!(added.status, 201, "{}", added.json);
    (authenticator, token)
}

async fn challenge(api: &TestApi, flow_token: Option<&str>) -> Answer {
    api.post("/v1/auth/passkey/options", json!({ "flow_token": flow_token })).send().await
}

async fn show(api: &TestApi, challenge: &Answer, credential: Value) -> Answer {
    let body = json!({ "flow_token": challenge.text("/flow_token"), "credential": credential });
    api.post("/v1/auth/passkey/verify", body).send().await
}

/// What showing this passkey at the door comes to.
async fn sign_in(api: &TestApi, authenticator: &mut Authenticator) -> Answer {
    let asked = challenge(api, None).await;
    let credential = authenticator.get(&asked.json["options"]);
    show(api, &asked, credential).await
}

/// The reason that the last record of this action names, which is that of a refusal.
async fn reason(api: &TestApi, action: &str) -> String {
    reason_of(api.records(action).await.last().unwrap())
}

fn reason_of(record: &Value) -> String {
    assert_eq!(record["outcome"], "failure", "{record}");
    record["details"]["after"]["reason"].as_str().unwrap().to_owned()
}

on_both! {
    a_passkey_is_added_named_listed_and_removed(api) {
        api.add_member(JO, "member").await;
        let token = api.token_of(JO).await;
        let elsewhere = api.token_of(JO).await;
        let asked = options(&api, &token).await;
        let wanted = &asked.json["options"];
        assert_eq!((&wanted["rp"]["id"], &wanted["attestation"]), (&json!("localhost"), &json!("none")));
        assert_eq!(wanted["authenticatorSelection"]["residentKey"], "required");
        assert_eq!(wanted["authenticatorSelection"]["userVerification"], "required");
        assert!(!wanted["user"]["id"].as_str().unwrap().contains("acme"));
        let mut authenticator = Authenticator::new();
        let credential = authenticator.create(wanted);
        let added = add(&api, &token, &asked, credential).await;
        assert_eq!((added.status.as_u16(), codes(&added).len()), (201, 10), "{}", added.json);
        assert_eq!((added.text("/name"), added.text("/authenticator")), ("1Password", "1Password"));
        let other = api.get("/v1/me/mfa").bearer(&elsewhere).send().await;
        assert_eq!(other.refusal(), (401, "invalid_token"), "it has shown no second factor");
        let has = factors(&api, &token).await;
        assert_eq!((&has["enabled"], &has["passkeys"]), (&json!(true), &json!(1)));

        let again = options(&api, &token).await;
        assert_eq!(again.json["options"]["excludeCredentials"][0]["id"], json!(authenticator.id()));
        let id = added.text("/id");
        let rename = |token: String, name: &'static str| {
            api.patch(&format!("/v1/me/passkeys/{id}"), json!({ "name": name })).bearer(&token).send()
        };
        assert_eq!(rename(token.clone(), "Jo’s laptop").await.status, 204);
        assert_eq!(rename(token.clone(), "").await.refusal(), (422, "validation_error"));
        let kim = api.somebody("owner").await;
        assert_eq!(rename(kim.access_token().to_owned(), "Mine").await.refusal(), (404, "not_found"));
        let remove = |token: &str| api.request(Method::DELETE, &format!("/v1/me/passkeys/{id}")).bearer(token).send();
        assert_eq!(remove(kim.access_token()).await.refusal(), (404, "not_found"), "a neighbour");
        let listed = api.get("/v1/me/passkeys").bearer(&token).send().await;
        let passkey = &listed.json["passkeys"][0];
        assert_eq!(passkey["name"], "Jo’s laptop");
        assert_eq!((&passkey["backed_up"], &passkey["last_used_at"]), (&json!(false), &Value::Null));
        assert_eq!((listed.text("/rp_id"), &listed.json["user_handle"]), ("localhost", &wanted["user"]["id"]));

        api.clock.advance(Duration::from_mins(11));
        assert_eq!(remove(&token).await.refusal(), (403, "reauthentication_required"));
        assert_eq!(options(&api, &token).await.refusal(), (403, "reauthentication_required"));
        let fresh = sign_in(&api, &mut authenticator).await;
        assert_eq!(remove(fresh.access_token()).await.status, 204);
        assert_eq!(sign_in(&api, &mut authenticator).await.refusal(), (401, "invalid_passkey"));
        assert_eq!(factors(&api, fresh.access_token()).await["recovery_codes_left"], 0);
        assert_eq!(api.told(JO, "A passkey was added to your account").await, 1);
        assert_eq!(api.told(JO, "A passkey of your account was removed").await, 1);
        for action in ["mfa.factor_added", "mfa.passkey_renamed", "mfa.factor_removed"] {
            assert_eq!(api.records(action).await.len(), 1, "{action}");
        }
    }

    passkeys_without_a_name_are_told_apart_by_product_number_and_model(api) {
        api.add_member(JO, "member").await;
        let jo = api.signed_in(JO).await;
        let known = Authenticator::new().aaguid;
        for aaguid in [known, known, [0; 16], [0x11; 16], known] {
            api.clock.advance(Duration::from_secs(1));
            let asked: Value = serde_json::from_str(&jo.post("/mfa/setup/passkey/options", &[]).await.body).unwrap();
            let mut authenticator = Authenticator::new();
            authenticator.aaguid = aaguid;
            let credential = authenticator.create(&asked["options"]).to_string();
            let fields = [("flow_token", asked["flow_token"].as_str().unwrap()), ("credential", &credential)];
            let added = jo.post("/mfa/setup/passkey", &fields).await;
            assert!(added.leads_to().is_some() || added.status == 200, "{}", added.body);
        }
        let listed = jo.get("/mfa/setup").await;
        let (_, list) = listed.page().split_once("<ul class=\"items\">").unwrap();
        let (list, _) = list.split_once("</ul>").unwrap();
        let lines: Vec<_> = list.split("<li>").skip(1).collect();
        let expected = [
            ("<b>1Password</b>", "1Password · "),
            ("<b>1Password 2</b>", "1Password · "),
            ("<b>Passkey</b>", "<small class=\"faint\">Added"),
            ("<b>Passkey 2</b>", "11111111-1111-1111-1111-111111111111 · "),
            ("<b>1Password 3</b>", "1Password · "),
        ];
        assert_eq!(lines.len(), expected.len(), "{list}");
        for (line, (name, model)) in lines.into_iter().zip(expected) {
            assert!(line.contains(name) && line.contains(model), "{name}, {model} in {line}");
        }
    }

    a_passkey_signs_in_alone_and_counts_as_two_factors(api) {
        let (mut authenticator, _) = member_with_passkey(&api, JO).await;
        demand(&api, "required_for_all", "0h").await;
        let asked = challenge(&api, None).await;
        assert_eq!(asked.json["options"]["allowCredentials"], json!([]), "nothing is told about anybody");
        assert_eq!(asked.json["options"]["userVerification"], "required");
        let credential = authenticator.get(&asked.json["options"]);
        let signed_in = show(&api, &asked, credential.clone()).await;
        assert_eq!((signed_in.text("/status"), signed_in.text("/user/email")), ("authenticated", JO));
        assert_eq!(amr(&signed_in), json!(["hwk"]));
        assert_eq!(show(&api, &asked, credential).await.refusal(), (401, "invalid_flow_token"), "a replay");
        let listed = api.get("/v1/me/passkeys").bearer(signed_in.access_token()).send().await;
        assert!(listed.json["passkeys"][0]["last_used_at"].is_string());
        // Wrong passwords lock the password alone.
        for _ in 0..11 {
            api.login(JO, "Wrong-pebble-3-cloud").await;
        }
        assert_eq!(api.login(JO, PASSWORD).await.refusal(), (401, "invalid_credentials"));
        assert_eq!(sign_in(&api, &mut authenticator).await.text("/status"), "authenticated");
        let copied = authenticator.with(|browser| browser.flags |= BACKUP_ELIGIBLE | BACKED_UP);
        assert_eq!(sign_in(&api, &mut copied.clone()).await.refusal(), (401, "invalid_passkey"), "it could not be copied");
    }

    whoever_is_suspended_gets_in_by_no_passkey(api) {
        let (mut authenticator, _) = member_with_passkey(&api, JO).await;
        let session = sign_in(&api, &mut authenticator).await;
        assert_eq!(session.text("/status"), "authenticated", "the control");
        api.becomes(&session, Role::Member, MembershipState::Suspended).await;
        assert_eq!(sign_in(&api, &mut authenticator).await.status, 401);
        api.becomes(&session, Role::Member, MembershipState::Active).await;
        assert_eq!(sign_in(&api, &mut authenticator).await.text("/status"), "authenticated");
    }

    a_passkey_is_the_second_factor_of_its_holder_alone(api) {
        let (mut authenticator, _) = member_with_passkey(&api, JO).await;
        let (mut others, _) = member_with_passkey(&api, "kim@acme.example").await;
        let flow = step(&api, JO).await;
        let asked = challenge(&api, Some(&flow)).await;
        assert_eq!(asked.json["options"]["allowCredentials"][0]["id"], json!(authenticator.id()));
        let theirs = others.get(&asked.json["options"]);
        assert_eq!(show(&api, &asked, theirs).await.refusal(), (401, "invalid_passkey"));
        let asked = challenge(&api, Some(&flow)).await;
        let mut unknown = Authenticator::new();
        let unheard = show(&api, &asked, unknown.get(&asked.json["options"])).await;
        assert_eq!((unheard.refusal(), &unheard.json["error"]["unknown_credential"]), ((401, "invalid_passkey"), &json!(true)));
        let failed = api.records("auth.sign_in").await.into_iter().filter(|record| record["outcome"] == "failure");
        let reasons: Vec<_> = failed.map(|record| record["details"]["after"]["reason"].clone()).collect();
        assert_eq!(reasons, ["passkey_of_somebody_else", "unknown_passkey"]);
        let told = api.told(JO, "Your password was right, the second factor was not").await;
        assert_eq!(told, 1, "once for a sign-in");
        let asked = challenge(&api, Some(&flow)).await;
        let credential = authenticator.get(&asked.json["options"]);
        let signed_in = show(&api, &asked, credential).await;
        assert_eq!(amr(&signed_in), json!(["pwd", "hwk"]));
        let over = challenge(&api, Some(&flow)).await;
        assert_eq!(over.refusal(), (401, "invalid_flow_token"), "the step is used");
        // A challenge leaves the step as it is: a code will do as well.
        let jo = Holder::new(&api, "lee@acme.example", "member").await;
        let flow = step(&api, "lee@acme.example").await;
        challenge(&api, Some(&flow)).await;
        assert_eq!(verify(&api, &flow, "totp", &jo.app.code(&api.clock)).await.text("/status"), "authenticated");
    }

    no_account_has_more_than_twenty_passkeys_however_many_were_begun(api) {
        api.add_member(JO, "member").await;
        let token = api.token_of(JO).await;
        let mut begun = Vec::new();
        for _ in 0..22 {
            begun.push(options(&api, &token).await);
        }
        let all = begun.iter().map(|asked| {
            let credential = Authenticator::new().create(&asked.json["options"]);
            add(&api, &token, asked, credential)
        });
        let answers = side_by_side(all).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 20);
        let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 201).map(Answer::refusal).collect();
        assert_eq!(refused, [(409, "too_many_passkeys"); 2]);
        assert_eq!(reason(&api, "mfa.factor_added").await, "too_many_passkeys");
        assert_eq!(options(&api, &token).await.refusal(), (409, "too_many_passkeys"), "nor is another begun");
    }

    a_passkey_that_is_known_is_nobody_elses(api) {
        let (mut authenticator, _) = member_with_passkey(&api, JO).await;
        api.add_member("eve@acme.example", "member").await;
        let eve = api.token_of("eve@acme.example").await;
        let asked = options(&api, &eve).await;
        let mut stolen = authenticator.clone();
        let credential = stolen.create(&asked.json["options"]);
        assert_eq!(add(&api, &eve, &asked, credential).await.refusal(), (409, "passkey_exists"));
        assert_eq!(reason(&api, "mfa.factor_added").await, "known_passkey");
        assert_eq!(sign_in(&api, &mut stolen).await.refusal(), (401, "invalid_passkey"), "its handle is another's");
        assert_eq!(sign_in(&api, &mut authenticator).await.text("/user/email"), JO, "the control");
    }

    no_way_leads_through_another_organization_round_a_demanded_passkey(api) {
        let jo = Holder::new(&api, JO, "member").await;
        let asked = options(&api, &jo.token).await;
        let mut authenticator = Authenticator::new();
        let credential = authenticator.create(&asked.json["options"]);
        assert_eq!(add(&api, &jo.token, &asked, credential).await.status, 201);
        let by_code = async || {
            let login = api.login(JO, PASSWORD).await;
            api.clock.advance(Duration::from_secs(30));
            let shown = verify(&api, login.text("/flow_token"), "totp", &jo.app.code(&api.clock)).await;
            (login.json["methods"].clone(), shown)
        };
        let (_, phished) = by_code().await;
        assert_eq!(phished.text("/organization/identifier"), "acme", "the control: nobody demands a passkey");
        assert_eq!(options(&api, phished.access_token()).await.status, 200);

        let other = api.owner_of_another().await;
        let id = phished.text("/user/id").parse().unwrap();
        api.clock.advance(Duration::from_secs(1));
        api.add_place("other", &id, "admin").await;
        let mfa = json!({ "mfa": { "require_passkey_for_admins": true, "grace_period": "0h" } });
        assert_eq!(api.patch("/v1/organization/security", mfa).bearer(other.access_token()).send().await.status, 200);
        assert_eq!(options(&api, phished.access_token()).await.refusal(), (401, "invalid_token"), "it is over");
        let (methods, refused) = by_code().await;
        assert_eq!(methods, json!(["passkey", "recovery_code"]), "at `acme` as at `other`");
        assert_eq!(refused.refusal(), (401, "invalid_flow_token"));
        let session = sign_in(&api, &mut authenticator).await;
        assert_eq!(session.text("/organization/identifier"), "acme");
        assert_eq!(options(&api, session.access_token()).await.status, 200, "its holder");
    }

    of_a_passkeys_removal_and_a_sign_in_by_it_the_removal_wins(api) {
        api.add_member(JO, "member").await;
        let token = api.token_of(JO).await;
        for round in 0..20 {
            let asked = options(&api, &token).await;
            let mut authenticator = Authenticator::new();
            let credential = authenticator.create(&asked.json["options"]);
            let added = add(&api, &token, &asked, credential).await;
            let path = format!("/v1/me/passkeys/{}", added.text("/id"));
            let asked = challenge(&api, None).await;
            let credential = authenticator.get(&asked.json["options"]);
            let remove = api.request(Method::DELETE, &path).bearer(&token).send();
            let (shown, removed) = tokio::join!(show(&api, &asked, credential), remove);
            assert_eq!(removed.status, 204, "{round}: {}", removed.json);
            if shown.status == 200 {
                let whoami = api.get("/v1/whoami").bearer(shown.access_token()).send().await;
                assert_eq!(whoami.refusal(), (401, "invalid_token"), "{round}");
            } else {
                assert_eq!(shown.status, 401, "{round}: {}", shown.json);
            }
        }
        assert_eq!(api.get("/v1/whoami").bearer(&token).send().await.status, 200, "the control");
    }

    a_session_of_a_passkey_is_confirmed_by_a_passkey_alone(api) {
        let (mut authenticator, _) = member_with_passkey(&api, JO).await;
        let token = sign_in(&api, &mut authenticator).await.access_token().to_owned();
        api.clock.advance(Duration::from_mins(11));
        let prove = |proof: Value| api.post("/v1/me/reauthenticate", proof).bearer(&token).send();
        assert_eq!(prove(json!({ "password": PASSWORD })).await.refusal(), (403, "stronger_proof_required"));
        assert_eq!(options(&api, &token).await.refusal(), (403, "reauthentication_required"));
        let asked = api.post("/v1/me/reauthenticate/options", json!({})).bearer(&token).send().await;
        assert_eq!(asked.json["options"]["allowCredentials"][0]["id"], json!(authenticator.id()));
        let credential = authenticator.get(&asked.json["options"]);
        let body = json!({ "passkey": { "flow_token": asked.text("/flow_token"), "credential": credential } });
        assert_eq!(prove(body.clone()).await.status, 200);
        assert_eq!(prove(body).await.refusal(), (401, "invalid_flow_token"), "again");
        assert_eq!(options(&api, &token).await.status, 200);
    }

    once_the_grace_is_over_a_passkey_is_added_on_the_way_in(api) {
        api.add_member(JO, "member").await;
        demand(&api, "required_for_all", "0h").await;
        let login = api.login(JO, PASSWORD).await;
        let flow = login.text("/flow_token");
        let ask = |flow: String| api.post("/v1/auth/mfa/passkey/options", json!({ "flow_token": flow })).send();
        let asked = ask(flow.to_owned()).await;
        let mut authenticator = Authenticator::new();
        let credential = authenticator.create(&asked.json["options"]);
        let body = json!({ "flow_token": asked.text("/flow_token"), "name": "Phone", "credential": credential });
        let done = api.post("/v1/auth/mfa/passkey", body).send().await;
        assert_eq!((done.text("/status"), codes(&done).len()), ("authenticated", 10), "{}", done.json);
        assert!(api.recorded("mfa.factor_added").await);
        assert_eq!(amr(&done), json!(["pwd", "hwk"]));
        assert_eq!(ask(flow.to_owned()).await.refusal(), (401, "invalid_flow_token"));
        assert_eq!(sign_in(&api, &mut authenticator).await.text("/status"), "authenticated");
        assert_eq!(ask(step(&api, JO).await).await.refusal(), (401, "invalid_flow_token"), "who has one adds none there");
    }

    password_managers_find_the_pages_of_the_console(api) {
        let found = api.get("/.well-known/passkey-endpoints").send().await;
        assert_eq!(found.text("/enroll"), "http://localhost:3000/mfa/setup");
        assert_eq!(found.text("/manage"), "http://localhost:3000/settings/security");
    }
}
