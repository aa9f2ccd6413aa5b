//! An OIDC provider that says what a test tells it to: the truth, or a lie.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use axum::extract::{Form, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kt_domain::clock::{Clock, ManualClock};
use kt_domain::random::Random;
use serde_json::{Map, Value, json};
use url::Url;

use super::{CLIENT, SECRET};
use crate::console::browser::Browser;
use crate::harness::Answer;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signature {
    /// With the key that is published.
    Own,
    /// Not at all, under this name of an algorithm.
    Missing(&'static str),
    /// With the published key as a shared secret.
    Hs256,
    /// With a key that is published nowhere, under the name of the one that is.
    Foreign,
    /// With a key that the header itself carries.
    Embedded,
    /// Changed after it was signed.
    Changed,
    /// With the RSA key that is published besides.
    Rs256,
    /// The same, with PSS.
    Ps256,
    /// With the key on P-256 that is published besides.
    Es256,
}

/// What the provider does. Whatever a test leaves alone is the truth.
#[derive(Clone)]
pub(crate) struct Says {
    /// Claims of the ID token in place of its own; `null` takes one away.
    pub(crate) claims: Value,
    /// The same for its header.
    pub(crate) header: Value,
    pub(crate) signature: Signature,
    /// What stands in the address that it leads back to, in place of its own.
    pub(crate) answer: Vec<(&'static str, Option<String>)>,
    /// What its answer about somebody says, in place of its own.
    pub(crate) userinfo: Value,
    /// Members of its metadata in place of its own.
    pub(crate) metadata: Value,
    /// Keys that it publishes in place of its own.
    pub(crate) keys: Option<Vec<Value>>,
    /// How many other keys of the same kind it publishes before its own.
    pub(crate) others: usize,
    /// What is at the address of its metadata in place of them.
    pub(crate) documents: Document,
    /// What is at another of its addresses in place of what belongs there.
    pub(crate) instead: (&'static str, Document),
    /// How its client has to say who it is.
    pub(crate) client: &'static str,
    /// Whether it gives tokens.
    pub(crate) gives_tokens: bool,
    /// Whether its keys are away.
    pub(crate) keys_are_away: bool,
}

/// What is where a document should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    /// The document.
    Itself,
    /// The way to another place where it is.
    Elsewhere,
    /// More than anybody reads.
    Huge,
    /// A document of another kind.
    Page,
    /// Nothing.
    Missing,
}

impl Document {
    /// The answer in place of the document; where it is `moved` the document itself is found.
    fn in_place_of(self, moved: &str) -> Option<Response> {
        match self {
            Self::Itself => None,
            Self::Elsewhere => Some(Redirect::temporary(moved).into_response()),
            Self::Huge => Some("x".repeat(1024 * 1024 + 1).into_response()),
            Self::Page => Some(([(header::CONTENT_TYPE, "text/html")], "<html>").into_response()),
            Self::Missing => Some(StatusCode::NOT_FOUND.into_response()),
        }
    }
}

impl Default for Says {
    fn default() -> Self {
        Self {
            claims: json!({}),
            header: json!({}),
            signature: Signature::Own,
            answer: Vec::new(),
            userinfo: json!({}),
            metadata: json!({}),
            keys: None,
            others: 0,
            documents: Document::Itself,
            instead: ("", Document::Itself),
            client: "client_secret_basic",
            gives_tokens: true,
            keys_are_away: false,
        }
    }
}

struct World {
    says: Says,
    key: Ed25519KeyPair,
    kid: String,
    /// What was asked for with each code.
    codes: HashMap<String, Asked>,
    /// How often its metadata was asked for.
    metadata_looks: usize,
    /// How often its keys were asked for.
    looks: usize,
    /// The verifier that came with each code that was exchanged, or tried to be.
    verifiers: Vec<String>,
}

#[derive(Clone)]
struct Asked {
    nonce: String,
    challenge: String,
    redirect_uri: String,
    subject: String,
}

/// A provider that listens.
#[derive(Clone)]
pub(crate) struct Provider {
    issuer: String,
    clock: ManualClock,
    world: Arc<Mutex<World>>,
}

impl Provider {
    pub(crate) async fn start(clock: &ManualClock) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let world = World {
            says: Says::default(),
            key: new_key(),
            kid: "first".into(),
            codes: HashMap::new(),
            metadata_looks: 0,
            looks: 0,
            verifiers: Vec::new(),
        };
        let provider = Self { issuer, clock: clock.clone(), world: Arc::new(Mutex::new(world)) };
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/moved", get(metadata))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .route("/moved/keys", get(keys))
            .route("/moved/token", post(token))
            .route("/moved/userinfo", get(userinfo))
            .layer(middleware::from_fn_with_state(provider.clone(), something_else))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        provider
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// From now on it does this.
    pub(crate) fn says(&self, says: Says) {
        self.world().says = says;
    }

    /// How often its metadata was asked for.
    pub(crate) fn metadata_looks(&self) -> usize {
        self.world().metadata_looks
    }

    /// How often its keys were asked for.
    pub(crate) fn looks(&self) -> usize {
        self.world().looks
    }

    /// The verifier that came with each code that was exchanged, or tried to be.
    pub(crate) fn verifiers(&self) -> Vec<String> {
        self.world().verifiers.clone()
    }

    /// Puts another key in place of the one that it signs with.
    pub(crate) fn rotate(&self) {
        let mut world = self.world();
        world.key = new_key();
        world.kid = format!("{}+", world.kid);
    }

    /// Somebody proves who they are; where their browser is led back to.
    pub(crate) fn authorize(&self, at: &str, subject: &str) -> String {
        let url = Url::parse(at).unwrap();
        assert!(at.starts_with(&format!("{}/authorize?", self.issuer)), "{at}");
        let asked: HashMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(asked["response_type"], "code");
        let scope = asked["scope"].strip_suffix(" groups").unwrap_or(&asked["scope"]);
        assert_eq!(scope, "openid email profile");
        assert_eq!(asked["code_challenge_method"], "S256");
        assert!(asked["state"].len() == 43 && asked["nonce"].len() == 43, "256 bits each");
        let code = URL_SAFE_NO_PAD.encode(Random::from_os().bytes::<16>());
        let mut world = self.world();
        let kept = Asked {
            nonce: asked["nonce"].clone(),
            challenge: asked["code_challenge"].clone(),
            redirect_uri: asked["redirect_uri"].clone(),
            subject: subject.to_owned(),
        };
        world.codes.insert(code.clone(), kept);
        let mut answer = vec![
            ("code", Some(code)),
            ("state", Some(asked["state"].clone())),
            ("iss", Some(self.issuer.clone())),
        ];
        for (name, value) in &world.says.answer {
            answer.retain(|(other, _)| other != name);
            answer.push((name, value.clone()));
        }
        let mut back = Url::parse(&asked["redirect_uri"]).unwrap();
        back.query_pairs_mut()
            .extend_pairs(answer.into_iter().filter_map(|(name, value)| Some((name, value?))));
        format!("{}?{}", back.path(), back.query().unwrap_or_default())
    }

    /// A whole way to the provider of `acme` and back, as `subject`.
    pub(crate) async fn way(&self, browser: &Browser<'_>, subject: &str) -> Answer {
        let to = depart(browser).await;
        browser.come_back(&self.authorize(&to, subject)).await
    }

    /// A token that says this, signed as the provider signs.
    pub(crate) fn sign(&self, header: &Value, claims: &Value, signature: Signature) -> String {
        let world = self.world();
        let mut own = json!({ "alg": "EdDSA", "typ": "JWT", "kid": world.kid });
        let public = URL_SAFE_NO_PAD.encode(world.key.public_key());
        let stranger = new_key();
        match signature {
            Signature::Missing(name) => own["alg"] = name.into(),
            Signature::Hs256 => own["alg"] = "HS256".into(),
            Signature::Embedded => own["jwk"] = jwk(&stranger, "first"),
            Signature::Rs256 => own = json!({ "alg": "RS256", "typ": "JWT", "kid": "rsa" }),
            Signature::Ps256 => own = json!({ "alg": "PS256", "typ": "JWT", "kid": "rsa" }),
            Signature::Es256 => own = json!({ "alg": "ES256", "typ": "JWT", "kid": "p256" }),
            Signature::Own | Signature::Foreign | Signature::Changed => {}
        }
        let own = merged(own, header);
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&own), part(claims));
        let signed = match signature {
            Signature::Missing(_) => Vec::new(),
            Signature::Hs256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes());
                hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
            }
            Signature::Rs256 | Signature::Ps256 => {
                let padding = if signature == Signature::Rs256 { &RSA_PKCS1_SHA256 } else { &RSA_PSS_SHA256 };
                let mut bytes = vec![0; RSA.public_modulus_len()];
                RSA.sign(padding, &SystemRandom::new(), text.as_bytes(), &mut bytes).unwrap();
                bytes
            }
            Signature::Es256 => P256.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec(),
            Signature::Foreign | Signature::Embedded => stranger.sign(text.as_bytes()).as_ref().to_vec(),
            Signature::Own => world.key.sign(text.as_bytes()).as_ref().to_vec(),
            Signature::Changed => {
                let mut bytes = world.key.sign(text.as_bytes()).as_ref().to_vec();
                bytes[10] ^= 1;
                bytes
            }
        };
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signed))
    }

    /// A logout token with these claims in place of its own.
    pub(crate) fn logout_token(&self, changes: &Value) -> String {
        let now = self.clock.now().as_second();
        let claims = json!({
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 120,
            "jti": URL_SAFE_NO_PAD.encode(Random::from_os().bytes::<8>()), "sub": "1",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        self.sign(&json!({ "typ": "logout+jwt" }), &merged(claims, changes), Signature::Own)
    }
}

/// Asks for the provider of `acme`; where the browser is led.
pub(crate) async fn depart(browser: &Browser<'_>) -> String {
    let left = browser.post("/login/sso", &[("organization", "acme")]).await;
    left.leads_to().unwrap_or_else(|| panic!("{}", left.body)).to_owned()
}

impl Browser<'_> {
    /// Goes to a page as browsers do that come back from another site.
    pub(crate) async fn come_back(&self, path: &str) -> Answer {
        let headers = [("sec-fetch-mode", "navigate"), ("sec-fetch-site", "cross-site")];
        self.send(axum::http::Method::GET, path, &headers, None).await
    }
}

/// Finding primes takes a while, so that every provider has this one.
static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

static P256: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());

fn rsa_jwk() -> Value {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let key = RSA.public_key();
    let (n, e) =
        (key.modulus().big_endian_without_leading_zero(), key.exponent().big_endian_without_leading_zero());
    json!({ "kty": "RSA", "use": "sig", "kid": "rsa", "n": part(n), "e": part(e) })
}

fn p256_jwk() -> Value {
    // SEC 1 section 2.3.3: a byte that says that it is not compressed, then the coordinates.
    let point = P256.public_key().as_ref();
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": "p256", "x": part(&point[1..33]), "y": part(&point[33..]) })
}

fn new_key() -> Ed25519KeyPair {
    Ed25519KeyPair::generate().unwrap()
}

fn jwk(key: &Ed25519KeyPair, kid: &str) -> Value {
    let x = URL_SAFE_NO_PAD.encode(key.public_key());
    json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x })
}

/// The members of `changes` in place of those of `base`; `null` takes one away.
fn merged(mut base: Value, changes: &Value) -> Value {
    let members = base.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    base
}

async fn metadata(State(provider): State<Provider>, uri: axum::http::Uri) -> Response {
    let (issuer, says) = (&provider.issuer, provider.world().says.clone());
    provider.world().metadata_looks += 1;
    if uri.path() != "/moved"
        && let Some(other) = says.documents.in_place_of("/moved")
    {
        return other;
    }
    let own = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "authorization_response_iss_parameter_supported": true,
    });
    Json(merged(own, &says.metadata)).into_response()
}

/// What is at an address in place of what belongs there, as [`Says::instead`] has it.
async fn something_else(State(provider): State<Provider>, request: Request, next: Next) -> Response {
    let (at, document) = provider.world().says.instead;
    if request.uri().path() == at
        && let Some(other) = document.in_place_of(&format!("/moved{at}"))
    {
        return other;
    }
    next.run(request).await
}

async fn keys(State(provider): State<Provider>) -> Response {
    let mut world = provider.world();
    world.looks += 1;
    if world.says.keys_are_away {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let mut own: Vec<Value> = (0..world.says.others).map(|n| jwk(&new_key(), &format!("other{n}"))).collect();
    own.extend([jwk(&world.key, &world.kid), rsa_jwk(), p256_jwk()]);
    Json(json!({ "keys": world.says.keys.clone().unwrap_or(own) })).into_response()
}

async fn token(
    State(provider): State<Provider>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let verifier = form.get("code_verifier").map_or("", String::as_str);
    let asked = {
        let mut world = provider.world();
        world.verifiers.push(verifier.to_owned());
        world.codes.remove(form.get("code").map_or("", String::as_str))
    };
    let refused = |word: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": word }))).into_response();
    let challenge = digest(&SHA256, verifier.as_bytes());
    let Some(asked) = asked else { return refused("invalid_grant") };
    if asked.challenge != URL_SAFE_NO_PAD.encode(challenge) || form["redirect_uri"] != asked.redirect_uri {
        return refused("invalid_grant");
    }
    let says = provider.world().says.clone();
    if !is_client(says.client, &headers, &form) {
        return refused("invalid_client");
    }
    if !says.gives_tokens {
        let refusal = json!({ "error": "<script>server_error", "error_description": "canary: refused" });
        return (StatusCode::BAD_REQUEST, Json(refusal)).into_response();
    }
    let now = provider.clock.now().as_second();
    let own = json!({
        "iss": provider.issuer, "aud": CLIENT, "sub": asked.subject, "nonce": asked.nonce,
        "iat": now, "exp": now + 300, "auth_time": now, "sid": format!("s-{}", asked.subject),
    });
    let id_token = provider.sign(&says.header, &merged(own, &says.claims), says.signature);
    let access_token = format!("access-{}", asked.subject);
    Json(json!({ "access_token": access_token, "token_type": "Bearer", "id_token": id_token }))
        .into_response()
}

/// Whether our client says who it is in this way, and in no other beside it (RFC 6749 section 2.3.1, with what it wants
/// encoded).
fn is_client(way: &str, headers: &HeaderMap, form: &HashMap<String, String>) -> bool {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(CLIENT), encoded(SECRET))));
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = |name: &str| form.get(name).map(String::as_str);
    match way {
        "client_secret_basic" => header == Some(&basic) && given("client_secret").is_none(),
        "client_secret_post" => {
            header.is_none() && given("client_id") == Some(CLIENT) && given("client_secret") == Some(SECRET)
        }
        _ => header.is_none() && given("client_id") == Some(CLIENT) && given("client_secret").is_none(),
    }
}

async fn userinfo(State(provider): State<Provider>, headers: HeaderMap) -> Response {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(subject) = given.strip_prefix("Bearer access-") else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let own = json!({
        "sub": subject, "email": format!("{subject}@acme.example"), "email_verified": true,
        "name": format!("Somebody {subject}"),
    });
    let told: Map<String, Value> =
        merged(own, &provider.world().says.userinfo).as_object().cloned().unwrap_or_default();
    Json(told).into_response()
}
