//! What the holder of an account does, and a stranger.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;

use super::{Next, Session, Shown, Walk};
use crate::harness::Answer;
use crate::mfa::authenticator::Authenticator;
use crate::mfa::{App, codes, verify};
use crate::sso::provider::Says;

impl Walk<'_> {
    pub(super) async fn sign_in(&mut self, place: &str) {
        let answer = self.api.login(&self.email, &self.password).await;
        if self.settle(&answer, Some(Shown::from(["pwd"])), place) {
            self.reached.by_password += 1;
        }
    }

    pub(super) async fn show_code(&mut self, place: &str) {
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

    pub(super) async fn show_recovery_code(&mut self, place: &str) {
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

    pub(super) async fn show_what_is_wrong(&mut self, place: &str) {
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

    pub(super) async fn show_passkey(&mut self, place: &str) {
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
    pub(super) async fn come_through_provider(&mut self, place: &str) {
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
    pub(super) async fn bring_in_device(&mut self, place: &str) {
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
    pub(super) async fn refresh(&mut self, place: &str) {
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
    pub(super) async fn step_up(&mut self, place: &str) {
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

    pub(super) async fn add_app(&mut self, place: &str) {
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

    pub(super) async fn add_passkey(&mut self, place: &str) {
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
    pub(super) async fn enroll_on_the_way_in(&mut self, place: &str) {
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
    pub(super) async fn make_new_codes(&mut self, place: &str) {
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

    pub(super) async fn remove(&mut self, place: &str, path: String) {
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
    pub(super) async fn choose_password_by_mail(&mut self, place: &str) {
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
