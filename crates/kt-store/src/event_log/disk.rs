//! The file that a log appends to, as a port, so that tests can have a disk that fails.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// Opens the files that are appended to.
pub(super) trait Disk: Send {
    /// Opens the file at `path` for appending.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>>;

    /// Makes the file at `path`, which must not exist, readable by its owner alone.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>>;
}

/// A file that is appended to. It can be flushed by one thread while another one appends.
pub(super) trait LogFile: Send + Sync {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Appends all of `bytes`; on an error, perhaps some.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// What was appended before survives a loss of power afterwards.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    fn cut(&self, length: u64) -> io::Result<()>;
}

/// The disk of the machine.
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(OpenOptions::new().append(true).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?))
    }
}

impl LogFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// The names in `directory` survive a loss of power afterwards.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes the file at `path` hold `bytes`: all or, after a crash, what it held before.
pub(super) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_directory(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}
