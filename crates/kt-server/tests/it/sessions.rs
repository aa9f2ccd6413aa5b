use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use kt_control::passwords::{Asker, Capacity, Cost, Hasher};
use kt_domain::clock::Clock;
use kt_domain::lockout::{
    DEPLOYMENT, DEPLOYMENT_LIMIT, account_at_network_key, counts_of_networks, network_of,
};
use kt_domain::passwords::Password;
use kt_domain::secret::SecretDigest;
use kt_store::{audit, limits, once, organizations, users};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::databases::Kind;
use crate::harness::{Answer, PASSWORD, TestApi, on_both, side_by_side};

on_both! {
    an_owner_signs_in_and_is_told_who_they_are(api) {
        let session = api.owner().await;
        assert_eq!(session.json["token_type"], "Bearer");
        assert_eq!(session.json["expires_in"], 900);
        let answer = api.get("/v1/whoami").bearer(session.access_token()).send().await;
        assert_eq!(answer.json["user"]["email"], "owner@acme.example");
        assert_eq!(answer.json["user"]["role"], "owner");
        assert_eq!(answer.json["organization"]["identifier"], "acme");
        assert_eq!(answer.text("/user/id"), session.text("/user/id"));
    }

    whoever_is_not_let_in_gets_one_answer(api) {
        let wrong = [
            ("owner@acme.example", "Tall-cedar-9-rivers"),
            ("nobody@acme.example", PASSWORD),
            ("not an address", PASSWORD),
            ("owner@acme.example", ""),
        ];
        let mut bodies = Vec::new();
        for (email, password) in wrong {
            let mut answer = api.login(email, password).await;
            assert_eq!(answer.refusal(), (401, "invalid_credentials"), "{email}");
            answer.json["error"]["request_id"] = json!(null);
            bodies.push(answer.json);
        }
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
        api.owner().await;
    }

    what_is_typed_for_an_address_and_is_none_is_written_nowhere(api) {
        let expected = api.login("nobody@acme.example", "wrong").await.json["error"]["message"].clone();
        let long = "Tall-cedar-9-river ".repeat(3_000);
        for typed in [PASSWORD, "a\u{0}b", &long] {
            let answer = api.login(typed, "wrong").await;
            assert_eq!(answer.refusal(), (401, "invalid_credentials"), "{typed:.20}");
            assert_eq!(answer.json["error"]["message"], expected);
        }
        let only = organizations::only(&api.store).await.unwrap();
        let chain = audit::chain(&api.store, only.as_ref()).await.unwrap();
        let failed: Vec<_> = chain.iter().filter(|entry| entry.body.contains("auth.sign_in")).collect();
        assert_eq!(failed.len(), 4);
        assert!(failed.iter().all(|entry| entry.body.len() < 2000 && !entry.body.contains("cedar")));
        assert!(failed[0].body.contains("nobody@acme.example"), "the control: what is an address is told");
        assert!(failed[1..].iter().all(|entry| entry.body.contains("\"resource\":\"no address\"")));
        for _ in 0..10 {
            api.login(PASSWORD, "wrong").await;
        }
        let reasons = audit::chain(&api.store, only.as_ref()).await.unwrap();
        assert!(reasons.last().unwrap().body.contains("\"locked\""), "it is counted all the same");
    }

    the_eleventh_try_is_not_heard_even_when_right_until_the_lock_ends(api) {
        let device = api.owner().await.text("/device_token").to_owned();
        for _ in 0..10 {
            assert_eq!(api.login("owner@acme.example", "wrong").await.refusal(), (401, "invalid_credentials"));
        }
        assert_eq!(api.login("owner@acme.example", PASSWORD).await.refusal(), (401, "invalid_credentials"), "locked");
        let request = json!({ "email": "owner@acme.example", "password": PASSWORD, "device_token": device });
        let known = api.post("/v1/auth/login", request).send().await;
        assert_eq!(known.json["status"], "authenticated", "a known device keeps its lane");
        let request = json!({ "email": "owner@acme.example", "password": PASSWORD });
        let elsewhere = api.post("/v1/auth/login", request).from("198.51.100.7:1").send().await;
        assert_eq!(elsewhere.json["status"], "authenticated", "another network is not locked out by this one");
        api.clock.advance(Duration::from_mins(15));
        api.owner().await;
    }

    every_spelling_of_an_address_counts_for_the_account(api) {
        let spellings = ["owner@acme.example", "OWNER@acme.example", "Owner@ACME.example", " owner@acme.example "];
        for spelling in spellings.iter().cycle().take(10) {
            assert_eq!(api.login(spelling, "wrong").await.refusal(), (401, "invalid_credentials"), "{spelling}");
        }
        for spelling in spellings {
            assert_eq!(api.login(spelling, PASSWORD).await.refusal(), (401, "invalid_credentials"), "{spelling}");
        }
        api.clock.advance(Duration::from_mins(15));
        assert_eq!(api.login("OWNER@acme.example", PASSWORD).await.json["status"], "authenticated");
    }

    a_right_password_after_five_wrong_ones_is_told(api) {
        let told = || api.told("owner@acme.example", "Sign-in to your account after 5 failed attempts");
        for wrong in [4, 5] {
            for _ in 0..wrong {
                api.login("owner@acme.example", "wrong").await;
            }
            api.owner().await;
            assert_eq!(told().await, usize::from(wrong == 5), "after {wrong}");
        }
    }

    a_network_that_has_had_its_tries_locks_nobodys_account(api) {
        for n in 0..101 {
            api.login(&format!("nobody-{n}@acme.example"), "wrong").await;
        }
        assert_eq!(api.login("owner@acme.example", PASSWORD).await.refusal(), (401, "invalid_credentials"), "from there");
        let request = json!({ "email": "owner@acme.example", "password": PASSWORD });
        let elsewhere = api.post("/v1/auth/login", request).from("198.51.100.7:1").send().await;
        assert_eq!(elsewhere.json["status"], "authenticated");
        assert_eq!(api.records("auth.account_locked").await.len(), 0);
    }

    a_right_password_of_somebody_who_is_suspended_counts_as_a_wrong_one_does(api) {
        let owner = api.owner().await;
        let jo = api.add_member("jo@acme.example", "member").await.to_string();
        let suspend = api.post(&format!("/v1/members/{jo}/suspend"), json!({})).bearer(owner.access_token());
        assert_eq!(suspend.send().await.text("/status"), "suspended");
        let owner = owner.text("/user/id");
        for (n, (email, account, password, counted)) in [
            ("jo@acme.example", &*jo, PASSWORD, 1),
            ("jo@acme.example", &*jo, "wrong", 1),
            ("owner@acme.example", owner, "wrong", 1),
            ("owner@acme.example", owner, PASSWORD, 0),
        ]
        .into_iter()
        .enumerate()
        {
            let ip: IpAddr = format!("100.64.{n}.7").parse().unwrap();
            let body = json!({ "email": email, "password": password });
            api.post("/v1/auth/login", body).from(&format!("{ip}:1")).send().await;
            let mut keys: Vec<_> = counts_of_networks(ip).into_iter().map(|count| count.key).collect();
            keys.push(account_at_network_key(account, network_of(ip)));
            for key in keys {
                let tries = limits::current(&api.store, &key, api.clock.now()).await.unwrap();
                assert_eq!(tries, counted, "{email}, {password}: {key}");
            }
        }
    }

    whoever_is_known_and_not_let_in_is_recorded(api) {
        let jo = api.add_member("jo@acme.example", "member").await.to_string();
        let owner = api.token_of("owner@acme.example").await;
        let suspended = api.post(&format!("/v1/members/{jo}/suspend"), json!({})).bearer(&owner).send().await;
        assert!(suspended.status.is_success(), "{}", suspended.json);
        assert_eq!(api.login("jo@acme.example", PASSWORD).await.refusal(), (401, "invalid_credentials"));
        let records = api.records("auth.sign_in").await;
        let last = records.iter().find(|record| record["resource"] == jo.as_str()).expect("it is recorded");
        assert_eq!((&last["outcome"], &last["details"]["after"]["reason"]), (&json!("failure"), &json!("not_admitted")));
    }

    a_network_that_goes_on_grows_no_audit_log_and_is_counted_to_the_last_try(api) {
        let device = api.owner().await.text("/device_token").to_owned();
        let failed = async || -> Vec<Value> {
            let records = api.records("auth.sign_in").await;
            records.into_iter().filter(|record| record["outcome"] == "failure").collect()
        };
        let guess = async |email: &str, password: &str, device: Option<&str>| {
            let body = json!({ "email": email, "password": password, "device_token": device });
            api.post("/v1/auth/login", body).from("198.51.100.7:1").send().await
        };
        for n in 0..1000 {
            let answer = guess(&format!("nobody-{n}@acme.example"), "wrong", None).await;
            assert_eq!(answer.refusal(), (401, "invalid_credentials"));
        }
        assert_eq!(failed().await.len(), 100, "each of those that were listened to");
        assert_eq!(guess("owner@acme.example", PASSWORD, Some("no device")).await.refusal(), (401, "invalid_credentials"));
        let known = guess("owner@acme.example", PASSWORD, Some(&device)).await;
        assert_eq!(known.json["status"], "authenticated", "a known device is heard");

        api.clock.advance(Duration::from_mins(1));
        for _ in 0..2 {
            api.control.run_jobs(&api.operator()).await.unwrap();
        }
        let records = failed().await;
        assert_eq!(records.len(), 101, "and the others together, once");
        let last = records.last().unwrap();
        assert_eq!((&last["resource"], &last["ip_address"]), (&json!("198.51.100.0/24"), &json!("198.51.100.7")));
        assert_eq!(last["details"]["after"]["reason"], "network_locked");
        assert_eq!(last["details"]["after"]["tries"], 901, "none is lost: {last}");
        guess("nobody@acme.example", "wrong", None).await;
        api.clock.advance(Duration::from_mins(1));
        api.control.run_jobs(&api.operator()).await.unwrap();
        assert_eq!(failed().await.last().unwrap()["details"]["after"]["tries"], 1, "and again when it goes on");
    }

    one_line_of_ipv6_does_not_shut_out_strangers_from_elsewhere(api) {
        let guess = async |from: &str, email: &str, password: &str| {
            let body = json!({ "email": email, "password": password });
            api.post("/v1/auth/login", body).from(from).send().await
        };
        for n in 0..600 {
            // A home line has 256 networks of 64 bits.
            guess(&format!("[2001:db8:1:{:x}::7]:1", n % 256), &format!("nobody-{n}@acme.example"), "wrong").await;
        }
        let counted = limits::current(&api.store, DEPLOYMENT, api.clock.now()).await.unwrap();
        assert_eq!(counted, 500, "a tenth of what shuts everybody out");
        let here = guess("[2001:db8:1:ffff::7]:1", "owner@acme.example", PASSWORD).await;
        assert_eq!(here.refusal(), (401, "invalid_credentials"), "the line has had its tries");
        let elsewhere = guess("[2001:db8:2::7]:1", "owner@acme.example", PASSWORD).await;
        assert_eq!(elsewhere.json["status"], "authenticated");
    }

    no_noise_about_others_makes_room_for_more_guesses(api) {
        for _ in 0..10 {
            api.login("owner@acme.example", "wrong").await;
        }
        let api = &api;
        let noise = (0..300).map(|n| async move {
            let body = json!({ "email": format!("nobody-{n}@acme.example"), "password": "wrong" });
            api.post("/v1/auth/login", body).from(&format!("203.0.113.{}:1", n % 250)).send().await
        });
        side_by_side(noise).await;
        let still = api.login("owner@acme.example", PASSWORD).await;
        assert_eq!(still.refusal(), (401, "invalid_credentials"), "the count of the account is still there");
        api.clock.advance(Duration::from_mins(15));
        api.owner().await;
    }

    a_right_password_starts_the_count_anew(api) {
        for _ in 0..2 {
            for _ in 0..9 {
                api.login("owner@acme.example", "wrong").await;
            }
            api.owner().await;
        }
    }

    a_hundred_wrong_passwords_from_many_networks_lock_an_account_for_strangers_alone(api) {
        let known = api.owner().await;
        let guess = async |n: usize, password: &str, device: Option<&str>| {
            let body = json!({ "email": "owner@acme.example", "password": password, "device_token": device });
            api.post("/v1/auth/login", body).from(&format!("198.51.{n}.7:1")).send().await
        };
        for n in 0..98 {
            guess(n, "wrong", None).await;
        }
        assert_eq!(guess(98, PASSWORD, None).await.json["status"], "authenticated", "the control, which starts anew");
        for n in 0..100 {
            guess(n, "wrong", None).await;
        }
        assert_eq!(guess(200, PASSWORD, None).await.refusal(), (401, "invalid_credentials"));
        let device = Some(known.text("/device_token"));
        assert_eq!(guess(200, PASSWORD, device).await.json["status"], "authenticated", "its holder is not shut out");
    }

    one_address_locks_nobody_out_who_comes_from_elsewhere(api) {
        let guess = async |email: &str, password: &str, from: &str| {
            let body = json!({ "email": email, "password": password });
            api.post("/v1/auth/login", body).from(from).send().await
        };
        let (here, elsewhere) = ("198.51.100.7:1", "192.0.2.7:1");
        for _ in 0..110 {
            guess("owner@acme.example", "wrong", here).await;
        }
        let heard = guess("owner@acme.example", PASSWORD, elsewhere).await;
        assert_eq!(heard.json["status"], "authenticated", "a hundred tries of one address lock the account for no other");
        let now = kt_domain::clock::Clock::now(&api.clock);
        let tx = api.store.begin_write().await.unwrap();
        for _ in 0..DEPLOYMENT_LIMIT - 130 {
            limits::count(&tx, DEPLOYMENT, Duration::from_mins(15), now).await.unwrap();
        }
        tx.commit().await.unwrap();
        for n in 0..150 {
            guess(&format!("nobody-{n}@acme.example"), "wrong", "100.65.0.7:1").await;
        }
        let heard = guess("owner@acme.example", PASSWORD, elsewhere).await;
        assert_eq!(heard.json["status"], "authenticated", "nor are they an attack from everywhere");
        for n in 0..30 {
            guess(&format!("nobody-{n}@acme.example"), "wrong", &format!("100.64.{n}.7:1")).await;
        }
        let shut_out = guess("owner@acme.example", PASSWORD, elsewhere).await;
        assert_eq!(shut_out.refusal(), (401, "invalid_credentials"), "the control");
    }

    a_password_that_could_not_be_checked_counts_for_nothing(api) {
        let device = api.owner().await.text("/device_token").to_owned();
        let login = async |device: Option<&str>| {
            let body = json!({ "email": "owner@acme.example", "password": PASSWORD, "device_token": device });
            api.post("/v1/auth/login", body).send().await
        };
        let kept = users::by_email(&api.store, "owner@acme.example").await.unwrap().unwrap();
        let whole = kept.password.unwrap().hash;
        let swap = async |old: &str, new: &str| {
            let tx = api.store.begin_write().await.unwrap();
            users::rehash(&tx, &kept.id, old, new).await.unwrap();
            tx.commit().await.unwrap();
        };
        swap(&whole, "damaged").await;
        for device in [Some(device.as_str()), None] {
            for _ in 0..11 {
                assert_eq!(login(device).await.refusal(), (500, "internal_error"));
            }
        }
        swap("damaged", &whole).await;
        for device in [Some(device.as_str()), None] {
            assert_eq!(login(device).await.json["status"], "authenticated", "{device:?}");
        }
    }

    a_sign_in_puts_a_new_hash_in_place_of_an_outdated_one(api) {
        let kept = async || {
            let user = users::by_email(&api.store, "owner@acme.example").await.unwrap().unwrap();
            (user.id, user.password.unwrap().hash)
        };
        let hasher = Hasher::new(&Cost::default(), Capacity::default()).unwrap();
        let outdated = hasher.hash(&Asker::stranger(None), &Password::new(PASSWORD).unwrap()).await.unwrap().to_stored();
        let (owner, first) = kept().await;
        let tx = api.store.begin_write().await.unwrap();
        users::rehash(&tx, &owner, &first, &outdated).await.unwrap();
        tx.commit().await.unwrap();
        api.login("owner@acme.example", "wrong").await;
        assert_eq!(kept().await.1, outdated, "a wrong password changes nothing");
        api.owner().await;
        let (_, renewed) = kept().await;
        let cost = |hash: &str| hash.split('$').nth(3).unwrap().to_owned();
        assert_eq!(cost(&renewed), cost(&first), "as the deployment hashes now");
        assert_ne!(cost(&renewed), cost(&outdated));
        api.owner().await;
        assert_eq!(kept().await.1, renewed, "and that once");
    }

    what_the_database_holds_of_a_session_opens_nothing(api) {
        let session = api.owner().await;
        let refresh = session.text("/refresh_token");
        let kept = SecretDigest::of(refresh).to_string();
        for stolen in [kept.as_str(), session.text("/user/id")] {
            let body = json!({ "refresh_token": stolen });
            assert_eq!(api.post("/v1/auth/refresh", body).send().await.refusal(), (401, "invalid_refresh_token"));
            assert_eq!(api.get("/v1/whoami").bearer(stolen).send().await.refusal(), (401, "invalid_token"));
        }
        let good = api.post("/v1/auth/refresh", json!({ "refresh_token": refresh })).send().await;
        assert_eq!(good.status, StatusCode::OK, "the control");
    }

    of_many_guesses_at_once_no_more_are_heard_than_one_after_the_other(api) {
        let wrong = (0..40).map(|_| api.login("owner@acme.example", "wrong"));
        for answer in side_by_side(wrong).await {
            assert_eq!(answer.refusal(), (401, "invalid_credentials"));
        }
        assert_eq!(api.login("owner@acme.example", PASSWORD).await.refusal(), (401, "invalid_credentials"), "locked");
        assert_eq!(api.records("auth.account_locked").await.len(), 1);
        api.clock.advance(Duration::from_mins(15));
        api.owner().await;
    }

    a_sign_in_from_a_device_that_is_not_known_is_told_once(api) {
        let told = || api.told("owner@acme.example", "New sign-in to your account");
        let login = async |device: Option<&str>| {
            let body = json!({ "email": "owner@acme.example", "password": PASSWORD, "device_token": device });
            api.clock.advance(Duration::from_secs(1));
            api.post("/v1/auth/login", body).send().await
        };
        let first = login(None).await;
        assert_eq!(told().await, 0, "the very first sign-in is no news");
        login(Some(first.text("/device_token"))).await;
        assert_eq!(told().await, 0, "the same device again");
        let other = login(Some("made-up")).await;
        assert_eq!(told().await, 1);
        let letters = api.letters_to("owner@acme.example").await;
        assert!(letters[0].content.text.contains("203.0.113.9"), "{}", letters[0].content.text);
        login(Some(other.text("/device_token"))).await;
        assert_eq!(told().await, 1, "it is known from now on");
        api.login("owner@acme.example", "wrong").await;
        assert_eq!(told().await, 1, "nobody has signed in");
    }

    a_step_that_waits_for_a_second_factor_replaces_no_password(api) {
        api.add_member("mia@acme.example", "member").await;
        let mia = || api.login("mia@acme.example", PASSWORD);
        let policy = json!({ "mfa": { "policy": "required_for_all", "grace_period": "0h" } });
        let owner = api.owner().await;
        let changed = api.patch("/v1/organization/security", policy).bearer(owner.access_token()).send().await;
        assert_eq!(changed.status, StatusCode::OK);
        let replace = async |step: &str| {
            let body = json!({ "flow_token": step, "new_password": "Quiet-willow-4-lakes" });
            api.post("/v1/auth/password/replace", body).send().await
        };
        let waiting = mia().await;
        assert_eq!(waiting.text("/status"), "mfa_enrollment_required");
        assert_eq!(replace(waiting.text("/flow_token")).await.refusal(), (401, "invalid_flow_token"));
        assert_eq!(mia().await.text("/status"), "mfa_enrollment_required", "the password is the same");
        api.clock.advance(Duration::from_hours(91 * 24));
        let expired = mia().await;
        assert_eq!(expired.text("/status"), "password_change_required");
        assert_eq!(replace(expired.text("/flow_token")).await.text("/status"), "password_changed", "the control");
    }

    an_access_token_ends_after_fifteen_minutes_and_is_refreshed(api) {
        let session = api.owner().await;
        api.clock.advance(Duration::from_secs(15 * 60 - 1));
        let get = || api.get("/v1/whoami").bearer(session.access_token()).send();
        assert_eq!(get().await.status, StatusCode::OK);
        api.clock.advance(Duration::from_secs(1));
        assert_eq!(get().await.refusal(), (401, "invalid_token"));
        let refreshed = api.post("/v1/auth/refresh", json!({ "refresh_token": session.text("/refresh_token") }));
        let refreshed = refreshed.send().await;
        assert_eq!(api.get("/v1/whoami").bearer(refreshed.access_token()).send().await.status, StatusCode::OK);
    }

    a_replayed_refresh_token_ends_its_session_at_once(api) {
        let session = api.owner().await;
        let refresh = || api.post("/v1/auth/refresh", json!({ "refresh_token": session.text("/refresh_token") })).send();
        let refreshed = refresh().await;
        let get = || api.get("/v1/whoami").bearer(refreshed.access_token()).send();
        assert_eq!(get().await.status, StatusCode::OK, "the control");
        assert_eq!(refresh().await.refusal(), (401, "invalid_refresh_token"));
        assert_eq!(get().await.refusal(), (401, "invalid_token"));
        let next = api.post("/v1/auth/refresh", json!({ "refresh_token": refreshed.text("/refresh_token") })).send();
        assert_eq!(next.await.refusal(), (401, "invalid_refresh_token"));
    }

    of_a_thousand_who_use_one_refresh_token_one_is_served_and_the_session_ends(api) {
        let session = api.owner().await;
        let body = json!({ "refresh_token": session.text("/refresh_token") });
        let answers = side_by_side((0..1000).map(|_| api.post("/v1/auth/refresh", body.clone()).send())).await;
        let (served, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status == StatusCode::OK);
        assert_eq!(served.len(), 1);
        assert!(refused.iter().all(|answer| answer.refusal() == (401, "invalid_refresh_token")));
        let whoami = api.get("/v1/whoami").bearer(served[0].access_token()).send().await;
        assert_eq!(whoami.refusal(), (401, "invalid_token"), "the others are replays");
        assert_eq!(api.records("auth.refresh_replayed").await.len(), 1, "which is told once");
        let next = json!({ "refresh_token": served[0].text("/refresh_token") });
        assert_eq!(api.post("/v1/auth/refresh", next).send().await.refusal(), (401, "invalid_refresh_token"));
    }

    nobody_waits_for_a_password_that_is_replaced_to_be_hashed(api) {
        api.owner().await;
        api.clock.advance(Duration::from_hours(91 * 24));
        let step = api.login("owner@acme.example", PASSWORD).await;
        let replace = async |password: &str| {
            let body = json!({ "flow_token": step.text("/flow_token"), "new_password": password });
            api.post("/v1/auth/password/replace", body).send().await
        };
        // Whoever writes meanwhile has the one writer of SQLite, and here the step itself, which PostgreSQL has everybody wait
        // for who wants to use it up: what is hashed and refused asks for neither.
        let writing = api.store.begin_write().await.unwrap();
        let digest = SecretDigest::of(step.text("/flow_token"));
        let held = once::consume::<Value>(&writing, "sign_in_step", &digest, api.clock.now()).await.unwrap();
        assert!(held.is_some(), "this is where the step is kept");
        for refused in ["acme", PASSWORD] {
            let answer = timeout(Duration::from_secs(60), replace(refused)).await.expect("it waits for nobody");
            assert_eq!(answer.text("/error/param"), "new_password", "{refused}");
        }
        drop(writing);
        assert_eq!(replace("Quiet-willow-4-lakes").await.text("/status"), "password_changed", "the step is still good");
    }

    of_a_thousand_who_replace_a_password_at_one_step_one_does(api) {
        api.owner().await;
        api.clock.advance(Duration::from_hours(91 * 24));
        let step = api.login("owner@acme.example", PASSWORD).await;
        let body = json!({ "flow_token": step.text("/flow_token"), "new_password": "Quiet-willow-4-lakes" });
        let all = (0..1000).map(|_| api.post("/v1/auth/password/replace", body.clone()).send());
        let answers = side_by_side(all).await;
        let (done, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status == StatusCode::OK);
        assert_eq!(done.len(), 1);
        assert!(refused.iter().all(|answer| answer.refusal() == (401, "invalid_flow_token")));
        let signed_in = api.login("owner@acme.example", "Quiet-willow-4-lakes").await;
        assert_eq!(signed_in.json["status"], "authenticated");
    }

    signing_out_ends_the_session_at_once_and_no_other(api) {
        let (one, other) = (api.owner().await, api.owner().await);
        let out = api.request(Method::POST, "/v1/auth/logout").bearer(one.access_token()).send().await;
        assert_eq!(out.status, StatusCode::NO_CONTENT);
        assert_eq!(api.get("/v1/whoami").bearer(one.access_token()).send().await.refusal(), (401, "invalid_token"));
        assert_eq!(api.get("/v1/whoami").bearer(other.access_token()).send().await.status, StatusCode::OK);
    }

    a_session_is_seen_and_ended_by_its_holder_with_a_fresh_proof(api) {
        let (one, other) = (api.owner().await, api.owner().await);
        let list = api.get("/v1/me/sessions").bearer(one.access_token()).send().await;
        let sessions = list.json["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), 2);
        let theirs = sessions.iter().find(|session| session["current"] == false).unwrap();
        let path = format!("/v1/me/sessions/{}", theirs["id"].as_str().unwrap());
        let end = || api.request(Method::DELETE, &path).bearer(one.access_token()).send();
        assert_eq!(end().await.status, StatusCode::NO_CONTENT);
        assert_eq!(end().await.refusal(), (404, "not_found"));
        assert_eq!(api.get("/v1/whoami").bearer(other.access_token()).send().await.refusal(), (401, "invalid_token"));
        api.clock.advance(Duration::from_mins(11));
        assert_eq!(end().await.refusal(), (403, "reauthentication_required"));
    }

    sessions_are_listed_page_by_page(api) {
        api.owner().await;
        api.clock.advance(Duration::from_secs(1));
        let newer = api.owner().await;
        let list = |query: String| api.get(&format!("/v1/me/sessions?{query}")).bearer(newer.access_token()).send();
        let first = list("limit=1".into()).await;
        assert_eq!(first.json["sessions"].as_array().unwrap().len(), 1);
        assert_eq!(first.json["sessions"][0]["current"], true, "the newest");
        let rest = list(format!("limit=1&cursor={}", first.text("/next_cursor"))).await;
        assert_eq!(rest.json["sessions"].as_array().unwrap().len(), 1);
        assert_eq!((&rest.json["sessions"][0]["current"], &rest.json["next_cursor"]), (&json!(false), &json!(null)));
        for (query, param) in [("limit=0", "limit"), ("cursor=1", "cursor"), ("sort=id", "sort")] {
            assert_eq!(list(query.into()).await.text("/error/param"), param, "{query}");
        }
    }

    all_other_sessions_of_ones_own_are_ended_at_once(api) {
        api.add_member("jo@acme.example", "member").await;
        let (one, other, jo) = (api.owner().await, api.owner().await, api.token_of("jo@acme.example").await);
        let end = || api.request(Method::DELETE, "/v1/me/sessions").bearer(one.access_token()).send();
        assert_eq!(end().await.status, StatusCode::NO_CONTENT);
        assert_eq!(api.get("/v1/whoami").bearer(other.access_token()).send().await.refusal(), (401, "invalid_token"));
        let refresh = json!({ "refresh_token": other.text("/refresh_token") });
        assert_eq!(api.post("/v1/auth/refresh", refresh).send().await.refusal(), (401, "invalid_refresh_token"));
        for kept in [one.access_token(), &jo] {
            assert_eq!(api.get("/v1/whoami").bearer(kept).send().await.status, StatusCode::OK, "nobody else's, nor this one");
        }
        assert_eq!(api.records("session.revoked").await.len(), 1);
        assert_eq!(end().await.status, StatusCode::NO_CONTENT, "with none, none is ended");
        let list = api.get("/v1/me/sessions").bearer(one.access_token()).send().await;
        assert_eq!(list.json["sessions"].as_array().unwrap().len(), 1);
        assert_eq!(list.json["sessions"][0]["proofs"], json!(["pwd"]), "and says how it was proven");
        api.clock.advance(Duration::from_mins(11));
        assert_eq!(end().await.refusal(), (403, "reauthentication_required"));
    }

    the_eleventh_session_ends_the_first(api) {
        let first = api.owner().await;
        let mut later = Vec::new();
        for _ in 0..9 {
            api.clock.advance(Duration::from_secs(1));
            later.push(api.owner().await);
        }
        let is_good = async |session: &Answer| {
            api.get("/v1/whoami").bearer(session.access_token()).send().await.status == StatusCode::OK
        };
        api.clock.advance(Duration::from_secs(1));
        assert!(is_good(&first).await, "ten may live at once");
        let eleventh = api.owner().await;
        assert!(!is_good(&first).await, "from the next request on");
        assert!(is_good(&later[0]).await && is_good(&eleventh).await, "the oldest alone");
    }

    a_session_ends_by_idleness(api) {
        let session = api.owner().await;
        api.clock.advance(Duration::from_mins(31));
        let refresh = api.post("/v1/auth/refresh", json!({ "refresh_token": session.text("/refresh_token") }));
        assert_eq!(refresh.send().await.refusal(), (401, "invalid_refresh_token"));
    }

    a_bearer_that_is_not_good_never_counts_as_nobody(api) {
        let session = api.owner().await;
        let good = format!("Bearer {}", session.access_token());
        for bad in ["Bearer", "Bearer x", "Basic b3duZXI6eA==", "", &format!("{good}x"), &good[..good.len() - 1]] {
            let answer = api.get("/v1/whoami").header("authorization", bad).send().await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{bad}");
        }
        let twice = api.get("/v1/whoami").header("authorization", &good).header("authorization", &good).send().await;
        assert_eq!(twice.refusal(), (401, "invalid_authorization"));
        assert_eq!(api.get("/v1/whoami").header("authorization", &good).send().await.status, StatusCode::OK);
    }

    bad_input_is_named(api) {
        let login = |body| api.post("/v1/auth/login", body).send();
        let unknown = login(json!({ "email": "a@b.example", "password": "x", "role": "owner" })).await;
        assert_eq!(unknown.refusal(), (422, "validation_error"));
        let missing = login(json!({ "email": "a@b.example" })).await;
        assert!(missing.text("/error/message").contains("password"), "{}", missing.json);
        let wrong_type = login(json!({ "email": 7, "password": "x" })).await;
        assert_eq!(wrong_type.text("/error/param"), "email");
        let id = wrong_type.headers["x-kt-request-id"].to_str().unwrap();
        assert_eq!(wrong_type.text("/error/request_id"), id);
        assert_eq!(api.get("/v1/nowhere").send().await.refusal(), (404, "not_found"));
        assert_eq!(api.get("/v1/auth/login").send().await.refusal(), (405, "method_not_allowed"));
    }

    the_published_keys_verify_and_hold_nothing_private(api) {
        let keys = api.get("/.well-known/jwks.json").send().await;
        let key = &keys.json["keys"][0];
        assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA")));
        assert!(key.get("d").is_none());
    }

    one_network_that_fails_at_many_accounts_is_told_once(api) {
        let fail = async |name: String, from: &str| {
            let body = json!({ "email": format!("{name}@acme.example"), "password": "wrong" });
            api.post("/v1/auth/login", body).from(from).send().await
        };
        for n in 0..19 {
            fail(format!("somebody-{n}"), "198.51.100.7:1").await;
            fail("one-account".to_owned(), "192.0.2.7:1").await;
        }
        assert_eq!(api.records("auth.stuffing_suspected").await.len(), 0, "one account again and again is something else");
        for n in 19..40 {
            fail(format!("somebody-{n}"), "198.51.100.200:1").await;
        }
        let records = api.records("auth.stuffing_suspected").await;
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["resource"], "198.51.100.0/24");
        assert_eq!(records[0]["details"]["after"], json!({ "accounts": 20 }));
        api.clock.advance(Duration::from_mins(15));
        for n in 0..20 {
            fail(format!("somebody-{n}"), "198.51.100.7:1").await;
        }
        assert_eq!(api.records("auth.stuffing_suspected").await.len(), 2, "and again when it goes on");
    }

    an_attack_from_everywhere_shuts_out_strangers_and_no_known_device(api) {
        let known = api.owner().await;
        let now = kt_domain::clock::Clock::now(&api.clock);
        let tx = api.store.begin_write().await.unwrap();
        for _ in 0..DEPLOYMENT_LIMIT - 2 {
            limits::count(&tx, DEPLOYMENT, Duration::from_mins(15), now).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert_eq!(api.login("owner@acme.example", PASSWORD).await.json["status"], "authenticated", "the control");
        for _ in 0..2 {
            api.login("nobody@acme.example", "wrong").await;
        }
        assert_eq!(api.login("owner@acme.example", PASSWORD).await.refusal(), (401, "invalid_credentials"));
        let body = json!({ "email": "owner@acme.example", "password": PASSWORD, "device_token": known.text("/device_token") });
        assert_eq!(api.post("/v1/auth/login", body).send().await.json["status"], "authenticated", "a lane of its own");
        let records = api.records("auth.stuffing_suspected").await;
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["resource"], "deployment");
        api.clock.advance(Duration::from_mins(15));
        api.owner().await;
    }

    a_network_of_many_who_sign_in_rightly_locks_nobody_out(api) {
        for n in 0..110 {
            let answer = api.login("owner@acme.example", PASSWORD).await;
            assert_eq!(answer.json["status"], "authenticated", "sign-in {n}");
        }
        for n in 0..100 {
            api.login(&format!("nobody{n}@acme.example"), "wrong").await;
        }
        assert_eq!(api.login("owner@acme.example", PASSWORD).await.refusal(), (401, "invalid_credentials"), "the control");
    }
}

/// An API that checks two passwords at once and lets eight wait.
async fn narrow(kind: Kind) -> TestApi {
    TestApi::hashing(kind, Capacity { running: NonZeroUsize::new(2).unwrap(), waiting: 8 }).await
}

on_both! {
    from crate::sessions::narrow;
    a_flood_from_one_address_leaves_places_and_counts_only_what_was_checked(api) {
        let device = api.owner().await.text("/device_token").to_owned();
        let login = async |password: &str, device: Option<&str>, from: &str| {
            let body = json!({ "email": "owner@acme.example", "password": password, "device_token": device });
            api.post("/v1/auth/login", body).from(from).send().await
        };
        let flood = async { side_by_side((0..90).map(|_| login("wrong", None, "198.51.100.7:1"))).await };
        let known = async { side_by_side([login(PASSWORD, Some(device.as_str()), "198.51.100.7:1")]).await };
        let stranger = async { side_by_side([login(PASSWORD, None, "192.0.2.7:1")]).await };
        let answers: [Vec<Answer>; 3] = tokio::join!(flood, known, stranger).into();
        let of = |refusal| answers[0].iter().filter(|answer| answer.refusal() == refusal).count();
        let (checked, overloaded) = (of((401, "invalid_credentials")), of((503, "overloaded")));
        assert_eq!(checked + overloaded, 90);
        assert!(overloaded > 0, "it was a flood");
        let now = kt_domain::clock::Clock::now(&api.clock);
        let counted = limits::current(&api.store, "network/198.51.100.0/24", now).await.unwrap();
        assert_eq!(usize::try_from(counted).unwrap(), checked, "what found no place counts for nothing");
        assert_eq!(answers[1][0].json["status"], "authenticated", "who is known has a place: {:?}", answers[1][0].json);
        assert_eq!(answers[2][0].json["status"], "authenticated", "and so have others: {:?}", answers[2][0].json);
    }
}
