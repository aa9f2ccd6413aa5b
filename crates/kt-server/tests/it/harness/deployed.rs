//! The processes that tests are made with, and what the deployment says to each.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use kt_control::mail::{Captured, Renderer};
use kt_control::outbound::Outbound;
use kt_control::passwords::{Capacity, Cost, Hasher};
use kt_control::{
    ConfiguredJwtKey, Control, EVEN_STEP, GoogleClient, NameError, Names, Parts, Post, SealKey, SharedCounts,
    Sso, Texts,
};
use kt_domain::clock::ManualClock;
use kt_domain::deployment_settings::DeploymentSettings;
use kt_domain::network::cidr::CidrSet;
use kt_domain::network::reach::Reach;
use kt_domain::public_url::PublicUrl;
use kt_domain::random::Random;
use kt_domain::sso::Protocol;
use kt_server::{Doors, Hosts, Needs};
use tokio::sync::OnceCell;

use super::TestApi;
use crate::databases::{Kind, TestDatabase, clock};

/// One for all: it reads the certificates that the system trusts, of which there are many.
static OUTBOUND: LazyLock<Outbound> = LazyLock::new(|| Outbound::new(Reach::Private, None).unwrap());

/// What a deployment says to its processes.
struct Deployed {
    settings: DeploymentSettings,
    /// Where uses are counted together.
    counts: Option<SharedCounts>,
    jwt_keys: Option<Vec<ConfiguredJwtKey>>,
    workspace_days: Option<u32>,
    /// By which protocols people may come from elsewhere.
    protocols: Vec<Protocol>,
    google: Option<GoogleClient>,
    /// How far connections to identity providers may go.
    reach: Reach,
    /// What a password's hash costs, and how many are made.
    hashing: (Cost, Capacity),
    /// How evenly answers are given.
    even_step: Duration,
}

impl Default for Deployed {
    fn default() -> Self {
        Self {
            settings: DeploymentSettings::default(),
            counts: None,
            jwt_keys: None,
            workspace_days: None,
            protocols: Protocol::ALL.to_vec(),
            google: None,
            reach: Reach::Private,
            hashing: (Cost::for_tests(), crowd()),
            even_step: Duration::ZERO,
        }
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
        Self::first(kind, Deployed::default()).await
    }

    /// The same, in a deployment with these settings.
    pub(crate) async fn deployed(kind: Kind, settings: DeploymentSettings) -> Self {
        Self::first(kind, Deployed { settings, ..Deployed::default() }).await
    }

    /// The same, in a deployment whose Google is at this issuer.
    pub(crate) async fn with_google(kind: Kind, issuer: &str) -> Self {
        let google = GoogleClient {
            issuer: issuer.to_owned(),
            client_id: "keeptrusts".to_owned(),
            client_secret: "secret: of/the+client".to_owned(),
        };
        Self::first(kind, Deployed { google: Some(google), ..Deployed::default() }).await.set_up().await
    }

    /// An API with `acme` and its owner whose passwords are hashed as a server hashes them, if there is place.
    pub(crate) async fn hashing(kind: Kind, capacity: Capacity) -> Self {
        let hashing = (Cost::default(), capacity);
        let deployed = Deployed { hashing, even_step: EVEN_STEP, ..Deployed::default() };
        Self::first(kind, deployed).await.set_up().await
    }

    /// The same API, as another process serves it that offers these protocols alone.
    pub(crate) async fn offering_from_now_on(&self, protocols: &[Protocol]) -> Self {
        self.another(Deployed { protocols: protocols.to_vec(), ..Deployed::default() }).await
    }

    /// The same, in a deployment whose providers are on the internet alone.
    pub(crate) async fn with_public_providers(kind: Kind) -> Self {
        Self::first(kind, Deployed { reach: Reach::Public, ..Deployed::default() }).await.set_up().await
    }

    /// An API with `acme` and its owner, whose secrets are sealed so.
    pub(crate) async fn with_seal(kind: Kind, seal: SealKey) -> Self {
        let database = Arc::new(TestDatabase::empty(kind).await);
        Self::process(database, clock(), seal, Deployed::default()).await.set_up().await
    }

    /// The same API, as another process serves it that has these keys.
    pub(crate) async fn sealing_with(&self, seal: SealKey) -> Self {
        Self::process(Arc::clone(&self.database), self.clock.clone(), seal, Deployed::default()).await
    }

    /// The same API, as another process serves it that counts uses in Redis.
    pub(crate) async fn beside(&self, redis: &str) -> Self {
        let counts = Some(SharedCounts::new(redis).unwrap());
        self.another(Deployed { counts, ..Deployed::default() }).await
    }

    /// The same API, as another process serves it that is given these keys to sign access tokens with.
    pub(crate) async fn signing_with(&self, jwt_keys: Vec<ConfiguredJwtKey>) -> Self {
        self.another(Deployed { jwt_keys: Some(jwt_keys), ..Deployed::default() }).await
    }

    /// The same API, as another process serves it that keeps conversations for so many days.
    pub(crate) async fn keeping_workspaces_for(&self, days: u32) -> Self {
        self.another(Deployed { workspace_days: Some(days), ..Deployed::default() }).await
    }

    /// The first process of a deployment.
    async fn first(kind: Kind, deployed: Deployed) -> Self {
        let seal = SealKey::from_text(&SealKey::new_text(&mut Random::from_os())).unwrap();
        Self::process(Arc::new(TestDatabase::empty(kind).await), clock(), seal, deployed).await
    }

    /// Another process of the same deployment.
    async fn another(&self, deployed: Deployed) -> Self {
        Self::process(Arc::clone(&self.database), self.clock.clone(), self.seal.clone(), deployed).await
    }

    async fn process(
        database: Arc<TestDatabase>,
        clock: ManualClock,
        seal: SealKey,
        deployed: Deployed,
    ) -> Self {
        let (cost, capacity) = deployed.hashing;
        let names = TestNames::default();
        let console = PublicUrl::parse("http://localhost:3000").unwrap();
        let parts = Parts {
            store: database.store().await,
            clock: Arc::new(clock.clone()),
            hasher: Hasher::new(&cost, capacity).unwrap(),
            even_step: deployed.even_step,
            seal: seal.clone(),
            random: Random::from_os(),
            issuer: "http://localhost:8080".into(),
            console: console.clone(),
            deployment: deployed.settings,
            jwt_keys: deployed.jwt_keys,
            workspace_days: deployed.workspace_days,
            shared_counts: deployed.counts,
            gateways: OUTBOUND.clone(),
            providers: OUTBOUND.clone(),
            sso: Sso {
                protocols: deployed.protocols,
                outbound: within(deployed.reach),
                names: Box::new(names.clone()),
                google: deployed.google,
            },
        };
        let control = Arc::new(Control::start(parts).await.unwrap());
        let addresses = Arc::new(kt_server::client_address(CidrSet::from_iter([])));
        let doors = Doors::from(Needs {
            control: Arc::clone(&control),
            addresses,
            console: console.clone(),
            console_port: 3000,
            security_contact: None,
        });
        let hosts = Hosts::new([], Ipv4Addr::LOCALHOST.into());
        let (router, pages) = (kt_server::api(doors.clone(), hosts), kt_server::console(doors.clone()));
        let mailbox = Captured::default();
        let post = Post {
            mailer: Arc::new(mailbox.clone()),
            renderer: Renderer::new(console),
            sender: "Keeptrusts <no-reply@keeptrusts.example>".parse().unwrap(),
        };
        let (store, hash) = (database.store().await, OnceCell::new());
        Self { control, clock, mailbox, post, store, doors, router, pages, database, seal, cost, hash, names }
    }
}

fn within(reach: Reach) -> Outbound {
    if reach == Reach::Private { OUTBOUND.clone() } else { Outbound::new(reach, None).unwrap() }
}

/// Place for a thousand of one network at once.
fn crowd() -> Capacity {
    Capacity { waiting: 4000, ..Capacity::default() }
}
