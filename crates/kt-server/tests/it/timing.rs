//! How long answers take that must not tell who is known (STANDARDS ATK-05; ATTACKS I42): over pairs of requests, one about
//! somebody who is there and one about nobody, taken in turn, with passwords hashed as a server hashes them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kt_control::passwords::Capacity;
use kt_domain::actor::Role;
use kt_domain::clock::Clock;
use kt_domain::lockout::{LockoutSettings, account_at_network_key, network_of};
use kt_store::limits;
use serde_json::{Value, json};

use crate::databases::Kind;
use crate::harness::{PASSWORD, TestApi, on_both};

/// How many pairs are compared.
const PAIRS: usize = 40;

/// So far from what chance makes of pairs that do not differ, in standard deviations, are one in a hundred thousand of them.
const VISIBLE: f64 = 4.5;

/// What both take, pair by pair. Each pair is taken in the other order than the one before, so that whatever slows the machine
/// down slows both.
async fn pairs(one: impl AsyncFn(usize), other: impl AsyncFn(usize)) -> Vec<[Duration; 2]> {
    let mut taken = Vec::new();
    for pair in 0..PAIRS + 4 {
        let mut both = [Duration::ZERO; 2];
        for place in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
            let began = Instant::now();
            if place == 0 {
                one(pair).await;
            } else {
                other(pair).await;
            }
            both[place] = began.elapsed();
        }
        taken.push(both);
    }
    // The first ones warm up.
    taken.split_off(4)
}

/// How far the pairs lie from what chance makes of such as do not differ: Wilcoxon's signed ranks, in standard deviations.
fn deviation(pairs: &[[Duration; 2]]) -> f64 {
    let difference = |[one, other]: &[Duration; 2]| one.as_secs_f64() - other.as_secs_f64();
    let mut differences: Vec<f64> = pairs.iter().map(difference).collect();
    differences.sort_unstable_by(|one, other| one.abs().total_cmp(&other.abs()));
    let ranked = (1_u32..).map(f64::from).zip(&differences);
    let above: f64 = ranked.filter(|(_, difference)| **difference > 0.0).map(|(rank, _)| rank).sum();
    let n = f64::from(u32::try_from(pairs.len()).unwrap());
    (above - n * (n + 1.0) / 4.0) / (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt()
}

async fn require_alike(what: &str, one: impl AsyncFn(usize), other: impl AsyncFn(usize)) {
    let taken = pairs(one, other).await;
    let deviation = deviation(&taken);
    assert!(deviation.abs() < VISIBLE, "{what}: {deviation}, {taken:?}");
}

async fn as_deployed(kind: Kind) -> TestApi {
    TestApi::hashing(kind, Capacity::default()).await
}

/// From where somebody of this name signs in.
fn peer_of(who: &str, n: usize) -> SocketAddr {
    format!("100.{}.{n}.7:1", 65 + who.len()).parse().unwrap()
}

/// Uses up what the network of `peer` may try at an account.
async fn use_up_tries(api: &TestApi, account: &str, peer: SocketAddr) {
    let key = account_at_network_key(account, network_of(peer.ip()));
    let tx = api.store.begin_write().await.unwrap();
    for _ in 0..LockoutSettings::default().max_failures {
        limits::count(&tx, &key, Duration::from_hours(1), api.clock.now()).await.unwrap();
    }
    tx.commit().await.unwrap();
}

on_both! {
    from crate::timing::as_deployed;
    nobody_learns_by_the_clock_who_is_there(api) {
        for n in 0..PAIRS + 4 {
            api.add_member(&format!("known{n}@acme.example"), "member").await;
        }
        // Each request from a network of its own: how often one may ask is no matter here.
        let login = async |who: &str, n: usize, password: &str| {
            let body = json!({ "email": format!("{who}{n}@acme.example"), "password": password });
            let answer = api.post("/v1/auth/login", body).from(&peer_of(who, n).to_string()).send().await;
            assert_eq!(answer.refusal(), (401, "invalid_credentials"));
        };
        let wrong = "Wrong-pebble-3-cloud";
        let known = async |n| login("known", n, wrong).await;
        require_alike("by password", known, async |n| login("nobody", n, wrong).await).await;
        let too_long = "x".repeat(300);
        let known = async |n| login("known", n, &too_long).await;
        require_alike("by what is too long for one", known, async |n| login("nobody", n, &too_long).await).await;

        // A right password of somebody who is not let in is no different from a wrong one of nobody.
        let owner = api.token_of("owner@acme.example").await;
        for n in 0..PAIRS + 4 {
            let id = api.add_member(&format!("suspended{n}@acme.example"), "member").await;
            let answer = api.post(&format!("/v1/members/{id}/suspend"), json!({})).bearer(&owner).send().await;
            assert_eq!(answer.text("/status"), "suspended");
            let id = api.add_member(&format!("locked{n}@acme.example"), "member").await;
            use_up_tries(&api, id.as_str(), peer_of("locked", n)).await;
        }
        let suspended = async |n| login("suspended", n, PASSWORD).await;
        let nobody = async |n| login("nobodyelse", n, PASSWORD).await;
        require_alike("by the right password of a suspended account", suspended, nobody).await;
        let locked = async |n| login("locked", n, PASSWORD).await;
        let nobody = async |n| login("nobodymore", n, PASSWORD).await;
        require_alike("by the right password of a locked account", locked, nobody).await;

        // From a network that has had its tries, nothing is hashed that other work would drown in.
        let tx = api.store.begin_write().await.unwrap();
        for _ in 0..100 {
            limits::count(&tx, "network/198.51.100.0/24", Duration::from_hours(1), api.clock.now()).await.unwrap();
        }
        tx.commit().await.unwrap();
        let unheard = async |who: &str, n: usize, device: Option<&str>| {
            let body = json!({ "email": format!("{who}{n}@acme.example"), "password": wrong, "device_token": device });
            let answer = api.post("/v1/auth/login", body).from("198.51.100.7:1").send().await;
            assert_eq!(answer.refusal(), (401, "invalid_credentials"));
        };
        let known = async |n| unheard("known", n, None).await;
        require_alike("unheard", known, async |n| unheard("nobody", n, None).await).await;
        let known = async |n| unheard("known", n, Some("a device")).await;
        require_alike("unheard, with a device", known, async |n| unheard("nobody", n, Some("a device")).await).await;

        let ask = async |path: &str, body: Value, n: usize| {
            let peer = format!("100.64.{n}.7:1");
            let answer = api.post(path, body).from(&peer).send().await;
            assert_eq!(answer.status, 202, "{}", answer.json);
        };
        let open = json!({ "self_registration": true, "signup_approval": true });
        api.set_registration(open).await;
        let register = async |who: &str, n: usize| {
            let email = format!("{who}{n}@acme.example");
            let body = json!({ "organization": "acme", "email": email, "name": "Jo Example", "password": "Quiet-willow-4-lakes" });
            ask("/v1/auth/register", body, n).await;
        };
        let known = async |n| register("known", n).await;
        require_alike("by registering", known, async |n| register("new", n).await).await;
        let forgot = async |who: &str, n: usize| {
            ask("/v1/auth/password/forgot", json!({ "email": format!("{who}{n}@acme.example") }), n + 100).await;
        };
        let known = async |n| forgot("known", n).await;
        require_alike("by recovery", known, async |n| forgot("nobody", n).await).await;
        let resend = async |who: &str, n: usize| {
            ask("/v1/auth/email/resend", json!({ "email": format!("{who}{n}@acme.example") }), n + 200).await;
        };
        let waiting = async |n| resend("new", n).await;
        require_alike("by asking for the link again", waiting, async |n| resend("nobody", n).await).await;
        let other = api.organization("other").await;
        for n in 0..PAIRS + 4 {
            api.add_member_of(&other, &format!("known{n}@other.example"), Role::Member).await;
        }
        let owner = api.token_of("owner@acme.example").await;
        let invite = async |who: &str, n: usize| {
            let body = json!({ "email": format!("{who}{n}@other.example"), "role": "member" });
            assert_eq!(api.post("/v1/invitations", body).bearer(&owner).send().await.status, 201);
        };
        let known = async |n| invite("known", n).await;
        require_alike("by inviting", known, async |n| invite("nobody", n).await).await;

        let browser = api.browser();
        let token = browser.token().await;
        let sso = async |organization: &str| {
            let headers = [
                (crate::console::browser::CSRF, token.as_str()),
                ("sec-fetch-site", "same-origin"),
                ("origin", crate::console::browser::ORIGIN),
            ];
            let answer = browser.post_with("/login/sso", &[("organization", organization)], &headers).await;
            assert_eq!(answer.refusal(), (404, "sso_unavailable"));
        };
        require_alike("by single sign-on", async |_| sso("acme").await, async |_| sso("nowhere").await).await;

        // The control: the same sign-in without a hash is seen.
        let without = async |n| unheard("somebody", n, None).await;
        let seen = deviation(&pairs(async |n| login("nobody", n, wrong).await, without).await);
        assert!(seen >= VISIBLE, "{seen}");
    }
}
