//! `mode=non-blocking`: the program never waits for the log's disk; what does not fit into the buffer is lost.
//!
//! ```text
//! shim ── pipe, as large as the buffer ──▶ dray-runtime write-log ──▶ file
//! ```
//!
//! The buffer is the pipe's own, in the kernel, and the writer a process of its own, since nothing here may start a
//! thread (`init` is cloned from the shim). As in Docker, an entry that finds the buffer empty is taken whatever its
//! length, and one that does not fit is dropped whole.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::file::{Keeping, LogFile, ourselves};

/// The word that makes `dray-runtime` the writer.
pub const WRITE: &str = "write-log";

/// The shim's end of the buffer.
#[derive(Debug)]
pub struct Ring {
    keeping: Keeping,
    limit: u64,
    pipe: Option<OwnedFd>,
    writer: Option<Child>,
    /// The rest of an entry of which the pipe has taken the beginning.
    rest: Vec<u8>,
}

impl Ring {
    /// Starts the writer.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn start(keeping: Keeping, limit: u64) -> io::Result<Ring> {
        let mut ring = Ring { keeping, limit, pipe: None, writer: None, rest: Vec::new() };
        ring.start_writer()?;
        Ok(ring)
    }

    fn start_writer(&mut self) -> io::Result<()> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        // What the system does not allow stays at its default, 64 KiB: fewer entries find room.
        let _ = fcntl_setpipe_size(&write, usize::try_from(self.limit).unwrap_or(usize::MAX).max(4096));
        rustix::io::ioctl_fionbio(&write, true)?;
        let Keeping { path, max_size, max_file, compress } = &self.keeping;
        let writer = ourselves(WRITE)
            .arg(path)
            .arg(max_size.map_or_else(|| "-".to_owned(), |size| size.to_string()))
            .arg(max_file.to_string())
            .arg(compress.to_string())
            .stdin(Stdio::from(read))
            .spawn()?;
        (self.pipe, self.writer) = (Some(write), Some(writer));
        self.rest.clear();
        Ok(())
    }

    /// Takes an entry, or drops it.
    pub fn append(&mut self, entry: &[u8]) {
        // A writer that was killed is replaced once for each entry that misses it.
        if matches!(self.try_append(entry), Err(Errno::PIPE)) && self.start_writer().is_ok() {
            let _ = self.try_append(entry);
        }
    }

    fn try_append(&mut self, entry: &[u8]) -> Result<(), Errno> {
        let Some(pipe) = &self.pipe else { return Err(Errno::PIPE) };
        if !self.rest.is_empty() {
            let written = rustix::io::write(pipe, &self.rest)?;
            self.rest.drain(..written);
        }
        let waiting = rustix::io::ioctl_fionread(pipe)?;
        if !self.rest.is_empty() || (waiting > 0 && waiting + entry.len() as u64 > self.limit) {
            return Err(Errno::AGAIN);
        }
        let written = rustix::io::write(pipe, entry)?;
        self.rest.extend_from_slice(&entry[written..]);
        Ok(())
    }

    /// Everything that was taken is written when this returns.
    pub fn finish(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            let _ = rustix::io::ioctl_fionbio(pipe.as_fd(), false);
            let _ = File::from(pipe).write_all(&std::mem::take(&mut self.rest));
        }
        if let Some(mut writer) = self.writer.take() {
            // The shim may have reaped it already.
            let _ = writer.wait();
        }
    }
}

/// `dray-runtime write-log <path> <max-size> <max-file> <compress>`: entries from standard input, until it ends.
///
/// # Errors
/// The arguments are wrong, the file cannot be opened, or standard input fails.
pub fn write(args: &[OsString]) -> io::Result<()> {
    let text = |index: usize| args.get(index).and_then(|arg| arg.to_str()).unwrap_or_default();
    let wrong = || io::Error::from(io::ErrorKind::InvalidInput);
    let keeping = Keeping {
        path: args.first().map(PathBuf::from).ok_or_else(wrong)?,
        max_size: text(1).parse().ok(),
        max_file: text(2).parse().map_err(|_| wrong())?,
        compress: text(3) == "true",
    };
    let mut file = LogFile::open(keeping)?;
    let mut buffer = vec![0; 64 << 10];
    let mut held = 0;
    let mut input = io::stdin().lock();
    loop {
        let read = input.read(&mut buffer[held..])?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        let mut from = 0;
        while let Some(length) = buffer[from..held].iter().position(|&byte| byte == b'\n') {
            file.append(&buffer[from..=from + length]);
            from += length + 1;
        }
        buffer.copy_within(from..held, 0);
        held -= from;
        if held == buffer.len() {
            buffer.resize(held * 2, 0);
        }
    }
}
