//! Who is signed in, as the console lists it.

use std::time::Duration;

use super::browser::Browser;
use crate::harness::{Answer, PASSWORD, on_both};

const PAGE: &str = "/settings/security/sessions";
const OWNER: &str = "owner@acme.example";

/// Whose sessions a page shows, in its order.
fn holders(page: &Answer) -> Vec<String> {
    let rows = page.page().split("class=\"cover\" href=\"/settings/members/").skip(1);
    rows.map(|row| row.split_once('>').unwrap().1.split('<').next().unwrap().to_owned()).collect()
}

/// The same of this page and of all that it leads on to.
async fn all_holders(browser: &Browser<'_>, path: &str) -> Vec<String> {
    let (mut found, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = next {
        let page = browser.get(&path).await;
        found.extend(holders(&page));
        let leads_on = page.body.split_once("\" rel=\"next\"");
        next = leads_on.map(|(before, _)| before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&"));
    }
    found
}

on_both! {
    who_is_signed_in_is_listed_whole_searched_and_ordered(api) {
        for n in 0..6 {
            let email = format!("m{n}@acme.example");
            api.add_named(&email, &format!("Person {n}")).await;
            for _ in 0..9 {
                api.clock.advance(Duration::from_secs(1));
                assert_eq!(api.login(&email, PASSWORD).await.json["status"], "authenticated");
            }
        }
        api.clock.advance(Duration::from_secs(1));
        let owner = api.signed_in(OWNER).await;
        let security = owner.get("/settings/security").await;
        assert!(security.page().contains(&format!(r#"href="{PAGE}"><span>Active Sessions</span><b>55</b>"#)), "the figure");
        let all = all_holders(&owner, PAGE).await;
        assert_eq!((all.len(), all[0].as_str(), all[54].as_str()), (55, "Olive Owner", "Person 0"), "as the figure says");
        let by_address = all_holders(&owner, &format!("{PAGE}?sort=email")).await;
        assert_eq!((by_address.len(), by_address[0].as_str(), by_address[54].as_str()), (55, "Person 0", "Olive Owner"));
        assert_eq!(all_holders(&owner, &format!("{PAGE}?sort=-active")).await[0], "Olive Owner");
        for (q, count) in [("M3@ACME", 9), ("person%204", 9), ("203.0.113.9", 55), ("olive", 1), ("%25", 0)] {
            assert_eq!(all_holders(&owner, &format!("{PAGE}?q={q}")).await.len(), count, "{q}");
        }
        let page = owner.get(PAGE).await;
        let (_, rest) = page.page().split_once("class=\"cover\" href=\"").unwrap();
        assert!(owner.get(rest.split('"').next().unwrap()).await.page().contains(OWNER), "their page, where they are ended");
        assert!(owner.get(&format!("{PAGE}?q=%25")).await.page().contains("No session fits this search."));
        assert!(owner.get(&format!("{PAGE}?sort=cookie")).await.status.is_client_error());
        let cursor = page.body.split_once("?cursor=").unwrap().1.split('"').next().unwrap();
        assert_eq!(owner.get(&format!("{PAGE}?cursor={cursor}&sort=email")).await.status.as_u16(), 422, "of another order");
    }

    everybody_else_is_signed_out_by_one_button_that_an_auditor_does_not_have(api) {
        const END: &str = "/settings/security/sessions/end-everybodys";
        api.add_member("audit@acme.example", "auditor").await;
        let (auditor, owner) = (api.signed_in("audit@acme.example").await, api.signed_in(OWNER).await);
        let page = auditor.get(PAGE).await;
        assert!(!page.page().contains(END) && page.body.contains("Owners and admins can end them."));
        assert_eq!(auditor.post(END, &[]).await.refusal(), (403, "insufficient_role"));
        let page = owner.get(PAGE).await;
        assert!(page.page().contains(END) && page.body.contains("End Sessions"));
        assert_eq!(page.body.matches(">You</span>").count(), 1, "of two sessions");
        assert_eq!(holders(&page).len(), 2, "the control");
        assert_eq!(owner.post(END, &[]).await.leads_to(), Some(PAGE));
        assert_eq!(holders(&owner.get(PAGE).await), ["Olive Owner"]);
        assert_eq!(auditor.get("/overview").await.status.as_u16(), 303);
    }

    a_session_that_is_over_is_not_among_them_and_members_see_none(api) {
        api.add_member("audit@acme.example", "auditor").await;
        let jo = api.add_named("jo@acme.example", "Jo").await;
        let browser = api.signed_in("jo@acme.example").await;
        assert_eq!(browser.get(PAGE).await.status.as_u16(), 403);
        let auditor = api.signed_in("audit@acme.example").await;
        assert_eq!(holders(&auditor.get(&format!("{PAGE}?q=jo%40")).await), ["Jo"], "the control");
        let owner = api.signed_in(OWNER).await;
        assert_eq!(owner.post(&format!("/settings/members/{jo}/end-sessions"), &[]).await.status.as_u16(), 303);
        assert!(holders(&auditor.get(&format!("{PAGE}?q=jo%40")).await).is_empty());
        api.clock.advance(Duration::from_mins(20));
        assert_eq!(holders(&auditor.get(PAGE).await).len(), 2);
        api.clock.advance(Duration::from_mins(20));
        assert_eq!(holders(&auditor.get(PAGE).await), ["Some Member"], "idle for longer than the others may be");
    }
}
