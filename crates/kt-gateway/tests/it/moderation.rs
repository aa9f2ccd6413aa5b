//! A moderation service that is asked about answers: whole ones, and streams on their way.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use kt_domain::events::{Phase, PolicyEvaluation, Verdict};
use serde_json::{Value, json};

use crate::harness::{Answer, Request, TestGateway, Then, wait_for};

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

/// A gateway whose answers are judged by a service that flags whatever is `dreadful`, and says nothing at all once it
/// reads `silence`.
fn gateway(
    settings: &str,
    answer: impl Fn(&mut TcpStream, &AtomicUsize) -> std::io::Result<Then> + Send + Sync + 'static,
) -> TestGateway {
    let gateway = TestGateway::with(&format!(
        "providers:\n  targets:\n    - {{id: primary, provider: openai, base_url: 'http://UPSTREAM/v1'}}\n    - {{id: mod, provider: openai, model: moderation-1, base_url: 'http://UPSTREAM/mod/v1'}}\npolicies: {{chain: [pii-detector, safety-filter]}}\npolicy: {{pii-detector: {{action: redact, unreadable: allow}}, safety-filter: {{target: mod, phases: [response], timeout: 1s{settings}}}}}\n"
    ));
    let times = AtomicUsize::new(0);
    gateway.upstream.behave(move |received, client| {
        if !received.request_line().starts_with("POST /mod/") {
            return answer(client, &times);
        }
        times.fetch_add(1, Ordering::SeqCst);
        let asked = String::from_utf8_lossy(&received.body).into_owned();
        if asked.contains("silence") {
            return Ok(Then::Close);
        }
        let flagged = asked.contains("dreadful");
        json_answer(
            client,
            &json!({ "results": [{ "flagged": flagged, "categories": { "violence": flagged } }] }),
        )
    });
    gateway
}

fn json_answer(client: &mut TcpStream, body: &Value) -> std::io::Result<Then> {
    let body = body.to_string();
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    Ok(Then::KeepOpen)
}

fn completion(text: &'static str) -> impl Fn(&mut TcpStream, &AtomicUsize) -> std::io::Result<Then> {
    move |client, _| {
        json_answer(
            client,
            &json!({ "choices": [{ "index": 0, "message": { "content": text }, "finish_reason": "stop" }] }),
        )
    }
}

fn delta(text: &str) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": { "content": text } }] }))
}

/// Streams each part once the service was asked about something of the one before.
fn streamed(parts: &[&str]) -> impl Fn(&mut TcpStream, &AtomicUsize) -> std::io::Result<Then> + use<> {
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    move |client, asked| {
        client.write_all(STREAM.as_bytes())?;
        for (index, part) in parts.iter().enumerate() {
            wait_for("the service to be asked", || (asked.load(Ordering::SeqCst) >= index).then_some(()));
            for piece in part.as_bytes().chunks(701) {
                client.write_all(piece)?;
            }
        }
        Ok(Then::Close)
    }
}

/// What the services were asked, each time.
fn asked(gateway: &TestGateway) -> Vec<Value> {
    let requests = gateway.upstream.requests().into_iter();
    let of_service = requests.filter(|request| request.request_line().starts_with("POST /mod/"));
    of_service.map(|request| serde_json::from_slice(&request.body).expect("it is JSON")).collect()
}

/// What the event says of the service.
fn said(gateway: &TestGateway, answer: &Answer) -> PolicyEvaluation {
    let evaluated = gateway.event_of(answer.request_id()).policies_evaluated.expect("it was judged");
    let mut of_service = evaluated.into_iter().filter(|own| &*own.kind == "safety-filter");
    of_service.next_back().expect("the service was asked")
}

#[test]
fn a_whole_answer_is_given_only_if_the_service_does_not_flag_it() {
    let blocks = gateway("", completion("something dreadful"));
    let answer = blocks.ask(&Request::chat());
    assert_eq!(answer.outcome(), (409, "policy_block".to_owned()));
    assert!(!String::from_utf8_lossy(&answer.body).contains("dreadful"));
    let own = said(&blocks, &answer);
    assert_eq!(
        (own.verdict, own.phase, own.rules),
        (Verdict::Block, Some(Phase::Response), vec!["violence".into()])
    );
    assert_eq!(asked(&blocks), [json!({ "model": "moderation-1", "input": ["something dreadful"] })]);

    let passes = gateway("", completion("something nice"));
    assert_eq!(passes.ask(&Request::chat()).status, 200, "the control");
    let dry = gateway(", dry_run: true", completion("something dreadful"));
    let answer = dry.ask(&Request::chat());
    assert_eq!((answer.status, said(&dry, &answer).verdict), (200, Verdict::Block));
}

#[test]
fn a_stream_passes_portion_by_portion_as_the_service_judges_it() {
    let portion =
        |word: &str| (0..30).map(|_| delta(&format!("{word} {}. ", "x".repeat(90)))).collect::<String>();
    let done = "data: [DONE]\n\n";
    let nice = [&portion("one"), &portion("two"), &[&delta("to jane@example.org"), done].concat()];
    let passes = gateway("", streamed(&nice.map(String::as_str)));
    let answer = passes.ask(&Request::chat());
    let expected = nice.map(String::as_str).concat().replace("jane@example.org", "[email]");
    assert_eq!(String::from_utf8_lossy(&answer.body), expected, "what the other policies left of it");
    let own = said(&passes, &answer);
    assert_eq!((own.verdict, own.phase), (Verdict::Allow, Some(Phase::Response)));
    let questions = asked(&passes);
    assert!(questions.len() >= 3, "{}", questions.len());
    assert!(questions.iter().all(|asked| asked["input"].as_array().is_some_and(|texts| texts.len() == 1)));
    assert!(!format!("{questions:?}").contains("jane@"), "nor does the service get what was cut out");

    let blocks = gateway("", streamed(&[&portion("one"), &portion("dreadful"), done]));
    let answer = blocks.ask(&Request::chat());
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains("one xx") && !text.contains("dreadful") && !text.contains("[DONE]"), "{text}");
    assert!(text.contains(r#""code":"policy_block""#), "{text}");
    let event = blocks.event_of(answer.request_id());
    assert_eq!((event.verdict, event.reason_code.as_deref()), (Some(Verdict::Block), Some("policy_block")));
}

#[test]
fn what_the_service_does_not_judge_is_blocked_unless_it_need_not_be() {
    let whole = gateway("", completion("silence"));
    assert_eq!(whole.ask(&Request::chat()).outcome(), (503, "safety_unavailable".to_owned()));
    let stream = [&delta("silence"), "data: [DONE]\n\n"].concat();
    let blocks = gateway("", streamed(&[&stream]));
    let answer = blocks.ask(&Request::chat());
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains("safety_unavailable") && !text.contains("silence"), "{text}");
    let allows = gateway(", on_failure: allow", streamed(&[&stream]));
    let answer = allows.ask(&Request::chat());
    assert_eq!(String::from_utf8_lossy(&answer.body), stream);
    assert!(said(&allows, &answer).not_scanned);
    let unknown = gateway("", streamed(&["data: {\"unheard\":\"of\"}\n\ndata: [DONE]\n\n"]));
    let text = String::from_utf8_lossy(&unknown.ask(&Request::chat()).body).into_owned();
    assert!(text.contains("content_unreadable") && !text.contains("unheard"), "{text}");
}

/// GW-G2.
#[test]
fn what_cannot_be_put_to_the_service_is_never_recorded_as_scanned() {
    let picture = r#"{"output":[{"type":"image_generation_call","result":"AAAA"},{"type":"message","content":[{"type":"output_text","text":"a cat"}]}]}"#;
    let piece = "data: {\"type\":\"response.image_generation_call.partial_image\",\"partial_image_b64\":\"AAAA\"}\n\n";
    let answers: [(&str, &str); 2] = [("application/json", picture), ("text/event-stream", piece)];
    for (kind, body) in answers {
        let answer = move |client: &mut TcpStream, _: &AtomicUsize| {
            let length = body.len();
            write!(
                client,
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
            )?;
            Ok(Then::KeepOpen)
        };
        let request = Request::new("POST", "/v1/responses").json(r#"{"model":"m","input":"draw"}"#);
        let blocks = gateway("", answer);
        let refused = blocks.ask(&request);
        let text = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(text.contains("content_unreadable") && !text.contains("AAAA"), "{text}");
        let own = said(&blocks, &refused);
        assert_eq!((own.verdict, own.not_scanned), (Verdict::Block, true), "{kind}");

        let allows = gateway(", unreadable: allow", answer);
        let passed = allows.ask(&request);
        assert_eq!((passed.status, &*passed.body), (200, body.as_bytes()), "{kind}");
        let own = said(&allows, &passed);
        assert_eq!((own.verdict, own.not_scanned), (Verdict::Allow, true), "{kind}");
    }
    let dreadful = picture.replace("a cat", "dreadful");
    let blocks = gateway(", unreadable: allow", move |client, _| {
        json_answer(client, &serde_json::from_str(&dreadful).expect("it is JSON"))
    });
    assert_eq!(
        blocks.ask(&Request::chat()).outcome(),
        (409, "policy_block".to_owned()),
        "its texts are judged"
    );
}

#[test]
fn what_came_of_a_broken_stream_and_was_not_judged_does_not_leave() {
    let gateway = gateway("", |client, _| {
        let head = STREAM.replace("Connection: close", "Content-Length: 5000");
        client.write_all(format!("{head}{}", delta("dreadful")).as_bytes())?;
        Ok(Then::Close)
    });
    let mut client = gateway.connect();
    client.send(Request::chat().bytes()).expect("the request is taken");
    assert_eq!(client.head_answer().status, 200);
    let text = String::from_utf8(client.rest()).expect("a stream is text");
    assert!(text.contains("upstream_incomplete") && !text.contains("dreadful"), "{text}");
}
