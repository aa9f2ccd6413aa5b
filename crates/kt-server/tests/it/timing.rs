//! How long answers take that must not tell who is known (STANDARDS ATK-05; ATTACKS I42): over pairs of requests, one about
//! somebody who is there and one about nobody, taken in turn.

use std::time::{Duration, Instant};

use kt_domain::actor::Role;
use serde_json::{Value, json};

use crate::databases::Kind;
use crate::harness::TestApi;

/// How many pairs are compared.
const PAIRS: usize = 40;

/// The medians of what both take. Each pair is taken in the other order than the one before, so that whatever slows the machine
/// down slows both.
async fn medians(one: impl AsyncFn(usize), other: impl AsyncFn(usize)) -> [Duration; 2] {
    let mut taken: [Vec<Duration>; 2] = Default::default();
    for pair in 0..PAIRS + 4 {
        for place in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
            let began = Instant::now();
            if place == 0 {
                one(pair).await;
            } else {
                other(pair).await;
            }
            // The first ones warm up.
            if pair >= 4 {
                taken[place].push(began.elapsed());
            }
        }
    }
    taken.map(|mut all| {
        all.sort_unstable();
        all[all.len() / 2]
    })
}

/// Whether nobody could tell them apart: one is not half as long again as the other.
fn are_alike([one, other]: [Duration; 2]) -> bool {
    one.max(other) * 2 < one.min(other) * 3
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_learns_by_the_clock_who_is_there() {
    let api = TestApi::with_owner(Kind::Sqlite).await;
    for n in 0..PAIRS + 4 {
        api.add_member(&format!("known{n}@acme.example"), "member").await;
    }
    let login = async |email: String, password: &str| {
        let answer = api.login(&email, password).await;
        assert_eq!(answer.refusal(), (401, "invalid_credentials"));
    };
    let wrong = "Wrong-pebble-3-cloud";
    let known = async |n| login(format!("known{n}@acme.example"), wrong).await;
    let unknown = async |n| login(format!("nobody{n}@acme.example"), wrong).await;
    let by_password = medians(known, unknown).await;
    assert!(are_alike(by_password), "by password: {by_password:?}");

    // Each request from a network of its own: how much mail one may ask for is no matter here.
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
    let by_registering =
        medians(async |n| register("known", n).await, async |n| register("new", n).await).await;
    assert!(are_alike(by_registering), "by registering: {by_registering:?}");
    let forgot = async |who: &str, n: usize| {
        ask("/v1/auth/password/forgot", json!({ "email": format!("{who}{n}@acme.example") }), n + 100).await;
    };
    let by_recovery = medians(async |n| forgot("known", n).await, async |n| forgot("nobody", n).await).await;
    assert!(are_alike(by_recovery), "by recovery: {by_recovery:?}");
    let other = api.organization("other").await;
    for n in 0..PAIRS + 4 {
        api.add_member_of(&other, &format!("known{n}@other.example"), Role::Member).await;
    }
    let owner = api.token_of("owner@acme.example").await;
    let invite = async |who: &str, n: usize| {
        let body = json!({ "email": format!("{who}{n}@other.example"), "role": "member" });
        assert_eq!(api.post("/v1/invitations", body).bearer(&owner).send().await.status, 201);
    };
    let by_inviting = medians(async |n| invite("known", n).await, async |n| invite("nobody", n).await).await;
    assert!(are_alike(by_inviting), "by inviting: {by_inviting:?}");

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
    let organizations = medians(async |_| sso("acme").await, async |_| sso("nowhere").await).await;
    assert!(are_alike(organizations), "by single sign-on: {organizations:?}");

    // The control: what is done for one of the two alone is seen.
    let wrong_and_right = medians(
        async |n| login(format!("nobody{n}@acme.example"), wrong).await,
        async |_| assert_eq!(api.get("/v1/whoami").bearer("x").send().await.status, 401),
    )
    .await;
    assert!(!are_alike(wrong_and_right), "{wrong_and_right:?}");
}
