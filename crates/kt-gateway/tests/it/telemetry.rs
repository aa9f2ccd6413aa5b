//! Traces and metrics, as a collector of the tests' own receives them.

use std::collections::BTreeMap;
use std::io::Write;

use crate::harness::{CHAT, PROVIDER_KEY, Received, Request, TestGateway, Then, Upstream, wait_for};

/// One field of a message in Protocol Buffers.
#[derive(Clone, Debug)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

/// A message, read field by field without knowing what it means.
type Message = Vec<(u64, Field)>;

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a number ends");
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return number;
        }
    }
    panic!("a number is too long");
}

fn read(mut bytes: &[u8]) -> Message {
    let mut message = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                let (number, rest) = bytes.split_at(8);
                bytes = rest;
                Field::Number(u64::from_le_bytes(number.try_into().expect("eight bytes")))
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)).expect("it fits");
                let (inner, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(inner.to_vec())
            }
            wire => panic!("wire type {wire}"),
        };
        message.push((key >> 3, field));
    }
    message
}

fn all(message: &Message, number: u64) -> Vec<Vec<u8>> {
    let of_number = message.iter().filter(|(own, _)| *own == number);
    of_number
        .filter_map(|(_, field)| if let Field::Bytes(bytes) = field { Some(bytes.clone()) } else { None })
        .collect()
}

fn number(message: &Message, number: u64) -> u64 {
    let found = message.iter().find(|(own, _)| *own == number);
    found.map_or(0, |(_, field)| if let Field::Number(number) = field { *number } else { 0 })
}

fn text(message: &Message, number: u64) -> String {
    all(message, number).pop().map_or(String::new(), |bytes| String::from_utf8(bytes).expect("it is text"))
}

/// The attributes in a field, numbers written out.
fn attributes(message: &Message, field: u64) -> BTreeMap<String, String> {
    let pair = |bytes: Vec<u8>| {
        let attribute = read(&bytes);
        let value = read(&all(&attribute, 2)[0]);
        let shown = match &value[0] {
            (1, Field::Bytes(text)) => String::from_utf8(text.clone()).expect("it is text"),
            (4, Field::Number(bits)) => f64::from_bits(*bits).to_string(),
            (_, Field::Number(number)) => number.to_string(),
            (5, Field::Bytes(list)) => {
                let texts: Vec<String> =
                    all(&read(list), 1).iter().map(|value| text(&read(value), 1)).collect();
                texts.join(", ")
            }
            other => panic!("{other:?}"),
        };
        (text(&attribute, 1), shown)
    };
    all(message, field).into_iter().map(pair).collect()
}

#[derive(Debug)]
struct Span {
    name: String,
    kind: u64,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    took: u64,
    failed: bool,
    attributes: BTreeMap<String, String>,
}

/// A collector that takes everything.
pub(crate) struct Collector(Upstream);

impl Collector {
    pub(crate) fn start() -> Self {
        let upstream = Upstream::start();
        upstream.answer_as("200 OK", "", "");
        Self(upstream)
    }

    pub(crate) fn yaml(&self, more: &str) -> String {
        format!(
            "telemetry: {{otlp_endpoint: 'http://{}/otlp', secret_key_ref: {{env: CLIENT_KEY}}{more}}}\n",
            self.0.address()
        )
    }

    /// Everything that it was sent, as text as far as it is.
    pub(crate) fn all_that_was_sent(&self) -> String {
        let requests = self.0.requests().into_iter();
        requests.map(|request| request.head + &String::from_utf8_lossy(&request.body)).collect()
    }

    fn sent_to(&self, path: &str) -> Vec<Received> {
        let line = format!("POST /otlp/v1/{path} HTTP/1.1");
        self.0.requests().into_iter().filter(|request| request.request_line() == line).collect()
    }

    /// What stands in the scopes of everything that was sent there.
    fn in_scopes(&self, path: &str) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for request in self.sent_to(path) {
            for of_resource in all(&read(&request.body), 1) {
                let of_resource = read(&of_resource);
                assert_eq!(text(&of_resource, 3), "https://opentelemetry.io/schemas/1.41.1");
                let resource = attributes(&read(&all(&of_resource, 1)[0]), 1);
                assert_eq!(resource["service.name"], "keeptrusts-gateway");
                for scope in all(&of_resource, 2) {
                    found.extend(all(&read(&scope), 2));
                }
            }
        }
        found
    }

    fn spans(&self) -> Vec<Span> {
        let read_span = |bytes: Vec<u8>| {
            let span = read(&bytes);
            let first = |number| all(&span, number).pop().unwrap_or_default();
            Span {
                name: text(&span, 5),
                kind: number(&span, 6),
                trace: first(1),
                id: first(2),
                parent: first(4),
                took: number(&span, 8) - number(&span, 7),
                failed: number(&read(&first(15)), 3) == 2,
                attributes: attributes(&span, 9),
            }
        };
        self.in_scopes("traces").into_iter().map(read_span).collect()
    }
}

/// What the collector has once the gateway has ended well.
fn after(gateway: TestGateway, collector: &Collector) -> Vec<Span> {
    gateway.drain();
    collector.spans()
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_request_leaves_its_span_and_one_for_each_try() {
    let (collector, second) = (Collector::start(), Upstream::start());
    let gateway = TestGateway::with(&format!(
        "{}providers:\n  targets:\n    - {{id: primary, provider: 'mistral:chat:m', base_url: 'http://UPSTREAM/v1'}}\n    - {{id: second, provider: 'azure:chat:gpt-x', serves: [m], base_url: 'http://{}/v1', priority: 1}}\n",
        collector.yaml(", trusted_callers: [127.0.0.1/32]"),
        second.address()
    ));
    gateway.upstream.answer_as("500 Oh", "", "{}");
    let answer = gateway.ask(&Request::chat().header("traceparent", PARENT));
    assert_eq!(answer.status, 200);
    let request_id = answer.request_id().to_owned();
    let sent_on = second.only_request().header("traceparent").expect("the trace goes on");
    let spans = after(gateway, &collector);
    let [server, first, last] = &spans[..] else { panic!("{spans:?}") };

    assert_eq!((server.name.as_str(), server.kind), ("POST /v1/chat/completions", 2));
    assert_eq!(
        server.parent,
        [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31],
        "the caller's trace is joined"
    );
    assert_eq!(server.attributes["keeptrusts.request_id"], request_id);
    assert_eq!(server.attributes["http.response.status_code"], "200");
    assert_eq!((first.name.as_str(), first.kind, first.failed), ("chat m", 3, true));
    assert_eq!(first.attributes["gen_ai.provider.name"], "mistral_ai");
    assert_eq!(first.attributes["error.type"], "upstream_failed");
    assert_eq!((last.name.as_str(), last.kind, last.failed), ("chat gpt-x", 3, false));
    assert_eq!(last.attributes["gen_ai.operation.name"], "chat");
    assert_eq!(last.attributes["gen_ai.provider.name"], "azure.ai.openai");
    assert_eq!(last.attributes["gen_ai.request.model"], "gpt-x");
    assert_eq!(
        [&*last.attributes["gen_ai.usage.input_tokens"], &*last.attributes["gen_ai.usage.output_tokens"]],
        ["3", "5"]
    );
    assert_eq!(last.attributes["server.address"], "127.0.0.1");
    assert_eq!(last.attributes["server.port"], second.address().port().to_string());
    for span in [first, last] {
        assert_eq!((&span.parent, &span.trace), (&server.id, &server.trace));
        assert!(span.took <= server.took);
    }
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(sent_on, format!("00-{}-{}-01", hex(&last.trace), hex(&last.id)));
    let sent = &collector.sent_to("traces")[0];
    assert_eq!(sent.header("content-type").as_deref(), Some("application/x-protobuf"));
    assert_eq!(sent.header("authorization").as_deref(), Some("Bearer client-key"));
}

#[test]
fn what_is_asked_for_and_what_the_provider_says_of_its_answer_is_in_the_span() {
    const WHOLE: &str = r#"{"id":"cmpl-7","model":"m-2026","choices":[{"message":{"content":"canary"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;
    const PIECES: &str = "data: {\"id\":\"cmpl-7\",\"model\":\"m-2026\",\"choices\":[{\"delta\":{\"content\":\"canary\"},\"finish_reason\":null}]}\n\ndata: {\"id\":\"cmpl-7\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    for (stream, fields, answer) in
        [(false, "", WHOLE), (true, "Content-Type: text/event-stream\r\n", PIECES)]
    {
        let collector = Collector::start();
        let gateway = TestGateway::with(&collector.yaml(""));
        gateway.upstream.answer_as("200 OK", fields, answer);
        let asked = format!(
            r#"{{"model":"m","stream":{stream},"max_tokens":64,"temperature":0.5,"messages":[{{"role":"user","content":"hello"}}]}}"#
        );
        assert_eq!(gateway.ask(&Request::chat().json(asked)).status, 200);
        assert_eq!(gateway.ask(&Request::chat().json(CHAT)).status, 200, "the control");
        let spans = after(gateway, &collector);
        let [_, client, _, plain] = &spans[..] else { panic!("{spans:?}") };
        for (name, value) in [
            ("gen_ai.request.max_tokens", "64"),
            ("gen_ai.request.temperature", "0.5"),
            ("gen_ai.response.id", "cmpl-7"),
            ("gen_ai.response.model", "m-2026"),
            ("gen_ai.response.finish_reasons", "stop"),
        ] {
            assert_eq!(client.attributes.get(name).map(String::as_str), Some(value), "{name}, {stream}");
        }
        assert_eq!(client.attributes["gen_ai.request.stream"], u8::from(stream).to_string());
        assert!(!plain.attributes.contains_key("gen_ai.request.max_tokens"), "nothing is made up");
        assert!(spans.iter().all(|span| !format!("{span:?}").contains("canary")));
    }
}

#[test]
fn a_trace_of_anybody_else_is_not_joined_and_sampling_keeps_to_its_share() {
    let collector = Collector::start();
    let gateway = TestGateway::with(&collector.yaml(""));
    gateway.ask(&Request::chat().header("traceparent", PARENT));
    let spans = after(gateway, &collector);
    assert_eq!((spans.len(), spans[0].parent.len()), (2, 0));
    assert!(!spans[0].trace.starts_with(&[0x0a, 0xf7]));

    let collector = Collector::start();
    let gateway = TestGateway::with(&collector.yaml(", sample_percent: 0"));
    assert_eq!(gateway.ask(&Request::chat()).status, 200);
    assert!(
        gateway.upstream.only_request().header("traceparent").is_some_and(|parent| parent.ends_with("-00"))
    );
    assert_eq!(after(gateway, &collector).len(), 0);
    assert_eq!(collector.sent_to("metrics").len(), 1, "what is not traced is still counted");
}

#[test]
fn durations_and_tokens_are_counted_by_model_and_provider() {
    for spans in ["", ", sample_percent: 0"] {
        assert_counted_by_model_and_provider(spans);
    }
}

#[test]
fn a_connection_to_the_collector_is_used_again() {
    let collector = Collector::start();
    let gateway = TestGateway::with(&collector.yaml(""));
    assert_eq!(gateway.ask(&Request::chat()).status, 200);
    gateway.drain();
    assert_eq!([collector.sent_to("traces").len(), collector.sent_to("metrics").len()], [1, 1]);
    assert_eq!(collector.0.connections(), 1);
}

fn assert_counted_by_model_and_provider(spans: &str) {
    let collector = Collector::start();
    let gateway = TestGateway::with(&collector.yaml(spans));
    for stream in ["", "", r#""stream":true,"#] {
        let body = String::from_utf8_lossy(CHAT).replacen('{', &format!("{{{stream}"), 1);
        assert_eq!(gateway.ask(&Request::chat().json(body)).status, 200);
    }
    gateway.drain();
    let metrics: BTreeMap<String, Message> = collector
        .in_scopes("metrics")
        .into_iter()
        .map(|bytes| (text(&read(&bytes), 1), read(&bytes)))
        .collect();
    let points = |name: &str| -> Vec<Message> {
        let histogram = read(&all(&metrics[name], 9)[0]);
        assert_eq!(number(&histogram, 2), 2, "since the start");
        all(&histogram, 1).into_iter().map(|bytes| read(&bytes)).collect()
    };
    assert_eq!(text(&metrics["gen_ai.client.operation.duration"], 3), "s");
    let durations = points("gen_ai.client.operation.duration");
    assert_eq!((durations.len(), number(&durations[0], 4)), (1, 3));
    let of = attributes(&durations[0], 9);
    assert_eq!(
        [&*of["gen_ai.operation.name"], &*of["gen_ai.provider.name"], &*of["gen_ai.request.model"]],
        ["chat", "openai", "m"]
    );

    let first_chunks = points("gen_ai.client.operation.time_to_first_chunk");
    assert_eq!((first_chunks.len(), number(&first_chunks[0], 4)), (1, 1), "of the stream alone");
    let attempts = f64::from_bits(number(&first_chunks[0], 5));
    assert!(attempts <= f64::from_bits(number(&durations[0], 5)), "its head came before its end");

    assert_eq!(text(&metrics["gen_ai.client.token.usage"], 3), "{token}");
    let mut tokens: Vec<(String, f64, Vec<u8>)> = points("gen_ai.client.token.usage")
        .iter()
        .map(|point| {
            let sum = f64::from_bits(number(point, 5));
            (attributes(point, 9)["gen_ai.token.type"].clone(), sum, all(point, 6)[0].clone())
        })
        .collect();
    tokens.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!([&*tokens[0].0, &*tokens[1].0], ["input", "output"]);
    assert!(
        (tokens[0].1 - 9.0).abs() < f64::EPSILON && (tokens[1].1 - 15.0).abs() < f64::EPSILON,
        "{tokens:?}"
    );
    let buckets: Vec<u64> = tokens[0]
        .2
        .chunks(8)
        .map(|bucket| u64::from_le_bytes(bucket.try_into().expect("eight bytes")))
        .collect();
    assert_eq!(buckets.len(), 15);
    assert_eq!((buckets[1], buckets.iter().sum()), (3, 3), "3 tokens are more than 1 and at most 4");
}

#[test]
fn no_prompt_answer_or_key_is_in_anything_that_is_sent() {
    const CANARY: &str = "canary-5551234";
    let collector = Collector::start();
    let gateway = TestGateway::with(&collector.yaml(""));
    gateway.upstream.behave(|_, client| {
        let body = format!(r#"{{"choices":[{{"message":{{"content":"{CANARY}"}}}}]}}"#);
        write!(
            client,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        Ok(Then::KeepOpen)
    });
    let body = String::from_utf8_lossy(CHAT).replace("hello", CANARY);
    let request = Request::new("POST", &format!("/v1/chat/completions?note={CANARY}"))
        .json(body)
        .header("Authorization", format!("Bearer {CANARY}"));
    let answer = gateway.ask(&request);
    assert!(String::from_utf8_lossy(&answer.body).contains(CANARY), "the control");
    gateway.drain();
    assert_eq!((collector.sent_to("traces").len(), collector.sent_to("metrics").len()), (1, 1));
    for request in collector.0.requests() {
        let sent = String::from_utf8_lossy(&request.body).into_owned() + &request.head;
        assert!(!sent.contains(CANARY) && !sent.contains(PROVIDER_KEY), "{sent}");
    }
}

#[test]
fn a_collector_that_is_away_makes_no_request_wait_and_what_is_missing_is_counted() {
    let gateway = TestGateway::with_options("telemetry: {otlp_endpoint: 'http://127.0.0.1:1'}", |options| {
        options.admin_listen = Some(([127, 0, 0, 1], 0).into());
    });
    for _ in 0..600 {
        assert_eq!(gateway.ask(&Request::chat()).status, 200);
    }
    let dropped = || {
        let request = Request::new("GET", "/metrics");
        let metrics =
            String::from_utf8(gateway.connect_admin().ask(&request).body).expect("metrics are text");
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("keeptrusts_gateway_telemetry_dropped_total "));
        line.and_then(|count| count.parse::<u64>().ok()).filter(|count| *count >= 512)
    };
    wait_for("a batch to be given up", dropped);
}

#[test]
fn without_a_collector_the_clients_trace_passes_as_it_is() {
    let gateway = TestGateway::with("");
    gateway.ask(&Request::chat().header("traceparent", PARENT));
    assert_eq!(gateway.upstream.only_request().header("traceparent").as_deref(), Some(PARENT));
}
