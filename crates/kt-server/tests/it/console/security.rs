//! `/settings/security`: what each role sees there, and what each section saves.

use std::time::Duration;

use kt_domain::deployment_settings::{DeploymentSettings, ManagedBy};
use serde_json::{Value, json};

use super::browser::Browser;
use crate::databases::Kind;
use crate::harness::{Answer, PASSWORD, TestApi, on_both};

const PAGE: &str = "/settings/security";
const RESTRICTIONS: &str = "/settings/security/ip-restrictions";
const DRAFT: &str = "/settings/security/ip-restrictions/draft";

/// The settings in force.
async fn settings(api: &TestApi) -> Value {
    let owner = api.token_of("owner@acme.example").await;
    api.get("/v1/organization/security").bearer(&owner).send().await.json
}

/// The restrictions in force.
async fn restrictions(api: &TestApi) -> Value {
    let owner = api.token_of("owner@acme.example").await;
    api.get("/v1/organization/ip-restrictions").bearer(&owner).send().await.json
}

/// A form of the restrictions with these lists.
async fn send(browser: &Browser<'_>, path: &str, allow: &str, more: &[(&str, &str)]) -> Answer {
    let fields = [("version", "0"), ("applies_to", "console_and_api"), ("allow", allow), ("deny", "")];
    let fields: Vec<_> = fields.into_iter().chain(more.iter().copied()).collect();
    browser.post(path, &fields).await
}

/// What stands between the heading of this section and the next one.
fn section<'a>(page: &'a str, id: &str) -> &'a str {
    let rest = page.split_once(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("no {id}")).1;
    rest.split("</section>").next().unwrap()
}

on_both! {
    everybody_protects_their_own_account_and_a_member_sees_no_more(api) {
        api.add_member("member@acme.example", "member").await;
        let browser = api.signed_in("member@acme.example").await;
        let answer = browser.get(PAGE).await;
        let page = answer.page();
        for label in ["Set up passkey MFA", "Enable MFA", "Add Passkey", "Your sessions"] {
            assert!(page.contains(label), "{label}");
        }
        assert!(page.contains("href=\"/mfa/setup\"") && page.contains("MFA is off"));
        for label in ["Open audit log", "Security posture", "MFA Policy", "IP Restrictions", "Token Rotation", "Password Policy"] {
            assert!(!page.contains(label), "{label} is none of a member's matters");
        }
        let refused = send(&browser, RESTRICTIONS, "", &[]).await;
        assert_eq!(refused.refusal().0, 403);
        assert_eq!(send(&browser, DRAFT, "", &[]).await.refusal().0, 403);
        let csrf = [("version", "0"), ("rotation", "per_request")];
        assert_eq!(browser.post("/settings/security/csrf", &csrf).await.refusal().0, 403);
        assert_eq!(api.browser().get(PAGE).await.leads_to(), Some("/login?returnTo=%2Fsettings%2Fsecurity"));
    }

    an_auditor_sees_everything_and_changes_nothing(api) {
        api.add_member("auditor@acme.example", "auditor").await;
        let browser = api.signed_in("auditor@acme.example").await;
        let answer = browser.get(PAGE).await;
        let page = answer.page();
        for label in ["Open audit log", "Security posture", "MFA Policy", "IP Restrictions", "Token Rotation", "Key Restrictions"] {
            assert!(page.contains(label), "{label}");
        }
        let (fields, locked) = (page.matches("<form method=\"post\" hx-post=\"/settings/security").count(), page.matches("<fieldset disabled").count());
        assert!(fields > 5 && page.matches(" disabled>").count() >= fields, "{fields} forms, {locked} locked");
        assert!(!page.contains(">Save</button>") && !page.contains("Add Range") && !page.contains("name=\"remove\""));
        let csrf = [("version", "0"), ("rotation", "per_request")];
        assert_eq!(browser.post("/settings/security/csrf", &csrf).await.refusal().0, 403);
        assert_eq!(send(&browser, RESTRICTIONS, "", &[]).await.refusal().0, 403);
        let owner = api.signed_in("owner@acme.example").await;
        assert!(owner.get(PAGE).await.page().contains(">Save</button>"), "whoever may change it can");
    }

    the_page_has_every_section_with_its_labels_and_choices(api) {
        let answer = api.signed_in("owner@acme.example").await.get(PAGE).await;
        let page = answer.page();
        for label in [
            "href=\"/audit-log\"", "Open audit log", "Security posture", "Active Sessions", "Failed Logins (24h)",
            "Keys Expiring Soon", "Users Without 2FA", "Allowlist Status", "Session Management", "Session Timeout",
            "15 minutes", "finance and defence", "30 minutes", "1 hour", "For development and testing.", "4 hours", "Idle Timeout", "Network Controls", "IP Allowlist",
            "Enforce Allowlist", "Add Range", "Remote workers on VPN", "CI/CD in a cloud", "Emergency access",
            "CSRF Protection", "x-keeptrusts-csrf-token", "Token Rotation", "Per Session", "Per Request",
            "cannot be turned off", "Authentication", "Password Policy", "Minimum Length", "Require Uppercase",
            "Require Number", "Require Special Character", "Password History", "Max Age", "Two-Factor Authentication",
            "MFA Policy", "Optional", "Required for Admins &#38; Owners", "Required for all members", "Grace Period", "Passkeys for admins and owners",
            "72 hours", "Account Lockout", "API Access", "Key Restrictions", "Max Key Age", "IP Binding", "Rate Limiting",
            "Scope Enforcement", "CC6.1", "ISO 27001", "NIST SP 800-53", "203.0.113.9",
        ] {
            assert!(page.contains(label), "{label}");
        }
        assert!(section(page, "session").contains("<input type=\"radio\" name=\"timeout\" value=\"30m\" checked"));
    }

    what_the_deployment_sets_is_shown_locked_with_where_to_change_it(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let answer = browser.get(PAGE).await;
        for (id, key) in [("session", "security.session"), ("password", "security.password"), ("lockout", "security.lockout")] {
            let part = section(answer.page(), id);
            assert!(part.contains(&format!("under {key}.")) && part.contains(" disabled>"), "{id}: {part}");
            assert!(!part.contains(">Save</button>"), "{id}");
        }
        let fields = [("version", "0"), ("timeout", "15m"), ("idle", "on"), ("absolute", "12h")];
        let refused = browser.post("/settings/security/session", &fields).await;
        assert_eq!(refused.refusal(), (409, "deployment_managed"));
        assert!(section(answer.page(), "mfa").contains(">Save</button>"), "what is the organization's own");
    }

    a_section_saves_its_own_fields_and_no_others(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let mfa = [("version", "0"), ("policy", "required_for_admins"), ("grace_period", "168h")];
        assert_eq!(browser.post("/settings/security/mfa", &mfa).await.leads_to(), Some(PAGE));
        let csrf = [("version", "1"), ("rotation", "per_request")];
        assert_eq!(browser.post("/settings/security/csrf", &csrf).await.leads_to(), Some(PAGE));
        let keys = [
            ("version", "2"), ("max_age_days", "90"), ("allowed_ranges", "203.0.113.0/24\r\n\r\n 10.0.0.0/8"),
            ("max_requests_per_minute", ""), ("require_scope", "on"), ("creation", "everyone"),
        ];
        assert_eq!(browser.post("/settings/security/api-keys", &keys).await.leads_to(), Some(PAGE));
        let kept = settings(&api).await;
        assert_eq!((&kept["mfa"]["policy"], &kept["mfa"]["grace_period"]), (&json!("required_for_admins"), &json!("168h")));
        assert_eq!(kept["csrf"]["rotation"], "per_request");
        assert_eq!(kept["api_keys"]["allowed_ranges"], json!(["203.0.113.0/24", "10.0.0.0/8"]));
        assert_eq!((&kept["api_keys"]["max_age_days"], &kept["api_keys"]["max_requests_per_minute"]), (&json!(90), &json!(null)));
        assert_eq!((&kept["api_keys"]["require_scope"], &kept["api_keys"]["creation"]), (&json!(true), &json!("everyone")));
        assert_eq!(kept["session"]["timeout"], "30m", "untouched");
        let answer = browser.get(PAGE).await;
        let page = answer.page();
        assert!(section(page, "mfa").contains("value=\"required_for_admins\" checked"));
        assert!(section(page, "mfa").contains("value=\"168h\" selected"));
        assert!(section(page, "csrf").contains("value=\"per_request\" checked"));
        for action in ["security.mfa_policy.updated", "security.csrf.updated", "security.api_keys.updated"] {
            assert!(api.recorded(action).await, "{action}");
        }
    }

    a_refusal_names_its_field_and_an_old_page_changes_nothing(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let keys = |age, ranges| [
            ("version", "0"), ("max_age_days", age), ("allowed_ranges", ranges), ("max_requests_per_minute", ""),
            ("creation", "admins"),
        ];
        for (age, ranges, param) in [
            ("ninety", "", "api_keys.max_age_days"), ("0", "", "api_keys.max_age_days"), ("", "10.0.0.1/8", "api_keys.allowed_ranges"),
        ] {
            let refused = browser.post("/settings/security/api-keys", &keys(age, ranges)).await;
            assert_eq!((refused.status.as_u16(), refused.text("/error/param")), (422, param), "{}", refused.body);
        }
        assert_eq!(browser.post("/settings/security/api-keys", &keys("90", "10.0.0.0/8")).await.leads_to(), Some(PAGE));
        let old = [("version", "0"), ("rotation", "per_request")];
        assert_eq!(browser.post("/settings/security/csrf", &old).await.refusal(), (412, "version_mismatch"));
        let unknown = [("version", "1"), ("rotation", "per_request"), ("enabled", "off")];
        assert_eq!(browser.post("/settings/security/csrf", &unknown).await.refusal().0, 400, "there is no off");
        let off = [("version", "1"), ("rotation", "off")];
        assert_eq!(browser.post("/settings/security/csrf", &off).await.refusal().0, 422);
        assert_eq!(settings(&api).await["csrf"]["rotation"], "per_session");
        let present = [("version", "1"), ("rotation", "per_request")];
        assert_eq!(browser.post("/settings/security/csrf", &present).await.leads_to(), Some(PAGE));
    }

    a_change_asks_for_a_fresh_proof(api) {
        let browser = api.signed_in("owner@acme.example").await;
        api.clock.advance(Duration::from_mins(11));
        let csrf = [("version", "0"), ("rotation", "per_request")];
        assert_eq!(browser.post("/settings/security/csrf", &csrf).await.refusal(), (403, "reauthentication_required"));
        assert_eq!(send(&browser, RESTRICTIONS, "", &[]).await.refusal(), (403, "reauthentication_required"));
        browser.post("/api/session/reauthenticate", &[("password", PASSWORD)]).await;
        assert_eq!(browser.post("/settings/security/csrf", &csrf).await.leads_to(), Some(PAGE));
    }

    ranges_are_added_and_removed_in_a_draft_and_saved_as_a_whole(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let more = [("list", "allow"), ("cidr", "203.0.113.0/24"), ("label", "Office London")];
        let drafted = send(&browser, DRAFT, "10.0.0.0/8 Corporate VPN\n", &more).await;
        let page = drafted.page();
        assert!(page.contains("Not saved yet") && page.contains("Office London"), "{page}");
        assert!(page.contains("10.0.0.0/8 Corporate VPN\n203.0.113.0/24 Office London\n</textarea>"));
        assert_eq!(restrictions(&api).await["allow"], json!([]), "nothing is saved by it");
        let list = "10.0.0.0/8 Corporate VPN\n203.0.113.0/24 Office London\n";
        let removed = send(&browser, DRAFT, list, &[("remove", "allow 10.0.0.0/8")]).await;
        assert!(removed.page().contains("203.0.113.0/24 Office London\n</textarea>") && !removed.page().contains("value=\"allow 10.0.0.0/8\""));
        let saved = browser.post(RESTRICTIONS, &[
            ("version", "0"), ("applies_to", "console"), ("enforce_allowlist", "on"), ("allow", list),
            ("deny", "203.0.113.66/32 Printer"),
        ]).await;
        assert_eq!(saved.leads_to(), Some(PAGE), "{}", saved.body);
        let kept = restrictions(&api).await;
        assert_eq!(kept["allow"], json!([
            { "cidr": "10.0.0.0/8", "label": "Corporate VPN" }, { "cidr": "203.0.113.0/24", "label": "Office London" },
        ]));
        assert_eq!((&kept["deny"][0]["label"], &kept["enforce_allowlist"], &kept["applies_to"]), (&json!("Printer"), &json!(true), &json!("console")));
        let answer = browser.get(PAGE).await;
        assert!(answer.page().contains("Enforced") && answer.page().contains("let in by these lists"));
        let bad = send(&browser, DRAFT, "", &[("list", "allow"), ("cidr", "10.0.0.1/8"), ("label", "")]).await;
        assert_eq!((bad.status.as_u16(), bad.text("/error/param")), (422, "cidr"));
        let bad = browser.post(RESTRICTIONS, &[("version", "1"), ("applies_to", "console"), ("allow", "10.0.0.0/8\nOffice"), ("deny", "")]).await;
        assert_eq!((bad.status.as_u16(), bad.text("/error/param")), (422, "allow"));
        assert!(bad.text("/error/message").starts_with("Line 2: "), "{}", bad.body);
        assert_eq!(restrictions(&api).await, kept);
    }

    whoever_would_lock_themselves_out_is_asked_before_anything_is_saved(api) {
        api.add_member("jo@acme.example", "member").await;
        let jo = api.browser().from("198.51.100.7:40000");
        assert_eq!(jo.sign_in("jo@acme.example", PASSWORD).await.leads_to(), Some("/"));
        let browser = api.signed_in("owner@acme.example").await;
        let elsewhere = "10.0.0.0/8 Elsewhere";
        let preview = send(&browser, DRAFT, elsewhere, &[("enforce_allowlist", "on")]).await;
        let page = preview.page();
        assert!(page.contains("Not saved yet") && page.contains("403 Forbidden"), "{page}");
        assert!(page.contains("jo@acme.example") && page.contains("198.51.100.7") && page.contains("not on the allowlist"));
        let refused = send(&browser, RESTRICTIONS, elsewhere, &[("enforce_allowlist", "on")]).await;
        assert!(refused.page().contains("Nothing was saved") && refused.page().contains("name=\"confirm_lockout\""));
        assert_eq!(restrictions(&api).await["enforce_allowlist"], false);
        let office = send(&browser, DRAFT, "203.0.113.0/24", &[("enforce_allowlist", "on")]).await;
        assert!(!office.page().contains("name=\"confirm_lockout\"") && office.page().contains("jo@acme.example"));
        let confirmed = [("enforce_allowlist", "on"), ("confirm_lockout", "on")];
        assert_eq!(send(&browser, RESTRICTIONS, elsewhere, &confirmed).await.leads_to(), Some(PAGE));
        assert_eq!(browser.get(PAGE).await.refusal_page(), (403, true), "R40, R41");
    }

    the_lists_behind_the_figures_are_there(api) {
        api.add_member("jo@acme.example", "admin").await;
        api.signed_in("jo@acme.example").await;
        let browser = api.signed_in("owner@acme.example").await;
        browser.sign_in("owner@acme.example", "wrong").await;
        let browser = api.signed_in("owner@acme.example").await;
        let before = browser.get(PAGE).await;
        assert!(before.page().contains("Not asked") && before.page().contains("The chart begins tomorrow"));
        assert!(before.page().contains("/audit-log?action=auth.sign_in&amp;outcome=failure"));
        let sessions = browser.get("/settings/security/sessions").await;
        assert!(sessions.page().contains("jo@acme.example") && sessions.body.contains("203.0.113.9"));
        let mfa = [("version", "0"), ("policy", "required_for_admins"), ("grace_period", "72h")];
        browser.post("/settings/security/mfa", &mfa).await;
        api.control.run_jobs(&api.operator()).await.unwrap();
        let after = browser.get(PAGE).await;
        let late = after.page().split_once("id=\"without-factor\"").unwrap().1.split("</table>").next().unwrap();
        assert!(late.contains("jo@acme.example") && late.contains("2026-03-18T14:22:31Z"), "{late}");
        assert!(section(after.page(), "own").contains("2026-03-18T14:22:31Z"), "one's own deadline");
        assert!(after.page().contains("<title>2026-03-15: 1</title>"), "the chart");
    }

    what_people_write_never_becomes_a_part_of_the_page(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let hostile = "\"><img src=x onerror=alert(1)><script>alert(1)</script>";
        let label = format!("10.0.0.0/8 {hostile}\n203.0.113.0/24 </textarea><script>");
        assert_eq!(send(&browser, RESTRICTIONS, &label, &[]).await.leads_to(), Some(PAGE));
        let answer = browser.get(PAGE).await;
        for bad in ["<img src=x", "<script>", "</textarea><script"] {
            assert!(!answer.page().contains(bad), "{bad}");
        }
        assert!(answer.page().contains("&#60;img src=x"));
    }
}

/// In a deployment that lets its organizations set what it leaves open.
async fn within_bounds(kind: Kind) -> TestApi {
    let deployment = serde_json::from_value(json!({
        "managed_by": "console",
        "session": { "timeout": "1h", "idle": false },
        "password": { "require_number": true, "max_age_days": 180 },
        "lockout": { "max_failures": 20 },
    }));
    TestApi::deployed(kind, deployment.unwrap()).await.set_up().await
}

/// In a deployment that lets its organizations set everything.
pub(super) async fn by_console(kind: Kind) -> TestApi {
    let deployment = DeploymentSettings { managed_by: ManagedBy::Console, ..DeploymentSettings::default() };
    TestApi::deployed(kind, deployment).await.set_up().await
}

on_both! {
    from crate::console::security::by_console;

    a_page_knows_that_nothing_carries_a_session_on_that_counts_from_sign_in(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let ends = async || {
            let page = browser.get("/overview").await;
            let value = |name: &str| page.page().split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned();
            (value("data-ends-in"), value("data-ends-at-latest-in"))
        };
        assert_eq!(ends().await, ("1800".to_owned(), "43200".to_owned()), "the control");
        let from_sign_in = [("version", "0"), ("timeout", "15m"), ("absolute", "12h")];
        assert_eq!(browser.post("/settings/security/session", &from_sign_in).await.leads_to(), Some(PAGE));
        api.clock.advance(Duration::from_mins(5));
        assert_eq!(ends().await, ("600".to_owned(), "600".to_owned()));
    }

    an_organization_that_may_sets_sessions_passwords_and_lockout(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let session = [("version", "0"), ("timeout", "15m"), ("idle", "on"), ("absolute", "8h")];
        assert_eq!(browser.post("/settings/security/session", &session).await.leads_to(), Some(PAGE));
        let password = [
            ("version", "1"), ("min_length", "14"), ("require_uppercase", "on"), ("require_number", "on"),
            ("require_special", "on"), ("history", "6"), ("max_age_days", "60"),
        ];
        assert_eq!(browser.post("/settings/security/password", &password).await.leads_to(), Some(PAGE));
        let lockout = [("version", "2"), ("max_failures", "5"), ("window", "30m"), ("duration", "1h")];
        assert_eq!(browser.post("/settings/security/lockout", &lockout).await.leads_to(), Some(PAGE));
        let kept = settings(&api).await;
        assert_eq!((&kept["session"]["timeout"], &kept["session"]["absolute"]), (&json!("15m"), &json!("8h")));
        assert_eq!((&kept["password"]["min_length"], &kept["password"]["max_age_days"]), (&json!(14), &json!(60)));
        assert_eq!((&kept["lockout"]["max_failures"], &kept["lockout"]["duration"]), (&json!(5), &json!("1h")));
        let page = browser.get(PAGE).await;
        assert!(section(page.page(), "password").contains("Own values") && !page.page().contains("Managed by the deployment"));
        let preset = [("version", "3"), ("preset", "recommended")];
        assert_eq!(browser.post("/settings/security/password/preset", &preset).await.leads_to(), Some(PAGE));
        let page = browser.get(PAGE).await;
        let password = section(page.page(), "password");
        assert!(password.contains("accent\">recommended") && password.contains("NIST SP 800-63B-4 section 3.1.1.2"));
        let page = browser.get(PAGE).await;
        assert!(!section(page.page(), "timeout-heading").contains(" disabled") && !page.page().contains("What is greyed out"));
        for (version, preset) in [("4", "nist-800-63b"), ("5", "recommended")] {
            let preset = [("version", version), ("preset", preset)];
            assert_eq!(browser.post("/settings/security/password/preset", &preset).await.leads_to(), Some(PAGE));
        }
        for (version, timeout) in [("6", "1h"), ("7", "4h"), ("8", "30m")] {
            let chosen = [("version", version), ("timeout", timeout), ("idle", "on"), ("absolute", "24h")];
            assert_eq!(browser.post("/settings/security/session", &chosen).await.leads_to(), Some(PAGE), "{timeout}");
        }
    }
}

on_both! {
    from crate::console::security::within_bounds;

    what_the_deployment_would_refuse_is_greyed_out_with_the_reason(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let page = browser.get(PAGE).await;
        let tag = |name: &str, value: &str| {
            let tags = page.page().split('<').filter(|tag| tag.contains(&format!("name=\"{name}\"")));
            tags.filter(|tag| tag.contains(value)).map(str::to_owned).next().unwrap_or_else(|| panic!("{name}"))
        };
        for (name, value, is_disabled) in [
            ("timeout", "value=\"15m\"", false),
            ("timeout", "value=\"1h\"", false),
            ("timeout", "value=\"4h\"", true),
            ("idle", "checkbox", true),
            ("preset", "recommended", false),
            ("preset", "nist-800-63b", true),
            ("require_number", "checkbox", true),
            ("require_special", "checkbox", false),
        ] {
            assert_eq!(tag(name, value).contains(" disabled"), is_disabled, "{name} {value}");
        }
        assert!(tag("require_number", "hidden").contains("value=\"on\""), "it is sent all the same");
        assert!(tag("max_failures", "number").contains("max=\"20\""));
        assert!(tag("max_age_days", "number").contains("min=\"1\" max=\"180\""));
        assert_eq!(page.page().matches("What is greyed out would be looser").count(), 2);
        let looser = [("version", "0"), ("timeout", "4h"), ("absolute", "12h")];
        let refused = browser.post("/settings/security/session", &looser).await;
        assert_eq!((refused.status.as_u16(), refused.text("/error/param")), (422, "session.timeout"));
    }
}

on_both! {
    from crate::console::security::by_console;

    sixteen_idle_minutes_end_a_session_of_fifteen_that_the_page_has_set(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let session = [("version", "0"), ("timeout", "15m"), ("idle", "on"), ("absolute", "12h")];
        assert_eq!(browser.post("/settings/security/session", &session).await.leads_to(), Some(PAGE));
        api.clock.advance(Duration::from_mins(15));
        assert_eq!(browser.get(PAGE).await.status.as_u16(), 200, "until then it lives, and this was activity");
        api.clock.advance(Duration::from_mins(16));
        assert_eq!(browser.get(PAGE).await.leads_to(), Some("/login?returnTo=%2Fsettings%2Fsecurity&reason=timeout"));
    }
}
