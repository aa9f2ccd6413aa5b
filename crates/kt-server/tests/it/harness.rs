//! The API in this process, on a database of its own, with a clock that is moved by hand.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use kt_control::mail::{Captured, Letter, Renderer};
use kt_control::passwords::{Capacity, Cost, Hasher};
use kt_control::{Control, Parts, Post, SealKey, SetUp};
use kt_domain::actor::Actor;
use kt_domain::clock::{Clock, ManualClock};
use kt_domain::ctx::{Client, Ctx};
use kt_domain::email::EmailAddress;
use kt_domain::id::UserId;
use kt_domain::network::cidr::CidrSet;
use kt_domain::passwords::Password;
use kt_domain::public_url::PublicUrl;
use kt_domain::random::Random;
use kt_domain::sign_in::MembershipState;
use kt_server::Doors;
use kt_store::memberships::{self, Membership};
use kt_store::users::{self, User};
use kt_store::{Store, audit, organizations};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::databases::{Kind, TestDatabase, clock};

/// A good password that breaks no rule.
pub(crate) const PASSWORD: &str = "Tall-cedar-9-river";

/// The address from which tests come, unless they say otherwise.
const PEER: &str = "203.0.113.9:40000";

/// A running API.
pub(crate) struct TestApi {
    pub(crate) control: Arc<Control>,
    pub(crate) clock: ManualClock,
    /// Takes the mail that is sent.
    pub(crate) mailbox: Captured,
    post: Post,
    pub(crate) store: Store,
    router: Router,
    /// Keeps the database until the test ends.
    _database: TestDatabase,
}

impl TestApi {
    /// An API on an empty database.
    pub(crate) async fn empty(kind: Kind) -> Self {
        let database = TestDatabase::empty(kind).await;
        let clock = clock();
        let mut random = Random::from_os();
        let parts = Parts {
            store: database.store().await,
            clock: Arc::new(clock.clone()),
            hasher: Hasher::new(&Cost::for_tests(), crowd()).unwrap(),
            seal: SealKey::from_text(&SealKey::new_text(&mut random)).unwrap(),
            random,
            issuer: "http://localhost:8080".into(),
        };
        let control = Arc::new(Control::start(parts).await.unwrap());
        let addresses = Arc::new(kt_server::client_address(CidrSet::from_iter([])));
        let router = kt_server::api(Doors { control: Arc::clone(&control), addresses });
        let mailbox = Captured::default();
        let post = Post {
            mailer: Arc::new(mailbox.clone()),
            renderer: Renderer::new(PublicUrl::parse("http://localhost:3000").unwrap()),
            sender: "Keeptrusts <no-reply@keeptrusts.example>".parse().unwrap(),
        };
        let store = database.store().await;
        Self { control, clock, mailbox, post, store, router, _database: database }
    }

    /// An API with the organisation `acme`, whose owner is `owner@acme.example` with [`PASSWORD`].
    pub(crate) async fn with_owner(kind: Kind) -> Self {
        let api = Self::empty(kind).await;
        let set_up = SetUp {
            organization: "acme".into(),
            organization_name: "Acme".into(),
            email: "owner@acme.example".into(),
            name: "Olive Owner".into(),
            password: PASSWORD.into(),
        };
        api.control.set_up(&api.operator(), set_up).await.unwrap();
        api
    }

    /// The operator at the machine.
    pub(crate) fn operator(&self) -> Ctx {
        Ctx {
            actor: Actor::System("test"),
            client: Client::default(),
            request_id: "test".into(),
            now: self.clock.now(),
        }
    }

    /// A request to be sent.
    pub(crate) fn request(&self, method: Method, path: &str) -> TestRequest<'_> {
        TestRequest {
            api: self,
            builder: Request::builder().method(method).uri(path),
            body: None,
            peer: PEER,
        }
    }

    /// `GET`.
    pub(crate) fn get(&self, path: &str) -> TestRequest<'_> {
        self.request(Method::GET, path)
    }

    /// `POST` with a JSON body.
    pub(crate) fn post(&self, path: &str, body: Value) -> TestRequest<'_> {
        TestRequest { body: Some(body), ..self.request(Method::POST, path) }
    }

    /// `PATCH` with a JSON body.
    pub(crate) fn patch(&self, path: &str, body: Value) -> TestRequest<'_> {
        TestRequest { body: Some(body), ..self.request(Method::PATCH, path) }
    }

    /// Delivers all mail that is due.
    pub(crate) async fn deliver(&self) {
        while self.control.deliver_mail(&self.post).await.unwrap() > 0 {}
    }

    /// Delivers mail; the letters to this address so far, the oldest first.
    pub(crate) async fn letters_to(&self, address: &str) -> Vec<Letter> {
        self.deliver().await;
        self.mailbox.letters_to(&EmailAddress::parse(address).unwrap())
    }

    /// The token in the latest letter to this address.
    pub(crate) async fn token_for(&self, address: &str) -> String {
        token_in(self.letters_to(address).await.last().unwrap())
    }

    /// Whether the audit log of `acme` has a record of this action.
    pub(crate) async fn recorded(&self, action: &str) -> bool {
        let organization = organizations::by_identifier(&self.store, "acme").await.unwrap().unwrap();
        let chain = audit::chain(&self.store, Some(&organization.id)).await.unwrap();
        chain.iter().any(|entry| entry.body.contains(&format!("\"action\":\"{action}\"")))
    }

    /// Adds an active member of `acme` with [`PASSWORD`].
    pub(crate) async fn add_member(&self, email: &str, role: &str) -> UserId {
        let organization = organizations::by_identifier(&self.store, "acme").await.unwrap().unwrap();
        let now = self.clock.now();
        let hasher = Hasher::new(&Cost::for_tests(), Capacity::default()).unwrap();
        let hash = hasher.hash(&Password::new(PASSWORD).unwrap()).await.unwrap().to_stored();
        let user = User {
            id: UserId::new(now, &mut Random::from_os()),
            email: email.into(),
            email_folded: email.to_lowercase(),
            email_verified_at: Some(now),
            name: "Some Member".into(),
            password: Some(users::Password {
                hash,
                set_at: now,
                temporary_until: None,
                breaks_policy: false,
            }),
            epoch: 1,
            created_at: now,
        };
        let membership = Membership {
            organization: organization.id,
            user: user.id.clone(),
            role: role.parse().unwrap(),
            state: MembershipState::Active,
            mfa_asked_since: None,
            created_at: now,
            last_sign_in_at: None,
        };
        let tx = self.store.begin_write().await.unwrap();
        users::insert(&tx, &user).await.unwrap();
        memberships::insert(&tx, &membership).await.unwrap();
        tx.commit().await.unwrap();
        user.id
    }

    /// What signing in answers.
    pub(crate) async fn login(&self, email: &str, password: &str) -> Answer {
        self.post("/v1/auth/login", json!({ "email": email, "password": password })).send().await
    }

    /// The answer to a sign-in of the owner, which succeeds.
    pub(crate) async fn owner(&self) -> Answer {
        let answer = self.login("owner@acme.example", PASSWORD).await;
        assert_eq!(answer.json["status"], "authenticated", "{:?}", answer.json);
        answer
    }
}

/// Place for a thousand at once.
fn crowd() -> Capacity {
    Capacity { waiting: 2000, ..Capacity::default() }
}

/// The token in the link of a letter.
pub(crate) fn token_in(letter: &Letter) -> String {
    let (_, rest) =
        letter.content.text.split_once("?token=").unwrap_or_else(|| panic!("{}", letter.content.text));
    rest.split_whitespace().next().unwrap_or_default().to_owned()
}

/// A request under construction.
pub(crate) struct TestRequest<'a> {
    api: &'a TestApi,
    builder: axum::http::request::Builder,
    body: Option<Value>,
    peer: &'a str,
}

impl<'a> TestRequest<'a> {
    /// With this bearer.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// With this header.
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self { builder: self.builder.header(name, value), ..self }
    }

    /// From this address and port.
    pub(crate) fn from(self, peer: &'a str) -> Self {
        Self { peer, ..self }
    }

    /// The answer.
    pub(crate) async fn send(self) -> Answer {
        let peer: SocketAddr = self.peer.parse().unwrap();
        let builder = self.builder.extension(ConnectInfo(peer));
        let request = match self.body {
            Some(body) => builder
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.to_string()))
                .unwrap(),
            None => builder.body(Body::empty()).unwrap(),
        };
        let response = self.api.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status, headers: parts.headers, json, body }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
    /// The body as it was sent.
    pub(crate) body: String,
}

impl Answer {
    /// The text at this place of the body.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.json
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer} in {}", self.json))
    }

    /// The access token that it carries.
    pub(crate) fn access_token(&self) -> &str {
        self.text("/access_token")
    }

    /// Its status and the code of its error.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.status.as_u16(), self.text("/error/code"))
    }
}

/// A test of what must hold on both databases. The API has an owner.
macro_rules! on_both {
    ($($name:ident($api:ident) $body:block)+) => {$(
        async fn $name($api: $crate::harness::TestApi) $body

        mod $name {
            use crate::databases::Kind;
            use crate::harness::TestApi;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name(TestApi::with_owner(Kind::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name(TestApi::with_owner(Kind::Postgres).await).await;
            }
        }
    )+};
}
pub(crate) use on_both;
