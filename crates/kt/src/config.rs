//! Where a gateway has its configuration from: files, whose changes are noticed, or the control plane.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kt_domain::configurations::KeptConfiguration;
use kt_domain::policy_config::{self, Finding, LoadOptions, Loaded, MAX_BYTES, SecretPlace, Source};
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

/// What to do where there is no configuration.
const START: &str = "`kt init` writes a file to start from";

/// Reads a file.
pub(crate) fn read_source(path: &Path) -> Result<Source, Failure> {
    read_source_or_advise(path, START)
}

/// Reads a file. `advice` is told where none is there.
pub(crate) fn read_source_or_advise(path: &Path, advice: &str) -> Result<Source, Failure> {
    read_or_find(path, advice).map_err(|Finding { message, file, line, column, suggestion, .. }| {
        Failure::invalid(format!("cannot read {file}:{line}:{column}: {message}. {suggestion}"))
    })
}

/// Reads a file, or says what keeps it from being read.
pub(crate) fn read_or_say(path: &Path) -> Result<Source, Finding> {
    read_or_find(path, START)
}

fn read_or_find(path: &Path, advice: &str) -> Result<Source, Finding> {
    let name = path.display().to_string();
    let bytes = read_bytes(path).map_err(|error| {
        let suggestion = match error.kind() {
            ErrorKind::NotFound => advice,
            ErrorKind::PermissionDenied => "let the user who runs `kt` read it",
            _ => "name a file that can be read",
        };
        Finding::unreadable(&name, &error.to_string(), suggestion)
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        // It may have been cut within a character, and is refused for its size.
        Err(error) if error.as_bytes().len() > MAX_BYTES => {
            Ok(Source { name, text: String::from_utf8_lossy(error.as_bytes()).into_owned() })
        }
        Err(error) => Err(Finding::not_utf8(&name, error.as_bytes(), error.utf8_error().valid_up_to())),
    }
}

/// Reads no more than shows that a file is too large, so that a device given by mistake is not read for ever.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(MAX_BYTES);
    let mut bytes = Vec::with_capacity(size.min(MAX_BYTES));
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The state of some files at one moment. What cannot be seen has none, nor has what is no file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct FilesState(Vec<Option<[i64; 4]>>);

/// What the system says of the file at `path`, if a file is there.
fn file_at(path: &Path) -> Option<Metadata> {
    path.metadata().ok().filter(Metadata::is_file)
}

/// Configuration files, later ones laid over earlier ones.
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    connected: bool,
    /// Their state when they were read last.
    read: Mutex<FilesState>,
    /// What was read first from each that is no file: a pipe can be read once. Empty before the first reading.
    held: Mutex<Vec<Option<Source>>>,
    /// What was checked and is to be put in force, so that it need not be read twice.
    checked: Mutex<Option<Loaded>>,
}

impl Files {
    /// The files at `paths`. `connected` says whether they are for a gateway with a control plane.
    pub(crate) fn new(paths: Vec<PathBuf>, connected: bool) -> Self {
        Self { paths, connected, read: Mutex::default(), held: Mutex::default(), checked: Mutex::default() }
    }

    /// What tells the files' present state from a changed one, without reading them: where each is on its disk, how
    /// large it is, when it was changed. A file that is replaced, also behind a symbolic link, is another file.
    fn state(&self) -> FilesState {
        let state_of = |path: &PathBuf| {
            let file = file_at(path)?;
            Some([file.ino().cast_signed(), file.size().cast_signed(), file.ctime(), file.ctime_nsec()])
        };
        FilesState(self.paths.iter().map(state_of).collect())
    }

    /// Reads and checks the files.
    pub(crate) fn check(&self) -> Result<Loaded, Failure> {
        let options = LoadOptions { connected: self.connected, kept: false };
        Ok(policy_config::load(&self.unchanged(|| self.sources())?, options))
    }

    /// Reads the files. What is no file is read the first time alone; later, what it held then is taken.
    fn sources(&self) -> Result<Vec<Source>, Failure> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_empty() {
            let sources = read_sources(&self.paths)?;
            let is_no_file = |path: &PathBuf| file_at(path).is_none();
            *held = self
                .paths
                .iter()
                .zip(&sources)
                .map(|(path, source)| is_no_file(path).then(|| source.clone()))
                .collect();
            return Ok(sources);
        }
        let again = |(path, held): (&PathBuf, &Option<Source>)| match held {
            Some(source) if file_at(path).is_none() => {
                tracing::info!(
                    path = %source.name,
                    "this is no file, and cannot be read again: what it held at the start stays in force"
                );
                Ok(source.clone())
            }
            // Reading a pipe would wait for whoever writes to it.
            None if path.exists() && file_at(path).is_none() => Err(Failure::failed(format!(
                "{} is no file any more, and only files are read again: put a file in its place",
                path.display()
            ))),
            _ => read_source(path),
        };
        self.paths.iter().zip(&*held).map(again).collect()
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
    /// The findings about what was checked before were told then.
    fn load(&self) -> Result<LoadedConfig, String> {
        match self.checked().take() {
            Some(checked) => Ok(LoadedConfig { warnings: Vec::new(), ..usable(checked)? }),
            None => usable(self.check().map_err(|failure| failure.to_string())?),
        }
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
    let report = loaded.errors().map(Finding::render).collect::<Vec<_>>().join("\n");
    let warnings = loaded.warnings().map(Finding::in_one_line).collect();
    let version = loaded.version;
    loaded.config.map(|config| LoadedConfig { config, version, warnings }).ok_or(report)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::fd::AsRawFd;

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
    fn what_came_through_a_pipe_is_not_forgotten() {
        let (directory, path, _, _) = watched();
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"cors: {enabled: true}\n").unwrap();
        drop(writer);
        let pipe = format!("/proc/self/fd/{}", reader.as_raw_fd()).into();
        let files = Files::new(vec![path.clone(), pipe], false);
        assert!(files.load().unwrap().config.cors.enabled);
        fs::write(&path, format!("{ECHO}size_limits: {{max_request_body_bytes: 1000}}\n")).unwrap();
        let config = files.load().unwrap().config;
        assert_eq!((config.cors.enabled, config.size_limits.max_request_body_bytes), (true, 1000));
        drop((directory, reader));
    }

    #[test]
    fn what_is_no_file_is_not_watched() {
        let mut watch = Watch::over(Arc::new(Files::new(vec!["/dev/null".into()], false)));
        watch.files.load().unwrap();
        assert_eq!(watch.files.state(), FilesState(vec![None]));
        assert!(!watch.look());
    }
}
