//! Where a gateway has its configuration from: files, whose changes are noticed, or the control plane.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kt_domain::configurations::KeptConfiguration;
use kt_domain::policy_config::{self, LoadOptions, Loaded, MAX_BYTES, SecretPlace, Source};
use kt_gateway::{ConfigSource, LoadedConfig};

use crate::environment;
use crate::failure::Failure;

/// The configuration that is in force where nobody has made one: everything is answered by the built-in echo provider.
const ECHO: &str = "pack:
  name: built-in-echo
  version: 1.0.0
auth:
  mode: none
providers:
  targets:
    - id: echo
      provider: echo
policies:
  chain:
    - audit-logger
";

/// Reads the files, in order.
pub(crate) fn read_sources(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    paths.iter().map(|path| read_source(path)).collect()
}

/// Reads a file.
pub(crate) fn read_source(path: &Path) -> Result<Source, Failure> {
    let text = read_text(path).map_err(|error| {
        Failure::invalid(format!(
            "cannot read {}: {error}. `kt init` writes a file to start from",
            path.display()
        ))
    })?;
    Ok(Source { name: path.display().to_string(), text })
}

/// Reads no more than shows that a file is too large, so that a device given by mistake is not read for ever.
fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// The state of some files at one moment; a file that cannot be seen has none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FilesState(Vec<Option<[i64; 4]>>);

/// Configuration files, later ones laid over earlier ones.
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    connected: bool,
    /// What was checked and is to be put in force, so that it need not be read twice.
    checked: Mutex<Option<Loaded>>,
}

impl Files {
    /// The files at `paths`. `connected` says whether they are for a gateway with a control plane.
    pub(crate) fn new(paths: Vec<PathBuf>, connected: bool) -> Self {
        Self { paths, connected, checked: Mutex::default() }
    }

    /// What tells the files' present state from a changed one, without reading them: where each is on its disk, how
    /// large it is, when it was changed. A file that is replaced, also behind a symbolic link, is another file.
    pub(crate) fn state(&self) -> FilesState {
        let state_of = |path: &PathBuf| {
            let file = path.metadata().ok()?;
            Some([file.ino().cast_signed(), file.size().cast_signed(), file.ctime(), file.ctime_nsec()])
        };
        FilesState(self.paths.iter().map(state_of).collect())
    }

    /// Reads and checks the files.
    pub(crate) fn check(&self) -> Result<Loaded, Failure> {
        let options = LoadOptions { connected: self.connected, kept: false };
        Ok(policy_config::load(&read_sources(&self.paths)?, options))
    }
}

impl Files {
    /// Lets the next load give what was already checked.
    pub(crate) fn put_in_force(&self, loaded: Loaded) {
        *self.checked() = Some(loaded);
    }

    fn checked(&self) -> MutexGuard<'_, Option<Loaded>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConfigSource for Files {
    fn load(&self) -> Result<LoadedConfig, String> {
        let checked = self.checked().take();
        usable(checked.map_or_else(|| self.check(), Ok).map_err(|failure| failure.to_string())?)
    }

    /// The control plane's credentials are not for files: they may come from anywhere.
    fn secret(&self, place: SecretPlace<'_>) -> Option<String> {
        match place {
            SecretPlace::Environment(name) => environment::variable(name),
            SecretPlace::Stored(_) => None,
        }
    }
}

/// A configuration that sends traces and metrics where the deployment says, unless it says itself where.
pub(crate) struct Collected {
    pub(crate) source: Arc<dyn ConfigSource>,
    pub(crate) otlp_endpoint: Option<String>,
}

impl ConfigSource for Collected {
    fn load(&self) -> Result<LoadedConfig, String> {
        let mut loaded = self.source.load()?;
        let own = &mut loaded.config.telemetry.otlp_endpoint;
        *own = own.take().or_else(|| self.otlp_endpoint.clone());
        Ok(loaded)
    }

    fn secret(&self, place: SecretPlace<'_>) -> Option<String> {
        self.source.secret(place)
    }
}

/// Variables that begin so hold the gateway's own secrets. Whoever may change configurations at the control plane could
/// have them sent to an address of their choice.
const OWN_VARIABLES: &str = "KEEPTRUSTS_";

/// What the control plane has told a gateway to run; the built-in echo configuration, as long as that is nothing. The
/// credentials are in memory and nowhere else.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Option<KeptConfiguration>>);

impl Kept {
    /// What is told from now on.
    pub(crate) fn new(told: Option<KeptConfiguration>) -> Self {
        Self(Mutex::new(told))
    }

    /// Puts another in its place; gives what was told before.
    pub(crate) fn replace(&self, told: Option<KeptConfiguration>) -> Option<KeptConfiguration> {
        std::mem::replace(&mut *self.told(), told)
    }

    /// Whether nothing was told yet.
    pub(crate) fn is_built_in(&self) -> bool {
        self.told().is_none()
    }

    fn told(&self) -> MutexGuard<'_, Option<KeptConfiguration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConfigSource for Kept {
    fn load(&self) -> Result<LoadedConfig, String> {
        match &*self.told() {
            Some(told) => load_kept(told),
            None => usable(load_text("built-in configuration", ECHO)),
        }
    }

    fn secret(&self, place: SecretPlace<'_>) -> Option<String> {
        match place {
            SecretPlace::Environment(name) if name.starts_with(OWN_VARIABLES) => None,
            SecretPlace::Environment(name) => environment::variable(name),
            SecretPlace::Stored(name) => {
                let credential =
                    self.told().as_ref()?.credentials.get(&name.parse().ok()?)?.expose().to_owned();
                Some(credential)
            }
        }
    }
}

/// The configuration that the control plane has told, or the whole report of what is wrong with it.
pub(crate) fn load_kept(told: &KeptConfiguration) -> Result<LoadedConfig, String> {
    let version = told.id.to_string();
    Ok(LoadedConfig { version, ..usable(load_text(&told.id.to_string(), &told.text))? })
}

fn load_text(name: &str, text: &str) -> Loaded {
    let source = Source { name: name.to_owned(), text: text.to_owned() };
    policy_config::load(&[source], LoadOptions { connected: true, kept: true })
}

fn usable(loaded: Loaded) -> Result<LoadedConfig, String> {
    let report = loaded.errors().map(policy_config::Finding::render).collect::<Vec<_>>().join("\n");
    let version = loaded.version;
    loaded.config.map(|config| LoadedConfig { config, version }).ok_or(report)
}
