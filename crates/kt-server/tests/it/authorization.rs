//! Who may call what: every route of the OpenAPI document against every kind of caller. A route that has no row here
//! fails the test (STANDARDS: OWASP ASVS 5.0, 8.2.1; OWASP API security 1 and 5).

mod requests;
mod traces;

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::Method;
use kt_domain::actor::Role;
use kt_domain::id::{ApiKeyId, InvitationId, PasskeyId, SessionId, SetupRequestId, UserId};
use kt_domain::random::Random;
use serde_json::{Value, json};

use crate::documented::operations;
use crate::harness::{Answer, TestApi, on_both};

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
    ("DELETE /v1/organization/sessions", RUNNERS, ""),
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
