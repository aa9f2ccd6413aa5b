//! A gateway that answers as it is told, and remembers what it was asked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http_body_util::channel::{Channel, Sender};
use kt_domain::keys::{PassClaims, UnverifiedPass};
use serde_json::{Value, json};

use crate::harness::TestApi;

/// The name under which it reports.
pub(crate) const GATEWAY: &str = "gw-stub";

/// The identifier that it gives its requests, before their number.
pub(crate) const REQUEST: &str = "0199f000-0000-7000-8000-00000000000";

/// A gateway that has reported to `acme`.
pub(crate) struct StubGateway {
    heard: Heard,
    refuses: Arc<AtomicBool>,
    key: String,
    /// Where it is.
    pub(crate) address: String,
}

type Heard = Arc<Mutex<Vec<Asked>>>;

/// What it was asked.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) claims: PassClaims,
    pub(crate) body: Value,
    pub(crate) idempotency_key: String,
    /// Whether whoever asked went away before the answer was there.
    pub(crate) was_left: bool,
    /// Whether everything was said that it says before it hangs.
    pub(crate) was_told: bool,
    /// Whether the answer waits for a word of [`StubGateway::release`].
    is_held: bool,
}

impl Asked {
    /// The last thing that was said.
    pub(crate) fn question(&self) -> &str {
        self.body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap()
    }
}

impl StubGateway {
    /// Starts it, and has it report a target of this vendor with the model `small`.
    pub(crate) async fn start(api: &TestApi, provider: &str) -> Self {
        Self::start_for(api, "owner@acme.example", provider).await
    }

    /// The same, in the organization of this owner.
    pub(crate) async fn start_for(api: &TestApi, owner: &str, provider: &str) -> Self {
        let stub = Self::start_silent(api, owner).await;
        stub.report(api, GATEWAY, &stub.address, provider).await;
        stub
    }

    /// Another one of `acme`, which reports under this name.
    pub(crate) async fn start_named(api: &TestApi, name: &str) -> Self {
        let stub = Self::start_silent(api, "owner@acme.example").await;
        stub.report(api, name, &stub.address, "openai").await;
        stub
    }

    /// Starts one that does not report.
    async fn start_silent(api: &TestApi, owner: &str) -> Self {
        let (heard, refuses) = (Heard::default(), Arc::new(AtomicBool::new(false)));
        let state = (Arc::clone(&heard), Arc::clone(&refuses));
        let app = Router::new().route("/v1/chat/completions", post(answer)).with_state(state);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let owner = api.token_of(owner).await;
        let new = json!({ "type": "gateway", "name": "stub", "scope": "write" });
        let made = api.post("/v1/tokens", new).bearer(&owner).send().await;
        let key = made.text("/key").to_owned();
        Self { heard, refuses, key, address: format!("http://{address}") }
    }

    /// Says under this name that a gateway is at `address`, with a target of this vendor.
    pub(crate) async fn report(&self, api: &TestApi, name: &str, address: &str, provider: &str) {
        let target =
            json!({ "id": "main", "provider": provider, "state": "usable", "models": ["small", "large"] });
        self.report_with(api, json!({ "gateway_id": name, "address": address, "targets": [target] })).await;
    }

    /// Reports `more`.
    pub(crate) async fn report_with(&self, api: &TestApi, more: Value) {
        let mut report =
            json!({ "gateway_id": GATEWAY, "software_version": "0.1.0", "config_version": "0123456789ab" });
        report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let sync = api.post("/v1/gateways/sync", report).bearer(&self.key).from("127.0.0.1:40001");
        let answer = sync.send().await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// Delivers the event of its request with this number.
    pub(crate) async fn deliver_event(&self, api: &TestApi, number: usize) {
        let event = json!({ "duration_ms": 42, "event_type": "decision", "gateway_id": GATEWAY,
            "id": format!("evt_{number:032}"), "input_tokens": 3, "model": "small", "output_tokens": 4,
            "policies_evaluated": [{ "kind": "pii-detector", "verdict": "redact", "rules": ["email"] }],
            "provider": "openai", "reason_code": "ok", "request_id": format!("{REQUEST}{number}"), "status": 200,
            "target_id": "main", "timestamp": "2026-03-15T14:22:31.000Z", "verdict": "redact" });
        let answer = api.post("/v1/events", json!({ "events": [event] })).bearer(&self.key).send().await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// From now on it takes no new requests, or takes them again.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// All that it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.heard.lock().unwrap().clone()
    }

    /// Lets the answers come that are held back.
    pub(crate) fn release(&self) {
        for asked in self.heard.lock().unwrap().iter_mut() {
            asked.is_held = false;
        }
    }

    /// Waits until it was asked so, which takes no longer than a few seconds.
    pub(crate) async fn wait_for(&self, holds: impl Fn(&[Asked]) -> bool) {
        for _ in 0..500 {
            if holds(&self.asked()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway was not asked as it should have been");
    }
}

/// By the last words of a question: `block` is refused by a policy, `fail` with a failure, `hang` begins and goes on until
/// whoever asked is gone, `pour` says much before it hangs, `break` breaks off, `think` says nothing before it is released;
/// `shut` is answered by a proxy, `flood` never comes to an end, `early` is too early the first time by 40 seconds, for `spent`
/// there is no money; everything else is said back in bold.
async fn answer(
    State((heard, refuses)): State<(Heard, Arc<AtomicBool>)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if refuses.load(Ordering::SeqCst) {
        let error = json!({ "type": "server_error", "code": "draining", "message": "Another one takes it." });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": error }))).into_response();
    }
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let bearer = text("authorization");
    let pass = UnverifiedPass::parse(bearer.strip_prefix("Bearer ").unwrap().as_bytes()).unwrap();
    let asked = Asked {
        claims: pass.claims().unwrap(),
        body,
        idempotency_key: text("idempotency-key"),
        was_left: false,
        was_told: false,
        is_held: false,
    };
    let question = asked.question().to_owned();
    let ending = question.split_whitespace().last().unwrap_or_default();
    let asked = Asked { is_held: ending == "think", ..asked };
    let (number, is_first) = {
        let mut all = heard.lock().unwrap();
        let is_first = all.iter().all(|other| other.idempotency_key != asked.idempotency_key);
        all.push(asked);
        (all.len(), is_first)
    };
    while heard.lock().unwrap()[number - 1].is_held {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let request_id = ("x-kt-request-id", format!("{REQUEST}{number}"));
    let refuse = |status: StatusCode, error: Value| {
        (status, [request_id.clone()], Json(json!({ "error": error }))).into_response()
    };
    match ending {
        "block" => refuse(
            StatusCode::CONFLICT,
            json!({ "type": "policy_violation", "code": "policy_block", "message": "The policy does not allow it.",
                "policy": "pii-detector" }),
        ),
        "fail" => refuse(
            StatusCode::BAD_GATEWAY,
            json!({ "type": "upstream_error", "code": "upstream_failed", "message": "The model did not answer." }),
        ),
        "early" if is_first => {
            let error = json!({ "type": "rate_limit_error", "code": "rate_limited", "message": "Try again in 40 s." });
            let (status, later) = (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "40")]);
            (status, later, Json(json!({ "error": error }))).into_response()
        }
        "spent" => refuse(
            StatusCode::TOO_MANY_REQUESTS,
            json!({ "type": "rate_limit_error", "code": "budget_exceeded", "message": "The budget is used up." }),
        ),
        "shut" => (StatusCode::BAD_GATEWAY, "<html>502 Bad Gateway</html>").into_response(),
        _ => {
            let (sender, channel) = Channel::new(1);
            tokio::spawn(speak(sender, question.clone(), heard, number - 1));
            let kind = ("content-type", "text/event-stream".to_owned());
            (StatusCode::OK, [request_id, kind], Body::new(channel)).into_response()
        }
    }
}

async fn speak(mut sender: Sender<Bytes, std::io::Error>, question: String, heard: Heard, place: usize) {
    let ending = question.split_whitespace().last().unwrap_or_default();
    let hangs = matches!(ending, "hang" | "pour");
    let chunk = |content: &str| {
        let chunk = json!({ "choices": [{ "index": 0, "delta": { "content": content } }] });
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 3, "completion_tokens": 4 } });
    let mut parts = vec![chunk("You said: "), chunk(&format!("**{question}**"))];
    match ending {
        "break" | "hang" => parts.truncate(1),
        "pour" => parts = vec![chunk("more "); 64],
        "flood" => parts = vec![chunk(&"more ".repeat(50_000)); 5],
        _ => parts.push(Bytes::from(format!("data: {usage}\n\ndata: [DONE]\n\n"))),
    }
    for part in parts {
        // Whoever went away is told of below. Each part is to arrive by itself.
        let _ = sender.send_data(part).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    if !hangs {
        return;
    }
    heard.lock().unwrap()[place].was_told = true;
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if sender.send_data(Bytes::from_static(b": still here\n\n")).await.is_err() {
            heard.lock().unwrap()[place].was_left = true;
            return;
        }
    }
}
