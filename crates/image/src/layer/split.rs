//! A foreign tar without its files' contents, so that with the unpacked folder it can be made again byte by
//! byte: others order, pad and describe files in their own ways, and an image's ID hangs on each byte.
//!
//! ```text
//! split := zstd( *record )
//! record := 0, length u32, bytes        headers, padding, what follows the end
//!         | 1, length u32, path, u64    so many bytes of that file
//! ```
//! Numbers are little-endian. A split takes about 30 bytes for each entry. What is made from it is checked
//! against the digest, so neither a damaged split nor a changed file goes unnoticed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use dray_spec::{Digest, Hasher};
use rustix::fs::{self as rfs, Mode, OFlags, ResolveFlags};

use super::LayerError;
use super::entry::Keep;
use super::tree::os;
use super::unpack::{Options, Unpacked, unpack_keeping};
use super::write::BUFFER;

const BYTES: u8 = 0;
const CONTENT: u8 = 1;

/// Unpacks as [`super::unpack`] does and writes the split to `split`. The flag says whether the same tar can
/// be made from it; not if an entry took another's place.
///
/// # Errors
/// As [`super::unpack`], or if `split` cannot be written.
pub fn unpack_with_split(
    reader: impl Read + Send,
    folder: &Path,
    options: &Options,
    split: impl Write,
) -> Result<(Unpacked, bool), LayerError> {
    let encoder = zstd::Encoder::new(split, 1).map_err(LayerError::Write)?;
    let keep = Splitter { out: encoder, pending: Vec::with_capacity(BUFFER) };
    let (unpacked, keep, complete) = unpack_keeping(reader, folder, options, keep)?;
    keep.end()?;
    Ok((unpacked, complete))
}

struct Splitter<W: Write> {
    out: zstd::Encoder<'static, W>,
    /// Bytes not written yet: headers that follow each other become one record.
    pending: Vec<u8>,
}

impl<W: Write> Splitter<W> {
    fn record(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.out.write_all(&[kind])?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            self.record(BYTES, &pending)?;
            self.pending = pending;
            self.pending.clear();
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), LayerError> {
        self.flush().map_err(LayerError::Write)?;
        self.out.finish().and_then(|mut out| out.flush()).map_err(LayerError::Write)
    }
}

impl<W: Write> Keep for Splitter<W> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        if self.pending.len() + bytes.len() > BUFFER {
            self.flush().map_err(LayerError::Write)?;
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn content(&mut self, path: &[u8], length: u64) -> Result<(), LayerError> {
        if length == 0 {
            return Ok(());
        }
        let write = |this: &mut Self| {
            this.flush()?;
            this.record(CONTENT, path)?;
            this.out.write_all(&length.to_le_bytes())
        };
        write(self).map_err(LayerError::Write)
    }
}

/// Makes the tar again from its split and the unpacked folder; gives its digest and length.
///
/// # Errors
/// If the split is damaged, a file is not as long as it was, or `out` fails.
pub fn join(split: impl Read, folder: &Path, out: impl Write) -> Result<(Digest, u64), LayerError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rfs::open(folder, flags, Mode::empty())
        .map_err(|errno| LayerError::Folder { operation: "open the folder to pack", source: errno.into() })?;
    let split = zstd::Decoder::new(split).map_err(LayerError::Stream)?;
    let mut joiner = Joiner { root, split, out, hasher: Hasher::new(), bytes: 0, buffer: vec![0; BUFFER] };
    while joiner.record()? {}
    joiner.out.flush().map_err(LayerError::Write)?;
    Ok((joiner.hasher.finish(), joiner.bytes))
}

struct Joiner<R, W> {
    root: OwnedFd,
    split: R,
    out: W,
    hasher: Hasher,
    bytes: u64,
    buffer: Vec<u8>,
}

impl<R: Read, W: Write> Joiner<R, W> {
    /// Carries out the next record; false at the end.
    fn record(&mut self) -> Result<bool, LayerError> {
        let mut kind = [0];
        if self.split.read(&mut kind).map_err(LayerError::Stream)? == 0 {
            return Ok(false);
        }
        let mut length = [0; 4];
        self.split.read_exact(&mut length).map_err(LayerError::Stream)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > BUFFER {
            return Err(LayerError::Stream(io::ErrorKind::InvalidData.into()));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        self.split.read_exact(&mut buffer[..length]).map_err(LayerError::Stream)?;
        let result = match kind[0] {
            BYTES => self.emit(&buffer[..length]),
            CONTENT => {
                let path = buffer[..length].to_vec();
                self.content(&path, &mut buffer)
            }
            _ => Err(LayerError::Stream(io::ErrorKind::InvalidData.into())),
        };
        self.buffer = buffer;
        result.map(|()| true)
    }

    fn content(&mut self, path: &[u8], buffer: &mut [u8]) -> Result<(), LayerError> {
        let mut length = [0; 8];
        self.split.read_exact(&mut length).map_err(LayerError::Stream)?;
        let mut left = u64::from_le_bytes(length);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = rfs::openat2(&self.root, os(path), flags, Mode::empty(), inside)
            .map_err(LayerError::io(path, "open"))?;
        let mut file = File::from(file);
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = file.read(&mut buffer[..most]).map_err(LayerError::std_io(path, "read"))?;
            if count == 0 {
                let short = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(LayerError::std_io(path, "read")(short));
            }
            self.emit(&buffer[..count])?;
            left -= count as u64;
        }
        Ok(())
    }

    fn emit(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(LayerError::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tars::Tar;
    use super::*;

    fn round_trip(tar: &[u8]) -> (bool, Vec<u8>, usize) {
        let dir = tempfile::tempdir().unwrap();
        let mut split = Vec::new();
        let (unpacked, complete) =
            unpack_with_split(tar, dir.path(), &Options::default(), &mut split).unwrap();
        let mut again = Vec::new();
        let (digest, bytes) = join(&split[..], dir.path(), &mut again).unwrap();
        assert_eq!(bytes, again.len() as u64);
        assert_eq!(digest == unpacked.diff_id, again == tar);
        (complete, again, split.len())
    }

    #[test]
    fn the_same_bytes_again() {
        let sparse = [("GNU.sparse.size", &b"9000"[..]), ("GNU.sparse.map", b"8000,3")];
        let mut tar = Tar::new()
            .folder("usr/")
            .file("usr/big", &vec![7; 700_000])
            .file("usr/empty", b"")
            .link(b'2', "lib", "usr")
            .file("lib/through-a-link", b"hello")
            .file(".wh.gone", b"")
            .link(b'1', "hard", "usr/big")
            .pax(&[("path", b"usr/pax"), ("comment", b"kept")])
            .file("ignored", b"x")
            .pax(&sparse)
            .file("usr/sparse", b"abc")
            .file(".wh..wh.plnk/0.1", b"aufs")
            .end();
        tar.extend([0; 9_000]);
        tar.extend(b"something after the end");
        let (complete, again, split) = round_trip(&tar);
        assert!(complete);
        assert_eq!(again, tar);
        assert!(split < 1500, "{split} bytes");
    }

    #[test]
    fn a_replaced_file_is_told() {
        let tar = Tar::new().file("a", b"first").file("a", b"other").end();
        let (complete, again, _) = round_trip(&tar);
        assert!(!complete);
        assert_ne!(again, tar);
    }

    #[test]
    fn damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut split = Vec::new();
        let tar = Tar::new().file("a", b"hello").end();
        unpack_with_split(&tar[..], dir.path(), &Options::default(), &mut split).unwrap();
        std::fs::write(dir.path().join("a"), "hell").unwrap();
        let error = join(&split[..], dir.path(), io::sink()).unwrap_err().to_string();
        assert!(error.starts_with("entry \"a\": read: "), "{error}");
        assert!(join(&split[..split.len() - 5], dir.path(), io::sink()).is_err());
        assert!(join(&b"nonsense"[..], dir.path(), io::sink()).is_err());
    }
}
