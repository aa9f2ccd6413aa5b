//! Gateway configurations that are kept here: linted, and saved as versions that never change.

mod awaited;
mod rollout;

use std::net::IpAddr;

use kt_domain::actor::{Actor, Permission};
use kt_domain::audit::AuditAction;
use kt_domain::configurations::{KeptName, VersionId};
use kt_domain::ctx::Ctx;
use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::OrganizationId;
use kt_domain::policy_config::{self, Finding, LoadOptions, Loaded, PolicyConfig, Source};
use kt_domain::secret::SecretDigest;
use kt_store::configurations::{self, ConfigurationVersion};
use kt_store::{Source as Readable, Tx, audit, gateways, organizations, provider_credentials};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;

use crate::control::Control;
use crate::paging::{Page, PageRequest, PageSize};
use crate::version::Expected;

pub(crate) use awaited::tell_arrived;
pub use awaited::{AwaitedGateway, NewGateway};
pub(crate) use rollout::fleet_orders;
pub use rollout::{RollOutTo, RolledOut};

/// A configuration: the newest version of it, and which version gateways are told to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationView {
    /// The newest version.
    pub newest: ConfigurationVersion,
    /// The version that all gateways are told to run that are told nothing else; `None` where that is of another
    /// configuration.
    pub for_all: Option<VersionId>,
    /// The versions that single gateways are told to run.
    pub for_single: Vec<VersionId>,
}

/// A version with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionView {
    /// The version.
    pub version: ConfigurationVersion,
    /// The file.
    pub text: String,
    /// The number of the newest version of the same configuration.
    pub newest: u32,
}

/// What there is to say about a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linted {
    /// Everything that the linter found.
    pub findings: Vec<Finding>,
    /// The credentials that it names and that are not kept.
    pub missing_credentials: Vec<String>,
    /// An address from which this server asks a gateway for chat and tasks, and which its `ip_allowlist` would refuse.
    pub shut_out: Option<IpAddr>,
}

/// A version to be saved.
pub struct NewVersion {
    /// The file.
    pub text: String,
    /// Why, for people; may be empty.
    pub note: String,
}

/// What the text is called in findings.
const FILE: &str = "policy-config.yaml";

/// The longest text, in bytes.
const MOST_BYTES: usize = 1 << 20;

/// How many texts that somebody brings are read at once: one that was written to be slow takes a processor for seconds.
const READ_AT_ONCE: usize = 2;
static TURNS: Semaphore = Semaphore::const_new(READ_AT_ONCE);

/// The longest note.
const MOST_NOTE: usize = 500;

/// The names of the lists, for their cursors.
const LIST: &str = "configurations";
const VERSIONS: &str = "configuration_versions";

const PAGE: PageSize = PageSize { usual: 50, most: 1000 };

impl Linted {
    /// The findings because of which it cannot be saved.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == policy_config::Severity::Error)
    }
}

impl Control {
    /// The configurations of one's organization, by name.
    pub async fn configurations(
        &self,
        ctx: &Ctx,
        request: &PageRequest,
    ) -> Result<Page<ConfigurationView>, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let limit = PAGE.of(request)?;
        let after: Option<String> = self.position(LIST, request)?;
        let found = configurations::newest(&self.store, organization, after.as_deref(), limit + 1).await?;
        let views = self.configuration_views(organization, found).await?;
        self.page(LIST, limit, views, |view: &ConfigurationView| view.newest.id.name.to_string())
    }

    /// One configuration.
    pub async fn configuration(&self, ctx: &Ctx, name: &KeptName) -> Result<ConfigurationView, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let found = configurations::newest_of(&self.store, organization, name).await?;
        let views = self.configuration_views(organization, found.into_iter().collect()).await?;
        views.into_iter().next().ok_or_else(no_configuration)
    }

    async fn configuration_views(
        &self,
        organization: &OrganizationId,
        found: Vec<ConfigurationVersion>,
    ) -> Result<Vec<ConfigurationView>, Error> {
        let for_all = fleet_orders(&self.store, organization).await?.value.configuration;
        let single = gateways::own_configurations(&self.store, organization).await?;
        let view = |newest: ConfigurationVersion| {
            let is_of_it = |version: &&VersionId| version.name == newest.id.name;
            ConfigurationView {
                for_all: for_all.as_ref().filter(is_of_it).cloned(),
                for_single: single.iter().filter(is_of_it).cloned().collect(),
                newest,
            }
        };
        Ok(found.into_iter().map(view).collect())
    }

    /// The versions of a configuration, the newest first.
    pub async fn configuration_versions(
        &self,
        ctx: &Ctx,
        name: &KeptName,
        request: &PageRequest,
    ) -> Result<Page<ConfigurationVersion>, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let limit = PAGE.of(request)?;
        let before: Option<u32> = self.position(VERSIONS, request)?;
        let found = configurations::page(&self.store, organization, name, before, limit + 1).await?;
        if found.is_empty() && before.is_none() {
            return Err(no_configuration());
        }
        self.page(VERSIONS, limit, found, |version: &ConfigurationVersion| version.id.number)
    }

    /// A version of a configuration with its text; the newest without a number.
    pub async fn configuration_version(
        &self,
        ctx: &Ctx,
        name: &KeptName,
        number: Option<u32>,
    ) -> Result<VersionView, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let newest = configurations::newest_of(&self.store, organization, name).await?;
        let newest = newest.ok_or_else(no_configuration)?.id.number;
        let id = VersionId { name: name.clone(), number: number.unwrap_or(newest) };
        let found = configurations::find(&self.store, organization, &id).await?;
        let (version, text) = found.ok_or_else(no_configuration)?;
        Ok(VersionView { version, text, newest })
    }

    /// What there is to say about a text. Nothing is kept.
    pub async fn lint_configuration(&self, ctx: &Ctx, text: &str) -> Result<Linted, Error> {
        let organization = ctx.require(Permission::ReadSettings)?;
        let Loaded { config, findings, .. } = load_brought(text).await?;
        let (missing_credentials, shut_out) = match &config {
            Some(config) => (
                missing_credentials(&self.store, organization, config).await?,
                self.shut_out_by(organization, config, ctx.now).await?,
            ),
            None => (Vec::new(), None),
        };
        Ok(Linted { findings, missing_credentials, shut_out })
    }

    /// Saves the first version of a configuration. It is run by nobody until it is rolled out.
    pub async fn create_configuration(
        &self,
        ctx: &Ctx,
        name: &KeptName,
        new: NewVersion,
    ) -> Result<VersionView, Error> {
        let (organization, config) = check_new(ctx, &new).await?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, &organization).await?;
        if configurations::newest_of(&tx, &organization, name).await?.is_some() {
            let message =
                "There is a configuration of this name. Save a new version of it, or choose another name.";
            return Err(Error::new(ErrorKind::Conflict, "name_taken", message).with_param("name"));
        }
        let id = VersionId { name: name.clone(), number: 1 };
        let saved = self.insert_version(ctx, &tx, &organization, id, new, &config).await?;
        tx.commit().await?;
        Ok(saved)
    }

    /// Saves a further version of a configuration, made from the version that `expected` names. A text that is the
    /// newest version's already changes nothing.
    pub async fn save_configuration(
        &self,
        ctx: &Ctx,
        name: &KeptName,
        expected: &Expected,
        new: NewVersion,
    ) -> Result<VersionView, Error> {
        let (organization, config) = check_new(ctx, &new).await?;
        let tx = self.store.begin_write().await?;
        organizations::lock(&tx, &organization).await?;
        let newest = configurations::newest_of(&tx, &organization, name).await?;
        let newest = newest.ok_or_else(no_configuration)?;
        expected.check(&newest.id.number.to_string())?;
        let saved = self.insert_next(ctx, &tx, &organization, newest, new, &config).await?;
        tx.commit().await?;
        Ok(saved)
    }

    /// Keeps a text as the version behind `newest`, unless that has the same.
    async fn insert_next(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        newest: ConfigurationVersion,
        new: NewVersion,
        config: &PolicyConfig,
    ) -> Result<VersionView, Error> {
        if newest.sha256 == SecretDigest::of(&new.text).to_string() {
            return Ok(VersionView { newest: newest.id.number, version: newest, text: new.text });
        }
        let id = VersionId { number: newest.id.number + 1, ..newest.id };
        self.insert_version(ctx, tx, organization, id, new, config).await
    }

    async fn insert_version(
        &self,
        ctx: &Ctx,
        tx: &Tx<'_>,
        organization: &OrganizationId,
        id: VersionId,
        new: NewVersion,
        config: &PolicyConfig,
    ) -> Result<VersionView, Error> {
        require_credentials(tx, organization, config).await?;
        let NewVersion { text, note } = new;
        let version = ConfigurationVersion {
            sha256: SecretDigest::of(&text).to_string(),
            author: author(&ctx.actor),
            note,
            created_at: ctx.now,
            id,
        };
        configurations::insert(tx, organization, &version, &text).await?;
        let record = self
            .record(ctx, AuditAction::ConfigurationSaved, version.id.to_string())
            .with_change(Value::Null, json!({ "sha256": version.sha256, "note": version.note }));
        audit::append(tx, Some(organization), &record).await?;
        Ok(VersionView { newest: version.id.number, version, text })
    }
}

/// Who may save a version, and what it holds.
async fn check_new(ctx: &Ctx, new: &NewVersion) -> Result<(OrganizationId, PolicyConfig), Error> {
    let organization = ctx.require(Permission::RunGateways)?;
    ctx.require_fresh_authentication()?;
    if new.note.chars().count() > MOST_NOTE || new.note.chars().any(char::is_control) {
        let message = format!("Use at most {MOST_NOTE} characters on one line.");
        return Err(Error::invalid("note", message));
    }
    Ok((organization.clone(), valid(load_brought(&new.text).await?)?))
}

/// What a text says that is kept here.
pub(crate) async fn load(text: &str) -> Result<Loaded, Error> {
    load_beside(text, None).await
}

/// What a text says that somebody brings, who may have written it to be slow to read.
async fn load_brought(text: &str) -> Result<Loaded, Error> {
    check_length(text)?;
    let turn = TURNS.acquire().await.map_err(Error::internal)?;
    load_beside(text, Some(turn)).await
}

/// Reads a text on a thread where nobody else is served meanwhile. The turn ends with the work, also when whoever asked for it
/// has gone away.
async fn load_beside(text: &str, turn: Option<SemaphorePermit<'static>>) -> Result<Loaded, Error> {
    let source = Source { name: FILE.to_owned(), text: text.to_owned() };
    let work = move || {
        let loaded = policy_config::load(&[source], LoadOptions { connected: true, kept: true });
        drop(turn);
        loaded
    };
    spawn_blocking(work).await.map_err(Error::internal)
}

/// A longer text could not be kept, and is not looked at.
fn check_length(text: &str) -> Result<(), Error> {
    if text.len() > MOST_BYTES {
        return Err(Error::invalid("text", format!("Use at most {MOST_BYTES} bytes.")));
    }
    Ok(())
}

/// The configuration that a text is, or everything that is wrong with it.
fn valid(loaded: Loaded) -> Result<PolicyConfig, Error> {
    let errors: Vec<_> = loaded.errors().collect();
    let Some(first) = errors.first() else {
        return loaded.config.ok_or_else(|| Error::internal("there is no configuration and no error"));
    };
    let count = errors.len();
    let message = format!(
        "The configuration is not valid, so nothing was changed. The first of {count} findings, on line {}: {}; {}.",
        first.line, first.message, first.suggestion
    );
    let findings = serde_json::to_value(&errors).map_err(Error::internal)?;
    Err(Error::new(ErrorKind::Invalid, "configuration_invalid", message)
        .with_param("text")
        .with_detail("findings", findings))
}

async fn missing_credentials(
    source: &impl Readable,
    organization: &OrganizationId,
    config: &PolicyConfig,
) -> Result<Vec<String>, Error> {
    let mut missing = Vec::new();
    for name in config.stored_credentials() {
        if provider_credentials::sealed(source, organization, name).await?.is_none() {
            missing.push(name.to_owned());
        }
    }
    Ok(missing)
}

async fn require_credentials(
    source: &impl Readable,
    organization: &OrganizationId,
    config: &PolicyConfig,
) -> Result<(), Error> {
    let missing = missing_credentials(source, organization, config).await?;
    let Some(first) = missing.first() else { return Ok(()) };
    let message = format!("No provider credential `{first}` is kept. Store it first, then do this again.");
    Err(Error::new(ErrorKind::Invalid, "unknown_credential", message).with_param("text"))
}

/// Who saves something, as people know them.
fn author(actor: &Actor) -> String {
    match actor {
        Actor::Person(person) => person.email.clone(),
        Actor::Program(program) => program.name.clone(),
        Actor::System(name) => (*name).to_owned(),
        Actor::Anonymous => String::new(),
    }
}

fn no_configuration() -> Error {
    Error::not_found("configuration")
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const TEXT: &str = "# every key is optional";

    #[tokio::test]
    async fn few_texts_that_are_brought_are_read_at_once_and_those_that_are_kept_wait_for_none() {
        let turns = u32::try_from(READ_AT_ONCE).unwrap();
        let held = TURNS.acquire_many(turns).await.unwrap();
        let mut brought = pin!(load_brought(TEXT));
        let look = &mut Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(load(TEXT).await.unwrap().config.is_some());
            assert!(matches!(brought.as_mut().poll(look), Poll::Pending));
        }
        drop(held);
        assert!(brought.await.unwrap().config.is_some());
    }
}
