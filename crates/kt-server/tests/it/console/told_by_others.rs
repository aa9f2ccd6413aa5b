//! What others can make the pages show of people: names that providers and directories tell, and why factors were reset. It
//! is text on every page (STANDARDS WEB-07).

use serde_json::json;

use crate::harness::{Answer, PASSWORD, TestApi, on_both};
use crate::mfa::Holder;
use crate::sso::provider::Says;

const OWNER: &str = "owner@acme.example";
const HOSTILE: &str = r#"<script>alert(1)</script>"><img src=x onerror=alert(2)>{{7*7}}"#;

/// Whether the page shows [`HOSTILE`], all of it as text.
fn is_text(page: &Answer) -> bool {
    let page = page.page();
    page.contains("&#60;script&#62;alert(1)")
        && !page.contains("<script>alert")
        && !page.contains("<img src=x")
}

/// The pages of the records of this action in which it stands.
async fn records_that_tell_it(api: &TestApi, action: &str) -> Vec<String> {
    let records =
        api.records(action).await.into_iter().filter(|record| record.to_string().contains("<script>"));
    records.map(|record| format!("/audit-log/{}", record["id"].as_str().unwrap())).collect()
}

on_both! {
    names_that_a_provider_or_a_directory_tells_are_text(api) {
        let provider = api.with_provider(json!({ "just_in_time": true })).await;
        provider.says(Says { userinfo: json!({ "name": HOSTILE }), ..Says::default() });
        assert_eq!(provider.way(&api.browser(), "kim").await.leads_to(), Some("/"));
        let directory = api.directory().await;
        let ada = directory.user("ada@acme.example").await;
        let name = json!([{ "op": "replace", "path": "displayName", "value": HOSTILE }]);
        assert_eq!(directory.patch(&format!("/Users/{ada}"), name).await.status, 200);
        directory.in_group(HOSTILE, &ada).await;

        let owner = api.signed_in(OWNER).await;
        let members = owner.get("/settings/members").await;
        let mut pages: Vec<_> = ["/settings/members", "/settings/security", "/settings/security/sessions"].map(str::to_owned).into();
        for email in ["kim@acme.example", "ada@acme.example"] {
            let (before, _) = members.page().split_once(email).unwrap();
            let (_, row) = before.rsplit_once("href=\"").unwrap();
            pages.push(row.split('"').next().unwrap().to_owned());
        }
        let told = records_that_tell_it(&api, "member.provisioned").await;
        assert!(!told.is_empty(), "{:?}", api.records("member.provisioned").await);
        let groups = records_that_tell_it(&api, "group.provisioned").await;
        assert!(!groups.is_empty(), "{:?}", api.records("group.provisioned").await);
        for path in pages.into_iter().chain(told).chain(groups) {
            let page = owner.get(&path).await;
            assert!(is_text(&page), "{path}: {}", page.body);
        }
    }

    the_reason_for_which_factors_were_reset_is_text(api) {
        let jo = Holder::new(&api, "jo@acme.example", "member").await;
        let whoami = api.get("/v1/whoami").bearer(&jo.token).send().await;
        let owner = api.signed_in(OWNER).await;
        let path = format!("/settings/members/{}/reset-mfa", whoami.text("/user/id"));
        assert_eq!(owner.post(&path, &[("reason", HOSTILE)]).await.status.as_u16(), 303);
        assert_eq!(api.browser().sign_in("jo@acme.example", PASSWORD).await.leads_to(), Some("/"), "the control");
        let told = records_that_tell_it(&api, "mfa.reset").await;
        assert_eq!(told.len(), 1);
        let page = owner.get(&told[0]).await;
        assert!(is_text(&page), "{}", page.body);
    }
}
