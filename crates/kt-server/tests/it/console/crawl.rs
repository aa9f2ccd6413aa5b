//! Every address of the console, as nobody, as each role and with a session that is over: a page is shown, refused, or
//! leads to the sign-in page, as the table says. An address that is not in the table fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::StatusCode;
use kt_domain::actor::Role;

use super::browser::{Browser, CSRF, ORIGIN};
use super::evidence::three_events;
use super::workspaces::{say, settled};
use crate::authorization::own_object;
use crate::harness::{Answer, TestApi, on_both};
use crate::stub_gateway::{GATEWAY, StubGateway};

/// Who is shown a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Everybody, signed in or not.
    ToAll,
    /// Those who are not signed in; whoever is, is led on.
    ToStrangers,
    /// Whoever is signed in.
    ToMembers,
    /// Whoever uses models: everybody but auditors.
    ToUsers,
    /// Auditors, admins and owners.
    ToAuditors,
    /// Admins and owners.
    ToAdmins,
    /// Auditors, admins and owners, and whoever else it belongs to; to others there is no such thing.
    ToItsOwner,
    /// Whoever uses models and has begun it; to others who do there is no such thing.
    ToWhoeverBegan,
    /// Nobody as it stands: it leads on, or belongs to what somebody has begun and not finished.
    Elsewhere,
}

use Shown::{
    Elsewhere, ToAdmins, ToAll, ToAuditors, ToItsOwner, ToMembers, ToStrangers, ToUsers, ToWhoeverBegan,
};

/// Every page.
pub(crate) const PAGES: &[(&str, Shown)] = &[
    ("/", Elsewhere),
    ("/login", ToStrangers),
    ("/login/verify", Elsewhere),
    ("/login/sso", ToStrangers),
    ("/sso/oidc/{organization}/callback", Elsewhere),
    ("/sso/saml/arrive", Elsewhere),
    ("/sso/saml/{organization}/metadata", Elsewhere),
    ("/sso/saml/{organization}/logout", Elsewhere),
    ("/sso/google/callback", Elsewhere),
    ("/change-password", Elsewhere),
    ("/mfa/setup", Elsewhere),
    ("/pending", ToAll),
    ("/setup", Elsewhere),
    ("/register", ToStrangers),
    ("/verify-email", ToAll),
    ("/forgot-password", ToAll),
    ("/reset-password", Elsewhere),
    ("/undo-email-change", ToAll),
    ("/device", ToMembers),
    ("/overview", ToMembers),
    ("/chat", ToUsers),
    ("/chat/{id}", ToWhoeverBegan),
    ("/chat/{id}/turns/{turn}/decision", ToWhoeverBegan),
    ("/tasks", ToUsers),
    ("/tasks/{id}", ToWhoeverBegan),
    ("/tasks/{id}/runs/{run}", ToWhoeverBegan),
    ("/request-setup", ToMembers),
    ("/events", ToAuditors),
    ("/events/{id}", ToAuditors),
    ("/events/export/{format}", ToAuditors),
    ("/usage", ToMembers),
    ("/usage/export", ToMembers),
    ("/audit-log", ToAuditors),
    ("/audit-log/export", ToAuditors),
    ("/audit-log/{id}", ToAuditors),
    ("/gateways", ToAuditors),
    ("/gateways/export/csv", ToAuditors),
    ("/gateways/{id}", ToAuditors),
    ("/configurations", ToAuditors),
    ("/configurations/new", ToAuditors),
    ("/configurations/{name}", ToAuditors),
    ("/configurations/{name}/versions", ToAuditors),
    ("/configurations/{name}/versions/{number}", ToAuditors),
    ("/settings/provider-credentials", ToAuditors),
    ("/setup/provider", ToAdmins),
    ("/setup/provider/done", ToAdmins),
    ("/setup/gateway", ToAdmins),
    ("/settings", Elsewhere),
    ("/settings/profile", ToMembers),
    ("/settings/security", ToMembers),
    ("/settings/security/sso", ToAuditors),
    ("/settings/security/sessions", ToAuditors),
    ("/settings/organization", ToMembers),
    ("/settings/members", ToAuditors),
    ("/settings/members/export", ToAuditors),
    ("/settings/members/{id}", ToAuditors),
    ("/settings/access-keys", ToMembers),
    ("/settings/access-keys/export", ToMembers),
    ("/settings/access-keys/{id}", ToItsOwner),
    ("/settings/gateway-keys", ToMembers),
    ("/settings/gateway-keys/export", ToMembers),
    ("/settings/gateway-keys/{id}", ToItsOwner),
    ("/settings/provisioning-keys", ToMembers),
    ("/settings/provisioning-keys/export", ToMembers),
    ("/settings/provisioning-keys/{id}", ToItsOwner),
    ("/help", ToAll),
    ("/help/{page}", ToAll),
    ("/design", ToAll),
    ("/.well-known/passkey-endpoints", ToAll),
    ("/.well-known/security.txt", Elsewhere),
    ("/api/session", ToAll),
    ("/assets/{digest}/{name}", Elsewhere),
    ("/healthz", ToAll),
    ("/readyz", ToAll),
];

/// What can be sent by whoever is not signed in, because it is about signing in.
const OPEN: &[&str] = &[
    "/login",
    "/login/sso",
    "/login/google",
    "/login/passkey",
    "/login/passkey/options",
    "/login/verify",
    "/login/verify/passkey/options",
    "/change-password",
    "/mfa/setup/totp",
    "/mfa/setup/totp/confirm",
    "/mfa/setup/passkey",
    "/mfa/setup/passkey/options",
    "/setup",
    "/register",
    "/verify-email",
    "/verify-email/resend",
    "/forgot-password",
    "/reset-password",
    "/undo-email-change",
    "/preferences",
    "/api/password-strength",
    "/csp-report",
    "/sso/oidc/{organization}/logout",
    "/sso/saml/{organization}/acs",
    "/sso/saml/{organization}/logout",
];

/// What no page sends: a browser itself, or an identity provider.
const SENT_BY_MACHINES: &[&str] = &[
    "/csp-report",
    "/sso/oidc/{organization}/logout",
    "/sso/saml/{organization}/acs",
    "/sso/saml/{organization}/logout",
];

/// How the head of a JWT begins in base64: `{"alg`, `{"typ`, `{"kid`.
const JWT_BEGINNINGS: [&str; 3] = ["eyJhbGci", "eyJ0eXAi", "eyJraWQi"];

/// The addresses that take this method.
fn addresses(method: &str) -> BTreeSet<&'static str> {
    const ROUTES: &str = include_str!("../../../src/console/routes.rs");
    let routes = ROUTES.split(".route(").skip(1);
    let takes =
        |route: &str| [format!(" {method}("), format!(".{method}(")].iter().any(|call| route.contains(call));
    routes.filter(|route| takes(route)).filter_map(|route| route.split('"').nth(1)).collect()
}

/// Where somebody who is not signed in ends up.
fn leads_to_sign_in(place: Option<&str>) -> bool {
    place.is_some_and(|place| place.starts_with("/login"))
}

/// Where the pages are that are about something: each with something of `acme` that there is, begun by its owner.
async fn things(api: &TestApi, owner: &Browser<'_>) -> BTreeMap<&'static str, String> {
    let [event, ..] = three_events(api).await;
    let mut found = BTreeMap::from([
        ("/events/{id}", format!("/events/{event}")),
        ("/events/export/{format}", "/events/export/csv".to_owned()),
        ("/gateways/{id}", format!("/gateways/{GATEWAY}")),
        ("/help/{page}", "/help/getting-started".to_owned()),
    ]);
    let (_, chat) = say(owner, "/chat", "Hello").await;
    let decision = part(&settled(owner, &chat).await, "hx-get=\"");
    let fields = [("name", "Greet"), ("prompt", "Hello"), ("model", "small")];
    let task = owner.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
    let run = owner.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
    found.extend([
        ("/chat/{id}", chat),
        ("/chat/{id}/turns/{turn}/decision", decision),
        ("/tasks/{id}", task),
        ("/tasks/{id}/runs/{run}", run),
    ]);
    let text = "pack: {name: echo, version: 1.0.0}\nproviders: {targets: [{id: echo, provider: echo}]}\n";
    let fields = [("name", "main"), ("text", text), ("version", "0"), ("intent", "save")];
    let saved = owner.post("/configurations/new", &fields).await;
    assert_eq!(saved.leads_to(), Some("/configurations/main/versions/1"), "{}", saved.body);
    found.extend([
        ("/configurations/{name}", "/configurations/main".to_owned()),
        ("/configurations/{name}/versions", "/configurations/main/versions".to_owned()),
        ("/configurations/{name}/versions/{number}", "/configurations/main/versions/1".to_owned()),
    ]);
    for (list, path) in [
        ("/audit-log", "/audit-log/{id}"),
        ("/settings/members", "/settings/members/{id}"),
        ("/settings/access-keys", "/settings/access-keys/{id}"),
        ("/settings/gateway-keys", "/settings/gateway-keys/{id}"),
        ("/settings/provisioning-keys", "/settings/provisioning-keys/{id}"),
    ] {
        if list.ends_with("-keys") {
            let terms = [
                ("name", "reports"),
                ("scope", "write"),
                ("ip_ranges", ""),
                ("requests_per_minute", ""),
                ("expires_at", ""),
            ];
            assert_eq!(owner.post(list, &terms).await.status, StatusCode::OK, "{list}");
        }
        let one = part(&owner.get(list).await, &format!("href=\"{list}/"));
        found.insert(path, format!("{list}/{one}"));
    }
    found
}

/// What stands behind this on a page, up to the next quote.
fn part(page: &Answer, begins: &str) -> String {
    let (_, rest) = page.page().split_once(begins).unwrap_or_else(|| panic!("{begins} in {}", page.body));
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// What is about one thing and has no page of its own, and the route of the API that is about the same.
const WITHOUT_A_PAGE: [(&str, &str); 5] = [
    ("/settings/registrations/{id}", "/v1/registrations/{id}"),
    ("/settings/invitations/{id}", "/v1/invitations/{id}"),
    ("/request-setup/{id}", "/v1/setup-requests/{id}"),
    ("/settings/profile/sessions/{id}", "/v1/me/sessions/{id}"),
    ("/settings/provider-credentials/{name}", "/v1/provider-credentials/{name}"),
];

const TERMS_OF_A_KEY: &[(&str, &str)] = &[
    ("name", "theirs"),
    ("scope", "write"),
    ("ip_ranges", ""),
    ("requests_per_minute", ""),
    ("expires_at", ""),
];

/// A good form for each address that takes one and is about something.
const FORMS: &[(&str, &[(&str, &str)])] = &[
    (
        "/configurations/{name}",
        &[("text", "pack: {name: p, version: 1.0.0}"), ("version", "1"), ("intent", "save")],
    ),
    ("/configurations/{name}/versions/{number}/rollout", &[("to", "all")]),
    ("/settings/provider-credentials/{name}/replace", &[("key", "sk-2")]),
    ("/settings/members/{id}/role", &[("role", "auditor")]),
    ("/settings/members/{id}/reset-mfa", &[("reason", "The phone is lost.")]),
    ("/settings/registrations/{id}/approve", &[("role", "member")]),
    ("/settings/access-keys/{id}", TERMS_OF_A_KEY),
    ("/settings/gateway-keys/{id}", TERMS_OF_A_KEY),
    ("/settings/provisioning-keys/{id}", TERMS_OF_A_KEY),
    ("/settings/access-keys/{id}/rotate", &[("overlap_seconds", "0")]),
    ("/settings/gateway-keys/{id}/rotate", &[("overlap_seconds", "0")]),
    ("/settings/provisioning-keys/{id}/rotate", &[("overlap_seconds", "0")]),
    ("/chat/{id}", &[("question", "Hello"), ("model", "small")]),
    ("/chat/{id}/retry", &[("model", "small")]),
    ("/chat/{id}/rename", &[("title", "Theirs")]),
    ("/tasks/{id}", &[("name", "Theirs"), ("prompt", "Hello"), ("model", "small")]),
];

/// Where this address is about something that there is.
fn filled(path: &str, things: &BTreeMap<&'static str, String>) -> String {
    let (template, thing) = things
        .iter()
        .filter(|(template, _)| path.starts_with(**template))
        .max_by_key(|(template, _)| template.len())
        .unwrap_or_else(|| panic!("{path}: say what it is about"));
    path.replacen(template, thing, 1)
}

on_both! {
    every_page_is_shown_to_whom_the_table_says(api) {
        let tabled: BTreeSet<_> = PAGES.iter().map(|(path, _)| *path).collect();
        assert_eq!(addresses("get"), tabled, "the table lists every page");
        for role in ["member", "auditor", "admin"] {
            api.add_member(&format!("{role}@acme.example"), role).await;
        }
        let nobody = api.browser();
        let lapsed = api.signed_in("member@acme.example").await;
        // Of this one everything else would be shown, were it not over.
        let lapsed_owner = api.signed_in("owner@acme.example").await;
        api.clock.advance(Duration::from_mins(31));
        let member = api.signed_in("member@acme.example").await;
        let auditor = api.signed_in("auditor@acme.example").await;
        let admin = api.signed_in("admin@acme.example").await;
        let owner = api.signed_in("owner@acme.example").await;
        let _stub = StubGateway::start(&api, "openai").await;
        let things = things(&api, &owner).await;
        for (path, shown) in PAGES.iter().filter(|(_, shown)| *shown != Elsewhere) {
            let path = things.get(path).map_or(*path, String::as_str);
            assert!(!path.contains('{'), "{path}: something that there is");
            for stranger in [&nobody, &lapsed, &lapsed_owner] {
                let answer = stranger.get(path).await;
                if matches!(shown, ToAll | ToStrangers) {
                    assert_eq!(answer.status, StatusCode::OK, "{path} as a stranger");
                } else {
                    assert!(leads_to_sign_in(answer.leads_to()), "{path} as a stranger: {}", answer.status);
                }
            }
            let at_least = match shown {
                ToAll | ToMembers | ToUsers => 0,
                ToAuditors | ToItsOwner => 1,
                ToAdmins => 2,
                ToWhoeverBegan => 3,
                ToStrangers | Elsewhere => 4,
            };
            for (rank, browser) in [&member, &auditor, &admin, &owner].into_iter().enumerate() {
                let answer = browser.get(path).await;
                let expected = match shown {
                    ToStrangers => StatusCode::SEE_OTHER,
                    ToUsers | ToWhoeverBegan if rank == 1 => StatusCode::FORBIDDEN,
                    _ if rank >= at_least => StatusCode::OK,
                    ToItsOwner | ToWhoeverBegan => StatusCode::NOT_FOUND,
                    _ => StatusCode::FORBIDDEN,
                };
                assert_eq!(answer.status, expected, "{path} as number {rank}: {}", answer.body);
                let told = format!("{:?}{}", answer.headers, answer.body);
                assert!(!JWT_BEGINNINGS.iter().any(|word| told.contains(word)), "an access token at {path}");
                assert!(!told.contains(&browser.cookie("kt_session").unwrap()), "the session's secret at {path}");
            }
        }
    }

    what_belongs_to_another_organization_is_not_there(api) {
        let owner = api.signed_in("owner@acme.example").await;
        let _stub = StubGateway::start(&api, "openai").await;
        let mut things = things(&api, &owner).await;
        for (path, of_api) in WITHOUT_A_PAGE {
            let one = own_object(&api, of_api).await;
            let (list, id) = (path.split('{').next().unwrap(), one.rsplit('/').next().unwrap());
            things.insert(path, format!("{list}{id}"));
        }
        let other = api.organization("other").await;
        api.add_member_of(&other, "owner@other.example", Role::Owner).await;
        let stranger = api.signed_in("owner@other.example").await;
        // These are about no organization, or about somebody's own passkeys.
        let elsewhere = ["/help/", "/events/export/", "/assets/", "/sso/", "/mfa/passkeys/"];
        let is_owned = |path: &&str| path.contains('{') && !elsewhere.iter().any(|begins| path.starts_with(begins));
        let pages: Vec<_> = addresses("get").into_iter().filter(is_owned).collect();
        let mut told = Vec::new();
        for path in &pages {
            let answer = stranger.get(&filled(path, &things)).await;
            if answer.status != StatusCode::NOT_FOUND {
                told.push(format!("GET {path}: {}", answer.status));
            }
        }
        let forms: Vec<_> = addresses("post").into_iter().filter(is_owned).collect();
        for path in &forms {
            let fields = FORMS.iter().find(|(form, _)| form == path).map_or(&[][..], |(_, fields)| fields);
            let answer = stranger.post(&filled(path, &things), fields).await;
            if answer.status != StatusCode::NOT_FOUND {
                told.push(format!("POST {path}: {} {}", answer.status, answer.body));
            }
        }
        assert!(told.is_empty(), "{told:#?}");
        assert!(pages.len() > 10 && forms.len() > 30, "{} and {}", pages.len(), forms.len());
        for path in pages {
            let path = filled(path, &things);
            assert_eq!(owner.get(&path).await.status, StatusCode::OK, "{path}, the control");
        }
    }

    nothing_is_changed_without_a_token_and_nothing_but_the_way_in_without_a_session(api) {
        let signed_in = api.signed_in("owner@acme.example").await;
        let sent = addresses("post");
        assert!(OPEN.iter().all(|open| sent.contains(open)), "{sent:?}");
        for path in &sent {
            let path = path.replace("{id}", "none").replace("{run}", "none");
            let path = path.replace("{name}", "none").replace("{number}", "1");
            if !SENT_BY_MACHINES.contains(&path.as_str()) {
                let same = [("sec-fetch-site", "same-origin"), ("origin", ORIGIN)];
                let answer = signed_in.post_with(&path, &[], &same).await;
                assert_eq!(answer.refusal(), (403, "csrf_failed"), "{path}");
                assert_cross_site_is_refused(&signed_in, &path).await;
            }
            if !OPEN.contains(&path.as_str()) {
                let answer = api.browser().post(&path, &[]).await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
                assert!(leads_to_sign_in(answer.leads_to()), "{path}");
            }
        }
    }
}

async fn assert_cross_site_is_refused(browser: &Browser<'_>, path: &str) {
    let token = browser.token().await;
    let headers = [("sec-fetch-site", "cross-site"), (CSRF, token.as_str())];
    let answer = browser.post_with(path, &[], &headers).await;
    assert_eq!(answer.refusal(), (403, "cross_site_request"), "{path}");
}
