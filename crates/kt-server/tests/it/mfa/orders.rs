//! All factors in all orders, through all doors, under every policy and role, with passwords that are forgotten on the way, beside
//! a model of one account: what opens it, and what does not, at each moment. Every second account belongs to another organization too, which asks what it likes.

mod deeds;
mod demands;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use kt_domain::clock::Clock;
use kt_domain::random::Random;
use serde_json::{Value, json};

use super::authenticator::Authenticator;
use super::{App, amr, codes};
use crate::harness::{Answer, PASSWORD, TestApi, on_both};
use crate::sso::provider::Provider;

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

/// What is done, and what comes of it.
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
