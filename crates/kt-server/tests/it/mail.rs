use std::time::Duration;

use kt_control::mail::MailError;
use serde_json::json;

use crate::harness::{TestApi, on_both};

async fn ask(api: &TestApi, email: &str) {
    // Letters are in the order of the moments at which they were written.
    api.clock.advance(Duration::from_secs(1));
    let answer = api.post("/v1/auth/password/forgot", json!({ "email": email })).send().await;
    assert_eq!(answer.status, 202, "{}", answer.json);
}

on_both! {
    mail_that_fails_for_now_is_tried_again_with_growing_patience_and_arrives_once(api) {
        api.mailbox.fail_with(Some(MailError::Temporary("greylisted".into())));
        ask(&api, "owner@acme.example").await;
        assert!(api.letters_to("owner@acme.example").await.is_empty());
        api.mailbox.fail_with(None);
        assert!(api.letters_to("owner@acme.example").await.is_empty(), "not before its time");
        api.clock.advance(Duration::from_mins(1));
        assert_eq!(api.letters_to("owner@acme.example").await.len(), 1);
        api.clock.advance(Duration::from_hours(2));
        assert_eq!(api.letters_to("owner@acme.example").await.len(), 1, "and never again");
        assert!(api.control.undelivered_mail(&api.operator()).await.unwrap().is_empty());
    }

    mail_that_is_refused_for_good_is_given_up_and_shown_to_the_operator(api) {
        api.mailbox.fail_with(Some(MailError::Permanent("550 no such mailbox".into())));
        ask(&api, "owner@acme.example").await;
        api.deliver().await;
        api.mailbox.fail_with(None);
        api.clock.advance(Duration::from_hours(2));
        assert!(api.letters_to("owner@acme.example").await.is_empty());
        let given_up = api.control.undelivered_mail(&api.operator()).await.unwrap();
        assert_eq!(given_up.len(), 1);
        assert_eq!(given_up[0].recipient, "owner@acme.example");
        assert!(given_up[0].reason.contains("550 no such mailbox"), "{}", given_up[0].reason);
        assert!(api.recorded("mail.failed").await, "in the organization's audit log");
    }

    mail_that_fails_for_a_day_is_given_up(api) {
        api.mailbox.fail_with(Some(MailError::Temporary("down".into())));
        ask(&api, "owner@acme.example").await;
        for _ in 0..30 {
            api.deliver().await;
            api.clock.advance(Duration::from_hours(1));
        }
        assert_eq!(api.control.undelivered_mail(&api.operator()).await.unwrap().len(), 1);
    }

    the_holder_of_a_locked_account_is_told_once_and_nobody_is_for_an_unknown_one(api) {
        for email in ["owner@acme.example", "nobody@acme.example"] {
            for _ in 0..12 {
                assert_eq!(api.login(email, "wrong").await.refusal(), (401, "invalid_credentials"));
            }
        }
        let told = api.letters_to("owner@acme.example").await;
        assert_eq!(told.len(), 1);
        assert!(told[0].content.text.contains("203.0.113.9"), "from where: {}", told[0].content.text);
        assert!(api.letters_to("nobody@acme.example").await.is_empty());
    }

    an_address_gets_three_letters_an_hour_and_the_last_link_stays_good(api) {
        for _ in 0..5 {
            ask(&api, "owner@acme.example").await;
        }
        let letters = api.letters_to("owner@acme.example").await;
        assert_eq!(letters.len(), 3);
        let reset = json!({ "token": crate::harness::token_in(&letters[2]), "new_password": "Quiet-willow-4-lakes" });
        assert_eq!(api.post("/v1/auth/password/reset", reset).send().await.status, 200);
        api.clock.advance(Duration::from_hours(1));
        ask(&api, "owner@acme.example").await;
        assert_eq!(api.letters_to("owner@acme.example").await.len(), 5, "the notice, and a new link");
    }

    whoever_asks_for_other_mail_in_somebodys_name_does_not_keep_a_reset_from_them(api) {
        for _ in 0..5 {
            let resend = json!({ "email": "owner@acme.example" });
            assert_eq!(api.post("/v1/auth/email/resend", resend).send().await.status, 202);
        }
        ask(&api, "owner@acme.example").await;
        assert_eq!(api.told("owner@acme.example", "Choose a new password").await, 1);
    }

    a_network_that_asks_for_too_much_mail_is_refused_and_no_other_is(api) {
        let ask = async |email: String, peer| {
            api.post("/v1/auth/password/forgot", json!({ "email": email })).from(peer).send().await
        };
        for n in 0..20 {
            assert_eq!(ask(format!("somebody{n}@acme.example"), "198.51.100.7:1").await.status, 202);
        }
        let refused = ask("owner@acme.example".into(), "198.51.100.99:1").await;
        assert_eq!(refused.refusal(), (429, "too_much_mail"));
        assert_eq!(refused.headers["retry-after"], "3600");
        assert_eq!(ask("owner@acme.example".into(), "203.0.113.1:1").await.status, 202);
    }
}
