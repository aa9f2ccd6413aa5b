//! Mail as files: what a deployment does until it is told of a mail server.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Letter, MailError, Mailer, Sending};

/// A folder of `.eml` files, which any mail program opens. They hold one-time links, so only their owner can read them.
#[derive(Clone, Debug)]
pub struct Outbox {
    folder: PathBuf,
}

impl Outbox {
    /// Writes into `folder`, which is made if it is not there, for its owner alone.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }

    /// The file of a letter: names sort by date, and another attempt replaces the file of the first.
    fn path(&self, letter: &Letter) -> PathBuf {
        let date = letter.date.strftime("%Y%m%dT%H%M%S%6fZ");
        self.folder.join(format!("{date}-{}.eml", letter.id.simple()))
    }
}

impl Mailer for Outbox {
    fn send<'a>(&'a self, letter: &'a Letter) -> Sending<'a> {
        Box::pin(async move {
            let mail = letter.to_mime()?.formatted();
            let path = self.path(letter);
            let shown = path.display().to_string();
            let written = tokio::task::spawn_blocking(move || write_whole(&path, &mail)).await;
            written.map_err(io::Error::other).flatten().map_err(|error| {
                MailError::Temporary(format!(
                    "{shown} cannot be written ({error}): look at the disk and the folder's owner"
                ))
            })
        })
    }
}

/// Afterwards the file at `path` holds all of `bytes`, also after a loss of power. Nobody ever sees a part of it.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
