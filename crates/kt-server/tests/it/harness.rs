//! The API in this process, on a database of its own, with a clock that is moved by hand.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::Response;
use kt_control::mail::{Captured, Letter, Renderer};
use kt_control::outbound::Outbound;
use kt_control::passwords::{Capacity, Cost, Hasher};
use kt_control::{
    Control, GoogleClient, NameError, Names, Parts, Post, SealKey, SetUp, SharedCounts, Sso, Texts,
};
use kt_domain::actor::{Actor, Role};
use kt_domain::clock::{Clock, ManualClock};
use kt_domain::ctx::{Client, Ctx};
use kt_domain::deployment_settings::DeploymentSettings;
use kt_domain::email::EmailAddress;
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::network::cidr::CidrSet;
use kt_domain::network::reach::Reach;
use kt_domain::passwords::Password;
use kt_domain::public_url::PublicUrl;
use kt_domain::random::Random;
use kt_domain::sign_in::MembershipState;
use kt_domain::sso::Protocol;
use kt_server::{Doors, Needs};
use kt_store::memberships::{self, Membership};
use kt_store::organizations::{self, Organization};
use kt_store::users::{self, User};
use kt_store::{Store, audit, revision};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::databases::{Kind, TestDatabase, clock};

/// A good password that breaks no rule.
pub(crate) const PASSWORD: &str = "Tall-cedar-9-river";

/// The address from which tests come, unless they say otherwise.
pub(crate) const PEER: &str = "203.0.113.9:40000";

/// A running API.
pub(crate) struct TestApi {
    pub(crate) control: Arc<Control>,
    pub(crate) clock: ManualClock,
    /// Takes the mail that is sent.
    pub(crate) mailbox: Captured,
    post: Post,
    /// The same database, as another process has it.
    pub(crate) store: Store,
    router: Router,
    /// The console of the same process.
    pub(crate) pages: Router,
    pub(crate) database: Arc<TestDatabase>,
    /// What its secrets are sealed with.
    pub(crate) seal: SealKey,
    /// The TXT records that it finds.
    pub(crate) names: TestNames,
}

/// Which single sign-on a deployment offers.
struct Offers {
    protocols: Vec<Protocol>,
    google: Option<GoogleClient>,
    /// How far connections to providers may go.
    reach: Reach,
}

impl Default for Offers {
    fn default() -> Self {
        Self { protocols: Protocol::ALL.to_vec(), google: None, reach: Reach::Private }
    }
}

/// Name servers that know what a test has told them; of a name for which there is none they do not answer.
#[derive(Clone, Default)]
pub(crate) struct TestNames(Arc<Mutex<HashMap<String, Option<Vec<String>>>>>);

impl TestNames {
    /// Sets the TXT records of a name.
    pub(crate) fn set(&self, name: &str, texts: &[&str]) {
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        self.0.lock().unwrap().insert(name.to_owned(), Some(texts));
    }

    /// They do not answer for a name.
    pub(crate) fn fail(&self, name: &str) {
        self.0.lock().unwrap().insert(name.to_owned(), None);
    }
}

impl Names for TestNames {
    fn texts<'a>(&'a self, name: &'a str) -> Texts<'a> {
        let texts = self.0.lock().unwrap().get(name).cloned().unwrap_or_else(|| Some(Vec::new()));
        Box::pin(async move { texts.ok_or_else(|| NameError("they are away".to_owned())) })
    }
}

impl TestApi {
    /// An API on an empty database.
    pub(crate) async fn empty(kind: Kind) -> Self {
        Self::deployed(kind, DeploymentSettings::default()).await
    }

    /// The same, in a deployment with these settings.
    pub(crate) async fn deployed(kind: Kind, deployment: DeploymentSettings) -> Self {
        let seal = SealKey::from_text(&SealKey::new_text(&mut Random::from_os())).unwrap();
        Self::process(
            Arc::new(TestDatabase::empty(kind).await),
            clock(),
            seal,
            deployment,
            None,
            Offers::default(),
        )
        .await
    }

    /// The same, in a deployment whose Google is at this issuer.
    pub(crate) async fn with_google(kind: Kind, issuer: &str) -> Self {
        let seal = SealKey::from_text(&SealKey::new_text(&mut Random::from_os())).unwrap();
        let database = Arc::new(TestDatabase::empty(kind).await);
        let google = GoogleClient {
            issuer: issuer.to_owned(),
            client_id: "keeptrusts".to_owned(),
            client_secret: "secret: of/the+client".to_owned(),
        };
        let offers = Offers { google: Some(google), ..Offers::default() };
        let deployment = DeploymentSettings::default();
        Self::process(database, clock(), seal, deployment, None, offers).await.set_up().await
    }

    /// The same, in a deployment that offers these protocols alone.
    pub(crate) async fn offering(kind: Kind, protocols: &[Protocol]) -> Self {
        let seal = SealKey::from_text(&SealKey::new_text(&mut Random::from_os())).unwrap();
        let database = Arc::new(TestDatabase::empty(kind).await);
        let offers = Offers { protocols: protocols.to_vec(), ..Offers::default() };
        let deployment = DeploymentSettings::default();
        Self::process(database, clock(), seal, deployment, None, offers).await.set_up().await
    }

    /// The same, in a deployment whose providers are on the internet alone.
    pub(crate) async fn with_public_providers(kind: Kind) -> Self {
        let seal = SealKey::from_text(&SealKey::new_text(&mut Random::from_os())).unwrap();
        let database = Arc::new(TestDatabase::empty(kind).await);
        let offers = Offers { reach: Reach::Public, ..Offers::default() };
        let deployment = DeploymentSettings::default();
        Self::process(database, clock(), seal, deployment, None, offers).await.set_up().await
    }

    /// An API with `acme` and its owner, whose secrets are sealed so.
    pub(crate) async fn with_seal(kind: Kind, seal: SealKey) -> Self {
        let database = Arc::new(TestDatabase::empty(kind).await);
        Self::process(database, clock(), seal, DeploymentSettings::default(), None, Offers::default())
            .await
            .set_up()
            .await
    }

    /// The same API, as another process serves it that has these keys.
    pub(crate) async fn sealing_with(&self, seal: SealKey) -> Self {
        let (database, clock) = (Arc::clone(&self.database), self.clock.clone());
        Self::process(database, clock, seal, DeploymentSettings::default(), None, Offers::default()).await
    }

    /// The same API, as another process serves it that counts uses in Redis.
    pub(crate) async fn beside(&self, redis: &str) -> Self {
        let (database, clock, seal) = (Arc::clone(&self.database), self.clock.clone(), self.seal.clone());
        let counts = SharedCounts::new(redis).unwrap();
        Self::process(database, clock, seal, DeploymentSettings::default(), Some(counts), Offers::default())
            .await
    }

    async fn process(
        database: Arc<TestDatabase>,
        clock: ManualClock,
        seal: SealKey,
        deployment: DeploymentSettings,
        shared_counts: Option<SharedCounts>,
        offers: Offers,
    ) -> Self {
        let names = TestNames::default();
        let parts = Parts {
            store: database.store().await,
            clock: Arc::new(clock.clone()),
            hasher: Hasher::new(&Cost::for_tests(), crowd()).unwrap(),
            seal: seal.clone(),
            random: Random::from_os(),
            issuer: "http://localhost:8080".into(),
            console: PublicUrl::parse("http://localhost:3000").unwrap(),
            deployment,
            shared_counts,
            gateways: Outbound::new(Reach::Private, None).unwrap(),
            providers: Outbound::new(Reach::Private, None).unwrap(),
            sso: Sso {
                protocols: offers.protocols,
                outbound: Outbound::new(offers.reach, None).unwrap(),
                names: Box::new(names.clone()),
                google: offers.google,
            },
        };
        let control = Arc::new(Control::start(parts).await.unwrap());
        let addresses = Arc::new(kt_server::client_address(CidrSet::from_iter([])));
        let console = PublicUrl::parse("http://localhost:3000").unwrap();
        let doors =
            Doors::from(Needs { control: Arc::clone(&control), addresses, console, security_contact: None });
        let (router, pages) = (kt_server::api(doors.clone()), kt_server::console(doors));
        let mailbox = Captured::default();
        let post = Post {
            mailer: Arc::new(mailbox.clone()),
            renderer: Renderer::new(PublicUrl::parse("http://localhost:3000").unwrap()),
            sender: "Keeptrusts <no-reply@keeptrusts.example>".parse().unwrap(),
        };
        let store = database.store().await;
        Self { control, clock, mailbox, post, store, router, pages, database, seal, names }
    }

    /// An API with the organisation `acme`, whose owner is `owner@acme.example` with [`PASSWORD`].
    pub(crate) async fn with_owner(kind: Kind) -> Self {
        Self::empty(kind).await.set_up().await
    }

    /// The same API, with that organisation and owner.
    pub(crate) async fn set_up(self) -> Self {
        let api = self;
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

    /// Which database it is on.
    pub(crate) fn kind(&self) -> Kind {
        if self.database.url.starts_with("sqlite:") { Kind::Sqlite } else { Kind::Postgres }
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
            text: None,
            peer: PEER,
        }
    }

    /// Adds an active member of `acme` with [`PASSWORD`].
    pub(crate) async fn add_member(&self, email: &str, role: &str) -> UserId {
        let acme = self.organization_called("acme").await;
        self.add_member_of(&acme, email, role.parse().unwrap()).await
    }

    /// Adds an active member of this organisation with [`PASSWORD`].
    pub(crate) async fn add_member_of(
        &self,
        organization: &OrganizationId,
        email: &str,
        role: Role,
    ) -> UserId {
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
            organization: organization.clone(),
            user: user.id.clone(),
            role,
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

    /// Another organisation.
    pub(crate) async fn organization(&self, identifier: &str) -> OrganizationId {
        let now = self.clock.now();
        let organization = Organization {
            id: OrganizationId::new(now, &mut Random::from_os()),
            identifier: identifier.into(),
            name: identifier.into(),
            created_at: now,
        };
        let tx = self.store.begin_write().await.unwrap();
        organizations::insert(&tx, &organization).await.unwrap();
        tx.commit().await.unwrap();
        organization.id
    }

    /// The access token of somebody who signs in with [`PASSWORD`].
    pub(crate) async fn token_of(&self, email: &str) -> String {
        self.login(email, PASSWORD).await.access_token().to_owned()
    }

    /// What stands in the audit log of `acme` under this action, the oldest first.
    pub(crate) async fn records(&self, action: &str) -> Vec<Value> {
        let acme = organizations::by_identifier(&self.store, "acme").await.unwrap().unwrap();
        let chain = audit::chain(&self.store, Some(&acme.id)).await.unwrap();
        let records = chain.iter().map(|entry| serde_json::from_str::<Value>(&entry.body).unwrap());
        records.filter(|record| record["action"] == action).collect()
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

    /// `PUT` with a JSON body.
    pub(crate) fn put(&self, path: &str, body: Value) -> TestRequest<'_> {
        TestRequest { body: Some(body), ..self.request(Method::PUT, path) }
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

    /// The token in the latest letter to this address that has one.
    pub(crate) async fn token_for(&self, address: &str) -> String {
        let letters = self.letters_to(address).await;
        token_in(letters.iter().rfind(|letter| letter.content.text.contains("?token=")).unwrap())
    }

    /// How many letters with this subject were sent to this address.
    pub(crate) async fn told(&self, address: &str, subject: &str) -> usize {
        let letters = self.letters_to(address).await;
        letters.iter().filter(|letter| letter.content.subject == subject).count()
    }

    /// Whether the audit log of `acme` has a record of this action.
    pub(crate) async fn recorded(&self, action: &str) -> bool {
        !self.records(action).await.is_empty()
    }

    /// Sets who may register at `acme`, and forgets what else it has chosen.
    pub(crate) async fn set_registration(&self, settings: Value) {
        let organization = self.organization_called("acme").await;
        let kept = organizations::settings::<Value>(&self.store, &organization, "security").await.unwrap();
        let chosen = json!({ "registration": settings });
        let tx = self.store.begin_write().await.unwrap();
        let now = self.clock.now();
        let replaced =
            organizations::replace_settings(&tx, &organization, "security", kept.version, &chosen, now);
        assert!(replaced.await.unwrap());
        tx.commit().await.unwrap();
    }

    /// Somebody who has registered at `acme`, verified their address, and waits for an administrator's word.
    pub(crate) async fn add_waiting(&self, email: &str) -> UserId {
        let user = self.add_member(email, "member").await;
        let acme = self.organization_called("acme").await;
        let tx = self.store.begin_write().await.unwrap();
        let place = memberships::find(&tx, &acme, &user).await.unwrap().unwrap();
        let changed = memberships::change(&tx, &place, Role::Member, MembershipState::PendingApproval);
        assert!(changed.await.unwrap());
        tx.commit().await.unwrap();
        user
    }

    /// Makes somebody an active member of an organisation.
    pub(crate) async fn add_place(&self, organization: &str, user: &UserId, role: &str) {
        let membership = Membership {
            organization: self.organization_called(organization).await,
            user: user.clone(),
            role: role.parse().unwrap(),
            state: MembershipState::Active,
            mfa_asked_since: None,
            created_at: self.clock.now(),
            last_sign_in_at: None,
        };
        let tx = self.store.begin_write().await.unwrap();
        memberships::insert(&tx, &membership).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// The answer to a sign-in of `owner@other.example`, the owner of a second organisation, `other`.
    pub(crate) async fn owner_of_another(&self) -> Answer {
        let other = self.organization("other").await;
        self.add_member_of(&other, "owner@other.example", Role::Owner).await;
        let answer = self.login("owner@other.example", PASSWORD).await;
        assert_eq!(answer.json["status"], "authenticated", "{:?}", answer.json);
        answer
    }

    /// The organisation of this identifier.
    async fn organization_called(&self, identifier: &str) -> OrganizationId {
        organizations::by_identifier(&self.store, identifier).await.unwrap().unwrap().id
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

/// Members who are met at random, and what the organisation demands of its keys.
impl TestApi {
    /// The answer to the sign-in of a new member of `acme`.
    pub(crate) async fn somebody(&self, role: &str) -> Answer {
        let email = format!("{role}-{:016x}@acme.example", Random::from_os().next_u64());
        self.add_member(&email, role).await;
        let answer = self.login(&email, PASSWORD).await;
        assert_eq!(answer.json["status"], "authenticated", "{:?}", answer.json);
        answer
    }

    /// Gives the member who has signed in so another role or state, as another process would.
    pub(crate) async fn becomes(&self, session: &Answer, role: Role, state: MembershipState) {
        let user = session.text("/user/id").parse().unwrap();
        let organization = session.text("/organization/id").parse().unwrap();
        let membership = memberships::find(&self.store, &organization, &user).await.unwrap().unwrap();
        let tx = self.store.begin_write().await.unwrap();
        assert!(memberships::change(&tx, &membership, role, state).await.unwrap());
        revision::advance(&tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Changes what `acme` demands of its keys.
    pub(crate) async fn demand(&self, api_keys: Value) {
        let change = self.patch("/v1/organization/security", json!({ "api_keys": api_keys }));
        let changed = change.bearer(self.owner().await.access_token()).send().await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.json);
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

/// What all of these come to, run side by side.
pub(crate) async fn side_by_side<F: Future>(all: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = all.into_iter().map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        for (one, outcome) in running.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
            if let Poll::Ready(output) = one.as_mut().poll(context) {
                *outcome = Some(output);
            }
        }
        if running.iter().all(|(_, outcome)| outcome.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, outcome)| outcome).collect()
}

/// A request under construction.
pub(crate) struct TestRequest<'a> {
    api: &'a TestApi,
    builder: axum::http::request::Builder,
    body: Option<Value>,
    text: Option<String>,
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

    /// With this JSON body, if any.
    pub(crate) fn body(self, body: Option<Value>) -> Self {
        Self { body, ..self }
    }

    /// With this text as its body, said to be of this kind; of none, where that is empty.
    pub(crate) fn text(self, kind: &str, text: &str) -> Self {
        let request = if kind.is_empty() { self } else { self.header("content-type", kind) };
        Self { text: Some(text.to_owned()), ..request }
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
            None => builder.body(self.text.map_or_else(Body::empty, Body::from)).unwrap(),
        };
        Answer::read(self.api.router.clone().oneshot(request).await.unwrap()).await
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
    /// The whole of an answer.
    pub(crate) async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Self { status: parts.status, headers: parts.headers, json, body }
    }

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

/// A test of what must hold on both databases. The API has an owner, or is what the function behind `from` makes.
macro_rules! on_both {
    (from $start:path; $($name:ident($api:ident) $body:block)+) => {$(
        async fn $name($api: $crate::harness::TestApi) $body

        mod $name {
            use crate::databases::Kind;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name($start(Kind::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name($start(Kind::Postgres).await).await;
            }
        }
    )+};
    ($($name:ident($api:ident) $body:block)+) => {
        $crate::harness::on_both! { from $crate::harness::TestApi::with_owner; $($name($api) $body)+ }
    };
}
pub(crate) use on_both;
