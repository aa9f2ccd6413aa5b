//! The file with the key that seals secrets.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use kt_control::SealKey;
use kt_domain::random::Random;

use crate::failure::Failure;

/// Why nothing can be done: the key is not where it belongs.
pub(super) fn key_is_away(path: &Path) -> Failure {
    Failure::failed(format!(
        "the key that seals secrets is not at {}: put it back from its copy, the database cannot be used without it",
        path.display()
    ))
}

/// The text of the key that seals secrets; made, for its owner's eyes only, where there is none.
pub(crate) fn sealing_key(path: &Path, random: &mut Random) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let text = SealKey::new_text(random);
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok(text)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mut file = std::fs::File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
                let command = format!("chmod 600 {}", path.display());
                return Err(Failure::failed(format!(
                    "others can read the key that seals secrets: run `{command}`"
                )));
            }
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(failed)?;
            Ok(text)
        }
        Err(error) => Err(failed(error)),
    }
}
