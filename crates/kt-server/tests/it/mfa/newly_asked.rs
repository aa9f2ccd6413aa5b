//! Whoever comes to be asked for a second factor, by whatever way: they have all of the grace, are told by mail and on every
//! page, and are late at its end, and so are their keys.

use std::time::Duration;

use kt_domain::actor::Role;
use kt_domain::clock::Clock;
use kt_domain::id::UserId;
use kt_domain::sign_in::MembershipState;
use serde_json::{Value, json};

use super::policy::demand;
use super::{Holder, JO, factors, step, verify};
use crate::gateways::key;
use crate::harness::{Answer, PASSWORD, TestApi, on_both};

const GRACE: Duration = Duration::from_hours(72);

/// Longer than the grace: what was noted before the change would leave nothing of it.
const BEFORE: Duration = Duration::from_hours(80);

async fn act(api: &TestApi, session: &Answer, path: &str, body: Value) {
    let done = api.post(path, body).bearer(session.access_token()).send().await;
    assert!(done.status.is_success(), "{path}: {}", done.body);
}

/// An owner who has what is asked of them.
struct Owner(Holder);

impl Owner {
    const EMAIL: &str = "olga@acme.example";

    async fn new(api: &TestApi) -> Self {
        Self(Holder::new(api, Self::EMAIL, "owner").await)
    }

    /// A session of theirs, at this very moment.
    async fn session(&mut self, api: &TestApi) -> Answer {
        let flow = step(api, Self::EMAIL).await;
        verify(api, &flow, "recovery_code", &self.0.recovery_codes.pop().unwrap()).await
    }

    /// Whether they see `JO` on the list of those whose time is over.
    async fn sees_late(&mut self, api: &TestApi) -> bool {
        let session = self.session(api).await;
        let late = api.get("/v1/members?mfa=late").bearer(session.access_token()).send().await;
        late.json["members"].as_array().unwrap().iter().any(|member| member["email"] == JO)
    }
}

/// Somebody who waits for approval since long before the policy, and an owner.
async fn waiting(api: &TestApi, policy: &str) -> (UserId, Owner) {
    let (jo, owner) = (api.add_waiting(JO).await, Owner::new(api).await);
    demand(api, policy, "72h").await;
    api.clock.advance(BEFORE);
    (jo, owner)
}

/// How many letters have told them.
async fn letters(api: &TestApi, email: &str) -> usize {
    let letters = api.letters_to(email).await;
    letters
        .iter()
        .filter(|letter| letter.content.subject.starts_with("Set up a second factor before"))
        .count()
}

/// The whole of it, for somebody who has become active, or an admin, at this moment.
async fn is_asked_from_now_on(api: &TestApi, owner: &mut Owner, way: &str) {
    let deadline = api.clock.now() + GRACE;
    assert_eq!(letters(api, JO).await, 1, "{way}: told by mail, at once");
    let session = api.login(JO, PASSWORD).await;
    assert_eq!(session.json["status"], "authenticated", "{way}: {}", session.json);
    assert_eq!(factors(api, session.access_token()).await["deadline"], deadline.to_string(), "{way}");
    let page = api.signed_in(JO).await.get("/settings/profile").await;
    assert!(page.page().contains(&format!("datetime=\"{deadline}\"")), "{way}: every page says so");
    let key = match session.text("/user/role") {
        "member" => None,
        _ => Some(key(api, &session, "access", "read-only").await),
    };
    let use_it = async || match &key {
        Some(key) => Some(api.get("/v1/whoami").bearer(key.text("/key")).send().await),
        None => None,
    };

    api.clock.advance(Duration::from_secs(GRACE.as_secs() - 1));
    assert!(use_it().await.is_none_or(|answer| answer.status == 200), "{way}: a second before");
    assert!(!owner.sees_late(api).await, "{way}: a second before");
    api.clock.advance(Duration::from_secs(1));
    assert_eq!(api.login(JO, PASSWORD).await.json["status"], "mfa_enrollment_required", "{way}");
    if let Some(answer) = use_it().await {
        assert_eq!(answer.refusal(), (403, "mfa_enrollment_required"), "{way}: their key rests");
    }
    assert!(owner.sees_late(api).await, "{way}: on the list of who is late");
}

on_both! {
    whoever_is_approved_begins_then(api) {
        let (jo, mut owner) = waiting(&api, "required_for_all").await;
        act(&api, &owner.session(&api).await, &format!("/v1/registrations/{jo}/approve"), json!({})).await;
        is_asked_from_now_on(&api, &mut owner, "as a member").await;
    }

    whoever_is_approved_as_an_admin_begins_then(api) {
        let (jo, mut owner) = waiting(&api, "required_for_admins").await;
        act(&api, &owner.session(&api).await, &format!("/v1/registrations/{jo}/approve"), json!({ "role": "admin" })).await;
        is_asked_from_now_on(&api, &mut owner, "as an admin").await;
    }

    whoever_the_operator_makes_an_owner_begins_then(api) {
        api.add_member(JO, "member").await;
        let mut owner = Owner::new(&api).await;
        demand(&api, "required_for_admins", "72h").await;
        api.clock.advance(BEFORE);
        assert_eq!((letters(&api, JO).await, owner.sees_late(&api).await), (0, false), "the control: a member is not asked");
        api.control.make_owner(&api.operator(), JO, None).await.unwrap();
        is_asked_from_now_on(&api, &mut owner, "kt admin user make-owner").await;
    }

    whoever_waits_and_is_invited_begins_then(api) {
        let (jo, mut owner) = waiting(&api, "required_for_all").await;
        let other = api.organization("other").await;
        api.add_place("other", &jo, "member").await;
        let body = json!({ "email": JO, "role": "admin" });
        act(&api, &owner.session(&api).await, "/v1/invitations", body).await;
        let login = json!({ "email": JO, "password": PASSWORD, "organization": "other" });
        let elsewhere = api.post("/v1/auth/login", login).send().await;
        assert_eq!(elsewhere.text("/organization/id"), other.as_str());
        act(&api, &elsewhere, "/v1/invitations/accept", json!({ "token": api.token_for(JO).await })).await;
        is_asked_from_now_on(&api, &mut owner, "by an invitation").await;
    }

    whoever_verifies_their_address_where_nobody_approves_begins_then(api) {
        api.set_registration(json!({ "self_registration": true, "signup_approval": false })).await;
        let register = json!({ "organization": "acme", "email": JO, "name": "Jo", "password": PASSWORD });
        let mut owner = Owner::new(&api).await;
        demand(&api, "required_for_all", "72h").await;
        api.post("/v1/auth/register", register).send().await;
        let token = api.token_for(JO).await;
        api.clock.advance(Duration::from_hours(20));
        let verified = api.post("/v1/auth/email/verify", json!({ "token": token })).send().await;
        assert_eq!(verified.json["status"], "active", "{}", verified.json);
        is_asked_from_now_on(&api, &mut owner, "by verifying").await;
    }

    whoever_a_directory_lets_in_begins_then_and_again_when_it_lets_them_in_anew(api) {
        let directory = api.directory().await;
        let (_, mut owner) = waiting(&api, "required_for_all").await;
        let jo = directory.user(JO).await;
        is_asked_from_now_on(&api, &mut owner, "provisioned").await;
        assert_eq!(directory.set_active(&jo, false).await.status, 200);
        api.clock.advance(Duration::from_hours(1));
        assert_eq!(directory.set_active(&jo, true).await.status, 200);
        assert_eq!(api.login(JO, PASSWORD).await.json["status"], "authenticated", "the time begins anew");
        assert_eq!(letters(&api, JO).await, 2);
    }

    whoever_is_let_in_again_begins_then(api) {
        let jo = api.add_member(JO, "member").await;
        let mut owner = Owner::new(&api).await;
        let path = format!("/v1/members/{jo}");
        act(&api, &owner.session(&api).await, &format!("{path}/suspend"), json!({})).await;
        demand(&api, "required_for_all", "72h").await;
        api.clock.advance(BEFORE);
        assert_eq!(letters(&api, JO).await, 0, "nobody tells whoever is suspended");
        act(&api, &owner.session(&api).await, &format!("{path}/reactivate"), json!({})).await;
        is_asked_from_now_on(&api, &mut owner, "reactivated").await;
    }

    whoever_a_provider_lets_in_begins_then_and_is_asked_there_alone(api) {
        let provider = api.with_provider(json!({ "just_in_time": true })).await;
        api.add_waiting("1@acme.example").await;
        let mut owner = Owner::new(&api).await;
        demand(&api, "required_for_all", "72h").await;
        api.clock.advance(BEFORE);
        let browser = api.browser();
        assert_eq!(provider.way(&browser, "1").await.leads_to(), Some("/"));
        let page = browser.get("/settings/profile").await;
        assert!(!page.page().contains("asks for a second factor"), "the provider's word is worth it");
        let listed = api.get("/v1/members").bearer(owner.session(&api).await.access_token()).send().await;
        let members = listed.json["members"].as_array().unwrap();
        let member = members.iter().find(|member| member["email"] == "1@acme.example").unwrap();
        assert_eq!(member["mfa_asked_since"], api.clock.now().to_string());
        assert_eq!(member["mfa_deadline"], Value::Null, "so nothing is said of it to administrators either");
        api.control.run_jobs(&api.operator()).await.unwrap();
        assert_eq!(letters(&api, "1@acme.example").await, 0, "nor to them");
    }

    whoever_was_never_told_has_no_more_time_than_the_others(api) {
        // As a place would be that another process has made.
        api.add_member(JO, "admin").await;
        let session = api.login(JO, PASSWORD).await;
        let key = key(&api, &session, "access", "read-only").await;
        api.becomes(&session, Role::Member, MembershipState::Active).await;
        let mut owner = Owner::new(&api).await;
        api.clock.advance(BEFORE);
        demand(&api, "required_for_admins", "72h").await;
        let use_it = || api.get("/v1/whoami").bearer(key.text("/key")).send();
        assert_eq!(use_it().await.status, 200, "the control: a member is not asked");
        api.becomes(&session, Role::Admin, MembershipState::Active).await;
        assert_eq!(api.login(JO, PASSWORD).await.json["status"], "mfa_enrollment_required");
        assert_eq!(use_it().await.refusal(), (403, "mfa_enrollment_required"), "their key rests as well");
        assert!(owner.sees_late(&api).await);
    }
}
