//! The outer tar of an archive on its way out: into a stream, or into a file, several of its parts at once.
//!
//! Everything in it is from the beginning of time, so that it is the same each time.

use std::cmp::Reverse;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use dray_spec::Digest;
use dray_store::{LayerId, Store};

use super::file_part::GivenUp;
use crate::exact::Source;
use crate::layer::LayerError;
use crate::layer::write::{BUFFER, Meta, TarWriter};
use crate::{Error, Result};

/// Parts of a file that are written at once.
const MOST_THREADS: usize = 4;

/// Something in an archive.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) content: Content,
}

/// What it is, and where its bytes come from.
pub(super) enum Content {
    Folder,
    Bytes(Vec<u8>),
    /// A blob of the store, this long.
    Stored(Digest, u64),
    /// A layer's tar, which is made.
    Packed {
        digest: Digest,
        id: LayerId,
        source: Source,
        bytes: u64,
    },
}

impl Content {
    pub(super) fn packed(digest: &Digest, id: LayerId, source: Source, bytes: u64) -> Self {
        Self::Packed { digest: digest.clone(), id, source, bytes }
    }

    fn length(&self) -> u64 {
        match self {
            Self::Folder => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stored(_, bytes) | Self::Packed { bytes, .. } => *bytes,
        }
    }
}

/// A file that an archive is written into, from where its offset stands.
#[derive(Debug)]
pub struct Target {
    file: File,
    at: u64,
    given_up: GivenUp,
}

impl Target {
    /// The file must not be one that writes to its end wherever it is told to (`O_APPEND`).
    ///
    /// # Errors
    /// If it is no regular file, appends, or cannot be looked at.
    pub fn of(mut file: File, given_up: GivenUp) -> io::Result<Self> {
        let appends = rustix::fs::fcntl_getfl(&file)?.contains(rustix::fs::OFlags::APPEND);
        if appends || !file.metadata()?.is_file() {
            let text = "it is not a regular file, or one that can only be appended to";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Self { at: file.stream_position()?, file, given_up })
    }
}

/// Writes an archive into a stream.
pub(super) fn stream(store: &Store, members: &[Member], out: impl Write) -> Result<()> {
    let mut archive = Archive { store, tar: TarWriter::unhashed(out), buffer: vec![0; BUFFER] };
    for member in members {
        archive.member(member)?;
    }
    archive.tar.end().map_err(written)?;
    Ok(())
}

/// Writes an archive into a file: where each member stands is known before. The file's own offset is behind it then.
pub(super) fn file(store: &Store, members: &[Member], target: &Target) -> Result<()> {
    let mut end = target.at;
    let mut pieces = Vec::new();
    for member in members {
        let piece = Piece { member, at: end, end: end + whole_length(store, member)? };
        end = piece.end;
        pieces.push(piece);
    }
    // The longest first: else it may be the last, while the other threads have nothing to do.
    pieces.sort_by_key(|piece| Reverse(piece.end - piece.at));
    let next = AtomicUsize::new(0);
    let broken = GivenUp::default();
    let work = || {
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            piece.write(store, target, &broken).inspect_err(|_| broken.set())?;
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(pieces.len())).map(|_| scope.spawn(work)).collect();
        let mut results = vec![work()];
        for other in others {
            results.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        // What made the others end comes first.
        results
            .sort_by_key(|result| matches!(result, Err(Error::Stream { source, .. }) if is_broken(source)));
        results.into_iter().collect::<Result<()>>()
    })?;
    let mut last = At { target, at: end, end: u64::MAX, broken: &broken };
    TarWriter::unhashed(&mut last).end().map_err(written)?;
    (&target.file).seek(SeekFrom::Start(last.at)).map_err(Error::stream("write archive"))?;
    Ok(())
}

/// How long a member is with its header and what fills its last block.
fn whole_length(store: &Store, member: &Member) -> Result<u64> {
    let mut header = Archive { store, tar: TarWriter::unhashed(io::sink()), buffer: Vec::new() };
    header.header(member)?;
    let length = member.content.length();
    header.tar.pad(length).map_err(written)?;
    Ok(length + header.tar.pause().map_err(written)?)
}

/// A member, and the place that it has in the file.
struct Piece<'a> {
    member: &'a Member,
    at: u64,
    end: u64,
}

impl Piece<'_> {
    fn write(&self, store: &Store, target: &Target, broken: &GivenUp) -> Result<()> {
        let out = At { target, at: self.at, end: self.end, broken };
        let mut archive = Archive { store, tar: TarWriter::unhashed(out), buffer: vec![0; BUFFER] };
        archive.member(self.member)?;
        let written = archive.tar.pause().map_err(written)?;
        match (written == self.end - self.at, &self.member.content) {
            (true, _) => Ok(()),
            (false, Content::Packed { digest, .. }) => Err(Error::LayerLost(digest.clone())),
            (false, _) => Err(Error::stream("read blob")(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// Writes into a file at a place of its own.
struct At<'a> {
    target: &'a Target,
    at: u64,
    end: u64,
    broken: &'a GivenUp,
}

/// How a thread ends because another has failed.
fn is_broken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.target.given_up.check()?;
        self.broken.check().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        if bytes.len() as u64 > self.end - self.at {
            return Err(io::Error::other("a layer is longer than it was"));
        }
        let count = self.target.file.write_at(bytes, self.at)?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The client's stream broke.
fn written(error: LayerError) -> Error {
    match error {
        LayerError::Write(source) => Error::Stream { operation: "write archive", source },
        other => Error::Layer { layer: "archive".into(), source: other },
    }
}

/// The outer tar.
struct Archive<'a, W> {
    store: &'a Store,
    tar: TarWriter<W>,
    buffer: Vec<u8>,
}

impl<W: Write> Archive<'_, W> {
    fn member(&mut self, member: &Member) -> Result<()> {
        self.header(member)?;
        match &member.content {
            Content::Folder => {}
            Content::Bytes(bytes) => self.tar.write(bytes).map_err(written)?,
            Content::Stored(digest, size) => self.stream(self.store.blobs().open(digest)?, *size)?,
            Content::Packed { digest, id, source, .. } => {
                let actual = source.write(self.store, *id, Inside(&mut self.tar)).map_err(written)?;
                if actual != *digest {
                    return Err(Error::LayerLost(digest.clone()));
                }
            }
        }
        self.tar.pad(member.content.length()).map_err(written)
    }

    fn header(&mut self, member: &Member) -> Result<()> {
        let (kind, mode) = match member.content {
            Content::Folder => (b'5', 0o755),
            _ => (b'0', 0o644),
        };
        let size = member.content.length();
        let meta = Meta { kind, mode, uid: 0, gid: 0, size, mtime: 0, device: (0, 0) };
        self.tar.header(&meta, member.name.as_bytes(), b"", &[]).map_err(written)
    }

    fn stream(&mut self, mut reader: impl Read, size: u64) -> Result<()> {
        let mut left = size;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = reader.read(&mut self.buffer[..most]).map_err(Error::stream("read blob"))?;
            if count == 0 {
                return Err(Error::stream("read blob")(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.tar.write(&self.buffer[..count]).map_err(written)?;
            left -= count as u64;
        }
        Ok(())
    }
}

/// A layer's tar within the archive.
struct Inside<'a, W>(&'a mut TarWriter<W>);

impl<W: Write> Write for Inside<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(LayerError::Write(error)) => Err(error),
            Err(other) => Err(std::io::Error::other(other)),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
