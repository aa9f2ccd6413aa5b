//! Chat, and what holds for tasks as well: what is asked goes through a gateway as the person who asks, and what is kept is theirs alone.

mod arrival;
mod runs;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use http_body_util::BodyExt;
use kt_domain::actor::Role;
use kt_domain::clock::Clock;
use kt_domain::sign_in::MembershipState;
use kt_domain::workspace::{MOST_BYTES_KEPT, RunState};
use kt_store::conversations::Answered;
use kt_store::tasks;
use serde_json::json;

use super::browser::Browser;
use crate::audit::behind_its_back;
use crate::canary::Log;
use crate::harness::{Answer, TestApi, on_both};
use crate::stub_gateway::{REQUEST, StubGateway};

const OWNER: &str = "owner@acme.example";
const JO: &str = "jo@acme.example";
const EVE: &str = "eve@acme.example";

/// Asks in a conversation, or begins one; the answer's text, and the address of the conversation.
pub(super) async fn say(browser: &Browser<'_>, place: &str, question: &str) -> (String, String) {
    let answer = browser.post(place, &[("question", question), ("model", "small")]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let place = answer.headers["content-location"].to_str().unwrap().to_owned();
    (answer.body, place)
}

/// The conversation's page once nothing is being written any more.
pub(super) async fn settled(browser: &Browser<'_>, place: &str) -> Answer {
    for _ in 0..500 {
        let page = browser.get(place).await;
        if !page.page().contains("The answer is being written") {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the answer at {place} did not come to an end");
}

/// Waits until the page says that the answer is being written, and not that it was interrupted.
async fn still_written(browser: &Browser<'_>, place: &str) {
    for _ in 0..500 {
        let page = browser.get(place).await;
        if page.page().contains("The answer is being written") && !page.page().contains("interrupted") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the answer at {place} is told to be interrupted");
}

/// Waits until the program has logged this.
async fn logged(words: &str) {
    for _ in 0..500 {
        if Log::text().contains(words) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("`{words}` is not in the log");
}

/// A member and somebody else, both signed in.
async fn two(api: &TestApi) -> (Browser<'_>, Browser<'_>) {
    api.add_member(JO, "member").await;
    api.add_member(EVE, "admin").await;
    (api.signed_in(JO).await, api.signed_in(EVE).await)
}

on_both! {
    conversations_go_when_their_days_are_over_and_never_before(api) {
        let _stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let (_, place) = say(&jo, "/chat", "Hello").await;
        settled(&jo, &place).await;
        let keeping = api.keeping_workspaces_for(30).await;
        let day = Duration::from_hours(24);
        let is_there = async || api.signed_in(JO).await.get(&place).await.status == StatusCode::OK;
        api.clock.advance(29 * day);
        keeping.control.run_jobs(&keeping.operator()).await.unwrap();
        assert!(is_there().await, "its days are not over");
        api.clock.advance(2 * day);
        api.control.run_jobs(&api.operator()).await.unwrap();
        assert!(is_there().await, "this deployment keeps it");
        keeping.control.run_jobs(&keeping.operator()).await.unwrap();
        assert!(!is_there().await);
    }

    a_question_is_answered_through_a_gateway_as_the_person_who_asks(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let id = api.add_member(JO, "member").await;
        let jo = api.signed_in(JO).await;
        let (text, place) = say(&jo, "/chat", "What is a gateway?\nIn short").await;
        assert_eq!(text, "You said: **What is a gateway?\nIn short**", "it streams as it is");
        let page = settled(&jo, &place).await;
        assert!(page.page().contains("<p>You said: <strong>What is a gateway?\nIn short</strong></p>"), "{}", page.body);
        assert!(page.body.contains("What is a gateway? In short</h1>"), "it is called by its first words");

        api.clock.advance(Duration::from_secs(1));
        let (_, same) = say(&jo, &place, "And again").await;
        assert_eq!(same, place);
        settled(&jo, &place).await;
        let asked = stub.asked();
        assert_eq!((asked[0].claims.sub.as_str(), asked[0].claims.role), (id.as_str(), Role::Member));
        assert!(asked[0].claims.sid.is_some());
        let messages = asked[1].body["messages"].as_array().unwrap();
        let roles: Vec<_> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["user", "assistant", "user"], "what was said before goes with it");
        assert_eq!(messages[1]["content"], "You said: **What is a gateway?\nIn short**");
        assert_ne!(asked[0].idempotency_key, asked[1].idempotency_key);

        let renamed = jo.post(&format!("{place}/rename"), &[("title", "<b>Gateways</b>")]).await;
        assert_eq!(renamed.leads_to(), Some(place.as_str()));
        let list = jo.get("/chat").await;
        assert!(list.page().contains("&#60;b&#62;Gateways&#60;/b&#62;"), "{}", list.body);
        assert_eq!(jo.post(&format!("{place}/delete"), &[]).await.leads_to(), Some("/chat"));
        assert_eq!(jo.get(&place).await.status, StatusCode::NOT_FOUND);
    }

    beside_an_answer_stands_what_the_gateway_decided(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let (_, place) = say(&jo, "/chat", "Hello").await;
        let page = settled(&jo, &place).await;
        let (_, rest) = page.page().split_once("hx-get=\"").unwrap();
        let decision = rest.split('"').next().unwrap().to_owned();
        assert!(decision.ends_with("/decision"), "{decision}");
        assert!(jo.get(&decision).await.page().contains("on its way"));
        stub.deliver_event(&api, 1).await;
        let shown = jo.get(&decision).await;
        for part in ["Redacted", "Parts were taken out on the way", "main", "small", "7 tokens", "42", "pii-detector", "email", &format!("{REQUEST}1")] {
            assert!(shown.page().contains(part), "{part} in {}", shown.body);
        }
        assert!(!shown.body.contains("hx-get"), "it asks no more");
        assert!(!shown.body.contains("/events?"), "a member does not read events");
        let owner = api.signed_in(OWNER).await;
        assert_eq!(owner.get(&decision).await.status, StatusCode::NOT_FOUND, "nobody else's");
    }

    a_policys_refusal_is_told_and_a_failure_can_be_tried_again(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let (text, place) = say(&jo, "/chat", "my number please block").await;
        assert_eq!(text, "");
        let page = settled(&jo, &place).await;
        assert!(page.page().contains("The policy pii-detector did not let this pass"), "{}", page.body);
        assert!(page.body.contains("The policy does not allow it."));
        api.clock.advance(Duration::from_secs(1));
        say(&jo, &place, "this will fail").await;
        let page = settled(&jo, &place).await;
        assert!(page.page().contains("There is no answer") && page.body.contains("The model did not answer."));
        api.clock.advance(Duration::from_secs(1));
        say(&jo, &place, "this will break").await;
        let page = settled(&jo, &place).await;
        assert!(page.page().contains("The answer broke off") && page.body.contains("You said:"), "what had come is kept");

        let again = jo.post(&format!("{place}/retry"), &[("model", "large")]).await;
        assert_eq!(again.status, StatusCode::OK);
        settled(&jo, &place).await;
        let asked = stub.asked();
        assert_eq!((asked.len(), asked[3].question()), (4, "this will break"));
        assert_eq!(asked[3].body["model"], "large");
        let messages = asked[3].body["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 1, "what was refused does not go with the next question: {messages:?}");
        let empty = jo.post(&place, &[("question", " "), ("model", "small")]).await;
        assert_eq!(empty.refusal(), (422, "validation_error"));
    }

    a_question_that_is_left_ends_the_call_and_keeps_what_had_come(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let mut answer = jo.begin("/chat", &[("question", "please hang"), ("model", "small")]).await;
        let place = answer.headers()["content-location"].to_str().unwrap().to_owned();
        let first = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "You said: ");
        let twice = jo.post(&place, &[("question", "and this"), ("model", "small")]).await;
        assert_eq!(twice.refusal(), (409, "still_answering"));
        assert!(!stub.asked()[0].was_left);
        drop(answer);
        stub.wait_for(|asked| asked[0].was_left).await;
        let page = settled(&jo, &place).await;
        assert!(page.page().contains("Stopped. What had come is kept.") && page.body.contains("You said:"));
        api.clock.advance(Duration::from_secs(1));
        let (text, _) = say(&jo, &place, "and this").await;
        assert_eq!(text, "You said: **and this**");
    }

    an_answer_whose_server_ended_is_told_to_be_interrupted(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let answer = jo.begin("/chat", &[("question", "please hang"), ("model", "small")]).await;
        let place = answer.headers()["content-location"].to_str().unwrap().to_owned();
        stub.wait_for(|asked| asked.len() == 1).await;
        assert!(jo.get(&place).await.page().contains("The answer is being written"));
        api.clock.advance(Duration::from_secs(40));
        let page = jo.get(&place).await;
        assert!(page.page().contains("interrupted") && page.body.contains("data-again"), "{}", page.body);
    }

    an_answer_that_is_long_in_coming_is_not_interrupted(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let answer = jo.begin("/chat", &[("question", "please think"), ("model", "small")]).await;
        let place = answer.headers()["content-location"].to_str().unwrap().to_owned();
        stub.wait_for(|asked| asked.len() == 1).await;
        api.clock.advance(Duration::from_secs(40));
        still_written(&jo, &place).await;
        let again = jo.post(&format!("{place}/retry"), &[("model", "small")]).await;
        assert_eq!(again.refusal(), (409, "still_answering"), "nobody asks the model a second time");
        stub.release();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(text, "You said: **please think**");
        assert_eq!(stub.asked().len(), 1);
    }

    an_answer_whose_reader_is_slow_is_not_interrupted(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let answer = jo.begin("/chat", &[("question", "please pour"), ("model", "small")]).await;
        let place = answer.headers()["content-location"].to_str().unwrap().to_owned();
        stub.wait_for(|asked| asked.first().is_some_and(|asked| asked.was_told)).await;
        api.clock.advance(Duration::from_secs(40));
        still_written(&jo, &place).await;
        drop(answer);
        stub.wait_for(|asked| asked[0].was_left).await;
        assert!(settled(&jo, &place).await.page().contains("Stopped. What had come is kept."));
    }

    an_answer_that_grows_too_long_says_why_it_ends(api) {
        let _stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let (_, place) = say(&jo, "/chat", "a flood").await;
        let page = settled(&jo, &place).await;
        assert!(page.page().contains("The answer grew longer"), "{}", page.body.len());
        assert!(page.body.contains("more more") && !page.body.contains("There is no answer"), "what had come is kept");
        for _ in 0..3 {
            api.clock.advance(Duration::from_secs(1));
            say(&jo, &place, "another flood").await;
            settled(&jo, &place).await;
        }
        let full = jo.post(&place, &[("question", "Hello"), ("model", "small")]).await;
        assert_eq!(full.refusal(), (409, "conversation_full"));
        say(&jo, "/chat", "Hello").await;
    }

    what_a_proxy_answers_is_not_told_as_an_answer_that_broke_off(api) {
        let _stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let (_, place) = say(&jo, "/chat", "the way is shut").await;
        let page = settled(&jo, &place).await;
        assert!(page.page().contains("Something before the gateway") && !page.body.contains("broke off"), "{}", page.body);
    }

    a_gateway_that_takes_no_requests_is_passed_over(api) {
        let first = StubGateway::start_named(&api, "gw-first").await;
        let second = StubGateway::start(&api, "openai").await;
        let (jo, eve) = two(&api).await;
        let answered = async |question: &str| {
            let (text, _) = say(&jo, "/chat", question).await;
            assert_eq!(text, format!("You said: **{question}**"));
            (first.asked().len(), second.asked().len())
        };
        assert_eq!(answered("One").await, (1, 0));
        first.refuse(true);
        assert_eq!(answered("Two").await, (1, 1), "it says that it drains, before anybody has heard of it");
        let fields = [("name", "Greet"), ("prompt", "Hello"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 1);
        let done = jo.get(&run).await;
        assert!(done.page().contains("Done") && !done.body.contains("begun"), "{}", done.body);
        first.refuse(false);
        assert_eq!(answered("Three").await, (2, 2), "the control");
        assert!(eve.post("/gateways/gw-first/drain", &[]).await.leads_to().is_some());
        assert_eq!(answered("Four").await, (2, 3), "it was told to drain, and has not heard of it");
        assert!(eve.post("/gateways/gw-first/resume", &[]).await.leads_to().is_some());
        let target = json!({ "id": "main", "provider": "openai", "state": "usable", "models": ["small"] });
        let report = json!({ "gateway_id": "gw-first", "address": first.address, "targets": [target], "draining": true });
        first.report_with(&api, report).await;
        assert_eq!(answered("Five").await, (2, 4), "it reports that it drains");
    }

    a_gateway_whose_host_is_gone_is_passed_over(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", gone.local_addr().unwrap());
        stub.report(&api, "gw-first", &address, "openai").await;
        let (jo, _) = two(&api).await;
        let (text, _) = say(&jo, "/chat", "Hello").await;
        assert_eq!(text, "You said: **Hello**");
        drop(gone);
    }

    an_answer_that_comes_while_the_store_is_away_is_kept_when_it_is_back(api) {
        Log::begin();
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let fields = [("name", "Think"), ("prompt", "please think"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        let chat = jo.begin("/chat", &[("question", "please think"), ("model", "small")]).await;
        let place = chat.headers()["content-location"].to_str().unwrap().to_owned();
        let control = Arc::clone(&api.control);
        let server = tokio::spawn(async move { control.run_waiting_tasks().await });
        stub.wait_for(|asked| asked.len() == 2).await;
        behind_its_back(&api, "ALTER TABLE task_runs RENAME TO runs_away").await;
        behind_its_back(&api, "ALTER TABLE conversation_turns RENAME TO turns_away").await;
        stub.release();
        for what in ["the outcome of a run", "an answer"] {
            logged(&format!("it is tried again what=\"{what}\"")).await;
        }
        behind_its_back(&api, "ALTER TABLE runs_away RENAME TO task_runs").await;
        behind_its_back(&api, "ALTER TABLE turns_away RENAME TO conversation_turns").await;
        assert_eq!(server.await.unwrap().unwrap(), 1);
        let done = jo.get(&run).await;
        assert!(done.page().contains("Done") && !done.body.contains("begun"), "{}", done.body);
        chat.into_body().collect().await.unwrap();
        let page = settled(&jo, &place).await;
        assert!(page.page().contains("<strong>please think</strong>") && !page.body.contains("interrupted"), "{}", page.body);
        assert_eq!(stub.asked().len(), 2, "no model is asked again");
    }

    what_a_gateway_does_not_record_is_not_waited_for(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let (_, place) = say(&jo, "/chat", "Hello").await;
        let page = settled(&jo, &place).await;
        assert!(page.page().contains("on its way") && page.body.contains("7 tokens"), "{}", page.body);
        let fields = [("name", "Greet"), ("prompt", "Hello"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        api.control.run_waiting_tasks().await.unwrap();
        assert!(jo.get(&run).await.page().contains("every 2s"), "its event is on its way");
        api.clock.advance(Duration::from_mins(3));
        for place in [&place, &run] {
            let later = jo.get(place).await;
            let (_, main) = later.page().split_once("<main").unwrap();
            assert!(main.contains("has delivered no record of this"), "{main}");
            assert!(!main.contains("hx-get"), "{main}");
        }
        assert!(jo.get(&place).await.page().contains("7 tokens"));
        stub.deliver_event(&api, 1).await;
        assert!(jo.get(&place).await.page().contains("pii-detector"), "one that comes late is told");
    }

    what_a_model_writes_stays_text(api) {
        let _stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let hostile = "<script>alert(1)</script> <img src=x onerror=alert(1)> [x](javascript:alert(1)) ![y](https://evil.example/p.png)";
        let (_, place) = say(&jo, "/chat", hostile).await;
        let page = settled(&jo, &place).await;
        let (_, main) = page.page().split_once("id=\"thread\"").unwrap();
        for part in ["<script", "<img", "href=\"javascript:", "src=\"https://evil"] {
            assert!(!main.contains(part), "{part} in {main}");
        }
        assert!(main.contains("rel=\"noopener noreferrer\""), "{main}");
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("require-trusted-types-for 'script'") && policy.contains("img-src 'self' data:"));
    }

    tasks_and_conversations_are_found_by_their_names(api) {
        let _stub = StubGateway::start(&api, "openai").await;
        let (jo, eve) = two(&api).await;
        for name in ["Greet", "Count <b>sheep</b>"] {
            let fields = [("name", name), ("prompt", "Do it for {{whom}}"), ("model", "small")];
            assert!(jo.post("/tasks", &fields).await.leads_to().is_some());
            say(&jo, "/chat", name).await;
        }
        for page in ["/tasks", "/chat"] {
            for (asked, greet, count) in [("gREEt", true, false), ("%3Cb%3E", false, true), ("e", true, true), ("wolves", false, false)] {
                let found = jo.get(&format!("{page}?q={asked}")).await;
                assert_eq!(found.page().contains(">Greet<"), greet, "{page} {asked}");
                assert_eq!(found.page().contains(">Count &#60;b&#62;"), count, "{page} {asked}");
                assert_eq!(found.page().contains("fits this search"), !greet && !count, "{page} {asked}");
            }
            assert!(!eve.get(&format!("{page}?q=e")).await.page().contains(">Greet<"), "nobody else's");
        }
        let by_prompt = jo.get("/tasks?q=whom").await;
        assert!(by_prompt.page().contains(">Greet<"), "{}", by_prompt.body);
    }

    what_somebody_keeps_is_nobody_elses(api) {
        let _stub = StubGateway::start(&api, "openai").await;
        let (jo, eve) = two(&api).await;
        let (_, place) = say(&jo, "/chat", "Hello").await;
        let fields = [("name", "Greet"), ("prompt", "Hello {{name}}"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = jo.post(&format!("{task}/runs"), &[("input-name", "Ada")]).await.leads_to().unwrap().to_owned();
        let asked = [("question", "x"), ("model", "small")];
        for other in [&eve, &api.signed_in(OWNER).await] {
            for path in [&place, &task, &run] {
                assert_eq!(other.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
            }
            assert_eq!(other.post(&place, &asked).await.refusal(), (404, "not_found"));
            assert_eq!(other.post(&format!("{place}/retry"), &[("model", "small")]).await.refusal(), (404, "not_found"));
            assert_eq!(other.post(&format!("{place}/rename"), &[("title", "x")]).await.refusal(), (404, "not_found"));
            assert_eq!(other.post(&format!("{place}/delete"), &[]).await.refusal(), (404, "not_found"));
            assert_eq!(other.post(&task, &fields).await.refusal(), (404, "not_found"));
            assert_eq!(other.post(&format!("{task}/delete"), &[]).await.refusal(), (404, "not_found"));
            assert_eq!(other.post(&format!("{task}/runs"), &[("input-name", "x")]).await.refusal(), (404, "not_found"));
            assert_eq!(other.post(&format!("{run}/cancel"), &[]).await.refusal(), (404, "not_found"));
            assert!(!other.get("/chat").await.page().contains("Hello") && !other.get("/tasks").await.page().contains("Greet"));
        }
        for path in [&place, &task, &run] {
            assert_eq!(jo.get(path).await.status, StatusCode::OK, "the control: {path}");
        }
        api.add_member("auditor@acme.example", "auditor").await;
        let auditor = api.signed_in("auditor@acme.example").await;
        for path in ["/chat", "/tasks", &place] {
            assert_eq!(auditor.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
        }
        assert_eq!(auditor.post("/chat", &asked).await.refusal(), (403, "insufficient_role"));
    }

    whoever_keeps_a_hundred_megabytes_keeps_no_more(api) {
        let _stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let fields = [("name", "Greet"), ("prompt", "Hello"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        let run = run.rsplit('/').next().unwrap().parse().unwrap();
        let large = Answered { text: "x".repeat(MOST_BYTES_KEPT.try_into().unwrap()), ..Answered::default() };
        let tx = api.store.begin_write().await.unwrap();
        assert!(tasks::settle(&tx, &run, 0, RunState::Complete, &large, api.clock.now()).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(jo.post(&format!("{task}/runs"), &[]).await.refusal(), (409, "too_much_kept"));
        assert_eq!(jo.post(&format!("{task}/delete"), &[]).await.leads_to(), Some("/tasks"));
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        assert!(jo.post(&format!("{task}/runs"), &[]).await.leads_to().is_some(), "the control");
    }

    an_answer_on_its_way_to_somebody_who_is_suspended_ends_and_that_to_another_goes_on(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let session = api.somebody("member").await;
        let sam = api.signed_in(session.text("/user/email")).await;
        let question = [("question", "please hang"), ("model", "small")];
        let fields = [("name", "Greet"), ("prompt", "please hang"), ("model", "small")];
        let task = sam.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = sam.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        let control = api.control.clone();
        let worker = tokio::spawn(async move { control.run_waiting_tasks().await });
        stub.wait_for(|asked| asked.len() == 1).await;
        let answer = sam.begin("/chat", &question).await;
        stub.wait_for(|asked| asked.len() == 2).await;
        let control = jo.begin("/chat", &question).await;
        stub.wait_for(|asked| asked.len() == 3 && asked.iter().all(|each| each.was_told)).await;
        assert!(stub.asked().iter().all(|asked| !asked.was_left));
        api.becomes(&session, Role::Member, MembershipState::Suspended).await;
        stub.wait_for(|asked| asked[0].was_left && asked[1].was_left).await;
        assert_eq!(worker.await.unwrap().unwrap(), 1);
        assert!(!stub.asked()[2].was_left, "the control");
        drop((answer, control));
        api.becomes(&session, Role::Member, MembershipState::Active).await;
        let sam = api.signed_in(session.text("/user/email")).await;
        assert!(sam.get(&run).await.page().contains("Refused"));
    }

    an_answer_on_its_way_ends_when_its_reader_signs_out_and_that_to_another_goes_on(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, sam) = two(&api).await;
        let question = [("question", "please hang"), ("model", "small")];
        let answer = sam.begin("/chat", &question).await;
        stub.wait_for(|asked| asked.len() == 1).await;
        let control = jo.begin("/chat", &question).await;
        stub.wait_for(|asked| asked.len() == 2 && asked.iter().all(|each| each.was_told)).await;
        assert_eq!(sam.post("/logout", &[]).await.leads_to(), Some("/login"));
        stub.wait_for(|asked| asked[0].was_left).await;
        assert!(!stub.asked()[1].was_left, "the control");
        drop((answer, control));
    }
}
