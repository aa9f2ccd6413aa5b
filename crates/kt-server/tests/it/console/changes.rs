//! That a change carries a token by whatever method, and is asked for by a page of whoever is signed in.

use axum::http::Method;

use super::browser::{Browser, CSRF, ORIGIN};
use crate::harness::on_both;

const HOLDER: &str = "x-keeptrusts-holder";
const CHANGE: &str = "/settings/profile";
const FIELDS: [(&str, &str); 2] = [("name", "Olive"), ("email", "owner@acme.example")];

on_both! {
    every_method_that_changes_something_carries_a_token(api) {
        let browser = api.signed_in("owner@acme.example").await;
        let token = browser.token().await;
        let by_script = [("sec-fetch-site", "same-origin"), ("origin", ORIGIN), ("hx-request", "true")];
        for method in [Method::PUT, Method::PATCH, Method::DELETE] {
            let refused = browser.send(method.clone(), CHANGE, &by_script, None).await;
            assert_eq!(refused.refusal(), (403, "csrf_failed"), "{method}");
            let headers = [&by_script[..], &[(CSRF, token.as_str())]].concat();
            let heard = browser.send(method.clone(), CHANGE, &headers, None).await;
            assert_eq!(heard.status.as_u16(), 405, "{method}: there is only no such change");
        }
    }

    a_page_of_another_account_or_organization_changes_and_shows_nothing(api) {
        api.add_member("jo@acme.example", "member").await;
        let mark_of = async |browser: &Browser<'_>| {
            let page = browser.get(CHANGE).await;
            page.page().split("data-holder=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
        };
        let (owner, again) = (api.signed_in("owner@acme.example").await, api.signed_in("owner@acme.example").await);
        let jo = api.signed_in("jo@acme.example").await;
        let (own, of_jo) = (mark_of(&owner).await, mark_of(&jo).await);
        assert_eq!(own, mark_of(&again).await, "another session of the same person");
        for (mark, is_own) in [(own.as_str(), true), ("", true), (of_jo.as_str(), false), ("x", false)] {
            let token = owner.token().await;
            let headers = [(CSRF, token.as_str()), ("sec-fetch-site", "same-origin"), ("origin", ORIGIN), (HOLDER, mark)];
            let changed = owner.post_with(CHANGE, &FIELDS, &headers).await;
            let shown = owner.send(Method::GET, CHANGE, &[("hx-request", "true"), (HOLDER, mark)], None).await;
            if is_own {
                assert_eq!((changed.status.as_u16(), shown.status.as_u16()), (303, 200), "{mark}");
            } else {
                assert_eq!(changed.refusal(), (409, "signed_in_as_another"), "{mark}");
                assert_eq!(shown.refusal(), (409, "signed_in_as_another"), "{mark}");
            }
        }
    }
}
