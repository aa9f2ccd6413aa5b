//! Keys that a control plane has made: known by a snapshot, judged here at every request.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kt_domain::actor::{Role, Scope};
use kt_domain::clock::ManualClock;
use kt_domain::events::{EventType, PublicKey};
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::keys::{
    KeyRestrictions, KeySnapshot, KeyTerms, KnownKey, PASS_LIFETIME, PassClaims, PassKey, PassTerms,
};
use kt_domain::secret::SecretDigest;
use kt_gateway::AccessKeys;

use crate::drain::stream_on_demand;
use crate::harness::{Request, TestGateway};

const START: &str = "2026-03-15T14:22:31Z";
const DAY: Duration = Duration::from_hours(24);

struct Connected {
    gateway: TestGateway,
    keys: Arc<AccessKeys>,
    clock: ManualClock,
}

fn connected(yaml: &str) -> Connected {
    let keys = Arc::<AccessKeys>::default();
    let clock = ManualClock::starting_at(START.parse().expect("a moment"));
    let gateway = TestGateway::with_options(yaml, |options| {
        options.access_keys = Some(Arc::clone(&keys));
        options.clock = Arc::new(clock.clone());
    });
    Connected { gateway, keys, clock }
}

/// The terms of a key that may do what applications do.
fn terms() -> KeyTerms {
    KeyTerms {
        scope: Some(Scope::Write),
        ranges: Vec::new(),
        requests_per_minute: None,
        created_at: START.parse().expect("a moment"),
        expires_at: None,
        ends_at: None,
        flagged_at: None,
    }
}

fn owner() -> UserId {
    format!("usr_{:0>32}", 1).parse().expect("an identifier")
}

fn known(name: &str, terms: KeyTerms) -> KnownKey {
    let digits = SecretDigest::of(name).to_string();
    let id = format!("key_{}", &digits[..32]).parse().expect("an identifier");
    KnownKey { id, owner: owner(), digest: SecretDigest::of(name), terms }
}

impl Connected {
    fn knows(&self, restrictions: KeyRestrictions, keys: Vec<KnownKey>) {
        self.keys.replace(KeySnapshot::new(restrictions, keys));
    }

    /// Status and code of the answer to a request with this key, and what the event says.
    fn ask(&self, name: &str) -> (u16, String) {
        self.ask_from(Ipv4Addr::LOCALHOST, name)
    }

    fn ask_from(&self, ip: Ipv4Addr, name: &str) -> (u16, String) {
        let request = Request::chat().header("Authorization", format!("Bearer {name}"));
        let answer = self.gateway.connect_from(ip).ask(&request);
        let event = self.gateway.event_of(answer.request_id());
        if answer.status == 200 {
            assert_eq!(event.key_id.as_deref(), Some(known(name, terms()).id.as_str()));
            return (200, String::new());
        }
        let (status, code) = answer.outcome();
        let expected = match status {
            401 | 403 => EventType::AuthFailed,
            429 => EventType::RateLimited,
            _ => EventType::Decision,
        };
        assert_eq!((event.event_type, event.reason_code.as_deref()), (expected, Some(code.as_str())));
        (status, code)
    }
}

fn start_plus(time: Duration) -> Timestamp {
    START.parse::<Timestamp>().expect("a moment") + time
}

fn ok() -> (u16, String) {
    (200, String::new())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn a_connected_gateway_asks_for_keys_unless_it_is_told_not_to() {
    let gateway = connected("");
    assert_eq!(gateway.ask("app"), refused(503, "keys_unavailable"), "nobody's key is known yet");
    gateway.knows(KeyRestrictions::default(), vec![known("app", terms())]);
    assert_eq!(gateway.ask("app"), ok());
    assert_eq!(gateway.ask("other"), refused(401, "invalid_key"));
    assert_eq!(gateway.gateway.ask(&Request::chat()).outcome(), refused(401, "missing_key"));
    let open = connected("auth: {mode: none}");
    assert_eq!(open.gateway.ask(&Request::chat()).status, 200);
}

#[test]
fn scope_expiry_age_and_address_are_judged_at_every_request() {
    let gateway = connected("");
    let near: Vec<_> = vec!["127.0.0.2/32".parse().expect("a range")];
    let keys = vec![
        known("app", terms()),
        known("admin", KeyTerms { scope: Some(Scope::Admin), ..terms() }),
        known("reader", KeyTerms { scope: Some(Scope::ReadOnly), ..terms() }),
        known("short", KeyTerms { expires_at: Some(start_plus(DAY)), ..terms() }),
        known("overlapping", KeyTerms { ends_at: Some(start_plus(DAY)), ..terms() }),
        known("near", KeyTerms { ranges: near.clone(), ..terms() }),
    ];
    let month = KeyRestrictions { max_age_days: Some(30), ..KeyRestrictions::default() };
    gateway.knows(month, keys.clone());
    for name in ["app", "admin", "short", "overlapping"] {
        assert_eq!(gateway.ask(name), ok(), "{name}");
    }
    assert_eq!(gateway.ask("reader"), refused(403, "insufficient_scope"));
    assert_eq!(gateway.ask("near"), refused(403, "key_ip_denied"));
    assert_eq!(gateway.ask_from(Ipv4Addr::new(127, 0, 0, 2), "near"), ok());

    gateway.clock.advance(DAY);
    assert_eq!(gateway.ask("short"), refused(401, "key_expired"));
    assert_eq!(gateway.ask("overlapping"), refused(401, "invalid_key"));
    assert_eq!(gateway.ask("app"), ok());
    gateway.clock.advance(35 * DAY);
    assert_eq!(gateway.ask("app"), ok(), "over age, and within the week to rotate it");
    gateway.clock.advance(DAY);
    assert_eq!(gateway.ask("app"), refused(401, "key_expired"), "37 days old");

    let bound = KeyRestrictions { allowed_ranges: near, ..KeyRestrictions::default() };
    gateway.knows(bound, keys);
    assert_eq!(gateway.ask("app"), refused(403, "key_ip_denied"), "the organization's ranges bind every key");
    assert_eq!(gateway.ask_from(Ipv4Addr::new(127, 0, 0, 2), "app"), ok());
}

#[test]
fn a_revoked_key_is_refused_from_the_next_request_on() {
    let gateway = connected("");
    gateway.knows(KeyRestrictions::default(), vec![known("app", terms()), known("other", terms())]);
    assert_eq!([gateway.ask("app"), gateway.ask("other")], [ok(), ok()]);
    let before = gateway.keys.version();
    gateway.knows(KeyRestrictions::default(), vec![known("other", terms())]);
    assert_ne!(gateway.keys.version(), before);
    assert_eq!([gateway.ask("app"), gateway.ask("other")], [refused(401, "invalid_key"), ok()]);
}

#[test]
fn a_stream_ends_once_its_key_is_revoked_and_with_no_other_key() {
    for (left, code) in [(Some("app"), "ok"), (Some("other"), "key_revoked"), (None, "key_revoked")] {
        let gateway = connected("");
        let keys = ["app", "other"].map(|name| known(name, terms()));
        gateway.knows(KeyRestrictions::default(), keys.to_vec());
        let stream = stream_on_demand(&gateway.gateway);
        let mut client = gateway.gateway.connect();
        let request = Request::chat().header("Authorization", "Bearer app");
        client.send(request.bytes()).expect("the request is taken");
        let head = client.head_answer();
        stream.send(b"9\r\ndata: 1\n\n\r\n").expect("the provider waits for it");
        assert_eq!(client.chunk().as_deref(), Some(&b"data: 1\n\n"[..]));

        match left {
            Some(name) => gateway.knows(KeyRestrictions::default(), vec![known(name, terms())]),
            None => gateway.keys.forget(),
        }
        if code == "ok" {
            stream.send(b"9\r\ndata: 2\n\n\r\n").expect("the provider waits for it");
            assert_eq!(client.chunk().as_deref(), Some(&b"data: 2\n\n"[..]), "the control");
            drop(stream);
            assert_eq!(client.chunk(), None);
        } else {
            // Nothing more comes from the provider: the gateway ends it by itself.
            let rest = String::from_utf8(client.rest()).expect("a stream is text");
            assert!(rest.contains(r#""code":"key_revoked""#) && !rest.ends_with("0\r\n\r\n"), "{rest}");
        }
        let event = gateway.gateway.event_of(head.request_id());
        assert_eq!((event.status, event.reason_code.as_deref()), (Some(200), Some(code)), "{left:?}");
    }
}

#[test]
fn the_lower_rate_of_key_and_organization_holds_and_no_new_list_forgives_it() {
    let gateway = connected("");
    let at_most =
        |rate| KeyRestrictions { max_requests_per_minute: Some(rate), ..KeyRestrictions::default() };
    let key = |rate| vec![known("app", KeyTerms { requests_per_minute: rate, ..terms() })];
    gateway.knows(at_most(2), key(Some(50)));
    assert_eq!([gateway.ask("app"), gateway.ask("app")], [ok(), ok()]);
    gateway.knows(at_most(2), key(None));
    assert_eq!(gateway.ask("app"), refused(429, "rate_limited"));
    gateway.clock.advance(Duration::from_secs(30));
    assert_eq!(gateway.ask("app"), ok());
}

const ISSUER: &str = "https://api.example";

fn organization(digit: char) -> OrganizationId {
    format!("org_{}", digit.to_string().repeat(32)).parse().expect("an identifier")
}

fn user() -> UserId {
    format!("usr_{}", "5".repeat(32)).parse().expect("an identifier")
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a seed")
}

/// The key `kid`, as gateways are told of it.
fn pass_key(kid: &str, seed: u8) -> PassKey {
    let public = pair(seed).public_key().as_ref().try_into().expect("32 bytes");
    PassKey { kid: kid.to_owned(), key: PublicKey(public) }
}

fn claims(role: Role) -> PassClaims {
    PassClaims::new(ISSUER, &user(), (&organization('1'), role), None, start_plus(Duration::ZERO))
}

fn signed(kid: &str, seed: u8, claims: &PassClaims) -> String {
    let header = format!(r#"{{"typ":"pass+jwt","alg":"EdDSA","kid":"{kid}"}}"#);
    let claims = serde_json::to_string(claims).expect("claims");
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = pair(seed).sign(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn where_no_key_is_asked_for_a_pass_says_who_comes_and_nothing_else_does() {
    let gateway = connected("auth: {mode: none}\nrate_limits: {per_key: {requests_per_minute: 2}}");
    let pass = signed("k1", 1, &claims(Role::Member));
    let who = |bearer: &str| {
        let answer =
            gateway.gateway.ask(&Request::chat().header("Authorization", format!("Bearer {bearer}")));
        let event = gateway.gateway.event_of(answer.request_id());
        assert_eq!(event.key_id, None);
        (answer.status, event.user_id.as_deref().map(str::to_owned))
    };
    let nobody = (200, None);
    assert_eq!(who(&pass), nobody, "no passes are known here yet");
    let terms = PassTerms {
        issuer: ISSUER.to_owned(),
        organization: organization('1'),
        keys: vec![pass_key("k1", 1)],
    };
    gateway.keys.replace(
        KeySnapshot::new(KeyRestrictions::default(), vec![known("app", self::terms())]).with_passes(terms),
    );
    let person = |status| (status, Some(user().as_str().to_owned()));
    assert_eq!([who(&pass), who(&pass), who(&pass)], [person(200), person(200), person(429)]);
    let forged = signed("k1", 2, &claims(Role::Member));
    for bearer in [&forged, &signed("k1", 1, &claims(Role::Auditor)), "app", "whatever"] {
        assert_eq!([who(bearer), who(bearer), who(bearer)], [(); 3].map(|()| nobody.clone()), "{bearer}");
    }
    gateway.clock.advance(PASS_LIFETIME);
    assert_eq!(who(&pass), nobody, "it is over");
}

#[test]
fn a_person_is_let_in_by_a_pass_of_the_control_plane_and_named_in_the_event() {
    let gateway = connected("rate_limits: {per_key: {requests_per_minute: 3}}");
    let pass = signed("k1", 1, &claims(Role::Member));
    assert_eq!(gateway.ask(&pass), refused(503, "keys_unavailable"));
    gateway.knows(KeyRestrictions::default(), Vec::new());
    assert_eq!(gateway.ask(&pass), refused(401, "invalid_key"), "no passes are known here");

    let terms = PassTerms {
        issuer: ISSUER.to_owned(),
        organization: organization('1'),
        keys: vec![pass_key("k1", 1), pass_key("k2", 2)],
    };
    gateway.keys.replace(KeySnapshot::new(KeyRestrictions::default(), Vec::new()).with_passes(terms));
    let good = |pass: &str| {
        let answer = gateway.gateway.ask(&Request::chat().header("Authorization", format!("Bearer {pass}")));
        let event = gateway.gateway.event_of(answer.request_id());
        assert_eq!((event.user_id.as_deref(), event.key_id.as_deref()), (Some(user().as_str()), None));
        answer.status
    };
    assert_eq!([good(&pass), good(&signed("k2", 2, &claims(Role::Owner)))], [200, 200]);

    let foreign = PassClaims { org: organization('2'), ..claims(Role::Member) };
    let (head, signature) = pass.rsplit_once('.').expect("a signature");
    let (_, other) = signed("k1", 1, &claims(Role::Admin))
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("a signature");
    for (bearer, expected) in [
        (signed("k1", 2, &claims(Role::Member)), refused(401, "invalid_key")),
        (signed("k3", 1, &claims(Role::Member)), refused(401, "invalid_key")),
        (signed("k1", 1, &foreign), refused(401, "invalid_key")),
        (signed("k1", 1, &claims(Role::Auditor)), refused(403, "insufficient_scope")),
        (format!("{head}.{other}"), refused(401, "invalid_key")),
        (format!("{head}."), refused(401, "invalid_key")),
        (format!("{head}.{signature}="), refused(401, "invalid_key")),
    ] {
        assert_eq!(gateway.ask(&bearer), expected, "{bearer}");
    }
    assert_eq!(good(&pass), 200, "the control");
    assert_eq!(gateway.ask(&pass), refused(429, "rate_limited"), "a person is counted as a key is");
    gateway.clock.advance(PASS_LIFETIME);
    assert_eq!(gateway.ask(&pass), refused(401, "key_expired"));
}
