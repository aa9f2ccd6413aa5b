//! Tasks: run in the background through a gateway, for whoever made them, by one server at a time.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use kt_domain::actor::Role;
use kt_domain::sign_in::MembershipState;
use kt_domain::workspace::LONGEST_RUN;
use kt_server::DRAIN;
use serde_json::json;
use tokio::sync::oneshot;

use super::{JO, two};
use crate::harness::{on_both, side_by_side};
use crate::stub_gateway::{GATEWAY, REQUEST, StubGateway};

/// Until it is said.
async fn until(said: oneshot::Receiver<()>) {
    said.await.unwrap();
}

on_both! {
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
}
