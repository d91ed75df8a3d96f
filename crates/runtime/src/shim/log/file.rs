//! The file of a log: appended to, and rotated before it grows past its size.
//!
//! ```text
//! <path>        the newest
//! <path>.1      the one before; compressed to <path>.1.gz by a process of its own while the program goes on
//! <path>.2.gz   …at most `max_file` files in all
//! ```
//!
//! At every moment each of the older files is there whole, packed or not: a packed one appears by rename.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;

/// The word that makes `dray-runtime` a packer of one file.
pub const PACK: &str = "pack-log";

/// How a log file is kept.
#[derive(Debug, Clone)]
pub struct Keeping {
    /// The newest file.
    pub path: PathBuf,
    /// Bytes after which it is rotated.
    pub max_size: Option<u64>,
    /// Files in all.
    pub max_file: u32,
    /// Whether older files are compressed.
    pub compress: bool,
}

/// A log file that is written.
#[derive(Debug)]
pub struct LogFile {
    keeping: Keeping,
    file: File,
    size: u64,
    packer: Option<Child>,
}

impl LogFile {
    /// Opens or makes the newest file.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn open(keeping: Keeping) -> io::Result<LogFile> {
        let file = open_file(&keeping.path, false)?;
        let size = file.metadata()?.len();
        Ok(LogFile { keeping, file, size, packer: None })
    }

    /// Appends one entry.
    pub fn append(&mut self, entry: &[u8]) {
        if self.keeping.max_size.is_some_and(|max| self.size >= max) {
            // A log that cannot be rotated grows on: losing output would be worse.
            let _ = self.rotate();
        }
        // A full disk must not stop the container; the line is lost, as in Docker.
        if self.file.write_all(entry).is_ok() {
            self.size += entry.len() as u64;
        }
    }

    /// Waits until no file is being packed any more.
    pub fn finish(&mut self) {
        if let Some(mut packer) = self.packer.take() {
            // The shim may have reaped it already.
            let _ = packer.wait();
        }
    }

    fn numbered(&self, number: u32, ending: &str) -> PathBuf {
        let mut name = self.keeping.path.as_os_str().to_owned();
        name.push(format!(".{number}{ending}"));
        PathBuf::from(name)
    }

    fn rotate(&mut self) -> io::Result<()> {
        // The one before must have its final name before it is moved on.
        self.finish();
        let ending = if self.keeping.compress { ".gz" } else { "" };
        for number in (1..self.keeping.max_file.saturating_sub(1)).rev() {
            match std::fs::rename(self.numbered(number, ending), self.numbered(number + 1, ending)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        if self.keeping.max_file >= 2 {
            let older = self.numbered(1, "");
            std::fs::rename(&self.keeping.path, &older)?;
            if self.keeping.compress {
                // Without a packer the file stays as it is, which can be read just as well.
                self.packer = start_packer(&older).ok();
            }
        }
        self.file = open_file(&self.keeping.path, true)?;
        self.size = 0;
        Ok(())
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        self.finish();
    }
}

fn open_file(path: &Path, truncate: bool) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    if truncate {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Compressing takes time and memory that the shim has not: it must go on reading, and stay small.
fn start_packer(path: &Path) -> io::Result<Child> {
    ourselves(PACK).arg(path).stdin(Stdio::null()).spawn()
}

/// This very program with another task, seen as `dray-runtime <word>`.
pub fn ourselves(word: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("dray-runtime").arg(word).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// `dray-runtime pack-log <path>`: makes `<path>.gz` of it.
///
/// # Errors
/// A file cannot be read, written or renamed; the unpacked one is then still there.
pub fn pack(path: &Path) -> io::Result<()> {
    let with = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (draft, packed) = (with(".gz.draft"), with(".gz"));
    let mut from = File::open(path)?;
    let mut write = || {
        let to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&draft)?;
        let mut encoder = GzEncoder::new(to, Compression::default());
        io::copy(&mut from, &mut encoder)?;
        encoder.finish()?;
        std::fs::rename(&draft, &packed)
    };
    if let Err(error) = write() {
        let _ = std::fs::remove_file(&draft);
        return Err(error);
    }
    // Where the shim was killed and another has rotated meanwhile, the name is a newer file's.
    if std::fs::metadata(path)?.ino() == from.metadata()?.ino() { std::fs::remove_file(path) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_packed_file_replaces_the_plain_one() {
        let dir = std::env::temp_dir().join(format!("runtime-pack-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("x.log.1");
        std::fs::write(&path, "line\n".repeat(1000)).unwrap();
        pack(&path).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(dir.join("x.log.1.gz")).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "line\n".repeat(1000));
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        assert!(pack(&dir.join("missing")).is_err());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "no draft is left");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
