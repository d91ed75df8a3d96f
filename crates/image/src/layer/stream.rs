//! The pipeline below an unpack: one thread reads, decompresses and hashes, the other writes files.
//!
//! ```text
//! reader ─► decompress ─► sha256 ─► [ 8 buffers of 256 KiB ] ─► entries ─► files
//!           └──────── worker ────┘        channel               └── caller ──┘
//! ```
//! Buffers go back to the worker when they are used up.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};

use dray_spec::{Digest, Hasher};

use super::{LayerError, compression::decompress};

const BUFFER: usize = 256 * 1024;
const BUFFERS: usize = 8;

type Chunk = Result<Vec<u8>, io::Error>;

/// The caller's end: the plain tar.
#[derive(Debug)]
pub(super) struct Chunks {
    filled: Receiver<Chunk>,
    used: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position == self.current.len() {
            match self.filled.recv() {
                Ok(Ok(next)) => {
                    let used = std::mem::replace(&mut self.current, next);
                    self.position = 0;
                    // The worker may be through already.
                    let _ = self.used.send(used);
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    self.current.clear();
                    self.position = 0;
                    return Ok(&[]);
                }
            }
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Runs `work` on the plain form of `reader`, reads on to its end, and gives digest and length of the plain form.
/// At most `limit` bytes are read.
pub(super) fn through<T>(
    reader: impl Read + Send,
    limit: u64,
    work: impl FnOnce(&mut Chunks) -> Result<T, LayerError>,
) -> Result<(T, Digest, u64), LayerError> {
    let (filled_in, filled) = sync_channel::<Chunk>(BUFFERS);
    let (used, used_out) = channel::<Vec<u8>>();
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .name("layer-read".into())
            .spawn_scoped(scope, move || read_all(reader, limit, &filled_in, &used_out))
            .map_err(LayerError::Stream)?;
        let mut chunks = Chunks { filled, used, current: Vec::new(), position: 0 };
        let result = work(&mut chunks).and_then(|value| drain(&mut chunks).map(|()| value));
        // The worker stops at its next buffer if nobody takes it.
        drop(chunks);
        let read = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (result, read) {
            // The reader's own failure explains what the caller saw of it.
            (Err(LayerError::Stream(_)) | Ok(_), Err(error)) => Err(error),
            (Err(error), _) => Err(error),
            (Ok(value), Ok((digest, bytes))) => Ok((value, digest, bytes)),
        }
    })
}

/// What follows the archive's end mark belongs to the digest.
fn drain(chunks: &mut Chunks) -> Result<(), LayerError> {
    loop {
        let count = chunks.fill_buf().map_err(LayerError::Stream)?.len();
        if count == 0 {
            return Ok(());
        }
        chunks.consume(count);
    }
}

fn read_all(
    reader: impl Read + Send,
    limit: u64,
    filled: &SyncSender<Chunk>,
    used: &Receiver<Vec<u8>>,
) -> Result<(Digest, u64), LayerError> {
    let mut plain = match decompress(reader) {
        Ok(plain) => plain,
        Err(error) => {
            tell(filled, io::Error::from(io::ErrorKind::InvalidData));
            return Err(error);
        }
    };
    let mut hasher = Hasher::new();
    let mut total = 0u64;
    loop {
        let mut buffer =
            used.try_recv().ok().filter(|buffer| buffer.capacity() >= BUFFER).unwrap_or_default();
        buffer.clear();
        buffer.reserve_exact(BUFFER);
        match (&mut plain).take(BUFFER as u64).read_to_end(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), total)),
            Ok(_) => {}
            Err(error) => {
                tell(filled, io::Error::from(error.kind()));
                return Err(LayerError::Stream(error));
            }
        }
        total += buffer.len() as u64;
        if total > limit {
            tell(filled, io::Error::from(io::ErrorKind::FileTooLarge));
            return Err(LayerError::TooLong(limit));
        }
        hasher.update(&buffer);
        if filled.send(Ok(buffer)).is_err() {
            // The caller has failed and says why.
            return Ok((hasher.finish(), total));
        }
    }
}

/// Makes the caller fail too; if the channel is full it finds the closed end a little later.
fn tell(filled: &SyncSender<Chunk>, error: io::Error) {
    if let Err(TrySendError::Full(chunk)) = filled.try_send(Err(error)) {
        let _ = filled.send(chunk);
    }
}
