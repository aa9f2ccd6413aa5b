//! Passwords that are guessed: whose tries are counted, for how long nobody is heard, and who is heard all the same.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use kt_control::passwords::Capacity;
use kt_domain::clock::Clock;
use kt_domain::lockout::{
    DEPLOYMENT, DEPLOYMENT_LIMIT, account_at_network_key, counts_of_networks, network_of,
};
use kt_store::{limits, users};
use serde_json::{Value, json};

use crate::databases::Kind;
use crate::harness::{Answer, PASSWORD, TestApi, on_both, side_by_side};

on_both! {
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
    from crate::sessions::guessing::narrow;
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
