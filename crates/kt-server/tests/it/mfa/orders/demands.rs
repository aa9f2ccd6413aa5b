//! What the owners of the account's organizations do: what they ask of it, and what they do to it.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::{Asked, Policy, Walk};
use crate::harness::TestApi;
use crate::mfa::authenticator::Authenticator;

impl Walk<'_> {
    pub(super) async fn demand_anything(&mut self) {
        let policy = self.draw_policy();
        self.demand(policy).await;
    }

    pub(super) async fn demand_anything_elsewhere(&mut self) {
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

    pub(super) async fn demand(&mut self, policy: Policy) {
        self.as_owner(Method::PATCH, "/v1/organization/security", policy.patch()).await;
        let before = self.asked();
        self.policy = policy;
        let has_less = self.app.is_some() && self.passkey.is_none();
        self.ask(before != Asked::Passkey && self.asked() == Asked::Passkey && has_less);
    }

    /// The same in the other organization.
    pub(super) async fn demand_elsewhere(&mut self, policy: Policy) {
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

    pub(super) async fn change_role(&mut self) {
        let role = if self.is_admin { "member" } else { "admin" };
        self.as_owner(Method::PATCH, &format!("/v1/members/{}", self.id), json!({ "role": role })).await;
        let before = self.asked();
        self.is_admin = !self.is_admin;
        self.ask(self.asked() > before && self.has_factor());
    }

    /// Whoever is suspended is out, and has all of the time when they are let in again.
    pub(super) async fn suspend_for_a_moment(&mut self, place: &str) {
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
    pub(super) async fn reset(&mut self) {
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
