use std::net::IpAddr;
use std::time::Duration;

use axum::http::Method;
use kt_domain::actor::Role;
use kt_domain::clock::Clock;
use kt_domain::id::SessionId;
use kt_domain::lockout::{account_at_network_key, network_of};
use kt_domain::random::Random;
use kt_store::order::Part;
use kt_store::sessions::{self, Session};
use kt_store::{limits, organizations};
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, PEER, TestApi, on_both, side_by_side};
use crate::mfa::authenticator::Authenticator;

const PATH: &str = "/v1/organization/ip-restrictions";
/// Where tests come from unless they say otherwise.
const OFFICE: &str = "203.0.113.0/24";
const OUTSIDE: &str = "198.51.100.7:40000";

fn range(cidr: &str) -> Value {
    json!({ "cidr": cidr, "label": "" })
}

fn allow_office(applies_to: &str) -> Value {
    json!({ "enforce_allowlist": true, "applies_to": applies_to, "allow": [range(OFFICE)] })
}

async fn replace(api: &TestApi, token: &str, restrictions: Value) -> Answer {
    api.put(PATH, restrictions).bearer(token).send().await
}

on_both! {
    what_was_saved_is_shown_with_ones_own_address(api) {
        let owner = api.token_of("owner@acme.example").await;
        let first = api.get(PATH).bearer(&owner).send().await;
        assert_eq!(first.json, json!({
            "enforce_allowlist": false, "applies_to": "console_and_api", "allow": [], "deny": [],
            "your_ip": "203.0.113.9", "your_ip_allowed": true,
        }));
        let lists = json!({
            "enforce_allowlist": true,
            "applies_to": "console",
            "allow": [{ "cidr": "203.0.113.0/24", "label": "Office London" }, { "cidr": "2001:db8::/32" }],
            "deny": [{ "cidr": "203.0.113.66/32", "label": "Printer" }],
        });
        let saved = replace(&api, &owner, lists).await;
        assert_eq!(saved.headers["etag"], "\"1\"");
        let shown = api.get(PATH).bearer(&owner).send().await;
        assert_eq!(shown.json, saved.json);
        assert_eq!(shown.json["allow"][0], json!({ "cidr": "203.0.113.0/24", "label": "Office London" }));
        assert_eq!(shown.json["allow"][1], range("2001:db8::/32"));
        let records = api.records("security.ip_restrictions.updated").await;
        assert_eq!(records[0]["details"]["after"]["deny"], json!([{ "cidr": "203.0.113.66/32", "label": "Printer" }]));
        assert_eq!(records[0]["details"]["before"]["applies_to"], "console_and_api");
    }

    an_address_outside_is_refused_before_anything_is_looked_at(api) {
        let owner = api.token_of("owner@acme.example").await;
        assert_eq!(replace(&api, &owner, allow_office("console_and_api")).await.status, 200);
        let login = |email: &str, password: &str| {
            api.post("/v1/auth/login", json!({ "email": email, "password": password })).from(OUTSIDE).send()
        };
        for (email, password) in [("owner@acme.example", PASSWORD), ("owner@acme.example", "wrong"), ("nobody@acme.example", "x")] {
            assert_eq!(login(email, password).await.refusal(), (403, "ip_denied"), "{email}");
        }
        let with_token = |path: &str| api.get(path).bearer(&owner).from(OUTSIDE).send();
        for path in ["/v1/whoami", PATH, "/openapi.json", "/.well-known/jwks.json", "/v1/nowhere"] {
            assert_eq!(with_token(path).await.refusal(), (403, "ip_denied"), "{path}");
            assert_ne!(api.get(path).bearer(&owner).send().await.status, 403, "{path} from the office");
        }
        assert_eq!(api.get("/v1/whoami").bearer("rubbish").from(OUTSIDE).send().await.refusal(), (403, "ip_denied"));
        assert_eq!(api.get("/healthz").from(OUTSIDE).send().await.status, 200);
        assert_eq!(api.records("auth.sign_in").await.len(), 1, "the tries from outside were never looked at");
    }

    of_refusals_from_one_network_one_a_minute_is_recorded(api) {
        let owner = api.token_of("owner@acme.example").await;
        let lists = json!({ "deny": [range("198.51.100.0/25")] });
        assert_eq!(replace(&api, &owner, lists).await.status, 200);
        let refused = |peer: &'static str| api.get("/v1/whoami").from(peer).send();
        let answers = side_by_side((0..20).map(|_| refused(OUTSIDE))).await;
        assert!(answers.iter().all(|answer| answer.refusal() == (403, "ip_denied")));
        assert_eq!(refused("198.51.100.200:1").await.refusal(), (401, "missing_key"), "just beside the range");
        let records = api.records("security.ip_denied").await;
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["details"]["after"], json!({ "matched_rule": "deny", "deny_range": "198.51.100.0/25" }));
        assert_eq!((&records[0]["resource"], &records[0]["outcome"]), (&json!("198.51.100.7"), &json!("failure")));
        api.clock.advance(Duration::from_mins(1));
        refused(OUTSIDE).await;
        assert_eq!(api.records("security.ip_denied").await.len(), 2);
    }

    restrictions_of_the_console_alone_leave_the_api_open(api) {
        let owner = api.token_of("owner@acme.example").await;
        replace(&api, &owner, allow_office("console")).await;
        let lifted = api.put(PATH, json!({})).bearer(&owner).from(OUTSIDE).send().await;
        assert_eq!(lifted.json["enforce_allowlist"], false, "the way back in after a self-lock-out");
    }

    a_state_that_would_shut_out_its_author_is_refused_unless_confirmed(api) {
        let owner = api.token_of("owner@acme.example").await;
        let shutting_out = [
            json!({ "enforce_allowlist": true, "allow": [range("192.0.2.0/24")] }),
            json!({ "deny": [range(OFFICE)] }),
            json!({ "enforce_allowlist": true, "allow": [range(OFFICE)], "deny": [range("203.0.113.9/32")] }),
            json!({ "enforce_allowlist": true, "applies_to": "console", "allow": [range("192.0.2.0/24")] }),
        ];
        for restrictions in shutting_out {
            let refused = replace(&api, &owner, restrictions.clone()).await;
            assert_eq!(refused.refusal(), (409, "would_lock_out"), "{restrictions}");
            assert_eq!(refused.text("/error/your_ip"), "203.0.113.9");
        }
        for harmless in [json!({ "enforce_allowlist": true }), json!({ "allow": [range("192.0.2.0/24")] })] {
            assert_eq!(replace(&api, &owner, harmless.clone()).await.status, 200, "{harmless}");
        }
        let confirmed = json!({ "deny": [range(OFFICE)], "confirm_lockout": true });
        assert_eq!(replace(&api, &owner, confirmed).await.status, 200);
        assert_eq!(api.get("/v1/whoami").bearer(&owner).send().await.refusal(), (403, "ip_denied"), "at the next request");
        api.control.lift_ip_restrictions(&api.operator(), "acme").await.unwrap();
        assert_eq!(api.get("/v1/whoami").bearer(&owner).send().await.status, 200, "the operator's way back in");
        let last = api.records("security.ip_restrictions.updated").await.pop().unwrap();
        assert_eq!((&last["actor"]["type"], &last["details"]["before"]["deny"][0]["cidr"]), (&json!("system"), &json!(OFFICE)));
    }

    a_preview_names_whom_restrictions_would_shut_out_and_changes_nothing(api) {
        api.add_member("away@acme.example", "member").await;
        let login = json!({ "email": "away@acme.example", "password": PASSWORD });
        api.post("/v1/auth/login", login).from(OUTSIDE).send().await;
        let owner = api.token_of("owner@acme.example").await;
        let preview = |body: Value| api.post("/v1/organization/ip-restrictions/preview", body).bearer(&owner).send();
        let office = preview(allow_office("console_and_api")).await;
        assert_eq!((&office.json["would_lock_out"], &office.json["your_ip"]), (&json!(false), &json!("203.0.113.9")));
        let shut_out = office.json["shut_out"].as_array().unwrap();
        assert_eq!(shut_out.len(), 1);
        assert_eq!((&shut_out[0]["email"], &shut_out[0]["matched_rule"]), (&json!("away@acme.example"), &json!("not_allowed")));
        let deny = preview(json!({ "deny": [range(OFFICE)] })).await;
        assert_eq!(deny.json["would_lock_out"], true);
        assert_eq!(deny.json["shut_out"][0]["deny_range"], OFFICE);
        assert_eq!(preview(json!({ "allow": [range(OFFICE)] })).await.json["shut_out"], json!([]));
        assert_eq!(api.get(PATH).bearer(&owner).send().await.headers["etag"], "\"0\"");
    }

    a_preview_judges_each_by_what_the_lists_guard_and_names_keys_and_gateways_too(api) {
        let owner = api.token_of("owner@acme.example").await;
        let key = async |kind: &str, from: &'static str| {
            let new = json!({ "type": kind, "name": format!("{kind} of {from}"), "scope": "write" });
            let made = api.post("/v1/tokens", new).bearer(&owner).send().await;
            let used = made.text("/key").to_owned();
            let report = json!({ "gateway_id": format!("gw_{}", from.replace([':', '.'], "_")), "software_version": "0.1.0",
                "config_version": "none", "config_source": "kept" });
            let asked = if kind == "gateway" { api.post("/v1/gateways/sync", report) } else { api.get("/v1/whoami") };
            assert_eq!(asked.bearer(&used).from(from).send().await.status, 200);
        };
        for from in [PEER, OUTSIDE] {
            key("access", from).await;
            key("gateway", from).await;
        }
        let ann = api.add_member("ann@acme.example", "admin").await;
        let new = json!({ "type": "access", "name": "of somebody suspended", "scope": "write" });
        let made = api.post("/v1/tokens", new).bearer(&api.token_of("ann@acme.example").await).send().await;
        assert_eq!(api.get("/v1/whoami").bearer(made.text("/key")).from(OUTSIDE).send().await.status, 200);
        let suspended = api.post(&format!("/v1/members/{ann}/suspend"), json!({})).bearer(&owner).send().await;
        assert_eq!(suspended.text("/status"), "suspended");
        api.control.run_jobs(&api.operator()).await.unwrap();
        for (email, door) in [("cleo@acme.example", "console"), ("ada@acme.example", "api")] {
            api.add_member(email, "member").await;
            let login = json!({ "email": email, "password": PASSWORD });
            let is_in = match door {
                "console" => api.browser().from(OUTSIDE).sign_in(email, PASSWORD).await.leads_to().is_some(),
                _ => api.post("/v1/auth/login", login).from(OUTSIDE).send().await.status == 200,
            };
            assert!(is_in, "{door}");
        }
        let preview = async |applies_to: &str| {
            api.post("/v1/organization/ip-restrictions/preview", allow_office(applies_to)).bearer(&owner).send().await.json
        };
        let named = |told: &Value, list: &str, by: &str| {
            let mut names: Vec<String> =
                told[list].as_array().unwrap().iter().map(|one| one[by].as_str().unwrap().to_owned()).collect();
            names.sort_unstable();
            names
        };
        let both = preview("console_and_api").await;
        assert_eq!(named(&both, "shut_out", "email"), ["ada@acme.example", "cleo@acme.example"]);
        assert_eq!(named(&both, "keys", "name"), [format!("access of {OUTSIDE}")], "{both}");
        assert_eq!(named(&both, "gateways", "id"), ["gw_198_51_100_7_40000"], "{both}");
        assert_eq!(both["gateways"][0]["matched_rule"], "not_allowed");
        let console = preview("console").await;
        assert_eq!(named(&console, "shut_out", "email"), ["cleo@acme.example"], "the API lets everybody in then");
        assert_eq!((&console["keys"], &console["gateways"]), (&json!([]), &json!([])));

        let browser = api.signed_in("owner@acme.example").await;
        for (applies_to, names_them) in [("console_and_api", true), ("console", false)] {
            let fields = [("version", "0"), ("enforce_allowlist", "on"), ("applies_to", applies_to), ("allow", OFFICE), ("deny", "")];
            let page = browser.post("/settings/security/ip-restrictions/draft", &fields).await;
            for part in ["<code>gw_198_51_100_7_40000</code>", "access of 198.51.100.7:40000 · <code>198.51.100.7</code>"] {
                assert_eq!(page.page().contains(part), names_them, "{applies_to}: {part}");
            }
        }

        api.clock.advance(Duration::from_hours(31 * 24));
        let owner = api.token_of("owner@acme.example").await;
        let later = api.post("/v1/organization/ip-restrictions/preview", allow_office("console_and_api"));
        let later = later.bearer(&owner).send().await.json;
        assert_eq!((&later["keys"], &later["gateways"]), (&json!([]), &json!([])), "nobody counts on them any more");
    }

    a_preview_goes_by_where_people_were_last_seen_and_says_where_it_ends(api) {
        for (email, begun, used) in [("left@acme.example", PEER, OUTSIDE), ("back@acme.example", OUTSIDE, PEER)] {
            api.add_member(email, "member").await;
            let signed_in = api.browser().from(begun);
            assert_eq!(signed_in.sign_in(email, PASSWORD).await.leads_to(), Some("/"));
            api.clock.advance(Duration::from_mins(1));
            let moved = api.browser().from(used);
            moved.hold("kt_session", &signed_in.cookie("kt_session").unwrap());
            assert_eq!(moved.get("/settings/profile").await.status, 200);
        }
        let owner = api.token_of("owner@acme.example").await;
        let preview = || api.post("/v1/organization/ip-restrictions/preview", allow_office("console_and_api")).bearer(&owner).send();
        let told = preview().await.json;
        let emails: Vec<_> = told["shut_out"].as_array().unwrap().iter().map(|session| session["email"].clone()).collect();
        assert_eq!((emails, &told["incomplete"]), (vec![json!("left@acme.example")], &json!(false)));

        let acme = organizations::by_identifier(&api.store, "acme").await.unwrap().unwrap().id;
        let long_ago = api.clock.now() - Duration::from_hours(1);
        let all = sessions::of_organization(&api.store, &acme, (long_ago, long_ago), None, Part::whole());
        let session = all.await.unwrap().remove(0).session;
        let tx = api.store.begin_write().await.unwrap();
        for _ in 0..998 {
            let id = SessionId::new(session.created_at, &mut Random::from_os());
            sessions::insert(&tx, &Session { id, ..session.clone() }).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert_eq!(preview().await.json["incomplete"], true, "a thousand and one sessions");
    }

    bad_ranges_are_named_and_nobody_else_may_change_them(api) {
        api.add_member("auditor@acme.example", "auditor").await;
        let owner = api.token_of("owner@acme.example").await;
        let table = [
            (json!({ "allow": [range("203.0.113.0/24"), range("203.0.113.9/24")] }), "allow[1].cidr"),
            (json!({ "deny": [range("010.0.0.0/8")] }), "deny[0].cidr"),
            (json!({ "deny": [{ "cidr": "10.0.0.0/8", "label": "x".repeat(101) }] }), "deny[0].label"),
            (json!({ "allow": [{ "label": "Office" }] }), "allow[0].cidr"),
            (json!({ "applies_to": "api" }), "applies_to"),
            (json!({ "enforce": true }), "enforce"),
        ];
        for (body, param) in table {
            let refused = replace(&api, &owner, body.clone()).await;
            assert_eq!((refused.refusal(), refused.text("/error/param")), ((422, "validation_error"), param), "{body}");
        }
        let auditor = api.token_of("auditor@acme.example").await;
        assert_eq!(replace(&api, &auditor, json!({})).await.refusal(), (403, "insufficient_role"));
        api.clock.advance(Duration::from_mins(11));
        assert_eq!(replace(&api, &owner, json!({})).await.refusal(), (403, "reauthentication_required"));
    }

    of_two_organizations_each_has_its_own_door(api) {
        let other = api.organization("other").await;
        api.add_member_of(&other, "owner@other.example", Role::Owner).await;
        let owner = api.token_of("owner@acme.example").await;
        replace(&api, &owner, allow_office("console_and_api")).await;
        let login = |email: &str, password: &str| {
            api.post("/v1/auth/login", json!({ "email": email, "password": password })).from(OUTSIDE).send()
        };
        assert_eq!(login("owner@other.example", PASSWORD).await.json["status"], "authenticated");
        assert_eq!(login("owner@acme.example", PASSWORD).await.refusal(), (401, "invalid_credentials"));
        assert_eq!(api.get("/v1/whoami").bearer(&owner).from(OUTSIDE).send().await.refusal(), (403, "ip_denied"));
        assert_eq!(api.get("/v1/whoami").bearer(&owner).send().await.status, 200, "the control");
    }

    a_right_password_where_its_organization_lets_nobody_in_from_is_answered_and_counted_as_a_wrong_one(api) {
        api.organization("other").await;
        let session = api.owner().await;
        let owner = session.text("/user/id");
        replace(&api, session.access_token(), allow_office("console_and_api")).await;
        let mut bodies = Vec::new();
        for (network, password, counted, reason) in [
            ("100.64.1", PASSWORD, 1, Some("ip_denied")),
            ("100.64.2", "wrong", 1, Some("wrong_password")),
            ("203.0.113", "wrong", 1, Some("wrong_password")),
            ("203.0.113", PASSWORD, 0, None),
        ] {
            let ip: IpAddr = format!("{network}.7").parse().unwrap();
            let body = json!({ "email": "owner@acme.example", "password": password });
            let mut answer = api.post("/v1/auth/login", body).from(&format!("{ip}:1")).send().await;
            let place = format!("{password} from {network}");
            assert_eq!(answer.status, if reason.is_some() { 401 } else { 200 }, "{place}");
            let key = account_at_network_key(owner, network_of(ip));
            assert_eq!(limits::current(&api.store, &key, api.clock.now()).await.unwrap(), counted, "{place}");
            let records = api.records("auth.sign_in").await;
            let told = &records.last().unwrap()["details"]["after"]["reason"];
            assert_eq!(told.as_str(), reason, "{place}");
            if reason.is_some() {
                answer.json["error"]["request_id"] = json!(null);
                bodies.push(answer.json);
            }
        }
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
        let page = api.browser().from(OUTSIDE).sign_in("owner@acme.example", PASSWORD).await;
        assert_eq!(page.refusal(), (401, "invalid_credentials"), "at the console too");
        assert_eq!(api.browser().sign_in("owner@acme.example", PASSWORD).await.leads_to(), Some("/"), "the control");
    }

    nobody_joins_from_where_the_organization_lets_nobody_in(api) {
        api.set_registration(json!({ "self_registration": true, "signup_approval": false })).await;
        api.add_member_of(&api.organization("other").await, "kim@other.example", Role::Owner).await;
        let (owner, kim) = (api.token_of("owner@acme.example").await, api.token_of("kim@other.example").await);
        for email in ["jo@acme.example", "kim@other.example"] {
            let invited = api.post("/v1/invitations", json!({ "email": email })).bearer(&owner).send().await;
            assert_eq!(invited.status, 201, "{}", invited.json);
        }
        let (for_jo, for_kim) = (api.token_for("jo@acme.example").await, api.token_for("kim@other.example").await);
        replace(&api, &owner, allow_office("console_and_api")).await;
        let newcomer = |email: &str| {
            json!({ "organization": "acme", "email": email, "name": "Jo Example", "password": "Quiet-willow-4-lakes" })
        };
        let mut invited = newcomer("jo@acme.example");
        invited["invitation_token"] = json!(for_jo);
        let ways = [
            ("/v1/auth/register", newcomer("mia@acme.example"), 202),
            ("/v1/auth/invitation", json!({ "token": for_jo }), 200),
            ("/v1/auth/register", invited, 202),
            ("/v1/invitations/accept", json!({ "token": for_kim }), 200),
        ];
        for (path, body, status) in ways {
            let ask = |peer: &'static str| api.post(path, body.clone()).bearer(&kim).from(peer).send();
            assert_eq!(ask(OUTSIDE).await.refusal(), (403, "ip_denied"), "{path}");
            assert_eq!(ask(PEER).await.status, status, "the control, {path}");
        }
        let of_nobody = api.post("/v1/auth/invitation", json!({ "token": "x" })).from(OUTSIDE).send().await;
        assert_eq!(of_nobody.refusal(), (422, "invalid_token"), "a link that leads nowhere tells nothing of any list");
    }

    a_second_factor_is_added_on_the_way_in_where_the_organization_lets_people_in_from_alone(api) {
        api.organization("other").await;
        let owner = api.owner().await;
        let demand = json!({ "mfa": { "policy": "required_for_all", "grace_period": "0h" } });
        for email in ["jo@acme.example", "kim@acme.example"] {
            api.add_member(email, "member").await;
        }
        replace(&api, owner.access_token(), allow_office("console_and_api")).await;
        let demanded = api.patch("/v1/organization/security", demand).bearer(owner.access_token()).send().await;
        assert_eq!(demanded.status, 200, "{}", demanded.json);
        let ask = async |path: &str, body: Value, peer: &str| {
            api.post(&format!("/v1/auth/mfa/{path}"), body).from(peer).send().await
        };
        let step = api.login("jo@acme.example", PASSWORD).await;
        let begin = json!({ "flow_token": step.text("/flow_token") });
        assert_eq!(ask("totp", begin.clone(), OUTSIDE).await.refusal(), (403, "ip_denied"));
        assert_eq!(ask("totp", begin, PEER).await.status, 200, "the control");

        let step = api.login("kim@acme.example", PASSWORD).await;
        let begin = json!({ "flow_token": step.text("/flow_token") });
        for (peer, status) in [(OUTSIDE, 403), (PEER, 200)] {
            let options = ask("passkey/options", begin.clone(), PEER).await;
            let credential = Authenticator::new().create(&options.json["options"]);
            let add = json!({ "flow_token": options.text("/flow_token"), "credential": credential });
            assert_eq!(ask("passkey", add, peer).await.status, status, "{peer}");
        }
    }

    every_way_in_asks_the_organization_that_it_leads_to_before_it_uses_anything_up(api) {
        api.organization("other").await;
        let session = api.owner().await;
        let device = api.request(Method::POST, "/v1/auth/device/authorize").send().await;
        let approve = format!("/v1/me/device-requests/{}/approve", device.text("/user_code"));
        assert_eq!(api.request(Method::POST, &approve).bearer(session.access_token()).send().await.status, 204);
        api.post("/v1/auth/password/forgot", json!({ "email": "owner@acme.example" })).send().await;
        let link = api.token_for("owner@acme.example").await;
        replace(&api, session.access_token(), allow_office("console_and_api")).await;

        let ask = async |path: &str, body: &Value, peer: &str| {
            api.post(&format!("/v1/auth/{path}"), body.clone()).from(peer).send().await
        };
        let refresh = json!({ "refresh_token": session.text("/refresh_token") });
        let fetch = json!({ "device_code": device.text("/device_code") });
        let reset = json!({ "token": link, "new_password": "Quiet-willow-4-lakes" });
        let ways = [("refresh", &refresh), ("device/token", &fetch), ("password/reset", &reset)];
        for (path, body) in ways {
            assert_eq!(ask(path, body, OUTSIDE).await.refusal(), (403, "ip_denied"), "{path}");
        }
        let refreshed = ask("refresh", &refresh, PEER).await;
        assert_eq!(refreshed.status, 200);
        assert_eq!(ask("refresh", &refresh, OUTSIDE).await.refusal(), (403, "ip_denied"));
        let whoami = api.get("/v1/whoami").bearer(refreshed.access_token()).send().await;
        assert_eq!(whoami.status, 200, "nor does anybody end a session from there");
        for (path, body) in &ways[1..] {
            assert_eq!(ask(path, body, PEER).await.status, 200, "{path}");
        }

        api.clock.advance(Duration::from_hours(91 * 24));
        let step = api.login("owner@acme.example", "Quiet-willow-4-lakes").await;
        let choose = json!({ "flow_token": step.text("/flow_token"), "new_password": "Third-meadow-7-hills" });
        assert_eq!(ask("password/replace", &choose, OUTSIDE).await.refusal(), (403, "ip_denied"));
        assert_eq!(ask("password/replace", &choose, PEER).await.text("/status"), "password_changed");
    }

    a_change_for_another_version_is_refused(api) {
        let owner = api.token_of("owner@acme.example").await;
        let put = |tag: &str| api.put(PATH, allow_office("console")).bearer(&owner).header("if-match", tag).send();
        assert_eq!(put("\"1\"").await.refusal(), (412, "version_mismatch"));
        assert_eq!(put("\"0\"").await.status, 200);
        assert_eq!(put("\"0\"").await.refusal(), (412, "version_mismatch"));
    }
}
