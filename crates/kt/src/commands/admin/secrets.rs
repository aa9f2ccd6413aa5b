//! `kt admin secrets …`: another key in the place of the one that seals secrets, while servers run.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use clap::{Args, Subcommand};
use kt_control::SealKey;
use kt_domain::random::Random;
use serde_json::json;

use super::Scene;
use crate::failure::Failure;

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
        let file = self.scene.key_file()?;
        let mut keys = keys_in(&file)?;
        keys.push(SealKey::new_text(&mut Random::from_os()));
        write_keys(&file, &keys)?;
        let sentence = format!(
            "{} holds {} keys now; copy it to every machine that runs a server, then run `kt admin secrets reseal`",
            file.display(),
            keys.len()
        );
        self.scene.tell(&sentence, &json!({ "key_file": file, "keys": keys.len() }));
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
        let anew = control.reseal(&ctx).await?;
        let sentence =
            format!("{anew} secrets were sealed anew; in a minute, run `kt admin secrets forget-old`");
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
        let (control, ctx) = self.scene.open().await?;
        let left = control.count_sealed_with_older_keys(&ctx).await?;
        if left > 0 {
            let message =
                format!("{left} secrets are sealed with an older key: run `kt admin secrets reseal` first");
            return Err(Failure::failed(message));
        }
        let file = self.scene.key_file()?;
        let mut keys = keys_in(&file)?;
        let forgotten = keys.drain(..keys.len().saturating_sub(1)).count();
        write_keys(&file, &keys)?;
        let sentence = format!(
            "{forgotten} older keys were removed from {}; copies made before still need them",
            file.display()
        );
        self.scene.tell(&sentence, &json!({ "key_file": file, "forgotten": forgotten }));
        Ok(())
    }
}

fn keys_in(file: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| cannot(file, &error))?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Replaces the key file as a whole, or not at all.
fn write_keys(file: &Path, keys: &[String]) -> Result<(), Failure> {
    let new = file.with_extension("new");
    let write = || {
        let mut there = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        there.write_all(keys.join("\n").as_bytes())?;
        there.sync_all()?;
        std::fs::rename(&new, file)
    };
    write().map_err(|error| cannot(file, &error))
}

fn cannot(file: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", file.display()))
}
