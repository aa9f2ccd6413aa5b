//! Passwords that end: whoever has one is told before, by mail and on the pages.

use std::time::Duration;

use axum::http::Method;
use kt_domain::deployment_settings::{DeploymentSettings, PasswordSection};
use kt_domain::passwords::Preset;
use serde_json::json;

use crate::databases::Kind;
use crate::harness::{PASSWORD, TestApi, on_both};

const JO: &str = "jo@acme.example";
const BANNER: &str = "Choose another password before";

/// How many letters whose subject begins so were sent to somebody, once the jobs have run.
async fn told(api: &TestApi, email: &str, subject: &str) -> usize {
    api.control.run_jobs(&api.operator()).await.unwrap();
    let letters = api.letters_to(email).await;
    letters.iter().filter(|letter| letter.content.subject.starts_with(subject)).count()
}

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

on_both! {
    a_password_that_grows_old_is_told_a_week_and_a_day_before_its_end(api) {
        api.add_member(JO, "member").await;
        let reminders = async || told(&api, JO, "Choose a new password before").await;
        let has_banner = async || api.signed_in(JO).await.get("/settings/profile").await.page().contains(BANNER);
        api.clock.advance(hours(83 * 24 - 1));
        assert_eq!((reminders().await, has_banner().await), (0, false), "more than a week is left");
        for (later, letters) in [(1, 1), (1, 1), (142, 1), (1, 2), (23, 2)] {
            api.clock.advance(hours(later));
            assert_eq!((reminders().await, has_banner().await), (letters, true), "{later} hours later");
        }
        api.clock.advance(hours(1));
        assert_eq!(api.login(JO, PASSWORD).await.text("/status"), "password_change_required", "as was said");
        assert_eq!(reminders().await, 2, "nobody is reminded of what is over");
    }

    nobody_is_told_of_a_password_that_is_new(api) {
        api.add_member(JO, "member").await;
        api.add_member("kim@acme.example", "member").await;
        let change = json!({ "current_password": PASSWORD, "new_password": "Quiet-willow-4-lakes" });
        api.clock.advance(hours(80 * 24));
        let kim = api.token_of("kim@acme.example").await;
        let changed = api.post("/v1/me/password", change).bearer(&kim).send().await;
        assert!(changed.status.is_success(), "{}", changed.json);
        api.clock.advance(hours(5 * 24));
        assert_eq!(told(&api, "kim@acme.example", "Choose a new password before").await, 0, "it is a new one");
        assert_eq!(told(&api, JO, "Choose a new password before").await, 1, "the control");
    }

    a_temporary_password_that_nobody_uses_is_told_a_day_before_its_end(api) {
        let owner = api.owner().await;
        let mut given = Vec::new();
        for email in [JO, "kim@acme.example"] {
            let id = api.add_member(email, "member").await;
            let set = api.request(Method::POST, &format!("/v1/members/{id}/temporary-password"));
            let set = set.bearer(owner.access_token()).send().await;
            given.push(set.text("/temporary_password").to_owned());
        }
        let step = api.login("kim@acme.example", &given[1]).await;
        let replace = json!({ "flow_token": step.text("/flow_token"), "new_password": "Quiet-willow-4-lakes" });
        assert_eq!(api.post("/v1/auth/password/replace", replace).send().await.status, 200);
        let reminders = async |email: &str| told(&api, email, "Use your temporary password before").await;
        for (later, letters) in [(47, 0), (1, 1), (1, 1), (23, 1)] {
            api.clock.advance(hours(later));
            assert_eq!(reminders(JO).await, letters, "{later} hours later");
        }
        assert_eq!(reminders("kim@acme.example").await, 0, "it was used");
        assert!(api.letters_to(JO).await.iter().all(|letter| !letter.content.text.contains(&given[0])));
    }
}

/// An API in a deployment where passwords may grow old.
pub(crate) async fn ageless(kind: Kind) -> TestApi {
    let password = PasswordSection { preset: Some(Preset::Nist80063b), ..PasswordSection::default() };
    TestApi::deployed(kind, DeploymentSettings { password, ..DeploymentSettings::default() })
        .await
        .set_up()
        .await
}

on_both! {
    from crate::ending_passwords::ageless;
    nobody_is_told_of_a_password_that_does_not_end(api) {
        for _ in 0..10 {
            api.clock.advance(hours(10 * 24));
            assert_eq!(told(&api, "owner@acme.example", "Choose a new password before").await, 0);
        }
        let page = api.signed_in("owner@acme.example").await.get("/settings/profile").await;
        assert!(!page.page().contains(BANNER));
    }
}
