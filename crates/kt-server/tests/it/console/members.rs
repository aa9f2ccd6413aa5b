//! Members, invitations and approvals as the console shows them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::way_in::secret_of;
use crate::harness::{PASSWORD, on_both};
use crate::mfa::Holder;

const OWNER: &str = "owner@acme.example";
const JO: &str = "jo@acme.example";

on_both! {
    each_role_sees_of_the_members_what_it_may(api) {
        api.add_member(JO, "member").await;
        api.add_member("audit@acme.example", "auditor").await;
        api.add_member("admin@acme.example", "admin").await;
        api.add_waiting("waiting@acme.example").await;
        for (email, sees, may_invite) in [
            (JO, false, false),
            ("audit@acme.example", true, false),
            ("admin@acme.example", true, true),
            (OWNER, true, true),
        ] {
            let browser = api.signed_in(email).await;
            let page = browser.get("/settings/members").await;
            assert_eq!(page.status.as_u16(), if sees { 200 } else { 403 }, "{email}");
            assert_eq!(page.body.contains("waiting@acme.example"), sees, "{email}");
            assert_eq!(page.body.contains(r#"data-dialog="invite""#), may_invite, "{email}");
            assert_eq!(page.body.contains("Approve…"), may_invite, "{email}");
            let invited = browser.post("/settings/invitations", &[("email", "new@acme.example"), ("role", "member")]).await;
            let expected = match email {
                "admin@acme.example" => 303,
                OWNER => 409,
                _ => 403,
            };
            assert_eq!(invited.status.as_u16(), expected, "{email}: {}", invited.body);
        }
    }

    a_search_reaches_every_page_of_the_list_and_is_kept_from_one_to_the_next(api) {
        for n in 0..60 {
            api.clock.advance(Duration::from_secs(1));
            api.add_member(&format!("{}{n}@acme.example", if n == 59 { "last" } else { "m" }), "member").await;
        }
        let owner = api.signed_in(OWNER).await;
        let page = async |query: &str| owner.get(&format!("/settings/members{query}")).await;
        assert!(!page("").await.page().contains("last59@"), "it stands on the second page");
        assert!(page("?q=LAST").await.page().contains("last59@"));
        let found = page("?q=m%26m").await;
        assert!(found.page().contains("Nobody fits this search.") && found.body.contains(r#"value="m&#38;m""#), "{}", found.body);
        let first = page("?q=acme&mfa=missing").await;
        let (_, rest) = first.page().split_once("/settings/members?q=acme&#38;mfa=missing&#38;cursor=").unwrap();
        let (next, _) = rest.split_once('"').unwrap();
        let second = page(&format!("?q=acme&mfa=missing&cursor={next}")).await;
        assert!(second.page().contains("last59@") && !second.body.contains("m0@"));
        assert_eq!(page("?q=%00").await.status.as_u16(), 422);
    }

    the_headers_order_the_table_over_all_of_its_pages(api) {
        // More than a page of them, with names that are not in the order of their accounts.
        for n in 0..60 {
            api.clock.advance(Duration::from_secs(1));
            api.add_named(&format!("m{n:02}@acme.example"), &format!("{}{n:02}", if n % 2 == 0 { "even " } else { "Odd " })).await;
        }
        let owner = api.signed_in(OWNER).await;
        // Each name on the pages that one leads to from here.
        let names = async |path: &str| {
            let (mut found, mut next) = (Vec::new(), Some(path.to_owned()));
            while let Some(path) = next {
                let page = owner.get(&path).await;
                let rows = page.page().split("class=\"cover clip\" href=\"/settings/members/").skip(1);
                found.extend(rows.map(|row| row.split_once('>').unwrap().1.split('<').next().unwrap().to_owned()));
                next = page.body.split_once("\" rel=\"next\"").map(|(before, _)| {
                    before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&")
                });
            }
            found
        };
        let joined = names("/settings/members").await;
        assert_eq!((joined.len(), joined[0].as_str(), joined[60].as_str()), (61, "Olive Owner", "Odd 59"));
        let by_name = names("/settings/members?sort=name").await;
        let mut expected = joined.clone();
        expected.sort_by_key(|name| name.to_lowercase());
        assert_eq!(by_name, expected, "capital and small letters are taken for each other");
        expected.reverse();
        assert_eq!(names("/settings/members?sort=-name").await, expected);
        assert_eq!(names("/settings/members?sort=email&q=odd").await.len(), 30, "a search keeps its order");
        assert_eq!(names("/settings/members?sort=-last_sign_in").await[0], "Olive Owner", "whoever never has comes last");
        assert_eq!(names("/settings/members?sort=-created").await[0], "Odd 59");

        let page = owner.get("/settings/members?sort=name").await;
        assert_eq!(page.page().matches("aria-sort=").count(), 1);
        assert!(page.body.contains(r#"<th aria-sort="ascending"><a class="sort" href="/settings/members?sort=-name">Name"#), "{}", page.body);
        let cursor = page.body.split_once("?cursor=").unwrap().1.split(['"', '&']).next().unwrap().to_owned();
        for (sort, goes_on) in [("&sort=name", true), ("&sort=-name", false), ("&sort=email", false), ("", false)] {
            let other = owner.get(&format!("/settings/members?cursor={cursor}{sort}")).await;
            assert_eq!(other.status.is_success(), goes_on, "a cursor goes on in its own order: {sort}");
        }
        assert!(owner.get("/settings/members?sort=password_hash").await.status.is_client_error());
    }

    a_list_of_members_is_taken_whole_as_a_file_and_recorded(api) {
        for n in 0..60 {
            api.clock.advance(Duration::from_secs(1));
            api.add_named(&format!("m{n:02}@acme.example"), if n == 7 { "=cmd|' /C calc'!A0" } else { "Some Member" }).await;
        }
        api.add_member("audit@acme.example", "auditor").await;
        let auditor = api.signed_in("audit@acme.example").await;
        let copy = auditor.get("/settings/members/export?sort=-email").await;
        assert_eq!(copy.headers["content-disposition"], "attachment; filename=\"members.csv\"");
        let lines: Vec<&str> = copy.page().lines().collect();
        assert_eq!(lines.len(), 1 + 62);
        assert!(lines[0].starts_with("\"id\",\"name\",\"email\",\"role\",\"status\""));
        assert!(lines[1].contains("\"Olive Owner\",\"owner@acme.example\",\"owner\",\"active\""), "{}", lines[1]);
        assert!(copy.body.contains("\"'=cmd|"), "a spreadsheet runs nothing");
        assert!(!copy.body.contains("argon2"));
        let found = auditor.get("/settings/members/export?q=m07").await;
        assert_eq!(found.page().lines().count(), 2, "what is listed, and no more");
        let records = api.records("member.list_exported").await;
        assert_eq!(records.len(), 2);
        assert_eq!(records[1]["details"]["after"]["q"], "m07");
        let jo = api.signed_in("m00@acme.example").await;
        assert_eq!(jo.get("/settings/members/export").await.status.as_u16(), 403);
        assert_eq!(api.records("member.list_exported").await.len(), 2, "who may not, has taken none");
    }

    a_file_of_more_members_than_are_read_at_once_has_each_of_them_once(api) {
        let owner = api.signed_in(OWNER).await;
        // With the owner a thousand, which is read in two full parts and one with nothing in it; many bear the same name.
        for n in 0..999 {
            api.add_named(&format!("m{n:03}@acme.example"), ["Ada", "Ben", "Cleo"][n % 3]).await;
        }
        for sort in ["email", "-name", "created"] {
            let copy = owner.get(&format!("/settings/members/export?sort={sort}")).await;
            let emails: Vec<&str> = copy.page().lines().skip(1).map(|row| row.split("\",\"").nth(2).unwrap()).collect();
            let each: BTreeSet<&str> = emails.iter().copied().collect();
            assert_eq!((emails.len(), each.len()), (1000, 1000), "{sort}");
            assert!(sort != "email" || emails.is_sorted());
        }
    }

    a_member_is_given_a_role_suspended_let_in_again_and_removed(api) {
        let id = api.add_member(JO, "member").await;
        let path = format!("/settings/members/{id}");
        let owner = api.signed_in(OWNER).await;
        let jo = api.signed_in(JO).await;
        let act = async |what: &str, fields: &[(&str, &str)]| owner.post(&format!("{path}/{what}"), fields).await;

        assert_eq!(act("role", &[("role", "emperor")]).await.refusal(), (400, "unreadable_form"));
        assert_eq!(act("role", &[("role", "auditor")]).await.leads_to(), Some(path.as_str()));
        assert_eq!(jo.get("/settings/members").await.status.as_u16(), 200, "felt at the next request");
        assert!(owner.get(&path).await.page().contains("Suspend"));
        assert_eq!(act("suspend", &[]).await.leads_to(), Some(path.as_str()));
        assert_eq!(jo.get("/settings/members").await.status.as_u16(), 303, "signed out");
        assert_eq!(jo.sign_in(JO, PASSWORD).await.refusal(), (401, "invalid_credentials"));
        let page = owner.get(&path).await;
        assert!(page.page().contains("/reactivate") && !page.body.contains("/suspend"));
        assert_eq!(act("reactivate", &[]).await.status.as_u16(), 303);
        assert_eq!(jo.sign_in(JO, PASSWORD).await.leads_to(), Some("/"));
        assert_eq!(act("remove", &[]).await.leads_to(), Some("/settings/members"));
        assert!(!owner.get("/settings/members").await.page().contains(JO));
        assert_eq!(owner.get(&path).await.status.as_u16(), 404);
    }

    a_member_is_signed_out_everywhere(api) {
        let id = api.add_member(JO, "member").await;
        let path = format!("/settings/members/{id}");
        let (owner, jo) = (api.signed_in(OWNER).await, api.signed_in(JO).await);
        assert!(owner.get(&path).await.page().contains("End Sessions"));
        assert_eq!(owner.post(&format!("{path}/end-sessions"), &[]).await.leads_to(), Some(path.as_str()));
        assert_eq!(jo.get("/overview").await.status.as_u16(), 303);
        assert_eq!(jo.sign_in(JO, PASSWORD).await.leads_to(), Some("/"));
        assert_eq!(jo.post(&format!("{path}/end-sessions"), &[]).await.refusal(), (403, "insufficient_role"));
    }

    the_page_of_a_member_leads_to_what_they_did_and_to_their_sessions(api) {
        let id = api.add_member(JO, "member").await;
        let (owner, _jo) = (api.signed_in(OWNER).await, api.signed_in(JO).await);
        let page = owner.get(&format!("/settings/members/{id}")).await;
        for list in ["/audit-log?actor=", "/settings/security/sessions?q="] {
            let (_, rest) = page.page().split_once(&format!("href=\"{list}")).unwrap();
            let found = owner.get(&format!("{list}{}", rest.split('"').next().unwrap())).await;
            assert_eq!(found.page().matches("class=\"cover\"").count(), 1, "{list}: {}", found.body);
            let whole = owner.get(list.split('?').next().unwrap()).await;
            assert!(whole.page().matches("class=\"cover\"").count() > 1, "{list}, the control");
        }
    }

    nobody_is_offered_or_does_what_is_above_their_rank(api) {
        api.add_member("admin@acme.example", "admin").await;
        let session = api.owner().await;
        let path = format!("/settings/members/{}", session.text("/user/id"));
        let admin = api.signed_in("admin@acme.example").await;
        let page = admin.get(&path).await;
        for button in ["/role", "/end-sessions", "/suspend", "/remove", "/temporary-password"] {
            assert!(!page.page().contains(button), "{button}");
            let fields: &[_] = if button == "/role" { &[("role", "member")] } else { &[] };
            let answer = admin.post(&format!("{path}{button}"), fields).await;
            assert_eq!(answer.refusal(), (403, "rank_too_low"), "{button}");
        }
        let owner = api.signed_in(OWNER).await;
        assert_eq!(owner.post(&format!("{path}/suspend"), &[]).await.refusal(), (409, "own_membership"));
        assert_eq!(owner.post(&format!("{path}/role"), &[("role", "admin")]).await.refusal(), (409, "last_owner"));
        let invited = admin.post("/settings/invitations", &[("email", JO), ("role", "owner")]).await;
        assert_eq!(invited.refusal(), (403, "rank_too_low"));
        assert!(!admin.get("/settings/members").await.page().contains(r#"value="owner""#));
        assert!(owner.get("/settings/members").await.page().contains(r#"value="owner""#));
    }

    an_invitation_is_sent_again_and_revoked(api) {
        let owner = api.signed_in(OWNER).await;
        let fields = [("email", JO), ("role", "member")];
        assert_eq!(owner.post("/settings/invitations", &fields).await.leads_to(), Some("/settings/members"));
        assert!(owner.cookie("kt_flash").is_some(), "and it is said");
        let page = owner.get("/settings/members").await;
        assert!(page.page().contains(JO) && page.body.contains("Open"));
        let (_, rest) = page.body.split_once("/settings/invitations/").unwrap();
        let path = format!("/settings/invitations/{}", rest.split('/').next().unwrap());
        let first = api.token_for(JO).await;
        api.clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(owner.post(&format!("{path}/resend"), &[]).await.status.as_u16(), 303);
        let second = api.token_for(JO).await;
        let open = async |token: &str| api.browser().get(&format!("/register?token={token}")).await.status.as_u16();
        assert_eq!((open(&first).await, open(&second).await), (422, 200));
        assert_eq!(owner.post(&format!("{path}/revoke"), &[]).await.status.as_u16(), 303);
        assert_eq!(open(&second).await, 422);
        assert!(owner.get("/settings/members").await.page().contains("Revoked"));
    }

    whoever_waits_is_approved_with_a_temporary_password_or_rejected(api) {
        let jo = api.add_waiting(JO).await;
        let other = api.add_waiting("other@acme.example").await;
        let owner = api.signed_in(OWNER).await;
        let fields = [("role", "member"), ("temporary_password", "true")];
        let approved = owner.post(&format!("/settings/registrations/{jo}/approve"), &fields).await;
        let temporary = secret_of(approved.page());
        assert_eq!(api.browser().sign_in(JO, PASSWORD).await.refusal(), (401, "invalid_credentials"));
        assert_eq!(api.browser().sign_in(JO, &temporary).await.leads_to(), Some("/change-password"));
        assert_eq!(owner.post(&format!("/settings/registrations/{other}/reject"), &[]).await.status.as_u16(), 303);
        let page = owner.get("/settings/members").await;
        assert!(!page.page().contains("other@acme.example") && !page.body.contains("Waiting for approval"));
    }

    a_change_of_people_asks_for_a_fresh_proof(api) {
        let id = api.add_member(JO, "member").await;
        let owner = api.signed_in(OWNER).await;
        api.clock.advance(std::time::Duration::from_mins(11));
        let path = format!("/settings/members/{id}/suspend");
        assert_eq!(owner.post(&path, &[]).await.refusal(), (403, "reauthentication_required"));
        let proven = owner.post("/api/session/reauthenticate", &[("password", PASSWORD)]).await;
        assert_eq!(proven.status.as_u16(), 200);
        assert_eq!(owner.post(&path, &[]).await.status.as_u16(), 303);
    }

    the_second_factors_of_whoever_lost_them_are_reset_with_a_reason(api) {
        let jo = Holder::new(&api, JO, "member").await;
        let whoami = api.get("/v1/whoami").bearer(&jo.token).send().await;
        let path = format!("/settings/members/{}", whoami.text("/user/id"));
        let asked = api.browser().sign_in(JO, PASSWORD).await;
        assert!(asked.leads_to().unwrap().starts_with("/login/verify"), "{:?}", asked.leads_to());
        let owner = api.signed_in(OWNER).await;
        assert!(owner.get(&path).await.page().contains("Reset MFA"));
        assert!(!owner.get("/settings/members?mfa=missing").await.page().contains(JO));
        let reset = async |reason: &str| owner.post(&format!("{path}/reset-mfa"), &[("reason", reason)]).await;
        let nothing = reset(" ").await;
        assert_eq!((nothing.status.as_u16(), nothing.text("/error/param")), (422, "reason"));
        assert_eq!(reset("Lost the phone; seen in person").await.leads_to(), Some(path.as_str()));
        assert_eq!(api.browser().sign_in(JO, PASSWORD).await.leads_to(), Some("/"));
        assert!(!owner.get(&path).await.page().contains("Reset MFA"), "there is none any more");
        assert!(owner.get("/settings/members?mfa=missing").await.page().contains(JO));
    }

    hostile_names_are_text_on_every_page(api) {
        const NAME: &str = r#"<script>alert(1)</script>"><img src=x onerror=alert(2)>"#;
        let browser = api.signed_in(OWNER).await;
        let saved = browser.post("/settings/profile", &[("name", NAME), ("email", OWNER)]).await;
        assert_eq!(saved.status.as_u16(), 303, "{}", saved.body);
        let key = [("name", NAME), ("scope", "write"), ("ip_ranges", ""), ("requests_per_minute", ""), ("expires_at", "")];
        let made = browser.post("/settings/access-keys", &key).await;
        let renamed = browser.get("/settings/organization").await;
        let (_, rest) = renamed.page().split_once(r#"name="version" value=""#).unwrap();
        let version = rest.split('"').next().unwrap();
        let named = browser.post("/settings/organization", &[("name", NAME), ("version", version)]).await;
        assert_eq!(named.status.as_u16(), 303, "{}", named.body);
        let me = api.owner().await;
        let member = format!("/settings/members/{}", me.text("/user/id"));
        let listed = browser.get("/settings/access-keys").await;
        let (_, rest) = listed.page().split_once(r#"href="/settings/access-keys/"#).unwrap();
        let one = format!("/settings/access-keys/{}", rest.split('"').next().unwrap());
        let mut pages = vec![made];
        for path in ["/settings/profile", "/settings/organization", "/settings/members", &member, "/settings/access-keys", &one, "/overview"] {
            pages.push(browser.get(path).await);
        }
        for page in pages {
            assert!(page.page().contains("alert(1)"), "it is shown");
            assert!(!page.body.contains("<script>alert") && !page.body.contains("<img src=x"), "{}", page.body);
        }
    }
}
