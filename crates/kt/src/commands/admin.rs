//! `kt admin …`: what the operator does at the machine itself, also when nobody can sign in any more. It acts on the
//! database, works beside a server that runs, and is recorded.

mod audit;
mod copies;
mod domains;
mod ip_restrictions;
mod mail;
mod mfa;
mod organizations;
mod secrets;
mod sso;
mod users;

use clap::{Args, Subcommand};
use kt_control::Control;
use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::commands::reading::count_so_far;
use crate::commands::server::Place;
use crate::control_plane::operator;
use crate::environment;
use crate::failure::Failure;
use crate::output::{self, counted};

/// Act on the database of this machine.
#[derive(Subcommand)]
pub(crate) enum Admin {
    /// Bring the database to the schema of this version
    Migrate(Migrate),
    /// Copy the database to a file, while servers use it
    Backup(copies::Backup),
    /// Put a copy in the place of the database, while nobody uses it
    Restore(copies::Restore),
    /// Let somebody back in
    #[command(subcommand)]
    User(users::User),
    /// The second factors of an account
    #[command(subcommand)]
    Mfa(mfa::Mfa),
    /// More than one organization
    #[command(subcommand)]
    Organization(organizations::Organization),
    /// From where an organization is reached
    #[command(subcommand)]
    IpRestrictions(ip_restrictions::IpRestrictions),
    /// The domains of mail addresses that organizations own
    #[command(subcommand)]
    Domain(domains::Domain),
    /// Single sign-on
    #[command(subcommand)]
    Sso(sso::Sso),
    /// The keys that sign access tokens
    #[command(subcommand)]
    Jwt(Jwt),
    /// The key that seals secrets in the database
    #[command(subcommand)]
    Secrets(secrets::Secrets),
    /// Messages that could not be sent
    #[command(subcommand)]
    Mail(mail::Mail),
    /// The deployment's own audit log
    #[command(subcommand)]
    Audit(audit::Audit),
    /// How long gateways' events are kept
    #[command(subcommand)]
    Retention(Retention),
}

impl Admin {
    pub(crate) fn run(self) -> Result<(), Failure> {
        Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(async {
            match self {
                Self::Migrate(migrate) => migrate.run().await,
                Self::Backup(backup) => Box::pin(backup.run()).await,
                Self::Restore(restore) => Box::pin(restore.run()).await,
                Self::User(user) => user.run().await,
                Self::Mfa(mfa) => mfa.run().await,
                Self::Organization(organization) => organization.run().await,
                Self::IpRestrictions(restrictions) => restrictions.run().await,
                Self::Domain(domain) => domain.run().await,
                Self::Sso(sso) => sso.run().await,
                Self::Jwt(Jwt::Rotate(rotate)) => rotate.run().await,
                Self::Secrets(secrets) => secrets.run().await,
                Self::Mail(mail) => mail.run().await,
                Self::Audit(audit::Audit::Export(export)) => export.run().await,
                Self::Retention(Retention::Run(run)) => run.run().await,
            }
        })
    }
}

/// Where the database is, and how to tell what was done.
#[derive(Args)]
struct Scene {
    #[command(flatten)]
    place: Place,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

impl Scene {
    /// The control plane that is kept here. Nothing is made that is not there.
    async fn open(&self) -> Result<(Control, Ctx), Failure> {
        Ok((self.place.settings().open().await?, by_the_operator()))
    }

    /// Where the key is that seals secrets.
    fn key_file(&self) -> Result<std::path::PathBuf, Failure> {
        let settings = self.place.settings();
        Ok(settings.key_file(&settings.load()?))
    }

    /// Tells what was done: a sentence for people, or its facts for programs.
    fn tell(&self, sentence: &str, facts: &Value) {
        output::done(self.json, sentence, facts);
    }
}

/// Which organization a command is about.
#[derive(Args)]
struct OneOrganization {
    /// The organization's identifier; may be left out where there is one organization alone
    #[arg(long = "organization", value_name = "NAME")]
    identifier: Option<String>,
}

impl OneOrganization {
    /// Its identifier.
    async fn meant(&self, control: &Control, ctx: &Ctx) -> Result<String, Failure> {
        Ok(control.organization_meant(ctx, self.identifier.as_deref()).await?)
    }
}

/// The context of a command of the operator. Records name who ran it, as the system knows them.
fn by_the_operator() -> Ctx {
    let id = rustix::process::getuid().as_raw();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    let mut who = format!("kt admin, by {}", name.unwrap_or_else(|| format!("user {id}")));
    if let Some(before) = environment::variable("SUDO_USER") {
        who = format!("{who} for {before}");
    }
    // There is one such name in the life of a process.
    operator(who.leak())
}

/// Bring the database to the schema of this version
///
/// A server does the same when it starts. Forward only: take a copy with `kt admin backup` first.
#[derive(Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    scene: Scene,
}

impl Migrate {
    async fn run(self) -> Result<(), Failure> {
        let (control, steps) = self.scene.place.settings().migrate().await?;
        if steps.is_empty() {
            self.scene.tell("the database has the present schema", &json!({ "applied": steps }));
            return Ok(());
        }
        let ctx = by_the_operator();
        control.record_operation(&ctx, AuditAction::Migrated, json!({ "applied": steps })).await?;
        let sentence = format!("the database has the present schema now; applied: {}", steps.join(", "));
        self.scene.tell(&sentence, &json!({ "applied": steps }));
        Ok(())
    }
}

/// The keys that sign access tokens.
#[derive(Subcommand)]
pub(crate) enum Jwt {
    /// Make a new key, and retire the others once what they signed has ended
    Rotate(Rotate),
}

/// Make a new key, and retire the others once what they signed has ended
#[derive(Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    scene: Scene,
    /// A key has leaked: the new one signs at once, and the others verify nothing any more
    #[arg(long)]
    immediately: bool,
}

impl Rotate {
    async fn run(self) -> Result<(), Failure> {
        let (control, ctx) = self.scene.open().await?;
        let kid = control.rotate_signing_key(&ctx, self.immediately).await?;
        let sentence = if self.immediately {
            format!(
                "{kid} signs from now on, and tokens of older keys are refused; servers follow with their next request"
            )
        } else {
            format!(
                "{kid} is published now and signs in ten minutes; older keys verify until their tokens have ended"
            )
        };
        self.scene.tell(&sentence, &json!({ "kid": kid, "immediately": self.immediately }));
        Ok(())
    }
}

/// How long gateways' events are kept.
#[derive(Subcommand)]
pub(crate) enum Retention {
    /// Remove the events whose days are over
    Run(RunRetention),
}

/// Remove the events whose days are over
///
/// Servers do the same every few seconds. Each gateway states for how many days its events are kept; nothing removes one
/// before.
#[derive(Args)]
pub(crate) struct RunRetention {
    #[command(flatten)]
    scene: Scene,
}

impl RunRetention {
    async fn run(self) -> Result<(), Failure> {
        let (control, ctx) = self.scene.open().await?;
        let bar = count_so_far("events removed");
        let retained = control.retain_events(&ctx, |removed| bar.set_position(removed)).await;
        bar.finish_and_clear();
        let removed = retained?;
        let sentence = counted(removed, "event was removed", "events were removed");
        self.scene.tell(&sentence, &json!({ "removed": removed }));
        Ok(())
    }
}
