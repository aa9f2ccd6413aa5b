//! `kt admin backup|restore`: copies of the database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use kt_control::require_seal_of;
use kt_domain::audit::AuditAction;
use kt_store::{BackupError, Store, StoreError, growing, restore, sqlite_path};
use serde_json::{Value, json};

use super::{Scene, by_the_operator};
use crate::commands::reading::progress_bar;
use crate::control_plane::Settings;
use crate::failure::Failure;
use crate::output;

/// How often it is looked how far the copy has come.
const LOOK: Duration = Duration::from_millis(100);

/// Copy the database to a file, while servers use it
///
/// The copy is checked, and there whole or not at all. It does not hold the key that seals secrets.
#[derive(Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    scene: Scene,
    /// The file to write; there must be none
    file: PathBuf,
}

impl Backup {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let settings = self.scene.place.settings();
        let config = settings.load()?;
        let url = settings.database_url(&config);
        let Some(database) = sqlite_path(&url) else {
            return Err(for_postgres("pg_dump --format=custom --file", &self.file, &url));
        };
        let (control, ctx) = self.scene.open().await?;
        let bar = progress_bar(size_of(&database));
        let copied = control.back_up(&ctx, &self.file);
        watching(copied, &bar, &growing(&self.file))
            .await
            .map_err(|error| Failure::failed(error.to_string()))?;
        bar.finish_and_clear();
        let (file, size) = (self.file.display(), size_of(&self.file));
        self.scene.tell(
            &format!("copied {size} bytes to {file} and verified the copy"),
            &json!({ "file": self.file, "bytes": size }),
        );
        output::complain(format_args!(
            "keep the key that seals secrets with your other keys, apart from the copy: {}",
            settings.key_file(&config).display()
        ));
        Ok(())
    }
}

/// Waits for `work` and shows meanwhile how large the file has become.
async fn watching<T>(work: impl Future<Output = T>, bar: &ProgressBar, file: &Path) -> T {
    tokio::pin!(work);
    let mut timer = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = timer.tick() => bar.set_position(size_of(file)),
        }
    }
}

fn size_of(file: &Path) -> u64 {
    file.metadata().map_or(0, |there| there.len())
}

/// Put a copy in the place of the database, while nobody uses it
///
/// The key that seals secrets must be in its place: a copy that it does not open is refused. Whatever was revoked after the
/// copy was taken is alive again in it: revoke it again.
#[derive(Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    scene: Scene,
    /// The copy
    file: PathBuf,
    /// Replace the database that is there; it is kept beside the new one
    #[arg(long)]
    force: bool,
}

impl Restore {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let settings = self.scene.place.settings();
        let config = settings.load()?;
        let url = settings.database_url(&config);
        let Some(database) = sqlite_path(&url) else {
            return Err(for_postgres("pg_restore --clean --if-exists --dbname", &self.file, &url));
        };
        let seal = settings.existing_seal(&config)?;
        let key_file = settings.key_file(&config);
        let opens = async |copy: &Store| {
            let other = |error| format!("{} does not open it: {}", key_file.display(), Failure::from(error));
            require_seal_of(copy, &seal).await.map_err(other)
        };
        settings.make_data_dir()?;
        let bar = progress_bar(size_of(&self.file));
        let restored =
            watching(restore(&self.file, &url, self.force, opens), &bar, &growing(&database)).await;
        bar.finish_and_clear();
        let replaced = restored.map_err(|error| match error {
            BackupError::Occupied(database) => Failure::failed(format!(
                "there is a database at {}: nothing was changed. --force replaces it and keeps it beside the copy",
                database.display()
            )),
            other => Failure::failed(other.to_string()),
        })?;
        let facts = json!({ "file": self.file, "replaced": replaced });
        let kept = replaced.map(|place| format!("The one before is kept as {}", place.display()));
        take_into_use(&settings, facts.clone()).await.map_err(|failure| match &kept {
            Some(kept) => failure.and(kept),
            None => failure,
        })?;
        let mut sentence = format!("{} is the database now; the server can be started", self.file.display());
        if let Some(kept) = &kept {
            sentence = format!("{sentence}. {kept}");
        }
        self.scene.tell(&sentence, &facts);
        Ok(())
    }
}

/// Brings a database that was just put in its place to the present schema, and records where it comes from.
async fn take_into_use(settings: &Settings, facts: Value) -> Result<(), Failure> {
    let (control, _) = settings.migrate().await?;
    Ok(control.record_operation(&by_the_operator(), AuditAction::Restored, facts).await?)
}

/// PostgreSQL has tools of its own for this; what to type. Of any other address, that it is none.
fn for_postgres(tool: &str, file: &Path, url: &str) -> Failure {
    if url.starts_with("sqlite:") {
        return Failure::invalid(StoreError::Address(url.to_owned()).to_string());
    }
    let file = quoted(&file.display().to_string());
    let url = quoted(&without_password(url));
    let command = if tool.starts_with("pg_dump") {
        format!("{tool} {file} {url}")
    } else {
        format!("{tool} {url} {file}")
    };
    Failure::invalid(format!(
        "the database is PostgreSQL, which has its own tools for copies. Run (the password comes from PGPASSWORD or \
         ~/.pgpass):\n\n  {command}\n"
    ))
}

/// As a shell reads it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The address without the password in it: commands are seen by everybody on the machine.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}@{host}{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_typed_for_postgresql_has_no_password_and_breaks_out_of_no_quotes() {
        let command =
            |url| for_postgres("pg_dump --format=custom --file", Path::new("it's.dump"), url).to_string();
        let plain = command("postgres://kt:s3cret@db.example.com:5432/keeptrusts?sslmode=verify-full");
        let wanted = r"pg_dump --format=custom --file 'it'\''s.dump' 'postgres://kt@db.example.com:5432/keeptrusts?sslmode=verify-full'";
        assert!(plain.contains(wanted), "{plain}");
        assert!(command("postgres:///keeptrusts").contains("'postgres:///keeptrusts'"));
    }
}
