//! The API in this process, on a database of its own, with a clock that is moved by hand.

mod asked;
mod copied;
mod deployed;

use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use axum::http::StatusCode;
use kt_control::mail::{Captured, Letter};
use kt_control::passwords::{Asker, Capacity, Cost, Hasher};
use kt_control::{Control, Post, SealKey, SetUp};
use kt_domain::actor::{Actor, Role};
use kt_domain::clock::{Clock, ManualClock};
use kt_domain::ctx::{Client, Ctx};
use kt_domain::email::EmailAddress;
use kt_domain::id::{OrganizationId, UserId};
use kt_domain::passwords::Password;
use kt_domain::random::Random;
use kt_domain::sign_in::MembershipState;
use kt_server::Doors;
use kt_store::memberships::{self, Membership};
use kt_store::organizations::{self, Organization};
use kt_store::users::{self, User};
use kt_store::{Store, audit, revision};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::databases::{Kind, TestDatabase};

pub(crate) use asked::Answer;
use deployed::TestNames;

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
    /// What its API and its console are made of.
    pub(crate) doors: Doors,
    router: Router,
    /// The console of the same process.
    pub(crate) pages: Router,
    pub(crate) database: Arc<TestDatabase>,
    /// What its secrets are sealed with.
    pub(crate) seal: SealKey,
    /// What the hash of a password costs it.
    cost: Cost,
    /// A hash of [`PASSWORD`], once somebody was added who has it.
    hash: OnceCell<String>,
    /// The TXT records that it finds.
    pub(crate) names: TestNames,
}

impl TestApi {
    /// An API with the organization `acme`, whose owner is `owner@acme.example` with [`PASSWORD`].
    pub(crate) async fn with_owner(kind: Kind) -> Self {
        Self::empty(kind).await.set_up().await
    }

    /// The same API, with that organization and owner.
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

    /// Adds an active member of `acme` with [`PASSWORD`].
    pub(crate) async fn add_member(&self, email: &str, role: &str) -> UserId {
        let acme = self.organization_called("acme").await;
        self.add_member_of(&acme, email, role.parse().unwrap()).await
    }

    /// Adds a member of `acme` who is called so.
    pub(crate) async fn add_named(&self, email: &str, name: &str) -> UserId {
        let acme = self.organization_called("acme").await;
        self.add_person(&acme, email, name, Role::Member).await
    }

    /// Adds an active member of this organization with [`PASSWORD`].
    pub(crate) async fn add_member_of(
        &self,
        organization: &OrganizationId,
        email: &str,
        role: Role,
    ) -> UserId {
        self.add_person(organization, email, "Some Member", role).await
    }

    async fn add_person(&self, organization: &OrganizationId, email: &str, name: &str, role: Role) -> UserId {
        let now = self.clock.now();
        let user = User {
            id: UserId::new(now, &mut Random::from_os()),
            email: email.into(),
            email_folded: email.to_lowercase(),
            email_verified_at: Some(now),
            name: name.into(),
            password: Some(users::Password {
                hash: self.hash.get_or_init(|| self.hash_of_password()).await.clone(),
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

    async fn hash_of_password(&self) -> String {
        let hasher = Hasher::new(&self.cost, Capacity::default()).unwrap();
        let hash = hasher.hash(&Asker::stranger(None), &Password::new(PASSWORD).unwrap()).await;
        hash.unwrap().to_stored()
    }

    /// Another organization.
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
        self.choose_security(json!({ "registration": settings })).await;
    }

    /// Puts this in the place of all that `acme` has chosen of its security, past the use case.
    pub(crate) async fn choose_security(&self, chosen: Value) {
        let organization = self.organization_called("acme").await;
        let kept = organizations::settings::<Value>(&self.store, &organization, "security").await.unwrap();
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

    /// Makes somebody an active member of an organization.
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

    /// The answer to a sign-in of `owner@other.example`, the owner of a second organization, `other`.
    pub(crate) async fn owner_of_another(&self) -> Answer {
        let other = self.organization("other").await;
        self.add_member_of(&other, "owner@other.example", Role::Owner).await;
        let answer = self.login("owner@other.example", PASSWORD).await;
        assert_eq!(answer.json["status"], "authenticated", "{:?}", answer.json);
        answer
    }

    /// The organization of this identifier.
    pub(crate) async fn organization_called(&self, identifier: &str) -> OrganizationId {
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

/// Members who are met at random, and what the organization demands of its keys.
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

/// A test of what must hold on both databases. The API has an owner, or is what the function behind `from` makes.
macro_rules! on_both {
    (from $start:path; $($name:ident($api:ident) $body:block)+) => {
        $crate::harness::on_both! { from $start, $crate::harness::TestApi; $($name($api) $body)+ }
    };
    (from $start:path, $made:ty; $($name:ident($api:ident) $body:block)+) => {$(
        async fn $name($api: $made) $body

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
