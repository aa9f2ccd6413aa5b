//! What all use cases stand on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kt_domain::audit::{AuditAction, AuditRecord};
use kt_domain::clock::Clock;
use kt_domain::ctx::Ctx;
use kt_domain::deployment_settings::DeploymentSettings;
use kt_domain::error::Error;
use kt_domain::public_url::PublicUrl;
use kt_domain::random::Random;
use kt_domain::secret::Token;
use kt_store::{Store, Tx, revision};
use tokio::sync::Notify;

use crate::addresses::Addresses;
use crate::audit::AuditKey;
use crate::copies::Copies;
use crate::inference::{CONNECTS_WITHIN, PATIENCE};
use crate::jwt::{ConfiguredJwtKey, Signer};
use crate::keys::KeyUses;
use crate::outbound::Outbound;
use crate::passwords::Hasher;
use crate::readiness::Readiness;
use crate::recent::Recent;
use crate::refusals::{Refusals, refusals};
use crate::seal::SealKey;
use crate::second_factors::webauthn::RelyingParty;
use crate::shared_counts::SharedCounts;
use crate::sign_in::Unheard;
use crate::sso::{Remembered, Sso, Strays, strays};

/// How long the store may take to answer whoever asks whether it is there: they ask often, and do not wait long.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// What [`Control`] is made of. Whoever wires the process decides these.
pub struct Parts {
    /// Where everything is kept.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for identifiers and secrets.
    pub random: Random,
    /// Hashes passwords.
    pub hasher: Hasher,
    /// The steps in which work takes its time that must not tell who is there: [`crate::EVEN_STEP`] in a deployment.
    pub even_step: Duration,
    /// Seals secrets at rest.
    pub seal: SealKey,
    /// The `iss` of access tokens: the API's public address.
    pub issuer: String,
    /// Where people find the console: passkeys belong to its name.
    pub console: PublicUrl,
    /// What the deployment sets for all its organizations.
    pub deployment: DeploymentSettings,
    /// The keys that sign and verify access tokens, where the deployment keeps them itself; in the database, without. A
    /// process that neither signs nor verifies needs none of them.
    pub jwt_keys: Option<Vec<ConfiguredJwtKey>>,
    /// For how many days conversations and runs of tasks are kept; without it, until their holder deletes them.
    pub workspace_days: Option<u32>,
    /// Where uses of keys are counted; in the database, without it.
    pub shared_counts: Option<SharedCounts>,
    /// Makes connections to gateways.
    pub gateways: Outbound,
    /// Reaches providers that somebody tries.
    pub providers: Outbound,
    /// Single sign-on, as far as this deployment offers it.
    pub sso: Sso,
}

/// The control plane's use cases. One per process.
pub struct Control {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    random: Mutex<Random>,
    pub(crate) hasher: Hasher,
    pub(crate) even_step: Duration,
    pub(crate) seal: SealKey,
    pub(crate) signer: Signer,
    pub(crate) audit_key: AuditKey,
    pub(crate) recent: Recent,
    pub(crate) addresses: Addresses,
    pub(crate) refusals: Refusals,
    /// Wakes the delivery of mail.
    pub(crate) mail_waits: Notify,
    pub(crate) relying_party: RelyingParty,
    pub(crate) deployment: DeploymentSettings,
    pub(crate) jwt_keys: Option<Vec<ConfiguredJwtKey>>,
    pub(crate) workspace_days: Option<u32>,
    pub(crate) key_uses: KeyUses,
    pub(crate) shared_counts: Option<SharedCounts>,
    /// Asks gateways, as patiently as models think.
    pub(crate) gateways: Outbound,
    /// Wakes those who work on runs of tasks.
    pub(crate) runs_wait: Notify,
    pub(crate) providers: Outbound,
    /// Where people find the console.
    pub(crate) console: PublicUrl,
    pub(crate) sso: Sso,
    /// What OIDC providers have published.
    pub(crate) oidc: Remembered,
    /// Who takes copies at this moment.
    pub(crate) copies: Copies,
    /// Of what was brought in vain to the addresses of providers.
    pub(crate) strays: Strays,
    /// Tries at sign-in that are not recorded yet.
    pub(crate) unheard: Unheard,
    readiness: Readiness,
}

impl Control {
    /// Brings the store to the present schema and makes ready to serve.
    pub async fn start(parts: Parts) -> Result<Self, Error> {
        let Parts {
            store,
            clock,
            mut random,
            hasher,
            even_step,
            seal,
            issuer,
            console,
            deployment,
            jwt_keys,
            workspace_days,
            shared_counts,
            gateways,
            providers,
            sso,
        } = parts;
        if let Some(broken) = deployment.broken_rules().into_iter().next() {
            return Err(broken);
        }
        let relying_party = RelyingParty::new(&console)?;
        store.migrate(&*clock).await?;
        let audit_key = AuditKey::load(&store, &seal, &mut random, clock.now()).await?;
        let control = Self {
            store,
            clock,
            random: Mutex::new(random),
            hasher,
            even_step,
            seal,
            signer: Signer::new(issuer),
            audit_key,
            recent: Recent::default(),
            addresses: Addresses::default(),
            refusals: refusals(),
            mail_waits: Notify::new(),
            relying_party,
            deployment,
            jwt_keys,
            workspace_days,
            key_uses: KeyUses::default(),
            shared_counts,
            gateways: gateways.with_patience(PATIENCE).connecting_within(CONNECTS_WITHIN),
            runs_wait: Notify::new(),
            providers,
            console,
            sso,
            oidc: Remembered::default(),
            copies: Copies::default(),
            strays: strays(),
            unheard: Unheard::default(),
            readiness: Readiness::default(),
        };
        control.load_signing_keys().await?;
        Ok(control)
    }

    /// Whether the store answers, soon, or did a moment ago.
    pub async fn ready(&self) -> Result<(), Error> {
        let ask = async {
            match tokio::time::timeout(READY_WITHIN, self.store.ping()).await {
                Ok(answer) => Ok(answer?),
                Err(_) => Err(Error::unavailable("the database did not answer a ping in time")),
            }
        };
        self.readiness.look(self.clock.now(), ask).await
    }

    /// The time, as the use cases see it.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Where programs and gateways find the API.
    #[must_use]
    pub fn api_address(&self) -> &str {
        self.signer.issuer()
    }

    /// Draws from the source of randomness.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A new bearer secret.
    pub(crate) fn new_token(&self) -> Token {
        self.draw(Token::generate)
    }

    /// A record of what is being done in `ctx`.
    pub(crate) fn record(&self, ctx: &Ctx, action: AuditAction, resource: impl Into<String>) -> AuditRecord {
        self.draw(|random| AuditRecord::new(ctx, random, action, resource))
    }

    /// Makes a change durable that takes something away, or alters what is known of whoever asks: from the next request
    /// on every process asks the store again. A process that is killed right behind the commit makes no difference.
    pub(crate) async fn commit_revocation(&self, tx: Tx<'_>) -> Result<(), Error> {
        revision::advance(&tx).await?;
        tx.commit().await?;
        self.forget();
        Ok(())
    }
}
