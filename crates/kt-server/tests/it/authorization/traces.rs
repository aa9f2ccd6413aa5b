//! What each route that changes something leaves in the audit log.

use std::collections::BTreeSet;

use axum::http::Method;
use kt_domain::audit::AuditAction;
use kt_domain::random::Random;
use serde_json::json;

use super::{ask, assert_lists_every_route, documented, own_object};
use crate::harness::{PASSWORD, on_both};

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
            "mfa/passkeys/answers::of_two_that_count_the_same_passkey_the_slower_is_refused_and_recorded",
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
        Flow(AuditAction::SignIn, "authorization/traces::a_session_that_a_device_fetches_is_recorded"),
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
        "DELETE /v1/organization/sessions",
        Flow(
            AuditAction::SessionRevoked,
            "members::everybody_is_signed_out_at_once_as_far_as_the_rank_of_whoever_asks_reaches",
        ),
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
        Flow(AuditAction::SsoUpdated, "sso/saml/settings::a_provider_is_described_in_one_of_three_ways"),
    ),
    (
        "DELETE /v1/organization/sso/saml",
        Flow(AuditAction::SsoRemoved, "sso/saml/settings::a_provider_is_described_in_one_of_three_ways"),
    ),
    (
        "POST /v1/organization/sso/saml/next-key",
        Flow(AuditAction::SsoUpdated, "sso/saml/settings::our_own_key_is_replaced_while_both_are_known"),
    ),
    (
        "POST /v1/organization/sso/saml/next-key/use",
        Flow(AuditAction::SsoUpdated, "sso/saml/settings::our_own_key_is_replaced_while_both_are_known"),
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
