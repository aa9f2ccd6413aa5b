//! Random walks through signing in, in all orders, beside a model: no way leads to a session without the proofs that the
//! policy demands, and none that has them is closed.

mod model;

use std::time::Duration;

use axum::http::Method;
use kt_domain::clock::Clock;
use kt_domain::deployment_settings::{DeploymentSettings, LockoutSection};
use kt_domain::random::Random;
use serde_json::{Value, json};

use self::model::{Entry, Kind, Model};
use crate::databases::Kind as Database;
use crate::harness::{Answer, PASSWORD, TestApi, on_both, token_in};

/// Of how many steps a walk is.
const STEPS: usize = 60;

const MIA: &str = "mia@acme.example";
const OFFICE: &str = "203.0.113.9:40000";
const OUTSIDE: &str = "198.51.100.7:40000";

/// How far a step can move the clock: to both sides of every end there is.
const PAUSES: [Duration; 9] = [
    Duration::from_secs(30),
    Duration::from_mins(4),
    Duration::from_mins(6),
    Duration::from_mins(14),
    Duration::from_mins(16),
    Duration::from_mins(31),
    Duration::from_hours(2),
    Duration::from_hours(73),
    Duration::from_hours(91 * 24),
];

/// How often each thing came to a good end, so that a walk that only meets closed doors is seen.
#[derive(Debug, Default)]
struct Reached {
    sessions: u32,
    refreshed: u32,
    replaced: u32,
    reset: u32,
    signed_out: u32,
    let_in: u32,
}

struct Walk<'a> {
    api: &'a TestApi,
    random: Random,
    model: Model,
    mia: String,
    /// Whether the organization lets in its office alone.
    is_restricted: bool,
    owner_password: String,
    passwords: u32,
    links: usize,
    reached: &'a mut Reached,
}

on_both! {
    no_order_of_steps_leads_to_a_session_without_the_proofs_that_the_policy_demands(api) {
        match api.kind() {
            Database::Sqlite => walk(Database::Sqlite, 20).await,
            Database::Postgres => walk(Database::Postgres, 10).await,
        }
    }
}

async fn walk(database: Database, walks: u64) {
    let mut reached = Reached::default();
    for seed in 0..walks {
        // Locks have tests of their own; here they would close doors that the walk is to try.
        let lockout = LockoutSection { max_failures: Some(100), ..LockoutSection::default() };
        let deployment = DeploymentSettings { lockout, ..DeploymentSettings::default() };
        let api = TestApi::deployed(database, deployment).await.set_up().await;
        let mia = api.add_member(MIA, "member").await.to_string();
        let mut walk = Walk {
            model: Model::new(api.clock.now(), PASSWORD),
            api: &api,
            random: Random::seeded(seed),
            mia,
            is_restricted: false,
            owner_password: PASSWORD.to_owned(),
            passwords: 0,
            links: 0,
            reached: &mut reached,
        };
        for step in 0..STEPS {
            walk.step(&format!("walk {seed}, step {step}")).await;
        }
    }
    let Reached { sessions, refreshed, replaced, reset, signed_out, let_in } = reached;
    for often in [sessions, refreshed, replaced, reset, signed_out, let_in] {
        assert!(often > 3, "{reached:?}");
    }
}

impl Walk<'_> {
    /// One step of any kind, and then a look at every token there is.
    async fn step(&mut self, place: &str) {
        self.pause(Duration::from_secs(1));
        match self.draw(32) {
            0..=8 => self.sign_in(place).await,
            9..=12 => self.refresh(place).await,
            13..=16 => self.replace(place).await,
            17..=18 => self.forgot(place).await,
            19..=20 => self.reset(place).await,
            21..=22 => self.sign_out(place).await,
            23 => self.suspend_or_reactivate().await,
            24 if self.model.is_suspended => self.suspend_or_reactivate().await,
            24 => self.change_role().await,
            25 => self.give_temporary_password().await,
            26 => self.restrict_or_lift().await,
            27 if self.draw(8) == 0 => self.demand_second_factor().await,
            _ => {
                let longest = 1 + self.draw(PAUSES.len());
                let pause = PAUSES[self.draw(longest)];
                self.pause(pause);
            }
        }
        self.look(place).await;
    }

    async fn sign_in(&mut self, place: &str) {
        let typed = match self.draw(8) {
            0 => PASSWORD.to_owned(),
            1 => "Wrong-pebble-3-cloud".to_owned(),
            _ => self.model.password.clone(),
        };
        let device =
            self.secret_for(|kind| kind == Kind::Device).map(|at| self.model.secrets[at].text.clone());
        let body = json!({ "email": MIA, "password": typed, "device_token": device });
        let Some(answer) = self.ask("/v1/auth/login", body, place).await else { return };
        let expected = self.model.entry(&typed);
        carries_tokens(&answer, expected == Entry::Session, place);
        match expected {
            Entry::Refused => assert_eq!(answer.refusal(), (401, "invalid_credentials"), "{place}"),
            Entry::Replace(reason) => {
                let told = (answer.text("/status"), answer.text("/reason"));
                assert_eq!(told, ("password_change_required", reason), "{place}");
                self.model.hand_out(Kind::Step, answer.text("/flow_token"));
            }
            Entry::Enroll => {
                assert_eq!(answer.text("/status"), "mfa_enrollment_required", "{place}");
                self.model.hand_out(Kind::Step, answer.text("/flow_token"));
            }
            Entry::Session => {
                self.reached.sessions += 1;
                let session = self.model.begin_session();
                self.keep_tokens(session, &answer);
                if let Some(device) = answer.json["device_token"].as_str() {
                    self.model.hand_out(Kind::Device, device);
                }
            }
        }
    }

    async fn refresh(&mut self, place: &str) {
        let Some(at) = self.secret_for(|kind| matches!(kind, Kind::Refresh(_))) else { return };
        let body = json!({ "refresh_token": self.model.secrets[at].text });
        let Some(answer) = self.ask("/v1/auth/refresh", body, place).await else { return };
        let is_good = self.model.refreshes(at);
        carries_tokens(&answer, is_good, place);
        if let (true, Some(session)) = (is_good, self.model.session_of(at)) {
            self.reached.refreshed += 1;
            self.keep_tokens(session, &answer);
        } else {
            assert_eq!(answer.refusal(), (401, "invalid_refresh_token"), "{place}");
        }
    }

    async fn replace(&mut self, place: &str) {
        let Some(at) = self.secret_for(|kind| kind == Kind::Step) else { return };
        let (password, is_new) = self.some_password();
        let body = json!({ "flow_token": self.model.secrets[at].text, "new_password": password });
        let Some(answer) = self.ask("/v1/auth/password/replace", body, place).await else { return };
        carries_tokens(&answer, false, place);
        match (self.model.replaces(at), is_new) {
            (true, true) => {
                assert_eq!(answer.text("/status"), "password_changed", "{place}");
                self.reached.replaced += 1;
                self.model.set_password(&password, false);
            }
            (true, false) => assert_eq!(answer.refusal(), (422, "validation_error"), "{place}"),
            (false, _) => assert_eq!(answer.refusal(), (401, "invalid_flow_token"), "{place}"),
        }
    }

    async fn forgot(&mut self, place: &str) {
        let Some(answer) = self.ask("/v1/auth/password/forgot", json!({ "email": MIA }), place).await else {
            return;
        };
        assert!([202, 429].contains(&answer.status.as_u16()), "{place}: {}", answer.json);
        let letters = self.api.letters_to(MIA).await;
        let links: Vec<_> = letters.iter().filter(|letter| letter.content.text.contains("?token=")).collect();
        if links.len() > self.links {
            self.links = links.len();
            self.model.hand_out(Kind::Link, &token_in(links[links.len() - 1]));
        }
    }

    async fn reset(&mut self, place: &str) {
        let Some(at) = self.secret_for(|kind| kind == Kind::Link) else { return };
        let (password, is_new) = self.some_password();
        let body = json!({ "token": self.model.secrets[at].text, "new_password": password });
        let Some(answer) = self.ask("/v1/auth/password/reset", body, place).await else { return };
        carries_tokens(&answer, false, place);
        match (self.model.resets(at), is_new) {
            (true, true) => {
                assert_eq!(answer.text("/status"), "password_changed", "{place}");
                self.reached.reset += 1;
                self.model.set_password(&password, false);
            }
            (true, false) => assert_eq!(answer.refusal(), (422, "validation_error"), "{place}"),
            (false, _) => assert_eq!(answer.refusal(), (422, "invalid_token"), "{place}"),
        }
    }

    async fn sign_out(&mut self, place: &str) {
        let Some(at) = self.secret_for(|kind| matches!(kind, Kind::Access(_))) else { return };
        let secret = &self.model.secrets[at];
        let out = self.api.request(Method::POST, "/v1/auth/logout").bearer(&secret.text).send().await;
        match self.model.session_of(at).filter(|_| self.model.admits(secret)) {
            Some(session) => {
                assert_eq!(out.status, 204, "{place}");
                self.reached.signed_out += 1;
                self.model.end_session(session);
            }
            None => assert_eq!(out.refusal(), (401, "invalid_token"), "{place}"),
        }
    }

    async fn suspend_or_reactivate(&mut self) {
        let verb = if self.model.is_suspended { "reactivate" } else { "suspend" };
        if self.as_owner(Method::POST, &format!("/v1/members/{}/{verb}", self.mia), None).await.is_none() {
            return;
        }
        if self.model.is_suspended {
            self.model.is_suspended = false;
        } else {
            self.model.suspend();
        }
    }

    async fn change_role(&mut self) {
        let role = if self.model.role == "member" { "admin" } else { "member" };
        let body = json!({ "role": role });
        if self.as_owner(Method::PATCH, &format!("/v1/members/{}", self.mia), Some(body)).await.is_some() {
            self.model.role = role;
        }
    }

    async fn give_temporary_password(&mut self) {
        let path = format!("/v1/members/{}/temporary-password", self.mia);
        if let Some(given) = self.as_owner(Method::POST, &path, None).await {
            self.model.set_password(given.text("/temporary_password"), true);
        }
    }

    async fn restrict_or_lift(&mut self) {
        let is_restricted = !self.is_restricted;
        let allow = json!([{ "cidr": "203.0.113.0/24", "label": "Office" }]);
        let body =
            json!({ "enforce_allowlist": is_restricted, "applies_to": "console_and_api", "allow": allow });
        if self.as_owner(Method::PUT, "/v1/organization/ip-restrictions", Some(body)).await.is_some() {
            self.is_restricted = is_restricted;
        }
    }

    async fn demand_second_factor(&mut self) {
        let body = json!({ "mfa": { "policy": "required_for_all", "grace_period": "0h" } });
        if self.as_owner(Method::PATCH, "/v1/organization/security", Some(body)).await.is_some() {
            self.model.asks_for_factor = true;
        }
    }

    /// Every token opens exactly what the model says, from everywhere.
    async fn look(&mut self, place: &str) {
        for secret in &self.model.secrets {
            let from_office = self.api.get("/v1/whoami").bearer(&secret.text).send().await;
            if self.model.admits(secret) {
                self.reached.let_in += 1;
                assert_eq!(from_office.text("/user/role"), self.model.role, "{place}");
            } else {
                assert_eq!(from_office.refusal(), (401, "invalid_token"), "{place}");
            }
            if self.is_restricted {
                let from_outside = self.api.get("/v1/whoami").bearer(&secret.text).from(OUTSIDE).send().await;
                assert_eq!(from_outside.refusal(), (403, "ip_denied"), "{place}");
            }
        }
    }

    /// Asks from the office or from outside; `None` where it must be refused, and is.
    async fn ask(&mut self, path: &str, body: Value, place: &str) -> Option<Answer> {
        let peer = if self.draw(4) == 0 { OUTSIDE } else { OFFICE };
        let answer = self.api.post(path, body).from(peer).send().await;
        if peer == OUTSIDE && self.is_restricted {
            assert_eq!(answer.refusal(), (403, "ip_denied"), "{place}");
            return None;
        }
        Some(answer)
    }

    /// What the owner does; `None` once a second factor is asked of them too.
    async fn as_owner(&mut self, method: Method, path: &str, body: Option<Value>) -> Option<Answer> {
        if self.model.asks_for_factor {
            return None;
        }
        let token = self.owner_token().await;
        let answer = self.api.request(method, path).bearer(&token).body(body).send().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        Some(answer)
    }

    async fn owner_token(&mut self) -> String {
        let answer = self.api.login("owner@acme.example", &self.owner_password).await;
        if answer.text("/status") == "authenticated" {
            return answer.access_token().to_owned();
        }
        self.owner_password = self.new_password();
        let body = json!({ "flow_token": answer.text("/flow_token"), "new_password": self.owner_password });
        self.api.post("/v1/auth/password/replace", body).send().await;
        let again = self.api.login("owner@acme.example", &self.owner_password).await;
        again.access_token().to_owned()
    }

    fn keep_tokens(&mut self, session: usize, answer: &Answer) {
        self.model.hand_out(Kind::Access(session), answer.access_token());
        self.model.hand_out(Kind::Refresh(session), answer.text("/refresh_token"));
    }

    fn pause(&mut self, pause: Duration) {
        self.api.clock.advance(pause);
        self.model.now = self.api.clock.now();
    }

    /// A password, and whether it is another one than the present.
    fn some_password(&mut self) -> (String, bool) {
        if self.draw(4) == 0 { (self.model.password.clone(), false) } else { (self.new_password(), true) }
    }

    fn new_password(&mut self) -> String {
        self.passwords += 1;
        format!("Quiet-willow-{}-lakes", 100 + self.passwords)
    }

    /// The newest secret of the right kind, or any at all.
    fn secret_for(&mut self, is_right: fn(Kind) -> bool) -> Option<usize> {
        let secrets = &self.model.secrets;
        let newest = secrets.iter().rposition(|secret| is_right(secret.kind));
        let all = secrets.len();
        if all == 0 {
            return None;
        }
        let any = self.draw(all);
        Some(newest.filter(|_| self.draw(3) > 0).unwrap_or(any))
    }

    fn draw(&mut self, below: usize) -> usize {
        usize::try_from(self.random.next_u64() % below as u64).unwrap()
    }
}

/// An answer carries tokens where it is to, and nowhere else.
fn carries_tokens(answer: &Answer, is_to: bool, place: &str) {
    for name in ["\"access_token\"", "\"refresh_token\""] {
        assert_eq!(answer.body.contains(name), is_to, "{place}: {}", answer.body);
    }
}
