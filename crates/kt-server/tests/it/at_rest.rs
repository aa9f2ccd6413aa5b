//! What a copy of the database tells whoever has it: who there is and what they did, and none of their secrets.

use std::time::Duration;

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::harness::{Answer, PASSWORD, TestApi, on_both, token_in};
use crate::mfa::{Holder, step};

const JO: &str = "jo@acme.example";

/// A password that was chosen, and one that was typed and is nobody's.
const CHOSEN: &str = "Quiet-willow-4-lakes";
const WRONG: &str = "Wrong-pebble-3-cloud";

/// What nobody else may know, under the name by which a test tells it.
#[derive(Default)]
struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    fn add(&mut self, what: &str, secret: &str) {
        assert!(secret.len() >= 8, "{what}: `{secret}` could stand anywhere");
        self.0.push((what.to_owned(), secret.as_bytes().to_vec()));
    }

    /// The fields of an answer that hold secrets.
    fn add_fields(&mut self, what: &str, answer: &Answer, fields: &[&str]) {
        for field in fields {
            self.add(&format!("{what}: {field}"), answer.text(&format!("/{field}")));
        }
    }

    /// The token of the latest letter to somebody that has one.
    async fn add_mailed(&mut self, what: &str, api: &TestApi, address: &str) -> String {
        let letters = api.letters_to(address).await;
        let token = token_in(letters.iter().rfind(|letter| letter.content.text.contains("?token=")).unwrap());
        self.add(what, &token);
        token
    }

    /// Those that stand in a copy, however they are written.
    fn found_in(&self, copy: &[u8]) -> Vec<&str> {
        let copy = as_text(copy);
        let found = self.0.iter().filter(|(_, secret)| {
            let written = [
                as_text(secret),
                URL_SAFE_NO_PAD.encode(secret),
                STANDARD_NO_PAD.encode(secret),
                hexadecimal(secret),
            ];
            written.iter().any(|text| copy.contains(text))
        });
        found.map(|(what, _)| what.as_str()).collect()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// Each byte as the character of its number, which a search in text is quick with.
fn as_text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The secret of an app as its bytes, besides its text.
fn bytes_of(base32: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digit = |c: u8| ALPHABET.iter().position(|other| *other == c).unwrap();
    let bits: Vec<bool> =
        base32.bytes().flat_map(|c| (0..5).rev().map(move |bit| digit(c) & (1 << bit) != 0)).collect();
    bits.chunks_exact(8)
        .map(|byte| byte.iter().fold(0, |sum, is_set| (sum << 1) | u8::from(*is_set)))
        .collect()
}

/// Everything that people and programs do with secrets before a second factor is asked for: what each of them was given.
async fn begin(api: &TestApi, secrets: &mut Secrets) -> Answer {
    let owner = api.owner().await;
    secrets.add("a password", PASSWORD);
    secrets.add("a wrong password", WRONG);
    secrets.add_fields("the owner's session", &owner, &["access_token", "refresh_token", "device_token"]);
    api.login("owner@acme.example", WRONG).await;
    for (kind, scope) in [("access", "admin"), ("gateway", "write"), ("scim", "write")] {
        let body = json!({ "type": kind, "name": "CI", "scope": scope });
        let request = api.post("/v1/tokens", body).bearer(owner.access_token());
        let made = request.header("idempotency-key", kind).send().await;
        secrets.add_fields(kind, &made, &["key"]);
    }
    let credential = json!({ "name": "openai", "key": "sk-provider-5f1c9a" });
    api.post("/v1/provider-credentials", credential).bearer(owner.access_token()).send().await;
    secrets.add("a provider's key", "sk-provider-5f1c9a");
    let at = |part: &str| format!("https://id.acme.example/{part}");
    let provider = json!({
        "issuer": at(""), "client_id": "us", "client_secret": "a secret of the client", "enabled": true,
        "endpoints": { "authorization": at("authorize"), "token": at("token"), "jwks": at("jwks") },
    });
    let set = api.put("/v1/organization/sso/oidc", provider).bearer(owner.access_token()).send().await;
    assert_eq!(set.status, 200, "{}", set.json);
    secrets.add("the client's secret", "a secret of the client");
    let mia = api.add_member("mia@acme.example", "member").await;
    let given = api.request(Method::POST, &format!("/v1/members/{mia}/temporary-password"));
    let given = given.bearer(owner.access_token()).send().await;
    secrets.add_fields("an administrator", &given, &["temporary_password"]);
    owner
}

/// Links that are sent by mail, and wait there.
async fn send_links(api: &TestApi, owner: &Answer) {
    let invitation = json!({ "email": "new@acme.example", "role": "member" });
    api.post("/v1/invitations", invitation).bearer(owner.access_token()).send().await;
    api.post("/v1/auth/password/forgot", json!({ "email": JO })).send().await;
    let change = json!({ "email": "olive@acme.example" });
    let changed = api.patch("/v1/me", change).bearer(owner.access_token()).send().await;
    assert_eq!(changed.status, 200, "{}", changed.json);
    let set = api.patch(
        "/v1/organization/security",
        json!({
            "registration": { "self_registration": true, "email_domains": [] }
        }),
    );
    set.bearer(owner.access_token()).send().await;
    let registration = json!({
        "organization": "acme", "email": "kim@acme.example", "name": "Kim", "password": CHOSEN,
    });
    assert_eq!(api.post("/v1/auth/register", registration).send().await.status, 202);
}

/// Sign-ins that wait for a second factor, through each door, on a device that is known.
async fn wait_for_factors(api: &TestApi, secrets: &mut Secrets, jo: &Holder) {
    secrets.add("an app's secret", jo.app.secret());
    secrets.0.push(("an app's secret, as bytes".to_owned(), bytes_of(jo.app.secret())));
    for code in &jo.recovery_codes {
        secrets.add("a recovery code", code);
        secrets.add("a recovery code without its hyphens", &code.replace('-', ""));
    }
    secrets.add("a step of a sign-in", &step(api, JO).await);
    let known = json!({ "email": JO, "password": PASSWORD, "device_token": "a-device-that-has-signed-in" });
    let waiting = api.post("/v1/auth/login", known).send().await;
    secrets.add("what a device is known by", "a-device-that-has-signed-in");
    secrets.add_fields("a step on a device", &waiting, &["flow_token"]);
    let asked = api.post("/v1/auth/passkey/options", json!({ "flow_token": null })).send().await;
    secrets.add_fields("a challenge", &asked, &["flow_token"]);
    let device = api.request(Method::POST, "/v1/auth/device/authorize").send().await;
    secrets.add_fields("a device", &device, &["device_code", "user_code"]);

    let browser = api.signed_in("owner@acme.example").await;
    let device = api.request(Method::POST, "/v1/auth/device/authorize").send().await;
    browser.post("/device/approve", &[("user_code", device.text("/user_code"))]).await;
    secrets.add_fields("an approved device", &device, &["device_code", "user_code"]);
    let enrolling =
        api.post("/v1/me/mfa/totp", json!({})).bearer(&api.token_of("mo@acme.example").await).send().await;
    secrets.add_fields("an app that waits", &enrolling, &["secret"]);
    secrets.0.push(("an app that waits, as bytes".to_owned(), bytes_of(enrolling.text("/secret"))));
    let at_step = api.browser();
    at_step.hold("kt_device", "a-browser-that-has-signed-in");
    at_step.sign_in(JO, PASSWORD).await;
    at_step.post("/login/sso", &[("organization", "acme")]).await;
    secrets.add("what a browser is known by", "a-browser-that-has-signed-in");
    for cookie in browser.cookies().into_iter().chain(at_step.cookies()).filter(|cookie| cookie.len() >= 20) {
        secrets.add("a cookie", &cookie);
    }
}

on_both! {
    no_secret_of_anybody_is_in_a_copy_of_the_database(api) {
        let mut secrets = Secrets::default();
        let owner = begin(&api, &mut secrets).await;
        let jo = Holder::new(&api, JO, "member").await;
        api.add_member("mo@acme.example", "member").await;
        api.clock.advance(Duration::from_secs(1));
        send_links(&api, &owner).await;
        wait_for_factors(&api, &mut secrets, &jo).await;
        secrets.add("a password that was chosen", CHOSEN);
        let while_mail_waits = api.copy_of_database().await;

        let mut mailed = Vec::new();
        for (what, address) in [
            ("an invitation", "new@acme.example"),
            ("a way to another password", JO),
            ("another address", "olive@acme.example"),
            ("an address to be verified", "kim@acme.example"),
        ] {
            mailed.push(secrets.add_mailed(what, &api, address).await);
        }
        let reset = json!({ "token": mailed[1], "new_password": CHOSEN });
        assert_eq!(api.post("/v1/auth/password/reset", reset).send().await.status, 200);
        let afterwards = api.copy_of_database().await;

        for (copy, when) in [(while_mail_waits, "while mail waits"), (afterwards, "afterwards")] {
            assert_eq!(secrets.found_in(&copy), [""; 0], "{when}");
            let mut public = Secrets::default();
            public.add("an address", JO);
            public.add("a provider's address", "https://id.acme.example/authorize");
            assert_eq!(public.found_in(&copy).len(), 2, "{when}: the search finds what stands there");
        }
    }
}

/// What a search must find: each way in which a secret can be written.
#[test]
fn a_secret_is_found_however_it_is_written() {
    let mut secrets = Secrets::default();
    secrets.add("one", "a secret? yes~");
    let written =
        ["..a secret? yes~..", "YSBzZWNyZXQ_IHllc34", "YSBzZWNyZXQ/IHllc34", "x61207365637265743f207965737e"];
    for copy in written {
        assert_eq!(secrets.found_in(copy.as_bytes()), ["one"], "{copy}");
    }
    assert_eq!(secrets.found_in(b"a secret? no"), [""; 0]);
    assert_eq!(bytes_of("MZXW6YTB"), b"fooba");
}
