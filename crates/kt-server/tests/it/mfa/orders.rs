//! All factors in all orders, through all doors, beside a model of one account: what opens it, and what does not, at each
//! moment.

use std::time::Duration;

use axum::http::Method;
use jiff::Timestamp;
use kt_domain::clock::Clock;
use kt_domain::random::Random;
use serde_json::{Value, json};

use super::authenticator::Authenticator;
use super::{App, amr, codes, verify};
use crate::harness::{Answer, PASSWORD, TestApi, on_both};
use crate::sso::provider::{Provider, Says};

/// How many accounts walk, and how far.
const WALKS: u64 = 8;
const STEPS: usize = 90;

/// A step takes so long: two fit into the life of a flow token, and no ten wrong codes into a quarter of an hour.
const PACE: Duration = Duration::from_mins(2);

/// Of how long a session is fresh, and a step of a sign-in is good.
const FRESH: Duration = Duration::from_mins(10);
const STEP: Duration = Duration::from_mins(5);

/// How often each thing came to a good end, so that a walk that only meets closed doors is seen.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    by_password: u32,
    by_code: u32,
    by_recovery_code: u32,
    by_passkey: u32,
    by_provider: u32,
    by_provider_and_code: u32,
    devices: u32,
    enrolled: u32,
    removed: u32,
}

struct Session {
    token: String,
    /// When its token was made, and when its holder has proven who they are.
    made: Timestamp,
    proven: Timestamp,
    has_shown_factor: bool,
    /// Whether something of the account's own was shown, and not a provider's word alone.
    is_own: bool,
}

struct Walk<'a> {
    api: &'a TestApi,
    random: Random,
    email: String,
    id: String,
    owner: Authenticator,
    provider: Provider,
    /// Whether the provider's name for somebody is known to be that of this account.
    is_linked: bool,
    app: Option<App>,
    passkey: Option<(Authenticator, String)>,
    recovery_codes: Vec<String>,
    is_demanded: bool,
    /// The newest token of a sign-in that waits, and since when.
    step: Option<(String, Timestamp)>,
    session: Option<Session>,
    reached: &'a mut Reached,
}

on_both! {
    no_order_of_factors_opens_an_account_without_one_that_it_has(api) {
        let provider = api.with_provider(json!({ "require_mfa": true })).await;
        let owner = owner_with_passkey(&api).await;
        let mut reached = Reached::default();
        for seed in 0..WALKS {
            let email = format!("walker{seed}@acme.example");
            let id = api.add_member(&email, "member").await.to_string();
            let mut walk = Walk {
                api: &api, random: Random::seeded(seed), email, id, owner: owner.clone(), provider: provider.clone(),
                is_linked: false, app: None, passkey: None, recovery_codes: Vec::new(), is_demanded: false, step: None, session: None, reached: &mut reached,
            };
            walk.owner.counter = u32::try_from(seed).unwrap() * 1000 + 10;
            for step in 0..STEPS {
                walk.go(&format!("walk {seed}, step {step}")).await;
            }
            walk.demand(false).await;
        }
        let Reached {
            by_password, by_code, by_recovery_code, by_passkey, by_provider, by_provider_and_code, devices, enrolled, removed
        } = reached;
        let here = [by_password, by_code, by_recovery_code, by_passkey, enrolled, removed];
        for often in here.into_iter().chain([by_provider, by_provider_and_code, devices]) {
            assert!(often > 1, "{reached:?}");
        }
    }
}

/// The owner's passkey, so that they can be asked for a second factor too.
async fn owner_with_passkey(api: &TestApi) -> Authenticator {
    let token = api.token_of("owner@acme.example").await;
    let asked = api.post("/v1/me/passkeys/options", json!({})).bearer(&token).send().await;
    let mut passkey = Authenticator::new();
    let credential = passkey.create(&asked.json["options"]);
    let body = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
    assert_eq!(api.post("/v1/me/passkeys", body).bearer(&token).send().await.status, 201);
    passkey
}

impl Walk<'_> {
    async fn go(&mut self, place: &str) {
        self.api.clock.advance(PACE);
        match self.draw(16) {
            0..=2 => self.sign_in(place).await,
            3..=4 => self.show_code(place).await,
            5 => self.show_recovery_code(place).await,
            6 => self.show_what_is_wrong(place).await,
            7 => self.show_passkey(place).await,
            8 => self.add_app(place).await,
            9 => self.add_passkey(place).await,
            10 => self.remove(place, "/v1/me/mfa/totp".to_owned()).await,
            11 => {
                let nobodys = format!("psk_{:032x}", 0);
                let id = self.passkey.as_ref().map_or(nobodys, |(_, id)| id.clone());
                self.remove(place, format!("/v1/me/passkeys/{id}")).await;
            }
            12 => self.demand(!self.is_demanded).await,
            13 => self.come_through_provider(place).await,
            14 => self.bring_in_device(place).await,
            _ if self.draw(3) == 0 => self.reset().await,
            _ => self.enroll_on_the_way_in(place).await,
        }
        self.look(place).await;
    }

    fn has_factor(&self) -> bool {
        self.app.is_some() || self.passkey.is_some()
    }

    async fn sign_in(&mut self, place: &str) {
        let answer = self.api.login(&self.email, PASSWORD).await;
        let expected = match (self.has_factor(), self.is_demanded) {
            (true, _) => "mfa_required",
            (false, true) => "mfa_enrollment_required",
            (false, false) => "authenticated",
        };
        assert_eq!(answer.text("/status"), expected, "{place}");
        if expected == "authenticated" {
            self.reached.by_password += 1;
            self.begin(&answer, false);
        } else {
            self.step = Some((answer.text("/flow_token").to_owned(), self.now()));
        }
    }

    /// The token of a sign-in that waits, and whether a factor carries it on: what the account has now counts, not what it
    /// had when the password was typed.
    fn waiting(&self) -> (String, bool) {
        match &self.step {
            Some((token, since)) => (token.clone(), self.age(*since) < STEP && self.has_factor()),
            None => ("none".to_owned(), false),
        }
    }

    async fn show_code(&mut self, place: &str) {
        let (token, is_good) = self.waiting();
        let code = self.app.as_ref().map_or("000000".to_owned(), |app| app.code(&self.api.clock));
        let answer = verify(self.api, &token, "totp", &code).await;
        if self.settle(&answer, is_good && self.app.is_some(), place) {
            self.reached.by_code += 1;
            let again = verify(self.api, &token, "totp", &code).await;
            assert_eq!(again.refusal(), (401, "invalid_flow_token"), "{place}");
        }
    }

    async fn show_recovery_code(&mut self, place: &str) {
        let (token, is_good) = self.waiting();
        let code = self.recovery_codes.last().cloned().unwrap_or_default();
        let answer = verify(self.api, &token, "recovery_code", &code).await;
        if self.settle(&answer, is_good && !code.is_empty(), place) {
            self.reached.by_recovery_code += 1;
            self.recovery_codes.pop();
        }
    }

    async fn show_what_is_wrong(&mut self, place: &str) {
        let (token, _) = self.waiting();
        for (method, code) in [("totp", "000000x"), ("recovery_code", "AAAA-AAAA-AAAA-AAAA-AAAA-AAAA")] {
            let answer = verify(self.api, &token, method, code).await;
            self.settle(&answer, false, place);
        }
        let asked = self.api.post("/v1/auth/passkey/options", json!({})).send().await;
        let credential = Authenticator::new().get(&asked.json["options"]);
        let body = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
        let answer = self.api.post("/v1/auth/passkey/verify", body).send().await;
        self.settle(&answer, false, place);
    }

    async fn show_passkey(&mut self, place: &str) {
        let Some((mut passkey, id)) = self.passkey.take() else { return };
        let (token, is_good) = self.waiting();
        let flow = Some(token).filter(|_| is_good && self.draw(2) == 0);
        let asked = self.api.post("/v1/auth/passkey/options", json!({ "flow_token": flow })).send().await;
        let credential = passkey.get(&asked.json["options"]);
        self.passkey = Some((passkey, id));
        let body = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
        let answer = self.api.post("/v1/auth/passkey/verify", body).send().await;
        if self.settle(&answer, true, place) {
            self.reached.by_passkey += 1;
        }
    }

    /// Comes in by a provider's word, which speaks of two factors or of one. A device carries the console's session to the API.
    async fn come_through_provider(&mut self, place: &str) {
        let says_two = self.draw(2) == 0;
        let claims = json!({ "amr": if says_two { ["pwd", "mfa"].as_slice() } else { &["pwd"] } });
        self.provider.says(Says { claims, ..Says::default() });
        let browser = self.api.browser();
        let subject = self.email.split('@').next().unwrap();
        let answer = self.provider.way(&browser, subject).await;
        // A word about an account that has factors and was not linked yet is worth no more than a password.
        let is_enough = says_two && (self.is_linked || !self.has_factor());
        let expected = match (is_enough, self.has_factor()) {
            (true, _) => "/",
            (false, true) => "/login/verify",
            (false, false) => "/mfa/setup",
        };
        let led_to = answer.leads_to().and_then(|to| to.split('?').next());
        assert_eq!(led_to, Some(expected), "{place}: {}", answer.body);
        self.is_linked |= !self.has_factor();
        if expected == "/mfa/setup" {
            return;
        }
        if expected == "/login/verify" {
            let Some(app) = &self.app else { return };
            let code = app.code(&self.api.clock);
            let shown = browser.post("/login/verify", &[("method", "totp"), ("code", &code)]).await;
            assert_eq!(shown.leads_to(), Some("/"), "{place}: {}", shown.body);
            self.is_linked = true;
            self.reached.by_provider_and_code += 1;
        } else {
            self.reached.by_provider += 1;
        }
        let device = self.device().await;
        let approved = browser.post("/device/approve", &[("user_code", device.text("/user_code"))]).await;
        assert_eq!(approved.status, 200, "{place}: {}", approved.body);
        let fetched = self.fetch(&device).await;
        assert_eq!(fetched.json["status"], "authenticated", "{place}: {}", fetched.json);
        let (token, now) = (fetched.access_token().to_owned(), self.now());
        let is_own = !is_enough;
        self.session = Some(Session { token, made: now, proven: now, has_shown_factor: true, is_own });
    }

    /// Brings in a device on the strength of the session that there is. What changes between its approval and its coming
    /// counts.
    async fn bring_in_device(&mut self, place: &str) {
        let Some(session) = &self.session else { return };
        let is_open = self.is_open(session);
        let device = self.device().await;
        let path = format!("/v1/me/device-requests/{}/approve", device.text("/user_code"));
        let approved = self.api.request(Method::POST, &path).bearer(&session.token).send().await;
        assert_eq!(approved.status == 204, is_open, "{place}: {}", approved.json);
        match self.draw(4) {
            0 => self.demand(!self.is_demanded).await,
            1 => self.reset().await,
            _ => {}
        }
        let is_let_in = is_open && self.session.as_ref().is_some_and(|session| self.is_open(session));
        let fetched = self.fetch(&device).await;
        assert_eq!(fetched.json["status"] == "authenticated", is_let_in, "{place}: {}", fetched.json);
        let now = self.now();
        if let (true, Some(session)) = (is_let_in, &mut self.session) {
            self.reached.devices += 1;
            (session.token, session.made) = (fetched.access_token().to_owned(), now);
        }
    }

    async fn device(&self) -> Answer {
        self.api.request(Method::POST, "/v1/auth/device/authorize").send().await
    }

    async fn fetch(&self, device: &Answer) -> Answer {
        let body = json!({ "device_code": device.text("/device_code") });
        self.api.post("/v1/auth/device/token", body).send().await
    }

    async fn add_app(&mut self, place: &str) {
        let Some((token, is_good)) = self.fresh_session() else { return };
        let setup = self.api.post("/v1/me/mfa/totp", json!({})).bearer(&token).send().await;
        assert_eq!(setup.status == 200, is_good, "{place}: {}", setup.json);
        if is_good {
            let app = App::reading(setup.text("/otpauth_uri"));
            let confirm = json!({ "code": app.code(&self.api.clock) });
            let added = self.api.post("/v1/me/mfa/totp/confirm", confirm).bearer(&token).send().await;
            self.app = Some(app);
            self.added(&added, place);
        }
    }

    async fn add_passkey(&mut self, place: &str) {
        let Some((token, is_good)) = self.fresh_session() else { return };
        if self.passkey.is_some() {
            return;
        }
        let asked = self.api.post("/v1/me/passkeys/options", json!({})).bearer(&token).send().await;
        assert_eq!(asked.status == 200, is_good, "{place}: {}", asked.json);
        if is_good {
            let mut passkey = Authenticator::new();
            let credential = passkey.create(&asked.json["options"]);
            let body = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
            let added = self.api.post("/v1/me/passkeys", body).bearer(&token).send().await;
            self.passkey = Some((passkey, added.text("/id").to_owned()));
            self.added(&added, place);
        }
    }

    async fn enroll_on_the_way_in(&mut self, place: &str) {
        let Some((token, since)) = self.step.clone() else { return };
        let is_good = self.age(since) < STEP && self.is_demanded && !self.has_factor();
        let setup = self.api.post("/v1/auth/mfa/totp", json!({ "flow_token": token })).send().await;
        assert_eq!(setup.status == 200, is_good, "{place}: {}", setup.json);
        if is_good {
            let app = App::reading(setup.text("/otpauth_uri"));
            let code = app.code(&self.api.clock);
            let confirm = json!({ "flow_token": setup.text("/flow_token"), "code": code });
            let done = self.api.post("/v1/auth/mfa/totp/confirm", confirm).send().await;
            self.app = Some(app);
            self.settle(&done, true, place);
            self.added(&done, place);
        }
    }

    async fn remove(&mut self, place: &str, path: String) {
        let Some((token, is_good)) = self.fresh_session() else { return };
        let is_app = path.ends_with("/totp");
        let is_there = if is_app { self.app.is_some() } else { self.passkey.is_some() };
        let is_last = self.app.is_some() != self.passkey.is_some();
        let answer = self.api.request(Method::DELETE, &path).bearer(&token).send().await;
        let expected = match (is_good, is_there, is_last && self.is_demanded) {
            (false, ..) => [401, 403].as_slice(),
            (true, false, _) => &[404],
            (true, true, true) => &[409],
            (true, true, false) => &[204],
        };
        assert!(expected.contains(&answer.status.as_u16()), "{place}: {} {}", answer.status, answer.json);
        if answer.status == 204 {
            self.reached.removed += 1;
            if is_app {
                self.app = None;
            } else {
                self.passkey = None;
            }
            if !self.has_factor() {
                self.recovery_codes.clear();
            }
        }
    }

    async fn demand(&mut self, is_demanded: bool) {
        let policy = if is_demanded { "required_for_all" } else { "optional" };
        let body = json!({ "mfa": { "policy": policy, "grace_period": "0h" } });
        self.as_owner(Method::PATCH, "/v1/organization/security", body).await;
        self.is_demanded = is_demanded;
    }

    async fn reset(&mut self) {
        let path = format!("/v1/members/{}/reset-mfa", self.id);
        self.as_owner(Method::POST, &path, json!({ "reason": "Lost everything" })).await;
        (self.app, self.passkey, self.session) = (None, None, None);
        self.recovery_codes.clear();
    }

    async fn as_owner(&mut self, method: Method, path: &str, body: Value) {
        let asked = self.api.post("/v1/auth/passkey/options", json!({})).send().await;
        let credential = self.owner.get(&asked.json["options"]);
        let proof = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
        let owner = self.api.post("/v1/auth/passkey/verify", proof).send().await;
        let done = self.api.request(method, path).bearer(owner.access_token()).body(Some(body)).send().await;
        assert!(done.status.is_success(), "{path}: {}", done.json);
    }

    /// A session opens exactly while it has shown a factor, or there is none and none is asked for.
    async fn look(&mut self, place: &str) {
        let Some(session) = &self.session else { return };
        let answer = self.api.get("/v1/whoami").bearer(&session.token).send().await;
        let is_open = self.is_open(session);
        assert_eq!(answer.status == 200, is_open, "{place}: {}", answer.json);
    }

    fn is_open(&self, session: &Session) -> bool {
        let is_enough = session.has_shown_factor || (!self.has_factor() && !self.is_demanded);
        is_enough && self.age(session.made) < Duration::from_mins(15)
    }

    /// The session's token, and whether it may change factors.
    fn fresh_session(&self) -> Option<(String, bool)> {
        let session = self.session.as_ref()?;
        let is_good_for_account = session.is_own || !self.has_factor();
        let is_fresh = self.age(session.proven) <= FRESH;
        Some((session.token.clone(), self.is_open(session) && is_fresh && is_good_for_account))
    }

    /// An answer carries a session where it is to, with a factor among its proofs, and nowhere else.
    fn settle(&mut self, answer: &Answer, is_to: bool, place: &str) -> bool {
        assert_eq!(answer.json["status"] == "authenticated", is_to, "{place}: {}", answer.json);
        assert_eq!(answer.body.contains("\"access_token\""), is_to, "{place}");
        if is_to {
            let proofs = amr(answer).to_string();
            let shown = ["otp", "hwk", "recovery_code"].iter().any(|proof| proofs.contains(proof));
            assert!(shown, "{place}: {proofs}");
            self.begin(answer, true);
        }
        is_to
    }

    fn begin(&mut self, answer: &Answer, has_shown_factor: bool) {
        let (token, now) = (answer.access_token().to_owned(), self.now());
        self.session = Some(Session { token, made: now, proven: now, has_shown_factor, is_own: true });
        self.step = None;
    }

    /// A factor was added: the session that did it has shown it, and recovery codes came if there were none.
    fn added(&mut self, answer: &Answer, place: &str) {
        self.reached.enrolled += 1;
        assert!(answer.status.is_success(), "{place}: {}", answer.json);
        let new = codes(answer);
        assert_eq!(new.is_empty(), !self.recovery_codes.is_empty(), "{place}");
        self.recovery_codes.extend(new);
        if let Some(session) = &mut self.session {
            session.has_shown_factor = true;
            session.is_own = true;
        }
    }

    fn now(&self) -> Timestamp {
        self.api.clock.now()
    }

    fn age(&self, since: Timestamp) -> Duration {
        self.now().duration_since(since).unsigned_abs()
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random.next_u64() % below
    }
}
