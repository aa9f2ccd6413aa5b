//! All factors in all orders, through all doors, under every policy and role, with passwords that are forgotten on the way, beside
//! a model of one account: what opens it, and what does not, at each moment. Every second account belongs to another organization too, which asks what it likes.

use std::collections::BTreeSet;
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
const STEPS: usize = 130;

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
    refreshed: u32,
    stepped_up: u32,
    stepped_up_by_passkey: u32,
    stepped_up_by_recovery_code: u32,
    new_codes: u32,
    enrolled: u32,
    enrolled_late: u32,
    enrolled_for_passkey: u32,
    enrolled_for_another: u32,
    removed: u32,
    passwords_chosen: u32,
}

/// What was shown, in the words of the claim `amr`.
type Shown = BTreeSet<&'static str>;

/// What the way in comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Admit,
    Factor,
    Enroll,
}

impl Next {
    fn status(self) -> &'static str {
        match self {
            Self::Admit => "authenticated",
            Self::Factor => "mfa_required",
            Self::Enroll => "mfa_enrollment_required",
        }
    }
}

/// What is asked of the account, each more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Asked {
    Nothing,
    Factor,
    Passkey,
}

/// What the organization asks, and of whom.
#[derive(Clone, Copy, Debug)]
struct Policy {
    name: &'static str,
    passkeys: bool,
    grace: Duration,
}

const OPTIONAL: Policy = Policy { name: "optional", passkeys: false, grace: Duration::ZERO };

impl Asked {
    /// Whether somebody with these has it.
    fn is_met_by(self, has_app: bool, has_passkey: bool) -> bool {
        match self {
            Self::Nothing => true,
            Self::Factor => has_app || has_passkey,
            Self::Passkey => has_passkey,
        }
    }
}

impl Policy {
    /// As an organization's settings are changed to it.
    fn patch(self) -> Value {
        let grace = if self.grace.is_zero() { "0h" } else { "10m" };
        let mfa = json!({ "policy": self.name, "require_passkey_for_admins": self.passkeys, "grace_period": grace });
        json!({ "mfa": mfa })
    }

    fn asks(self, is_admin: bool) -> Asked {
        match self.name {
            _ if self.passkeys && is_admin => Asked::Passkey,
            "required_for_all" => Asked::Factor,
            "required_for_admins" if is_admin => Asked::Factor,
            _ => Asked::Nothing,
        }
    }
}

/// Another organization of the account, which is an admin there.
struct Elsewhere {
    owner: Authenticator,
    policy: Policy,
    asked_since: Option<Timestamp>,
}

/// A sign-in that waits: its newest token, since when, and what was shown so far.
#[derive(Clone)]
struct Step {
    token: String,
    since: Timestamp,
    shown: Shown,
}

struct Session {
    token: String,
    refresh_token: String,
    /// When its token was made, and when its holder has proven who they are.
    made: Timestamp,
    proven: Timestamp,
    shown: Shown,
}

impl Session {
    /// Whether something of the account's own was shown, and not a provider's word alone.
    fn is_own(&self) -> bool {
        ["pwd", "otp", "recovery_code", "hwk"].iter().any(|proof| self.shown.contains(proof))
    }
}

struct Walk<'a> {
    api: &'a TestApi,
    random: Random,
    email: String,
    password: String,
    /// When it was chosen by a link to the mailbox.
    chosen_at: Option<Timestamp>,
    id: String,
    owner: Authenticator,
    provider: Provider,
    /// Whether the provider's name for somebody is known to be that of this account.
    is_linked: bool,
    app: Option<App>,
    passkey: Option<(Authenticator, String)>,
    recovery_codes: Vec<String>,
    policy: Policy,
    is_admin: bool,
    /// Since when a second factor is asked of the account, where it is.
    asked_since: Option<Timestamp>,
    elsewhere: Option<Elsewhere>,
    step: Option<Step>,
    session: Option<Session>,
    reached: &'a mut Reached,
}

on_both! {
    no_order_of_factors_opens_an_account_without_one_that_it_has(api) {
        let provider = api.with_provider(json!({ "require_mfa": true })).await;
        let owner = with_passkey(&api, "owner@acme.example").await;
        api.owner_of_another().await;
        let owner_of_another = with_passkey(&api, "owner@other.example").await;
        let mut reached = Reached::default();
        for seed in 0..WALKS {
            let email = format!("walker{seed}@acme.example");
            let id = api.add_member(&email, "member").await;
            let elsewhere = (seed % 2 == 1)
                .then(|| Elsewhere { owner: owner_of_another.clone(), policy: OPTIONAL, asked_since: None });
            if elsewhere.is_some() {
                api.clock.advance(Duration::from_secs(1));
                api.add_place("other", &id, "admin").await;
            }
            let id = id.to_string();
            let mut walk = Walk {
                api: &api, random: Random::seeded(seed), email, password: PASSWORD.into(), chosen_at: None, id,
                owner: owner.clone(), provider: provider.clone(),
                is_linked: false, app: None, passkey: None, recovery_codes: Vec::new(), policy: OPTIONAL, is_admin: false,
                asked_since: None, elsewhere, step: None, session: None, reached: &mut reached,
            };
            let counter = u32::try_from(seed).unwrap() * 1000 + 10;
            walk.owner.counter = counter;
            if let Some(elsewhere) = &mut walk.elsewhere {
                elsewhere.owner.counter = counter;
            }
            for step in 0..STEPS {
                walk.go(&format!("walk {seed}, step {step}")).await;
            }
            walk.demand(OPTIONAL).await;
            walk.demand_elsewhere(OPTIONAL).await;
        }
        let Reached {
            by_password, by_code, by_recovery_code, by_passkey, by_provider, by_provider_and_code, devices, refreshed, stepped_up,
            stepped_up_by_passkey, stepped_up_by_recovery_code, new_codes, enrolled, enrolled_late, enrolled_for_passkey,
            enrolled_for_another, removed, passwords_chosen,
        } = reached;
        let in_own_right = [by_password, by_code, by_recovery_code, by_passkey, by_provider, by_provider_and_code];
        let later = [devices, refreshed, enrolled, enrolled_late, enrolled_for_passkey, enrolled_for_another, removed];
        let proven = [passwords_chosen, stepped_up, stepped_up_by_passkey, stepped_up_by_recovery_code, new_codes];
        for often in in_own_right.into_iter().chain(later).chain(proven) {
            assert!(often > 0, "{reached:?}");
        }
    }
}

/// An owner's passkey, so that they can be asked for a second factor too.
async fn with_passkey(api: &TestApi, email: &str) -> Authenticator {
    let token = api.token_of(email).await;
    let asked = api.post("/v1/me/passkeys/options", json!({})).bearer(&token).send().await;
    let mut passkey = Authenticator::new();
    let credential = passkey.create(&asked.json["options"]);
    let body = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
    assert_eq!(api.post("/v1/me/passkeys", body).bearer(&token).send().await.status, 201);
    passkey
}

/// What the account is to come to, as the model says.
impl Walk<'_> {
    fn has_factor(&self) -> bool {
        self.app.is_some() || self.passkey.is_some()
    }

    fn asked(&self) -> Asked {
        self.policy.asks(self.is_admin)
    }

    /// What is asked here and elsewhere, each with whether the time to add it is over.
    fn all_asked(&self) -> Vec<(Asked, bool)> {
        let elsewhere = self.elsewhere.as_ref();
        let elsewhere =
            elsewhere.map(|there| (there.policy.asks(true), there.asked_since, there.policy.grace));
        let here = (self.asked(), self.asked_since, self.policy.grace);
        let is_due = |since: Option<Timestamp>, grace| since.is_some_and(|since| self.age(since) >= grace);
        std::iter::once(here)
            .chain(elsewhere)
            .map(|(asked, since, grace)| (asked, is_due(since, grace)))
            .collect()
    }

    /// Whether somebody with these has what is asked, wherever it is.
    fn is_met_by(&self, has_app: bool, has_passkey: bool) -> bool {
        self.all_asked().iter().all(|(asked, _)| asked.is_met_by(has_app, has_passkey))
    }

    /// Whether the time is over that somebody was given to add a passkey.
    fn is_passkey_due(&self) -> bool {
        self.all_asked().contains(&(Asked::Passkey, true))
    }

    /// Whether a code of the app is not enough any more.
    fn is_bound(&self) -> bool {
        self.passkey.is_some() && self.is_passkey_due()
    }

    fn next(&self, shown: &Shown) -> Next {
        let has = |proofs: &[&str]| proofs.iter().any(|proof| shown.contains(proof));
        let is_enough = has(&["hwk", "recovery_code", "fed_mfa"]) || (has(&["otp"]) && !self.is_bound());
        if self.has_factor() && !is_enough {
            return Next::Factor;
        }
        let are_two = has(&["hwk", "otp", "recovery_code", "fed_mfa"]);
        let is_shown = |asked| if asked == Asked::Passkey { has(&["hwk", "fed_mfa"]) } else { are_two };
        let is_lacking = |asked: Asked| {
            asked != Asked::Nothing
                && !is_shown(asked)
                && !asked.is_met_by(self.app.is_some(), self.passkey.is_some())
        };
        let is_late = self.all_asked().into_iter().any(|(asked, is_due)| is_due && is_lacking(asked));
        let is_short = has(&["fed_step_up"]) && !self.has_factor() && !are_two;
        if is_late || is_short { Next::Enroll } else { Next::Admit }
    }

    /// A session opens exactly while what was shown in it would open one now.
    fn is_open(&self, session: &Session) -> bool {
        self.next(&session.shown) == Next::Admit && self.age(session.made) < Duration::from_mins(15)
    }

    /// A sign-in that waits for what comes next: what the account has now counts, not what it had when it began.
    fn waiting_for(&self, next: Next) -> Option<Step> {
        let step = self.step.clone()?;
        (self.age(step.since) < STEP && self.next(&step.shown) == next).then_some(step)
    }

    /// The token of a sign-in that waits, whatever it waits for.
    fn token(&self) -> String {
        self.step.as_ref().map_or_else(|| "none".to_owned(), |step| step.token.clone())
    }

    /// The session's token, and whether it may change factors.
    fn fresh_session(&self) -> Option<(String, bool)> {
        let session = self.session.as_ref()?;
        let is_of_passkey = ["hwk", "recovery_code"].iter().any(|proof| session.shown.contains(proof));
        let is_good_for_account = if session.is_own() {
            !self.is_bound() || is_of_passkey
        } else {
            !self.has_factor() && self.elsewhere.is_none()
        };
        let is_fresh = self.age(session.proven) <= FRESH;
        Some((session.token.clone(), self.is_open(session) && is_fresh && is_good_for_account))
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

/// What its holder, a stranger, and an owner do.
impl Walk<'_> {
    async fn go(&mut self, place: &str) {
        self.api.clock.advance(PACE);
        match self.draw(27) {
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
            12..=13 => self.demand_anything().await,
            14 => self.come_through_provider(place).await,
            15 => self.bring_in_device(place).await,
            16 => self.refresh(place).await,
            17 | 24 => self.step_up(place).await,
            18 => self.change_role().await,
            19..=20 => self.enroll_on_the_way_in(place).await,
            21 => self.make_new_codes(place).await,
            22..=23 => self.demand_anything_elsewhere().await,
            25 => self.choose_password_by_mail(place).await,
            _ if self.draw(2) == 0 => self.reset().await,
            _ => self.suspend_for_a_moment(place).await,
        }
        if self.waiting_for(Next::Enroll).is_some() && self.draw(3) == 0 {
            self.enroll_on_the_way_in(place).await;
        }
        self.look(place).await;
    }

    async fn sign_in(&mut self, place: &str) {
        let answer = self.api.login(&self.email, &self.password).await;
        if self.settle(&answer, Some(Shown::from(["pwd"])), place) {
            self.reached.by_password += 1;
        }
    }

    async fn show_code(&mut self, place: &str) {
        let waits = self.waiting_for(Next::Factor).filter(|_| self.app.is_some() && !self.is_bound());
        let token = self.token();
        let code = self.app.as_ref().map_or("000000".to_owned(), |app| app.code(&self.api.clock));
        let answer = verify(self.api, &token, "totp", &code).await;
        let shown = waits.map(|step| with(step.shown, "otp"));
        if self.settle(&answer, shown, place) {
            self.reached.by_code += 1;
            let again = verify(self.api, &token, "totp", &code).await;
            assert_eq!(again.refusal(), (401, "invalid_flow_token"), "{place}");
        }
    }

    async fn show_recovery_code(&mut self, place: &str) {
        let waits = self.waiting_for(Next::Factor).filter(|_| !self.recovery_codes.is_empty());
        let code = self.recovery_codes.last().cloned().unwrap_or_default();
        let answer = verify(self.api, &self.token(), "recovery_code", &code).await;
        if waits.is_some() {
            self.recovery_codes.pop();
        }
        if self.settle(&answer, waits.map(|step| with(step.shown, "recovery_code")), place) {
            self.reached.by_recovery_code += 1;
        }
    }

    async fn show_what_is_wrong(&mut self, place: &str) {
        let token = self.token();
        for (method, code) in [("totp", "000000x"), ("recovery_code", "AAAA-AAAA-AAAA-AAAA-AAAA-AAAA")] {
            let answer = verify(self.api, &token, method, code).await;
            self.settle(&answer, None, place);
        }
        let asked = self.api.post("/v1/auth/passkey/options", json!({})).send().await;
        let credential = Authenticator::new().get(&asked.json["options"]);
        let body = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
        let answer = self.api.post("/v1/auth/passkey/verify", body).send().await;
        self.settle(&answer, None, place);
    }

    async fn show_passkey(&mut self, place: &str) {
        let Some((mut passkey, id)) = self.passkey.take() else { return };
        self.passkey = Some((passkey.clone(), id.clone()));
        let step = self.waiting_for(Next::Factor).filter(|_| self.random.next_u64().is_multiple_of(2));
        let flow = step.as_ref().map(|step| &step.token);
        let asked = self.api.post("/v1/auth/passkey/options", json!({ "flow_token": flow })).send().await;
        let credential = passkey.get(&asked.json["options"]);
        self.passkey = Some((passkey, id));
        let body = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
        let answer = self.api.post("/v1/auth/passkey/verify", body).send().await;
        let shown = with(step.map(|step| step.shown).unwrap_or_default(), "hwk");
        if self.settle(&answer, Some(shown), place) {
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
        let proof = match (self.is_linked || !self.has_factor(), says_two) {
            (false, _) => "fed_single",
            (true, true) => "fed_mfa",
            (true, false) => "fed_step_up",
        };
        let mut shown = Shown::from([proof]);
        assert_eq!(led_to(&answer), Some(page_of(self.next(&shown))), "{place}: {}", answer.body);
        self.is_linked |= !self.has_factor();
        match self.next(&shown) {
            Next::Enroll => return,
            Next::Admit => self.reached.by_provider += 1,
            Next::Factor => {
                let Some(app) = self.app.as_ref().filter(|_| !self.is_bound()) else { return };
                let code = app.code(&self.api.clock);
                let answer = browser.post("/login/verify", &[("method", "totp"), ("code", &code)]).await;
                shown.insert("otp");
                assert_eq!(led_to(&answer), Some(page_of(self.next(&shown))), "{place}: {}", answer.body);
                if self.next(&shown) != Next::Admit {
                    return;
                }
                self.is_linked = true;
                self.reached.by_provider_and_code += 1;
            }
        }
        let device = self.device().await;
        let approved = browser.post("/device/approve", &[("user_code", device.text("/user_code"))]).await;
        assert_eq!(approved.status, 200, "{place}: {}", approved.body);
        let fetched = self.fetch(&device).await;
        assert_eq!(fetched.json["status"], "authenticated", "{place}: {}", fetched.json);
        self.begin(&fetched, shown);
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
        match self.draw(6) {
            0..=1 => self.demand_anything().await,
            2 => self.reset().await,
            3 => self.choose_password_by_mail(place).await,
            _ => {}
        }
        let is_let_in = is_open && self.session.as_ref().is_some_and(|session| self.is_open(session));
        let fetched = self.fetch(&device).await;
        assert_eq!(fetched.json["status"] == "authenticated", is_let_in, "{place}: {}", fetched.json);
        if let (true, Some(session)) = (is_let_in, self.session.take_if(|_| is_let_in)) {
            self.reached.devices += 1;
            let proven = session.proven;
            self.begin(&fetched, session.shown);
            self.session.as_mut().unwrap().proven = proven;
        }
    }

    /// The session goes on, or ends, by its refresh token as by any other.
    async fn refresh(&mut self, place: &str) {
        let Some(session) = self.session.take() else { return };
        if self.age(session.made) >= Duration::from_mins(15) {
            return;
        }
        let body = json!({ "refresh_token": session.refresh_token });
        let answer = self.api.post("/v1/auth/refresh", body).send().await;
        assert_eq!(answer.status == 200, self.is_open(&session), "{place}: {}", answer.json);
        if answer.status == 200 {
            self.reached.refreshed += 1;
            let (token, refresh_token) =
                (answer.access_token().to_owned(), answer.text("/refresh_token").to_owned());
            self.session = Some(Session { token, refresh_token, made: self.now(), ..session });
        }
    }

    /// Proves again who the holder is: by no less than the session was opened with.
    async fn step_up(&mut self, place: &str) {
        let Some(session) = &self.session else { return };
        let strength = |proof: &&'static str| match *proof {
            "hwk" => 3,
            "otp" | "recovery_code" | "fed_mfa" => 2,
            _ => 1,
        };
        let most = session.shown.iter().map(strength).max().unwrap_or_default();
        let (token, is_open) = (session.token.clone(), self.is_open(session));
        let (proof, body, is_enough) =
            match (self.draw(4), &self.app, self.recovery_codes.last(), &mut self.passkey) {
                (0, _, _, Some((passkey, _))) => {
                    let path = "/v1/me/reauthenticate/options";
                    let asked = self.api.post(path, json!({})).bearer(&token).send().await;
                    assert_eq!(asked.status == 200, is_open, "{place}: {}", asked.json);
                    if !is_open {
                        return;
                    }
                    let credential = passkey.get(&asked.json["options"]);
                    let answer = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
                    ("hwk", json!({ "passkey": answer }), true)
                }
                (1, _, Some(code), _) => ("recovery_code", json!({ "recovery_code": code }), most <= 2),
                (_, Some(app), ..) => ("otp", json!({ "totp_code": app.code(&self.api.clock) }), most <= 2),
                _ => ("pwd", json!({ "password": self.password }), most <= 1),
            };
        let is_good = is_open && is_enough;
        let answer = self.api.post("/v1/me/reauthenticate", body).bearer(&token).send().await;
        assert_eq!(answer.status == 200, is_good, "{place}: {}", answer.json);
        let now = self.now();
        if let (true, Some(session)) = (is_good, &mut self.session) {
            match proof {
                "hwk" => self.reached.stepped_up_by_passkey += 1,
                "recovery_code" => {
                    self.recovery_codes.pop();
                    self.reached.stepped_up_by_recovery_code += 1;
                }
                _ => self.reached.stepped_up += 1,
            }
            session.shown.insert(proof);
            session.proven = now;
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
            self.added(&added, "otp", place);
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
            self.added(&added, "hwk", place);
        }
    }

    /// An app where it is enough, a passkey where that is asked for; an app that is not enough is refused.
    async fn enroll_on_the_way_in(&mut self, place: &str) {
        let Some(token) = self.step.as_ref().map(|step| step.token.clone()) else { return };
        let waits = self.waiting_for(Next::Enroll);
        let for_app = waits.clone().filter(|_| !self.is_passkey_due());
        let is_due = |place: usize| self.all_asked().get(place).is_some_and(|(_, is_due)| *is_due);
        let is_for_another = waits.is_some() && !is_due(0) && is_due(1);
        self.reached.enrolled_for_another += u32::from(is_for_another);
        let setup = self.api.post("/v1/auth/mfa/totp", json!({ "flow_token": token })).send().await;
        assert_eq!(setup.status == 200, for_app.is_some(), "{place}: {}", setup.json);
        if let Some(step) = for_app {
            let app = App::reading(setup.text("/otpauth_uri"));
            let code = app.code(&self.api.clock);
            let confirm = json!({ "flow_token": setup.text("/flow_token"), "code": code });
            let done = self.api.post("/v1/auth/mfa/totp/confirm", confirm).send().await;
            self.app = Some(app);
            self.settle(&done, Some(with(step.shown, "otp")), place);
            self.added(&done, "otp", place);
            self.reached.enrolled_late += 1;
        } else if let Some(step) = waits {
            let asked =
                self.api.post("/v1/auth/mfa/passkey/options", json!({ "flow_token": token })).send().await;
            let mut passkey = Authenticator::new();
            let credential = passkey.create(&asked.json["options"]);
            let body = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
            let done = self.api.post("/v1/auth/mfa/passkey", body).send().await;
            assert_eq!(done.status, 200, "{place}: {}", done.json);
            self.passkey = Some((passkey, self.newest_passkey(done.access_token()).await));
            self.settle(&done, Some(with(step.shown, "hwk")), place);
            self.added(&done, "hwk", place);
            self.reached.enrolled_for_passkey += 1;
        }
    }

    /// Ten others, in place of those that are left.
    async fn make_new_codes(&mut self, place: &str) {
        let Some((token, is_good)) = self.fresh_session() else { return };
        let made = self.api.post("/v1/me/mfa/recovery-codes", json!({})).bearer(&token).send().await;
        let expected = match (is_good, self.has_factor()) {
            (false, _) => [401, 403].as_slice(),
            (true, false) => &[409],
            (true, true) => &[200],
        };
        assert!(expected.contains(&made.status.as_u16()), "{place}: {} {}", made.status, made.json);
        if made.status == 200 {
            self.recovery_codes = codes(&made);
            self.reached.new_codes += 1;
        }
    }

    async fn newest_passkey(&self, token: &str) -> String {
        let listed = self.api.get("/v1/me/passkeys").bearer(token).send().await;
        listed.text("/passkeys/0/id").to_owned()
    }

    async fn remove(&mut self, place: &str, path: String) {
        let Some((token, is_good)) = self.fresh_session() else { return };
        let is_app = path.ends_with("/totp");
        let is_there = if is_app { self.app.is_some() } else { self.passkey.is_some() };
        let is_needed = !self.is_met_by(self.app.is_some() && !is_app, self.passkey.is_some() && is_app);
        let answer = self.api.request(Method::DELETE, &path).bearer(&token).send().await;
        let expected = match (is_good, is_there, is_needed) {
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

    /// Whoever has the mailbox chooses another password: what was opened, or waits for a factor, is over, and the factors are
    /// what they were.
    async fn choose_password_by_mail(&mut self, place: &str) {
        // One address gets no more than three such mails in an hour.
        if self.chosen_at.is_some_and(|at| self.age(at) < Duration::from_mins(30)) {
            return;
        }
        self.chosen_at = Some(self.now());
        self.api.post("/v1/auth/password/forgot", json!({ "email": self.email })).send().await;
        self.password = format!("Quiet-otter-7-harbour-{}", self.now());
        let chosen = json!({ "token": self.api.token_for(&self.email).await, "new_password": self.password });
        let answer = self.api.post("/v1/auth/password/reset", chosen).send().await;
        assert_eq!(answer.status, 200, "{place}: {}", answer.json);
        let waits = verify(self.api, &self.token(), "totp", "000000x").await;
        assert_eq!(waits.refusal(), (401, "invalid_flow_token"), "{place}");
        if let Some(session) = &self.session {
            let answer = self.api.get("/v1/whoami").bearer(&session.token).send().await;
            assert_eq!(answer.refusal(), (401, "invalid_token"), "{place}");
        }
        (self.session, self.step) = (None, None);
        self.reached.passwords_chosen += 1;
    }

    async fn demand_anything(&mut self) {
        let policy = self.draw_policy();
        self.demand(policy).await;
    }

    async fn demand_anything_elsewhere(&mut self) {
        let policy = self.draw_policy();
        self.demand_elsewhere(policy).await;
    }

    fn draw_policy(&mut self) -> Policy {
        let names = ["optional", "required_for_admins", "required_for_all", "required_for_all"];
        let name = names[usize::try_from(self.draw(4)).unwrap()];
        let grace = if self.draw(3) == 0 { Duration::from_mins(10) } else { Duration::ZERO };
        let passkeys = self.draw(3) == 0;
        Policy { name, passkeys, grace }
    }

    async fn demand(&mut self, policy: Policy) {
        self.as_owner(Method::PATCH, "/v1/organization/security", policy.patch()).await;
        let before = self.asked();
        self.policy = policy;
        let has_less = self.app.is_some() && self.passkey.is_none();
        self.ask(before != Asked::Passkey && self.asked() == Asked::Passkey && has_less);
    }

    /// The same in the other organization.
    async fn demand_elsewhere(&mut self, policy: Policy) {
        let (now, has_less) = (self.now(), self.app.is_some() && self.passkey.is_none());
        let Some(there) = &mut self.elsewhere else { return };
        let patch = policy.patch();
        as_owner(self.api, &mut there.owner, Method::PATCH, "/v1/organization/security", patch).await;
        let before = there.policy.asks(true);
        let asked = policy.asks(true);
        let begins_anew = before != Asked::Passkey && asked == Asked::Passkey && has_less;
        let until_now = there.asked_since.filter(|_| !begins_anew);
        there.policy = policy;
        there.asked_since = (asked != Asked::Nothing).then(|| until_now.unwrap_or(now));
    }

    async fn change_role(&mut self) {
        let role = if self.is_admin { "member" } else { "admin" };
        self.as_owner(Method::PATCH, &format!("/v1/members/{}", self.id), json!({ "role": role })).await;
        let before = self.asked();
        self.is_admin = !self.is_admin;
        self.ask(self.asked() > before && self.has_factor());
    }

    /// Whoever is suspended is out, and has all of the time when they are let in again.
    async fn suspend_for_a_moment(&mut self, place: &str) {
        self.as_owner(Method::POST, &format!("/v1/members/{}/suspend", self.id), json!({})).await;
        // Whoever is suspended in one organization comes to the other.
        if self.elsewhere.is_none() {
            let answer = self.api.login(&self.email, &self.password).await;
            assert_eq!(answer.refusal(), (401, "invalid_credentials"), "{place}");
        }
        self.as_owner(Method::POST, &format!("/v1/members/{}/reactivate", self.id), json!({})).await;
        self.session = None;
        self.ask(true);
    }

    /// Since when the account is asked, once what is asked of it may have changed.
    fn ask(&mut self, begins_anew: bool) {
        let until_now = self.asked_since.filter(|_| !begins_anew);
        let now = self.now();
        self.asked_since = (self.asked() != Asked::Nothing).then(|| until_now.unwrap_or(now));
    }

    /// No administrator of one organization does it to somebody who belongs to another one too.
    async fn reset(&mut self) {
        if self.elsewhere.is_some() {
            return;
        }
        let path = format!("/v1/members/{}/reset-mfa", self.id);
        self.as_owner(Method::POST, &path, json!({ "reason": "Lost everything" })).await;
        (self.app, self.passkey, self.session) = (None, None, None);
        self.recovery_codes.clear();
    }

    async fn as_owner(&mut self, method: Method, path: &str, body: Value) {
        as_owner(self.api, &mut self.owner, method, path, body).await;
    }

    async fn look(&mut self, place: &str) {
        let Some(session) = &self.session else { return };
        let answer = self.api.get("/v1/whoami").bearer(&session.token).send().await;
        assert_eq!(answer.status == 200, self.is_open(session), "{place}: {}", answer.json);
    }

    /// What an answer comes to once this was shown, or where it is refused: a session with these proofs where they are enough,
    /// and nowhere else. Whether it is one.
    fn settle(&mut self, answer: &Answer, shown: Option<Shown>, place: &str) -> bool {
        let next = shown.as_ref().map(|shown| self.next(shown));
        let is_in = next == Some(Next::Admit);
        assert_eq!(answer.json["status"].as_str(), next.map(Next::status), "{place}: {}", answer.json);
        assert_eq!(answer.body.contains("\"access_token\""), is_in, "{place}");
        let Some(shown) = shown else { return false };
        if is_in {
            self.begin(answer, shown);
        } else {
            self.step = Some(Step { token: answer.text("/flow_token").to_owned(), since: self.now(), shown });
        }
        is_in
    }

    fn begin(&mut self, answer: &Answer, shown: Shown) {
        let words: BTreeSet<_> =
            amr(answer).as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
        assert_eq!(shown.iter().map(|proof| (*proof).to_owned()).collect::<BTreeSet<_>>(), words);
        let (token, now) = (answer.access_token().to_owned(), self.now());
        let refresh_token = answer.text("/refresh_token").to_owned();
        self.session = Some(Session { token, refresh_token, made: now, proven: now, shown });
        self.step = None;
    }

    /// A factor was added: the session that did it has shown it, and recovery codes came if there were none.
    fn added(&mut self, answer: &Answer, proof: &'static str, place: &str) {
        self.reached.enrolled += 1;
        assert!(answer.status.is_success(), "{place}: {}", answer.json);
        let new = codes(answer);
        assert_eq!(new.is_empty(), !self.recovery_codes.is_empty(), "{place}");
        self.recovery_codes.extend(new);
        if let Some(session) = &mut self.session {
            session.shown.insert(proof);
        }
    }
}

/// Lets the owner with this passkey do something.
async fn as_owner(api: &TestApi, owner: &mut Authenticator, method: Method, path: &str, body: Value) {
    let asked = api.post("/v1/auth/passkey/options", json!({})).send().await;
    let credential = owner.get(&asked.json["options"]);
    let proof = json!({ "flow_token": asked.text("/flow_token"), "credential": credential });
    let session = api.post("/v1/auth/passkey/verify", proof).send().await;
    let done = api.request(method, path).bearer(session.access_token()).body(Some(body)).send().await;
    assert!(done.status.is_success(), "{path}: {}", done.json);
}

/// This and what was shown before.
fn with(mut shown: Shown, proof: &'static str) -> Shown {
    shown.insert(proof);
    shown
}

/// The page to which the way in leads.
fn page_of(next: Next) -> &'static str {
    match next {
        Next::Admit => "/",
        Next::Factor => "/login/verify",
        Next::Enroll => "/mfa/setup",
    }
}

fn led_to(answer: &Answer) -> Option<&str> {
    answer.leads_to().and_then(|to| to.split('?').next())
}
