//! For which version of a thing a change was made: one that names an older version is refused, so that none is lost.

use kt_domain::error::{Error, ErrorKind};

/// The versions that a change may be made to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Whichever is the present one.
    #[default]
    Any,
    /// One of these, as they were handed out.
    OneOf(Vec<String>),
}

impl Expected {
    /// Refuses a change to `present` that was made for another version: [`ErrorKind::VersionMismatch`].
    pub(crate) fn check(&self, present: &str) -> Result<(), Error> {
        match self {
            Self::OneOf(versions) if !versions.iter().any(|version| version == present) => {
                let message = "Somebody else has changed this meanwhile. Load it again, look at what changed, and \
                               make your change to that.";
                Err(Error::new(ErrorKind::VersionMismatch, "version_mismatch", message))
            }
            _ => Ok(()),
        }
    }
}
