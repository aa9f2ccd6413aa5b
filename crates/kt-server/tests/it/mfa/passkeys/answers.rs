//! Which answers of browsers and authenticators are believed.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kt_store::audit;
use serde_json::{Value, json};

use super::{add, challenge, member_with_passkey, options, reason, reason_of, show, sign_in};
use crate::harness::{PASSWORD, TestApi, on_both, side_by_side};
use crate::mfa::JO;
use crate::mfa::authenticator::{Authenticator, BACKED_UP, BACKUP_ELIGIBLE, Browser, PRESENT, VERIFIED};
use crate::mfa::policy::demand;

/// What a browser or an authenticator does wrong.
type Change = fn(&mut Browser);

/// The same of the last sign-in of somebody whom nobody knows, which the operator sees.
async fn reason_to_operator(api: &TestApi) -> String {
    let chain = audit::chain(&api.store, None).await.unwrap();
    let mut records = chain.iter().map(|entry| serde_json::from_str::<Value>(&entry.body).unwrap());
    reason_of(&records.rfind(|record| record["action"] == "auth.sign_in").unwrap())
}

on_both! {
    a_challenge_of_the_sign_in_page_is_answered_in_the_browser_that_asked(api) {
        let (mut authenticator, _) = member_with_passkey(&api, JO).await;
        let (asking, other) = (api.browser(), api.browser());
        let ask = async || {
            let answer = asking.post("/login/passkey/options", &[]).await;
            serde_json::from_str::<Value>(&answer.body).unwrap()
        };
        let mut answered = async |asked: &Value| {
            let credential = authenticator.get(&asked["options"]).to_string();
            [("flow_token", asked["flow_token"].as_str().unwrap().to_owned()), ("credential", credential)]
        };
        let asked = ask().await;
        let lured = answered(&asked).await;
        let lured = [(lured[0].0, &*lured[0].1), (lured[1].0, &*lured[1].1)];
        assert_eq!(other.post("/login/passkey", &lured).await.refusal(), (401, "invalid_flow_token"));
        let asked = ask().await;
        let relayed = answered(&asked).await;
        let body = json!({
            "flow_token": relayed[0].1, "credential": serde_json::from_str::<Value>(&relayed[1].1).unwrap()
        });
        let at_the_api = api.post("/v1/auth/passkey/verify", body).send().await;
        assert_eq!(at_the_api.refusal(), (401, "invalid_flow_token"), "and not by a program");
        let asked = ask().await;
        let own = answered(&asked).await;
        let own = [(own[0].0, &*own[0].1), (own[1].0, &*own[1].1)];
        assert_eq!(asking.post("/login/passkey", &own).await.leads_to(), Some("/"), "the control");
    }

    only_what_is_as_it_must_be_is_believed(api) {
        let (authenticator, token) = member_with_passkey(&api, JO).await;
        // What is wrong, and the reasons that the audit log names where it was made and where it was shown.
        let wrong: [(&str, [&str; 2], Change); 14] = [
            ("another origin", ["wrong_origin"; 2], |browser| browser.origin = "http://localhost:8788"),
            ("an origin that ends the same", ["wrong_origin"; 2], |browser| browser.origin = "http://badlocalhost:3000"),
            ("an origin with the right beginning", ["wrong_origin"; 2], |browser| browser.origin = "http://localhost:3000.evil.example"),
            ("an origin in capitals", ["wrong_origin"; 2], |browser| browser.origin = "HTTP://LOCALHOST:3000"),
            ("an origin with a path", ["wrong_origin"; 2], |browser| browser.origin = "http://localhost:3000/"),
            ("another site's passkey", ["wrong_site"; 2], |browser| browser.rp_id = "evil.example"),
            ("nobody there", ["user_absent"; 2], |browser| browser.flags = VERIFIED),
            ("nobody verified", ["user_not_verified"; 2], |browser| browser.flags = PRESENT),
            ("a copy of what cannot be copied", ["wrong_backup_state"; 2], |browser| browser.flags |= BACKED_UP),
            ("another ceremony", ["wrong_ceremony"; 2], |browser| browser.kind = Some("payment.get")),
            ("the other ceremony", ["wrong_ceremony"; 2], |browser| browser.kind = Some("webauthn.other")),
            ("another challenge", ["wrong_challenge"; 2], |browser| browser.challenge = Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
            ("a frame of another site", ["framed_page"; 2], |browser| browser.more = json!({ "crossOrigin": true })),
            ("below another site", ["framed_page"; 2], |browser| browser.more = json!({ "topOrigin": "https://evil.example" })),
        ];
        for (what, [made, shown], change) in wrong {
            let asked = options(&api, &token).await;
            let credential = Authenticator::new().with(change).create(&asked.json["options"]);
            assert_eq!(add(&api, &token, &asked, credential).await.refusal(), (422, "invalid_passkey"), "made: {what}");
            assert_eq!(reason(&api, "mfa.factor_added").await, made, "made: {what}");
            let refused = sign_in(&api, &mut authenticator.with(change)).await;
            assert_eq!(refused.refusal(), (401, "invalid_passkey"), "shown: {what}");
            assert_eq!(reason(&api, "auth.sign_in").await, shown, "shown: {what}");
        }
        let shown: [(&str, Change); 2] =
            [("wrong_signature", |browser| browser.is_bogus = true), ("no_holder", |browser| browser.is_silent = true)];
        for (named, change) in shown {
            assert_eq!(sign_in(&api, &mut authenticator.with(change)).await.refusal(), (401, "invalid_passkey"), "{named}");
            assert_eq!(reason(&api, "auth.sign_in").await, named);
        }
        let asked = options(&api, &token).await;
        for broken in [json!({}), json!("x"), json!({ "response": { "clientDataJSON": "e30" } })] {
            let asked = options(&api, &token).await;
            assert_eq!(add(&api, &token, &asked, broken.clone()).await.refusal(), (422, "invalid_passkey"), "{broken}");
            assert_eq!(reason(&api, "mfa.factor_added").await, "unreadable", "{broken}");
            let door = challenge(&api, None).await;
            assert_eq!(show(&api, &door, broken.clone()).await.refusal(), (401, "invalid_passkey"), "{broken}");
            assert_eq!(reason_to_operator(&api).await, "unreadable", "{broken}: of nobody known");
        }
        let unknown = sign_in(&api, &mut Authenticator::new()).await;
        assert_eq!(unknown.refusal(), (401, "invalid_passkey"));
        assert_eq!(reason_to_operator(&api).await, "unknown_passkey");
        // The controls: nothing but the change was wrong.
        let failures = |action: &'static str| async { api.records(action).await.iter().filter(|one| one["outcome"] == "failure").count() };
        let before = (failures("mfa.factor_added").await, failures("auth.sign_in").await);
        let credential = Authenticator::new().create(&asked.json["options"]);
        assert_eq!(add(&api, &token, &asked, credential).await.status, 201);
        assert_eq!(sign_in(&api, &mut authenticator.clone()).await.text("/status"), "authenticated");
        assert_eq!((failures("mfa.factor_added").await, failures("auth.sign_in").await), before);
    }

    what_a_passkey_was_refused_for_on_the_way_in_is_recorded_too(api) {
        api.add_member(JO, "member").await;
        demand(&api, "required_for_all", "0h").await;
        let login = api.login(JO, PASSWORD).await;
        let flow = json!({ "flow_token": login.text("/flow_token") });
        let enrol = async |change: Change| {
            let asked = api.post("/v1/auth/mfa/passkey/options", flow.clone()).send().await;
            let credential = Authenticator::new().with(change).create(&asked.json["options"]);
            let body = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
            api.post("/v1/auth/mfa/passkey", body).send().await
        };
        let framed = enrol(|browser| browser.more = json!({ "crossOrigin": true })).await;
        assert_eq!(framed.refusal(), (422, "invalid_passkey"));
        assert_eq!(reason(&api, "mfa.factor_added").await, "framed_page");
        assert_eq!(enrol(|_| {}).await.text("/status"), "authenticated", "the control: the step is not used up");
    }

    what_cannot_be_read_is_refused_and_breaks_nothing(api) {
        api.add_member(JO, "member").await;
        let token = api.token_of(JO).await;
        let good = Authenticator::new().create(&options(&api, &token).await.json["options"]);
        let object = URL_SAFE_NO_PAD.decode(good["response"]["attestationObject"].as_str().unwrap()).unwrap();
        let mut broken: Vec<Vec<u8>> = vec![vec![], vec![0xff], vec![0x9f], vec![0x5b; 9], vec![0xa1; 4000], vec![0x81; 4000]];
        broken.extend((1..object.len()).step_by(7).map(|length| object[..length].to_vec()));
        for bytes in broken {
            let asked = options(&api, &token).await;
            let mut credential = Authenticator::new().create(&asked.json["options"]);
            credential["response"]["attestationObject"] = json!(URL_SAFE_NO_PAD.encode(&bytes));
            assert_eq!(add(&api, &token, &asked, credential).await.refusal(), (422, "invalid_passkey"), "{bytes:02x?}");
        }
        let asked = options(&api, &token).await;
        let credential = Authenticator::new().create(&asked.json["options"]);
        assert_eq!(add(&api, &token, &asked, credential).await.status, 201, "the control");
    }

    an_identifier_of_a_passkey_has_at_most_1023_bytes(api) {
        api.add_member(JO, "member").await;
        let token = api.token_of(JO).await;
        for (length, is_good) in [(16, true), (1023, true), (1024, false), (4000, false)] {
            let asked = options(&api, &token).await;
            let credential = Authenticator::called(&vec![7; length]).create(&asked.json["options"]);
            let added = add(&api, &token, &asked, credential).await;
            assert_eq!(added.status == 201, is_good, "{length} bytes: {}", added.json);
            if !is_good {
                assert_eq!(reason(&api, "mfa.factor_added").await, "long_identifier");
            }
        }
    }

    what_is_said_about_copies_is_kept_and_never_taken_back(api) {
        api.add_member(JO, "member").await;
        let token = api.token_of(JO).await;
        let asked = options(&api, &token).await;
        let mut passkey = Authenticator::new().with(|browser| browser.flags |= BACKUP_ELIGIBLE);
        let credential = passkey.create(&asked.json["options"]);
        assert_eq!(add(&api, &token, &asked, credential).await.json["backed_up"], false);
        let mut copied = passkey.with(|browser| browser.flags |= BACKED_UP);
        assert_eq!(sign_in(&api, &mut copied).await.text("/status"), "authenticated", "it may be copied, and was");
        let listed = api.get("/v1/me/passkeys").bearer(&token).send().await;
        assert_eq!(listed.json["passkeys"][0]["backed_up"], true);
        let mut other = copied.with(|browser| browser.flags = PRESENT | VERIFIED);
        assert_eq!(sign_in(&api, &mut other).await.refusal(), (401, "invalid_passkey"), "it cannot stop to be one of those");
    }

    a_challenge_is_for_one_answer_of_one_kind_within_five_minutes(api) {
        let (mut authenticator, token) = member_with_passkey(&api, JO).await;
        let (mut kims, kim) = member_with_passkey(&api, "kim@acme.example").await;
        // Of a registration, at the door; of the door, for a registration; of one session, in another.
        let made = options(&api, &token).await;
        let shown = authenticator.get(&made.json["options"]);
        assert_eq!(show(&api, &made, shown).await.refusal(), (401, "invalid_flow_token"));
        let door = challenge(&api, None).await;
        let mut new = Authenticator::new();
        let credential = new.create(&made.json["options"]);
        assert_eq!(add(&api, &token, &door, credential.clone()).await.refusal(), (401, "invalid_flow_token"));
        assert_eq!(add(&api, &kim, &made, credential.clone()).await.refusal(), (401, "invalid_flow_token"));
        assert_eq!(add(&api, &token, &made, credential).await.refusal(), (401, "invalid_flow_token"), "used by that");
        // Of a proof that is given again, at the door, and the other way around.
        let proof = api.post("/v1/me/reauthenticate/options", json!({})).bearer(&kim).send().await;
        let shown = kims.get(&proof.json["options"]);
        assert_eq!(show(&api, &proof, shown).await.refusal(), (401, "invalid_flow_token"));
        let door = challenge(&api, None).await;
        let shown = kims.get(&door.json["options"]);
        let body = json!({ "passkey": { "flow_token": door.text("/flow_token"), "credential": shown } });
        let proven = api.post("/v1/me/reauthenticate", body).bearer(&kim).send().await;
        assert_eq!(proven.refusal(), (401, "invalid_flow_token"));
        for (minutes, is_good) in [(4, true), (5, false)] {
            let door = challenge(&api, None).await;
            api.clock.advance(Duration::from_mins(minutes));
            let shown = kims.get(&door.json["options"]);
            assert_eq!(show(&api, &door, shown).await.status == 200, is_good, "{minutes} minutes");
        }
    }

    of_two_that_count_the_same_passkey_the_slower_is_refused_and_recorded(api) {
        let (mut authenticator, _) = member_with_passkey(&api, JO).await;
        let mut copy = authenticator.clone();
        for _ in 0..2 {
            assert_eq!(sign_in(&api, &mut authenticator).await.text("/status"), "authenticated");
        }
        assert_eq!(sign_in(&api, &mut copy).await.refusal(), (401, "invalid_passkey"));
        let records = api.records("mfa.passkey_counter_regression").await;
        assert_eq!((records.len(), &records[0]["outcome"]), (1, &json!("failure")));
        assert_eq!(sign_in(&api, &mut authenticator).await.text("/status"), "authenticated", "the control");
    }

    of_a_thousand_who_send_one_answer_one_gets_a_session(api) {
        let (mut authenticator, _) = member_with_passkey(&api, JO).await;
        let asked = challenge(&api, None).await;
        let credential = authenticator.get(&asked.json["options"]);
        let all = (0..1000).map(|_| show(&api, &asked, credential.clone()));
        let answers = side_by_side(all).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        let others = answers.iter().filter(|answer| answer.status != 200);
        assert!(others.into_iter().all(|answer| answer.refusal() == (401, "invalid_flow_token")));
    }
}
