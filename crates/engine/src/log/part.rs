//! The files that a log consists of, packed or plain, and telling them apart while the shim renames and packs them.
//!
//! A name says nothing for long: at a rotation each file takes that of the next older one, and a packed file is
//! another one than that which it was made of. What stays is what it begins with, since each line has its own time.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::GzDecoder;

use super::file::LONGEST_LINE;

/// One file of a log, open.
#[derive(Debug)]
pub struct Part {
    file: File,
    packed: bool,
}

impl Part {
    /// All files of the log at `path`, newest first.
    ///
    /// # Errors
    /// One cannot be opened.
    pub fn list(path: &Path) -> io::Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut missing = 0;
        for number in 0.. {
            match Self::numbered(path, number)? {
                Some(part) => {
                    missing = 0;
                    parts.push(part);
                }
                // In the midst of a rotation a name is missing for a moment.
                None if missing == 0 => missing = 1,
                None => break,
            }
        }
        Ok(parts)
    }

    /// The newest file; none while there is no log, or for a moment of a rotation.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn newest(path: &Path) -> io::Result<Option<Part>> {
        Self::numbered(path, 0)
    }

    fn numbered(path: &Path, number: u32) -> io::Result<Option<Part>> {
        let named = |ending: &str| {
            let mut name = path.as_os_str().to_owned();
            if number > 0 {
                name.push(format!(".{number}{ending}"));
            }
            PathBuf::from(name)
        };
        if let Some(file) = open(&named(""))? {
            return Ok(Some(Part { file, packed: false }));
        }
        match number {
            0 => Ok(None),
            _ => Ok(open(&named(".gz"))?.map(|file| Part { file, packed: true })),
        }
    }

    /// The file with its lines: itself, or an unpacked copy that nobody else sees.
    ///
    /// # Errors
    /// It cannot be unpacked.
    pub fn into_plain(self, path: &Path) -> io::Result<File> {
        if !self.packed {
            return Ok(self.file);
        }
        let mut copy = nameless(path)?;
        io::copy(&mut GzDecoder::new(BufReader::new(&self.file)), &mut copy)?;
        copy.seek(SeekFrom::Start(0))?;
        Ok(copy)
    }

    /// Whether this is the very file `plain`, or what it was packed into.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn is(&self, plain: &File) -> io::Result<bool> {
        let (ours, theirs) = (self.file.metadata()?, plain.metadata()?);
        if (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()) {
            return Ok(true);
        }
        let line = first_line(BufReader::new(At { file: plain, offset: 0 }))?;
        let own = At { file: &self.file, offset: 0 };
        let own = if self.packed {
            first_line(BufReader::new(GzDecoder::new(own)))
        } else {
            first_line(BufReader::new(own))
        };
        Ok(!line.is_empty() && own? == line)
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file beside the log that has lost its name: gone with the last who has it open, also if that is killed.
fn nameless(path: &Path) -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".read-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&name)?;
    std::fs::remove_file(&name)?;
    Ok(file)
}

fn first_line(reader: impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.take(LONGEST_LINE as u64).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// Reads a file from its beginning without moving the position that others read at.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl io::Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
