//! Small file systems of one's own, which are soon full.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// A small file system, gone when it is dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// One of this size, such as `1m`; `None`, and said so, where that is not permitted.
    #[expect(clippy::print_stdout, reason = "whoever runs the tests is told what was left out")]
    pub(crate) fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        println!("skipped: a file system can be mounted by root only");
        None
    }

    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[0; 1024]).is_ok() {}
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Left to the machine's owner if it does not work.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}
