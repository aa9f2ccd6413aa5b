//! Where people land, what they are told there, and how whoever finds no gateway asks for one.

use std::time::Duration;

use axum::http::StatusCode;
use kt_domain::actor::Role;
use kt_domain::sign_in::MembershipState;
use serde_json::json;

use super::{EVE, JO, OWNER, say, settled, two};
use crate::console::browser::Browser;
use crate::console::evidence::poll;
use crate::harness::on_both;
use crate::stub_gateway::{GATEWAY, StubGateway};

on_both! {
    without_a_gateway_the_pages_say_what_to_do(api) {
        let (jo, eve) = two(&api).await;
        assert!(jo.get("/chat").await.page().contains("/request-setup"));
        assert!(eve.get("/chat").await.page().contains("href=\"/gateways\""));
        assert!(jo.get("/tasks").await.page().contains("There is no model to ask"));
        let (_, place) = say(&jo, "/chat", "Hello").await;
        assert!(settled(&jo, &place).await.page().contains("No gateway is connected that has a usable model."));
    }

    a_chat_without_a_model_goes_on_as_soon_as_there_is_one(api) {
        const NEWS: &str = "/chat?awaits=model";
        let (jo, _) = two(&api).await;
        assert!(jo.get("/chat").await.page().contains(NEWS));
        assert_eq!(poll(&jo, NEWS).await.status, 204, "the page stays as it is");
        assert_eq!(jo.get(NEWS).await.status, 200, "whoever goes there sees the page");
        let _stub = StubGateway::start(&api, "openai").await;
        let page = poll(&jo, NEWS).await;
        assert!(page.page().contains("Your question") && !page.body.contains("hx-get=\"/chat?awaits"), "{}", page.body);
    }

    each_role_lands_where_it_can_go_on(api) {
        let landing = async |email: &str| {
            let answer = api.signed_in(email).await.get("/").await;
            answer.leads_to().unwrap().to_owned()
        };
        assert_eq!(landing(OWNER).await, "/chat", "the first administrator, before anything is deployed");
        for role in ["member", "auditor", "admin"] {
            api.clock.advance(Duration::from_secs(1));
            api.add_member(&format!("{role}@acme.example"), role).await;
        }
        assert_eq!(landing(OWNER).await, "/chat");
        assert_eq!(landing("admin@acme.example").await, "/overview");
        assert_eq!(landing("auditor@acme.example").await, "/overview");
        assert_eq!(landing("member@acme.example").await, "/request-setup");
        let _echo = StubGateway::start(&api, "echo").await;
        assert_eq!(landing("member@acme.example").await, "/request-setup", "the built-in echo deploys nothing");
    }

    the_only_one_who_is_active_lands_in_chat(api) {
        let landing = async |email: &str| {
            let answer = api.signed_in(email).await.get("/").await;
            answer.leads_to().unwrap().to_owned()
        };
        api.clock.advance(Duration::from_secs(1));
        let eve = api.somebody("owner").await;
        let email = eve.text("/user/email");
        assert_eq!(landing(email).await, "/overview", "the first administrator is active too");
        api.becomes(&api.owner().await, Role::Owner, MembershipState::Suspended).await;
        assert_eq!(landing(email).await, "/chat");
    }

    whoever_has_no_gateway_to_ask_is_not_sent_in_circles(api) {
        let stub = StubGateway::start(&api, "openai").await;
        api.add_member(JO, "member").await;
        let begins = async || {
            let jo = api.signed_in(JO).await;
            let landed = jo.get("/").await.leads_to().unwrap().to_owned();
            let page = jo.get("/request-setup").await;
            let has_form = page.page().contains("Ask the administrators");
            assert_ne!(has_form, page.body.contains("you can begin"), "{}", page.body);
            (landed, has_form)
        };
        let to_work = ("/overview".to_owned(), false);
        let to_ask = ("/request-setup".to_owned(), true);
        assert_eq!(begins().await, to_work);
        api.clock.advance(Duration::from_mins(2));
        assert_eq!(begins().await, ("/overview".to_owned(), true), "it has stopped reporting, and may be starting anew");
        api.clock.advance(Duration::from_hours(24));
        assert_eq!(begins().await, to_ask, "it is gone");
        let target = json!({ "id": "main", "provider": "openai", "state": "usable", "models": ["small"] });
        stub.report_with(&api, json!({ "targets": [target] })).await;
        assert_eq!(begins().await, to_ask, "it does not say where it is");
        stub.report(&api, GATEWAY, &stub.address, "openai").await;
        assert_eq!(begins().await, to_work, "the control");
        let lists_its_own = json!({ "id": "main", "provider": "openai", "state": "usable" });
        let report = json!({ "address": stub.address, "targets": [lists_its_own] });
        stub.report_with(&api, report).await;
        assert!(begins().await.1, "nobody tells which model to ask for");
    }

    whoever_sets_up_is_led_to_the_set_up_until_something_is_deployed(api) {
        let is_led = async |browser: &Browser<'_>, path: &str| {
            let answer = browser.get(path).await;
            let (_, main) = answer.page().split_once("<main").unwrap();
            main.split("</main>").next().unwrap().contains("href=\"/setup/provider\"")
        };
        let _echo = StubGateway::start(&api, "echo").await;
        for role in ["member", "auditor"] {
            api.add_member(&format!("{role}@acme.example"), role).await;
        }
        let owner = api.signed_in(OWNER).await;
        assert!(say(&owner, "/chat", "Hello").await.0.contains("Hello"));
        for path in ["/chat", "/overview", "/configurations"] {
            assert!(is_led(&owner, path).await, "{path}");
        }
        let others = [("member", "/chat"), ("auditor", "/overview"), ("auditor", "/configurations")];
        for (role, path) in others {
            let browser = api.signed_in(&format!("{role}@acme.example")).await;
            assert!(!is_led(&browser, path).await, "{role} at {path}");
        }
        let _stub = StubGateway::start(&api, "openai").await;
        for (path, expected) in [("/chat", false), ("/overview", false), ("/configurations", true)] {
            assert_eq!(is_led(&owner, path).await, expected, "{path}");
        }
    }

    the_active_organization_is_named_at_the_arrival_and_on_every_page(api) {
        api.add_member(JO, "member").await;
        let jo = api.signed_in(JO).await;
        let arrived = jo.get(jo.get("/").await.leads_to().unwrap()).await;
        assert!(arrived.page().contains("data-say=\"You are in Acme, as a member.\""), "{}", arrived.body);
        let next = jo.get("/settings/profile").await;
        assert!(!next.page().contains("You are in"), "that is said once");
        for page in [arrived, next] {
            let (_, active) = page.page().split_once("The active organization").unwrap();
            let (active, _) = active.split_once("</details>").unwrap();
            for part in ["Acme", "<code>acme</code>", "hx-post=\"/logout\""] {
                assert!(active.contains(part), "{part} in {active}");
            }
        }
    }

    with_a_deployment_everybody_begins_at_the_overview(api) {
        let _stub = StubGateway::start(&api, "openai").await;
        api.add_member(JO, "member").await;
        for email in [OWNER, JO] {
            assert_eq!(api.signed_in(email).await.get("/").await.leads_to(), Some("/overview"));
        }
        assert!(api.signed_in(JO).await.get("/request-setup").await.page().contains("you can begin"));
        let drained = api.signed_in(OWNER).await.post(&format!("/gateways/{GATEWAY}/drain"), &[]).await;
        assert_eq!(drained.status, StatusCode::SEE_OTHER);
        for email in [OWNER, JO] {
            let landed = api.signed_in(email).await.get("/").await;
            assert_eq!(landed.leads_to(), Some("/overview"), "nobody is sent back to the beginning by that");
        }
    }

    a_stranger_signs_in_and_comes_back_to_the_workspace(api) {
        for (path, sign_in) in [
            ("/chat", "/login?returnTo=%2Fchat"), ("/tasks", "/login?returnTo=%2Ftasks"),
            ("/chat/cnv_1?x=1", "/login?returnTo=%2Fchat%2Fcnv_1%3Fx%3D1"),
        ] {
            let browser = api.browser();
            assert_eq!(browser.get(path).await.leads_to(), Some(sign_in));
            let fields = [("email", OWNER), ("password", crate::harness::PASSWORD), ("returnTo", path)];
            assert_eq!(browser.post("/login", &fields).await.leads_to(), Some(path));
        }
    }

    a_member_asks_for_a_gateway_and_the_administrators_are_told_once(api) {
        let (jo, eve) = two(&api).await;
        let owner = api.signed_in(OWNER).await;
        assert!(!owner.get("/overview").await.page().contains("Members who ask"));
        assert!(jo.get("/request-setup").await.page().contains("Ask the administrators"));
        let long = "x".repeat(501);
        assert_eq!(jo.post("/request-setup", &[("note", &long)]).await.refusal(), (422, "validation_error"));
        let note = [("note", "For <b>support</b>")];
        for _ in 0..2 {
            assert_eq!(jo.post("/request-setup", &note).await.leads_to(), Some("/request-setup"));
        }
        let waiting = jo.get("/request-setup").await;
        assert!(waiting.page().contains("You asked on") && waiting.body.contains("For &#60;b&#62;support"));
        for administrator in [OWNER, EVE] {
            let letters = api.letters_to(administrator).await;
            let told = letters.iter().filter(|letter| letter.content.text.contains("found no gateway")).count();
            assert_eq!(told, 1, "{administrator}");
        }
        assert_eq!(api.letters_to(JO).await.iter().filter(|letter| letter.content.text.contains("no gateway")).count(), 0);
        assert!(owner.get("/overview").await.page().contains("Members who ask"));
        let list = owner.get("/request-setup").await;
        assert!(list.page().contains(JO) && list.body.contains("For &#60;b&#62;support"));
        let (_, rest) = list.body.split_once("hx-post=\"/request-setup/").unwrap();
        let close = format!("/request-setup/{}/close", rest.split('/').next().unwrap());
        assert_eq!(jo.post(&close, &[]).await.refusal(), (403, "insufficient_role"));
        assert_eq!(eve.post(&close, &[]).await.leads_to(), Some("/request-setup"));
        assert_eq!(eve.post(&close, &[]).await.refusal(), (404, "not_found"));
        assert!(!owner.get("/overview").await.page().contains("Members who ask"));
        assert!(jo.get("/request-setup").await.page().contains("Ask the administrators"), "they can ask again");
        assert!(api.recorded("setup_request.made").await && api.recorded("setup_request.closed").await);
    }
}
