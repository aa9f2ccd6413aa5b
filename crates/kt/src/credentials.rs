//! Who is signed in on this machine: in the desktop's keyring where there is one, else in a file that its owner alone can read.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::desktop::Keyring;
use crate::environment;
use crate::failure::Failure;

/// What is kept of a sign-in.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    /// The API that has issued them: they are sent there and nowhere else.
    pub(crate) api_url: String,
    /// Good for a quarter of an hour.
    pub(crate) access_token: String,
    /// Gets the next access token; works once.
    pub(crate) refresh_token: String,
    /// By what this machine is known at the next sign-in of the same person.
    pub(crate) device_token: Option<String>,
    /// Who signed in.
    pub(crate) email: String,
}

/// The place where they are kept.
#[derive(Clone)]
pub(crate) struct CredentialsFile {
    path: PathBuf,
    keyring: Option<Keyring>,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Held {
    Credentials(Credentials),
    /// Where they are, which is no secret.
    Elsewhere {
        kept_in: KeptIn,
        api_url: String,
    },
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptIn {
    Keyring,
}

impl CredentialsFile {
    /// That of the user who runs this: `keeptrusts/credentials.json` below the configuration directory of the XDG Base
    /// Directory Specification, which has relative paths ignored.
    pub(crate) fn of_this_user() -> Result<Self, Failure> {
        let absolute =
            |name| environment::variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || absolute("HOME").map(|home| home.join(".config"));
        let directory = absolute("XDG_CONFIG_HOME").or_else(home).ok_or_else(|| {
            Failure::failed("there is no place for credentials: set HOME or XDG_CONFIG_HOME to a directory")
        })?;
        let path = directory.join("keeptrusts/credentials.json");
        Ok(Self { path, keyring: Keyring::of_this_desktop() })
    }

    /// Who is signed in; `None` when nobody is. A file that others can read is refused.
    pub(crate) fn load(&self) -> Result<Option<Credentials>, Failure> {
        let api_url = match self.held()? {
            None => return Ok(None),
            Some(Held::Credentials(credentials)) => return Ok(Some(credentials)),
            Some(Held::Elsewhere { kept_in: KeptIn::Keyring, api_url }) => api_url,
        };
        self.in_keyring(&api_url).map(Some).ok_or_else(|| {
            Failure::not_allowed(format!(
                "the keyring does not give out the session at {api_url}: unlock it, or sign in again with `kt auth login` \
                 (KEEPTRUSTS_KEYRING=off keeps sessions in a file)"
            ))
        })
    }

    /// The same for whoever signs in anew: a keyring that gives nothing out is as good as an empty one.
    pub(crate) fn load_if_any(&self) -> Result<Option<Credentials>, Failure> {
        Ok(self.held()?.and_then(|held| match held {
            Held::Credentials(credentials) => Some(credentials),
            Held::Elsewhere { kept_in: KeptIn::Keyring, api_url } => self.in_keyring(&api_url),
        }))
    }

    fn in_keyring(&self, api_url: &str) -> Option<Credentials> {
        serde_json::from_str(&self.keyring.as_ref()?.find(api_url)?).ok()
    }

    fn held(&self) -> Result<Option<Held>, Failure> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| self.failed(&error))?,
        };
        let mode = file.metadata().map_err(|error| self.failed(&error))?.permissions().mode();
        if mode & 0o077 != 0 {
            let path = self.path.display();
            return Err(Failure::failed(format!(
                "others can read {path}, so what it holds may be known to them. Run `chmod 600 {path}`, then `kt auth \
                 logout`, and sign in again"
            )));
        }
        serde_json::from_reader(file).map(Some).map_err(|error| {
            let path = self.path.display();
            Failure::failed(format!(
                "{path} cannot be understood: {error}. Remove it, then run `kt auth login`"
            ))
        })
    }

    /// Puts these in place of what was kept, whole or not at all; tells where they are.
    pub(crate) fn save(&self, credentials: &Credentials) -> Result<String, Failure> {
        let text = serde_json::to_string(credentials).map_err(|error| Failure::failed(error.to_string()))?;
        let api_url = &credentials.api_url;
        if self.keyring.as_ref().is_some_and(|keyring| keyring.keep(api_url, &text)) {
            self.write(&Held::Elsewhere { kept_in: KeptIn::Keyring, api_url: api_url.clone() })?;
            return Ok("the keyring".to_owned());
        }
        self.write(&Held::Credentials(credentials.clone()))?;
        Ok(self.path.display().to_string())
    }

    fn write(&self, held: &Held) -> Result<(), Failure> {
        self.make_directory()?;
        let new = self.path.with_extension("new");
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            // It may be left over from a version that was interrupted, or made by somebody else.
            file.set_permissions(PermissionsExt::from_mode(0o600))?;
            file.write_all(&serde_json::to_vec_pretty(held)?)?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)
        };
        write().map_err(|error| self.failed(&error))
    }

    /// Forgets them. Nothing is to be done where there are none.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        if let (Some(keyring), Ok(Some(Held::Elsewhere { api_url, .. }))) = (&self.keyring, self.held()) {
            keyring.forget(&api_url);
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.failed(&error)),
            _ => Ok(()),
        }
    }

    /// Keeps other processes from changing them while what it gives is kept: a refresh token works once, and two
    /// commands that used the same one would end the session.
    pub(crate) fn lock(&self) -> Result<File, Failure> {
        self.make_directory()?;
        let path = self.path.with_extension("lock");
        let locked = || {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        locked().map_err(|error| self.failed(&error))
    }

    fn make_directory(&self) -> Result<(), Failure> {
        let Some(directory) = self.path.parent() else { return Ok(()) };
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        Failure::failed(format!("{}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            api_url: "http://127.0.0.1:8080".into(),
            access_token: "access".into(),
            refresh_token: "refresh".into(),
            device_token: None,
            email: "owner@acme.example".into(),
        }
    }

    #[test]
    fn what_is_saved_is_readable_by_its_owner_alone_and_is_refused_when_it_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let file =
            CredentialsFile { path: directory.path().join("keeptrusts/credentials.json"), keyring: None };
        assert!(file.load().unwrap().is_none(), "nobody has signed in");
        file.save(&credentials()).unwrap();
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file.path), mode(file.path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(file.load().unwrap().unwrap().refresh_token, "refresh");

        std::fs::set_permissions(&file.path, PermissionsExt::from_mode(0o640)).unwrap();
        let Err(refused) = file.load() else { panic!("a file that others can read") };
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
        file.remove().unwrap();
        file.remove().unwrap();
        assert!(file.load().unwrap().is_none());
    }
}
