//! `kt admin secrets …`: another key in the place of the one that seals secrets, while servers run.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use kt_control::SealKey;
use kt_domain::random::Random;
use serde_json::json;

use super::Scene;
use crate::commands::reading::count_so_far;
use crate::failure::Failure;
use crate::output::counted;

/// The key that seals secrets in the database.
#[derive(Subcommand)]
pub(crate) enum Secrets {
    /// Add a new key to the key file; older ones go on opening what they have sealed
    NewKey(NewKey),
    /// Seal everything anew with the newest key
    Reseal(Reseal),
    /// Remove the older keys from the key file
    ForgetOld(ForgetOld),
}

impl Secrets {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::NewKey(new) => new.run().await,
            Self::Reseal(reseal) => reseal.run().await,
            Self::ForgetOld(forget) => forget.run().await,
        }
    }
}

/// Add a new key to the key file; older ones go on opening what they have sealed
///
/// Where servers run on several machines, copy the key file to each of them before going on.
#[derive(Args)]
pub(crate) struct NewKey {
    #[command(flatten)]
    scene: Scene,
}

impl NewKey {
    async fn run(self) -> Result<(), Failure> {
        // The present keys open the database, or the file is another's.
        self.scene.open().await?;
        let file = KeyFile::hold(self.scene.key_file()?)?;
        let mut keys = file.keys()?;
        keys.push(SealKey::new_text(&mut Random::from_os()));
        file.replace(&keys)?;
        let sentence = format!(
            "{} holds {} now; copy it to every machine that runs a server, then run `kt admin secrets reseal`",
            file.path.display(),
            counted(keys.len(), "key", "keys")
        );
        self.scene.tell(&sentence, &json!({ "key_file": file.path, "keys": keys.len() }));
        Ok(())
    }
}

/// Seal everything anew with the newest key
///
/// Servers that run read the new key from the key file when they meet it, within ten seconds.
#[derive(Args)]
pub(crate) struct Reseal {
    #[command(flatten)]
    scene: Scene,
}

impl Reseal {
    async fn run(self) -> Result<(), Failure> {
        let (control, ctx) = self.scene.open().await?;
        let bar = count_so_far("sealed anew");
        let resealed = control.reseal(&ctx, |anew| bar.set_position(anew as u64)).await;
        bar.finish_and_clear();
        let anew = resealed?;
        let sealed = counted(anew, "secret was sealed anew", "secrets were sealed anew");
        let sentence = format!("{sealed}; in a minute, run `kt admin secrets forget-old`");
        self.scene.tell(&sentence, &json!({ "sealed_anew": anew }));
        Ok(())
    }
}

/// Remove the older keys from the key file
///
/// Refused while a secret is left that only one of them opens.
#[derive(Args)]
pub(crate) struct ForgetOld {
    #[command(flatten)]
    scene: Scene,
}

impl ForgetOld {
    async fn run(self) -> Result<(), Failure> {
        // Held from before anything is counted: a key that was added meanwhile would count the present one as old.
        let file = KeyFile::hold(self.scene.key_file()?)?;
        let (control, ctx) = self.scene.open().await?;
        let left = control.count_sealed_with_older_keys(&ctx).await?;
        if left > 0 {
            let secrets = counted(left, "secret is sealed", "secrets are sealed");
            let message = format!("{secrets} with an older key: run `kt admin secrets reseal` first");
            return Err(Failure::failed(message));
        }
        let mut keys = file.keys()?;
        let forgotten = keys.drain(..keys.len().saturating_sub(1)).count();
        file.replace(&keys)?;
        let sentence = format!(
            "{} from {}; copies made before still need what was removed",
            counted(forgotten, "older key was removed", "older keys were removed"),
            file.path.display()
        );
        self.scene.tell(&sentence, &json!({ "key_file": file.path, "forgotten": forgotten }));
        Ok(())
    }
}

/// The key file, which one command at a time changes.
struct KeyFile {
    path: PathBuf,
    /// Another file beside it, since the key file itself is replaced. Closed, it gives the lock back.
    _lock: File,
}

impl KeyFile {
    fn hold(path: PathBuf) -> Result<Self, Failure> {
        let beside = path.with_extension("lock");
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(&beside);
        let lock = lock.map_err(|error| cannot(&beside, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Failure::failed(format!(
                "another `kt admin secrets` is changing {}; try again when it has ended",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(cannot(&beside, &error)),
        }
    }

    fn keys(&self) -> Result<Vec<String>, Failure> {
        let text = std::fs::read_to_string(&self.path).map_err(|error| cannot(&self.path, &error))?;
        Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// Replaces the file as a whole, or not at all. Afterwards it stays replaced whatever happens: a secret that is sealed
    /// with a key that a loss of power took back could never be opened again.
    fn replace(&self, keys: &[String]) -> Result<(), Failure> {
        let new = self.path.with_extension("new");
        let write = || {
            let mut options = OpenOptions::new();
            let mut there = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            there.write_all(keys.join("\n").as_bytes())?;
            there.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| cannot(&self.path, &error))
    }
}

fn cannot(file: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", file.display()))
}
