//! A file for as long as a command runs.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::command_error::Error;

/// A file that only this process's user can read, and that goes when it is not needed any more.
pub struct OwnFile(PathBuf);

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Nothing reads it any more.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl OwnFile {
    /// A file with this content, among those for a time.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new(prefix: &str, content: &str) -> Result<OwnFile, Error> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::io("make up a name")(errno.into()))?;
        let path = std::env::temp_dir().join(format!("{prefix}-{:016x}", u64::from_ne_bytes(random)));
        let mut open = std::fs::OpenOptions::new();
        let made = open.write(true).create_new(true).mode(0o600).open(&path);
        let mut file = made.map_err(Error::file("create", &path))?;
        let own = OwnFile(path);
        file.write_all(content.as_bytes()).map_err(Error::file("write", &own.0))?;
        Ok(own)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}
