//! Chat and tasks: what is asked goes through a gateway as the person who asks, and what is kept is theirs alone.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use http_body_util::BodyExt;
use kt_domain::actor::Role;
use kt_domain::clock::Clock;
use kt_domain::sign_in::MembershipState;
use kt_domain::workspace::{LONGEST_RUN, MOST_BYTES_KEPT, RunState};
use kt_server::DRAIN;
use kt_store::conversations::Answered;
use kt_store::tasks;
use serde_json::json;
use tokio::sync::oneshot;

use super::browser::Browser;
use super::evidence::poll;
use crate::audit::behind_its_back;
use crate::canary::Log;
use crate::harness::{Answer, TestApi, on_both, side_by_side};
use crate::stub_gateway::{GATEWAY, REQUEST, StubGateway};

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

/// Until it is said.
async fn until(said: oneshot::Receiver<()>) {
    said.await.unwrap();
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

    a_run_that_no_gateway_takes_waits_for_one(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let fields = [("name", "Greet"), ("prompt", "Hello"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        stub.refuse(true);
        let away = async |times: usize| {
            for _ in 0..times {
                assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 1);
                assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 0, "it waits a little");
                api.clock.advance(Duration::from_mins(1));
                stub.report(&api, GATEWAY, &stub.address, "openai").await;
            }
        };
        away(5).await;
        let waits = jo.get(&run).await;
        assert!(waits.page().contains("Waiting") && waits.body.contains("no gateway takes it at the moment"), "{}", waits.body);
        stub.refuse(false);
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 1);
        let done = jo.get(&run).await;
        assert!(done.page().contains("Done") && !done.body.contains("begun"), "{}", done.body);
        assert_eq!(stub.asked().len(), 1);

        stub.refuse(true);
        let run = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        away(30).await;
        assert!(api.signed_in(JO).await.get(&run).await.page().contains("Waiting"));
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 1);
        assert!(api.signed_in(JO).await.get(&run).await.page().contains("Failed"), "half an hour is enough");
    }

    a_run_that_came_too_early_waits_as_long_as_the_gateway_says(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let fields = [("name", "Hurry"), ("prompt", "too {{what}}"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let [early, spent] = ["early", "spent"].map(|what| [("input-what", what)]);
        let early = jo.post(&format!("{task}/runs"), &early).await.leads_to().unwrap().to_owned();
        let spent = jo.post(&format!("{task}/runs"), &spent).await.leads_to().unwrap().to_owned();
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 2);
        assert!(jo.get(&early).await.page().contains("Waiting"));
        assert!(jo.get(&spent).await.page().contains("Failed"), "a budget is not waited for");
        api.clock.advance(Duration::from_secs(39));
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 0);
        api.clock.advance(Duration::from_secs(1));
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 1);
        let done = jo.get(&early).await;
        assert!(done.page().contains("Done") && !done.body.contains("begun"), "{}", done.body);
        assert_eq!(stub.asked().len(), 3);
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

    a_task_runs_in_the_background_with_its_inputs(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let id = api.add_member(JO, "member").await;
        let jo = api.signed_in(JO).await;
        let fields = [("name", "Greet"), ("prompt", "Say {{word}} to {{name}}"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let shown = jo.get(&task).await;
        assert!(shown.page().contains("name=\"input-word\"") && shown.body.contains("name=\"input-name\""));
        let missing = jo.post(&format!("{task}/runs"), &[("input-word", "hi")]).await;
        assert_eq!((missing.refusal(), missing.text("/error/param")), ((422, "validation_error"), "input-name"));
        let inputs = [("input-word", "hi"), ("input-name", "**{{word}}**")];
        let run = jo.post(&format!("{task}/runs"), &inputs).await.leads_to().unwrap().to_owned();
        assert!(jo.get(&run).await.page().contains("Waiting"));
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 1);
        let asked = stub.asked();
        assert_eq!(asked[0].question(), "Say hi to **{{word}}**", "what stands in a value is no place");
        assert_eq!((asked[0].claims.sub.as_str(), &asked[0].claims.sid), (id.as_str(), &None));
        assert!(run.ends_with(&asked[0].idempotency_key));
        let done = jo.get(&run).await;
        for part in ["Done", "You said:", "3 + 4", &format!("{REQUEST}1")] {
            assert!(done.page().contains(part), "{part} in {}", done.body);
        }
        stub.deliver_event(&api, 1).await;
        let decided = jo.get(&run).await;
        for part in ["Redacted", "Parts were taken out on the way", "main", "small", "42", "pii-detector", "email"] {
            assert!(decided.page().contains(part), "{part} in {}", decided.body);
        }
        assert!(jo.get("/tasks").await.page().contains("Done") && jo.get(&task).await.page().contains("You said:"));
        assert_eq!(jo.post(&format!("{run}/cancel"), &[]).await.refusal(), (409, "run_is_over"));

        let change = [("name", "Greet"), ("prompt", "please block"), ("model", "small")];
        assert_eq!(jo.post(&task, &change).await.leads_to(), Some(task.as_str()));
        let blocked = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        let cancelled = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        assert_eq!(jo.post(&format!("{cancelled}/cancel"), &[]).await.leads_to(), Some(cancelled.as_str()));
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 1, "what was cancelled is not run");
        assert!(jo.get(&blocked).await.page().contains("The policy pii-detector did not let this pass"));
        assert!(jo.get(&cancelled).await.page().contains("Cancelled"));
        assert_eq!(jo.post(&format!("{task}/delete"), &[]).await.leads_to(), Some("/tasks"));
        assert_eq!(jo.get(&run).await.status, StatusCode::NOT_FOUND);
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

    of_many_servers_one_works_on_a_run(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let fields = [("name", "Greet"), ("prompt", "Hello"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        for _ in 0..3 {
            jo.post(&format!("{task}/runs"), &[]).await;
        }
        let worked_on = side_by_side((0..8).map(|_| api.control.run_waiting_tasks())).await;
        assert_eq!(worked_on.into_iter().map(Result::unwrap).sum::<usize>(), 3);
        assert_eq!(stub.asked().len(), 3);
    }

    a_gateway_that_never_comes_to_an_end_holds_up_its_own_organization_alone(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        api.owner_of_another().await;
        let theirs = StubGateway::start_for(&api, "owner@other.example", "openai").await;
        let other = api.signed_in("owner@other.example").await;
        let fields = [("name", "Wait"), ("prompt", "please hang"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        for _ in 0..6 {
            jo.post(&format!("{task}/runs"), &[]).await;
        }
        let control = Arc::clone(&api.control);
        let server = tokio::spawn(async move { control.keep_running_tasks(pending(), DRAIN).await });
        stub.wait_for(|asked| asked.len() == 4).await;
        let fields = [("name", "Greet"), ("prompt", "Hello"), ("model", "small")];
        let task = other.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = other.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        theirs.wait_for(|asked| asked.len() == 1).await;
        for _ in 0..500 {
            if other.get(&run).await.page().contains("Done") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(other.get(&run).await.page().contains("Done"));
        assert_eq!(stub.asked().len(), 4, "the others wait for a place of their own organization");
        server.abort();
    }

    a_run_is_stopped_when_it_has_had_its_time(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let fields = [("name", "Wait"), ("prompt", "please hang"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        let control = Arc::clone(&api.control);
        let server = tokio::spawn(async move { control.run_waiting_tasks().await });
        stub.wait_for(|asked| asked.first().is_some_and(|asked| asked.was_told)).await;
        assert!(jo.get(&run).await.page().contains("Running") && !stub.asked()[0].was_left);
        api.clock.advance(LONGEST_RUN);
        stub.wait_for(|asked| asked[0].was_left).await;
        assert_eq!(server.await.unwrap().unwrap(), 1, "and it is not begun again");
        let page = api.signed_in(JO).await.get(&run).await;
        assert!(page.page().contains("Failed") && page.body.contains("not whole after 30 minutes"), "{}", page.body);
    }

    a_run_whose_server_ended_is_begun_again_under_the_same_key(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let fields = [("name", "Wait"), ("prompt", "please hang"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        for attempt in 1..=3 {
            let control = Arc::clone(&api.control);
            let server = tokio::spawn(async move { control.run_waiting_tasks().await });
            stub.wait_for(|asked| asked.len() == attempt).await;
            server.abort();
            stub.wait_for(|asked| asked[attempt - 1].was_left).await;
            assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 0, "its lease lasts");
            api.clock.advance(Duration::from_secs(46));
            stub.report(&api, GATEWAY, &stub.address, "openai").await;
        }
        let again = jo.get(&run).await;
        assert!(again.page().contains("begun 3 times"), "{}", again.body);
        let keys: Vec<_> = stub.asked().into_iter().map(|asked| asked.idempotency_key).collect();
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 0);
        assert!(jo.get(&run).await.page().contains("Failed"), "then it is given up");
    }

    a_server_that_is_told_to_end_works_its_runs_to_their_end_and_takes_no_more(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let fields = [("name", "Think"), ("prompt", "please think"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        let (end, ended) = oneshot::channel::<()>();
        let control = Arc::clone(&api.control);
        let server = tokio::spawn(async move { control.keep_running_tasks(until(ended), DRAIN).await });
        stub.wait_for(|asked| asked.len() == 1).await;
        end.send(()).unwrap();
        let next = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        stub.release();
        server.await.unwrap();
        let done = jo.get(&run).await;
        assert!(done.page().contains("Done") && !done.body.contains("begun"), "{}", done.body);
        assert!(jo.get(&next).await.page().contains("Waiting"), "that is for another server");
        assert_eq!(stub.asked().len(), 1);
    }

    a_run_that_takes_longer_than_its_server_is_given_back_at_once(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let fields = [("name", "Wait"), ("prompt", "please hang"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        let (end, ended) = oneshot::channel::<()>();
        let control = Arc::clone(&api.control);
        let server = tokio::spawn(async move { control.keep_running_tasks(until(ended), Duration::ZERO).await });
        stub.wait_for(|asked| asked.first().is_some_and(|asked| asked.was_told)).await;
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 0, "the control: its lease lasts");
        end.send(()).unwrap();
        server.await.unwrap();
        stub.wait_for(|asked| asked[0].was_left).await;
        let control = Arc::clone(&api.control);
        let other = tokio::spawn(async move { control.run_waiting_tasks().await });
        stub.wait_for(|asked| asked.len() == 2).await;
        assert!(jo.get(&run).await.page().contains("begun 2 times"));
        other.abort();
    }

    a_run_whose_answer_broke_off_is_begun_again_under_the_same_key(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let fields = [("name", "Break"), ("prompt", "please break"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        for attempt in 1..=2 {
            assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 1);
            assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 0, "its gateway may be starting again");
            assert!(jo.get(&run).await.page().contains("Running"), "after {attempt}");
            api.clock.advance(Duration::from_secs(6));
        }
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 1);
        assert!(jo.get(&run).await.page().contains("Failed"), "then it is given up");
        api.clock.advance(Duration::from_secs(6));
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 0);
        let keys: Vec<_> = stub.asked().into_iter().map(|asked| asked.idempotency_key).collect();
        assert_eq!(keys, [run.rsplit('/').next().unwrap(); 3]);
    }

    a_run_of_somebody_who_was_suspended_is_refused(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let session = api.somebody("member").await;
        let jo = api.signed_in(session.text("/user/email")).await;
        let fields = [("name", "Greet"), ("prompt", "Hello"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let run = jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        api.becomes(&session, Role::Member, MembershipState::Suspended).await;
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 1);
        assert!(stub.asked().is_empty(), "nothing was sent");
        api.becomes(&session, Role::Member, MembershipState::Active).await;
        let jo = api.signed_in(session.text("/user/email")).await;
        assert!(jo.get(&run).await.page().contains("Refused"));
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

    a_run_of_somebody_whose_time_to_add_a_second_factor_is_over_is_refused(api) {
        let stub = StubGateway::start(&api, "openai").await;
        let (jo, _) = two(&api).await;
        let fields = [("name", "Greet"), ("prompt", "Hello"), ("model", "small")];
        let task = jo.post("/tasks", &fields).await.leads_to().unwrap().to_owned();
        let begin = async || jo.post(&format!("{task}/runs"), &[]).await.leads_to().unwrap().to_owned();
        let mfa = json!({ "mfa": { "policy": "required_for_all", "grace_period": "10m" } });
        api.choose_security(mfa).await;
        let within = begin().await;
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 1);
        assert_eq!(stub.asked().len(), 1, "the control: within the grace");
        let late = begin().await;
        api.clock.advance(Duration::from_mins(10));
        stub.report(&api, GATEWAY, &stub.address, "openai").await;
        assert_eq!(api.control.run_waiting_tasks().await.unwrap(), 1);
        assert_eq!(stub.asked().len(), 1, "nothing was sent");
        api.choose_security(json!({})).await;
        let jo = api.signed_in(JO).await;
        assert!(jo.get(&within).await.page().contains("Done"));
        let refused = jo.get(&late).await;
        for part in ["Refused", "has not added the second factor that their organization asks for"] {
            assert!(refused.page().contains(part), "{part} in {}", refused.body);
        }
    }

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
