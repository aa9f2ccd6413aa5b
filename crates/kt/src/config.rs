//! Reading gateway configurations from files, and noticing when they change.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kt_domain::policy_config::{self, LoadOptions, Loaded, MAX_BYTES, Source};
use kt_gateway::{ConfigSource, LoadedConfig};

use crate::failure::Failure;

/// The configuration that is in force when there is no file: everything is answered by the built-in echo provider.
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
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Source, Failure> {
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
    /// The files at `paths`; with none, the built-in echo configuration. `connected` says whether they are for a gateway
    /// with a control plane.
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
        let sources = match &self.paths[..] {
            [] => vec![Source { name: "built-in configuration".into(), text: ECHO.into() }],
            paths => read_sources(paths)?,
        };
        Ok(policy_config::load(&sources, LoadOptions { connected: self.connected }))
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
        let loaded = checked.map_or_else(|| self.check(), Ok).map_err(|failure| failure.to_string())?;
        let report = loaded.errors().map(policy_config::Finding::render).collect::<Vec<_>>().join("\n");
        let version = loaded.version;
        loaded.config.map(|config| LoadedConfig { config, version }).ok_or(report)
    }

    fn environment(&self, name: &str) -> Option<String> {
        crate::environment::variable(name)
    }
}
