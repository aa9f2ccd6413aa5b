//! Who may call what: every route of the OpenAPI document against every kind of caller. A route that has no row here
//! fails the test (STANDARDS: OWASP ASVS 5.0, 8.2.1; OWASP API security 1 and 5).

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::Method;
use kt_domain::actor::Role;
use kt_domain::audit::AuditAction;
use kt_domain::id::{ApiKeyId, InvitationId, PasskeyId, SessionId, SetupRequestId, UserId};
use kt_domain::random::Random;
use serde_json::{Value, json};

use crate::documented::operations;
use crate::harness::{Answer, PASSWORD, TestApi, on_both};

/// Who calls: nobody, a member, an auditor, an admin, an owner, an owner's access key with the scope read-only, write or
/// admin, a gateway's key, and an identity provider's.
pub(crate) const CALLERS: &str = "-muaorwdgs";

/// Everybody, known or not.
const OPEN: &str = CALLERS;
/// Whoever is signed in, for themselves.
const PEOPLE: &str = "muao";
/// Whoever belongs to the organization, and their keys.
const BELONGING: &str = "muaorwd";
/// The same, and gateways.
const LIVING: &str = "muaorwdg";
/// Those who look after it.
const READERS: &str = "uaorwd";
/// Those who run it.
const RUNNERS: &str = "aod";
/// Those who run it, and their keys that may change something.
const WRITERS: &str = "aowd";
/// The people among them.
const RUNNING_PEOPLE: &str = "ao";
/// Those who decide who runs it.
const OWNERS: &str = "od";
/// Whoever may have keys of their own; of somebody else's they are told that there are none.
const KEY_HOLDERS: &str = "mao";
/// Gateways.
const GATEWAYS: &str = "g";
/// Identity providers.
const PROVIDERS: &str = "s";

/// Each route, who passes its authorization, and a body that is read.
pub(crate) const TABLE: &[(&str, &str, &str)] = &[
    ("GET /healthz", OPEN, ""),
    ("GET /readyz", OPEN, ""),
    ("GET /.well-known/jwks.json", OPEN, ""),
    ("GET /.well-known/passkey-endpoints", OPEN, ""),
    (
        "POST /v1/setup",
        OPEN,
        r#"{"token":"x","organization":"new","organization_name":"New","email":"n@new.example","name":"N","password":"x"}"#,
    ),
    ("POST /v1/auth/login", OPEN, r#"{"email":"nobody@acme.example","password":"x"}"#),
    ("POST /v1/auth/mfa/verify", OPEN, r#"{"flow_token":"x","method":"totp","code":"x"}"#),
    ("POST /v1/auth/mfa/totp", OPEN, r#"{"flow_token":"x"}"#),
    ("POST /v1/auth/mfa/totp/confirm", OPEN, r#"{"flow_token":"x","code":"x"}"#),
    ("POST /v1/auth/mfa/passkey/options", OPEN, r#"{"flow_token":"x"}"#),
    ("POST /v1/auth/mfa/passkey", OPEN, r#"{"flow_token":"x","credential":{}}"#),
    ("POST /v1/auth/passkey/options", OPEN, ""),
    ("POST /v1/auth/passkey/verify", OPEN, r#"{"flow_token":"x","credential":{}}"#),
    ("POST /v1/auth/refresh", OPEN, r#"{"refresh_token":"x"}"#),
    ("POST /v1/auth/logout", PEOPLE, ""),
    ("POST /v1/auth/password/replace", OPEN, r#"{"flow_token":"x","new_password":"x"}"#),
    ("POST /v1/auth/password/forgot", OPEN, r#"{"email":"nobody@acme.example"}"#),
    ("POST /v1/auth/password/reset", OPEN, r#"{"token":"x","new_password":"x"}"#),
    (
        "POST /v1/auth/register",
        OPEN,
        r#"{"organization":"acme","email":"n@new.example","name":"N","password":"x"}"#,
    ),
    ("POST /v1/auth/invitation", OPEN, r#"{"token":"x"}"#),
    ("POST /v1/auth/email/resend", OPEN, r#"{"email":"nobody@acme.example"}"#),
    ("POST /v1/auth/email/verify", OPEN, r#"{"token":"x"}"#),
    ("POST /v1/auth/email/undo", OPEN, r#"{"token":"x"}"#),
    ("POST /v1/auth/device/authorize", OPEN, ""),
    ("POST /v1/auth/device/token", OPEN, r#"{"device_code":"x"}"#),
    ("GET /v1/whoami", LIVING, ""),
    ("GET /v1/me", PEOPLE, ""),
    ("PATCH /v1/me", PEOPLE, "{}"),
    ("POST /v1/me/password", PEOPLE, r#"{"current_password":"x","new_password":"x"}"#),
    ("POST /v1/me/reauthenticate", PEOPLE, r#"{"password":"x"}"#),
    ("POST /v1/me/reauthenticate/options", PEOPLE, ""),
    ("GET /v1/me/passkeys", PEOPLE, ""),
    ("POST /v1/me/passkeys", PEOPLE, r#"{"flow_token":"x","credential":{}}"#),
    ("POST /v1/me/passkeys/options", PEOPLE, ""),
    ("PATCH /v1/me/passkeys/{id}", PEOPLE, r#"{"name":"Phone"}"#),
    ("DELETE /v1/me/passkeys/{id}", PEOPLE, ""),
    ("GET /v1/me/mfa", PEOPLE, ""),
    ("POST /v1/me/mfa/totp", PEOPLE, ""),
    ("POST /v1/me/mfa/totp/confirm", PEOPLE, r#"{"code":"x"}"#),
    ("DELETE /v1/me/mfa/totp", PEOPLE, ""),
    ("POST /v1/me/mfa/recovery-codes", PEOPLE, ""),
    ("GET /v1/me/sessions", PEOPLE, ""),
    ("DELETE /v1/me/sessions", PEOPLE, ""),
    ("DELETE /v1/me/sessions/{id}", PEOPLE, ""),
    ("GET /v1/me/device-requests/{user_code}", PEOPLE, ""),
    ("POST /v1/me/device-requests/{user_code}/approve", PEOPLE, ""),
    ("POST /v1/me/device-requests/{user_code}/deny", PEOPLE, ""),
    ("GET /v1/organization", BELONGING, ""),
    ("PATCH /v1/organization", RUNNERS, r#"{"name":"Acme"}"#),
    ("GET /v1/organization/security", READERS, ""),
    ("PATCH /v1/organization/security", RUNNERS, "{}"),
    ("GET /v1/organization/security/posture", READERS, ""),
    ("GET /v1/organization/sessions", READERS, ""),
    ("GET /v1/organization/ip-restrictions", READERS, ""),
    ("PUT /v1/organization/ip-restrictions", RUNNERS, "{}"),
    ("POST /v1/organization/ip-restrictions/preview", READERS, "{}"),
    ("POST /v1/auth/sso/start", OPEN, r#"{"organization":"acme"}"#),
    ("GET /v1/organization/sso/oidc", READERS, ""),
    ("PUT /v1/organization/sso/oidc", OWNERS, r#"{"issuer":"https://id.example","client_id":"us"}"#),
    ("DELETE /v1/organization/sso/oidc", OWNERS, ""),
    ("GET /v1/organization/sso/saml", READERS, ""),
    ("PUT /v1/organization/sso/saml", OWNERS, r#"{"metadata":"<a/>"}"#),
    ("DELETE /v1/organization/sso/saml", OWNERS, ""),
    ("POST /v1/organization/sso/saml/next-key", OWNERS, ""),
    ("POST /v1/organization/sso/saml/next-key/use", OWNERS, ""),
    ("GET /v1/organization/domains", READERS, ""),
    ("POST /v1/organization/domains", OWNERS, r#"{"domain":"acme.example"}"#),
    ("POST /v1/organization/domains/{domain}/verify", OWNERS, ""),
    ("DELETE /v1/organization/domains/{domain}", OWNERS, ""),
    ("GET /v1/members", READERS, ""),
    ("GET /v1/members/export", READERS, ""),
    ("GET /v1/members/{id}", READERS, ""),
    ("PATCH /v1/members/{id}", RUNNERS, r#"{"role":"member"}"#),
    ("DELETE /v1/members/{id}", RUNNERS, ""),
    ("POST /v1/members/{id}/end-sessions", RUNNERS, ""),
    ("POST /v1/members/{id}/suspend", RUNNERS, ""),
    ("POST /v1/members/{id}/reactivate", RUNNERS, ""),
    ("POST /v1/members/{id}/reset-mfa", RUNNING_PEOPLE, r#"{"reason":"Lost the phone"}"#),
    ("POST /v1/members/{id}/temporary-password", RUNNING_PEOPLE, ""),
    ("GET /v1/setup-requests", READERS, ""),
    ("POST /v1/setup-requests", PEOPLE, r#"{"note":"please"}"#),
    ("POST /v1/setup-requests/{id}/close", WRITERS, ""),
    ("GET /v1/invitations", READERS, ""),
    ("POST /v1/invitations", RUNNERS, r#"{"email":"guest@acme.example","role":"member"}"#),
    ("POST /v1/invitations/accept", PEOPLE, r#"{"token":"x"}"#),
    ("POST /v1/invitations/{id}/resend", RUNNERS, ""),
    ("DELETE /v1/invitations/{id}", RUNNERS, ""),
    ("GET /v1/registrations", READERS, ""),
    ("POST /v1/registrations/{id}/approve", RUNNERS, ""),
    ("POST /v1/registrations/{id}/reject", RUNNERS, ""),
    ("GET /v1/tokens", BELONGING, ""),
    ("GET /v1/tokens/export", BELONGING, ""),
    ("POST /v1/tokens", RUNNING_PEOPLE, r#"{"name":"deploy","scope":"read-only"}"#),
    ("GET /v1/tokens/{id}", BELONGING, ""),
    ("PATCH /v1/tokens/{id}", KEY_HOLDERS, "{}"),
    ("POST /v1/tokens/{id}/rotate", KEY_HOLDERS, "{}"),
    ("DELETE /v1/tokens/{id}", "maod", ""),
    ("GET /v1/audit-log", READERS, ""),
    ("GET /v1/audit-log/export", READERS, ""),
    ("GET /v1/audit-log/keys", READERS, ""),
    ("GET /v1/audit-log/{id}", READERS, ""),
    ("GET /v1/events", READERS, ""),
    ("GET /v1/usage", BELONGING, ""),
    ("GET /v1/usage/export", BELONGING, ""),
    ("GET /v1/budgets", BELONGING, ""),
    ("POST /v1/events", GATEWAYS, r#"{"gateway_id":"gw-1","entries":[]}"#),
    ("GET /v1/gateways", READERS, ""),
    (
        "POST /v1/gateways/sync",
        GATEWAYS,
        r#"{"gateway_id":"gw-1","software_version":"0.1.0","config_version":"0"}"#,
    ),
    ("GET /v1/gateways/export/csv", READERS, ""),
    ("GET /v1/gateways/{id}", READERS, ""),
    ("DELETE /v1/gateways/{id}", WRITERS, ""),
    ("POST /v1/gateways/{id}/drain", WRITERS, ""),
    ("POST /v1/gateways/{id}/resume", WRITERS, ""),
    ("GET /v1/configurations", READERS, ""),
    ("POST /v1/configurations", WRITERS, r#"{"name":"edge","text":"pack: {name: p, version: 1.0.0}"}"#),
    ("POST /v1/configurations/lint", READERS, r#"{"text":""}"#),
    ("GET /v1/configurations/{name}", READERS, ""),
    ("GET /v1/configurations/{name}/versions", READERS, ""),
    (
        "POST /v1/configurations/{name}/versions",
        WRITERS,
        r#"{"text":"pack: {name: other, version: 1.0.0}","note":"why"}"#,
    ),
    ("GET /v1/configurations/{name}/versions/{number}", READERS, ""),
    ("POST /v1/configurations/{name}/rollout", WRITERS, r#"{"version":1}"#),
    ("GET /v1/provider-credentials", READERS, ""),
    ("POST /v1/provider-credentials", RUNNERS, r#"{"name":"openai","key":"sk-1"}"#),
    ("PATCH /v1/provider-credentials/{name}", RUNNERS, r#"{"key":"sk-2"}"#),
    ("DELETE /v1/provider-credentials/{name}", RUNNERS, ""),
    ("GET /scim/v2/ServiceProviderConfig", PROVIDERS, ""),
    ("GET /scim/v2/ResourceTypes", PROVIDERS, ""),
    ("GET /scim/v2/ResourceTypes/{name}", PROVIDERS, ""),
    ("GET /scim/v2/Schemas", PROVIDERS, ""),
    ("GET /scim/v2/Schemas/{name}", PROVIDERS, ""),
    ("GET /scim/v2/Users", PROVIDERS, ""),
    ("POST /scim/v2/Users", PROVIDERS, r#"{"userName":"ada@acme.example"}"#),
    ("GET /scim/v2/Users/{id}", PROVIDERS, ""),
    ("PUT /scim/v2/Users/{id}", PROVIDERS, r#"{"userName":"ada@acme.example"}"#),
    ("PATCH /scim/v2/Users/{id}", PROVIDERS, r#"{"Operations":[]}"#),
    ("DELETE /scim/v2/Users/{id}", PROVIDERS, ""),
    ("GET /scim/v2/Groups", PROVIDERS, ""),
    ("POST /scim/v2/Groups", PROVIDERS, r#"{"displayName":"Ops"}"#),
    ("GET /scim/v2/Groups/{id}", PROVIDERS, ""),
    ("PUT /scim/v2/Groups/{id}", PROVIDERS, r#"{"displayName":"Ops"}"#),
    ("PATCH /scim/v2/Groups/{id}", PROVIDERS, r#"{"Operations":[]}"#),
    ("DELETE /scim/v2/Groups/{id}", PROVIDERS, ""),
];

/// Whether a route speaks the words of provisioning, in which failures have another form and fields that nobody knows are
/// passed over (RFC 7643 section 2.1); `scim` shows what it refuses, and how.
fn is_provisioning(route: &str) -> bool {
    route.contains(" /scim/")
}

/// RFC 8628 section 3.4. What a page of another site could send so, it knows itself, and no cookie goes with it.
const READS_A_FORM: (&str, &str) = ("POST /v1/auth/device/token", "application/x-www-form-urlencoded");

/// The codes by which authorization refuses; every other answer comes from behind it.
const REFUSALS: [&str; 6] = [
    "missing_key",
    "insufficient_role",
    "insufficient_scope",
    "person_required",
    "operator_required",
    "rank_too_low",
];

/// `GET /v1/members` for each operation of the document.
fn documented() -> BTreeSet<String> {
    let operations = operations("").into_iter();
    operations.map(|operation| format!("{} {}", operation.method, operation.path)).collect()
}

fn assert_lists_every_route<'a>(
    what: &str,
    listed: impl Iterator<Item = &'a str>,
    expected: &BTreeSet<String>,
) {
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    let missing: Vec<_> = expected.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(expected).collect();
    assert!(missing.is_empty(), "{what}: add a row for {missing:?}");
    assert!(gone.is_empty(), "{what}: there is no route {gone:?}");
}

#[test]
fn every_route_has_its_row() {
    assert_lists_every_route("TABLE", TABLE.iter().map(|(route, ..)| *route), &documented());
}

/// A path with an identifier that nobody has in place of each parameter.
fn concrete(api: &TestApi, path: &str) -> String {
    let (now, random) = (kt_domain::clock::Clock::now(&api.clock), &mut Random::from_os());
    let id = if path.contains("/members/") || path.contains("/registrations/") {
        UserId::new(now, random).to_string()
    } else if path.contains("/invitations/") {
        InvitationId::new(now, random).to_string()
    } else if path.contains("/tokens/") {
        ApiKeyId::new(now, random).to_string()
    } else if path.contains("/setup-requests/") {
        SetupRequestId::new(now, random).to_string()
    } else if path.contains("/passkeys/") {
        PasskeyId::new(now, random).to_string()
    } else {
        SessionId::new(now, random).to_string()
    };
    let query = if path == "/v1/audit-log/export" { "?format=jsonl" } else { "" };
    let path = path.replace("{name}", "nobody").replace("{number}", "1");
    format!(
        "{}{query}",
        path.replace("{id}", &id).replace("{user_code}", "BCDF-GHJK").replace("{domain}", "nowhere.example")
    )
}

async fn ask(api: &TestApi, route: &str, path: &str, body: &str, bearer: Option<&str>) -> Answer {
    let method: Method = route.split(' ').next().unwrap().parse().unwrap();
    let mut request = api.request(method, path);
    if let Some(bearer) = bearer {
        request = request.bearer(bearer);
    }
    let body = (!body.is_empty()).then(|| serde_json::from_str(body).unwrap());
    request.body(body).send().await
}

/// A bearer of each caller that has one. People sign in anew, since some routes end the session.
async fn bearer(api: &TestApi, caller: char, keys: &[(char, String)]) -> Option<String> {
    let email = match caller {
        '-' => return None,
        'm' => "member@acme.example",
        'u' => "auditor@acme.example",
        'a' => "admin@acme.example",
        'o' => "owner@acme.example",
        key => return keys.iter().find(|(caller, _)| *caller == key).map(|(_, text)| text.clone()),
    };
    Some(api.token_of(email).await)
}

/// Somebody who passes the authorization of a route that lets these in.
async fn key_or_owner(api: &TestApi, allowed: &str) -> Option<String> {
    match allowed {
        OPEN => None,
        GATEWAYS => Some(make_key(api, "gateway", "write").await.text("/key").to_owned()),
        _ => Some(api.token_of("owner@acme.example").await),
    }
}

async fn make_key(api: &TestApi, kind: &str, scope: &str) -> Answer {
    let owner = api.token_of("owner@acme.example").await;
    api.post("/v1/tokens", json!({ "type": kind, "name": "table", "scope": scope }))
        .bearer(&owner)
        .send()
        .await
}

/// The path of a route that is about something of the organization `acme`.
pub(crate) async fn own_object(api: &TestApi, path: &str) -> String {
    let email = format!("{:016x}@acme.example", Random::from_os().next_u64());
    let id = if path.starts_with("/v1/members/") {
        api.add_member(&email, "member").await.to_string()
    } else if path.starts_with("/v1/registrations/") {
        api.add_waiting(&email).await.to_string()
    } else if path.starts_with("/v1/invitations/") {
        let owner = api.token_of("owner@acme.example").await;
        let invitation = json!({ "email": email, "role": "member" });
        api.post("/v1/invitations", invitation).bearer(&owner).send().await.text("/id").to_owned()
    } else if path.starts_with("/v1/setup-requests/") {
        api.add_member(&email, "member").await;
        let member = api.token_of(&email).await;
        api.request(Method::POST, "/v1/setup-requests").bearer(&member).send().await.text("/id").to_owned()
    } else if path.starts_with("/v1/tokens/") {
        make_key(api, "access", "read-only").await.text("/id").to_owned()
    } else if path.starts_with("/v1/me/sessions/") {
        let owner = api.token_of("owner@acme.example").await;
        api.get("/v1/me/sessions").bearer(&owner).send().await.text("/sessions/0/id").to_owned()
    } else if path.starts_with("/v1/audit-log/") {
        let owner = api.token_of("owner@acme.example").await;
        api.get("/v1/audit-log").bearer(&owner).send().await.text("/records/0/id").to_owned()
    } else if path.starts_with("/v1/gateways/") {
        let key = make_key(api, "gateway", "write").await.text("/key").to_owned();
        let id = format!("gw_{:016x}", Random::from_os().next_u64());
        let report = json!({ "gateway_id": id, "software_version": "0.1.0", "config_version": "0" });
        assert_eq!(api.post("/v1/gateways/sync", report).bearer(&key).send().await.status, 200);
        // Only one that is gone can be forgotten.
        api.clock.advance(Duration::from_mins(2));
        id
    } else if path.starts_with("/v1/configurations/") || path.starts_with("/v1/provider-credentials/") {
        let name = format!("n{:016x}", Random::from_os().next_u64());
        let owner = api.token_of("owner@acme.example").await;
        let list = path.split("/{").next().unwrap();
        let body = match list {
            "/v1/configurations" => json!({ "name": name, "text": "pack: {name: p, version: 1.0.0}" }),
            _ => json!({ "name": name, "key": "sk-1" }),
        };
        assert!(api.post(list, body).bearer(&owner).send().await.status.is_success());
        return path.replace("{name}", &name).replace("{number}", "1");
    } else if path.starts_with("/v1/organization/domains/") {
        let owner = api.token_of("owner@acme.example").await;
        let domain = format!("d{:016x}.example", Random::from_os().next_u64());
        let claim =
            api.post("/v1/organization/domains", json!({ "domain": domain })).bearer(&owner).send().await;
        api.names.set(claim.text("/record_name"), &[claim.text("/record_value")]);
        return path.replace("{domain}", &domain);
    } else if path.starts_with("/v1/me/device-requests/") {
        let codes = api.request(Method::POST, "/v1/auth/device/authorize").send().await;
        return path.replace("{user_code}", codes.text("/user_code"));
    } else {
        panic!("{path}: say here what it is about");
    };
    path.replace("{id}", &id)
}

on_both! {
    every_route_lets_in_whom_the_table_says_and_nobody_else(api) {
        for role in ["member", "auditor", "admin"] {
            api.add_member(&format!("{role}@acme.example"), role).await;
        }
        let mut keys = Vec::new();
        for (caller, kind, scope) in [('r', "access", "read-only"), ('w', "access", "write"), ('d', "access", "admin"), ('g', "gateway", "write"), ('s', "scim", "write")] {
            keys.push((caller, make_key(&api, kind, scope).await.text("/key").to_owned()));
        }
        let mut wrong = Vec::new();
        for (route, allowed, body) in TABLE {
            // Whatever counts the tries of a network has forgotten them.
            api.clock.advance(Duration::from_mins(15));
            for caller in CALLERS.chars() {
                let path = concrete(&api, route.split_once(' ').unwrap().1);
                let answer = ask(&api, route, &path, body, bearer(&api, caller, &keys).await.as_deref()).await;
                let code = answer.json.pointer("/error/code").and_then(Value::as_str).unwrap_or("none").to_owned();
                let is_refused = if is_provisioning(route) {
                    [401, 403].contains(&answer.status.as_u16())
                } else {
                    REFUSALS.contains(&code.as_str())
                };
                if is_refused == allowed.contains(caller) {
                    wrong.push(format!("{route} as `{caller}`: {} {code}", answer.status));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    what_belongs_to_another_organization_is_not_there(api) {
        let other = api.organization("other").await;
        api.add_member_of(&other, "owner@other.example", Role::Owner).await;
        let mut asked = 0;
        // The code of a device belongs to no organization until somebody approves it, and passkeys to a person: whoever has
        // one is asked for it at every sign-in, so that they have tests of their own; and so has provisioning.
        let elsewhere = ["/device-requests/", "/me/passkeys/", "/scim/"];
        let is_owned = |route: &str| route.contains('{') && !elsewhere.iter().any(|part| route.contains(part));
        for (route, _, body) in TABLE.iter().filter(|(route, ..)| is_owned(route)) {
            let path = own_object(&api, route.split_once(' ').unwrap().1).await;
            let stranger = api.token_of("owner@other.example").await;
            let theirs = ask(&api, route, &path, body, Some(&stranger)).await;
            assert_eq!(theirs.refusal(), (404, "not_found"), "{route}");
            let owner = api.token_of("owner@acme.example").await;
            let ours = ask(&api, route, &path, body, Some(&owner)).await;
            assert!(ours.status.is_success(), "{route}, the control: {}", ours.json);
            asked += 1;
        }
        assert!(asked >= 9, "{asked}");
    }
}

/// What a change leaves in the audit log of the organization.
enum Trace {
    /// This action, after an owner sent this body.
    Action(AuditAction, &'static str),
    /// This action, at the end of a flow of several steps; this test, `file::name`, shows it.
    Flow(AuditAction, &'static str),
    /// Nothing, since nothing is changed that anybody has set.
    Nothing(&'static str),
}

use Trace::{Action, Flow, Nothing};

/// Each route that may change something, and what it leaves in the audit log.
const TRACES: &[(&str, Trace)] = &[
    (
        "POST /v1/setup",
        Flow(
            AuditAction::OrganizationCreated,
            "audit::records_come_newest_first_in_the_shape_that_is_promised",
        ),
    ),
    ("POST /v1/auth/login", Action(AuditAction::SignIn, r#"{"email":"owner@acme.example","password":"x"}"#)),
    (
        "POST /v1/auth/mfa/verify",
        Flow(
            AuditAction::RecoveryCodeUsed,
            "mfa::a_recovery_code_works_once_for_its_holder_until_new_ones_are_made",
        ),
    ),
    ("POST /v1/auth/mfa/totp", Nothing("an app that nobody has confirmed counts for nothing")),
    (
        "POST /v1/auth/mfa/totp/confirm",
        Flow(AuditAction::FactorAdded, "mfa/policy::once_the_grace_is_over_nothing_but_enrolling_is_left"),
    ),
    ("POST /v1/auth/mfa/passkey/options", Nothing("a challenge that nobody has answered gives nothing")),
    (
        "POST /v1/auth/mfa/passkey",
        Flow(
            AuditAction::FactorAdded,
            "mfa/passkeys::once_the_grace_is_over_a_passkey_is_added_on_the_way_in",
        ),
    ),
    ("POST /v1/auth/passkey/options", Nothing("a challenge that nobody has answered gives nothing")),
    (
        "POST /v1/auth/passkey/verify",
        Flow(
            AuditAction::PasskeyCloned,
            "mfa/passkeys::of_two_that_count_the_same_passkey_the_slower_is_refused_and_recorded",
        ),
    ),
    ("POST /v1/auth/refresh", Nothing("a session goes on; a replay is recorded")),
    ("POST /v1/auth/logout", Action(AuditAction::SignOut, "")),
    (
        "POST /v1/auth/password/replace",
        Flow(
            AuditAction::PasswordChanged,
            "security::whoever_has_a_password_that_breaks_new_rules_is_asked_to_change_it_at_the_next_sign_in",
        ),
    ),
    (
        "POST /v1/auth/password/forgot",
        Action(AuditAction::PasswordResetRequested, r#"{"email":"owner@acme.example"}"#),
    ),
    (
        "POST /v1/auth/password/reset",
        Flow(
            AuditAction::PasswordReset,
            "recovery::a_link_resets_the_password_once_and_ends_everything_before",
        ),
    ),
    (
        "POST /v1/auth/register",
        Flow(AuditAction::RegistrationReceived, "registration::somebody_registers_verifies_and_signs_in"),
    ),
    ("POST /v1/auth/invitation", Nothing("nothing is changed")),
    (
        "POST /v1/auth/email/resend",
        Flow(
            AuditAction::VerificationRequested,
            "registration::the_link_is_sent_again_to_those_who_need_it_and_all_get_one_answer",
        ),
    ),
    (
        "POST /v1/auth/email/verify",
        Flow(
            AuditAction::EmailChanged,
            "profile::an_address_changes_when_it_is_confirmed_and_can_be_undone_from_the_old_one",
        ),
    ),
    (
        "POST /v1/auth/email/undo",
        Flow(
            AuditAction::EmailChangeUndone,
            "profile::an_address_changes_when_it_is_confirmed_and_can_be_undone_from_the_old_one",
        ),
    ),
    ("POST /v1/auth/device/authorize", Nothing("a code that nobody has approved gives nothing")),
    (
        "POST /v1/auth/device/token",
        Flow(AuditAction::SignIn, "authorization::a_session_that_a_device_fetches_is_recorded"),
    ),
    ("PATCH /v1/me", Action(AuditAction::ProfileChanged, r#"{"name":"New Name"}"#)),
    (
        "POST /v1/me/password",
        Action(
            AuditAction::PasswordChanged,
            r#"{"current_password":"Tall-cedar-9-river","new_password":"Quiet-otter-7-harbour"}"#,
        ),
    ),
    (
        "POST /v1/me/reauthenticate",
        Action(AuditAction::Reauthenticated, r#"{"password":"Tall-cedar-9-river"}"#),
    ),
    ("POST /v1/me/reauthenticate/options", Nothing("a challenge that nobody has answered gives nothing")),
    (
        "POST /v1/me/passkeys",
        Flow(AuditAction::FactorAdded, "mfa/passkeys::a_passkey_is_added_named_listed_and_removed"),
    ),
    ("POST /v1/me/passkeys/options", Nothing("a challenge that nobody has answered gives nothing")),
    (
        "PATCH /v1/me/passkeys/{id}",
        Flow(AuditAction::PasskeyRenamed, "mfa/passkeys::a_passkey_is_added_named_listed_and_removed"),
    ),
    (
        "DELETE /v1/me/passkeys/{id}",
        Flow(AuditAction::FactorRemoved, "mfa/passkeys::a_passkey_is_added_named_listed_and_removed"),
    ),
    ("POST /v1/me/mfa/totp", Nothing("an app that nobody has confirmed counts for nothing")),
    (
        "POST /v1/me/mfa/totp/confirm",
        Flow(AuditAction::FactorAdded, "mfa::an_app_is_added_in_two_steps_and_asked_for_from_then_on"),
    ),
    (
        "DELETE /v1/me/mfa/totp",
        Flow(AuditAction::FactorRemoved, "mfa::an_app_is_replaced_and_removed_by_a_fresh_proof_alone"),
    ),
    (
        "POST /v1/me/mfa/recovery-codes",
        Flow(
            AuditAction::RecoveryCodesMade,
            "mfa::a_recovery_code_works_once_for_its_holder_until_new_ones_are_made",
        ),
    ),
    (
        "DELETE /v1/me/sessions",
        Flow(AuditAction::SessionRevoked, "sessions::all_other_sessions_of_ones_own_are_ended_at_once"),
    ),
    ("DELETE /v1/me/sessions/{id}", Action(AuditAction::SessionRevoked, "")),
    ("POST /v1/me/device-requests/{user_code}/approve", Action(AuditAction::DeviceApproved, "")),
    ("POST /v1/me/device-requests/{user_code}/deny", Action(AuditAction::DeviceDenied, "")),
    ("PATCH /v1/organization", Action(AuditAction::OrganizationRenamed, r#"{"name":"Renamed"}"#)),
    (
        "PATCH /v1/organization/security",
        Action(AuditAction::CsrfUpdated, r#"{"csrf":{"rotation":"per_request"}}"#),
    ),
    (
        "PUT /v1/organization/ip-restrictions",
        Action(AuditAction::IpRestrictionsUpdated, r#"{"deny":[{"cidr":"192.0.2.0/24"}]}"#),
    ),
    ("POST /v1/organization/ip-restrictions/preview", Nothing("nothing is changed")),
    ("POST /v1/auth/sso/start", Nothing("it tells where a sign-in begins")),
    (
        "PUT /v1/organization/sso/oidc",
        Flow(AuditAction::SsoUpdated, "sso/settings::a_provider_is_set_shown_without_its_secret_and_removed"),
    ),
    (
        "DELETE /v1/organization/sso/oidc",
        Flow(AuditAction::SsoRemoved, "sso/settings::a_provider_is_set_shown_without_its_secret_and_removed"),
    ),
    (
        "PUT /v1/organization/sso/saml",
        Flow(AuditAction::SsoUpdated, "sso/saml::a_provider_is_described_in_one_of_three_ways"),
    ),
    (
        "DELETE /v1/organization/sso/saml",
        Flow(AuditAction::SsoRemoved, "sso/saml::a_provider_is_described_in_one_of_three_ways"),
    ),
    (
        "POST /v1/organization/sso/saml/next-key",
        Flow(AuditAction::SsoUpdated, "sso/saml::our_own_key_is_replaced_while_both_are_known"),
    ),
    (
        "POST /v1/organization/sso/saml/next-key/use",
        Flow(AuditAction::SsoUpdated, "sso/saml::our_own_key_is_replaced_while_both_are_known"),
    ),
    ("POST /v1/organization/domains", Action(AuditAction::DomainAdded, r#"{"domain":"acme.example"}"#)),
    (
        "POST /v1/organization/domains/{domain}/verify",
        Flow(AuditAction::DomainVerified, "sso/domains::a_domain_is_shown_by_its_own_record_and_by_no_other"),
    ),
    (
        "DELETE /v1/organization/domains/{domain}",
        Flow(AuditAction::DomainRemoved, "sso/domains::a_domain_is_shown_by_its_own_record_and_by_no_other"),
    ),
    ("PATCH /v1/members/{id}", Action(AuditAction::MemberRoleChanged, r#"{"role":"auditor"}"#)),
    ("DELETE /v1/members/{id}", Action(AuditAction::MemberRemoved, "")),
    (
        "POST /v1/members/{id}/end-sessions",
        Flow(
            AuditAction::SessionRevoked,
            "members::a_member_is_signed_out_everywhere_without_being_suspended",
        ),
    ),
    ("POST /v1/members/{id}/suspend", Action(AuditAction::MemberSuspended, "")),
    (
        "POST /v1/members/{id}/reactivate",
        Flow(
            AuditAction::MemberReactivated,
            "members::a_suspended_member_is_out_at_the_next_request_and_signs_in_anew_when_let_in_again",
        ),
    ),
    (
        "POST /v1/members/{id}/reset-mfa",
        Action(AuditAction::FactorsReset, r#"{"reason":"Lost the phone; seen in person"}"#),
    ),
    ("POST /v1/members/{id}/temporary-password", Action(AuditAction::TemporaryPasswordSet, "")),
    ("POST /v1/setup-requests", Action(AuditAction::SetupRequested, r#"{"note":"please"}"#)),
    ("POST /v1/setup-requests/{id}/close", Action(AuditAction::SetupRequestClosed, "")),
    (
        "POST /v1/invitations",
        Action(AuditAction::InvitationMade, r#"{"email":"guest@acme.example","role":"member"}"#),
    ),
    (
        "POST /v1/invitations/accept",
        Flow(
            AuditAction::InvitationAccepted,
            "invitations::an_account_joins_only_after_signing_in_with_the_invited_address",
        ),
    ),
    ("POST /v1/invitations/{id}/resend", Action(AuditAction::InvitationResent, "")),
    ("DELETE /v1/invitations/{id}", Action(AuditAction::InvitationRevoked, "")),
    ("POST /v1/registrations/{id}/approve", Action(AuditAction::RegistrationApproved, "")),
    ("POST /v1/registrations/{id}/reject", Action(AuditAction::RegistrationRejected, "")),
    ("POST /v1/tokens", Action(AuditAction::KeyCreated, r#"{"name":"deploy","scope":"read-only"}"#)),
    ("PATCH /v1/tokens/{id}", Action(AuditAction::KeyChanged, r#"{"name":"renamed"}"#)),
    ("POST /v1/tokens/{id}/rotate", Action(AuditAction::KeyRotated, "{}")),
    ("DELETE /v1/tokens/{id}", Action(AuditAction::KeyRevoked, "")),
    ("POST /v1/events", Nothing("a gateway's own chain says what happened there")),
    (
        "POST /v1/gateways/sync",
        Flow(AuditAction::GatewayEnrolled, "gateways::a_gateway_is_enrolled_by_its_key_and_listed"),
    ),
    ("POST /v1/gateways/{id}/drain", Action(AuditAction::GatewayDrained, "")),
    (
        "POST /v1/gateways/{id}/resume",
        Flow(
            AuditAction::GatewayResumed,
            "configurations::a_gateway_is_drained_resumed_and_at_last_forgotten",
        ),
    ),
    ("DELETE /v1/gateways/{id}", Action(AuditAction::GatewayForgotten, "")),
    (
        "POST /v1/configurations",
        Action(
            AuditAction::ConfigurationSaved,
            r#"{"name":"edge","text":"pack: {name: p, version: 1.0.0}"}"#,
        ),
    ),
    ("POST /v1/configurations/lint", Nothing("nothing is changed")),
    (
        "POST /v1/configurations/{name}/versions",
        Action(AuditAction::ConfigurationSaved, r#"{"text":"pack: {name: other, version: 1.0.0}"}"#),
    ),
    (
        "POST /v1/configurations/{name}/rollout",
        Action(AuditAction::ConfigurationRolledOut, r#"{"version":1}"#),
    ),
    (
        "POST /v1/provider-credentials",
        Action(AuditAction::CredentialStored, r#"{"name":"openai","key":"sk-1"}"#),
    ),
    ("PATCH /v1/provider-credentials/{name}", Action(AuditAction::CredentialReplaced, r#"{"key":"sk-2"}"#)),
    ("DELETE /v1/provider-credentials/{name}", Action(AuditAction::CredentialRemoved, "")),
    (
        "POST /scim/v2/Users",
        Flow(AuditAction::MemberProvisioned, "scim/users::a_user_is_made_found_changed_and_removed"),
    ),
    (
        "PUT /scim/v2/Users/{id}",
        Flow(AuditAction::MemberProvisioned, "scim/users::a_user_is_made_found_changed_and_removed"),
    ),
    (
        "PATCH /scim/v2/Users/{id}",
        Flow(AuditAction::MemberProvisioned, "scim/users::a_user_is_made_found_changed_and_removed"),
    ),
    (
        "DELETE /scim/v2/Users/{id}",
        Flow(AuditAction::MemberRemoved, "scim/users::a_user_is_made_found_changed_and_removed"),
    ),
    (
        "POST /scim/v2/Groups",
        Flow(AuditAction::GroupProvisioned, "scim/groups::groups_are_kept_with_their_members"),
    ),
    (
        "PUT /scim/v2/Groups/{id}",
        Flow(AuditAction::GroupProvisioned, "scim/groups::groups_are_kept_with_their_members"),
    ),
    (
        "PATCH /scim/v2/Groups/{id}",
        Flow(AuditAction::GroupProvisioned, "scim/groups::groups_are_kept_with_their_members"),
    ),
    (
        "DELETE /scim/v2/Groups/{id}",
        Flow(AuditAction::GroupProvisioned, "scim/groups::groups_are_kept_with_their_members"),
    ),
];

/// The lines of a test of both databases, named as `file::name`.
fn body_of(test: &str) -> String {
    let (file, name) = test.rsplit_once("::").unwrap();
    let path = format!("{}/tests/it/{file}.rs", env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(&path).unwrap();
    let (_, after) =
        source.split_once(&format!("\n    {name}(api) {{\n")).unwrap_or_else(|| panic!("no {test}"));
    after.split_once("\n    }\n").unwrap().0.to_owned()
}

#[test]
fn every_route_that_changes_something_says_what_it_leaves_in_the_audit_log() {
    let changing: BTreeSet<String> =
        documented().into_iter().filter(|route| !route.starts_with("GET ")).collect();
    assert_lists_every_route("TRACES", TRACES.iter().map(|(route, _)| *route), &changing);
    for (route, trace) in TRACES {
        match trace {
            Action(..) => {}
            Flow(action, test) => {
                let lines = body_of(test);
                assert!(lines.contains(action.as_str()), "{route}: {test} shows no {action}");
            }
            Nothing(why) => assert!(!why.is_empty(), "{route}"),
        }
    }
}

on_both! {
    every_change_leaves_its_record(api) {
        for (route, trace) in TRACES {
            let Action(action, body) = trace else { continue };
            let path = route.split_once(' ').unwrap().1;
            let path = if path.contains('{') { own_object(&api, path).await } else { path.to_owned() };
            let email = format!("{:016x}@acme.example", Random::from_os().next_u64());
            api.add_member(&email, "owner").await;
            let actor = if path.starts_with("/v1/me/sessions/") { "owner@acme.example".to_owned() } else { email };
            let before = api.records(action.as_str()).await.len();
            let session = api.login(&actor, PASSWORD).await;
            let answer = ask(&api, route, &path, body, Some(session.access_token())).await;
            let records = api.records(action.as_str()).await;
            let signed_in = usize::from(*action == AuditAction::SignIn);
            assert_eq!(records.len(), before + 1 + signed_in, "{route}: {} {}", answer.status, answer.json);
        }
    }

    a_session_that_a_device_fetches_is_recorded(api) {
        let codes = api.request(Method::POST, "/v1/auth/device/authorize").send().await;
        let owner = api.token_of("owner@acme.example").await;
        let approve = format!("/v1/me/device-requests/{}/approve", codes.text("/user_code"));
        api.request(Method::POST, &approve).bearer(&owner).send().await;
        let before = api.records("auth.sign_in").await.len();
        let fetch = json!({ "device_code": codes.text("/device_code") });
        let session = api.post("/v1/auth/device/token", fetch).send().await;
        assert_eq!(session.json["status"], "authenticated", "{}", session.json);
        assert_eq!(api.records("auth.sign_in").await.len(), before + 1);
    }
}

on_both! {
    nobody_learns_what_a_route_takes_before_they_have_said_who_they_are(api) {
        for (route, allowed, _) in TABLE.iter().filter(|(_, allowed, _)| *allowed != OPEN) {
            let path = concrete(&api, route.split_once(' ').unwrap().1);
            let answer = ask(&api, route, &path, r#"{"no such field":1}"#, None).await;
            if is_provisioning(route) {
                assert_eq!(answer.status, 401, "{route}");
            } else {
                assert_eq!(answer.refusal(), (401, "missing_key"), "{route} for {allowed}");
            }
        }
    }

    no_route_takes_a_field_that_it_does_not_know(api) {
        let mut asked = 0;
        for (route, allowed, body) in TABLE.iter().filter(|(route, _, body)| !body.is_empty() && !is_provisioning(route)) {
            let mut body: Value = serde_json::from_str(body).unwrap();
            body["no such field"] = json!(1);
            let path = concrete(&api, route.split_once(' ').unwrap().1);
            let answer = ask(&api, route, &path, &body.to_string(), key_or_owner(&api, allowed).await.as_deref()).await;
            assert_eq!(answer.refusal(), (422, "validation_error"), "{route}");
            asked += 1;
        }
        assert!(asked > 40, "{asked}");
    }

    every_route_that_reads_a_body_reads_json_alone(api) {
        let mut asked = 0;
        for (route, allowed, body) in TABLE.iter().filter(|(route, _, body)| !body.is_empty() && !is_provisioning(route)) {
            let (method, path) = route.split_once(' ').unwrap();
            let bearer = key_or_owner(&api, allowed).await;
            for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json", ""] {
                if (*route, kind) == READS_A_FORM {
                    continue;
                }
                let mut request = api.request(method.parse().unwrap(), &concrete(&api, path)).text(kind, body);
                if let Some(bearer) = &bearer {
                    request = request.bearer(bearer);
                }
                assert_eq!(request.send().await.refusal(), (415, "unsupported_media_type"), "{route} as {kind:?}");
                asked += 1;
            }
        }
        assert!(asked > 200, "{asked}");
    }

    nothing_that_the_api_answers_is_kept_or_opened_as_a_page(api) {
        let owner = api.token_of("owner@acme.example").await;
        for (route, _, body) in TABLE {
            let path = concrete(&api, route.split_once(' ').unwrap().1);
            for bearer in [None, Some(owner.as_str())] {
                let answer = ask(&api, route, &path, body, bearer).await;
                let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
                let kept = header("cache-control");
                let is_public = path.starts_with("/.well-known/") || path == "/v1/audit-log/keys";
                assert!(kept == "no-store" || is_public, "{route}: {kept}");
                assert_eq!(header("x-content-type-options"), "nosniff", "{route}");
                assert_eq!(header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'", "{route}");
                assert_eq!(header("referrer-policy"), "no-referrer", "{route}");
                assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{route}");
            }
        }
    }

    an_open_route_is_open_whatever_credentials_come_along(api) {
        let signed_in = |bearer: Option<&'static str>| {
            let body = r#"{"email":"owner@acme.example","password":"Tall-cedar-9-river"}"#;
            ask(&api, "POST /v1/auth/login", "/v1/auth/login", body, bearer)
        };
        for bearer in [None, Some("x"), Some("kt_ak_nobody")] {
            assert_eq!(signed_in(bearer).await.json["status"], "authenticated", "{bearer:?}");
        }
    }

    a_body_is_an_object(api) {
        let owner = api.token_of("owner@acme.example").await;
        let listed = ask(&api, "PATCH /v1/me", "/v1/me", r#"["Ada"]"#, Some(&owner)).await;
        assert_eq!(listed.refusal(), (422, "validation_error"));
        let named = ask(&api, "PATCH /v1/me", "/v1/me", r#"{"name":"Ada"}"#, Some(&owner)).await;
        assert_eq!(named.status, 200, "{}", named.json);
    }
}
