//! How large a body may be, in every framing and coding, and what may be in it.

mod codings;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use flate2::Compression;
use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};

use crate::harness::{CHAT, Client, Memory, Outcome, Request, TestGateway, wait_for, within};

const LIMIT: usize = 1000;
const LIMITED: &str = "size_limits: {max_request_body_bytes: 1000}";

/// A chat request's body of exactly `length` bytes.
fn body_of(length: usize) -> Vec<u8> {
    let mut body = CHAT.to_vec();
    body.resize(length, b' ');
    body
}

/// Packs a body.
type Pack = fn(&[u8]) -> Vec<u8>;

/// The codings that are understood, and how each packs a body.
const CODINGS: [(&str, Pack); 6] =
    [("gzip", gzip), ("x-gzip", gzip), ("GZip", gzip), ("deflate", zlib), ("br", brotli), ("zstd", zstd)];

fn gzip(content: &[u8]) -> Vec<u8> {
    read_all(GzEncoder::new(content, Compression::fast()))
}

fn zlib(content: &[u8]) -> Vec<u8> {
    read_all(ZlibEncoder::new(content, Compression::fast()))
}

fn read_all(mut encoder: impl Read) -> Vec<u8> {
    let mut packed = Vec::new();
    encoder.read_to_end(&mut packed).expect("memory can be read");
    packed
}

/// One uncompressed meta-block and an empty last one (RFC 7932 sections 9.1 and 9.2).
fn brotli(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("one meta-block holds it");
    let header = ((length - 1) << 4) | (1 << 20);
    [&header.to_le_bytes()[..3], content, &[0b11]].concat()
}

/// One frame of one raw block (RFC 8878 section 3.1.1).
fn zstd(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("one block holds it");
    let block_header = (length << 3) | 1;
    [ZSTD_FRAME, &block_header.to_le_bytes()[..3], content].concat()
}

/// Magic number, a descriptor without options, a window of 128 KiB.
const ZSTD_FRAME: &[u8] = b"\x28\xb5\x2f\xfd\x00\x38";

/// What unpacks to [`BOMB_BYTES`], by its coding.
fn bombs() -> [(&'static str, Vec<u8>); 4] {
    let content = || std::io::repeat(b' ').take(BOMB_BYTES);
    [
        ("gzip", read_all(GzEncoder::new(content(), Compression::fast()))),
        ("deflate", read_all(ZlibEncoder::new(content(), Compression::fast()))),
        ("br", BROTLI_BOMB.to_vec()),
        ("zstd", zstd_bomb()),
    ]
}

const BOMB_BYTES: u64 = 64 * 1024 * 1024;

/// 64 MiB of blanks, as `brotli -q 9 -w 24` packs them.
const BROTLI_BOMB: &[u8] = b"\
\xcf\xff\xff\x7f\x00\x24\x40\xe2\xb1\x40\x72\xef\xff\xf9\xff\xff\x0f\x80\x04\x40\x1c\x16\x80\xee\xfd\
\x3f\xff\xff\xff\x01\x90\x00\x88\xc3\x02\xd0\xbd\xff\xcf\xff\xff\x7f\x00\x12\x00\x71\x58\x00\xba\xf7\xff";

/// Blocks of one repeated byte, 128 KiB each.
fn zstd_bomb() -> Vec<u8> {
    const BLOCK: u32 = 128 * 1024;
    let block = [&((BLOCK << 3) | (1 << 1)).to_le_bytes()[..3], b" "].concat();
    let blocks = usize::try_from(BOMB_BYTES).expect("64 bits") / BLOCK as usize;
    [ZSTD_FRAME, &block.repeat(blocks), &[0b001, 0, 0]].concat()
}

#[test]
fn the_limit_is_exact_to_the_byte_in_every_framing_and_coding() {
    let gateway = TestGateway::with(LIMITED);
    let plain: Pack = <[u8]>::to_vec;
    for (coding, pack) in CODINGS.into_iter().chain([("identity", plain)]) {
        for (length, fits) in [(LIMIT - 1, true), (LIMIT, true), (LIMIT + 1, false)] {
            let content = body_of(length);
            let request = Request::chat().header("Content-Encoding", coding);
            let packed = pack(&content);
            for request in [request.clone().body(&packed), request.chunked(&packed, 100)] {
                // What is stored and not compressed is larger than its content and may not fit itself.
                let fits = fits && packed.len() <= LIMIT;
                let before = gateway.upstream.bytes();
                let answer = gateway.ask(&request);
                if fits {
                    assert_eq!(answer.status, 200, "{coding} {length}");
                    let forwarded = gateway.upstream.requests().pop().expect("it was forwarded");
                    assert_eq!(forwarded.body, content, "{coding} {length}: the provider sees it unpacked");
                    assert_eq!(forwarded.header("content-encoding"), None);
                } else {
                    assert_eq!(answer.outcome(), (413, "request_too_large".to_owned()), "{coding} {length}");
                    assert_eq!(
                        gateway.upstream.bytes(),
                        before,
                        "{coding} {length}: the provider sees nothing"
                    );
                }
            }
        }
    }
}

#[test]
fn a_packed_body_is_held_to_the_limit_by_what_it_unpacks_to() {
    let gateway = TestGateway::with(LIMITED);
    for (coding, pack) in [("gzip", gzip as Pack), ("deflate", zlib)] {
        let request =
            |length| Request::chat().header("Content-Encoding", coding).body(pack(&body_of(length)));
        assert!(request(LIMIT + 1).bytes().len() < LIMIT, "it is small on its way");
        assert_eq!(gateway.ask(&request(LIMIT)).status, 200);
        let answer = gateway.ask(&request(LIMIT + 1));
        assert_eq!(answer.outcome(), (413, "request_too_large".to_owned()));
    }
}

#[test]
fn a_bomb_is_refused_without_being_unpacked() {
    let gateway = TestGateway::with("size_limits: {max_request_body_bytes: 1048576}");
    let bombs = bombs();
    let memory = Memory::begin();
    for (coding, bomb) in bombs {
        let answer = gateway.ask(&Request::chat().header("Content-Encoding", coding).body(bomb));
        assert_eq!(answer.outcome(), (413, "request_too_large".to_owned()), "{coding}");
        let event = gateway.event_of(answer.request_id());
        assert_eq!(event.event_type, kt_domain::events::EventType::RequestTooLarge);
    }
    let grown = memory.growth_mib();
    assert!(grown < 32, "{grown} MiB more for what would be 64");
    assert_eq!(gateway.upstream.bytes(), 0);
}

#[test]
fn a_coding_that_is_unknown_nested_or_untrue_is_refused() {
    let gateway = TestGateway::with("");
    let raw_deflate = read_all(DeflateEncoder::new(CHAT, Compression::fast()));
    let twice = gzip(&gzip(CHAT));
    let cut = |mut packed: Vec<u8>| {
        packed.truncate(packed.len() - 5);
        packed
    };
    let unsupported = (415, "unsupported_encoding");
    let untrue = (400, "invalid_encoding");
    let cases: Vec<(&[&str], Vec<u8>, Outcome)> = vec![
        (&["compress"], CHAT.to_vec(), unsupported),
        (&["aes128gcm"], CHAT.to_vec(), unsupported),
        (&["gzip, gzip"], twice.clone(), unsupported),
        (&["gzip", "gzip"], twice, unsupported),
        (&["gzip", "identity"], gzip(CHAT), unsupported),
        (&["gzip;q=1"], gzip(CHAT), unsupported),
        (&["gzip"], CHAT.to_vec(), untrue),
        (&["gzip"], cut(gzip(CHAT)), untrue),
        (&["deflate"], raw_deflate, untrue),
        (&["deflate"], cut(zlib(CHAT)), untrue),
        (&["br"], cut(brotli(CHAT)), untrue),
        (&["zstd"], cut(zstd(CHAT)), untrue),
        (&["zstd"], [&zstd(CHAT)[..], b"x"].concat(), untrue),
    ];
    for (codings, body, expected) in cases {
        let request = codings
            .iter()
            .fold(Request::chat(), |request, coding| request.header("Content-Encoding", coding));
        let answer = gateway.ask(&request.body(body));
        assert_eq!(answer.outcome(), (expected.0, expected.1.to_owned()), "{codings:?}");
    }
    for (coding, pack) in CODINGS {
        assert_eq!(
            gateway.ask(&Request::chat().header("Content-Encoding", coding).body(pack(CHAT))).status,
            200
        );
    }
}

#[test]
fn a_body_that_says_it_is_too_large_is_refused_before_it_comes() {
    let gateway = TestGateway::with(LIMITED);
    for length in ["1001", "99999999999", "18446744073709551615"] {
        let mut client = gateway.connect();
        let request = Request::chat().without("Content-Length").header("Content-Length", length);
        client.send(request.head()).expect("the gateway takes the head");
        let answer = client.answer();
        assert_eq!(answer.outcome(), (413, "request_too_large".to_owned()), "{length}");
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_chunked_body_is_refused_as_it_crosses_the_limit() {
    let gateway = TestGateway::with(LIMITED);
    let mut client = gateway.connect();
    let request = Request::chat().chunked(body_of(1200), 600).bytes();
    let all_but_the_end = &request[..request.len() - 5];
    client.send(all_but_the_end).expect("the gateway takes it");
    let answer = client.answer();
    assert_eq!(answer.outcome(), (413, "request_too_large".to_owned()));
    assert_eq!(client.rest(), b"");
    assert_eq!(gateway.upstream.connections(), 0, "the provider sees not even the beginning");
}

#[test]
fn a_client_that_asks_first_is_invited_only_when_its_body_is_wanted() {
    let refusals = [
        ("ip_allowlist: {enabled: true}", 403),
        ("auth: {mode: static, keys: [{id: k, secret_key_ref: {env: CLIENT_KEY}}]}", 401),
        ("size_limits: {max_request_body_bytes: 10}", 413),
        ("pack: {enabled: false}", 503),
    ];
    let request = Request::chat().header("Expect", "100-continue");
    let gateway = TestGateway::with("");
    for (yaml, status) in refusals {
        gateway.reload(yaml).expect("it is valid");
        let mut client = gateway.connect();
        client.send(request.head()).expect("the gateway takes the head");
        let answer = client.answer();
        assert_eq!((answer.status, answer.invitations), (status, 0), "{yaml}");
        assert_eq!(client.rest(), b"", "{yaml}");
    }
    gateway.reload("").expect("it is valid");
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(request.head()).expect("the gateway takes the head");
        client.expect_invitation();
        client.send(CHAT).expect("the gateway takes the body");
        let answer = client.answer();
        assert_eq!((answer.status, answer.invitations), (200, 0), "one invitation and no more");
    }
    let forwarded = gateway.upstream.requests();
    assert!(forwarded.iter().all(|request| request.header("expect").is_none()), "{forwarded:?}");
    assert_eq!(forwarded.len(), 2);
}

#[test]
fn a_client_that_does_not_wait_for_its_invitation_is_served() {
    let gateway = TestGateway::with("");
    let answer = gateway.ask(&Request::chat().header("Expect", "100-Continue"));
    assert_eq!((answer.status, answer.invitations), (200, 0), "the body was there already");
    let old = String::from_utf8(Request::chat().header("Expect", "100-continue").bytes()).unwrap();
    let answer = gateway.raw(old.replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!((answer.status, answer.invitations), (200, 0), "HTTP/1.0 knows no interim answers");
}

/// How much of a body the gateway leaves unread, as the kernel counts it, once it has refused its request.
fn left_unread(gateway: &TestGateway, length: usize) -> (u16, usize) {
    let mut client = gateway.connect();
    let head = Request::chat().without("Content-Length").header("Content-Length", length.to_string()).head();
    client.send(head).expect("the gateway takes the head");
    let status = client.answer().status;
    client.send(vec![b' '; length]).expect("the kernel takes the body");
    wait_for("the body to arrive", || (unsent(&client) == 0).then_some(()));
    let drained = within(Duration::from_millis(300), || (waiting(gateway, &client) == 0).then_some(0));
    (status, drained.unwrap_or_else(|| waiting(gateway, &client)))
}

/// Bytes that wait in the receive queue of the gateway's end of a connection (`rx_queue` of proc(5)).
fn waiting(gateway: &TestGateway, client: &Client) -> usize {
    queue(gateway.gateway.address(), client.stream().local_addr().expect("it is connected"), 1)
}

/// Bytes that the client's end has not handed over (`tx_queue`).
fn unsent(client: &Client) -> usize {
    let stream = client.stream();
    queue(stream.local_addr().expect("it is connected"), stream.peer_addr().expect("it is connected"), 0)
}

fn queue(local: SocketAddr, remote: SocketAddr, which: usize) -> usize {
    let of = |address: SocketAddr| format!(":{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux tells");
    let row = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = row.into_iter().find(|row| row[1].ends_with(&of(local)) && row[2].ends_with(&of(remote)));
    let queues = found.map_or_else(|| "0:0".to_owned(), |row| row[4].to_owned());
    usize::from_str_radix(queues.split(':').nth(which).expect("two numbers"), 16).expect("hexadecimal")
}

#[test]
fn not_one_byte_of_a_body_is_read_from_an_address_that_is_refused() {
    const BODY: usize = 20_000;
    let gateway = TestGateway::with("ip_allowlist: {enabled: true}");
    assert_eq!(left_unread(&gateway, BODY), (403, BODY));
    // The control: a body that is refused for its size is read and dropped, so that the client can read its answer.
    gateway.reload(LIMITED).expect("it is valid");
    assert_eq!(left_unread(&gateway, BODY), (413, 0));
}

#[test]
fn an_address_that_is_refused_is_answered_and_closed_though_its_body_never_comes() {
    let gateway = TestGateway::with("ip_allowlist: {enabled: true, allow: [127.0.0.2/32]}");
    let mut client = gateway.connect();
    client
        .send(Request::chat().without("Content-Length").header("Content-Length", "10000000").head())
        .unwrap();
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (403, Some("close")));
    assert_eq!(client.rest(), b"");
    assert_eq!(gateway.connect_from(Ipv4Addr::new(127, 0, 0, 2)).ask(&Request::chat()).status, 200);
}

#[test]
fn an_address_that_is_refused_is_closed_though_its_whole_body_came_with_its_head() {
    let gateway = TestGateway::with("ip_allowlist: {enabled: true, allow: [127.0.0.2/32]}");
    for request in
        [Request::chat(), Request::chat().chunked(CHAT, 20), Request::chat().body("").chunked("", 1)]
    {
        let mut client = gateway.connect();
        let answer = client.ask(&request);
        assert_eq!((answer.status, answer.header("connection")), (403, Some("close")), "{request:?}");
        assert_eq!(client.rest(), b"", "{request:?}");
    }
    let mut client = gateway.connect();
    for request in [Request::new("GET", "/v1/models"), Request::new("POST", "/v1/files").body("")] {
        let answer = client.ask(&request);
        assert_eq!(
            (answer.status, answer.header("connection")),
            (403, None),
            "there is no body: {request:?}"
        );
    }
    // The control: what is refused for another reason, its body dropped, leaves the connection to its client.
    let mut allowed = gateway.connect_from(Ipv4Addr::new(127, 0, 0, 2));
    let unknown = || Request::new("POST", "/nowhere").json(CHAT);
    for _ in 0..2 {
        let answer = allowed.ask(&unknown());
        assert_eq!((answer.status, answer.header("connection")), (404, None));
    }
}

#[test]
fn a_name_that_some_readers_take_for_another_is_told_with_its_place() {
    let answer = TestGateway::with("").ask(&Request::chat().json(r#"{"Model":"a"}"#));
    assert_eq!(answer.outcome(), (400, "invalid_json".to_owned()));
    assert_eq!(
        answer.json()["error"]["message"],
        "The body is no valid JSON object: `Model`, which some readers take for `model` and others do not, stands at line \
         1 column 8."
    );
}

#[test]
fn what_is_no_json_of_the_right_shape_is_refused_with_the_field_at_fault() {
    let gateway = TestGateway::with("");
    let nested = |depth: usize| {
        format!(r#"{{"model":"m","messages":[],"x":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1))
    };
    let deepest = nested(128);
    let deeper = nested(129);
    let bottomless = "[".repeat(1_000_000);
    let too_deep = (400, "json_too_deep");
    let invalid = (400, "invalid_json");
    let wrong = (422, "validation_error");
    let chats: Vec<(&[u8], Outcome, Option<&str>)> = vec![
        (deeper.as_bytes(), too_deep, None),
        (bottomless.as_bytes(), too_deep, None),
        (b"", invalid, None),
        (b"[]", invalid, None),
        (br#"{"model":"m","#, invalid, None),
        (br#"{"model":"m","messages":[]}{}"#, invalid, None),
        (br#"{"model":"m","model":"n","messages":[]}"#, invalid, None),
        (b"{\"model\":\"\xff\",\"messages\":[]}", invalid, None),
        (br#"{"messages":[]}"#, wrong, Some("model")),
        (br#"{"model":7,"messages":[]}"#, wrong, Some("model")),
        (br#"{"model":"m"}"#, wrong, Some("messages")),
        (br#"{"model":"m","messages":{}}"#, wrong, Some("messages")),
        (br#"{"model":"m","messages":[],"stream":1}"#, wrong, Some("stream")),
    ];
    let others: Vec<(&str, &[u8], &str)> = vec![
        ("/v1/embeddings", br#"{"model":"m"}"#, "input"),
        ("/v1/completions", br#"{"model":"m"}"#, "prompt"),
        ("/v1/responses", b"{}", "model"),
    ];
    let chats =
        chats.into_iter().map(|(body, outcome, param)| ("/v1/chat/completions", body, outcome, param));
    let others = others.into_iter().map(|(path, body, param)| (path, body, wrong, Some(param)));
    let mut client = gateway.connect();
    for (path, body, (status, code), param) in chats.chain(others) {
        let answer = client.ask(&Request::new("POST", path).json(body));
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{shown}");
        assert_eq!(answer.json()["error"]["param"].as_str(), param, "{shown}");
    }
    assert_eq!(gateway.upstream.bytes(), 0);
    for (path, body) in [
        ("/v1/chat/completions", deepest.as_bytes()),
        ("/v1/embeddings", b"{\"model\":\"m\",\"input\":\"x\"}"),
        ("/v1/completions", b"{\"model\":\"m\",\"prompt\":\"x\"}"),
        ("/v1/responses", b"{\"model\":\"m\"}"),
    ] {
        assert_eq!(client.ask(&Request::new("POST", path).json(body)).status, 200, "{path}");
    }
}

/// What browsers send of a page's own accord: each of these types, or none.
const UNASKED: [Option<&str>; 6] = [
    Some("text/plain"),
    Some("application/x-www-form-urlencoded"),
    Some("multipart/form-data; boundary=x"),
    Some("application/jsonx"),
    Some(""),
    None,
];

fn typed(value: Option<&str>) -> Request {
    let untyped = Request::chat().without("Content-Type");
    value.into_iter().fold(untyped, |request, value| request.header("Content-Type", value))
}

#[test]
fn a_page_cannot_send_json_without_its_browser_asking_first() {
    let gateway = TestGateway::with("");
    let signs = [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Referer", "https://evil.example/"),
    ];
    for (name, value) in signs {
        let of_page = |content_type| typed(content_type).header(name, value);
        for simple in UNASKED {
            let refused = gateway.ask(&of_page(simple));
            assert_eq!(refused.outcome(), (415, "unsupported_media_type".to_owned()), "{name} {simple:?}");
        }
        assert_eq!(gateway.upstream.bytes(), 0);
    }
    for (name, value) in signs {
        let with_key = typed(None).header(name, value).header("Authorization", "Bearer x");
        assert_eq!(gateway.ask(&with_key).status, 200, "{name}: a page cannot send a key in secret");
    }
    for json in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"] {
        let asked = typed(Some(json)).header("Origin", "https://evil.example");
        assert_eq!(gateway.ask(&asked).status, 200, "{json}");
    }
    assert_eq!(gateway.upstream.requests().len(), 7);
}

#[test]
fn what_no_page_sent_is_read_as_json_whatever_it_is_called() {
    let gateway = TestGateway::with("");
    for named in UNASKED {
        assert_eq!(gateway.ask(&typed(named)).status, 200, "{named:?}");
        let broken = typed(named).header("Sec-Fetch-Mode", "cors").body("{");
        assert_eq!(gateway.ask(&broken).outcome(), (400, "invalid_json".to_owned()), "{named:?}, from Node");
    }
    let seen: Vec<_> = gateway.upstream.requests().iter().map(|seen| seen.header("content-type")).collect();
    assert_eq!(seen, [(); UNASKED.len()].map(|()| Some("application/json".to_owned())));
}

#[test]
fn many_small_chunks_make_one_body() {
    let gateway = TestGateway::with("");
    let content = body_of(50_000);
    let mut client = gateway.connect();
    let request = Request::chat().chunked(&content, 3).bytes();
    for piece in request.chunks(999) {
        client.stream().write_all(piece).expect("the gateway takes it");
    }
    assert_eq!(client.answer().status, 200);
    assert_eq!(gateway.upstream.only_request().body, content);
}
