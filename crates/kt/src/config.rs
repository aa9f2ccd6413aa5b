//! Where a gateway has its configuration from: files, whose changes are noticed, or the control plane.

use std::fs::{File, Metadata};
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
    read_source_or_advise(path, "`kt init` writes a file to start from")
}

/// Reads a file. `advice` is told with what keeps it from being read.
pub(crate) fn read_source_or_advise(path: &Path, advice: &str) -> Result<Source, Failure> {
    let text = read_text(path)
        .map_err(|error| Failure::invalid(format!("cannot read {}: {error}. {advice}", path.display())))?;
    Ok(Source { name: path.display().to_string(), text })
}

/// Reads no more than shows that a file is too large, so that a device given by mistake is not read for ever.
fn read_text(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(MAX_BYTES);
    let mut text = String::with_capacity(size.min(MAX_BYTES));
    file.take(MAX_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// The state of some files at one moment. What cannot be seen has none, nor has what is no file: a pipe can be read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct FilesState(Vec<Option<[i64; 4]>>);

/// Configuration files, later ones laid over earlier ones.
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    connected: bool,
    /// Their state when they were read last.
    read: Mutex<FilesState>,
    /// What was checked and is to be put in force, so that it need not be read twice.
    checked: Mutex<Option<Loaded>>,
}

impl Files {
    /// The files at `paths`. `connected` says whether they are for a gateway with a control plane.
    pub(crate) fn new(paths: Vec<PathBuf>, connected: bool) -> Self {
        Self { paths, connected, read: Mutex::default(), checked: Mutex::default() }
    }

    /// What tells the files' present state from a changed one, without reading them: where each is on its disk, how
    /// large it is, when it was changed. A file that is replaced, also behind a symbolic link, is another file.
    fn state(&self) -> FilesState {
        let state_of = |path: &PathBuf| {
            let file = path.metadata().ok().filter(Metadata::is_file)?;
            Some([file.ino().cast_signed(), file.size().cast_signed(), file.ctime(), file.ctime_nsec()])
        };
        FilesState(self.paths.iter().map(state_of).collect())
    }

    /// Reads and checks the files.
    pub(crate) fn check(&self) -> Result<Loaded, Failure> {
        let options = LoadOptions { connected: self.connected, kept: false };
        Ok(policy_config::load(&self.unchanged(|| read_sources(&self.paths))?, options))
    }

    /// What `read` gives, unless the files are changed meanwhile: half of a configuration is none.
    fn unchanged<T>(&self, read: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let before = self.state();
        *self.state_read() = before.clone();
        let content = read()?;
        if self.state() == before {
            return Ok(content);
        }
        Err(Failure::failed(
            "the configuration was changed while it was read; read it again once it is written",
        ))
    }

    fn state_read(&self) -> MutexGuard<'_, FilesState> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

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

/// Tells when files that were changed are to be read anew: once two looks in a row have found the same change, so that
/// what somebody is still writing is not taken for all of it.
pub(crate) struct Watch {
    files: Arc<Files>,
    /// What the last look found, if that was not what was read.
    changed: Option<FilesState>,
}

impl Watch {
    pub(crate) fn over(files: Arc<Files>) -> Self {
        Self { files, changed: None }
    }

    /// Looks at the files, now and then, and says whether they are to be read.
    pub(crate) fn look(&mut self) -> bool {
        let now = self.files.state();
        if now == *self.files.state_read() {
            self.changed = None;
            return false;
        }
        let is_at_rest = self.changed.as_ref() == Some(&now);
        self.changed = Some(now);
        is_at_rest
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use tempfile::TempDir;

    use super::*;

    /// Files with one configuration, read, and who watches them.
    fn watched() -> (TempDir, PathBuf, Arc<Files>, Watch) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy-config.yaml");
        fs::write(&path, ECHO).unwrap();
        let files = Arc::new(Files::new(vec![path.clone()], false));
        files.load().unwrap();
        let watch = Watch::over(Arc::clone(&files));
        (directory, path, files, watch)
    }

    /// An empty file, and one that ends at a line's end, is a valid configuration, which may let everybody in.
    #[test]
    fn a_file_that_is_being_written_is_read_when_it_is_at_rest() {
        let (_directory, path, files, mut watch) = watched();
        assert!(!watch.look(), "nothing was changed");
        let mut file = File::create(&path).unwrap();
        for line in ECHO.lines() {
            assert!(!watch.look(), "it is not whole before {line}");
            writeln!(file, "{line}").unwrap();
        }
        writeln!(file, "cors: {{enabled: true}}").unwrap();
        assert!(!watch.look(), "it was changed since the last look");
        assert!(watch.look(), "it is at rest");
        assert!(files.load().unwrap().config.cors.enabled);
        assert!(!watch.look(), "it was read");
    }

    #[test]
    fn a_file_in_the_place_of_another_is_read_at_the_second_look_and_one_that_is_gone_is_told_once() {
        let (directory, path, files, mut watch) = watched();
        let new = directory.path().join("new.yaml");
        fs::write(&new, ECHO).unwrap();
        fs::rename(&new, &path).unwrap();
        assert!(!watch.look());
        assert!(watch.look());
        files.load().unwrap();
        assert!(!watch.look());

        fs::remove_file(&path).unwrap();
        assert!(!watch.look());
        assert!(watch.look());
        assert!(files.load().is_err_and(|report| report.contains("cannot read")));
        assert!(!watch.look(), "that was said");
    }

    #[test]
    fn a_file_that_was_read_by_request_is_not_read_again() {
        let (_directory, path, files, mut watch) = watched();
        fs::write(&path, format!("{ECHO}cors: {{enabled: true}}\n")).unwrap();
        assert!(!watch.look());
        files.load().unwrap();
        assert!(!watch.look());
        assert!(!watch.look());
    }

    #[test]
    fn what_is_changed_while_it_is_read_is_refused_and_read_again_when_it_is_at_rest() {
        let (_directory, path, files, mut watch) = watched();
        let longer = format!("{ECHO}cors: {{enabled: true}}\n");
        let read = files.unchanged(|| {
            fs::write(&path, &longer).unwrap();
            Ok(())
        });
        assert!(read.is_err_and(|failure| failure.to_string().contains("while it was read")));
        assert!(!watch.look());
        assert!(watch.look());
        assert!(files.unchanged(|| Ok(())).is_ok(), "the control");
        assert!(!watch.look());
    }

    #[test]
    fn what_is_no_file_is_not_watched() {
        let mut watch = Watch::over(Arc::new(Files::new(vec!["/dev/null".into()], false)));
        watch.files.load().unwrap();
        assert_eq!(watch.files.state(), FilesState(vec![None]));
        assert!(!watch.look());
    }
}
