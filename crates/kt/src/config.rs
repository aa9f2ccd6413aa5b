//! Reading gateway configurations from files, and noticing when they change.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kt_domain::policy_config::{self, LoadOptions, Loaded, MAX_BYTES, Source};
use kt_gateway::{ConfigSource, LoadedConfig};

use crate::failure::Failure;

/// The configuration that is in force when there is no file: everything is answered by the built-in echo provider.
const ECHO: &str = "pack:
  name: built-in-echo
  version: 1.0.0
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

/// Configuration files, later ones laid over earlier ones.
pub(crate) struct Files {
    paths: Vec<PathBuf>,
}

impl Files {
    /// The files at `paths`; with none, the built-in echo configuration.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths }
    }

    /// What the files hold at present, for noticing a change. Unreadable files hold nothing.
    pub(crate) fn contents(&self) -> Vec<Option<Vec<u8>>> {
        self.paths.iter().map(|path| std::fs::read(path).ok()).collect()
    }

    /// Reads and checks the files.
    pub(crate) fn check(&self) -> Result<Loaded, Failure> {
        let sources = match &self.paths[..] {
            [] => vec![Source { name: "built-in configuration".into(), text: ECHO.into() }],
            paths => read_sources(paths)?,
        };
        Ok(policy_config::load(&sources, LoadOptions { connected: false }))
    }
}

impl ConfigSource for Files {
    fn load(&self) -> Result<LoadedConfig, String> {
        let loaded = self.check().map_err(|failure| failure.to_string())?;
        let report = loaded.errors().map(policy_config::Finding::render).collect::<Vec<_>>().join("\n");
        let version = loaded.version;
        loaded.config.map(|config| LoadedConfig { config, version }).ok_or(report)
    }

    fn environment(&self, name: &str) -> Option<String> {
        crate::environment::variable(name)
    }
}
